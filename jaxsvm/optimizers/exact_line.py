"""Descent with the exact step: the line ahead is a sum of hinges, so its lowest point is known.

`gradient_descent` knows only ``loss_fn(params, data)``; this optimizer carries the scores from step
to step. It pulls the gradient back from them, takes the direction's scores by one product, and adds
the two for the scores after the step. A step costs two products, as many as one gradient takes from
scratch, and the search along the line does not read X.
"""

import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from jaxsvm.core import features
from jaxsvm.core.arguments import check_number, check_problem
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Data, Scores, Weights
from jaxsvm.gradients.analytic import score_gradient
from jaxsvm.lines.line import line_of_scores
from jaxsvm.optimizers.contract import Optimizer

# After so many steps the carried scores are computed afresh, so that rounding cannot pile up.
REFRESH_STEPS = 64


class LineSearchState(NamedTuple):
    """What the next exact step needs.

    Attributes:
        params: (C, D) where it stands.
        scores: (N, C) its scores, carried.
        direction: (C, D) the last direction; 0 before the first step and after a stuck one.
        direction_scores: (N, C) its scores.
        gradient: (C, D) at the last step's start.
        num_steps: how many steps were taken.
    """

    params: Weights
    scores: Scores
    direction: Weights
    direction_scores: Scores
    gradient: Weights
    num_steps: Int[Array, ""]


class LineSearchInfo(NamedTuple):
    """What an exact step saw.

    Attributes:
        loss: the objective the step started from.
        step_size: how far it went, in units of its direction (minus the gradient, where momentum
            adds nothing); 0 where it was stuck.
        stuck: whether nothing on the whole line was lower, so that the step stayed. Without
            momentum every later step then stays too.
        loss_evaluations: 1, the product for the direction's scores.
        gradient_evaluations: 1, the pull-back.
    """

    loss: Float[Array, "*B"]
    step_size: Float[Array, "*B"]
    stuck: Bool[Array, "*B"]
    loss_evaluations: Int[Array, "*B"]
    gradient_evaluations: Int[Array, "*B"]


def line_search_descent(
    objective: Objective, *, momentum: float | Literal["conjugate"] = 0.0
) -> Optimizer:
    """Step to the exact minimum of the objective along minus the gradient, or a mix with the past.

        direction = −gradient + momentum · direction before
        W ← W + t · direction,   t = argmin_t objective(W + t · direction)

    The loss never rises, and no fixed step along the same direction does better. The step goes to
    the nearest point of a flat minimum, and backwards (t < 0, possible with momentum) where the
    minimum is behind. Where the line is nowhere lower, the step stays and says so (``info.stuck``):
    a piecewise linear objective may have a kink there, above its minimum, where descent ends.

    Steps taken exactly magnify rounding: what is only equal to rounding (`jax.vmap` over keys and
    a loop over them, say) may lead to other weights after some tens of steps, as low but elsewhere.

    Args:
        objective: one that `jaxsvm.along` takes.
        momentum: how much of the last direction is added, ≥ 0; or ``"conjugate"``, Polak and
            Ribière's max(0, gradient·(gradient − gradient before) / |gradient before|²).

    Returns:
        An optimizer of `LineSearchState` and `LineSearchInfo`. It is not batchable: the carried
        scores are those of all the rows. A step costs two products and about 32 sums over the N·C
        terms (64 in float64).

    Raises:
        ValueError: ``momentum`` is another word, negative or not finite; at trace time, `along`
            does not take the objective.

    Source: Yu, Vishwanathan, Günter & Schraudolph, JMLR 11 (2010); CS231n notes, "Optimization",
    the step size.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> import jax
    >>> exact = line_search_descent(Objective())
    >>> state, info = run(exact, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=2)
    >>> [float(loss) for loss in info.loss], [bool(stuck) for stuck in info.stuck]
    ([2.0, 0.0], [False, True])
    """
    if not (isinstance(momentum, str) and momentum == "conjugate"):
        check_number(
            "momentum", momentum, 'a number >= 0 or "conjugate"', lambda x: 0 <= x < math.inf
        )
    _, penalty = require(objective, "line_search_descent")

    def init(params: Weights, data: Data) -> LineSearchState:
        check_problem(params, data)
        scores = features.scores_by_row(data.X, params).T
        zero = jnp.zeros_like(params)
        return LineSearchState(params, scores, zero, jnp.zeros_like(scores), zero, jnp.int32(0))

    def step(
        key: Array, state: LineSearchState, data: Data
    ) -> tuple[LineSearchState, LineSearchInfo]:
        W = state.params
        stale = (state.num_steps % REFRESH_STEPS == 0) & (state.num_steps > 0)
        scores = lax.cond(stale, lambda: features.scores_by_row(data.X, W).T, lambda: state.scores)
        push = score_gradient(objective, scores, data.y) / scores.shape[0]
        gradient = features.dot_transpose(push, data.X) + objective.reg * penalty.gradient(W)

        if isinstance(momentum, str):
            before = jnp.sum(state.gradient * state.gradient)
            turn = jnp.sum(gradient * (gradient - state.gradient))
            keep = jnp.maximum(turn / jnp.where(before > 0, before, 1), 0)
        else:
            keep = jnp.asarray(momentum, W.dtype)
        direction = keep * state.direction - gradient
        direction_scores = (
            keep * state.direction_scores - features.scores_by_row(data.X, gradient).T
        )

        ahead = line_of_scores(objective, scores, direction_scores, W, direction, data.y)
        loss, best = ahead.value(0.0), ahead.minimum()
        t = jnp.clip(jnp.zeros((), W.dtype), best.t_low, best.t_high)
        stuck = ~(ahead.value(t) < loss)
        t = jnp.where(stuck, 0, t)
        after = LineSearchState(
            params=W + t * direction,
            scores=scores + t * direction_scores,
            # A stuck direction is forgotten: the next step is along the gradient alone.
            direction=jnp.where(stuck, 0, direction),
            direction_scores=jnp.where(stuck, 0, direction_scores),
            gradient=gradient,
            num_steps=state.num_steps + 1,
        )
        one = jnp.int32(1)
        return after, LineSearchInfo(loss, t, stuck, one, one)

    return Optimizer(init, step)
