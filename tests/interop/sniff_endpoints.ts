/**
 * A hub and a box of our own for captures of msgr2: messages of all sizes over connections that a
 * relay cuts, then frames that are taken back half way. A program of its own, so that it can run
 * inside a namespace:
 *
 *     deno run -A tests/interop/sniff_endpoints.ts MODE REVISION PORT KEYRING
 *
 * MODE is `crc` or `secure`, REVISION `2.0` or `2.1`; the hub listens on PORT, and the keys go to
 * the file KEYRING. It exits with 0 when everything arrived once and in order.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  authCephx,
  type AuthOptions,
  Endpoint,
  formatKeyring,
  generateKey,
  Keyring,
  KeyType,
  type ModeName,
  NodeCrypto,
  parseEntityName,
  POLICIES,
} from "../../mod.ts";
import { CuttingRelay } from "../app/fairlead.ts";

const MESSAGES = 300;
const TYPE = 0xfa00;
/** Bytes that each of the first connections carries. */
const BUDGETS = [40_000, 600_000, 250_001, 999];
const ABORTED = 2;
/** More than the sockets of both ends take at once in the namespace of captureEndpoints(). */
const LARGE_BYTES = 600_000;
const ATTEMPTS_MAX = 50;

function content(index: number): Uint8Array {
  const bytes = new Uint8Array(4 + [0, 40, 700, 9_000, 33_000][index % 5]!);
  new DataView(bytes.buffer).setUint32(0, index);
  for (let at = 4; at < bytes.length; at++) bytes[at] = (at >> 9) & 1 ? 0 : at * index;
  return bytes;
}

/** Sends everything through a relay that cuts. */
async function exchange(hub: Endpoint, box: Endpoint, port: number): Promise<void> {
  let arrived = 0;
  hub.handle((batch) => {
    for (let index = 0; index < batch.length; index++) {
      assert.deepEqual(batch.front(index), content(arrived++));
    }
  });
  await using relay = new CuttingRelay();
  const budgets = [...BUDGETS];
  relay.start(port, () => budgets.shift() ?? Infinity);
  const session = await box.connect(`v2:127.0.0.1:${relay.port}`, POLICIES.losslessClient);
  for (let index = 0; index < MESSAGES; index++) {
    await box.send(session, { type: TYPE, front: content(index) });
  }
  await box.flushed(session);
  assert.equal(arrived, MESSAGES);
  assert.ok(relay.cuts >= BUDGETS.length); // counted on both sides of a connection
  box.disconnect(session);
}

/** Takes messages back while their frames are half sent. */
async function abort(hub: Endpoint, box: Endpoint, port: number): Promise<void> {
  hub.handle(() => {});
  const session = await box.connect(`v2:127.0.0.1:${port}`, POLICIES.losslessClient);
  await box.established(session);
  const { counters } = hub.messenger;
  for (let attempt = 0; counters.aborted < ABORTED; attempt++) {
    assert.ok(attempt < ATTEMPTS_MAX, "a frame of this size is aborted half way");
    const serial = await box.send(session, { type: TYPE, data: new Uint8Array(LARGE_BYTES) });
    // A turn or two: more than nothing is on the wire, and not all of it.
    for (let turn = 0; turn <= attempt % 4; turn++) await new Promise((r) => setImmediate(r));
    session.revoke(serial);
    await box.send(session, { type: TYPE, front: content(attempt) });
    await box.flushed(session);
  }
}

if (import.meta.main) {
  const [mode, revision, port, path] = Deno.args as [ModeName, string, string, string];
  const key = generateKey(new NodeCrypto(), KeyType.Aes, Math.floor(Date.now() / 1000));
  const keyring = new Keyring([{ name: parseEntityName("client.gw1"), key }]);
  await Deno.writeTextFile(path, formatKeyring(keyring.entries()));
  const auth = (name: string): AuthOptions => authCephx(name, keyring, [mode]);
  // What the box dials is the relay.
  const messenger = { revision1: revision === "2.1", anyTarget: true };
  const hub = new Endpoint({ auth: auth("mon."), messenger });
  const box = new Endpoint({ auth: auth("client.gw1"), messenger });
  await hub.listen(`v2:127.0.0.1:${port}`);
  await exchange(hub, box, Number(port));
  await abort(hub, box, Number(port));
  await box.close();
  await hub.close();
}
