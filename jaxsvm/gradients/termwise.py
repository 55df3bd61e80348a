"""The numerical gradient of every coordinate at once, summed hinge by hinge.

Moving W[k, d] by t moves one score of each example, s_k by t·x_d. Along that score an example's
loss is a sum of hinges, so the finite difference of the whole dataset's loss is

    (L(W + h·e) − L(W − h·e)) / 2h = (1/N) Σ_i Σ_terms [φ(m + h·x_id) − φ(m − h·x_id)] / 2h

and each difference in the sum is known without cancellation: it is 0, or x, or a crossing's share
of x. No two large totals are subtracted, so rounding does not grow as h falls, and no product with
X is taken for a coordinate: 2·P evaluations of the loss become one pass over X.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import Features, dense
from jaxsvm.core.losses import (
    Objective,
    check_shapes,
    crammer_singer_loss,
    hinge_terms,
    is_label,
    l1_penalty,
    l2_penalty,
    margins,
    score,
)
from jaxsvm.core.types import Data, Labels, ScalarLike, Scores, Weights

Pair = tuple[Array, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScoreHinges:
    """An example's loss along each of its scores: hinges, rising in s_k, falling in the label's.

    Attributes:
        margins: (N, C); along s_k, k ≠ y_i, the loss is a constant + max(0, margins[i, k] + t)**p.
            −∞ where there is no hinge.
        coupled: along the label's score, the sum of max(0, margins[i, j] − t)**p over all j
            (Weston-Watkins), or the one hinge at j = y_i (one against rest, Crammer-Singer).
        power: p, 1 or 2.
    """

    margins: Array
    coupled: bool = field(metadata={"static": True})
    power: int = field(metadata={"static": True})


def score_hinges(objective: Objective, scores: Scores, y: Labels) -> ScoreHinges:
    """Return the hinges that each example's loss is along each of its scores.

    For `crammer_singer_loss`, no sum of hinges in all scores together, it is still one along each
    score: s_k matters from where it overtakes the other classes' largest violation.

    Raises:
        ValueError: the loss is not one of `jaxsvm.core.losses`.
    """
    label = is_label(scores, y)
    if objective.loss is crammer_singer_loss:
        wrong = jnp.where(label, -jnp.inf, margins(scores, y, delta=objective.delta))
        largest = jnp.max(wrong, axis=1, keepdims=True)
        first = jnp.argmax(wrong, axis=1)[:, None] == jnp.arange(scores.shape[1])[None, :]
        second = jnp.max(jnp.where(first, -jnp.inf, wrong), axis=1, keepdims=True)
        others = jnp.maximum(jnp.where(first, second, largest), 0)
        return ScoreHinges(jnp.where(label, largest, wrong - others), False, 1)
    terms = hinge_terms(objective)
    all_margins = terms.margins(scores, y, delta=objective.delta)
    if terms.margins is margins:
        return ScoreHinges(jnp.where(label, -jnp.inf, all_margins), True, terms.power)
    return ScoreHinges(all_margins, False, terms.power)


def hinge_difference(start: Array, step: Array) -> Array:
    """Return max(0, start + step) − max(0, start) without subtracting the two.

    One of 0, ``step``, ``start + step`` and ``−start``: where no kink is crossed it is exact, and
    where one is, its error is a rounding of ``step``, never of ``start``.
    """
    return jnp.maximum(jnp.minimum(step, start + step), jnp.minimum(-start, 0))


def sum_terms(
    term: Callable[[Array, Array], Array],
    hinges: ScoreHinges,
    X: Features,
    y: Labels,
    *,
    odd: bool = False,
) -> tuple[Float[Array, "C D"], Float[Array, "C D"]]:
    """Return the sums over all hinges of ``term(margin, move)``, for W[k, d] up and for it down.

    Where W[k, d] rises by a unit, a hinge of class k moves by x_d and a hinge of the label k by
    −x_d; where it falls, by the opposite.

    Args:
        term: elementwise, ``(C, 1)`` margins and ``(1, D)`` moves to (C, D); 0 at a margin of −∞.
        hinges: of N examples.
        X: their features.
        y: their labels.
        odd: ``term(m, −x) = −term(m, x)``; then one of the two sums is not computed.

    Returns:
        The two sums, (C, D) each. Cost: N·C·D terms, twice that unless odd; memory
        a block's rows and O(C·D) beyond the arguments.
    """
    N, D = X.shape
    C = hinges.margins.shape[1]
    index, labels = _blocks_of_one_label(y, C)
    dtype = hinges.margins.dtype
    # A block's empty places point at the row N, which has no hinges.
    padded = jnp.concatenate([hinges.margins, jnp.full((1, C), -jnp.inf, dtype)])

    def block(totals: tuple[Array, Array], places: tuple[Array, Array]) -> tuple[Pair, None]:
        rows, label = places
        x = dense(X[jnp.minimum(rows, N - 1)]).astype(dtype)

        def add(sums: tuple[Array, Array], example: tuple[Array, Array]) -> tuple[Pair, None]:
            m, x = example[0][:, None], example[1][None, :]
            up = sums[0] + term(m, x)
            return (up, sums[1] if odd else sums[1] + term(m, -x)), None

        zero = jnp.zeros((C, D), dtype)
        (up, down), _ = lax.scan(add, (zero, zero), (padded[rows], x), unroll=block_sizes().unroll)
        down = -up if odd else down
        # All examples of the block have one label, so its row needs no sum of its own over them.
        of_label = [jnp.sum(s, axis=0) if hinges.coupled else s[label] for s in (down, up)]
        return (
            totals[0] + up.at[label].set(of_label[0]),
            totals[1] + down.at[label].set(of_label[1]),
        ), None

    zero = jnp.zeros((C, D), dtype)
    totals, _ = lax.scan(block, (zero, zero), (index, labels))
    return totals


def _blocks_of_one_label(y: Labels, C: int) -> tuple[Int[Array, "blocks B"], Int[Array, " blocks"]]:
    """Return blocks of examples that share a label: their rows (N where empty) and the labels."""
    N = y.shape[0]
    unroll = block_sizes().unroll
    size = min(block_sizes().label, -(-N // unroll) * unroll)
    num_blocks = N // size + min(C, N)
    order = jnp.argsort(y, stable=True)
    counts = jnp.bincount(y, length=C)
    ends = jnp.cumsum(-(-counts // size))  # of each label's blocks
    first = ends - -(-counts // size)
    rank = jnp.arange(N) - (jnp.cumsum(counts) - counts)[y[order]]
    place = first[y[order]] * size + rank
    index = jnp.full((num_blocks * size,), N).at[place].set(order)
    labels = jnp.searchsorted(ends, jnp.arange(num_blocks), side="right")
    return index.reshape(num_blocks, size), jnp.minimum(labels, C - 1)


def termwise_numerical_gradient(
    objective: Objective,
    W: Weights,
    data: Data,
    *,
    h: ScalarLike = 1e-5,
    method: str = "central",
) -> Weights:
    """Return the finite difference of the objective for every coordinate of W, summed termwise.

        central   (1/N) Σ_i Σ_terms [φ(m + h·x_id) − φ(m − h·x_id)] / 2h  +  reg · the penalty's
        forward   (1/N) Σ_i Σ_terms [φ(m + h·x_id) − φ(m)] / h            +  reg · the penalty's

    This is what `numerical_gradient` of the objective is in exact arithmetic, crossed kinks and
    all; only the rounding differs: here it is that of one sum over the examples, whatever h is.

    Args:
        objective: a loss and a penalty of `jaxsvm.core.losses`.
        W: (C, D) weights.
        data: N examples; labels in [0, C), not checked.
        h: the step, > 0 (not checked), in units of W: it moves a margin by h·x.
        method: "central" or "forward".

    Returns:
        (C, D) in W's dtype. Cost: N·C·D elementary differences (forward: twice that) and one
        product for the scores; 1 MB or so of memory beyond the arguments and the scores.

    Raises:
        ValueError: a loss or penalty not of `losses`, an unknown method, empty data, shapes
            that disagree.

    Source: CS231n notes, "Optimization", computing the gradient numerically.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> termwise_numerical_gradient(Objective(reg=0.5), jnp.ones((2, 2)), data, h=1.0)
    Array([[1.25, 1.  ],
           [0.75, 1.  ]], dtype=float32)
    """
    if method not in ("forward", "central"):
        raise ValueError(f"method = {method!r}: expected 'forward' or 'central'")
    check_shapes(data)
    hinges = score_hinges(objective, score(W, data.X), data.y)
    step = jnp.asarray(h, W.dtype)
    # Margins in units of the step: a coordinate then moves them by x itself.
    scaled = replace(hinges, margins=hinges.margins / step)
    central = method == "central"
    sums, _ = sum_terms(difference_term(hinges.power, method), scaled, data.X, data.y, odd=central)
    data_part = sums * step ** (hinges.power - 1) / data.X.shape[0]
    return data_part + objective.reg * penalty_difference(objective, W, step, method)


def difference_term(power: int, method: str) -> Callable[[Array, Array], Array]:
    """Return the difference quotient of one hinge, as ``term(margin / h, x)`` for `sum_terms`."""

    def term(m: Array, x: Array) -> Array:
        # The step is 2x from m − x, halved: halves are exact.
        start, step, weight = (m - x, 2 * x, 0.5) if method == "central" else (m, x, 1.0)
        difference = weight * hinge_difference(start, step)
        if power == 1:
            return difference
        # a² − b² = (a − b)(a + b), and neither factor cancels.
        return difference * (jnp.maximum(start, 0) + jnp.maximum(start + step, 0))

    return term


def penalty_difference(objective: Objective, W: Weights, h: Array, method: str) -> Weights:
    """Return the difference quotient of the penalty along each weight, exactly."""
    if objective.penalty is l2_penalty:
        return 2 * W if method == "central" else 2 * W + h
    if objective.penalty is l1_penalty:
        # |w| = 2·max(0, w) − w
        if method == "central":
            return hinge_difference(W / h - 1, jnp.full_like(W, 2)) - 1
        return 2 * hinge_difference(W / h, jnp.ones_like(W)) - 1
    name = getattr(objective.penalty, "__name__", objective.penalty)
    raise ValueError(
        f"objective.penalty is {name}: expected l2_penalty or l1_penalty; numerical_gradient takes "
        "any function"
    )
