/**
 * Messages of the kernel's IPsec as text, for who watches them: all that ip-xfrm(8) prints of them and
 * what it leaves out. Of keys there are the names of their algorithms and how long they are.
 *
 * @module
 */
import { describeFault } from "../../mem/fault.ts";
import type { Region } from "../../mem/region.ts";
import { Family, formatInet } from "../../wire/inet.ts";
import type { Nlmsg } from "../../wire/netlink/nlmsg.ts";
import {
  aeventCauseName,
  markText,
  spiText,
  xfrmMessageName,
  xfrmModeName,
  XfrmMsg,
  xfrmProtoName,
  xfrmSaDirName,
} from "../../wire/netlink/xfrm.ts";
import { readAevent, XfrmAevent } from "../../wire/netlink/xfrm_aevent.ts";
import type { XfrmAlgorithm } from "../../wire/netlink/xfrm_algorithm.ts";
import {
  readAcquire,
  readExpire,
  readMapping,
  readMigrate,
  readPolExpire,
  readReport,
  XfrmAcquire,
  XfrmMapping,
  XfrmMigrate,
  type XfrmMigration,
  XfrmReport,
} from "../../wire/netlink/xfrm_event.ts";
import { type XfrmLifetime, XfrmLimits } from "../../wire/netlink/xfrm_lifetime.ts";
import {
  policyActionName,
  policyKey,
  readPolicy,
  readPolicyFlush,
  XfrmPolicy,
  type XfrmTemplate,
} from "../../wire/netlink/xfrm_policy.ts";
import { ReplayKind, type XfrmReplay } from "../../wire/netlink/xfrm_replay.ts";
import { readSa, readSaFlush, SaFlag, XfrmSa } from "../../wire/netlink/xfrm_sa.ts";
import { selectorText, type XfrmSelector } from "../../wire/netlink/xfrm_selector.ts";
import { printableWord } from "../printable.ts";

/** What one message says: its name first, then what it is about, then figures. */
export type XfrmNote = Readonly<Record<string, string | number | boolean>>;

/** XFRMA_ETIMER_THRESH as it is read. */
const TIMER_UNIT_MS = 100;
/** Below it are messages of netlink itself. */
const FIRST_TYPE = XfrmMsg.NewSa;

const FLAG_NAMES: readonly (readonly [bit: number, name: string])[] = [
  [SaFlag.NoEcn, "noecn"],
  [SaFlag.DecapDscp, "decap-dscp"],
  [SaFlag.NoPmtuDisc, "nopmtudisc"],
  [SaFlag.WildRecv, "wildrecv"],
  [SaFlag.Icmp, "icmp"],
  [SaFlag.AfUnspec, "af-unspec"],
  [SaFlag.Align4, "align4"],
  [SaFlag.Esn, "esn"],
];

/** Reads messages one by one. */
export class XfrmReader {
  readonly #sa = new XfrmSa();
  readonly #policy = new XfrmPolicy();
  readonly #aevent = new XfrmAevent();
  readonly #acquire = new XfrmAcquire();
  readonly #mapping = new XfrmMapping();
  readonly #report = new XfrmReport();
  readonly #migrate = new XfrmMigrate();

  /** What a message says; null when it is none of XFRM. */
  read(from: Region, message: Nlmsg): XfrmNote | null {
    if (message.type < FIRST_TYPE) return null;
    const note = new Note(xfrmMessageName(message.type));
    const read = this.#take(from, message, note);
    // Whatever was taken of a message that is wrong is not shown.
    return read < 0
      ? { message: xfrmMessageName(message.type), error: describeFault() }
      : note.members;
  }

  #take(from: Region, message: Nlmsg, note: Note): number {
    switch (message.type) {
      case XfrmMsg.NewSa:
      case XfrmMsg.UpdSa:
      case XfrmMsg.DelSa:
        return this.#takeSa(readSa, from, message, note);
      case XfrmMsg.Expire:
        return this.#takeSa(readExpire, from, message, note);
      case XfrmMsg.FlushSa:
        return note.put("proto", readSaFlush(from, message), xfrmProtoName);
      case XfrmMsg.NewPolicy:
      case XfrmMsg.UpdPolicy:
      case XfrmMsg.DelPolicy:
        return this.#takePolicy(readPolicy, from, message, note);
      case XfrmMsg.PolExpire:
        return this.#takePolicy(readPolExpire, from, message, note);
      case XfrmMsg.FlushPolicy:
        return note.put("type", readPolicyFlush(from, message), policyTypeName);
      case XfrmMsg.NewAe:
      case XfrmMsg.GetAe:
        return this.#takeAevent(from, message, note);
      case XfrmMsg.Acquire:
        return this.#takeAcquire(from, message, note);
      case XfrmMsg.Mapping:
        return this.#takeMapping(from, message, note);
      case XfrmMsg.Report:
        return this.#takeReport(from, message, note);
      case XfrmMsg.Migrate:
        return this.#takeMigrate(from, message, note);
      default:
        note.add("bytes", message.end - message.at);
        return 0;
    }
  }

  #takeSa(
    readMessage: (from: Region, message: Nlmsg, into: XfrmSa) => number,
    from: Region,
    message: Nlmsg,
    note: Note,
  ): number {
    const sa = this.#sa;
    // A DELSA may say the id only, and then leaves what there was.
    sa.saddr.fill(0);
    Object.assign(sa.limits, new XfrmLimits());
    sa.selector.family = Family.None;
    const read = readMessage(from, message, sa);
    if (read < 0) return read;
    addSa(note, sa);
    if (message.type === XfrmMsg.Expire) note.add("hard", sa.hard);
    for (const algorithm of [sa.aead, sa.auth, sa.crypt, sa.comp]) algorithm.clear();
    return 0;
  }

  #takePolicy(
    readMessage: (from: Region, message: Nlmsg, into: XfrmPolicy) => number,
    from: Region,
    message: Nlmsg,
    note: Note,
  ): number {
    const policy = this.#policy;
    Object.assign(policy.limits, new XfrmLimits());
    const read = readMessage(from, message, policy);
    if (read < 0) return read;
    addPolicy(note, policy);
    if (message.type === XfrmMsg.PolExpire) note.add("hard", policy.hard);
    return 0;
  }

  #takeAevent(from: Region, message: Nlmsg, note: Note): number {
    const event = this.#aevent;
    const read = readAevent(from, message, event);
    if (read < 0) return read;
    const { flags, hasLifetime, id, ifId, replay, replayThreshold, reqid, saddr } = event;
    note.add("sa", id.key());
    note.add("src", formatInet(id.family, saddr));
    note.add("cause", aeventCauseName(flags));
    note.some("use", event.direction === 0 ? "" : xfrmSaDirName(event.direction));
    addReplay(note, replay);
    if (hasLifetime) addLifetime(note, event);
    if (replayThreshold >= 0) note.add("replay_threshold", replayThreshold);
    if (event.timerThreshold >= 0) {
      note.add("timer_threshold_ms", event.timerThreshold * TIMER_UNIT_MS);
    }
    note.some("reqid", reqid);
    note.some("if_id", ifId);
    return 0;
  }

  #takeAcquire(from: Region, message: Nlmsg, note: Note): number {
    const acquire = this.#acquire;
    const read = readAcquire(from, message, acquire);
    if (read < 0) return read;
    const { id, policy, saddr, selector, seq } = acquire;
    note.add("sa", id.key());
    note.add("src", formatInet(id.family, saddr));
    note.add("seq", seq);
    note.add("packet", selectorText(selector));
    note.add("policy", policyKey(policy));
    note.some("priority", policy.priority);
    note.some("index", policy.index);
    note.some("templates", templatesText(policy));
    return 0;
  }

  #takeMapping(from: Region, message: Nlmsg, note: Note): number {
    const mapping = this.#mapping;
    const read = readMapping(from, message, mapping);
    if (read < 0) return read;
    const { id, newSaddr, newSport, oldSaddr, oldSport, reqid } = mapping;
    note.add("sa", id.key());
    note.add("old", endText(id.family, oldSaddr, oldSport));
    note.add("new", endText(id.family, newSaddr, newSport));
    note.some("reqid", reqid);
    return 0;
  }

  #takeReport(from: Region, message: Nlmsg, note: Note): number {
    const report = this.#report;
    const read = readReport(from, message, report);
    if (read < 0) return read;
    const { coaddr, hasCoaddr, proto, selector } = report;
    note.add("proto", xfrmProtoName(proto));
    note.add("packet", selectorText(selector));
    if (hasCoaddr) note.add("coaddr", formatInet(Family.Inet6, coaddr)); // of Mobile IPv6 only
    return 0;
  }

  #takeMigrate(from: Region, message: Nlmsg, note: Note): number {
    const migrate = this.#migrate;
    // Of the policy it says a part: what an earlier one had is no part of it.
    migrate.policy.markValue = migrate.policy.markMask = 0;
    const read = readMigrate(from, message, migrate);
    if (read < 0) return read;
    note.add("policy", policyKey(migrate.policy));
    note.some("index", migrate.policy.index);
    const told = migrate.migrations.slice(0, migrate.count).map(migrationText);
    note.some("sas", told.join("; "));
    return 0;
  }
}

/** One event on one line: `NEWAE 10.9.0.2 esp 0x00001000 src=10.9.0.1 cause=timer oseq=12`. */
export function xfrmLine({ message, ...members }: XfrmNote): string {
  const words = Object.entries(members).map(([name, value]) => {
    const text = `${value}`.split(" ").map(printableWord).join(" ");
    if (name === "sa") return text;
    return /[ "]/.test(text) ? `${name}="${text.replaceAll('"', "'")}"` : `${name}=${text}`;
  });
  return [`${message}`, ...words].join(" ");
}

/** Members of a note, in the order in which they come. */
class Note {
  readonly members: Record<string, string | number | boolean>;

  constructor(message: string) {
    this.members = { message };
  }

  add(name: string, value: string | number | boolean): void {
    this.members[name] = value;
  }

  /** Not what says nothing: 0, no text, no limit. */
  some(name: string, value: string | number): void {
    if (value !== 0 && value !== "" && value !== Infinity) this.members[name] = value;
  }

  /** A number that was read, which a negated Fault is none of. */
  put(name: string, read: number, text: (value: number) => string): number {
    if (read >= 0) this.members[name] = text(read);
    return read;
  }
}

function addSa(note: Note, sa: XfrmSa): void {
  const { encap, flags, id, mode, selector } = sa;
  note.add("sa", id.key());
  note.add("src", formatInet(id.family, sa.saddr));
  note.add("mode", xfrmModeName(mode));
  note.some("use", sa.direction === 0 ? "" : xfrmSaDirName(sa.direction));
  note.some("reqid", sa.reqid);
  note.some("if_id", sa.ifId);
  note.some("seq_of_acquire", sa.seq);
  note.some("flags", FLAG_NAMES.filter(([bit]) => flags & bit).map(([, name]) => name).join(","));
  note.some("aead", algorithmText(sa.aead));
  note.some("auth", algorithmText(sa.auth));
  note.some("crypt", algorithmText(sa.crypt));
  note.some("comp", algorithmText(sa.comp));
  if (encap.type !== 0) {
    note.add("encap", `type ${encap.type} ports ${encap.sport} to ${encap.dport}`);
  }
  addReplay(note, sa.replay);
  note.some("window", sa.replayWindow);
  addLifetime(note, sa);
  addLimits(note, sa.limits);
  if (sa.replayThreshold >= 0) note.add("replay_threshold", sa.replayThreshold);
  if (sa.timerThreshold >= 0) note.add("timer_threshold_ms", sa.timerThreshold * TIMER_UNIT_MS);
  note.some("below_window", sa.windowDrops);
  note.some("replayed", sa.replayDrops);
  note.some("integrity_failed", sa.integrityFailed);
  if (sa.setMarkMask !== 0) note.add("sets", markText(sa.setMark, sa.setMarkMask).trim());
  note.some("tfcpad", sa.tfcpad);
  note.some("extra_flags", sa.extraFlags);
  note.some("nat_keepalive_s", sa.natKeepaliveInterval);
  if (sa.cpu >= 0) note.add("cpu", sa.cpu);
  note.some("offload_ifindex", sa.offloadIfindex);
  if (sa.hasCoaddr) note.add("coaddr", formatInet(id.family, sa.coaddr));
  if (!takesAll(selector)) note.add("selector", selectorText(selector));
}

function addPolicy(note: Note, policy: XfrmPolicy): void {
  note.add("policy", policyKey(policy));
  note.add("action", policyActionName(policy.action));
  note.add("priority", policy.priority);
  note.add("index", policy.index);
  note.some("share", policy.share);
  note.some("flags", policy.flags);
  note.some("templates", templatesText(policy));
  addLifetime(note, policy);
  addLimits(note, policy.limits);
}

function addReplay(note: Note, replay: XfrmReplay): void {
  const { bitmap, kind, oseq, seq, window, words } = replay;
  if (kind === ReplayKind.None) return;
  note.add("oseq", oseq);
  note.add("seq", seq);
  note.add("replay", kind === ReplayKind.Esn ? "esn" : "legacy");
  note.some("window", window);
  if (words > 0) {
    const hex = Array.from(bitmap.subarray(0, words), (word) => word.toString(16).padStart(8, "0"));
    note.add("bitmap", hex.join(","));
  }
}

function addLifetime(note: Note, { addTime, bytes, packets, useTime }: XfrmLifetime): void {
  note.add("bytes", bytes);
  note.add("packets", packets);
  note.some("made_s", addTime);
  note.some("used_s", useTime);
}

function addLimits(note: Note, limits: XfrmLimits): void {
  note.some("soft_bytes", limits.softBytes);
  note.some("hard_bytes", limits.hardBytes);
  note.some("soft_packets", limits.softPackets);
  note.some("hard_packets", limits.hardPackets);
  note.some("soft_add_s", limits.softAddSeconds);
  note.some("hard_add_s", limits.hardAddSeconds);
  note.some("soft_use_s", limits.softUseSeconds);
  note.some("hard_use_s", limits.hardUseSeconds);
}

/** Never the key itself. */
function algorithmText({ icvBits, keyBits, name }: XfrmAlgorithm): string {
  if (name === "") return "";
  return `${name} key ${keyBits} bits${icvBits === 0 ? "" : ` icv ${icvBits} bits`}`;
}

function templatesText({ templateCount, templates }: XfrmPolicy): string {
  return templates.slice(0, templateCount).map(templateText).join("; ");
}

function templateText(template: XfrmTemplate): string {
  const { daddr, family, mode, optional, proto, reqid, saddr, spi } = template;
  const words = [
    `${xfrmProtoName(proto)} ${xfrmModeName(mode)}`,
    `src ${formatInet(family, saddr)} dst ${formatInet(family, daddr)}`,
    ...(spi === 0 ? [] : [`spi ${spiText(spi)}`]),
    ...(reqid === 0 ? [] : [`reqid ${reqid}`]),
    ...(optional === 0 ? [] : ["optional"]),
  ];
  return words.join(" ");
}

function migrationText(migration: XfrmMigration): string {
  const { mode, newDaddr, newFamily, newSaddr, oldDaddr, oldFamily, oldSaddr, proto, reqid } =
    migration;
  const old = `src ${formatInet(oldFamily, oldSaddr)} dst ${formatInet(oldFamily, oldDaddr)}`;
  const now = `src ${formatInet(newFamily, newSaddr)} dst ${formatInet(newFamily, newDaddr)}`;
  const id = reqid === 0 ? "" : ` reqid ${reqid}`;
  return `${xfrmProtoName(proto)} ${xfrmModeName(mode)}${id} ${old} to ${now}`;
}

/** XFRM_POLICY_TYPE_MAIN and XFRM_POLICY_TYPE_SUB. */
function policyTypeName(type: number): string {
  return type === 0 ? "main" : type === 1 ? "sub" : `${type}`;
}

function endText(family: number, address: Uint8Array, port: number): string {
  const host = formatInet(family, address);
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function takesAll(selector: XfrmSelector): boolean {
  const { dportMask, family, ifindex, prefixlenD, prefixlenS, proto, sportMask, user } = selector;
  if (family === Family.None) return true;
  return (prefixlenD | prefixlenS | proto | dportMask | sportMask | ifindex | user) === 0;
}
