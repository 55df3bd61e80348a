// A map: a function over a rectangle, in colours on a canvas, with contour lines and marks in the
// SVG above it. Both maps of the page are drawn with these.

import { make, pathOf } from "./dom.mjs";
import { contour, levels, paint, range, shareOf } from "./surface.mjs";

const EVEN = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => n / 10);

/** Where a pointer is, on axes from x[0] to x[1] and from y[0] to y[1]; `frame` as `axes` returns it. */
export function under({ clientX, clientY }, svg, frame, [x, y]) {
  const box = svg.getBoundingClientRect(), size = svg.viewBox.baseVal.width / box.width;
  const share = (at, from, to, [low, high]) => low + ((at - from) / (to - from)) * (high - low);
  return [
    share((clientX - box.left) * size, frame.left, frame.right, x),
    share((clientY - box.top) * size, frame.bottom, frame.top, y),
  ];
}

/**
 * Colour the frame by values[i][j], i along x and j upwards; where one is NaN there is no colour.
 * A bowl's colours are by the root of the height (`shareOf`), and its contour lines closer together
 * near the bottom. Returns the ends of the colours and the contour lines' path.
 */
export function colourIn(canvas, svg, frame, values, isBowl = true) {
  const [low, high] = range(values), { width, height } = svg.viewBox.baseVal;
  paint(canvas, values, shareOf([low, high], isBowl));
  const percent = (x, all) => `${(100 * x) / all}%`;
  Object.assign(canvas.style, {
    left: percent(frame.left, width), width: percent(frame.right - frame.left, width),
    top: percent(frame.top, height), height: percent(frame.bottom - frame.top, height),
  });
  const place = (from, to, num) => (n) => from + (n / (num - 1)) * (to - from);
  const x = place(frame.left, frame.right, values.length), y = place(frame.bottom, frame.top, values[0].length);
  const heights = isBowl ? levels(low, high) : EVEN.map((part) => low + part * (high - low));
  return { low, high, contours: heights.map((level) => contour(values, level, x, y)).join("") };
}

/** The path of lines between pairs of points on the axes. */
export function linesIn(frame, lines) {
  return lines.map((line) => pathOf(line.map(([x, y]) => [frame.x(x), frame.y(y)]))).join("");
}

/** Mark where a path starts, in the SVG's own units. */
export function markStart(svg, [x, y]) {
  make(svg, "rect", { x: x - 4, y: y - 4, width: 8, height: 8, class: "start" });
}

/** Mark the lowest point that is known. */
export function markBottom(svg, [x, y]) {
  make(svg, "path", { d: `M${x} ${y - 10}l8 10l-8 10l-8 -10z`, class: "bottom" });
}
