/**
 * Which messages are shown: `--tag`, `--type`, `--peer` and `--errors`; a message must pass each kind
 * that is given, and of one kind any of the words.
 *
 * @module
 */
import type { Conversation } from "../../proto/capture/conversation.ts";
import type { Found, Gap } from "../../proto/boundary/found.ts";
import { formatInet, parseInet } from "../../wire/inet.ts";
import { Tag, tagName } from "../../wire/msgr2/tag.ts";
import { UsageError } from "../args.ts";
import { nearest } from "../nearest.ts";

/** Distinct names remembered; there are fewer unless a peer invents them. */
const KNOWN_MAX = 4096;
const PORT_MAX = 65535;
const INET6_BYTES = 16;

/** The words of the command line. */
export interface FilterWords {
  readonly tags: readonly string[];
  readonly types: readonly string[];
  readonly peers: readonly string[];
  readonly errors: boolean;
  /** Names that tags may have besides those of msgr2: of its banner, and of iSCSI's PDUs. */
  readonly otherTags: readonly string[];
}

/** Decides for each message and each gap. */
export class FoundFilter {
  readonly #tags: ReadonlySet<string>;
  readonly #types: readonly string[];
  readonly #typeNumbers: ReadonlySet<number>;
  readonly #peers: readonly Peer[];
  readonly #errors: boolean;
  /** What was decided of a name, so that a message costs no text. */
  readonly #tagPasses = new Map<string, boolean>();
  readonly #typePasses = new Map<string, boolean>();
  #conversation: Conversation | null = null;
  #peerPasses = false;

  /** Throws a {@linkcode UsageError} when a word cannot be meant. */
  constructor({ errors, otherTags, peers, tags, types }: FilterWords) {
    const known = knownTags(otherTags);
    this.#tags = new Set(tags.map((word) => tagOf(word, known)));
    this.#types = types.map(plain);
    this.#typeNumbers = new Set(types.map(numberOf).filter((each) => each >= 0));
    this.#peers = peers.map(peerOf);
    this.#errors = errors;
  }

  /** Whether a message is shown. */
  passesFound(found: Found): boolean {
    if (this.#errors && found.errors.length === 0) return false;
    if (this.#tags.size > 0 && !this.#passesTag(found.tag)) return false;
    if (this.#types.length > 0 && !this.#passesType(found)) return false;
    return this.#passesPeer(found.conversation);
  }

  /** Whether a gap is shown: it has neither tag nor type. */
  passesGap({ conversation }: Gap): boolean {
    if (this.#tags.size > 0 || this.#types.length > 0) return false;
    return this.#passesPeer(conversation);
  }

  #passesTag(tag: string): boolean {
    const before = this.#tagPasses.get(tag);
    if (before !== undefined) return before;
    return remember(this.#tagPasses, tag, this.#tags.has(plain(tag)));
  }

  #passesType(found: Found): boolean {
    const { type } = found;
    if (type !== "") {
      let passes = this.#typePasses.get(type);
      if (passes === undefined) {
        const name = plain(type);
        const family = plain(type.replace(/\(.*/, "")); // `read` for READ(10) and READ(16)
        passes = this.#types.some((word) => word === name || word === family);
        remember(this.#typePasses, type, passes);
      }
      if (passes) return true;
    }
    return this.#typeNumbers.size > 0 && this.#passesNumber(found);
  }

  /** The number is among the fields, which are made only when a number was asked for. */
  #passesNumber(found: Found): boolean {
    const { type, "scsi.opcode": opcode } = found.describe();
    return [type, opcode].some((value) =>
      typeof value === "number" && this.#typeNumbers.has(value)
    );
  }

  #passesPeer(conversation: Conversation): boolean {
    if (this.#peers.length === 0) return true;
    if (conversation !== this.#conversation) {
      this.#conversation = conversation;
      this.#peerPasses = this.#peers.some((peer) =>
        isAt(conversation.ends[0], peer) || isAt(conversation.ends[1], peer)
      );
    }
    return this.#peerPasses;
  }
}

/** Of one end: either may be empty. */
interface Peer {
  /** As ends have it: `10.0.0.1:` or `[::1]:`. */
  readonly host: string;
  /** `:3260` */
  readonly port: string;
}

function isAt(end: string, { host, port }: Peer): boolean {
  return end.startsWith(host) && end.endsWith(port);
}

/** `10.0.0.1`, `10.0.0.1:3260`, `::1`, `[::1]`, `[::1]:3260`, `:3260`. */
function peerOf(word: string): Peer {
  const bracketed = /^\[([^\]]*)\](?::(\d{1,5}))?$/.exec(word);
  const plainHost = /^([^:]*)(?::(\d{1,5}))?$/.exec(word);
  const [, host, port] = bracketed ?? plainHost ?? [word, word, undefined];
  const number = port === undefined ? 0 : Number(port);
  const address = host === "" && bracketed === null && port !== undefined ? "" : hostOf(host!);
  if (address === null || number > PORT_MAX) {
    throw new UsageError(
      "Cannot use --peer as it must be an address, an address with a port, or :PORT: current " +
        `value is ${JSON.stringify(word)}`,
      true,
    );
  }
  return { host: address, port: port === undefined ? "" : `:${number}` };
}

/** An address as the ends of conversations are written, or null. */
function hostOf(text: string): string | null {
  const bytes = new Uint8Array(INET6_BYTES);
  const family = parseInet(text, bytes);
  if (family === 0) return null;
  const address = formatInet(family, bytes);
  return address.includes(":") ? `[${address}]:` : `${address}:`;
}

/** Names by their plain form; keys of {@linkcode Tag} are the names that Ceph has. */
function knownTags(otherTags: readonly string[]): Map<string, string> {
  const known = new Map<string, string>();
  for (const [cephName, tag] of Object.entries(Tag)) {
    known.set(plain(cephName), tagName(tag));
    known.set(plain(tagName(tag)), tagName(tag));
  }
  for (const name of otherTags) known.set(plain(name), name);
  return known;
}

/** The plain form of the name that a word means. */
function tagOf(word: string, known: ReadonlyMap<string, string>): string {
  const number = numberOf(word.replace(/^tag /i, ""));
  if (number >= 0 && number <= 255) return plain(tagName(number));
  const bare = plain(word).replace(/^tag(?=.)/, ""); // `TAG_HELLO` is what the document writes
  const name = known.get(plain(word)) ?? known.get(bare);
  if (name !== undefined) return plain(name);
  const near = nearest(bare, known.keys());
  const hint = near === null
    ? `known are ${[...new Set(known.values())].join(", ")}`
    : `did you mean ${known.get(near)}?`;
  throw new UsageError(
    `Cannot use --tag as it must be the name of a frame or PDU: current value is ${
      JSON.stringify(word)
    }, ${hint}`,
  );
}

/** A whole number, decimal or 0x…; -1 when it is none. */
function numberOf(word: string): number {
  return /^(\d{1,5}|0x[0-9a-f]{1,4})$/i.test(word) ? Number(word) : -1;
}

/** Without case, blanks, hyphens, underscores and brackets: `scsi-command` is `SCSI Command`. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[\s_()-]/g, "");
}

function remember(into: Map<string, boolean>, name: string, passes: boolean): boolean {
  if (into.size >= KNOWN_MAX) into.clear();
  into.set(name, passes);
  return passes;
}
