/**
 * The fields of msgr2 frames as a person or a program reads them: names as the msgr2 document and
 * Ceph spell them, features and cookies in hex, addresses as Ceph prints them. Made only when
 * somebody asks. Of what authenticates or signs, lengths are told and never bytes; of a command to
 * a monitor its prefix, since its arguments may hold a secret.
 *
 * @module
 */
import { arena } from "../../mem/arena.ts";
import { describeFault } from "../../mem/fault.ts";
import type { U64 } from "../../mem/u64.ts";
import { readCommand, readCommandReply } from "../../wire/ceph/command.ts";
import { formatFsid } from "../../wire/ceph/fsid.ts";
import { MessageType } from "../../wire/ceph/message_type.ts";
import {
  readConfig,
  readMonCommand,
  readMonCommandAck,
  readMonMap,
  readMonSubscribe,
} from "../../wire/ceph/mon.ts";
import { readAck } from "../../wire/msgr2/ack.ts";
import {
  AuthBadMethod,
  AuthDone,
  authMethodName,
  AuthMore,
  AuthRequest,
  conModeName,
  readAuthBadMethod,
  readAuthDone,
  readAuthMore,
  readAuthRequest,
} from "../../wire/msgr2/auth.ts";
import {
  CompressionDone,
  compressionName,
  CompressionRequest,
  readCompressionDone,
  readCompressionRequest,
} from "../../wire/msgr2/compression.ts";
import type { EntityAddrVec } from "../../wire/msgr2/entity_addrvec.ts";
import { entityTypeName, Hello, readHello } from "../../wire/msgr2/hello.ts";
import {
  ClientIdent,
  CONNECT_LOSSY,
  IdentMissingFeatures,
  readClientIdent,
  readIdentMissingFeatures,
  readServerIdent,
  ServerIdent,
} from "../../wire/msgr2/ident.ts";
import { Keepalive, readKeepalive } from "../../wire/msgr2/keepalive.ts";
import type { MessageHeader } from "../../wire/msgr2/message.ts";
import {
  readSessionReconnect,
  readSessionReconnectOk,
  readSessionReset,
  readSessionRetry,
  readSessionRetryGlobal,
  SessionReconnect,
  SessionReconnectOk,
  SessionReset,
  SessionRetry,
  SessionRetryGlobal,
} from "../../wire/msgr2/session.ts";
import { Tag } from "../../wire/msgr2/tag.ts";

/** Fields by name. */
export type Fields = Record<string, unknown>;

/** What may be told of a list: a peer decides how long it is. */
const LISTED_MAX = 64;

/** The records that control frames are read into: valid until the next read of the same tag. */
export const seen = {
  hello: new Hello(),
  authRequest: new AuthRequest(),
  authBadMethod: new AuthBadMethod(),
  authMore: new AuthMore(),
  authDone: new AuthDone(),
  clientIdent: new ClientIdent(),
  serverIdent: new ServerIdent(),
  missing: new IdentMissingFeatures(),
  reconnect: new SessionReconnect(),
  reconnectOk: new SessionReconnectOk(),
  reset: new SessionReset(),
  retry: new SessionRetry(),
  retryGlobal: new SessionRetryGlobal(),
  keepalive: new Keepalive(),
  ackSeq: 0,
  compressionRequest: new CompressionRequest(),
  compressionDone: new CompressionDone(),
};

/** Reads the payload of a control frame into {@linkcode seen}; 0 or more, or a negated fault. */
export function readControl(tag: number, at: number, end: number): number {
  switch (tag) {
    case Tag.Hello:
      return readHello(arena, at, end, seen.hello);
    case Tag.AuthRequest:
      return readAuthRequest(arena, at, end, seen.authRequest);
    case Tag.AuthBadMethod:
      return readAuthBadMethod(arena, at, end, seen.authBadMethod);
    case Tag.AuthReplyMore:
    case Tag.AuthRequestMore:
      return readAuthMore(arena, at, end, seen.authMore);
    case Tag.AuthDone:
      return readAuthDone(arena, at, end, seen.authDone);
    case Tag.ClientIdent:
      return readClientIdent(arena, at, end, seen.clientIdent);
    case Tag.ServerIdent:
      return readServerIdent(arena, at, end, seen.serverIdent);
    case Tag.IdentMissingFeatures:
      return readIdentMissingFeatures(arena, at, end, seen.missing);
    case Tag.SessionReconnect:
      return readSessionReconnect(arena, at, end, seen.reconnect);
    case Tag.SessionReconnectOk:
      return readSessionReconnectOk(arena, at, end, seen.reconnectOk);
    case Tag.SessionReset:
      return readSessionReset(arena, at, end, seen.reset);
    case Tag.SessionRetry:
      return readSessionRetry(arena, at, end, seen.retry);
    case Tag.SessionRetryGlobal:
      return readSessionRetryGlobal(arena, at, end, seen.retryGlobal);
    case Tag.Keepalive2:
    case Tag.Keepalive2Ack:
      return readKeepalive(arena, at, end, seen.keepalive);
    case Tag.Ack:
      seen.ackSeq = readAck(arena, at, end);
      return seen.ackSeq;
    case Tag.CompressionRequest:
      return readCompressionRequest(arena, at, end, seen.compressionRequest);
    case Tag.CompressionDone:
      return readCompressionDone(arena, at, end, seen.compressionDone);
  }
  return 0;
}

/** The fields of a control frame whose payload is the arena's [at, end). */
export function describeControl(tag: number, at: number, end: number): Fields {
  if (readControl(tag, at, end) < 0) return { malformed: describeFault(at) };
  switch (tag) {
    case Tag.Hello: {
      const { entityType, peerAddr } = seen.hello;
      return { entity_type: entityTypeName(entityType), peer_address: `${peerAddr}` };
    }
    case Tag.AuthRequest: {
      const { method, modes, modeCount, payloadBytes } = seen.authRequest;
      return {
        method: authMethodName(method),
        preferred_modes: names(modes, modeCount, conModeName),
        payload_len: payloadBytes,
      };
    }
    case Tag.AuthBadMethod: {
      const { method, result, methods, methodCount, modes, modeCount } = seen.authBadMethod;
      return {
        method: authMethodName(method),
        result,
        allowed_methods: names(methods, methodCount, authMethodName),
        allowed_modes: names(modes, modeCount, conModeName),
      };
    }
    case Tag.AuthReplyMore:
    case Tag.AuthRequestMore:
      return { payload_len: seen.authMore.payloadBytes };
    case Tag.AuthDone: {
      const { globalId, mode, payloadBytes } = seen.authDone;
      return {
        global_id: numberOf(globalId),
        con_mode: conModeName(mode),
        payload_len: payloadBytes,
      };
    }
    case Tag.AuthSignature:
      return { signature_len: end - at };
    case Tag.ClientIdent: {
      const { addrs, target } = seen.clientIdent;
      return {
        addrs: addresses(addrs),
        target_addr: `${target}`,
        ...identFields(seen.clientIdent, "client_cookie"),
      };
    }
    case Tag.ServerIdent:
      return {
        addrs: addresses(seen.serverIdent.addrs),
        ...identFields(seen.serverIdent, "server_cookie"),
      };
    case Tag.IdentMissingFeatures:
      return { features: `${seen.missing.features}` };
    case Tag.SessionReconnect: {
      const { addrs, clientCookie, serverCookie, globalSeq, connectSeq, messageSeq } =
        seen.reconnect;
      return {
        addrs: addresses(addrs),
        client_cookie: `${clientCookie}`,
        server_cookie: `${serverCookie}`,
        global_seq: globalSeq,
        connect_seq: connectSeq,
        msg_seq: messageSeq,
      };
    }
    case Tag.SessionReconnectOk:
      return { msg_seq: seen.reconnectOk.messageSeq };
    case Tag.SessionReset:
      return { full: seen.reset.full };
    case Tag.SessionRetry:
      return { connect_seq: seen.retry.connectSeq };
    case Tag.SessionRetryGlobal:
      return { global_seq: seen.retryGlobal.globalSeq };
    case Tag.Keepalive2:
    case Tag.Keepalive2Ack: {
      const { seconds, nanoseconds } = seen.keepalive;
      return { stamp: `${seconds}.${`${nanoseconds}`.padStart(9, "0")}` };
    }
    case Tag.Ack:
      return { seq: seen.ackSeq };
    case Tag.CompressionRequest: {
      const { enabled, methods, methodCount } = seen.compressionRequest;
      return { is_compress: enabled, methods: names(methods, methodCount, compressionName) };
    }
    case Tag.CompressionDone: {
      const { enabled, method } = seen.compressionDone;
      return { is_compress: enabled, method: compressionName(method) };
    }
  }
  return end > at ? { payload_len: end - at } : {};
}

/** The fields of a message's header, and the lengths of its other segments. */
export function describeHeader(header: MessageHeader, lengths: Int32Array): Fields {
  return {
    seq: header.seq,
    tid: numberOf(header.tid),
    type: header.type,
    priority: header.priority,
    version: header.version,
    compat_version: header.compatVersion,
    ack_seq: header.ackSeq,
    flags: header.flags,
    front_len: lengths[1]!,
    middle_len: lengths[2]!,
    data_len: lengths[3]!,
    data_pre_padding_len: header.dataPrePadding,
    data_off: header.dataOff,
  };
}

/** Whether {@linkcode describeContent} can read the front of messages of this type. */
export function isReadable(type: number): boolean {
  switch (type) {
    case MessageType.MonCommand:
    case MessageType.MonCommandAck:
    case MessageType.MonSubscribe:
    case MessageType.MonMap:
    case MessageType.Config:
    case MessageType.Command:
    case MessageType.CommandReply:
      return true;
  }
  return false;
}

/** What the front [at, end) of a readable message says; empty when it cannot be read after all. */
export function describeContent(type: number, at: number, end: number): Fields {
  const front = arena.bytes.slice(at, end);
  switch (type) {
    case MessageType.MonCommand:
    case MessageType.Command: {
      const command = type === MessageType.Command ? readCommand(front) : readMonCommand(front);
      if (command === null) return {};
      return { fsid: formatFsid(command.fsid), command: prefixOf(command.words) };
    }
    case MessageType.MonCommandAck: {
      const ack = readMonCommandAck(front);
      if (ack === null) return {};
      return { result: ack.result, status: ack.status, command: prefixOf(ack.words) };
    }
    case MessageType.CommandReply: {
      const reply = readCommandReply(front);
      return reply === null ? {} : { result: reply.result, status: reply.status };
    }
    case MessageType.MonSubscribe: {
      const subscribe = readMonSubscribe(front);
      if (subscribe === null) return {};
      const { wanted, host } = subscribe;
      return { what: wanted.slice(0, LISTED_MAX), hostname: host };
    }
    case MessageType.MonMap: {
      const map = readMonMap(front);
      if (map === null) return {};
      const mons = map.mons.slice(0, LISTED_MAX).map(({ name }) => name);
      return { fsid: formatFsid(map.fsid), epoch: map.epoch, mons };
    }
    case MessageType.Config: {
      const options = readConfig(front);
      return options === null ? {} : { options: [...options.keys()].slice(0, LISTED_MAX) };
    }
  }
  return {};
}

/** A 64-bit number: as a number while that is exact, else as decimal text. */
function numberOf(value: U64): number | string {
  const big = value.toBigInt();
  return big <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(big) : `${big}`;
}

/** The addresses of a vector as Ceph prints them. */
export function addresses(from: EntityAddrVec): string[] {
  return from.addrs.slice(0, from.count).map((address) => `${address}`);
}

function identFields(ident: ServerIdent, cookie: string): Fields {
  return {
    gid: numberOf(ident.gid),
    global_seq: ident.globalSeq,
    features_supported: `${ident.supported}`,
    features_required: `${ident.required}`,
    flags: `${ident.flags}`,
    lossy: (ident.flags.lo & CONNECT_LOSSY) !== 0,
    [cookie]: `${ident.cookie}`,
  };
}

function names(items: Int32Array, count: number, name: (item: number) => string): string[] {
  return Array.from(items.subarray(0, count), name);
}

/** Which command it is: the words are one text of JSON with its prefix first, as a rule. */
function prefixOf(words: readonly string[]): string {
  const match = /"prefix"\s*:\s*"([^"\\]{0,128})"/.exec(words.join(" "));
  return match?.[1] ?? "";
}
