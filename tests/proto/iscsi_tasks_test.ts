/** The table of requests that wait for answers, and the sessions of a capture. */
import assert from "node:assert/strict";
import { IscsiShared, sessionName } from "../../src/proto/boundary/iscsi_sessions.ts";
import { IscsiTasks } from "../../src/proto/boundary/iscsi_tasks.ts";
import { makeRandom } from "../capture/iscsi_streams.ts";

Deno.test("a request is found by its tag until it is answered", () => {
  const tasks = new IscsiTasks();
  assert.equal(tasks.find(5), -1);
  tasks.add(5, 1, 0x28, 1000, 7, 480);
  tasks.add(-5, 1, 0x2a, 2000, 8, 528);
  const slot = tasks.find(5);
  assert.equal(tasks.commands[slot], 0x28);
  assert.equal(tasks.times[slot], 1000);
  assert.equal(tasks.packets[slot], 7);
  assert.equal(tasks.offsets[slot], 480);
  tasks.remove(slot);
  assert.equal(tasks.find(5), -1);
  assert.equal(tasks.commands[tasks.find(-5)], 0x2a);
  tasks.clear();
  assert.equal(tasks.find(-5), -1);
});

Deno.test("the same tag again replaces the request", () => {
  const tasks = new IscsiTasks();
  tasks.add(5, 1, 1, 1, 1, 1);
  tasks.add(5, 1, 2, 2, 2, 2);
  const slot = tasks.find(5);
  assert.equal(tasks.commands[slot], 2);
  tasks.remove(slot);
  assert.equal(tasks.find(5), -1);
});

Deno.test("a full table forgets its oldest request", () => {
  const tasks = new IscsiTasks(128);
  for (let tag = 0; tag < 200; tag++) tasks.add(tag, 1, tag & 255, tag, tag, tag);
  for (let tag = 0; tag < 72; tag++) assert.equal(tasks.find(tag), -1);
  for (let tag = 72; tag < 200; tag++) assert.equal(tasks.times[tasks.find(tag)], tag);
});

Deno.test("any order of requests and answers gives what a map gives", () => {
  const random = makeRandom(4);
  const tasks = new IscsiTasks(4096);
  const model = new Map<number, number>();
  for (let step = 0; step < 50_000; step++) {
    const tag = random(6000) * 0x10001 | 0;
    if (random(2) === 0 && (model.has(tag) || model.size < 4096)) {
      model.set(tag, step);
      tasks.add(tag, 1, 0, step, step, step);
    } else {
      const slot = tasks.find(tag);
      assert.equal(slot >= 0, model.has(tag));
      if (slot < 0) continue;
      assert.equal(tasks.times[slot], model.get(tag));
      tasks.remove(slot);
      model.delete(tag);
    }
  }
});

Deno.test("sessions are known by both names, ISID and TSIH, and the oldest are forgotten", () => {
  const shared = new IscsiShared();
  const name = sessionName(1, 2, "initiator", "target");
  assert.equal(shared.find(name), 0);
  shared.remember(name, shared.begin());
  assert.equal(shared.find(name), 1);
  assert.equal(shared.find(sessionName(1, 3, "initiator", "target")), 0);
  assert.equal(shared.find(sessionName(1, 2, "initiator", "other")), 0);
  for (let tsih = 0; tsih < 5000; tsih++) {
    shared.remember(sessionName(2, tsih, "x".repeat(10_000), ""), shared.begin());
  }
  assert.equal(shared.find(name), 0);
});
