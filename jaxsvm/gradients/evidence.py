"""What a gradient of the objective is held against, for every coordinate of W.

Far from kinks an example's hinges have their signs, and one product with X sums their slopes. The
examples with a kink in reach of the step, or of rounding, are few; for them the difference and the
slopes on both sides are summed hinge by hinge. Nothing here uses the closed form's derivative,
except to say what the library promises at a tie.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.compilation import compiled
from jaxsvm.core.digits import has_digits
from jaxsvm.core.features import (
    Features,
    absolute,
    dense,
    dot,
    dot_transpose,
    fold,
    largest_feature,
    lost_by_digits,
    values_of,
)
from jaxsvm.core.hinges import Height, ScoreHinges
from jaxsvm.core.losses import is_label
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.types import Data, ScalarLike, Weights
from jaxsvm.gradients.analytic import score_gradient
from jaxsvm.gradients.termwise import by_label, difference, sum_terms

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
        hinges: of those examples, along their scores, and of none (−∞) from there on.
    """

    numerical: np.ndarray
    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tolerance: np.ndarray
    penalty: np.ndarray
    rows: np.ndarray
    hinges: tuple[ScoreHinges, ...]

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
        objective: any `Hinge` with `l2_penalty` or `l1_penalty`.
        W: (C, D) weights.
        data: N examples.
        h: the step of the central difference.
        eps: of the arithmetic that the gradient claims.
        ties: "zero" or "any", as in `jaxsvm.check_gradient`.

    Returns:
        The evidence. Cost: the scores, two products with |X|, one with X, and a termwise pass over
        the examples near a kink.
    """
    loss, penalty = require(objective, "check_gradient")
    step = jnp.asarray(h, W.dtype)
    survey = _survey(objective, W, data, step, eps)
    rows = np.flatnonzero(np.asarray(survey.near))
    index = _padded(rows)
    certain = np.zeros(len(index), bool)
    if ties == "zero" and loss.has_exact_margins(W.shape[0]) and _digits_suffice(data.X, W):
        tied = np.flatnonzero(np.asarray(survey.tied)[rows])
        exact = [_sums_are_exact(X, np.asarray(W), objective) for X in blocks(data.X, rows[tied])]
        certain[tied] = np.concatenate([np.zeros(0, bool), *exact])[: len(tied)]
    arrays, hinges = _weigh(
        objective, W, data, survey, step, jnp.asarray(index), len(rows), jnp.asarray(certain)
    )
    numerical, left, right, low, high, tolerance, gradient = (np.asarray(a) for a in arrays)
    if ties == "any":
        # At 0 an l1 weight is a tie, and never in doubt.
        kink = abs(float(objective.reg)) * np.asarray(penalty.half_jump(W))
        low, high = low - kink, high + kink
    return Evidence(numerical, left, right, low, high, tolerance, gradient, rows, hinges)


def blocks(X: Features, rows: np.ndarray) -> Iterator[Features]:
    """Yield ``X[rows]``, a block at a time; the last block is padded, as `_padded`."""
    index = _padded(rows)
    for start in range(0, len(rows), block_sizes().host):
        yield _rows(X, jnp.asarray(index[start : start + block_sizes().host]))


# Of sharded rows, `X[index]` alone is compiled at every call.
_rows = compiled(lambda X, index: X[index])


def _padded(rows: np.ndarray) -> np.ndarray:
    """Return the rows, repeated up to a power of four ≥ 16: few programs serve every number."""
    return np.resize(rows if len(rows) else [0], max(16, 4 ** -(-len(rows).bit_length() // 2)))


class _Survey(NamedTuple):
    hinges: tuple[ScoreHinges, ...]
    promised: Array  # (N, C) the derivative on the scores that the library promises
    slack: Array  # (N,) what rounding can do to a margin
    near: Array  # (N,) whether a kink is within the step, or within the slack
    tied: Array  # (N,) whether a kink is at the point
    far: Array  # (C, D) the slopes of all other examples
    tolerance: Array  # (C, D)


@compiled
def _survey(objective: Objective, W: Weights, data: Data, h: Array, eps: ScalarLike) -> _Survey:
    X, y = data
    N, D = X.shape
    loss, penalty = require(objective, "check_gradient")
    scores = score(W, X)
    hinges = loss.along_scores(scores, y, delta=objective.delta)
    label = is_label(scores, y)
    sizes = absolute(X)
    # A margin is the difference of two scores, each a sum of D products, plus its target.
    target = jnp.abs(jnp.asarray(loss.targets(y, W.shape[0], objective.delta), W.dtype))
    size = jnp.max(dot(sizes, jnp.abs(W)) + target, axis=1)
    slack = SAFETY * eps * jnp.sqrt(D + 4.0) * size + lost_by_digits(X, W)
    reach = 1.001 * h * largest_feature(X).astype(W.dtype)

    near = tied = jnp.zeros(N, bool)
    G = weight = rounding = jnp.zeros_like(scores)
    for part in hinges:
        offsets, doubt = part.offsets, part.roundings * slack[:, None]
        near |= jnp.any(jnp.abs(offsets) <= jnp.maximum(doubt, reach[:, None]), axis=1)
        tied |= jnp.any(offsets == 0, axis=1)
        most = offsets + doubt
        slope = jnp.where(offsets > 0, part.height.derivative(jnp.maximum(offsets, 0)), 0)
        magnitude = jnp.where(most >= 0, part.height.derivative(jnp.maximum(most, 0)), 0)
        G += _on_scores(part, slope, label)
        weight += _on_scores(part, magnitude, label, abs)
        if part.height.curvature is not None:
            error = 2 * part.height.curvature * doubt
            if part.height.linear is not None:  # twice a maximum of margins
                error += 4 * slack[:, None]
            error = jnp.where(most >= 0, error, 0)
            rounding += _on_scores(part, error, label, abs)
    G = jnp.where(near[:, None], 0, G)
    rounding += SAFETY * eps * jnp.sqrt(N + 16.0) * weight
    if has_digits(values_of(X), W.dtype):  # what is below the last digit of a slope is lost
        rounding += eps / 128 * jnp.max(weight, axis=0, keepdims=True)
    tolerance = dot_transpose(rounding, sizes) / N
    # 16 more roundings, above: of the terms themselves, the division by N, the penalty's addition.
    tolerance += SAFETY * eps * jnp.abs(objective.reg * penalty.gradient(W))
    promised = score_gradient(objective, scores, y)
    return _Survey(hinges, promised, slack, near, tied, dot_transpose(G, X) / N, tolerance)


def _on_scores(
    part: ScoreHinges, slopes: Array, label: Array, size: Callable[[float], float] = float
) -> Array:
    """Return hinges' slopes (or with ``size=abs`` their magnitudes) as slopes along the scores."""

    def at(rates: tuple[float, float]) -> Array:
        return slopes * jnp.where(label, size(rates[1]), size(rates[0])).astype(slopes.dtype)

    own = at(part.own)
    if part.shared is None:
        return own
    others = at(part.shared)
    every = jnp.sum(others, axis=1, keepdims=True)
    return own + (jnp.where(label, every, 0) if part.only_label else every - others)


@compiled
def _weigh(
    objective: Objective,
    W: Weights,
    data: Data,
    survey: _Survey,
    h: Array,
    index: Array,
    num_near: int | Array,
    certain: Array,
) -> tuple[tuple[Array, ...], tuple[ScoreHinges, ...]]:
    """Return the arrays of `Evidence` up to the penalty, and the near examples' hinges.

    Args:
        objective: as in `gather`, like W, data and h.
        survey: of all examples.
        index: the rows of the near ones, padded.
        num_near: how many are not padding.
        certain: of each row, whether its ties are beyond doubt and held to the convention.
    """
    N = data.X.shape[0]
    _, penalty = require(objective, "check_gradient")
    X, examples = data.X[index], by_label(data.y[index], W.shape[0])
    real = (jnp.arange(len(index)) < num_near)[:, None]
    slack = survey.slack[index][:, None]
    hinges = tuple(
        replace(
            part,
            offsets=jnp.where(real, part.offsets[index], -jnp.inf),
            height=part.height.map(lambda leaf: leaf[index]),
        )
        for part in survey.hinges
    )
    reg, zero = objective.reg, jnp.zeros_like(W)
    numerical = survey.far + reg * penalty.difference(W, h, True)
    for part in hinges:
        numerical += sum_terms(difference("central"), part, X, examples, unit=h, odd=True)[0] / N

    # To both sides: what is 0 to rounding may have either slope. A square has but one.
    def undecided(part: ScoreHinges) -> Array:
        tie = jnp.abs(part.offsets) <= part.roundings * slack
        return part.offsets if part.height.is_smooth else jnp.where(tie, 0, part.offsets)

    # A loop, the second time only where it matters: the slopes are compiled once. In the second
    # pass what is certain contributes as the library promises.
    passes = 1 + jnp.any(certain).astype(jnp.int32)
    both = [
        jnp.stack([offsets, jnp.where(certain[:, None], -jnp.inf, offsets)])
        for offsets in map(undecided, hinges)
    ]

    def one_pass(i: Array, out: Array) -> Array:
        sides = jnp.zeros((2, *W.shape), W.dtype)
        for part, offsets in zip(hinges, both, strict=True):
            up, down = sum_terms(_one_sided, replace(part, offsets=offsets[i]), X, examples)
            sides += jnp.stack([-down, up])
        return out.at[i].set(sides)

    slopes = lax.fori_loop(0, passes, one_pass, jnp.zeros((2, 2, *W.shape), W.dtype))
    (left, right), (low, high) = slopes[0], slopes[passes - 1]
    promised = jnp.where(certain[:, None] & real, survey.promised[index], 0)
    exact = reg * penalty.gradient(W)
    kink = jnp.abs(reg) * penalty.half_jump(W) + zero
    rest = survey.far + exact
    decided = rest + dot_transpose(promised, X) / N
    return (
        numerical,
        rest + left / N - kink,
        rest + right / N + kink,
        decided + low / N,
        decided + high / N,
        survey.tolerance,
        exact,
    ), hinges


def _one_sided(height: Height, m: Array, x: Array) -> Array:
    """Return the slope of one hinge towards a move by x, as a term of `sum_terms`."""
    on = jnp.where(m > 0, x, jnp.where(m < 0, 0, jnp.maximum(x, 0)))
    return jnp.where(m > -jnp.inf, height.derivative(jnp.maximum(m, 0)) * on, 0)


def _sums_are_exact(X: Features, W: np.ndarray, objective: Objective) -> np.ndarray:
    """Return, for each example, whether its scores are the same in whatever order they are summed.

    They are where every product is a multiple of some power of two, and so is every partial sum,
    and none outgrows the digits of the dtype: integer pixels with integer weights, say. Two classes
    are subtracted before or after the sum, and the first digit of a weight may be twice its size
    (`jaxsvm.core.digits`).
    """
    bits = np.finfo(W.dtype).nmant + 1
    delta = float(objective.delta)
    used = np.any(W != 0, axis=0)
    x, size = np.asarray(dense(X), float), np.asarray(dense(absolute(X)), float)
    with np.errstate(invalid="ignore"):
        units = np.where(used & (x != 0), _unit(x) * np.min(_unit(W), axis=0), np.inf)
    unit = np.minimum(np.min(units, axis=1), _unit(np.asarray(delta)))
    largest = 4 * np.max(size @ np.abs(W.T.astype(float)), axis=1) + abs(delta)
    return largest <= 2.0**bits * unit


def _digits_suffice(X: Features, W: Weights) -> bool:
    """Return whether all weights are exact in `jaxsvm.core.digits`, where X is multiplied so."""
    if not has_digits(values_of(X), W.dtype):
        return True
    weights = np.asarray(fold(X, W)[0], float)
    # The last digit's unit is 2⁻²⁹ of a row's largest weight at most, of a difference's 2⁻²⁸.
    return bool(np.max(np.abs(weights)) <= 2.0**28 * np.min(_unit(weights)))


def _unit(a: np.ndarray) -> np.ndarray:
    """Return the largest power of two that divides each number; infinity for 0."""
    mantissa, exponent = np.frexp(np.asarray(a, float))
    digits = (mantissa * 2.0**53).astype(np.int64)
    return np.where(digits == 0, np.inf, np.ldexp((digits & -digits).astype(float), exponent - 53))
