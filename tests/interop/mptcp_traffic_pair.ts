/**
 * An MPTCP connection with steady traffic between the two hosts of a laboratory, by two programs.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { MptcpLab, Side } from "./mptcp_lab.ts";
import type { TrafficReport } from "./mptcp_traffic.ts";
import { Daemon } from "./processes.ts";

const TRAFFIC = fileURLToPath(new URL("mptcp_traffic.ts", import.meta.url));
const PORT = 7000;
const DEADLINE_MS = 20_000;
/** How long the traffic goes on unless it is said. */
export const SECONDS = 3;

/** A connection with traffic, made on the near host; both programs end with the test. */
export class Traffic implements AsyncDisposable {
  readonly #directory: string;
  readonly #receiver: Side;
  /** The two programs. */
  readonly programs: Record<Side, Daemon>;

  private constructor(directory: string, receiver: Side, programs: Record<Side, Daemon>) {
    this.#directory = directory;
    this.#receiver = receiver;
    this.programs = programs;
  }

  /** The near host connects to `host`; `receiver` is where the traffic goes. */
  static async start(
    lab: MptcpLab,
    receiver: Side,
    host: string,
    seconds = SECONDS,
  ): Promise<Traffic> {
    const directory = Deno.makeTempDirSync({ prefix: "fairlead-traffic-" });
    const start = (side: Side, role: string, at: string): Daemon => {
      const direction = side === receiver ? "receive" : "send";
      const argv = [Deno.execPath(), "run", "-A", TRAFFIC, role, at, `${PORT}`, direction];
      return Daemon.start(lab.within(side, [...argv, `${seconds}`]), `${directory}/${side}`);
    };
    const far = start("far", "listen", host.includes(":") ? "::" : "0.0.0.0");
    const says = (daemon: Daemon, word: string): Promise<void> =>
      daemon.until(word, () => daemon.output().includes(word), DEADLINE_MS);
    const programs: Daemon[] = [far];
    try {
      await says(far, "listening");
      const near = start("near", "connect", host);
      programs.push(near);
      await says(far, "established");
      await says(near, "established");
      return new Traffic(directory, receiver, { near, far });
    } catch (error) {
      for (const program of programs) await program.stop();
      throw error;
    }
  }

  /** What the receiver says at its end. */
  async report(): Promise<TrafficReport> {
    const { far, near } = this.programs;
    const codes = await Promise.all([near.exited, far.exited]);
    assert.deepEqual(codes, [0, 0], `${near.output()}${far.output()}`);
    return JSON.parse(this.programs[this.#receiver].output().trim().split("\n").at(-1)!);
  }

  /** Ends both. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.programs.near.stop(), this.programs.far.stop()]);
    await Deno.remove(this.#directory, { recursive: true });
  }
}

/** Waits for what the kernel tells nobody. */
export async function until(
  what: string,
  ready: () => Promise<boolean>,
  deadlineMs = DEADLINE_MS,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!await ready()) {
    assert.ok(performance.now() < deadline, `not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
