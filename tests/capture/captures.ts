/**
 * Captures of real peers, made by tcpdump(8) inside network namespaces where nothing else speaks:
 * tgtd(8) with libiscsi's tools and an initiator of our own, Ceph's monitor and object store, and
 * our own endpoints.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { CephCluster } from "../interop/ceph_cluster.ts";
import { type Peer, placeOf } from "../interop/debian_peers.ts";
import { canMakeNamespaces, NamespacePair } from "../interop/netns.ts";
import { Daemon, hasProgram, listens, must, run } from "../interop/processes.ts";

/** The port of iSCSI, RFC 7143 section 4.1; free in a new namespace, and known to tshark. */
export const ISCSI_PORT = 3260;
const TARGET = "iqn.2001-04.com.example:disk";
const TARGET_DIGEST = "iqn.2001-04.com.example:digest";
const ROUNDS = "12";
const DISK_BYTES = 16 * 1024 * 1024;
const ENDPOINTS = fileURLToPath(import.meta.resolve("../interop/sniff_endpoints.ts"));
const INITIATOR = fileURLToPath(import.meta.resolve("../interop/sniff_initiator.ts"));
/** Discard: where the packet goes that ends a capture. */
const MARKER_PORT = 9;
const DEADLINE_MS = 10_000;
const PROGRAMS = [
  "tgtd",
  "tgtadm",
  "iscsi-ls",
  "iscsi-perf",
  "tshark",
  "editcap",
  "tcpdump",
  "ethtool",
];

/** Whether tests with captures are to be ignored. With CI=true they run, and fail. */
export async function ignoreWithoutCaptures(): Promise<boolean> {
  if (Deno.env.get("CI") === "true") return false;
  if (!await canMakeNamespaces()) return true;
  return (await Promise.all(PROGRAMS.map(hasProgram))).includes(false);
}

/** A capture under way. */
export class Recording implements AsyncDisposable {
  readonly #daemon: Daemon;
  readonly #path: string;
  readonly #netns: string;
  readonly #markTo: string;

  private constructor(daemon: Daemon, path: string, netns: string, markTo: string) {
    this.#daemon = daemon;
    this.#path = path;
    this.#netns = netns;
    this.#markTo = markTo;
  }

  /**
   * Starts a capture of an interface of a namespace; resolves when it listens.
   *
   * @param markTo an address that is reached through the interface
   * @param tcp which connections, as pcap-filter(7) has it
   */
  static async start(
    path: string,
    netns: string,
    device: string,
    markTo: string,
    tcp = "tcp",
  ): Promise<Recording> {
    const daemon = Daemon.start([
      ...["ip", "netns", "exec", netns],
      ...["tcpdump", "-Z", "root", "-i", device, "-n", "-U", "--immediate-mode"],
      ...["-B", "65536", "-s", "262144", "-w", path, `${tcp} or udp`],
    ], `${path}.out`);
    const recording = new Recording(daemon, path, netns, markTo);
    const ready = (): boolean => daemon.output().includes("listening on");
    await daemon.until("tcpdump listens", ready, DEADLINE_MS);
    return recording;
  }

  /** Ends it when all is written; throws when a packet was dropped. */
  async end(): Promise<string> {
    // The last packet that counts is one of ours: when it is in the file, all before it are.
    const { size } = await Deno.stat(this.#path);
    const marker = crypto.randomUUID();
    const send = `printf ${marker} >/dev/udp/${this.#markTo}/${MARKER_PORT}`;
    await must(["ip", "netns", "exec", this.#netns, "bash", "-c", send]);
    const written = (): boolean => textFrom(this.#path, size).includes(marker);
    await this.#daemon.until("the last packet is written", written, DEADLINE_MS);
    await this.#daemon.stop("SIGINT");
    const said = this.#daemon.output();
    assert.match(said, /^0 packets dropped by kernel$/m, said);
    return this.#path;
  }

  /** Kills it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon.stop();
  }
}

/** A file from an offset on, as a text of single bytes. */
function textFrom(path: string, offset: number): string {
  return new TextDecoder("latin1").decode(Deno.readFileSync(path).subarray(offset));
}

/** A running tgtd with two disks in memory: one without digests, one that wants both. */
export class Target implements AsyncDisposable {
  readonly #daemon: Daemon;
  readonly #control: string;

  private constructor(daemon: Daemon, control: string) {
    this.#daemon = daemon;
    this.#control = control;
  }

  /** Starts one in a namespace, its disk in `directory`. */
  static async start(directory: string, netns: string, host: string): Promise<Target> {
    const control = `${1000 + Math.floor(Math.random() * 30_000)}`;
    const disk = `${directory}/disk`;
    using file = await Deno.open(disk, { create: true, write: true });
    await file.truncate(DISK_BYTES);
    const daemon = Daemon.start([
      ...["ip", "netns", "exec", netns],
      ...["tgtd", "-f", "--iscsi", `portal=${host}:${ISCSI_PORT}`, "-C", control],
    ], `${directory}/tgtd.out`);
    const target = new Target(daemon, control);
    try {
      await daemon.until("tgtd listens", () => listens(daemon.pid, ISCSI_PORT), DEADLINE_MS);
      await target.#admin("--op", "new", "--mode", "target", "-T", TARGET, "--tid", "1");
      await target.#admin("--op", "new", "--mode", "target", "-T", TARGET_DIGEST, "--tid", "2");
      for (const tid of ["1", "2"]) {
        const unit = ["--mode", "logicalunit", "--tid", tid, "--lun", "1", "-b", disk];
        await target.#admin("--op", "new", ...unit);
        await target.#admin("--op", "bind", "--mode", "target", "--tid", tid, "-I", "ALL");
      }
    } catch (error) {
      await daemon.stop();
      throw error;
    }
    return target;
  }

  /** Has the second target agree to these digests, and to no others. */
  async setDigests(header: boolean, data: boolean): Promise<void> {
    const update = ["--op", "update", "--mode", "target", "--tid", "2", "--name"];
    await this.#admin(...update, "HeaderDigest", "--value", header ? "CRC32C" : "None");
    await this.#admin(...update, "DataDigest", "--value", data ? "CRC32C" : "None");
  }

  /** Kills it: a target that exists keeps SIGTERM from ending it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon.stop();
  }

  async #admin(...words: string[]): Promise<void> {
    await must(["tgtadm", "-C", this.#control, "--lld", "iscsi", ...words]);
  }
}

/** Logs in from the near end, writes, reads, pings and logs out (sniff_initiator.ts). */
export async function initiate(
  pair: NamespacePair,
  host: string,
  digests: "none" | "header" | "data" | "both",
): Promise<void> {
  const target = digests === "none" ? TARGET : TARGET_DIGEST;
  const words = [host, `${ISCSI_PORT}`, target, digests, ROUNDS];
  const command = [Deno.execPath(), "run", "--quiet", "-A", INITIATOR, ...words];
  await must(pair.within(pair.near, command));
}

/** Captures of iSCSI, by file. */
export interface IscsiCaptures {
  /** Over loopback: libiscsi's tools, and our initiator without digests. Segments of up to 64 KiB. */
  readonly loopback: string;
  /** Over a cable with an MTU of 1500: our initiator without digests, then libiscsi's. */
  readonly cable: string;
  /** Over the same cable: our initiator with a header digest, a data digest and both. */
  readonly digests: string;
}

/** Makes all of them in a directory. */
export async function captureIscsi(directory: string): Promise<IscsiCaptures> {
  await using pair = await NamespacePair.create();
  const { near, far, farAddress } = pair;
  for (const end of [near, far]) await setSegments(pair, end, "cable0");
  const read = async (host: string): Promise<void> => {
    const portal = `iscsi://${host}:${ISCSI_PORT}`;
    const unit = `${portal}/${TARGET}/1`;
    await must(pair.within(near, ["iscsi-ls", "-s", portal]));
    await must(pair.within(near, ["iscsi-inq", unit]));
    await must(pair.within(near, ["iscsi-readcapacity16", unit]));
    // Runs for whole seconds, in each of which it reads 100 MB: it ends in order when interrupted.
    const perf = [
      "timeout",
      "-s",
      "INT",
      "-k",
      "2",
      "0.03",
      "iscsi-perf",
      "-m",
      "4",
      "-b",
      "16",
      unit,
    ];
    await run(pair.within(near, perf));
  };
  const record = async (
    name: string,
    device: string,
    to: string,
    work: () => Promise<void>,
  ): Promise<string> => {
    await using recording = await Recording.start(`${directory}/${name}`, near, device, to);
    await work();
    return await recording.end();
  };
  const loopback = await (async () => {
    await Deno.mkdir(`${directory}/near`);
    await using _target = await Target.start(`${directory}/near`, near, "127.0.0.1");
    return await record("loopback.pcap", "lo", "127.0.0.1", async () => {
      await initiate(pair, "127.0.0.1", "none");
      await read("127.0.0.1");
    });
  })();
  await Deno.mkdir(`${directory}/far`);
  await using target = await Target.start(`${directory}/far`, far, farAddress);
  const cable = await record("cable.pcap", "cable0", farAddress, async () => {
    await initiate(pair, farAddress, "none");
    await read(farAddress);
  });
  const digests = await record("digests.pcap", "cable0", farAddress, async () => {
    for (const kind of ["header", "data", "both"] as const) {
      await target.setDigests(kind !== "data", kind !== "header");
      await initiate(pair, farAddress, kind);
    }
  });
  return { loopback, cable, digests };
}

/** Captures of msgr2 and the keys of their connections, by file. */
export interface Msgr2Capture {
  readonly path: string;
  readonly keyring: string;
}

/** How msgr2 is spoken. */
export type Mode = "crc" | "secure";

/** The port of msgr2, free in a new namespace. */
export const MSGR2_PORT = 3300;
/** Less than a frame that is to be aborted half way. */
const SOCKET_BYTES = 131_072;
const OBJECT_BYTES = 1_000_000;

/** A monitor and an object store from their start, and some commands and objects. */
export async function captureCeph(
  directory: string,
  peer: Peer,
  mode: Mode,
): Promise<Msgr2Capture> {
  await using pair = await NamespacePair.create();
  await setSegments(pair, pair.near, "lo");
  const path = `${directory}/ceph-${mode}.pcap`;
  await using recording = await Recording.start(path, pair.near, "lo", "127.0.0.1");
  const place = { ...placeOf(peer), netns: pair.near };
  await using cluster = await CephCluster.start({ mode, osds: 1, place });
  await cluster.createPool("pool");
  await cluster.ceph("status");
  await cluster.ceph("config-key", "set", "fairlead/key", "value");
  const object = `${cluster.directory}/object`;
  await Deno.writeFile(object, new Uint8Array(OBJECT_BYTES).map((_, at) => at * (at >> 12)));
  for (const words of [["put", "one", object], ["get", "one", `${object}.read`]]) {
    const { code, stderr } = await cluster.run(["rados", "-p", "pool", ...words]);
    assert.equal(code, 0, stderr);
  }
  // Every key that a connection could use: a monitor's own, the client's and the object store's.
  const keyring = `${directory}/ceph-${mode}.keyring`;
  await Deno.copyFile(`${cluster.directory}/mon.keyring`, keyring);
  await recording.end();
  return { path, keyring };
}

/** A box and a hub of our own, whose connections are cut, and frames that are aborted. */
export async function captureEndpoints(
  directory: string,
  mode: Mode,
  revision: "2.0" | "2.1",
): Promise<Msgr2Capture> {
  await using pair = await NamespacePair.create();
  await setSegments(pair, pair.near, "lo");
  for (const memory of ["tcp_rmem", "tcp_wmem"]) {
    const setting = `net.ipv4.${memory}=4096 16384 ${SOCKET_BYTES}`;
    await must(pair.within(pair.near, ["sysctl", "-q", "-w", setting]));
  }
  const name = `${directory}/endpoints-${mode}-${revision}`;
  const path = `${name}.pcap`;
  const keyring = `${name}.keyring`;
  const filter = `tcp port ${MSGR2_PORT}`;
  await using recording = await Recording.start(path, pair.near, "lo", "127.0.0.1", filter);
  const words = [mode, revision, `${MSGR2_PORT}`, keyring];
  const command = [Deno.execPath(), "run", "--quiet", "-A", ENDPOINTS, ...words];
  await must(pair.within(pair.near, command));
  await recording.end();
  return { path, keyring };
}

/** Has an interface carry segments of 1448 bytes, as a wire does. */
async function setSegments(pair: NamespacePair, netns: string, device: string): Promise<void> {
  const off = ["tso", "off", "gso", "off", "gro", "off"];
  await must(pair.within(netns, ["ethtool", "-K", device, ...off]));
  await must(["ip", "-n", netns, "link", "set", device, "mtu", "1500"]);
}
