/**
 * A hub with its outputs, made from a configuration: its database, the outputs at the positions that
 * are stored, a sender for each output that forwards.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { NodeCrypto } from "../../io/crypto.ts";
import { type Database, DatabaseError } from "../../io/database.ts";
import type { AuthOptions } from "../../proto/msgr2/messenger.ts";
import type { MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { SPOOL_ID_SIZE } from "../../wire/gateway/envelope.ts";
import { Priority } from "../../proto/gateway/schedule.ts";
import type { HubConfig } from "../config/hub_config.ts";
import type { Change } from "../config/reload.ts";
import { Endpoint, type IoRoad } from "../endpoint.ts";
import { entityOptions } from "../entity_options.ts";
import { Sender } from "../gateway/sender.ts";
import { FairleadType } from "../message_types.ts";
import { openOutput } from "../outputs/open.ts";
import { outputCounts } from "../outputs/counts.ts";
import { SseOutput } from "../outputs/sse.ts";
import { StdoutOutput } from "../outputs/stdout.ts";
import type { Handler } from "../status/http.ts";
import { Spool, SPOOL_SCHEMA } from "../spool/spool.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import { WitnessServer } from "../standby/witness_server.ts";
import type { PathsOf } from "../status/snapshot.ts";
import { ForwardOutput } from "./forward.ts";
import { Hub, type HubOutput, openHubDatabase } from "./hub.ts";
import { HubStore } from "./hub_store.ts";
import { makeStateDirectory } from "../state_directory.ts";
import type { Output } from "./output.ts";

/** What waits to be forwarded: above it gateways wait. */
const FORWARD_BYTES_MAX = 256 * 1024 * 1024;
const TICK_MS = 1000;

/** How a {@linkcode HubService} is made. */
export interface HubServiceOptions {
  readonly config: HubConfig;
  /** For those who connect. */
  readonly auth: AuthOptions;
  readonly journal: Journal;
  readonly alarms: Alarms;
  /** An output beside those of the configuration: a live view. */
  readonly view: Output | null;
  /** Tells the paths of a session's MPTCP connection; without it they are not told. */
  readonly pathsOf?: PathsOf;
}

/** An output with what it was made from. */
export interface RunningOutput {
  readonly output: Output;
  readonly type: string;
}

/** A running hub. */
export class HubService {
  readonly hub: Hub;
  readonly outputs: Map<string, RunningOutput>;
  readonly senders: ReadonlyMap<string, Sender>;
  readonly spool: Spool | null;
  /** Streams of server-sent events, for the status listener. */
  readonly routes = new Map<string, Handler>();
  /** Tells the paths of an MPTCP connection; null when nobody does. */
  readonly pathsOf: PathsOf | null;
  #config: HubConfig;
  readonly #store: HubStore;
  readonly #view: Output | null;
  readonly #journal: Journal;
  readonly #database: Database;
  readonly #witness: WitnessServer | null;
  readonly #endpoint: Endpoint | null;
  readonly #timer: ReturnType<typeof setInterval>;

  /**
   * Opens everything and listens.
   *
   * @throws when the database, an output or the address cannot be used, naming the remedy
   */
  static async open(options: HubServiceOptions): Promise<HubService> {
    const { config } = options;
    if (config.state !== null) await makeStateDirectory(config.state);
    const path = config.state === null ? null : `${config.state}/hub.db`;
    const database = await openDatabase(path);
    const outputs = new Map<string, RunningOutput>();
    try {
      const store = new HubStore(database);
      const forwarding = forwardsOf(config);
      const spool = forwarding.length > 0 ? openForwardSpool(database, config.name) : null;
      for (const stream of spool?.streams ?? []) {
        // What waits for an output that is gone goes to those that there are.
        if (!stream.hubs.some((hub) => forwarding.includes(hub))) stream.hubs = forwarding;
      }
      for (const [name, output] of Object.entries(config.outputs)) {
        const { type } = output;
        const opened = type === "forward"
          ? new ForwardOutput(name, output.required, output.addresses, spool!)
          : await openOutput(name, output, store.position(name));
        outputs.set(name, { output: opened, type });
      }
      return await HubService.#listen(options, database, store, spool, outputs);
    } catch (error) {
      for (const { output } of outputs.values()) await output.close();
      database.close();
      throw error;
    }
  }

  static async #listen(
    options: HubServiceOptions,
    database: Database,
    store: HubStore,
    spool: Spool | null,
    outputs: Map<string, RunningOutput>,
  ): Promise<HubService> {
    const { alarms, auth, config, journal } = options;
    let service: HubService | null = null;
    const hub = await Hub.open({
      address: config.listen,
      auth,
      io: config.io as IoRoad,
      transport: config.transport,
      onTcpOnly: (why) => journal.note(why),
      database,
      store,
      outputs: wantedOf(outputs, config, options.view),
      spool,
      onEvent: (event) => journal.noteEvent(event, null),
      note: (text) => journal.event("warning", "foreign_message", text),
      onStored: () => service?.pump(),
      onTrouble: (code, text, name) => {
        if (text === null) alarms.clear(code, name);
        else alarms.raise(code, "error", text, name);
      },
    });
    try {
      const witness = await openWitness(options);
      service = new HubService(options, hub, database, store, spool, outputs, witness);
      return service;
    } catch (error) {
      await hub.close();
      throw error;
    }
  }

  private constructor(
    { auth, config, journal, pathsOf, view }: HubServiceOptions,
    hub: Hub,
    database: Database,
    store: HubStore,
    spool: Spool | null,
    outputs: Map<string, RunningOutput>,
    witness: WitnessServer | null,
  ) {
    this.#witness = witness;
    this.#config = config;
    this.#store = store;
    this.#view = view;
    this.#journal = journal;
    this.pathsOf = pathsOf ?? null;
    this.hub = hub;
    this.outputs = outputs;
    for (const name of outputs.keys()) this.#route(name);
    this.spool = spool;
    this.#database = database;
    const senders = new Map<string, Sender>();
    this.senders = senders;
    this.#endpoint = spool === null ? null : new Endpoint({
      ...entityOptions(config.name),
      auth,
      io: config.io as IoRoad,
      transport: config.transport,
    });
    this.#endpoint?.onEvent((event) => this.#handleEvent(event));
    this.#endpoint?.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) !== FairleadType.Welcome) continue;
        for (const sender of senders.values()) sender.handleWelcome(batch, index);
      }
    });
    for (const [name, output] of Object.entries(config.outputs)) {
      if (output.type !== "forward") continue;
      senders.set(
        name,
        new Sender({
          endpoint: this.#endpoint!,
          spool: spool!,
          gateway: config.name,
          hub: name,
          addresses: output.addresses,
          feedOf: (stream) =>
            stream.hubs.includes(name) ? { priority: Priority.Normal, messagesPerSecond: 0 } : null,
          onAcknowledged: () => hub.touch(),
          note: (text) => journal.note(text),
        }),
      );
    }
    this.#timer = setInterval(() => journal.flush(), TICK_MS);
  }

  /** Rejects when the reader of standard output is gone, and there is no other output. */
  get gone(): Promise<never> {
    const [only, ...others] = [...this.outputs.values()].map(({ output }) => output);
    if (only instanceof StdoutOutput && others.length === 0) return only.gone;
    return new Promise(() => {});
  }

  /** The configuration that runs. */
  get config(): HubConfig {
    return this.#config;
  }

  /** Takes over changed outputs, between two rounds; problems are told in the journal. */
  async reload(config: HubConfig, changes: readonly Change[]): Promise<void> {
    const names = changes.map(({ path }) => path.split(".")).filter(([part]) => part === "outputs")
      .map(([, name]) => name!);
    const possible = names.filter((name) => {
      const types = [this.#config.outputs[name]?.type, config.outputs[name]?.type];
      if (!types.includes("forward")) return true;
      const text = `Cannot change outputs.${name} while running as it forwards: restart to use it`;
      this.#journal.event("warning", "not_reloaded", text, { name });
      return false;
    });
    const outputs = { ...this.#config.outputs };
    for (const name of possible) {
      delete outputs[name];
      const next = config.outputs[name];
      if (next !== undefined) outputs[name] = next;
    }
    this.#config = { ...config, outputs };
    this.#journal.format = config.log.format;
    if (possible.length === 0) return;
    await this.hub.setOutputs(async () => {
      for (const name of possible) await this.#reopen(name);
      return wantedOf(this.outputs, this.#config, this.#view);
    });
  }

  async #reopen(name: string): Promise<void> {
    await this.outputs.get(name)?.output.close();
    this.outputs.delete(name);
    const config = this.#config.outputs[name];
    if (config === undefined || config.type === "forward") {
      this.#route(name);
      return;
    }
    try {
      const output = await openOutput(name, config, this.#store.position(name));
      this.outputs.set(name, { output, type: config.type });
    } catch (error) {
      const output = closedOutput(name, config.required, (error as Error).message);
      this.outputs.set(name, { output, type: config.type });
      this.#journal.event("error", "output_closed", output.trouble, { name });
    }
    this.#route(name);
  }

  #route(name: string): void {
    const running = this.outputs.get(name);
    const path = `/stream/${name}`;
    if (running === undefined || !(running.output instanceof SseOutput)) this.routes.delete(path);
    else {
      const { output } = running;
      this.routes.set(path, (request) => output.handler(request));
    }
  }

  /** More is on the disk. */
  pump(): void {
    for (const sender of this.senders.values()) sender.pump();
  }

  /** Ends; gateways keep what is not acknowledged. Returns how many messages wait to be forwarded. */
  async close(deadlineMs: number): Promise<number> {
    await this.#witness?.close();
    await this.hub.close();
    const waiting = await Promise.all(
      [...this.senders.values()].map((sender) => sender.drain(deadlineMs)),
    );
    for (const sender of this.senders.values()) sender.close();
    await this.hub.storeRest();
    await this.#endpoint?.close();
    clearInterval(this.#timer);
    for (const { output } of this.outputs.values()) await output.close();
    this.#database.close();
    return waiting.reduce((sum, count) => sum + count, 0);
  }

  #handleEvent(event: MessengerEvent): void {
    const sender = [...this.senders.values()].find(({ session }) => session === event.session);
    if (sender === undefined) return;
    sender.handleEvent(event);
    this.#journal.noteEvent(event, `hub ${sender.name}`);
  }
}

/** Where boxes of pairs ask; null when they do not ask here. */
async function openWitness(
  { auth, config, journal }: HubServiceOptions,
): Promise<WitnessServer | null> {
  if (config.witness === false) return null;
  const server = await WitnessServer.open({
    listen: config.witness.listen,
    auth,
    state: config.state!, // the configuration was checked for it
    note: (text) => journal.note(text),
    onEvent: (event) => journal.noteEvent(event, null),
  });
  journal.note(`Witness at ${server.address}`);
  return server;
}

/** Stands for an output that could not be opened: if it is required, nothing is acknowledged. */
function closedOutput(name: string, required: boolean, why: string): Output {
  return {
    name,
    required,
    counts: outputCounts(),
    where: "",
    trouble: `Output ${name} is closed: ${why}`,
    take(): void {
      this.counts.dropped++;
    },
    flush: () => Promise.reject(new Error(`it is closed: ${why}`)),
    position: () => null,
    close: () => Promise.resolve(),
  };
}

/** The outputs with their filters. */
function wantedOf(
  outputs: ReadonlyMap<string, RunningOutput>,
  config: HubConfig,
  view: Output | null,
): HubOutput[] {
  const wanted = [...outputs].map(([name, { output }]): HubOutput => ({
    output,
    topic: config.outputs[name]!.topic,
  }));
  return view === null ? wanted : [...wanted, { output: view, topic: "#" }];
}

function forwardsOf(config: HubConfig): string[] {
  return Object.entries(config.outputs).filter(([, { type }]) => type === "forward")
    .map(([name]) => name);
}

/** A damaged one is left to a person: what it held decides what comes twice. */
async function openDatabase(path: string | null): Promise<Database> {
  try {
    return await openHubDatabase(path, SPOOL_SCHEMA);
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.trouble !== "damaged") throw error;
    throw new Error(
      `${error.message}; put back a backup of it, or move it aside (mv ${path} ${path}.damaged): ` +
        "the hub then forgets what it has, and what gateways still hold may come twice",
    );
  }
}

function openForwardSpool(database: Database, name: string): Spool {
  const crypto = new NodeCrypto();
  let spool: Spool | null = null;
  database.transaction(() => {
    spool = new Spool({
      database,
      gateway: name,
      randomId: () => crypto.randomBytes(SPOOL_ID_SIZE),
      nowMs,
      bytesMax: FORWARD_BYTES_MAX,
      ageMaxMs: 0,
      whenFull: "block",
      renew: false,
    });
  });
  return spool!;
}
