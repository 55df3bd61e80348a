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

/**
 * The same function over a view { p: [low, high], q: [low, high] } alone, of fewer pieces: those that
 * switch there. One that is on all over the view is linear in it and goes into the penalty's
 * coefficients, and one that is off is 0, so the nearer a view, the less there is to add up.
 */
export function within({ pieces: { u, a, b }, penalty, examples }, { p, q }) {
  const [p0, q0] = [(p[0] + p[1]) / 2, (q[0] + q[1]) / 2], [dp, dq] = [(p[1] - p[0]) / 2, (q[1] - q[0]) / 2];
  const switching = [], on = [0, 0, 0];
  for (let n = 0; n < u.length; n++) {
    const middle = u[n] + p0 * a[n] + q0 * b[n], reach = dp * Math.abs(a[n]) + dq * Math.abs(b[n]);
    if (Math.abs(middle) <= reach) switching.push([u[n], a[n], b[n]]);
    else if (middle > 0) [u[n], a[n], b[n]].forEach((part, k) => (on[k] += part));
  }
  const [c, cp, cq, ...squares] = penalty;
  const linear = [c, cp, cq].map((part, k) => part + on[k] / examples);
  return { pieces: columns(switching), penalty: [...linear, ...squares], examples };
}

/** Where the pieces switch within a view: ends of segments. */
export function kinkLines({ pieces: { u, a, b } }, { p, q }) {
  return Array.from(u, (_, n) => segment([a[n], b[n], u[n]], p, q)).filter(Boolean);
}

/** `num` places from one end to the other. */
const between = ([low, high], num) => Float64Array.from({ length: num }, (_, n) => low + ((high - low) * n) / (num - 1));

/** f on num × num nodes of a view. */
export function onView(f, { p, q }, num) {
  return [...between(p, num)].map((x) => between(q, num).map((y) => f(x, y)));
}

/**
 * `exactValue` on num × num nodes of a view. A row of nodes is a line, along which each piece is on
 * from one node to an end. So its slope and offset are added where it comes on and taken off where
 * it goes off, and running sums give the row: no node looks at every piece.
 */
export function exactOnView({ pieces: { u, a, b }, penalty, examples }, { p, q }, num) {
  const places = between(q, num), step = (q[1] - q[0]) / (num - 1);
  const smooth = { pieces: columns([]), penalty, examples };
  return [...between(p, num)].map((x) => {
    const offsets = new Float64Array(num + 1), slopes = new Float64Array(num + 1);
    for (let n = 0; n < u.length; n++) {
      const offset = u[n] + x * a[n];
      if (b[n] === 0 && offset <= 0) continue;
      const first = Math.min(Math.max(Math.ceil((-offset / b[n] - q[0]) / step), 0), num);
      const on = b[n] > 0 ? first : 0, off = b[n] < 0 ? first : num;
      offsets[on] += offset;
      slopes[on] += b[n];
      offsets[off] -= offset;
      slopes[off] -= b[n];
    }
    let offset = 0, slope = 0;
    return places.map((y, m) => {
      offset += offsets[m];
      slope += slopes[m];
      return (offset + y * slope) / examples + exactValue(smooth, x, y);
    });
  });
}
