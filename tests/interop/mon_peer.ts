/**
 * An endpoint that a real monitor takes for another monitor: a lossless peer. A program of its
 * own too, so that it can run inside a network namespace:
 *
 *     deno run -A tests/interop/mon_peer.ts ADDRESS FSID COUNT PORT
 *
 * listens on PORT, sends COUNT commands and pings, and prints one JSON object with what came back.
 *
 * @module
 */
import assert from "node:assert/strict";
import { authNone } from "../../src/app/auth.ts";
import { Endpoint } from "../../src/app/endpoint.ts";
import { U64 } from "../../src/mem/u64.ts";
import { AuthNoneClient, NoneTarget } from "../../src/proto/msgr2/auth_none.ts";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import type { Session } from "../../src/proto/msgr2/session.ts";
import { parseFsid } from "../../src/wire/ceph/fsid.ts";
import { MessageType } from "../../src/wire/ceph/message_type.ts";
import { MON_COMMAND, writeMonCommand } from "../../src/wire/ceph/mon.ts";
import { EntityType } from "../../src/wire/msgr2/hello.ts";

const DEADLINE_MS = 60_000;

/** An endpoint that a monitor takes for another monitor. */
export function monEndpoint(): Endpoint {
  const name = { type: EntityType.Mon, id: "" };
  const client = new AuthNoneClient({ name, target: NoneTarget.Service });
  return new Endpoint({
    entityType: EntityType.Mon,
    gid: U64.of(7),
    auth: { ...authNone("mon."), client: () => client },
    policyFor: () => POLICIES.losslessPeerReuse,
  });
}

/** Listens on the next free port below or above another. */
export async function listenBeside(endpoint: Endpoint, port: number, step: number): Promise<void> {
  for (let next = port + step;; next += step) {
    try {
      await endpoint.listen(`v2:127.0.0.1:${next}`);
      return;
    } catch (error) {
      if (Math.abs(next - port) > 100) throw error;
    }
  }
}

/** What came back, in order: tids of command acks, and how many pings. */
export class Answers {
  readonly tids: number[] = [];
  pings = 0;
  readonly resumed: Record<"here" | "there", number> = { here: 0, there: 0 };

  constructor(endpoint: Endpoint) {
    endpoint.onEvent((event) => {
      if (event.kind !== "resume") return;
      this.resumed[event.connection!.accepted ? "there" : "here"]++;
    });
    endpoint.handle((batch) => {
      for (let index = 0; index < batch.length; index++) {
        if (batch.type(index) === MessageType.MonCommandAck) this.tids.push(batch.tidLo(index));
        if (batch.type(index) === MessageType.Ping) this.pings++;
      }
    });
  }
}

/** Waits for something, with a deadline. */
export async function until(what: string, reached: () => boolean): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!reached()) {
    assert.ok(Date.now() < deadline, `waited ${DEADLINE_MS} ms until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Sends commands with tids `from` to `to`, and a ping after each. */
export async function sendAll(
  endpoint: Endpoint,
  session: Session,
  fsid: string,
  from: number,
  to: number,
): Promise<void> {
  const front = writeMonCommand({ fsid: parseFsid(fsid), words: ['{"prefix":"fsid"}'] });
  for (let tid = from; tid <= to; tid++) {
    while (session.send({ ...MON_COMMAND, front, tid: U64.of(tid) }) === 0) {
      await endpoint.writable(session);
    }
    session.send({ type: MessageType.Ping });
    if (tid % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

if (import.meta.main) {
  const [address, fsid, count] = [Deno.args[0]!, Deno.args[1]!, Number(Deno.args[2])];
  const endpoint = monEndpoint();
  await endpoint.listen(`v2:127.0.0.1:${Deno.args[3]}`);
  const answers = new Answers(endpoint);
  const session = await endpoint.connect(address, POLICIES.losslessPeerReuse);
  await sendAll(endpoint, session, fsid, 1, count);
  await until("all answers", () => answers.tids.length >= count && answers.pings >= count);
  const { tids, pings, resumed } = answers;
  const { gaps } = endpoint.messenger.counters;
  const { duplicates, reconnects } = session;
  await endpoint.close();
  await Deno.stdout.write(
    new TextEncoder().encode(
      JSON.stringify({ tids, pings, resumed, gaps, duplicates, reconnects }) + "\n",
    ),
  );
}
