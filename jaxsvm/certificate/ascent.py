"""Dual coordinate ascent: the slopes of one example's hinges at a time, blocks of examples at once.

`row_step` is the exact maximum of the dual over one example's slopes: a piecewise linear equation
in one unknown. `ascend` goes through all examples in blocks. What an example's step does to the
scores of the others in its block is read from the block's Gram matrix, so a block needs two
products with W, one before its sequential steps and one after, and W is never touched in between.
The Gram matrices do not change from pass to pass: they are computed once, by `gram_blocks`.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.certificate.bound import pull_back
from jaxsvm.core.features import Features, dense, dot, dot_transpose, widen
from jaxsvm.core.losses import (
    Objective,
    crammer_singer_loss,
    is_label,
    margins,
    one_vs_rest_loss,
    one_vs_rest_margins,
    squared_hinge_loss,
)
from jaxsvm.core.types import Data, Labels, Scores, Weights

HIGHEST = lax.Precision.HIGHEST

# Around a zero: the kink before it, the excess there, the kink after it, the excess there; (N,).
Ends: TypeAlias = tuple[Array, Array, Array, Array]


def dual_margins(objective: Objective, scores: Scores, y: Labels) -> Scores:
    """Return the margins whose slopes the dual holds, 0 at j = y_i except one-against-rest."""
    function = one_vs_rest_margins if objective.loss is one_vs_rest_loss else margins
    return function(scores, y, delta=objective.delta)


def row_step(
    objective: Objective,
    margin: Scores,
    dual: Scores,
    curvature: Float[Array, " N"],
    y: Labels,
) -> Scores:
    """Return, for each example on its own, the slopes that maximize the dual.

        maximize over a:  Σ_j m_j d_j − (q/2) (Σ_j d_j² + (Σ_j d_j)²) − Σ_j conjugate(a_j)

    with d = a − dual, over the slopes that the loss allows; without the (Σd)² for one against rest.
    All slopes of an example are shifted alike and clipped:

        a_j = clip(c_j − t, 0, upper),   Σ_j a_j = min(Σ_j dual_j + t/r, cap),   t = r·σ, σ = Σd

    Both sides are piecewise linear in t, so t is found exactly: the last of the 2C + 1 kinks at
    which the left side is the larger, then one linear equation.

    Args:
        objective: its loss and delta.
        margin: (N, C) m, the margins at ``dual``.
        dual: (N, C) feasible slopes.
        curvature: (N,) q > 0: ‖x_i‖²/(2·reg·N) in coordinate ascent, 1/ρ in a proximal step.
        y: (N,) labels.

    Returns:
        (N, C) feasible slopes. Cost: N·C·(2C + 2) clips, no product.

    Source: Wang & Scott, "Weston-Watkins hinge loss and ordered partitions / an exact solver"
    (arXiv 2102.05640), there by sorting; Crammer & Singer (2001) for the simplex.

    >>> m, zero = jnp.array([[0.0, 1.0, 3.0]]), jnp.zeros((1, 3))
    >>> row_step(Objective(), m, zero, jnp.array([4.0]), jnp.array([0]))
    Array([[0.   , 0.   , 0.375]], dtype=float32)
    """
    squared = objective.loss is squared_hinge_loss
    simplex = objective.loss is crammer_singer_loss
    q = curvature[:, None]
    bend = q + 0.5 if squared else q  # the conjugate a²/4 bends the dual by a further ½
    upper = jnp.inf if squared or simplex else 1.0
    c = (q * dual + margin) / bend
    if objective.loss is one_vs_rest_loss:
        return jnp.clip(c, 0, upper)
    # Classes first, so that a loop over examples is contiguous. The label's slope is 0.
    c = jnp.where(is_label(dual, y), -jnp.inf, c).T
    inverse, total = (bend / q)[:, 0], jnp.sum(dual, axis=1)  # inverse = 1/r
    lowest = -total / inverse  # the right side is 0 here, so the left one is at least as large
    kinks = [lowest[None, :], c]
    if simplex:
        kinks.append(1 - total[None, :])
    elif not squared:
        kinks.append(c - 1)
    at = jnp.maximum(jnp.concatenate(kinks), lowest[None, :])

    # The excess of the left side decreases and is linear between kinks: interpolate between the
    # last kink where it is not negative and the next. Nothing is compared with c again, which a
    # compiler may round another way the second time.
    def narrow(ends: Ends, t: Array, left: Array) -> Ends:
        """Move the two kinks around the zero, and the excess at each, by what is known at t."""
        last, above, following, below = ends
        right = total + inverse * t
        excess = left - (jnp.minimum(right, 1) if simplex else right)
        before = (excess >= 0) | (t <= lowest)  # at `lowest` true but for rounding
        return (
            jnp.maximum(last, jnp.where(before, t, -jnp.inf)),
            jnp.minimum(above, jnp.where(before, jnp.maximum(excess, 0), jnp.inf)),
            jnp.minimum(following, jnp.where(before, jnp.inf, t)),
            jnp.maximum(below, jnp.where(before, -jnp.inf, excess)),
        )

    infinite = jnp.full_like(lowest, jnp.inf)
    ends = (lowest, infinite, infinite, -infinite)
    if len(y) == 1:
        # A sequential pass has one example at a time: all kinks at once, in few operations.
        left = jnp.sum(jnp.clip(c[None, :, :] - at[:, None, :], 0, upper), axis=1)
        last, above, following, below = jax.vmap(narrow, in_axes=(None, 0, 0))(ends, at, left)
        ends = last.max(axis=0), above.min(axis=0), following.min(axis=0), below.max(axis=0)
    else:
        # Many examples: one kink and one class at a time, so that nothing leaves the cache.
        def one_kink(ends: Ends, t: Array) -> tuple[Ends, None]:
            def add(left: Array, c: Array) -> tuple[Array, None]:
                return left + jnp.clip(c - t, 0, upper), None

            left, _ = lax.scan(add, jnp.zeros_like(t), c)
            return narrow(ends, t, left), None

        ends, _ = lax.scan(one_kink, ends, at)
    last, above, following, below = ends
    crossed = below > -jnp.inf  # else every slope is 0, at `lowest`
    share = above / jnp.where(crossed, above - below, 1)
    shift = last + jnp.where(crossed, share * (following - last), 0)
    return jnp.clip(c - shift[None, :], 0, upper).T


class Blocks(NamedTuple):
    """A fixed random partition of the examples, and what a pass needs of it.

    Attributes:
        rows: (K, B) example numbers; N where the last block is short.
        gram: (K, B, B) the products x_i·x_k within each block.
    """

    rows: Int[Array, "K B"]
    gram: Float[Array, "K B B"]


def gram_blocks(key: Array, X: Features, *, block_size: int) -> Blocks:
    """Partition the examples at random and take each block's Gram matrix.

    Cost: 2·N·block_size·D operations and N·block_size numbers of memory, once.
    """
    N = X.shape[0]
    size = min(block_size, N)
    order = jax.random.permutation(key, N)
    index = jnp.pad(order, (0, -N % size), constant_values=N).reshape(-1, size)

    def gram(rows: Array) -> Array:
        block = _rows(X, rows)
        return jnp.matmul(block, block.T, precision=HIGHEST)

    return Blocks(index, lax.map(gram, index))


def ascend(
    key: Array, objective: Objective, W: Weights, dual: Scores, data: Data, blocks: Blocks
) -> tuple[Weights, Scores, Weights]:
    """Maximize the dual over each example's slopes once, in a random order.

    Args:
        key: for the order of the blocks, and of the examples in them.
        objective: reg > 0.
        W: (C, D), V(dual)/(2·reg): kept equal to it.
        dual: (N, C) feasible slopes.
        data: the examples.
        blocks: from `gram_blocks`.

    Returns:
        W and dual after the pass, and the mean of W over the pass, which is much the better primal
        point: W itself swings about the optimum. Cost: two products, and N sequential steps of
        O(block_size·C + C²).
    """
    N = data.X.shape[0]
    K, B = blocks.rows.shape
    block_key, row_key = jax.random.split(key)
    inner = jax.random.permutation(row_key, B)
    scale = jnp.asarray(1 / (2 * N * jnp.asarray(objective.reg, W.dtype)), W.dtype)

    # A block, and a row in it, is seen once a pass: its old slopes go into the loop and its new
    # ones come out. Carried along and updated in place, they would be copied each time.
    def one_block(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        W, total = carry
        index, gram = blocks.rows[k], blocks.gram[k] * scale
        inside = jnp.minimum(index, N - 1)
        X, y = widen(data.X[inside]), data.y[inside]
        # Rows of zeros (padding in the last block, blank examples) have no curvature: any q > 0.
        diagonal = jnp.diagonal(gram)
        curvature = jnp.where(diagonal > 0, diagonal, 1)
        old = dual[inside]

        def one_row(scores: Array, one: tuple[Array, ...]) -> tuple[Array, Array]:
            row, gram_row, q, slopes, label = one
            margin = dual_margins(objective, scores[row], label)
            new = row_step(objective, margin, slopes, q, label)
            change = pull_back(objective, new - slopes, label)
            return scores - gram_row.T * change, new

        scores = dot(X, W)
        each = (inner, gram[inner], curvature[inner], old[inner], y[inner])
        _, new = lax.scan(one_row, scores, jax.tree.map(lambda leaf: leaf[:, None], each))
        new = old.at[inner].set(new[:, 0])
        G = pull_back(objective, jnp.where((index < N)[:, None], new - old, 0), y)
        W = W - scale * dot_transpose(G, X)
        return (W, total + W), new

    order = jax.random.permutation(block_key, K)
    (W, total), new = lax.scan(one_block, (W, jnp.zeros_like(W)), order)
    return W, dual.at[blocks.rows[order]].set(new, mode="drop"), total / K


def _rows(X: Features, index: Int[Array, " B"]) -> Float[Array, "B D"]:
    """Return rows of X as a plain matrix, zeros where the index is N."""
    N = X.shape[0]
    return jnp.where((index < N)[:, None], dense(X[jnp.minimum(index, N - 1)]), 0)
