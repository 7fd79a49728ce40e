/**
 * The status page in a real headless Chromium: what a person sees, on a phone and on a desk, light
 * and dark, while figures change, and when the box is gone. With FAIRLEAD_SCREENSHOTS=DIRECTORY
 * pictures are kept there.
 */
import assert from "node:assert/strict";
import type { Snapshot } from "../../src/app/status/snapshot.ts";
import { openStatus } from "../../src/app/status/server.ts";
import {
  fakeManager,
  fakeNode,
  fakeOverlay,
  fakeResource,
  inTrouble,
  stacked,
} from "../app/fake_overlay.ts";
import { fakeBox, fakeGateway, fakeHub, fakeTrouble, HOSTILE_NAME } from "../app/fake_snapshot.ts";
import { Chromium, findChromium, type Page } from "./chromium.ts";

const program = await findChromium();
// In CI a missing browser is a failure, not a skip.
const ignore = program === null && Deno.env.get("CI") !== "true";
const SCREENSHOTS = Deno.env.get("FAIRLEAD_SCREENSHOTS");
/** The fakes have run for a day. */
const UP_S = 90_000;

/** A listener whose snapshot is made by `make` of the seconds since the fake's start. */
class Box implements AsyncDisposable {
  make: (seconds: number) => Snapshot;
  readonly #startedMs = performance.now();
  #server: Awaited<ReturnType<typeof openStatus>> | null = null;
  #port = 0;

  constructor(make: (seconds: number) => Snapshot) {
    this.make = make;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/`;
  }

  async open(): Promise<void> {
    this.#server = await openStatus(
      `127.0.0.1:${this.#port}`,
      () => this.make(UP_S + (performance.now() - this.#startedMs) / 1000),
    );
    this.#port = this.#server.port;
  }

  async close(): Promise<void> {
    await this.#server?.close();
    this.#server = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function pageTest(
  name: string,
  make: (seconds: number) => Snapshot,
  body: (browser: Chromium, box: Box) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore,
    async fn(): Promise<void> {
      assert.ok(program !== null, "Cannot find Chromium: apt-get install chromium");
      await using box = new Box(make);
      await box.open();
      await using browser = await Chromium.start(program);
      await body(browser, box);
    },
  });
}

const SHOWN = '!document.getElementById("content").hidden';
/** Two points make a line. */
const DRAWN = 'document.querySelector("#chart-in .stroke").getAttribute("d").split("L").length > 2';

pageTest("the page shows what the snapshot says, and nothing complains", fakeGateway, shows);

async function shows(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(SHOWN);
  await page.until(DRAWN);
  assert.equal(await page.text("#name"), "client.harbour-7");
  assert.match(await page.text("#about"), /^gateway · version 0\.1\.0 · up 1 d 1 h$/);
  assert.equal(await page.text("#sentence"), "All is well: messages are taken and passed on");
  assert.equal(await page.text("#link"), "live");
  for (const part of ["hq", "ready for 3 h 11 min", "secure", "v2:10.0.0.5:3300", "archive"]) {
    assert.ok((await page.text("#sessions")).includes(part), part);
  }
  for (const part of ["lines", "syslog", "127.0.0.1:8710", "/dev/ttyUSB0", "8 (2 wait)"]) {
    assert.ok((await page.text("#inputs")).includes(part), part);
  }
  assert.match(await page.text("#spool-count"), /^\d+ messages wait$/);
  assert.match(await page.text("#spool-share"), /MiB of 256\.0 MiB \(15 %\)/);
  assert.match(await page.text("#spool-facts"), /Oldest\s+1 s/);
  assert.match(await page.text("#broken"), /hq: No answer for 20 s/);
  assert.match(await page.text("#paths"), /wwan0\s+backup/);
  assert.equal(await page.text("#standby"), "Active: harbour-8 has everything");
  assert.match(await page.text("#events"), /Session with hq stands/);
  assert.match(await page.text("#chart-in .now"), /^[\d.,]+ ?k?\/s$/);
  assert.match(await page.evaluate<string>("document.title"), /^client\.harbour-7/);
  await assertReadable(page);
  assert.deepEqual(page.complaints, []);
  const elsewhere = page.requests.filter((url) =>
    !url.startsWith(box.url) && !url.startsWith("data:")
  );
  assert.deepEqual(elsewhere, []);
  await keep(page, "gateway");
}

pageTest("it follows the snapshot: a new alarm is told within seconds", fakeGateway, follows);

async function follows(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(SHOWN);
  const before = await page.text("#inputs");
  await page.until(`document.querySelector("#inputs").innerText !== ${JSON.stringify(before)}`);
  box.make = fakeTrouble;
  await page.until('document.getElementById("health").dataset.level === "error"');
  assert.match(await page.text("#sentence"), /^Hub hq refuses this gateway .* add client\.harbour/);
  assert.match(await page.text("#sentence-since"), /for 12 min/);
  assert.match(await page.text("#problems"), /The spool is 89 % full.* for 1 min/);
  assert.match(await page.text("#inputs"), /Cannot open \/dev\/ttyUSB0/);
  assert.match(await page.evaluate<string>("document.title"), /^\(!\)/);
  await assertReadable(page);
  assert.deepEqual(page.complaints, []);
  await keep(page, "trouble");
  box.make = fakeGateway;
  await page.until('document.getElementById("health").dataset.level === "ok"');
}

pageTest("a hub shows its gateways and outputs, and no spool", fakeHub, showsHub);

async function showsHub(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(DRAWN);
  assert.match(await page.text("#sessions"), /client\.quay-1/);
  assert.match(await page.text("#outputs"), /messages\.log/);
  await assertAbsent(page, ["spool-card", "inputs-card", "upstreams-card", "paths-card"]);
  await assertAbsent(page, ["standby-card"]);
  assert.deepEqual(page.complaints, []);
  await keep(page, "hub");
}

pageTest(
  "the standby's part tells role, lease, SAs that are behind, and draws the lag",
  fakeGateway,
  pair,
);

async function pair(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(SHOWN);
  const facts = await page.text("#standby-facts");
  for (const part of ["active (told auto)", "harbour-8", "1 s left", "open, 12 kept back", "24"]) {
    assert.ok(facts.includes(part), `${part} in ${facts}`);
  }
  const rows = 'document.querySelectorAll("#sas tbody tr").length';
  assert.equal(await page.evaluate<number>(rows), 10);
  assert.match(await page.text("#sas tbody tr"), /^10\.9\.21\.1 esp 0x00001015\s+in\s/);
  for (const id of ["chart-lag", "chart-behind"]) {
    const points = `document.querySelector("#${id} .stroke").getAttribute("d").split("L").length`;
    assert.equal(await page.evaluate<number>(points), 300, id);
  }
  assert.match(await page.text("#chart-lag .now"), /^\d+ ms$/);
  assert.match(await page.text("#chart-lag .peak"), /^peak 70 ms$/);
  const before = await page.evaluate(
    'document.querySelector("#chart-lag .stroke").getAttribute("d")',
  );
  await page.until(
    `document.querySelector("#chart-lag .stroke").getAttribute("d") !== ${JSON.stringify(before)}`,
  );
  assert.deepEqual(page.complaints, []);
}

pageTest("a box that is only one of a pair shows no inputs, hubs or rates", fakeBox, showsBox);

async function showsBox(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(SHOWN);
  assert.match(await page.text("#about"), /^standby · version/);
  assert.equal(
    await page.text("#sentence"),
    "All is well: this box can take over from the other one",
  );
  assert.equal(await page.text("#standby"), "Standby: holds everything of harbour-7");
  await assertAbsent(page, ["rates", "sessions-card", "inputs-card", "outputs-card", "spool-card"]);
  await assertAbsent(page, ["upstreams-card", "paths-card"]);
  assert.deepEqual(page.complaints, []);
  await keep(page, "standby");
}

pageTest("a manager shows its overlays and their live pictures", manager, showsOverlays);

function manager(seconds: number): Snapshot {
  const lab = { ...stacked(fakeOverlay("tree", 7)), name: "lab" };
  return fakeManager(seconds, [inTrouble(fakeOverlay("ring", 12)), lab]);
}

/** How many pictures the browser could draw. */
const PICTURES =
  '[...document.querySelectorAll("#pictures img")].filter((one) => one.naturalWidth > 0).length';

async function showsOverlays(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(`${PICTURES} === 2`);
  assert.equal(await page.text("#sentence"), "Overlay field has 1 dead link: r2-r3");
  assert.match(await page.text("#overlays tbody tr"), /^field\s.*active for 1 d 1 h\s+ring\s+12\s/);
  assert.match(await page.text("#overlays"), /1 node silent, 1 node drifted, 1 link dead/);
  const alt = 'document.querySelector("#pictures img").alt';
  assert.match(
    await page.evaluate<string>(alt),
    /^Picture of overlay field: ACTIVE, ring, 12 nodes/,
  );
  await assertAbsent(page, ["rates", "sessions-card", "lent-card", "inputs-card", "spool-card"]);
  const elsewhere = page.requests.filter((url) =>
    !url.startsWith(box.url) && !url.startsWith("data:")
  );
  assert.deepEqual(elsewhere, []);
  await keep(page, "overlay");
  const source = 'decodeURIComponent(document.querySelector("#pictures img").src)';
  assert.match(await page.evaluate<string>(source), />silent</);
  box.make = (seconds) => fakeManager(seconds, [fakeOverlay("ring", 12)]);
  await page.until(`${PICTURES} === 1 && !${source}.includes(">silent<")`);
  assert.equal(await page.text("#sentence"), "All is well: every overlay is up");
  box.make = (seconds) => fakeManager(seconds, []);
  await page.until(`${PICTURES} === 0`);
  assert.match(await page.text("#overlays-card"), /No overlay is formed/);
  assert.deepEqual(page.complaints, []);
}

pageTest("a picture by itself follows light and dark, and runs nothing", drawn, showsPicture);

function drawn(seconds: number): Snapshot {
  const nodes = [{ ...fakeNode(0), name: HOSTILE_NAME }, fakeNode(1)];
  return fakeManager(seconds, [{ ...fakeOverlay("ring", 2), nodes }]);
}

async function showsPicture(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(`${box.url}api/overlay.svg?name=field`);
  await page.until('document.querySelector("rect.page") !== null');
  const ground = 'getComputedStyle(document.querySelector("rect.page")).fill';
  await page.scheme("light");
  assert.equal(await page.evaluate(ground), "rgb(255, 255, 255)");
  await page.scheme("dark");
  assert.equal(await page.evaluate(ground), "rgb(20, 23, 28)");
  assert.equal(
    await page.evaluate('document.querySelectorAll("img, script, [onerror]").length'),
    0,
  );
  assert.deepEqual(page.complaints, []);
}

pageTest("a box shows the overlays that it is lent to", fakeResource, showsLent);

async function showsLent(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(SHOWN);
  assert.match(
    await page.text("#lent tbody tr"),
    /^field\s.*active for 1 h\s+om\.example\s+router/,
  );
  assert.match(await page.text("#lent"), /1 min left\s+none/);
  assert.match(await page.text("#lent"), /no end\s+link vx5 is down/);
  assert.match(await page.text("#lent-facts"), /Refused\s+acl 4, full 1/);
  await assertAbsent(page, ["rates", "sessions-card", "overlays-card", "inputs-card"]);
  await keep(page, "lent");
  assert.deepEqual(page.complaints, []);
}

async function assertAbsent(page: Page, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    assert.equal(await page.evaluate(`document.getElementById("${id}").offsetHeight`), 0, id);
  }
}

pageTest("a name made of markup is shown as text", hostile, showsAsText);

function hostile(seconds: number): Snapshot {
  const snapshot = fakeTrouble(seconds);
  snapshot.name = HOSTILE_NAME;
  for (const row of [...snapshot.sessions, ...snapshot.inputs!, ...snapshot.upstreams!]) {
    row.name = HOSTILE_NAME;
  }
  for (const row of [...snapshot.alarms, ...snapshot.events]) row.text = HOSTILE_NAME;
  Object.assign(snapshot.sessions[0]!, { state: HOSTILE_NAME, address: HOSTILE_NAME.repeat(9) });
  const standby = snapshot.standby!;
  const peer = { ...standby.peer, box: HOSTILE_NAME, role: HOSTILE_NAME };
  const witness = { ...standby.witness!, refusal: HOSTILE_NAME.repeat(4) };
  const sas = standby.ipsec!.sas.map((sa) => ({ ...sa, key: HOSTILE_NAME }));
  snapshot.standby = { ...standby, peer, witness, ipsec: { ...standby.ipsec!, sas } };
  return snapshot;
}

async function showsAsText(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url, 360, 740);
  await page.until(DRAWN);
  assert.equal(await page.evaluate('document.getElementById("name").textContent'), HOSTILE_NAME);
  for (
    const place of [
      "#sentence",
      "#sessions td span",
      "#inputs td span",
      "#events span",
      "#sas td span",
    ]
  ) {
    const found = `document.querySelector("${place}").textContent`;
    assert.equal(await page.evaluate(found), HOSTILE_NAME, place);
  }
  assert.equal(await page.evaluate('document.querySelectorAll("img, [onerror]").length'), 0);
  assert.ok((await page.evaluate<string>("document.title")).includes(HOSTILE_NAME.slice(0, 20)));
  await assertNoSideScroll(page, 360);
  assert.deepEqual(page.complaints, []);
}

pageTest(
  "when the box is gone the page says since when, and comes back by itself",
  fakeGateway,
  lost,
);

async function lost(browser: Chromium, box: Box): Promise<void> {
  const page = await browser.open(box.url);
  await page.until(SHOWN);
  await box.close();
  await page.until('/^last seen \\d+ s ago$/.test(document.getElementById("link").innerText)');
  assert.match(await page.text("#lost"), /lost: what is shown is old, last seen \d+ s ago/);
  await keep(page, "lost");
  await box.open();
  await page.until('document.getElementById("link").innerText === "live"');
  assert.equal(await page.evaluate('document.getElementById("lost").offsetHeight'), 0);
}

pageTest("with sixteen others looking it asks instead", fakeGateway, asks);

async function asks(browser: Chromium, box: Box): Promise<void> {
  const others = await Promise.all(
    Array.from({ length: 16 }, () => fetch(`${box.url}api/events`)),
  );
  try {
    const page = await browser.open(box.url);
    await page.until(DRAWN);
    assert.ok(page.requests.includes(`${box.url}api/status`));
    await page.until('document.getElementById("link").innerText === "live"');
  } finally {
    for (const { body } of others) await body!.cancel();
  }
}

/** Widths of small phones, of a tablet and of a desk. */
const WIDTHS = [320, 360, 414, 600, 768, 1280, 1920];

async function keep(page: Page, name: string): Promise<void> {
  for (const width of WIDTHS) {
    await page.size(width, 800);
    await assertNoSideScroll(page, width);
  }
  for (const scheme of ["light", "dark"] as const) {
    await page.scheme(scheme);
    await assertScheme(page, scheme);
    if (!(await page.evaluate<boolean>('document.body.dataset.link === "lost"'))) {
      await assertReadable(page);
    }
    if (SCREENSHOTS === undefined) continue;
    await Deno.mkdir(SCREENSHOTS, { recursive: true });
    for (const [device, width] of [["phone", 360], ["desk", 1280]] as const) {
      await page.size(width, 800);
      const height = await page.evaluate<number>("document.documentElement.scrollHeight");
      await page.size(width, height);
      await page.screenshot(`${SCREENSHOTS}/${name}_${device}_${scheme}.png`);
    }
  }
}

async function assertScheme(page: Page, scheme: "light" | "dark"): Promise<void> {
  const ground = await page.evaluate<string>("getComputedStyle(document.body).backgroundColor");
  const [red] = /\d+/.exec(ground)!;
  assert.equal(Number(red) > 128, scheme === "light", ground);
}

async function assertNoSideScroll(page: Page, width: number): Promise<void> {
  const wide = await page.evaluate<string[]>(`[...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > ${width} + 1 && one.closest("svg") === null
      && one.closest("thead") === null)
    .map((one) => one.tagName + "#" + one.id + "." + one.className)`);
  assert.deepEqual(wide, [], `${width}`);
  const scroll = await page.evaluate<number>("document.documentElement.scrollWidth");
  assert.ok(scroll <= width, `${scroll} > ${width}`);
}

/** WCAG 2.1 success criterion 1.4.3: each text against the first ground behind it. */
async function assertReadable(page: Page): Promise<void> {
  const faint = await page.evaluate<string[]>(`(() => {
    const parts = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => {
      const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const node = walk.currentNode.parentElement;
      if (walk.currentNode.data.trim() === "" || node.getClientRects().length === 0) continue;
      let ground = node;
      while (ground && (parts(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0) {
        ground = ground.parentElement;
      }
      const a = light(parts(getComputedStyle(node).color));
      const b = light(parts(getComputedStyle(ground || document.body).backgroundColor));
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) found.push(walk.currentNode.data + " " + contrast.toFixed(2));
    }
    return found;
  })()`);
  assert.deepEqual(faint, []);
}
