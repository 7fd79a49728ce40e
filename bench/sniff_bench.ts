/** What a captured segment costs on its way to messages: pcap and headers, TCP, iSCSI, msgr2, and searches. */
import { arena, take } from "../src/mem/arena.ts";
import { Finder, FinderTally } from "../src/proto/boundary/finder.ts";
import { Moment } from "../src/proto/boundary/found.ts";
import { IscsiShared } from "../src/proto/boundary/iscsi_conversation.ts";
import { Means } from "../src/proto/boundary/side_decoder.ts";
import { Conversation, HoleReason } from "../src/proto/capture/conversation.ts";
import { ConversationTable } from "../src/proto/capture/conversation_table.ts";
import { Dissector } from "../src/proto/capture/dissector.ts";
import { CaptureFile } from "../src/app/sniff/capture_file.ts";
import { Packet } from "../src/wire/capture/packet.ts";
import { TcpFlag, TcpSegment } from "../src/wire/capture/tcp.ts";
import { FrameFormat } from "../src/wire/msgr2/frame.ts";
import { pcapFile, segment } from "../tests/capture/pcap_builder.ts";
import { sharedBy, StreamWriter } from "../tests/capture/msgr2_streams.ts";
import { IscsiSession } from "../tests/capture/iscsi_streams.ts";

const SEGMENT_BYTES = 1448;
const SEGMENTS = 1000;

const capture = pcapFile(
  Array.from({ length: SEGMENTS }, (_, at) => ({
    ip: segment({
      from: "10.0.0.1:3260",
      to: "10.0.0.2:5000",
      seq: at * SEGMENT_BYTES,
      data: new Uint8Array(SEGMENT_BYTES),
    }),
  })),
);

Deno.bench("pcap, Ethernet, IP, TCP: 1000 segments", () => {
  let at = 0;
  const file = new CaptureFile("capture", {
    readSync: (into) => {
      const part = capture.subarray(at, at + into.length);
      into.set(part);
      at += part.length;
      return part.length;
    },
    close: () => {},
  }, -1);
  const dissector = new Dissector();
  const packet = new Packet();
  const into = new TcpSegment();
  while (file.next(packet)) dissector.dissect(packet, into);
  dissector.close();
  file.close();
});

const nobody = {
  handleBytes: (): void => {},
  handleHole: (): void => {},
  handleUrgent: (): void => {},
  handleEnd: (): void => {},
  close: (): void => {},
};
const table = new ConversationTable(() => nobody);
const tcp = new TcpSegment();
tcp.addresses.set([0, 0, 0xffff, 1, 0, 0, 0xffff, 2]);
tcp.sourcePort = 3260;
tcp.destinationPort = 5000;
tcp.flags = TcpFlag.Ack;
tcp.dataAt = take(SEGMENT_BYTES);
tcp.dataEnd = tcp.dataAt + SEGMENT_BYTES;
tcp.dataBytes = SEGMENT_BYTES;
const moment = new Moment();

Deno.bench("TCP in order: 1000 segments", () => {
  for (let count = 0; count < SEGMENTS; count++) {
    table.handleSegment(tcp, moment);
    tcp.sequence = (tcp.sequence + SEGMENT_BYTES) >>> 0;
    moment.timeNs += 1000;
  }
});

/** A finder that is fed a stream in segments, as often as a bench wants. */
function findIn(
  bytes: Uint8Array,
  ports: [number, number],
  side: 0 | 1,
  lossAt = Infinity,
): () => void {
  const at = take(bytes.length);
  arena.bytes.set(bytes, at);
  const when = new Moment();
  return () => {
    const conversation = new Conversation(1, ["10.0.0.1:1", "10.0.0.2:2"], ports);
    conversation.fromStart.fill(true);
    const finder = new Finder(
      conversation,
      {
        means: Means.All,
        keepsBytes: false,
        msgr2: sharedBy(null),
        iscsi: new IscsiShared(),
        tally: new FinderTally(),
      },
      { handleFound: () => {}, handleGap: () => {} },
    );
    for (let offset = 0; offset < bytes.length; offset += SEGMENT_BYTES) {
      const end = Math.min(offset + SEGMENT_BYTES, bytes.length);
      if (offset >= lossAt && offset < lossAt + SEGMENT_BYTES) {
        finder.handleHole(side, offset, end - offset, HoleReason.Acknowledged, when);
      } else finder.handleBytes(side, at + offset, at + end, offset, when);
    }
    finder.handleEnd(side, bytes.length, when);
    finder.close();
  };
}

function msgr2Stream(messages: number, dataBytes: number): Uint8Array {
  const stream = new StreamWriter(FrameFormat.Crc21).banner();
  for (let seq = 1; seq <= messages; seq++) {
    stream.message({ seq, data: new Uint8Array(dataBytes).fill(seq) });
  }
  return stream.bytes;
}

Deno.bench(
  "msgr2, every crc: 1 MiB in messages of 4 KiB",
  { group: "msgr2" },
  findIn(msgr2Stream(256, 4096), [5000, 3300], 0),
);
Deno.bench(
  "msgr2, the same with a loss in a header",
  { group: "msgr2" },
  findIn(msgr2Stream(256, 4096), [5000, 3300], 0, 4 * SEGMENT_BYTES),
);
Deno.bench(
  "msgr2, every crc: 1 MiB in one message",
  { group: "msgr2" },
  findIn(msgr2Stream(1, 1024 * 1024), [5000, 3300], 0),
);

function iscsiStream(reads: number, bytes: number): Uint8Array {
  const session = new IscsiSession(1);
  session.login();
  for (let count = 0; count < reads; count++) session.read(bytes);
  return session.streams[1].bytes();
}

Deno.bench(
  "iSCSI: 1 MiB in Data-In of 64 KiB",
  { group: "iSCSI" },
  findIn(iscsiStream(16, 65_536), [5000, 3260], 1),
);
Deno.bench(
  "iSCSI: 1 MiB in Data-In of 4 KiB",
  { group: "iSCSI" },
  findIn(iscsiStream(256, 4096), [5000, 3260], 1),
);
Deno.bench(
  "iSCSI, the same with a loss in a header",
  { group: "iSCSI" },
  findIn(iscsiStream(256, 4096), [5000, 3260], 1, 4 * SEGMENT_BYTES),
);
