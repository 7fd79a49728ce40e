/**
 * Virtual addresses against the kernel: they are there at once, neighbours of the link learn them
 * from the announcement alone, and they go with give(), or by themselves when their program is dead.
 * Needs root and ip(8); with CI=true it fails without them.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  ANNOUNCE_AFTER_MS,
  VIRTUAL_ADDRESSES_MAX,
  type VirtualAddress,
  VirtualAddresses,
} from "../../src/app/standby/virtual_addresses.ts";
import { inNamespace } from "../../src/io/namespace.ts";
import { PacketSocket } from "../../src/io/packet_socket.ts";
import { regionOf } from "../../src/mem/region.ts";
import { Arp, EtherType, readArp } from "../../src/wire/arp.ts";
import { Family, formatInet } from "../../src/wire/inet.ts";
import { Advertisement, AdvertisementFlag, readAdvertisement } from "../../src/wire/ndp.ts";
import { ignoreWithoutNamespaces, NamespacePair } from "./netns.ts";
import { must } from "./processes.ts";

const INET = { interface: "cable0", address: "192.0.2.3/32" };
const INET6 = { interface: "cable0", address: "2001:db8:1::100/64" };
const BOTH = [INET, INET6];
const DEADLINE_MS = 8000;
/** What somebody else had that address on, before. */
const STALE = "02:00:00:00:00:99";

function open(pair: NamespacePair, addresses: VirtualAddress[] = BOTH): VirtualAddresses {
  return VirtualAddresses.open({ namespace: pair.near, addresses });
}

async function shown(pair: NamespacePair): Promise<string[]> {
  const text = await must(["ip", "-n", pair.near, "-o", "address", "show", "dev", "cable0"]);
  const found = [...text.matchAll(/ inet6? (\S+) (.*)/g)].map(([, address, rest]) => ({
    address,
    rest,
  }));
  return found.filter(({ address }) => BOTH.some((one) => one.address === address)).map((
    { address, rest },
  ) => `${address}${/tentative|dadfailed/.test(rest!) ? " tentative" : ""}`).sort();
}

async function until(what: string, ready: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await ready())) {
    assert.ok(performance.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Frames that have come to the far end. */
class Watch {
  readonly #arp: PacketSocket;
  readonly #inet6: PacketSocket;

  constructor({ far }: NamespacePair) {
    const [arp, inet6] = [EtherType.Arp, EtherType.Inet6].map((type) =>
      inNamespace(far, () => PacketSocket.open("cable0", type))
    );
    assert.ok(arp instanceof PacketSocket && inet6 instanceof PacketSocket);
    this.#arp = arp;
    this.#inet6 = inet6;
  }

  /** Waits for so many announcements; a line each. */
  async seen(count: number): Promise<string[]> {
    const found: string[] = [];
    const from = regionOf(new Uint8Array(256));
    const deadline = performance.now() + DEADLINE_MS;
    while (found.length < count && performance.now() < deadline) {
      let quiet = true;
      let size = this.#arp.receive(from.bytes);
      const arp = new Arp();
      if (size > 0) quiet = false;
      if (size > 0 && readArp(from, 0, size, arp) > 0) {
        const same = arp.sender.join() === arp.target.join();
        const hardware = arp.senderHardware.toHex();
        if (same) found.push(`arp ${arp.operation} ${arp.sender.join(".")} ${hardware}`);
      }
      size = this.#inet6.receive(from.bytes);
      const told = new Advertisement();
      if (size > 0) quiet = false;
      if (size > 0 && readAdvertisement(from, 0, size, told) > 0) {
        const router = (told.flags & AdvertisementFlag.Router) !== 0 ? " router" : "";
        const address = formatInet(Family.Inet6, told.target);
        if (address.startsWith("2001")) {
          found.push(`na ${address} ${told.hardware.toHex()}${router}`);
        }
      }
      if (quiet) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return found.sort();
  }

  close(): void {
    this.#arp.close();
    this.#inet6.close();
  }
}

async function hardwareOf(pair: NamespacePair): Promise<string> {
  const text = await must(["ip", "-n", pair.near, "link", "show", "dev", "cable0"]);
  return /link\/ether (\S+)/.exec(text)![1]!;
}

const IGNORED = await ignoreWithoutNamespaces();

Deno.test({
  name: "take() adds addresses that work at once and announces them; give() takes them away",
  ignore: IGNORED,
  fn: async () => {
    await using pair = await NamespacePair.create();
    const hardware = (await hardwareOf(pair)).replaceAll(":", "");
    const watch = new Watch(pair);
    const addresses = open(pair);
    assert.deepEqual(await shown(pair), []);
    assert.deepEqual(addresses.take(0), []);
    assert.deepEqual(await shown(pair), BOTH.map(({ address }) => address), "and not tentative");
    const announced = [
      `arp 1 192.0.2.3 ${hardware}`,
      `arp 2 192.0.2.3 ${hardware}`,
      `na 2001:db8:1::100 ${hardware}`,
    ];
    assert.deepEqual(await watch.seen(3), announced);
    assert.deepEqual(addresses.announce(), []);
    assert.deepEqual(await watch.seen(3), announced);
    assert.deepEqual(addresses.take(0), [], "they are there already");
    assert.deepEqual(await watch.seen(3), announced);

    await must(pair.within(pair.near, ["sysctl", "-qw", "net.ipv6.conf.cable0.forwarding=1"]));
    assert.deepEqual(addresses.announce(), []);
    assert.deepEqual((await watch.seen(3))[2], `${announced[2]} router`);

    assert.deepEqual(addresses.give(), []);
    assert.deepEqual(await shown(pair), []);
    assert.deepEqual(addresses.give(), [], "they are gone already");
    addresses.close();
    watch.close();
    assert.ok(ANNOUNCE_AFTER_MS.every((ms, at) => ms > (ANNOUNCE_AFTER_MS[at - 1] ?? 0)));
  },
});

Deno.test({
  name: "a neighbour that had the addresses from another box learns from the announcement alone",
  ignore: IGNORED,
  fn: async () => {
    await using pair = await NamespacePair.create();
    const { far } = pair;
    const hardware = await hardwareOf(pair);
    for (const address of ["198.51.100.2/24", "2001:db8:1::2/64"]) {
      await must(["ip", "-n", far, "address", "add", address, "dev", "cable0", "noprefixroute"]);
    }
    for (const address of ["198.51.100.1", "2001:db8:1::100"]) {
      const learned = ["lladdr", STALE, "dev", "cable0", "nud", "stale"];
      await must(["ip", "-n", far, "neigh", "replace", address, ...learned]);
    }
    const known = async (): Promise<string> =>
      await must(["ip", "-n", far, "neigh", "show", "dev", "cable0"]);
    assert.equal((await known()).split(STALE).length - 1, 2);
    const addresses = open(pair, [{ ...INET, address: "198.51.100.1/32" }, INET6]);
    assert.deepEqual(addresses.take(0), []);
    await until("both are learned", async () => {
      const text = await known();
      return !text.includes(STALE) && text.split(hardware).length - 1 >= 2;
    });
    addresses.close();
  },
});

Deno.test({
  name: "addresses with a lifetime stay while they are kept, and go when their program is killed",
  ignore: IGNORED,
  fn: async () => {
    await using pair = await NamespacePair.create();
    const url = new URL("../../src/app/standby/virtual_addresses.ts", import.meta.url);
    const options = { namespace: pair.near, addresses: BOTH };
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["eval", "--no-check"],
        `import { VirtualAddresses } from "${url}";
        const addresses = VirtualAddresses.open(${JSON.stringify(options)});
        if (addresses.take(1).length > 0) throw new Error("not taken");
        setInterval(() => addresses.keep(1), 200);
        await Deno.stdout.write(Uint8Array.of(10));`,
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = child.stdout.getReader();
    assert.equal((await reader.read()).value?.length, 1);
    const end = performance.now() + 2500;
    while (performance.now() < end) {
      assert.equal((await shown(pair)).length, 2);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    child.kill("SIGKILL");
    await reader.cancel();
    await child.status;
    await until("both are gone", async () => (await shown(pair)).length === 0);
  },
});

Deno.test({
  name: "what fails is told with the interface and the remedy, and the others are there",
  ignore: IGNORED,
  fn: async () => {
    await using pair = await NamespacePair.create();
    const add = ["link", "add", "down0", "type", "veth", "peer", "name", "down1"];
    await must(["ip", "-n", pair.near, ...add]);
    const addresses = open(pair, [
      { interface: "none0", address: "198.51.100.1/24" },
      { interface: "down0", address: "198.51.100.2/24" },
      INET,
    ]);
    assert.deepEqual(addresses.take(0), [
      "Cannot add 198.51.100.1/24 on none0: No such device (ENODEV), " +
      "see ip link for the names that there are",
      "Cannot announce 198.51.100.1/24 on none0: No such device (ENODEV), " +
      "see ip link for the names that there are",
      "Cannot announce 198.51.100.2/24 on down0: Network is down (ENETDOWN), " +
      "the interface is down: ip link set down0 up",
    ]);
    assert.deepEqual(await shown(pair), [INET.address]);
    assert.deepEqual(addresses.give(), [], "what is not there need not be removed");
    assert.deepEqual(await shown(pair), []);
    addresses.close();
  },
});

Deno.test("what is no address with its prefix is refused before anything is done", () => {
  const bad = ["", "192.0.2.1", "192.0.2.1/33", "192.0.2.1/0", "192.0.2.1/x", "192.0.2.1/24/1"];
  for (const address of [...bad, "2001:db8::1/129", "example/24", "/24", "192.0.2.1/1e1"]) {
    const addresses = [{ interface: "eth0", address }];
    assert.throws(
      () => VirtualAddresses.open({ namespace: "", addresses }),
      (error: Error) =>
        error.message.includes("of eth0 as it must be one with its prefix") &&
        error.message.endsWith(`current value is "${address}"`),
    );
  }
  const many = new Array(VIRTUAL_ADDRESSES_MAX + 1).fill(INET);
  assert.throws(
    () => VirtualAddresses.open({ namespace: "", addresses: many }),
    /^Error: Cannot take over addresses as there may be 64 at most: current value is 65/,
  );
});
