/**
 * What a standby daemon tells, in words and tables for a terminal: who is active, what the other box
 * has, each SA with how far the other box is behind, and the SAs of both boxes beside each other. Names
 * of the other box come over a network: all is made printable.
 *
 * @module
 */
import type { SaDifference, SaFigures, SaView } from "../../proto/xfrm/sa_table.ts";
import { countText } from "../count_text.ts";
import { columnsOf, cut, printable, printableWord } from "../printable.ts";
import { bytesText } from "../readings.ts";
import type { StandbyView } from "./standby_view.ts";

const LABEL_COLUMNS = 10;
const GAP = "  ";
const NONE = "-";
/** Of a key: an IPv4 address, the protocol and the SPI. */
const KEY_COLUMNS_MIN = 31;
/** What is left of an address that is cut. */
const ADDRESS_COLUMNS_MIN = 8;
const SECOND_MS = 1000;

/** Rows that are shown unless all are asked for. */
export const ROWS_MAX = 40;
/** Where no terminal says how wide it is. */
const COLUMNS_DEFAULT = 200;

interface Column {
  readonly title: string;
  /** Numbers are at the right. */
  readonly left?: boolean;
}

const SA_COLUMNS: readonly Column[] = [
  { title: "SA" },
  { title: "USE", left: true },
  { title: "OSEQ/SEQ" },
  { title: "LAG" },
  { title: "FOR" },
  { title: "JUMP" },
  { title: "LAST" },
  { title: "PKT/S" },
  { title: "EVENT/S" },
  { title: "DROPS" },
];

const DIFF_COLUMNS: readonly Column[] = [
  { title: "SA" },
  { title: "USE", left: true },
  { title: "OSEQ/SEQ" },
  { title: "THERE" },
  { title: "PACKETS" },
  { title: "THERE" },
  { title: "BYTES" },
  { title: "THERE" },
  { title: "", left: true },
];

/** The state in a word, and the rest in a sentence. */
export function standbyWords(view: StandbyView): [state: string, text: string] {
  const { ready, role, split, sync, term } = view;
  const other = otherName(view);
  if (split) return [role, `both boxes were active in term ${term}: promote one of them`];
  if (role === "active") {
    const text = sync.synced ? `${other} has everything` : `${other} could not take over now`;
    return [role, `${text} (term ${term})`];
  }
  if (role !== "standby") return [role, `term ${term}`];
  return [role, ready ? `holds everything of ${other} (term ${term})` : `waits for ${other}`];
}

/**
 * `fairlead standby status`: what there is to say of the pair, and a row for each SA, of which those
 * furthest behind are kept when there are more than `rowsMax`.
 *
 * @param saCount how many there are, when the view has the worst of them only
 */
export function standbyLines(
  view: StandbyView,
  columns: number,
  rowsMax: number,
  saCount: number = view.ipsec?.sas.length ?? 0,
): string[] {
  const lines = facts(view, saCount).flatMap(([label, words]) => wrapped(label, words, columns));
  if (saCount > 0) lines.push("", ...saLines(view.ipsec!.sas, columns, rowsMax, saCount));
  return lines;
}

/** How wide a table may be. */
export function tableColumns(): number {
  if (!Deno.stdout.isTerminal()) return COLUMNS_DEFAULT;
  return Deno.consoleSize().columns || COLUMNS_DEFAULT; // 0: a terminal that does not know
}

/** The SAs that are furthest behind, the furthest first; of equal ones those that come first. */
export function worstSas(sas: readonly SaView[], count: number): SaView[] {
  const lag = (a: SaView, b: SaView): number =>
    b.lagPackets - a.lagPackets || b.lagMs - a.lagMs || b.drops - a.drops;
  return sas.toSorted(lag).slice(0, count);
}

/** How far the other box is behind now: of all SAs together, and of the one that is longest so. */
export function lagOf(sas: readonly SaView[]): { readonly packets: number; readonly ms: number } {
  let packets = 0;
  let ms = 0;
  for (const { lagMs, lagPackets } of sas) {
    packets += lagPackets;
    ms = Math.max(ms, lagMs);
  }
  return { packets, ms };
}

/** `fairlead standby diff`: what differs first, and a summary at the end. */
export function diffLines(
  box: string,
  rows: readonly SaDifference[],
  columns: number,
  rowsMax: number,
): string[] {
  const summary = diffSummary(box, rows);
  if (rows.length === 0) return [summary];
  const rank = ({ differs }: SaDifference): number =>
    differs.includes("missing") ? 0 : differs.length > 0 ? 1 : 2;
  const shown = rows.toSorted((a, b) => rank(a) - rank(b)).slice(0, rowsMax);
  const table = tableLines(DIFF_COLUMNS, shown.map(diffCells), columns);
  const left = rows.length - shown.length;
  return [...table, ...(left === 0 ? [] : [`${leftText(left)}: --all shows them`]), "", summary];
}

/** Whether a box has an SA that the other one does not have. */
export function isMissing({ here, there }: SaDifference): boolean {
  return here === null || there === null;
}

function otherName({ peer }: StandbyView): string {
  return printableWord(peer.box === "" ? peer.address : peer.box);
}

type Fact = readonly [label: string, words: readonly string[]];

function facts(view: StandbyView, saCount: number): Fact[] {
  const { addresses, box, cargo, group, mode, ready, role, split, term } = view;
  return [
    ["box", [
      `${printableWord(box)} of ${printableWord(group)}`,
      printable(role) + (mode === role ? "" : ` (told ${printable(mode)})`),
      `term ${term}`,
      ready ? "ready" : "not ready",
      ...(split ? ["both boxes were active in this term: promote one of them"] : []),
    ]],
    ["other box", peerWords(view)],
    ["witness", witnessWords(view)],
    ...(view.ipsec === null ? [] : [["fence", fenceWords(view)] as const]),
    ...(addresses.list.length === 0 ? [] : [
      [
        "addresses",
        [addresses.taken ? "taken" : "not taken", ...addresses.list.map(printable)],
      ] as const,
    ]),
    ...syncFacts(view),
    ...(view.ipsec === null ? [] : [ipsecFact(view.ipsec, saCount)]),
    ...(cargo === null ? [] : [
      [
        "gateway",
        [
          cargo.running ? "works on this box" : "held for the other box",
          `sessions ${printable(cargo.mode)}`,
          countText(cargo.sessions, "session"),
          `${countText(cargo.messages, "message")} in them`,
          `spool of ${countText(cargo.spoolMessages, "message")} (${bytesText(cargo.spoolBytes)})`,
          cargo.addedLatencyMs === 0
            ? "no acknowledgement yet"
            : `acknowledged after ${msText(cargo.addedLatencyMs)}`,
        ],
      ] as const,
    ]),
    takeoverFact(view),
  ];
}

function peerWords({ peer }: StandbyView): string[] {
  const { address, box, heardMsAgo, reached, role, roundTripMs, term } = peer;
  const who = box === ""
    ? printableWord(address)
    : `${printableWord(box)} at ${printable(address)}`;
  if (!reached) {
    return [who, "not reached", ...(heardMsAgo < 0 ? [] : [`heard ${msText(heardMsAgo)} ago`])];
  }
  return [
    who,
    ...(role === "" ? [] : [printable(role), `term ${term}`]),
    ...(roundTripMs < 0 ? [] : [`round trip ${msText(roundTripMs)}`]),
    ...(heardMsAgo < 0 ? [] : [`heard ${msText(heardMsAgo)} ago`]),
  ];
}

function witnessWords({ mode, role, witness }: StandbyView): string[] {
  if (witness === null) return ["none: promote changes roles"];
  const { address, leaseLeftMs, reached, refusal } = witness;
  const idle = mode !== "auto" || role === "standby" ? "no lease" : "no lease: nothing may leave";
  return [
    printableWord(address),
    reached ? "reached" : "not reached",
    leaseLeftMs > 0 ? `lease for ${msText(leaseLeftMs)} more` : idle,
    ...(refusal === "" ? [] : [`refused last: ${printable(refusal)}`]),
  ];
}

function fenceWords({ fence }: StandbyView): string[] {
  if (!fence.there) return ["none: the kernel goes on sending when this program is killed"];
  const dropped = `${countText(fence.dropped, "packet")} kept back`;
  return [fence.open ? "open" : "closed: no ESP leaves", dropped];
}

function syncFacts({ sync }: StandbyView): Fact[] {
  return [
    ["sync", [
      sync.synced ? "in step" : "not in step",
      `${sync.sent} posts sent (${bytesText(sync.bytesSent)})`,
      `${sync.acked} acknowledged`,
      `${bytesText(sync.unackedBytes)} on the way`,
      countText(sync.snapshots, "snapshot"),
    ]],
    ["received", [
      `post ${sync.held}`,
      bytesText(sync.bytesHeld),
      countText(sync.resyncs, "resync"),
      countText(sync.gaps, "gap"),
      countText(sync.duplicates, "duplicate"),
      `${sync.staleTerm} of another term`,
      `${sync.refused} refused`,
    ]],
  ];
}

function ipsecFact(ipsec: NonNullable<StandbyView["ipsec"]>, saCount: number): Fact {
  const { dumps, events, inbound, kernelSas, overruns, policies } = ipsec;
  return ["IPsec", [
    countText(saCount, "SA"),
    ...(kernelSas < 0 ? [] : [`${kernelSas} in the kernel`]),
    countText(policies, "policy", "policies"),
    countText(events, "event"),
    countText(overruns, "overrun"),
    `read anew ${countText(dumps, "time")}`,
    `inbound ${printable(inbound)}`,
  ]];
}

function takeoverFact({ takeoverMs, takeoverProblems, takeovers }: StandbyView): Fact {
  if (takeovers === 0) return ["takeovers", ["none since the start"]];
  const problems = takeoverProblems.map(printable);
  return ["takeovers", [
    `${takeovers}`,
    `the last one in ${msText(Math.max(1, takeoverMs))}`,
    ...problems,
  ]];
}

/** Words behind a label, on as many lines as they need. */
function wrapped(label: string, words: readonly string[], columns: number): string[] {
  const lines: string[] = [];
  let line = label.padEnd(LABEL_COLUMNS);
  let filled = false;
  for (const [index, word] of words.entries()) {
    const text = index < words.length - 1 ? `${word},` : word;
    if (filled && columnsOf(line) + 1 + columnsOf(text) > columns) {
      lines.push(line);
      line = " ".repeat(LABEL_COLUMNS);
      filled = false;
    }
    line += filled ? ` ${text}` : text;
    filled = true;
  }
  return [...lines, line].map((one) => cut(one, columns));
}

function saLines(
  sas: readonly SaView[],
  columns: number,
  rowsMax: number,
  saCount: number,
): string[] {
  const shown = worstSas(sas, rowsMax);
  const lines = tableLines(SA_COLUMNS, shown.map(saCells), columns);
  const left = saCount - shown.length;
  return left === 0 ? lines : [...lines, `${leftText(left)}: fairlead standby status --all`];
}

function leftText(count: number): string {
  return `and ${countText(count, "more SA")}`;
}

function saCells(sa: SaView): string[] {
  return [
    printable(sa.key),
    printableWord(sa.direction),
    numberText(sa),
    `${sa.lagPackets}`,
    msText(sa.lagMs),
    `${sa.jump}`,
    sa.lastEventMsAgo < 0 ? NONE : msText(sa.lastEventMsAgo),
    rateText(sa.packetsPerSecond),
    sa.polled ? "asked" : rateText(sa.eventsPerSecond),
    `${sa.drops}`,
  ];
}

function diffCells({ differs, here, key, there }: SaDifference): string[] {
  const pair = (text: (figures: SaFigures) => string): string[] =>
    [here, there].map((figures) => figures === null ? NONE : text(figures));
  return [
    printable(key),
    printableWord((here ?? there)!.direction),
    ...pair(numberText),
    ...pair(({ packets }) => `${packets}`),
    ...pair(({ bytes }) => `${bytes}`),
    here === null
      ? "missing here"
      : there === null
      ? "missing there"
      : madeText(differs, here, there),
  ];
}

/** When an SA was made must be the same, or its time limits would not be. */
function madeText(differs: readonly string[], here: SaFigures, there: SaFigures): string {
  if (differs.length === 0) return "equal";
  return differs.includes("addTime")
    ? `made ${Math.abs(here.addTime - there.addTime)} s apart`
    : "";
}

function diffSummary(box: string, rows: readonly SaDifference[]): string {
  const absent = (side: "here" | "there"): number =>
    rows.filter((row) => row[side] === null).length;
  const [here, there] = [absent("here"), absent("there")];
  const both = rows.length - here - there;
  const moved = rows.filter((row) => !isMissing(row) && row.differs.length > 0).length;
  const words = [
    `${countText(both, "SA")} on both boxes`,
    ...(moved === 0 ? [] : [`${moved} of them with other figures`]),
    ...(there === 0 ? [] : [`${there} missing there`]),
    ...(here === 0 ? [] : [`${here} missing here`]),
  ];
  return `Box ${printableWord(box)}: ${words.join(", ")}`;
}

/** The number that matters: of packets sent, of those received, or both. */
function numberText(
  { direction, oseq, seq }: Pick<SaFigures, "direction" | "oseq" | "seq">,
): string {
  if (direction === "both") return `${oseq}/${seq}`;
  return `${direction === "out" ? oseq : seq}`;
}

function rateText(perSecond: number): string {
  return perSecond === 0 ? "0" : perSecond.toFixed(perSecond < 10 ? 1 : 0);
}

/** `0.4 ms`, `40 ms`, `12 s`, `3 min`, `5 h`. */
function msText(ms: number): string {
  if (ms === 0) return "0";
  if (ms < SECOND_MS) return `${ms < 10 ? Number(ms.toFixed(1)) : Math.round(ms)} ms`;
  const seconds = ms / SECOND_MS;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** Rows that fit into `columns`: of the first column as much is shown as the others leave. */
function tableLines(
  table: readonly Column[],
  rows: readonly (readonly string[])[],
  columns: number,
): string[] {
  const all = [table.map(({ title }) => title), ...rows];
  const widths = table.map((_, at) => Math.max(...all.map((row) => columnsOf(row[at]!))));
  const others = widths.slice(1).reduce((sum, width) => sum + width, 0);
  const left = (gap: string): number => columns - others - gap.length * (table.length - 1);
  const gap = left(GAP) < Math.min(widths[0]!, KEY_COLUMNS_MIN) ? " " : GAP;
  const keyColumns = Math.min(widths[0]!, Math.max(left(gap), ADDRESS_COLUMNS_MIN));
  return all.map(([key, ...cells]) => {
    const shown = keyText(key!, keyColumns);
    const texts = cells.map((cell, at) => {
      const blanks = " ".repeat(widths[at + 1]! - columnsOf(cell));
      return table[at + 1]!.left === true ? cell + blanks : blanks + cell;
    });
    const row = [shown + " ".repeat(keyColumns - columnsOf(shown)), ...texts].join(gap);
    return cut(row.trimEnd(), columns);
  });
}

/** The SPI tells more than the address: of that the middle goes first. */
function keyText(key: string, columns: number): string {
  if (columnsOf(key) <= columns) return key;
  const space = key.indexOf(" ");
  const address = key.slice(0, space);
  const room = columns - (key.length - space);
  if (space < 0 || room < ADDRESS_COLUMNS_MIN) return cut(key, columns);
  const tail = Math.floor((room - 1) / 2);
  return `${address.slice(0, room - 1 - tail)}~${address.slice(-tail)}${key.slice(space)}`;
}
