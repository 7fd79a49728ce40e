/** The guest that the tests of this folder run in: what it has, and what it must not be able to do. */
import assert from "node:assert/strict";
import { must } from "../interop/processes.ts";

const WORK = Deno.env.get("FAIRLEAD_UML");
assert.ok(WORK, "tests of this folder run in user-mode Linux: see tests/interop/uml_lab.ts");

/** Places on the host that are not the work directory; the first is the checkout. */
const OUTSIDE = [import.meta.dirname!, "/", "/etc", "/tmp", "/root"];
const NAME = "fairlead-uml-must-not-be";
/** EROFS of the host, or what /proc and /sys say of new files. */
const REFUSED = /os error (1|2|13|30)\b/;

function isShut(): void {
  for (const place of OUTSIDE) {
    assert.throws(() => Deno.writeTextFileSync(`${place}/${NAME}`, ""), /os error 30\b/, place);
  }
  assert.throws(() => Deno.openSync("/etc/passwd", { append: true }), /os error 30\b/);
  assert.throws(() => Deno.chmodSync("/etc/passwd", 0o644), /os error 30\b/);
}

Deno.test("the kernel is user-mode Linux with ESP, one processor and 100 jiffies a second", async () => {
  assert.match(Deno.readTextFileSync("/proc/cpuinfo"), /User Mode Linux/);
  assert.equal(navigator.hardwareConcurrency, 1);
  await must(["ip", "netns", "add", "esp"]);
  const gcm = ["aead", "rfc4106(gcm(aes))", `0x${"01".repeat(20)}`, "128"];
  const addresses = ["src", "10.9.0.1", "dst", "10.9.0.2"];
  const state = [...addresses, "proto", "esp", "spi", "0x1000", "mode", "tunnel", ...gcm];
  await must(["ip", "-n", "esp", "xfrm", "state", "add", ...state]);
  assert.match(await must(["ip", "-n", "esp", "xfrm", "state"]), /spi 0x00001000/);
  await must(["ip", "netns", "delete", "esp"]);
});

Deno.test("the work directory is writable, and the host sees what is written", () => {
  Deno.writeTextFileSync(`${WORK}/seen`, "inside");
  assert.equal(Deno.readTextFileSync(`${WORK}/seen`), "inside");
});

Deno.test("nothing else of the host can be written, not even after a remount", async () => {
  isShut();
  await must(["mount", "-o", "remount,rw", "/"]); // the guest allows it, so the host must not
  try {
    assert.match(Deno.readTextFileSync("/proc/mounts"), / \/ hostfs rw/);
    isShut();
  } finally {
    await must(["mount", "-o", "remount,ro", "/"]);
  }
});

Deno.test("nothing of the host can be written through another mount of its files", async () => {
  const place = Deno.makeTempDirSync();
  for (const folder of ["/", "/etc", "/tmp", "/proc/sys/kernel", "/sys"]) {
    await must(["mount", "-t", "hostfs", "-o", folder, "none", place]);
    try {
      assert.throws(() => Deno.writeTextFileSync(`${place}/${NAME}`, ""), REFUSED, folder);
      if (folder !== "/proc/sys/kernel") continue;
      assert.throws(() => Deno.openSync(`${place}/hostname`, { write: true }), /os error 30\b/);
    } finally {
      await must(["umount", place]);
    }
  }
});
