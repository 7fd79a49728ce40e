/** `fairlead doctor`: every check tells a status, why and a remedy; the exit code is the road's. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Check, checkAll } from "../../src/app/checks.ts";
import { libcAvailable } from "../../src/io/libc.ts";
import { Fairlead } from "./fairlead.ts";

const MAIN = fileURLToPath(import.meta.resolve("../../src/main.ts"));
const NAMES = [
  ...["libc", "epoll", "libcrypto", "IPv6", "/proc", "thermal zones", "open files", "kernel"],
  ...["MPTCP", "XFRM", "capabilities", "clock", "disk"],
];

Deno.test("each check has a status, a finding, a reason, and a remedy unless it is ok", () => {
  const checks = checkAll("auto");
  assert.deepEqual(checks.map(({ name }) => name), NAMES);
  for (const { name, status, found, why, remedy } of checks) {
    assert.match(status, /^(ok|limited|missing)$/, name);
    assert.ok(found.length > 0 && why.length > 0, name);
    assert.equal(remedy === "", status === "ok", name);
  }
});

Deno.test("the main road needs libc and epoll; --io=deno needs nothing", () => {
  const needed = (checks: Check[]): string[] =>
    checks.filter((check) => check.needed).map(({ name }) => name);
  assert.deepEqual(needed(checkAll("auto")), ["libc", "epoll"]);
  assert.deepEqual(needed(checkAll("deno")), []);
});

Deno.test("doctor --json is one object, and its ok is the exit code", async () => {
  const { code, stdout } = await Fairlead.run("doctor", "--json");
  const report = JSON.parse(stdout);
  assert.equal(report.ok, libcAvailable());
  assert.equal(code, report.ok ? 0 : 1);
  assert.deepEqual(report.checks.map(({ name }: Check) => name), NAMES);
});

Deno.test("without FFI it tells the remedy: exit 1, and exit 0 with --io=deno", async () => {
  const doctor = async (...words: string[]): Promise<Deno.CommandOutput> =>
    await new Deno.Command(Deno.execPath(), {
      args: ["run", "-R", "-S", "-N", "-E", "--no-prompt", MAIN, "doctor", ...words],
      env: { NO_COLOR: "1" },
    }).output();
  const closed = await doctor();
  assert.equal(closed.code, 1);
  assert.match(new TextDecoder().decode(closed.stdout), /missing {2}libc .*--allow-ffi/);
  assert.equal((await doctor("--io=deno")).code, 0);
});
