"""The answer of the check of a function: what was judged, what is worst, and how it reads."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxsvm.gradients.branches import Site
from jaxsvm.gradients.judgement import Judged
from jaxsvm.gradients.measure import Evidence
from jaxsvm.gradients.question import Question
from jaxsvm.gradients.verdict import Verdict

NUM_WORST = 5
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


def worst(judged: Judged, asked: Question, evidence: Evidence) -> tuple[Finding, ...]:
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
