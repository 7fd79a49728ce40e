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
import type { TLSSocket } from "node:tls";
import { parseAddress } from "../../wire/msgr2/entity_addr.ts";
import { hostPort } from "../address_text.ts";
import { LineBuffer } from "../line_buffer.ts";
import { printableJson } from "../printable.ts";
import { parseOverlayRequest, REQUEST_BYTES_MAX } from "./api_message.ts";
import type { Identity, Peer } from "./identity.ts";
import type { OverlayAccess } from "./overlay_access.ts";
import { TlsDoor } from "./tls_door.ts";

const CLIENTS_MAX = 64;
const IDLE_MS = 1_800_000;
/** Requests of one client that are being done; another one is refused. */
const WAITING_MAX = 16;
/** What a client has not read, but for one answer; then it is let go. */
const UNREAD_BYTES_MAX = 4 * 1024 * 1024;

const decoder = new TextDecoder();

/** The open port. */
export class ApiServer {
  /** Clients that were turned away. */
  refused = 0;
  readonly #access: OverlayAccess;
  #door: TlsDoor | null = null;

  /**
   * Opens it.
   *
   * @param listen HOST:PORT
   * @throws when the port cannot be had
   */
  static async open(listen: string, identity: Identity, access: OverlayAccess): Promise<ApiServer> {
    const server = new ApiServer(access);
    server.#door = await TlsDoor.open({
      ...parseAddress(listen),
      ...{ what: "the API", identity, peersMax: CLIENTS_MAX },
      onPeer: (socket, peer) => server.#take(socket, peer),
      onRefused: () => void server.refused++,
    });
    return server;
  }

  private constructor(access: OverlayAccess) {
    this.#access = access;
  }

  /** Where it is. */
  get where(): string {
    const { address, port } = this.#door!.address;
    return hostPort(address, port);
  }

  /** Ends every client. */
  async close(): Promise<void> {
    await this.#door!.close();
  }

  #take(socket: TLSSocket, { name, role }: Peer): void {
    if (role === "node") {
      this.refused++;
      const message =
        `Cannot ask the overlay manager as ${name} is a node, and only operators and managers may ask`;
      return end(socket, message);
    }
    const lines = new LineBuffer(REQUEST_BYTES_MAX);
    let ends: (() => void) | null = null;
    let waiting = 0;
    const tell = (id: number | null, value: object): void => {
      if (!socket.writable) return;
      if (socket.writableLength > UNREAD_BYTES_MAX) return void socket.destroy();
      socket.write(line(id, value));
    };
    const take = async (text: string): Promise<void> => {
      const parsed = parseOverlayRequest(text);
      const { id } = parsed;
      const refuse = (message: string): void => tell(id, { "API-Error": { message } });
      if ("error" in parsed) return refuse(parsed.error);
      const { request } = parsed;
      if (request.command === "subscribe") {
        ends ??= this.#access.subscribe(["progress"], (event) => tell(null, event));
        return tell(id, { "API-Reply": { groups: request.groups } });
      }
      if (waiting >= WAITING_MAX) {
        return refuse(`Cannot ask as ${WAITING_MAX} requests of this client are being done`);
      }
      waiting++;
      try {
        tell(id, { "API-Reply": await this.#access.request(request) });
      } catch (error) {
        refuse((error as Error).message);
      }
      waiting--;
    };
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on("close", () => ends?.());
    socket.on("data", (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length && socket.writable;) {
        const room = lines.room();
        const piece = bytes.subarray(at, at + room.length);
        room.set(piece);
        lines.filled(piece.length);
        at += piece.length;
        for (let next = lines.next(); next !== null; next = lines.next()) {
          void take(decoder.decode(next));
        }
        if (lines.tooLong === 0) continue;
        end(socket, `Cannot read request as a line has ${REQUEST_BYTES_MAX} bytes at most`);
      }
    });
  }
}

/** Says why, and lets go. */
function end(socket: TLSSocket, message: string): void {
  socket.end(line(null, { "API-Error": { message } }), () => socket.destroy());
}

function line(id: number | null, value: object): string {
  return `${printableJson(id === null ? value : { id, ...value })}\n`;
}
