/**
 * The status listener: the page, the snapshot as JSON and as a stream, metrics and probes. It
 * only tells; nothing can be changed through it. A page of another origin must not read it through
 * a name that it has made to lead here (DNS rebinding): on loopback only loopback's names count.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { hostText, isLoopback, resolveAll } from "../address.ts";
import { hostPort } from "../address_text.ts";
import { printableJson } from "../printable.ts";
import { OVERLAY_STYLE, overlaySvg } from "../overlay/overlay_graph.ts";
import { Feed } from "./feed.ts";
import { faults, health, statusReport } from "./health.ts";
import { type Handler, HttpServer, plain } from "./http.ts";
import { METRICS_TYPE, metricsText } from "./metrics.ts";
import { PAGE, PAGE_SCRIPT, PAGE_STYLE } from "./page.ts";
import type { Snapshot } from "./snapshot.ts";

/** Paths of others' answers, such as `/stream/live`, a stream of server-sent events. */
export type Routes = ReadonlyMap<string, Handler>;

/** The open listener. */
export interface StatusServer {
  /** `127.0.0.1:8711` */
  readonly where: string;
  readonly port: number;
  /** Connections that were turned away or took too long. */
  readonly refused: number;
  /** Ends it, and every stream. */
  close(): Promise<void>;
}

/** For every answer. Only what the page itself brings may run, and it may ask only this server. */
const HEADERS: Record<string, string> = {
  "content-security-policy": [
    "default-src 'none'",
    `script-src '${hashOf(PAGE_SCRIPT)}'`,
    `style-src '${hashOf(PAGE_STYLE)}' '${hashOf(OVERLAY_STYLE)}'`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/**
 * Opens the listener.
 *
 * @param listen `127.0.0.1:8711`; port 0 takes a free one
 * @param source is asked for each answer
 * @throws when the address cannot be used
 */
export async function openStatus(
  listen: string,
  source: () => Snapshot,
  routes: Routes = new Map(),
): Promise<StatusServer> {
  const [address] = await resolveAll(listen);
  const feed = new Feed(() => reportJson(source));
  const isAllowed = hostCheck(listen, address!);
  const server = new HttpServer(listenAt(listen, address!), async (request) => {
    const answer = await answerTo(request, isAllowed, source, feed, routes);
    for (const [name, value] of Object.entries(HEADERS)) answer.headers.set(name, value);
    return answer;
  });
  return {
    where: hostPort(hostText(address!), server.port),
    port: server.port,
    get refused(): number {
      return server.refused;
    },
    async close(): Promise<void> {
      feed.close();
      await server.close();
    },
  };
}

function listenAt(listen: string, address: EntityAddr): Deno.TcpListener {
  try {
    return Deno.listen({ hostname: hostText(address), port: address.port });
  } catch (error) {
    const why = error instanceof Deno.errors.AddrInUse
      ? "another program listens there"
      : (error as Error).message;
    throw new Error(
      `Cannot open the status listener as ${why}: current value is "${listen}", ` +
        "give another one with --status or as status.listen, or --no-status",
    );
  }
}

async function answerTo(
  request: Request,
  isAllowed: (host: string) => boolean,
  source: () => Snapshot,
  feed: Feed,
  routes: Routes,
): Promise<Response> {
  const host = request.headers.get("host");
  if (host !== null && !isAllowed(host)) { // a browser always sends one
    return plain(421, "This listener answers to localhost only: use http://localhost or 127.0.0.1");
  }
  // A page of another site cannot read the answer, but it could take the places of viewers.
  const site = request.headers.get("sec-fetch-site") ?? "none";
  if (site === "cross-site" && request.headers.get("sec-fetch-mode") !== "navigate") {
    return plain(403, "Pages of other sites get no answer here");
  }
  const { pathname, searchParams } = new URL(request.url);
  try {
    switch (pathname) {
      case "/":
        return new Response(PAGE, { headers: { "content-type": "text/html; charset=utf-8" } });
      case "/metrics":
        return new Response(metricsText(source()), { headers: { "content-type": METRICS_TYPE } });
      case "/healthz":
        return healthz(source());
      case "/readyz":
        return readyz(source());
      case "/api/status":
        return new Response(`${reportJson(source)}\n`, {
          headers: { "content-type": "application/json" },
        });
      case "/api/overlay.svg":
        return picture(source(), searchParams.get("name") ?? "");
      case "/api/events":
        return events(feed);
    }
    const route = routes.get(pathname);
    if (route !== undefined) return withOwnHeaders(await route(request));
  } catch (error) {
    return plain(500, `Cannot answer as the status cannot be read: ${(error as Error).message}`);
  }
  return plain(404, "Nothing is here: / is the page, /metrics, /healthz, /readyz, /api/status");
}

function healthz(snapshot: Snapshot): Response {
  const wrong = faults(snapshot);
  if (wrong.length === 0) return plain(200, "ok");
  return plain(503, wrong.map(({ code, text }) => `${code}: ${text}`).join("\n"));
}

function readyz(snapshot: Snapshot): Response {
  return snapshot.ready ? plain(200, "ok") : plain(503, health(snapshot).text);
}

function picture({ overlay }: Snapshot, name: string): Response {
  const view = overlay?.overlays.find((each) => each.name === name);
  if (view === undefined) return plain(404, "No overlay has this name: /api/status tells them");
  return new Response(overlaySvg(view), { headers: { "content-type": "image/svg+xml" } });
}

function events(feed: Feed): Response {
  const stream = feed.open();
  if (stream === null) {
    return plain(503, "Too many look already: ask /api/status", { "retry-after": "10" });
  }
  // Proxies that hold answers back until they are whole are told not to.
  const headers = { "content-type": "text/event-stream", "x-accel-buffering": "no" };
  return new Response(stream, { headers });
}

/** A snapshot may hold what others have sent; JSON of it holds no control characters. */
function reportJson(source: () => Snapshot): string {
  return printableJson(statusReport(source()));
}

/** The same answer with headers that can be set. */
function withOwnHeaders({ body, headers, status }: Response): Response {
  return new Response(body, { status, headers });
}

/** On loopback the names of loopback, and the one that was configured; elsewhere any name. */
function hostCheck(listen: string, address: EntityAddr): (host: string) => boolean {
  if (!isLoopback(address)) return () => true;
  const own = nameOf(listen.replace(/^v2:/, ""));
  return (host) => {
    const name = nameOf(host);
    return name === own || name === "localhost" || name.endsWith(".localhost") ||
      name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name);
  };
}

/** Without the port. */
function nameOf(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}

/** CSP level 3 section 2.3.1: hash-source. */
function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
