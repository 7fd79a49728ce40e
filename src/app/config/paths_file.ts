/**
 * What `fairlead paths daemon` reads: a gateway's file, of which it takes "paths", or one that has
 * nothing else.
 *
 * @module
 */
import { GATEWAY_SCHEMA, type GatewayConfig } from "./gateway_config.ts";
import { loadConfig, type Loaded, type Override } from "./load_config.ts";
import { completePaths } from "./paths_check.ts";
import type { PathsFile } from "./paths_config.ts";

/**
 * Reads a file, or only what flags and defaults say when `path` is null. Without "paths" it is all
 * defaults: who calls wants them managed. The rest must be a gateway's, so that a mistyped key is told;
 * keyrings and devices that it names need not be there for us.
 */
export async function loadPathsConfig(
  path: string | null,
  overrides: readonly Override[] = [],
): Promise<Loaded<PathsFile>> {
  const loaded = await loadConfig<GatewayConfig>(
    GATEWAY_SCHEMA,
    path,
    overrides,
    (draft, findings): Promise<void> => {
      completePaths(draft.paths, findings);
      return Promise.resolve();
    },
  );
  if (loaded.config === null) return loaded;
  const { config: { paths }, warnings } = loaded;
  if (paths === false) {
    const defaults = { path: "paths", value: {}, from: "default" };
    return await loadPathsConfig(null, [defaults, ...overrides]);
  }
  const origins = new Map([...loaded.origins].filter(([key]) => key.startsWith("paths.")));
  return { config: { paths }, origins, warnings };
}
