/** What the switches of a policy do that are ours and not Ceph's: requeue and reopen. */
import assert from "node:assert/strict";
import { POLICIES } from "../../src/proto/msgr2/policy.ts";
import { SessionState } from "../../src/proto/msgr2/session.ts";
import { Net, say } from "./pair.ts";

const HUB = "v2:10.0.0.1:3300/0";

Deno.test("reopen: a hub that says CLOSE and comes back gets what it had not acknowledged", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const gateway = net.node("gateway");
  const policy = { ...POLICIES.losslessClient, requeue: true, reopen: true };
  const session = gateway.connect(hub, policy);
  say(session, "one");
  net.settle();
  hub.messenger.close(hub.session, net.now);
  say(session, "two");
  net.settle();
  say(session, "three");
  net.advance(1000);
  assert.deepEqual(gateway.events, ["connect", "remoteReset", "connect"]);
  assert.deepEqual(hub.received, ["one", "two", "three"]);
  assert.equal(session.unacknowledged, 0);
});

Deno.test("without reopen, CLOSE ends the session, and says how much was not acknowledged", () => {
  const net = new Net();
  const hub = net.node("hub", { address: HUB });
  const client = net.node("client");
  const session = client.connect(hub);
  say(session, "one");
  net.settle();
  hub.messenger.close(hub.session, net.now);
  say(session, "two");
  net.advance(1000);
  assert.equal(session.state, SessionState.Closed);
  assert.equal(session.dropped, 1);
  assert.deepEqual(client.events, ["connect", "reset"]);
});

Deno.test("requeue: a hub that forgot the session gets the rest in a new one", () => {
  for (const requeue of [true, false]) {
    const net = new Net();
    const hub = net.node("hub", { address: HUB });
    const gateway = net.node("gateway");
    const session = gateway.connect(hub, { ...POLICIES.losslessClient, requeue });
    say(session, "one");
    net.settle();
    net.nodes.splice(net.nodes.indexOf(hub), 1);
    const again = net.node("hub again", { address: HUB });
    net.reachable = false;
    net.cut();
    say(session, "two");
    net.reachable = true;
    net.advance(1000);
    assert.deepEqual(gateway.events, ["connect", "fault", "fault", "remoteReset", "connect"]);
    assert.deepEqual(again.received, requeue ? ["two"] : []);
    assert.equal(session.unacknowledged, 0);
  }
});
