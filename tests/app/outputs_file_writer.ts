/**
 * A hub in small, to be killed: writes numbered lines to a file output in rounds and stores each
 * round's position beside the number that comes next, as a hub does in one transaction.
 * Arguments: the file's path, and that of the stored state.
 */
import { FileOutput } from "../../src/app/outputs/file.ts";
import { received } from "./outputs_messages.ts";

const [path, statePath] = Deno.args as [string, string];

function storedState(): { next: number; position: string | null } {
  try {
    return JSON.parse(Deno.readTextFileSync(statePath));
  } catch {
    return { next: 0, position: null };
  }
}

async function store(next: number, position: string | null): Promise<void> {
  await Deno.writeTextFile(`${statePath}.new`, JSON.stringify({ next, position }));
  await Deno.rename(`${statePath}.new`, statePath);
}

const before = storedState();
const output = await FileOutput.open(
  "archive",
  {
    type: "file",
    path,
    format: "raw",
    rotateBytes: 2000,
    rotateSeconds: 0,
    keep: 100_000,
    required: true,
  },
  before.position,
);
let next = before.next;
await store(next, output.position());
await Deno.stdout.write(new TextEncoder().encode("ready\n"));
while (true) {
  const count = 1 + next % 50;
  for (let index = 0; index < count; index++) output.take(received(`line ${next++}`));
  await output.flush();
  await store(next, output.position());
}
