/**
 * What the system says of a file, and what makes a file's name last.
 *
 * @module
 */

/** What is at `path`, behind symbolic links; null when nothing is. */
export async function fileInfo(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    throw error;
  }
}

/** Makes the names in a directory as durable as what they name: fsync(2), "Notes". */
export async function syncDirectory(directory: string): Promise<void> {
  using opened = await Deno.open(directory);
  await opened.sync();
}
