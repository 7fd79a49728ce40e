/**
 * Session policies, with the four switches Ceph gives them: what happens to a session when its
 * connection breaks. msgr2 "Message flow handshake"; the names are Ceph's own.
 *
 * @module
 */

/** What a session does when its connection breaks. */
export interface Policy {
  /** Messages may be lost; the session ends with its connection. */
  readonly lossy: boolean;
  /** Never connects by itself: waits for the peer. */
  readonly server: boolean;
  /** Does not reconnect while there is nothing to send. */
  readonly standby: boolean;
  /** A peer that comes back with a new cookie has forgotten the session: reset it. */
  readonly resetcheck: boolean;
  /** False: peers are not looked up by address, each connection is a session of its own. */
  readonly registered: boolean;
  /**
   * What a full RESET_SESSION does with messages that are not acknowledged: Ceph drops them
   * (false). True sends them again in the new session, so that a receiver which forgot the
   * session gets them once more rather than never.
   */
  readonly requeue: boolean;
  /**
   * What TAG_CLOSE from the peer does: it ends the session (false, "equivalent to a hangup or
   * reset"), or is taken for a full reset after which we connect again (true): what a gateway
   * wants, whose hub may be closed and come back.
   */
  readonly reopen: boolean;
}

/** Ceph's names of its policies. */
export type PolicyName =
  | "lossyClient"
  | "statelessServer"
  | "statelessRegisteredServer"
  | "losslessClient"
  | "statefulServer"
  | "losslessPeer"
  | "losslessPeerReuse";

function policy(
  lossy: boolean,
  server: boolean,
  standby: boolean,
  resetcheck: boolean,
  registered: boolean,
): Policy {
  return { lossy, server, standby, resetcheck, registered, requeue: false, reopen: false };
}

/**
 * Ceph's policies by name: what a session does when its connection breaks.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { POLICIES } from "@fairlead/fairlead";
 *
 * const keeps = { ...POLICIES.losslessClient, requeue: true };
 * assert.equal(keeps.lossy, false);
 * assert.equal(POLICIES.lossyClient.lossy, true);
 * ```
 */
export const POLICIES: Readonly<Record<PolicyName, Policy>> = {
  /** A client of a monitor or an OSD. */
  lossyClient: policy(true, false, false, false, true),
  /** A monitor towards clients. */
  statelessServer: policy(true, true, false, false, false),
  /** An OSD towards clients. */
  statelessRegisteredServer: policy(true, true, false, false, true),
  /** Connects, and keeps what is not acknowledged. */
  losslessClient: policy(false, false, false, true, true),
  /** Accepts, keeps, and waits for the client to come back. */
  statefulServer: policy(false, true, true, true, true),
  /** Both sides may connect. */
  losslessPeer: policy(false, false, true, false, true),
  /** Both sides may connect, and a restarted peer is noticed. */
  losslessPeerReuse: policy(false, false, true, true, true),
};
