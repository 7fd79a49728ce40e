/**
 * The step `peers`: files for a Fairlead of this box, with which `fairlead hub --config FILE` or
 * `fairlead gateway --config FILE` meets the others of the overlay. Keys come as the secret and stand in
 * a keyring that only its owner reads; the journal has names alone.
 *
 * @module
 */
import { resolve } from "node:path";
import { decodeKey } from "../../../wire/cephx/crypto_key.ts";
import { formatKeyring, type KeyringEntry, parseKeyring } from "../../../wire/cephx/keyring.ts";
import { parseEntityName } from "../../../wire/msgr2/hello.ts";
import type { NodePlan, PlanKey, PlanPeers } from "../../../wire/xbone/node_plan.ts";
import type { PlannedStep, StepKind, StepRecord } from "./step.ts";

/** Of what a directory is called after. */
const OVERLAY_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const ANY_PORT = "127.0.0.1:0";
const MODE = 0o600;

/** What stands in the journal. */
export interface PeersRecord extends StepRecord {
  readonly kind: "peers";
  readonly overlay: string;
  readonly role: PlanPeers["role"];
  readonly entity: string;
  readonly hub: string;
  /** Whose keys are in the keyring. */
  readonly entities: readonly string[];
}

/** The step of a plan; none when it has no peers. */
export function peerSteps({ overlay, peers }: NodePlan): PlannedStep[] {
  if (peers === null) return [];
  const { entity, hub, keys, role } = peers;
  const entities = keys.map((key) => key.entity);
  const about = `files of the ${role} ${entity}`;
  const record: PeersRecord = { kind: "peers", about, overlay, role, entity, hub, entities };
  return [{ record, secret: keys }];
}

/**
 * The step.
 *
 * @param folder where each overlay has a directory of its own
 */
export function peersStep(folder: string): StepKind<PeersRecord> {
  return {
    kind: "peers",
    apply(record, secret): void {
      const place = placeOf(folder, record);
      // After a restart the keys are still where they were, and nowhere else.
      const isThere = secret === undefined &&
        driftOf(place.keyring, (text) => hasKeys(text, record)).length === 0;
      const keyring = isThere ? null : keyringOf(record, secret);
      Deno.mkdirSync(place.directory, { recursive: true, mode: 0o700 });
      if (keyring !== null) put(place.keyring, keyring);
      put(place.config, configOf(record, place.keyring));
    },
    undo(record): void {
      if (!OVERLAY_FORM.test(record.overlay)) return; // it was refused
      const place = placeOf(folder, record);
      for (const path of [place.config, place.keyring]) {
        for (const name of [path, `${path}.new`]) removeIfThere(name);
      }
      removeIfEmpty(place.directory);
    },
    drift(record): string[] {
      const place = placeOf(folder, record);
      return [
        ...driftOf(place.config, (text) => text === configOf(record, place.keyring)),
        ...driftOf(place.keyring, (text) => hasKeys(text, record)),
        ...modeDrift(place.keyring),
      ];
    },
  };
}

interface Place {
  readonly directory: string;
  readonly config: string;
  readonly keyring: string;
}

function placeOf(folder: string, { overlay, role }: PeersRecord): Place {
  if (!OVERLAY_FORM.test(overlay)) {
    throw new Error(
      `Cannot write files of an overlay as its name must be letters, digits, dots and hyphens: ` +
        `current value is ${JSON.stringify(overlay)}`,
    );
  }
  const directory = resolve(folder, overlay);
  return { directory, config: `${directory}/${role}.json`, keyring: `${directory}/keyring` };
}

/** Its status page is on any free port, as a box may have several of these; `--status` gives another. */
function configOf({ entity, hub, role }: PeersRecord, keyring: string): string {
  const common = { name: entity, auth: { keyring }, status: { listen: ANY_PORT } };
  const config = role === "hub"
    ? { ...common, listen: hub }
    : { ...common, hubs: { hub: { addresses: [hub] } } };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Does not tell what a wrong key was. */
function keyringOf({ about }: PeersRecord, secret: unknown): string {
  if (!Array.isArray(secret) || secret.length === 0) {
    throw new Error(`Cannot write ${about} as there are no keys: they come with the plan`);
  }
  const entries: KeyringEntry[] = [];
  for (const { entity, key } of secret as readonly PlanKey[]) {
    const name = parseEntityName(entity);
    try {
      entries.push({ name, key: decodeKey(key) });
    } catch {
      throw new Error(
        `Cannot write ${about} as the key of ${entity} is none: current value is ${key.length} ` +
          "characters",
      );
    }
  }
  return formatKeyring(entries);
}

function hasKeys(text: string, { entities }: PeersRecord): boolean {
  try {
    const keyring = parseKeyring(text);
    return entities.every((entity) => keyring.get(parseEntityName(entity)) !== undefined);
  } catch {
    return false;
  }
}

function driftOf(path: string, isGood: (text: string) => boolean): string[] {
  try {
    return isGood(Deno.readTextFileSync(path)) ? [] : [`${path} was changed`];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [`${path} is missing`];
    throw error;
  }
}

function modeDrift(path: string): string[] {
  try {
    const { mode } = Deno.statSync(path);
    return mode === null || (mode & 0o077) === 0 ? [] : [`${path} can be read by others`];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Replaces a file; there is never a half of one. */
function put(path: string, text: string): void {
  const beside = `${path}.new`;
  removeIfThere(beside);
  Deno.writeTextFileSync(beside, text, { createNew: true, mode: MODE });
  Deno.renameSync(beside, path);
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** What others put there stays, and so does the directory then. */
function removeIfEmpty(directory: string): void {
  try {
    if ([...Deno.readDirSync(directory)].length === 0) Deno.removeSync(directory);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
