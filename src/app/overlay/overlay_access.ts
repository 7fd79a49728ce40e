/**
 * Does what operators ask of a manager (api_message.ts), whichever way they come.
 *
 * @module
 */
import { AccessServer, type AccessService } from "../access_server.ts";
import {
  type OverlayCommand,
  type OverlayEvent,
  type OverlayGroup,
  parseOverlayRequest,
  REQUEST_BYTES_MAX,
} from "./api_message.ts";
import type { ManagerService } from "./manager_service.ts";
import type { OverlaySpec } from "../../proto/xbone/overlay_spec.ts";
import { problemText } from "../config/problem.ts";
import { readSpec } from "./spec.ts";

/** Forming an overlay of many nodes over a bad network takes its time; the machines have deadlines. */
export const OVERLAY_ANSWER_MS = 1_800_000;

/** The manager's side of its sockets. */
export class OverlayAccess implements AccessService<OverlayCommand, OverlayGroup> {
  readonly #service: ManagerService;

  constructor(service: ManagerService) {
    this.#service = service;
  }

  /** Opens the local socket. */
  open(path: string): Promise<AccessServer<OverlayCommand, OverlayGroup>> {
    return AccessServer.open<OverlayCommand, OverlayGroup>({
      path,
      parse: parseOverlayRequest,
      serviceOf: () => this,
      answerMs: OVERLAY_ANSWER_MS,
      requestBytesMax: REQUEST_BYTES_MAX,
    });
  }

  async request(request: OverlayCommand): Promise<object> {
    const service = this.#service;
    switch (request.command) {
      case "create": {
        const { hold, replace, spec } = request;
        return await service.create(checked(spec), hold, replace);
      }
      case "plan":
        return { plan: await service.plan(checked(request.spec)) };
      case "config":
        return { overlay: await service.config(request.name) };
      case "cancel":
        return { orphans: await service.cancel(request.name) };
      case "destroy":
        return { orphans: await service.destroy(request.name) };
      case "status":
        return { overlay: await service.status(request.name, request.probes) };
      case "list":
        return { manager: service.identity.name, overlays: service.list() };
      case "discover":
        return { manager: service.identity.name, nodes: await service.discover() };
    }
  }

  subscribe(_groups: readonly OverlayGroup[], listener: (event: object) => void): () => void {
    return this.#service.listen((overlay, progress) => {
      const { done, node, of, phase, text } = progress;
      const event: OverlayEvent = { event: "progress", overlay, phase, node, text, done, of };
      listener(event);
    });
  }
}

function checked(text: string): OverlaySpec {
  const read = readSpec(text, "SPEC");
  if (read.spec !== null) return read.spec;
  const lines = read.problems.map(problemText);
  throw new Error(`Cannot use the specification: ${lines.join("; ")}`);
}
