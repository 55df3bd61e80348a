"""The verdicts on slopes: what the pieces that meet at the point say of each.

The slope of the point's own piece is measured on one or both sides of it. Where primitives flip
next to the point, the pieces beyond have slopes as well, continued to the point, and so may pieces
beside the line. Whether the value itself jumps from one to the next is looked at where the line
enters the nearest piece.
"""

from dataclasses import dataclass

import numpy as np

from jaxsvm.gradients.beside import Beside
from jaxsvm.gradients.measure import Evidence
from jaxsvm.gradients.slopes import Slopes, beyond, central, most_precise, one_sided
from jaxsvm.gradients.verdict import Counted, Verdict


@dataclass(frozen=True)
class Judged(Counted):
    """What is said of n lines, and why: NumPy arrays (n,).

    Attributes:
        verdict: int8 numbers of `Verdict`; ROUNDING does not occur.
        gradient: what was checked, along the line.
        numerical: the slope of the point's own piece; at a kink that of the piece whose slope is
            nearest to the gradient.
        left: the slope to the left of the point.
        right: the slope to the right.
        low: the least gradient that is not wrong.
        high: the largest.
        tolerance: how far these may lie from the slopes they were made of.
        h: the distance that ``numerical`` was measured at.
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

    @property
    def num_jump(self) -> int:
        """How many lie between the slopes of pieces around a jump of the value at the point."""
        return self.count(Verdict.JUMP)

    @property
    def num_unresolved(self) -> int:
        """How many could not be judged."""
        return self.count(Verdict.UNRESOLVED)


def judge(
    g: np.ndarray,
    rounding: np.ndarray,
    evidence: Evidence,
    beside: dict[int, Beside] | None = None,
) -> Judged:
    """Return the verdict on the slopes ``g`` of all lines.

    Args:
        g: (n,).
        rounding: (n,), how far off they may be.
        evidence: of the lines.
        beside: for some of them, slopes of pieces that the lines do not enter.
    """
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
    verdict = np.where(smooth, Verdict.SMOOTH, Verdict.WRONG).astype(np.int8)
    judged = Judged(verdict, g, value, value.copy(), value.copy(), low, high, tolerance, h)
    for n in map(int, np.flatnonzero(at_kink(evidence) | ~known)):
        sides, missing, jumps = _other_pieces(evidence, n)
        for side, end in zip(sides, (right, left), strict=True):
            if split[n] or (known[n] and np.isfinite(end.error[n])):
                side.insert(0, _one(end, n))
        pieces = [*sides[0], *sides[1]]
        if known[n]:
            pieces.append(_one(own, n))
        for array, slopes in zip((judged.right, judged.left), sides, strict=True):
            array[n] = slopes[-1].value if slopes else np.nan
        if beside and n in beside:
            pieces += [_one(beside[n].slopes, i) for i in range(len(beside[n].slopes.value))]
        seen_all = not beside or n not in beside or beside[n].is_all
        _at_kink(judged, n, pieces, missing, jumps, seen_all, evidence, rounding[n])
    if not np.isfinite(evidence.center):
        judged.verdict[:] = Verdict.UNRESOLVED
    return judged


def at_kink(evidence: Evidence) -> np.ndarray:
    """Return which lines cross a kink at the point, exactly or to rounding."""
    return np.any(evidence.unstable_only & evidence.differs.any(axis=3), axis=(1, 2))


def _one(slopes: Slopes, n: int) -> Slopes:
    return Slopes(*(part[n] for part in slopes))


def _at_kink(
    judged: Judged,
    n: int,
    pieces: list[Slopes],
    missing: bool,
    jumps: bool,
    seen_all: bool,
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
        if judged.low[n] <= g <= judged.high[n]:
            # Where all pieces agree, what flips does not bend the function.
            bent = max(piece.value - piece.error for piece in pieces) > min(
                piece.value + piece.error for piece in pieces
            )
            right = Verdict.SMOOTH if smooth or not bent else Verdict.KINK
            judged.verdict[n] = Verdict.JUMP if jumps else right
    if not seen_all:
        # Slopes of pieces that were not seen are hardly further from the others than these are
        # from each other.
        spread = judged.high[n] - judged.low[n]
        judged.low[n], judged.high[n] = judged.low[n] - spread, judged.high[n] + spread
    if missing or not pieces:
        judged.low[n], judged.high[n] = -np.inf, np.inf
    between = np.isfinite(g) and judged.low[n] <= g <= judged.high[n]
    if judged.verdict[n] == Verdict.WRONG and between:
        judged.verdict[n] = Verdict.UNRESOLVED


def _own_piece(evidence: Evidence) -> tuple[Slopes, Slopes, Slopes]:
    """Return the slope of the point's own piece: the best, that to the right, that to the left."""
    values, distance, noise = evidence.values, evidence.distance, evidence.noise
    on = np.where(evidence.on_own_piece, values, np.nan)
    center = np.full((len(values), 1), evidence.center)
    right, left = (one_sided(on[:, s], center, distance[:, s], noise[:, s]) for s in (0, 1))
    width = distance[:, 0] - distance[:, 1]
    both = central(on[:, 0], on[:, 1], width, np.maximum(noise[:, 0], noise[:, 1]))
    return most_precise(both, right, left), right, left


def _other_pieces(evidence: Evidence, n: int) -> tuple[list[list[Slopes]], bool, bool]:
    """Return the slopes of pieces beyond kinks at the point, to the right and to the left.

    The nearest piece first. Also whether one is too small for it, and whether the value jumps on
    the way to the nearest.
    """
    missing, jumps, around = False, False, []
    for side in (0, 1):
        allowed = evidence.unstable_only[n, side]
        other = allowed & evidence.differs[n, side].any(axis=1)
        # Runs of rungs with one signature, from the point outwards.
        number = np.cumsum(np.append(True, ~evidence.same[n, side, ::-1]))[::-1]
        distance, noise = evidence.distance[n, side], evidence.noise[n, side]
        found: list[Slopes] = []
        for run in np.unique(number[other]):
            inside = other & (number == run)
            values = np.where(inside, evidence.values[n, side], np.nan)
            slope = _one(beyond(values[None], distance[None], noise[None]), 0)
            if np.isfinite(slope.error):
                if not found:
                    rung = int(np.flatnonzero(inside)[-1])
                    step = values[rung] - evidence.center - slope.value * distance[rung]
                    most = slope.error * abs(distance[rung]) + 2 * noise[rung]
                    jumps |= bool(abs(step) > most)
                found.append(slope)
            else:
                missing = True
        around.append(found)
    return around, missing, jumps
