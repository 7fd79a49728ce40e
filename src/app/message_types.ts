/**
 * What Fairlead's own messages carry. The numbers lie above those Ceph uses (its own message types
 * end far below 0xfa00); DESIGN "The command" names the commands that send them.
 *
 * @module
 */

/** The `type` of the message header. */
export const FairleadType = {
  /** Front: the bytes of one line, without its newline. */
  Line: 0xfa00,
  /** Front: JSON, a {@linkcode FileHead}; the file's data follows. */
  FileHead: 0xfa10,
  /** Data: a piece of the file. */
  FileData: 0xfa11,
  /** Front: JSON, a {@linkcode FileEnd}; the file is complete. */
  FileEnd: 0xfa12,
  /** Front: JSON, what a box measured of itself (readings.ts). */
  Reading: 0xfa20,
  /** Front: JSON, what a spool has numbered (wire/gateway/post.ts). */
  Hello: 0xfa30,
  /** Front: JSON, what the hub has stored of it. */
  Welcome: 0xfa31,
  /** Front: a hop and an envelope (wire/gateway/envelope.ts). */
  Post: 0xfa32,
  /** Front: a post of records for the other box of a pair (wire/standby/post.ts). */
  Sync: 0xfa40,
  /** Front: JSON, what the boxes of a pair and their witness say (wire/standby/words.ts). */
  Standby: 0xfa41,
} as const;

/** The front of a FileHead message. */
export interface FileHead {
  /** The file's name at its sender; a receiver must not trust it. */
  readonly name: string;
  /** In bytes; null when the sender cannot know it. */
  readonly size: number | null;
}

/** The front of a FileEnd message. */
export interface FileEnd {
  /** In bytes. */
  readonly size: number;
  /** CRC-32C of the whole file (RFC 3720 appendix B.4). */
  readonly crc32c: number;
}

const NAMES: Readonly<Record<number, string>> = {
  [FairleadType.Line]: "line",
  [FairleadType.FileHead]: "file_head",
  [FairleadType.FileData]: "file_data",
  [FairleadType.FileEnd]: "file_end",
  [FairleadType.Reading]: "reading",
  [FairleadType.Hello]: "hello",
  [FairleadType.Welcome]: "welcome",
  [FairleadType.Post]: "post",
  [FairleadType.Sync]: "sync",
  [FairleadType.Standby]: "standby",
};

/** `line`, `reading`, …; a foreign type as `0x00f0`. */
export function messageTypeName(type: number): string {
  return NAMES[type] ?? `0x${type.toString(16).padStart(4, "0")}`;
}
