// The objective along W + t·D. The scores are linear in t, so a hinge loss is a sum of hinges of t
// and a parabola: value, one-sided slopes, kinks and the lowest stretch are exact. As in
// jaxsvm/lines/line.py. For softmax the same questions are answered from the scores.

import { positivePart, sum } from "./losses.mjs";
import { dot, inner, scores } from "./objective.mjs";

/** A sum of hinges and a parabola. */
class HingeLine {
  constructor(terms, constant, weight, parabola) {
    Object.assign(this, { terms, constant, weight, parabola });
    for (const term of terms) term.kink = term.slope === 0 ? Infinity : -term.offset / term.slope;
  }

  value(t) {
    const heights = this.terms.map(({ offset, slope, linear, square }) => {
      const h = positivePart(offset + t * slope);
      return h * (linear + square * h);
    });
    const [c, b, a] = this.parabola;
    return this.constant + this.weight * sum(heights) + (c + t * (b + t * a));
  }

  /** The left and the right derivative at t. */
  slopes(t) {
    let left = 0, right = 0;
    for (const { offset, slope, linear, square, kink } of this.terms) {
      // Far away h overflows, and 0 times that is no number.
      const bend = square === 0 ? 0 : 2 * square * Math.max(0, offset + t * slope);
      const steep = (linear + bend) * slope;
      // A rising term is on after its kink, a falling one before it; a square has one slope.
      if (linear === 0 || kink < t === slope > 0) left += steep;
      if (linear === 0 || kink <= t === slope > 0) right += steep;
    }
    const smooth = this.parabola[1] + 2 * t * this.parabola[2];
    return [this.weight * left + smooth, this.weight * right + smooth];
  }

  /** Where a term switches, sorted; each with its example and class. */
  kinks() {
    const places = this.terms.filter((term) => Number.isFinite(term.kink));
    return places.map(({ kink, i, j }) => ({ t: kink, i, j })).sort((a, b) => a.t - b.t);
  }
}

/** A loss without hinges: no kinks, and one slope everywhere. */
class SmoothLine {
  constructor(loss, delta, S, T, y, parabola) {
    Object.assign(this, { loss, delta, S, T, y, parabola });
  }

  value(t) {
    const [c, b, a] = this.parabola;
    const losses = this.y.map((y, i) => this.loss.value(this.at(i, t), y, this.delta));
    return sum(losses) / this.y.length + (c + t * (b + t * a));
  }

  slopes(t) {
    const slopes = this.y.map((y, i) =>
      dot(this.loss.scoreGradient(this.at(i, t), y, this.delta), this.T[i]),
    );
    const slope = sum(slopes) / this.y.length + this.parabola[1] + 2 * t * this.parabola[2];
    return [slope, slope];
  }

  kinks() {
    return [];
  }

  at(i, t) {
    return this.S[i].map((s, k) => s + t * this.T[i][k]);
  }
}

/** The objective along W + t·direction. `slack[i]` is the rounding of example i's margins. */
export function along({ loss, delta, reg }, W, direction, { X, y }, slack = []) {
  const parabola = [reg * inner(W, W), 2 * reg * inner(W, direction), reg * inner(direction, direction)];
  const S = scores(W, X), T = scores(direction, X);
  if (!loss.hasHinges) return new SmoothLine(loss, delta, S, T, y, parabola);
  const parts = y.map((label, i) => loss.along(S[i], T[i], label, delta, slack[i]));
  const terms = parts.flatMap((part, i) => part.terms.map((term) => ({ ...term, i })));
  return new HingeLine(terms, sum(parts.map((p) => p.constant)) / y.length, 1 / y.length, parabola);
}

/**
 * The interval where the line is lowest and the value there: { low, high, value }. An end where the
 * line is flat is infinite. The right derivative never falls, so bisection over the floats finds
 * the first one at which it is ≥ 0.
 */
export function minimum(line) {
  const largest = Number.MAX_VALUE / 4;
  const rises = (t) => line.slopes(t)[1] >= 0;
  const climbs = (t) => line.slopes(t)[0] > 0;
  const low = rises(-largest) ? -Infinity : firstFloat(rises, -largest, largest);
  const begin = Math.max(low, -largest);
  const high = climbs(largest) ? floatAt(placeOf(firstFloat(climbs, begin, largest)) - 1n) : Infinity;
  const inside = Number.isFinite(low) ? low : Number.isFinite(high) ? high : 0;
  return { low, high, value: line.value(inside) };
}

/** The first float in [low, high] of which `holds` is true: it is true from some float on. */
function firstFloat(holds, low, high) {
  let [no, yes] = [placeOf(low), placeOf(high)];
  while (no < yes) {
    // Not a division, which would round towards 0.
    const middle = (no + yes) >> 1n;
    if (holds(floatAt(middle))) yes = middle;
    else no = middle + 1n;
  }
  return floatAt(yes);
}

// Floats and whole numbers in the same order.
const bits = new DataView(new ArrayBuffer(8));

function placeOf(x) {
  bits.setFloat64(0, x + 0); // no −0
  const place = bits.getBigInt64(0);
  return place >= 0n ? place : -(place & 0x7fffffffffffffffn);
}

function floatAt(place) {
  bits.setBigInt64(0, place >= 0n ? place : -place);
  return place >= 0n ? bits.getFloat64(0) : -bits.getFloat64(0);
}
