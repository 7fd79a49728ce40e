/**
 * The id of a Ceph cluster: a UUID, 16 bytes on the wire (uuid_d).
 *
 * @module
 */

/** Bytes of a cluster id. */
export const FSID_SIZE = 16;

/** A cluster id as text: `85059b4d-ed59-4d55-b0f2-ed2942848f68`. */
export function formatFsid(fsid: Uint8Array): string {
  const hex = Array.from(fsid, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** A cluster id from text; throws when it is not one. */
export function parseFsid(text: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
    const wanted = "a UUID like 85059b4d-ed59-4d55-b0f2-ed2942848f68";
    throw new Error(`Cannot parse fsid as it must be ${wanted}: current value is ${text}`);
  }
  const hex = text.replaceAll("-", "");
  const fsid = new Uint8Array(FSID_SIZE);
  for (let i = 0; i < FSID_SIZE; i++) fsid[i] = parseInt(hex.slice(i * 2, i * 2 + 2), 16);
  return fsid;
}
