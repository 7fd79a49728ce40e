/**
 * The directory for what must survive a restart.
 *
 * @module
 */

/** Only its owner looks into it: messages are kept there. */
const MODE = 0o700;

/**
 * Makes it, unless it is there.
 *
 * @throws with the remedy
 */
export async function makeStateDirectory(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true, mode: MODE });
  } catch (error) {
    throw new Error(
      `Cannot use state directory ${path} as it cannot be made: ${
        (error as Error).message
      }; give ` +
        'another one as --state or "state", or make it for this user (install -d -o USER DIR)',
    );
  }
}
