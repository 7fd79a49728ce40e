/**
 * What connects a box with the other box of its pair, and with their witness: a session with each. Both
 * boxes listen and dial, and have one session between them, as lossless peers of msgr2 do. It carries
 * words (wire/standby/words.ts) and posts of records (wire/standby/post.ts).
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import { assert } from "../../mem/assert.ts";
import type { Batch } from "../../proto/msgr2/batch.ts";
import type { AuthOptions, MessengerEvent } from "../../proto/msgr2/messenger.ts";
import type { AuthAnswer, AuthServer } from "../../proto/msgr2/auth.ts";
import { POLICIES, type Policy } from "../../proto/msgr2/policy.ts";
import { type Session, SessionState } from "../../proto/msgr2/session.ts";
import type { EntityAddr } from "../../wire/msgr2/entity_addr.ts";
import { entityTypeName } from "../../wire/msgr2/hello.ts";
import { resolve } from "../address.ts";
import { printableWord } from "../printable.ts";
import { Endpoint } from "../endpoint.ts";
import { FairleadType } from "../message_types.ts";

/** A box that was started again has forgotten the session, and gets a snapshot in a new one. */
const PEER_POLICY: Policy = { ...POLICIES.losslessPeerReuse, standby: false, reopen: true };
const WITNESS_POLICY: Policy = { ...POLICIES.losslessClient, reopen: true };
/** Posts of a snapshot have about 256 KiB; what a spool takes in one go may be more. */
const FRAME_BYTES_MAX = 40 * 1024 * 1024;
/** What may wait for the other box's acknowledgement. */
const OUTBOX_BYTES_MAX = 48 * 1024 * 1024;
/** A box that is away is looked for this often. */
const BACKOFF_MAX_MS = 250;
/** The other box is watched by its heartbeats; this is for the witness's connection. */
const KEEPALIVE_MS = 1000;
const DEAD_MS = 3000;
/** -EACCES: this one does not come in. */
const EACCES = -13;

/** Who is at the other end of a session. */
export type Other = "peer" | "witness";

/** What a {@linkcode PairLink} tells; all of it within its loop. */
export interface PairHandler {
  /** The other box, or the witness, can be reached, or not any more. */
  handleReached(other: Other, reached: boolean): void;
  /** The other box has forgotten the session: what it had not acknowledged is lost. */
  handleForgotten(): void;
  /** The other box, or the witness, says a word. */
  handleWord(front: Uint8Array<ArrayBuffer>, from: Other): void;
  /** Somebody else has said something: who, where. */
  handleStranger(who: string): void;
  /**
   * A post came. A promise: it is acknowledged when that resolves. False: it cannot be taken, and must
   * not be acknowledged: the session begins anew.
   */
  handlePost(front: Uint8Array<ArrayBuffer>): Promise<boolean> | boolean;
  /** The other box has taken all posts up to this serial of {@linkcode PairLink.post}. */
  handleAcknowledged(serial: number): void;
}

/** How a {@linkcode PairLink} is made. */
export interface PairLinkOptions {
  /** Who both boxes are: nobody else of the keyring comes in. */
  readonly name: string;
  readonly auth: AuthOptions;
  readonly handler: PairHandler;
  /** What happened to sessions, for the log. */
  onEvent(event: MessengerEvent, who: string | null): void;
}

/** The sessions of one box. */
export class PairLink {
  readonly #endpoint: Endpoint;
  readonly #handler: PairHandler;
  #peer: Session | null = null;
  #witness: Session | null = null;
  /** For each message of ours to the other box, in order: its serial when it is a post, else 0. */
  #inFlight: number[] = [];
  #acked = 0;
  #serial = 0;
  #closed = false;

  /** @param options what it works with */
  constructor({ auth, handler, name, onEvent }: PairLinkOptions) {
    this.#handler = handler;
    this.#endpoint = new Endpoint({
      auth: { ...auth, server: (method) => onlyAs(name, auth.server(method)) },
      policyFor: () => PEER_POLICY,
      messenger: {
        frameBytesMax: FRAME_BYTES_MAX,
        outboxBytesMax: OUTBOX_BYTES_MAX,
        backoffMs: BACKOFF_MAX_MS / 4,
        backoffMaxMs: BACKOFF_MAX_MS,
        keepaliveMs: KEEPALIVE_MS,
        deadMs: DEAD_MS,
        anyTarget: true,
      },
    });
    this.#endpoint.handle((batch) => this.#handleBatch(batch));
    this.#endpoint.onEvent((event) => {
      onEvent(event, this.#nameOf(event.session));
      this.#handleEvent(event);
    });
  }

  /**
   * Listens, and begins to look for the others.
   *
   * @throws when the address cannot be used
   */
  async open(listen: string, peer: string, witness: string | null): Promise<void> {
    const targets = await Promise.all([resolve(peer), witness === null ? null : resolve(witness)]);
    await this.#endpoint.listen(listen);
    // From here on without a pause: a session that the other box opens first would be one of its own.
    this.#dial("peer", targets[0]);
    if (targets[1] !== null) this.#dial("witness", targets[1]);
  }

  /** True while the other box, or the witness, can be reached. */
  reaches(other: Other): boolean {
    return this.#sessionOf(other)?.state === SessionState.Ready;
  }

  /** Says a word; false when nobody would hear it now. */
  say(other: Other, word: Uint8Array): boolean {
    const session = this.#sessionOf(other);
    if (session === null || session.state !== SessionState.Ready) return false;
    if (session.send({ type: FairleadType.Standby, front: word }) === 0) return false;
    if (session === this.#peer) this.#inFlight.push(0);
    return true;
  }

  /** Sends a post; returns its serial, above all before, or 0 when there is no room or no session. */
  post(front: Uint8Array): number {
    const session = this.#peer;
    if (session === null || session.send({ type: FairleadType.Sync, front }) === 0) return 0;
    this.#inFlight.push(++this.#serial);
    return this.#serial;
  }

  /** Bytes that wait for the other box. */
  get waitingBytes(): number {
    return this.#peer?.outbox.bytes ?? 0;
  }

  /** Ends: the others keep their sessions, as this box may come back. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#endpoint.close({ tellPeers: false });
  }

  #sessionOf(other: Other): Session | null {
    return other === "peer" ? this.#peer : this.#witness;
  }

  #otherOf(session: Session | null): Other | null {
    if (session === null) return null;
    return session === this.#peer ? "peer" : session === this.#witness ? "witness" : null;
  }

  #nameOf(session: Session | null): string | null {
    const other = this.#otherOf(session);
    return other === null ? null : other === "peer" ? "the other box" : "the witness";
  }

  #setPeer(session: Session): void {
    this.#peer = session;
    this.#forget(session);
    this.#endpoint.watchAcknowledged(session, () => this.#takeAcknowledged(session));
  }

  #handleBatch(batch: Batch): Promise<void> | void {
    const stored: Promise<boolean>[] = [];
    const peer = this.#peer;
    let taken = true;
    for (let index = 0; index < batch.length; index++) {
      const front = batch.front(index);
      const session = batch.session(index);
      const other = this.#otherOf(session);
      if (session.state === SessionState.Closed) continue; // what it says comes again in the next one
      if (batch.type(index) === FairleadType.Standby && other !== null) {
        this.#handler.handleWord(front, other);
      } else if (batch.type(index) !== FairleadType.Sync || other !== "peer") {
        this.#handler.handleStranger(`${printableWord(session.peerName)} at ${session.peerAddrs}`);
      } else {
        const pending = this.#handler.handlePost(front);
        if (typeof pending !== "boolean") stored.push(pending);
        else if (!pending) taken = false;
      }
    }
    if (!taken) this.#startAnew(peer!);
    if (stored.length === 0) return;
    return Promise.all(stored).then((all) => {
      if (!all.every((one) => one)) this.#startAnew(peer!);
    });
  }

  /** What came last is not acknowledged: the other box has to tell everything again. */
  #startAnew(session: Session): void {
    if (session !== this.#peer || this.#closed) return;
    this.#endpoint.disconnect(session);
    this.#handler.handleReached("peer", false);
    this.#dial("peer", session.target!);
  }

  #handleEvent({ kind, session }: MessengerEvent): void {
    const other = this.#otherOf(session);
    if (session === null || other === null) return;
    switch (kind) {
      case "connect":
      case "accept": // a session begins in which nothing was said
        if (other === "peer") this.#forget(session);
        this.#handler.handleReached(other, true);
        break;
      case "resume":
        this.#handler.handleReached(other, true);
        break;
      case "remoteReset":
        if (other === "peer") this.#forget(session);
        break;
      case "fault":
      case "refused":
        this.#handler.handleReached(other, false);
        break;
      case "reset":
        this.#handler.handleReached(other, false);
        if (!this.#closed) this.#dial(other, session.target!);
    }
  }

  #forget(session: Session): void {
    this.#acked = 0;
    this.#inFlight = new Array<number>(session.unacknowledged).fill(0);
    this.#handler.handleForgotten();
  }

  /** Opens a session, in which nothing was said: the first one, or after one that is over for good. */
  #dial(other: Other, target: EntityAddr): void {
    const policy = other === "peer" ? PEER_POLICY : WITNESS_POLICY;
    const session = this.#endpoint.messenger.connect(target, policy, nowMs());
    assert(session !== null, "nobody else comes in, so that there is room");
    if (other === "peer") this.#setPeer(session);
    else this.#witness = session;
  }

  #takeAcknowledged(session: Session): void {
    if (session !== this.#peer) return;
    const acked = this.#inFlight.length - session.unacknowledged;
    let serial = 0;
    for (; this.#acked < acked; this.#acked++) {
      serial = Math.max(serial, this.#inFlight[this.#acked]!);
    }
    if (this.#acked * 2 > this.#inFlight.length) {
      this.#inFlight.splice(0, this.#acked);
      this.#acked = 0;
    }
    if (serial > 0) this.#handler.handleAcknowledged(serial);
  }
}

/**
 * Whoever dials must be who this box is: a keyring may have others, and one that names the other box's
 * address would be taken for it.
 */
function onlyAs(name: string, server: AuthServer | null): AuthServer | null {
  if (server === null) return null;
  const handleRequest = (payload: Uint8Array, first: boolean, mode: number): AuthAnswer => {
    const answer = server.handleRequest(payload, first, mode);
    if (answer.kind !== "done") return answer;
    const { id, type } = server.entity;
    const who = `${entityTypeName(type)}.${id}`;
    if (who === name) return answer;
    return {
      kind: "bad",
      result: EACCES,
      why: `both boxes are ${name}, and not ${printableWord(who)}`,
    };
  };
  return {
    handleRequest,
    get sessionKey() {
      return server.sessionKey;
    },
    get connectionSecret() {
      return server.connectionSecret;
    },
    get entity() {
      return server.entity;
    },
    get globalId() {
      return server.globalId;
    },
  };
}
