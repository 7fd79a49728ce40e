/**
 * Which way a message goes: the first route whose filter matches its topic says to which hubs, how
 * urgently, and whether it is kept until they have it. The messages of a route are spread over a
 * few lanes by topic, so that the order within a topic is kept and one loud topic does not keep
 * all others waiting.
 *
 * @module
 */
import { Priority } from "../../proto/gateway/schedule.ts";
import { matchesFilter } from "../../proto/gateway/topic_filter.ts";
import type { GatewayConfig } from "../config/gateway_config.ts";
import type { Spool } from "../spool/spool.ts";
import type { Stream } from "../spool/stream.ts";
import type { Feed } from "./sender.ts";

/** Lanes of a route. */
const LANES = 8;
/** Topics whose way is remembered. */
const TOPICS_MAX = 10_000;
/** What takes everything when there are no routes. */
const ALL = "#";

const PRIORITIES = { high: Priority.High, normal: Priority.Normal, low: Priority.Low } as const;
const encoder = new TextEncoder();

type RouteConfig = GatewayConfig["routes"][number];

/** The way of a topic. */
export interface Way {
  readonly topic: Uint8Array;
  /** Where its messages are kept; null when they are not. */
  readonly stream: Stream | null;
  /** The hubs that get them. */
  readonly hubs: readonly string[];
}

/** Finds ways; a new one is made when routes or hubs change. */
export class Router {
  readonly #spool: Spool;
  readonly #routes: readonly RouteConfig[];
  readonly #hubs: readonly string[];
  readonly #ways = new Map<string, Way | null>();

  /** @param hubs names of all hubs, those that get everything when there are no routes */
  constructor(spool: Spool, routes: readonly RouteConfig[], hubs: readonly string[]) {
    this.#spool = spool;
    this.#hubs = hubs;
    const all = { topic: ALL, to: hubs, priority: "normal", policy: "lossless" } as const;
    this.#routes = routes.length > 0 ? routes : [{ ...all, to: [...hubs], messagesPerSecond: 0 }];
    for (const stream of spool.streams) this.#adopt(stream);
  }

  /** The way of a topic; null when no route takes it. */
  way(topic: string): Way | null {
    let way = this.#ways.get(topic);
    if (way === undefined) {
      way = this.#find(topic);
      if (this.#ways.size >= TOPICS_MAX) this.#ways.clear();
      this.#ways.set(topic, way);
    }
    return way;
  }

  /** What a stream is to a hub; null when the hub does not get it. */
  feed(stream: Stream, hub: string): Feed | null {
    if (!stream.hubs.includes(hub)) return null;
    const route = this.#routeOf(stream);
    if (route === undefined) return { priority: Priority.Leftover, messagesPerSecond: 0 };
    const { messagesPerSecond, priority } = route;
    return { priority: PRIORITIES[priority], messagesPerSecond };
  }

  /** Larger is more important. */
  importance(stream: Stream): number {
    const route = this.#routeOf(stream);
    return -(route === undefined ? Priority.Leftover : PRIORITIES[route.priority]);
  }

  #find(topic: string): Way | null {
    const route = this.#routes.find((one) => matchesFilter(one.topic, topic));
    if (route === undefined) return null;
    const bytes = encoder.encode(topic);
    const stream = route.policy === "lossy"
      ? null
      : this.#spool.stream(route.topic, laneOf(bytes), route.to);
    return { topic: bytes, stream, hubs: route.to };
  }

  #routeOf({ route, spool }: Stream): RouteConfig | undefined {
    if (spool !== this.#spool.id) return undefined;
    return this.#routes.find((one) => one.topic === route && one.policy === "lossless");
  }

  /** Streams of former routes go to the hubs they were meant for, as far as there still are any. */
  #adopt(stream: Stream): void {
    const route = this.#routeOf(stream);
    const meant = (route?.to ?? stream.hubs).filter((hub) => this.#hubs.includes(hub));
    stream.hubs = meant.length > 0 ? meant : this.#hubs;
    // What only hubs that are gone did not have is forgotten with the next write.
    for (const hub of stream.hubs) if (stream.cursors.has(hub)) stream.moved.add(hub);
  }
}

function laneOf(topic: Uint8Array): number {
  let hash = 0;
  for (const byte of topic) hash = (hash * 31 + byte) | 0;
  return (hash >>> 0) % LANES;
}
