/**
 * Does what is asked at the access socket of a standby daemon (standby_message.ts).
 *
 * @module
 */
import { diffSas } from "../../proto/xfrm/sa_table.ts";
import { AccessServer, type AccessService } from "../access_server.ts";
import {
  parseStandbyRequest,
  type StandbyCommand,
  type StandbyEvent,
  type StandbyGroup,
} from "./standby_message.ts";
import type { StandbyService } from "./standby_service.ts";
import type { StandbyViews } from "./standby_views.ts";

/** A promotion is answered when it is done, or refused. */
const ANSWER_MS = 18_000;

/** The daemon's side of its socket. */
export class StandbyAccess implements AccessService<StandbyCommand, StandbyGroup> {
  readonly #service: StandbyService;
  readonly #views: StandbyViews;
  readonly #listeners = new Set<(event: object) => void>();

  /** @param views answers `status` */
  constructor(service: StandbyService, views: StandbyViews) {
    this.#service = service;
    this.#views = views;
  }

  /** Opens the socket. */
  open(path: string): Promise<AccessServer<StandbyCommand, StandbyGroup>> {
    return AccessServer.open<StandbyCommand, StandbyGroup>({
      path,
      parse: parseStandbyRequest,
      serviceOf: () => this,
      answerMs: ANSWER_MS,
    });
  }

  async request(request: StandbyCommand): Promise<object> {
    switch (request.command) {
      case "status":
        return { status: this.#views.take() };
      case "diff": {
        const { here, there } = await this.#service.sads();
        return { box: this.#service.config.box, sas: diffSas(here, there) };
      }
      case "promote":
        return { term: await this.#service.promote(request.force) };
      case "demote":
        this.#service.demote();
        return {};
    }
  }

  subscribe(_groups: readonly StandbyGroup[], listener: (event: object) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The role changed. */
  tell(event: StandbyEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
