/**
 * An MQTT 3.1.1 server for clients that publish, as an input of the gateway. QoS 0, 1 and 2 are
 * taken; subscriptions are refused, retained messages are messages like others.
 *
 * QoS 2 is exactly-once over reconnects of clients that keep their session (clean session 0): the
 * identifiers of messages that were not released are kept in memory for the last sessions. A
 * gateway that is started again has forgotten them, as a CONNACK without "session present" says.
 *
 * @module
 */
import { hostText, resolve } from "../address.ts";
import { nowMs } from "../../io/clock.ts";
import { CloseReason } from "../../proto/mqtt/connection.ts";
import type { PacketIds } from "../../proto/mqtt/packet_ids.ts";
import { ConnectReturn } from "../../wire/mqtt/connect.ts";
import { isTopicName } from "../../wire/mqtt/text.ts";
import { type Input, type InputCounts, inputCounts, type Intake } from "../gateway/intake.ts";
import { delay } from "../delay.ts";
import { MemoryBudget } from "./memory_budget.ts";
import { isShortTopic, MqttClient, type MqttShared } from "./mqtt_client.ts";
import { isPassword, parsePasswords, type Passwords } from "./mqtt_passwords.ts";
import { untilQuiet } from "./quiet.ts";
import { SecretFile } from "./secret_file.ts";

/** Connections at once. */
const CLIENTS_MAX = 128;
/** Sessions whose identifiers are remembered: 8 KiB each. */
const SESSIONS_MAX = 1024;
/** Packets larger than a connection's buffer, in memory at once. */
const LARGE_BYTES_MAX = 32 * 1024 * 1024;
const TICK_MS = 500;
/** Wait after the kernel refused a connection (too many open files). */
const ACCEPT_RETRY_MS = 100;
/** After the deadline of `stop`: for those who waited for room, to see that it is over. */
const FAREWELL_MS = 1000;
/** How long `trouble` tells of a client that was refused. */
const REFUSAL_SHOWN_MS = 60_000;

/** Its part of the configuration. */
export interface MqttOptions {
  readonly listen: string;
  /** Stands in front of every topic. */
  readonly topicPrefix: string;
  /** Users and passwords as mosquitto keeps them; null lets everybody in. */
  readonly passwordFile: string | null;
}

/**
 * Opens the port.
 *
 * @throws when the port is taken or an option cannot be used, naming the remedy
 */
export async function openMqtt(
  name: string,
  options: MqttOptions,
  intake: Intake,
): Promise<Input> {
  const { listen, passwordFile, topicPrefix } = options;
  if (topicPrefix !== "" && !(isTopicName(topicPrefix) && isShortTopic(topicPrefix))) {
    throw new Error(
      "Cannot use topicPrefix as it must have 1024 bytes or less, without +, # and U+0000: " +
        `current value is ${JSON.stringify(topicPrefix.slice(0, 100))}`,
    );
  }
  const passwords = passwordFile === null ? null : new SecretFile(passwordFile, parsePasswords);
  const address = await resolve(listen);
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({ hostname: hostText(address), port: address.port });
  } catch (error) {
    const taken = error instanceof Deno.errors.AddrInUse;
    const why = taken ? "another program uses that port" : (error as Error).message;
    throw new Error(`Cannot listen for MQTT on ${listen}: ${why}; set "listen" to another address`);
  }
  return new MqttInput(name, listener, passwords, topicPrefix, intake);
}

class MqttInput implements Input, MqttShared {
  readonly name: string;
  readonly counts: InputCounts = inputCounts();
  readonly where: string;
  readonly intake: Intake;
  readonly topicPrefix: string;
  readonly memory: MemoryBudget = new MemoryBudget(LARGE_BYTES_MAX);
  readonly #listener: Deno.TcpListener;
  readonly #passwords: SecretFile<Passwords> | null;
  readonly #clients = new Set<MqttClient>();
  /** Those with a client identifier. */
  readonly #named = new Map<string, MqttClient>();
  /** By client identifier, the one that was used last at the end. */
  readonly #sessions = new Map<string, PacketIds>();
  readonly #work = new Set<Promise<void>>();
  readonly #timer: ReturnType<typeof setInterval>;
  #arrived = 0;
  #stopping = false;
  #acceptTrouble = "";
  #refusal = "";
  #refusedMs = 0;

  constructor(
    name: string,
    listener: Deno.TcpListener,
    passwords: SecretFile<Passwords> | null,
    topicPrefix: string,
    intake: Intake,
  ) {
    const { hostname, port } = listener.addr;
    this.name = name;
    this.where = hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
    this.topicPrefix = topicPrefix;
    this.intake = intake;
    this.#listener = listener;
    this.#passwords = passwords;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#track(this.#acceptAll());
  }

  get trouble(): string {
    if (this.#acceptTrouble !== "") return this.#acceptTrouble;
    if (this.#passwords !== null && this.#passwords.trouble !== "") return this.#passwords.trouble;
    return nowMs() - this.#refusedMs < REFUSAL_SHOWN_MS ? this.#refusal : "";
  }

  async stop(deadlineMs: number): Promise<void> {
    await untilQuiet(() => this.#arrived, deadlineMs);
    this.#stopping = true;
    this.#listener.close();
    const finished = [...this.#clients].map((client) => client.finish());
    if (!await this.#over(finished, deadlineMs)) {
      for (const client of this.#clients) client.close(CloseReason.Stopped, "");
      for (const client of this.#clients) client.tick();
      await this.#over([], nowMs() + FAREWELL_MS);
    }
    clearInterval(this.#timer);
  }

  /** MQTT 3.1.1 section 3.1.4, steps 2 to 4. */
  admit(client: MqttClient): void {
    const { machine } = client;
    const { cleanSession, clientId, password, username, will } = machine.connect;
    if (this.#passwords !== null && !isPassword(this.#passwords.value, username, password)) {
      machine.refuse(
        ConnectReturn.NotAuthorized,
        "Cannot accept CONNECT as user name and password are not those of passwordFile",
      );
      return;
    }
    if (will !== null && !isShortTopic(this.topicPrefix + will.topic)) {
      machine.refuse(
        ConnectReturn.ServerUnavailable,
        "Cannot accept CONNECT as its will topic must have 1024 bytes or less",
      );
      return;
    }
    if (clientId === "") { // MQTT-3.1.3-6: any name would do, nobody can ask for it
      machine.accept(null);
      return;
    }
    this.#named.get(clientId)?.close(CloseReason.TakenOver, ""); // MQTT-3.1.4-2
    this.#named.set(clientId, client);
    const received = cleanSession ? null : this.#sessions.get(clientId) ?? null;
    machine.accept(received);
    this.#sessions.delete(clientId); // MQTT-3.1.2-6
    if (cleanSession) return;
    this.#sessions.set(clientId, machine.received);
    for (const oldest of this.#sessions.keys()) {
      if (this.#sessions.size <= SESSIONS_MAX) break;
      this.#sessions.delete(oldest);
    }
  }

  arrived(): void {
    this.#arrived++;
  }

  refused(text: string): void {
    this.#refusal = text;
    this.#refusedMs = nowMs();
  }

  #tick(): void {
    for (const client of this.#clients) client.tick();
  }

  /** True when all connections were over by then. */
  async #over(finished: readonly Promise<void>[], deadlineMs: number): Promise<boolean> {
    const timer = new AbortController();
    const over = await Promise.race([
      Promise.all([...finished, ...this.#work]).then(() => true),
      delay(Math.max(0, deadlineMs - nowMs()), timer.signal).then(() => false),
    ]);
    timer.abort();
    return over;
  }

  async #acceptAll(): Promise<void> {
    while (!this.#stopping) {
      try {
        const conn = await this.#listener.accept();
        this.#arrived++;
        this.#acceptTrouble = "";
        if (this.#clients.size < CLIENTS_MAX) this.#track(this.#serve(conn));
        else {
          conn.close();
          this.counts.refused++;
          this.refused(`A client was refused as there are ${CLIENTS_MAX} already`);
        }
      } catch (error) {
        if (this.#stopping) return;
        this.#acceptTrouble = `Cannot accept connections: ${(error as Error).message}; raise the ` +
          "limit of open files or close some";
        await delay(ACCEPT_RETRY_MS);
      }
    }
  }

  async #serve(conn: Deno.TcpConn): Promise<void> {
    const client = new MqttClient(conn, this);
    this.#clients.add(client);
    await client.run();
    this.#clients.delete(client);
    const { clientId } = client.machine.connect;
    if (this.#named.get(clientId) === client) this.#named.delete(clientId);
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    work.finally(() => this.#work.delete(work));
  }
}
