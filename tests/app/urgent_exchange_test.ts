/** A marked sender and a receiver over loopback, peers that are something else, wrong words. */
import assert from "node:assert/strict";
import { run as receiveCommand } from "../../src/app/commands/sniff/receive.ts";
import { run as sendCommand } from "../../src/app/commands/sniff/send.ts";
import { type ReceiveReport, UrgentReceiver } from "../../src/app/sniff/urgent_receiver.ts";
import {
  type SendOptions,
  type SendReport,
  tcpEnd,
  type UrgentMode,
  UrgentSender,
} from "../../src/app/sniff/urgent_sender.ts";
import { standardUrgent } from "../../src/io/urgent_socket.ts";
import { arenaTaken } from "../../src/mem/arena.ts";

async function exchange(
  options: SendOptions,
  inline: boolean,
  host = "127.0.0.1",
): Promise<[SendReport, ReceiveReport]> {
  const before = arenaTaken();
  const receiver = UrgentReceiver.listen({ host, port: 0 }, inline);
  try {
    const serving = receiver.serve();
    const sender = await UrgentSender.connect({ host, port: receiver.address.port });
    try {
      const [sent, received] = await Promise.all([sender.send(options), serving]);
      assert.ok(received !== null);
      return [sent, received];
    } finally {
      await sender.close();
    }
  } finally {
    await receiver.close();
    assert.equal(arenaTaken(), before);
  }
}

const MODES: readonly UrgentMode[] = ["A", "B", "C", "none"];

for (const host of ["127.0.0.1", "::1"]) {
  for (const mode of MODES) {
    for (const [size, count] of [[48, 2000], [560, 1000], [65584, 20]] as const) {
      Deno.test(`${count} messages of ${size} bytes, mode ${mode}, arrive whole at ${host}`, async () => {
        const [sent, received] = await exchange({ mode, size, count, paceMs: 0 }, true, host);
        assert.deepEqual([sent.messages, sent.bytes], [count, count * size]);
        const { broken, bytes, lost, marks, messages, named } = received;
        assert.deepEqual({ broken, bytes, lost, messages, size: received.size }, {
          broken: "",
          bytes: count * size,
          lost: 0,
          messages: count,
          size,
        });
        assert.equal(marks.elsewhere <= sent.cut, true, `${marks.elsewhere} beside ${sent.cut}`);
        assert.equal(received.standard, standardUrgent());
        assert.ok(named <= count && (mode !== "none" || named === 0));
      });
    }
  }
}

Deno.test("with pauses marks are seen at message starts", async () => {
  for (const mode of ["A", "B", "C"] as const) {
    const [, received] = await exchange({ mode, size: 560, count: 40, paceMs: 5 }, true);
    assert.ok(received.named >= 30, `mode ${mode}: ${received.named} of 40`);
    assert.ok(received.announced > 0);
  }
});

Deno.test("an ordinary receiver loses bytes and cannot follow the messages", async () => {
  const [sent, received] = await exchange({ mode: "A", size: 560, count: 40, paceMs: 5 }, false);
  assert.ok(received.lost >= 30 && received.lost <= 40, `${received.lost} of 40`);
  assert.equal(received.bytes + received.lost, sent.bytes);
  assert.notEqual(received.broken, "");
  assert.deepEqual(received.marks, { before: 0, at: 0, after: 0, elsewhere: 0 });
  const [, unmarked] = await exchange({ mode: "none", size: 560, count: 40, paceMs: 0 }, false);
  assert.deepEqual([unmarked.lost, unmarked.broken, unmarked.messages], [0, "", 40]);
});

Deno.test("a sender that is stopped ends after a whole message", async () => {
  const receiver = UrgentReceiver.listen({ host: "127.0.0.1", port: 0 }, true);
  const sender = await UrgentSender.connect({ host: "127.0.0.1", port: receiver.address.port });
  const stop = new AbortController();
  const options: SendOptions = { mode: "A", size: 560, count: 1000, paceMs: 60_000 };
  const sending = sender.send(options, stop.signal);
  const serving = receiver.serve();
  setTimeout(() => stop.abort(), 20);
  const [sent, received] = await Promise.all([sending, serving]);
  assert.deepEqual([sent.messages, received?.messages, received?.broken], [1, 1, ""]);
  await sender.close();
  await receiver.close();
});

Deno.test("a receiver that is stopped while nobody comes says so", async () => {
  const receiver = UrgentReceiver.listen({ host: "127.0.0.1", port: 0 }, true);
  const stop = new AbortController();
  const serving = receiver.serve(stop.signal);
  setTimeout(() => stop.abort(), 20);
  assert.equal(await serving, null);
  assert.equal(await receiver.serve(stop.signal), null);
  await receiver.close();
});

Deno.test("peers that send something else are told apart, and the next one is served", async () => {
  const receiver = UrgentReceiver.listen({ host: "127.0.0.1", port: 0 }, true);
  const { port } = receiver.address;
  const before = arenaTaken();
  for (const bytes of [new Uint8Array(0), new Uint8Array(10), new Uint8Array(100_000).fill(0xff)]) {
    const serving = receiver.serve();
    const peer = await Deno.connect({ hostname: "127.0.0.1", port });
    await new Response(bytes).body!.pipeTo(peer.writable);
    const report = await serving;
    assert.equal(report?.messages, 0);
    assert.equal(report.bytes, bytes.length);
    assert.equal(report.lost, 0);
    assert.equal(report.broken === "", bytes.length < 48);
  }
  assert.equal(arenaTaken(), before);
  await receiver.close();
});

Deno.test("a receiver that goes away ends the sender with an error", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const sender = await UrgentSender.connect({ host: "127.0.0.1", port });
  const peer = await listener.accept();
  const sending = sender.send({ mode: "A", size: 65584, count: 1000, paceMs: 0 });
  peer.close();
  await assert.rejects(sending, /Cannot send to 127\.0\.0\.1:\d+: /);
  listener.close();
  await sender.close();
  const gone = UrgentSender.connect({ host: "127.0.0.1", port });
  await assert.rejects(gone, /Cannot connect to 127\.0\.0\.1:\d+: Connection refused/);
});

Deno.test("a taken port is told", async () => {
  const receiver = UrgentReceiver.listen({ host: "127.0.0.1", port: 0 }, true);
  const { port } = receiver.address;
  assert.throws(
    () => UrgentReceiver.listen({ host: "127.0.0.1", port }, true),
    /Cannot listen on port \d+ of 127\.0\.0\.1: Address already in use/,
  );
  await receiver.close();
});

Deno.test.each([
  { text: "192.0.2.1:3260", host: "192.0.2.1", port: 3260 },
  { text: "[2001:db8::1]:1", host: "2001:db8::1", port: 1 },
  { text: "65535", host: "0.0.0.0", port: 65535 },
])("'$text' is an end", ({ text, host, port }) => {
  assert.deepEqual(tcpEnd("X", text, "0.0.0.0"), { host, port });
});

Deno.test.each([
  { text: "" },
  { text: "host:80" },
  { text: "192.0.2.1" },
  { text: "192.0.2.1:" },
  { text: "192.0.2.1:65536" },
  { text: "2001:db8::1:80" },
  { text: "[192.0.2.1:80" },
  { text: "-1" },
])("'$text' is none", ({ text }) => {
  assert.throws(() => tcpEnd("X", text, "0.0.0.0"), /Cannot use X as it must be HOST:PORT or PORT/);
});

Deno.test("sizes that the document advises against need a word more", async () => {
  const send = (...words: string[]): Promise<number> => sendCommand(["192.0.2.1:9", ...words]);
  await assert.rejects(send("--size=8240"), /as the document advises: current value is 8240, or/);
  await assert.rejects(send("--size=50"), /must be a multiple of 4: current value is 50/);
  await assert.rejects(send("--size=44"), /a whole number from 48/);
  await assert.rejects(send("--mode=D"), /A or B or C or none/);
  await assert.rejects(sendCommand(["here:9"]), /HOST:PORT with a numeric address/);
  await assert.rejects(receiveCommand(["here:9"]), /HOST:PORT or PORT with a numeric address/);
});
