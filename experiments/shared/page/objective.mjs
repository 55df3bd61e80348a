// The objective of a linear classifier, its gradient, and its difference quotients.
//
//     f(W) = (1/N) Σ_i loss(W x_i, y_i) + reg · ΣΣ W²        (no ½, so the penalty's gradient is 2·reg·W)
//
// An objective is { loss, delta, reg }, data are { X, y }: N rows with the bias column last, and N
// labels. W is an array of C rows.

import { sum } from "./losses.mjs";

export function dot(a, b) {
  let total = 0;
  for (let d = 0; d < a.length; d++) total += a[d] * b[d];
  return total;
}

export const scores = (W, X) => X.map((x) => W.map((row) => dot(row, x)));
export const combine = (A, t, B) => A.map((row, k) => row.map((a, d) => a + t * B[k][d]));
export const inner = (A, B) => sum(A.map((row, k) => dot(row, B[k])));
export const scaled = (A, t) => A.map((row) => row.map((a) => t * a));
export const argmax = (s) => s.indexOf(Math.max(...s));

export function dataLoss({ loss, delta }, W, { X, y }) {
  return sum(scores(W, X).map((s, i) => loss.value(s, y[i], delta))) / X.length;
}

export const penalty = ({ reg }, W) => reg * inner(W, W);

export const value = (objective, W, data) => dataLoss(objective, W, data) + penalty(objective, W);

export function accuracy(W, { X, y }) {
  return sum(scores(W, X).map((s, i) => (argmax(s) === y[i] ? 1 : 0))) / X.length;
}

/** Gᵀ X / N: slopes on the scores (N, C) as slopes on W (C, D). */
export function onWeights(G, X, C) {
  const total = Array.from({ length: C }, () => Array(X[0].length).fill(0));
  X.forEach((x, i) => {
    for (let k = 0; k < C; k++) {
      for (let d = 0; d < x.length; d++) total[k][d] += G[i][k] * x[d];
    }
  });
  return scaled(total, 1 / X.length);
}

/** The gradient in closed form; a margin of exactly 0 contributes 0. */
export function gradient({ loss, delta, reg }, W, { X, y }) {
  const G = scores(W, X).map((s, i) => loss.scoreGradient(s, y[i], delta));
  return combine(onWeights(G, X, W.length), 2 * reg, W);
}

/** The central difference quotients of f along each weight, from 2·C·D values of it. */
export function numericalGradient(objective, W, data, h) {
  const moved = (k, d, by) => W.map((row, a) => row.map((w, b) => (a === k && b === d ? w + by : w)));
  return W.map((row, k) =>
    row.map((_, d) => {
      const [up, down] = [h, -h].map((by) => value(objective, moved(k, d, by), data));
      return (up - down) / (2 * h);
    }),
  );
}
