/** Topic names and filters against the examples and rules of MQTT 3.1.1 section 4.7. */
import assert from "node:assert/strict";
import { isTopicFilter, isTopicName, matchesFilter } from "../../src/proto/gateway/topic_filter.ts";

/** Filter, topic, selected; the section that says so. */
const MATCHES: readonly (readonly [string, string, boolean, string])[] = [
  ["sport/tennis/player1/#", "sport/tennis/player1", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player1/ranking", true, "4.7.1.2"],
  ["sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true, "4.7.1.2"],
  ["sport/#", "sport", true, "4.7.1.2"],
  ["sport/#", "sports", false, "4.7.1.2"],
  ["sport/#", "sport/", true, "4.7.1.2"],
  ["#", "sport", true, "4.7.1.2"],
  ["#", "/", true, "4.7.1.2"],
  ["sport/tennis/+", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/tennis/+", "sport/tennis/player1/ranking", false, "4.7.1.3"],
  ["sport/+", "sport", false, "4.7.1.3"],
  ["sport/+", "sport/", true, "4.7.1.3"],
  ["+/tennis/#", "sport/tennis", true, "4.7.1.3"],
  ["+/tennis/#", "sport/tennis/a/b", true, "4.7.1.3"],
  ["+/tennis/#", "sport/golf", false, "4.7.1.3"],
  ["sport/+/player1", "sport/tennis/player1", true, "4.7.1.3"],
  ["sport/+/player1", "sport//player1", true, "4.7.1.3"],
  ["sport/+/player1", "sport/player1", false, "4.7.1.3"],
  ["+/+", "/finance", true, "4.7.1.3"],
  ["/+", "/finance", true, "4.7.1.3"],
  ["+", "/finance", false, "4.7.1.3"],
  ["+/#", "finance", true, "4.7.1.3"],
  ["#", "$SYS/monitor/Clients", false, "4.7.2"],
  ["#", "$", false, "4.7.2"],
  ["+/monitor/Clients", "$SYS/monitor/Clients", false, "4.7.2"],
  ["$SYS/#", "$SYS/monitor/Clients", true, "4.7.2"],
  ["$SYS/monitor/+", "$SYS/monitor/Clients", true, "4.7.2"],
  ["a/#", "a/$b", true, "4.7.2"],
  ["a/+", "a/$b", true, "4.7.2"],
  ["ACCOUNTS", "Accounts", false, "4.7.3"],
  ["Accounts payable", "Accounts payable", true, "4.7.3"],
  ["/finance", "finance", false, "4.7.3"],
  ["finance", "/finance", false, "4.7.3"],
  ["finance/", "finance", false, "4.7.3"],
  ["finance", "finance/", false, "4.7.3"],
  ["/", "/", true, "4.7.3"],
  ["a/b", "a/b/c", false, "4.7"],
  ["a/b/c", "a/b", false, "4.7"],
  ["ab", "abc", false, "4.7"],
  ["\u{1f600}/+", "\u{1f600}/ä", true, "4.7.3"],
];

Deno.test.each(MATCHES)("filter %s and topic %s: %s (section %s)", (filter, topic, selected) => {
  assert.ok(isTopicFilter(filter));
  assert.ok(isTopicName(topic));
  assert.equal(matchesFilter(filter, topic), selected);
});

Deno.test("a filter has # only as its last level and + only as a whole level", () => {
  for (const filter of ["#", "+", "/#", "a/#", "+/+/#", "+/a", "/", "a//b"]) {
    assert.ok(isTopicFilter(filter), filter);
  }
  const wrong = ["", "sport/tennis#", "sport/#/ranking", "sport+", "+a", "##", "++", "#/", "a\0b"];
  for (const filter of wrong) assert.ok(!isTopicFilter(filter), filter);
});

Deno.test("a topic has no wildcard, no NUL, no half of a pair, and 65535 bytes at most", () => {
  for (const topic of ["", "a/+", "#", "a+", "a\0", "\ud800"]) assert.ok(!isTopicName(topic));
  for (const topic of ["a", "/", "$SYS/x", " ", "\u{1f600}"]) assert.ok(isTopicName(topic));
  assert.ok(isTopicName("a".repeat(65535)));
  assert.ok(!isTopicName("a".repeat(65536)));
  assert.ok(isTopicName("ä".repeat(32767)));
  assert.ok(!isTopicName("ä".repeat(32768)));
  assert.ok(isTopicName("€".repeat(21845)));
  assert.ok(!isTopicName("€".repeat(21846)));
  assert.ok(isTopicName("\u{1f600}".repeat(16383)));
  assert.ok(!isTopicName("\u{1f600}".repeat(16384)));
});

/** The rules once more, by levels in arrays. */
function selects(filter: string, topic: string): boolean {
  if (/^[+#]/.test(filter) && topic.startsWith("$")) return false;
  const levels = topic.split("/");
  const wanted = filter.split("/");
  if (wanted.at(-1) === "#") {
    wanted.pop();
    if (levels.length < wanted.length) return false;
    levels.length = wanted.length;
  }
  return levels.length === wanted.length &&
    wanted.every((level, index) => level === "+" || level === levels[index]);
}

Deno.test("every filter and topic of three short levels agrees with a second reading of the rules", () => {
  const names = ["", "a", "b", "$"];
  const wild = [...names, "+", "#"];
  const topics = combinations(names).filter(isTopicName);
  const filters = combinations(wild).filter(isTopicFilter);
  assert.ok(topics.length > 80 && filters.length > 150);
  let selected = 0;
  for (const filter of filters) {
    for (const topic of topics) {
      const expected = selects(filter, topic);
      assert.equal(matchesFilter(filter, topic), expected, `${filter} ${topic}`);
      if (expected) selected++;
    }
  }
  assert.ok(selected > 500);
});

/** One to three levels. */
function combinations(levels: readonly string[]): string[] {
  const two = levels.flatMap((a) => levels.map((b) => `${a}/${b}`));
  return [...levels, ...two, ...two.flatMap((ab) => levels.map((c) => `${ab}/${c}`))];
}
