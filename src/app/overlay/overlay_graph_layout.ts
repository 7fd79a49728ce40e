/**
 * Where the nodes of a network come to stand in its picture: on a circle, in rows that turn at the edge,
 * around a middle, or in the levels of a tree. Pure geometry: the same network stands the same.
 *
 * @module
 */

/** Width of all pictures. */
export const WIDTH = 1080;
/** What is left free of it on each side. */
export const MARGIN = 24;

/** How a network is drawn. */
export type Shape = "circle" | "rows" | "star" | "tree";

/** What a node looks like: boxes with three, two and one rows, and dots with a text that leads away. */
export type Look = "card" | "small" | "slim" | "dot";

/** A place: the middle of a node. */
export interface Spot {
  readonly x: number;
  readonly y: number;
  /** Of a dot on a circle: where its text leads, in radians; else null. */
  readonly angle: number | null;
}

/** A network that was laid out. */
export interface Placed {
  readonly shape: Shape;
  readonly look: Look;
  readonly height: number;
  /** In the order of the nodes. */
  readonly spots: readonly Spot[];
  /** Of dots: the middle of the circle, and its radius. */
  readonly ring: { readonly x: number; readonly y: number; readonly radius: number } | null;
  /** Nodes in the order in which they stand. */
  readonly order: readonly number[];
}

/** A network: names of its nodes, and its links by their indexes. */
export interface Net {
  readonly names: readonly string[];
  readonly pairs: readonly (readonly [number, number])[];
  /** Of the text beside a dot, in pixels. */
  readonly textWidth: number;
}

/** Sizes of boxes, and how far apart rows of them are. */
export const BOXES: Readonly<
  Record<Look, { readonly width: number; readonly height: number; readonly gap: number }>
> = {
  card: { width: 156, height: 58, gap: 44 },
  small: { width: 118, height: 38, gap: 28 },
  slim: { width: 110, height: 22, gap: 6 },
  dot: { width: 10, height: 10, gap: 4 },
};

const INNER = WIDTH - 2 * MARGIN;
const CENTRE = WIDTH / 2;
const EDGE = 14;
/** Boxes on a circle, above which there are dots. */
const CIRCLE_CARDS_MAX = 12;
const ROWS_CARDS_MAX = 25;
/** Of a tree's levels. */
const COLUMN_GAP_MIN = 40;
const COLUMN_MAX = 300;
const TREE_LOOKS = [["card", 12], ["small", 40], ["slim", 512]] as const;
const RADIUS_MIN = 200;
const RADIUS_MAX = 272;
const DOT_PITCH = 24;
/** From a dot's middle to its text. */
export const DOT_TEXT = 12;

/**
 * Lays a network out.
 *
 * @param topology that of the specification; null when it is not told
 */
export function place(net: Net, topology: string | null): Placed {
  const shape = topology === null ? shapeOf(net) : SHAPES[topology] ?? "circle";
  if (shape === "rows") return rows(net);
  if (shape === "star") return star(net);
  if (shape === "tree") return tree(net) ?? circle(net);
  return circle(net);
}

/** Numbers in names count as numbers: r2 stands before r10. */
export function compareNames(a: string, b: string): number {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  // Where they begin to differ: a number may have begun before.
  while (at > 0 && isDigit(a, at - 1)) at--;
  if (isDigit(a, at) && isDigit(b, at)) {
    const difference = numberAt(a, at) - numberAt(b, at);
    if (difference < 0 || difference > 0) return difference; // not of numbers beyond all measure
  }
  const [left, right] = [a.slice(at), b.slice(at)];
  return left === right ? 0 : left < right ? -1 : 1;
}

function isDigit(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code >= 0x30 && code <= 0x39;
}

function numberAt(text: string, start: number): number {
  let end = start;
  while (isDigit(text, end)) end++;
  return Number(text.slice(start, end));
}

const SHAPES: Readonly<Record<string, Shape>> = {
  ring: "circle",
  mesh: "circle",
  custom: "circle",
  linear: "rows",
  star: "star",
  tree: "tree",
};

/** Of a network of which nobody says it. */
function shapeOf(net: Net): Shape {
  const near = neighbours(net);
  const count = near.length;
  const most = Math.max(0, ...near.map(({ length }) => length));
  if (walk(near, firstOf(net)).length !== count || net.pairs.length !== count - 1) return "circle";
  if (most <= 2) return "rows";
  return most === count - 1 ? "star" : "tree";
}

function circle(net: Net): Placed {
  const order = walk(neighbours(net), firstOf(net), net.names);
  const count = order.length;
  if (count > CIRCLE_CARDS_MAX) return dots(net, order, "circle", null);
  const { height, spots } = ellipse(order, count, CENTRE);
  return { shape: "circle", look: "card", height, spots, ring: null, order };
}

function star(net: Net): Placed {
  const near = neighbours(net);
  const sorted = byName(net);
  const middle = sorted.reduce(
    (most, each) => near[each]!.length > near[most]!.length ? each : most,
    sorted[0]!,
  );
  const order = sorted.filter((each) => each !== middle);
  if (order.length > CIRCLE_CARDS_MAX) return dots(net, order, "star", middle);
  const { height, spots } = ellipse(order, net.names.length, CENTRE);
  spots[middle] = { x: CENTRE, y: height / 2, angle: null };
  return { shape: "star", look: "card", height, spots, ring: null, order: [middle, ...order] };
}

/** Boxes on an ellipse, from the top on; two stand side by side. */
function ellipse(order: readonly number[], count: number, x: number): {
  height: number;
  spots: Spot[];
} {
  const across = Math.min(438, Math.max(200, 70 + count * 45));
  const along = order.length <= 2 ? 70 : Math.min(300, 60 + count * 21);
  const { height } = BOXES.card;
  const y = along + height / 2 + EDGE;
  const spots: Spot[] = [];
  const start = order.length === 2 ? Math.PI : -Math.PI / 2;
  for (const [at, index] of order.entries()) {
    const angle = start + 2 * Math.PI * at / order.length;
    const isAlone = count === 1;
    spots[index] = {
      x: isAlone ? x : x + across * Math.cos(angle),
      y: isAlone ? y : y + along * Math.sin(angle),
      angle: null,
    };
  }
  return { height: y * 2, spots };
}

function dots(net: Net, order: readonly number[], shape: Shape, middle: number | null): Placed {
  const count = order.length;
  const radius = Math.min(
    RADIUS_MAX,
    Math.max(RADIUS_MIN, count * DOT_PITCH / (2 * Math.PI)),
  );
  const y = radius + DOT_TEXT + net.textWidth + EDGE;
  const spots: Spot[] = [];
  for (const [at, index] of order.entries()) {
    const angle = -Math.PI / 2 + 2 * Math.PI * at / count;
    spots[index] = {
      x: CENTRE + radius * Math.cos(angle),
      y: y + radius * Math.sin(angle),
      angle,
    };
  }
  if (middle !== null) spots[middle] = { x: CENTRE, y, angle: null };
  return {
    shape,
    look: "dot",
    height: y * 2,
    spots,
    ring: { x: CENTRE, y, radius },
    order: middle === null ? order : [middle, ...order],
  };
}

/** Each second row goes back, so that no link crosses the picture. */
function rows(net: Net): Placed {
  const near = neighbours(net);
  const ends = byName(net).filter((index) => near[index]!.length === 1);
  const order = walk(near, ends[0] ?? firstOf(net), net.names);
  const look = order.length > ROWS_CARDS_MAX ? "small" : "card";
  const { gap, height, width } = BOXES[look];
  const inRow = Math.min(order.length, look === "card" ? 5 : 6);
  const pitch = inRow <= 1 ? 0 : Math.min((INNER - width) / (inRow - 1), width * 1.7);
  const left = CENTRE - pitch * (inRow - 1) / 2;
  const spots: Spot[] = [];
  for (const [at, index] of order.entries()) {
    const row = Math.floor(at / inRow);
    const column = row % 2 === 0 ? at % inRow : inRow - 1 - at % inRow;
    spots[index] = {
      x: left + column * pitch,
      y: EDGE + height / 2 + row * (height + gap),
      angle: null,
    };
  }
  const count = Math.ceil(order.length / inRow);
  const tall = count * (height + gap) - gap + 2 * EDGE;
  return { shape: "rows", look, height: tall, spots, ring: null, order };
}

/** Levels from left to right; null when there are too many for the width. */
function tree(net: Net): Placed | null {
  const near = neighbours(net);
  const count = net.names.length;
  const { children, levels, roots } = levelsOf(near, byName(net));
  const leaves = Math.max(1, children.filter(({ length }) => length === 0).length);
  const deep = Math.max(0, ...levels) + 1;
  if (deep === count) return rows(net);
  const fits = TREE_LOOKS.find(([look, most]) =>
    leaves <= most &&
    (deep - 1) * (BOXES[look].width + COLUMN_GAP_MIN) <= INNER - BOXES[look].width
  );
  if (fits === undefined) return null;
  const [look] = fits;
  const { gap, height, width } = BOXES[look];
  const pitch = deep <= 1 ? 0 : Math.min((INNER - width) / (deep - 1), COLUMN_MAX);
  const left = CENTRE - pitch * (deep - 1) / 2;
  const rowPitch = height + Math.min(gap, 12);
  const spots: Spot[] = [];
  let leaf = 0;
  // Children come later in `order` than their parents: from its end on, all of them stand already.
  const order = depthFirst(roots, children);
  const tops = new Map<number, number>();
  for (const index of order) {
    if (children[index]!.length === 0) tops.set(index, EDGE + height / 2 + leaf++ * rowPitch);
  }
  for (const index of order.toReversed()) {
    const own = children[index]!;
    const y = tops.get(index) ?? (spots[own[0]!]!.y + spots[own.at(-1)!]!.y) / 2;
    spots[index] = { x: left + levels[index]! * pitch, y, angle: null };
  }
  const tall = leaf * rowPitch - Math.min(gap, 12) + 2 * EDGE;
  return { shape: "tree", look, height: tall, spots, ring: null, order };
}

/** Of each node its level and its children, breadth first. */
function levelsOf(
  near: readonly (readonly number[])[],
  sorted: readonly number[],
): { children: number[][]; levels: number[]; roots: number[] } {
  const children = near.map((): number[] => []);
  const levels: number[] = near.map(() => -1);
  const roots: number[] = [];
  for (const root of [...rootOf(near, sorted), ...sorted]) {
    if (levels[root] !== -1) continue;
    roots.push(root);
    levels[root] = 0;
    const queue = [root];
    for (const from of queue) {
      for (const to of near[from]!) {
        if (levels[to] !== -1) continue;
        levels[to] = levels[from]! + 1;
        children[from]!.push(to);
        queue.push(to);
      }
    }
  }
  return { children, levels, roots };
}

/** That from which the farthest is nearest: nobody tells which one the specification has on top. */
function rootOf(near: readonly (readonly number[])[], sorted: readonly number[]): number[] {
  let root: number | undefined;
  let least = Infinity;
  for (const from of sorted) {
    const depths = new Map([[from, 0]]);
    const queue = [from];
    for (const at of queue) {
      for (const to of near[at]!) {
        if (depths.has(to)) continue;
        depths.set(to, depths.get(at)! + 1);
        queue.push(to);
      }
    }
    // Who reaches more of them is before who does not.
    const depth = depths.get(queue.at(-1)!)! + (near.length - queue.length) * near.length;
    if (depth >= least) continue;
    least = depth;
    root = from;
  }
  return root === undefined ? [] : [root];
}

function depthFirst(roots: readonly number[], children: readonly (readonly number[])[]): number[] {
  const order: number[] = [];
  const stack = roots.toReversed();
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    order.push(next);
    stack.push(...children[next]!.toReversed());
  }
  return order;
}

/** From a node along links, to the neighbour whose name comes first; then what is left, by name. */
function walk(
  near: readonly (readonly number[])[],
  first: number | undefined,
  names?: readonly string[],
): number[] {
  const order: number[] = [];
  const seen = new Set<number>();
  const stack: number[] = first === undefined ? [] : [first];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    order.push(next);
    stack.push(...near[next]!.toReversed());
  }
  if (names === undefined) return order;
  const left = near.map((_, index) => index).filter((index) => !seen.has(index));
  return [...order, ...left.sort((a, b) => compareNames(names[a]!, names[b]!))];
}

/** Each one's neighbours, by name. */
function neighbours({ names, pairs }: Net): number[][] {
  const near = names.map(() => new Set<number>());
  for (const [a, b] of pairs) {
    if (a === b) continue;
    near[a]!.add(b);
    near[b]!.add(a);
  }
  return near.map((each) => [...each].sort((a, b) => compareNames(names[a]!, names[b]!)));
}

function byName({ names }: Net): number[] {
  return names.map((_, index) => index).sort((a, b) => compareNames(names[a]!, names[b]!));
}

function firstOf(net: Net): number | undefined {
  return byName(net)[0];
}
