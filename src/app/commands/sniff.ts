/**
 * `fairlead sniff`: messages inside TCP streams. Without an action it decodes captures or an interface
 * (sniff/decode.ts); each action is a module of its own, in the folder beside this file.
 *
 * @module
 */
import { type CommandSet, runOf } from "../command_set.ts";

/** The actions; a file with such a name is given as `./send`. */
const ACTIONS: CommandSet["entries"] = {
  boundaries: {
    summary: "how much of each stream can be assigned to messages after losses, by which means",
    load: () => import("./sniff/boundaries.ts"),
  },
  send: {
    summary: "send messages whose first bytes are marked urgent",
    load: () => import("./sniff/send.ts"),
  },
  receive: {
    summary: "receive them in line, and tell which marks arrived",
    load: () => import("./sniff/receive.ts"),
  },
  measure: {
    summary: "both in two network namespaces, measured: how far urgent marks can be relied on",
    load: () => import("./sniff/measure.ts"),
  },
};

/** Runs the command; returns the exit code. */
export async function run(words: string[]): Promise<number> {
  const [action] = words;
  if (action === undefined || !Object.hasOwn(ACTIONS, action)) {
    const { run: decode } = await import("./sniff/decode.ts");
    return await decode(words);
  }
  return await runOf({
    program: "fairlead sniff",
    title: "Messages inside TCP streams",
    word: "ACTION",
    entries: ACTIONS,
  }, words);
}
