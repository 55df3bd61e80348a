// Two charts: the line ahead with its kinks and its lowest point, and the way so far.

import { axes, fit, make, number, pathOf, role } from "./dom.mjs";
import { along, minimum } from "./line.mjs";
import { inner, value } from "./objective.mjs";

const SAMPLES = 160, RATIO = 0.625;

/** The objective along the next step's direction; returns what is to be said of it. */
export function drawLine(root, { objective, walk, data, proposal, bottom }) {
  const svg = role(root, "line"), { D, t } = proposal;
  fit(svg, RATIO);
  const size = Math.sqrt(inner(D, D));
  const line = along(objective, walk.W, D, data), lowest = minimum(line);
  const best = Math.min(Math.max(0, lowest.low), lowest.high);
  // In units of W, wide enough for the step and for the lowest point; not wider for a wild step.
  const furthest = Math.max(Math.abs(t), Math.min(Math.abs(best), 20 / (size || 1)), 0.3 / (size || 1));
  const low = -0.3 * furthest, high = 1.3 * furthest;
  const kinks = line.kinks().filter((kink) => kink.t > low && kink.t < high);
  const even = Array.from({ length: SAMPLES + 1 }, (_, n) => low + ((high - low) * n) / SAMPLES);
  const places = [...even, ...kinks.map((kink) => kink.t)].sort((a, b) => a - b);
  const values = places.map((s) => line.value(s));
  const floor = bottom ? bottom.lower : Math.min(...values);
  const [bottomEnd, topEnd] = [Math.min(floor, ...values), Math.max(...values)];
  const room = 0.08 * (topEnd - bottomEnd) || 0.1;
  const ends = { x: [low * size, high * size], y: [bottomEnd - room, topEnd + room] };
  const frame = axes(svg, { ...ends, xlabel: "distance from W along the next step", ylabel: "objective" });
  const at = (s) => [frame.x(s * size), frame.y(line.value(s))];
  if (bottom) {
    const y = frame.y(bottom.lower);
    make(svg, "path", { d: pathOf([[frame.left, y], [frame.right, y]]), class: "bound" });
    make(svg, "text", { x: frame.left + 4, y: y - 5, class: "note" }, "no W is lower");
  }
  make(svg, "path", { d: pathOf(places.map((s, n) => [frame.x(s * size), frame.y(values[n])])), class: "curve" });
  for (const kink of kinks) {
    const [x, y] = at(kink.t);
    const dot = make(svg, "circle", { cx: x, cy: y, r: 3, class: "kink" });
    make(dot, "title", {}, `margin of point ${kink.i + 1} is 0`);
  }
  if (best >= low && best <= high) {
    const [x, y] = at(best);
    make(svg, "path", { d: `M${x} ${y + 4}l6 11h-12z`, class: "lowest" });
  }
  const [x, y] = at(t), [hx, hy] = at(0);
  make(svg, "circle", { cx: x, cy: y, r: 6, class: proposal.accepted ? "next" : "next refused" });
  make(svg, "circle", { cx: hx, cy: hy, r: 7, class: "hiker-mark" });
  return { best: best * size, value: lowest.value, kinks: kinks.length, step: t * size };
}

/** The objective so far, above the bottom where that is known. */
export function drawHistory(root, { objective, walk, data, bottom, values }) {
  const svg = role(root, "history");
  fit(svg, RATIO);
  while (values.length < walk.path.length) values.push(value(objective, walk.path[values.length], data));
  const isLog = Boolean(bottom);
  const heights = values.map((v) => (isLog ? Math.log10(Math.max(v - bottom.lower, 1e-9)) : v));
  const finite = heights.filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)], room = 0.06 * (high - low) || 0.5;
  const x = [0, Math.max(10, values.length - 1)];
  const ylabel = isLog ? "objective minus lower bound" : "objective";
  const frame = axes(svg, { x, y: [low - room, high + room], xlabel: "steps", ylabel, isLog });
  const shown = heights.map((h, n) => [frame.x(n), frame.y(Number.isFinite(h) ? h : high)]);
  make(svg, "path", { d: pathOf(shown), class: "curve" });
  const [cx, cy] = shown.at(-1);
  make(svg, "circle", { cx, cy, r: 6, class: "hiker-mark" });
  svg.setAttribute("aria-label", `${ylabel} over ${values.length - 1} steps, now ${number(values.at(-1), 4)}`);
}
