/**
 * nats-server and mosquitto as Debian packages them: started on a free port of loopback with a
 * configuration of this run, and stopped with it.
 *
 * @module
 */
import { installPackages } from "../../tests/interop/debian_peers.ts";
import { Daemon, freePort, hasProgram, listens } from "../../tests/interop/processes.ts";

/** A running broker. */
export interface Broker extends AsyncDisposable {
  port: number;
  pid: number;
}

/** Each program, and the package that has it. */
const PACKAGES: Record<string, string> = {
  "nats-server": "nats-server",
  mosquitto: "mosquitto",
  mosquitto_pub: "mosquitto-clients",
};
const START_DEADLINE_MS = 10_000;

/** Installs what is missing, without starting its services; throws when that is not allowed. */
export async function installBrokers(say: (line: string) => void): Promise<void> {
  const missing: string[] = [];
  for (const [program, name] of Object.entries(PACKAGES)) {
    if (!await hasProgram(program)) missing.push(name);
  }
  if (missing.length === 0) return;
  const names = missing.join(" ");
  if (Deno.uid() !== 0) throw new Error(`Cannot find ${names}: run apt-get install ${names}`);
  say(`installing ${names}`);
  await installPackages(missing);
}

/** Starts nats-server. */
export async function startNats(directory: string): Promise<Broker> {
  const port = freePort();
  return await start("nats-server", await natsCommand(directory, port), directory, port);
}

/** Starts mosquitto. */
export async function startMosquitto(directory: string): Promise<Broker> {
  const port = freePort();
  return await start("mosquitto", await mosquittoCommand(directory, port), directory, port);
}

/** nats-server as core NATS, at most once; a slow reader is waited for, not hung up on. */
export async function natsCommand(directory: string, port: number): Promise<string[]> {
  const conf = [
    'host: "127.0.0.1"',
    `port: ${port}`,
    "max_pending: 1073741824",
    'write_deadline: "20s"',
  ];
  const path = `${directory}/nats.conf`;
  await Deno.writeTextFile(path, conf.join("\n"));
  return ["nats-server", "-c", path];
}

/** mosquitto that keeps nothing on disk, and drops nothing when a queue is long. */
export async function mosquittoCommand(directory: string, port: number): Promise<string[]> {
  const conf = [
    `listener ${port} 127.0.0.1`,
    "allow_anonymous true",
    "persistence false",
    "max_queued_messages 0",
    "",
  ];
  const path = `${directory}/mosquitto.conf`;
  await Deno.writeTextFile(path, conf.join("\n"));
  return ["mosquitto", "-c", path];
}

async function start(
  name: string,
  argv: string[],
  directory: string,
  port: number,
): Promise<Broker> {
  const daemon = Daemon.start(argv, `${directory}/${name}.out`);
  const stop = (): Promise<void> => daemon.stop("SIGTERM");
  try {
    await daemon.until(`${name} listens`, () => listens(daemon.pid, port), START_DEADLINE_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, pid: daemon.pid, [Symbol.asyncDispose]: stop };
}
