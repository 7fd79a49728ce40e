/**
 * What a pair carries over beside IPsec: a gateway with its sessions and its spool. The service asks it
 * for posts while this box is active, and gives it records while it is not.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import type { PostWriter } from "../../wire/standby/post.ts";

/** What carries a cargo's posts: the service of the pair. */
export interface CargoLink {
  /** Where records are written for {@linkcode CargoLink.flush}. */
  readonly writer: PostWriter;
  /** Sends what was written; its serial, or 0 when it did not leave. */
  flush(): number;
  /** False once the lease of this box is over: nothing may leave, whatever was ordered last. */
  mayRun(): boolean;
  /** True while increments are of use: a snapshot was sent, or is on its way. */
  readonly follows: boolean;
}

/** One of it. */
export interface Cargo {
  /** Set once by the service. */
  link: CargoLink;
  /** What is held, for the status. */
  readonly view: CargoView;

  // ---- standby

  /** Whether a record could be taken; changes nothing. 0, or a negated Fault. */
  check(kind: number, from: Region, at: number, end: number): number;
  /** Takes a record that was checked; 0, or a negated Fault. */
  apply(kind: number, from: Region, at: number, end: number): number;
  /** Resolves when what was applied is safe here: only then it is acknowledged. */
  stored(): Promise<void>;

  /** Not null while it is being released: posts wait for that. Never rejects. */
  readonly releasing: Promise<void> | null;

  // ---- active

  /** Nobody waits for the other box; false from when the cargo is whole in a snapshot. */
  readonly alone: boolean;
  /** This box is active now: goes on with what is held. */
  take(): Promise<void>;
  /** Nothing may leave any more, from this moment on. */
  suspend(): void;
  /** This box is not active any more: what there is is dropped, a snapshot will come. */
  release(): Promise<void>;
  /** Writes the next part of a snapshot. `wait`: nothing can be written now; `done`: it was the last. */
  writeSnapshot(writer: PostWriter, flush: () => number): "more" | "wait" | "done";
  /** The other box has all posts up to this serial. */
  handleAcked(serial: number): void;
  /** What was on its way to the other box is lost. */
  handleLost(): void;
  /** Nobody has to wait for the other box: what it holds is of an earlier term. */
  handleAlone(): void;
}

/** What a cargo tells about itself. */
export interface CargoView {
  /** It works on this box. */
  readonly running: boolean;
  readonly sessions: number;
  readonly messages: number;
  readonly spoolMessages: number;
  readonly spoolBytes: number;
  /** Time that acknowledgements of the other box took lately, in ms; 0 before the first. */
  readonly addedLatencyMs: number;
  readonly mode: "sync" | "async";
}
