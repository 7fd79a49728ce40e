/**
 * What `fairlead standby run` reads: a gateway's file, of which it takes "standby" and what that
 * needs, or one that has nothing else.
 *
 * @module
 */
import { checkName, completeAuth } from "./common_config.ts";
import { GATEWAY_SCHEMA, type GatewayConfig } from "./gateway_config.ts";
import { loadConfig, type Loaded, type Override } from "./load_config.ts";
import { completeStandby } from "./standby_check.ts";
import type { StandbyFile } from "./standby_config.ts";

/** Keys that count; the rest of the file must be a gateway's, so that a mistyped key is told. */
const OWN = /^(name|state|auth|log|status|standby)\b/;

/** Reads a file, or only what flags and defaults say when `path` is null. */
export async function loadStandbyConfig(
  path: string | null,
  overrides: readonly Override[] = [],
): Promise<Loaded<StandbyFile>> {
  const loaded = await loadConfig<GatewayConfig>(
    GATEWAY_SCHEMA,
    path,
    overrides,
    async (draft, findings): Promise<void> => {
      const keyring = await completeAuth(draft.auth, findings);
      checkName(draft.name, keyring, draft.auth?.keyring ?? "", findings);
      if (draft.standby === false) {
        const remedy = 'add "standby" with a role, listen and peer, or --role, --listen and --peer';
        findings.error("standby", `there is none: current value is false, ${remedy}`);
      }
      completeStandby(draft, findings);
    },
  );
  if (loaded.config === null) return loaded;
  const { config: { auth, log, name, standby, state, status }, warnings } = loaded;
  const origins = new Map([...loaded.origins].filter(([key]) => OWN.test(key)));
  const file = { name, state, auth, log, status, standby: standby as StandbyFile["standby"] };
  return { config: file, origins, warnings };
}
