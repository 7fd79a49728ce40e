/**
 * Frames make V8 collect nothing: no more scavenges in a million frames, sent and received, than
 * in the same turns without frames. Told by V8 itself (`--trace-gc`), of a process of its own.
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { FORMATS } from "../wire/frame_model.ts";

const LOOP = fileURLToPath(import.meta.resolve("./scavenge_loop.ts"));
/** V8's own threads may ask for a collection now and then, so the best of a few runs counts. */
const RUNS_MAX = 3;
const LIFE_MS = 60_000;
/** In MB: 16 bytes for each frame fill the new space 16 times, and an eighth of it twice. */
const NEW_SPACE = "--max-semi-space-size=1";

Deno.test.each(FORMATS.filter(({ format }) => (format & 1) === 1))(
  "$name: a million frames cause no scavenge",
  async ({ format }) => {
    const excess: number[] = [];
    while (excess.length < RUNS_MAX) {
      const { without, frames } = await collections(format);
      if (frames <= without) return;
      excess.push(frames - without);
    }
    assert.fail(`${excess.join(", ")} collections more than without frames`);
  },
);

/** Collections of both phases, of the new space and of all. */
async function collections(format: number): Promise<{ without: number; frames: number }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `--v8-flags=--trace-gc,--expose-gc,${NEW_SPACE}`, LOOP, `${format}`],
    env: { NO_COLOR: "1" },
    signal: AbortSignal.timeout(LIFE_MS),
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  const lines = new TextDecoder().decode(stdout).split("\n").filter((line) => / ms: /.test(line));
  const marks = lines.flatMap((line, index) => line.includes("testing") ? [index] : []);
  assert.equal(marks.length, 3, lines.join("\n"));
  assert.ok(marks[0]! > 0, "V8 tells of the collections while it warms up");
  return { without: marks[1]! - marks[0]! - 1, frames: marks[2]! - marks[1]! - 1 };
}
