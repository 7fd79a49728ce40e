/**
 * A gateway of which another box has everything: it runs while this box is the active one of a pair, and
 * is held, ready to go on, while it is not.
 *
 * @module
 */
import type { GatewayConfig } from "../config/gateway_config.ts";
import type { Change } from "../config/reload.ts";
import type { StandbyConfig } from "../config/standby_config.ts";
import { GatewayCargo } from "../standby/gateway_cargo.ts";
import { StandbyPart } from "../standby/standby_part.ts";
import { processStatus } from "../status/process_stat.ts";
import type { Snapshot } from "../status/snapshot.ts";
import { VERSION } from "../version.ts";
import type { Gateway, GatewayOptions } from "./gateway.ts";
import { GatewaySnapshots } from "./gateway_snapshot.ts";

/** The gateway, and the pair that it belongs to. */
export class PairedGateway {
  /** Rejects when the spool cannot be used any more: the process must end. */
  readonly failed: Promise<never>;
  readonly #options: Omit<GatewayOptions, "pair">;
  readonly #startedMs = Date.now();
  #config: GatewayConfig;
  #cargo: GatewayCargo | null = null;
  #part: StandbyPart | null = null;
  #snapshots: GatewaySnapshots | null = null;
  #fail: (error: Error) => void = () => {};

  /**
   * Opens what is held, and begins to be what the pair's election says.
   *
   * @throws with the remedy
   */
  static async open(
    options: Omit<GatewayOptions, "pair">,
    standby: StandbyConfig,
  ): Promise<PairedGateway> {
    const paired = new PairedGateway(options);
    const { alarms, auth, config, journal } = options;
    const cargo = await GatewayCargo.open({
      gateway: options,
      window: standby.sessions === "sync" ? 0 : standby.asyncMessages,
      windowMs: standby.asyncMs,
      onGateway: (gateway) => paired.#take(gateway),
      tell: (level, text) => journal.event(level, "standby", text),
    });
    paired.#cargo = cargo;
    try {
      const part = await StandbyPart.open({
        config: standby,
        name: config.name,
        auth,
        state: config.state,
        cargo,
        journal,
        alarms,
      });
      paired.#part = part;
    } catch (error) {
      await cargo.close(0);
      throw error;
    }
    return paired;
  }

  private constructor(options: Omit<GatewayOptions, "pair">) {
    this.#options = options;
    this.#config = options.config;
    this.failed = new Promise((_resolve, reject) => this.#fail = reject);
    this.failed.catch(() => {}); // whoever waits for it hears it as well
  }

  /** The gateway while it runs here. */
  get gateway(): Gateway | null {
    return this.#cargo?.gateway ?? null;
  }

  /** The configuration that runs. */
  get config(): GatewayConfig {
    return this.gateway?.config ?? this.#config;
  }

  /** How it is now. */
  snapshot(): Snapshot {
    const { alarms, journal } = this.#options;
    const standby = this.#part?.view();
    const running = this.#snapshots?.take();
    if (running !== undefined) return { ...running, standby };
    return {
      role: "gateway",
      name: this.#config.name,
      version: VERSION,
      nowMs: Date.now(),
      startedMs: this.#startedMs,
      ready: standby?.ready ?? false,
      alarms: alarms.list(),
      sessions: [],
      standby,
      events: journal.events(),
      process: processStatus(),
    };
  }

  /** Takes over what a changed configuration can change; while it is held, for when it runs. */
  async reload(config: GatewayConfig, changes: readonly Change[]): Promise<void> {
    this.#config = config;
    this.#cargo!.setConfig(config);
    await this.gateway?.reload(config, changes);
  }

  /** Has the other box go on when it can, else drains; messages that wait on this box. */
  async close(deadlineMs: number): Promise<number> {
    await this.#part?.close();
    return await this.#cargo!.close(deadlineMs);
  }

  #take(gateway: Gateway | null): void {
    const { alarms, journal } = this.#options;
    this.#snapshots = gateway === null ? null : new GatewaySnapshots(gateway, journal, alarms);
    gateway?.failed.catch((error) => {
      if (this.gateway === gateway) this.#fail(error);
    });
  }
}
