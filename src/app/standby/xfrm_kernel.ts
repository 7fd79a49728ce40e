/**
 * The kernel's IPsec: its SAs and policies over NETLINK_XFRM, on three sockets. Requests and events must
 * not share one: an event that another program's NEWAE causes carries that program's sequence number,
 * and looks like an answer to ours. Events of single SAs come in masses and have a large buffer of their
 * own. xfrm_sync.txt section 4; ip-xfrm(8).
 *
 * @module
 */
import { Errno, errnoText } from "../../io/errno.ts";
import { inNamespace } from "../../io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../io/netlink_socket.ts";
import { describeFault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { errorText, NetlinkError, readError } from "../../wire/netlink/error.ts";
import { addNlmsgFlags, Nlmsg, NlmsgFlag, NlmsgType, readNlmsg } from "../../wire/netlink/nlmsg.ts";
import { XfrmGroup } from "../../wire/netlink/xfrm.ts";
import { readSadInfo, SadInfo, writeSadInfoGet } from "../../wire/netlink/xfrm_info.ts";
import { writePolicyDump } from "../../wire/netlink/xfrm_policy.ts";
import { writeSaDump } from "../../wire/netlink/xfrm_sa.ts";
import { NetlinkChannel, type OnMessage } from "../netlink_channel.ts";

/** Requests in one send(): 16 us each rather than 470 one by one, and few enough to be answered. */
const BATCH_MAX = 64;
/** A batch of SAs with their keys. */
const OUT_BYTES = 128 * 1024;
/** Where a batch is sent before it is full: the largest SA is below. */
const OUT_BYTES_USED = OUT_BYTES - 8 * 1024;
/** Some 20 000 events of single SAs; the default holds 250. */
export const AEVENT_BUFFER_BYTES: number = 32 * 1024 * 1024;
const EVENT_BUFFER_BYTES = 8 * 1024 * 1024;
/** Datagrams taken from one socket in a turn. */
const RECEIVES_MAX = 256;

/** Groups that tell which SAs and policies there are. */
const SET_GROUPS: readonly number[] = [
  XfrmGroup.Expire,
  XfrmGroup.Sa,
  XfrmGroup.Policy,
  XfrmGroup.Migrate,
  XfrmGroup.Mapping,
];

/** Writes one request of a batch at `at`; returns where the next one may begin. */
export type WriteRequest = (
  index: number,
  out: Region,
  at: number,
  sequence: number,
  flags: number,
) => number;

/** A request of a batch that the kernel refused. */
export interface Refused {
  readonly index: number;
  /** Positive. */
  readonly errno: number;
  readonly text: string;
}

/** What was heard: nothing more waits, more waits, or events were lost before. */
export type Heard = "all" | "more" | "lost";

/** One network namespace's XFRM. */
export class XfrmKernel {
  /** Messages heard, and times that the kernel had dropped some. */
  events = 0;
  overruns = 0;
  readonly #requests: NetlinkChannel;
  readonly #batches: NetlinkSocket;
  readonly #sets: NetlinkSocket;
  readonly #aevents: NetlinkSocket;
  readonly #message = new Nlmsg();
  readonly #error = new NetlinkError();

  /**
   * Opens the sockets in the namespace of that name, or ours; events wait from now on.
   *
   * @throws with the remedy, when the kernel has no XFRM or does not let us
   */
  static open(namespace = ""): XfrmKernel {
    return inNamespace(namespace, () => new XfrmKernel());
  }

  private constructor() {
    this.#requests = NetlinkChannel.open(NetlinkProtocol.Xfrm, "XFRM");
    this.#batches = openSocket();
    this.#sets = listenToXfrm(SET_GROUPS, EVENT_BUFFER_BYTES);
    this.#aevents = listenToXfrm([XfrmGroup.Aevents], AEVENT_BUFFER_BYTES);
  }

  /** The sockets on which events come. */
  get descriptors(): readonly number[] {
    return [this.#sets.fd, this.#aevents.fd];
  }

  /** Hands over events that wait, SAs and policies before where the SAs are. */
  hear(onMessage: OnMessage): Heard {
    const sets = this.#hear(this.#sets, onMessage);
    const aevents = this.#hear(this.#aevents, onMessage);
    if (sets === "lost" || aevents === "lost") return "lost";
    return sets === "more" || aevents === "more" ? "more" : "all";
  }

  /** Every SA; a message may be read until `onMessage` returns. */
  dumpSas(onMessage: OnMessage, restart: () => void): void {
    this.#dump("SAs", (out, sequence) => writeSaDump(out, 0, sequence), onMessage, restart);
  }

  /** Every policy. */
  dumpPolicies(onMessage: OnMessage, restart: () => void): void {
    this.#dump(
      "policies",
      (out, sequence) => writePolicyDump(out, 0, sequence),
      onMessage,
      restart,
    );
  }

  /** How many SAs the kernel has, larval ones too; -1 when it does not tell. */
  countSas(): number {
    const channel = this.#requests;
    const info = new SadInfo();
    info.count = -1;
    const size = writeSadInfoGet(channel.out, 0, channel.next());
    addNlmsgFlags(channel.out, 0, NlmsgFlag.Ack);
    channel.request(size, (from, message) => void readSadInfo(from, message, info));
    return info.count;
  }

  /**
   * Sends `count` requests, many at a time, and hands over what they are answered with. What is refused
   * does not stop the others.
   *
   * @throws when the kernel does not answer at all
   */
  batch(count: number, write: WriteRequest, onMessage: OnMessage | null = null): Refused[] {
    const refused: Refused[] = [];
    const { out } = this.#batches;
    for (let first = 0; first < count;) {
      let at = 0;
      let index = first;
      while (index < count && index - first < BATCH_MAX && at < OUT_BYTES_USED) {
        const start = at;
        at = write(index, out, at, index, NlmsgFlag.Request);
        index++;
        // Only the last one is acknowledged; errors of the others come by themselves.
        if (index === count || index - first === BATCH_MAX || at >= OUT_BYTES_USED) {
          addNlmsgFlags(out, start, NlmsgFlag.Ack);
        }
      }
      this.#send(at, index - 1, refused, onMessage);
      first = index;
    }
    return refused;
  }

  /** Closes the sockets. */
  close(): void {
    this.#requests.close();
    for (const socket of [this.#batches, this.#sets, this.#aevents]) socket.close();
  }

  #send(size: number, last: number, refused: Refused[], onMessage: OnMessage | null): void {
    const sent = this.#batches.send(size);
    if (sent < 0) throw new Error(`Cannot write to the kernel's IPsec: ${errnoText(sent)}`);
    for (;;) {
      const received = this.#batches.receive();
      if (received < 0) {
        throw new Error(`Cannot hear what the kernel's IPsec says: ${errnoText(received)}`);
      }
      if (this.#takeAnswers(received, last, refused, onMessage)) return;
    }
  }

  /** True when the last request was answered. */
  #takeAnswers(
    size: number,
    last: number,
    refused: Refused[],
    onMessage: OnMessage | null,
  ): boolean {
    const region = this.#batches.in;
    const message = this.#message;
    let done = false;
    for (let at = 0; at < size;) {
      at = readNlmsg(region, at, size, message);
      if (at < 0) throw new Error(describeFault());
      if (message.type !== NlmsgType.Error) {
        onMessage?.(region, message);
        continue;
      }
      const error = this.#error;
      if (readError(region, message, error) < 0) throw new Error(describeFault());
      if (message.sequence === last) done = true;
      if (error.error === 0) continue;
      const text = errorText(region, error) || errnoText(-error.error);
      refused.push({ index: message.sequence, errno: error.error, text });
    }
    return done;
  }

  #dump(
    what: string,
    write: (out: Region, sequence: number) => number,
    onMessage: OnMessage,
    restart: () => void,
  ): void {
    const channel = this.#requests;
    const errno = channel.dump(() => write(channel.out, channel.next()), onMessage, restart);
    if (errno === 0) return;
    throw new Error(`Cannot read the kernel's ${what}: ${channel.text || errnoText(-errno)}`);
  }

  #hear(socket: NetlinkSocket, onMessage: OnMessage): Heard {
    const message = this.#message;
    for (let count = 0; count < RECEIVES_MAX; count++) {
      const size = socket.receive();
      if (size === -Errno.Eagain) return "all";
      if (size === -Errno.Enobufs) {
        this.overruns++;
        return "lost";
      }
      if (size < 0) throw new Error(`Cannot hear the kernel's IPsec: ${errnoText(size)}`);
      for (let at = 0; at < size;) {
        at = readNlmsg(socket.in, at, size, message);
        if (at < 0) return "lost";
        this.events++;
        onMessage(socket.in, message);
      }
    }
    return "more";
  }
}

function openSocket(): NetlinkSocket {
  const socket = NetlinkSocket.open(NetlinkProtocol.Xfrm, OUT_BYTES);
  if (typeof socket !== "number") return socket;
  throw new Error(
    `Cannot open a netlink socket for XFRM: ${errnoText(socket)}, modprobe xfrm_user may help`,
  );
}

/**
 * A socket on which events of these groups wait, numbers of XfrmGroup, in the calling thread's network
 * namespace.
 *
 * @throws with the remedy when it may not
 */
export function listenToXfrm(groups: readonly number[], bufferBytes: number): NetlinkSocket {
  const socket = openSocket();
  socket.setReceiveBuffer(bufferBytes);
  for (const group of groups) {
    const joined = socket.join(group);
    if (joined >= 0) continue;
    socket.close();
    const remedy = joined === -Errno.Eperm ? ", it needs CAP_NET_ADMIN: run it as root" : "";
    throw new Error(`Cannot hear events of the kernel's IPsec: ${errnoText(joined)}${remedy}`);
  }
  return socket;
}
