/** The serial input on pseudo terminals of the kernel: lines, unplugging, limits. */
import assert from "node:assert/strict";
import { openSerialInput, type SerialOptions } from "../../src/app/inputs/serial.ts";
import { LINE_BYTES_MAX } from "../../src/app/line_buffer.ts";
import { nowMs } from "../../src/io/clock.ts";
import { Access, control, openPath, writeBytes } from "../../src/io/descriptor.ts";
import { close } from "../../src/io/sockets.ts";
import { FakeIntake } from "./fake_intake.ts";

const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
const LATE_MS = 20_000;

interface Box {
  /** A symbolic link, as udev makes them: to be plugged and unplugged. */
  readonly path: string;
  readonly intake: FakeIntake;
  open(options?: Partial<SerialOptions>): ReturnType<typeof openSerialInput>;
  /** Puts a new device behind the path; the descriptor of its far end. */
  plug(): number;
  unplug(far: number): void;
}

const encoder = new TextEncoder();

async function withBox(job: (box: Box) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/ttyUSB0`;
  const intake = new FakeIntake();
  const ends: (() => Promise<void>)[] = [];
  const plugged = new Set<number>();
  const box: Box = {
    path,
    intake,
    open: (options = {}) => {
      const all = { baud: 9600, dataBits: 8, parity: "none", stopBits: 1, topic: "meter" } as const;
      const input = openSerialInput("meter", { path, ...all, ...options }, intake);
      ends.push(() => input.stop(nowMs()));
      return input;
    },
    plug: () => {
      const far = openPath("/dev/ptmx", Access.Both);
      assert.ok(far >= 0, `ptmx ${far}`);
      control(far, TIOCSPTLCK, new Int32Array(1));
      const number = new Int32Array(1);
      control(far, TIOCGPTN, number);
      Deno.symlinkSync(`/dev/pts/${number[0]}`, path);
      plugged.add(far);
      return far;
    },
    unplug: (far) => {
      Deno.removeSync(path);
      plugged.delete(far);
      close(far);
    },
  };
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("a wait does not end")), LATE_MS);
  try {
    await Promise.race([job(box), late.promise]);
  } finally {
    clearTimeout(timer);
    for (const end of ends) await end();
    for (const far of plugged) close(far);
    await Deno.remove(directory, { recursive: true });
  }
}

/** Writes all of it, as far as the terminal takes it. */
async function send(far: number, text: string): Promise<void> {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) {
    const count = writeBytes(far, bytes.slice(at, at + 1024));
    if (count > 0) at += count;
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

async function until(what: string, fits: () => boolean): Promise<void> {
  const lateMs = nowMs() + LATE_MS;
  while (!fits()) {
    assert.ok(nowMs() < lateMs, `${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

Deno.test("serial: lines come as they are sent, at every split", () =>
  withBox(async (box) => {
    const far = box.plug();
    const input = box.open();
    const text = "12.5 C\r\n\r\n\x03\x04\x11\x13\x7f\r|\n";
    await send(far, text);
    await box.intake.taken(3);
    for (const byte of text) {
      await send(far, byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await box.intake.taken(6);
    const lines = ["12.5 C", "", "\x03\x04\x11\x13\x7f\r|"];
    assert.deepEqual(box.intake.texts, [...lines, ...lines]);
    const { topic, contentType } = box.intake.messages[0]!;
    assert.deepEqual([topic, contentType], ["meter", "text/plain"]);
    assert.deepEqual([input.where, input.trouble], [box.path, ""]);
    assert.deepEqual([input.counts.messages, input.counts.bytes], [6, 2 * 13]);
  }));

Deno.test("serial: unplugged and plugged in again, half a line is refused", () =>
  withBox(async (box) => {
    const input = box.open();
    assert.match(
      input.trouble,
      /^Cannot open .*ttyUSB0: .*ENOENT.*Plug it in, or correct its path/,
    );
    let far = box.plug();
    await send(far, "1\n23");
    await box.intake.taken(1);
    assert.equal(input.trouble, "");
    box.unplug(far);
    await until("trouble", () => input.trouble !== "");
    assert.equal(input.counts.refused, 1);
    far = box.plug();
    await send(far, "4\n");
    await box.intake.taken(2);
    assert.deepEqual([box.intake.texts, input.trouble], [["1", "4"], ""]);
  }));

Deno.test("serial: what is no terminal is told with the remedy", () =>
  withBox(async (box) => {
    await Deno.writeTextFile(box.path, "no terminal\n");
    const input = box.open();
    assert.match(input.trouble, /ENOTTY.*Give the path of a serial device/);
    await input.stop(nowMs());
    assert.deepEqual(box.intake.texts, []);
  }));

Deno.test("serial: while there is no room nothing is lost; a line too long is counted", () =>
  withBox(async (box) => {
    const far = box.plug();
    box.intake.setRoom(1);
    const input = box.open();
    await send(far, "1\n2\n3\n");
    await box.intake.refused(1);
    assert.deepEqual([box.intake.texts, input.counts.waiting], [["1"], 1]);
    box.intake.setRoom(Infinity);
    await box.intake.taken(3);
    await send(far, `${"x".repeat(LINE_BYTES_MAX + 1)}\n4\n`);
    await box.intake.taken(4);
    assert.equal(input.counts.refused, 1);
    assert.deepEqual(box.intake.texts, ["1", "2", "3", "4"]);
  }));

Deno.test("serial: stop takes what has come, and gives up at its deadline what has no room", () =>
  withBox(async (box) => {
    const far = box.plug();
    const input = box.open();
    await send(far, "0\n");
    await box.intake.taken(1);
    await send(far, "1\n2\n3\n");
    await input.stop(nowMs() + LATE_MS);
    assert.deepEqual(box.intake.texts, ["0", "1", "2", "3"]);
    const again = box.open();
    box.intake.setRoom(0);
    await send(far, "4\n5\n6\n");
    await box.intake.refused(1);
    const beforeMs = nowMs();
    await again.stop(nowMs() + 50);
    assert.ok(nowMs() - beforeMs < LATE_MS / 2);
    assert.equal(again.counts.dropped, 3);
  }));
