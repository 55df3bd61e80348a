"""Many local searches at once, for the price of one matrix product.

A trial of local search costs the product X δᵀ, and that product is at the machine's peak already:
searches with steps of their own cost as many products. But a normal step has symmetries. Its rows
may change places and signs, and it is as normal as before. So one δ gives every search s a step,

    δ_s[j] = sign_s[j] · δ[order_s[j]]
    X δ_sᵀ = the columns of X δᵀ in that order, with those signs

with an order and signs drawn for s alone. Each search by itself is `local_search`, with steps
independent of one another and normal(0, step_size²). Steps of two searches are uncorrelated, for
their signs are independent, but not independent: their rows are the same vectors up to sign. So a
mean or a share over the searches is estimated without bias; error bars that assume independent
runs are to be taken over keys.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.core import features
from jaxsvm.core.objective import Objective
from jaxsvm.core.types import Data, ScalarLike, Weights
from jaxsvm.optimizers.contract import Optimizer
from jaxsvm.optimizers.random_search import (
    SearchInfo,
    SearchState,
    draw_each,
    keep_if_lower,
    normal,
    start,
)
from jaxsvm.optimizers.schedules import check_count, check_positive


def local_searches(
    objective: Objective, *, step_size: ScalarLike = 1e-4, block_size: int = 50
) -> Optimizer:
    """Run S local searches from S starts side by side; ``params`` is (S, C, D).

    Search s depends on the key, on s and on its own start, not on how many others there are. Its
    decisions, and the drift of carried scores over a block, are `local_search`'s.

    Args:
        objective: what is minimized.
        step_size: standard deviation of each entry of a step, > 0.
        block_size: how many trials share one product. It changes no result beyond rounding. Memory:
            (S + block_size)·N·C numbers.

    Returns:
        An optimizer of `SearchState` and `SearchInfo` whose leaves have a leading axis of S. A step
        costs each search one loss evaluation; the product of them all is that of one.

    Raises:
        ValueError: ``step_size`` is not a finite number > 0 (a traced one is not checked),
            ``block_size`` is not an integer ≥ 1, or (at trace time) ``params`` is not (S, C, D).

    Source: CS231n notes, "Optimization", strategy #2.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> starts = jnp.zeros((4, 3, 3))
    >>> searches = local_searches(Objective(), step_size=0.1)
    >>> state, info = run(searches, jax.random.key(0), starts, data, num_steps=100)
    >>> state.params.shape, info.loss.shape, bool((state.best_loss < 1.0).all())
    ((4, 3, 3), (100, 4), True)
    """
    check_positive("step_size", step_size)
    check_count("block_size", block_size)

    def init(params: Float[Array, "..."], data: Data) -> SearchState:
        if params.ndim != 3:
            raise ValueError(
                f"params has shape {params.shape}: expected (S, C, D), one start for each search"
            )
        return lax.map(lambda W: start(objective, W, data), params)

    def draw(key: Array, like: Float[Array, "S C D"]) -> tuple[Weights, Turn]:
        key, turn_key = jax.random.split(key)
        delta = normal(key, like[0]) * jnp.asarray(step_size, like.dtype)
        return delta, _draw_turns(turn_key, like)

    def step(key: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        delta, turns = draw(key, state.params)

        def trial(search: tuple[SearchState, Turn]) -> tuple[SearchState, SearchInfo]:
            state, turn = search
            W = state.params + _turned(turn, delta)
            return keep_if_lower(state, W, objective(W, data))

        return lax.map(trial, (state, turns))

    def block_step(keys: Array, state: SearchState, data: Data) -> tuple[SearchState, SearchInfo]:
        S, C, D = state.params.shape
        # One at a time: permutations drawn together take long to compile.
        deltas, turns = draw_each(draw, keys, state.params, together=1)
        rows = jnp.concatenate([state.params, deltas]).reshape(-1, D)
        # (S + B, C, N): examples last, so that a class of a trial is one contiguous piece.
        products = features.dot(data.X, rows).T.reshape(-1, C, data.X.shape[0])

        def trials(carry: Any, proposal: Any) -> tuple[Any, SearchInfo]:
            state, scores = carry
            delta, turns, change = proposal

            def trial(
                state: SearchState, scores: Array, turn: Turn
            ) -> tuple[tuple[SearchState, Array], SearchInfo]:
                W, moved = state.params + _turned(turn, delta), scores + _turned(turn, change)
                loss = objective.data_loss(moved.T, data.y) + objective.reg * objective.penalty(W)
                state, info = keep_if_lower(state, W, loss)
                return (state, jnp.where(info.accepted, moved, scores)), info

            return jax.vmap(trial)(state, scores, turns)

        (state, _), info = lax.scan(trials, (state, products[:S]), (deltas, turns, products[S:]))
        return state, info

    return Optimizer(init, step, block_step, block_size)


class Turn(NamedTuple):
    """How a search turns a step into its own: row j is ``sign[j] · δ[order[j]]``."""

    order: Int[Array, "*B C"]
    sign: Float[Array, "*B C"]


def _turned(turn: Turn, rows: Float[Array, "C M"]) -> Float[Array, "C M"]:
    return turn.sign[:, None] * rows[turn.order]


def _draw_turns(key: Array, like: Float[Array, "S C D"]) -> Turn:
    S, C, _ = like.shape

    def one(s: Array) -> Turn:
        order_key, sign_key = jax.random.split(jax.random.fold_in(key, s))
        order = jax.random.permutation(order_key, jnp.arange(C, dtype=jnp.int32))
        return Turn(order, jax.random.rademacher(sign_key, (C,), like.dtype))

    return jax.vmap(one)(jnp.arange(S, dtype=jnp.int32))
