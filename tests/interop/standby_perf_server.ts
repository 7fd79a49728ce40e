/**
 * A program of the tests: what ceph_perf_msgr_server is, as a box of a pair. It answers each request on
 * sessions that the other box holds too, and goes on with them after a takeover.
 *
 *     standby_perf_server.ts CONFIG ADDRESS      CONFIG is a gateway's with "standby"
 *
 * @module
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { loadGatewayConfig } from "../../src/app/config/gateway_config.ts";
import { configuredAuth } from "../../src/app/daemon.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import type { Cargo, CargoLink, CargoView } from "../../src/app/standby/cargo.ts";
import { SessionMirror } from "../../src/app/standby/session_mirror.ts";
import { StandbyPart } from "../../src/app/standby/standby_part.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import { printLine } from "../../src/app/terminal.ts";
import { arena } from "../../src/mem/arena.ts";
import type { Region } from "../../src/mem/region.ts";
import { U64 } from "../../src/mem/u64.ts";
import { AuthNoneServer } from "../../src/proto/msgr2/auth_none.ts";
import type { Batch } from "../../src/proto/msgr2/batch.ts";
import { recordFrontAt } from "../../src/proto/msgr2/outbox.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { SessionState } from "../../src/proto/msgr2/session.ts";
import {
  PERF_OSD_OP,
  PERF_OSD_OP_REPLY,
  PERF_OSD_OP_REPLY_SIZE,
  writePerfOsdOpReply,
} from "../../src/wire/ceph/osd.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";
import type { PostWriter } from "../../src/wire/standby/post.ts";

/** What it says in a line of its output. */
export interface PerfServed {
  /** A session was taken over with these numbers, or they are what it has now. */
  readonly what: "taken" | "now";
  /** Number of the last request, and of the last answer. */
  readonly requests: number;
  readonly answers: number;
  /** Requests of this process, and those that came out of order. */
  readonly served: number;
  readonly outOfOrder: number;
}

const SAY_MS = 50;
/** A client may come before the address is there. */
const LISTEN_RETRY_MS = 5;

/** Its sessions are all that it has. */
class PerfCargo implements Cargo {
  link!: CargoLink;
  alone = true;
  readonly releasing = null;
  readonly #address: string;
  readonly #sessions = new SessionMirror(0);
  #endpoint: Endpoint | null = null;
  #running = false;
  #last = 0;
  #served = 0;
  #outOfOrder = 0;

  constructor(address: string) {
    this.#address = address;
  }

  get view(): CargoView {
    const { messages, sessions } = this.#sessions;
    return {
      running: this.#running,
      sessions: this.#endpoint?.messenger.sessions.size ?? sessions,
      messages,
      spoolMessages: 0,
      spoolBytes: 0,
      addedLatencyMs: this.#sessions.latencyMs,
      mode: "sync",
    };
  }

  check(kind: number): number {
    return this.#endpoint === null && this.#sessions.has(kind) ? 0 : -1;
  }

  apply(kind: number, from: Region, at: number, end: number): number {
    return this.#sessions.apply(kind, from, at, end);
  }

  stored(): Promise<void> {
    return Promise.resolve(); // in memory, as its sessions are
  }

  async take(): Promise<void> {
    if (this.#endpoint !== null) {
      this.#running = true;
      this.#endpoint.wake();
      return;
    }
    const none = new AuthNoneServer({ tool: true });
    const endpoint = new Endpoint({
      entityType: EntityType.Osd,
      gid: U64.of(0),
      auth: { ...authNone("osd.0"), server: () => none.attempt() },
      policyFor: () => POLICIES.statefulServer,
      mirrored: {
        mayRun: () => this.#running && this.link.mayRun(),
        afterTurn: () => this.#sessions.write(this.link),
      },
    });
    this.#endpoint = endpoint;
    this.#sessions.adoptInto(endpoint.messenger);
    for (const { outSeq, takenSeq } of endpoint.messenger.sessions.values()) {
      this.#last = takenSeq;
      this.say("taken", takenSeq, outSeq);
    }
    endpoint.onEvent(({ session }) => {
      if (session !== null) this.say("now", session.takenSeq, session.outSeq);
    });
    endpoint.handle((batch) => this.#answer(batch));
    this.#running = true;
    this.alone = true;
    for (;;) {
      try {
        await endpoint.listen(this.#address);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, LISTEN_RETRY_MS));
      }
    }
  }

  suspend(): void {
    this.#running = false;
  }

  release(): Promise<void> {
    this.suspend();
    const endpoint = this.#endpoint;
    this.#endpoint = null;
    this.#sessions.stop();
    return endpoint?.close({ tellPeers: false }) ?? Promise.resolve();
  }

  writeSnapshot(writer: PostWriter, flush: () => number): "more" | "wait" | "done" {
    if (!this.#running || this.#sessions.writeSnapshot(writer, flush) < 0) return "wait";
    this.alone = false;
    return "done";
  }

  handleAcked(serial: number): void {
    if (this.#sessions.handleAcked(serial)) this.#endpoint?.wake();
  }

  handleLost(): void {
    this.#sessions.handleLost();
  }

  handleAlone(): void {
    if (this.alone) return;
    this.alone = true;
    this.#sessions.handleAlone();
    this.#endpoint?.wake();
  }

  /** Says where its session is; there is one. */
  sayNow(): void {
    const [session] = this.#endpoint?.messenger.sessions.values() ?? [];
    if (session !== undefined) this.say("now", session.takenSeq, session.outSeq);
  }

  say(what: PerfServed["what"], requests: number, answers: number): void {
    const served = this.#served;
    const outOfOrder = this.#outOfOrder;
    printLine(JSON.stringify({ what, requests, answers, served, outOfOrder } satisfies PerfServed));
  }

  #answer(batch: Batch): void {
    for (let index = 0; index < batch.length; index++) {
      assert.equal(batch.type(index), PERF_OSD_OP.type);
      if (batch.seq(index) !== this.#last + 1) this.#outOfOrder++;
      this.#last = batch.seq(index);
      this.#served++;
      const session = batch.session(index);
      const record = session.reserve(PERF_OSD_OP_REPLY_SIZE, 0, 0);
      if (session.state === SessionState.Closed) continue; // it does not wait for its answers
      assert.notEqual(record, 0, "the queue holds all answers");
      writePerfOsdOpReply(arena, recordFrontAt(record));
      const { compatVersion, type, version } = PERF_OSD_OP_REPLY;
      session.commit(record, type, 127, version, compatVersion, 0, 0);
    }
  }
}

if (import.meta.main) {
  const [path, address] = Deno.args as [string, string];
  const { config } = await loadGatewayConfig(path);
  assert.ok(config !== null && config.standby !== false);
  const journal = new Journal({});
  const cargo = new PerfCargo(address);
  await StandbyPart.open({
    config: config.standby,
    name: config.name,
    auth: await configuredAuth(config, new Map(), "client"),
    state: config.state,
    cargo,
    journal,
    alarms: new Alarms(journal),
  });
  setInterval(() => cargo.sayNow(), SAY_MS);
}
