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

What is yielded is all that the next one is computed from, so that another process may go on there.
Gram matrices, covariance and metric follow from it and from the data, and are not in it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from jaxsvm.certificate import bound, primal_dual
from jaxsvm.certificate.ascent import ascend, gram_blocks
from jaxsvm.core.compilation import compiled
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
        passes: that led there.
    """

    W: Array
    mean: Array
    slopes: Array | None
    passes: int = 0


class Iterate(NamedTuple):
    """The best W and slopes so far; both values are estimates in the dtype that X has."""

    passes: int
    W: Array
    slopes: Array
    primal: float
    dual: float


class Ascent(NamedTuple):
    """After a coordinate pass.

    Attributes:
        key: of the passes to come.
        W: (C, D) V(slopes)/(2·reg).
        best_W: (C, D) of the lowest objective.
        slopes: (N, C).
        primal: the objective at ``best_W``.
        dual: the bound of the slopes.
        gap_before: a pass earlier.
        passes: so far.
    """

    key: Array
    W: Array
    best_W: Array
    slopes: Array
    primal: float
    dual: float
    gap_before: float
    passes: int

    @property
    def best(self) -> Iterate:
        """The best so far."""
        return Iterate(self.passes, self.best_W, self.slopes, self.primal, self.dual)

    @staticmethod
    def arrays(key: Array, N: int, C: int, D: int, dtype: Any) -> dict[str, Any]:
        """Return the shapes and dtypes of its arrays, by name."""
        W, slopes = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((C, D), (N, C)))
        return {"key": key, "W": W, "best_W": W, "slopes": slopes}

    @property
    def has_slowed(self) -> bool:
        """Whether a pass no longer halves the gap."""
        return self.passes >= ASCENT_PASSES and self.primal - self.dual > self.gap_before / 2


class Descent(NamedTuple):
    """After some steps in a metric.

    Attributes:
        state: of the steps.
        sample_key: the covariance's.
        key: of the covariances to come.
        rho: as the next metric has it.
        enlarged: what multiplies ``rho`` in it.
        rows: in the covariance.
        is_paid: whether the steps have cost so much that all rows' covariance is taken next.
        steps: so far.
        since: of these, since the last covariance.
        passes: so far.
    """

    state: primal_dual.State
    sample_key: Array
    key: Array
    rho: float
    enlarged: float
    rows: int
    is_paid: bool
    steps: int
    since: int
    passes: int

    @property
    def best(self) -> Iterate:
        """The best so far."""
        state = self.state
        primal, dual = float(state.primal), float(state.dual)
        return Iterate(self.passes, state.best_W, state.best_slopes, primal, dual)

    @staticmethod
    def arrays(key: Array, N: int, C: int, D: int, dtype: Any) -> dict[str, Any]:
        """Return the shapes and dtypes of its arrays, by name."""
        state = primal_dual.form_of_state(N, C, D, dtype)
        return {"state": state, "sample_key": key, "key": key}


Moment: TypeAlias = Ascent | Descent


def iterates(
    key: Array,
    objective: Objective,
    data: Data,
    at: Begin | Moment,
    *,
    conditioning: float,
    most_steps: int,
) -> Iterator[Moment]:
    """Yield better and better pairs, without end: coordinate passes, steps in the metric, or both.

    Args:
        key: for the order of the examples.
        objective: its reg and delta are arrays of the data's dtype.
        data: N examples.
        at: the first pair, with slopes where the penalty is strong; or a moment that was yielded
            with the same arguments, which is then the first to be yielded.
        conditioning: reg·N/‖x‖².
        most_steps: that anyone wants between two pairs.
    """
    ascent_key, metric_key = jax.random.split(key)
    if isinstance(at, Ascent) or (isinstance(at, Begin) and conditioning > STRONG):
        for last in _ascend(ascent_key, objective, data, at):
            yield last
        at = Begin(last.best_W, last.best_W, last.slopes, last.passes)
    price = _price(data, _num_classes(at), rows=len(data.y))
    if isinstance(at, Begin):
        at_once = price <= (DEAR if conditioning < WEAK else CHEAP)
        rows = len(data.y) if at_once else min(SAMPLE_ROWS, len(data.y))
        begin, is_first = _first_descent(metric_key, objective, data, at, rows=rows), True
    else:
        begin, is_first = at, False
    num_steps = 2 if pass_operations(data, _num_classes(begin)) > LARGE else STEPS_PER_LOOK
    yield from _descend(
        objective, data, begin, is_first=is_first, price=price, num_steps=min(num_steps, most_steps)
    )


def pass_operations(data: Data, num_classes: int) -> float:
    """Return the floating-point operations of one pass: two products."""
    N, D = data.X.shape
    return 4.0 * N * D * num_classes


def _num_classes(at: Begin | Descent) -> int:
    W = at.mean if isinstance(at, Begin) else at.state.W
    return int(W.shape[0])


def _ascend(key: Array, objective: Objective, data: Data, at: Begin | Ascent) -> Iterator[Ascent]:
    """Yield coordinate passes for as long as each halves the gap."""
    block_key, key = jax.random.split(key)
    blocks = _gram_blocks(block_key, data.X, block_size=BLOCK_SIZE)
    if isinstance(at, Begin):
        assert at.slopes is not None
        primal = float(_value(objective, at.mean, data))
        at = Ascent(key, at.W, at.mean, at.slopes, primal, float("-inf"), float("inf"), 0)
    else:
        yield at
    while not at.has_slowed:
        key, use = jax.random.split(at.key)
        W, slopes, mean = _jitted_ascend(use, objective, at.W, at.slopes, data, blocks)
        value, dual = _ascent_test(objective, W, slopes, mean, data)
        is_better = value < at.primal
        at = Ascent(
            key=key,
            W=W,
            best_W=mean if is_better else at.best_W,
            slopes=slopes,
            primal=float(value) if is_better else at.primal,
            dual=float(dual),
            gap_before=at.primal - at.dual,
            passes=at.passes + 1,
        )
        yield at


def _first_descent(
    key: Array, objective: Objective, data: Data, begin: Begin, *, rows: int
) -> Descent:
    """Return the moment before the first step, in the metric of so many rows."""
    state = _initial_state(objective, begin.mean, begin.slopes, data)
    sample_key, key = jax.random.split(key)
    passes = begin.passes + round(_price(data, _num_classes(begin), rows=rows))
    return Descent(
        state, sample_key, key, float(state.rho), 1.0, rows,
        is_paid=False, steps=0, since=0, passes=passes,
    )  # fmt: skip


def _descend(
    objective: Objective, data: Data, at: Descent, *, is_first: bool, price: float, num_steps: int
) -> Iterator[Descent]:
    """Yield primal-dual steps in the metric of some rows, and of all once the steps cost as much.

    ``price`` is what the covariance of all rows costs, in passes.
    """
    N = len(data.y)
    covariance: Array | None = None
    metric, rho = None, 0.0
    if not is_first:
        yield at
    while True:
        if at.is_paid:
            at, covariance = _with_all_rows(objective, data, at, price), None
        if covariance is None:
            covariance = _covariance_of(at.sample_key, data.X, at.state.weights, rows=at.rows)
            metric = None
        if metric is None or rho != at.rho * at.enlarged:
            rho = at.rho * at.enlarged
            as_array = jnp.asarray(rho, at.state.rho.dtype)
            metric = _make_metric(objective.reg, covariance, as_array, rows=at.rows, N=N)
        state, excess, balance = _steps(objective, at.state, metric, data, num_steps=num_steps)
        at = at._replace(
            steps=at.steps + num_steps, since=at.since + num_steps, passes=at.passes + num_steps
        )
        if excess > 1:
            at = at._replace(enlarged=at.enlarged * min(1.1 * float(excess), MOST_LARGER))
        if at.steps % STEPS_PER_LOOK == 0:
            state = _along_ray(objective, state, data.y)
            if not 1 / TURN < float(balance) / at.rho < TURN:
                at, state = at._replace(rho=float(balance)), state._replace(rho=balance)
            paid = at.steps >= price if at.rows < N else at.since >= 2 * price
            at = at._replace(is_paid=paid)
        at = at._replace(state=state)
        yield at


def _with_all_rows(objective: Objective, data: Data, at: Descent, price: float) -> Descent:
    """Return a moment whose covariance is that of all rows, with the weights that they have now."""
    sample_key, key = jax.random.split(at.key)
    N = len(data.y)
    return at._replace(
        state=at.state._replace(weights=_reweighted(objective, at.state, data.y)),
        sample_key=sample_key,
        key=key,
        enlarged=at.enlarged if at.rows == N else 1.0,
        rows=N,
        is_paid=False,
        since=0,
        passes=at.passes + round(price),
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


_jitted_ascend = compiled(ascend)
_gram_blocks = compiled(gram_blocks, static_argnames=("block_size",))
_ascent_test = compiled(_test)
_value = compiled(lambda objective, W, data: objective(W, data))
_initial_state = compiled(primal_dual.initial_state)
_along_ray = jax.jit(primal_dual.along_ray)
_reweighted = jax.jit(primal_dual.reweighted)
_steps = compiled(primal_dual.steps, static_argnames=("num_steps",))
_covariance_of = compiled(primal_dual.covariance_of, static_argnames=("rows",))
_make_metric = jax.jit(primal_dual.make_metric, static_argnames=("rows", "N"))
