/** Fragments of IP put together: any order, copies, overlaps, limits, deadlines. */
import assert from "node:assert/strict";
import { arena, arenaTaken, take } from "../../src/mem/arena.ts";
import { Fragments } from "../../src/proto/capture/fragments.ts";
import { IpPacket } from "../../src/wire/capture/ip.ts";

const at = take(65536 * 2);
const WAIT_NS = 30e9;

interface Part {
  readonly offset: number;
  readonly text: string | Uint8Array;
  readonly more?: boolean;
  readonly version?: number;
  readonly identification?: number;
  readonly protocol?: number;
  readonly from?: number;
  readonly wireBytes?: number;
}

/** Gives a fragment to the machine; its bytes are overwritten by the next. */
function give(fragments: Fragments, part: Part, timeNs = 0): string | null {
  const bytes = typeof part.text === "string" ? new TextEncoder().encode(part.text) : part.text;
  arena.bytes.set(bytes, at);
  const packet = new IpPacket();
  packet.version = part.version ?? 4;
  packet.protocol = part.protocol ?? 6;
  packet.at = at;
  packet.end = at + bytes.length;
  packet.payloadBytes = part.wireBytes ?? bytes.length;
  packet.isFragment = true;
  packet.identification = part.identification ?? 1;
  packet.fragmentOffset = part.offset;
  packet.moreFragments = part.more ?? true;
  const addresses = Int32Array.of(0, 0, 0xffff, part.from ?? 1, 0, 0, 0xffff, 2);
  if (!fragments.handleFragment(packet, addresses, timeNs)) return null;
  return new TextDecoder().decode(arena.bytes.slice(fragments.at, fragments.end));
}

/** Runs a test with a machine that is closed; the arena must be as it was. */
function using(run: (fragments: Fragments) => void): void {
  const before = arenaTaken();
  const fragments = new Fragments();
  run(fragments);
  fragments.close();
  fragments.close();
  assert.equal(arenaTaken(), before);
}

const WHOLE: readonly Part[] = [
  { offset: 0, text: "abcdefgh" },
  { offset: 8, text: "ijklmnopqrstuvwx" },
  { offset: 24, text: "yz", more: false },
];

Deno.test("fragments in every order give the datagram once", () => {
  for (const version of [4, 6]) {
    for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
      using((fragments) => {
        const given = order.map((index) => give(fragments, { ...WHOLE[index]!, version }));
        assert.deepEqual(given, [null, null, "abcdefghijklmnopqrstuvwxyz"]);
        assert.equal(fragments.dropped, 0);
      });
    }
  }
});

Deno.test("datagrams that differ in address, number, version, or protocol of IPv4 are apart", () => {
  using((fragments) => {
    const others = [{ from: 9 }, { identification: 2 }, { version: 6 }, { protocol: 17 }];
    for (const other of others) give(fragments, { ...WHOLE[0]!, ...other });
    assert.equal(give(fragments, WHOLE[1]!), null);
    assert.equal(give(fragments, WHOLE[2]!), null);
    assert.equal(give(fragments, WHOLE[0]!), "abcdefghijklmnopqrstuvwxyz");
  });
});

Deno.test("the next header of IPv6 is that of the first fragment", () => {
  using((fragments) => {
    give(fragments, { ...WHOLE[2]!, version: 6, protocol: 60 });
    give(fragments, { ...WHOLE[0]!, version: 6, protocol: 6 });
    assert.notEqual(give(fragments, { ...WHOLE[1]!, version: 6, protocol: 17 }), null);
    assert.equal(fragments.protocol, 6);
  });
});

Deno.test("an exact copy is no overlap", () => {
  for (const version of [4, 6]) {
    using((fragments) => {
      for (const index of [0, 0, 1, 1]) give(fragments, { ...WHOLE[index]!, version });
      const whole = give(fragments, { ...WHOLE[2]!, version });
      assert.equal(whole, "abcdefghijklmnopqrstuvwxyz");
    });
  }
});

Deno.test("what overlaps in IPv4 leaves what was there first", () => {
  using((fragments) => {
    give(fragments, WHOLE[0]!);
    give(fragments, { offset: 0, text: "ABCDEFGHIJKLMNOP" });
    const whole = give(fragments, { offset: 8, text: "qrstuvwxYZ", more: false });
    assert.equal(whole, "abcdefghIJKLMNOPYZ");
  });
});

Deno.test("what overlaps in IPv6 spoils the datagram, also what comes later", () => {
  for (const bad of [{ offset: 0, text: "ABCDEFGH" }, { offset: 0, text: "abcdefghIJKLMNOP" }]) {
    using((fragments) => {
      give(fragments, { ...WHOLE[0]!, version: 6 });
      assert.equal(give(fragments, { ...bad, version: 6 }), null);
      assert.equal(fragments.dropped, 2);
      for (const part of WHOLE) assert.equal(give(fragments, { ...part, version: 6 }), null);
      assert.equal(fragments.dropped, 5);
      // After its time the name is free again.
      const later = WAIT_NS + 1;
      const given = WHOLE.map((part) => give(fragments, { ...part, version: 6 }, later));
      assert.equal(given[2], "abcdefghijklmnopqrstuvwxyz");
    });
  }
});

Deno.test("two ends that differ, and bytes behind the end, spoil the datagram", () => {
  const cases: [Part, Part][] = [
    [WHOLE[2]!, { offset: 16, text: "x", more: false }],
    [WHOLE[2]!, { offset: 24, text: "12345678" }],
    [{ offset: 16, text: "12345678" }, { offset: 8, text: "x", more: false }],
  ];
  for (const [first, second] of cases) {
    using((fragments) => {
      give(fragments, first);
      give(fragments, second);
      assert.equal(fragments.dropped, 2);
    });
  }
});

Deno.test("fragments that cannot be are dropped alone", () => {
  using((fragments) => {
    const bad: Part[] = [
      { offset: 8, text: "" },
      { offset: 8, text: "1234567" }, // no whole units, and not the last
      { offset: 65528, text: "12345678", more: false }, // beyond 65535
      { offset: 8, text: "12345678", wireBytes: 16 }, // cut by the snap length
    ];
    for (const part of bad) assert.equal(give(fragments, part), null);
    assert.equal(fragments.dropped, bad.length);
    const given = WHOLE.map((part) => give(fragments, part));
    assert.equal(given[2], "abcdefghijklmnopqrstuvwxyz");
  });
});

Deno.test("the largest datagram is put together", () => {
  using((fragments) => {
    for (let offset = 0; offset < 65528; offset += 8) {
      assert.equal(give(fragments, { offset, text: "12345678" }), null);
    }
    assert.equal(give(fragments, { offset: 65528, text: "1234567", more: false })!.length, 65535);
  });
});

Deno.test("what waits for 30 seconds is forgotten, also when time goes backwards", () => {
  for (const later of [WAIT_NS + 1, -WAIT_NS - 1]) {
    using((fragments) => {
      give(fragments, WHOLE[0]!);
      give(fragments, WHOLE[1]!, later);
      assert.equal(fragments.dropped, 1);
      assert.equal(give(fragments, WHOLE[2]!, later), null);
    });
  }
  using((fragments) => {
    give(fragments, WHOLE[0]!);
    give(fragments, WHOLE[1]!, WAIT_NS);
    assert.notEqual(give(fragments, WHOLE[2]!, WAIT_NS), null);
  });
});

Deno.test("64 datagrams wait, and the 65th takes the place of the oldest", () => {
  const before = arenaTaken();
  const fragments = new Fragments();
  for (let identification = 0; identification < 1000; identification++) {
    give(fragments, { ...WHOLE[0]!, identification });
    assert.ok(arenaTaken() - before <= 64 * 65536);
  }
  assert.equal(fragments.dropped, 1000 - 64);
  for (const identification of [999, 936]) {
    give(fragments, { ...WHOLE[1]!, identification });
    assert.notEqual(give(fragments, { ...WHOLE[2]!, identification }), null);
  }
  give(fragments, { ...WHOLE[1]!, identification: 935 });
  assert.equal(give(fragments, { ...WHOLE[2]!, identification: 935 }), null);
  fragments.close();
  assert.equal(arenaTaken(), before);
});
