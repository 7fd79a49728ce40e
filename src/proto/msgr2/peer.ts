/**
 * What is told to a peer and known of it on one connection: msgr2 "Banner", "Message flow
 * handshake" and its races.
 *
 * @module
 */
import type { U64 } from "../../mem/u64.ts";
import { FAIRLEAD_CLOSE, MSGR2_FEATURE_COMPRESSION } from "../../wire/msgr2/banner.ts";
import { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import { EntityType, entityTypeName } from "../../wire/msgr2/hello.ts";
import type { Connection } from "./connection.ts";
import type { Session } from "./session.ts";

/** True when both banners carry the compression bit: its two frames are then exchanged. */
export function compressionAgreed({ banner }: Connection): boolean {
  return (banner.supported.lo & MSGR2_FEATURE_COMPRESSION) !== 0;
}

/** True when the peer knows TAG_CLOSE, which real Ceph does not. */
export function closeAgreed({ banner }: Connection): boolean {
  return (banner.supported.hi & FAIRLEAD_CLOSE) !== 0;
}

/** Our gid for an ident: a client's is its global_id. */
export function fillGid({ messenger, globalId }: Connection, into: U64): void {
  const { entityType, gid } = messenger.options;
  into.copy(entityType === EntityType.Client && !globalId.isZero() ? globalId : gid);
}

/** The name a peer authenticated with, `client.gw1`. */
export function peerNameOf({ authServer, peerType }: Connection): string {
  const entity = authServer?.entity;
  if (entity === undefined || entity.type === 0) return `${entityTypeName(peerType)}.?`;
  return `${entityTypeName(entity.type)}.${entity.id}`;
}

/** True when, in a race of both sides, the peer's connection goes on: the lower address dials. */
export function peerWins({ messenger, local }: Connection, existing: Session): boolean {
  if (existing.policy.server || existing.target === null) return true;
  const addrs = new EntityAddrVec();
  messenger.own.fillListening(local, addrs); // both sides must compare the same two addresses
  const own = addrs.v2();
  const peer = existing.peerAddrs.v2();
  return own === null || peer === null || peer.compare(own) < 0;
}
