/**
 * Text in SVG pictures: whatever it contains, the picture stays well-formed, and shows no control
 * character. XML 1.0 section 2.2.
 *
 * @module
 */
import { printable } from "./printable.ts";

/** A text at a place; `name` is its class, empty for none. */
export function svgText(x: number, y: number, content: string, name: string): string {
  const style = name === "" ? "" : ` class="${name}"`;
  return `<text x="${px(x)}" y="${px(y)}"${style}>${svgEscaped(content)}</text>`;
}

/** A tenth of a pixel is enough. */
export function px(value: number): string {
  return `${Math.round(value * 10) / 10}`;
}

/** Text for elements and attributes; XML has no place for some characters, whatever their escape. */
export function svgEscaped(content: string): string {
  return content.split("\n").map(printable).join("\n").toWellFormed()
    .replace(/[\ufffe\uffff]/g, "\ufffd")
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
