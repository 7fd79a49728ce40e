/**
 * `fairlead doctor`: what this box offers, why it matters, and the remedy for what is missing.
 *
 * @module
 */
import { errnoText } from "../../io/errno.ts";
import { errno, libc, libcAvailable, libcRefusal } from "../../io/libc.ts";
import { libcryptoAvailable, libcryptoRefusal } from "../../io/libcrypto.ts";
import { CONNECTIONS_MAX } from "../../mem/limits.ts";
import { command, Exit, parseArgs } from "../args.ts";
import { CONNECTION_FLAGS } from "../connection_flags.ts";
import { helpText } from "../help.ts";
import { bytesText } from "../progress.ts";
import { printLine } from "../terminal.ts";
import { versionText } from "../version.ts";
