/**
 * What the kernel's answers to commands mean: texts are those of the extended acknowledgement of
 * Linux 6.18.
 *
 * @module
 */
import type { Joining, PathConnection, Pending } from "./connection_table.ts";
import type { Endpoint } from "./path_events.ts";
import { announceKey } from "./planner.ts";
import type { Registry } from "./registry.ts";
import { plainAddress } from "./subnet.ts";

/** Linux errno. */
const EPERM = 1;
const ESRCH = 3;
const ENOTCONN = 107;

/** Draws the consequences. */
export class Results {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** A command was done. */
  done({ connection, command, subflow }: Pending, nowMs: number): void {
    if (command.kind === "setBackup" && subflow !== null) {
      subflow.setAtMs = nowMs;
      this.#registry.setLocalBackup(connection, subflow, command.backup);
    }
  }

  /** The kernel refused a command. */
  refused(pending: Pending, errno: number, text: string, nowMs: number): void {
    const { connection, command, subflow, joining } = pending;
    if (command.kind === "create" && joining !== null) {
      connection.joining.delete(joining);
      this.#createRefused(connection, joining, errno, text, nowMs);
    } else if (command.kind === "announce") {
      this.#announceRefused(connection, command.id, command.local, text, nowMs);
    } else if (subflow !== null) {
      const { retryFirstMs } = this.#registry.policy;
      subflow.setAtMs = nowMs + retryFirstMs;
      if (command.kind !== "destroy") return;
      if (errno === ESRCH) {
        // It ended by itself, and the event of it was lost.
        if (connection.subflows.get(subflow.id) !== subflow) return;
        this.#registry.closeSubflow(connection, subflow, 0, -1, nowMs);
      } else subflow.destroyAtMs = nowMs + retryFirstMs;
    }
  }

  #createRefused(
    connection: PathConnection,
    joining: Joining,
    errno: number,
    text: string,
    nowMs: number,
  ): void {
    const plain = plainAddress(joining.local.address);
    const announced = connection.announcedAddress(plain);
    if (announced !== null) announced.forgotten = true;
    if (errno === ENOTCONN) {
      const { retryFirstMs, retryMaxMs } = this.#registry.policy;
      const waitMs = retryFirstMs * 2 ** Math.min(connection.waits++, 30);
      connection.waitUntilMs = nowMs + Math.min(waitMs, retryMaxMs);
      return;
    }
    if (text.includes("families mismatch")) {
      connection.retries.giveUp(joining.path, plain);
      return;
    }
    if (text.includes("did not match address and id")) connection.ids.forget(plain, nowMs);
    else if (joining.byPolicy && errno !== EPERM) {
      this.#registry.noteFailure(joining.local, joining.remote, errno, nowMs);
    }
    this.#registry.fail(connection, joining.path, joining.local, 0, -1, nowMs);
  }

  #announceRefused(
    connection: PathConnection,
    id: number,
    local: Endpoint,
    text: string,
    nowMs: number,
  ): void {
    const plain = plainAddress(local.address);
    connection.announced.delete(id);
    if (text.includes("did not match address and id")) connection.ids.forget(plain, nowMs);
    this.#registry.fail(connection, announceKey(plain), local, 0, -1, nowMs);
  }
}
