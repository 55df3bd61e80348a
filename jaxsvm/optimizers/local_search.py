"""Local search: try a random step from the best W so far and keep it if the loss falls.

The scores are linear in W, so those of a whole block of trials are one matrix product, taken before
the search decides anything:

    X (W + δ_t)ᵀ = X Wᵀ + X δ_tᵀ        where δ_t does not depend on W

The block reads X once, and no trial of it is wasted: to accept δ_t is to add it to W and its
scores to the scores of W.

`local_searches` shares the product among S searches as well. A normal step stays a normal step
when its rows change places and signs, so one δ gives every search s a step of its own,

    δ_s[j] = sign_s[j] · δ[order_s[j]]
    X δ_sᵀ = the columns of X δᵀ in that order, with those signs

with an order and signs drawn for s alone. Each search by itself is `local_search`: its steps are
independent of one another and normal(0, step_size²). Steps of two searches are uncorrelated,
because their signs are independent, but not independent, because their rows are the same vectors up
to sign. So a mean or a share over the searches is an unbiased estimate; take error bars that assume
independent runs over keys.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.core import features
from jaxsvm.core.arguments import check_count, check_floats, check_positive, check_problem
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.objective import Objective, check_objective
from jaxsvm.core.types import Data, Scalar, ScalarLike, Weights
from jaxsvm.optimizers.contract import Optimizer, scan_between
from jaxsvm.optimizers.random_search import (
    SearchInfo,
    SearchState,
    draw_each,
    keep_if_lower,
    losses_at,
    normal,
    start,
)


class LocalSearchState(NamedTuple):
    """What a local search needs for its next trial; S searches have a leading axis of S.

    Attributes:
        params: (C, D) the best W so far.
        best_loss: the objective there; infinite if it was NaN at the start.
        block_start: where the search was at the start of the block of the last trial. A run that
            was cut inside a block adds up that block's scores again from here, in the same order.
    """

    params: Float[Array, "*S C D"]
    best_loss: Float[Array, "*S"]
    block_start: SearchState


def local_search(
    objective: Objective, *, step_size: ScalarLike = 1e-4, block_size: int = 50
) -> Optimizer:
    """Try a random step from where the search stands and take it if the objective falls.

        δ_t = step_size · normal(key_t),     W ← W + δ_t if objective(W + δ_t) < best_loss

    The start is evaluated. (The notes' listing never evaluates it and so always takes its first
    step.) A trial whose loss is NaN is never taken.

    A block takes X δ_tᵀ of all its trials in one product and carries the scores of W from trial to
    trial: it adds X δ_tᵀ when δ_t is taken. It starts from a fresh X Wᵀ, so rounding builds up
    over one block at most. With B = block_size and u the unit roundoff (6e-8 in float32), a
    carried score of example i is within γ·Σ_d |x_id| (|W_jd| + Σ_t |δ_t,jd|) of the exact one,
    γ = (D + B + 1)u / (1 − (D + B + 1)u), which is the bound of one product but for the B. (Scores
    of bytes on a processor with a unit for int8: as `jaxsvm.core.digits` has it.) A decision can
    differ from the plain loop's only where two losses tie to that rounding.

    Args:
        objective: what is minimized; the penalty is evaluated at W + δ itself.
        step_size: standard deviation of each entry of δ, > 0.
        block_size: how many trials share one product. Memory: block_size·N·C numbers.

    Returns:
        An optimizer of `LocalSearchState` and `SearchInfo`. A step costs one loss evaluation.

    Raises:
        ValueError: ``objective`` is no `Objective`, ``step_size`` is not a finite number > 0 (a
            traced one is not checked), or ``block_size`` is not an integer ≥ 1.

    Source: CS231n notes, "Optimization", strategy #2.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> search = local_search(Objective(), step_size=0.1)
    >>> state, info = run(search, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=100)
    >>> bool(state.best_loss < 1.0), int(info.loss_evaluations.sum())
    (True, 100)
    """
    check_objective(objective, "local_search")
    check_positive("step_size", step_size)
    block_size = check_count("block_size", block_size)
    draw = normal(step_size)

    def init(params: Weights, data: Data) -> LocalSearchState:
        found = start(params, objective(params, data))
        return LocalSearchState(found.params, found.best_loss, block_start=found)

    def step(
        key: Array, state: LocalSearchState, data: Data
    ) -> tuple[LocalSearchState, SearchInfo]:
        trial = state.params + draw(key, state.params)
        here = SearchState(state.params, state.best_loss)
        found, info = keep_if_lower(here, trial, objective(trial, data))
        return LocalSearchState(found.params, found.best_loss, state.block_start), info

    def block_step(
        keys: Array, state: LocalSearchState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[LocalSearchState, SearchInfo]:
        begin = block_start(state, first)
        deltas = draw_each(draw, keys, state.params)
        scores, changes = _scores(data, begin.params, deltas)

        def trial(carry: Any, proposal: Any) -> tuple[Any, SearchInfo]:
            (state, scores), (delta, change) = carry, proposal
            state, moved, info = _try(objective, data, state, scores, delta, change)
            return (state, jnp.where(info.accepted, moved, scores)), info

        (found, _), info = scan_between(trial, (begin, scores[0]), (deltas, changes), 0, stop)
        return LocalSearchState(found.params, found.best_loss, begin), info

    return Optimizer(init, step, block_step, block_size)


def local_searches(
    objective: Objective, *, step_size: ScalarLike = 1e-4, block_size: int = 100
) -> Optimizer:
    """Run S local searches from S starts side by side; ``params`` is (S, C, D).

        δ_s[j] = sign_s[j] · δ[order_s[j]],    W_s ← W_s + δ_s if objective(W_s + δ_s) < best_loss_s

    Search s depends on the key, on s and on its own start, not on how many others there are. Its
    decisions, and the drift of carried scores over a block, are those of `local_search`.

    Args:
        objective: what is minimized.
        step_size: standard deviation of each entry of a step, > 0.
        block_size: how many trials of each search share one product, in which the S searches'
            own scores are taken anew. Memory: (S + block_size)·N·C numbers.

    Returns:
        An optimizer of `LocalSearchState` and `SearchInfo` whose leaves have a leading axis of S. A
        step costs each search one loss evaluation, and one product serves them all.

    Raises:
        ValueError: ``objective`` is no `Objective`, ``step_size`` is not a finite number > 0 (a
            traced one is not checked), ``block_size`` is not an integer ≥ 1, or (at trace time)
            ``params`` is not (S, C, D).

    Source: CS231n notes, "Optimization", strategy #2.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> starts = jnp.zeros((4, 3, 3))
    >>> searches = local_searches(Objective(), step_size=0.1)
    >>> state, info = run(searches, jax.random.key(0), starts, data, num_steps=100)
    >>> state.params.shape, info.loss.shape, bool((state.best_loss < 1.0).all())
    ((4, 3, 3), (100, 4), True)
    """
    check_objective(objective, "local_searches")
    check_positive("step_size", step_size)
    block_size = check_count("block_size", block_size)
    draw_step = normal(step_size)

    def init(params: Float[Array, "..."], data: Data) -> LocalSearchState:
        check_floats("params", params)
        if params.ndim != 3 or len(params) == 0:
            raise ValueError(
                f"params has shape {params.shape}: expected (S, C, D), one start for each search"
            )
        check_problem(params[0], data)
        found = start(params, losses_at(objective, params, data))
        return LocalSearchState(found.params, found.best_loss, block_start=found)

    def draw(key: Array, like: Float[Array, "S C D"]) -> tuple[Weights, Turn]:
        key, turn_key = jax.random.split(key)
        return draw_step(key, like[0]), _draw_turns(turn_key, like)

    def step(
        key: Array, state: LocalSearchState, data: Data
    ) -> tuple[LocalSearchState, SearchInfo]:
        delta, turns = draw(key, state.params)

        def trial(search: tuple[Weights, Scalar, Turn]) -> tuple[SearchState, SearchInfo]:
            W, best_loss, turn = search
            moved = W + _turned(turn, delta)
            return keep_if_lower(SearchState(W, best_loss), moved, objective(moved, data))

        found, info = lax.map(trial, (state.params, state.best_loss, turns))
        return LocalSearchState(found.params, found.best_loss, state.block_start), info

    def block_step(
        keys: Array, state: LocalSearchState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[LocalSearchState, SearchInfo]:
        begin = block_start(state, first)
        # One at a time: permutations drawn together take long to compile.
        deltas, turns = draw_each(draw, keys, state.params, together=1)
        scores, changes = _scores(data, begin.params, deltas)

        def trials(carry: Any, proposal: Any) -> tuple[Any, SearchInfo]:
            delta, turns, change = proposal

            def trial(here: SearchState, scores: Array, turn: Turn) -> tuple[Any, Any, SearchInfo]:
                own, own_change = _turned(turn, delta), _turned(turn, change)
                return _try(objective, data, here, scores, own, own_change)

            here, scores = carry
            if block_sizes().side_by_side:
                here, moved, info = jax.vmap(trial)(here, scores, turns)
                return (here, jnp.where(info.accepted[:, None, None], moved, scores)), info

            # One search after the other: what it makes of its scores stays in cache.
            def one(scores: Array, search: Any) -> tuple[Array, Any]:
                s, here, turn = search
                here, moved, info = trial(here, scores[s], turn)
                scores = once(info.accepted, lambda scores: scores.at[s].set(moved), scores)
                return scores, (here, info)

            searches = jnp.arange(len(scores), dtype=jnp.int32), here, turns
            scores, (here, info) = lax.scan(one, scores, searches)
            return (here, scores), info

        (found, _), info = scan_between(trials, (begin, scores), (deltas, turns, changes), 0, stop)
        return LocalSearchState(found.params, found.best_loss, begin), info

    return Optimizer(init, step, block_step, block_size)


def once(condition: Array, f: Callable[[Any], Any], value: Any) -> Any:
    """Return ``f(value)`` where the condition holds, else value: a `lax.cond` without copies."""

    def body(loop: tuple[Array, Any]) -> tuple[Array, Any]:
        return jnp.zeros_like(condition), f(loop[1])

    return lax.while_loop(lambda loop: loop[0], body, (condition, value))[1]


class Turn(NamedTuple):
    """How a search turns a step into its own: row j is ``sign[j] · δ[order[j]]``."""

    order: Int[Array, "*B C"]
    sign: Float[Array, "*B C"]


def _turned(turn: Turn, rows: Float[Array, "C M"]) -> Float[Array, "C M"]:
    """Return a search's own rows."""
    return turn.sign[:, None] * rows[turn.order]


def _draw_turns(key: Array, like: Float[Array, "S C D"]) -> Turn:
    """Return a turn for each of S searches; search s depends on the key and on s alone."""
    S, C, _ = like.shape

    def one(s: Array) -> Turn:
        order_key, sign_key = jax.random.split(jax.random.fold_in(key, s))
        order = jax.random.permutation(order_key, jnp.arange(C, dtype=jnp.int32))
        return Turn(order, jax.random.rademacher(sign_key, (C,), like.dtype))

    return jax.vmap(one)(jnp.arange(S, dtype=jnp.int32))


def block_start(state: LocalSearchState, first: int | Array) -> SearchState:
    """Return where the search was at the start of the block whose next step is ``first``."""
    here = SearchState(state.params, state.best_loss)
    return jax.tree.map(lambda new, old: jnp.where(first == 0, new, old), here, state.block_start)


def _scores(
    data: Data, W: Float[Array, "*S C D"], deltas: Float[Array, "B C D"]
) -> tuple[Float[Array, "S C N"], Float[Array, "B C N"]]:
    """Return the scores of W and those of every step, from one product.

    Examples come last, so that a class of a trial is one contiguous piece.
    """
    _, C, D = deltas.shape
    W = W.reshape(-1, C, D)
    rows = jnp.concatenate([W, deltas]).reshape(-1, D)
    products = features.scores_by_row(data.X, rows).reshape(-1, C, data.X.shape[0])
    return products[: len(W)], products[len(W) :]


def _try(
    objective: Objective,
    data: Data,
    state: SearchState,
    scores: Float[Array, "C N"],
    delta: Weights,
    change: Float[Array, "C N"],
) -> tuple[SearchState, Float[Array, "C N"], SearchInfo]:
    """Take one trial from the scores at hand; return the trial's scores too."""
    W, moved = state.params + delta, scores + change
    loss = objective.data_loss(moved.T, data.y) + objective.reg * objective.penalty(W)
    state, info = keep_if_lower(state, W, loss)
    return state, moved, info
