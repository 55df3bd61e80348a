"""What a gradient of the objective is held against, for every coordinate of W.

Far from kinks an example's hinges have their signs, and one product with X sums their slopes. The
examples with a kink in reach of the step, or of rounding, are few; for them the difference and the
slopes on both sides are summed hinge by hinge. Nothing here uses the closed form's derivative,
except to say what the library promises at a tie.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import Features, absolute, dense, dot, dot_transpose
from jaxsvm.core.losses import Objective, is_label, l1_penalty, score
from jaxsvm.core.types import Data, Labels, ScalarLike, Weights
from jaxsvm.gradients.analytic import penalty_gradient, score_gradient
from jaxsvm.gradients.termwise import (
    ScoreHinges,
    difference_term,
    penalty_difference,
    score_hinges,
    sum_terms,
)

# Rounding errors are taken as random: a sum of n terms is off by more than SAFETY·eps·√n·Σ|terms|
# with probability below 2·exp(−SAFETY²/2), 3e-14 (Higham & Mary 2019).
SAFETY = 8.0


class Evidence(NamedTuple):
    """Arrays (C, D), and the examples near a kink.

    Attributes:
        numerical: the central difference.
        left: the slope on the side of smaller W[k, d], ties by rounding included.
        right: the slope on the other side.
        low: the least gradient to accept: ``left``, or the convention's value at certain ties.
        high: the largest.
        tolerance: what rounding can do to a correct gradient.
        penalty: the penalty's gradient, reg included.
        rows: the examples with a kink within the step.
        hinges: of those examples, and of none (−∞) from there on.
    """

    numerical: np.ndarray
    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tolerance: np.ndarray
    penalty: np.ndarray
    rows: np.ndarray
    hinges: ScoreHinges

    def accepts(self, g: np.ndarray) -> np.ndarray:
        """Return where g lies in [low, high], to the tolerance; NaN does not."""
        return distance(g, self.low, self.high) <= self.tolerance


def distance(g: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return how far g lies outside [low, high]; 0 inside, NaN where g is."""
    return np.maximum(np.maximum(low - g, g - high), 0)


def gather(
    objective: Objective, W: Weights, data: Data, h: float, eps: float, ties: str
) -> Evidence:
    """Collect the evidence for a step h and rounding to eps; for the host.

    Args:
        objective: a loss and a penalty of `jaxsvm.core.losses`.
        W: (C, D) weights.
        data: N examples.
        h: the step of the central difference.
        eps: of the arithmetic that the gradient claims.
        ties: "zero" or "any", as in `jaxsvm.check_gradient`.

    Returns:
        The evidence. Cost: the scores, two products with |X|, one with X, and a termwise pass over
        the examples near a kink.
    """
    step = jnp.asarray(h, W.dtype)
    survey = _survey(objective, W, data, step, eps)
    rows = np.flatnonzero(np.asarray(survey.near))
    index = _padded(rows)
    certain = np.zeros(len(index), bool)
    if ties == "zero":
        tied = np.flatnonzero(np.any(np.asarray(survey.hinges.margins)[rows] == 0, axis=1))
        exact = [_sums_are_exact(X, np.asarray(W), objective) for X in blocks(data.X, rows[tied])]
        certain[tied] = np.concatenate([np.zeros(0, bool), *exact])[: len(tied)]
    arrays, hinges = _weigh(
        objective, W, data, survey, step, jnp.asarray(index), len(rows), jnp.asarray(certain)
    )
    numerical, left, right, low, high, tolerance, penalty = (np.asarray(a) for a in arrays)
    if objective.penalty is l1_penalty and ties == "any":
        # At 0 an l1 weight is a tie, and never in doubt.
        kink = abs(float(objective.reg)) * (np.asarray(W) == 0)
        low, high = low - kink, high + kink
    return Evidence(numerical, left, right, low, high, tolerance, penalty, rows, hinges)


def blocks(X: Features, rows: np.ndarray) -> Iterator[Features]:
    """Yield ``X[rows]``, a block at a time; the last block is padded, as `_padded`."""
    index = _padded(rows)
    for start in range(0, len(rows), block_sizes().host):
        yield X[jnp.asarray(index[start : start + block_sizes().host])]


def _padded(rows: np.ndarray) -> np.ndarray:
    """Return the rows, repeated up to a power of four ≥ 16: few programs serve every number."""
    return np.resize(rows if len(rows) else [0], max(16, 4 ** -(-len(rows).bit_length() // 2)))


class _Survey(NamedTuple):
    hinges: ScoreHinges
    active: Array  # (N, C) whether the library lets the hinge contribute; matters at ties
    slack: Array  # (N,) what rounding can do to a margin
    near: Array  # (N,) whether a kink is within the step, or within the slack
    far: Array  # (C, D) the slopes of all other examples
    tolerance: Array  # (C, D)


@jax.jit
def _survey(objective: Objective, W: Weights, data: Data, h: Array, eps: ScalarLike) -> _Survey:
    X, y = data
    N, D = X.shape
    scores = score(W, X)
    hinges = score_hinges(objective, scores, y)
    label = is_label(scores, y)
    sizes = absolute(X)
    # A margin is the difference of two scores, each a sum of D products, plus delta.
    size = jnp.max(dot(sizes, jnp.abs(W)), axis=1) + jnp.abs(jnp.asarray(objective.delta, W.dtype))
    slack = SAFETY * eps * jnp.sqrt(D + 4.0) * size
    reach = 1.001 * h * jnp.max(jnp.abs(dense(X)), axis=1).astype(W.dtype)
    margins = hinges.margins
    near = jnp.any(jnp.abs(margins) <= jnp.maximum(slack, reach)[:, None], axis=1)

    def on_scores(slopes: Array) -> Array:
        if hinges.coupled:
            return jnp.where(label, jnp.sum(slopes, axis=1, keepdims=True), slopes)
        return slopes

    most = margins + slack[:, None]
    if hinges.power == 1:
        slope, magnitude = (margins > 0).astype(W.dtype), (most >= 0).astype(W.dtype)
        error = jnp.zeros_like(margins)
    else:
        slope, magnitude = 2 * jnp.maximum(margins, 0), 2 * jnp.maximum(most, 0)
        error = jnp.where(most >= 0, 2 * slack[:, None], 0)
    G = jnp.where(near[:, None], 0, jnp.where(label, -on_scores(slope), on_scores(slope)))
    # 16 more roundings: of the terms themselves, the division by N, the penalty's addition.
    rounding = SAFETY * eps * jnp.sqrt(N + 16.0) * on_scores(magnitude) + on_scores(error)
    active = score_gradient(objective, scores, y) != 0
    tolerance = dot_transpose(rounding, sizes) / N
    tolerance += SAFETY * eps * jnp.abs(penalty_gradient(objective, W))
    return _Survey(hinges, active, slack, near, dot_transpose(G, X) / N, tolerance)


@jax.jit
def _weigh(
    objective: Objective,
    W: Weights,
    data: Data,
    survey: _Survey,
    h: Array,
    index: Array,
    num_near: int | Array,
    certain: Array,
) -> tuple[tuple[Array, ...], ScoreHinges]:
    """Return the arrays of `Evidence` up to the penalty, and the near examples' hinges.

    Args:
        objective: as in `gather`, like W, data and h.
        survey: of all examples.
        index: the rows of the near ones, padded.
        num_near: how many are not padding.
        certain: of each row, whether its ties are beyond doubt and held to the convention.
    """
    N = data.X.shape[0]
    X, y = data.X[index], data.y[index]
    real = (jnp.arange(len(index)) < num_near)[:, None]
    hinges = replace(survey.hinges, margins=jnp.where(real, survey.hinges.margins[index], -jnp.inf))
    slack, active = survey.slack[index][:, None], survey.active[index]

    scaled = replace(hinges, margins=hinges.margins / h)
    total, _ = sum_terms(difference_term(hinges.power, "central"), scaled, X, y, odd=True)
    numerical = survey.far + total * h ** (hinges.power - 1) / N
    numerical += objective.reg * penalty_difference(objective, W, h, "central")

    # To both sides: what is 0 to rounding may have either slope. A square has but one.
    margins = hinges.margins
    tie = (jnp.abs(margins) <= slack) & (hinges.power == 1)
    undecided = jnp.where(tie, 0, margins)
    # To accept: certain ties contribute as the library has it.
    certain = certain[:, None]
    convention = jnp.where(active, jnp.ones_like(margins), -1)
    decided = jnp.where(certain, jnp.where(margins == 0, convention, margins), undecided)
    # A loop, the second time only where it matters: the slopes are compiled once.
    passes = 1 + (jnp.any(certain) & (hinges.power == 1)).astype(jnp.int32)
    both = jnp.stack([undecided, decided])
    slopes = lax.fori_loop(
        0,
        passes,
        lambda i, out: out.at[i].set(_slopes(replace(hinges, margins=both[i]), X, y)),
        jnp.zeros((2, 2, *W.shape), W.dtype),
    )
    (left, right), (low, high) = slopes[0], slopes[passes - 1]
    exact = penalty_gradient(objective, W)
    kink = jnp.zeros_like(W)
    if objective.penalty is l1_penalty:
        kink = jnp.abs(objective.reg) * (W == 0).astype(W.dtype)
    rest = survey.far + exact
    return (
        numerical,
        rest + left / N - kink,
        rest + right / N + kink,
        rest + low / N,
        rest + high / N,
        survey.tolerance,
        exact,
    ), hinges


def _slopes(hinges: ScoreHinges, X: Features, y: Labels) -> Float[Array, "2 C D"]:
    """Return the sums of the hinges' slopes to the left and to the right."""

    def slope(m: Array, x: Array) -> Array:
        if hinges.power == 2:
            return 2 * jnp.maximum(m, 0) * x
        return jnp.where(m > 0, x, jnp.where(m < 0, 0, jnp.maximum(x, 0)))

    up, down = sum_terms(slope, hinges, X, y)
    return jnp.stack([-down, up])


def _sums_are_exact(X: Features, W: np.ndarray, objective: Objective) -> np.ndarray:
    """Return, for each example, whether its scores are the same in whatever order they are summed.

    They are where every product is a multiple of some power of two, and so is every partial sum,
    and none outgrows the digits of the dtype: integer pixels with integer weights, say.
    """
    bits = np.finfo(W.dtype).nmant + 1
    delta = float(objective.delta)
    used = np.any(W != 0, axis=0)
    x, size = np.asarray(dense(X), float), np.asarray(dense(absolute(X)), float)
    with np.errstate(invalid="ignore"):
        units = np.where(used & (x != 0), _unit(x) * np.min(_unit(W), axis=0), np.inf)
    unit = np.minimum(np.min(units, axis=1), _unit(np.asarray(delta)))
    largest = 2 * np.max(size @ np.abs(W.T.astype(float)), axis=1) + abs(delta)
    return largest <= 2.0**bits * unit


def _unit(a: np.ndarray) -> np.ndarray:
    """Return the largest power of two that divides each number; infinity for 0."""
    mantissa, exponent = np.frexp(np.asarray(a, float))
    digits = (mantissa * 2.0**53).astype(np.int64)
    return np.where(digits == 0, np.inf, np.ldexp((digits & -digits).astype(float), exponent - 53))
