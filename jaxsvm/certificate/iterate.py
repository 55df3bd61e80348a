"""The iterates of the certified solver: pairs of a W and slopes, better and better.

How weak the penalty is, reg·N/‖x‖², decides on the way there.

1. Where it is strong, block coordinate ascent (`ascent`) converges in a few passes: an example's
   slopes hardly depend on the others'.
2. Else features that vary together make coordinates slow, and primal-dual steps in the metric of
   their covariance (`primal_dual`) do not mind. The covariance of a sample comes first, and that of
   all rows once the steps have cost as much as it will; or that of all rows right away, where it is
   cheap, or where the penalty is weak and it is not too dear. All rows' is taken again, with the
   weights that the examples have by then, whenever the steps have cost twice as much.

Every tenth step ρ is balanced, and the lowest point on the ray of W counts as well. The metric is
enlarged when a step shows that it was too small.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsvm.certificate import bound, primal_dual
from jaxsvm.certificate.ascent import ascend, gram_blocks
from jaxsvm.core.objective import Objective
from jaxsvm.core.types import Data, Scores, Weights

BLOCK_SIZE = 100  # rows of a Gram matrix: larger is fewer products and more sequential work each
STRONG, WEAK = 10.0, 0.3  # reg·N/‖x‖² from which on, and up to which
ASCENT_PASSES = 5  # before the first look at whether a pass still halves the gap
LARGE = 1e9  # operations a pass from which on every second step is tested, not every tenth
STEPS_PER_LOOK = 10  # at ρ, weights and the ray: the first few steps overshoot, and show nothing
MOST_LARGER = 10.0  # a metric at once: rounding may exaggerate
TURN = 1.25  # a change of ρ that is worth a new inverse
SAMPLE_ROWS = 4096  # whose covariance is the first metric
CHEAP, DEAR = 20.0, 150.0  # passes that all rows' may cost to be the first; where reg is weak


class Begin(NamedTuple):
    """Where the iterates begin.

    Attributes:
        W: (C, D) V(slopes)/(2·reg), what ascent keeps and nothing else looks at.
        mean: (C, D) the best primal point there is.
        slopes: (N, C) feasible ones, or None for those at ``mean``.
    """

    W: Array
    mean: Array
    slopes: Array | None


class Iterate(NamedTuple):
    """The best W and slopes so far; both values are estimates in the dtype that X has."""

    passes: int
    W: Array
    slopes: Array
    primal: float
    dual: float


def iterates(
    key: Array,
    objective: Objective,
    data: Data,
    begin: Begin,
    *,
    conditioning: float,
    most_steps: int,
) -> Iterator[Iterate]:
    """Yield better and better pairs, without end: coordinate passes, steps in the metric, or both.

    Args:
        key: for the order of the examples.
        objective: its reg and delta are arrays of the data's dtype.
        data: N examples.
        begin: the first pair; with slopes where the penalty is strong.
        conditioning: reg·N/‖x‖².
        most_steps: that anyone wants between two pairs.
    """
    ascent_key, metric_key = jax.random.split(key)
    passes = 0
    if conditioning > STRONG:
        for best in _ascend(ascent_key, objective, data, begin):
            yield best
        passes, begin = best.passes, Begin(best.W, best.W, best.slopes)
    C = begin.mean.shape[0]
    price = _price(data, C, rows=len(data.y))
    num_steps = 2 if pass_operations(data, C) > LARGE else STEPS_PER_LOOK
    at_once = price <= (DEAR if conditioning < WEAK else CHEAP)
    yield from _descend(
        metric_key, objective, data, begin, passes=passes, price=price,
        rows=len(data.y) if at_once else min(SAMPLE_ROWS, len(data.y)),
        num_steps=min(num_steps, most_steps),
    )  # fmt: skip


def pass_operations(data: Data, num_classes: int) -> float:
    """Return the floating-point operations of one pass: two products."""
    N, D = data.X.shape
    return 4.0 * N * D * num_classes


def _ascend(key: Array, objective: Objective, data: Data, begin: Begin) -> Iterator[Iterate]:
    """Yield coordinate passes for as long as each halves the gap."""
    block_key, key = jax.random.split(key)
    W, best_W, slopes = begin
    primal, gap = float(_value(objective, best_W, data)), float("inf")
    blocks = _gram_blocks(block_key, data.X, block_size=BLOCK_SIZE)
    for passes in itertools.count(1):
        key, use = jax.random.split(key)
        W, slopes, mean = _jitted_ascend(use, objective, W, slopes, data, blocks)
        value, dual = _ascent_test(objective, W, slopes, mean, data)
        if value < primal:
            best_W, primal = mean, float(value)
        yield Iterate(passes, best_W, slopes, primal, float(dual))
        gap, before = primal - float(dual), gap
        if passes >= ASCENT_PASSES and gap > before / 2:
            return


def _descend(
    key: Array,
    objective: Objective,
    data: Data,
    begin: Begin,
    *,
    passes: int,
    price: float,
    rows: int,
    num_steps: int,
) -> Iterator[Iterate]:
    """Yield primal-dual steps in the metric of some rows, and of all once the steps cost as much.

    ``price`` is what the covariance of all rows costs, in passes.
    """
    N = len(data.y)
    passes += round(_price(data, len(begin.mean), rows=rows))
    state = _initial_state(objective, begin.mean, begin.slopes, data)
    as_array = partial(jnp.asarray, dtype=state.rho.dtype)
    sample_key, key = jax.random.split(key)
    covariance = _covariance_of(sample_key, data.X, state.weights, rows=rows)
    rho, enlarged, steps, since = float(state.rho), 1.0, 0, 0
    metric = _make_metric(objective.reg, covariance, state.rho, rows=rows, N=N)
    while True:
        state, excess, balance = _steps(objective, state, metric, data, num_steps=num_steps)
        steps, since, passes = steps + num_steps, since + num_steps, passes + num_steps
        is_due = steps % STEPS_PER_LOOK == 0
        if is_due:
            state = _along_ray(objective, state, data.y)
        yield Iterate(
            passes, state.best_W, state.best_slopes, float(state.primal), float(state.dual)
        )
        is_stale = float(excess) > 1
        if is_stale:
            enlarged *= min(1.1 * float(excess), MOST_LARGER)
        if is_due:
            if not 1 / TURN < float(balance) / rho < TURN:
                rho, is_stale = float(balance), True
                state = state._replace(rho=balance)
            paid = steps >= price if rows < N else since >= 2 * price
            if paid:
                rows, enlarged = N, enlarged if rows == N else 1.0
                weights = _reweighted(objective, state, data.y)
                state = state._replace(weights=weights)
                sample_key, key = jax.random.split(key)
                covariance = _covariance_of(sample_key, data.X, weights, rows=rows)
                is_stale, since = True, 0
                passes += round(price)
        if is_stale:
            metric = _make_metric(
                objective.reg, covariance, as_array(rho * enlarged), rows=rows, N=N
            )


def _price(data: Data, num_classes: int, *, rows: int) -> float:
    """Return how many passes the covariance of so many rows costs, with one metric's inverse."""
    D = data.X.shape[1]
    few, many = min(rows, D), max(rows, D)
    return (1.13 * few**2 * many + few**3) / pass_operations(data, num_classes)


def _test(
    objective: Objective, W: Weights, slopes: Scores, mean: Weights, data: Data
) -> tuple[Array, Array]:
    """Return the objective at the pass's mean W, and the dual, read off W = V/(2·reg)."""
    linear, conjugate = bound.linear_and_conjugate(objective, slopes, slopes, data.y)
    return objective(mean, data), linear - conjugate - objective.reg * jnp.sum(W * W)


_jitted_ascend = jax.jit(ascend)
_gram_blocks = jax.jit(gram_blocks, static_argnames="block_size")
_ascent_test = jax.jit(_test)
_value = jax.jit(lambda objective, W, data: objective(W, data))
_initial_state = jax.jit(primal_dual.initial_state)
_along_ray = jax.jit(primal_dual.along_ray)
_reweighted = jax.jit(primal_dual.reweighted)
_steps = jax.jit(primal_dual.steps, static_argnames="num_steps")
_covariance_of = jax.jit(primal_dual.covariance_of, static_argnames="rows")
_make_metric = jax.jit(primal_dual.make_metric, static_argnames=("rows", "N"))
