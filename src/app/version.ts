/**
 * The version, as `--version` prints it.
 *
 * @module
 */

/** Fairlead's version; a test holds it equal to deno.json's. */
export const VERSION = "0.1.0";

/** `fairlead X.Y.Z (deno …, v8 …, ARCH)`. */
export function versionText(): string {
  const { deno, v8 } = Deno.version;
  return `fairlead ${VERSION} (deno ${deno}, v8 ${v8}, ${Deno.build.arch})`;
}
