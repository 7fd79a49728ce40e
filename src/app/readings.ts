/**
 * What a box tells about itself: load, memory, network counters, temperatures, from Linux' /proc
 * and /sys (proc_loadavg(5), proc_meminfo(5), proc_pid_net(5), the kernel's
 * Documentation/driver-api/thermal/sysfs-api). What does not exist is left out.
 *
 * @module
 */

/** Interfaces told in one reading; a box with thousands of containers sends the first ones. */
const INTERFACES_MAX = 64;
const ZONES_MAX = 64;
/** /proc/meminfo counts in these, and calls them kB. */
const KIB = 1024;

const encoder = new TextEncoder();

/** Counters of one interface since it came up. */
export interface InterfaceCounters {
  rx_bytes: number;
  rx_packets: number;
  rx_errors: number;
  rx_dropped: number;
  tx_bytes: number;
  tx_packets: number;
  tx_errors: number;
  tx_dropped: number;
}

/** The front of a message of type Reading, as JSON. */
export interface Reading {
  /** Milliseconds since 1970, UTC. */
  time_ms: number;
  uptime_s?: number;
  /** Over 1, 5 and 15 minutes. */
  load?: number[];
  memory?: {
    total_bytes?: number;
    available_bytes?: number;
    swap_total_bytes?: number;
    swap_free_bytes?: number;
  };
  network?: Record<string, InterfaceCounters>;
  thermal?: { zone: string; type: string; celsius: number }[];
}

/** Takes a reading each period and hands it on as JSON. */
export class Readings {
  readonly #offer: (json: Uint8Array) => boolean;
  readonly #periodMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #busy = false;

  /** @param offer takes a reading; false when it cannot */
  constructor(offer: (json: Uint8Array) => boolean, periodMs: number) {
    this.#offer = offer;
    this.#periodMs = periodMs;
  }

  /** Takes the first one now. */
  start(): void {
    this.#timer = setInterval(() => this.#take(), this.#periodMs);
    this.#take();
  }

  /** Takes no more. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #take(): Promise<void> {
    if (this.#busy) return; // a sensor that answers slowly
    this.#busy = true;
    const json = encoder.encode(JSON.stringify(await readBox()));
    this.#busy = false;
    if (this.#timer === undefined) return;
    this.#offer(json);
  }
}

/** Takes a reading; `root` stands before /proc and /sys. */
export async function readBox(root = ""): Promise<Reading> {
  const [load, uptime, memory, network, thermal] = await Promise.all([
    text(`${root}/proc/loadavg`),
    text(`${root}/proc/uptime`),
    text(`${root}/proc/meminfo`),
    text(`${root}/proc/net/dev`),
    readThermal(`${root}/sys/class/thermal`),
  ]);
  const reading: Reading = { time_ms: Date.now() };
  if (uptime !== null) reading.uptime_s = Math.floor(Number.parseFloat(uptime));
  if (load !== null) reading.load = load.split(" ", 3).map(Number);
  if (memory !== null) reading.memory = parseMemory(memory);
  if (network !== null) reading.network = parseNetwork(network);
  if (thermal.length > 0) reading.thermal = thermal;
  return reading;
}

/** A reading in a few words; null when `json` is none. It may come from the network. */
export function readingSummary(json: string): string | null {
  const reading = parseReading(json);
  if (reading === null) return null;
  const parts: string[] = [];
  const { load, memory, network, thermal } = reading;
  if (Array.isArray(load)) parts.push(`load ${load.slice(0, 3).map(wordOf).join(" ")}`);
  const total = numberOf(memory?.total_bytes);
  const available = numberOf(memory?.available_bytes);
  if (total > 0 && available >= 0) {
    parts.push(`memory ${Math.round((1 - available / total) * 100)} % used of ${bytesText(total)}`);
  }
  if (typeof network === "object" && network !== null) {
    for (const [name, counters] of Object.entries(network).slice(0, 4)) {
      const rx = bytesText(numberOf(counters?.rx_bytes));
      const tx = bytesText(numberOf(counters?.tx_bytes));
      parts.push(`${name} in ${rx} out ${tx}`);
    }
  }
  if (Array.isArray(thermal)) {
    for (const zone of thermal.slice(0, 4)) {
      parts.push(`${wordOf(zone?.type)} ${wordOf(zone?.celsius)} C`);
    }
  }
  return parts.join(", ");
}

/** A value from the network: converting an object may throw. */
function numberOf(value: unknown): number {
  return typeof value === "number" ? value : Number.NaN;
}

function wordOf(value: unknown): string {
  return typeof value === "number" || typeof value === "string" ? `${value}` : "?";
}

/** `12 B`, `3.4 KiB`, …; `?` when it is no number. */
export function bytesText(bytes: number): string {
  if (!Number.isFinite(bytes)) return "?";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  let value = bytes;
  while (value >= KIB && unit < units.length - 1) {
    value /= KIB;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

function parseReading(json: string): Reading | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? value as Reading : null;
  } catch {
    return null;
  }
}

function parseMemory(file: string): Reading["memory"] {
  const field = (name: string): number | undefined => {
    const found = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(file);
    return found === null ? undefined : Number(found[1]) * KIB;
  };
  return {
    total_bytes: field("MemTotal"),
    available_bytes: field("MemAvailable"),
    swap_total_bytes: field("SwapTotal"),
    swap_free_bytes: field("SwapFree"),
  };
}

/** Two lines of headings, then `name: 8 receive columns, 8 transmit columns`. */
function parseNetwork(file: string): Record<string, InterfaceCounters> {
  const network: Record<string, InterfaceCounters> = {};
  for (const line of file.split("\n").slice(2, 2 + INTERFACES_MAX)) {
    const colon = line.lastIndexOf(":");
    if (colon < 0) continue;
    const at = line.slice(colon + 1).trim().split(/\s+/).map(Number);
    network[line.slice(0, colon).trim()] = {
      rx_bytes: at[0] ?? 0,
      rx_packets: at[1] ?? 0,
      rx_errors: at[2] ?? 0,
      rx_dropped: at[3] ?? 0,
      tx_bytes: at[8] ?? 0,
      tx_packets: at[9] ?? 0,
      tx_errors: at[10] ?? 0,
      tx_dropped: at[11] ?? 0,
    };
  }
  return network;
}

async function readThermal(folder: string): Promise<NonNullable<Reading["thermal"]>> {
  const zones: NonNullable<Reading["thermal"]> = [];
  for (let index = 0; index < ZONES_MAX; index++) {
    const zone = `thermal_zone${index}`;
    const type = await text(`${folder}/${zone}/type`);
    if (type === null) break; // they are numbered without gaps
    const temp = await text(`${folder}/${zone}/temp`); // thousandths of a degree
    if (temp === null) continue; // a sensor that is switched off
    zones.push({ zone, type: type.trim(), celsius: Number(temp) / 1000 });
  }
  return zones;
}

async function text(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch {
    return null;
  }
}
