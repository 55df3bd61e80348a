// Lower bounds: how far above the bottom a W can be, as in jaxsvm/certificate/bound.py.
//
// A hinge is the largest of its supporting lines, max(0, m) = max_{0≤a≤1} a·m. Fix the slopes a of
// all hinges and the objective is a parabola in W whose lowest value is known:
//
//     D(a) = (1/N) Σ_i (Σ_j target_ij·a_ij − conjugate(a_i)) − ‖V‖² / (4·reg)
//     V    = −(1/N) Gᵀ X,   G[i] = pull_back(a[i]),   at W = V / (2·reg)
//
// is a lower bound of the objective at every W. reg must be > 0: without it nothing holds W, and
// the bound known is 0.

import { sum } from "./losses.mjs";
import { combine, dot, inner, onWeights, scaled, scores, value } from "./objective.mjs";

/** D of feasible slopes in its parts, and V. */
function parts({ loss, delta }, slopes, { X, y }, C) {
  const G = slopes.map((a, i) => loss.pullBack(a, y[i]));
  const V = scaled(onWeights(G, X, C), -1);
  const linear = slopes.map((a, i) => sum(a.map((a_j, j) => a_j * loss.target(j, y[i], C, delta))));
  const conjugate = slopes.map((a, i) => dot(a, loss.conjugateSlopes(a, y[i])) / 2);
  return { V, linear: sum(linear) / y.length, conjugate: sum(conjugate) / y.length };
}

/** The slopes that the loss allows, nearest to these. */
function project(loss, a, y) {
  const inside = loss.mask(a, y).map((a_j, j) => Math.min(Math.max(a_j, 0), loss.upper(j, y)));
  if (!loss.isCapped || sum(inside) <= 1) return inside;
  const sorted = [...loss.mask(a, y)].sort((p, q) => q - p);
  let total = 0, shift = 0;
  sorted.forEach((x, n) => {
    total += x;
    if (x > (total - 1) / (n + 1)) shift = (total - 1) / (n + 1);
  });
  return loss.mask(a.map((a_j) => Math.max(a_j - shift, 0)), y);
}

/**
 * Climbs D by Nesterov's accelerated projected gradient, and keeps the best bound and the best W.
 * `climb(n)` takes n steps more; `lower`, D of `best`, ≤ the lowest value ≤ `upper`, that of `W`.
 */
export class Bottom {
  constructor(objective, data, C) {
    Object.assign(this, { objective, data, C, lower: 0, upper: Infinity, W: null });
    this.slopes = data.y.map(() => Array(C).fill(0));
    this.ahead = this.best = this.slopes;
    this.momentum = 1;
    this.value = -Infinity;
    this.steps = 0;
    const { reg, loss } = objective;
    const size = sum(data.X.map((x) => dot(x, x))) / data.X.length;
    // ‖pull_back‖² is at most C; a conjugate's curvature is at most C/2 for the maximum, 1/(2·weight) else.
    const bend = loss.power === 1 ? 0 : Math.max(C / 2, 1);
    this.stepSize = 1 / ((C * size) / (2 * reg) + bend);
  }

  get isClosed() {
    return this.W !== null && this.upper - this.lower <= 1e-9 * Math.max(1, this.upper);
  }

  climb(num) {
    const { loss, delta, reg } = this.objective;
    const { X, y } = this.data;
    for (let n = 0; n < num && !this.isClosed; n++, this.steps++) {
      const { V } = parts(this.objective, this.ahead, this.data, this.C);
      const margins = scores(scaled(V, 1 / (2 * reg)), X).map((s, i) => loss.margins(s, y[i], delta));
      // N times D's derivative is the margin minus the conjugate's.
      const moved = this.ahead.map((a, i) => {
        const bend = loss.conjugateSlopes(a, y[i]);
        return project(loss, a.map((a_j, j) => a_j + this.stepSize * (margins[i][j] - bend[j])), y[i]);
      });
      this.accept(moved);
    }
  }

  accept(slopes) {
    const { reg } = this.objective;
    const { V, linear, conjugate } = parts(this.objective, slopes, this.data, this.C);
    const bound = linear - conjugate - inner(V, V) / (4 * reg);
    if (bound > this.lower) Object.assign(this, { lower: bound, best: slopes });
    const W = scaled(V, 1 / (2 * reg));
    const here = value(this.objective, W, this.data);
    if (here < this.upper) Object.assign(this, { upper: here, W });
    // Momentum that overshoots is forgotten.
    if (bound < this.value) this.momentum = 1;
    const next = (1 + Math.sqrt(1 + 4 * this.momentum ** 2)) / 2;
    const keep = (this.momentum - 1) / next;
    const change = combine(slopes, -1, this.slopes);
    this.ahead = combine(slopes, keep, change).map((a, i) => project(this.objective.loss, a, this.data.y[i]));
    Object.assign(this, { slopes, momentum: next, value: bound });
  }
}
