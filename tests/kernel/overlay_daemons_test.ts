/**
 * Overlays with IPsec as their daemons make them: three boxes in a ring, ESP on every wire between them, and
 * keys that are nowhere but in the kernels. Daemons and managers are killed, and a box is rebooted: what
 * was is made again, with other keys. Runs in user-mode Linux, see tests/interop/uml_lab.ts.
 */
import assert from "node:assert/strict";
import type { OverlayView } from "../../src/app/overlay/overlay_view.ts";
import { findUml } from "../interop/debian_peers.ts";
import { lab, LAB_TIMERS, ok, type OverlayLab, pingAll, view } from "../interop/overlay_lab.ts";
import { Daemon, must } from "../interop/processes.ts";

assert.ok(Deno.env.get("FAIRLEAD_UML"), "runs in user-mode Linux: see tests/interop/uml_lab.ts");

const BOXES = ["a", "b", "c"];
/** One processor starts a daemon in seconds: no lease is to end meanwhile. */
const TIMERS = { ...LAB_TIMERS, lease: 60_000 };
const SETTLE_MS = 30_000;
const POLL_MS = 100;
/** Of a stream of pings. */
const INTERVAL_S = 0.04;
/** Boxes take new keys one after the other, here on one processor: a second. */
const LOST_MAX = 25;
/** So much of a key is too much. */
const PART_BYTES = 12;

/** An SA of a kernel. */
interface Sa {
  readonly from: string;
  readonly spi: string;
  readonly key: string;
}

/** One laboratory, and all keys that were ever seen in its kernels. */
class Field {
  readonly keys = new Set<string>();
  readonly where: OverlayLab;

  constructor(where: OverlayLab) {
    this.where = where;
  }

  /** Runs iproute2 on a box. */
  ip(box: string, ...words: string[]): Promise<string> {
    return must(["ip", "-n", this.where.namespace(box), ...words]);
  }

  /** SAs that a box sends with; its others are noted too. */
  async sending(box: string): Promise<Sa[]> {
    const text = await this.ip(box, "xfrm", "state");
    const sas = text.split(/^(?=src )/m).map((sa): Sa => ({
      from: /^src (\S+)/.exec(sa)?.[1] ?? "",
      spi: /spi (0x\w+)/.exec(sa)?.[1] ?? "",
      key: /aead \S+ 0x(\w{40})/.exec(sa)?.[1] ?? "",
    }));
    for (const { key } of sas) if (key !== "") this.keys.add(key);
    return sas.filter(({ from, key }) => from === this.where.address(box) && key !== "");
  }

  /** Waits until all boxes send with what no kernel had, and all is as it should be. */
  async rekeyed(before: ReadonlySet<string>): Promise<void> {
    const deadline = performance.now() + SETTLE_MS;
    for (;;) {
      const sas = (await Promise.all(BOXES.map((box) => this.sending(box)))).flat();
      const fresh = sas.filter(({ key }) => !before.has(key));
      // With drift its exit status is 1.
      const { stdout } = await this.where.ask("om", "status", "field", "--json");
      const overlay: OverlayView = JSON.parse(stdout).overlay;
      const bad = overlay.nodes.flatMap(({ drift, silent }) => silent ? ["silent"] : drift);
      if (fresh.length === 6 && sas.length === 6 && bad.length === 0) return;
      const now = `${fresh.length} of ${sas.length} SAs are new; ${bad.join("; ")}`;
      assert.ok(performance.now() < deadline, `${now}\n${BOXES.map((b) => this.where.said(b))}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** How many pings from a to b get lost while `work` is done. */
  async lost(overlay: OverlayView, work: () => Promise<void>): Promise<number> {
    const [from, to] = ["a", "b"].map((box) =>
      overlay.nodes.find(({ node }) => node === box)!.address
    );
    const ping = ["ping", "-n", `-i${INTERVAL_S}`, "-I", from!, to!];
    await using pings = Daemon.start(
      ["ip", "netns", "exec", this.where.namespace("a"), ...ping],
      `${this.where.directory}/pings`,
    );
    await work();
    await pings.stop("SIGINT");
    const counts = /(\d+) packets transmitted, (\d+) received/.exec(pings.output());
    assert.ok(counts, pings.output());
    const [sent, received] = [Number(counts[1]), Number(counts[2])];
    assert.ok(sent > 20, "there were pings");
    return sent - received;
  }

  /** Counts from now on what the switch passes on between boxes. */
  async watch(): Promise<void> {
    const boxes = BOXES.map((box) => this.where.address(box)).join(", ");
    await this.#nft(`table bridge wire {}
      delete table bridge wire
      table bridge wire {
        chain between {
          ip protocol esp counter accept
          counter
        }
        chain forward {
          type filter hook forward priority 0
          ip saddr { ${boxes} } ip daddr { ${boxes} } jump between
        }
      }
`);
  }

  /** Packets of ESP, and all others. */
  async seen(): Promise<{ esp: number; clear: number }> {
    const text = await this.#nft("list table bridge wire\n");
    const [esp, clear] = [...text.matchAll(/packets (\d+)/g)].map(([, count]) => Number(count));
    return { esp: esp!, clear: clear! };
  }

  /** What a reboot takes from a box; keys first, as nothing is to answer to what comes by them. */
  async forget(box: string): Promise<void> {
    await this.ip(box, "xfrm", "state", "flush");
    for (
      const { ifname } of JSON.parse(await this.ip(box, "-j", "link", "show", "type", "vxlan"))
    ) {
      await this.ip(box, "link", "delete", ifname);
    }
    for (const { priority, protocol } of JSON.parse(await this.ip(box, "-j", "-N", "rule"))) {
      if (protocol === "199") await this.ip(box, "rule", "delete", "priority", `${priority}`);
    }
    await this.ip(box, "route", "flush", "table", "all", "proto", "199");
    await this.ip(box, "address", "flush", "dev", "lo", "scope", "global");
    await this.ip(box, "xfrm", "policy", "flush");
  }

  /** Files that have any of these. */
  holders(forms: readonly string[], directory = this.where.directory): string[] {
    return [...Deno.readDirSync(directory)].flatMap(({ isDirectory, isFile, name }) => {
      const path = `${directory}/${name}`;
      if (isDirectory) return this.holders(forms, path);
      if (!isFile) return [];
      const bytes = Deno.readFileSync(path).toHex();
      return forms.some((form) => bytes.includes(form)) ? [path] : [];
    });
  }

  #nft(text: string): Promise<string> {
    const argv = ["ip", "netns", "exec", this.where.namespace("switch"), "nft", "-f", "-"];
    return must(argv, { stdin: text });
  }
}

/** Bytes, in hexadecimal digits, of every way to write down a key that somebody could think of. */
function formsOf(key: string): string[] {
  const bytes = Uint8Array.fromHex(key).subarray(0, PART_BYTES);
  const hex = bytes.toHex();
  const bases = [0, 1, 2].flatMap((before) => {
    const text = new Uint8Array([...Array(before).fill(0), ...bytes]).toBase64();
    // What other bytes have a part in is left out.
    const own = text.replaceAll("=", "").slice(before === 0 ? 0 : before + 1, -1);
    return [own, own.replaceAll("+", "-").replaceAll("/", "_")];
  });
  return [hex, ...[hex, hex.toUpperCase(), bytes.join(), bytes.join(", "), ...bases].map(hexOf)];
}

function hexOf(text: string): string {
  return new TextEncoder().encode(text).toHex();
}

Deno.test("three boxes send ESP only, and keys are new whoever dies", async (t) => {
  await must([`${await findUml()}/kmod/sbin/modprobe`, "-d", `${await findUml()}`, "vxlan"]);
  await using where = await lab(BOXES, ["om"]);
  const field = new Field(where);
  const before = await where.states(BOXES);
  await field.watch();
  ok(await where.on("a", ["ping", "-c1", "-W2", where.address("b")]));
  assert.equal((await field.seen()).clear, 2, "what is in clear is seen");
  await field.watch();
  await where.startBoxes(BOXES);
  await where.startManager("om", { timers: TIMERS });
  const spec = where.spec("field", {
    ...{ name: "field", topology: "ring", prefix: "10.100.0.0/24", routers: 3, ipsec: true },
  });
  ok(await where.ask("om", "apply", spec));
  const overlay = await view(where, "om", "field");

  await t.step("every link pings, and there is ESP on the wire and nothing else", async () => {
    assert.ok(overlay.links.length === 3 && overlay.links.every(({ encrypted }) => encrypted));
    const { esp } = await field.seen();
    await pingAll(where, overlay);
    const seen = await field.seen();
    assert.ok(seen.esp >= esp + 10, `${seen.esp} of ESP, ${esp} before`);
    assert.equal(seen.clear, 0);
    for (const box of BOXES) assert.equal((await field.sending(box)).length, 2, box);
    assert.equal(field.keys.size, 6, "each has its own");
  });

  await t.step(
    "a daemon is killed and comes back: all have new keys, and few pings are lost",
    async () => {
      const old = new Set(field.keys);
      const lost = await field.lost(overlay, async () => {
        await where.kill("b");
        await pingAll(where, overlay);
        await where.restart("b", "rd");
        await field.rekeyed(old);
      });
      assert.ok(lost <= LOST_MAX, `${lost} were lost`);
    },
  );

  await t.step("a box is rebooted: it is made again, with keys that nobody had", async () => {
    const old = new Set(field.keys);
    const lost = await field.lost(overlay, async () => {
      await where.kill("c");
      await field.forget("c");
      assert.deepEqual((await where.states(["c"])).get("c"), before.get("c"), "nothing is left");
      await where.restart("c", "rd");
      await field.rekeyed(old);
    });
    assert.ok(lost <= LOST_MAX, `${lost} were lost between the others`);
    await pingAll(where, overlay);
  });

  await t.step("the manager is killed and comes back: keys are made new still", async () => {
    await where.kill("om");
    await where.restart("om", "om");
    const old = new Set(field.keys);
    await where.kill("a");
    await where.restart("a", "rd");
    await field.rekeyed(old);
    await pingAll(where, overlay);
    assert.equal((await field.seen()).clear, 0, "all the time");
  });

  await t.step("no file has any of the keys", () => {
    assert.ok(field.keys.size >= 24, `${field.keys.size} keys`);
    const epoch = field.holders([hexOf(overlay.epoch)]).map((path) => path.split("/").at(-2));
    assert.deepEqual(epoch.filter((name) => name === "records").length, 4, "files are read");
    assert.deepEqual(epoch.filter((name) => name === "steps").length, 3);
    assert.deepEqual(field.holders([...field.keys].flatMap(formsOf)), []);
  });

  await t.step("it is destroyed, and nothing is left", async () => {
    ok(await where.ask("om", "destroy", "field"));
    assert.deepEqual(await where.states(BOXES), before);
    for (const box of BOXES) {
      assert.equal(await field.ip(box, "xfrm", "state"), "");
      assert.equal(await field.ip(box, "xfrm", "policy"), "");
    }
  });
});
