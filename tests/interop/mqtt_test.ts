/**
 * The MQTT input with real publishers: mosquitto_pub of Debian's mosquitto-clients, and
 * mosquitto_passwd of its mosquitto.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Input } from "../../src/app/gateway/intake.ts";
import { openMqtt } from "../../src/app/inputs/mqtt.ts";
import { nowMs } from "../../src/io/clock.ts";
import { FakeIntake } from "../app/fake_intake.ts";
import { Daemon, type Finished, hasProgram, must, run } from "./processes.ts";

const ci = Deno.env.get("CI") === "true";
const ignore = !(await hasProgram("mosquitto_pub")) && !ci;
const ignorePasswords = ignore || !(await hasProgram("mosquitto_passwd")) && !ci;

/** An input on a free port. */
class Bench implements AsyncDisposable {
  readonly intake: FakeIntake = new FakeIntake();
  readonly #passwordFile: string | null;
  #input: Input | null = null;

  constructor(passwordFile: string | null = null) {
    this.#passwordFile = passwordFile;
  }

  get input(): Input {
    assert.ok(this.#input, "it was opened");
    return this.#input;
  }

  async open(listen = "127.0.0.1:0"): Promise<this> {
    const options = { listen, topicPrefix: "", passwordFile: this.#passwordFile };
    this.#input = await openMqtt("mqtt", options, this.intake);
    return this;
  }

  publish(words: readonly string[], stdin?: string): Promise<Finished> {
    return run(this.argv(words), stdin === undefined ? {} : { stdin });
  }

  argv(words: readonly string[]): string[] {
    const port = this.input.where.split(":").at(-1)!;
    return ["mosquitto_pub", "-h", "127.0.0.1", "-p", port, ...words];
  }

  async stop(graceMs = 2000): Promise<void> {
    await this.input.stop(nowMs() + graceMs);
    this.#input = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.intake.release();
    this.intake.setRoom(Infinity);
    if (this.#input !== null) await this.stop();
  }
}

function assertGood({ code, stderr }: Finished): void {
  assert.equal(code, 0, stderr);
}

for (const qos of [0, 1, 2]) {
  Deno.test({
    name: `mosquitto_pub -l sends 10,000 lines with QoS ${qos}, each arrives once and in order`,
    ignore,
    async fn(): Promise<void> {
      await using bench = await new Bench().open();
      const lines = Array.from({ length: 10_000 }, (_, index) => `line ${index} of QoS ${qos}`);
      const words = ["-q", `${qos}`, "-t", "a/b", "-l"];
      assertGood(await bench.publish(words, lines.join("\n") + "\n"));
      await bench.intake.taken(lines.length);
      assert.deepEqual(bench.intake.texts, lines);
      assert.equal(bench.intake.messages[0]?.topic, "a/b");
      assert.equal(bench.input.counts.refused, 0);
    },
  });
}

Deno.test({
  name: "a publisher waits as long as the spool has no room",
  ignore,
  async fn(): Promise<void> {
    await using bench = await new Bench().open();
    bench.intake.setRoom(100);
    const lines = Array.from({ length: 2000 }, (_, index) => `${index}`);
    const publishing = bench.publish(["-q", "1", "-t", "t", "-l"], lines.join("\n") + "\n");
    await bench.intake.refused(3);
    assert.equal(bench.intake.messages.length, 100);
    bench.intake.setRoom(Infinity);
    assertGood(await publishing);
    assert.deepEqual(bench.intake.texts, lines);
  },
});

for (const version of ["mqttv31", "mqttv311"]) {
  Deno.test({
    name: `${version}: an empty message, a retained one, a file of 1 MiB`,
    ignore,
    async fn(): Promise<void> {
      await using bench = await new Bench().open();
      const path = await Deno.makeTempFile();
      await Deno.writeFile(path, new Uint8Array(1024 * 1024).fill(0xfe));
      try {
        assertGood(await bench.publish(["-V", version, "-q", "1", "-t", "t", "-n"]));
        assertGood(await bench.publish(["-V", version, "-q", "1", "-t", "t", "-r", "-m", "é"]));
        assertGood(await bench.publish(["-V", version, "-q", "2", "-t", "t", "-f", path]));
      } finally {
        await Deno.remove(path);
      }
      const [empty, retained, file] = bench.intake.messages;
      assert.deepEqual([empty?.text, retained?.text], ["", "é"]);
      assert.equal(file?.contentType, "application/octet-stream");
      assert.equal(file?.payload.length, 1024 * 1024);
    },
  });
}

Deno.test({
  name: "a client of MQTT 5 is refused, and says why",
  ignore,
  async fn(): Promise<void> {
    await using bench = await new Bench().open();
    const { counts } = bench.input;
    const { code, stderr } = await bench.publish(["-V", "mqttv5", "-t", "t", "-m", "x"]);
    assert.notEqual(code, 0, stderr);
    await bench.stop();
    assert.equal(counts.refused, 1);
    assert.deepEqual(bench.intake.messages, []);
  },
});

Deno.test({
  name: "users of a file that mosquitto_passwd made, and plain ones, are let in",
  ignore: ignorePasswords,
  async fn(): Promise<void> {
    const path = await Deno.makeTempFile();
    try {
      await must(["mosquitto_passwd", "-b", path, "ann", "her secret"]);
      await must(["mosquitto_passwd", "-H", "sha512", "-b", path, "carl", "his secret"]);
      await Deno.writeTextFile(path, "bob:plain\n", { append: true });
      await using bench = await new Bench(path).open();
      const users = [["ann", "her secret"], ["carl", "his secret"], ["bob", "plain"]] as const;
      const tail = ["-q", "1", "-t", "t", "-m", "x"];
      for (const [user, password] of users) {
        assertGood(await bench.publish(["-u", user, "-P", password, ...tail]));
      }
      const wrong = await bench.publish(["-u", "ann", "-P", "secret", ...tail]);
      assert.equal(wrong.code, 5, "Connection Refused: not authorised");
      assert.equal((await bench.publish(tail)).code, 5);
      assert.equal(bench.intake.messages.length, 3);
    } finally {
      await Deno.remove(path);
    }
  },
});

Deno.test({
  name: "a publisher that is killed leaves its will behind",
  ignore,
  async fn(): Promise<void> {
    await using bench = await new Bench().open();
    const log = await Deno.makeTempFile();
    const will = ["--will-topic", "w", "--will-payload", "gone", "--will-qos", "1"];
    // It waits for a PUBACK that does not come.
    bench.intake.hold();
    const argv = bench.argv([...will, "-q", "1", "-t", "t", "-m", "hello"]);
    const daemon = Daemon.start(argv, log);
    try {
      await bench.intake.taken(1);
      await daemon.stop("SIGKILL");
      await bench.intake.taken(2);
    } finally {
      await daemon.stop();
      await Deno.remove(log);
    }
    assert.deepEqual(bench.intake.texts, ["hello", "gone"]);
  },
});

Deno.test({
  name: "an input that is stopped and opened again under a publisher loses nothing of QoS 1",
  ignore,
  async fn(): Promise<void> {
    await using bench = await new Bench().open();
    const { where } = bench.input;
    const lines = Array.from({ length: 3000 }, (_, index) => `${index}`);
    // -c and -i: it connects again, and sends again what was not acknowledged.
    const words = ["-c", "-i", "dev", "-q", "1", "-t", "t", "-l"];
    bench.intake.setRoom(1000);
    const publishing = bench.publish(words, lines.join("\n") + "\n");
    await bench.intake.refused(1);
    await bench.stop(50); // in the middle of a message that has no room
    bench.intake.setRoom(Infinity);
    await bench.open(where);
    assertGood(await publishing);
    const arrived = new Set(bench.intake.texts);
    assert.deepEqual(lines.filter((line) => !arrived.has(line)), []);
  },
});
