/**
 * Civil dates of the proleptic Gregorian calendar (RFC 3339 section 5.7 and appendix C), and the
 * year that a date of RFC 3164 section 4.1.2 leaves out. Time comes as a parameter.
 *
 * @module
 */

const DAY_MS = 86_400_000;
const DAYS_BEFORE_MONTH = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
/** What {@linkcode daysBeforeYear} counts up to 1970. */
const EPOCH_DAYS = daysBeforeYear(1970);

/** True for a date that exists; months and days count from 1. */
export function isDate(year: number, month: number, day: number): boolean {
  return month >= 1 && month <= 12 && day >= 1 && day <= daysOfMonth(year, month);
}

/** True for a time of day; leap seconds are none (RFC 5424 section 6.2.3). */
export function isTime(hour: number, minute: number, second: number): boolean {
  return hour <= 23 && minute <= 59 && second <= 59;
}

/**
 * The year in which this date is nearest to now: a message is seldom half a year late, and a clock
 * seldom half a year wrong. 0 when no year around has such a day, as for 29 February.
 *
 * @param nowMs ms since 1970
 */
export function nearestYear(month: number, day: number, nowMs: number): number {
  const today = Math.floor(nowMs / DAY_MS);
  const thisYear = yearOf(today);
  let nearest = 0;
  let nearestDays = Infinity;
  for (let year = thisYear - 1; year <= thisYear + 1; year++) {
    if (!isDate(year, month, day)) continue;
    const days = Math.abs(epochDay(year, month, day) - today);
    if (days >= nearestDays) continue;
    nearest = year;
    nearestDays = days;
  }
  return nearest;
}

/** The year of a day counted from 1970. */
function yearOf(day: number): number {
  let year = 1970 + Math.floor(day / 365.2425);
  while (epochDay(year, 1, 1) > day) year--;
  while (epochDay(year + 1, 1, 1) <= day) year++;
  return year;
}

/** Days since 1970-01-01. */
function epochDay(year: number, month: number, day: number): number {
  const leapDay = month > 2 && isLeap(year) ? 1 : 0;
  return daysBeforeYear(year) - EPOCH_DAYS + DAYS_BEFORE_MONTH[month - 1]! + leapDay + day - 1;
}

function daysBeforeYear(year: number): number {
  const past = year - 1;
  return past * 365 + Math.floor(past / 4) - Math.floor(past / 100) + Math.floor(past / 400);
}

function daysOfMonth(year: number, month: number): number {
  const leapDay = month === 2 && isLeap(year) ? 1 : 0;
  return DAYS_BEFORE_MONTH[month]! - DAYS_BEFORE_MONTH[month - 1]! + leapDay;
}

function isLeap(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}
