/**
 * Requests to XFRM with the codec of this project, and a listener to its events, for tests against a
 * kernel: every call is over when the kernel has answered.
 *
 * @module
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { NetlinkChannel } from "../../src/app/netlink_channel.ts";
import { Errno } from "../../src/io/errno.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../src/io/netlink_socket.ts";
import { describeFault } from "../../src/mem/fault.ts";
import { newRegion, type Region } from "../../src/mem/region.ts";
import { Attribute } from "../../src/wire/netlink/attribute.ts";
import { addNlmsgFlags, Nlmsg, NlmsgFlag, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { parseInet } from "../../src/wire/inet.ts";
import {
  readXfrmAttribute,
  XfrmGroup,
  XfrmMsg,
  XfrmProto,
  XfrmSaId,
} from "../../src/wire/netlink/xfrm.ts";
import {
  AEVENT_ID_SIZE,
  readAevent,
  readAeventBody,
  writeAevent,
  writeAeventBody,
  writeAeventGet,
  XfrmAevent,
} from "../../src/wire/netlink/xfrm_aevent.ts";
import {
  addLifetime,
  readSa,
  readSaBody,
  setThresholds,
  writeSa,
  writeSaBody,
  writeSaDelete,
  writeSaDump,
  writeSaFlush,
  writeSaGet,
  XfrmSa,
} from "../../src/wire/netlink/xfrm_sa.ts";

/** Memory for one body with its attributes. */
const BODY_SIZE = 8192;
/** Requests made by hand have this in their header; answers and events repeat it. */
export const OWN_PORT = 0x0a0b0c0d;
const { Request, Ack, Replace, Create, Exclusive } = NlmsgFlag;
const ADD = Request | Ack | Create | Exclusive;

/** A message of the kernel, copied. */
export interface Heard {
  /** An XfrmMsg. */
  type: number;
  /** Of its header. */
  sequence: number;
  /** Of its header: nlmsg_pid. */
  port: number;
  /** What follows the header. */
  body: Region;
}

/** An event of an SA. */
export interface HeardAevent extends Heard {
  /** What it says. */
  event: XfrmAevent;
}

/** Makes what identifies an SA of ESP. */
export function saId(daddr: string, spi: number, markValue = 0, markMask = 0): XfrmSaId {
  const id = new XfrmSaId();
  id.family = parseInet(daddr, id.daddr);
  id.spi = spi;
  id.proto = XfrmProto.Esp;
  id.markValue = markValue;
  id.markMask = markMask;
  return id;
}

/** What is to be written to an SA: nothing until fields are set. */
export function aeventOf(id: XfrmSaId): XfrmAevent {
  const event = new XfrmAevent();
  event.id.copy(id);
  return event;
}

/** Types of the attributes in a body, in their order. */
export function attributeTypes(body: Region, at: number): number[] {
  const types: number[] = [];
  const attribute = new Attribute();
  const { length } = body.bytes;
  for (let next = at; next < length;) {
    next = readXfrmAttribute(body, next, length, attribute);
    assert.ok(next > 0, describeFault());
    types.push(attribute.type);
  }
  return types;
}

/** Types of the attributes of an event. */
export function aeventAttributes({ body }: Heard): number[] {
  return attributeTypes(body, AEVENT_ID_SIZE);
}

/** Requests in one namespace. */
export class XfrmClient implements Disposable {
  readonly #channel: NetlinkChannel;

  /** Opens a socket in the namespace. */
  constructor(namespace: string) {
    this.#channel = inNamespace(
      namespace,
      () => NetlinkChannel.open(NetlinkProtocol.Xfrm, "XFRM", 128 * 1024),
    );
  }

  /** What the kernel said about the last refusal. */
  get text(): string {
    return this.#channel.text;
  }

  /** The channel, for requests that are not here. */
  get channel(): NetlinkChannel {
    return this.#channel;
  }

  /** Sends what `write` writes; 0 or the kernel's errno. Answers go to `heard`. */
  request(write: (out: Region, sequence: number) => number, heard: Heard[] = []): number {
    const channel = this.#channel;
    const size = write(channel.out, channel.next());
    assert.ok(size > 0, describeFault());
    // Of a get there would be no acknowledgement behind the answer.
    addNlmsgFlags(channel.out, 0, Ack);
    return channel.request(size, (from, message) => heard.push(copyOf(from, message)));
  }

  /** Where an SA is; throws when the kernel refuses. `flags` are of AeFlag. */
  aevent(id: XfrmSaId, flags = 0): XfrmAevent {
    const heard: Heard[] = [];
    const errno = this.request(
      (out, sequence) => writeAeventGet(out, 0, sequence, OWN_PORT, id, flags),
      heard,
    );
    assert.equal(errno, 0, this.text);
    assert.equal(heard.length, 1);
    return aeventIn(heard[0]!);
  }

  /** The errno of the same. */
  aeventErrno(id: XfrmSaId, flags = 0): number {
    return this.request((out, sequence) => writeAeventGet(out, 0, sequence, OWN_PORT, id, flags));
  }

  /** Writes to an SA; the errno. */
  write(event: XfrmAevent, port = OWN_PORT): number {
    return this.request((out, sequence) => writeAevent(out, 0, sequence, port, event));
  }

  /** Writes the body of an event to an SA; the errno. */
  writeBody(body: Region): number {
    return this.request((out, sequence) =>
      writeAeventBody(out, 0, sequence, OWN_PORT, body, 0, body.bytes.length)
    );
  }

  /** An SA with all it says; throws when there is none. */
  sa(id: XfrmSaId): XfrmSa {
    const heard: Heard[] = [];
    const errno = this.request((out, sequence) => writeSaGet(out, 0, sequence, id), heard);
    assert.equal(errno, 0, `${id.key()}: ${errno} ${this.text}`);
    return saIn(heard[0]!.body);
  }

  /** The body of each SA. */
  dump(): Region[] {
    const bodies: Region[] = [];
    const channel = this.#channel;
    const errno = channel.dump(
      () => writeSaDump(channel.out, 0, channel.next()),
      (from, message) => bodies.push(copyOf(from, message).body),
      () => bodies.length = 0,
    );
    assert.equal(errno, 0, channel.text);
    return bodies;
  }

  /** Makes an SA; the errno. */
  add(sa: XfrmSa, type: number = XfrmMsg.NewSa): number {
    const flags = type === XfrmMsg.NewSa ? ADD : Request | Ack | Replace;
    return this.request((out, sequence) => writeSa(out, 0, sequence, type, flags, sa));
  }

  /** Makes an SA from a body, as it is; the errno. */
  addBody(body: Region): number {
    return this.request((out, sequence) =>
      writeSaBody(out, 0, sequence, XfrmMsg.NewSa, ADD, body, 0, body.bytes.length)
    );
  }

  /** Deletes an SA; the errno. */
  delete(id: XfrmSaId): number {
    return this.request((out, sequence) => writeSaDelete(out, 0, sequence, id));
  }

  /** Deletes all SAs. */
  flush(): number {
    return this.request((out, sequence) => writeSaFlush(out, 0, sequence, XfrmProto.Any));
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

/** A listener to events of one namespace. */
export class XfrmListener implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #message = new Nlmsg();

  /** Joins groups; those of SAs' events when none are said. */
  constructor(namespace: string, groups: readonly number[] = [XfrmGroup.Aevents]) {
    const socket = inNamespace(namespace, () => NetlinkSocket.open(NetlinkProtocol.Xfrm));
    assert.ok(typeof socket !== "number");
    this.#socket = socket;
    for (const group of groups) assert.equal(socket.join(group), 0);
  }

  /** Takes what waits; `lost` says how often the kernel told of messages that it dropped. */
  takeAll(): { heard: Heard[]; lost: number } {
    const heard: Heard[] = [];
    const socket = this.#socket;
    for (let lost = 0;;) {
      const size = socket.receive();
      if (size === -Errno.Eagain) return { heard, lost };
      if (size === -Errno.Enobufs) {
        lost++;
        continue;
      }
      assert.ok(size > 0, `${size}`);
      for (let at = 0; at < size;) {
        at = readNlmsg(socket.in, at, size, this.#message);
        assert.ok(at > 0, describeFault());
        heard.push(copyOf(socket.in, this.#message));
      }
    }
  }

  /** Takes the events of SAs that wait, of which none was lost. */
  take(): HeardAevent[] {
    const { heard, lost } = this.takeAll();
    assert.equal(lost, 0);
    return heard.map((each) => ({ ...each, event: aeventIn(each) }));
  }

  /** Waits for `count` events of SAs; fails when they do not come in time. */
  async wait(count: number, deadlineMs = 5000): Promise<HeardAevent[]> {
    const events = this.take();
    for (let waited = 0; events.length < count; waited += LOOK_MS) {
      assert.ok(waited < deadlineMs, `${events.length} events of ${count} in ${deadlineMs} ms`);
      await delay(LOOK_MS);
      events.push(...this.take());
    }
    return events;
  }

  /** Closes it: the kernel makes no more events unless others listen. */
  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

const LOOK_MS = 10;

/** Reads an event. */
export function aeventIn({ type, body }: Heard): XfrmAevent {
  const event = new XfrmAevent();
  const { length } = body.bytes;
  const message = messageOf(type, length);
  assert.ok(readAevent(body, message, event) >= 0, describeFault());
  const again = new XfrmAevent();
  assert.ok(readAeventBody(body, 0, length, again) >= 0, describeFault());
  assert.deepEqual(again, event);
  return event;
}

/** Reads an SA of a dump. */
export function saIn(body: Region): XfrmSa {
  const sa = new XfrmSa();
  assert.ok(readSaBody(body, 0, body.bytes.length, sa) >= 0, describeFault());
  return sa;
}

/** Reads what a message of group SA or EXPIRE says of an SA. */
export function saOf({ type, body }: Heard): XfrmSa {
  const sa = new XfrmSa();
  const message = messageOf(type, body.bytes.length);
  assert.ok(readSa(body, message, sa) >= 0, describeFault());
  return sa;
}

/** The body of an SA of a dump with its lifetime, and thresholds when they are said. */
export function withLifetime(body: Region, replayThreshold = -1, timerThreshold = -1): Region {
  const out = newRegion(BODY_SIZE);
  const end = addLifetime(body, 0, body.bytes.length, out, 0);
  assert.ok(end > 0, describeFault());
  return slice(out, 0, setThresholds(out, end, replayThreshold, timerThreshold));
}

function messageOf(type: number, length: number): Nlmsg {
  const message = new Nlmsg();
  message.type = type;
  message.end = length;
  return message;
}

function copyOf(from: Region, { type, sequence, port, at, end }: Nlmsg): Heard {
  return { type, sequence, port, body: slice(from, at, end) };
}

function slice(from: Region, at: number, end: number): Region {
  const copy = newRegion(end - at);
  copy.bytes.set(from.bytes.subarray(at, end));
  return copy;
}
