/**
 * One connection of an MQTT input: moves bytes between its socket and its machine, and messages
 * from the machine to the intake. While there is no room nothing more is read, so the client's own
 * socket fills. PUBACK and PUBREC leave once the intake says that their messages are durable.
 *
 * @module
 */
import { isUtf8 } from "node:buffer";
import { nowMs } from "../../io/clock.ts";
import { CloseReason, MqttConnection, MqttEvent } from "../../proto/mqtt/connection.ts";
import { NAME_BYTES_MAX } from "../../wire/gateway/envelope.ts";
import type { InputCounts, Intake } from "../gateway/intake.ts";
import type { MemoryBudget } from "./memory_budget.ts";

/** A client that does not read what is sent to it is closed after this. */
const WRITE_DEADLINE_MS = 30_000;
/** A will waits so long for room. */
const WILL_DEADLINE_MS = 10_000;
/** Longer payloads are not looked into for JSON: that would take milliseconds. */
const JSON_BYTES_MAX = 64 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What the connections of an input share. */
export interface MqttShared {
  readonly intake: Intake;
  readonly counts: InputCounts;
  /** For packets that are larger than the buffer of a connection. */
  readonly memory: MemoryBudget;
  readonly topicPrefix: string;
  /** Answers CONNECT. */
  admit(client: MqttClient): void;
  /** Something came from the network. */
  arrived(): void;
  /** A client did what it must not, or could not be served. */
  refused(text: string): void;
}

/** A connection from its accept to its end. */
export class MqttClient {
  readonly machine: MqttConnection = new MqttConnection(nowMs());
  readonly #conn: Deno.TcpConn;
  readonly #shared: MqttShared;
  #reserved = 0;
  #reading = false;
  #finishing = false;
  #acknowledging: Promise<void> | null = null;
  #writing: Promise<void> | null = null;
  #writeDueMs = Infinity;
  /** Resolved when nothing is waited for any more. */
  readonly #over = Promise.withResolvers<void>();
  /** Resolved when a blocked machine may go on. */
  #changed = Promise.withResolvers<void>();

  /** @param conn becomes this client's own */
  constructor(conn: Deno.TcpConn, shared: MqttShared) {
    this.#conn = conn;
    this.#shared = shared;
  }

  /** Serves it to its end. */
  async run(): Promise<void> {
    const { counts, memory } = this.#shared;
    const { machine } = this;
    counts.clients++;
    try {
      this.#conn.setNoDelay(true);
      await this.#readAll();
      if (!machine.closed) await Promise.race([this.#acknowledging, this.#over.promise]);
      this.close(CloseReason.Stopped, "");
      await this.#writing;
    } catch {
      machine.handleEnd(); // unless it is closed: it was us who closed the socket
    }
    this.#closeConn();
    memory.give(this.#reserved);
    counts.clients--;
    this.#count();
    await this.#publishWill();
  }

  /** Looks at the deadlines: call it about twice a second. */
  tick(): void {
    this.machine.handleDeadline(nowMs());
    if (nowMs() >= this.#writeDueMs) {
      this.machine.close(
        CloseReason.Deadline,
        "Cannot wait any longer for it to read: 30 s are over",
      );
    }
    if (this.machine.closed) this.#abort();
  }

  /** Closes it now, if it is not closed. */
  close(reason: CloseReason, text: string): void {
    if (this.machine.closed) return;
    this.machine.close(reason, text);
    if (this.#reading) this.#abort();
    this.#wake();
  }

  /** Takes what it holds already, acknowledges that, and closes. */
  async finish(): Promise<void> {
    this.#finishing = true;
    this.#shared.memory.wake();
    if (!this.#reading) return; // it will see
    await this.#acknowledging;
    await this.#writing;
    this.close(CloseReason.Stopped, "");
  }

  /** Ends whatever it waits for. */
  #abort(): void {
    this.#closeConn();
    this.#over.resolve();
    this.#wake();
    this.#shared.memory.wake();
  }

  /** Returns when it is closed, or when it is to finish and nothing is held. */
  async #readAll(): Promise<void> {
    const { machine } = this;
    while (!machine.closed) {
      await this.#takeAll();
      this.#reply();
      if (machine.closed) return;
      if (machine.blocked) await this.#pause(this.#changed.promise);
      else if (this.#finishing) return;
      else if (machine.lacking > 0) await this.#reserve();
      else if (!await this.#read()) return;
    }
  }

  /** False at the end of the stream, or when it is to finish. */
  async #read(): Promise<boolean> {
    this.#reading = true;
    const count = await this.#conn.read(this.machine.room());
    this.#reading = false;
    this.#shared.arrived();
    if (count === null) this.machine.handleEnd();
    else this.machine.handleBytes(count, nowMs());
    return count !== null && !this.#finishing;
  }

  async #takeAll(): Promise<void> {
    const { machine } = this;
    for (;;) {
      const event = machine.pollEvent(nowMs());
      if (event === MqttEvent.None) break;
      if (event === MqttEvent.Connect) this.#shared.admit(this);
      else if (!isShortTopic(this.#shared.topicPrefix + machine.publish.topic)) {
        machine.close(
          CloseReason.Fault,
          "Cannot take PUBLISH as its topic has more than 1024 bytes",
        );
      } else if (this.#offer(machine.publish.topic, machine.payload)) machine.handleTaken();
      else await this.#takeLater();
    }
    if (!machine.shrink()) return;
    this.#shared.memory.give(this.#reserved);
    this.#reserved = 0;
  }

  /** There is no room: waits when that helps, else drops what may be dropped. */
  async #takeLater(): Promise<void> {
    const { counts, intake } = this.#shared;
    const { machine } = this;
    this.#reply();
    counts.waiting++;
    let taken = false;
    while (!taken && !machine.closed && intake.waits) {
      await this.#pause(intake.room());
      taken = !machine.closed && this.#offer(machine.publish.topic, machine.payload);
    }
    counts.waiting--;
    if (taken) machine.handleTaken();
    else if (machine.publish.qos > 0) {
      const text = "Cannot take PUBLISH of QoS 1 or 2 as there is no room: the client keeps it";
      machine.close(CloseReason.NoRoom, text);
    } else {
      counts.dropped++;
      if (!machine.closed) machine.handleDropped();
    }
  }

  async #reserve(): Promise<void> {
    const { counts, memory } = this.#shared;
    const { machine } = this;
    const { lacking } = machine;
    counts.waiting++;
    while (!machine.closed && !this.#finishing && !memory.take(lacking)) {
      await this.#pause(memory.room());
    }
    counts.waiting--;
    if (machine.closed || this.#finishing) return;
    this.#reserved = lacking;
    machine.grow();
  }

  /** Waits for something that the client has no part in. */
  async #pause(until: Promise<void>): Promise<void> {
    this.machine.handlePause();
    await until;
    this.machine.handleResume(nowMs());
  }

  #offer(name: string, payload: Uint8Array): boolean {
    const { counts, intake, topicPrefix } = this.#shared;
    if (!intake.offer(topicPrefix + name, payload, contentTypeOf(payload))) return false;
    counts.messages++;
    counts.bytes += payload.length;
    return true;
  }

  /** MQTT-3.1.2-8: a connection that ends without DISCONNECT. */
  async #publishWill(): Promise<void> {
    const { counts, intake } = this.#shared;
    const { will } = this.machine;
    if (will === null) return;
    const untilMs = nowMs() + WILL_DEADLINE_MS;
    while (!this.#offer(will.topic, will.payload)) {
      if (!intake.waits || nowMs() >= untilMs || this.#finishing) {
        counts.dropped++;
        return;
      }
      await intake.room();
    }
  }

  /** Sends what there is to send, and asks for what is owed. */
  #reply(): void {
    if (this.#writing === null && this.machine.hasOutput) this.#writing = this.#writeAll();
    if (this.#acknowledging === null && this.machine.undurable > 0) {
      this.#acknowledging = this.#acknowledgeAll();
    }
  }

  /** One question at a time: whatever comes meanwhile is in the next one. */
  async #acknowledgeAll(): Promise<void> {
    const { machine } = this;
    try {
      while (machine.undurable > 0 && !machine.closed) {
        const { owed } = machine;
        await this.#shared.intake.durable();
        machine.handleDurable(owed);
        this.#reply();
        this.#wake();
      }
    } catch (error) {
      const why = (error as Error).message;
      this.close(CloseReason.NoRoom, `Cannot acknowledge PUBLISH as the spool fails: ${why}`);
    }
    this.#acknowledging = null;
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.machine.hasOutput) {
        const bytes = this.machine.takeOutput();
        this.#writeDueMs = nowMs() + WRITE_DEADLINE_MS;
        this.#wake();
        for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
      }
    } catch {
      this.#abort(); // it does not listen any more
    }
    this.#writeDueMs = Infinity;
    this.#writing = null;
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  #count(): void {
    const { closeReason, closeText } = this.machine;
    if (closeText === "" || closeReason === CloseReason.Stopped) return;
    this.#shared.counts.refused++;
    const { hostname, port } = this.#conn.remoteAddr;
    this.#shared.refused(`Client ${hostname}:${port} was closed: ${closeText}`);
  }

  #closeConn(): void {
    try {
      this.#conn.close();
    } catch {
      // It was closed already.
    }
  }
}

/** True for a topic that the spool takes as well. */
export function isShortTopic(topic: string): boolean {
  if (topic.length * 3 <= NAME_BYTES_MAX) return true;
  return encoder.encode(topic).length <= NAME_BYTES_MAX;
}

/** MQTT 3.1.1 says nothing of what a payload is, so it is looked at. */
function contentTypeOf(payload: Uint8Array): string {
  if (!isUtf8(payload)) return "application/octet-stream";
  return isJson(payload) ? "application/json" : "text/plain";
}

/** A JSON object or array; a plain number or word is text. */
function isJson(payload: Uint8Array): boolean {
  if (payload.length > JSON_BYTES_MAX) return false;
  const pair = String.fromCharCode(payload[0] ?? 0, payload.at(-1) ?? 0);
  if (pair !== "{}" && pair !== "[]") return false;
  try {
    JSON.parse(decoder.decode(payload));
    return true;
  } catch {
    return false;
  }
}
