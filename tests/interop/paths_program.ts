/**
 * `fairlead paths` as an operator runs it, on one host of a laboratory: the daemon, and actions that ask it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { MptcpLab, Side } from "./mptcp_lab.ts";
import { Daemon, type Finished } from "./processes.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const READY_MS = 20_000;

/** The command line of the program under test. */
export function fairlead(...words: string[]): string[] {
  return [Deno.execPath(), "run", "-A", MAIN, ...words];
}

/** An event as `paths monitor --json` prints it. */
export type Line = Record<string, string | number | boolean | null>;

/** A daemon on one host, with a directory of its own; `await using` ends it. */
export class PathsProgram implements AsyncDisposable {
  readonly #lab: MptcpLab;
  readonly #side: Side;
  readonly #directory: string;
  readonly daemon: Daemon;
  readonly #monitors: Daemon[] = [];

  private constructor(lab: MptcpLab, side: Side, directory: string, daemon: Daemon) {
    this.#lab = lab;
    this.#side = side;
    this.#directory = directory;
    this.daemon = daemon;
  }

  /** Starts one with a configuration of `paths`, and waits until it is ready. */
  static async start(lab: MptcpLab, side: Side, paths: object = {}): Promise<PathsProgram> {
    const directory = Deno.makeTempDirSync({ prefix: "fairlead-paths-" });
    const socket = `${directory}/paths.sock`;
    Deno.writeTextFileSync(
      `${directory}/paths.jsonc`,
      JSON.stringify({ paths: { setPmType: true, socket, ...paths } }),
    );
    const argv = lab.within(side, fairlead("paths", "daemon", "-c", `${directory}/paths.jsonc`));
    const daemon = Daemon.start(argv, `${directory}/daemon`);
    const program = new PathsProgram(lab, side, directory, daemon);
    try {
      await daemon.until("ready", () => daemon.output().includes("Access: "), READY_MS);
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
    return program;
  }

  /** Path of the access socket. */
  get socket(): string {
    return `${this.#directory}/paths.sock`;
  }

  /** Runs an action to its end. */
  async run(...words: string[]): Promise<Finished> {
    const argv = fairlead("paths", ...words, "-s", this.socket);
    return await this.#lab.run(this.#side, argv);
  }

  /** The same; its JSON, or it throws. */
  // deno-lint-ignore no-explicit-any -- members are looked at one by one
  async json(...words: string[]): Promise<any> {
    const { code, stderr, stdout } = await this.run(...words, "--json");
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  }

  /** Listens to events from now on. */
  async monitor(): Promise<Monitor> {
    const path = `${this.#directory}/monitor${this.#monitors.length}`;
    const words = fairlead("paths", "monitor", "--json", "-s", this.socket);
    const daemon = Daemon.start(this.#lab.within(this.#side, words), path);
    this.#monitors.push(daemon);
    const subscribers = async (): Promise<number> => (await this.status()).subscribers;
    await daemon.until(
      "subscribed",
      async () => await subscribers() >= this.#monitors.length,
      READY_MS,
    );
    return new Monitor(daemon);
  }

  /** What the daemon says of itself. */
  // deno-lint-ignore no-explicit-any -- members are looked at one by one
  async status(): Promise<any> {
    return (await this.ask("status")).status;
  }

  /** Asks over the socket what no action asks. */
  // deno-lint-ignore no-explicit-any -- members are looked at one by one
  async ask(command: string, members: object = {}): Promise<any> {
    const client = new URL("../../src/app/access_client.ts", import.meta.url);
    const words = new URL("../../src/app/paths/access_message.ts", import.meta.url);
    const script = `
      import { AccessClient } from "${client}";
      import { PATH_MANAGER } from "${words}";
      const client = await AccessClient.connect(PATH_MANAGER, Deno.args[0]);
      const members = JSON.parse(Deno.args[2]);
      console.log(JSON.stringify(await client.request(Deno.args[1], members, 10000)));
      await client.close();`;
    const given = [this.socket, command, JSON.stringify(members)];
    const argv = [Deno.execPath(), "run", "-A", "--ext=ts", "-", ...given];
    return JSON.parse(await this.#lab.must(this.#side, argv, { stdin: script }));
  }

  /** Ends the daemon as an operator does; its exit status. */
  async stop(): Promise<number> {
    await this.daemon.stop("SIGINT");
    return await this.daemon.exited;
  }

  /** Ends all of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const monitor of this.#monitors) await monitor.stop();
    await this.daemon.stop("SIGINT");
    await Deno.remove(this.#directory, { recursive: true });
  }
}

/** Events as they come. */
export class Monitor {
  readonly #daemon: Daemon;

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** All so far. */
  get events(): Line[] {
    const lines = this.#daemon.output().split("\n").slice(0, -1);
    return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }

  /** The first event of a name that fits. */
  async next(event: string, fits: (line: Line) => boolean = (): boolean => true): Promise<Line> {
    const find = (): Line | undefined =>
      this.events.find((line) => line.event === event && fits(line));
    await this.#daemon.until(event, () => find() !== undefined, READY_MS);
    return find()!;
  }
}
