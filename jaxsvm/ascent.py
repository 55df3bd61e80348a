"""Dual coordinate ascent: the slopes of one example's hinges at a time, blocks of examples at once.

`row_step` is the exact maximum of the dual over one example's slopes: a piecewise linear equation
in one unknown. `ascend` goes through all examples in blocks. What an example's step does to the
scores of the others in its block is read from the block's Gram matrix, so a block needs two
products with W, one before its sequential steps and one after, and W is never touched in between.
The Gram matrices do not change from pass to pass: they are computed once, by `gram_blocks`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.bound import pull_back
from jaxsvm.features import Features, dense, take
from jaxsvm.loss import (
    Data,
    Labels,
    Objective,
    Scores,
    Weights,
    crammer_singer_loss,
    is_label,
    margins,
    one_vs_rest_loss,
    one_vs_rest_margins,
    squared_hinge_loss,
)

HIGHEST = lax.Precision.HIGHEST


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
    inverse = bend / q  # 1/r
    label = is_label(dual, y)
    total = jnp.sum(dual, axis=1, keepdims=True)
    lowest = -total / inverse  # the right side is 0 here, so the left one is at least as large
    kinks = [lowest, jnp.where(label, lowest, c)]
    if simplex:
        kinks.append(1 - total)
    elif not squared:
        kinks.append(jnp.where(label, lowest, c - 1))
    at = jnp.maximum(jnp.concatenate(kinks, axis=1), lowest)
    moved = jnp.clip(c[:, None, :] - at[:, :, None], 0, upper)
    left = jnp.sum(jnp.where(label[:, None, :], 0, moved), axis=2)
    right = total + inverse * at
    excess = left - (jnp.minimum(right, 1) if simplex else right)
    # The excess decreases and is linear between kinks: interpolate between the last kink where it
    # is not negative and the next. Nothing is compared with c again, which a compiler may round
    # another way the second time.
    before = (excess >= 0) | (at <= lowest)  # at `lowest` true but for rounding
    last = jnp.max(jnp.where(before, at, lowest), axis=1, keepdims=True)
    above = jnp.min(jnp.where(before, jnp.maximum(excess, 0), jnp.inf), axis=1, keepdims=True)
    following = jnp.min(jnp.where(before, jnp.inf, at), axis=1, keepdims=True)
    below = jnp.max(jnp.where(before, -jnp.inf, excess), axis=1, keepdims=True)
    crossed = below > -jnp.inf  # else every slope is 0, at `lowest`
    share = above / jnp.where(crossed, above - below, 1)
    shift = last + jnp.where(crossed, share * (following - last), 0)
    return jnp.where(label, 0, jnp.clip(c - shift, 0, upper))


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

    def one_block(
        carry: tuple[Array, Array, Array], k: Array
    ) -> tuple[tuple[Array, Array, Array], None]:
        W, dual, total = carry
        index, gram = blocks.rows[k], blocks.gram[k] * scale
        X, y = _rows(data.X, index), data.y[jnp.minimum(index, N - 1)]
        # Rows of zeros (padding in the last block, blank examples) have no curvature: any q > 0.
        diagonal = jnp.diagonal(gram)
        curvature = jnp.where(diagonal > 0, diagonal, 1)
        old = dual[jnp.minimum(index, N - 1)]

        def one_row(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            scores, slopes = state
            row = lax.dynamic_slice_in_dim(inner, i, 1)
            margin = dual_margins(objective, scores[row], y[row])
            new = row_step(objective, margin, slopes[row], curvature[row], y[row])
            change = pull_back(objective, new - slopes[row], y[row])
            return scores - gram[row[0]][:, None] * change, slopes.at[row[0]].set(new[0])

        scores = jnp.matmul(X, W.T, precision=HIGHEST)
        _, new = lax.fori_loop(0, B, one_row, (scores, old))
        G = pull_back(objective, jnp.where((index < N)[:, None], new - old, 0), y)
        W = W - scale * jnp.matmul(G.T, X, precision=HIGHEST)
        return (W, dual.at[index].set(new, mode="drop"), total + W), None

    order = jax.random.permutation(block_key, K)
    (W, dual, total), _ = lax.scan(one_block, (W, dual, jnp.zeros_like(W)), order)
    return W, dual, total / K


def _rows(X: Features, index: Int[Array, " B"]) -> Float[Array, "B D"]:
    """Return rows of X as a plain matrix, zeros where the index is N."""
    N = X.shape[0]
    return jnp.where((index < N)[:, None], dense(take(X, jnp.minimum(index, N - 1))), 0)
