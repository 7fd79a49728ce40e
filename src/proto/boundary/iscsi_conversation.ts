/**
 * One connection of iSCSI: what its two directions know of each other. Logins say which digests are in
 * use and which session it is (RFC 7143 sections 6 and 13.1); requests are paired with their answers.
 *
 * @module
 */
import type { Region } from "../../mem/region.ts";
import {
  cdbOpcode,
  FULL_FEATURE_PHASE,
  hasStatus,
  initiatorTaskTag,
  isFinal,
  isidAt,
  loginStatus,
  nextStage,
  RESERVED_TAG,
  targetTransferTag,
  tsihAt,
} from "../../wire/iscsi/header.ts";
import { isTargets, Opcode } from "../../wire/iscsi/opcode.ts";
import { Sender } from "../../wire/iscsi/plausible.ts";
import { commandName } from "../../wire/iscsi/scsi.ts";
import type { Found, Side } from "./found.ts";
import { Use } from "./iscsi_search.ts";
import { IscsiShared, sessionName } from "./iscsi_sessions.ts";
import { IscsiSide } from "./iscsi_side.ts";
import { IscsiTasks } from "./iscsi_tasks.ts";
import type { ConversationDecoder, SideContext, SideDecoder } from "./side_decoder.ts";

export { IscsiShared };

/** Headers, or data segments, without a digest after which there are taken to be none. */
const UNDIGESTED_MIN = 2;

const UNKNOWN = -1;

/** The two decoders of a connection. */
export class IscsiConversation implements ConversationDecoder {
  readonly sides: readonly [SideDecoder, SideDecoder];

  /** Header digests and data digests, one of {@linkcode Use}. */
  headerDigest: number = Use.Unknown;
  dataDigest: number = Use.Unknown;
  /** Number of the session, 0 when it is not known. */
  session = 0;

  /** Of the request that the message which is told now answers: the packet in which it ended, or 0. */
  requestPacket = 0;
  requestOffset = 0;
  requestOpcode = 0;
  /** Of the R2T that asked for the data which is told now: the packet in which it ended, or 0. */
  orderPacket = 0;
  orderOffset = 0;

  readonly #contexts: readonly [SideContext, SideContext];
  readonly #shared: IscsiShared;
  readonly #tasks = new IscsiTasks();
  /** R2T by target transfer tag. */
  readonly #orders = new IscsiTasks();
  /** NOP-In that ask for an answer, by target transfer tag. */
  readonly #pings = new IscsiTasks();
  #initiator: Side | -1 = UNKNOWN;
  #undigestedHeaders = 0;
  #undigestedData = 0;
  #initiatorName = "";
  #targetName = "";

  /** The decoders of a connection with these two sides. */
  constructor(contexts: readonly [SideContext, SideContext], shared: IscsiShared) {
    this.#contexts = contexts;
    this.#shared = shared;
    this.sides = [new IscsiSide(contexts[0], this), new IscsiSide(contexts[1], this)];
  }

  /** Who may send on a side, bits of `Sender`: who opened the connection is the initiator. */
  sendersOf(side: Side): number {
    if (this.#initiator === UNKNOWN) {
      const { fromStart } = this.#contexts[0].conversation;
      if (!fromStart[0] && !fromStart[1]) return Sender.Both;
      this.#initiator = 0;
    }
    return side === this.#initiator ? Sender.Initiator : Sender.Target;
  }

  /** A PDU of a side is proven: it tells which end is the initiator. */
  handleProof(side: Side, opcode: number): void {
    if (this.#initiator !== UNKNOWN) return;
    const other = side === 0 ? 1 : 0;
    this.#initiator = isTargets(opcode) ? other : side;
  }

  /** What a chain of headers says of digests. */
  handleDigests(headerDigest: number, dataDigest: number): void {
    if (headerDigest !== Use.Unknown) this.headerDigest = headerDigest;
    if (dataDigest !== Use.Unknown) this.dataDigest = dataDigest;
  }

  /** A header whose digest was tried: `matches` is proof, the contrary is after some. */
  handleHeaderTried(matches: boolean): void {
    if (matches) this.headerDigest = Use.On;
    else if (++this.#undigestedHeaders >= UNDIGESTED_MIN) this.headerDigest = Use.Off;
  }

  /** The same for a data segment. */
  handleDataTried(matches: boolean): void {
    if (matches) this.dataDigest = Use.On;
    else if (++this.#undigestedData >= UNDIGESTED_MIN) this.dataDigest = Use.Off;
  }

  /** A length led to no header: what is known of digests may be wrong. */
  handleBrokenChain(): void {
    this.#shared.counters.brokenChains++;
    this.headerDigest = Use.Unknown;
    this.dataDigest = Use.Unknown;
    this.#undigestedHeaders = 0;
    this.#undigestedData = 0;
  }

  /** Candidates of a search were dropped for want of room. */
  handleDropped(count: number): void {
    this.#shared.counters.candidatesDropped += count;
  }

  /** A side is lost: requests, and what ends others, may be missed, whose tags come again. */
  handleLost(side: Side): void {
    if (side !== this.#initiator) return;
    this.#tasks.clear();
    this.#orders.clear();
    this.#pings.clear();
  }

  /**
   * The text of a login: digests and names. With `isWhole` nothing of this side was missed so far, and
   * what it does not name is not in use.
   */
  handleLogin(
    header: Region,
    opcode: number,
    pairs: readonly (readonly [string, string])[],
    isWhole: boolean,
  ): void {
    for (const [key, value] of pairs) {
      if (key === "InitiatorName") this.#initiatorName = value;
      else if (key === "TargetName") this.#targetName = value;
      else if (opcode === Opcode.LoginResponse && key === "HeaderDigest") {
        this.headerDigest = useOf(value);
      } else if (opcode === Opcode.LoginResponse && key === "DataDigest") {
        this.dataDigest = useOf(value);
      }
    }
    if (opcode === Opcode.LoginRequest) this.#handleLoginRequest(header);
    else this.#handleLoginResponse(header, isWhole);
  }

  /** Finds what a message answers and what it is part of; remembers it when it asks for an answer. */
  pair(found: Found, header: Region, opcode: number): void {
    this.requestPacket = 0;
    this.orderPacket = 0;
    found.session = this.session;
    switch (opcode) {
      case Opcode.ScsiCommand:
        found.type = commandName(cdbOpcode(header, 0));
        this.#ask(found, header, opcode, cdbOpcode(header, 0));
        break;
      case Opcode.DataOut:
        this.#name(found, header);
        this.#follow(header);
        break;
      case Opcode.NopOut:
        if (targetTransferTag(header, 0) !== RESERVED_TAG) this.#pong(found, header);
        else this.#ask(found, header, opcode, 0);
        break;
      case Opcode.TaskRequest:
      case Opcode.LoginRequest:
      case Opcode.TextRequest:
      case Opcode.LogoutRequest:
        this.#ask(found, header, opcode, 0);
        break;
      case Opcode.ReadyToTransfer:
        this.#name(found, header);
        this.#order(found, header);
        break;
      case Opcode.DataIn:
        if (hasStatus(header, 0)) this.#answer(found, header, Opcode.ScsiCommand);
        else this.#name(found, header);
        break;
      case Opcode.NopIn:
        if (targetTransferTag(header, 0) !== RESERVED_TAG) this.#ping(found, header);
        this.#answer(found, header, Opcode.NopOut);
        break;
      case Opcode.ScsiResponse:
      case Opcode.TaskResponse:
      case Opcode.LoginResponse:
      case Opcode.TextResponse:
      case Opcode.LogoutResponse:
        this.#answer(found, header, opcode - Opcode.NopIn);
        break;
    }
  }

  #handleLoginRequest(header: Region): void {
    if (this.session !== 0) return;
    const tsih = tsihAt(header, 0);
    const known = tsih === 0 ? 0 : this.#shared.find(this.#nameOf(header));
    this.session = known === 0 ? this.#shared.begin() : known;
    if (tsih !== 0) this.#shared.remember(this.#nameOf(header), this.session);
  }

  #handleLoginResponse(header: Region, isWhole: boolean): void {
    if (!isFinal(header, 0) || nextStage(header, 0) !== FULL_FEATURE_PHASE) return;
    if (loginStatus(header, 0) !== 0) return;
    if (isWhole && this.headerDigest === Use.Unknown) this.headerDigest = Use.Off;
    if (isWhole && this.dataDigest === Use.Unknown) this.dataDigest = Use.Off;
    const name = this.#nameOf(header);
    if (this.session === 0) this.session = this.#shared.find(name) || this.#shared.begin();
    this.#shared.remember(name, this.session);
  }

  #nameOf(header: Region): string {
    return sessionName(
      isidAt(header, 0),
      tsihAt(header, 0),
      this.#initiatorName,
      this.#targetName,
    );
  }

  #ask(found: Found, header: Region, opcode: number, command: number): void {
    const tag = initiatorTaskTag(header, 0);
    if (tag === RESERVED_TAG) return;
    const { begin: { timeNs }, finish: { packet }, offset } = found;
    this.#tasks.add(tag, opcode, command, timeNs, packet, offset);
  }

  #answer(found: Found, header: Region, opcode: number): void {
    const slot = this.#tasks.find(initiatorTaskTag(header, 0));
    if (slot < 0 || this.#tasks.opcodes[slot] !== opcode) return;
    this.#nameBy(found, slot);
    this.#take(found, this.#tasks, slot);
  }

  /** The answer to what a slot holds, which is then forgotten. */
  #take(found: Found, tasks: IscsiTasks, slot: number): void {
    tasks.remove(slot);
    const latencyNs = found.begin.timeNs - tasks.times[slot]!;
    if (latencyNs < 0) return;
    found.answers = "task";
    found.latencyNs = latencyNs;
    this.requestPacket = tasks.packets[slot]!;
    this.requestOffset = tasks.offsets[slot]!;
    this.requestOpcode = tasks.opcodes[slot]!;
  }

  #name(found: Found, header: Region): void {
    const slot = this.#tasks.find(initiatorTaskTag(header, 0));
    if (slot >= 0) this.#nameBy(found, slot);
  }

  #nameBy(found: Found, slot: number): void {
    if (this.#tasks.opcodes[slot] !== Opcode.ScsiCommand) return;
    found.type = commandName(this.#tasks.commands[slot]!);
  }

  #order(found: Found, header: Region): void {
    const { begin: { timeNs }, finish: { packet }, offset } = found;
    const tag = targetTransferTag(header, 0);
    this.#orders.add(tag, Opcode.ReadyToTransfer, 0, timeNs, packet, offset);
  }

  #follow(header: Region): void {
    const tag = targetTransferTag(header, 0);
    if (tag === RESERVED_TAG) return; // not asked for
    const slot = this.#orders.find(tag);
    if (slot < 0) return;
    this.orderPacket = this.#orders.packets[slot]!;
    this.orderOffset = this.#orders.offsets[slot]!;
    if (isFinal(header, 0)) this.#orders.remove(slot);
  }

  #ping(found: Found, header: Region): void {
    const { begin: { timeNs }, finish: { packet }, offset } = found;
    this.#pings.add(targetTransferTag(header, 0), Opcode.NopIn, 0, timeNs, packet, offset);
  }

  #pong(found: Found, header: Region): void {
    const slot = this.#pings.find(targetTransferTag(header, 0));
    if (slot >= 0) this.#take(found, this.#pings, slot);
  }
}

/** RFC 7143 section 13.1: an answer is one value, an offer is a list. */
function useOf(value: string): number {
  if (value === "CRC32C") return Use.On;
  return value === "None" ? Use.Off : Use.Unknown;
}
