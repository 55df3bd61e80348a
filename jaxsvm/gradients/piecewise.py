"""A gradient check for any function of any pytree, which reads the function's kinks off its jaxpr.

A finite difference judges a derivative where both of its ends lie on the smooth piece of the point.
`jaxsvm.gradients.branches` says where they do. Along each coordinate the function is evaluated with
its branch signature at a ladder of distances, and

    SMOOTH       the gradient is the slope of the point's own piece, measured on one or both sides,
                 or of all pieces that meet there
    KINK         the point lies on a kink, exactly or to rounding, and the gradient lies between the
                 slopes of those pieces
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
from dataclasses import dataclass
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
from jaxsvm.gradients.branches import Site, first_nonfinite
from jaxsvm.gradients.measure import Evidence, Question, claims, gather, question
from jaxsvm.gradients.slopes import Slopes, beyond, central, most_precise, one_sided
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
class FunctionCheck:
    """The answer of `jaxsvm.check_gradient` for a function; NumPy arrays (n,), a line each.

    Lines are coordinates, in the order of the flat params; where there are more of these than were
    asked for, a random choice of them, and random directions in which all of them move.

    Attributes:
        verdict: int8 numbers of `Verdict`; ROUNDING does not occur.
        gradient: what was checked, along the line.
        numerical: the slope of the point's own piece; at a kink that of the side that is nearer to
            the gradient.
        left: the slope to the left of the point.
        right: the slope to the right.
        low: the least gradient to accept.
        high: the largest.
        tolerance: how far these may lie from the slopes they were made of.
        h: the distance that ``numerical`` was measured at.
        worst: those that are wrong, furthest out first; else kinks.
        unknown: primitives that can hide a branch from this check.
        nonfinite: what first made the value, or else the gradient, not finite.
        stopped: where the function stops a gradient, which differences do not see.
        evaluations: how often the function was evaluated.
    """

    verdict: np.ndarray
    gradient: np.ndarray
    numerical: np.ndarray
    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tolerance: np.ndarray
    h: np.ndarray
    worst: tuple[Finding, ...]
    unknown: tuple[Site, ...]
    nonfinite: Site | None
    stopped: tuple[Site, ...]
    evaluations: int

    @property
    def num_smooth(self) -> int:
        """How many agree with the slope of the point's own piece."""
        return self._count(Verdict.SMOOTH)

    @property
    def num_kink(self) -> int:
        """How many lie between the slopes of pieces that meet at the point."""
        return self._count(Verdict.KINK)

    @property
    def num_wrong(self) -> int:
        """How many are wrong (NaN is)."""
        return self._count(Verdict.WRONG)

    @property
    def num_unresolved(self) -> int:
        """How many could not be judged."""
        return self._count(Verdict.UNRESOLVED)

    @property
    def is_right(self) -> bool:
        """Whether something was judged, nothing is wrong, and the value is finite."""
        judged = self.num_smooth + self.num_kink
        return judged > 0 and self.num_wrong == 0 and self.nonfinite is None

    def _count(self, verdict: Verdict) -> int:
        return int(np.sum(self.verdict == verdict))

    def __str__(self) -> str:
        summary = "WRONG" if self.num_wrong else "right" if self.is_right else "not resolved"
        finite = self.tolerance[np.isfinite(self.tolerance)]
        lines = [
            f"gradient check along {self.verdict.size} lines, {self.evaluations:,} evaluations: "
            f"{summary}",
            f"  smooth {self.num_smooth}, kink {self.num_kink}, wrong {self.num_wrong}, "
            f"unresolved {self.num_unresolved}; an error below {np.median(finite):.3g} (median), "
            f"{np.max(finite):.3g} (largest) is not found"
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
    slopes, rounding = claims(asked, evidence, "forward" if mode == "forward" else "reverse")
    if gradient is not None:
        claimed = gradient(params) if callable(gradient) else gradient
        check_like(params, claimed, "gradient")
        slopes = asked.along(np.asarray(ravel_pytree(claimed)[0], float))
    judged = judge(slopes, rounding + atol, evidence)
    if mode == "both":
        slopes, rounding = claims(asked, evidence, "forward")
        other = judge(slopes, rounding + atol, evidence)
        worse = other.verdict == Verdict.WRONG
        judged = Judged(*(np.where(worse, b, a) for a, b in zip(judged, other, strict=True)))
    arrays: dict[str, Any] = judged._asdict()
    arrays["verdict"] = judged.verdict.astype(np.int8)
    return FunctionCheck(
        **arrays,
        worst=_worst(judged, asked, evidence),
        unknown=asked.program.unknown,
        nonfinite=_nonfinite(asked, evidence, judged, gradient is None, mode),
        stopped=asked.program.stopped,
        evaluations=asked.num_points,
    )


class Judged(NamedTuple):
    """The arrays of `FunctionCheck`."""

    verdict: np.ndarray
    gradient: np.ndarray
    numerical: np.ndarray
    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tolerance: np.ndarray
    h: np.ndarray


def judge(g: np.ndarray, rounding: np.ndarray, evidence: Evidence) -> Judged:
    """Return the verdict on the slopes ``g`` of all lines, known to ``rounding``."""
    own, right, left = _own_piece(evidence)
    # Two sides of one piece that disagree are a kink that no primitive of the table shows.
    split = np.isfinite(right.error) & np.isfinite(left.error)
    split &= np.abs(right.value - left.value) > right.error + left.error
    error = np.where(split, np.inf, own.error)
    known = np.isfinite(error)
    value, h = np.where(known, own.value, np.nan), evidence.step(own.rung)
    tolerance = error + rounding
    low, high = value - tolerance, value + tolerance
    smooth = (low <= g) & (g <= high)
    verdict = np.where(smooth, Verdict.SMOOTH, Verdict.WRONG)
    judged = Judged(verdict, g, value, value.copy(), value.copy(), low, high, tolerance, h)
    at_kink = np.any(evidence.unstable_only & evidence.differs.any(axis=3), axis=(1, 2))
    for n in map(int, np.flatnonzero(at_kink | ~known)):
        sides, missing = _other_pieces(evidence, n)
        for side, end in zip(sides, (right, left), strict=True):
            if split[n] or (known[n] and np.isfinite(end.error[n])):
                side.insert(0, Slopes(*(a[n] for a in end)))
        pieces = [*sides[0], *sides[1]]
        if known[n]:
            pieces.append(Slopes(own.value[n], own.error[n], own.rung[n]))
        _at_kink(judged, n, sides, pieces, missing, evidence, rounding[n])
    if not np.isfinite(evidence.center):
        judged.verdict[:] = Verdict.UNRESOLVED
    return judged


def _at_kink(
    judged: Judged,
    n: int,
    sides: list[list[Slopes]],
    pieces: list[Slopes],
    missing: bool,
    evidence: Evidence,
    rounding: float,
) -> None:
    """Enter a line at a kink: what the slopes of all pieces that meet there say of it."""
    g, smooth = judged.gradient[n], judged.verdict[n] == Verdict.SMOOTH
    if pieces:
        judged.low[n] = min(piece.value - piece.error for piece in pieces) - rounding
        judged.high[n] = max(piece.value + piece.error for piece in pieces) + rounding
        nearest = min(pieces, key=lambda piece: abs(g - piece.value))
        judged.tolerance[n] = max(piece.error for piece in pieces) + rounding
        if not smooth:
            judged.numerical[n] = nearest.value
            judged.h[n] = abs(evidence.distance[n, 0, nearest.rung])
        for side, slopes in zip((judged.right, judged.left), sides, strict=True):
            side[n] = slopes[-1].value if slopes else np.nan
        if not smooth and judged.low[n] <= g <= judged.high[n]:
            # Where all pieces agree, what flips does not bend the function.
            bent = max(piece.value - piece.error for piece in pieces) > min(
                piece.value + piece.error for piece in pieces
            )
            judged.verdict[n] = Verdict.KINK if bent else Verdict.SMOOTH
    if judged.verdict[n] == Verdict.WRONG and (missing or not pieces) and np.isfinite(g):
        judged.verdict[n] = Verdict.UNRESOLVED
    if missing or not pieces:
        judged.low[n], judged.high[n] = -np.inf, np.inf


def _own_piece(evidence: Evidence) -> tuple[Slopes, Slopes, Slopes]:
    """Return the slope of the point's own piece: the best, that to the right, that to the left."""
    values, distance, noise = evidence.values, evidence.distance, evidence.noise
    on = np.where(evidence.on_own_piece, values, np.nan)
    center = np.full((len(values), 1), evidence.center)
    right, left = (one_sided(on[:, s], center, distance[:, s], noise[:, s]) for s in (0, 1))
    width = distance[:, 0] - distance[:, 1]
    both = central(on[:, 0], on[:, 1], width, np.maximum(noise[:, 0], noise[:, 1]))
    return most_precise(both, right, left), right, left


def _other_pieces(evidence: Evidence, n: int) -> tuple[list[list[Slopes]], bool]:
    """Return the slopes of pieces beyond kinks at the point, and whether one is too small for it.

    To the right, and to the left; the nearest piece first.
    """
    missing, around = False, []
    for side in (0, 1):
        allowed = evidence.unstable_only[n, side]
        other = allowed & evidence.differs[n, side].any(axis=1)
        # Runs of rungs with one signature, from the point outwards.
        number = np.cumsum(np.append(True, ~evidence.same[n, side, ::-1]))[::-1]
        found = []
        for run in np.unique(number[other]):
            values = np.where(other & (number == run), evidence.values[n, side], np.nan)[None]
            slope = beyond(values, evidence.distance[n, side][None], evidence.noise[n, side][None])
            if np.isfinite(slope.error[0]):
                found.append(Slopes(*(a[0] for a in slope)))
            else:
                missing = True
        around.append(found)
    return around, missing


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
    for verdict in (Verdict.WRONG, Verdict.UNRESOLVED, Verdict.KINK):
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
