/**
 * `fairlead standby monitor`: what real kernels have sent, a line each; never a key; messages that are
 * cut or changed; the command's groups and rights.
 */
import assert from "node:assert/strict";
import { type XfrmHandler, XfrmMonitor } from "../../src/app/standby/xfrm_monitor.ts";
import { xfrmLine, type XfrmNote, XfrmReader } from "../../src/app/standby/xfrm_text.ts";
import { libcAvailable } from "../../src/io/libc.ts";
import { newRegion, regionOf } from "../../src/mem/region.ts";
import { Nlmsg, readNlmsg } from "../../src/wire/netlink/nlmsg.ts";
import { XfrmGroup, XfrmMsg } from "../../src/wire/netlink/xfrm.ts";
import { writeSa, XfrmSa } from "../../src/wire/netlink/xfrm_sa.ts";
import { AEVENTS, SAS, WRITTEN } from "../wire/xfrm_vectors.ts";
import { Fairlead } from "./fairlead.ts";

const reader = new XfrmReader();

function noteOf(hex: string): XfrmNote | null {
  const from = regionOf(Uint8Array.fromHex(hex));
  const message = new Nlmsg();
  assert.ok(readNlmsg(from, 0, from.bytes.length, message) > 0);
  return reader.read(from, message);
}

function lineOf(hex: string): string {
  return xfrmLine(noteOf(hex) ?? assert.fail("it is no message of XFRM"));
}

const AEAD = 'aead="rfc4106(gcm(aes)) key 160 bits icv 128 bits"';
const POLICY =
  'policy="out src 10.9.1.0/24 dst 10.9.2.0/23 proto tcp dport 443 mark 0x5/0xff if_id 9"';
const TEMPLATES = 'templates="esp tunnel src 10.9.0.1 dst 10.9.0.2 spi 0x00001000 reqid 7; ' +
  'comp transport src 0.0.0.0 dst 0.0.0.0 optional"';

const LINES: { what: string; hex: string; line: string }[] = [
  {
    what: "NEWAE of the timer",
    hex: AEVENTS.eventTimer,
    line: "NEWAE 10.9.0.1 esp 0x00002000 src=10.9.0.2 cause=timer oseq=0 seq=1 replay=legacy " +
      "bitmap=00000001 bytes=0 packets=0 made_s=1795228584 used_s=1795228584 reqid=7",
  },
  {
    what: "NEWAE of the count, with ESN",
    hex: AEVENTS.eventEsn,
    line: "NEWAE 10.9.0.1 esp 0x00002000 src=10.9.0.2 cause=replay oseq=0 seq=10 replay=esn " +
      "window=128 bitmap=000003ff,00000000,00000000,00000000 bytes=448 packets=9 " +
      "made_s=1795228608 used_s=1795228608 reqid=7",
  },
  {
    what: "NEWAE of somebody's write, with mark and interface",
    hex: WRITTEN.eventUpdateAll,
    line:
      "NEWAE 10.9.0.2 esp 0x00001000 mark 0x5/0xff src=10.9.0.1 cause=update oseq=5000 seq=77 " +
      "replay=legacy bitmap=000000ff bytes=99 packets=3 made_s=1795300000 reqid=7 if_id=9",
  },
  {
    what: "NEWAE that answers, with thresholds",
    hex: AEVENTS.answerAe,
    line: "NEWAE 10.9.0.1 esp 0x00002000 src=10.9.0.2 cause=answer oseq=0 seq=102 replay=legacy " +
      "bitmap=ffffffff bytes=4928 packets=102 made_s=1795228584 used_s=1795228584 " +
      "replay_threshold=10 timer_threshold_ms=200 reqid=7",
  },
  {
    what: "NEWSA with all that one can have",
    hex: WRITTEN.newSaAllEvent,
    line: "NEWSA 10.9.0.2 esp 0x00001000 mark 0x5/0xff src=10.9.0.1 mode=tunnel reqid=7 if_id=9 " +
      `flags=af-unspec ${AEAD} encap="type 2 ports 4500 to 4501" oseq=1234 seq=77 ` +
      "replay=legacy bitmap=000000ff window=32 bytes=8589934597 packets=22 made_s=1795300000 " +
      "used_s=1795300050 soft_bytes=549755813889 hard_bytes=1099511627776 " +
      "hard_packets=1000000000 soft_add_s=360000000 hard_add_s=360000001 soft_use_s=360000000 " +
      'hard_use_s=360000009 sets="mark 0x12/0xff" tfcpad=100 extra_flags=1',
  },
  {
    what: "UPDSA",
    hex: WRITTEN.updSaEvent,
    line: "UPDSA 10.9.0.2 esp 0x00001000 mark 0x5/0xff src=10.9.0.1 mode=tunnel reqid=7 if_id=9 " +
      `flags=af-unspec ${AEAD} encap="type 2 ports 4500 to 4501" oseq=0 seq=0 replay=legacy ` +
      "bitmap=00000000 window=32 bytes=0 packets=0 made_s=1795298142 hard_bytes=2199023255552",
  },
  {
    what: "DELSA with two algorithms",
    hex: SAS.delSaEvent,
    line: "DELSA 10.9.0.1 esp 0x00002000 src=10.9.0.2 mode=transport reqid=7 " +
      'auth="hmac(sha256) key 256 bits icv 128 bits" crypt="cbc(aes) key 128 bits" oseq=0 seq=1 ' +
      "replay=legacy bitmap=00000001 window=32 bytes=64 packets=1 made_s=1795228625 " +
      "used_s=1795228625",
  },
  {
    what: "FLUSHSA",
    hex: WRITTEN.flushSaEvent,
    line: "FLUSHSA proto=any",
  },
  {
    what: "EXPIRE",
    hex: SAS.expire,
    line: "EXPIRE 10.9.0.2 esp 0x00007000 src=10.9.0.1 mode=transport reqid=7 window=32 bytes=5 " +
      "packets=1 hard_add_s=3600 hard=true",
  },
  {
    what: "NEWPOLICY",
    hex: WRITTEN.newPolicyEvent,
    line: `NEWPOLICY ${POLICY} action=allow priority=1000 index=1 flags=2 ${TEMPLATES} bytes=0 ` +
      "packets=0 made_s=1795298132 hard_bytes=4398046511104",
  },
  {
    what: "UPDPOLICY that blocks",
    hex: WRITTEN.updPolicyEvent,
    line: `UPDPOLICY ${POLICY} action=block priority=2000 index=1 flags=2 ${TEMPLATES} bytes=0 ` +
      "packets=0 made_s=1795298132 hard_bytes=4398046511104",
  },
  {
    what: "DELPOLICY",
    hex: WRITTEN.delPolicyEvent,
    line: `DELPOLICY ${POLICY} action=block priority=2000 index=1 flags=2 ${TEMPLATES} bytes=0 ` +
      "packets=0 made_s=1795298132 hard_bytes=4398046511104",
  },
  {
    what: "FLUSHPOLICY",
    hex: WRITTEN.flushPolicy,
    line: "FLUSHPOLICY type=main",
  },
  {
    what: "POLEXPIRE",
    hex: WRITTEN.polExpire,
    line: 'POLEXPIRE policy="fwd src ::/0 dst ::/0 ifindex 1 uid 1000" action=allow priority=0 ' +
      "index=10 bytes=0 packets=0 made_s=1795298132 hard_add_s=1 hard=true",
  },
  {
    what: "ACQUIRE",
    hex: SAS.acquire,
    line: "ACQUIRE 10.9.0.2 esp 0x00000000 src=10.9.0.1 seq=1 " +
      'packet="src 10.9.0.1/32 dst 10.9.0.2/32 proto udp sport 51398 dport 9 ifindex 3" ' +
      'policy="out src 10.9.0.1/32 dst 10.9.0.2/32" priority=100 index=1 ' +
      'templates="esp transport src 10.9.0.1 dst 10.9.0.2 reqid 9"',
  },
  {
    what: "MAPPING",
    hex: WRITTEN.mapping,
    line: "MAPPING 10.9.0.1 esp 0x00002000 old=192.0.2.1:4500 new=192.0.2.2:61234 reqid=7",
  },
  {
    what: "REPORT",
    hex: WRITTEN.report,
    line: 'REPORT proto=hao packet="src 10.9.1.0/24 dst 10.9.2.0/23 proto udp sport 500 ' +
      'dport 4500/0xff00 ifindex -3 uid 1000" coaddr=fd00::99',
  },
  {
    what: "MIGRATE of two SAs",
    hex: WRITTEN.migrate,
    line: 'MIGRATE policy="out src 10.9.1.0/24 dst 10.9.2.0/23 proto udp sport 500 ' +
      'dport 4500/0xff00 ifindex -3 uid 1000 if_id 5 type 1" index=9 ' +
      'sas="esp tunnel reqid 7 src 10.9.0.1 dst 10.9.0.2 to src fd00::1 dst fd00::2; ' +
      'esp tunnel reqid 8 src 10.9.0.1 dst 10.9.0.2 to src fd00::1 dst fd00::2"',
  },
  { what: "a message that needs no words", hex: WRITTEN.newSadInfo, line: "NEWSADINFO bytes=24" },
];

Deno.test.each(LINES)("$what is one line with all that it says", ({ hex, line }) => {
  assert.equal(lineOf(hex), line);
});

Deno.test("IPv6 has its ports in brackets and numbers of 64 bits whole", () => {
  const line = lineOf(WRITTEN.delSaInet6Event);
  assert.match(line, /^DELSA fd00::2 esp 0xfedcba98 src=fd00::1 mode=transport flags=esn /);
  assert.match(line, / oseq=8589934599 seq=21474836483 replay=esn window=256 /);
  assert.match(line, / coaddr=fd00::99 selector="src fd00::1\/64 dst fd00::2\/128 proto udp /);
});

Deno.test("what one message said is not said of the next one", () => {
  lineOf(WRITTEN.newSaAllEvent);
  const bare = lineOf(SAS.delSa); // the id only
  assert.equal(bare, "DELSA 10.9.0.1 esp 0x00002000 src=0.0.0.0 mode=transport bytes=0 packets=0");
  lineOf(WRITTEN.polExpire);
  assert.doesNotMatch(lineOf(WRITTEN.delPolicy), /hard|made_s|templates/);
  lineOf(WRITTEN.migrate);
  assert.match(lineOf(WRITTEN.migrateRequest), /uid 1000" sas=/);
});

Deno.test("--json has the same members, numbers as numbers", () => {
  const note = noteOf(AEVENTS.eventEsn)!;
  assert.deepEqual(Object.keys(note).slice(0, 4), ["message", "sa", "src", "cause"]);
  assert.deepEqual([note.message, note.oseq, note.seq, note.window], ["NEWAE", 0, 10, 128]);
  assert.equal(noteOf(SAS.expire)!.hard, true);
});

Deno.test("messages of netlink itself are none", () => {
  for (const hex of [AEVENTS.ack, AEVENTS.errorUnknown]) assert.equal(noteOf(hex), null);
});

Deno.test("no form of a key is in what is shown", () => {
  const key = Uint8Array.from({ length: 20 }, (_, index) => 0xa0 + index);
  const sa = new XfrmSa();
  sa.id.family = 2;
  sa.id.proto = 50;
  sa.aead.set("rfc4106(gcm(aes))", key, 128);
  sa.auth.set("hmac(sha256)", key, 128);
  sa.crypt.set("cbc(aes)", key, 0);
  sa.comp.set("deflate", key, 0);
  const out = newRegion(4096);
  const size = writeSa(out, 0, 1, XfrmMsg.NewSa, 0, sa);
  const hex = out.bytes.slice(0, size).toHex();
  assert.ok(hex.includes(key.toHex()), "the message has it");
  const note = noteOf(hex)!;
  for (const shown of [xfrmLine(note), JSON.stringify(note)]) {
    for (
      const part of [key.slice(0, 4).toHex(), key.slice(0, 4).toBase64().slice(0, 5), "160,161"]
    ) {
      assert.ok(!shown.toLowerCase().includes(part.toLowerCase()), part);
    }
  }
  assert.equal(note.aead, "rfc4106(gcm(aes)) key 160 bits icv 128 bits");
  assert.equal(note.comp, "deflate key 160 bits");
});

Deno.test("a message that is cut anywhere is told, and half of it is not shown", () => {
  for (const { hex } of LINES) {
    const whole = Uint8Array.fromHex(hex);
    for (let size = 16; size < whole.length; size += 4) {
      const from = regionOf(whole.slice(0, size));
      const { type } = Object.assign(new Nlmsg(), { type: from.view.getUint16(4, true) });
      const message = Object.assign(new Nlmsg(), { type, at: 16, end: size });
      const note = reader.read(from, message)!;
      if (!("error" in note)) continue;
      assert.deepEqual(Object.keys(note), ["message", "error"]);
      assert.match(`${note.error}`, /^Cannot accept /);
    }
  }
  const short = Uint8Array.fromHex(AEVENTS.getAeShort);
  assert.match(
    lineOf(short.toHex()),
    /^GETAE error="Cannot accept xfrm_aevent_id length at offset/,
  );
});

Deno.test("flipped bytes end in a line without a control character, never in an exception", () => {
  for (const { hex } of LINES) {
    const bytes = Uint8Array.fromHex(hex);
    for (let at = 16; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 0xff;
      const message = new Nlmsg();
      const from = regionOf(changed);
      Object.assign(message, { type: from.view.getUint16(4, true), at: 16, end: changed.length });
      const note = reader.read(from, message);
      // deno-lint-ignore no-control-regex -- they must not get through
      assert.doesNotMatch(xfrmLine(note!), /[\x00-\x1f\x7f-\x9f]/);
    }
  }
});

Deno.test("an unknown group is a mistake of the command line, with the nearest one", async () => {
  const { code, stderr } = await Fairlead.run("standby", "monitor", "aevent");
  assert.equal(code, 2);
  assert.match(stderr, /Cannot use GROUP as it is unknown: .*"aevent", did you mean "aevents"/);
  const proto = await Fairlead.run("standby", "monitor", "toString");
  assert.equal(proto.code, 2);
});

Deno.test("--help says that listening to aevents turns them on", async () => {
  const { code, stdout } = await Fairlead.run("standby", "monitor", "--help");
  assert.equal(code, 0);
  assert.match(stdout, /only while somebody listens to them: the monitor\s+itself turns them on/);
  assert.match(stdout, /acquire, expire, sa, policy, aevents, report, migrate, mapping/);
});

const QUIET: XfrmHandler = { handleNote: () => {}, handleGap: () => {} };

/** Whether this process may listen. */
async function mayListen(): Promise<boolean> {
  if (!libcAvailable()) return false;
  try {
    await XfrmMonitor.open([XfrmGroup.Report], QUIET).close();
    return true;
  } catch {
    return false;
  }
}

const ignore = !await mayListen();

Deno.test({
  name: "the monitor ends when it is closed, also when it is closed twice",
  ignore,
  async fn(): Promise<void> {
    const monitor = XfrmMonitor.open([XfrmGroup.Report], QUIET);
    await Promise.all([monitor.close(), monitor.close()]);
    await monitor.ended;
  },
});

Deno.test({
  name: "a group that there is not is told with the kernel's reason",
  ignore,
  fn(): void {
    assert.throws(
      () => XfrmMonitor.open([XfrmGroup.Report, 999], QUIET),
      /^Error: Cannot hear events of the kernel's IPsec: .*\(EINVAL\)$/,
    );
  },
});
