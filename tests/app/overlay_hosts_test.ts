/** The step `hosts` on files of its own: what is added goes again, and nothing else changes. */
import assert from "node:assert/strict";
import { type HostsRecord, hostsStep, hostSteps } from "../../src/app/overlay/node/hosts_step.ts";
import type { NodePlan } from "../../src/wire/xbone/node_plan.ts";

const FOREIGN = "127.0.0.1\tlocalhost\n# by hand \xe4\n::1 localhost ip6-localhost\n";

function recordOf(changes: Partial<HostsRecord> = {}): HostsRecord {
  const names = [{ address: "10.100.0.1", name: "r1.field" }, {
    address: "10.100.0.2",
    name: "west-r2",
  }];
  return {
    kind: "hosts",
    about: "2 names",
    overlay: "field",
    epoch: "00a1b2c3d4e5f607",
    names,
    ...changes,
  };
}

/** A hosts file with this text, which is removed afterwards. */
function withFile(text: string | null, body: (path: string) => void): void {
  const folder = Deno.makeTempDirSync({ prefix: "fairlead-hosts-" });
  try {
    const path = `${folder}/hosts`;
    if (text !== null) Deno.writeFileSync(path, latin(text));
    body(path);
    const left = [...Deno.readDirSync(folder)].map(({ name }) => name);
    assert.deepEqual(left.filter((name) => name.includes("new")), []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function latin(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function textOf(path: string): string {
  return String.fromCharCode(...Deno.readFileSync(path));
}

Deno.test("a box that leaves its hosts file alone takes no names, and loses those that it had", () => {
  withFile(FOREIGN, (path) => {
    hostsStep(path).apply(recordOf());
    const before = textOf(path);
    const step = hostsStep(path, false);
    assert.throws(() => step.apply(recordOf({ epoch: "2f" })), /"hosts" is false$/);
    assert.equal(textOf(path), before);
    step.undo(recordOf());
    assert.equal(textOf(path), FOREIGN);
  });
});

Deno.test("names are a block at the end of the hosts file, and undoing leaves every byte as it was", () => {
  withFile(FOREIGN, (path) => {
    const step = hostsStep(path);
    step.apply(recordOf());
    assert.equal(
      textOf(path),
      `${FOREIGN}# fairlead overlay field 00a1b2c3d4e5f607 begins\n10.100.0.1\tr1.field\n` +
        "10.100.0.2\twest-r2\n# fairlead overlay field 00a1b2c3d4e5f607 ends\n",
    );
    assert.deepEqual(step.drift(recordOf()), []);
    step.undo(recordOf());
    assert.equal(textOf(path), FOREIGN);
    step.undo(recordOf());
    assert.equal(textOf(path), FOREIGN);
  });
});

Deno.test("a plan's names are one step, and a plan without names has none", () => {
  const names = [{ address: "10.100.0.1", name: "r1" }];
  const plan = { overlay: "field", epoch: "a1", names } as unknown as NodePlan;
  const [step, ...more] = hostSteps(plan);
  assert.deepEqual(more, []);
  assert.deepEqual(step!.record, {
    ...{ kind: "hosts", about: "1 name in the hosts file", overlay: "field", epoch: "a1", names },
  });
  assert.deepEqual(hostSteps({ ...plan, names: [] }), []);
});

Deno.test("taken twice there is one block, and an older one gives way", () => {
  withFile(FOREIGN, (path) => {
    const step = hostsStep(path);
    step.apply(recordOf());
    const once = textOf(path);
    step.apply(recordOf());
    assert.equal(textOf(path), once);
    step.apply(recordOf({ names: [{ address: "10.100.0.9", name: "r9" }] }));
    assert.match(textOf(path), /r9/);
    assert.doesNotMatch(textOf(path), /r1\.field/);
    step.undo(recordOf());
    assert.equal(textOf(path), FOREIGN);
  });
});

Deno.test("two overlays and edits by hand around them do not disturb each other", () => {
  withFile(FOREIGN, (path) => {
    const step = hostsStep(path);
    const other = recordOf({ overlay: "field2" });
    step.apply(recordOf());
    step.apply(other);
    Deno.writeTextFileSync(path, "10.9.9.9 by-hand\n", { append: true });
    step.undo(recordOf());
    assert.deepEqual(step.drift(other), []);
    assert.equal(step.drift(recordOf()).length, 1);
    step.undo(other);
    assert.equal(textOf(path), `${FOREIGN}10.9.9.9 by-hand\n`);
  });
});

Deno.test("drift is told when the block was changed, copied or removed, or the file is gone", () => {
  withFile(FOREIGN, (path) => {
    const step = hostsStep(path);
    assert.deepEqual(step.drift(recordOf()), [`${path} lacks the names of field`]);
    step.apply(recordOf());
    const good = textOf(path);
    for (const bad of [good.replace("10.100.0.1", "10.100.0.3"), good + good]) {
      Deno.writeFileSync(path, latin(bad));
      assert.match(step.drift(recordOf())[0]!, /has other names for field/);
    }
    step.undo(recordOf());
    assert.equal(textOf(path), FOREIGN + FOREIGN);
    Deno.removeSync(path);
    assert.deepEqual(step.drift(recordOf()), [`${path} is missing`]);
  });
});

Deno.test("of a block whose end somebody removed only the mark is taken for ours", () => {
  withFile(FOREIGN, (path) => {
    const step = hostsStep(path);
    step.apply(recordOf());
    Deno.writeFileSync(path, latin(textOf(path).replace(/# fairlead[^\n]* ends\n/, "")));
    step.undo(recordOf());
    assert.equal(textOf(path), `${FOREIGN}10.100.0.1\tr1.field\n10.100.0.2\twest-r2\n`);
  });
});

Deno.test("blocks that no journal knows are orphans, and go alone", () => {
  withFile(FOREIGN, (path) => {
    const step = hostsStep(path);
    const lost = recordOf({ epoch: "0000000000000001" });
    const other = recordOf({ overlay: "plant" });
    for (const record of [recordOf(), lost, other]) step.apply(record);
    const orphans = step.orphans!(() => [recordOf()]);
    assert.deepEqual(orphans.map(({ about }) => about), [
      `names of field, epoch 0000000000000001 (${path})`,
      `names of plant, epoch 00a1b2c3d4e5f607 (${path})`,
    ]);
    for (const { remove } of orphans) remove();
    assert.deepEqual(step.orphans!(() => [recordOf()]), []);
    assert.deepEqual(step.drift(recordOf()), []);
    step.undo(recordOf());
    assert.equal(textOf(path), FOREIGN);
    Deno.removeSync(path);
    assert.deepEqual(step.orphans!(() => []), []);
  });
});

Deno.test("mode and owner stay, and a symbolic link stays one", () => {
  withFile(FOREIGN, (path) => {
    const link = `${path}.link`;
    Deno.symlinkSync(path, link);
    Deno.chmodSync(path, 0o640);
    if (Deno.uid() === 0) Deno.chownSync(path, 7, 8);
    hostsStep(link).apply(recordOf());
    const { gid, mode, uid } = Deno.statSync(path);
    assert.equal(mode! & 0o7777, 0o640);
    if (Deno.uid() === 0) assert.deepEqual([uid, gid], [7, 8]);
    assert.ok(Deno.lstatSync(link).isSymlink);
    assert.match(textOf(path), /r1\.field/);
  });
});

Deno.test("a file that is not there is made, and one without a last line break gets it", () => {
  withFile(null, (path) => {
    const step = hostsStep(path);
    step.undo(recordOf());
    step.apply(recordOf());
    assert.deepEqual(step.drift(recordOf()), []);
    step.undo(recordOf());
    assert.equal(textOf(path), "");
  });
  withFile("127.0.0.1 localhost", (path) => {
    hostsStep(path).apply(recordOf());
    assert.match(textOf(path), /^127\.0\.0\.1 localhost\n# fairlead/);
  });
});

const HOSTILE: { what: string; changes: Partial<HostsRecord> }[] = [
  { what: "a name with a line break", changes: names("r1\n6.6.6.6 bank") },
  { what: "a name with a blank", changes: names("r1 bank") },
  { what: "an empty name", changes: names("") },
  { what: "a name that begins a comment", changes: names("#r1") },
  { what: "an address that is none", changes: names("r1", "10.1.1.256") },
  { what: "an address with a line break", changes: names("r1", "10.1.1.1\n6.6.6.6 bank") },
  { what: "an overlay with a line break", changes: { overlay: "a\n6.6.6.6 bank" } },
  { what: "an epoch with a blank", changes: { epoch: "a b" } },
];

function names(name: string, address = "10.1.1.1"): Partial<HostsRecord> {
  return { names: [{ address, name }] };
}

Deno.test.each(HOSTILE)("$what is refused, and the file stays as it is", ({ changes }) => {
  withFile(FOREIGN, (path) => {
    assert.throws(() => hostsStep(path).apply(recordOf(changes)), /^Error: Cannot name /);
    assert.equal(textOf(path), FOREIGN);
  });
});

/** A file that is bound into a mount namespace of its own, as containers have it. */
const BOUND = 'mount --bind "$1/other" "$1/hosts" && exec "$2" run -A --no-check "$3" "$1/hosts"';

Deno.test({
  name: "a file that is a mount point is written in place, and undone in place",
  ignore: Deno.uid() !== 0,
  fn: async () => {
    const folder = Deno.makeTempDirSync({ prefix: "fairlead-hosts-" });
    try {
      for (const name of ["hosts", "other"]) {
        Deno.writeFileSync(`${folder}/${name}`, latin(FOREIGN));
      }
      const module = new URL("../../src/app/overlay/node/hosts_step.ts", import.meta.url).href;
      const record = JSON.stringify(recordOf());
      Deno.writeTextFileSync(
        `${folder}/program.ts`,
        `import { hostsStep } from ${JSON.stringify(module)};
         const path = Deno.args[0];
         const before = Deno.statSync(path).ino;
         const step = hostsStep(path);
         const record = ${record};
         step.apply(record);
         if (step.drift(record).length !== 0 || Deno.statSync(path).ino !== before) Deno.exit(3);
         Deno.copyFileSync(path, path + ".seen");
         step.undo(record);`,
      );
      const done = await new Deno.Command("unshare", {
        args: ["-m", "sh", "-c", BOUND, "sh", folder, Deno.execPath(), `${folder}/program.ts`],
      }).output();
      assert.equal(done.code, 0, new TextDecoder().decode(done.stderr));
      assert.match(textOf(`${folder}/hosts.seen`), /10\.100\.0\.1\tr1\.field/);
      assert.equal(textOf(`${folder}/other`), FOREIGN);
      assert.equal(textOf(`${folder}/hosts`), FOREIGN, "what it hides was not touched");
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
