/** Connections and events as text, also where names and addresses are hostile. */
import assert from "node:assert/strict";
import { ACCESS_GROUPS, type AccessEvent } from "../../src/app/paths/access_message.ts";
import { eventLine, pathsLines } from "../../src/app/paths/paths_table.ts";
import type { ConnectionView, PathsView, SubflowView } from "../../src/app/paths/paths_view.ts";

const FIRST: SubflowView = {
  subflow: 1,
  local: "10.9.1.1:50000",
  remote: "10.9.1.2:5001",
  localId: 0,
  remoteId: 0,
  link: "e1",
  state: "established",
  backup: "",
  rttMs: 0.3456,
  bytesSent: 1_258_291,
  bytesReceived: 3072,
  retransmitted: 0,
};
const SECOND: SubflowView = {
  ...FIRST,
  subflow: null,
  local: "[fd09:2::1]:50001",
  remote: "[fd09:2::2]:5001",
  localId: 2,
  remoteId: 7,
  link: "",
  state: "closing",
  backup: "local",
  rttMs: 123.4,
  bytesSent: 0,
  bytesReceived: 0,
  retransmitted: 12,
};
const CONNECTION: ConnectionView = {
  connection: "0x388844a2",
  local: "10.9.1.1:50000",
  remote: "10.9.1.2:5001",
  state: "established",
  serverSide: false,
  uid: 1000,
  bytesSent: 1_258_291,
  bytesReceived: 3072,
  subflows: [FIRST, SECOND],
  remoteAddresses: [{ id: 7, address: "10.9.2.2" }],
};

function viewOf(connections: ConnectionView[], more: Partial<PathsView> = {}): PathsView {
  return { namespace: "", pathManager: "userspace", links: [], connections, ...more };
}

Deno.test("pathsLines() makes a table with a header where there is room", () => {
  assert.deepEqual(pathsLines(viewOf([CONNECTION]), 250), [
    "CONNECTION  IDS  LINK  LOCAL              REMOTE            STATE        BACKUP  RTT      " +
    "SENT     RECEIVED  RETRANSMITTED",
    "0x388844a2  -    -     10.9.1.1:50000     10.9.1.2:5001     established  -       -        " +
    "1.2 MiB  3.0 KiB   -              connected, uid 1000, 1 address of the peer: 7 10.9.2.2",
    "  1         0:0  e1    10.9.1.1:50000     10.9.1.2:5001     established  -       0.35 ms  " +
    "1.2 MiB  3.0 KiB   0",
    "  -         2:7  -     [fd09:2::1]:50001  [fd09:2::2]:5001  closing      local   123 ms   " +
    "0 B      0 B       12",
  ]);
});

Deno.test("pathsLines() names each figure where there is no room for a table", () => {
  assert.deepEqual(pathsLines(viewOf([CONNECTION]), 80), [
    "0x388844a2  10.9.1.1:50000 -> 10.9.1.2:5001  established  sent 1.2 MiB  received 3.0 KiB  " +
    "connected, uid 1000, 1 address of the peer: 7 10.9.2.2",
    "  1  ids 0:0  link e1  10.9.1.1:50000 -> 10.9.1.2:5001  established  rtt 0.35 ms  " +
    "sent 1.2 MiB  received 3.0 KiB  retransmitted 0",
    "  -  ids 2:7  link -  [fd09:2::1]:50001 -> [fd09:2::2]:5001  closing  backup local  " +
    "rtt 123 ms  sent 0 B  received 0 B  retransmitted 12",
  ]);
});

Deno.test("pathsLines() says when there is nothing, in which namespace, and why", () => {
  assert.deepEqual(pathsLines(viewOf([]), 80), ["No MPTCP connections"]);
  assert.deepEqual(pathsLines(viewOf([], { namespace: "blue", pathManager: "none" }), 80), [
    "Namespace blue",
    "No MPTCP here: the kernel has none, or net.mptcp.enabled is 0",
    "No MPTCP connections",
  ]);
});

Deno.test("pathsLines() tells a connection that has lost all subflows", () => {
  const lines = pathsLines(viewOf([{ ...CONNECTION, subflows: [], serverSide: null }]), 80);
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /uid 1000, no subflow/);
});

Deno.test.each([{ columns: 80 }, { columns: 1000 }])(
  "hostile names leave $columns columns on one line each, without a control character",
  ({ columns }) => {
    const link = "e\u001b[2J\n 1";
    const hostile = {
      ...CONNECTION,
      remoteAddresses: [{ id: 1, address: "\u202eevil\n" }],
      subflows: [{ ...FIRST, link, state: "\r", rttMs: NaN }],
    };
    const lines = pathsLines(viewOf([hostile], { namespace: "\u0007" }), columns);
    // deno-lint-ignore no-control-regex -- they must not get through
    for (const line of lines) assert.doesNotMatch(line, /[\x00-\x1f\u202e]/);
    assert.equal(lines.length, columns === 80 ? 3 : 4);
    assert.match(lines.at(-1)!, /e\\x1b\[2J\\x0a\\x201/);
  },
);

const EVENTS: { event: AccessEvent; text: string }[] = [
  {
    event: {
      event: "new_subflow",
      connection: "0x388844a2",
      subflow: 2,
      local_address_id: 4,
      local_address: "10.9.2.1",
      local_port: 50000,
      remote_address_id: 0,
      remote_address: "fd09::2",
      remote_port: 5001,
      backup: false,
    },
    text: "new_subflow 0x388844a2 subflow=2 local_address_id=4 local=10.9.2.1:50000 " +
      "remote_address_id=0 remote=[fd09::2]:5001 backup=false",
  },
  {
    event: {
      event: "subflow_closed",
      connection: "0x388844a2",
      subflow: 2,
      error: 111,
      reset_reason: null,
    },
    text: "subflow_closed 0x388844a2 subflow=2 error=111",
  },
  {
    event: { event: "link", index: 3, link: "e 1\n", up: false },
    text: "link index=3 link=e\\x201\\x0a up=false",
  },
  {
    event: { event: "new_addr", connection: "0x1", remote_address: "10.9.2.2" },
    text: "new_addr 0x1 remote_address=10.9.2.2",
  },
];

Deno.test.each(EVENTS)("eventLine() writes $event.event on one line", ({ event, text }) => {
  assert.ok(ACCESS_GROUPS.includes(event.event));
  assert.equal(eventLine("09:05:07", event), `09:05:07 ${text}`);
});
