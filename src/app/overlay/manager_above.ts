/**
 * The side of a manager that managers above see: it is invited in their group, and asked over its control port,
 * as a resource whose boxes are those that it finds itself; "the top transition caused by RCV: Discover is for
 * OMs acting as RDs to construct recursive overlays".
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { MachineTools } from "../../proto/xbone/machine.ts";
import { Manager } from "../../proto/xbone/manager.ts";
import { Resource } from "../../proto/xbone/resource.ts";
import { nackOf } from "../../proto/xbone/responder_waiting.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import type { Body, Message } from "../../wire/xbone/messages.ts";
import { hostPort } from "../address_text.ts";
import type { ManagerConfig } from "../config/overlay_manager_config.ts";
import { aclOf } from "./acl.ts";
import type { ControlClient } from "./control_client.ts";
import { ControlDatagrams } from "./control_datagrams.ts";
import { type AnswerTo, ControlServer, envelope } from "./control_server.ts";
import type { Identity, Peer } from "./identity.ts";
import type { Driven } from "./machine_runner.ts";
import { SignedDatagrams, type Signer } from "./signed_datagram.ts";
import { Tickets } from "./tickets.ts";
import { underlayOf } from "./underlay.ts";

/** In front of the keys of its records, which lie beside those of the manager's own overlays. */
const PREFIX = "above:";

/** What it is made with. */
export interface ManagerAboveOptions {
  readonly config: ManagerConfig;
  readonly identity: Identity;
  readonly tools: MachineTools;
  readonly client: ControlClient;
  /** Shares of overlays at once. */
  readonly overlaysMax: number;
  /** Runs a call of the machine and what comes of it. */
  call(does: (nowMs: number) => void): void;
  onRefused(reason: string, from: string): void;
}

/** A manager as a resource. */
export class ManagerAbove {
  /** For the runner. */
  readonly driven: Driven;
  readonly #options: ManagerAboveOptions;
  readonly #resource: Resource;
  readonly #tickets = new Tickets();
  readonly #group: { readonly host: string; readonly port: number };
  #server: ControlServer | null = null;
  #datagrams: ControlDatagrams | null = null;

  /** @param group ADDRESS:PORT in which managers above invite */
  constructor(options: ManagerAboveOptions, group: string) {
    const { config, overlaysMax, tools } = options;
    this.#options = options;
    this.#group = parseAddress(group);
    const { host, port } = this.#group;
    const { mtu, source } = underlayOf(config.interface, hostPort(host, port));
    const resource = new Resource(
      tools,
      () => ({
        type: "meta",
        hostname: Deno.hostname(),
        ipaddr: source,
        port: parseAddress(config.listen).port,
        os: Deno.build.os,
        mtu,
        capabilities: [],
        overlaysMax,
      }),
      aclOf(config.acl),
      (order) => new Manager(tools, order, null),
    );
    this.#resource = resource;
    this.driven = {
      pollOutput: () => {
        const output = resource.pollOutput();
        return output?.kind === "journal" ? { ...output, key: `${PREFIX}${output.key}` } : output;
      },
      pollDeadline: () => resource.pollDeadline(),
      handleDeadline: (now) => resource.handleDeadline(now),
      handleAnswer: (from, body, now) => resource.handleAnswer(from, body, now),
      handleUnreachable: (to, body, reason, now) =>
        resource.handleUnreachable(to, body, reason, now),
    };
  }

  /** Whether a record is of this side. */
  static owns(key: string): boolean {
    return key.startsWith(PREFIX);
  }

  /** Goes on where the record says. */
  restore(key: string, record: unknown): void {
    this.#resource.restore(key.slice(PREFIX.length), record, nowMs());
  }

  /**
   * Opens the control port and joins the group.
   *
   * @throws when one of them cannot be had
   */
  async listen(): Promise<void> {
    const { config, identity, onRefused } = this.#options;
    const { host, port } = parseAddress(config.listen);
    this.#server = await ControlServer.open({
      host,
      port,
      identity,
      onRequest: (body, peer, answer) => this.#request(body, peer, answer),
      onRefused,
    });
    this.#datagrams = await ControlDatagrams.open({
      host: this.#group.host.includes(":") ? "::" : "0.0.0.0",
      port: this.#group.port,
      group: this.#group.host,
      interface: config.interface ?? "",
      signed: new SignedDatagrams(identity),
      onMessage: (message, signer, from) => this.#datagram(message, signer, from),
      onRefused,
    });
  }

  /** To the request of this ticket. */
  answer(ticket: number, body: Body): void {
    this.#tickets.answer(ticket, body);
  }

  /** A signed datagram to HOST:PORT. */
  answerInvite(to: string, body: Body): void {
    const { host, port } = parseAddress(to);
    this.#datagrams!.send(envelope(this.#options.client.next(), body), host, port, 0);
  }

  /** Ends both. */
  async close(): Promise<void> {
    await this.#datagrams?.close();
    await this.#server?.close();
  }

  #datagram({ body }: Message, { name, role }: Signer, from: string): void {
    const { call, identity, onRefused } = this.#options;
    if (role !== "manager") return onRefused(`${name} is no manager`, from);
    if (body.verb !== "invite" && body.verb !== "release") return;
    if (name === identity.name) return; // our own, looped back
    const replyTo = body.verb === "invite" && body.replyTo !== "" ? body.replyTo : from;
    call((now) => this.#resource.handleRequest(name, body, -1, replyTo, now));
  }

  #request(body: Body, peer: Peer, answer: AnswerTo): void {
    const { call, identity } = this.#options;
    const refusal = this.#tickets.refusal(peer);
    if (refusal !== null) return answer(nackOf(body, identity.name, refusal));
    const ticket = this.#tickets.take(answer);
    call((now) => this.#resource.handleRequest(peer.name, body, ticket, "", now));
  }
}
