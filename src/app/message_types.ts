/**
 * What Fairlead's own messages carry. The numbers lie above those Ceph uses (its own message types
 * end far below 0xfa00); DESIGN "The command" names the commands that send them.
 *
 * @module
 */

/** The `type` of the message header. */
export const MessageType = {
  /** Front: the bytes of one line, without its newline. */
  Line: 0xfa00,
  /** Front: JSON `{name, size}`; the file's data follows. */
  FileHead: 0xfa10,
  /** Data: a piece of the file. */
  FileData: 0xfa11,
  /** Front: JSON `{size, crc32c}`; the file is complete. */
  FileEnd: 0xfa12,
  /** Front: JSON, what a box measured of itself (readings.ts). */
  Reading: 0xfa20,
} as const;

const NAMES: Readonly<Record<number, string>> = {
  [MessageType.Line]: "line",
  [MessageType.FileHead]: "file_head",
  [MessageType.FileData]: "file_data",
  [MessageType.FileEnd]: "file_end",
  [MessageType.Reading]: "reading",
};

const JSON_TYPES: readonly number[] = [
  MessageType.FileHead,
  MessageType.FileEnd,
  MessageType.Reading,
];

/** `line`, `reading`, …; a foreign type as `0x00f0`. */
export function messageTypeName(type: number): string {
  return NAMES[type] ?? `0x${type.toString(16).padStart(4, "0")}`;
}

/** True when the front segment is JSON. */
export function carriesJson(type: number): boolean {
  return JSON_TYPES.includes(type);
}
