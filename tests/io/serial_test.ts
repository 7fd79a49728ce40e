/** Terminal settings as bytes, and on a pseudo terminal of the kernel: pty(7). */
import assert from "node:assert/strict";
import { Access, control, openPath, readBytes, writeBytes } from "../../src/io/descriptor.ts";
import { Errno } from "../../src/io/errno.ts";
import { openSerial, TERMIOS2_SIZE, writeTermios } from "../../src/io/serial.ts";
import { close } from "../../src/io/sockets.ts";

const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
const TCGETS2 = 0x802c542a;

const NINE_SIX = { baud: 9600, dataBits: 8, parity: "none", stopBits: 1 } as const;
const encoder = new TextEncoder();

/** A pseudo terminal: the far end as a descriptor, the near end as a path. */
function pty(): { far: number; path: string } {
  const far = openPath("/dev/ptmx", Access.Both);
  assert.ok(far >= 0, `ptmx ${far}`);
  assert.equal(control(far, TIOCSPTLCK, new Int32Array(1)), 0);
  const number = new Int32Array(1);
  assert.equal(control(far, TIOCGPTN, number), 0);
  return { far, path: `/dev/pts/${number[0]}` };
}

/**
 * Octal values of include/uapi/asm-generic/termbits.h and termbits-common.h: CS5 0, CS7 040, CS8 060,
 * CSTOPB 0100, CREAD 0200, PARENB 0400, PARODD 01000, CLOCAL 04000, BOTHER 010000.
 */
const CFLAGS = [
  { ...NINE_SIX, cflag: 0o14260, iflag: 0o1 },
  { baud: 300, dataBits: 7, parity: "even", stopBits: 1, cflag: 0o14640, iflag: 0o21 },
  { baud: 115200, dataBits: 7, parity: "odd", stopBits: 2, cflag: 0o15740, iflag: 0o21 },
  { baud: 250000, dataBits: 5, parity: "none", stopBits: 2, cflag: 0o14300, iflag: 0o1 },
] as const;

Deno.test.each(CFLAGS)("writeTermios() at $baud, $dataBits, $parity, $stopBits", (row) => {
  const termios = new DataView(new Uint8Array(TERMIOS2_SIZE).fill(0xa5).buffer);
  writeTermios(termios, row);
  const words = [0, 4, 8, 12, 36, 40].map((at) => termios.getUint32(at, true));
  assert.deepEqual(words, [row.iflag, 0, row.cflag, 0, row.baud, row.baud]);
  assert.deepEqual([termios.getUint8(17 + 5), termios.getUint8(17 + 6)], [0, 1]); // VTIME, VMIN
});

Deno.test("a terminal opened raw passes every byte as it is, and nothing back", () => {
  const { far, path } = pty();
  const fd = openSerial(path, NINE_SIX);
  assert.ok(fd >= 0, `open ${fd}`);
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const got = new Uint8Array(512);
  assert.equal(readBytes(fd, got), -Errno.Eagain);
  assert.equal(writeBytes(far, all), 256);
  assert.equal(readBytes(fd, got), 256);
  assert.deepEqual(got.subarray(0, 256), all);
  assert.equal(readBytes(far, got), -Errno.Eagain, "nothing was echoed");
  assert.equal(writeBytes(fd, encoder.encode("a\n")), 2);
  assert.equal(readBytes(far, got), 2, "no CR was added");
  close(far);
  assert.ok([0, -Errno.Eio].includes(readBytes(fd, got)), "the far end has gone");
  close(fd);
});

Deno.test("a speed that no list has is set", () => {
  const { far, path } = pty();
  const fd = openSerial(path, { ...NINE_SIX, baud: 12345 });
  assert.ok(fd >= 0, `open ${fd}`);
  const termios = new Uint8Array(TERMIOS2_SIZE);
  assert.equal(control(far, TCGETS2, termios), 0);
  const view = new DataView(termios.buffer);
  assert.deepEqual([view.getUint32(36, true), view.getUint32(40, true)], [12345, 12345]);
  close(fd);
  close(far);
});

Deno.test("what is no terminal, or not there, is refused and leaks no descriptor", async () => {
  const file = await Deno.makeTempFile();
  const first = openPath(file, Access.Both);
  for (let i = 0; i < 300; i++) {
    assert.equal(openSerial(file, NINE_SIX), -25); // ENOTTY
    assert.equal(openSerial(`${file}.not`, NINE_SIX), -2); // ENOENT
  }
  const last = openPath(file, Access.Both);
  assert.ok(last < first + 150, `descriptor ${last} after ${first}`); // other tests take some too
  close(first);
  close(last);
  await Deno.remove(file);
});
