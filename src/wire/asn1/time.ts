/**
 * UTCTime and GeneralizedTime as RFC 5280 sections 4.1.2.5.1 and 4.1.2.5.2 allow them: UTC, whole
 * seconds, a Z at the end.
 *
 * @module
 */

const DAY_MS = 86_400_000;
const DAYS_BEFORE_MONTH = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const EPOCH_YEAR = 1970;
const DAYS_A_YEAR = 365.2425;
/** Two digits from this one on are of the last century. */
const PIVOT = 50;
/** RFC 5280 section 4.1.2.5: from here on there are four digits. */
const YEAR_2050_MS = 2_524_608_000_000;

/** The content of a UTCTime, or of a GeneralizedTime from 2050 on. */
export function formatTime(ms: number): { readonly text: string; readonly isUtcTime: boolean } {
  const isUtcTime = ms < YEAR_2050_MS;
  const digits = fourteenDigits(ms);
  return { text: `${isUtcTime ? digits.slice(2) : digits}Z`, isUtcTime };
}

/** Milliseconds since 1970, or NaN when the text is no such time. */
export function parseTime(text: string, isUtcTime: boolean): number {
  if (!/^\d+Z$/.test(text) || text.length !== (isUtcTime ? 13 : 15)) return NaN;
  const century = Number(text.slice(0, 2)) < PIVOT ? "20" : "19";
  const digits = (isUtcTime ? century : "") + text.slice(0, -1);
  const [year, month, day, hour, minute, second] = [
    Number(digits.slice(0, 4)),
    ...[4, 6, 8, 10, 12].map((at) => Number(digits.slice(at, at + 2))),
  ] as [number, number, number, number, number, number];
  if (month < 1 || month > 12 || day < 1) return NaN;
  const days = daysBefore(year, month) + day - 1;
  const ms = days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000;
  return fourteenDigits(ms) === digits ? ms : NaN; // no 31st of June, no hour 24
}

function fourteenDigits(ms: number): string {
  const days = Math.floor(ms / DAY_MS);
  const seconds = Math.floor((ms - days * DAY_MS) / 1000);
  let year = EPOCH_YEAR + Math.floor(days / DAYS_A_YEAR);
  if (daysBefore(year + 1, 1) <= days) year++;
  if (daysBefore(year, 1) > days) year--;
  let month = 12;
  while (daysBefore(year, month) > days) month--;
  const parts = [
    month,
    days - daysBefore(year, month) + 1,
    Math.floor(seconds / 3600),
    Math.floor(seconds / 60) % 60,
    seconds % 60,
  ];
  return `${year}`.padStart(4, "0") + parts.map((part) => `${part}`.padStart(2, "0")).join("");
}

/** Days from 1970 to the first of a month. */
function daysBefore(year: number, month: number): number {
  const leap = month > 2 && leapYears(year) > leapYears(year - 1) ? 1 : 0;
  const leapDays = leapYears(year - 1) - leapYears(EPOCH_YEAR - 1);
  return (year - EPOCH_YEAR) * 365 + leapDays + DAYS_BEFORE_MONTH[month - 1]! + leap;
}

/** Through that year. */
function leapYears(year: number): number {
  return Math.floor(year / 4) - Math.floor(year / 100) + Math.floor(year / 400);
}
