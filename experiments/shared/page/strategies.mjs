// How the hiker goes on. Every strategy proposes a direction D and a length t; the step goes to
// W + t·D, or, where it is a search, stays unless the objective there is lower.
//
// A proposal depends on the settings, on where the hiker is and on the number of the step alone: a
// rewound walk is the same walk again.

import { sum } from "./losses.mjs";
import { along, minimum } from "./line.mjs";
import { combine, gradient, numericalGradient, scaled, value } from "./objective.mjs";

const BATCH = 3;
const MOMENTUM = 0.9;
// Streams of random numbers that have nothing to do with each other.
const START = -1;

/** Uniform numbers in [0, 1) for a seed and a step (mulberry32). */
function generator(seed, step) {
  let state = Math.imul(seed, 0x9e3779b1) ^ Math.imul(step + 2, 0x85ebca6b);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A matrix like `like` of normal numbers (Box & Muller). */
function normal(random, like) {
  const one = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return like.map((row) => row.map(one));
}

export const randomStart = (seed, like) => scaled(normal(generator(seed, START), like), 0.7);

function batchOf({ X, y }, random) {
  const rows = Array.from({ length: BATCH }, () => Math.floor(random() * y.length));
  return { X: rows.map((i) => X[i]), y: rows.map((i) => y[i]) };
}

const down = (objective, walk, data) => scaled(gradient(objective, walk.W, data), -1);
const fixed = (settings) => settings.stepSize;

// direction(objective, walk, data, settings, random); length(settings, objective, walk, D, data).
export const STRATEGIES = {
  "blind search": {
    isSearch: true,
    says: "draws a new W each time, and keeps the best",
    direction: (_, { W }, data, { stepSize }, random) =>
      combine(scaled(normal(random, W), stepSize), -1, W),
    length: () => 1,
    cost: () => ({ losses: 1, gradients: 0 }),
  },
  "local search": {
    isSearch: true,
    says: "tries a random step from here, and takes it if the objective falls",
    direction: (_, { W }, data, { stepSize }, random) => scaled(normal(random, W), stepSize),
    length: () => 1,
    cost: () => ({ losses: 1, gradients: 0 }),
  },
  "numerical gradient": {
    says: "feels the slope along each weight with steps of ±h: 18 evaluations a step",
    direction: (objective, { W }, data, { h }) => scaled(numericalGradient(objective, W, data, h), -1),
    length: fixed,
    cost: ({ W }) => ({ losses: 2 * sum(W.map((row) => row.length)), gradients: 0 }),
  },
  "gradient descent": {
    says: "steps along minus the gradient",
    direction: down,
    length: fixed,
    cost: () => ({ losses: 0, gradients: 1 }),
  },
  momentum: {
    says: `adds ${MOMENTUM} of the last direction to minus the gradient`,
    direction: (objective, walk, data) => combine(down(objective, walk, data), MOMENTUM, walk.direction),
    length: fixed,
    cost: () => ({ losses: 0, gradients: 1 }),
  },
  "mini-batch": {
    says: `takes the gradient of ${BATCH} points drawn at random`,
    direction: (objective, walk, data, _, random) => down(objective, walk, batchOf(data, random)),
    length: fixed,
    cost: (walk, { y }) => ({ losses: 0, gradients: BATCH / y.length }),
  },
  "exact line search": {
    says: "goes to the lowest point of the line along minus the gradient",
    direction: down,
    length: (_, objective, { W }, D, data) => {
      const { low, high } = minimum(along(objective, W, D, data));
      return Math.min(Math.max(0, low), high);
    },
    cost: () => ({ losses: 1, gradients: 1 }),
  },
};

/** A walk at its start: where it is, its last direction, and what it has cost. */
export function begin(W) {
  return { W, direction: scaled(W, 0), step: 0, losses: 0, gradients: 0, path: [W] };
}

/** What the next step would be: { D, t, W, accepted }. */
export function propose(objective, walk, data, settings) {
  const strategy = STRATEGIES[settings.strategy];
  const D = strategy.direction(objective, walk, data, settings, generator(settings.seed, walk.step));
  const t = strategy.length(settings, objective, walk, D, data);
  const W = combine(walk.W, t, D);
  const lower = () => value(objective, W, data) < value(objective, walk.W, data);
  return { D, t, W, accepted: !strategy.isSearch || lower() };
}

/** The walk one step further. */
export function advance(walk, proposal, data, settings) {
  const { losses, gradients } = STRATEGIES[settings.strategy].cost(walk, data);
  const W = proposal.accepted ? proposal.W : walk.W;
  return {
    W,
    direction: proposal.D,
    step: walk.step + 1,
    losses: walk.losses + losses,
    gradients: walk.gradients + gradients,
    path: [...walk.path, W],
  };
}
