/** Two boxes in one process: who is active, handovers, cuts, alarms, the access socket, the command. */
import assert from "node:assert/strict";
import { AccessClient } from "../../src/app/access_client.ts";
import { authNone } from "../../src/app/auth.ts";
import type { StandbyConfig } from "../../src/app/config/standby_config.ts";
import { STANDBY_DAEMON, type StandbyEvent } from "../../src/app/standby/standby_message.ts";
import { StandbyPart } from "../../src/app/standby/standby_part.ts";
import { Alarms, Journal } from "../../src/app/status/journal.ts";
import { Fairlead } from "./fairlead.ts";
import {
  configOf,
  NAME,
  openWitness,
  ownAddress,
  RigBox,
  RigPair,
  Stranger,
  until,
} from "./standby_rig.ts";

Deno.test("roles that are given: the one is active, the other gets everything", async () => {
  await using pair = await RigPair.open();
  const [active, standby] = await pair.whole();
  assert.equal(active, pair.a);
  assert.equal(active.service.election.term, 1);
  assert.equal(standby.service.election.term, 1);
  assert.equal(active.service.flow.out.snapshots, 1);
  assert.deepEqual(
    active.roles,
    ["starting", "taking", "active"].filter((role) => active.roles.includes(role)),
  );
});

Deno.test("promote hands over, to and fro, and each has everything again", async () => {
  await using pair = await RigPair.open();
  let [active, standby] = await pair.whole();
  for (let round = 1; round <= 4; round++) {
    const term = await standby.service.promote(false);
    assert.equal(term, round + 1);
    assert.equal(standby.role, "active");
    assert.notEqual(active.role, "active");
    [active, standby] = await pair.whole();
  }
  await assert.rejects(active.service.promote(false), /active in term 5 already/);
});

Deno.test("demote hands over when the other box can, and the end of the active one does too", async () => {
  await using pair = await RigPair.open();
  const [active, standby] = await pair.whole();
  active.service.demote();
  await standby.is("active");
  await pair.whole();
  assert.equal(standby.service.election.term, 2);
});

Deno.test("a promotion is refused while the other box is away, unless forced", async () => {
  await using pair = await RigPair.open({ heartbeatMs: 30, deadMs: 120 });
  const [active, standby] = await pair.whole();
  await active.service.close();
  await until("it is away", () => !standby.service.election.peer.lives(performance.now(), 0));
  await until("it is not reached", () => !standby.service.reaches("peer"));
  await assert.rejects(standby.service.promote(false), /cannot be reached/);
  assert.ok(await standby.service.promote(true) >= 2);
});

Deno.test("promotions that are asked for at a time are all answered", async () => {
  await using pair = await RigPair.open();
  const [, standby] = await pair.whole();
  const asked = Array.from({ length: 20 }, () => standby.service.promote(false));
  const settled = await Promise.allSettled(asked);
  assert.equal(settled[0]!.status, "fulfilled", "the first is done, whoever asks meanwhile");
  for (const each of settled.slice(1)) {
    if (each.status === "rejected") assert.match(each.reason.message, /being done already/);
  }
  await standby.is("active");
});

Deno.test("boxes find each other whoever starts first", async () => {
  for (let round = 0; round < 25; round++) {
    const listen = ownAddress();
    const peer = ownAddress();
    const first = configOf({ role: "standby", box: "b", listen: peer, peer: listen });
    const second = configOf({ role: "active", box: "a", listen, peer, deadMs: 120 });
    const opened = await Promise.all(
      round % 2 === 0
        ? [RigBox.open(second), RigBox.open(first)]
        : [RigBox.open(first), RigBox.open(second)],
    );
    const standby = opened[round % 2 === 0 ? 1 : 0]!;
    await until(`round ${round}`, () => standby.receiver.wholeTerm > 0);
    assert.equal(standby.service.counts.strangers, 0);
    for (const box of opened) await box.service.close();
  }
});

Deno.test("a standby that comes back, and an active one that was killed, are paired again", async () => {
  const listen = ownAddress();
  const peer = ownAddress();
  const a = configOf({ role: "active", box: "a", listen, peer, deadMs: 120, heartbeatMs: 20 });
  const b = configOf({ role: "standby", box: "b", listen: peer, peer: listen });
  await using active = await RigBox.open(a);
  for (let round = 0; round < 6; round++) {
    await using standby = await RigBox.open(b);
    await until(
      `round ${round}`,
      () => standby.receiver.wholeTerm > 0 && active.service.flow.isSynced,
    );
    assert.equal(standby.service.counts.strangers, 0);
    assert.equal(active.service.counts.strangers, 0);
  }
});

Deno.test("in auto the witness lets one box be active; a cut moves it, or keeps it, but never doubles it", async () => {
  const state = await Deno.makeTempDir();
  const witness = await openWitness(state);
  try {
    const settings: Partial<StandbyConfig> = {
      role: "auto",
      witness: witness.address,
      heartbeatMs: 30,
      deadMs: 200,
      leaseMs: 600,
      preferred: true,
    };
    await using pair = await RigPair.open(settings, { preferred: false });
    const [active, standby] = await pair.whole();
    const watch = setInterval(() => {
      const both = [pair.a, pair.b].every(({ service }) =>
        service.guard.untilMs > performance.now()
      );
      if (both) doubled = true;
    }, 5);
    let doubled = false;
    try {
      await active.service.close();
      await standby.is("active");
      assert.equal(standby.service.election.term, active.service.election.term + 1);
    } finally {
      clearInterval(watch);
    }
    assert.equal(doubled, false);
    await witness.close();
    await standby.is("fenced");
    assert.equal(standby.service.guard.untilMs, -Infinity);
  } finally {
    await witness.close();
    await Deno.remove(state, { recursive: true });
  }
});

/** A part with its alarms, and its socket. */
async function openPart(
  config: StandbyConfig,
  state: string | null = null,
): Promise<{ part: StandbyPart; alarms: Alarms; lines: string[] }> {
  const lines: string[] = [];
  const journal = new Journal(
    { format: "text", write: (line: string) => void lines.push(line) } as never,
  );
  const alarms = new Alarms(journal);
  const part = await StandbyPart.open({
    config,
    name: NAME,
    auth: authNone(NAME),
    state,
    cargo: null,
    journal,
    alarms,
  });
  return { part, alarms, lines };
}

Deno.test("alarms are raised while they hold, and cleared; a role is told to whoever subscribed", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const listen = ownAddress();
    const peer = ownAddress();
    const socket = `${directory}/standby.sock`;
    const own = configOf({
      role: "active",
      box: "a",
      listen,
      peer,
      socket,
      deadMs: 120,
      heartbeatMs: 20,
    });
    const { alarms, part } = await openPart(own);
    const raised = (code: string): boolean => alarms.list().some((alarm) => alarm.code === code);
    assert.equal((await Deno.stat(socket)).mode! & 0o777, 0o600);
    const client = await AccessClient.connect<StandbyEvent>(STANDBY_DAEMON, socket);
    await client.request("subscribe", { groups: ["role"] }, 5000);
    await until("nobody could take over", () => raised("standby_away"));
    {
      const other = configOf({ box: "b", listen: peer, peer: listen, deadMs: 400 });
      await using standby = await RigBox.open(other);
      await until("somebody could", () => !raised("standby_away"));
      await standby.service.promote(false);
      await until(
        "it has everything again",
        () => part.service.election.ready && !raised("standby_not_ready"),
      );
      const told = await client.request("status", {}, 5000) as { status: { role: string } };
      assert.equal(told.status.role, "standby");
    }
    await until("events came", () => part.service.election.role === "standby");
    await client.close();
    await part.close();
    await assert.rejects(Deno.stat(socket));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a box whose witness is away is fenced, and both alarms end when it is back", async () => {
  const state = await Deno.makeTempDir();
  const listen = ownAddress();
  let witness = await openWitness(`${state}/witness`, { listen });
  try {
    const times = { heartbeatMs: 20, deadMs: 100, leaseMs: 400 };
    const config = configOf({ role: "auto", preferred: true, witness: listen, ...times });
    const { alarms, part } = await openPart(config, `${state}/box`);
    try {
      const raised = (code: string): boolean => alarms.list().some((alarm) => alarm.code === code);
      await using peer = await Stranger.open(config.listen, { listen: config.peer });
      peer.live({ role: "standby", mode: "auto", term: 0, stateTerm: 0 });
      const { election, guard } = part.service;
      await until("it is active", () => election.role === "active");
      assert.ok(guard.untilMs > 0);
      await witness.close();
      await until("it is fenced", () => election.role === "fenced");
      assert.equal(guard.untilMs, -Infinity);
      await until("both are told", () => raised("standby_fenced") && raised("witness_away"));
      witness = await openWitness(`${state}/witness`, { listen });
      await until("it is active again", () => election.role === "active");
      await until("both are over", () => !raised("standby_fenced") && !raised("witness_away"));
    } finally {
      await part.close();
    }
  } finally {
    await witness.close();
    await Deno.remove(state, { recursive: true });
  }
});

Deno.test("two boxes that are active in one term stop, and an operator is told", async () => {
  const config = configOf({ role: "active", heartbeatMs: 20, deadMs: 100 });
  const { alarms, part } = await openPart(config);
  try {
    const { election, guard } = part.service;
    await until("it is active", () => election.role === "active");
    await using peer = await Stranger.open(config.listen, { listen: config.peer });
    const { term } = election;
    peer.live({ role: "active", mode: "standby", term, stateTerm: term, box: "other" });
    await until("it is fenced", () => election.role === "fenced");
    assert.equal(guard.untilMs, -Infinity);
    const raised = (): boolean => alarms.list().some(({ code }) => code === "standby_split");
    await until("it is told", raised);
    peer.live({
      role: "active",
      mode: "standby",
      term: term + 1,
      stateTerm: term + 1,
      box: "other",
    });
    await until("the other one goes on", () => election.role === "standby");
    await until("it is over", () => !raised());
  } finally {
    await part.close();
  }
});

Deno.test("the access socket: rubbish, unknown commands, many clients, and a promotion at a time", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const socket = `${directory}/standby.sock`;
    const { part } = await openPart(configOf({ socket }));
    const talk = async (text: string): Promise<string> => {
      const conn = await Deno.connect({ transport: "unix", path: socket });
      await conn.write(new TextEncoder().encode(text));
      await conn.closeWrite();
      let answer = "";
      for await (const piece of conn.readable.pipeThrough(new TextDecoderStream())) answer += piece;
      return answer;
    };
    assert.match(await talk("{\n"), /not JSON/);
    assert.match(await talk("[]\n"), /must be a JSON object/);
    assert.match(await talk('{"command":"constructor"}\n'), /"ok":false/);
    assert.match(await talk('{"id":1,"command":"status","x":1}\n'), /unknown/);
    assert.match(await talk('{"id":-1,"command":"status"}\n'), /whole number/);
    assert.match(await talk('{"command":"promote","force":1}\n'), /true or false/);
    assert.match(await talk('{"command":"subscribe","groups":["x"]}\n'), /"ok":false/);
    assert.match(await talk("\xff\n"), /"ok":false/);
    assert.match(await talk('{"id":2,"command":"promote"}\n'), /"ok":false/);
    assert.match(await talk('{"id":3,"command":"diff"}\n'), /cannot be reached/);
    const conns = await Promise.all(
      Array.from({ length: 100 }, () => Deno.connect({ transport: "unix", path: socket })),
    );
    for (const conn of conns) conn.close();
    let answer = "";
    for (let tries = 0; tries < 200 && !/"ok":true/.test(answer); tries++) {
      answer = await talk('{"id":4,"command":"status"}\n');
    }
    assert.equal(JSON.parse(answer).status.role, part.service.election.role);
    await part.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("fairlead standby run: what is wrong is told, and nothing is started", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const run = async (...words: string[]): Promise<{ code: number; text: string }> => {
      const { code, stderr, stdout } = await Fairlead.run("standby", "run", ...words);
      return { code, text: `${stdout}${stderr}` };
    };
    const good = [
      "--listen",
      "v2:127.0.0.1:6810",
      "--peer",
      "v2:127.0.0.2:6810",
      "--role",
      "standby",
    ];
    const wrong: [string[], RegExp][] = [
      [[], /standby/],
      [["--role", "boss"], /role/],
      [[...good.slice(0, 4), "--role", "auto"], /witness/],
      [[...good, "--witness", "v2:127.0.0.3:6820"], /witness/],
      [[...good, "--address", "nonsense"], /address/],
      [["--nothing"], /--nothing/],
    ];
    for (const [words, text] of wrong) {
      const ended = await run(...words, "--check");
      assert.notEqual(ended.code, 0, words.join(" "));
      assert.match(ended.text, text);
    }
    const checked = await run(...good, "--check");
    assert.equal(checked.code, 0, checked.text);
    assert.match((await run(...good, "--print-config")).text, /"?role"?/);
    assert.match((await run(...good, "--print-unit")).text, /Cannot print a unit with --role/);
    const file = `${directory}/box.json`;
    const standby = { role: "standby", listen: "v2:127.0.0.1:6810", peer: "v2:127.0.0.2:6810" };
    await Deno.writeTextFile(file, JSON.stringify({ standby }));
    assert.match((await run("--config", file, "--print-unit")).text, /ExecStart=.*standby run/);
    assert.match((await run("--schema")).text, /"standby"/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("fairlead standby run begins, answers, and ends with SIGTERM", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const config = `${directory}/box.json`;
    const socket = `${directory}/standby.sock`;
    await Deno.writeTextFile(
      config,
      JSON.stringify({
        status: false,
        standby: {
          role: "standby",
          box: "b",
          listen: ownAddress(),
          peer: ownAddress(),
          associations: false,
          socket,
        },
      }),
    );
    await using daemon = Fairlead.start("standby", "run", "--config", config);
    await daemon.stderrMatch(/Box b of fairlead/);
    await daemon.stderrMatch(/This box is standby/);
    const status = await Fairlead.run("standby", "status", "--socket", socket, "--json");
    assert.equal(status.code, 0, status.stderr);
    assert.equal(JSON.parse(status.stdout).role, "standby");
    const promote = await Fairlead.run("standby", "promote", "--socket", socket);
    assert.equal(promote.code, 1);
    assert.match(promote.stderr, /Cannot promote/);
    daemon.kill("SIGTERM");
    assert.equal(await daemon.end(), 0);
    assert.match(daemon.err.text, /Stopped/);
    const gone = await Fairlead.run("standby", "status", "--socket", socket);
    assert.notEqual(gone.code, 0);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
