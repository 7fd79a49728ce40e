/**
 * What a manager of the X-Bone control protocol puts out, in order, with the fields that all messages of
 * one overlay share.
 *
 * @module
 */
import type { Body, Common, PinnedNode } from "../../wire/xbone/messages.ts";
import type { ManagerEvent, ManagerRecord, ManagerState, Output, Reach } from "./machine.ts";

/** A node that is asked: a box, or a sub-manager for its share. */
export interface Member extends Reach {
  readonly type: "host" | "router" | "meta";
  /** The need of a sub-manager; empty for a box, and for one that was let go. */
  readonly sub: string;
}

/** The outputs of one manager. */
export class Outbox {
  /** Of every message. */
  readonly common: Common;
  readonly #key: string;
  readonly #queue: Output[] = [];

  constructor(key: string, common: Common) {
    this.#key = key;
    this.common = common;
  }

  /** The oldest; null when there is none. */
  poll(): Output | null {
    return this.#queue.shift() ?? null;
  }

  /** A signed datagram to the group. */
  multicast(body: Extract<Output, { kind: "multicast" }>["body"], ttl: number): void {
    this.#queue.push({ kind: "multicast", body, ttl });
  }

  /** A request over mutual TLS. */
  send({ node, host, port }: Reach, body: Body, waitMs: number): void {
    this.#queue.push({ kind: "send", to: { node, host, port }, body, waitMs });
  }

  /** Durable before what is put out after it; null removes it. */
  journal(record: ManagerRecord | null): void {
    const ending = record?.state === "TEARDOWN" ? { ending: true as const } : {};
    this.#queue.push({ kind: "journal", key: this.#key, record, ...ending });
  }

  /** Tells the owner. */
  tell(event: ManagerEvent): void {
    this.#queue.push({ kind: "event", key: this.#key, event });
  }

  /** Tells people. */
  progress(phase: ManagerState, node: string, text: string, done: number, of: number): void {
    this.tell({ event: "progress", phase, node, text, done, of });
  }
}

/** For each box that plays a node, who is asked for it: itself, or the manager of its sub-overlay. */
export function recipientsOf(
  pinned: readonly PinnedNode[],
  members: Iterable<Member>,
): Map<string, string> {
  const managers = new Map<string, string>();
  for (const { sub, node } of members) if (sub !== "") managers.set(sub, node);
  return new Map(pinned.map(({ name, node }) => {
    const slash = name.indexOf("/");
    return [node, slash < 0 ? node : managers.get(name.slice(0, slash)) ?? node];
  }));
}
