/**
 * Checks of `fairlead doctor`: whether this box can be one of a pair. ip-xfrm(8), packet(7), nft(8),
 * capabilities(7), the kernel's Documentation/networking/xfrm_sync.
 *
 * @module
 */
import { Errno, errnoText } from "../io/errno.ts";
import { libcAvailable } from "../io/libc.ts";
import { NetlinkProtocol } from "../io/netlink_socket.ts";
import { interfaceIndex, PacketSocket } from "../io/packet_socket.ts";
import { Family, parseInet } from "../wire/inet.ts";
import { NlmsgFlag } from "../wire/netlink/nlmsg.ts";
import { XfrmMode, XfrmMsg, XfrmProto } from "../wire/netlink/xfrm.ts";
import { writeSa, XfrmSa } from "../wire/netlink/xfrm_sa.ts";
import { type About, type Check, limited, missing, ok } from "./check.ts";
import type { StandbyConfig } from "./config/standby_config.ts";
import { NetlinkChannel } from "./netlink_channel.ts";
import { type AeventThresholds, readAeventSysctls } from "./standby/aevent_sysctls.ts";
import { Fence } from "./standby/fence.ts";

const TIMER = "/proc/sys/net/core/xfrm_aevent_etime";

/** What the kernel answers to an SA that cannot be. */
export interface EspAnswer {
  /** Positive. */
  readonly errno: number;
  /** What it says to that; may be empty. */
  readonly text: string;
}

/** Looks at what a pair needs; null: nobody says, and nothing is needed. */
export function checkStandby(config: StandbyConfig | null, timeKept: boolean): Check[] {
  const ipsec = config === null || config.associations;
  return [
    ...(ipsec
      ? [
        checkEsp(tryEsp(), config !== null),
        checkThresholds(readAeventSysctls(), mayWrite(TIMER), config !== null),
        checkFence(Fence.available(""), config),
      ]
      : []),
    checkAnnouncements(tryPacket(), (config?.addresses.length ?? 0) > 0),
    ...(config === null ? [] : [checkPairClock(timeKept), ...linksOf(config)]),
  ];
}

/**
 * Whether the kernel has ESP: an SA with a key that is too short is refused for its key only by a kernel
 * that could have made it.
 */
export function checkEsp({ errno, text }: EspAnswer, needed: boolean): Check {
  const about = { name: "ESP", why: "without it there are no associations to carry over", needed };
  if (errno === Errno.Einval) {
    return ok(about, "an SA with a wrong key is refused for its key only");
  }
  const said = text === "" ? errnoText(errno) : `${errnoText(errno)}, ${text}`;
  if (errno === Errno.Eperm) {
    const found = "cannot be tried without CAP_NET_ADMIN";
    return limited(
      about,
      found,
      "run as root; modinfo esp4 tells whether the kernel has the module",
    );
  }
  const remedy = "modprobe esp4 esp6, or a kernel with CONFIG_INET_ESP and CONFIG_INET6_ESP, and " +
    "AES-GCM (CONFIG_CRYPTO_GCM)";
  return missing(about, `an SA of ESP with AES-GCM is refused: ${said}`, remedy);
}

/**
 * Whether SAs tell where they are.
 *
 * @param now the two sysctls; null when there are none
 * @param writable they may be set
 */
export function checkThresholds(
  now: AeventThresholds | null,
  writable: boolean,
  needed: boolean,
): Check {
  const about = { name: "SA events", why: "new SAs tell after so much where they are", needed };
  if (now === null) {
    const remedy =
      "modprobe xfrm_user, or a kernel with CONFIG_XFRM_USER; in a container, mount /proc";
    return missing(about, "net.core.xfrm_aevent_etime cannot be read", remedy);
  }
  const found =
    `xfrm_aevent_etime = ${now.timerMs} ms, xfrm_aevent_rseqth = ${now.packets} packets`;
  if (writable) return ok(about, `${found}, the standby sets them`);
  const remedy = "run as root, or with CAP_NET_ADMIN and ProtectKernelTunables=no in its systemd " +
    "unit (fairlead standby run --print-unit has both)";
  return deny(about, `${found}, and must not be set`, remedy);
}

/**
 * Whether the kernel itself can stop sending.
 *
 * @param refusal why there can be none, with the remedy; null when there can
 */
export function checkFence(refusal: string | null, config: StandbyConfig | null): Check {
  const why = "the kernel of a box whose program died must not go on sending";
  // Addresses that the kernel takes away do it too, where all tunnels begin at them.
  const needed = config !== null && config.role === "auto" && config.addresses.length === 0;
  const about = { name: "fence", why, needed };
  if (refusal === null) return ok(about, "nf_tables takes it");
  const remedy =
    'mend that, or have all tunnels begin at "standby.addresses", which the kernel takes away; ' +
    "roles that a person gives do without: stop a box by hand whose program was killed";
  return deny(about, refusal, remedy);
}

/** Whether links can be told that an address has moved; `refused` is empty when they can. */
export function checkAnnouncements(refused: string, needed: boolean): Check {
  const why = "neighbours learn by ARP and ND that an address is on this box now";
  const about = { name: "announcements", why, needed };
  if (refused === "") return ok(about, "a packet socket opens");
  const remedy =
    "run as root, or with AmbientCapabilities=CAP_NET_RAW in its systemd unit (fairlead " +
    "standby run --print-unit adds it); only standby.addresses needs it";
  return deny(about, refused, remedy);
}

/** Whether both boxes can have the same time. */
export function checkPairClock(timeKept: boolean): Check {
  const why =
    "an SA's limits by time count from when its box made it, by the clock on the wall: both " +
    "boxes must have the same";
  const about = { name: "pair clock", why, needed: false };
  if (timeKept) return ok(about, "something sets it; this cannot see the other box's");
  const remedy = "have both set by NTP: install chrony, or timedatectl set-ntp true";
  return limited(about, "nothing is seen that sets it", remedy);
}

/**
 * Whether an interface that the configuration names is there.
 *
 * @param index its number, or a negated errno
 */
export function checkLink(path: string, name: string, index: number): Check {
  const about = { name: "standby link", why: `${path} names it`, needed: true };
  if (index > 0) return ok(about, name);
  const remedy = "take a name that `ip link` shows";
  return missing(about, `${name}: ${errnoText(index)}`, remedy);
}

function linksOf({ addresses, watch }: StandbyConfig): Check[] {
  if (!libcAvailable()) return [];
  const named = [
    ...addresses.map((entry, at) => [`standby.addresses[${at}]`, entry.interface] as const),
    ...watch.map((name, at) => [`standby.watch[${at}]`, name] as const),
  ];
  return named.map(([path, name]) => checkLink(path, name, interfaceIndex(name)));
}

/** What may be otherwise is missing where it is needed. */
function deny(about: About, found: string, remedy: string): Check {
  return about.needed ? missing(about, found, remedy) : limited(about, found, remedy);
}

/** Asks for an SA whose key has a byte, where AES-GCM has 20: no kernel makes it. */
function tryEsp(): EspAnswer {
  if (!libcAvailable()) return { errno: Errno.Eperm, text: "" };
  let channel: NetlinkChannel;
  try {
    channel = NetlinkChannel.open(NetlinkProtocol.Xfrm, "XFRM");
  } catch {
    return { errno: EPROTONOSUPPORT, text: "" };
  }
  const sa = new XfrmSa();
  parseInet("127.0.0.1", sa.id.daddr);
  parseInet("127.0.0.1", sa.saddr);
  sa.id.spi = SPI;
  sa.id.family = Family.Inet;
  sa.id.proto = XfrmProto.Esp;
  sa.mode = XfrmMode.Tunnel;
  sa.limits.hardAddSeconds = 1;
  sa.aead.set("rfc4106(gcm(aes))", new Uint8Array(1), 128);
  const { Ack, Create, Exclusive, Request } = NlmsgFlag;
  const flags = Request | Ack | Create | Exclusive;
  const size = writeSa(channel.out, 0, channel.next(), XfrmMsg.NewSa, flags, sa);
  const errno = channel.request(size);
  const { text } = channel;
  channel.close();
  return { errno, text };
}

/** Empty when a packet socket opens, else why not. */
function tryPacket(): string {
  if (!libcAvailable()) return "cannot be tried without libc";
  const socket = PacketSocket.open("lo", 0);
  if (typeof socket === "number") return errnoText(socket);
  socket.close();
  return "";
}

/** Opened only: what is there stays as it is. */
function mayWrite(path: string): boolean {
  try {
    Deno.openSync(path, { write: true }).close();
    return true;
  } catch {
    return false;
  }
}

/** RFC 4303 section 2.1: from 256 on; nobody reads it. */
const SPI = 0xfa17;
const EPROTONOSUPPORT = 93;
