"""A gradient check for any function of any pytree, which reads the function's kinks off its jaxpr.

A finite difference judges a derivative where both of its ends lie on the smooth piece of the point.
`jaxsvm.gradients.branches` says where they do. Along each coordinate the function is evaluated with
its branch signature at a ladder of distances, and

    SMOOTH       the gradient is the slope of the point's own piece, measured on one or both sides,
                 or of all pieces that meet there
    KINK         the point lies on a kink, exactly or to rounding, and the gradient lies between the
                 slopes of those pieces, or of others that meet there beside the line
    JUMP         the same, where the value jumps: a derivative of neither side tells
    WRONG        neither
    UNRESOLVED   no piece next to the point is wide enough to measure a slope on

What counts as equal is measured. Rounding: second differences of the function, and differences of
its gradient, between floats next to the point. Curvature: each slope against that of a quarter of
the distance. A kink that some of those neighbouring floats lie beyond is at the point to rounding:
another program for the same function may come out on its other side.

An error below ``tolerance`` is not found, and between two slopes that differ every number passes:
where left ≤ right the function is convex along the line, and each of them is a subgradient. Two
kinks that a line crosses on its way between two rungs, and whose effects on the slopes cancel, are
not seen. For the host: it compiles two programs and works with their values.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from jaxsvm.core.arguments import (
    check_count,
    check_key,
    check_number,
    check_params,
    check_positive,
    check_values,
    check_word,
)
from jaxsvm.gradients.beside import num_evaluations, pieces_beside
from jaxsvm.gradients.branches import Site, first_nonfinite
from jaxsvm.gradients.judgement import Judged, at_kink, judge
from jaxsvm.gradients.measure import Evidence, claims, gather
from jaxsvm.gradients.question import Question, question
from jaxsvm.gradients.slopes import Slopes
from jaxsvm.gradients.verdict import Verdict
from jaxsvm.lines.directions import check_like

NUM_WORST = 5
MODES = ("reverse", "forward", "both")
NUMBERS = ("gradient", "numerical", "left", "right", "tolerance", "h")


class Finding(NamedTuple):
    """One coordinate of a report.

    Attributes:
        path: where it lies in the params, or which direction it is.
        verdict: what was found.
        kink: the primitive that flips first on the way out, None where none does.
        gradient: what was checked.
        numerical: the slope of the point's piece, or of the kink's nearest side.
        left: the slope to the left.
        right: to the right.
        tolerance: the error that would pass.
        h: the distance of the measurement.
    """

    path: str
    verdict: Verdict
    kink: Site | None
    gradient: float
    numerical: float
    left: float
    right: float
    tolerance: float
    h: float


@dataclass(frozen=True)
class FunctionCheck(Judged):
    """The answer of `jaxsvm.check_gradient` for a function: what was judged, and a report.

    Lines are coordinates, in the order of the flat params; where there are more of these than were
    asked for, a random choice of them, and random directions in which all of them move.

    Attributes:
        worst: those that are wrong, furthest out first; else what is not resolved, jumps or kinks.
        unknown: primitives that can hide a branch from this check.
        nonfinite: what first made the value, or else the gradient, not finite.
        stopped: where the function stops a gradient, which differences do not see.
        evaluations: how often the function was evaluated.
    """

    worst: tuple[Finding, ...]
    unknown: tuple[Site, ...]
    nonfinite: Site | None
    stopped: tuple[Site, ...]
    evaluations: int

    @property
    def is_right(self) -> bool:
        """Whether something was judged, nothing is wrong, and the value is finite."""
        judged = self.num_smooth + self.num_kink + self.num_jump
        return judged > 0 and self.num_wrong == 0 and self.nonfinite is None

    def __str__(self) -> str:
        summary = "WRONG" if self.num_wrong else "right" if self.is_right else "not resolved"
        finite = self.tolerance[np.isfinite(self.tolerance)]
        lines = [
            f"gradient check along {self.verdict.size} lines, {self.evaluations:,} evaluations: "
            f"{summary}",
            f"  smooth {self.num_smooth}, kink {self.num_kink}, jump {self.num_jump}, "
            f"wrong {self.num_wrong}, unresolved {self.num_unresolved}; an error below "
            f"{np.median(finite):.3g} (median), {np.max(finite):.3g} (largest) is not found"
            if finite.size
            else f"  unresolved {self.num_unresolved}",
        ]
        for one in self.worst:
            lines.append(
                f"  {one.path} {one.verdict.name}: gradient {one.gradient:.8g}, numerical "
                f"{one.numerical:.8g} (left {one.left:.8g}, right {one.right:.8g}) "
                f"± {one.tolerance:.2g} at h = {one.h:.2g}"
            )
            if one.kink is not None:
                lines.append(f"      nearest kink: {one.kink}")
        if self.nonfinite is not None:
            lines.append(f"  not finite: {self.nonfinite} made the first such number")
        if self.num_wrong:
            lines += [f"  a gradient is stopped by {site}" for site in self.stopped]
        lines += [f"  may hide a kink: {site}" for site in self.unknown]
        return "\n".join(lines)


def check_function(
    f: Callable[[Any], Any],
    params: Any,
    *,
    gradient: Any = None,
    h: float | None = None,
    mode: str = "reverse",
    order: int = 1,
    num_coordinates: int = 1024,
    key: Array | None = None,
    atol: float = 0.0,
) -> FunctionCheck:
    """Check a derivative of any function: see `jaxsvm.check_gradient`, which calls this.

    Args:
        f: ``f(params)`` returns floats: a scalar, or a pytree of arrays, of which a random
            combination is checked.
        params: a pytree of floating arrays.
        gradient: as in `jaxsvm.check_gradient`, a function of the params alone.
        h: as there, like the following.
        mode: which derivative.
        order: of which order.
        num_coordinates: how many to check at most.
        key: of what is random.
        atol: an error that is accepted beside what rounding explains.

    Returns:
        The verdicts.

    Raises:
        ValueError: as `jaxsvm.check_gradient`.
    """
    check_params(params)
    check_word("mode", mode, MODES)
    order = check_count("order", order)
    num_coordinates = check_count("num_coordinates", num_coordinates)
    if order > 2:
        raise ValueError(f"order = {order}: expected 1, the gradient, or 2, its derivative")
    if gradient is not None and (order == 2 or mode != "reverse"):
        raise ValueError("gradient is given: expected order = 1 and mode = 'reverse', its own")
    if h is not None:
        check_positive("h", h)
    check_number("atol", atol)
    key = jax.random.key(0) if key is None else key
    check_key(key)
    check_values("check_gradient", params, gradient, key)
    for path, leaf in jax.tree.leaves_with_path(params):
        bad = np.argwhere(~np.isfinite(np.asarray(leaf, float)))
        if len(bad):
            name, index = jax.tree_util.keystr(path), tuple(bad[0].tolist())
            raise ValueError(
                f"params{name} has {np.asarray(leaf)[index]} at {index}: expected finite numbers"
            )

    asked = question(f, params, order, mode, num_coordinates, h, key)
    evidence = gather(asked)
    beside: dict[int, Slopes] = {}

    def judged_of(slopes: np.ndarray, rounding: np.ndarray) -> Judged:
        """Return the verdicts; where a line's own pieces refuse a slope, those beside it count."""
        first = judge(slopes, rounding + atol, evidence, beside)
        doubted = (first.verdict == Verdict.WRONG) & at_kink(evidence) & np.isfinite(slopes)
        new = [int(n) for n in np.flatnonzero(doubted) if int(n) not in beside]
        if not new:
            return first
        beside.update(pieces_beside(asked, evidence, new))
        return judge(slopes, rounding + atol, evidence, beside)

    slopes, rounding = claims(asked, evidence, "forward" if mode == "forward" else "reverse")
    if gradient is not None:
        claimed = gradient(params) if is_function(gradient, params) else gradient
        check_like(params, claimed, "gradient")
        slopes = asked.along(np.asarray(ravel_pytree(claimed)[0], float))
    judged = judged_of(slopes, rounding)
    if mode == "both":
        other = judged_of(*claims(asked, evidence, "forward"))
        worse = other.verdict == Verdict.WRONG
        pairs = ((getattr(judged, f.name), getattr(other, f.name)) for f in fields(Judged))
        judged = Judged(*(np.where(worse, b, a) for a, b in pairs))
    return FunctionCheck(
        **vars(judged),
        worst=_worst(judged, asked, evidence),
        unknown=asked.program.unknown,
        nonfinite=_nonfinite(asked, evidence, judged, gradient is None, mode),
        stopped=asked.program.stopped,
        evaluations=evidence.evaluations + len(beside) * num_evaluations(asked),
    )


def is_function(gradient: Any, params: Any) -> bool:
    """Return whether a gradient is a function: a network that is a pytree may be called as well."""
    is_like = jax.tree.structure(gradient) == jax.tree.structure(params)
    return callable(gradient) and (jax.tree_util.all_leaves([gradient]) or not is_like)


def _nonfinite(
    asked: Question, evidence: Evidence, judged: Judged, by_autodiff: bool, mode: str
) -> Site | None:
    """Return what first made the value, or autodiff's gradient, not finite."""
    if not np.isfinite(evidence.center):
        return first_nonfinite(asked.f, asked.flat)
    if np.all(np.isfinite(judged.gradient)) or not by_autodiff:
        return None
    if mode != "forward":
        return first_nonfinite(jax.grad(asked.f), asked.flat)
    line = int(np.flatnonzero(~np.isfinite(judged.gradient))[0])
    return first_nonfinite(asked.forward, asked.flat, asked.tangent(line))


def _worst(judged: Judged, asked: Question, evidence: Evidence) -> tuple[Finding, ...]:
    """Return the wrong lines that are furthest out, or else the kinks."""
    known = np.isfinite(judged.gradient) & np.isfinite(judged.tolerance)
    with np.errstate(invalid="ignore"):
        off = np.abs(judged.gradient - judged.numerical) / (judged.tolerance + 1e-300)
    off = np.where(known, off, np.inf)
    for verdict in (Verdict.WRONG, Verdict.UNRESOLVED, Verdict.JUMP, Verdict.KINK):
        lines = np.flatnonzero(judged.verdict == verdict)
        if lines.size:
            break
    chosen = lines[np.argsort(-off[lines], kind="stable")][:NUM_WORST]
    return tuple(
        Finding(
            asked.name(n),
            Verdict(int(judged.verdict[n])),
            evidence.nearest_kink(n, asked.program.sites),
            *(float(getattr(judged, name)[n]) for name in NUMBERS),
        )
        for n in map(int, chosen)
    )
