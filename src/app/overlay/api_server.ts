/**
 * The API of a manager, X-Bone's second port (IANA x-bone-api, 2165): JSON over mutual TLS, an object a line.
 * An answer is an API-Reply or an API-Error, "the caller should send API-Error back". Only certificates of
 * operators and managers may ask.
 *
 *     -> {"id": 1, "command": "status", "name": "field"}
 *     <- {"id": 1, "API-Reply": {"overlay": {…}}}
 *     <- {"id": 2, "API-Error": {"message": "Cannot find overlay: …"}}
 *
 * @module
 */
import type { AddressInfo } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { hostPort } from "../address_text.ts";
import { LineBuffer } from "../line_buffer.ts";
import { printableJson } from "../printable.ts";
import { parseOverlayRequest } from "./api_message.ts";
import { type Identity, peerOf } from "./identity.ts";
import type { OverlayAccess } from "./overlay_access.ts";

const CLIENTS_MAX = 64;
const HANDSHAKE_MS = 10_000;
const IDLE_MS = 1_800_000;
/** What a client has not read; then it hears no more events. */
const UNREAD_BYTES_MAX = 1024 * 1024;

/** The open port. */
export class ApiServer {
  /** Clients that were turned away. */
  refused = 0;
  readonly #server: Server;
  readonly #access: OverlayAccess;
  readonly #clients = new Set<TLSSocket>();

  /**
   * Opens it.
   *
   * @param listen HOST:PORT
   * @throws when the port cannot be had
   */
  static async open(listen: string, identity: Identity, access: OverlayAccess): Promise<ApiServer> {
    const { host, port } = parseAddress(listen);
    const server = createServer({
      cert: identity.certificatePem,
      key: identity.keyPem,
      ca: identity.caPem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      handshakeTimeout: HANDSHAKE_MS,
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: Error) =>
        reject(
          new Error(`Cannot open the API as ${error.message}: current value is ${listen}`),
        ));
      server.listen(port, host, () => resolve());
    });
    return new ApiServer(server, access);
  }

  private constructor(server: Server, access: OverlayAccess) {
    this.#server = server;
    this.#access = access;
    server.on("error", () => this.refused++);
    server.on("tlsClientError", (_error: Error, socket: TLSSocket) => {
      this.refused++;
      socket.destroy();
    });
    server.on("secureConnection", (socket: TLSSocket) => this.#take(socket));
  }

  /** Where it is. */
  get where(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return hostPort(address, port);
  }

  /** Ends every client. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#clients) socket.destroy();
    await closed;
  }

  #take(socket: TLSSocket): void {
    socket.on("error", () => socket.destroy());
    const peer = peerOf(socket);
    const why = typeof peer === "string"
      ? peer
      : peer.role === "node"
      ? `${peer.name} is a node, and only operators and managers may ask`
      : this.#clients.size >= CLIENTS_MAX
      ? `${CLIENTS_MAX} clients are connected`
      : null;
    if (why !== null) {
      this.refused++;
      return void socket.end(line(null, { "API-Error": { message: `Cannot ask as ${why}` } }));
    }
    this.#clients.add(socket);
    const lines = new LineBuffer();
    let ends: (() => void) | null = null;
    const subscribe = (): void => {
      ends ??= this.#access.subscribe(["progress"], (event) => {
        if (socket.writableLength < UNREAD_BYTES_MAX) socket.write(line(null, event));
      });
    };
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on("close", () => {
      this.#clients.delete(socket);
      ends?.();
    });
    socket.on("data", (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) {
        const room = lines.room();
        const piece = bytes.subarray(at, at + room.length);
        room.set(piece);
        lines.filled(piece.length);
        at += piece.length;
        for (let next = lines.next(); next !== null; next = lines.next()) {
          void this.#answer(new TextDecoder().decode(next), socket, subscribe);
        }
        if (lines.tooLong > 0) return void socket.destroy();
      }
    });
  }

  async #answer(text: string, socket: TLSSocket, subscribe: () => void): Promise<void> {
    const parsed = parseOverlayRequest(text);
    const tell = (answer: object): void => {
      if (!socket.destroyed) socket.write(line(parsed.id, answer));
    };
    if ("error" in parsed) return tell({ "API-Error": { message: parsed.error } });
    const { request } = parsed;
    if (request.command === "subscribe") {
      subscribe();
      return tell({ "API-Reply": { groups: request.groups } });
    }
    try {
      tell({ "API-Reply": await this.#access.request(request) });
    } catch (error) {
      tell({ "API-Error": { message: (error as Error).message } });
    }
  }
}

function line(id: number | null, value: object): string {
  return `${printableJson(id === null ? value : { id, ...value })}\n`;
}
