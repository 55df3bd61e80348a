"""Dual coordinate ascent: the slopes of one example's hinges at a time, blocks of examples at once.

`ascend` goes through all examples in blocks and takes `row_step` for each. What an example's step
does to the scores of the others in its block is read from the block's Gram matrix, so a block needs
two products with W, one before its sequential steps and one after, and W is never touched in
between. The Gram matrices do not change from pass to pass: `gram_blocks` computes them once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.certificate.row_step import row_step
from jaxsvm.core.features import Features, dense, dot, dot_transpose, widen
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Data, Scores, Weights

HIGHEST = lax.Precision.HIGHEST


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
    key: Array, objective: Objective, W: Weights, slopes: Scores, data: Data, blocks: Blocks
) -> tuple[Weights, Scores, Weights]:
    """Maximize the dual over each example's slopes once, in a random order.

    Args:
        key: for the order of the blocks, and of the examples in them.
        objective: reg > 0.
        W: (C, D), V(slopes)/(2·reg): kept equal to it.
        slopes: (N, C) feasible ones.
        data: the examples.
        blocks: from `gram_blocks`.

    Returns:
        W and slopes after the pass, and the mean of W over the pass, which is much the better
        primal point: W itself swings about the optimum. Cost: two products, and N sequential steps
        of O(block_size·C + C²).
    """
    loss, _ = require(objective, "ascend", penalty=False)
    N = data.X.shape[0]
    K, B = blocks.rows.shape
    block_key, row_key = jax.random.split(key)
    inner = jax.random.permutation(row_key, B)
    per_slope = jnp.asarray(1 / (2 * N * jnp.asarray(objective.reg, W.dtype)), W.dtype)

    # A block, and a row in it, is seen once a pass: its old slopes go into the loop and its new
    # ones come out. Carried along and updated in place, they would be copied each time.
    def one_block(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        W, total = carry
        index, gram = blocks.rows[k], blocks.gram[k] * per_slope
        inside = jnp.minimum(index, N - 1)
        X, y = widen(data.X[inside]), data.y[inside]
        # Rows of zeros (padding in the last block, blank examples) have no curvature: any q > 0.
        diagonal = jnp.diagonal(gram)
        curvature = jnp.where(diagonal > 0, diagonal, 1)
        old = slopes[inside]

        def one_row(scores: Array, one: tuple[Array, ...]) -> tuple[Array, Array]:
            row, gram_row, q, before, label = one
            margin = loss.all_margins(scores[row], label, delta=objective.delta)
            new = row_step(objective, margin, before, q, label)
            change = loss.pull_back(new - before, label)
            return scores - gram_row.T * change, new

        scores = dot(X, W)
        each = (inner, gram[inner], curvature[inner], old[inner], y[inner])
        _, new = lax.scan(one_row, scores, jax.tree.map(lambda leaf: leaf[:, None], each))
        new = old.at[inner].set(new[:, 0])
        G = loss.pull_back(jnp.where((index < N)[:, None], new - old, 0), y)
        W = W - per_slope * dot_transpose(G, X)
        return (W, total + W), new

    order = jax.random.permutation(block_key, K)
    (W, total), new = lax.scan(one_block, (W, jnp.zeros_like(W)), order)
    return W, slopes.at[blocks.rows[order]].set(new, mode="drop"), total / K


def _rows(X: Features, index: Int[Array, " B"]) -> Float[Array, "B D"]:
    """Return rows of X as a plain matrix, zeros where the index is N."""
    N = X.shape[0]
    return jnp.where((index < N)[:, None], dense(X[jnp.minimum(index, N - 1)]), 0)
