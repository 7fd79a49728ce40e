/**
 * Opens an output as it is configured.
 *
 * @module
 */
import type { Output } from "../hub/output.ts";
import { type FileOptions, FileOutput } from "./file.ts";
import { type SseOptions, SseOutput } from "./sse.ts";
import { type StdoutOptions, StdoutOutput } from "./stdout.ts";
import { type TcpOptions, TcpOutput } from "./tcp.ts";
import { type UdpOptions, UdpOutput } from "./udp.ts";

/** What an output is; which messages it gets is the hub's to know. */
export type OutputOptions = FileOptions | StdoutOptions | SseOptions | TcpOptions | UdpOptions;

/**
 * Opens an output.
 *
 * @param name its key in the configuration
 * @param stored the position last stored for it; null at the first start
 * @throws when it cannot be opened, with the remedy
 */
export async function openOutput(
  name: string,
  options: OutputOptions,
  stored: string | null,
): Promise<Output> {
  switch (options.type) {
    case "file":
      return await FileOutput.open(name, options, stored);
    case "stdout":
      return new StdoutOutput(name, options);
    case "sse":
      return new SseOutput(name, options);
    case "tcp":
      return new TcpOutput(name, options);
    case "udp":
      return new UdpOutput(name, options);
  }
}
