/**
 * What tshark(1) says of a capture: the truth for iSCSI, from a reader that shares nothing with ours.
 *
 * @module
 */
import { must } from "../interop/processes.ts";

const DEADLINE_MS = 60_000;

/** The values of each field in each frame: a frame of several PDUs has several values. */
export async function tsharkFields(
  path: string,
  filter: string,
  fields: readonly string[],
): Promise<string[][][]> {
  const wanted = fields.flatMap((field) => ["-e", field]);
  const text = await must(
    ["tshark", "-n", "-r", path, "-Y", filter, "-T", "fields", ...wanted],
    { deadlineMs: DEADLINE_MS },
  );
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => line.split("\t").map((values) => values.split(",")));
}

/** How many PDUs of each opcode there are. */
export async function tsharkOpcodes(path: string): Promise<Record<number, number>> {
  const counts: Record<number, number> = {};
  for (const [opcodes] of await tsharkFields(path, "iscsi", ["iscsi.opcode"])) {
    for (const opcode of opcodes!) counts[Number(opcode)] = (counts[Number(opcode)] ?? 0) + 1;
  }
  return counts;
}

/** The values of several fields of every PDU that has all of them, each as numbers joined by spaces. */
export async function tsharkPdus(
  path: string,
  fields: readonly string[],
): Promise<string[]> {
  const frames = await tsharkFields(path, fields.join(" && "), fields);
  return frames.flatMap((columns) => {
    const count = columns[0]!.length;
    // Of a frame whose PDUs differ in fields it is not told which value belongs to which.
    if (columns.some(({ length }) => length !== count)) return [];
    return columns[0]!.map((_, row) => columns.map((column) => Number(column[row])).join(" "));
  });
}
