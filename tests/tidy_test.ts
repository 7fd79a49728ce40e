/** Reads the sources: layers, purity, dead files, words that must not be there. */
import assert from "node:assert/strict";
import { VERSION } from "../src/app/version.ts";

const ROOT = new URL("../", import.meta.url);

interface Source {
  /** Path from the top. */
  readonly path: string;
  readonly text: string;
  /** The same without comments and string contents. */
  readonly code: string;
  /** What it imports, as paths from the top, or as written when not relative. */
  readonly imports: readonly string[];
}

/** `import … from "x"`, `export … from "x"`, `import "x"` at the start of a line; `import("x")`. */
const IMPORTED = /^(?:import|export)\b(?:[^;"=]*?\bfrom)?\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;

const SOURCES = load("src");
const ALL: readonly Source[] = [...SOURCES, ...load("tests"), ...load("bench"), read("mod.ts")];

function load(folder: string): Source[] {
  const found: Source[] = [];
  for (const entry of Deno.readDirSync(new URL(folder, ROOT))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) found.push(...load(path));
    else if (path.endsWith(".ts")) found.push(read(path));
  }
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

function read(path: string): Source {
  const text = Deno.readTextFileSync(new URL(path, ROOT));
  const bare = withoutComments(text);
  const statements = bare.replaceAll(/`(?:[^`\\]|\\.)*`/g, "``"); // a script in a text is no import
  const imports = [...statements.matchAll(IMPORTED)].map((match) => match[1] ?? match[2]!).map((
    name,
  ) => name.startsWith(".") ? resolve(path, name) : name);
  return { path, text, code: bare.replaceAll(/"(?:[^"\\\n]|\\.)*"/g, '""'), imports };
}

function resolve(from: string, to: string): string {
  return new URL(to, `file:///${from}`).pathname.slice(1);
}

/** Blanks comments, and knows strings, so that "https://" is none. */
function withoutComments(text: string): string {
  const tokens =
    /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;
  return text.replaceAll(tokens, (token) => token.startsWith("/") ? " " : token);
}

/** The row of a source: mem, wire, proto, io, app. */
function layer(path: string): string {
  return /^src\/(mem|wire|proto|io|app)\//.exec(path)?.[1] ?? "app";
}

/** Names every violation, so that one run shows all. */
function none(violations: readonly string[]): void {
  assert.deepEqual(violations, []);
}

/** Every (source, match) of a pattern in what the selected sources do. */
function uses(sources: readonly Source[], pattern: RegExp): string[] {
  return sources.flatMap(({ path, code }) => {
    const match = pattern.exec(code);
    return match === null ? [] : [`${path}: ${match[0]}`];
  });
}

const ALLOWED: Record<string, RegExp> = {
  mem: /^src\/mem\//,
  wire: /^src\/(wire|mem)\//,
  proto: /^src\/(proto|wire|mem)\//,
  // Ciphers and sockets serve these two interfaces of the wire, and the four bytes of an address.
  io: /^src\/(io|mem)\/|^src\/wire\/inet\.ts$|^src\/wire\/msgr2\/aead\.ts$|^node:/,
  app: /^src\/|^node:/,
};

Deno.test("layers import only what lies below them", () => {
  none(SOURCES.flatMap(({ path, imports }) => {
    const allowed = ALLOWED[layer(path)]!;
    return imports.filter((name) => !allowed.test(name)).map((name) => `${path} -> ${name}`);
  }));
});

Deno.test("nothing is downloaded: no npm:, jsr: or http import, no package name", () => {
  none(
    ALL.flatMap(({ path, imports }) =>
      imports.filter((name) => !/^(src|tests|bench)\/|^mod\.ts$|^deno\.json$|^node:/.test(name))
        .map((name) => `${path} -> ${name}`)
    ),
  );
  const config = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
  assert.equal(config.imports, undefined);
});

const PURE = SOURCES.filter(({ path }) => ["mem", "wire", "proto"].includes(layer(path)));

Deno.test("below io and app there is no clock, no chance, no Deno, no promise", () => {
  assert.ok(PURE.length > 30);
  none(uses(PURE, /\bDate\b|\bperformance\b|\bset(Timeout|Interval|Immediate)\b|\bTemporal\b/));
  none(uses(PURE, /\bMath\.random\b|\bcrypto\.getRandomValues\b|\brandomUUID\b|\bglobalThis\b/));
  none(uses(PURE, /\bDeno\./));
  none(uses(PURE, /\basync\b|\bawait\b|\bPromise\b|\bqueueMicrotask\b|\bfetch\(/));
});

Deno.test("proto and io meet only in app", () => {
  const both = SOURCES.filter(({ imports }) =>
    imports.some((name) => name.startsWith("src/proto/")) &&
    imports.some((name) => name.startsWith("src/io/"))
  );
  none(both.map(({ path }) => path).filter((path) => layer(path) !== "app"));
});

Deno.test("every source is reachable from the library, the command or the build", () => {
  const byPath = new Map(ALL.map((source) => [source.path, source]));
  const reached = new Set<string>();
  const visit = (path: string): void => {
    const source = byPath.get(path);
    if (source === undefined || reached.has(path)) return;
    reached.add(path);
    for (const name of source.imports) visit(name);
  };
  for (const root of ["mod.ts", "src/main.ts", "src/app/compile.ts"]) visit(root);
  none(SOURCES.map(({ path }) => path).filter((path) => !reached.has(path)));
});

Deno.test("every relative import leads to a file", () => {
  const missing = (name: string): boolean => {
    if (name.startsWith("node:")) return false;
    return !Deno.statSync(new URL(name, ROOT)).isFile;
  };
  none(
    ALL.flatMap(({ path, imports }) => imports.filter(missing).map((name) => `${path} -> ${name}`)),
  );
});

Deno.test("every file says in its first lines what it is", () => {
  none(
    ALL.filter(({ text }) => !/^(#![^\n]*\n)?\/\*\*\s*\n?[\s*]*[^\s*]/.test(text)).map((s) =>
      s.path
    ),
  );
});

/** An exported declaration, or a member that others see, and what stands in front of it. */
const EXPORTED =
  /^export (?:declare |abstract |async )*(?:const|let|class|interface|type|function|enum)\*? (\w+)/gm;

Deno.test("every exported symbol is documented", () => {
  none(SOURCES.flatMap(({ path, text }) =>
    [...text.matchAll(EXPORTED)].filter((match) => {
      const before = text.slice(0, match.index).trimEnd();
      return !before.endsWith("*/") && !isOverload(text, match.index, match[1]!);
    }).map(([, name]) => `${path}: ${name}`)
  ));
});

/** A further signature of a function that is documented above. */
function isOverload(text: string, index: number, name: string): boolean {
  return text.slice(0, index).includes(`export function ${name}(`);
}

Deno.test("every exported symbol is used somewhere else, or exported from mod.ts", () => {
  const surface = ALL.find(({ path }) => path === "mod.ts")!.code;
  none(SOURCES.flatMap((source) =>
    [...source.text.matchAll(EXPORTED)].filter(([, name]) => {
      const word = new RegExp(`\\b${name}\\b`);
      if (word.test(surface)) return false;
      // A codec has two halves, of which a program may need one; the other is for its tests.
      const users = layer(source.path) === "wire" ? ALL : SOURCES;
      if (users.some((other) => other !== source && word.test(other.code))) return false;
      // A type that an exported signature of its own file names is part of that signature.
      return source.code.split(word).length <= 2;
    }).map(([, name]) => `${source.path}: ${name}`)
  ));
});

Deno.test("the version is deno.json's", () => {
  const config = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
  assert.equal(VERSION, config.version);
});

// Written in halves, as this file is read too.
const UNFINISHED = new RegExp(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("\\b|\\b"));
const STUBBED = new RegExp(["not yet " + "implemented", "un" + "implemented"].join("|"), "i");

Deno.test("nothing is unfinished", () => {
  const said = ALL.flatMap(({ path, text }) => {
    const match = UNFINISHED.exec(text) ?? STUBBED.exec(text);
    return match === null ? [] : [`${path}: ${match[0]}`];
  });
  none(said);
  // The document itself says "not implemented" of one thing; a source may quote it, not throw it.
  const thrown = new RegExp("(throw|fail|Error)[^;]*not " + "implemented", "i");
  none(SOURCES.filter(({ text }) => thrown.test(text)).map(({ path }) => path));
});

Deno.test("no check is switched off", () => {
  const off = new RegExp(
    ["@ts-" + "ignore", "@ts-" + "expect-error", "@ts-" + "nocheck"].join("|") +
      "|deno-lint-" + "ignore(?! [\\w-]+ -- \\w)|" + "Deno\\.test\\." + "(only|ignore)\\b",
  );
  none(ALL.flatMap(({ path, text }) => {
    const match = off.exec(text);
    return match === null ? [] : [`${path}: ${match[0]}`];
  }));
});

Deno.test("no source is longer than 700 lines", () => {
  none(
    SOURCES.map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
      .filter(({ lines }) => lines > 700).map(({ path, lines }) => `${path}: ${lines}`),
  );
});

Deno.test("no registry, no mirror and no path of one machine is named", () => {
  const places = new RegExp(
    [
      "registry\\." + "npmjs",
      "npm\\." + "jsr",
      "deno\\." + "land",
      "esm\\." + "sh",
      "git" + "hub\\.com",
      "[\"'` ]/wo" + "rk/",
      "\\.\\./sha" + "red",
      "/opt/\\w+",
    ].join("|"),
  );
  none(ALL.flatMap(({ path, text }) => {
    const match = places.exec(text);
    return match === null ? [] : [`${path}: ${match[0]}`];
  }));
});

Deno.test("io meets libc and libcrypto in one file each", () => {
  const opening = ALL.filter(({ code }) => /\bDeno\.dlopen\(/.test(code)).map(({ path }) => path);
  none(opening.filter((path) => !/^src\/io\/(libc|libcrypto)\.ts$/.test(path)));
});

Deno.test("the top level holds what it may hold", () => {
  const allowed = ["README.md", "bench", "deno.json", "mod.ts", "src", "tests"];
  const found = [...Deno.readDirSync(ROOT)].map(({ name }) => name)
    .filter((name) => !name.startsWith(".") && !["dist", "node_modules"].includes(name)).sort();
  none(found.filter((name) => !allowed.includes(name)));
});
