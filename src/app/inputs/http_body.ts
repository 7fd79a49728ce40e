/**
 * The body of a request, read into a bounded memory within a deadline: RFC 9110 section 8.4
 * (Content-Encoding) and 8.6 (Content-Length). A length that was told is only a first hint; what
 * counts is what comes, before and after inflation.
 *
 * @module
 */
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { delay } from "../delay.ts";
import { BatchError } from "./http_batch.ts";

const inflate = promisify(gunzip);

/**
 * Reads it.
 *
 * @param over ends the wait for it before the deadline
 * @throws BatchError that is the answer
 */
export async function readBody(
  request: Request,
  bytesMax: number,
  deadlineMs: number,
  over: AbortSignal,
): Promise<Uint8Array> {
  const raw = await readRaw(request, bytesMax, deadlineMs, over);
  if (!isGzip(request)) return raw;
  try {
    return await inflate(raw, { maxOutputLength: bytesMax });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(bytesMax, "inflated");
    throw new BatchError(
      400,
      `Cannot inflate body as it must be gzip: ${(error as Error).message}`,
    );
  }
}

/** True for `gzip`. @throws BatchError for every other coding but none */
export function isGzip(request: Request): boolean {
  const coding = (request.headers.get("content-encoding") ?? "identity").trim().toLowerCase();
  if (coding === "gzip" || coding === "x-gzip") return true; // RFC 9110 section 8.4.1.3
  if (coding === "identity") return false;
  throw new BatchError(415, "Cannot read body as its Content-Encoding must be gzip or none");
}

/** Its length as told; null when it comes in chunks. */
export function contentLength(request: Request): number | null {
  const text = request.headers.get("content-length");
  return text === null ? null : Number(text);
}

/** The answer to a body that is larger than it may be. */
export function tooLarge(bytesMax: number, state: string): BatchError {
  return new BatchError(
    413,
    `Cannot take body as it must have ${bytesMax} bytes or less ${state}: send it in parts, or ` +
      "raise bodyBytesMax",
  );
}

async function readRaw(
  request: Request,
  bytesMax: number,
  deadlineMs: number,
  over: AbortSignal,
): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array();
  const bytes = new Uint8Array(contentLength(request) ?? bytesMax);
  const reader = request.body.getReader();
  const timer = new AbortController();
  over.addEventListener("abort", () => timer.abort());
  const late = delay(deadlineMs, timer.signal).then(() => null);
  let end = 0;
  try {
    while (true) {
      const piece = await Promise.race([reader.read(), late]);
      if (piece === null) throw slow();
      if (piece.done) return bytes.subarray(0, end);
      if (end + piece.value.length > bytes.length) throw tooLarge(bytesMax, "as sent");
      bytes.set(piece.value, end);
      end += piece.value.length;
    }
  } catch (error) {
    reader.cancel().catch(() => {}); // it may be broken already
    if (error instanceof BatchError) throw error;
    throw new BatchError(400, `Cannot read body as it broke off: ${(error as Error).message}`);
  } finally {
    timer.abort();
  }
}

function slow(): BatchError {
  return new BatchError(408, "Cannot wait for body any longer: send all of it at once");
}
