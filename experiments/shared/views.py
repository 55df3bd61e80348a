"""Random search on several views of the same examples, by one product for all of them.

A view is a preprocessing of the features and a scale of the draws, W = scale · Z. Where its
features are a·x + b, one number a for all of them and the bias's 1 left alone, so are its scores:

    (a·x + b)·z + z_bias  =  a·(x·z + z_bias) + b·z + (1 − a)·z_bias

So the product of all examples with a block of draws Z, which is what a search costs, is taken once,
and each view makes its losses of it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsvm import Data, Objective, Optimizer, StandardizedFeatures
from jaxsvm.core import features
from jaxsvm.optimizers.random_search import SearchInfo, SearchState, draw_each, normal


class View(NamedTuple):
    """What makes the scores of a view of those of the examples as they are.

    Attributes:
        scale: of the draws.
        factor: what multiplies all features but the bias, a above.
        moved: (D,) what is added to them, b above; 0 for the bias.
    """

    scale: float
    factor: float
    moved: np.ndarray


def view_of(X: Any, other: Any, scale: float) -> View | None:
    """Return what makes the scores of another form of some features of theirs.

    Args:
        X: (N, D) features.
        other: the same examples in another form, (N, D).
        scale: of the draws.

    Returns:
        The view; None where the form is not one number times the features, and what is added.
    """
    if not (isinstance(X, StandardizedFeatures) and isinstance(other, StandardizedFeatures)):
        return None
    # In float64: of two means that are nearly equal little is left.
    factors = np.asarray(other.scale, float)[:-1] / np.asarray(X.scale, float)[:-1]
    if np.ptp(factors) > 0:
        return None
    between = np.asarray(X.shift, float) - np.asarray(other.shift, float)
    moved = between * np.asarray(other.scale, float)
    moved[-1] = 0.0
    return View(scale, float(factors[0]), moved)


def random_search_of_views(
    objective: Objective, views: tuple[View, ...], *, block_size: int = 50
) -> Optimizer:
    """Draw Z afresh at every step and keep, for each of V views, the best W = scale · Z.

    Args:
        objective: without a penalty.
        views: V of them.
        block_size: how many draws share a product.

    Returns:
        An optimizer that starts from (V, C, D), one W for each view. Its state and what it says of
        a step are `jaxsvm.random_search`'s with an axis of V, and so are its numbers, to rounding.
        As in the notes the best loss begins at infinity, so that the first draw is always kept.
    """
    numbers = ([view.scale for view in views], [view.factor for view in views])
    scale, factor = (np.asarray(each, np.float32) for each in numbers)
    moved = np.stack([view.moved for view in views]).astype(np.float32)

    def init(params: Array, data: Data) -> SearchState:
        return SearchState(params, jnp.full(len(views), jnp.inf, params.dtype))

    def block_step(
        keys: Array, state: SearchState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[SearchState, SearchInfo]:
        Z = draw_each(normal(1.0), keys, state.params[0])
        # (V, C, B), what is added to the scores.
        added = jnp.einsum("vd,bcd->vcb", moved, Z, precision="highest")
        added += (1 - factor[:, None, None]) * Z[:, :, -1].T[None]
        losses = _losses(objective, Z, data, scale, factor, added)  # (B, V)
        barred = jnp.isnan(losses) | (jnp.arange(len(keys)) >= stop)[:, None]
        possible = jnp.where(barred, jnp.inf, losses)
        best = jnp.minimum(state.best_loss[None], lax.cummin(possible, axis=0))
        before = jnp.concatenate([state.best_loss[None], best[:-1]])
        winners = scale[:, None, None] * Z[jnp.argmin(possible, axis=0)]
        is_lower = (best[-1] < state.best_loss)[:, None, None]
        params = jnp.where(is_lower, winners, state.params)
        ones = jnp.ones(losses.shape, jnp.int32)
        info = SearchInfo(losses, best, best < before, ones, jnp.zeros_like(ones))
        return SearchState(params, best[-1]), info

    def step(key: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        state, info = block_step(key[None], state, data, 0, 1)
        return state, jax.tree.map(lambda leaf: leaf[0], info)

    return Optimizer(init, step, block_step, block_size)


def _losses(
    objective: Objective, Z: Array, data: Data, scale: np.ndarray, factor: np.ndarray, added: Array
) -> Array:
    """Return (B, V) the loss of every draw in every view."""
    B, C, D = Z.shape
    W = Z.transpose(1, 0, 2).reshape(C * B, D)

    def add(total: Array, X: features.Features, y: Array) -> tuple[Array, tuple[()]]:
        scores = features.dot(X, W).reshape(-1, C, B)

        def of_view(scale: Any, factor: Any, added: Array) -> Array:
            seen = scale * (factor * scores + added[None])
            losses = jax.vmap(
                lambda s: jnp.sum(objective.loss(s, y, delta=objective.delta)), in_axes=2
            )
            return losses(seen)

        parts = [of_view(*view) for view in zip(scale, factor, added, strict=True)]
        return total + jnp.stack(parts, axis=1), ()

    zero = jnp.zeros((B, len(scale)), Z.dtype)
    total, _ = features.scan_rows(add, zero, data.X, data.y)
    return total / data.X.shape[0]
