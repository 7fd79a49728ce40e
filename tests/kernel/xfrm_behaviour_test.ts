/**
 * What a kernel lets be read from an SA and written to it, and what becomes of packets then. The document
 * is the kernel's Documentation/networking/xfrm_sync; where the kernel does otherwise, the name of the
 * test says it.
 */
import assert from "node:assert/strict";
import { delay } from "../../src/app/delay.ts";
import { NetlinkProtocol, NetlinkSocket } from "../../src/io/netlink_socket.ts";
import { Errno } from "../../src/io/errno.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import type { Region } from "../../src/mem/region.ts";
import { NetlinkError, readError } from "../../src/wire/netlink/error.ts";
import { Nlmsg, NlmsgFlag, NlmsgType, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import {
  AeFlag,
  XfrmGroup,
  XfrmMsg,
  XfrmSaDir,
  type XfrmSaId,
} from "../../src/wire/netlink/xfrm.ts";
import { writeAevent, type XfrmAevent } from "../../src/wire/netlink/xfrm_aevent.ts";
import { ReplayKind } from "../../src/wire/netlink/xfrm_replay.ts";
import { SaFlag, type XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import { takeEsp, type Tunnel } from "../interop/xfrm_lab.ts";
import type { EspPacket } from "../interop/uml_sockets.ts";
import { aeventOf, saId, saIn, saOf, withLifetime, XfrmListener } from "./xfrm_client.ts";
import { Fixture } from "./xfrm_fixture.ts";

const fixture = await Fixture.create();
const { client, lab } = fixture;
const { Rthr, Ethr, Cr } = AeFlag;
const Eexist = 17;
const Esrch = 3;
/** The kernel first looks at an SA's time limits 1 s after it was made. */
const TICK_MS = 1300;

function changed(id: XfrmSaId, changes: (event: XfrmAevent) => void): XfrmAevent {
  const event = aeventOf(id);
  changes(event);
  return event;
}

/** Writes to an SA what an answer about it said, with changes. */
function rewrite(id: XfrmSaId, changes: (event: XfrmAevent) => void): number {
  const event = client.aevent(id);
  changes(event);
  return client.write(event);
}

/** An SA that is there, with another SPI. */
function copyOf(id: XfrmSaId, spi: number): XfrmSa {
  const sa = client.sa(id);
  sa.id.spi = spi;
  return sa;
}

const KINDS: { what: string; changes: Partial<Tunnel>; kind: number }[] = [
  { what: "window 32", changes: {}, kind: ReplayKind.Value },
  { what: "window 33 without ESN", changes: { window: 33 }, kind: ReplayKind.Esn },
  { what: "ESN with window 32", changes: { esn: true }, kind: ReplayKind.Esn },
];

Deno.test.each(KINDS)(
  "an SA with $what has its replay state in one attribute for life",
  async ({ changes, kind }) => {
    const id = fixture.id(await fixture.tunnel(changes), "in");
    const before = client.aevent(id);
    assert.equal(before.replay.kind, kind);
    assert.equal(client.sa(id).replay.kind, kind);
    const wrong = changed(id, ({ replay }) => {
      replay.kind = kind === ReplayKind.Value ? ReplayKind.Esn : ReplayKind.Value;
      replay.oseq = replay.seq = 99;
      replay.window = 32;
      replay.words = 1;
    });
    assert.equal(
      client.write(wrong),
      0,
      "the kernel says yes to the other attribute, and ignores it",
    );
    assert.deepEqual(client.aevent(id), before);
  },
);

Deno.test("an ESN bitmap keeps its size; its window may change within it", async () => {
  const id = fixture.id(await fixture.tunnel({ esn: true, window: 128 }), "in");
  const write = (words: number, window: number): number =>
    client.write(changed(id, ({ replay }) => {
      replay.kind = ReplayKind.Esn;
      replay.words = words;
      replay.window = window;
    }));
  assert.deepEqual([write(2, 64), write(8, 128), write(4, 129)], [22, 22, 22]);
  assert.deepEqual([write(4, 64), client.aevent(id).replay.window], [0, 64]);
});

Deno.test("a new SA's window and ESN attribute must agree, and 64 becomes 32 without a word", async () => {
  const id = fixture.id(await fixture.tunnel(), "in");
  const add = (spi: number, changes: (sa: XfrmSa) => void): number => {
    const sa = copyOf(id, spi);
    changes(sa);
    return client.add(sa);
  };
  const esn = (sa: XfrmSa): void => {
    sa.replay.kind = ReplayKind.Esn;
    sa.replay.words = 1;
    sa.replay.window = 32;
  };
  assert.equal(add(0x9001, (sa) => sa.flags |= SaFlag.Esn), Errno.Einval);
  assert.equal(add(0x9002, esn), Errno.Einval, "the window is in both");
  assert.equal(add(0x9003, (sa) => sa.replayWindow = 64), 0);
  assert.equal(client.sa(saId(lab.gateway(4), 0x9003)).replayWindow, 32);
});

Deno.test("all four lifetime values are written, and traffic counts on from them", async () => {
  const tunnel = await fixture.tunnel();
  using traffic = fixture.traffic(tunnel);
  const id = fixture.id(tunnel, "in");
  traffic.in(1);
  const { bytes } = client.aevent(id);
  const written = { hasLifetime: true, bytes: 5000, packets: 70, addTime: 1e9, useTime: 1e9 + 5 };
  assert.equal(client.write(Object.assign(aeventOf(id), written)), 0);
  traffic.in(1);
  const after = client.aevent(id);
  assert.deepEqual([after.bytes, after.packets, after.addTime, after.useTime], [
    5000 + bytes,
    71,
    1e9,
    1e9 + 5,
  ]);
});

Deno.test("an SA with a time limit dies of the add_time 0", async () => {
  const tunnel = await fixture.tunnel({ more: ["limit", "time-hard", "3600"] });
  using listener = new XfrmListener(lab.names.active, [XfrmGroup.Expire, XfrmGroup.Sa]);
  const id = fixture.id(tunnel, "in");
  assert.equal(client.write(Object.assign(aeventOf(id), { hasLifetime: true })), 0);
  await delay(TICK_MS);
  assert.equal(client.aeventErrno(id), Esrch);
  const heard = listener.takeAll().heard.filter((each) => saOf(each).id.key() === id.key());
  assert.deepEqual(heard.map(({ type }) => type), [XfrmMsg.Expire]);
  assert.equal(saOf(heard[0]!).hard, true);
});

Deno.test("bytes above the hard limit do nothing until the next packet, which is refused", async () => {
  const tunnel = await fixture.tunnel({ more: ["limit", "byte-hard", "10000"] });
  using traffic = fixture.traffic(tunnel);
  const id = fixture.id(tunnel, "in");
  assert.equal(rewrite(id, (event) => event.bytes = 20_000), 0);
  await delay(TICK_MS);
  assert.equal(client.aevent(id).bytes, 20_000);
  assert.equal(traffic.in(1), 0);
  await delay(100);
  assert.equal(client.aeventErrno(id), Esrch);
});

Deno.test("UPDSA of a live SA changes its limits, but no counter, threshold, window or key", async () => {
  const tunnel = await fixture.tunnel();
  using traffic = fixture.traffic(tunnel);
  const id = fixture.id(tunnel, "in");
  traffic.in(3);
  const before = client.aevent(id, Rthr | Ethr);
  const sa = client.sa(id);
  Object.assign(sa, {
    hasLifetime: true,
    bytes: 1,
    packets: 1,
    replayThreshold: 99,
    timerThreshold: 990,
  });
  sa.replay.seq = sa.replay.oseq = 1000;
  sa.replayWindow = 16;
  sa.limits.hardBytes = 1e9;
  sa.aead.set("rfc4106(gcm(aes))", new Uint8Array(20), 128);
  assert.equal(client.add(sa, XfrmMsg.UpdSa), 0, client.text);
  assert.deepEqual(client.aevent(id, Rthr | Ethr), before);
  const after = client.sa(id);
  assert.deepEqual([after.replayWindow, after.limits.hardBytes], [32, 1e9]);
  assert.equal(traffic.in(1), 1, "the key is the old one");
});

Deno.test("a new SA that is there already is refused; one that is not carries everything at once", async () => {
  const tunnel = await fixture.tunnel({ esn: true, window: 64 });
  const id = fixture.id(tunnel, "in");
  const sa = client.sa(id);
  assert.equal(client.add(sa), Eexist);
  assert.equal(client.delete(id), 0);
  Object.assign(sa, { hasLifetime: true, bytes: 11, packets: 2, addTime: 1e9, useTime: 1e9 + 1 });
  Object.assign(sa.replay, { seq: 5 * 2 ** 32 + 6, oseq: 7 * 2 ** 32 + 8 });
  sa.replay.bitmap[0] = 0x2a;
  Object.assign(sa, { replayThreshold: 64, timerThreshold: 20 });
  assert.equal(client.add(sa), 0, client.text);
  const after = client.aevent(id, Rthr | Ethr);
  assert.deepEqual([after.replay.seq, after.replay.oseq], [5 * 2 ** 32 + 6, 7 * 2 ** 32 + 8]);
  assert.deepEqual([...after.replay.bitmap.subarray(0, 2)], [0x2a, 0]);
  assert.deepEqual([after.bytes, after.packets, after.addTime, after.useTime], [
    11,
    2,
    1e9,
    1e9 + 1,
  ]);
  assert.deepEqual([after.replayThreshold, after.timerThreshold], [64, 2]);
});

/** Where only the gateway's end is so, no packet gets through. */
const DUMPED: { what: string; changes: Partial<Tunnel>; silent?: boolean }[] = [
  { what: "AES-GCM", changes: {} },
  { what: "AES-CBC with HMAC", changes: { cipher: "cbc" } },
  { what: "ESN", changes: { esn: true, window: 128 } },
  { what: "IPv6", changes: { version: 6 } },
  {
    what: "limits",
    changes: { more: ["limit", "byte-soft", "1000000", "limit", "time-hard", "3600"] },
  },
  {
    what: "extra flags and an output mark",
    changes: { more: ["extra-flag", "dont-encap-dscp", "output-mark", "9"] },
  },
  { what: "a mark", changes: { mark: 6 }, silent: true },
  { what: "an interface id", changes: { more: ["if_id", "7"] }, silent: true },
  {
    what: "UDP around it",
    changes: { more: ["encap", "espinudp", "4500", "4501", "0.0.0.0"] },
    silent: true,
  },
];

/** All that is told of SAs, but when the last packet passed. */
function comparable(sa: XfrmSa): XfrmSa & { keys: string } {
  const keys = [sa.aead, sa.auth, sa.crypt].map(({ key, keyBits }) =>
    key.subarray(0, keyBits / 8).toHex()
  );
  return Object.assign(sa, { lastUsed: 0, keys: keys.join(" ") });
}

Deno.test.each(DUMPED)(
  "an SA of a dump makes the same SA, with its lifetime added: $what",
  async ({ changes, silent }) => {
    const tunnel = await fixture.tunnel(changes);
    using traffic = fixture.traffic(tunnel);
    if (!silent) assert.deepEqual([traffic.out(3), traffic.in(4)], [3, 4]);
    for (const direction of ["in", "out"] as const) {
      const id = fixture.id(tunnel, direction);
      const find = (): Region => client.dump().find((body) => saIn(body).id.key() === id.key())!;
      const body = find();
      assert.equal(client.delete(id), 0);
      assert.equal(client.addBody(withLifetime(body)), 0, client.text);
      assert.deepEqual(comparable(saIn(find())), comparable(saIn(body)));
    }
  },
);

Deno.test("the body of an event, written to a new SA, brings it to where the old one was", async () => {
  using watched = await fixture.watch("in", { count: 5 }, { esn: true, window: 128 });
  watched.traffic.in(5);
  const [heard] = watched.take();
  assert.equal(heard!.event.flags, Cr);
  const fresh = copyOf(watched.id, watched.id.spi);
  assert.equal(client.delete(watched.id), 0);
  fresh.replay.seq = 0;
  fresh.replay.bitmap.fill(0);
  assert.equal(client.add(fresh), 0, client.text);
  assert.equal(client.aevent(watched.id).replay.seq, 0);
  assert.equal(client.writeBody(heard!.body), 0, client.text);
  const { replay, packets } = client.aevent(watched.id);
  assert.deepEqual(replay, heard!.event.replay);
  assert.equal(packets, 4, "without the last one");
});

Deno.test("an SA with a mark is found with it alone, where the document gives GETAE no attribute", async () => {
  const tunnel = await fixture.tunnel({ mark: 5 });
  await lab.markIncoming("active", 5);
  try {
    using traffic = fixture.traffic(tunnel);
    assert.deepEqual([traffic.out(2), traffic.in(3)], [2, 3]);
    const marked = fixture.id(tunnel, "in");
    const bare = saId(lab.gateway(4), marked.spi);
    assert.equal(client.aeventErrno(bare), Esrch);
    assert.equal(client.write(Object.assign(aeventOf(bare), { replayThreshold: 1 })), Esrch);
    const event = client.aevent(marked);
    assert.deepEqual([event.replay.seq, event.id.key()], [3, marked.key()]);
    assert.equal(client.write(Object.assign(aeventOf(marked), { replayThreshold: 1 })), 0);
  } finally {
    await lab.must("active", ["tc", "qdisc", "delete", "dev", "e0", "ingress"]);
  }
});

Deno.test("a direction, which newer kernels have, is ignored here without a word", async () => {
  const id = fixture.id(await fixture.tunnel(), "in");
  const sa = copyOf(id, 0x9010);
  sa.direction = XfrmSaDir.In;
  assert.equal(client.add(sa), 0, client.text);
  assert.equal(client.sa(sa.id).direction, XfrmSaDir.None);
});

Deno.test("of 64 updates in one datagram one may be wrong: it is told, the others are done", async () => {
  const id = fixture.id(await fixture.tunnel(), "out");
  const ids = Array.from({ length: 64 }, (_, index) => {
    const sa = copyOf(id, 0xa000 + index);
    if (index !== WRONG) assert.equal(client.add(sa), 0, client.text);
    return sa.id;
  });
  const socket = inNamespace(
    lab.names.active,
    () => NetlinkSocket.open(NetlinkProtocol.Xfrm, 65_536),
  );
  assert.ok(typeof socket !== "number");
  try {
    let end = 0;
    ids.forEach((id, index) => {
      const at = end;
      end = writeAevent(
        socket.out,
        at,
        index,
        0,
        changed(id, ({ replay }) => {
          replay.kind = ReplayKind.Value;
          replay.oseq = 1000 + index;
        }),
      );
      if (index < ids.length - 1) {
        const flags = socket.out.view.getUint16(at + 6, true);
        socket.out.view.setUint16(at + 6, flags & ~NlmsgFlag.Ack, true);
      }
    });
    assert.equal(socket.send(end), end);
    assert.deepEqual(answers(socket), [[WRONG, Esrch], [63, 0]]);
  } finally {
    socket.close();
  }
  const values = ids.filter((_, index) => index !== WRONG).map((id) =>
    client.aevent(id).replay.oseq
  );
  assert.deepEqual(
    values,
    ids.map((_, index) => 1000 + index).filter((_, index) => index !== WRONG),
  );
});

const WRONG = 30;

/** Sequence number and errno of each error message that waits. */
function answers(socket: NetlinkSocket): [number, number][] {
  const found: [number, number][] = [];
  const message = new Nlmsg();
  const error = new NetlinkError();
  for (let size = socket.receive(); size > 0; size = socket.receive()) {
    for (let at = 0; at < size;) {
      at = readNlmsg(socket.in, at, size, message);
      assert.ok(at > 0 && message.type === NlmsgType.Error);
      assert.ok(readError(socket.in, message, error) >= 0);
      found.push([message.sequence, error.error]);
    }
  }
  return found;
}

Deno.test("rewinding an SA sends a number, an IV and a key stream again, so it is never done", async () => {
  const tunnel = await fixture.tunnel();
  using traffic = fixture.traffic(tunnel);
  using tap = lab.tap("peer");
  const id = fixture.id(tunnel, "out");
  const send = (): EspPacket => {
    traffic.out(1); // the peer refuses all but the first
    return takeEsp(tap)[0]!;
  };
  const first = send();
  assert.equal(rewrite(id, ({ replay }) => replay.oseq = 0), 0);
  const rewound = send();
  assert.equal(rewound.sequence, first.sequence);
  assert.ok(unlike(rewound, first) < 8, "the same IV, and cipher text as different as plain text");
  fixture.remake(id);
  assert.equal(rewrite(id, ({ replay }) => replay.oseq = 0), 0);
  const remade = send();
  assert.equal(remade.sequence, first.sequence);
  assert.ok(unlike(remade, first) > 40, "an SA that is made anew has another IV for a number");
});

/** How many bytes of two packets differ, without the 16 of the check value. */
function unlike(one: EspPacket, other: EspPacket): number {
  const bytes = one.payload.subarray(0, -16);
  return bytes.filter((byte, index) => byte !== other.payload[index]).length;
}
