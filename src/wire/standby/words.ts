/**
 * What the two boxes of a pair say to each other, and to their witness, in messages of type STANDBY:
 * JSON with a `word` that names it.
 *
 *     box <-> box        hello            who it is; again until the other has heard it
 *                        heartbeat        every heartbeatMs; heartbeatAnswer echoes its time
 *                        resync           to the active: send a snapshot; from it: one comes now
 *                        handoverAsk      let me take over; answered by handoverDone or -Refused
 *                        handoverOffer    take over from me: the other answers with a handoverAsk
 *                        sadAsk           a page of the SAs, for `standby diff`; sadAnswer
 *     box -> witness     leaseAsk, leaseGive
 *     witness -> box     leaseAnswer
 *
 * Members that are not known are ignored, so that a later version may say more.
 *
 * @module
 */

/** Version in a hello. */
export const WORDS_VERSION = 1;
/** A front that is longer is refused. */
export const WORD_BYTES_MAX: number = 64 * 1024;
/** SAs in one page. */
export const SAD_PAGE_MAX = 128;
/** Shortest and longest lease. */
export const LEASE_MS_MIN = 200;
/** See {@linkcode LEASE_MS_MIN}. */
export const LEASE_MS_MAX = 60_000;
/** Terms end here: whoever asks for more is wrong, and must not use up those that are left. */
export const TERM_MAX: number = 2 ** 48;
const NAME_LENGTH_MAX = 128;
const TEXT_LENGTH_MAX = 512;

/** What a box is at the moment. */
export const BOX_ROLES = [
  "starting",
  "standby",
  "taking",
  "active",
  "yielding",
  "fenced",
] as const;
/** See {@linkcode BOX_ROLES}. */
export type BoxRole = typeof BOX_ROLES[number];

/** What a box is told to be by its operator. */
export const BOX_MODES = ["active", "standby", "auto"] as const;
/** See {@linkcode BOX_MODES}. */
export type BoxMode = typeof BOX_MODES[number];

/** Who a box is. */
export interface HelloWord {
  readonly word: "hello";
  readonly version: number;
  readonly group: string;
  readonly box: string;
  /** 32 hex digits of this run of the process. */
  readonly instance: string;
  /** Instance of the other box that it has heard; empty when none. */
  readonly heard: string;
  readonly role: BoxRole;
  readonly mode: BoxMode;
  readonly term: number;
  readonly leaseMs: number;
}

/** A box lives. */
export interface HeartbeatWord {
  readonly word: "heartbeat";
  readonly term: number;
  readonly role: BoxRole;
  /** Number of the last post that it sent. */
  readonly number: number;
  /** By its own monotonic clock. */
  readonly sentMs: number;
  /** What is left of its lease. */
  readonly leaseLeftMs?: number;
  /** Term whose state it has: it was active in it, or holds a whole snapshot; 0 when of none. */
  readonly stateTerm: number;
  /** False while an interface that it watches has no carrier. */
  readonly carrier: boolean;
}

/** Answers a heartbeat. */
export interface HeartbeatAnswerWord {
  readonly word: "heartbeatAnswer";
  readonly term: number;
  readonly role: BoxRole;
  /** `sentMs` of the heartbeat. */
  readonly echoed: number;
  /** Number of the last post that it has applied. */
  readonly holdsNumber: number;
}

/** A snapshot is wanted (to the active), or begins with the next post (from it). */
export interface ResyncWord {
  readonly word: "resync";
  readonly term: number;
  readonly why: string;
}

/** Asks the other box to yield, or to promise that it is not sending. */
export interface HandoverAskWord {
  readonly word: "handoverAsk";
  readonly term: number;
  readonly instance: string;
  readonly serial: number;
}

/** It does not send, and will not in the term after `term` unless it is promised that in turn. */
export interface HandoverDoneWord {
  readonly word: "handoverDone";
  readonly term: number;
  /** Instance and serial of the ask. */
  readonly instance: string;
  readonly serial: number;
  /** Number of the last post of `term`; 0 when it was not active. */
  readonly number: number;
}

/** It does not yield. */
export interface HandoverRefusedWord {
  readonly word: "handoverRefused";
  readonly term: number;
  readonly instance: string;
  readonly serial: number;
  readonly why: string;
}

/** The active would rather not be it. */
export interface HandoverOfferWord {
  readonly word: "handoverOffer";
  readonly term: number;
  readonly why: string;
}

/** Asks for a page of the other box's SAs. */
export interface SadAskWord {
  readonly word: "sadAsk";
  readonly serial: number;
  /** Index of the first one. */
  readonly from: number;
}

/** An SA as `standby diff` shows it: no key is ever in it. */
export interface SadEntry {
  /** `10.9.0.2 esp 0x00001000`, as its identity is printed. */
  readonly id: string;
  /** Algorithms, mode, window: what must be the same on both boxes. */
  readonly form: string;
  readonly oseq: number;
  readonly seq: number;
  readonly bytes: number;
  readonly packets: number;
  readonly addTime: number;
}

/** A page of SAs. */
export interface SadAnswerWord {
  readonly word: "sadAnswer";
  readonly serial: number;
  readonly from: number;
  /** SAs in all. */
  readonly total: number;
  readonly entries: readonly SadEntry[];
}

/** Asks the witness for a lease, or for more of it. */
export interface LeaseAskWord {
  readonly word: "leaseAsk";
  readonly group: string;
  readonly box: string;
  readonly instance: string;
  /** The highest term that the box knows. */
  readonly term: number;
  /** True: grant it only when `term` is the last one that was granted; false when that is forced. */
  readonly exact: boolean;
  /**
   * True: I hold the lease of `term`, and want to go on in the next one, as the other box does not follow
   * and must not go on with what it has of this one. Granted once: who asks again gets the same.
   */
  readonly next: boolean;
  readonly leaseMs: number;
  /** Only goes up within an instance, together with those of {@linkcode LeaseGiveWord}. */
  readonly serial: number;
}

/** What the witness answers. */
export interface LeaseAnswerWord {
  readonly word: "leaseAnswer";
  readonly serial: number;
  readonly granted: boolean;
  /** The term that is granted, or the last one that was. */
  readonly term: number;
  readonly leaseMs: number;
  /** Box that holds the lease, or held the last one; empty when it was given back. */
  readonly holder: string;
  /** What is left of it. */
  readonly leftMs: number;
  /** Why it is not granted. */
  readonly why: string;
}

/** Ends a lease early. */
export interface LeaseGiveWord {
  readonly word: "leaseGive";
  readonly group: string;
  readonly box: string;
  readonly instance: string;
  readonly term: number;
  readonly serial: number;
}

/** Between the boxes. */
export type PeerWord =
  | HelloWord
  | HeartbeatWord
  | HeartbeatAnswerWord
  | ResyncWord
  | HandoverAskWord
  | HandoverDoneWord
  | HandoverRefusedWord
  | HandoverOfferWord
  | SadAskWord
  | SadAnswerWord;

/** Between a box and the witness. */
export type WitnessWord = LeaseAskWord | LeaseAnswerWord | LeaseGiveWord;

/** All of them. */
export type StandbyWord = PeerWord | WitnessWord;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The front of a STANDBY message. */
export function writeWord(word: StandbyWord): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(word));
}

/**
 * Reads the front of a STANDBY message. A text says what is wrong with it; null is a word of a later
 * version, which is counted and ignored.
 */
export function parseWord(front: Uint8Array): StandbyWord | string | null {
  if (front.length > WORD_BYTES_MAX) return `STANDBY front must be ${WORD_BYTES_MAX} bytes at most`;
  const members = membersOf(front);
  if (members === null) return "STANDBY front must be a JSON object";
  const { word } = members;
  if (typeof word !== "string") return "STANDBY word must be a text";
  const shape = Object.hasOwn(SHAPES, word) ? SHAPES[word as StandbyWord["word"]] : null;
  if (shape === null) return null;
  const wrong = wrongMember(word, shape, members);
  return wrong === "" ? pick(word, shape, members) as StandbyWord : wrong;
}

/** A group or a box may be called that. */
export function isBoxName(value: unknown): value is string {
  return typeof value === "string" && value.length <= NAME_LENGTH_MAX &&
    /^[A-Za-z0-9][A-Za-z0-9._:-]*$/.test(value);
}

/** What a member must be; the text is for whoever sent something else. */
interface Rule {
  readonly test: (value: unknown) => boolean;
  readonly text: string;
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;
const TERM: Rule = {
  test: (value) => isCount(value) && value <= TERM_MAX,
  text: "a number from 0 to 2^48",
};
const COUNT: Rule = { test: isCount, text: "a whole number from 0" };
const TIME: Rule = {
  test: (value) => typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER,
  text: "a time in milliseconds",
};
const LEFT: Rule = {
  test: (value) => typeof value === "number" && value >= 0 && value <= LEASE_MS_MAX,
  text: `0 to ${LEASE_MS_MAX} ms`,
};
const NAME: Rule = {
  test: isBoxName,
  text: `a name of ${NAME_LENGTH_MAX} letters, digits, dots, colons and dashes at most`,
};
const NAME_OR_NONE: Rule = { test: (value) => value === "" || isBoxName(value), text: NAME.text };
const isInstance = (value: unknown): boolean =>
  typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
const INSTANCE: Rule = { test: isInstance, text: "32 hex digits" };
const INSTANCE_OR_NONE: Rule = {
  test: (value) => value === "" || isInstance(value),
  text: INSTANCE.text,
};
const FLAG: Rule = { test: (value) => typeof value === "boolean", text: "true or false" };
const TEXT: Rule = {
  // A log and a terminal show it: no control characters.
  test: (value) =>
    typeof value === "string" && value.length <= TEXT_LENGTH_MAX && !/\p{Cc}/u.test(value),
  text: `a line of ${TEXT_LENGTH_MAX} characters at most`,
};
const ROLE: Rule = {
  test: (value) => (BOX_ROLES as readonly unknown[]).includes(value),
  text: `one of ${BOX_ROLES.join(", ")}`,
};
const MODE: Rule = {
  test: (value) => (BOX_MODES as readonly unknown[]).includes(value),
  text: `one of ${BOX_MODES.join(", ")}`,
};
const VERSION: Rule = { test: (value) => value === WORDS_VERSION, text: `${WORDS_VERSION}` };
/** The witness answers one that is out of its bounds, so it may be any number here. */
const LEASE: Rule = COUNT;

type Shape = Readonly<Record<string, Rule>>;

const ENTRY: Shape = {
  id: TEXT,
  form: TEXT,
  oseq: COUNT,
  seq: COUNT,
  bytes: COUNT,
  packets: COUNT,
  addTime: COUNT,
};
const ENTRIES: Rule = {
  test: (value) =>
    Array.isArray(value) && value.length <= SAD_PAGE_MAX &&
    value.every((entry) => isObject(entry) && wrongMember("entry", ENTRY, entry) === ""),
  text: `a list of ${SAD_PAGE_MAX} SAs at most`,
};

/** Members that may be absent. */
const OPTIONAL: ReadonlySet<string> = new Set(["leaseLeftMs"]);

const HANDOVER: Shape = { term: TERM, instance: INSTANCE, serial: COUNT };
const CLAIMANT: Shape = { group: NAME, box: NAME, instance: INSTANCE, term: TERM, serial: COUNT };

const SHAPES: Readonly<Record<StandbyWord["word"], Shape>> = {
  hello: {
    version: VERSION,
    group: NAME,
    box: NAME,
    instance: INSTANCE,
    heard: INSTANCE_OR_NONE,
    role: ROLE,
    mode: MODE,
    term: TERM,
    leaseMs: LEASE,
  },
  heartbeat: {
    term: TERM,
    role: ROLE,
    number: COUNT,
    sentMs: TIME,
    leaseLeftMs: LEFT,
    stateTerm: TERM,
    carrier: FLAG,
  },
  heartbeatAnswer: { term: TERM, role: ROLE, echoed: TIME, holdsNumber: COUNT },
  resync: { term: TERM, why: TEXT },
  handoverAsk: HANDOVER,
  handoverDone: { ...HANDOVER, number: COUNT },
  handoverRefused: { ...HANDOVER, why: TEXT },
  handoverOffer: { term: TERM, why: TEXT },
  sadAsk: { serial: COUNT, from: COUNT },
  sadAnswer: { serial: COUNT, from: COUNT, total: COUNT, entries: ENTRIES },
  leaseAsk: { ...CLAIMANT, exact: FLAG, next: FLAG, leaseMs: LEASE },
  leaseAnswer: {
    serial: COUNT,
    granted: FLAG,
    term: TERM,
    leaseMs: LEASE,
    holder: NAME_OR_NONE,
    leftMs: LEFT,
    why: TEXT,
  },
  leaseGive: CLAIMANT,
};

function membersOf(front: Uint8Array): Record<string, unknown> | null {
  try {
    const json: unknown = JSON.parse(decoder.decode(front));
    return isObject(json) ? json : null;
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is wrong with the members of a word; empty when nothing is. */
function wrongMember(word: string, shape: Shape, members: Record<string, unknown>): string {
  for (const [name, rule] of Object.entries(shape)) {
    const value = Object.hasOwn(members, name) ? members[name] : undefined;
    if (value === undefined && OPTIONAL.has(name)) continue;
    if (!rule.test(value)) return `STANDBY ${word} ${name} must be ${rule.text}`;
  }
  return "";
}

/** The members that the word has, and no others. */
function pick(word: string, shape: Shape, members: Record<string, unknown>): unknown {
  const picked: Record<string, unknown> = { word };
  for (const name of Object.keys(shape)) {
    if (members[name] !== undefined) picked[name] = members[name];
  }
  return picked;
}
