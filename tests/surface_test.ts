/**
 * The library surface, as `deno doc` sees it: every export of mod.ts is documented, and what can
 * be called, made or read comes with an example that uses it. That the examples run is the work
 * of `deno test --doc`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import config from "../deno.json" with { type: "json" };

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Kinds of declarations that take part at run time: they carry an example. */
const RUN_TIME_KINDS: readonly string[] = ["class", "function", "variable"];
const EXAMPLE = /```ts\n(.*?)\n```/s;

/** What is read of the output of `deno doc --json`. */
interface Documentation {
  readonly nodes: Record<string, Module>;
}

interface Module {
  readonly module_doc?: JsDoc;
  readonly symbols: readonly ExportedSymbol[];
}

interface ExportedSymbol {
  readonly name: string;
  readonly declarations: readonly { readonly kind: string; readonly jsDoc?: JsDoc }[];
}

interface JsDoc {
  readonly doc?: string;
}

const surface = await documentation();

Deno.test("mod.ts tells what the library is, with an example", () => {
  assert.match(surface.module_doc?.doc ?? "", EXAMPLE);
});

Deno.test("every export of mod.ts is documented", () => {
  const bare = surface.symbols.filter(({ declarations }) =>
    declarations.some(({ jsDoc }) => (jsDoc?.doc ?? "").trim() === "")
  );
  assert.deepEqual(bare.map(({ name }) => name), []);
});

Deno.test("every function, class and constant of mod.ts has an example that uses it", () => {
  const without = surface.symbols.filter((symbol) => !hasExample(symbol));
  assert.deepEqual(without.map(({ name }) => name), []);
  assert.ok(surface.symbols.length > 100, "the whole surface was looked at");
});

function hasExample({ name, declarations }: ExportedSymbol): boolean {
  if (!declarations.some(({ kind }) => RUN_TIME_KINDS.includes(kind))) return true;
  const doc = declarations.map(({ jsDoc }) => jsDoc?.doc ?? "").join("\n");
  const code = EXAMPLE.exec(doc)?.[1];
  if (code === undefined) return false;
  const imported = /import \{([^}]*)\} from "(?<from>[^"]+)";/g;
  const names = [...code.matchAll(imported)]
    .filter(({ groups }) => groups!.from === config.name)
    .flatMap(([, list]) => list!.split(",").map((part) => part.trim()));
  return names.includes(name) && /\bassert\b.*\(/.test(code);
}

async function documentation(): Promise<Module> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", "mod.ts"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
  const { success, stdout, stderr } = await command.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout)) as Documentation;
  const [module] = Object.values(nodes);
  assert.ok(module !== undefined);
  return module;
}
