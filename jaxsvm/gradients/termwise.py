"""The numerical gradient of every coordinate at once, summed hinge by hinge.

Moving W[k, d] by t moves one score of each example, s_k by t·x_d. Along that score an example's
loss is a sum of hinges, so the finite difference of the whole dataset's loss is

    (L(W + h·e) − L(W − h·e)) / 2h = (1/N) Σ_i Σ_terms [φ(m + h·x_id) − φ(m − h·x_id)] / 2h

and each difference in the sum is known without cancellation: it is 0, or x, or a crossing's share
of x. No two large totals are subtracted, so rounding does not grow as h falls, and no product with
X is taken for a coordinate: 2·P evaluations of the loss become one pass over X.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.core.arguments import as_arrays, check_positive, check_problem, check_word
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.compilation import evaluate
from jaxsvm.core.features import Features, dense
from jaxsvm.core.hinges import Height, ScoreHinges
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.penalties import hinge_difference
from jaxsvm.core.types import Data, Labels, ScalarLike, Weights

Pair: TypeAlias = tuple[Array, Array]
# What one hinge of an example contributes, ``(height, margins, moves)``, elementwise.
Term: TypeAlias = Callable[[Height, Array, Array], Array]


class ByLabel(NamedTuple):
    """Examples in blocks that share a label, made by `by_label`.

    Attributes:
        y: (N,) the labels.
        rows: (blocks, B) the examples of each block; N where a place is empty.
        labels: (blocks,) the label that all of a block have.
    """

    y: Labels
    rows: Int[Array, "blocks B"]
    labels: Int[Array, " blocks"]


def by_label(y: Labels, C: int) -> ByLabel:
    """Return N examples in blocks that share a label; y is (N,), of C classes.

    There are N // B + min(C, N) blocks, whatever the labels: the last of each label is filled up.
    """
    N = y.shape[0]
    unroll = _unroll(N)
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
    return ByLabel(y, index.reshape(num_blocks, size), jnp.minimum(labels, C - 1))


def sum_terms(
    term: Term,
    hinges: ScoreHinges,
    X: Features,
    examples: ByLabel,
    *,
    unit: ScalarLike = 1.0,
    odd: bool = False,
) -> tuple[Float[Array, "C D"], Float[Array, "C D"]]:
    """Return the sums over all hinges of a term, for W[k, d] up by a unit and for it down.

    Where W[k, d] rises by a unit, a hinge moves by its rate times x_d; where it falls, by the
    opposite. Margins are handed to the term in units of that rate, so that a move is ±x_d.

    Args:
        term: ``(C, 1)`` heights and margins and ``(1, D)`` moves to (C, D); 0 at a margin of −∞.
        hinges: of N examples, along their scores.
        X: their features.
        examples: their labels, in blocks.
        unit: of W, > 0. The sums are of ``term / unit``: a difference becomes a quotient.
        odd: ``term(m, −x) = −term(m, x)``; then one of the two sums is not computed.

    Returns:
        The two sums, (C, D) each. Cost: N·C·D terms, twice that unless odd, and twice again where
        hinges move at two rates; memory: a block's rows and O(C·D) beyond the arguments.
    """
    N, D = X.shape
    C = hinges.offsets.shape[1]
    dtype = hinges.offsets.dtype
    y, index, labels = examples
    own, shared = hinges.own, hinges.shared
    label_of = y[:, None] == jnp.arange(C, dtype=y.dtype)[None, :]

    def in_units(rates: tuple[float, float]) -> tuple[Array, Height]:
        """Return margins and heights in units of the rates, and a row without hinges."""
        a, b = (abs(rate) or 1.0 for rate in rates)
        # The barrier: by a number that it knows to be all the same the compiler divides in another
        # way on one device than on several.
        size = lax.optimization_barrier(jnp.where(label_of, b, a).astype(dtype) * unit)
        height = hinges.height.scaled(size).map(lambda leaf: jnp.pad(leaf, ((0, 1), (0, 0))))
        margins = hinges.offsets / size
        return jnp.concatenate([margins, jnp.full((1, C), -jnp.inf, dtype)]), height

    def sums(scaled: tuple[Array, Height], rows: Array, x: Array) -> Pair:
        """Return the sums of a block's terms, moved up and moved down by x."""

        def add(total: Pair, example: tuple[tuple[Array, Height], Array]) -> tuple[Pair, None]:
            (m, height), x = jax.tree.map(lambda leaf: leaf[:, None], example[0]), example[1][None]
            up = total[0] + term(height, m, x)
            return (up, total[1] if odd else total[1] + term(height, m, -x)), None

        zero = jnp.zeros((C, D), dtype)
        here = jax.tree.map(lambda leaf: leaf[rows], scaled)
        (up, down), _ = lax.scan(add, (zero, zero), (here, x), unroll=_unroll(N))
        return up, -up if odd else down

    scaled = in_units(own)
    is_one_rate = shared is None or abs(shared[0]) == abs(own[0])
    scaled_shared = scaled if shared is None or is_one_rate else in_units(shared)

    def block(totals: Pair, places: tuple[Array, Array]) -> tuple[Pair, None]:
        rows, label = places
        # A block's empty places point at the row N, which has no hinges.
        x = dense(X[jnp.minimum(rows, N - 1)]).astype(dtype)
        both = sums(scaled, rows, x)
        moved = both if is_one_rate else sums(scaled_shared, rows, x)
        up, down = totals
        up += _on_weights(hinges, both, moved, label)
        down += _on_weights(hinges, both[::-1], moved[::-1], label)
        return (up, down), None

    zero = jnp.zeros((C, D), dtype)
    totals, _ = lax.scan(block, (zero, zero), (index, labels))
    power = hinges.height.power if hinges.height.is_plain else 0
    scale = jnp.asarray(unit, dtype) ** (power - 1)
    return totals[0] * scale, totals[1] * scale


def _on_weights(hinges: ScoreHinges, own: Pair, shared: Pair, label: Array) -> Array:
    """Return what a block's sums are for W[k, d] up, (C, D), where all its labels are one.

    Args:
        hinges: their rates, and who shares them.
        own: the sums for hinges moved up and down by x, in units of their own rates.
        shared: the same in units of the shared rates.
        label: of the block.
    """

    def at(sums: Pair, rate: float) -> Array:
        way = sums[0] if rate >= 0 else sums[1]
        if not hinges.height.is_plain or abs(rate) in (0.0, 1.0):
            return way
        return way * abs(rate) ** hinges.height.power

    def at_both(sums: Pair, rates: tuple[float, float]) -> Array:
        wrong, right = at(sums, rates[0]), at(sums, rates[1])
        return wrong if right is wrong else wrong.at[label].set(right[label])

    row = at_both(own, hinges.own)
    if hinges.shared is None:
        return row
    other = at_both(shared, hinges.shared)
    every = jnp.sum(other, axis=0)
    return row.at[label].set(every) if hinges.only_label else row + every[None, :] - other


def _unroll(N: int) -> int:
    """Return how many of N examples are added in one iteration.

    Of few, one: the loop is soon done, and unrolled it takes up to twice as long to compile.
    """
    sizes = block_sizes()
    return sizes.unroll if sizes.label < N else 1


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
        objective: any `Hinge` with `l2_penalty` or `l1_penalty`.
        W: (C, D) weights.
        data: N examples; labels in [0, C), checked outside `jax.jit`.
        h: the step, > 0, in units of W: it moves a margin by h·x.
        method: "central" or "forward".

    Returns:
        (C, D) in W's dtype. Cost: N·C·D elementary differences (forward: twice that) and one
        product for the scores; 1 MB or so of memory beyond the arguments and the scores.

    Raises:
        ValueError: the loss has no hinges, the penalty is a function of your own, the method is
            unknown, the data is empty, shapes disagree, or h is not a finite number > 0 (a traced
            one is not checked).

    Source: CS231n notes, "Optimization", computing the gradient numerically.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> termwise_numerical_gradient(Objective(reg=0.5), jnp.ones((2, 2)), data, h=1.0)
    Array([[1.25, 1.  ],
           [0.75, 1.  ]], dtype=float32)
    """
    check_word("method", method, ("forward", "central"))
    check_positive("h", h)
    check_problem(W, data)
    loss, penalty = require(objective, "termwise_numerical_gradient")
    central = method == "central"
    step = jnp.asarray(h, W.dtype)

    def gradient(W: Weights, data: Data) -> Weights:
        scores = score(W, data.X)
        total, examples = jnp.zeros_like(W), by_label(data.y, W.shape[0])
        for hinges in loss.along_scores(scores, data.y, delta=objective.delta):
            term = difference(method)
            total += sum_terms(term, hinges, data.X, examples, unit=step, odd=central)[0]
        return total / data.X.shape[0] + objective.reg * penalty.difference(W, step, central)

    return evaluate(gradient, W, as_arrays(data))


def difference(method: str) -> Term:
    """Return the difference of one hinge's height over a step of 1, as a term of `sum_terms`."""

    def term(height: Height, m: Array, x: Array) -> Array:
        # The step is 2x from m − x, halved: halves are exact.
        start, step, weight = (m - x, 2 * x, 0.5) if method == "central" else (m, x, 1.0)
        total = jnp.maximum(start, 0) + jnp.maximum(start + step, 0)
        return height.between(weight * hinge_difference(start, step), total)

    return term
