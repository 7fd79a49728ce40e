/**
 * Two network namespaces of our own, joined by a veth(4) pair, for measuring what Linux does with urgent
 * data: ip-netns(8), tc-tbf(8). They have names by chance, and go when the measuring is over.
 *
 * @module
 */
import { inNamespace } from "../../io/namespace.ts";
import { setStandardUrgent } from "../../io/urgent_socket.ts";
import { ip, tool } from "../iproute.ts";

const DEVICE = "cable0";
// RFC 5737: addresses for documentation, which nobody has.
const SENDER_ADDRESS = "192.0.2.1";
const RECEIVER_ADDRESS = "192.0.2.2";
const PREFIX_LENGTH = 30;

/** The two ends, and what is between them. */
export class UrgentLab {
  /** The namespace of the sender. */
  readonly near: string;
  /** That of the receiver. */
  readonly far: string;
  /** The interface of each. */
  readonly device = DEVICE;
  /** Where the receiver is. */
  readonly address = RECEIVER_ADDRESS;
  #limited = false;

  private constructor(id: string) {
    this.near = `fairlead-urgent-${id}-near`;
    this.far = `fairlead-urgent-${id}-far`;
  }

  /** A laboratory that is not there before {@linkcode build}, so that it can be removed at any time. */
  static plan(): UrgentLab {
    return new UrgentLab(crypto.randomUUID().slice(0, 8));
  }

  /**
   * Makes it; root is needed.
   *
   * @throws when a program is missing or refuses
   */
  async build(): Promise<void> {
    const { far, near } = this;
    await ip(["netns", "add", near]);
    await ip(["netns", "add", far]);
    const peer = ["peer", "name", DEVICE, "netns", far];
    await ip(["-n", near, "link", "add", DEVICE, "type", "veth", ...peer]);
    for (const [name, address] of [[near, SENDER_ADDRESS], [far, RECEIVER_ADDRESS]] as const) {
      await ip(["-n", name, "address", "add", `${address}/${PREFIX_LENGTH}`, "dev", DEVICE]);
      await ip(["-n", name, "link", "set", DEVICE, "up"]);
      await ip(["-n", name, "link", "set", "lo", "up"]);
    }
  }

  /** Slows the sender's link down to 100 Mbit/s, or lets it go. */
  async limit(limited: boolean): Promise<void> {
    if (limited === this.#limited) return;
    this.#limited = limited;
    const tbf = ["tbf", "rate", "100mbit", "burst", "32kb", "latency", "50ms"];
    const words = limited ? ["add", "dev", DEVICE, "root", ...tbf] : ["del", "dev", DEVICE, "root"];
    await tool("tc", ["-n", this.near, "qdisc", ...words]);
  }

  /** Sets net.ipv4.tcp_stdurg of the receiver. */
  setStandard(standard: boolean): void {
    inNamespace(this.far, () => setStandardUrgent(standard));
  }

  /** Removes what is there of it. */
  async remove(): Promise<void> {
    for (const name of [this.near, this.far]) {
      try {
        await ip(["netns", "delete", name]);
      } catch {
        // It was not made.
      }
    }
  }
}
