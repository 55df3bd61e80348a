// What the hiker's page remembers: the settings, presets, their form in the address, and files.

import { LOSSES } from "./losses.mjs";
import { STRATEGIES } from "./strategies.mjs";

export const CLASSES = ["blue", "orange", "green"];
export const MOST_POINTS = 200;

const NINE = [
  [0.5, 0.4, 0], [0.8, 0.3, 0], [0.3, 0.8, 0],
  [-0.4, 0.3, 1], [-0.3, 0.7, 1], [-0.7, 0.2, 1],
  [0.7, -0.4, 2], [0.5, -0.6, 2], [-0.4, -0.5, 2],
];
const OUTLIER = [...NINE.slice(0, 8), [0.6, 0.8, 2]];
const CORNERS = [
  [0.7, 0.7, 0], [0.6, 0.8, 0], [-0.7, -0.7, 0], [-0.6, -0.8, 0],
  [-0.7, 0.7, 1], [-0.8, 0.6, 1], [0.7, -0.7, 1], [0.8, -0.6, 1],
  [0, 0, 2],
];
const WHOLE = [[1, 0, 0], [1, 1, 0], [0, 1, 1], [-1, 1, 1], [-1, -1, 2], [0, -1, 2]];

export const DEFAULTS = {
  loss: "Weston-Watkins", strategy: "gradient descent",
  reg: 0.01, delta: 1, stepSize: 0.3, h: 1e-5, seed: 1, points: NINE, start: null,
};
export const PRESETS = {
  "Nine points": {
    says: "Three classes that lines can separate. In a hundred steps the hiker is near the bottom; then it hops about there, since a fixed step does not come to rest in a kink.",
    change: {},
  },
  "Step far too large": {
    says: "The same valley in steps of 10: the hiker leaps from side to side and stays high above the bottom.",
    change: { stepSize: 10 },
  },
  "Penalty that throws out": {
    says: "The penalty's slope is 2·reg·W. With 2·reg·step size above 2 every step overshoots by more than it corrects.",
    change: { reg: 2, stepSize: 0.63 },
  },
  "Step far too small": {
    says: "It goes the right way, and a thousand steps do not get there.",
    change: { stepSize: 0.003 },
  },
  "Blind search": {
    says: "Finds something at first, then hardly anything: good W are rare.",
    change: { strategy: "blind search", stepSize: 3 },
  },
  "Local search": {
    says: "A random step from the best so far. Better than blind; but the lower it is, the fewer trials are lower: of the first thousand some forty are taken.",
    change: { strategy: "local search", stepSize: 0.2 },
  },
  "Exact steps get stuck": {
    says: "The best step along the gradient ends in a kink. There no gradient leads down any more, above the bottom.",
    change: { strategy: "exact line search" },
  },
  "Exact steps, squared": {
    says: "The squared hinge has no kinks in its value, so exact steps go on to the bottom.",
    change: { strategy: "exact line search", loss: "squared Weston-Watkins" },
  },
  "Momentum in a narrow valley": {
    says: "Little penalty and small steps: momentum is some ten times as fast.",
    change: { strategy: "momentum", stepSize: 0.05, reg: 0.001 },
  },
  "Three points at a time": {
    says: "Mini-batches: cheap steps in about the right direction that never come to rest.",
    change: { strategy: "mini-batch" },
  },
  "An outlier": {
    says: "A green point among the blue. The hinge pays for it in proportion; its square bends everything towards it.",
    change: { points: OUTLIER },
  },
  "No lines can do it": {
    says: "Opposite corners share a class. The bottom is known and it is high: no linear scores are better.",
    change: { points: CORNERS },
  },
  "Standing on kinks": {
    says: "Whole numbers: many margins are exactly 0 here. Check the gradient and see which hinges are in the way.",
    change: { points: WHOLE, reg: 0, h: 0.01, start: [[1, 0, 0], [0, 1, 0], [-1, 0, 0]] },
  },
  "Only the own class": {
    says: "The machine MMR looks at the own class's score alone: one hinge a point. These points are easy enough for it.",
    change: { loss: "MMR" },
  },
};

export const preset = (name) => ({ ...DEFAULTS, ...PRESETS[name].change });

const short = (x) => String(Number(x.toPrecision(6)));

/** The settings as what follows "#hiker?" in the address. */
export function toAddress(settings) {
  const { points, start, ...rest } = settings;
  const words = new URLSearchParams(rest);
  words.set("points", points.map((point) => point.map(short).join(" ")).join("_"));
  if (start) words.set("start", start.flat().join("_"));
  return words.toString();
}

/** The settings that an address holds; what it lacks, or has wrong, is as by default. */
export function fromAddress(text) {
  const words = new URLSearchParams(text), settings = { ...DEFAULTS };
  const known = { loss: LOSSES, strategy: STRATEGIES };
  for (const [name, records] of Object.entries(known)) {
    if (Object.hasOwn(records, words.get(name))) settings[name] = words.get(name);
  }
  for (const name of ["reg", "delta", "stepSize", "h", "seed"]) {
    const number = Number(words.get(name));
    const isMore = name === "stepSize" || name === "h" ? number > 0 : number >= 0;
    if (words.get(name) && isMore && Number.isFinite(number)) settings[name] = number;
  }
  settings.seed = Math.floor(settings.seed);
  const points = (words.get("points") ?? "").split("_").map((point) => point.split(" ").map(Number));
  if (points.every(isPoint) && points.length <= MOST_POINTS) settings.points = points;
  const start = (words.get("start") ?? "").split("_").map(Number);
  if (words.get("start") && start.length === 9 && start.every(Number.isFinite)) {
    settings.start = [start.slice(0, 3), start.slice(3, 6), start.slice(6)];
  }
  return settings;
}

const isPoint = ([x, y, label, ...rest]) =>
  rest.length === 0 && Number.isFinite(x) && Number.isFinite(y) && [0, 1, 2].includes(label);

export function toCsv(points) {
  return ["x1,x2,class", ...points.map(([a, b, k]) => `${a},${b},${CLASSES[k]}`), ""].join("\n");
}

/**
 * Points from lines of "x1, x2, class", with or without a header. Classes may have any names: the
 * first three are the three classes, but our own names mean themselves.
 * Throws an Error that says which line is wrong.
 */
export function fromCsv(text) {
  const lines = text.split(/\r?\n/).map((line, n) => ({ n: n + 1, cells: line.split(/[,;\t]/) }));
  const filled = lines.filter(({ cells }) => cells.some((cell) => cell.trim()));
  const isNumber = (cell) => cell?.trim() !== "" && Number.isFinite(Number(cell));
  const rows = filled.filter(({ cells }, place) => place > 0 || isNumber(cells[0]));
  const names = [...new Set(rows.map(({ cells }) => cells[2]?.trim()))];
  const ours = names.every((name) => CLASSES.includes(name)) ? CLASSES : names.sort();
  if (rows.length < 1 || rows.length > MOST_POINTS) {
    throw new Error(`${rows.length} points: expected 1 to ${MOST_POINTS} lines "x1, x2, class"`);
  }
  for (const { n, cells } of rows) {
    if (cells.length !== 3 || !isNumber(cells[0]) || !isNumber(cells[1]) || !cells[2].trim()) {
      throw new Error(`line ${n}, "${cells.join(",")}": expected two numbers and a class`);
    }
  }
  if (names.length > 3) throw new Error(`${names.length} classes: expected at most 3`);
  return rows.map(({ cells: [a, b, k] }) => [Number(a), Number(b), ours.indexOf(k.trim())]);
}
