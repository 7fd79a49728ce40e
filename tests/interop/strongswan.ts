/**
 * strongSwan's IKE daemon (charon) in network namespaces: swanctl.conf(5), strongswan.conf(5),
 * swanctl(8). Debian's packages are unpacked, not installed: charon finds its plugins only in
 * /usr/lib/ipsec, so each charon runs in a mount namespace of its own where they are there, and
 * where /run, with its file of the process id, is its own. This machine's files stay untouched and
 * may be read-only.
 *
 * @module
 */
import { cacheDirectory, type InstallOptions } from "./debian_peers.ts";
import { Daemon, must, run } from "./processes.ts";

/** The packages, unpacked one over the other; what else they need every Debian has. */
const PACKAGES = [
  "libstrongswan",
  "libstrongswan-standard-plugins",
  "strongswan-charon",
  "strongswan-libcharon",
  "strongswan-swanctl",
];
/** Written last, so that an unpacking that was cut short is not taken for a whole one. */
const COMPLETE = ".complete";
const APT_DEADLINE_MS = 240_000;
const START_DEADLINE_MS = 10_000;
const CALL_DEADLINE_MS = 20_000;
/** How long swanctl waits for an exchange; below the deadline of the call. */
const EXCHANGE_S = 15;
/** How much of the log goes into an error. */
const SAID_MAX = 4000;

const CHARON = "/usr/lib/ipsec/charon";
/** Whether tests with strongSwan are to be ignored; with CI=true they run, and fail without it. */
export async function ignoreWithoutStrongswan(): Promise<boolean> {
  return Deno.env.get("CI") !== "true" && !await hasStrongswan();
}

/** Unpacks strongSwan from packages of this machine's Debian when it is not here. */
export async function installStrongswan(options: InstallOptions): Promise<void> {
  if (await hasStrongswan()) return;
  if (Deno.uid() !== 0) throw new Error("Cannot unpack strongSwan: root is needed");
  const root = strongswanRoot();
  options.say(`Unpacking strongSwan into ${root}`);
  const partial = `${root}.partial`;
  const downloads = `${root}.downloads`;
  for (const path of [root, partial, downloads]) await removeTree(path);
  await Deno.mkdir(downloads, { recursive: true });
  // apt gives up its rights to a user who may not write here.
  const apt = ["apt-get", "-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=240"];
  await must([...apt, "update"], { deadlineMs: APT_DEADLINE_MS });
  await must(["env", "--chdir", downloads, ...apt, "download", ...PACKAGES], {
    deadlineMs: APT_DEADLINE_MS,
  });
  for (const { name } of Deno.readDirSync(downloads)) {
    await must(["dpkg", "--extract", `${downloads}/${name}`, partial]);
  }
  await removeTree(downloads);
  await Deno.writeTextFile(`${partial}/${COMPLETE}`, "");
  await Deno.rename(partial, root);
}

/** One end of a tunnel that two charons make with a shared secret. */
export interface TunnelOptions {
  /** Address of this end. */
  local: string;
  /** Address of the other end. */
  remote: string;
  /** Network behind this end, such as "10.1.0.0/24". */
  localNetwork: string;
  /** Network behind the other end. */
  remoteNetwork: string;
  /** Proposal for ESP, such as "aes128gcm16-esn-noesn". */
  esp: string;
  /** More settings of the connection, such as "dpd_delay = 2s". */
  connection?: string;
}

/** Name of the one CHILD_SA of {@linkcode tunnelConfiguration}. */
export const TUNNEL_CHILD = "net";
const SECRET = "a secret of the laboratory, known to everybody";

/** A swanctl.conf with one tunnel, authenticated by a secret that is no secret. */
export function tunnelConfiguration(options: TunnelOptions): string {
  const { local, remote, localNetwork, remoteNetwork, esp } = options;
  return `connections {
  tunnel {
    version = 2
    proposals = aes128-sha256-ecp256
    local_addrs = ${local}
    remote_addrs = ${remote}
    ${options.connection ?? ""}
    local {
      auth = psk
      id = ${local}
    }
    remote {
      auth = psk
      id = ${remote}
    }
    children {
      ${TUNNEL_CHILD} {
        mode = tunnel
        local_ts = ${localNetwork}
        remote_ts = ${remoteNetwork}
        esp_proposals = ${esp}
      }
    }
  }
}
secrets {
  ike-tunnel {
    id-local = ${local}
    id-remote = ${remote}
    secret = "${SECRET}"
  }
}
`;
}

/** What charon knows of a CHILD_SA: the names are those of vici's list-sa event. */
export interface ChildSa {
  /** INSTALLED when it carries traffic. */
  state: string;
  /** The kernel's id that ties policies to SAs. */
  reqid: number;
  /** SPI of the inbound SA. */
  spiIn: number;
  /** SPI of the outbound SA. */
  spiOut: number;
  /** Such as AES_GCM_16. */
  encryption: string;
  /** Whether sequence numbers have 64 bits. */
  esn: boolean;
  /** What charon read from the kernel. */
  packetsIn: number;
  /** What charon read from the kernel. */
  packetsOut: number;
}

/** What an IKE_SA is, with its children. */
export interface IkeSa {
  /** ESTABLISHED when it is up. */
  state: string;
  /** Its children, the old ones during a rekeying too. */
  children: ChildSa[];
}

/** Where a charon runs and how. */
export interface CharonOptions {
  /** Network namespace. */
  namespace: string;
  /** Existing directory for its socket, settings and log; they stay when it ends. */
  directory: string;
  /** A swanctl.conf; see {@linkcode tunnelConfiguration}. */
  configuration: string;
  /** More settings for section charon of strongswan.conf. */
  settings?: string;
}

/** A running charon; `await using` ends it by SIGKILL, with all that it put into the kernel left. */
export class Charon implements AsyncDisposable {
  readonly #daemon: Daemon;
  readonly #options: CharonOptions;

  private constructor(daemon: Daemon, options: CharonOptions) {
    this.#daemon = daemon;
    this.#options = options;
  }

  /** Starts one and loads its configuration; connections with a start_action begin to come up. */
  static async start(options: CharonOptions): Promise<Charon> {
    const { namespace, directory } = options;
    if (!await hasStrongswan()) {
      throw new Error("Cannot start charon: run deno task interop --install as root");
    }
    await removeTree(socketPath(directory));
    await Deno.writeTextFile(`${directory}/strongswan.conf`, settingsText(options));
    await Deno.writeTextFile(`${directory}/swanctl.conf`, options.configuration);
    const inside = ["sh", "-ec", ENTER, `${strongswanRoot()}/usr/lib/ipsec`, CHARON];
    const daemon = Daemon.start(
      ["ip", "netns", "exec", namespace, ...inside],
      `${directory}/charon.log`,
      environment(directory),
    );
    const charon = new Charon(daemon, options);
    try {
      const up = (): boolean => daemon.output().includes("worker threads");
      await daemon.until("charon listens", up, START_DEADLINE_MS);
      await charon.#swanctl(["--load-all", "--file", `${directory}/swanctl.conf`]);
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return charon;
  }

  /** The process id. */
  get pid(): number {
    return this.#daemon.pid;
  }

  /** What it has logged. */
  log(): string {
    return this.#daemon.output();
  }

  /** Makes a CHILD_SA, and its IKE_SA when there is none; returns when it is up. */
  async initiate(child: string): Promise<void> {
    await this.#swanctl(["--initiate", "--child", child, "--timeout", `${EXCHANGE_S}`]);
  }

  /** Rekeys a CHILD_SA; returns when the new one is up and the old one is gone. */
  async rekey(child: string): Promise<void> {
    const old = (await this.list()).flatMap((sa) => sa.children).map((sa) => sa.spiIn);
    await this.#swanctl(["--rekey", "--child", child]);
    await this.until("the CHILD_SA is another one", (sas) => {
      const children = sas.flatMap((sa) => sa.children);
      const installed = children.some((sa) => sa.state === "INSTALLED" && !old.includes(sa.spiIn));
      return installed && children.every((sa) => !old.includes(sa.spiIn));
    });
  }

  /** All IKE_SAs. */
  async list(): Promise<IkeSa[]> {
    return readSas(await this.#swanctl(["--list-sas", "--raw"]));
  }

  /** Waits until the IKE_SAs are as wanted. */
  async until(what: string, wanted: (sas: IkeSa[]) => boolean): Promise<void> {
    await this.#daemon.until(what, async () => wanted(await this.list()), CALL_DEADLINE_MS);
  }

  /** Ends it in order: it tells its peers and takes its SAs and policies out of the kernel. */
  async stop(): Promise<void> {
    await this.#daemon.stop("SIGTERM");
  }

  /** Ends it at once: SAs and policies stay in the kernel. */
  async kill(): Promise<void> {
    await this.#daemon.stop("SIGKILL");
  }

  /** Ends it at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #swanctl(args: string[]): Promise<string> {
    const { directory } = this.#options;
    const { code, stdout, stderr } = await run([
      ...["nsenter", "-t", `${this.pid}`, "--mount", "--net"],
      ...[`${strongswanRoot()}/usr/sbin/swanctl`, ...args],
      ...["--uri", `unix://${socketPath(directory)}`],
    ], { deadlineMs: CALL_DEADLINE_MS, env: environment(directory) });
    if (code === 0) return stdout;
    const said = `${stderr}\n${this.log()}`.slice(-SAID_MAX);
    throw new Error(`Cannot run swanctl ${args.join(" ")}: status ${code}: ${said}`);
  }
}

/**
 * Makes $0 appear as /usr/lib/ipsec, beside what is in /usr/lib: links to all of it, in memory.
 * ip-netns(8) has made a mount namespace that nothing leaves.
 */
const ENTER = `mount -t tmpfs tmpfs /run
mkdir /run/lib /run/real
mount --bind /usr/lib /run/real
ln -s /run/real/* /run/lib
ln -sfn "$0" /run/lib/ipsec
mount --bind /run/lib /usr/lib
exec "$@"`;

/** Plugins that suffice for IKEv2 with shared secrets; each one more makes the start longer. */
const PLUGINS = "random nonce openssl kdf kernel-netlink socket-default vici";

function settingsText({ directory, settings }: CharonOptions): string {
  return `charon {
  load = ${PLUGINS}
  filelog {
    stderr {
      default = 1
      flush_line = yes
      time_format = %T
    }
  }
  plugins {
    vici {
      socket = unix://${socketPath(directory)}
    }
  }
  ${settings ?? ""}
}
swanctl {
  load = random openssl
}
`;
}

function environment(directory: string): Record<string, string> {
  return { STRONGSWAN_CONF: `${directory}/strongswan.conf`, SWANCTL_DIR: directory };
}

function socketPath(directory: string): string {
  return `${directory}/charon.vici`;
}

function strongswanRoot(): string {
  return `${cacheDirectory()}/strongswan`;
}

async function hasStrongswan(): Promise<boolean> {
  try {
    await Deno.stat(`${strongswanRoot()}/${COMPLETE}`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function removeTree(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** A section of vici's raw form: `name {key=value list=[a b] inner {…}}`. */
interface Section {
  values: Map<string, string>;
  inner: Map<string, Section>;
}

/** Reads what `swanctl --list-sas --raw` prints: one line per IKE_SA. */
function readSas(text: string): IkeSa[] {
  const sas: IkeSa[] = [];
  for (const line of text.split("\n")) {
    const body = /^list-sa event (\{.*\})$/.exec(line)?.[1];
    if (body === undefined) continue;
    for (const ike of readSection(body.slice(1)).inner.values()) sas.push(readIkeSa(ike));
  }
  return sas;
}

function readIkeSa(ike: Section): IkeSa {
  const children = [...ike.inner.get("child-sas")?.inner.values() ?? []].map(readChildSa);
  return { state: ike.values.get("state") ?? "", children };
}

function readChildSa({ values }: Section): ChildSa {
  return {
    state: values.get("state") ?? "",
    reqid: Number(values.get("reqid")),
    spiIn: Number.parseInt(values.get("spi-in") ?? "", 16),
    spiOut: Number.parseInt(values.get("spi-out") ?? "", 16),
    encryption: values.get("encr-alg") ?? "",
    esn: values.get("esn") === "1",
    packetsIn: Number(values.get("packets-in")),
    packetsOut: Number(values.get("packets-out")),
  };
}

function readSection(text: string): Section {
  const top: Section = { values: new Map(), inner: new Map() };
  const open = [top];
  for (const token of text.matchAll(/([\w.-]+) \{|([\w.-]+)=(\[[^\]]*\]|[^\s}]*)|(\})/g)) {
    const section = open.at(-1);
    if (section === undefined) break;
    if (token[1] !== undefined) {
      const inner: Section = { values: new Map(), inner: new Map() };
      section.inner.set(token[1], inner);
      open.push(inner);
    } else if (token[2] !== undefined) section.values.set(token[2], token[3]!);
    else open.pop();
  }
  return top;
}
