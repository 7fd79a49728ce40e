/**
 * PEM, the textual encoding of certificates: RFC 7468. Text around the blocks is allowed, as its section
 * 5.2 says; within a block nothing but base64 is.
 *
 * @module
 */

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,64})-----\s*([A-Za-z0-9+/=\s]*?)\s*-----END \1-----/g;
const COLUMNS = 64;

/** The contents of all blocks with a label such as `CERTIFICATE`; null for one that is no base64. */
export function readPem(text: string, label: string): (Uint8Array<ArrayBuffer> | null)[] {
  const blocks = [...text.matchAll(BLOCK)].filter((match) => match[1] === label);
  return blocks.map((match) => {
    try {
      return Uint8Array.fromBase64(match[2]!);
    } catch {
      return null; // a syntax error of base64 is all that it throws
    }
  });
}

/** One block. */
export function writePem(label: string, content: Uint8Array): string {
  const lines = content.toBase64().match(new RegExp(`.{1,${COLUMNS}}`, "g")) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}
