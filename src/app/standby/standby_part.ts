/**
 * A standby as a part of a program: its service, its access socket, its view, and what an operator should
 * know of it until it is over.
 *
 * @module
 */
import { nowMs } from "../../io/clock.ts";
import type { AuthOptions } from "../../proto/msgr2/messenger.ts";
import type { AccessServer } from "../access_server.ts";
import type { StandbyConfig } from "../config/standby_config.ts";
import { delay } from "../delay.ts";
import { makeStateDirectory } from "../state_directory.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import type { Cargo } from "./cargo.ts";
import { StandbyAccess } from "./standby_access.ts";
import type { StandbyCommand, StandbyEvent, StandbyGroup } from "./standby_message.ts";
import { StandbyService } from "./standby_service.ts";
import type { StandbyView } from "./standby_view.ts";
import { StandbyViews } from "./standby_views.ts";
import { TermFile } from "./term_file.ts";

const TICK_MS = 1000;
/** A stop waits so long for the other box to take over. */
const HAND_OVER_MS = 4000;
const LOOK_MS = 20;
/** A start that takes longer waits for somebody. */
const STARTING_MS = 10_000;

/** How a {@linkcode StandbyPart} is made. */
export interface StandbyPartOptions {
  readonly config: StandbyConfig;
  /** Who both boxes are, TYPE.ID. */
  readonly name: string;
  readonly auth: AuthOptions;
  /** Directory for what must survive a restart, or null. */
  readonly state: string | null;
  readonly cargo: Cargo | null;
  readonly journal: Journal;
  readonly alarms: Alarms;
}

/** A running standby. */
export class StandbyPart {
  readonly service: StandbyService;
  readonly #views: StandbyViews;
  readonly #access: StandbyAccess;
  readonly #alarms: Alarms;
  readonly #timer: ReturnType<typeof setInterval>;
  #server: AccessServer<StandbyCommand, StandbyGroup> | null = null;

  /**
   * Opens all of it.
   *
   * @throws with the remedy
   */
  static async open(options: StandbyPartOptions): Promise<StandbyPart> {
    const { alarms, auth, cargo, config, journal, name, state } = options;
    if (state !== null) await makeStateDirectory(state);
    let part: StandbyPart | null = null;
    const service = await StandbyService.open({
      config,
      name,
      auth,
      cargo,
      terms: new TermFile(state),
      tell: (level, text) => journal.event(level, "standby", text, { name: text.slice(0, 40) }),
      onRole: (role, term, text) => {
        journal.event("info", "standby_role", text, { role, term });
        part?.tellRole({ event: "role", role, term, text });
      },
      onEvent: (event, who) => journal.noteEvent(event, who),
    });
    part = new StandbyPart(service, new StandbyViews(service, cargo), alarms);
    try {
      if (config.socket !== false) part.#server = await part.#access.open(config.socket);
    } catch (error) {
      await part.close();
      throw error;
    }
    return part;
  }

  private constructor(service: StandbyService, views: StandbyViews, alarms: Alarms) {
    this.service = service;
    this.#views = views;
    this.#access = new StandbyAccess(service, views);
    this.#alarms = alarms;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** The view of this moment. */
  view(): StandbyView {
    return this.#views.take();
  }

  /** The role changed: whoever has subscribed hears it. */
  tellRole(event: StandbyEvent): void {
    this.#access.tell(event);
  }

  /** Ends; an active box has the other one take over before, when that can. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const { election } = this.service;
    const able = election.peer.known && election.peer.ready && this.service.flow.isSynced;
    if (election.role === "active" && able) {
      this.service.demote();
      for (let waited = 0; waited < HAND_OVER_MS; waited += LOOK_MS) {
        const over = election.peer.role === "active" || !this.service.reaches("peer");
        if (over && election.role !== "active") break;
        await delay(LOOK_MS);
      }
    }
    this.#views.close();
    await this.#server?.close();
    await this.service.close();
  }

  /** What is to be told once it is so, and once it is over. */
  #tick(): void {
    const { config, election, flow } = this.service;
    const { isSynced } = flow;
    const { role, split } = election;
    const active = role === "active";
    this.#alarm(
      "standby_away",
      active && !isSynced,
      "No other box could take over from this one now: it is away, or does not have everything yet",
    );
    this.#alarm(
      "standby_not_ready",
      role === "standby" && !election.ready,
      "This box could not take over now: it does not have everything of the other one",
    );
    this.#alarm(
      "standby_fenced",
      role === "fenced" && !split,
      "Nothing is sent under IPsec as the witness cannot be reached: this box must not be active",
    );
    this.#alarm(
      "standby_split",
      split,
      "Both boxes were active in one term and have stopped: fairlead standby promote on one of them",
    );
    this.#alarm(
      "standby_starting",
      role === "starting" && nowMs() - this.#startedMs > STARTING_MS,
      "Nothing is sent under IPsec as this box must first know that the other one does not: start " +
        "that one, or fairlead standby promote --force when it is surely not running",
    );
    const witnessAway = config.witness !== null && !this.service.reaches("witness");
    this.#alarm("witness_away", witnessAway, `The witness at ${config.witness} cannot be reached`);
  }

  readonly #startedMs = nowMs();

  #alarm(code: string, raised: boolean, text: string): void {
    if (!raised) return this.#alarms.clear(code);
    const level = ["standby_fenced", "standby_split", "standby_starting"].includes(code)
      ? "error"
      : "warning";
    this.#alarms.raise(code, level, text);
  }
}
