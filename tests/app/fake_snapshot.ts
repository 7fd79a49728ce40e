/**
 * A gateway and a hub that do not exist, with figures that grow as real ones do: for tests of what
 * shows a snapshot.
 *
 * @module
 */
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
    standby: { state: "in step", text: "client.harbour-8 follows, 40 ms behind" },
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
