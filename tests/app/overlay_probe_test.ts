/**
 * Probes of links in a user and network namespace of their own (unshare(1)): one link to a kernel in
 * another namespace, and one whose other end is played by hand.
 */
import assert from "node:assert/strict";
import { probeLinks } from "../../src/app/overlay/link_probe.ts";
import { Errno } from "../../src/io/errno.ts";
import { PacketSocket } from "../../src/io/packet_socket.ts";
import { PingSocket, waitForPings } from "../../src/io/ping_socket.ts";
import { testUnshared, unshared } from "../io/unshared.ts";

const NEAR = "02:00:00:00:00:01";
const FAR = "02:00:00:00:00:02";
const PREPARE = `ip link set lo up && ` +
  `ip link add hand0 address ${NEAR} type veth peer name hand1 address ${FAR} && ` +
  "ip addr add 10.201.0.0/31 dev hand0 && ip link set hand0 up && ip link set hand1 up && " +
  `ip neigh add 10.201.0.1 lladdr ${FAR} dev hand0 nud permanent && ` +
  "ip link add down0 type veth peer name down1 && ip addr add 10.202.0.0/31 dev down0 &&";
const HAND = { link: "hand", device: "hand0", address: "10.201.0.0", peerAddress: "10.201.0.1" };
const MISSING = { link: "missing", device: "none0", address: "10.9.0.0", peerAddress: "10.9.0.1" };
const DOWN = { link: "down", device: "down0", address: "10.202.0.0", peerAddress: "10.202.0.1" };
const NO_ADDRESS = { link: "none", device: "hand0", address: "10.201.0.0", peerAddress: "r1" };
const LONG_MS = 20_000;
const SHORT_MS = 80;

/** The other end of `hand0`: what it makes of an echo is sent, as often as it says. */
class Hand {
  readonly #socket: PacketSocket;
  readonly #change: (frame: Uint8Array) => Uint8Array[];
  #ended = false;
  echoes = 0;

  constructor(change: (frame: Uint8Array) => Uint8Array[]) {
    const socket = PacketSocket.open("hand1", 0x0800);
    assert.ok(socket instanceof PacketSocket);
    this.#socket = socket;
    this.#change = change;
  }

  async play(): Promise<void> {
    const bytes = new Uint8Array(256);
    while (!this.#ended) {
      const size = this.#socket.receive(bytes);
      if (size === -Errno.Eagain) await new Promise((resolve) => setTimeout(resolve, 1));
      else if (size === 50 && bytes[23] === 1 && bytes[34] === 8) {
        this.#answer(bytes.slice(0, size));
      }
    }
    this.#socket.close();
  }

  end(): void {
    this.#ended = true;
  }

  #answer(frame: Uint8Array): void {
    this.echoes++;
    for (const answer of this.#change(answerTo(frame))) {
      this.#socket.send(answer as Uint8Array<ArrayBuffer>, answer.length);
    }
  }
}

/** Turned round, as RFC 792 has it. */
function answerTo(frame: Uint8Array): Uint8Array {
  const answer = frame.slice();
  answer.set(frame.subarray(6, 12), 0);
  answer.set(frame.subarray(0, 6), 6);
  answer.set(frame.subarray(30, 34), 26);
  answer.set(frame.subarray(26, 30), 30);
  answer[34] = 0;
  return summed(answer);
}

/** With a right checksum over the message. */
function summed(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  view.setUint16(36, 0);
  let sum = 0;
  for (let at = 34; at < frame.length; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(36, ~sum & 0xffff);
  return frame;
}

/** An answer that is not quite one; the IP header's checksum is right, but for its source. */
function bent(frame: Uint8Array, change: (frame: Uint8Array) => void, sum = true): Uint8Array {
  const copy = frame.slice();
  change(copy);
  return sum ? summed(copy) : copy;
}

async function answersOf(
  change: (frame: Uint8Array) => Uint8Array[],
  waitMs: number,
): Promise<{ answered: number; rttUs: number; ms: number; echoes: number }> {
  const hand = new Hand(change);
  const played = hand.play();
  const startMs = performance.now();
  const [answer] = await probeLinks([HAND], 3, waitMs);
  const ms = performance.now() - startMs;
  hand.end();
  await played;
  assert.deepEqual([answer!.link, answer!.sent], ["hand", 3]);
  return { answered: answer!.answered, rttUs: answer!.rttUs, ms, echoes: hand.echoes };
}

/** A kernel at the other end of `far0`, in a namespace that ends with this program. */
async function withKernel(body: () => Promise<void>): Promise<void> {
  const other = new Deno.Command("unshare", {
    args: ["-n", "sh", "-c", "echo ready; exec sleep 60"],
    stdout: "piped",
  }).spawn();
  const reader = other.stdout.getReader();
  try {
    await reader.read();
    const script = "ip link add far0 type veth peer name far1 && ip link set far1 netns $1 && " +
      "ip addr add 10.200.0.0/31 dev far0 && ip link set far0 up && " +
      'nsenter -t $1 -n sh -c "ip addr add 10.200.0.1/31 dev far1 && ip link set far1 up"';
    const args = ["-c", script, "sh", `${other.pid}`];
    const made = await new Deno.Command("sh", { args }).output();
    assert.ok(made.success, new TextDecoder().decode(made.stderr));
    await body();
  } finally {
    other.kill("SIGKILL");
    await other.status;
    await reader.cancel();
  }
}

const CASES: Readonly<Record<string, () => Promise<void>>> = {
  "links are probed all at once, and a probe ends as soon as all have answered": () =>
    withKernel(async () => {
      const far = { device: "far0", address: "10.200.0.0", peerAddress: "10.200.0.1" };
      const links = Array.from({ length: 50 }, (_, index) => ({ link: `l${index}`, ...far }));
      const startMs = performance.now();
      const answers = await probeLinks(links, 3, LONG_MS);
      assert.ok(performance.now() - startMs < LONG_MS / 4);
      assert.deepEqual(answers.map(({ link }) => link), links.map(({ link }) => link));
      for (const { answered, rttUs, sent } of answers) {
        assert.deepEqual([sent, answered], [3, 3]);
        assert.ok(rttUs > 0 && rttUs < LONG_MS * 1000, `${rttUs} us`);
      }
    }),
  "a link whose interface is missing or down, or whose peer is none, sends nothing": async () => {
    const startMs = performance.now();
    const answers = await probeLinks([MISSING, DOWN, NO_ADDRESS], 3, LONG_MS);
    assert.ok(performance.now() - startMs < LONG_MS / 4, "nobody waits for what was not sent");
    for (const { answered, rttUs, sent } of answers) {
      assert.deepEqual([sent, answered, rttUs], [0, 0, 0]);
    }
    assert.deepEqual(await probeLinks([], 3, LONG_MS), []);
  },
  "a probe without answers ends after its time, and one answer of three is told": async () => {
    const silent = await answersOf(() => [], SHORT_MS);
    assert.deepEqual([silent.answered, silent.rttUs, silent.echoes], [0, 0, 3]);
    assert.ok(silent.ms >= SHORT_MS && silent.ms < LONG_MS, `${silent.ms}`);
    let first = true;
    const once = await answersOf((frame) => {
      if (!first) return [];
      first = false;
      return [frame];
    }, SHORT_MS);
    assert.equal(once.answered, 1);
    assert.ok(once.rttUs > 0);
  },
  "answers that come twice count once": async () => {
    const { answered } = await answersOf((frame) => [frame, frame, frame], LONG_MS);
    assert.equal(answered, 3);
  },
  "what is no answer to the echo is passed over": async () => {
    const bend: ((frame: Uint8Array) => Uint8Array)[] = [
      (frame) => bent(frame, (copy) => copy[34] = 8), // an echo
      (frame) => bent(frame, (copy) => copy[34] = 3), // unreachable
      (frame) => bent(frame, (copy) => copy[35] = 1), // a code
      (frame) => bent(frame, (copy) => copy[39]! ^= 1), // the id
      (frame) => bent(frame, (copy) => copy[40]! ^= 0x40), // a number that was not sent
      (frame) => bent(frame, (copy) => copy[42]! ^= 1), // the nonce
      (frame) => bent(frame, (copy) => copy[49]! ^= 1),
      (frame) => bent(frame, (copy) => copy[36]! ^= 1, false), // the checksum
      (frame) => bent(frame, (copy) => fromOther(copy), false), // another source
      (frame) => bent(frame, (copy) => copy.set([copy[16]!, 0x23], 16), false).subarray(0, 49),
    ];
    for (const [index, change] of bend.entries()) {
      const { answered, echoes } = await answersOf((frame) => [change(frame)], SHORT_MS);
      assert.deepEqual([answered, echoes], [0, 3], `change ${index}`);
    }
    const { answered } = await answersOf(
      (frame) => [...bend.map((change) => change(frame)), frame],
      LONG_MS,
    );
    assert.equal(answered, 3, "and does not hide an answer");
  },
  "a socket tells why it is not opened, and waits no longer than it is told": async () => {
    const nonce = new Uint8Array(10);
    const open = (device: string, address: string, peer: string): PingSocket | number =>
      PingSocket.open(device, address, peer, nonce);
    assert.equal(open("none0", "10.201.0.0", "10.201.0.1"), -19);
    assert.equal(open("hand0", "10.201.0.0", "fe80::1"), -Errno.Einval);
    assert.equal(open("hand0", "10.201.7.7", "10.201.0.1"), -Errno.Eaddrnotavail);
    const socket = open("hand0", "10.201.0.0", "10.201.0.1");
    assert.ok(socket instanceof PingSocket);
    const startMs = performance.now();
    await waitForPings([socket], 20);
    assert.ok(performance.now() - startMs < LONG_MS);
    assert.equal(socket.receive(), -Errno.Eagain);
    socket.close();
    assert.equal(socket.receive(), -Errno.Ebadf);
  },
};

/** 10.201.0.3 in place of 10.201.0.1, and a right checksum of the header. */
function fromOther(frame: Uint8Array): void {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  frame[29] = 3;
  view.setUint16(24, 0);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~sum & 0xffff);
}

if (import.meta.main && Deno.args[0] !== undefined) {
  await CASES[Deno.args[0]]!();
} else {
  const there = await unshared(PREPARE, ["true"]);
  testUnshared(import.meta.url, Object.keys(CASES), PREPARE, there?.code === 0);
}
