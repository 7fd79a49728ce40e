/**
 * Texts of messages compared where they are, so that nothing is allocated while they stay the same.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import { type Attribute, attributeText } from "./attribute.ts";

/** Whether the bytes from `at` to `end`, or to a NUL before it, are the ASCII `text`. */
export function isText({ bytes }: Region, at: number, end: number, text: string): boolean {
  const { length } = text;
  for (let i = 0; i < length; i++) {
    if (at + i >= end || bytes[at + i] !== text.charCodeAt(i)) return false;
  }
  return at + length >= end || bytes[at + length] === 0;
}

/** The text of an attribute; `known` itself when it is that. */
export function textOr(from: Region, attribute: Attribute, known: string): string {
  const { at, end } = attribute;
  return isText(from, at, end, known) ? known : attributeText(from, attribute);
}
