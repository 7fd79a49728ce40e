/**
 * Boxes to try overlays with, on one machine: a network namespace for each, joined by a bridge, with the two
 * daemons in them. ip-netns(8), bridge(8). They have names by chance, and go when the trial is over.
 *
 * @module
 */
import { ip } from "../iproute.ts";
import { selfWords } from "../self.ts";
import { type MadePair, makeAuthority, makeNode } from "./authority.ts";
import { readCertificates, readKey, type Role } from "./identity.ts";

const BRIDGE = "br0";
const DEVICE = "eth0";
/** RFC 2544: for benchmarks between networks of one's own. */
const PREFIX = "198.18.0";
const GROUP = "239.255.2.65:2650";
const CONTROL = "0.0.0.0:2651";
const DAYS = 1;
const KEY_MODE = 0o600;
const READY_MS = 30_000;
const POLL_MS = 50;
const STOP_MS = 5000;

/** The boxes and a manager. */
export class DemoLab {
  /** Certificates, state, and the manager's socket. */
  readonly directory: string;
  readonly boxes: readonly string[];
  readonly #id = crypto.randomUUID().slice(0, 6);
  readonly #namespaces: string[] = [];
  readonly #children: Deno.ChildProcess[] = [];

  /** A laboratory that is not there before {@linkcode build}, so that it can be removed at any time. */
  constructor(boxes: number) {
    this.directory = Deno.makeTempDirSync({ prefix: "fairlead-demo-" });
    this.boxes = Array.from({ length: boxes }, (_, index) => `gw${index + 1}`);
  }

  /** The manager's access socket. */
  get socket(): string {
    return `${this.directory}/overlay.sock`;
  }

  /** Name of a box's namespace. */
  namespace(name: string): string {
    return `fairlead-demo-${this.#id}-${name}`;
  }

  /**
   * Makes namespaces, certificates and daemons; root is needed.
   *
   * @throws when a program is missing or refuses, or a daemon does not start
   */
  async build(): Promise<void> {
    const hub = await this.#add("switch");
    await ip(["-n", hub, "link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0"]);
    await ip(["-n", hub, "link", "set", BRIDGE, "up"]);
    const nowMs = Date.now();
    const made = makeAuthority("demo", DAYS, nowMs);
    this.#write("ca", made);
    const [certificate] = readCertificates("CA", "ca.pem", made.certificatePem, 1);
    const ca = { certificate, key: readKey("ca.key", made.keyPem) };
    for (const [index, name] of [...this.boxes, "om"].entries()) {
      const role: Role = name === "om" ? "manager" : "node";
      this.#write(name, makeNode(ca, { name, role, email: "" }, DAYS, nowMs));
      await this.#cable(name, hub, `p${index}`, `${PREFIX}.${index + 1}`);
    }
    for (const name of this.boxes) {
      const hosts = `${this.directory}/${name}.hosts`;
      Deno.writeTextFileSync(hosts, "127.0.0.1 localhost\n");
      await this.#start(name, ["rd", "--hosts", hosts]);
    }
    await this.#start("om", ["om", "--socket", this.socket]);
    const logs = [...this.boxes, "om"].map((name) => this.#log(name));
    const deadline = performance.now() + READY_MS;
    for (const log of logs) {
      while (!/^(.* )?(Node|Manager) /m.test(Deno.readTextFileSync(log))) {
        if (performance.now() > deadline) {
          throw new Error(`Cannot start a daemon, it says: ${Deno.readTextFileSync(log).trim()}`);
        }
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
  }

  /** Ends the daemons and removes what is there of it. */
  async remove(): Promise<void> {
    this.#kill("SIGTERM");
    const late = setTimeout(() => this.#kill("SIGKILL"), STOP_MS);
    await Promise.all(this.#children.map(({ status }) => status));
    clearTimeout(late);
    for (const name of this.#namespaces) await ip(["netns", "delete", name]);
    await Deno.remove(this.directory, { recursive: true });
  }

  #kill(signal: Deno.Signal): void {
    for (const child of this.#children) {
      try {
        child.kill(signal);
      } catch {
        // It has ended by itself.
      }
    }
  }

  async #add(name: string): Promise<string> {
    const namespace = this.namespace(name);
    await ip(["netns", "add", namespace]);
    this.#namespaces.push(namespace);
    return namespace;
  }

  async #cable(name: string, hub: string, port: string, address: string): Promise<void> {
    const own = await this.#add(name);
    const peer = ["peer", "name", port, "netns", hub];
    await ip(["-n", own, "link", "add", DEVICE, "type", "veth", ...peer]);
    await ip(["-n", hub, "link", "set", port, "master", BRIDGE, "up"]);
    await ip(["-n", own, "address", "add", `${address}/24`, "dev", DEVICE]);
    await ip(["-n", own, "link", "set", "lo", "up"]);
    await ip(["-n", own, "link", "set", DEVICE, "up"]);
    await ip(["-n", own, "route", "add", "239.0.0.0/8", "dev", DEVICE]);
  }

  #write(name: string, { certificatePem, keyPem }: MadePair): void {
    const path = `${this.directory}/${name}`;
    Deno.writeTextFileSync(`${path}.pem`, certificatePem);
    Deno.writeTextFileSync(`${path}.key`, keyPem, { mode: KEY_MODE });
  }

  #log(name: string): string {
    return `${this.directory}/${name}.log`;
  }

  async #start(name: string, words: readonly string[]): Promise<void> {
    const path = `${this.directory}/${name}`;
    const identity = ["--certificate", `${path}.pem`, "--key", `${path}.key`];
    const common = ["--ca", `${this.directory}/ca.pem`, "--listen", CONTROL, "--group", GROUP];
    const program = selfWords(["overlay", ...words, ...identity, ...common, "--state", path]);
    const log = this.#log(name);
    await Deno.writeTextFile(log, "");
    // The shell gives the daemon's lines a file; each of the two becomes the next program.
    const child = new Deno.Command("ip", {
      args: [
        ...["netns", "exec", this.namespace(name)],
        ...["sh", "-c", 'exec "$@" >"$0" 2>&1', log, ...program],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
      detached: true, // a Ctrl-C is for us: they are still needed to take all down
    }).spawn();
    this.#children.push(child);
  }
}
