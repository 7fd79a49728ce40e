/**
 * The path manager within a gateway: it runs before the first session is made, so that every session is
 * its own to manage, and what it lacks is an alarm, never the end of the gateway.
 *
 * @module
 */
import type { PathsConfig } from "../config/paths_config.ts";
import { PathsLog } from "../paths/paths_log.ts";
import { PathsService } from "../paths/paths_service.ts";
import type { Alarms, Journal } from "../status/journal.ts";
import type { Snapshot } from "../status/snapshot.ts";

/** Runs, or has said why not. */
export class GatewayPaths {
  readonly #journal: Journal;
  readonly #alarms: Alarms;
  #service: PathsService | null = null;

  /** Starts it as configured; `false`: nobody manages paths. */
  static async open(
    config: PathsConfig | false,
    journal: Journal,
    alarms: Alarms,
  ): Promise<GatewayPaths> {
    const paths = new GatewayPaths(journal, alarms);
    if (config !== false) await paths.#open(config);
    return paths;
  }

  private constructor(journal: Journal, alarms: Alarms) {
    this.#journal = journal;
    this.#alarms = alarms;
  }

  /** Links with what they are used for, for the status page; absent when nobody manages paths. */
  get snapshot(): Pick<Snapshot, "paths"> {
    if (this.#service === null) return {};
    const paths = this.#service.namespaces.flatMap(({ manager, namespace }) =>
      [...manager.links.values()].filter(({ loopback }) => !loopback).map((link) => {
        const sources = manager.sources.filter((source) => source.link === link);
        const role = sources[0]?.role ?? "not used";
        const state = !link.up ? "down" : sources.some(({ usable }) => usable) ? "up" : "waiting";
        const addresses = [...link.addresses.keys()].join(", ");
        const where = namespace === "" ? "" : `${namespace}: `;
        return {
          name: `${where}${link.name}`,
          state,
          text: `${role}, ${addresses || "no address"}`,
        };
      })
    );
    return { paths };
  }

  /** Takes over a changed configuration, or tries again to start. */
  async reload(config: PathsConfig | false): Promise<void> {
    if (config === false) return;
    if (this.#service === null) await this.#open(config);
    else this.#service.reload(config);
  }

  /** Takes back what was announced and set. */
  async close(): Promise<void> {
    await this.#service?.close();
  }

  async #open(config: PathsConfig): Promise<void> {
    const log = new PathsLog(this.#journal);
    try {
      const tell = log.tell.bind(log);
      this.#service = await PathsService.open({
        config,
        dedicated: false,
        socketOptional: true,
        tell,
      });
      this.#alarms.clear("paths_off");
      log.ready(this.#service.namespaces);
    } catch (error) {
      const { message } = error as Error;
      this.#alarms.raise("paths_off", "warning", `Sessions have one path only: ${message}`);
    }
  }
}
