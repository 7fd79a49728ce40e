/**
 * Terminal lines in raw mode: termios(3), and struct termios2 of the kernel's
 * include/uapi/asm-generic/termbits.h, whose BOTHER takes any speed (the speeds of cfsetspeed(3)
 * are a list). x86-64 and aarch64 share these numbers.
 *
 * @module
 */
import { Access, control, openPath } from "./descriptor.ts";
import { Errno } from "./errno.ts";
import { close } from "./sockets.ts";

/** How the bytes travel: 9600 8N1 and the like. */
export interface SerialSettings {
  /** Bits a second. */
  baud: number;
  /** 5 to 8. */
  dataBits: number;
  parity: "none" | "even" | "odd";
  /** 1 or 2. */
  stopBits: number;
}

const TCGETS2 = 0x802c542a;
const TCSETS2 = 0x402c542b;
const TIOCEXCL = 0x540c;

// struct termios2 {c_iflag, c_oflag, c_cflag, c_lflag; c_line, c_cc[19]; c_ispeed, c_ospeed}.
const IFLAG = 0;
const OFLAG = 4;
const CFLAG = 8;
const LFLAG = 12;
const CC = 17;
const ISPEED = 36;
const OSPEED = 40;
/** sizeof(struct termios2). */
export const TERMIOS2_SIZE = 44;

const VTIME = 5;
const VMIN = 6;
const INPCK = 0o20;
const IGNBRK = 0o1;
const CS5_TO_CS8 = [0, 0o20, 0o40, 0o60];
const CSTOPB = 0o100;
const CREAD = 0o200;
const PARENB = 0o400;
const PARODD = 0o1000;
const CLOCAL = 0o4000;
const BOTHER = 0o10000;

/** UARTs tolerate some 5 % between both ends; half of it is ours. */
const DEVIATION_MAX = 0.025;

/**
 * Opens a terminal line, raw, for reading and writing, not to be opened by others (TIOCEXCL): two
 * readers would take each other's bytes. `-EINVAL` when the device cannot go at that speed.
 */
export function openSerial(path: string, settings: SerialSettings): number {
  const fd = openPath(path, Access.Both);
  if (fd < 0) return fd;
  const result = configure(fd, settings);
  if (result >= 0) return fd;
  close(fd);
  return result;
}

/**
 * Turns a struct termios2 into raw mode with `settings`. With parity, a byte that fails it is read
 * as NUL (INPCK without IGNPAR): the line keeps its length and shows the damage. VMIN is 1, because
 * with 0 a read of nothing would look like the end.
 */
export function writeTermios(termios: DataView, settings: SerialSettings): void {
  const { baud, dataBits, parity, stopBits } = settings;
  let cflag = BOTHER | CREAD | CLOCAL | CS5_TO_CS8[dataBits - 5]!;
  if (parity !== "none") cflag |= PARENB;
  if (parity === "odd") cflag |= PARODD;
  if (stopBits === 2) cflag |= CSTOPB;
  termios.setUint32(IFLAG, parity === "none" ? IGNBRK : IGNBRK | INPCK, true);
  termios.setUint32(OFLAG, 0, true);
  termios.setUint32(CFLAG, cflag, true);
  termios.setUint32(LFLAG, 0, true);
  termios.setUint8(CC + VTIME, 0);
  termios.setUint8(CC + VMIN, 1);
  termios.setUint32(ISPEED, baud, true);
  termios.setUint32(OSPEED, baud, true);
}

function configure(fd: number, settings: SerialSettings): number {
  const bytes = new Uint8Array(TERMIOS2_SIZE);
  const termios = new DataView(bytes.buffer);
  const got = control(fd, TCGETS2, bytes);
  if (got < 0) return got;
  writeTermios(termios, settings);
  const set = control(fd, TCSETS2, bytes);
  if (set < 0) return set;
  // Success means that some of it was taken (tcsetattr(3)); the speed is what a device refuses.
  const read = control(fd, TCGETS2, bytes);
  if (read < 0) return read;
  const speed = termios.getUint32(OSPEED, true);
  if (Math.abs(speed - settings.baud) > settings.baud * DEVIATION_MAX) return -Errno.Einval;
  return control(fd, TIOCEXCL, null);
}
