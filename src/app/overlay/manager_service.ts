/**
 * The overlay manager, OM of the X-Bone control protocol: takes specifications from operators, invites,
 * selects, dispatches and configures nodes, and keeps what became of it. The decisions are those of Manager;
 * here are its ports.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { randomHex, sha256Hex } from "../../io/pki.ts";
import { Design } from "../../proto/xbone/design.ts";
import {
  type Candidate,
  type MachineTools,
  type ManagerEvent,
  type ManagerRecord,
  overlayKey,
  TIMERS,
  type Timers,
} from "../../proto/xbone/machine.ts";
import { Manager } from "../../proto/xbone/manager.ts";
import type { OverlaySpec, SpecNetwork } from "../../proto/xbone/overlay_spec.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import type { AckInvite, Body, Message } from "../../wire/xbone/messages.ts";
import type { ManagerConfig } from "../config/overlay_manager_config.ts";
import { delay } from "../delay.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import { ControlClient } from "./control_client.ts";
import { ControlDatagrams } from "./control_datagrams.ts";
import { envelope } from "./control_server.ts";
import { type Identity, loadIdentity, type Role } from "./identity.ts";
import { type Driven, failedText, MachineRunner } from "./machine_runner.ts";
import { ManagerAbove } from "./manager_above.ts";
import { OverlayEntry, type OverlayMemo } from "./overlay_entry.ts";
import { type OverlayPlan, planOf } from "./overlay_plan.ts";
import { failureText, inTheWay, OverlayTeller } from "./overlay_teller.ts";
import type { OverlayProgress, OverlayView } from "./overlay_view.ts";
import { RecordStore } from "./record_store.ts";
import { SignedDatagrams, type Signer } from "./signed_datagram.ts";
import { specDigest } from "./spec.ts";

/** Overlays at once. */
const OVERLAYS_MAX = 64;
const EPOCH_BYTES = 8;
/** Of a status: beyond what probes may take themselves. */
const STATUS_SLACK_MS = 2000;
const PROBE_WAIT_MS = 1500;

/** What it is opened with. */
export interface ManagerServiceOptions {
  readonly config: ManagerConfig;
  readonly journal: Journal;
  readonly alarms: Alarms;
}

/** Hears what happens while overlays are formed. */
export type ProgressListener = (overlay: string, progress: OverlayProgress) => void;

/** The running manager. */
export class ManagerService {
  readonly identity: Identity;
  readonly #options: ManagerServiceOptions;
  readonly #tools: MachineTools;
  readonly #runner: MachineRunner;
  readonly #records: RecordStore;
  readonly #client: ControlClient;
  /** By their keys; a name may have a second one that is on its way out. */
  readonly #entries = new Map<string, OverlayEntry>();
  readonly #driven = new Map<string, Driven>();
  readonly #listeners = new Set<ProgressListener>();
  /** Answers to questions that reserve nothing, by epoch. */
  readonly #asking = new Map<string, Map<string, Candidate>>();
  readonly #teller: OverlayTeller;
  readonly #above: ManagerAbove | null;
  #down: ControlDatagrams | null = null;

  /**
   * Reads keys and records, listens, and goes on where it was.
   *
   * @throws with the remedy
   */
  static async open(options: ManagerServiceOptions): Promise<ManagerService> {
    const { config } = options;
    const identity = await loadIdentity(config.identity);
    if (identity.role !== "manager") {
      throw new Error(
        `Cannot be an overlay manager as the certificate's role must be manager: current value is ` +
          `${identity.role}, make one with fairlead overlay keys node NAME --role manager`,
      );
    }
    const records = await RecordStore.open(`${config.state}/records`);
    const service = new ManagerService(options, identity, records);
    try {
      // Before anybody can ask: who were told that nothing is known of an overlay would give it up.
      service.#restore(records.load());
      await service.#listen();
    } catch (error) {
      await service.close();
      throw error;
    }
    for (const driven of service.#driven.values()) service.#runner.add(driven);
    service.#runner.pump();
    return service;
  }

  private constructor(options: ManagerServiceOptions, identity: Identity, records: RecordStore) {
    const { alarms, config } = options;
    this.#options = options;
    this.#records = records;
    this.identity = identity;
    this.#tools = { node: identity.name, timers: timersOf(config), sha256: sha256Hex };
    // Wall time: numbers grow over restarts, unless the clock is set back.
    this.#client = new ControlClient(identity, Date.now() * 1000);
    this.#runner = new MachineRunner({
      records,
      multicast: (body, ttl) => this.#invite(body, ttl),
      unicast: (to, body) => this.#above?.answerInvite(to, body),
      request: (to, body, waitMs) => this.#client.request(to, body, waitMs),
      answer: (ticket, body) => this.#above?.answer(ticket, body),
      tell: (key, event) => this.#tell(key, event),
      trouble: (text) => {
        if (text === null) alarms.clear("overlay_record");
        else alarms.raise("overlay_record", "error", text);
      },
      failed: (error) => options.journal.event("error", "overlay_internal", failedText(error)),
    });
    this.#teller = new OverlayTeller(options.journal, alarms);
    this.#above = config.above === false ? null : new ManagerAbove({
      config,
      identity,
      tools: this.#tools,
      client: this.#client,
      overlaysMax: OVERLAYS_MAX,
      call: (does) => this.#runner.call(does),
      onRefused: (reason, from) => this.#refused(reason, from),
    }, config.above);
    if (this.#above !== null) this.#runner.add(this.#above.driven);
  }

  /** Every overlay, by name. */
  list(): OverlayView[] {
    return [...this.#entries.values()].map((entry) => entry.view())
      .sort((a, b) => a.name < b.name ? -1 : 1);
  }

  /** Hears progress until what it returns is called. */
  listen(listener: ProgressListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Forms an overlay; returns when it is ACTIVE, or READY when it is held. The same one again changes
   * nothing, unless a box is not as it was configured: then it is formed again.
   *
   * @throws when it does not become, naming node and reason, after everything was undone
   */
  async create(
    spec: OverlaySpec,
    hold: boolean,
    replace: boolean,
  ): Promise<{ overlay: OverlayView; unchanged: boolean; drift: readonly string[] }> {
    const digest = specDigest(spec, sha256Hex);
    const present = this.#living(spec.name);
    let drift: readonly string[] = [];
    if (present !== null) {
      const same = present.memo.digest === digest;
      if (same && present.manager.state === "ACTIVE") {
        drift = await this.#drift(present);
        if (drift.length === 0) return { overlay: present.view(), unchanged: true, drift };
      }
      const mayGo = same ? present.manager.state === "ACTIVE" : replace;
      if (!mayGo) throw new Error(inTheWay(present, digest));
      if (this.#living(spec.name) === present) await this.#end(present, "to be formed again");
    }
    const other = this.#living(spec.name);
    if (other !== null) throw new Error(inTheWay(other, digest));
    if (this.#entries.size >= OVERLAYS_MAX) {
      throw new Error(
        `Cannot form overlay ${spec.name} as there may be ${OVERLAYS_MAX}: destroy one first`,
      );
    }
    const entry = this.#begin(spec, digest, hold);
    const done = entry.when(({ event }) => event === "reached" || event === "gone");
    const driven = this.#driven.get(entry.manager.key)!;
    entry.manager.start(nowMs());
    this.#runner.add(driven);
    await done;
    return { overlay: this.#formed(entry), unchanged: false, drift };
  }

  /** Goes on with an overlay that was held. */
  async config(name: string): Promise<OverlayView> {
    const entry = this.#entry(name);
    if (entry.manager.state !== "READY") {
      throw new Error(
        `Cannot configure overlay ${name} as it must be READY: current state is ` +
          `${entry.manager.state}, only apply --hold waits for it`,
      );
    }
    const done = entry.when(({ event }) => event === "reached" || event === "gone");
    entry.manager.configure(nowMs());
    this.#runner.pump();
    await done;
    return this.#formed(entry);
  }

  /** Ends one that is not ACTIVE; what nodes did not answer. */
  async cancel(name: string): Promise<readonly string[]> {
    const entry = this.#entry(name);
    if (entry.manager.state === "ACTIVE") {
      throw new Error(
        `Cannot cancel overlay ${name} as it is ACTIVE: fairlead overlay destroy ${name} ends it`,
      );
    }
    return await this.#end(entry, "cancelled by the operator");
  }

  /** Ends one, whatever its state; the nodes that did not answer, which are tried on. */
  async destroy(name: string): Promise<readonly string[]> {
    return await this.#end(this.#entry(name), "destroyed by the operator");
  }

  /** Probes every link, or with 0 reads counters only; of one that is gone, where something is left of it. */
  async status(name: string, probes: number): Promise<OverlayView> {
    const last = [...this.#entries.values()].findLast(({ manager }) =>
      manager.record.order.name === name
    );
    const entry = this.#living(name) ?? last ?? this.#entry(name);
    await this.#look(entry, probes);
    return entry.view();
  }

  /** Who answers an invitation that reserves nothing. */
  async discover(): Promise<Candidate[]> {
    const epoch = randomHex(EPOCH_BYTES);
    const found = new Map<string, Candidate>();
    const nobody = { count: 0, os: ["any"] };
    const { inviteMs, rings } = this.#tools.timers;
    this.#asking.set(epoch, found);
    try {
      for (const ttl of rings) {
        this.#invite({
          verb: "invite",
          ...{ application: "overlay", name: "discover", version: "", level: 0, epoch },
          ...{ host: nobody, router: nobody, meta: 0, subs: [], routing: "static", qos: false },
          ...{ encryption: "none", script: null, ttl, replyTo: "", holdMs: 0 },
          path: [this.identity.name],
        }, ttl);
        await delay(inviteMs);
      }
    } finally {
      this.#asking.delete(epoch);
    }
    return [...found.values()].sort((a, b) => a.node < b.node ? -1 : 1);
  }

  /** What {@linkcode create} would do; nothing is touched. */
  async plan(spec: OverlaySpec): Promise<OverlayPlan> {
    const present = this.#living(spec.name);
    const digest = specDigest(spec, sha256Hex);
    const before = present === null ? [] : present.manager.record.plans;
    const same = present?.memo.digest === digest && present.manager.state === "ACTIVE";
    const drift = same ? await this.#drift(present) : [];
    const unchanged = same && drift.length === 0;
    const design = new Design(spec, randomHex(EPOCH_BYTES), randomHex);
    const candidates = unchanged ? [] : await this.discover();
    const others = [...this.#entries.values()].filter(({ manager }) =>
      manager !== present?.manager
    );
    const beside = others.flatMap(({ manager }) => manager.record.plans);
    return planOf({ spec, digest, design, candidates, before, beside, unchanged, drift });
  }

  /** Ends it; overlays stay, until their leases are over or the manager comes back. */
  async close(): Promise<void> {
    this.#runner.close();
    this.#client.close();
    await this.#down?.close();
    await this.#above?.close();
    this.#records.close();
  }

  #begin(spec: OverlaySpec, digest: string, hold: boolean): OverlayEntry {
    const epoch = randomHex(EPOCH_BYTES);
    const design = new Design(spec, epoch, randomHex);
    const memo: OverlayMemo = { spec, digest, sinceMs: Date.now() };
    const { application, encryption, name, revisit, routing, script, version } = spec;
    const manager = new Manager(this.#tools, {
      ...{ name, application, version, epoch, level: 0, path: [] },
      ...{ need: design.need, revisit, routing, encryption },
      qos: spec.rateBits > 0 || hasRates(spec),
      script: script === null
        ? null
        : { name: script.name, script: script.script, sha256: script.sha256 },
      hold: hold ? "ready" : "none",
      probe: true,
      memo,
      holdMs: 0,
    }, design);
    return this.#enter(manager, memo);
  }

  #enter(manager: Manager, memo: OverlayMemo): OverlayEntry {
    const entry = new OverlayEntry(manager, memo);
    this.#entries.set(manager.key, entry);
    this.#driven.set(manager.key, drivenManager(manager));
    return entry;
  }

  #restore(records: ReadonlyMap<string, unknown>): void {
    const now = nowMs();
    for (const [key, record] of records) {
      if (ManagerAbove.owns(key)) {
        this.#above?.restore(key, record);
        continue;
      }
      try {
        const kept = record as ManagerRecord;
        const memo = kept.order.memo as OverlayMemo;
        const design = new Design(memo.spec, kept.order.epoch, randomHex);
        this.#enter(Manager.restore(this.#tools, kept, design, now), memo);
      } catch (error) {
        throw new Error(
          `Cannot go on with overlay ${key} as its record is damaged: ${
            (error as Error).message
          }; ` +
            `put back a backup of ${this.#options.config.state}/records, or move that record away`,
        );
      }
    }
  }

  #tell(key: string, event: ManagerEvent): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.handle(event, Date.now());
    this.#teller.tell(entry, event);
    if (event.event === "progress") {
      const { name } = entry.manager.record.order;
      for (const listener of this.#listeners) listener(name, event);
    }
    const isOver = event.event === "gone" || event.event === "cleaned";
    if (event.event === "forgotten" || isOver && entry.view().orphans.length === 0) {
      this.#forget(key);
    }
  }

  #forget(key: string): void {
    const driven = this.#driven.get(key);
    if (driven !== undefined) this.#runner.remove(driven);
    this.#driven.delete(key);
    this.#entries.delete(key);
  }

  #living(name: string): OverlayEntry | null {
    for (const entry of this.#entries.values()) {
      const { record: { order }, state } = entry.manager;
      if (order.name === name && state !== "IDLE") return entry;
    }
    return null;
  }

  #entry(name: string): OverlayEntry {
    const entry = this.#living(name);
    if (entry !== null) return entry;
    const names = this.list().filter(({ state }) => state !== "IDLE").map((one) => one.name);
    throw new Error(
      `Cannot find overlay: current value is "${name}", ` +
        (names.length === 0 ? "there is none" : `those there are: ${names.join(", ")}`),
    );
  }

  /** What every box says now. */
  async #look(entry: OverlayEntry, probes: number): Promise<void> {
    const { manager } = entry;
    if (manager.state !== "ACTIVE") return;
    const late = new AbortController();
    const told = entry.when(
      ({ event }) => event === "status" || event === "gone",
      late.signal,
    );
    entry.probes = probes;
    this.#runner.call((now) => manager.status(probes, PROBE_WAIT_MS, now));
    await Promise.race([
      told,
      delay(this.#tools.timers.probeMs + PROBE_WAIT_MS + STATUS_SLACK_MS, late.signal),
    ]);
    late.abort();
  }

  async #drift(entry: OverlayEntry): Promise<readonly string[]> {
    await this.#look(entry, 0);
    return entry.drift;
  }

  async #end(entry: OverlayEntry, reason: string): Promise<readonly string[]> {
    const gone = entry.when(({ event }) => event === "gone");
    entry.manager.destroy(nowMs(), reason);
    this.#runner.pump();
    const event = await gone;
    return event.event === "gone" ? event.orphans : [];
  }

  #formed(entry: OverlayEntry): OverlayView {
    const { failure } = entry;
    if (failure === null) return entry.view();
    const { name } = entry.manager.record.order;
    const { orphans } = entry.view();
    const left = orphans.length === 0
      ? "everything was undone"
      : `${orphans.join(", ")} did not answer and will be undone later`;
    throw new Error(`${failureText(name, failure)}; ${left}`);
  }

  async #listen(): Promise<void> {
    const { config } = this.#options;
    const group = config.group === false ? null : parseAddress(config.group);
    const signed = new SignedDatagrams(this.identity);
    this.#down = await ControlDatagrams.open({
      host: group?.host.includes(":") === true ? "::" : "0.0.0.0",
      port: 0,
      group: null,
      interface: config.interface ?? "",
      signed,
      onMessage: (message, signer, from) => this.#ackInvite(message, signer, from),
      onRefused: (reason, from) => this.#refused(reason, from),
    });
    await this.#above?.listen();
  }

  #refused(reason: string, from: string): void {
    const { journal } = this.#options;
    journal.event("warning", "overlay_refused", `Not heard from ${from}: ${reason}`, {
      name: from.slice(0, from.lastIndexOf(":")), // a storm from many ports is one storm
    });
  }

  #ackInvite({ body }: Message, { name, role }: Signer, from: string): void {
    if (body.verb !== "ack-invite" && body.verb !== "nack") return;
    const wanted: Role = body.verb === "ack-invite" && body.type === "meta" ? "manager" : "node";
    if (body.verb === "ack-invite" && role !== wanted) {
      return this.#refused(`${name} offers to be ${body.type}, and is ${role}`, from);
    }
    const asking = this.#asking.get(body.epoch);
    if (asking !== undefined) {
      if (body.verb === "ack-invite") asking.set(name, candidateOf(name, body));
      return;
    }
    const entry = this.#entries.get(overlayKey(body.name, body.epoch));
    this.#runner.call((now) => {
      if (entry !== undefined) entry.manager.handleMessage(name, body, now);
      else this.#above?.driven.handleAnswer(name, body, now);
    });
  }

  #invite(body: Body, ttl: number): void {
    const { config } = this.#options;
    const message = envelope(this.#client.next(), body, this.#client.credential);
    const group = config.group === false ? null : parseAddress(config.group);
    if (group !== null) this.#down!.send(message, group.host, group.port, ttl);
    for (const node of config.nodes) {
      const { host, port } = parseAddress(node);
      this.#down!.send(message, host, port, 0);
    }
  }
}

function hasRates({ links, subs }: SpecNetwork): boolean {
  return links.some(({ rateBits }) => rateBits > 0) || subs.some(hasRates);
}

function candidateOf(node: string, ack: AckInvite): Candidate {
  const { capabilities, free, guests, hostname, ipaddr, mtu, os, port, type } = ack;
  return { node, host: ipaddr, port, type, hostname, os, mtu, capabilities, free, guests };
}

function drivenManager(manager: Manager): Driven {
  return {
    pollOutput: () => manager.pollOutput(),
    pollDeadline: () => manager.pollDeadline(),
    handleDeadline: (now) => manager.handleDeadline(now),
    handleAnswer: (from, body, now) => manager.handleMessage(from, body, now),
    handleUnreachable: (to, body, reason, now) => manager.handleUnreachable(to, body, reason, now),
  };
}

function timersOf({ rings, timers }: ManagerConfig): Timers {
  const { config, delete: deleteMs, dispatch, invite, lease, probe, refresh, select, user } =
    timers;
  return {
    ...TIMERS,
    ...{ rings, inviteMs: invite, selectMs: select, dispatchMs: dispatch, userMs: user },
    ...{ configMs: config, probeMs: probe, deleteMs, refreshMs: refresh, leaseMs: lease },
  };
}
