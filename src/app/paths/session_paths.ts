/**
 * The paths of single connections for status pages, read from the kernel no more often than anybody
 * can look.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { formatToken } from "../../proto/mptcp/connection_table.ts";
import { libcAvailable } from "../../io/libc.ts";
import type { SessionPath } from "../status/snapshot.ts";
import { kernelView } from "./kernel_view.ts";
import type { PathsView } from "./paths_view.ts";

/** One reading serves every session of a snapshot, and snapshots that follow close. */
const FRESH_MS = 250;

/** Reads when it is asked. */
export class SessionPaths {
  #view: PathsView | null = null;
  #readAtMs = -Infinity;

  /** The paths of a connection by the kernel's token; none when it is not known. */
  of(token: number): SessionPath[] {
    const now = nowMs();
    if (now - this.#readAtMs >= FRESH_MS) {
      this.#readAtMs = now;
      this.#view = read();
    }
    const name = formatToken(token);
    const found = this.#view?.connections.find(({ connection }) => connection === name);
    return (found?.subflows ?? []).map((subflow) => ({
      link: subflow.link,
      local: subflow.local,
      remote: subflow.remote,
      state: subflow.state,
      backup: subflow.backup !== "",
      rttMs: subflow.rttMs,
      bytesSent: subflow.bytesSent,
      bytesReceived: subflow.bytesReceived,
    }));
  }
}

function read(): PathsView | null {
  if (!libcAvailable()) return null;
  try {
    return kernelView("");
  } catch {
    return null; // a sandbox without netlink: sessions have paths that nobody tells
  }
}
