/**
 * Which managers may use a node: the access list of the X-Bone control protocol ("IF: ACL ok"), by the names in
 * their certificates.
 *
 * @module
 */
import type { Acl } from "../../proto/xbone/machine.ts";
import type { AclConfig } from "../config/overlay_common_config.ts";

/** The first rule that fits a manager counts. */
export function aclOf(rules: AclConfig): Acl {
  const compiled = rules.map(({ access, manager, overlays }) => ({
    access,
    overlays,
    manager,
    pattern: new RegExp(`^${manager.replaceAll(/[.]/g, "\\.").replaceAll("*", ".*")}$`),
  }));
  return (name, _body, overlays) => {
    const rule = compiled.find(({ pattern }) => pattern.test(name));
    if (rule === undefined) return `no rule of the ACL fits manager ${name}`;
    if (rule.access === "none") return `the ACL refuses manager ${name} (rule ${rule.manager})`;
    if (overlays < rule.overlays) return null;
    return `the ACL allows ${rule.overlays} overlays (rule ${rule.manager}), and there are ${overlays}`;
  };
}
