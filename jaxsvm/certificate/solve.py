"""The certified solver: a W, and a proof of how far above the bottom it is at most.

Two methods raise the dual of `bound` and lower the objective, each where it is strong.

1. Block coordinate ascent (`ascent`) converges in a few passes where the penalty is strong,
   reg·N/‖x‖² above 10 or so: then an example's slopes hardly depend on the others'.
2. Where it is weak, features that vary together make coordinates slow, and primal-dual steps in the
   metric of their covariance (`primal_dual`) do not mind. The metric is enlarged when a step
   shows that it was too small.

The gap that ends the solve is that of the best W and the best slopes met, on all data, with the
rounding subtracted from the bound.
"""

import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsvm.certificate import bound, primal_dual
from jaxsvm.certificate.ascent import ascend, gram_blocks
from jaxsvm.certificate.bound import dual_value, feasible
from jaxsvm.core.arguments import check_floats, check_values, validate
from jaxsvm.core.features import dense, dot_transpose
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.types import Data, Scores, Weights

BLOCK_SIZE = 100  # rows of a Gram matrix: larger is fewer products and more sequential work each
STRONG = 10.0  # reg·N/‖x‖² from which on coordinate ascent comes first
ASCENT_PASSES = 5  # before the first look at whether a pass still halves the gap
STEPS_PER_CHECK = 2
CHECKS_PER_BALANCE = 5  # the first few steps overshoot, and show no balance
SAMPLE_ROWS = 1024  # rows whose covariance is the metric; 4096 took as many steps


class History(NamedTuple):
    """What every test of the gap saw.

    Attributes:
        passes: (T,) passes over the data so far.
        seconds: (T,) wall clock since the start, compilation included.
        primal: (T,) the best objective so far.
        dual: (T,) the best bound so far, before the rounding is subtracted.
    """

    passes: np.ndarray
    seconds: np.ndarray
    primal: np.ndarray
    dual: np.ndarray


class Solution(NamedTuple):
    """A W and its certificate.

    Attributes:
        W: (C, D) the best weights.
        dual_variables: (N, C) slopes of the hinges, in [0, 1] for a hinge; divided by N the
            textbook's α. What a warm start takes, and 0 for an example that does not matter.
        primal: the objective at W.
        dual: a lower bound of the objective at any W, rounding subtracted.
        gap: primal − dual ≥ objective(W) − minimum; ``‖W − W*‖² ≤ gap/reg``.
        passes: over the data; one costs about one loss and gradient.
        history: what every test saw.
    """

    W: Array
    dual_variables: Array
    primal: float
    dual: float
    gap: float
    passes: int
    history: History

    def __repr__(self) -> str:
        return f"Solution(W {self.W.shape}, {self})"

    def __str__(self) -> str:
        share = self.gap / self.primal if self.primal > 0 else 0.0
        return (
            f"primal {self.primal:.6g}, dual {self.dual:.6g}, gap {self.gap:.2e} "
            f"({share:.1e} of the primal), {self.passes} passes, {self.history.seconds[-1]:.1f} s"
        )


def solve(
    objective: Objective,
    data: Data,
    *,
    gap_tolerance: float = 1e-3,
    num_classes: int | None = None,
    key: Array | None = None,
    start: Solution | Array | None = None,
    max_passes: int = 500,
) -> Solution:
    """Minimize the objective until it is proved to be within the tolerance of its minimum.

        objective(W) − minimum ≤ gap ≤ gap_tolerance · objective(W)

    A host-level loop of jitted passes; not to be jitted itself.

    Args:
        objective: any `Hinge` with `l2_penalty`, reg > 0, delta > 0.
        data: N examples; an array or `StandardizedFeatures`.
        gap_tolerance: relative, > 0.
        num_classes: C; by default that of ``start``, or the largest label + 1.
        key: a typed key, for the order of the examples; `jax.random.key(0)` by default.
        start: a `Solution` (of another reg, say) or a W (C, D), say of a few hundred mini-batch
            steps, which save a quarter of the passes where the penalty is weak; zeros by default.
        max_passes: an upper limit, ≥ 1, tested every few passes.

    Returns:
        A `Solution`. Where the passes run out, or rounding leaves no smaller gap to prove, it is
        the best there was, with a warning.

    Raises:
        ValueError: reg, delta, gap_tolerance or max_passes is not positive, the loss or penalty
            has no bound, or data is invalid.

    Source: Hsieh et al., "A dual coordinate descent method", ICML 2008; Shalev-Shwartz & Zhang,
    JMLR 14 (2013); Pock & Chambolle, "Diagonal preconditioning", ICCV 2011.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> solution = solve(Objective(reg=1.0), data, gap_tolerance=1e-4)
    >>> print(f"{solution.primal:.3f}")
    0.875
    """
    C = _check_arguments(objective, data, gap_tolerance, num_classes, start, max_passes)
    objective = _as_arrays(objective, data)
    clock = time.perf_counter()
    history: list[tuple[float, ...]] = []
    key = jax.random.key(0) if key is None else key
    conditioning = _conditioning(objective, data)
    strong = conditioning > STRONG
    num_steps = min(STEPS_PER_CHECK, max_passes)
    begin = _start(objective, data, C, start, strong=strong)
    for best in _iterates(key, objective, data, *begin, strong=strong, num_steps=num_steps):
        history.append((best.passes, time.perf_counter() - clock, best.primal, best.dual))
        out_of_passes = best.passes >= max_passes
        if best.primal - best.dual > gap_tolerance * best.primal and not out_of_passes:
            continue
        slopes = feasible(objective, best.slopes, data.y)
        certified = float(_dual_value(objective, slopes, data))
        gap = best.primal - certified
        proved = gap <= gap_tolerance * best.primal
        # Past this point the rounding that is subtracted is the larger part of the gap.
        rounding = best.dual - certified > best.primal - best.dual
        if proved or out_of_passes or rounding:
            break
    columns = [np.asarray(column) for column in zip(*history, strict=True)]
    solution = Solution(best.W, slopes, best.primal, certified, gap, best.passes, History(*columns))
    if not proved:
        reason = (
            "the passes ran out"
            if out_of_passes
            else (
                f"rounding in {slopes.dtype} hides anything smaller (float64 would not: "
                "jax.config.update('jax_enable_x64', True))"
            )
        )
        warnings.warn(
            f"solve stopped at a gap of {gap:.2e}, {gap / best.primal:.1e} of the primal, above "
            f"gap_tolerance = {gap_tolerance:.1e}: {reason}. Conditioning reg·N/‖x‖² = "
            f"{conditioning:.2e}; small is hard.",
            stacklevel=2,
        )
    return solution


class _Iterate(NamedTuple):
    """The best W and slopes so far; ``dual`` is an estimate, without the rounding's allowance."""

    passes: int
    W: Array
    slopes: Array
    primal: float
    dual: float


def _iterates(
    key: Array,
    objective: Objective,
    data: Data,
    W: Array,
    mean: Array,
    slopes: Array | None,
    *,
    strong: bool,
    num_steps: int,
) -> Iterator[_Iterate]:
    """Yield better and better pairs, without end: coordinate passes, steps in the metric, or both.

    W is V(slopes)/(2·reg), what ascent keeps and nothing else looks at; ``mean`` is the best primal
    point there is.
    """
    block_key, pass_key, sample_key = jax.random.split(key, 3)
    best_W, passes = mean, 0
    if strong:
        primal, gap = float(_value(objective, mean, data)), np.inf
        blocks = _gram_blocks(block_key, data.X, block_size=BLOCK_SIZE)
        slow = False
        while not slow:
            pass_key, use = jax.random.split(pass_key)
            W, slopes, mean = _ascend(use, objective, W, slopes, data, blocks)
            passes += 1
            value, dual = _test(objective, W, slopes, mean, data)
            if value < primal:
                best_W, primal = mean, float(value)
            yield _Iterate(passes, best_W, slopes, primal, float(dual))
            gap, before = primal - float(dual), gap
            slow = passes >= ASCENT_PASSES and gap > before / 2
        del blocks
    sample = _sample_rows(sample_key, data.X, rows=min(SAMPLE_ROWS, data.X.shape[0]))
    state = _initial_state(objective, best_W, slopes, data)
    rho, enlarged, stale = state.rho, jnp.ones_like(state.rho), True
    for check in itertools.count(1):
        if stale:
            state = state._replace(rho=rho)
            inverse = _make_metric(objective.reg, sample, rho * enlarged, N=data.X.shape[0])
        state, excess, balance = _metric_steps(objective, state, inverse, data, num_steps=num_steps)
        passes += num_steps
        yield _Iterate(
            passes, state.best_W, state.best_slopes, float(state.primal), float(state.dual)
        )
        small = excess > 1
        enlarged = jnp.where(small, 1.1 * excess * enlarged, enlarged)
        unbalanced = check % CHECKS_PER_BALANCE == 0 and bool(
            (balance > 2 * rho) | (balance < rho / 2)
        )
        rho = balance if unbalanced else rho
        stale = bool(small) or unbalanced


def _ascent_test(
    objective: Objective, W: Weights, slopes: Scores, mean: Weights, data: Data
) -> tuple[Array, Array]:
    """Return the objective at the pass's mean W, and the dual, read off W = V/(2·reg)."""
    linear, conjugate = bound.linear_and_conjugate(objective, slopes, slopes, data.y)
    return objective(mean, data), linear - conjugate - objective.reg * jnp.sum(W * W)


def _first(objective: Objective, W: Weights, data: Data) -> tuple[Array, Array]:
    """Return the slopes at W on the best point of their ray, and their V/(2·reg)."""
    loss, _ = require(objective, "solve", bound=True)
    slopes = loss.slopes(score(W, data.X), data.y, delta=objective.delta)
    V = _pulled(objective, slopes, data)
    linear, conjugate = bound.linear_and_conjugate(objective, slopes, slopes, data.y)
    curve = 2 * conjugate + jnp.sum(V * V) / (2 * objective.reg)
    s = jnp.clip(linear / jnp.where(curve > 0, curve, 1), 0, 1)
    return s * slopes, s * V / (2 * objective.reg)


def _resume(objective: Objective, slopes: Scores, data: Data) -> tuple[Array, Array]:
    """Return feasible slopes and their V/(2·reg)."""
    slopes = feasible(objective, slopes, data.y)
    return slopes, _pulled(objective, slopes, data) / (2 * objective.reg)


def _pulled(objective: Objective, slopes: Scores, data: Data) -> Array:
    """Return V of feasible slopes."""
    loss, _ = require(objective, "solve", bound=True)
    return -dot_transpose(loss.pull_back(slopes, data.y), data.X) / data.X.shape[0]


_ascend = jax.jit(ascend)
_gram_blocks = jax.jit(gram_blocks, static_argnames="block_size")
_test = jax.jit(_ascent_test)
_value = jax.jit(lambda objective, W, data: objective(W, data))
_dual_value = jax.jit(dual_value)
_initial_state = jax.jit(primal_dual.initial_state)
_metric_steps = jax.jit(primal_dual.steps, static_argnames="num_steps")
_sample_rows = jax.jit(primal_dual.sample_rows, static_argnames="rows")
_make_metric = jax.jit(primal_dual.make_metric, static_argnames="N")
_jitted_first = jax.jit(_first)
_jitted_resume = jax.jit(_resume)


def _conditioning(objective: Objective, data: Data) -> float:
    """Return reg·N/‖x‖², ‖x‖² averaged over a thousand examples or all."""
    N = data.X.shape[0]
    some = dense(data.X[slice(None, None, -(-N // SAMPLE_ROWS))])
    square = float(jnp.mean(jnp.sum(some * some, axis=1)))
    return float(objective.reg) * N / square if square > 0 else np.inf


def _as_arrays(objective: Objective, data: Data) -> Objective:
    """Return the objective with reg and delta as arrays of the data's dtype: one compilation."""
    dtype = data.X.dtype
    reg, delta = jnp.asarray(objective.reg, dtype), jnp.asarray(objective.delta, dtype)
    return replace(objective, reg=reg, delta=delta)


def _start(
    objective: Objective, data: Data, C: int, start: Solution | Array | None, *, strong: bool
) -> tuple[Array, Array, Array | None]:
    """Return V/(2·reg) if ascent comes first, a primal W, and the slopes to start from, if any."""
    N, D = data.X.shape
    if start is None:
        zeros = jnp.zeros((C, D), data.X.dtype)
        return zeros, zeros, jnp.zeros((N, C), data.X.dtype)
    if isinstance(start, Solution):
        if not strong:
            return start.W, start.W, feasible(objective, start.dual_variables, data.y)
        slopes, W = _jitted_resume(objective, start.dual_variables, data)
        return W, start.W, slopes
    if not strong:
        return start, start, None
    slopes, W = _jitted_first(objective, start, data)
    return W, start, slopes


def _check_arguments(
    objective: Objective,
    data: Data,
    gap_tolerance: float,
    num_classes: int | None,
    start: Solution | Array | None,
    max_passes: int,
) -> int:
    """Raise ValueError for a bad argument; return the number of classes."""
    require(objective, "solve", bound=True)
    check_values("solve", objective, data)
    for name, value in (
        ("objective.reg", objective.reg),
        ("objective.delta", objective.delta),
        ("gap_tolerance", gap_tolerance),
        ("max_passes", max_passes),
    ):
        if not float(value) > 0:
            raise ValueError(
                f"{name} = {value}: expected a number > 0"
                + ("; with reg = 0 use lower_bound with a radius" if "reg" in name else "")
            )
    W = start.W if isinstance(start, Solution) else start
    if W is not None:
        check_floats("start", W)
    C = num_classes or (int(np.max(data.y)) + 1 if W is None else W.shape[0])
    validate(data, num_classes=C)
    if W is not None and W.shape != (C, data.X.shape[1]):
        raise ValueError(
            f"start has W of shape {W.shape}: expected (C, D) = {(C, data.X.shape[1])}"
        )
    return C
