/** `fairlead bench`: both halves as processes; the figures' names and their sums. */
import assert from "node:assert/strict";
import { Histogram } from "../../src/app/histogram.ts";
import { Fairlead } from "./fairlead.ts";

const FIELDS = [
  ...["size", "in_flight", "mode", "sessions", "messages", "messages_per_second"],
  ...["bytes_per_second", "p50_us", "p99_us", "cpu_us_per_message", "cpu_percent", "rss_bytes"],
  ...["errors", "lost"],
];
const BOTH_FIELDS = [...FIELDS, "server"];
const SERVED_FIELDS = [
  ...["messages", "bytes", "errors", "sessions", "cpu_us_per_message", "cpu_percent", "rss_bytes"],
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
    assert.deepEqual(Object.keys(served), SERVED_FIELDS);
    assert.deepEqual([served.messages, served.bytes, served.errors], [3000, 3000 * 4096, 0]);
    assert.ok(result.rss_bytes > 2 ** 20 && served.rss_bytes > 2 ** 20);
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
    assert.deepEqual(Object.keys(run), BOTH_FIELDS);
    assert.deepEqual([run.size, run.mode, run.messages, run.errors], [70_000, "secure", 300, 0]);
  }
});

Deno.test("one bundled file starts itself again for the other end", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const bundle = `${directory}/fairlead.js`;
    const main = new URL("../../src/main.ts", import.meta.url).pathname;
    const steps = [
      ["bundle", "--quiet", "-o", bundle, main],
      ["run", "-A", bundle, "bench", "--size=64", "--in-flight=1", "--count=100", "--json"],
    ];
    for (const args of steps) {
      const { code, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("one way, on one session and on several: every line is acknowledged", async () => {
  for (const sessions of [1, 7]) {
    const { code, stdout, stderr } = await Fairlead.run(
      ...["bench", "--one-way", "--size", "256", "--count", "20000", "--json"],
      ...["--sessions", `${sessions}`],
    );
    assert.equal(code, 0, stderr);
    const { runs } = JSON.parse(stdout);
    assert.equal(runs.length, 1);
    const { server, ...run } = runs[0];
    assert.deepEqual(Object.keys(run), FIELDS);
    assert.deepEqual([run.messages, run.sessions, run.errors, run.lost], [20_000, sessions, 0, 0]);
    assert.deepEqual([run.in_flight, run.p50_us, run.p99_us], [null, null, null]);
    assert.ok(run.messages_per_second > 0 && run.cpu_us_per_message > 0);
    // The warm-up's lines are among them.
    assert.deepEqual([server.messages, server.bytes], [40_000, 40_000 * 256]);
    assert.deepEqual([server.sessions, server.errors], [sessions, 0]);
  }
});

for (const policy of ["lossy", "lossless"]) {
  Deno.test(`a hundred sessions at a rate, ${policy}: nothing is lost, the rate is kept`, async () => {
    const { code, stdout, stderr } = await Fairlead.run(
      ...["bench", "--sessions", "100", "--rate", "10", "--duration", "1", "--size", "256"],
      ...["--policy", policy, "--json"],
    );
    assert.equal(code, 0, stderr);
    const [run] = JSON.parse(stdout).runs;
    assert.deepEqual(Object.keys(run), BOTH_FIELDS);
    assert.deepEqual([run.messages, run.sessions, run.errors, run.lost], [1000, 100, 0, 0]);
    assert.equal(run.in_flight, null);
    assert.ok(run.p50_us > 0 && run.p50_us <= run.p99_us);
    assert.ok(run.messages_per_second <= 1100, `${run.messages_per_second} of 1000 wanted`);
    assert.equal(run.server.sessions, 100);
  });
}

Deno.test("a stalled server shows in the latencies of all requests that were due", async () => {
  await using server = Fairlead.start("bench", "--server", "v2:127.0.0.1:0");
  const address = await serving(server);
  await using client = Fairlead.start(
    ...["bench", "--client", address, "--rate", "500", "--duration", "2", "--json"],
    ...["--warmup", "100"],
  );
  await new Promise((resolve) => setTimeout(resolve, 1000));
  server.kill("SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 600));
  server.kill("SIGCONT");
  const { code, stdout } = await client.ended();
  assert.equal(code, 0);
  const { messages, p99_us } = JSON.parse(stdout);
  assert.equal(messages, 1000);
  assert.ok(p99_us > 300_000, `${p99_us} us`);
});

Deno.test("a server that goes away: what is lost is told, with a failure", async () => {
  await using server = Fairlead.start("bench", "--server", "v2:127.0.0.1:0");
  const address = await serving(server);
  await using client = Fairlead.start(
    ...["bench", "--client", address, "--rate", "100", "--duration", "30", "--json"],
  );
  await new Promise((resolve) => setTimeout(resolve, 1500));
  server.kill("SIGKILL");
  const { code, stdout, stderr } = await client.ended();
  assert.equal(code, 1);
  assert.match(stderr, /Session with \S+ is over after \d+ answers/);
  const { messages, lost } = JSON.parse(stdout);
  assert.ok(lost > 0);
  assert.equal(messages + lost, 3000);
});

Deno.test("flags that contradict each other are named, with their values", async () => {
  const wrong: [string[], RegExp][] = [
    [["--one-way", "--policy", "lossy"], /use --policy as --one-way .* current value is lossy/],
    [["--one-way", "--rate", "7"], /use --rate as --one-way .* current value is 7/],
    [["--one-way", "--in-flight", "8"], /use --in-flight as --one-way .* current value is 8/],
    [["--rate", "9", "--in-flight", "8"], /use --in-flight as --rate .* current value is 8/],
    [["--duration", "3"], /use --duration as it needs --rate: current value is 3/],
    [["--rate", "9", "--duration", "3", "--count", "5"], /use --duration as --count .* is 3/],
    [["--sessions", "1001"], /use --sessions as it must be .* from 1 to 1000: .*"1001"/],
  ];
  for (const [words, message] of wrong) {
    const { code, stderr } = await Fairlead.run("bench", ...words);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});

Deno.test("several lossless sessions that the server was not told of are an error", async () => {
  await using server = Fairlead.start(
    ...["bench", "--server", "v2:127.0.0.1:0", "--policy", "lossless"],
  );
  const address = await serving(server);
  const { code, stderr } = await Fairlead.run(
    ...["bench", "--client", address, "--one-way", "--sessions", "3", "--timeout", "2"],
  );
  assert.equal(code, 1);
  assert.match(stderr, /--sessions 3/);
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
