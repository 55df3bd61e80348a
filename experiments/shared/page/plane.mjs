// A plane of the real objective: a grid over all examples, and the exact pieces of some.
//
// Over the plane each hinge of an example is max(0, u + p·a + q·b), so their mean and the lines on
// which they switch are known at any zoom. The grid is known at its nodes, and between them by
// interpolation.

import { segment } from "./dom.mjs";

/** Floats from base64 of little-endian float32, in rows of `width`; very few are told as they are. */
export function decode(told) {
  if (Array.isArray(told)) return told;
  const { data, shape } = told;
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const flat = new Float32Array(bytes.buffer), width = shape.at(-1);
  if (shape.length === 1) return [...flat];
  return Array.from({ length: shape[0] }, (_, n) => flat.subarray(n * width, (n + 1) * width));
}

/** Rows of (u, a, b) as three arrays: millions of hinges are looked at in a frame. */
export function columns(rows) {
  const [u, a, b] = [0, 1, 2].map((n) => Float64Array.from(rows, (row) => row[n]));
  return { u, a, b };
}

/** The mean hinge loss of the examples whose pieces are known, and the penalty. */
export function exactValue({ pieces: { u, a, b }, penalty, examples }, p, q) {
  let total = 0;
  for (let n = 0; n < u.length; n++) {
    const margin = u[n] + p * a[n] + q * b[n];
    if (margin > 0) total += margin;
  }
  const [c, cp, cq, pp, pq, qq] = penalty;
  return total / examples + c + p * (cp + p * pp + q * pq) + q * (cq + q * qq);
}

/** A grid's value at (p, q), between its four nodes; NaN outside. */
export function interpolated(grid, t, p, q) {
  const place = (x) => ((x - t[0]) / (t.at(-1) - t[0])) * (t.length - 1);
  const [x, y] = [place(p), place(q)], last = t.length - 1;
  if (!(x >= 0 && y >= 0 && x <= last && y <= last)) return NaN;
  const [i, j] = [Math.min(Math.floor(x), last - 1), Math.min(Math.floor(y), last - 1)];
  const [s, r] = [x - i, y - j];
  const low = grid[i][j] * (1 - s) + grid[i + 1][j] * s;
  const high = grid[i][j + 1] * (1 - s) + grid[i + 1][j + 1] * s;
  return low * (1 - r) + high * r;
}

/** Where the pieces switch within a view { p: [low, high], q: [low, high] }: ends of segments. */
export function kinkLines({ pieces: { u, a, b } }, { p, q }) {
  const lines = [];
  const [p0, q0] = [(p[0] + p[1]) / 2, (q[0] + q[1]) / 2], [dp, dq] = [(p[1] - p[0]) / 2, (q[1] - q[0]) / 2];
  for (let n = 0; n < u.length; n++) {
    // Where the margin has one sign all over the view there is no line.
    const middle = u[n] + p0 * a[n] + q0 * b[n], reach = dp * Math.abs(a[n]) + dq * Math.abs(b[n]);
    if (reach === 0 || Math.abs(middle) > reach) continue;
    const line = segment([a[n], b[n], u[n]], p, q);
    if (line) lines.push(line);
  }
  return lines;
}

/** f on num × num nodes of a view. */
export function onView(f, { p, q }, num) {
  const at = ([low, high], n) => low + ((high - low) * n) / (num - 1);
  return Array.from({ length: num }, (_, i) =>
    Float64Array.from({ length: num }, (_, j) => f(at(p, i), at(q, j))),
  );
}
