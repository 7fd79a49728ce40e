/**
 * Counts in sentences.
 *
 * @module
 */

/** `1 message`, `2 messages`; give the plural where it is not the word with an s. */
export function countText(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
