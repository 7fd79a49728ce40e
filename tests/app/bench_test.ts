/** `fairlead bench`: both halves as processes; the figures' names and their sums. */
import assert from "node:assert/strict";
import { Histogram } from "../../src/app/histogram.ts";
import { Fairlead } from "./fairlead.ts";

const FIELDS = [
  ...["size", "in_flight", "mode", "messages", "messages_per_second", "bytes_per_second"],
  ...["p50_us", "p99_us", "cpu_us_per_message", "errors"],
];

async function serving(server: Fairlead): Promise<string> {
  return (await server.stderrMatch(/Listening on (v2:127\.0\.0\.1:\d+)\n/))[1]!;
}

for (const policy of ["lossy", "lossless"]) {
  Deno.test(`client and server, ${policy}: every request has its answer`, async () => {
    await using server = Fairlead.start(
      ...["bench", "--server", "v2:127.0.0.1:0", "--json", "--policy", policy],
    );
    const address = await serving(server);
    const { code, stdout, stderr } = await Fairlead.run(
      ...["bench", "--client", address, "--size", "4096", "--in-flight", "32"],
      ...["--count", "3000", "--mode", "crc", "--json", "--policy", policy],
    );
    assert.equal(code, 0, stderr);
    const result = JSON.parse(stdout);
    assert.deepEqual(Object.keys(result), FIELDS);
    const { size, in_flight, mode, messages, errors } = result;
    assert.deepEqual([size, in_flight, mode, messages, errors], [4096, 32, "crc", 3000, 0]);
    const { messages_per_second, bytes_per_second, p50_us, p99_us, cpu_us_per_message } = result;
    assert.ok(messages_per_second > 0 && p50_us > 0 && p50_us <= p99_us && cpu_us_per_message > 0);
    assert.ok(Math.abs(bytes_per_second / messages_per_second / size - 1) < 0.01);
    const served = JSON.parse((await server.stdoutMatch(/.*\n/))[0]);
    assert.deepEqual([served.messages, served.bytes, served.errors], [3000, 3000 * 4096, 0]);
    server.kill("SIGTERM");
    assert.equal((await server.ended()).code, 0);
  });
}

Deno.test("alone it runs both ends, here in secure mode with a key made for the run", async () => {
  const { code, stdout, stderr } = await Fairlead.run(
    ...["bench", "--mode", "secure", "--size", "70000", "--count", "300", "--json"],
  );
  assert.equal(code, 0, stderr);
  const { runs } = JSON.parse(stdout);
  assert.deepEqual(runs.map(({ in_flight }: { in_flight: number }) => in_flight), [1, 32]);
  for (const run of runs) {
    assert.deepEqual(Object.keys(run), FIELDS);
    assert.deepEqual([run.size, run.mode, run.messages, run.errors], [70_000, "secure", 300, 0]);
  }
});

Deno.test("without a size it prints a table", async () => {
  const { code, stdout } = await Fairlead.run("bench", "--count", "50", "--io", "deno");
  assert.equal(code, 0);
  const lines = stdout.trimEnd().split("\n");
  assert.match(lines[0]!, /size +in flight +mode +messages\/s/);
  assert.deepEqual(lines.slice(1).map((line) => line.trim().split(/ {2,}/).slice(0, 2)), [
    ...["64 B", "4.0 KiB", "64.0 KiB", "1.0 MiB"].map((size) => [size, "1"]),
    ...["64 B", "4.0 KiB", "64.0 KiB", "1.0 MiB"].map((size) => [size, "32"]),
  ]);
});

Deno.test("nobody there, a lossy server for a lossless client, and too much are errors", async () => {
  const nobody = await Fairlead.run("bench", "--client", "v2:127.0.0.1:1");
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /Cannot bench v2:127\.0\.0\.1:1.*ECONNREFUSED/);
  await using server = Fairlead.start("bench", "--server", "v2:127.0.0.1:0");
  const address = await serving(server);
  const lossy = await Fairlead.run("bench", "--client", address, "--policy", "lossless");
  assert.equal(lossy.code, 1);
  assert.match(lossy.stderr, /keeps no sessions/);
  const words = ["bench", "--client", address, "--size=33554432", "--in-flight=32"];
  const large = await Fairlead.run(...words);
  assert.equal(large.code, 2);
  assert.match(large.stderr, /use a smaller --size or --in-flight/);
});

Deno.test("Histogram tells percentiles within a 32nd of the value", () => {
  const histogram = new Histogram();
  assert.equal(histogram.percentile(0.5), 0);
  for (let value = 1; value <= 100_000; value++) histogram.add(value);
  for (const share of [0.001, 0.1, 0.5, 0.99, 1]) {
    const exact = share * 100_000;
    const told = histogram.percentile(share);
    assert.ok(Math.abs(told - exact) <= exact / 32 + 1, `${share}: ${told} for ${exact}`);
  }
  histogram.add(-1);
  histogram.add(1e12);
  assert.equal(histogram.count, 100_002);
});
