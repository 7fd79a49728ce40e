/**
 * Two hosts send each other a stream over a network that loses, repeats, re-cuts and re-orders, and a
 * capture that misses segments and cuts them: whatever happens, what the follower is told tiles each
 * stream, every byte is right, and nothing is called a hole that had been captured. Then segments that
 * no host would send. A failure names its seed; `FAIRLEAD_SEED=n` runs that one alone.
 */
import assert from "node:assert/strict";
import { arena, arenaTaken, give, take } from "../../src/mem/arena.ts";
import { Moment, type Side } from "../../src/proto/boundary/found.ts";
import { HoleReason } from "../../src/proto/capture/conversation.ts";
import {
  type ConversationFollower,
  ConversationTable,
  type TableLimits,
} from "../../src/proto/capture/conversation_table.ts";
import { TcpFlag, TcpSegment } from "../../src/wire/capture/tcp.ts";

const { Ack, Fin, Rst, Syn, Urg } = TcpFlag;
const SEEDS = 1500;
const HOSTILE_SEEDS = 150;
const HOSTILE_SEGMENTS = 1500;
const SCRATCH_BYTES = 4096;
const HOSTS = [[0, 0, 0xffff, 0x0a000001], [0, 0, 0xffff, 0x0a000002]] as const;
const PORTS = [50_000, 3260] as const;

/** Chance from a seed: xorshift of 32 bits. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) | 1;
    for (let round = 0; round < 8; round++) this.below(2);
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

/** The byte of a stream. */
function byteAt(side: number, offset: number): number {
  return (Math.imul(offset + 1, 0x01000193) >>> (side === 0 ? 8 : 13)) & 0xff;
}

/** A captured segment, with offsets in its side's stream. */
interface Captured {
  readonly side: Side;
  readonly from: number;
  readonly to: number;
  readonly flags: number;
  readonly ack: number;
  /** Offset behind the last byte that was captured. */
  readonly cut: number;
}

/** What one seed lets happen, in percent. */
class Weather {
  readonly lost: number;
  readonly repeated: number;
  readonly missed: number;
  readonly snapped: number;
  readonly window: number;
  readonly stepNs: number;
  readonly bytes: readonly [number, number];
  readonly segmentMax: number;
  readonly skipsOpening: boolean;
  readonly limits: Partial<TableLimits>;

  constructor(dice: Dice) {
    const percent = (): number => dice.chance(50) ? 0 : dice.below(20);
    this.lost = percent();
    this.repeated = percent();
    this.missed = percent();
    this.snapped = dice.chance(15) ? dice.below(50) : 0;
    this.window = dice.chance(40) ? 1 : 2 + dice.below(8);
    this.stepNs = dice.chance(80) ? 10_000 : 20e6;
    this.bytes = [2000 + dice.below(3000), 2000 + dice.below(3000)];
    this.segmentMax = 20 + dice.below(180);
    this.skipsOpening = dice.chance(20);
    this.limits = dice.chance(20)
      ? { heldBytesPerSide: 4096 + dice.below(3) * 4096, heldBytes: 12_288 }
      : {};
  }

  /** Whether everything is captured, soon enough and with room enough to be put in order again. */
  get isWhole(): boolean {
    return this.missed === 0 && this.snapped === 0 && this.limits.heldBytes === undefined &&
      this.stepNs * this.window < 1e6;
  }
}

/** One host's stream: what was sent, and what has arrived at the other. */
class Sender {
  readonly arrived: Uint8Array;
  sent = 0;
  contiguous = 0;
  finArrived = false;

  constructor(bytes: number) {
    this.arrived = new Uint8Array(bytes);
  }

  /** What the other host acknowledges. */
  get acknowledged(): number {
    while (this.contiguous < this.arrived.length && this.arrived[this.contiguous] === 1) {
      this.contiguous++;
    }
    return this.contiguous + (this.contiguous === this.arrived.length && this.finArrived ? 1 : 0);
  }
}

/** Everything that is captured of a connection, in the order of the capture. */
function transmit(dice: Dice, weather: Weather): Captured[] {
  const senders = weather.bytes.map((bytes) => new Sender(bytes)) as [Sender, Sender];
  const captured: Captured[] = [];
  const capture = (side: Side, from: number, to: number, flags: number): void => {
    if (dice.chance(weather.missed)) return;
    const cut = dice.chance(weather.snapped) ? from + dice.below(to - from + 1) : to;
    const ack = senders[1 - side]!.acknowledged;
    captured.push({ side, from, to, flags, ack, cut });
  };
  const send = (side: Side, from: number, to: number, flags: number): void => {
    const sender = senders[side];
    const fate = dice.chance(weather.lost) ? dice.below(2) : 2;
    if (fate === 0) return; // lost before the point of capture
    capture(side, from, to, flags);
    if (fate === 1) return; // lost behind it
    sender.arrived.fill(1, from, to);
    if ((flags & Fin) !== 0) sender.finArrived = true;
  };
  if (!weather.skipsOpening) {
    capture(0, 0, 0, Syn);
    capture(1, 0, 0, Syn | Ack);
  }
  while (senders.some((sender) => !sender.finArrived || sender.acknowledged <= sender.contiguous)) {
    const side = dice.below(2) as Side;
    const sender = senders[side];
    const end = sender.arrived.length;
    const length = 1 + dice.below(weather.segmentMax);
    const again = sender.sent > 0 &&
      dice.chance(weather.repeated + (sender.sent === end ? 60 : 10));
    if (again) {
      const missing = sender.acknowledged < sender.sent;
      const spread = dice.below(40);
      const from = missing || dice.chance(50)
        ? Math.max(0, Math.min(sender.contiguous, end) - spread)
        : dice.below(sender.sent);
      const to = Math.min(sender.sent, from + spread + length);
      send(side, from, to, to === end ? Fin | Ack : Ack);
    } else if (sender.sent < end) {
      const to = Math.min(end, sender.sent + length);
      const from = sender.sent;
      sender.sent = to;
      send(side, from, to, to === end && dice.chance(50) ? Fin | Ack : Ack);
    } else send(side, end, end, Fin | Ack);
    if (dice.chance(30)) capture((1 - side) as Side, -1, -1, Ack);
  }
  for (const side of [0, 1] as const) capture(side, -1, -1, Ack);
  return reorder(dice, captured, weather.window);
}

/** Each segment changes places with others that are near. */
function reorder(dice: Dice, captured: Captured[], window: number): Captured[] {
  const placed = captured.map((segment, index) => ({ segment, at: index + dice.below(window) }));
  return placed.sort((a, b) => a.at - b.at).map(({ segment }) => segment);
}

/** Follows one conversation, and checks what it is told against the truth. */
class Checker implements ConversationFollower {
  readonly next: [number, number] = [0, 0];
  readonly holeBytes: [number, number] = [0, 0];
  readonly ended: [boolean, boolean] = [false, false];
  readonly bases: [number, number] = [-1, -1];
  /** Whether a byte had been captured by now. */
  readonly seen: readonly [Uint8Array, Uint8Array];
  readonly #packets: readonly Captured[];
  closed = false;

  constructor(weather: Weather, packets: readonly Captured[]) {
    this.seen = [new Uint8Array(weather.bytes[0]), new Uint8Array(weather.bytes[1])];
    this.#packets = packets;
  }

  handleBytes(side: Side, at: number, end: number, offset: number, moment: Moment): void {
    assert.equal(offset, this.next[side]);
    assert.ok(end > at);
    const from = offset + this.bases[side];
    for (let index = 0; index < end - at; index++) {
      if (arena.bytes[at + index] !== byteAt(side, from + index)) {
        assert.fail(`wrong byte at ${offset + index} of side ${side}`);
      }
    }
    const packet = this.#packets[moment.packet]!;
    assert.ok(packet.side === side && packet.from <= from && packet.cut >= from + end - at);
    this.next[side] += end - at;
  }

  handleHole(side: Side, offset: number, length: number, reason: HoleReason): void {
    assert.equal(offset, this.next[side]);
    assert.ok(length > 0);
    const from = offset + this.bases[side];
    // First seen stays, also where a later copy was cut less.
    const known = reason === HoleReason.Snap ? -1 : this.seen[side].indexOf(1, from);
    assert.ok(known < 0 || known >= from + length, `${known} was captured, side ${side}`);
    this.next[side] += length;
    this.holeBytes[side] += length;
  }

  handleUrgent(): void {}

  handleEnd(side: Side, offset: number): void {
    assert.equal(offset, this.next[side]);
    assert.equal(this.ended[side], false);
    this.ended[side] = true;
  }

  close(): void {
    assert.deepEqual(this.ended, [true, true]);
    assert.equal(this.closed, false);
    this.closed = true;
  }
}

/** Sends what one seed makes of a connection through a table. */
function simulate(seed: number, at: number): void {
  const dice = new Dice(seed);
  const weather = new Weather(dice);
  const packets = transmit(dice, weather);
  const checker = new Checker(weather, packets);
  let conversations = 0;
  const table = new ConversationTable(() => {
    conversations++;
    return checker;
  }, { conversations: 16, ...weather.limits });
  const isns = [dice.below(2 ** 32), dice.chance(50) ? 2 ** 32 - 1000 : dice.below(2 ** 32)];
  const segment = new TcpSegment();
  const moment = new Moment();
  for (const [index, packet] of packets.entries()) {
    const { side, flags, ack } = packet;
    const other = (1 - side) as Side;
    const isSyn = (flags & Syn) !== 0;
    const { from, to } = packet;
    const isPure = from < 0;
    segment.addresses.set(HOSTS[side]);
    segment.addresses.set(HOSTS[other], 4);
    segment.sourcePort = PORTS[side];
    segment.destinationPort = PORTS[other];
    // A pure acknowledgement stands somewhere in what its sender has sent: nobody looks.
    const place = isPure ? checker.next[side] + Math.max(checker.bases[side], 0) : from;
    segment.sequence = (isns[side]! + (isSyn ? 0 : 1 + place)) >>> 0;
    segment.acknowledgment = (isns[other]! + 1 + ack) >>> 0;
    segment.flags = flags;
    segment.dataBytes = isPure ? 0 : to - from;
    segment.dataAt = at;
    segment.dataEnd = isPure ? at : at + packet.cut - from;
    for (let byte = 0; byte < segment.dataEnd - at; byte++) {
      arena.bytes[at + byte] = byteAt(side, from + byte);
    }
    const opens = isSyn || segment.dataBytes > 0;
    if (conversations > 0 || opens) {
      if (isSyn && (flags & Ack) !== 0 && checker.bases[other] < 0) checker.bases[other] = 0;
      const based = opens || (flags & Fin) !== 0;
      if (based && checker.bases[side] < 0) checker.bases[side] = isSyn ? 0 : from;
      if (!isPure) checker.seen[side].fill(1, from, packet.cut);
    }
    moment.timeNs += weather.stepNs;
    moment.packet = index;
    table.handleSegment(segment, moment);
  }
  table.end(moment);
  if (packets.length === 0) return;
  assert.equal(conversations, 1);
  assert.equal(checker.closed, true);
  for (const side of [0, 1] as const) {
    const length = weather.bytes[side] - Math.max(checker.bases[side], 0);
    const hasFin = packets.some((one) => one.side === side && (one.flags & Fin) !== 0);
    // The FIN takes a sequence number, and who has not seen it cannot know that it is no byte.
    assert.ok(
      checker.next[side] <= length + (hasFin ? 0 : 1),
      `${checker.next[side]} of ${length}`,
    );
    if (hasFin) assert.equal(checker.next[side], length);
    if (weather.isWhole) assert.equal(checker.holeBytes[side], 0);
  }
}

/** Runs `body` for each seed, and tells the first that failed. */
function seeds(name: string, count: number, body: (seed: number, at: number) => void): void {
  const asked = Deno.env.get("FAIRLEAD_SEED");
  const first = asked === undefined ? 1 : Number(asked);
  const last = asked === undefined ? count : first;
  Deno.test(`${name}: seeds ${first} to ${last}`, () => {
    const at = take(SCRATCH_BYTES);
    const before = arenaTaken();
    for (let seed = first; seed <= last; seed++) {
      try {
        body(seed, at);
        assert.equal(arenaTaken(), before, "memory is given back");
      } catch (error) {
        throw new Error(`FAIRLEAD_SEED=${seed}`, { cause: error });
      }
    }
    give(at);
  });
}

seeds("reassembly in any weather", SEEDS, simulate);

/** Sees that the calls are in order, whatever they say. */
class Watcher implements ConversationFollower {
  readonly #next: [number, number] = [0, 0];
  readonly #ended: [boolean, boolean] = [false, false];
  #closed = false;

  handleBytes(side: Side, at: number, end: number, offset: number): void {
    this.#advance(side, offset, end - at);
  }

  handleHole(side: Side, offset: number, length: number): void {
    this.#advance(side, offset, length);
  }

  handleUrgent(side: Side, offset: number): void {
    assert.ok(offset >= 0 && !this.#ended[side] && !this.#closed);
  }

  handleEnd(side: Side, offset: number): void {
    this.#advance(side, offset, Infinity);
    this.#ended[side] = true;
  }

  close(): void {
    assert.ok(!this.#closed);
    assert.deepEqual(this.#ended, [true, true]);
    this.#closed = true;
  }

  #advance(side: Side, offset: number, length: number): void {
    assert.ok(!this.#closed && !this.#ended[side] && length > 0);
    assert.equal(offset, this.#next[side]);
    assert.ok(Number.isSafeInteger(offset));
    this.#next[side] += length === Infinity ? 0 : length;
  }
}

seeds("segments that no host would send", HOSTILE_SEEDS, (seed, at) => {
  const dice = new Dice(seed);
  const limits = { conversations: 4, heldBytesPerSide: 16_384, heldBytes: 32_768 };
  let open = 0;
  const table = new ConversationTable(() => {
    open++;
    const watcher = new Watcher();
    const close = watcher.close.bind(watcher);
    watcher.close = () => {
      open--;
      close();
    };
    return watcher;
  }, limits);
  const before = arenaTaken();
  const segment = new TcpSegment();
  const moment = new Moment();
  const near = [0, 1, 2, 100, 2 ** 31, 2 ** 30, 2 ** 30 + 1, 2 ** 32 - 1, 2 ** 32 - 100];
  const isQuiet = dice.chance(50);
  for (let index = 0; index < HOSTILE_SEGMENTS; index++) {
    const side = dice.below(2);
    segment.addresses.set(HOSTS[side]!);
    segment.addresses.set(HOSTS[1 - side]!, 4);
    const hosts = dice.chance(90) ? 2 : 8;
    segment.sourcePort = 7 + (side === 0 ? dice.below(hosts) : 0);
    segment.destinationPort = 7 + (side === 0 ? 0 : dice.below(hosts));
    segment.sequence = (near[dice.below(isQuiet ? 4 : near.length)]! + dice.below(3000)) >>> 0;
    segment.acknowledgment = (near[dice.below(near.length)]! + dice.below(3000)) >>> 0;
    const usual = dice.chance(90) ? Ack : dice.below(64);
    segment.flags = isQuiet ? usual & ~(Rst | Syn) : usual | (dice.chance(5) ? Urg : 0);
    segment.urgentPointer = dice.chance(50) ? dice.below(65_536) : dice.below(20);
    segment.dataAt = at;
    segment.dataEnd = at + dice.below(dice.chance(80) ? 20 : 2000);
    segment.dataBytes = segment.dataEnd - at + (dice.chance(10) ? dice.below(2 ** 20) : 0);
    moment.timeNs += (dice.below(100) - 20) * (dice.chance(5) ? 1e9 : 1e4);
    moment.packet++;
    table.handleSegment(segment, moment);
    assert.ok(arenaTaken() - before <= limits.heldBytes);
    assert.ok(open <= limits.conversations);
  }
  table.end(moment);
  assert.equal(open, 0);
});

Deno.test("pieces of one byte in any order cost bounded memory and time", () => {
  const at = take(SCRATCH_BYTES);
  const before = arenaTaken();
  const dice = new Dice(7);
  const limits = { conversations: 16 };
  const table = new ConversationTable(() => new Watcher(), limits);
  const segment = new TcpSegment();
  segment.addresses.set([...HOSTS[0], ...HOSTS[1]]);
  segment.sourcePort = 50_000;
  segment.destinationPort = 3260;
  segment.dataAt = at;
  segment.dataEnd = at + 1;
  segment.dataBytes = 1;
  const moment = new Moment();
  table.handleSegment(segment, moment);
  for (let index = 0; index < 100_000; index++) {
    segment.sequence = 2 + dice.below(2 ** 29);
    table.handleSegment(segment, moment);
    assert.ok(arenaTaken() - before <= 4 * 1024 * 1024);
  }
  table.end(moment);
  assert.equal(arenaTaken(), before);
  give(at);
});
