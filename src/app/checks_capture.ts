/**
 * Checks of `fairlead doctor`: whether this box can look at what is on the wire. packet(7), tcp(7).
 *
 * @module
 */
import { libcAvailable } from "../io/libc.ts";
import { errnoText } from "../io/errno.ts";
import { PacketCapture } from "../io/packet_capture.ts";
import { type Check, limited, ok, readText } from "./check.ts";

/** A capture is opened and closed: the least room will do. */
const TRIED_BYTES = 64 * 1024;

/** Looks at what `fairlead sniff` needs beyond files. */
export function checkCapture(): Check[] {
  return [
    checkLive(tryCapture()),
    checkUrgent(readText("/proc/sys/net/ipv4/tcp_stdurg")?.trim() ?? ""),
  ];
}

/** Whether an interface can be captured on; `refused` says why not, empty when it can. */
export function checkLive(refused: string): Check {
  const why = "fairlead sniff --live reads an interface; captures in files need nothing";
  const about = { name: "capture", why, needed: false };
  if (refused === "") return ok(about, "a packet socket opens");
  return limited(about, refused, "run as root, or with CAP_NET_RAW");
}

/** How receivers here read the urgent pointer; `setting` is tcp_stdurg, empty when it is not known. */
export function checkUrgent(setting: string): Check {
  const about = {
    name: "urgent data",
    why: "fairlead sniff receive asks the kernel where a message was marked",
    needed: false,
  };
  if (setting === "0") return ok(about, "tcp_stdurg is 0: marks stand at the urgent byte");
  if (setting === "") return limited(about, "tcp_stdurg is not known", "mount /proc");
  const found = `tcp_stdurg is ${setting}: marks stand one byte late, which is allowed for`;
  return limited(about, found, "sysctl net.ipv4.tcp_stdurg=0, as everybody has it");
}

function tryCapture(): string {
  if (!libcAvailable()) return "cannot be tried without libc";
  const options = { program: null, bufferBytes: TRIED_BYTES, promiscuous: false };
  const capture = PacketCapture.open("lo", options);
  if (typeof capture === "number") return errnoText(capture);
  capture.close();
  return "";
}
