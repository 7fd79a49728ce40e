/**
 * How single values stand in a message of the X-Bone control protocol: as the items behind the name
 * of their field. What is read is checked here, so that whatever comes out is of its type and its
 * length.
 *
 * @module
 */
import { Family, parseInet } from "../inet.ts";
import type { Item, SexprWriter } from "./sexpr.ts";

/** Writes a value as items, and reads it from the items of a list behind its head. */
export interface Form<T> {
  write(value: T, to: SexprWriter): void;
  /** Undefined when `reading` has refused it. */
  read(list: readonly Item[], reading: Reading): T | undefined;
}

/** A message being read: where we are, what is wrong, and how much was ignored. */
export class Reading {
  /** Names of the lists that we are in. */
  readonly path: string[] = [];
  /** The first refusal; what follows from it is not told. */
  refusal: string | null = null;
  unknownFields = 0;

  /** Refuses what stands in the present field; `field` names one that is missing in it. */
  refuse(reason: string, value: Item | undefined, field = ""): undefined {
    this.refuseShown(reason, shown(value), field);
  }

  /** The same with the value in words: for what must not be shown. */
  refuseShown(reason: string, value: string, field = ""): undefined {
    const what = [...this.path, field].join(" ").trimEnd();
    this.refusal ??= `Cannot read ${what} as ${reason}: current value is ${value}`;
  }
}

/**
 * Controls, what turns the direction of writing round, and halves of characters: in no text of
 * ours.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const UNPRINTABLE_ALL = new RegExp(UNPRINTABLE.source, "gu");
const SHOWN_MAX = 64;

const scratch = new Uint8Array(16);

function shown(value: Item | undefined): string {
  if (value === undefined) return "nothing";
  if (typeof value !== "string") return "a list";
  const line = value.replaceAll(UNPRINTABLE_ALL, "?");
  return line.length <= SHOWN_MAX ? line : `${line.slice(0, SHOWN_MAX)}…`;
}

/**
 * The only text behind the head of `list`. Further lists are fields of a later version: ignored and
 * counted; a further text is a mistake.
 */
function onlyText(list: readonly Item[], reading: Reading): string | undefined {
  const text = list[1];
  if (typeof text !== "string") return reading.refuse("it must be one text", text);
  for (let index = 2; index < list.length; index++) {
    const item = list[index]!;
    if (typeof item === "string") return reading.refuse("it must be one text", item);
    reading.unknownFields++;
  }
  return text;
}

/** A text that `check` accepts (true), or says what it must be. */
function checked(check: (text: string) => string | true): Form<string> {
  return {
    write: (value, to) => to.text(value),
    read: (list, reading) => {
      const text = onlyText(list, reading);
      if (text === undefined) return undefined;
      const answer = check(text);
      return answer === true ? text : reading.refuse(`it must be ${answer}`, text);
    },
  };
}

function isPrintable(text: string): boolean {
  return /^[ -~]*$/.test(text) || !UNPRINTABLE.test(text);
}

/** A name: 1 to `max` printable characters. */
export function name(max = 255): Form<string> {
  return checked((text) =>
    text.length >= 1 && text.length <= max && isPrintable(text) ||
    `1 to ${max} printable characters`
  );
}

/** Free text for people. It is cut to `max` characters and one line before it is sent. */
export function freeText(max: number): Form<string> {
  const read =
    checked((text) =>
      text.length <= max && isPrintable(text) || `at most ${max} printable characters`
    ).read;
  return { write: (value, to) => to.text(oneLine(value, max)), read };
}

function oneLine(text: string, max: number): string {
  const short = text.length <= max ? text : `${text.slice(0, max - 1)}…`;
  return isPrintable(short) ? short : short.replaceAll(UNPRINTABLE_ALL, " ");
}

/** One of `words`. */
export function word<W extends string>(words: readonly W[]): Form<W> {
  const form = checked((text) =>
    (words as readonly string[]).includes(text) || `one of ${words.join(", ")}`
  );
  return form as Form<W>;
}

/** `yes` or `no`. */
export const YES_NO: Form<boolean> = {
  write: (value, to) => to.text(value ? "yes" : "no"),
  read: (list, reading) => {
    const text = YES_OR_NO.read(list, reading);
    return text === undefined ? undefined : text === "yes";
  },
};

const YES_OR_NO = word(["yes", "no"]);

/** A whole number in decimal digits; a duration by a clock that knows fractions is rounded. */
export function number(min: number, max: number): Form<number> {
  return {
    write: (value, to) => to.text(String(Math.round(value))),
    read: (list, reading) => {
      const text = onlyText(list, reading);
      return text === undefined ? undefined : toNumber(text, min, max, reading);
    },
  };
}

/** Reads digits; 16 of them hold the largest safe integer. */
export function toNumber(
  text: Item | undefined,
  min: number,
  max: number,
  reading: Reading,
): number | undefined {
  const value = typeof text === "string" && /^[0-9]{1,16}$/.test(text) ? Number(text) : -1;
  return value >= min && value <= max
    ? value
    : reading.refuse(`it must be a number from ${min} to ${max}`, text);
}

/** Lower-case hexadecimal digits, so many. */
export function hex(digits: number): Form<string> {
  return checked((text) =>
    text.length === digits && /^[0-9a-f]*$/.test(text) || `${digits} hexadecimal digits`
  );
}

/** Key material: `pattern` accepts it, and a refusal does not show it. */
export function secret(pattern: RegExp, expected: string): Form<string> {
  return {
    write: (value, to) => to.text(value),
    read: (list, reading) => {
      const text = list[1];
      if (list.length === 2 && typeof text === "string" && pattern.test(text)) return text;
      const length = typeof text === "string" ? text.length : 0;
      return reading.refuseShown(`it must be ${expected}`, `${length} characters that are not`);
    },
  };
}

/** An IPv4 or IPv6 address. */
export const ADDRESS: Form<string> = checked((text) => isAddress(text) || "an IP address");

/** An address with the length of a prefix. */
export const PREFIX: Form<string> = checked((text) => isPrefix(text) || "ADDRESS/LENGTH");

/** HOST:PORT with a numeric host, IPv6 in brackets. */
export const HOST_PORT: Form<string> = checked((text) => isHostPort(text) || "ADDRESS:PORT");

/** `v2:ADDRESS:PORT`, where a hub listens. */
export const HUB: Form<string> = checked((text) =>
  text.startsWith("v2:") && isHostPort(text.slice(3)) || "v2:ADDRESS:PORT"
);

/** Longer is no address in any spelling; the parser need not look at it. */
const ADDRESS_MAX = 45;

/**
 * Dotted quads as `parseInet` takes them, at a fifth of its time: CONFIG carries them by the ten
 * thousand.
 */
const QUAD = /^(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;
const LENGTH = /^(?:0|[1-9][0-9]{0,2})$/;

function familyOf(text: string): number {
  if (QUAD.test(text)) return Family.Inet;
  return text.length <= ADDRESS_MAX ? parseInet(text, scratch) : Family.None;
}

function isAddress(text: string): boolean {
  return familyOf(text) !== Family.None;
}

function isPrefix(text: string): boolean {
  const slash = text.indexOf("/");
  const length = text.slice(slash + 1);
  if (slash < 0 || !LENGTH.test(length)) return false;
  const family = familyOf(text.slice(0, slash));
  return family !== Family.None && Number(length) <= (family === Family.Inet ? 32 : 128);
}

function isHostPort(text: string): boolean {
  const match = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([1-9][0-9]{0,4})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) return false;
  const family = familyOf(match[1] ?? match[2]!);
  return family === (match[1] === undefined ? Family.Inet : Family.Inet6);
}

/** Some texts, each in the given form. */
export function texts<T extends string>(each: Form<T>, max: number): Form<readonly T[]> {
  return {
    write: (values, to) => {
      for (const value of values) each.write(value, to);
    },
    read: (list, reading) => {
      const values: T[] = [];
      for (let index = 1; index < list.length; index++) {
        const item = list[index]!;
        if (typeof item !== "string") {
          reading.unknownFields++;
          continue;
        }
        if (values.length === max) return reading.refuse(`it must be at most ${max}`, item);
        const value = each.read(["", item], reading);
        if (value === undefined) return undefined;
        values.push(value);
      }
      return values;
    },
  };
}
