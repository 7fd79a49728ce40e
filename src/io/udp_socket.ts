/**
 * What node:dgram does not offer of a UDP socket of this process: how many datagrams the kernel
 * dropped, and a larger receive buffer (its setRecvBufferSize answers as if, and changes nothing in
 * Deno 2.9.6: the kernel's default holds some 160 small datagrams). The socket is found by its
 * inode: /proc/net/udp names it beside the port, /proc/self/fd beside the descriptor, proc(5).
 *
 * @module
 */
import { libcAvailable } from "./libc.ts";
import { setReceiveBuffer } from "./sockets.ts";

const LOCAL_ADDRESS = 1;
const INODE = 9;
const DROPS = 12;

/** A bound UDP socket of this process. */
export class UdpSocket {
  readonly #file: string;
  readonly #inode: string;
  readonly #fd: number;

  /** Finds the socket on this port; null where there is no /proc. */
  static async find(host: string, port: number): Promise<UdpSocket | null> {
    try {
      const file = host.includes(":") ? "/proc/net/udp6" : "/proc/net/udp";
      const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
      const inodes = new Set<string>();
      for (const row of await rows(file)) {
        if (row[LOCAL_ADDRESS]?.endsWith(end)) inodes.add(row[INODE]!);
      }
      for await (const { name } of Deno.readDir("/proc/self/fd")) {
        const inode = await socketInode(name);
        if (inode !== null && inodes.has(inode)) return new UdpSocket(file, inode, Number(name));
      }
    } catch {
      // Not Linux, or /proc may not be read: the socket works all the same.
    }
    return null;
  }

  private constructor(file: string, inode: string, fd: number) {
    this.#file = file;
    this.#inode = inode;
    this.#fd = fd;
  }

  /** Asks for a receive buffer; the kernel grants up to net.core.rmem_max. */
  enlarge(bytes: number): void {
    if (libcAvailable()) setReceiveBuffer(this.#fd, bytes);
  }

  /** Datagrams that the kernel dropped because the buffer was full; 0 when it cannot tell. */
  async drops(): Promise<number> {
    try {
      const row = (await rows(this.#file)).find((row) => row[INODE] === this.#inode);
      return Number(row?.[DROPS] ?? 0);
    } catch {
      return 0;
    }
  }
}

async function rows(file: string): Promise<string[][]> {
  const lines = (await Deno.readTextFile(file)).trimEnd().split("\n").slice(1);
  return lines.map((line) => line.trim().split(/\s+/));
}

/** The inode behind a descriptor; null when it is no socket, or closed meanwhile. */
async function socketInode(fd: string): Promise<string | null> {
  try {
    return /^socket:\[(\d+)\]$/.exec(await Deno.readLink(`/proc/self/fd/${fd}`))?.[1] ?? null;
  } catch {
    return null;
  }
}
