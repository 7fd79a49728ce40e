/**
 * Whether the certificate that a configuration names can be used, before a daemon starts with it.
 *
 * @module
 */
import { loadIdentity, type Role } from "../overlay/identity.ts";
import type { IdentityConfig } from "./overlay_common_config.ts";
import type { Findings } from "./problem.ts";
import type { Draft } from "./schema.ts";

/** Reads the files; what is wrong with them is told. */
export async function checkIdentity(
  draft: Draft<IdentityConfig> | undefined,
  role: Role,
  findings: Findings,
): Promise<void> {
  const { ca, certificate, key } = draft ?? {};
  if (ca === undefined || certificate === undefined || key === undefined) return;
  try {
    const identity = await loadIdentity({ ca, certificate, key });
    if (identity.role === role) return;
    findings.error(
      "identity.certificate",
      `its role must be ${role}: current value is ${identity.role}, make one with ` +
        `fairlead overlay keys node NAME --role ${role}`,
    );
  } catch (error) {
    findings.error("identity", (error as Error).message);
  }
}
