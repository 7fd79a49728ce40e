/**
 * A gateway and a hub that do not exist, with figures that grow as real ones do: for tests of what
 * shows a snapshot.
 *
 * @module
 */
import type { SaView } from "../../src/proto/xfrm/sa_table.ts";
import type { LagPoint, StandbyView } from "../../src/app/standby/standby_view.ts";
import type { PortStatus, SessionStatus, Snapshot } from "../../src/app/status/snapshot.ts";

/** When the fakes started: 2026-03-01T08:00:00Z. */
export const STARTED_MS: number = Date.UTC(2026, 2, 1, 8, 0, 0);
/** A name that breaks every page which takes it for markup. */
export const HOSTILE_NAME = '<img src=x onerror="document.title=\'owned\'">"\\\n{}';

/** A gateway `seconds` after its start; about 1200 messages a second come in. */
export function fakeGateway(seconds: number): Snapshot {
  const nowMs = STARTED_MS + seconds * 1000;
  const taken = grown(seconds, 1200);
  const waiting = 340 + Math.round(200 * Math.sin(seconds / 9));
  const delivered = Math.max(0, taken - waiting);
  return {
    role: "gateway",
    name: "client.harbour-7",
    version: "0.1.0",
    nowMs,
    startedMs: STARTED_MS,
    ready: true,
    alarms: [],
    sessions: [
      session(nowMs, "hq", {
        sinceMs: nowMs - 11_460_000,
        messagesSent: delivered,
        bytesSent: delivered * 271,
        bytesReceived: delivered * 3,
        unacknowledged: 33,
        reconnects: 2,
        history: [
          { atMs: nowMs - 15_060_000, text: "Connection reset by peer (ECONNRESET)" },
          { atMs: nowMs - 11_462_000, text: "No answer for 20 s" },
        ],
      }),
      session(nowMs, "archive", {
        address: "v2:[2001:db8::52]:3300",
        sinceMs: nowMs - 86_500_000,
        messagesSent: Math.round(delivered / 3),
        bytesSent: delivered * 90,
        unacknowledged: 4,
      }),
    ],
    inputs: [
      port("lines", "lines", "127.0.0.1:8710", grown(seconds, 700), { clients: 3 }),
      port("syslog", "syslog", "127.0.0.1:5514", grown(seconds, 180), { dropped: 12, refused: 2 }),
      port("http", "http", "127.0.0.1:8712", grown(seconds, 300), { clients: 8, waiting: 2 }),
      port("meter", "serial", "/dev/ttyUSB0", grown(seconds, 10)),
      port("box", "readings", "this box, every 1 s", grown(seconds, 10)),
    ],
    spool: {
      place: "disk",
      id: "8f14e45fceea167a5a36dedd4bea2543",
      state: "ok",
      messages: waiting,
      bytes: 41_234_567 + waiting * 300,
      bytesMax: 268_435_456,
      oldestMs: 1800,
      committed: taken,
      dropped: 0,
      lost: 0,
      bytesWrittenPerMessage: 412,
      commits: grown(seconds, 160),
    },
    upstreams: [
      { name: "hq", waiting, sent: delivered + 33, acknowledged: delivered, dropped: 0 },
      {
        name: "archive",
        waiting: 12,
        sent: Math.round(delivered / 3),
        acknowledged: Math.round(delivered / 3) - 4,
        dropped: 5120,
      },
    ],
    paths: [
      { name: "eth0", state: "active", text: "10.0.0.7 to 10.0.0.5, 12 ms" },
      { name: "wwan0", state: "backup", text: "100.72.4.9 to 198.51.100.5, 58 ms" },
    ],
    standby: fakeStandby(seconds),
    events: [
      { atMs: STARTED_MS, text: "Session with hq stands (secure)" },
      { atMs: nowMs - 15_060_000, text: "No connection with hq: Connection reset by peer" },
      { atMs: nowMs - 15_058_000, text: "Session with hq goes on after a new connection" },
      { atMs: nowMs - 11_462_000, text: "No connection with hq: No answer for 20 s" },
      { atMs: nowMs - 11_460_000, text: "Session with hq goes on after a new connection" },
    ],
    process: {
      rssBytes: 78_643_200,
      heapBytes: 12_582_912,
      cpuSeconds: 30 + seconds * 0.11,
      openFiles: 31,
    },
  };
}

/** The same gateway in trouble: no hub, a spool that fills up, a meter that is gone. */
export function fakeTrouble(seconds: number): Snapshot {
  const snapshot = fakeGateway(seconds);
  const { nowMs } = snapshot;
  Object.assign(snapshot.sessions[0]!, { state: "connecting", sinceMs: nowMs - 754_000 });
  Object.assign(snapshot.spool!, { bytes: 238_435_456, messages: 912_344, oldestMs: 754_000 });
  Object.assign(snapshot.inputs![3]!, { trouble: "Cannot open /dev/ttyUSB0: no such device" });
  snapshot.alarms.push({
    code: "spool_filling",
    level: "warning",
    sinceMs: nowMs - 91_000,
    text: "The spool is 89 % full and takes 40 minutes more: bring hub hq back, or raise bytesMax",
  }, {
    code: "hub_refused",
    level: "error",
    sinceMs: nowMs - 754_000,
    text: "Hub hq refuses this gateway as its key is unknown: add client.harbour-7 to its keyring",
  });
  return snapshot;
}

/** A hub `seconds` after its start, with three gateways of which one is away. */
export function fakeHub(seconds: number): Snapshot {
  const nowMs = STARTED_MS + seconds * 1000;
  const arrived = grown(seconds, 900);
  const snapshot = fakeGateway(seconds);
  delete snapshot.inputs;
  delete snapshot.spool;
  delete snapshot.upstreams;
  delete snapshot.paths;
  delete snapshot.standby;
  return {
    ...snapshot,
    role: "hub",
    name: "mon.",
    sessions: ["client.harbour-7", "client.harbour-8", "client.quay-1"].map((name, index) =>
      session(nowMs, name, {
        address: `v2:10.0.0.${7 + index}:41${index}20`,
        state: index === 2 ? "standby" : "ready",
        messagesReceived: arrived,
        bytesReceived: arrived * 271,
      })
    ),
    outputs: [
      port("archive", "file", "/var/log/fairlead/messages.log", arrived * 3, { required: true }),
      port("live", "sse", "/stream/live", arrived * 3, { required: false, dropped: 40 }),
    ],
  };
}

/** The active box of a pair with 24 SAs, of which every third is behind; a witness grants its lease. */
export function fakeStandby(seconds: number): StandbyView {
  return {
    group: "harbour",
    box: "harbour-7",
    mode: "auto",
    role: "active",
    term: 7,
    ready: true,
    split: false,
    takeovers: 2,
    takeoverMs: 38,
    takeoverProblems: [],
    peer: {
      address: "v2:10.9.9.2:6810",
      box: "harbour-8",
      reached: true,
      role: "standby",
      term: 7,
      roundTripMs: 0.5,
      heardMsAgo: 80,
    },
    witness: {
      address: "v2:hub.example:6820",
      reached: true,
      refusal: "",
      leaseLeftMs: 1200,
    },
    fence: { there: true, open: true, dropped: 12 },
    addresses: { taken: true, list: ["10.0.0.1/24 eth0", "fd00::1/64 eth0"] },
    sync: {
      synced: true,
      sent: grown(seconds, 30),
      acked: grown(seconds, 30) - 1,
      unackedBytes: 912,
      bytesSent: grown(seconds, 14_000),
      snapshots: 3,
      held: 0,
      bytesHeld: 0,
      staleTerm: 1,
      duplicates: 2,
      gaps: 3,
      refused: 4,
      resyncs: 5,
    },
    ipsec: {
      sas: Array.from({ length: 24 }, (_, index) => fakeSa(index, seconds)),
      kernelSas: 25,
      policies: 36,
      events: grown(seconds, 240),
      overruns: 1,
      dumps: 2,
      inbound: "lossless",
    },
    cargo: {
      running: true,
      sessions: 2,
      messages: 33,
      spoolMessages: 340,
      spoolBytes: 41_234_567,
      addedLatencyMs: 0.8,
      mode: "sync",
    },
    lag: lagPoints(seconds),
  };
}

/** One box of a pair that does nothing else: what `fairlead standby run` reports of the standby. */
export function fakeBox(seconds: number): Snapshot {
  const { alarms, events, nowMs, process, ready, startedMs, version } = fakeGateway(seconds);
  const active = fakeStandby(seconds);
  const { peer } = active;
  return {
    role: "standby",
    name: "harbour-8",
    version,
    nowMs,
    startedMs,
    ready,
    alarms,
    sessions: [],
    standby: {
      ...active,
      box: "harbour-8",
      role: "standby",
      takeovers: 0,
      peer: { ...peer, box: "harbour-7", role: "active", address: "v2:10.9.9.1:6810" },
      witness: { ...active.witness!, leaseLeftMs: 0 },
      fence: { there: true, open: false, dropped: 0 },
      addresses: { ...active.addresses, taken: false },
      cargo: null,
    },
    events,
    process,
  };
}

/** An SA of the fake pair; of two one is for what leaves. */
export function fakeSa(index: number, seconds: number): SaView {
  const behind = index % 3 === 0;
  const sent = index % 2 === 0;
  const moved = grown(seconds, 100 + index);
  return {
    key: `10.9.${index}.${sent ? 2 : 1} esp 0x${(0x1000 + index).toString(16).padStart(8, "0")}`,
    direction: sent ? "out" : "in",
    oseq: sent ? moved : 0,
    seq: sent ? 0 : moved,
    bytes: moved * 900,
    packets: moved,
    lagPackets: behind ? index + 1 : 0,
    lagMs: behind ? 10 + index : 0,
    eventsPerSecond: 10,
    packetsPerSecond: 100 + index,
    peakPerSecond: 140 + index,
    jump: sent ? 256 + index : 0,
    lastEventMsAgo: 40,
    drops: index === 5 ? 17 : 0,
    polled: index === 7,
  };
}

/** Of the last five minutes, a point each second. */
function lagPoints(seconds: number): LagPoint[] {
  return Array.from({ length: 300 }, (_, index) => {
    const second = Math.floor(seconds) - 299 + index;
    return {
      atMs: STARTED_MS + second * 1000,
      lagMs: 40 + Math.round(30 * Math.sin(second / 9)),
      lagPackets: 100 + Math.round(60 * Math.sin(second / 7)),
      packetsPerSecond: 2400,
    };
  });
}

function session(nowMs: number, name: string, more: Partial<SessionStatus>): SessionStatus {
  return {
    name,
    state: "ready",
    mode: "secure",
    address: "v2:10.0.0.5:3300",
    sinceMs: nowMs - 3_600_000,
    messagesSent: 0,
    messagesReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    unacknowledged: 0,
    reconnects: 0,
    history: [],
    ...more,
  };
}

function port(
  name: string,
  type: string,
  where: string,
  messages: number,
  more: Partial<PortStatus> = {},
): PortStatus {
  const counts = { messages, bytes: messages * 212, dropped: 0 };
  const inputs = more.required === undefined ? { refused: 0, clients: 0, waiting: 0 } : {};
  return { name, type, where, trouble: "", ...counts, ...inputs, ...more };
}

/** A count that grows at about `rate` a second, in waves. */
function grown(seconds: number, rate: number): number {
  return Math.round(rate * (seconds + 2.5 * Math.sin(seconds / 7) + 0.6 * Math.sin(seconds / 1.7)));
}
