/**
 * Times of a capture as text, exact to the nanosecond: seconds since 1970 with nanoseconds do not fit
 * into one number of JavaScript, so whole seconds and the rest are written apart.
 *
 * @module
 */

const NS_PER_SECOND = 1_000_000_000;
const MS_PER_SECOND = 1000;
const DECIMALS_MAX = 9;

/** `12.000000345`: whole seconds and nanoseconds (of either sign) with `decimals` (1 to 9), the rest cut off. */
export function secondsText(seconds: number, ns: number, decimals: number): string {
  const part = remainder(ns);
  const whole = wholeSeconds(seconds, ns, part);
  if (whole >= 0 || part === 0) return decimal(whole, part, decimals);
  return `-${decimal(-whole - 1, NS_PER_SECOND - part, decimals)}`;
}

/** `2026-11-22 09:30:00.000001` in UTC; as {@linkcode secondsText} where no calendar has the time. */
export function clockText(seconds: number, ns: number, decimals: number): string {
  const part = remainder(ns);
  const whole = wholeSeconds(seconds, ns, part);
  const date = new Date(whole * MS_PER_SECOND);
  if (Number.isNaN(date.getTime())) return secondsText(seconds, ns, decimals);
  const digits = digitsOf(part, decimals);
  return `${date.toISOString().replace("T", " ").replace(/\.\d+Z$/, "")}.${digits}`;
}

/** `480 ns`, `12.3 us`, `4.56 ms`, `7.89 s`. */
export function durationText(ns: number): string {
  if (ns < 1000) return `${Math.round(ns)} ns`;
  if (ns < 999_500) return `${threeDigits(ns / 1000)} us`;
  if (ns < 999_500_000) return `${threeDigits(ns / 1_000_000)} ms`;
  return `${threeDigits(ns / NS_PER_SECOND)} s`;
}

function threeDigits(value: number): string {
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

function decimal(whole: number, part: number, decimals: number): string {
  return `${whole}.${digitsOf(part, decimals)}`;
}

function digitsOf(part: number, decimals: number): string {
  return `${part}`.padStart(DECIMALS_MAX, "0").slice(0, decimals);
}

/** Captures may claim times so far apart that a double has no single nanoseconds left. */
function wholeSeconds(seconds: number, ns: number, part: number): number {
  return seconds + Math.round((ns - part) / NS_PER_SECOND);
}

/** 0 to 999999999, also of what lies before the origin. */
function remainder(ns: number): number {
  const rest = ns % NS_PER_SECOND;
  return rest < 0 ? rest + NS_PER_SECOND : rest;
}
