/** What the mirror of SAs costs: an event of the kernel read and taken, states written, taken by a standby. */
import { newRegion, regionOf } from "../src/mem/region.ts";
import { SaMirror } from "../src/proto/xfrm/sa_mirror.ts";
import { SaStore } from "../src/proto/xfrm/sa_store.ts";
import { Nlmsg, readNlmsg } from "../src/wire/netlink/nlmsg.ts";
import { AeFlag, XfrmMsg } from "../src/wire/netlink/xfrm.ts";
import { readAevent, writeAevent, XfrmAevent } from "../src/wire/netlink/xfrm_aevent.ts";
import { readSa, writeSa, XfrmSa } from "../src/wire/netlink/xfrm_sa.ts";
import {
  PostHead,
  PostRecord,
  PostWriter,
  readPostHead,
  readPostRecord,
} from "../src/wire/standby/post.ts";
import { newSa } from "../tests/proto/xfrm_box.ts";

const SAS = 1000;
const sas = Array.from({ length: SAS }, (_, at) => newSa(0x1000 + at, "10.9.0.1", "10.9.0.2", 32));
const mirror = new SaMirror({ packets: 64, timerMs: 100 }, ["10.9.0.1"]);
const store = new SaStore("hold", ["10.9.0.1"]);
const out = newRegion(4096);
const message = new Nlmsg();
const sa = new XfrmSa();
const event = new XfrmAevent();
const read = new XfrmAevent();
const writer = new PostWriter();
let number = 0;
let oseq = 0;
let now = 0;

function events(): void {
  oseq += 64;
  now += 100;
  for (const each of sas) {
    event.id.copy(each.id);
    event.flags = AeFlag.Cr;
    event.replay.copy(each.replay);
    event.replay.oseq = oseq;
    const end = writeAevent(out, 0, 1, 0, event);
    readNlmsg(out, 0, end, message);
    readAevent(out, message, read);
    mirror.handleAevent(read, out, message.at, message.end, now);
  }
}

function posts(): Uint8Array<ArrayBuffer>[] {
  const made: Uint8Array<ArrayBuffer>[] = [];
  while (mirror.writePost(writer, now, 0) > 0) made.push(writer.take(1, ++number).slice());
  return made;
}

function apply(all: readonly Uint8Array<ArrayBuffer>[]): void {
  const head = new PostHead();
  const record = new PostRecord();
  for (const post of all) {
    const region = regionOf(post);
    let at = readPostHead(region, 0, post.length, head);
    for (let index = 0; index < head.count; index++) {
      at = readPostRecord(region, at, record);
      store.apply(record.kind, region, record.at, record.end, now);
    }
  }
}

mirror.beginDump();
for (const each of sas) {
  each.addTime = 1_795_000_000;
  const end = writeSa(out, 0, 1, XfrmMsg.NewSa, 0, each);
  readNlmsg(out, 0, end, message);
  readSa(out, message, sa);
  mirror.handleDumped(sa, out, message.at, message.end, now);
}
mirror.endDump(now);
apply(posts());

const group = `${SAS} SAs that moved`;
Deno.bench({ name: "events written, read and taken", group, fn: events });
Deno.bench({
  name: "the same, written into posts",
  group,
  baseline: true,
  fn(): void {
    events();
    posts();
  },
});
Deno.bench({
  name: "the same, taken by the standby",
  group,
  fn(): void {
    events();
    apply(posts());
  },
});
Deno.bench({
  name: "what a takeover writes, planned",
  group,
  fn(): void {
    store.plan({ inbound: "strict", detectedAgeMs: 600 });
  },
});
