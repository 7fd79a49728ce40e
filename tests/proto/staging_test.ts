/** Memory that a busy connection takes beyond its first, and gives back when it is quiet. */
import assert from "node:assert/strict";
import { arenaTaken } from "../../src/mem/arena.ts";
import { FRAME_BYTES_MAX, SEAL_STAGING_BYTES_BUSY } from "../../src/mem/limits.ts";
import { MESSENGER_DEFAULTS } from "../../src/proto/msgr2/messenger.ts";
import { FORMATS } from "../wire/frame_model.ts";
import { Link } from "./link.ts";

const SIZES = [SEAL_STAGING_BYTES_BUSY, 1024 * 1024, FRAME_BYTES_MAX / 16];

Deno.test.each(FORMATS)("$name: large messages leave nothing taken behind them", ({ format }) => {
  const link = new Link({ format });
  link.ready();
  link.session.send({ type: 0xfa00, data: new Uint8Array(1000) });
  link.settle();
  const before = arenaTaken();
  for (const size of SIZES) {
    for (let count = 0; count < 3; count++) {
      assert.ok(link.session.send({ type: 0xfa00, data: new Uint8Array(size) }) > 0);
    }
    link.settle();
    assert.equal(link.session.unacknowledged, 0);
  }
  assert.ok(arenaTaken() > before, "buffers have grown");
  link.advance(MESSENGER_DEFAULTS.keepaliveMs);
  assert.equal(link.near.keepaliveAcks, 1);
  link.advance(MESSENGER_DEFAULTS.keepaliveMs);
  assert.ok(arenaTaken() <= before, `${arenaTaken()} bytes taken, ${before} before`);
  link.close();
});
