"""A gradient check that knows about kinks: a verdict for every coordinate of W.

The usual check compares a gradient with a finite difference and calls a disagreement an error. On
this loss a correct gradient disagrees wherever the step crosses a kink, which for pixels and the
notes' h = 1e-5 is most coordinates. But the loss is a sum of hinges, so what the difference should
be is known. For each coordinate there are, by direct sums over the hinges' signs,

    left ≤ right      the slopes of the objective on its two sides (equal where no margin is 0)
    numerical         its central difference, crossings and all
    tolerance         what rounding can do: 8·eps·√N·Σ|terms| (Higham & Mary 2019), and of bytes
                      as int8 what is below the last digit (`jaxsvm.core.digits`)

and a gradient is right where it lies in [left, right]: **smooth** if it agrees with the numerical
one too, **kink** if a crossing or a tie explains that it does not, and otherwise **wrong**.

At a tie every number in [left, right] is a subgradient, but this library, as the notes, promises
one of them: a tied hinge contributes 0. By default (``ties="zero"``) that is checked as well, so
that ``>=`` for ``>`` is found, wherever the tie is beyond doubt. A margin that is 0 to rounding
only may come out on either side of 0 when summed in another order; there the interval is accepted.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsvm.core.arguments import (
    check_finite_problem,
    check_floating,
    check_positive,
    check_problem,
    check_values,
    check_word,
)
from jaxsvm.core.compilation import compiled
from jaxsvm.core.features import Features, dense
from jaxsvm.core.hinges import ScoreHinges
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Data, Weights
from jaxsvm.gradients.analytic import analytic_gradient
from jaxsvm.gradients.budget import suggest_h
from jaxsvm.gradients.evidence import Evidence, blocks, distance, gather
from jaxsvm.gradients.verdict import Counted, Verdict

NUM_WORST = 5
# Of an objective nothing is unresolved.
SAID = (Verdict.SMOOTH, Verdict.KINK, Verdict.ROUNDING, Verdict.WRONG)


class Coordinate(NamedTuple):
    """One coordinate of a report, W[class_index, feature].

    ``example`` and ``crossed_class`` name the hinge that explains most of the difference between
    the slope at W and the numerical gradient; None where no hinge is crossed.
    """

    class_index: int
    feature: int
    verdict: Verdict
    gradient: float
    numerical: float
    left: float
    right: float
    tolerance: float
    example: int | None
    crossed_class: int | None


@dataclass(frozen=True)
class GradientCheck(Counted):
    """The answer of `check_gradient`: NumPy arrays (C, D), counts, and a report as its ``str``.

    Attributes:
        verdict: int8 numbers of `Verdict`.
        gradient: what was checked.
        numerical: the central difference of the objective at ``h``, summed termwise.
        left: the objective's slope on the side of smaller W[k, d].
        right: its slope on the other side.
        tolerance: what rounding can do to a correct gradient.
        penalty: the penalty's share of the correct gradient.
        h: the step of ``numerical``.
        worst: the coordinates furthest out; where none is wrong, those that crossings move most.
    """

    verdict: np.ndarray
    gradient: np.ndarray
    numerical: np.ndarray
    left: np.ndarray
    right: np.ndarray
    tolerance: np.ndarray
    penalty: np.ndarray
    h: float
    worst: tuple[Coordinate, ...]

    @property
    def num_rounding(self) -> int:
        """How many are right to float32 only, in a float64 gradient."""
        return self.count(Verdict.ROUNDING)

    @property
    def is_right(self) -> bool:
        """Whether no coordinate is wrong."""
        return self.num_wrong == 0

    def _summary(self) -> str:
        if self.num_wrong:
            return "WRONG"
        if self.num_rounding:
            return "right to float32 rounding only"
        eps, own = (jnp.finfo(a.dtype).eps for a in (self.gradient, self.left))
        return f"right to {self.gradient.dtype} rounding" if eps > own else "right"

    def __str__(self) -> str:
        lines = [
            f"gradient check of {self.verdict.size} coordinates, h = {self.h:.3g}, "
            f"{self.gradient.dtype}: {self._summary()}",
            f"  {'':12}{''.join(f'{v.name.lower():>9}' for v in SAID)}{'largest error':>15}",
        ]
        error = distance(self.gradient, self.left, self.right)
        parts = (("weights", np.s_[:, :-1]), ("bias column", np.s_[:, -1:]))
        for name, part in parts:
            counts = "".join(f"{self.count(v, part):9d}" for v in SAID)
            largest = np.max(error[part], initial=0.0)
            lines.append(f"  {name:12}{counts}{largest:15.3g}")
        lines.append(self._penalty_line())
        lines.append(
            "  class feature  verdict      gradient     numerical          left         right"
            "  crosses (example, class)"
        )
        for c in self.worst:
            crossed = "-" if c.example is None else f"{c.example}, {c.crossed_class}"
            numbers = "".join(f"{v:14.6g}" for v in (c.gradient, c.numerical, c.left, c.right))
            name = c.verdict.name.lower()
            lines.append(f"  {c.class_index:5d} {c.feature:7d}  {name:8}{numbers}  {crossed}")
        return "\n".join(lines)

    def _penalty_line(self) -> str:
        size = float(np.sum(self.penalty**2))
        if size == 0:
            return "  penalty     has no gradient here"
        # A gradient of 2·reg for reg, or one without its penalty, differs by a multiple of it.
        residual = self.gradient - np.clip(self.gradient, self.left, self.right)
        share = float(np.sum(residual * self.penalty)) / size
        return (
            f"  penalty     largest entry {np.max(np.abs(self.penalty)):.3g}; the error holds "
            f"{share:.3g} times the penalty's gradient"
        )


def check_objective(
    objective: Objective,
    W: Weights,
    data: Data,
    *,
    gradient: Any = None,
    h: float | None = None,
    ties: str = "zero",
) -> GradientCheck:
    """Check a gradient of an objective: see `check_gradient`, which calls this.

    Args:
        objective: any `Hinge` with `l2_penalty` or `l1_penalty`.
        W: (C, D) weights.
        data: N examples; labels in [0, C).
        gradient: as in `check_gradient`, like h and ties.
        h: the step.
        ties: what is accepted at a tie.

    Returns:
        The verdicts. Cost: the scores, two products with X and one with |X|, and a termwise pass
        over the examples that have a kink within the step.

    Raises:
        ValueError: as `check_gradient`.
    """
    require(objective, "check_gradient")
    check_problem(W, data)
    check_values("check_gradient", objective, W, data, h)
    check_finite_problem(W, data)
    check_word("ties", ties, ("zero", "any"))
    if h is None:
        h = suggest_h(objective, W, data)
    check_positive("h", h)
    if gradient is None:
        gradient = partial(_analytic, objective)
    found = gradient(W, data) if callable(gradient) else gradient
    check_values("check_gradient", found)
    check_floating("gradient", found)
    g = np.asarray(found)
    if g.shape != W.shape:
        raise ValueError(f"gradient has shape {g.shape} and W has shape {W.shape}: expected equal")

    # A float32 gradient of float64 weights is held to what it says it is.
    eps = max(float(jnp.finfo(dtype).eps) for dtype in (g.dtype, W.dtype))
    evidence = gather(objective, W, data, h, eps, ties)
    right = evidence.accepts(g)
    agrees = right & (np.abs(g - evidence.numerical) <= evidence.tolerance)
    verdict = np.where(agrees, Verdict.SMOOTH, np.where(right, Verdict.KINK, Verdict.WRONG))
    single = float(jnp.finfo(jnp.float32).eps)
    if eps < single and not np.all(right):
        in_single = gather(objective, W, data, h, single, ties).accepts(g)
        verdict = np.where(~right & in_single, Verdict.ROUNDING, verdict)
    return GradientCheck(
        verdict.astype(np.int8),
        g,
        evidence.numerical,
        evidence.left,
        evidence.right,
        evidence.tolerance,
        evidence.penalty,
        float(h),
        _worst(verdict, g, evidence, W, data, h),
    )


_analytic = compiled(analytic_gradient)


def _worst(
    verdict: np.ndarray, g: np.ndarray, evidence: Evidence, W: Weights, data: Data, h: float
) -> tuple[Coordinate, ...]:
    """Return the wrong coordinates furthest out, or else those that kinks move most."""
    wrong = verdict == Verdict.WRONG
    if wrong.any():
        # A tolerance of 0 is a coordinate that nothing moves, a pixel that is always 0 say.
        unit = np.maximum(evidence.tolerance, float(jnp.finfo(g.dtype).tiny))
        size = np.where(wrong, distance(g, evidence.low, evidence.high) / unit, 0)
    else:
        size = np.where(verdict == Verdict.KINK, np.abs(g - evidence.numerical), 0)
    size = np.where(np.isnan(size), np.inf, size)
    order = np.argsort(-size, axis=None, kind="stable")[:NUM_WORST]
    places = [divmod(int(i), W.shape[1]) for i in order if size.flat[i] > 0]
    if not places:
        return ()
    moves = _columns(data.X, evidence.rows, [d for _, d in places])
    y = np.asarray(data.y)[evidence.rows]
    worst = []
    for column, (k, d) in zip(moves.T, places, strict=True):
        example, crossed = _crossing(k, column, y, evidence.hinges, h)
        worst.append(
            Coordinate(
                k,
                d,
                Verdict(int(verdict[k, d])),
                float(g[k, d]),
                float(evidence.numerical[k, d]),
                float(evidence.left[k, d]),
                float(evidence.right[k, d]),
                float(evidence.tolerance[k, d]),
                None if example is None else int(evidence.rows[example]),
                crossed,
            )
        )
    return tuple(worst)


def _columns(X: Features, rows: np.ndarray, features: list[int]) -> np.ndarray:
    """Return ``X[rows][:, features]``, a block of rows at a time."""
    parts = [np.asarray(dense(block))[:, features] for block in blocks(X, rows)]
    return np.concatenate([np.zeros((0, len(features))), *parts])[: len(rows)]


def _crossing(
    k: int, x: np.ndarray, y: np.ndarray, hinges: tuple[ScoreHinges, ...], h: float
) -> tuple[int | None, int | None]:
    """Return the example and the class of the hinge whose crossing moves the slope most."""
    best: tuple[float, int | None, int | None] = (0.0, None, None)
    for part in hinges:
        offsets = np.asarray(part.offsets)[: len(y)]
        classes = np.arange(offsets.shape[1])[None, :]
        label = classes == y[:, None]
        rate = np.where(classes == k, np.abs(np.where(label, part.own[1], part.own[0])), 0.0)
        if part.shared is not None:
            sharing = (y[:, None] == k) if part.only_label else classes != k
            others = np.abs(np.where(label, part.shared[1], part.shared[0]))
            rate = np.where(sharing, others, rate)
        left_over = rate * np.abs(x)[:, None] * h - np.abs(offsets)
        if left_over.size and left_over.max() > best[0]:
            best = (float(left_over.max()), *divmod(int(left_over.argmax()), offsets.shape[1]))
    return best[1:]
