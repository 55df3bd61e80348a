// A gradient check that knows about kinks: a verdict for each weight, as jaxsvm.check_gradient's
// with ties="any".
//
//     left ≤ right   the objective's slopes on the two sides of the weight
//     numerical      its central difference, summed hinge by hinge, so that nothing cancels
//     tolerance      what rounding can do
//
// A gradient in [left, right] is right: "smooth" if it agrees with the numerical one too, "kink" if
// a hinge within the step explains that it does not. Any other is "wrong".

import { along } from "./line.mjs";
import { dot } from "./objective.mjs";

// Rounding errors of a sum of n terms are taken as SAFETY·eps·√n·Σ|terms| (Higham & Mary, 2019).
const SAFETY = 8;

/** For each weight { verdict, gradient, numerical, left, right, tolerance, crossed }. */
export function checkGradient(objective, W, data, gradient, h) {
  const slack = roundingOfMargins(objective, W, data);
  return W.map((row, k) =>
    row.map((_, d) => {
      const unit = W.map((other, a) => other.map((_, b) => (a === k && b === d ? 1 : 0)));
      const line = along(objective, W, unit, data, slack);
      const found = line.terms ? ofHinges(line, data, h) : ofSmooth(line, h);
      return { ...found, gradient: gradient[k][d], verdict: verdict(gradient[k][d], found) };
    }),
  );
}

function verdict(g, { left, right, numerical, tolerance }) {
  if (!(g >= left - tolerance && g <= right + tolerance)) return "wrong";
  return Math.abs(g - numerical) <= tolerance ? "smooth" : "kink";
}

/** What rounding can do to the margins of each example. */
function roundingOfMargins({ delta }, W, { X }) {
  const C = W.length, D = W[0].length;
  return X.map((x) => {
    const sizes = W.map((row) => dot(row.map(Math.abs), x.map(Math.abs)));
    // The largest target of the reinforced machine is C − 1 times delta.
    return SAFETY * Number.EPSILON * Math.sqrt(D + 4) * (Math.max(...sizes) + C * Math.abs(delta));
  });
}

function ofHinges(line, { y }, h) {
  const [, b, a] = line.parabola;
  let numerical = 0, left = 0, right = 0, size = 0;
  let crossed = null, furthest = 0;
  for (const { offset, slope, linear, square, slack, i, j } of line.terms) {
    const step = h * slope;
    const [up, down] = [step, -step].map((s) => positivePartChange(offset, s));
    const total = Math.max(0, offset + step) + Math.max(0, offset - step);
    numerical += ((up - down) * (linear + square * total)) / (2 * h);
    const tied = Math.abs(offset) <= slack;
    const steep = (linear + 2 * square * Math.max(0, offset)) * slope;
    // A square has one slope; what is 0 to rounding may have either.
    if (linear > 0 && tied) {
      if (steep > 0) right += steep;
      else left += steep;
    } else if (offset > 0) {
      left += steep;
      right += steep;
    }
    // A squared hinge's slope errs by what its margin does.
    if (offset + slack > 0) size += Math.abs(steep) + (2 * square * slack * Math.abs(slope)) / (SAFETY * Number.EPSILON);
    const past = Math.abs(step) - Math.abs(offset);
    if (past > furthest) [furthest, crossed] = [past, { i, j }];
  }
  const sums = line.weight * SAFETY * Number.EPSILON * Math.sqrt(y.length + 16) * size;
  return {
    numerical: line.weight * numerical + b,
    left: line.weight * left + b,
    right: line.weight * right + b,
    tolerance: sums + SAFETY * Number.EPSILON * Math.abs(b),
    crossed,
  };
}

/** max(0, start + step) − max(0, start), without subtracting the two. */
function positivePartChange(start, step) {
  return Math.max(Math.min(step, start + step), Math.min(-start, 0));
}

/** Of a loss without hinges: one slope, and a difference that is off by rounding and curvature. */
function ofSmooth(line, h) {
  const [slope] = line.slopes(0);
  const numerical = (line.value(h) - line.value(-h)) / (2 * h);
  // The loss's third derivative by a weight is below |x|³ for |x| < 10; rounding is divided by 2h.
  const bend = Math.abs(line.slopes(h)[0] - 2 * slope + line.slopes(-h)[0]);
  const tolerance = bend + (4 * Number.EPSILON * Math.max(1, line.value(0))) / h;
  return { numerical, left: slope, right: slope, tolerance, crossed: null };
}
