"""The certified solver: a W, and a proof of how far above the bottom it is at most.

`iterate` finds better and better pairs of a W and slopes. The gap that ends the solve is that of
the best ones met, on all data, taken in float64 (`precise`).
"""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsvm.certificate import bound
from jaxsvm.certificate.bound import feasible
from jaxsvm.certificate.iterate import STRONG, Begin, Iterate, Moment, iterates, pass_operations
from jaxsvm.certificate.kept import Kept, Marks, Row, kept_in
from jaxsvm.certificate.precise import certify
from jaxsvm.core.arguments import (
    check_count,
    check_examples,
    check_finite,
    check_floats,
    check_key,
    check_number,
    check_path,
    check_positive,
    check_values,
    validate,
)
from jaxsvm.core.compilation import compiled
from jaxsvm.core.features import Features, astype, dense, dot, dot_transpose
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.types import Data, Scalar, Scores, Weights

SOME_ROWS = 1024  # over which ‖x‖² is averaged
WORK = 1e13  # operations after which a solve ends where nobody says: a minute or two
FEWEST_PASSES, MOST_PASSES = 500, 50_000  # of them in any case, and at most: passes cost overhead
PATIENCE = 300.0  # passes without half the gap after which float32 gives way to float64
WIDE = 2  # times as many features as examples, from which on they are rotated onto as many axes

End: TypeAlias = Literal["proved", "passes", "rounding"]


class History(NamedTuple):
    """What every test of the gap saw.

    Attributes:
        passes: (T,) passes over the data so far.
        seconds: (T,) wall clock since the start, compilation included.
        primal: (T,) the best objective so far, as the steps see it.
        dual: (T,) the best bound so far, likewise.
    """

    passes: np.ndarray
    seconds: np.ndarray
    primal: np.ndarray
    dual: np.ndarray


class Solution(NamedTuple):
    """A W and its certificate.

        dual ≤ min over all W of the objective ≤ objective(W) ≤ primal

    Attributes:
        W: (C, D) the best weights.
        dual_variables: (N, C) slopes of the hinges, in [0, 1] for a hinge; divided by N the
            textbook's α. What a warm start takes, and 0 for an example that does not matter.
        primal: the objective at W, in float64, what may have been rounded off added.
        dual: a lower bound of the objective at any W, in float64, rounding subtracted.
        gap: primal − dual ≥ objective(W) − minimum; ``‖W − W*‖² ≤ gap/reg``.
        passes: over the data; one costs about one loss and gradient, and a covariance counts for as
            many as it costs.
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
    max_passes: int | None = None,
    folder: Path | str | None = None,
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
        start: a `Solution` (of another reg, say) or a W (C, D), of a few hundred mini-batch steps,
            say; zeros by default.
        max_passes: an upper limit, ≥ 1, tested every few passes; by default about 10¹³ operations,
            but 500 to 50,000 passes.
        folder: of this solve's own, made if need be. It saves itself there every ten seconds, and
            at its end if it took more than one. Killed and called again with the same arguments, it
            goes on from there and ends with the bits of a solve that was never interrupted
            (``history.seconds`` apart). A smaller ``gap_tolerance`` or a larger ``max_passes`` goes
            on from the end.

    Returns:
        A `Solution` in the data's dtype. Where float32 finds no smaller gap, the steps go on in
        float64. Where the passes run out, or what W rounds to leaves no smaller gap, it is the best
        there was, with a warning.

    Raises:
        ValueError: reg, delta or gap_tolerance is not a finite number > 0, max_passes no integer
            ≥ 1, key no typed key, start no finite W of the right shape, the loss or penalty has no
            bound, data is not what `validate` lets pass, or the folder holds another solve.
        BlockingIOError: another process runs in the folder.
        OSError: the folder cannot be written.

    Source: Hsieh et al., "A dual coordinate descent method", ICML 2008; Shalev-Shwartz & Zhang,
    JMLR 14 (2013); Pock & Chambolle, "Diagonal preconditioning", ICCV 2011.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> solution = solve(Objective(reg=1.0), data, gap_tolerance=1e-4)
    >>> print(f"{solution.primal:.3f}")
    0.875
    """
    C = _check_arguments(objective, data, gap_tolerance, num_classes, start)
    key = jax.random.key(0) if key is None else key
    check_key(key)
    if folder is not None:
        check_path("folder", folder)
        folder = Path(folder)
    clock = time.perf_counter()
    if max_passes is not None:
        max_passes = check_count("max_passes", max_passes)
    else:
        max_passes = int(np.clip(WORK / pass_operations(data, C), FEWEST_PASSES, MOST_PASSES))
    narrow, axes = _narrow(data)
    prove = partial(_prove, objective, data, axes)
    conditioning = _conditioning(objective, data)
    begins = start[:2] if isinstance(start, Solution) else start
    sizes = {"num_classes": C, "num_features": narrow.X.shape[1]}
    with kept_in(folder, key, objective, data, begins, **sizes) as kept:
        at: Begin | Moment | None
        at, marks, rows = kept.found or (None, Marks(), [])
        if rows:
            clock -= rows[-1][1]
        follow = partial(
            _follow, prove=prove, rows=rows, kept=kept, clock=clock,
            gap_tolerance=gap_tolerance, max_passes=max_passes,
        )  # fmt: skip
        key, finish_key = jax.random.split(key)
        find = partial(iterates, most_steps=max_passes)
        is_single = data.X.dtype == jnp.float32
        if not marks.in_float64:
            arrays = _as_arrays(objective, narrow)
            first = at or _start(arrays, narrow, C, start, axes, strong=conditioning > STRONG)
            pairs = find(key, arrays, narrow, first, conditioning=conditioning)
            found, end = follow(pairs, marks=marks, patience=PATIENCE if is_single else np.inf)
            if end == "rounding" and is_single:
                at, marks = None, Marks(in_float64=True, after=found.best.passes)
        if marks.in_float64:
            with jax.enable_x64(True):
                wide = Data(astype(narrow.X, jnp.float64), data.y)
                arrays = _as_arrays(objective, wide)
                if at is None:
                    pair = found.best.W, found.slopes
                    W, slopes = (jnp.asarray(x, jnp.float64) for x in pair)
                    at = Begin(W, W, slopes)
                # Ascent has done what it can.
                easy = min(conditioning, STRONG)
                better = find(finish_key, arrays, wide, at, conditioning=easy)
                found, end = follow(better, marks=marks)
    passes, *others = (np.asarray(column) for column in zip(*rows, strict=True))
    solution = Solution(
        found.W, found.slopes, found.primal, found.dual, found.gap, found.best.passes,
        History(passes.astype(int), *others),
    )  # fmt: skip
    if end != "proved":
        _warn(solution, end, gap_tolerance, max_passes, conditioning)
    return solution


def _warn(
    solution: Solution, end: End, gap_tolerance: float, max_passes: int, conditioning: float
) -> None:
    """Say why a solve ended above its tolerance, and what to do."""
    reason = {
        "passes": f"its {max_passes} passes ran out; raise max_passes, or scale the columns of "
        "X to one size",
        "rounding": f"rounding of W to {solution.W.dtype} hides anything smaller; float64 would "
        "not: jax.config.update('jax_enable_x64', True), and X in float64",
    }[end]
    warnings.warn(
        f"solve stopped at a gap of {solution.gap:.2e}, {solution.gap / solution.primal:.1e} of "
        f"the primal, above gap_tolerance = {gap_tolerance:.1e}: {reason}. Conditioning "
        f"reg·N/‖x‖² = {conditioning:.2e}; small is hard.",
        stacklevel=3,
    )


class _Found(NamedTuple):
    """A proof: W and slopes as they are returned, and what float64 says of them."""

    best: Iterate
    W: Array
    slopes: Array
    primal: float
    dual: float

    @property
    def gap(self) -> float:
        return self.primal - self.dual


def _prove(objective: Objective, data: Data, axes: Array | None, best: Iterate) -> _Found:
    """Prove an iterate on the data as they are, whatever it was found on."""
    dtype = data.X.dtype
    W = best.W if axes is None else dot(best.W, axes.astype(best.W.dtype))
    W, slopes = W.astype(dtype), _feasible(objective, best.slopes.astype(dtype), data.y)
    return _Found(best, W, slopes, *certify(objective, W, slopes, data))


def _follow(
    pairs: Iterator[Moment],
    prove: Callable[[Iterate], _Found],
    *,
    marks: Marks,
    rows: list[Row],
    kept: Kept,
    clock: float,
    gap_tolerance: float,
    max_passes: int,
    patience: float = np.inf,
) -> tuple[_Found, End]:
    """Follow the iterates until one is proved to be good enough, or none will be.

    Args:
        pairs: the iterates.
        prove: takes one to its proof.
        marks: of the way until now.
        rows: of the history, which is added to.
        kept: where moments are saved.
        clock: when the solve began.
        gap_tolerance: as in `solve`.
        max_passes: as in `solve`.
        patience: passes, or half of all so far, in which the gap has to halve.
    """
    at, num_rows = None, len(rows)
    try:
        for at in pairs:
            num_rows = len(rows)
            best = at.best
            best = best._replace(passes=best.passes + marks.after)
            gap, out = best.primal - best.dual, best.passes >= max_passes
            if gap <= marks.target:
                marks = marks._replace(halved=best.passes, target=gap / 2)
            stalled = best.passes - marks.halved > max(patience, at.passes / 2)
            end: End | None = None
            if not gap > gap_tolerance * best.primal or out or stalled:  # a NaN too
                found = prove(best)
                if found.gap <= gap_tolerance * found.primal:
                    end = "proved"
                elif out:
                    end = "passes"
                # What the proof adds is rounding, and by now the larger part; or the steps ended
                # in NaN.
                elif stalled or not found.gap <= 2 * gap:
                    end = "rounding"
            kept.save_if_due(at, marks, rows, has_ended=end is not None)
            seconds = time.perf_counter() - clock
            rows.append((float(best.passes), seconds, best.primal, best.dual))
            if end:
                return found, end
    except KeyboardInterrupt:
        if at is not None:
            kept.save(at, marks, rows[:num_rows])
        raise
    raise AssertionError("the iterates have no end")


def _narrow(data: Data) -> tuple[Data, Array | None]:
    """Return wide data in coordinates of its own rows, X = X' axesᵀ, and the axes (D, N), or None.

    The optimal W is a combination of examples, so nothing is lost: W = W' axesᵀ has the same scores
    and the same length.
    """
    N, D = data.X.shape
    if D <= WIDE * N:
        return data, None
    axes, corner = _qr(dense(data.X).T)
    return Data(corner.T, data.y), axes


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


_qr = jax.jit(jnp.linalg.qr)
_feasible = jax.jit(feasible)
_jitted_first = compiled(_first)
_jitted_resume = compiled(_resume)


def _conditioning(objective: Objective, data: Data) -> float:
    """Return reg·N/‖x‖², ‖x‖² averaged over a thousand examples or all."""
    square = float(_mean_square(data.X))
    return float(objective.reg) * len(data.y) / square if square > 0 else np.inf


@compiled
def _mean_square(X: Features) -> Scalar:
    some = dense(X[slice(None, None, -(-X.shape[0] // SOME_ROWS))])
    return jnp.mean(jnp.sum(some * some, axis=1))


def _as_arrays(objective: Objective, data: Data) -> Objective:
    """Return the objective with reg and delta as arrays of the data's dtype: one compilation."""
    dtype = data.X.dtype
    reg, delta = jnp.asarray(objective.reg, dtype), jnp.asarray(objective.delta, dtype)
    return replace(objective, reg=reg, delta=delta)


def _start(
    objective: Objective,
    data: Data,
    C: int,
    start: Solution | Array | None,
    axes: Array | None,
    *,
    strong: bool,
) -> Begin:
    """Return where the iterates begin, in the coordinates of ``axes``."""
    N, D = data.X.shape
    if start is None:
        zeros = jnp.zeros((C, D), data.X.dtype)
        return Begin(zeros, zeros, jnp.zeros((N, C), data.X.dtype))
    W = start.W if isinstance(start, Solution) else start
    W = W if axes is None else dot(W, axes.T)
    if isinstance(start, Solution):
        if not strong:
            return Begin(W, W, _feasible(objective, start.dual_variables, data.y))
        slopes, V = _jitted_resume(objective, start.dual_variables, data)
        return Begin(V, W, slopes)
    if not strong:
        return Begin(W, W, None)
    slopes, V = _jitted_first(objective, W, data)
    return Begin(V, W, slopes)


def _check_arguments(
    objective: Objective,
    data: Data,
    gap_tolerance: float,
    num_classes: int | None,
    start: Solution | Array | None,
) -> int:
    """Raise ValueError for a bad argument; return the number of classes."""
    require(objective, "solve", bound=True)
    check_values("solve", objective, data, start)
    check_number(
        "objective.reg",
        objective.reg,
        "a number > 0, a finite one; with reg = 0 use lower_bound with a radius",
        lambda x: 0 < x < np.inf,
    )
    check_positive("objective.delta", objective.delta)
    check_positive("gap_tolerance", gap_tolerance)
    W = start.W if isinstance(start, Solution) else start
    if W is not None:
        check_floats("start", W)
        check_finite("start", W)
        if W.ndim != 2:
            raise ValueError(f"start has W of shape {W.shape}: expected (C, D)")
    C = num_classes
    check_examples(data)
    if C is None:
        C = int(np.max(data.y)) + 1 if W is None else W.shape[0]
    validate(data, num_classes=C)
    if W is not None and W.shape != (C, data.X.shape[1]):
        raise ValueError(
            f"start has W of shape {W.shape}: expected (C, D) = {(C, data.X.shape[1])}, with the "
            "columns of data.X"
        )
    return C
