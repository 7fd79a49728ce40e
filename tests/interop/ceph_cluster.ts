/**
 * A small real Ceph cluster on loopback: monitors and object stores in memory, from the programs
 * of a Debian package, in a scratch directory. Ceph documentation, "Manual Deployment" (monmaptool,
 * ceph-mon --mkfs, ceph-osd --mkfs), "Messenger v2" (the ms_*_mode settings) and "Network
 * Configuration Reference".
 *
 * @module
 */
import { type Place, within } from "./debian_peers.ts";
import { Daemon, type Finished, freePort, must, run, type RunOptions } from "./processes.ts";

/** What kind of cluster is wanted. */
export interface ClusterOptions {
  /** All three auth_*_required settings; "cephx" when absent. */
  auth?: "none" | "cephx";
  /** All six ms_*_mode settings; "crc" when absent. Method none exists with crc only. */
  mode?: "crc" | "secure" | "secure crc" | "crc secure";
  /** How many monitors; 1 when absent. Two are lossless peers of each other. */
  mons?: number;
  /** How many object stores; none when absent. */
  osds?: number;
  /** More lines for ceph.conf, in section [global] until they open another. */
  extra?: string;
  /** The chroot and the network namespace to run in; this machine's own when absent. */
  place?: Place;
  /** The address to bind, IPv4 or IPv6 without brackets; 127.0.0.1 when absent. */
  host?: string;
}

/** Key type 1 is AES-128; 2 is "aes256k", which a fresh cluster of release 20.2 asks for. */
type KeyType = 1 | 2;
const KEY_BYTES: Record<KeyType, number> = { 1: 16, 2: 32 };
const FIRST_RELEASE_WITH_AES256K = 20;

const MON_DEADLINE_MS = 30_000;
const OSD_DEADLINE_MS = 30_000;
const CLI_DEADLINE_MS = 30_000;
const ASK_DEADLINE_MS = 5_000;

/** One running cluster; `await using` stops it and removes its directory. */
export class CephCluster implements AsyncDisposable {
  /** The scratch directory; the same path inside and outside of a chroot. */
  readonly directory: string;
  /** Path of ceph.conf. */
  readonly conf: string;
  /** Path of the keyring of client.admin. */
  readonly adminKeyring: string;
  /** The key of client.admin as ceph-authtool prints it. */
  readonly adminKey: string;
  /** Release, such as "16.2.15". */
  readonly release: string;
  /** The cluster's id. */
  readonly fsid: string = crypto.randomUUID();
  /** Addresses of the monitors, such as "v2:127.0.0.1:13300". */
  readonly monAddrs: string[] = [];
  /** Ports of the monitors. */
  readonly monPorts: number[] = [];

  readonly #options: Required<ClusterOptions>;
  readonly #keyType: KeyType;
  readonly #mons: Daemon[] = [];
  readonly #osds: Daemon[] = [];

  private constructor(options: ClusterOptions, directory: string, release: string) {
    this.#options = {
      auth: options.auth ?? "cephx",
      mode: options.mode ?? "crc",
      mons: options.mons ?? 1,
      osds: options.osds ?? 0,
      extra: options.extra ?? "",
      place: options.place ?? {},
      host: options.host ?? "127.0.0.1",
    };
    this.directory = directory;
    this.release = release;
    this.conf = `${directory}/ceph.conf`;
    this.adminKeyring = `${directory}/admin.keyring`;
    this.#keyType = parseInt(release) >= FIRST_RELEASE_WITH_AES256K ? 2 : 1;
    this.adminKey = generateKey(this.#keyType);
    const host = this.#options.host.includes(":") ? `[${this.#options.host}]` : this.#options.host;
    for (let i = 0; i < this.#options.mons; i++) {
      const port = freePort();
      this.monPorts.push(port);
      this.monAddrs.push(`v2:${host}:${port}`);
    }
  }

  /** Starts a cluster; resolves when its monitors serve clients and its object stores are up. */
  static async start(options: ClusterOptions = {}): Promise<CephCluster> {
    if (options.auth === "none" && (options.mode ?? "crc") !== "crc") {
      throw new Error(`Cannot start Ceph with auth none as that needs crc: mode ${options.mode}`);
    }
    const place = options.place ?? {};
    const version = await must(within(place, ["ceph-mon", "--version"]));
    const release = /^ceph version (\S+)/.exec(version)?.[1] ?? "";
    const cluster = new CephCluster(options, await Deno.makeTempDir({ prefix: "ceph_" }), release);
    try {
      await cluster.#writeFiles();
      await cluster.#makeMons();
      await Promise.all(cluster.monAddrs.map((_, i) => cluster.startMon(i)));
      for (let i = 0; i < cluster.#options.osds; i++) await cluster.#makeOsd(i);
      await Promise.all(cluster.#osds.map((osd, i) => cluster.#untilOsdActive(osd, i)));
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** Runs `ceph` as client.admin; returns standard output, throws when it fails. */
  async ceph(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(["ceph", ...args]);
    if (code !== 0) throw new Error(`Cannot run ceph ${args.join(" ")}: status ${code}: ${stderr}`);
    return stdout;
  }

  /** Runs any client program of this release (ceph, rados, …) as client.admin. */
  async run(argv: string[], options: RunOptions = {}): Promise<Finished> {
    const [program = "ceph", ...args] = argv;
    const login = ["-c", this.conf, "-k", this.adminKeyring];
    return await run(within(this.#options.place, [program, ...login, ...args]), {
      deadlineMs: CLI_DEADLINE_MS,
      ...options,
    });
  }

  /** Makes a pool of 8 placement groups; needs an object store. */
  async createPool(name: string): Promise<void> {
    await this.ceph("osd", "pool", "create", name, "8");
  }

  /** Adds an entity to the cluster; returns the path of a keyring file with its key. */
  async addEntity(name: string, ...caps: string[]): Promise<string> {
    const path = `${this.directory}/${name}.keyring`;
    await Deno.writeTextFile(path, await this.ceph("auth", "get-or-create", name, ...caps));
    return path;
  }

  /** Asks a daemon ("mon.m0", "osd.0") through its admin socket; returns its JSON. */
  async ask(daemon: string, command: Record<string, unknown>): Promise<unknown> {
    const path = `${this.directory}/run/${daemon}.asok`;
    const socket = await Deno.connect({ transport: "unix", path });
    let open = true;
    const close = (): void => {
      if (open) socket.close();
      open = false;
    };
    const timer = setTimeout(close, ASK_DEADLINE_MS);
    try {
      await writeAll(socket, new TextEncoder().encode(JSON.stringify(command) + "\0"));
      const length = new DataView((await readExactly(socket, 4)).buffer).getUint32(0);
      return JSON.parse(new TextDecoder().decode(await readExactly(socket, length)));
    } finally {
      clearTimeout(timer);
      close();
    }
  }

  /** Changes a setting of a running daemon. */
  async set(daemon: string, name: string, value: string): Promise<void> {
    await this.ask(daemon, { prefix: "config set", var: name, val: [value] });
  }

  /** The process id of a monitor. */
  monPid(i: number): number {
    return this.#mon(i).pid;
  }

  /** The process id of an object store. */
  osdPid(i: number): number {
    const osd = this.#osds[i];
    if (!osd) throw new Error(`Cannot find osd.${i}: the cluster has ${this.#osds.length}`);
    return osd.pid;
  }

  /** Kills a monitor at once and waits for its end. */
  async killMon(i: number): Promise<void> {
    await this.#mon(i).stop();
  }

  /**
   * Starts a killed monitor at its old address; resolves when it serves clients, which needs a
   * quorum: where this start alone does not make one, have several under way at once.
   */
  async startMon(i: number): Promise<void> {
    const daemon = this.#daemon(`mon.m${i}`, ["ceph-mon", "-c", this.conf, "-i", `m${i}`, "-f"]);
    this.#mons[i] = daemon;
    await this.#untilMonServes(daemon, i);
  }

  /** Kills a monitor and starts it again. */
  async restartMon(i: number): Promise<void> {
    await this.killMon(i);
    await this.startMon(i);
  }

  /** Kills all and removes the scratch directory. A throw-away cluster needs no orderly end. */
  async stop(): Promise<void> {
    await Promise.all([...this.#osds, ...this.#mons].filter(Boolean).map((one) => one.stop()));
    await Deno.remove(this.directory, { recursive: true });
  }

  /** Stops it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #mon(i: number): Daemon {
    const mon = this.#mons[i];
    if (!mon) throw new Error(`Cannot find mon.m${i}: the cluster has ${this.#mons.length}`);
    return mon;
  }

  #daemon(name: string, argv: string[]): Daemon {
    const argvInPlace = within(this.#options.place, argv);
    return Daemon.start(argvInPlace, `${this.directory}/log/${name}.out`);
  }

  async #writeFiles(): Promise<void> {
    for (const name of ["log", "run"]) await Deno.mkdir(`${this.directory}/${name}`);
    const admin = formatKey("client.admin", this.adminKey, {
      mon: "allow *",
      osd: "allow *",
      mgr: "allow *",
      mds: "allow *",
    });
    let all = admin + formatKey("mon.", generateKey(this.#keyType), { mon: "allow *" });
    for (let i = 0; i < this.#options.osds; i++) {
      const osd = formatKey(`osd.${i}`, generateKey(this.#keyType), {
        mon: "allow profile osd",
        mgr: "allow profile osd",
        osd: "allow *",
      });
      await Deno.mkdir(`${this.directory}/osd-${i}`);
      await Deno.writeTextFile(`${this.directory}/osd-${i}/keyring`, osd);
      all += osd;
    }
    await Deno.writeTextFile(this.adminKeyring, admin);
    await Deno.writeTextFile(`${this.directory}/mon.keyring`, all);
    await Deno.writeTextFile(this.conf, this.#formatConf());
  }

  #formatConf(): string {
    const { auth, mode, host, extra } = this.#options;
    const ipv6 = host.includes(":");
    const scopes = ["cluster", "service", "client"];
    return [
      "[global]",
      `fsid = ${this.fsid}`,
      `mon_host = ${this.#boundAddrs().join(" ")}`,
      `mon_initial_members = ${this.monAddrs.map((_, i) => `m${i}`).join(" ")}`,
      `public_addr = ${host}`,
      `cluster_addr = ${host}`,
      "ms_bind_msgr1 = false",
      "ms_bind_msgr2 = true",
      `ms_bind_ipv4 = ${!ipv6}`,
      `ms_bind_ipv6 = ${ipv6}`,
      ...scopes.map((scope) => `auth_${scope}_required = ${auth}`),
      ...scopes.map((scope) => `ms_${scope}_mode = ${mode}`),
      ...scopes.map((scope) => `ms_mon_${scope}_mode = ${mode}`),
      // As strict as a cluster that has seen CVE-2021-20288 to its end.
      "auth_allow_insecure_global_id_reclaim = false",
      `run_dir = ${this.directory}/run`,
      `admin_socket = ${this.directory}/run/$name.asok`,
      `log_file = ${this.directory}/log/$name.log`,
      `mon_data = ${this.directory}/mon-$id`,
      `osd_data = ${this.directory}/osd-$id`,
      "osd_objectstore = memstore",
      "memstore_device_bytes = 1073741824",
      "osd_pool_default_size = 1",
      "osd_pool_default_min_size = 1",
      "osd_pool_default_pg_autoscale_mode = off",
      "osd_crush_chooseleaf_type = 0",
      "mon_allow_pool_size_one = true",
      "mon_allow_pool_delete = true",
      "mon_warn_on_pool_no_redundancy = false",
      // A scratch directory on a nearly full disk is no reason to refuse.
      "mon_data_avail_warn = 1",
      "mon_data_avail_crit = 1",
      // Both are waits that only make sense with disks; without them a start takes 4 s less.
      "paxos_propose_interval = 0.05",
      "paxos_min_wait = 0.01",
      // Likewise: several monitors let clients in after their next tick or election.
      "mon_tick_interval = 1",
      "mon_election_timeout = 1",
      extra,
      "[client]",
      "log_file =",
      "admin_socket =",
      "[client.admin]",
      `keyring = ${this.adminKeyring}`,
      "",
    ].join("\n");
  }

  #boundAddrs(): string[] {
    return this.monAddrs.map((address) => `[${address}/0]`);
  }

  async #makeMons(): Promise<void> {
    const { place } = this.#options;
    const monmap = `${this.directory}/monmap`;
    const members = this.#boundAddrs().flatMap((address, i) => ["--addv", `m${i}`, address]);
    await must(within(place, [
      ...["monmaptool", "--create", "--clobber", "--fsid", this.fsid],
      ...members,
      monmap,
    ]));
    await Promise.all(this.monAddrs.map(async (_, i) => {
      await Deno.mkdir(`${this.directory}/mon-m${i}`);
      await must(within(place, [
        ...["ceph-mon", "-c", this.conf, "--mkfs", "-i", `m${i}`],
        ...["--monmap", monmap, "--keyring", `${this.directory}/mon.keyring`],
      ]));
    }));
  }

  /** Resolves when a monitor lets clients in: being in a quorum it still refuses for some ms. */
  async #untilMonServes(mon: Daemon, i: number): Promise<void> {
    const inQuorum = async (): Promise<boolean> => {
      const status = await this.#askWhenUp(`mon.m${i}`, { prefix: "mon_status" });
      return status.state === "leader" || status.state === "peon";
    };
    await mon.until(`mon.m${i} is in a quorum`, inQuorum, MON_DEADLINE_MS);
    const serves = async (): Promise<boolean> => {
      const args = ["-m", `[${this.monAddrs[i]}]`, "lspools"];
      return (await this.run(["rados", ...args], { deadlineMs: 2_000 })).code === 0;
    };
    await mon.until(`mon.m${i} serves clients`, serves, MON_DEADLINE_MS);
  }

  async #makeOsd(i: number): Promise<void> {
    const uuid = crypto.randomUUID();
    await this.ceph("osd", "new", uuid, `${i}`);
    const keyring = `${this.directory}/osd-${i}/keyring`;
    const osd = ["ceph-osd", "-c", this.conf, "-i", `${i}`, "--keyring", keyring];
    await must(within(this.#options.place, [...osd, "--mkfs", "--osd-uuid", uuid]));
    this.#osds[i] = this.#daemon(`osd.${i}`, [...osd, "-f"]);
  }

  async #untilOsdActive(osd: Daemon, i: number): Promise<void> {
    const active = async (): Promise<boolean> => {
      const status = await this.#askWhenUp(`osd.${i}`, { prefix: "status" });
      return status.state === "active";
    };
    await osd.until(`osd.${i} is active`, active, OSD_DEADLINE_MS);
  }

  /** A daemon that has just been started has no socket yet, or one left over by its predecessor. */
  async #askWhenUp(
    daemon: string,
    command: Record<string, unknown>,
  ): Promise<{ state?: string }> {
    try {
      const answer = await this.ask(daemon, command);
      return typeof answer === "object" && answer !== null ? answer : {};
    } catch (error) {
      const { NotFound, ConnectionRefused, UnexpectedEof, BadResource } = Deno.errors;
      for (const kind of [NotFound, ConnectionRefused, UnexpectedEof, BadResource, SyntaxError]) {
        if (error instanceof kind) return {};
      }
      throw error;
    }
  }
}

/** A key as keyring files have it: base64 of type, time of creation, length, secret. */
function generateKey(type: KeyType): string {
  const secret = crypto.getRandomValues(new Uint8Array(KEY_BYTES[type]));
  const view = new DataView(new ArrayBuffer(12 + secret.length));
  view.setUint16(0, type, true);
  view.setUint32(2, Math.floor(Date.now() / 1000), true);
  view.setUint32(6, 0, true); // nanoseconds
  view.setUint16(10, secret.length, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(secret, 12);
  return bytes.toBase64();
}

function formatKey(name: string, key: string, caps: Record<string, string>): string {
  const lines = Object.entries(caps).map(([service, cap]) => `\tcaps ${service} = "${cap}"\n`);
  return `[${name}]\n\tkey = ${key}\n${lines.join("")}`;
}

async function writeAll(socket: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
}

async function readExactly(socket: Deno.Conn, count: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const got = await socket.read(bytes.subarray(at));
    if (got === null) throw new Deno.errors.UnexpectedEof(`Cannot read ${count} bytes: had ${at}`);
    at += got;
  }
  return bytes;
}
