/**
 * Commands to one daemon, as `ceph tell osd.N` sends them: front segments of MCommand (97) and
 * MCommandReply (98), as Ceph 16.2 puts them on the wire. Input and output travel in the data
 * segment. Commands come by hand, so whole arrays go in and out. A reader returns null for bytes
 * it refuses; `describeFault()` then says which field.
 *
 * @module
 */
import { PayloadReader, PayloadWriter } from "../cephx/payload.ts";
import { FSID_SIZE } from "./fsid.ts";
import { type MessageKind, MessageType } from "./message_type.ts";

/** A command to a daemon. */
export const COMMAND: MessageKind = { type: MessageType.Command, version: 1, compatVersion: 1 };
/** Its answer. */
export const COMMAND_REPLY: MessageKind = {
  type: MessageType.CommandReply,
  version: 1,
  compatVersion: 1,
};

/** A command. */
export interface Command {
  /** The cluster meant, as its MonMap says: any other id is answered with -EPERM. */
  readonly fsid: Uint8Array;
  /** Usually one string of JSON: `{"prefix": "status"}`. */
  readonly words: readonly string[];
}

/** What came of a command. */
export interface CommandReply {
  /** 0, or a negative errno. */
  readonly result: number;
  /** Text for a person, often empty. */
  readonly status: string;
}

/** Writes an MCommand. */
export function writeCommand(command: Command): Uint8Array {
  const out = new PayloadWriter();
  writeCommandFields(out, command);
  return out.done();
}

/** Reads an MCommand. */
export function readCommand(front: Uint8Array): Command | null {
  const from = new PayloadReader(front, "command");
  const command = readCommandFields(from);
  return from.failed ? null : command;
}

/** Writes an MCommandReply. */
export function writeCommandReply(reply: CommandReply): Uint8Array {
  const out = new PayloadWriter();
  writeReplyFields(out, reply);
  return out.done();
}

/** Reads an MCommandReply. */
export function readCommandReply(front: Uint8Array): CommandReply | null {
  const from = new PayloadReader(front, "command_reply");
  const reply = readReplyFields(from);
  return from.failed ? null : reply;
}

/** The fields that MCommand and MMonCommand share: uuid_d fsid, vector<string> cmd. */
export function writeCommandFields(out: PayloadWriter, command: Command): void {
  writeWords(out.raw(command.fsid), command.words);
}

/** Reads what {@linkcode writeCommandFields} writes. */
export function readCommandFields(from: PayloadReader): Command {
  const fsid = from.raw(FSID_SIZE, "fsid");
  return { fsid, words: readWords(from, "cmd") };
}

/** The fields that MCommandReply and MMonCommandAck share: i32 r, string rs. */
export function writeReplyFields(out: PayloadWriter, reply: CommandReply): void {
  out.u32(reply.result).text(reply.status);
}

/** Reads what {@linkcode writeReplyFields} writes. */
export function readReplyFields(from: PayloadReader): CommandReply {
  const result = from.u32("r") | 0;
  return { result, status: from.text("rs") };
}

/** Writes a vector<string>. */
export function writeWords(out: PayloadWriter, words: readonly string[]): void {
  out.u32(words.length);
  for (const word of words) out.text(word);
}

/** Reads a vector<string>; a count that lies ends with the bytes. */
export function readWords(from: PayloadReader, field: string): string[] {
  const words: string[] = [];
  for (let left = from.u32(field); left > 0 && !from.failed; left--) words.push(from.text(field));
  return words;
}
