"""Random search and random local search: the strategies that only ever ask for the loss.

The scores are linear in W, so the scores of a whole block of random proposals are one matrix
product, taken before the search decides anything:

    random search    X W_tᵀ               for every draw t of the block
    local search     X (W + δ_t)ᵀ = X Wᵀ + X δ_tᵀ      δ_t does not depend on W

A block of trials reads X once where a trial at a time reads it at each; and local search, which is
serial by nature, throws no evaluation away: accepting a trial adds its δ to W and its scores to
the scores of W. ``step`` is one trial taken plainly; ``block_step`` is ``block_size`` of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from jaxsvm.core import features
from jaxsvm.core.objective import Objective
from jaxsvm.core.types import Data, Scalar, ScalarLike, Weights
from jaxsvm.optimizers.contract import Optimizer
from jaxsvm.optimizers.schedules import check_count, check_positive

# Random search never holds the scores of all the data: it sums the losses of a block of draws over
# this many rows at a time. Long enough for the product to run at its peak.
CHUNK_ROWS = 512

# Draws made together: one at a time they take twice as long, fifty at a time half as long again.
DRAWS = 10


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
            than the rounding of a product. Memory: block_size·C·D numbers for the draws and
            512·block_size·C for their scores; never a multiple of N.

    Returns:
        An optimizer of `SearchState` and `SearchInfo`. A step costs one loss evaluation.

    Raises:
        ValueError: ``scale`` is not a finite number > 0 (a traced one is not checked), or
            ``block_size`` is not an integer ≥ 1.

    Source: CS231n notes, "Optimization", strategy #1.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> search = random_search(Objective(), scale=1.0)
    >>> state, info = run(search, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=100)
    >>> float(Objective()(jnp.zeros((3, 3)), data)), bool(state.best_loss == info.loss.min())
    (2.0, True)
    """
    check_positive("scale", scale)
    check_count("block_size", block_size)

    def init(params: Weights, data: Data) -> SearchState:
        return start(objective, params, data)

    def draw(key: Array, like: Weights) -> Weights:
        return normal(key, like) * jnp.asarray(scale, like.dtype)

    def step(key: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        trial = draw(key, state.params)
        return keep_if_lower(state, trial, objective(trial, data))

    def block_step(keys: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        trials = draw_each(draw, keys, state.params)
        losses = _losses(objective, trials, data)
        lowest = lax.cummin(jnp.where(jnp.isnan(losses), jnp.inf, losses))
        best = jnp.minimum(state.best_loss, lowest)
        before = jnp.concatenate([state.best_loss[None], best[:-1]])
        # The first of equals, as one strict `<` after the other would find it.
        winner = jnp.argmax(losses == best[-1])
        improved = best[-1] < state.best_loss
        params = jnp.where(improved, trials[winner], state.params)
        return SearchState(params, best[-1]), _info(losses, best, losses < before)

    return Optimizer(init, step, block_step, block_size)


def local_search(
    objective: Objective, *, step_size: ScalarLike = 1e-4, block_size: int = 50
) -> Optimizer:
    """Try a random step from where the search stands and take it if the objective falls.

        δ_t = step_size · normal(key_t),     W ← W + δ_t if objective(W + δ_t) < best_loss

    The start is evaluated. (The notes' listing never evaluates it and so always takes its first
    step.) A trial whose loss is NaN is never taken.

    A block takes X δ_tᵀ of all its trials in one product and carries the scores of W from trial to
    trial, adding X δ_tᵀ when t is accepted; it starts from a fresh X Wᵀ, so rounding builds up
    over one block at most. With B = block_size and u the unit roundoff (6e-8 in float32), a
    carried score of example i is within γ·Σ_d |x_id| (|W_jd| + Σ_t |δ_t,jd|) of the exact one,
    γ = (D + B + 1)u / (1 − (D + B + 1)u), the first-order bound being that of one product but for
    the B. A decision can differ from the plain loop's only where two losses tie to that rounding.

    Args:
        objective: what is minimized; the penalty is evaluated at W + δ itself.
        step_size: standard deviation of each entry of δ, > 0.
        block_size: how many trials share one product. Memory: block_size·N·C numbers. One that
            divides the number of steps compiles no second, shorter block.

    Returns:
        An optimizer of `SearchState` and `SearchInfo`. A step costs one loss evaluation.

    Raises:
        ValueError: ``step_size`` is not a finite number > 0 (a traced one is not checked), or
            ``block_size`` is not an integer ≥ 1.

    Source: CS231n notes, "Optimization", strategy #2.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> search = local_search(Objective(), step_size=0.1)
    >>> state, info = run(search, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=100)
    >>> bool(state.best_loss < 1.0), int(info.loss_evaluations.sum())
    (True, 100)
    """
    check_positive("step_size", step_size)
    check_count("block_size", block_size)

    def init(params: Weights, data: Data) -> SearchState:
        return start(objective, params, data)

    def draw(key: Array, like: Weights) -> Weights:
        return normal(key, like) * jnp.asarray(step_size, like.dtype)

    def step(key: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        trial = state.params + draw(key, state.params)
        return keep_if_lower(state, trial, objective(trial, data))

    def block_step(keys: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        deltas = draw_each(draw, keys, state.params)
        B, C, D = deltas.shape
        rows = jnp.concatenate([state.params, deltas.reshape(B * C, D)])
        # (1 + B, C, N): examples last, so that a trial is one contiguous piece.
        products = features.dot(data.X, rows).T.reshape(1 + B, C, -1)

        def trial(
            carry: tuple[SearchState, Array], proposal: tuple[Array, Array]
        ) -> tuple[tuple[SearchState, Array], SearchInfo]:
            state, scores = carry
            delta, change = proposal
            W, moved = state.params + delta, scores + change
            loss = objective.data_loss(moved.T, data.y) + objective.reg * objective.penalty(W)
            state, info = keep_if_lower(state, W, loss)
            return (state, jnp.where(info.accepted, moved, scores)), info

        (state, _), info = lax.scan(trial, (state, products[0]), (deltas, products[1:]))
        return state, info

    return Optimizer(init, step, block_step, block_size)


def start(objective: Objective, params: Weights, data: Data) -> SearchState:
    """Return the state at the start; NaN counts as infinite, or no trial could be below it."""
    loss = objective(params, data)
    return SearchState(params, jnp.where(jnp.isnan(loss), jnp.inf, loss))


def normal(key: Array, like: Weights) -> Weights:
    """Return standard normal numbers in the shape and dtype of W."""
    return jax.random.normal(key, like.shape, like.dtype)


def draw_each(
    draw: Callable[[Array, Array], Any], keys: Array, like: Array, *, together: int = DRAWS
) -> Any:
    """Return a block's draws, ``together`` of them at a time."""
    # As plain bits: the key-reuse checker takes a scan over keys under vmap for reuse.
    implementation = jax.random.key_impl(keys)
    return lax.map(
        lambda bits: draw(jax.random.wrap_key_data(bits, impl=implementation), like),
        jax.random.key_data(keys),
        batch_size=together,
    )


def keep_if_lower(
    state: SearchState, trial: Weights, loss: Scalar
) -> tuple[SearchState, SearchInfo]:
    """One decision: strict ``<``, which no NaN passes."""
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


def _losses(objective: Objective, trials: Float[Array, "B C D"], data: Data) -> Float[Array, " B"]:
    """Return the objective at every trial: one product for each chunk of rows of X."""
    B, C, D = trials.shape
    N = data.X.shape[0]
    # Trials run fastest along the columns of a chunk's scores, (rows, C, B): whatever the loss
    # does to a class it then does to B neighbours in memory at once.
    W = trials.transpose(1, 0, 2).reshape(C * B, D)

    def sums(scores: Array, y: Array, is_new: Array) -> Array:
        return jnp.sum(jnp.where(is_new, objective.loss(scores, y, delta=objective.delta), 0))

    num_chunks = -(-N // CHUNK_ROWS)
    size = -(-N // num_chunks)

    def add(total: Array, start: Array) -> tuple[Array, None]:
        # The last chunk is moved back to end at N; rows that it shares with the one before count
        # there and not here.
        first = jnp.minimum(start, N - size)
        X = features.slice_rows(data.X, first, size)
        y = lax.dynamic_slice_in_dim(data.y, first, size)
        is_new = first + jnp.arange(size) >= start
        scores = features.dot(X, W).reshape(size, C, B)
        return total + jax.vmap(sums, in_axes=(2, None, None))(scores, y, is_new), None

    total, _ = lax.scan(add, jnp.zeros(B, trials.dtype), size * jnp.arange(num_chunks))
    return total / N + objective.reg * jax.vmap(objective.penalty)(trials)
