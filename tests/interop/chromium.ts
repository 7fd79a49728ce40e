/**
 * A headless Chromium and as much of the DevTools protocol (browser target, flat sessions; domains
 * Target, Page, Runtime, Log, Network, Emulation) as a test of one page needs.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Daemon, hasProgram } from "./processes.ts";

const PROGRAMS = ["chromium", "chromium-browser", "google-chrome"] as const;
const START_DEADLINE_MS = 60_000;
const ANSWER_DEADLINE_MS = 30_000;
/** What a page may take until it shows what is waited for. */
const WAIT_MS = 20_000;

const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  ...["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"],
] as const;

type Answer = Record<string, unknown>;

/** The program's name; null when there is none. */
export async function findChromium(): Promise<string | null> {
  for (const name of PROGRAMS) if (await hasProgram(name)) return name;
  return null;
}

/** A running browser. */
export class Chromium implements AsyncDisposable {
  readonly #daemon: Daemon;
  readonly #directory: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  readonly #pages = new Map<string, Page>();
  #id = 0;

  private constructor(daemon: Daemon, directory: string, socket: WebSocket) {
    this.#daemon = daemon;
    this.#directory = directory;
    this.#socket = socket;
    socket.onmessage = ({ data }): void => this.#take(JSON.parse(data));
    socket.onclose = (): void => {
      for (const { reject } of this.#waiting.values()) reject(new Error("Chromium has ended"));
    };
  }

  /** Starts a browser with a profile of its own. */
  static async start(program: string): Promise<Chromium> {
    const directory = await Deno.makeTempDir();
    const argv = [program, ...FLAGS, `--user-data-dir=${directory}/profile`, "about:blank"];
    const daemon = Daemon.start(argv, `${directory}/output`);
    try {
      const listening = /DevTools listening on (ws:\S+)/;
      await daemon.until(
        "Chromium listens",
        () => listening.test(daemon.output()),
        START_DEADLINE_MS,
      );
      const socket = new WebSocket(listening.exec(daemon.output())![1]!);
      await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = (): void => reject(new Error("Cannot open the DevTools connection"));
      });
      return new Chromium(daemon, directory, socket);
    } catch (error) {
      await daemon.stop();
      await Deno.remove(directory, { recursive: true });
      throw error;
    }
  }

  /** Opens a page, which tells everything from its first request on. */
  async open(url: string, width = 1280, height = 900): Promise<Page> {
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId as string);
    this.#pages.set(sessionId as string, page);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.call(`${domain}.enable`);
    await page.size(width, height);
    await page.call("Page.navigate", { url });
    return page;
  }

  /** One call; rejects when the browser refuses it or does not answer. */
  async call(method: string, params: Answer = {}, sessionId?: string): Promise<Answer> {
    const id = ++this.#id;
    const answer = Promise.withResolvers<Answer>();
    this.#waiting.set(id, answer);
    const late = setTimeout(
      () => answer.reject(new Error(`Chromium does not answer ${method}`)),
      ANSWER_DEADLINE_MS,
    );
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    try {
      return await answer.promise;
    } finally {
      clearTimeout(late);
      this.#waiting.delete(id);
    }
  }

  /** Ends the browser and removes its profile. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#socket.addEventListener("close", resolve));
    await this.call("Browser.close").catch(() => {}); // it may end before it answers
    this.#socket.close();
    await closed;
    await this.#daemon.exited;
    await Deno.remove(this.#directory, { recursive: true });
  }

  #take(message: Answer): void {
    const { error, id, method, params, result, sessionId } = message;
    if (typeof id === "number") {
      const waiting = this.#waiting.get(id);
      if (error === undefined) waiting?.resolve(result as Answer);
      else waiting?.reject(new Error(`Chromium refuses: ${JSON.stringify(error)}`));
    } else this.#pages.get(sessionId as string)?.take(method as string, params as Answer);
  }
}

/** An open page. */
export class Page {
  /** Console errors and warnings, exceptions, and what the browser itself complains about. */
  readonly complaints: string[] = [];
  /** Every address that it asked for. */
  readonly requests: string[] = [];
  readonly #browser: Chromium;
  readonly #session: string;

  constructor(browser: Chromium, session: string) {
    this.#browser = browser;
    this.#session = session;
  }

  /** One call to this page. */
  call(method: string, params: Answer = {}): Promise<Answer> {
    return this.#browser.call(method, params, this.#session);
  }

  /** The value of an expression or of a promise. */
  async evaluate<T>(expression: string): Promise<T> {
    const { exceptionDetails, result } = await this.call("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** Waits until an expression is true in the page. */
  async until(condition: string): Promise<void> {
    const found = await this.evaluate<boolean>(`new Promise((resolve) => {
      const late = Date.now() + ${WAIT_MS};
      const look = () => {
        let said = false;
        try { said = Boolean(${condition}); } catch { /* not there yet */ }
        if (said || Date.now() > late) resolve(said); else setTimeout(look, 30);
      };
      look();
    })`);
    if (found) return;
    const text = await this.text("body");
    throw new Error(`Cannot see ${condition} in the page: ${text.slice(0, 1500)}`);
  }

  /** What a person reads in an element. */
  text(selector: string): Promise<string> {
    return this.evaluate<string>(`document.querySelector(${JSON.stringify(selector)}).innerText`);
  }

  /** Sets the size of the window, in CSS pixels. */
  async size(width: number, height: number): Promise<void> {
    await this.call("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
  }

  /** `light` or `dark`. */
  async scheme(value: "light" | "dark"): Promise<void> {
    const features = [{ name: "prefers-color-scheme", value }];
    await this.call("Emulation.setEmulatedMedia", { features });
  }

  /** The whole page as PNG. */
  async screenshot(path: string): Promise<void> {
    const { data } = await this.call("Page.captureScreenshot", { captureBeyondViewport: true });
    await Deno.writeFile(path, Uint8Array.fromBase64(data as string));
  }

  /** Takes an event of the protocol. */
  take(method: string, params: Answer): void {
    const said = JSON.stringify(params).slice(0, 600);
    if (method === "Network.requestWillBeSent") {
      this.requests.push((params.request as { url: string }).url);
    } else if (method === "Runtime.exceptionThrown") this.complaints.push(said);
    else if (
      method === "Runtime.consoleAPICalled" && /error|warning|assert/.test(`${params.type}`)
    ) {
      this.complaints.push(said);
    } else if (
      method === "Log.entryAdded" &&
      /error|warning/.test((params.entry as { level: string }).level)
    ) this.complaints.push(said);
  }
}
