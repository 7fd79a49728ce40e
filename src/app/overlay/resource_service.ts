/**
 * The resource daemon of an overlay, RD of the X-Bone control protocol: hears invitations, answers them with
 * what this box has, and becomes what it is configured to be. The decisions are those of Resource; here are
 * its ports.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { sha256Hex } from "../../io/pki.ts";
import { type Offer, TIMERS } from "../../proto/xbone/machine.ts";
import { Resource } from "../../proto/xbone/resource.ts";
import { nackOf } from "../../proto/xbone/responder_waiting.ts";
import type { Body, LinkState, Message } from "../../wire/xbone/messages.ts";
import type { ResourceConfig } from "../config/overlay_resource_config.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { aclOf } from "./acl.ts";
import { ControlClient } from "./control_client.ts";
import { ControlDatagrams } from "./control_datagrams.ts";
import { type AnswerTo, ControlServer, envelope } from "./control_server.ts";
import { type Identity, loadIdentity, type Peer } from "./identity.ts";
import { probeLinks } from "./link_probe.ts";
import { type Box, failedText, MachineRunner } from "./machine_runner.ts";
import { openNode } from "./node/open_node.ts";
import { hasMptcp } from "./node/endpoint_step.ts";
import type { Underlay } from "./node/route_kernel.ts";
import type { NodeConfigurer } from "./node/node_configurer.ts";
import type { ResourceDaemonView } from "./overlay_view.ts";
import { RecordStore } from "./record_store.ts";
import { SignedDatagrams, type Signer } from "./signed_datagram.ts";
import { Tickets } from "./tickets.ts";
import { underlayOf } from "./underlay.ts";

/** Answers to an invitation come within it, by chance. */
const ANSWER_SPREAD_MS = 100;

/** What it is opened with. */
export interface ResourceServiceOptions {
  readonly config: ResourceConfig;
  readonly journal: Journal;
  readonly alarms: Alarms;
}

/** The running daemon. */
export class ResourceService {
  readonly identity: Identity;
  readonly #options: ResourceServiceOptions;
  readonly #node: NodeConfigurer;
  readonly #resource: Resource;
  readonly #runner: MachineRunner;
  readonly #records: RecordStore;
  readonly #client: ControlClient;
  readonly #tickets = new Tickets();
  readonly #offer: Offer;
  /** Answers to invitations that are about to be sent. */
  readonly #later = new Set<ReturnType<typeof setTimeout>>();
  #server: ControlServer | null = null;
  #datagrams: ControlDatagrams | null = null;

  /**
   * Reads keys and journals, undoes what a dead daemon left half done, and listens.
   *
   * @throws with the remedy
   */
  static async open(options: ResourceServiceOptions): Promise<ResourceService> {
    const { config } = options;
    const identity = await loadIdentity(config.identity);
    const records = await RecordStore.open(`${config.state}/records`);
    const node = await openNode(config);
    const underlay = underlayOf(config.address, config.group === false ? null : config.group);
    const service = new ResourceService(options, identity, records, node, underlay);
    try {
      // Before anybody can ask: who were told that nothing is known of an overlay would give it up.
      const kept = records.load();
      for (const [key, record] of kept) service.#resource.restore(key, record, nowMs());
      // Steps of which no record tells are nobody's: they are undone.
      for (const key of node.keys()) {
        if (!kept.has(key)) service.#resource.restore(key, null, nowMs());
      }
      await service.#listen();
    } catch (error) {
      await service.close();
      throw error;
    }
    service.#runner.pump();
    return service;
  }

  private constructor(
    options: ResourceServiceOptions,
    identity: Identity,
    records: RecordStore,
    node: NodeConfigurer,
    underlay: Underlay,
  ) {
    this.#options = options;
    this.#records = records;
    this.identity = identity;
    this.#node = node;
    const { config } = options;
    const capabilities = node.capabilities();
    this.#offer = {
      type: config.role,
      hostname: Deno.hostname(),
      ipaddr: underlay.source,
      port: parseAddress(config.listen).port,
      os: Deno.build.os,
      mtu: underlay.mtu,
      capabilities: [
        ...capabilities,
        ...(hasMptcp() ? ["mptcp"] : []),
        ...(config.hosts === false ? [] : ["hosts"]),
        ...(config.script === false ? [] : ["script"]),
        ...(config.routing === null ? [] : ["routing-dynamic", `routing-${config.routing}`]),
      ],
      overlaysMax: config.overlays,
      tellsRefusals: config.refusals,
    };
    // Wall time: numbers grow over restarts, unless the clock is set back.
    this.#client = new ControlClient(identity, Date.now() * 1000);
    this.#resource = new Resource(
      {
        node: identity.name,
        timers: { ...TIMERS, leaseMsMax: config.leaseSeconds * 1000 },
        sha256: sha256Hex,
      },
      () => this.#offer,
      aclOf(config.acl),
      null,
    );
    this.#runner = new MachineRunner({
      records,
      box: this.#box(),
      multicast: () => {},
      unicast: (to, body) => this.#send(to, body),
      request: (to, body, waitMs) => this.#client.request(to, body, waitMs),
      answer: (ticket, body) => this.#tickets.answer(ticket, body),
      tell: () => {},
      trouble: (text) => {
        if (text === null) options.alarms.clear("overlay_record");
        else options.alarms.raise("overlay_record", "error", text);
      },
      failed: (error) => options.journal.event("error", "overlay_internal", failedText(error)),
    });
    const resource = this.#resource;
    this.#runner.add({
      pollOutput: () => resource.pollOutput(),
      pollDeadline: () => resource.pollDeadline(),
      handleDeadline: (now) => resource.handleDeadline(now),
      handleAnswer: (from, body, now) => resource.handleAnswer(from, body, now),
      handleUnreachable: (to, body, reason, now) =>
        resource.handleUnreachable(to, body, reason, now),
      box: resource,
    });
  }

  /** What it does now. */
  view(): ResourceDaemonView {
    // Machines have a clock that never goes back; people have the one on the wall.
    const shift = Date.now() - nowMs();
    return {
      node: this.identity.name,
      control: this.#options.config.listen,
      address: this.#offer.ipaddr,
      capabilities: this.#offer.capabilities,
      overlays: this.#resource.list().map((overlay) => ({
        ...overlay,
        sinceMs: overlay.sinceMs + shift,
        untilMs: overlay.untilMs + shift,
      })),
      datagrams: this.#datagrams!.counts,
      connections: this.#server!.counts,
      refusals: this.#resource.counts.refusals,
    };
  }

  /** Stops listening. What is configured stays, until its lease is over or the daemon comes back. */
  async close(): Promise<void> {
    this.#runner.close();
    for (const timer of this.#later) clearTimeout(timer);
    this.#client.close();
    await this.#datagrams?.close();
    await this.#server?.close();
    this.#records.close();
    this.#node.close();
  }

  async #listen(): Promise<void> {
    const { config } = this.#options;
    const { host, port } = parseAddress(config.listen);
    this.#server = await ControlServer.open({
      host,
      port,
      identity: this.identity,
      onRequest: (body, peer, answer) => this.#request(body, peer, answer),
      onRefused: (reason, from) => this.#refused(reason, from),
    });
    const group = config.group === false ? null : parseAddress(config.group);
    this.#datagrams = await ControlDatagrams.open({
      host: group === null ? host : group.host.includes(":") ? "::" : "0.0.0.0",
      port: group === null ? port : group.port,
      group: group?.host ?? null,
      interface: config.interface ?? "",
      signed: new SignedDatagrams(this.identity),
      onMessage: (message, signer, from) => this.#datagram(message, signer, from),
      onRefused: (reason, from) => this.#refused(reason, from),
    });
  }

  #datagram({ body }: Message, signer: Signer, from: string): void {
    if (signer.role !== "manager") return this.#refused(`${signer.name} is no manager`, from);
    if (body.verb !== "invite" && body.verb !== "release") return;
    const replyTo = body.verb === "invite" && body.replyTo !== "" ? body.replyTo : from;
    this.#runner.call((now) => this.#resource.handleRequest(signer.name, body, -1, replyTo, now));
  }

  #request(body: Body, peer: Peer, answer: AnswerTo): void {
    const refusal = this.#tickets.refusal(peer);
    if (refusal !== null) return answer(nackOf(body, this.identity.name, refusal));
    const ticket = this.#tickets.take(answer);
    this.#runner.call((now) => this.#resource.handleRequest(peer.name, body, ticket, "", now));
  }

  /** Not all boxes at once: some 90 datagrams are what a manager's socket holds. */
  #send(to: string, body: Body): void {
    const { host, port } = parseAddress(to);
    const message = envelope(this.#client.next(), body);
    const timer = setTimeout(() => {
      this.#later.delete(timer);
      this.#datagrams?.send(message, host, port, 0);
    }, Math.random() * ANSWER_SPREAD_MS);
    this.#later.add(timer);
  }

  #refused(reason: string, from: string): void {
    this.#options.journal.event("warning", "overlay_refused", `Not heard from ${from}: ${reason}`, {
      name: from.slice(0, from.lastIndexOf(":")), // a storm from many ports is one storm
    });
  }

  async #mend(key: string): Promise<void> {
    const failure = await this.#node.mend(key);
    if (failure === null) return;
    const { reason, step } = failure;
    this.#options.journal.event(
      "error",
      "overlay_apply",
      `Overlay ${key} cannot be made again as it was, at ${step}: ${reason}`,
    );
  }

  #box(): Box {
    const { journal } = this.#options;
    const node = this.#node;
    return {
      apply: async (plan, generation, keysOnly) => {
        const what = keysOnly ? "New keys" : "Configuration";
        const failure = keysOnly
          ? await node.rekey(plan, generation)
          : await node.apply(plan, generation);
        if (failure === null) {
          journal.note(`${what} of overlay ${plan.overlay} applied`);
          if (plan.peers !== null && !keysOnly) {
            const { role } = plan.peers;
            const folder = `${this.#options.config.state}/overlays/${plan.overlay}`;
            journal.note(`A ${role} on it: fairlead ${role} --config ${folder}/${role}.json`);
          }
        } else {
          const { reason, step } = failure;
          journal.event(
            "error",
            "overlay_apply",
            `${what} of overlay ${plan.overlay} failed at ${step}: ${reason}`,
          );
        }
        return failure;
      },
      undo: async (key) => {
        const { reason = "" } = this.#resource.list().find((overlay) => overlay.key === key) ?? {};
        const left = await node.undo(key);
        if (left.length === 0) journal.note(`Overlay ${key} undone${reason && `: ${reason}`}`);
        else {journal.event(
            "error",
            "overlay_undo",
            `Overlay ${key} not undone: ${left.join("; ")}`,
          );}
        return left;
      },
      check: async (key, probes, waitMs, mend) => {
        if (mend) await this.#mend(key);
        const drift = node.drift(key);
        const probed = probes === 0 ? [] : await probeLinks(node.links(key), probes, waitMs);
        const counters = node.counters(key);
        const links = counters.map((counter): LinkState => {
          const { answered, rttUs, sent } = probed.find(({ link }) => link === counter.link) ??
            { answered: 0, rttUs: 0, sent: 0 };
          return { node: this.identity.name, ...counter, sent, answered, rttUs };
        });
        return { drift, links };
      },
    };
  }
}
