/**
 * Fairlead as a library: ordered, lossless messages between entities over Ceph's msgr2 protocol.
 *
 * Three ways in, from the whole to its parts:
 *
 * - {@linkcode Endpoint}: one entity with its sessions, sockets and clock included.
 * - {@linkcode Messenger}: the same machines for programs that bring their own sockets and clock.
 *   Inputs are `handle…`, outputs are `poll…`, time is a parameter in whole milliseconds.
 * - the codecs, `write…` and `read…`: the caller's {@linkcode Region} and an offset in, the next
 *   offset out. A writer needs the room that `…Bytes` or `…_SIZE` tells; a reader answers wrong
 *   bytes with a negated {@linkcode Fault}, which {@linkcode describeFault} puts into words.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { Endpoint, POLICIES } from "@fairlead/fairlead";
 *
 * const hub = new Endpoint();
 * const address = await hub.listen("v2:127.0.0.1:0");
 * const box = new Endpoint();
 * const session = await box.connect(address, POLICIES.losslessClient);
 * session.send({ type: 0xfa00, front: new TextEncoder().encode("21.5 °C") });
 * for await (const batch of hub) {
 *   assert.equal(new TextDecoder().decode(batch.front(0)), "21.5 °C");
 *   break; // taken over: now the box gets its acknowledgement
 * }
 * await box.flushed(session);
 * await box.close();
 * await hub.close();
 * ```
 *
 * @module
 */

// ---- an entity with its sessions: where most programs begin and end

export { Endpoint, type EndpointOptions, type IoRoad, type Mirrored } from "./src/app/endpoint.ts";
export type { SessionTransport, TcpOnly, Transport } from "./src/app/loop.ts";
export { authCephx, authNone, type ModeName } from "./src/app/auth.ts";
export { POLICIES, type Policy, type PolicyName } from "./src/proto/msgr2/policy.ts";
export { type OutMessage, Session, SessionState } from "./src/proto/msgr2/session.ts";
export { SharedData } from "./src/proto/msgr2/shared_data.ts";
export { Batch } from "./src/proto/msgr2/batch.ts";

// ---- names, addresses and keys

export {
  type AddressText,
  AddrType,
  EntityAddr,
  entityAddrBytes,
  parseAddress,
  readEntityAddr,
  writeEntityAddr,
} from "./src/wire/msgr2/entity_addr.ts";
export {
  EntityAddrVec,
  entityAddrVecBytes,
  parseAddrVec,
  readEntityAddrVec,
  writeEntityAddrVec,
} from "./src/wire/msgr2/entity_addrvec.ts";
export { type EntityName, formatEntityName } from "./src/wire/cephx/entity_name.ts";
export {
  formatKeyring,
  Keyring,
  type KeyringEntry,
  parseKeyring,
} from "./src/wire/cephx/keyring.ts";
export {
  type CryptoKey,
  decodeKey,
  encodeKey,
  generateKey,
  KeyType,
} from "./src/wire/cephx/crypto_key.ts";

// ---- machines, for programs with their own sockets and clock

export {
  type AuthOptions,
  type EventKind,
  Messenger,
  MESSENGER_DEFAULTS,
  type MessengerEvent,
  type MessengerOptions,
} from "./src/proto/msgr2/messenger.ts";
export { type CloseReason, Connection, Phase } from "./src/proto/msgr2/connection.ts";
export { Counters } from "./src/proto/msgr2/counters.ts";
export type { AuthAnswer, AuthClient, AuthServer, Crypto } from "./src/proto/msgr2/auth.ts";
export { NodeCrypto } from "./src/io/crypto.ts";
export { gcmMaker } from "./src/io/libcrypto.ts";
export type { Aead, AeadMaker } from "./src/wire/msgr2/aead.ts";

// ---- frames of one direction of a connection, and the messages they are made from

export { FrameWriter } from "./src/proto/msgr2/frame_writer.ts";
export { FrameReader } from "./src/proto/msgr2/frame_reader.ts";
export { Outbox, recordDataAt, recordFrontAt, recordMiddleAt } from "./src/proto/msgr2/outbox.ts";
export { Nonce } from "./src/wire/msgr2/nonce.ts";
export {
  checkCrcFrame,
  finishControlCrc,
  frameBytes,
  FrameFormat,
  FrameParts,
} from "./src/wire/msgr2/frame.ts";
export { Preamble, PREAMBLE_SIZE, readPreamble, writePreamble } from "./src/wire/msgr2/preamble.ts";
export { Tag, tagName } from "./src/wire/msgr2/tag.ts";

// ---- codecs of the payloads, in the order in which a connection uses them

export {
  agreeRevision,
  Banner,
  BANNER_PREFIX,
  BANNER_SIZE,
  FAIRLEAD_CLOSE,
  MSGR2_FEATURE_COMPRESSION,
  MSGR2_FEATURE_REVISION_1,
  readBanner,
  writeBanner,
} from "./src/wire/msgr2/banner.ts";
export {
  EntityType,
  entityTypeName,
  Hello,
  helloBytes,
  parseEntityName,
  readHello,
  writeHello,
} from "./src/wire/msgr2/hello.ts";
export {
  AUTH_SIGNATURE_SIZE,
  AuthBadMethod,
  authBadMethodBytes,
  AuthDone,
  authDoneBytes,
  AuthMethod,
  authMethodName,
  AuthMore,
  authMoreBytes,
  type AuthPayload,
  AuthRequest,
  authRequestBytes,
  ConMode,
  conModeName,
  copyPayload,
  readAuthBadMethod,
  readAuthDone,
  readAuthMore,
  readAuthRequest,
  writeAuthBadMethod,
  writeAuthDone,
  writeAuthMore,
  writeAuthRequest,
} from "./src/wire/msgr2/auth.ts";
export {
  COMPRESSION_DONE_SIZE,
  CompressionDone,
  CompressionMethod,
  compressionName,
  CompressionRequest,
  compressionRequestBytes,
  readCompressionDone,
  readCompressionRequest,
  writeCompressionDone,
  writeCompressionRequest,
} from "./src/wire/msgr2/compression.ts";
export {
  ClientIdent,
  clientIdentBytes,
  CONNECT_LOSSY,
  IDENT_MISSING_FEATURES_SIZE,
  IdentMissingFeatures,
  readClientIdent,
  readIdentMissingFeatures,
  readServerIdent,
  ServerIdent,
  serverIdentBytes,
  writeClientIdent,
  writeIdentMissingFeatures,
  writeServerIdent,
} from "./src/wire/msgr2/ident.ts";
export {
  featureNames,
  FEATURES_REQUIRED,
  FEATURES_SUPPORTED,
  missingFeatures,
} from "./src/wire/msgr2/features.ts";
export {
  readSessionReconnect,
  readSessionReconnectOk,
  readSessionReset,
  readSessionRetry,
  readSessionRetryGlobal,
  SESSION_RECONNECT_OK_SIZE,
  SESSION_RESET_SIZE,
  SESSION_RETRY_GLOBAL_SIZE,
  SESSION_RETRY_SIZE,
  SessionReconnect,
  sessionReconnectBytes,
  SessionReconnectOk,
  SessionReset,
  SessionRetry,
  SessionRetryGlobal,
  writeSessionReconnect,
  writeSessionReconnectOk,
  writeSessionReset,
  writeSessionRetry,
  writeSessionRetryGlobal,
} from "./src/wire/msgr2/session.ts";
export {
  MESSAGE_HEADER_SIZE,
  MessageHeader,
  PRIORITY_DEFAULT,
  PRIORITY_HIGH,
  readMessageHeader,
  writeMessageHeader,
} from "./src/wire/msgr2/message.ts";
export {
  Keepalive,
  KEEPALIVE_SIZE,
  readKeepalive,
  writeKeepalive,
} from "./src/wire/msgr2/keepalive.ts";
export { ACK_SIZE, readAck, writeAck } from "./src/wire/msgr2/ack.ts";

// ---- what all of them stand on: checksums, memory, numbers, faults

export { combine as crc32cCombine, crc32c, crc32cRaw } from "./src/wire/crc32c.ts";
export { newRegion, type Region, regionOf } from "./src/mem/region.ts";
export { arena, arenaTaken, give as giveBlock, take as takeBlock } from "./src/mem/arena.ts";
export { Gather } from "./src/mem/gather.ts";
export { readCounter, U64, writeCounter } from "./src/mem/u64.ts";
export { describeFault, fail, Fault, faultName, lastFault } from "./src/mem/fault.ts";
