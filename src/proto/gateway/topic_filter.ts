/**
 * Topic names and topic filters: MQTT 3.1.1 section 4.7. A topic has levels between `/`; in a
 * filter `+` stands for one level and `#`, at the end, for any number of them.
 *
 * @module
 */

/** MQTT 3.1.1 section 4.7.3: no more than 65535 bytes of UTF-8. */
const TOPIC_BYTES_MAX = 65535;

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;
const DOLLAR = 0x24;

/** True for what a message can be published under: no wildcards (section 4.7.1). */
export function isTopicName(text: string): boolean {
  return isTopicText(text) && !/[+#]/.test(text);
}

/** True for what messages can be selected by. */
export function isTopicFilter(text: string): boolean {
  if (!isTopicText(text)) return false;
  const levels = text.split("/");
  return levels.every((level, index) => {
    if (level === "#") return index === levels.length - 1; // section 4.7.1.2
    return level === "+" || !/[+#]/.test(level); // section 4.7.1.3
  });
}

/** True when a valid filter selects a valid topic; nothing is allocated. */
export function matchesFilter(filter: string, topic: string): boolean {
  // Section 4.7.2: a wildcard in front does not select what the server keeps for itself.
  const first = filter.charCodeAt(0);
  if ((first === HASH || first === PLUS) && topic.charCodeAt(0) === DOLLAR) return false;
  let at = 0; // in the topic; its length + 1 once the last level was passed
  for (let from = 0; from <= filter.length;) {
    const sign = filter.charCodeAt(from);
    if (sign === HASH) return true; // also of the level above: "sport/#" selects "sport"
    if (at > topic.length) return false;
    const filterEnd = levelEnd(filter, from);
    const topicEnd = levelEnd(topic, at);
    if (sign !== PLUS && !sameLevel(filter, from, filterEnd, topic, at, topicEnd)) return false;
    from = filterEnd + 1;
    at = topicEnd + 1;
  }
  return at > topic.length;
}

/** Section 4.7.3 and, for the encoding, section 1.5.3. */
function isTopicText(text: string): boolean {
  if (text.length === 0 || text.includes("\0") || !text.isWellFormed()) return false;
  return text.length * 3 <= TOPIC_BYTES_MAX || utf8Bytes(text) <= TOPIC_BYTES_MAX;
}

function utf8Bytes(text: string): number {
  let bytes = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    // Each half of a surrogate pair counts for two of its four bytes.
    bytes += code < 0x80 ? 1 : code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 2 : 3;
  }
  return bytes;
}

function levelEnd(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) !== SLASH) at++;
  return at;
}

function sameLevel(
  a: string,
  aFrom: number,
  aEnd: number,
  b: string,
  bFrom: number,
  bEnd: number,
): boolean {
  if (aEnd - aFrom !== bEnd - bFrom) return false;
  for (let index = 0; index < aEnd - aFrom; index++) {
    if (a.charCodeAt(aFrom + index) !== b.charCodeAt(bFrom + index)) return false;
  }
  return true;
}
