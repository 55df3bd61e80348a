// The multiclass hinge losses: one record of four choices, as in jaxsvm/core/losses.py.
//
//     loss = join_{j in terms} max(0, margins[j])**power
//
//     margins   relative   s_j − s_y + delta
//               absolute   delta − s_y at j = y,  delta + s_j elsewhere
//               centred    absolute, of s − mean(s)
//     terms     the wrong classes | all | the own class
//     join      sum | max
//     power     1 | 2
//
// Everything here is about one example with scores s, an array of C numbers, and label y. At a
// kink, a margin of exactly 0, the derivative is 0; of several largest margins the first counts.
// softmaxLoss has the same methods and no hinges. Nothing outside this file asks which loss it has.

import { envelope } from "./hinges.mjs";

// Loops where a frame spends its time: they are several times as fast as reduce.
export function sum(numbers) {
  let total = 0;
  for (let n = 0; n < numbers.length; n++) total += numbers[n];
  return total;
}

// max(0, margin), with NaN kept.
export const positivePart = (margin) => (margin <= 0 ? 0 : margin);

const signed = (s, y) => s.map((s_j, j) => (j === y ? -s_j : s_j));

function centre(s) {
  const mean = sum(s) / s.length;
  return s.map((s_j) => s_j - mean);
}

// The linear part of the margins, and its transpose: slopes on the margins as slopes on the scores.
const MARGINS = {
  relative: {
    linear: (s, y) => s.map((s_j) => s_j - s[y]),
    pullBack: (a, y) => a.map((a_j, j) => (j === y ? -sum(a) : a_j)),
  },
  absolute: { linear: signed, pullBack: signed },
  centred: { linear: (s, y) => signed(centre(s), y), pullBack: (a, y) => centre(signed(a, y)) },
};
const IS_TERM = { wrong: (j, y) => j !== y, all: () => true, own: (j, y) => j === y };

/** A hinge loss. `ownWeight` is the reinforced machine's weight of the own class's term. */
class Hinge {
  constructor({ margins = "relative", terms = "wrong", join = "sum", power = 1, ownWeight = null }) {
    Object.assign(this, { terms, power, ownWeight, kind: MARGINS[margins] });
    this.takesMax = join === "max" && terms !== "own";
    this.hasHinges = true;
  }

  value(s, y, delta) {
    const margins = this.margins(s, y, delta);
    if (this.takesMax) return this.height(Math.max(...margins));
    let total = 0;
    for (let j = 0; j < margins.length; j++) total += this.weight(j, y) * this.height(margins[j]);
    return total;
  }

  /** max(0, margin)**power */
  height(margin) {
    const h = positivePart(margin);
    return this.power === 1 ? h : h * h;
  }

  /** The derivative of the loss by the scores. */
  scoreGradient(s, y, delta) {
    return this.pullBack(this.slopes(s, y, delta), y);
  }

  /** The margins: a positive one is a violation; 0 where there is no term. */
  margins(s, y, delta) {
    const margins = this.kind.linear(s, y);
    for (let j = 0; j < margins.length; j++) {
      margins[j] = this.isTerm(j, y) ? margins[j] + this.target(j, y, s.length, delta) : 0;
    }
    return margins;
  }

  /** The derivative of the loss by the margins. */
  slopes(s, y, delta) {
    const margins = this.margins(s, y, delta);
    const hardest = margins.indexOf(Math.max(...margins));
    return margins.map((m, j) => {
      if (!(m > 0) || (this.takesMax && j !== hardest)) return 0;
      return this.weight(j, y) * (this.power === 1 ? 1 : 2 * m);
    });
  }

  linear(s, y) {
    return this.mask(this.kind.linear(s, y), y);
  }

  pullBack(slopes, y) {
    return this.kind.pullBack(this.mask(slopes, y), y);
  }

  target(j, y, C, delta) {
    return this.ownWeight !== null && j === y ? (C - 1) * delta : delta;
  }

  weight(j, y) {
    if (this.ownWeight === null) return 1;
    return j === y ? this.ownWeight : 1 - this.ownWeight;
  }

  isTerm(j, y) {
    return IS_TERM[this.terms](j, y);
  }

  mask(numbers, y) {
    return numbers.map((x, j) => (this.isTerm(j, y) ? x : 0));
  }

  /** The loss where the scores are s + t·ds, as terms of `Line`. `slack` is the rounding of a margin. */
  along(s, ds, y, delta, slack = 0) {
    const offsets = this.margins(s, y, delta), slopes = this.linear(ds, y);
    const classes = [...s.keys()].filter((j) => this.isTerm(j, y));
    if (this.takesMax) {
      return envelope(classes.map((j) => ({ j, offset: offsets[j], slope: slopes[j] })), this.power, slack);
    }
    const terms = classes.map((j) => {
      const weight = this.weight(j, y);
      const [linear, square] = this.power === 1 ? [weight, 0] : [0, weight];
      return { j, offset: offsets[j], slope: slopes[j], linear, square, slack };
    });
    return { constant: 0, terms };
  }

  /** Which slopes a lower bound may have: 0 ≤ a_j ≤ upper(j), and Σ a_j ≤ 1 where capped. */
  upper(j, y) {
    return this.power === 1 && !this.takesMax ? this.weight(j, y) : Infinity;
  }

  get isCapped() {
    return this.power === 1 && this.takesMax;
  }

  /** The derivative of the conjugate: the conjugate is ½ Σ_j a_j · this_j. */
  conjugateSlopes(a, y) {
    if (this.power === 1) return a.map(() => 0);
    return this.takesMax ? a.map(() => sum(a) / 2) : a.map((a_j, j) => a_j / (2 * this.weight(j, y)));
  }
}

/** Cross-entropy: log Σ_j exp(s_j) − s_y. */
const softmaxLoss = {
  hasHinges: false,
  value(s, y) {
    const largest = Math.max(...s);
    return largest + Math.log(sum(s.map((s_j) => Math.exp(s_j - largest)))) - s[y];
  },
  scoreGradient(s, y) {
    const largest = Math.max(...s);
    const exps = s.map((s_j) => Math.exp(s_j - largest));
    return exps.map((e, j) => e / sum(exps) - (j === y ? 1 : 0));
  },
};

// By their names in the literature; the last four have none.
const RECORDS = {
  "Weston-Watkins": {},
  "Crammer-Singer": { join: "max" },
  "one-vs-rest": { margins: "absolute", terms: "all" },
  "Lee-Lin-Wahba": { margins: "centred" },
  ADM: { margins: "centred", join: "max" },
  ATM: { margins: "centred", terms: "all", join: "max" },
  ATS: { margins: "centred", terms: "all" },
  MMR: { margins: "centred", terms: "own" },
  reinforced: { margins: "centred", terms: "all", ownWeight: 0.5 },
  "absolute, wrong": { margins: "absolute" },
  "absolute, wrong, max": { margins: "absolute", join: "max" },
  "absolute, all, max": { margins: "absolute", terms: "all", join: "max" },
  "absolute, own": { margins: "absolute", terms: "own" },
};
export const LOSSES = Object.fromEntries(
  Object.entries(RECORDS).flatMap(([name, record]) => [
    [name, new Hinge(record)],
    [`squared ${name}`, new Hinge({ ...record, power: 2 })],
  ]),
);
LOSSES.softmax = softmaxLoss;
