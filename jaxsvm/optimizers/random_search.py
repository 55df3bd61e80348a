"""Random search: draw weights afresh at every step and keep the best.

The scores are linear in W, so the scores X W_tᵀ of a block of draws are one matrix product, which
reads X once. `random_search` evaluates every draw so. `pruned_random_search` evaluates few: the
data loss L is convex in W and lies above its tangent plane at the centre of the draws,

    L(W) ≥ L(0) + ⟨∇L(0), W⟩        so W cannot be kept if  L(0) + ⟨∇L(0), W⟩ + reg·R(W) ≥ best_loss

and one inner product, which does not read X, refuses nearly all of them where the draws are so
small that the loss hardly bends over them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from jaxsvm.core import features
from jaxsvm.core.arguments import check_count, check_positive
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.objective import (
    Objective,
    check_objective,
    is_relative,
    less_last,
    require,
    up_to,
)
from jaxsvm.core.types import Data, Scalar, ScalarLike, Weights
from jaxsvm.optimizers.contract import Optimizer, scan_between


class SearchState(NamedTuple):
    """What a search needs for its next trial.

    Attributes:
        params: (C, D) the best W so far.
        best_loss: the objective there; infinite if it was NaN at the start.
    """

    params: Weights
    best_loss: Scalar


class SearchInfo(NamedTuple):
    """What a trial saw.

    Attributes:
        loss: the objective at the trial, whether kept or not.
        best_loss: the lowest objective up to and including this trial.
        accepted: whether the trial was kept.
        loss_evaluations: 1, the trial's; ``init`` spends one more on the start.
        gradient_evaluations: 0.
    """

    loss: Float[Array, "*B"]
    best_loss: Float[Array, "*B"]
    accepted: Bool[Array, "*B"]
    loss_evaluations: Int[Array, "*B"]
    gradient_evaluations: Int[Array, "*B"]


def random_search(
    objective: Objective, *, scale: ScalarLike = 1e-4, block_size: int = 50
) -> Optimizer:
    """Draw W afresh at every step and keep the best.

        W_t = scale · normal(key_t),     kept if objective(W_t) < best_loss

    ``params`` gives the draws' shape and dtype, and is itself the first candidate. (The notes'
    listing starts at an infinite best loss instead and so always keeps its first draw: start from
    a NaN W for that.) A trial whose loss is NaN is never kept.

    Args:
        objective: what is minimized.
        scale: the draws' standard deviation, > 0. The notes' listing has 1e-4.
        block_size: how many draws share one product. It changes no draw, and losses by no more
            than the rounding of a product. Memory: block_size·C·D numbers for the draws, and
            block_size·C for each of a block of rows (`block_sizes`); never a multiple of N.

    Returns:
        An optimizer of `SearchState` and `SearchInfo`. A step costs one loss evaluation.

    Raises:
        ValueError: ``objective`` is no `Objective`, ``scale`` is not a finite number > 0 (a traced
            one is not checked), or ``block_size`` is not an integer ≥ 1.

    Source: CS231n notes, "Optimization", strategy #1.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> search = random_search(Objective(), scale=1.0)
    >>> state, info = run(search, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=100)
    >>> float(Objective()(jnp.zeros((3, 3)), data)), bool(state.best_loss == info.loss.min())
    (2.0, True)
    """
    check_objective(objective, "random_search")
    check_positive("scale", scale)
    block_size = check_count("block_size", block_size)
    draw = normal(scale)

    def init(params: Weights, data: Data) -> SearchState:
        return start(params, objective(params, data))

    def step(key: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        trial = draw(key, state.params)
        return keep_if_lower(state, trial, objective(trial, data))

    def block_step(
        keys: Array, state: SearchState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[SearchState, SearchInfo]:
        trials = draw_each(draw, keys, state.params)
        losses = losses_at(objective, trials, data)
        # Draws before `first` need no mask: none of them is below the best loss any more.
        barred = jnp.isnan(losses) | (jnp.arange(block_size) >= stop)
        possible = jnp.where(barred, jnp.inf, losses)
        best = jnp.minimum(state.best_loss, lax.cummin(possible))
        before = jnp.concatenate([state.best_loss[None], best[:-1]])
        # The first of equals, as one strict `<` after the other would find it.
        winner = jnp.argmin(possible)
        params = jnp.where(best[-1] < state.best_loss, trials[winner], state.params)
        return SearchState(params, best[-1]), _info(losses, best, best < before)

    return Optimizer(init, step, block_step, block_size)


class PrunedState(NamedTuple):
    """What the search needs for its next draw.

    Attributes:
        params: (C, D) the best W so far.
        best_loss: the objective there; infinite if it was NaN at the start.
        center_loss: L(0), the loss without the penalty at W = 0.
        slope: (C, D) its gradient there.
    """

    params: Weights
    best_loss: Scalar
    center_loss: Scalar
    slope: Weights


class PrunedInfo(NamedTuple):
    """What a trial of a pruned search saw.

    Attributes:
        loss: the objective at the trial, or NaN where it was refused before all rows were seen.
        lower_bound: the objective there is no lower, to rounding.
        best_loss: the lowest objective up to and including this trial.
        accepted: whether the trial was kept.
        share: of the rows, how many were looked at, in [0, 1].
        loss_evaluations: 1 where any were, else 0; and what the search says of itself.
        gradient_evaluations: what the search says of itself.
    """

    loss: Float[Array, "*B"]
    lower_bound: Float[Array, "*B"]
    best_loss: Float[Array, "*B"]
    accepted: Bool[Array, "*B"]
    share: Float[Array, "*B"]
    loss_evaluations: Int[Array, "*B"]
    gradient_evaluations: Int[Array, "*B"]


def pruned_random_search(
    objective: Objective, *, scale: ScalarLike = 1e-4, block_size: int = 50
) -> Optimizer:
    """Draw W afresh at every step and keep the best; evaluate only what may be better.

        W_t = scale · normal(key_t),     kept if objective(W_t) < best_loss

    Under one key the draws are those of `random_search`, and so are the answer and every decision
    but those between losses that tie to rounding. A refused draw has no loss. How many are refused
    depends on how far the loss bends over the draws: the smaller ``scale``, the more.

    Args:
        objective: what is minimized; its loss must be convex in the scores.
        scale: the draws' standard deviation, > 0.
        block_size: how many draws are bounded at once. It changes bounds by rounding only. Memory:
            block_size·C·D numbers.

    Returns:
        An optimizer of `PrunedState` and `PrunedInfo`. ``init`` spends two losses and a gradient. A
        step costs a draw and an inner product, and one loss where that does not refuse it (under
        `jax.vmap`, always): all rows are looked at, or none.

    Raises:
        ValueError: the loss is not known to be convex, because it is not one of this library's,
            ``scale`` is not a finite number > 0 (a traced one is not checked), or ``block_size``
            is not an integer ≥ 1.

    Source: CS231n notes, "Optimization", strategy #1, and the loss's convexity.

    >>> from jaxsvm import random_search, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> key, W = jax.random.key(0), jnp.zeros((3, 3))
    >>> state, info = run(pruned_random_search(Objective(), scale=0.1), key, W, data, num_steps=500)
    >>> plain, _ = run(random_search(Objective(), scale=0.1), key, W, data, num_steps=500)
    >>> bool((state.params == plain.params).all()), int(info.loss_evaluations.sum())
    (True, 5)
    """
    check_positive("scale", scale)
    block_size = check_count("block_size", block_size)
    draw = normal(scale)
    require(objective, "pruned_random_search", penalty=False)  # a Hinge is convex in the scores

    def init(params: Weights, data: Data) -> PrunedState:
        found = start(params, objective(params, data))
        loss, slope = jax.value_and_grad(replace(objective, reg=0.0))(jnp.zeros_like(params), data)
        return PrunedState(*found, loss, slope)

    def bound(state: PrunedState, trial: Weights) -> Scalar:
        tangent = state.center_loss + jnp.vdot(state.slope, trial, precision="highest")
        return tangent + objective.reg * objective.penalty(trial)

    def decide(
        state: PrunedState, trial: Weights, lower: Scalar, data: Data
    ) -> tuple[PrunedState, PrunedInfo]:
        # `lower` may be NaN, from NaN in the data; then so is every loss, and none is kept.
        possible = lower < state.best_loss
        loss = lax.cond(
            possible, lambda: objective(trial, data), lambda: jnp.full_like(lower, jnp.nan)
        )
        found, info = keep_if_lower(SearchState(state.params, state.best_loss), trial, loss)
        seen = possible.astype(loss.dtype), possible.astype(jnp.int32), jnp.int32(0)
        return (
            PrunedState(*found, state.center_loss, state.slope),
            PrunedInfo(loss, lower, info.best_loss, info.accepted, *seen),
        )

    def step(key: Array, state: PrunedState, data: Data) -> tuple[PrunedState, PrunedInfo]:
        trial = draw(key, state.params)
        return decide(state, trial, bound(state, trial), data)

    def block_step(
        keys: Array, state: PrunedState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[PrunedState, PrunedInfo]:
        trials = draw_each(draw, keys, state.params)
        bounds = jax.vmap(bound, in_axes=(None, 0))(state, trials)

        def one(state: PrunedState, proposal: Any) -> tuple[PrunedState, PrunedInfo]:
            trial, lower = proposal
            return decide(state, trial, lower, data)

        return scan_between(one, state, (trials, bounds), first, stop)

    return Optimizer(init, step, block_step, block_size)


def start(params: Float[Array, "*S C D"], loss: Float[Array, "*S"]) -> SearchState:
    """Return the state at the start; a NaN loss counts as infinite, or none could be below it."""
    return SearchState(params, jnp.where(jnp.isnan(loss), jnp.inf, loss))


def normal(scale: ScalarLike) -> Callable[[Array, Weights], Weights]:
    """Return the function of a key and W that draws normal(0, scale²) in W's shape and dtype."""

    def draw(key: Array, like: Weights) -> Weights:
        return jax.random.normal(key, like.shape, like.dtype) * jnp.asarray(scale, like.dtype)

    return draw


def draw_each(
    draw: Callable[[Array, Array], Any], keys: Array, like: Array, *, together: int | None = None
) -> Any:
    """Return ``draw(key, like)`` for each key, ``together`` of them at a time."""
    # As plain bits: the key-reuse checker takes a scan over keys under vmap for reuse.
    implementation = jax.random.key_impl(keys)
    return lax.map(
        lambda bits: draw(jax.random.wrap_key_data(bits, impl=implementation), like),
        jax.random.key_data(keys),
        batch_size=together or block_sizes().draws,
    )


def keep_if_lower(
    state: SearchState, trial: Weights, loss: Scalar
) -> tuple[SearchState, SearchInfo]:
    """Keep the trial if its loss is lower: strict ``<``, which no NaN passes."""
    accepted = loss < state.best_loss
    best = jnp.where(accepted, loss, state.best_loss)
    params = jnp.where(accepted, trial, state.params)
    return SearchState(params, best), _info(loss, best, accepted)


def _info(loss: Array, best_loss: Array, accepted: Array) -> SearchInfo:
    return SearchInfo(
        loss=loss,
        best_loss=best_loss,
        accepted=accepted,
        loss_evaluations=jnp.ones(loss.shape, jnp.int32),
        gradient_evaluations=jnp.zeros(loss.shape, jnp.int32),
    )


def losses_at(
    objective: Objective, trials: Float[Array, "B C D"], data: Data
) -> Float[Array, " B"]:
    """Return the objective at every trial: one product for each block of rows of X."""
    B, C, D = trials.shape
    W = less_last(trials) if is_relative(objective.loss, trials[0], data.X) else trials
    # Trials run fastest along the columns of a block's scores, (rows, C, B): whatever the loss
    # does to a class it then does to B neighbours in memory at once.
    W = W.transpose(1, 0, 2).reshape(-1, D)

    dot = features.scorer(data.X, W)

    def add(total: Array, X: features.Features, y: Array) -> tuple[Array, tuple[()]]:
        def summed(scores: Array) -> Array:
            return jnp.sum(objective.loss(scores, y, delta=objective.delta))

        scores = up_to(C, dot(X).reshape(len(y), -1, B), axis=1)
        return total + jax.vmap(summed, in_axes=2)(scores), ()

    total, _ = features.scan_rows(add, jnp.zeros(B, trials.dtype), data.X, data.y)
    return total / data.X.shape[0] + objective.reg * jax.vmap(objective.penalty)(trials)
