/**
 * What a {@linkcode PathManager} shall do: which interfaces take part and as what, how many subflows a
 * connection gets, what is announced, who may join.
 *
 * @module
 */

/** What an interface or an address is used for. */
export type PathRole =
  /** Carries data. */
  | "primary"
  /** Carries data when no primary can; promoted in the order of `priority`. */
  | "backup"
  /** Costs money: a backup that is never promoted while any other path is there. */
  | "metered"
  /** Not used, not announced. */
  | "off";

/** How subflows are laid out. */
export type PathLayout =
  /** From every usable address to every address of the peer, of one family. */
  | "full-mesh"
  /** The same subflows, but only those of the interface with the best priority are no backup. */
  | "primary-backup"
  /** Nothing is created or announced; events are told and requests of other programs are done. */
  | "none";

/** The first rule whose conditions all hold says what an address of this host is used for. */
export interface InterfaceRule {
  /** Name of the interface, `*` for any run of characters; null for every interface. */
  readonly name: string | null;
  /** `10.0.0.0/8`, which the address must be in; null for every address. */
  readonly subnet: string | null;
  readonly role: PathRole;
  /** Lower is better; equal ones are used together. */
  readonly priority: number;
  /** Tell peers of it by ADD_ADDR. */
  readonly announce: boolean;
  /** Subflows from this address to each address of the peer. */
  readonly subflows: number;
}

/** The first rule whose conditions all hold changes the policy for a connection. */
export interface ConnectionRule {
  /** `10.0.0.0/8`, which the peer's address must be in; null for every one. */
  readonly destination: string | null;
  /** The peer's port (of a connection made here) or our own (of an accepted one); 0 for every one. */
  readonly port: number;
  readonly layout: PathLayout;
  readonly subflowsMax: number;
  /** Names as in {@linkcode InterfaceRule}; empty for all. */
  readonly interfaces: readonly string[];
  readonly joins: "accept" | "refuse" | "default";
}

/** All of it; times are milliseconds. */
export interface PathPolicy {
  readonly layout: PathLayout;
  readonly interfaces: readonly InterfaceRule[];
  readonly connections: readonly ConnectionRule[];
  /** Of one connection, with its first one. */
  readonly subflowsMax: number;
  /** Addresses announced on one connection. */
  readonly announcesMax: number;
  /** Between two ADD_ADDR, or two REMOVE_ADDR, of one connection. */
  readonly announceIntervalMs: number;
  /** Before a failed subflow is made again: doubles from the first to the last. */
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  /** A link that was down is used again after it was up this long; doubles while it flaps. */
  readonly upDelayMs: number;
  readonly upDelayMaxMs: number;
  /** What becomes of joins of connections without a rule of their own is the guard's default. */
  readonly joins: "accept" | "refuse" | "default";
}

/** An interface without a rule: used when it is neither loopback nor the address link-local. */
export const INTERFACE_DEFAULT: InterfaceRule = {
  name: null,
  subnet: null,
  role: "primary",
  priority: 100,
  announce: false,
  subflows: 1,
};

/** A policy that says nothing. */
export const PATH_POLICY_DEFAULTS: PathPolicy = {
  layout: "full-mesh",
  interfaces: [],
  connections: [],
  subflowsMax: 8,
  announcesMax: 8,
  announceIntervalMs: 200,
  retryFirstMs: 1000,
  retryMaxMs: 60_000,
  upDelayMs: 2000,
  upDelayMaxMs: 60_000,
  joins: "default",
};
