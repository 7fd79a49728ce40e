/**
 * How the actions of `fairlead overlay` reach a manager: its access socket on this box, or its API over mutual
 * TLS elsewhere.
 *
 * @module
 */
import { connect, type TLSSocket } from "node:tls";
import { AccessClient } from "../access_client.ts";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import type { IdentityConfig } from "../config/overlay_common_config.ts";
import { printable } from "../printable.ts";
import { OVERLAY_MANAGER, type OverlayEvent } from "./api_message.ts";
import { loadIdentity, peerOf } from "./identity.ts";
import { OVERLAY_ANSWER_MS } from "./overlay_access.ts";

const CONNECT_MS = 10_000;
const LINE_BYTES_MAX = 64 * 1024 * 1024;
/** Only what the command line may take on top: the manager ends it by itself. */
const SLACK_MS = 5000;
const SUBSCRIBE_MS = 5000;

/** A manager that can be asked. */
export interface OverlayApi {
  /** @throws with what it says when it refuses */
  request(command: string, members?: object): Promise<Record<string, unknown>>;
  /** Hears progress from now on. */
  follow(listener: (event: OverlayEvent) => void): Promise<void>;
  close(): Promise<void>;
}

/** Where the manager is. */
export type OverlayWhere =
  | { readonly socket: string }
  | { readonly address: string; readonly identity: IdentityConfig };

/**
 * Connects.
 *
 * @throws when nobody is there, with the remedy
 */
export async function connectOverlay(where: OverlayWhere): Promise<OverlayApi> {
  return "socket" in where
    ? await localApi(where.socket)
    : await TlsApi.connect(where.address, where.identity);
}

async function localApi(path: string): Promise<OverlayApi> {
  const client = await AccessClient.connect<OverlayEvent>(OVERLAY_MANAGER, path);
  let following: Promise<void> = Promise.resolve();
  return {
    request: async (command, members = {}) => {
      const { id: _, ok: __, ...answer } = await client.request(
        command,
        members,
        OVERLAY_ANSWER_MS + SLACK_MS,
      );
      return answer;
    },
    follow: (listener) => {
      following = (async (): Promise<void> => {
        try {
          for await (const event of client.subscribe(["progress"], SUBSCRIBE_MS)) listener(event);
        } catch {
          // The request that waits says why.
        }
      })();
      return Promise.resolve();
    },
    close: async () => {
      await client.close();
      await following;
    },
  };
}

interface Waiting {
  resolve(answer: Record<string, unknown>): void;
  reject(error: Error): void;
}

/** One connection to port 2165. */
class TlsApi implements OverlayApi {
  readonly #socket: TLSSocket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #where: string;
  #listener: (event: OverlayEvent) => void = () => {};
  #id = 0;
  #rest = "";
  /** Why nothing is answered any more. */
  #ended: string | null = null;

  static async connect(address: string, config: IdentityConfig): Promise<TlsApi> {
    const identity = await loadIdentity(config);
    const { host, port } = parseAddress(address);
    const socket = connect({
      host,
      port,
      ca: identity.caPem,
      cert: identity.certificatePem,
      key: identity.keyPem,
      rejectUnauthorized: true,
      checkServerIdentity: () => undefined, // its role is looked at below
    });
    const fail = (why: string): Error =>
      new Error(
        `Cannot reach the overlay manager as ${why}: current value is ${address}, start one with ` +
          'fairlead overlay om and "api"',
      );
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => socket.destroy(new Error(`it did not answer within ${CONNECT_MS / 1000} s`)),
        CONNECT_MS,
      );
      socket.once("error", (error: Error) => reject(fail(error.message)));
      socket.once("close", () => clearTimeout(timer));
      socket.once("secureConnect", () => {
        clearTimeout(timer);
        resolve();
      });
    });
    const peer = peerOf(socket);
    if (typeof peer !== "string" && peer.role === "manager") return new TlsApi(socket, address);
    socket.destroy();
    throw fail(typeof peer === "string" ? peer : `${peer.name} there is a ${peer.role}`);
  }

  private constructor(socket: TLSSocket, where: string) {
    this.#socket = socket;
    this.#where = where;
    const decoder = new TextDecoder();
    let why = "it ended the connection";
    socket.on("error", (error: Error) => why = error.message);
    socket.on("close", () => this.#end(why));
    socket.on("data", (bytes: Uint8Array) => this.#take(decoder.decode(bytes, { stream: true })));
  }

  request(command: string, members: object = {}): Promise<Record<string, unknown>> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      if (this.#ended !== null) return reject(this.#error(this.#ended));
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`Cannot ask the overlay manager as it has not answered ${command}`));
      }, OVERLAY_ANSWER_MS + SLACK_MS);
      this.#waiting.set(id, {
        resolve: (answer): void => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error): void => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#socket.write(`${JSON.stringify({ id, command, ...members })}\n`);
    });
  }

  async follow(listener: (event: OverlayEvent) => void): Promise<void> {
    this.#listener = listener;
    await this.request("subscribe", { groups: ["progress"] });
  }

  close(): Promise<void> {
    this.#socket.destroy();
    return Promise.resolve();
  }

  #take(text: string): void {
    this.#rest += text;
    if (this.#rest.length > LINE_BYTES_MAX) this.#socket.destroy(new Error("its line is endless"));
    if (!text.includes("\n")) return;
    const lines = this.#rest.split("\n");
    this.#rest = lines.pop()!;
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    let value: Record<string, unknown> | null = null;
    try {
      value = JSON.parse(line);
    } catch {
      // told below
    }
    if (typeof value !== "object" || value === null) {
      return void this.#socket.destroy(new Error("it sent what is no JSON object"));
    }
    if (value.event === "progress") return this.#listener(value as unknown as OverlayEvent);
    const error = errorOf(value);
    if (typeof value.id !== "number") {
      if (error !== null) this.#end(error);
      return;
    }
    const waiting = this.#waiting.get(value.id);
    this.#waiting.delete(value.id);
    const reply = value["API-Reply"];
    if (error === null && typeof reply === "object" && reply !== null) {
      return waiting?.resolve(reply as Record<string, unknown>);
    }
    waiting?.reject(new Error(error ?? "Cannot read the answer: it is no API-Reply"));
  }

  #end(why: string): void {
    this.#ended ??= why;
    for (const { reject } of this.#waiting.values()) reject(this.#error(this.#ended));
    this.#waiting.clear();
  }

  #error(why: string): Error {
    if (why.startsWith("Cannot ")) return new Error(`${why}: current value is ${this.#where}`);
    return new Error(`Cannot ask the overlay manager as ${why}: current value is ${this.#where}`);
  }
}

/** What an API-Error says; null for what is none. */
function errorOf(answer: Record<string, unknown>): string | null {
  const error = answer["API-Error"];
  if (typeof error !== "object" || error === null) return null;
  return printable(`${(error as { message?: unknown }).message}`);
}
