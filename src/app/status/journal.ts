/**
 * What happens, told in lines on standard error: sentences for people or JSON (RFC 8259, one
 * object a line) for programs, one line for each event that matters and never one for a message.
 * What a stranger can cause is limited: a storm becomes a few lines and a count.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { MessengerEvent } from "../../proto/msgr2/messenger.ts";
import { addressText } from "../address_text.ts";
import { printable, printableJson } from "../printable.ts";
import { clockText } from "../recent_messages.ts";
import { printError } from "../terminal.ts";
import { sessionEntry } from "./session_events.ts";
import type { Alarm } from "./snapshot.ts";

/** How bad an event is, as an alarm says it; `info` is not bad. */
export type Level = Alarm["level"] | "info";

/** More about an event, for programs. `name` tells apart what happens to whom. */
export type Fields = Record<string, string | number | boolean | null>;

/** How a journal writes; what is absent is found out. */
export interface JournalOptions {
  readonly format?: "text" | "json";
  /** RFC 3339 before each sentence; the journal of systemd has its own times. */
  readonly times?: boolean;
  /** Takes a line. */
  readonly print?: (line: string) => void;
  /** A clock that never goes back. */
  readonly nowMs?: () => number;
}

/** Events for the snapshot. */
const ENTRIES_MAX = 50;
/** The same sentence is told again after this. */
const REPEAT_MS = 60_000;
/** Lines of one code and name in a window. */
const BURST_MAX = 5;
const WINDOW_MS = 10_000;
/** Lines of everything in a window. */
const LINES_MAX = 100;
const KEYS_MAX = 1000;
/** A sentence is cut here: a peer may send long reasons. */
const TEXT_MAX = 1000;
/** Priorities of sd-daemon(3), which the journal of systemd takes from the start of a line. */
const PRIORITIES: Record<Level, string> = { error: "<3>", warning: "<4>", info: "<6>" };

/** What was told of one code and name. */
interface Told {
  level: Level;
  code: string;
  text: string;
  fields: Fields;
  /** When the sentence was told last. */
  atMs: number;
  windowMs: number;
  lines: number;
  /** Not told since. */
  more: number;
}

/** Writes lines, and keeps the last events. */
export class Journal {
  /** With a live view on the terminal nothing is printed between its rows. */
  quiet = false;
  #format: "text" | "json";
  readonly #times: boolean;
  readonly #priorities: boolean;
  readonly #print: (line: string) => void;
  readonly #nowMs: () => number;
  readonly #entries: { atMs: number; text: string }[] = [];
  readonly #told = new Map<string, Told>();
  #windowMs = -Infinity;
  #lines = 0;

  /** @param options for another place than standard error */
  constructor(options: JournalOptions = {}) {
    const underSystemd = options.print === undefined && isJournal();
    this.#format = options.format ?? "text";
    this.#times = options.times ?? (!underSystemd && !Deno.stderr.isTerminal());
    this.#priorities = underSystemd;
    this.#print = options.print ?? printError;
    this.#nowMs = options.nowMs ?? nowMs;
  }

  /** How lines are written from now on. */
  set format(format: "text" | "json") {
    this.#format = format;
  }

  /** Notes a sentence of our own; it may hold anything. */
  note(text: string): void {
    this.event("info", "note", text);
  }

  /** Notes an event: its code is a word for programs, its text a sentence for people. */
  event(level: Level, code: string, text: string, fields: Fields = {}): void {
    const now = this.#nowMs();
    const safe = shorten(printable(addressText(text)));
    // Sentences of our own differ: each is limited by itself.
    const key = `${code} ${code === "note" ? safe : fields.name ?? ""}`;
    let told = this.#told.get(key);
    if (told === undefined) {
      told = { level, code, text: safe, fields, atMs: -Infinity, windowMs: now, lines: 0, more: 0 };
      this.#forget(now);
      this.#told.set(key, told);
    }
    told.level = level;
    told.fields = fields;
    if (now - told.windowMs >= WINDOW_MS) {
      told.windowMs = now;
      told.lines = 0;
    }
    const repeated = told.text === safe && now - told.atMs < REPEAT_MS;
    told.text = safe;
    if (repeated || told.lines >= BURST_MAX || !this.#hasRoom(now)) told.more++;
    else this.#tell(told, now);
  }

  /** Notes an event of an endpoint; `who` names the other end where the event cannot. */
  noteEvent(event: MessengerEvent, who: string | null): void {
    const entry = sessionEntry(event, who);
    if (entry === null) return;
    const { level, code, text, fields } = entry;
    if (code === "session_up" || code === "session_resumed") {
      this.renew("session_fault", `${fields.name}`);
      this.renew("session_refused", `${fields.name}`);
    } else if (code !== "connection_dropped") {
      this.renew("session_up", `${fields.name}`);
      this.renew("session_resumed", `${fields.name}`);
    }
    this.event(level, code, text, fields);
  }

  /** What was told of this is over: when it comes again, the same sentence is news. */
  renew(code: string, name = ""): void {
    const told = this.#told.get(`${code} ${name}`);
    if (told !== undefined) told.atMs = -Infinity;
  }

  /** Tells what was held back longer than a window, and at the end of the process all of it. */
  flush(all = false): void {
    const now = this.#nowMs();
    for (const told of this.#told.values()) {
      if (told.more === 0 || (!all && now - told.atMs < REPEAT_MS)) continue;
      told.more--; // the line that tells is one of them
      if (all || this.#hasRoom(now)) this.#tell(told, now);
      else told.more++;
    }
  }

  /** The last events, newest last, fifty at most. */
  events(): { atMs: number; text: string }[] {
    return [...this.#entries];
  }

  /** The last events as rows of a live view, newest last. */
  entries(count: number): string[] {
    if (count <= 0) return [];
    return this.#entries.slice(-count).map(({ atMs, text }) =>
      `${clockText(new Date(atMs))} ${text}`
    );
  }

  #tell(told: Told, now: number): void {
    const { code, fields, level, more } = told;
    const text = more === 0 ? told.text : `${told.text} (and ${more} more)`;
    told.atMs = now;
    told.lines++;
    told.more = 0;
    this.#lines++;
    const atMs = Date.now();
    this.#entries.push({ atMs, text });
    if (this.#entries.length > ENTRIES_MAX) this.#entries.shift();
    if (this.quiet) return;
    const time = new Date(atMs).toISOString();
    if (this.#format === "json") {
      const line = { time, level, event: code, text: told.text, ...(more > 0 ? { more } : {}) };
      this.#print(printableJson({ ...line, ...fields, ...line })); // no field hides one of ours
    } else {
      const priority = this.#priorities ? PRIORITIES[level] : "";
      this.#print(`${priority}${this.#times ? `${time} ` : ""}${text}`);
    }
  }

  #hasRoom(now: number): boolean {
    if (now - this.#windowMs >= WINDOW_MS) {
      this.#windowMs = now;
      this.#lines = 0;
    }
    return this.#lines < LINES_MAX;
  }

  /** Makes room for another key: the oldest one goes, and what it held back is told. */
  #forget(now: number): void {
    if (this.#told.size < KEYS_MAX) return;
    const [key, told] = this.#told.entries().next().value!;
    this.#told.delete(key);
    if (told.more > 0 && this.#hasRoom(now)) this.#tell(told, now);
  }
}

/** Alarms at a time; one more is told, but not kept. */
const ALARMS_MAX = 100;

/** What an operator should know about until it is over: told once when raised and once when over. */
export class Alarms {
  readonly #journal: Journal;
  readonly #raised = new Map<string, { alarm: Alarm; atMs: number }>();

  /** @param journal is told of each */
  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Raises an alarm. One that is raised already keeps its time and takes the new text. */
  raise(code: string, level: Alarm["level"], text: string, name = ""): void {
    const safe = shorten(printable(addressText(text)));
    const key = `${code} ${name}`;
    const alarm = this.#raised.get(key)?.alarm;
    const isWorse = alarm !== undefined && level === "error" && alarm.level === "warning";
    if (alarm !== undefined) {
      alarm.level = level;
      alarm.text = safe;
    } else if (this.#raised.size < ALARMS_MAX) {
      const raised = { code, level, sinceMs: Date.now(), text: safe };
      this.#raised.set(key, { alarm: raised, atMs: nowMs() });
    }
    if (alarm === undefined || isWorse) this.#journal.event(level, code, text, fieldsOf(name));
  }

  /** Ends an alarm; nothing happens when there is none. */
  clear(code: string, name = ""): void {
    const key = `${code} ${name}`;
    const raised = this.#raised.get(key);
    if (raised === undefined) return;
    this.#raised.delete(key);
    this.#journal.renew(code, name);
    const seconds = Math.round((nowMs() - raised.atMs) / 1000);
    const text = `Over after ${seconds} s: ${raised.alarm.text}`;
    this.#journal.event("info", `${code}_over`, text, fieldsOf(name));
  }

  /** Those that are not over, oldest first. */
  list(): Alarm[] {
    return [...this.#raised.values()].map(({ alarm }) => ({ ...alarm }));
  }
}

function fieldsOf(name: string): Fields {
  return name === "" ? {} : { name };
}

function shorten(text: string): string {
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX)}~`;
}

/** JOURNAL_STREAM names the device and inode of standard error, systemd.exec(5). */
function isJournal(): boolean {
  const stream = Deno.env.get("JOURNAL_STREAM");
  if (stream === undefined) return false;
  try {
    const { dev, ino } = Deno.statSync("/proc/self/fd/2");
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
