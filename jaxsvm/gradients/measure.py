"""What the check of a function measures: values with signatures along lines, and their rounding.

The function is evaluated at a ladder of distances on both sides of the point, and at neighbouring
floats of the point. Their second differences are rounding, and so are differences of the gradient
between them; a primitive that flips between them is a kink that the point lies on, as far as floats
can tell. There it is the floats a little further out, beyond the kink, whose second differences
count: the value may jump.
"""

from typing import NamedTuple

import numpy as np

from jaxsvm.gradients.branches import WORDS, Site
from jaxsvm.gradients.question import NEIGHBOURS, Question
from jaxsvm.gradients.slopes import RATIO

SAFETY = 4.0  # how many of the largest error that was measured are allowed
BEYOND = (2.0, 4.0, 6.0)  # how much further out than neighbours


class Evidence(NamedTuple):
    """What was measured along n lines with L rungs, of a function with S sites: F = S·WORDS.

    The second axis is the side, right and left; the last rung is the nearest.

    Attributes:
        center: the value at the point.
        values: (n, 2, L).
        distance: (n, 2, L), of the rungs from the point, negative to the left.
        noise: (n, 2, L), what rounding does to a value.
        differs: (n, 2, L, F), which words of the signature differ from the point's.
        same: (n, 2, L - 1), whether a rung has the signature of the next.
        on_own_piece: (n, 2, L), whether a rung and all nearer ones have the point's signature.
        unstable_only: (n, 2, L), whether up to there only words differ that do so at a kink of the
            point, exactly or to rounding.
        unstable: (n, F), those words.
        signature: (F,), the point's.
        neighbours: (2m,), whether the point's neighbours have its signature.
        evaluations: how many.
    """

    center: float
    values: np.ndarray
    distance: np.ndarray
    noise: np.ndarray
    differs: np.ndarray
    same: np.ndarray
    on_own_piece: np.ndarray
    unstable_only: np.ndarray
    unstable: np.ndarray
    signature: np.ndarray
    neighbours: np.ndarray
    evaluations: int

    def step(self, rung: np.ndarray) -> np.ndarray:
        """Return the distances of rungs, one for each line."""
        return np.abs(self.distance[np.arange(len(self.values)), 0, rung])

    def nearest_kink(self, line: int, sites: tuple[Site, ...]) -> Site | None:
        """Return the site that differs first on the way out."""
        for rung in reversed(range(self.differs.shape[2])):
            flipped = np.flatnonzero(self.differs[line, :, rung].any(axis=0))
            if flipped.size:
                return sites[int(flipped[0]) // WORDS]
        return None


def gather(asked: Question) -> Evidence:
    """Evaluate the function with its signature at all distances of all lines."""
    c, n, L = len(asked.places), len(asked.largest), asked.num_rungs
    dtype = np.dtype(asked.flat.dtype)
    steps = asked.largest[:, None, None] * RATIO ** -np.arange(L)
    steps = (steps * np.array([1.0, -1.0])[None, :, None]).astype(dtype)
    start = np.asarray(asked.flat)[asked.places][:, None, None]
    moved = (start + steps[:c]).astype(dtype)
    distance = np.concatenate([moved.astype(float) - start.astype(float), steps[c:].astype(float)])
    distance[distance == 0] = np.nan  # too near for floats

    each, d, m = 2 * L, n - c, len(NEIGHBOURS)
    around = np.array([1.0, -1.0])
    further = np.concatenate([around, *(side * np.array(BEYOND) for side in around)])
    row = np.repeat(np.arange(d + m), [each] * d + [further.size] * m)
    t = np.concatenate([steps[c:].ravel(), np.tile(further, m)])
    rest = len(row) + 1
    points = (
        np.concatenate([np.repeat(asked.places, each), np.full(rest, asked.flat.size)]),
        np.concatenate([moved.ravel(), np.zeros(rest)]),
        np.concatenate([np.zeros(c * each, int), row, [0]]),
        np.concatenate([np.zeros(c * each), t, [0.0]]),
    )
    values, signatures = asked.evaluate(asked.rows, points)

    center, near = float(values[-1]), values[n * each : -1].reshape(m, -1)
    lines = values[: n * each].reshape(n, 2, L)
    lines = np.where(np.isfinite(lines), lines, np.nan)
    shaped = signatures[: n * each].reshape(n, 2, L, -1)
    beside = signatures[n * each : -1].reshape(m, further.size, -1)
    along = shaped != signatures[-1]
    flipped = beside[:, :2] != signatures[-1]
    # Where a primitive flips next to the point on both sides, the point lies on its kink exactly.
    next_to = along[:, :, -1].reshape(n, 2, -1, WORDS)
    exactly = next_to.any(axis=3, keepdims=True).all(axis=1) & next_to.any(axis=1)
    unstable = flipped.any(axis=(0, 1)) | exactly.reshape(n, -1)
    only = ~np.any(along & ~unstable[:, None, None, :], axis=3)
    return Evidence(
        center=center,
        values=lines,
        distance=distance,
        noise=_noise(asked, center, _straight(center, near, flipped, beside), lines),
        differs=along,
        same=np.all(shaped[:, :, :-1] == shaped[:, :, 1:], axis=3),
        on_own_piece=_from_the_point_on(~along.any(axis=3)),
        unstable_only=_from_the_point_on(only),
        unstable=unstable,
        signature=signatures[-1],
        neighbours=~flipped.any(axis=2).ravel(),
        evaluations=len(values),
    )


def _from_the_point_on(holds: np.ndarray) -> np.ndarray:
    """Return where something holds at a rung and at all nearer ones."""
    return np.logical_and.accumulate(holds[..., ::-1], axis=-1)[..., ::-1]


def _straight(
    center: float, near: np.ndarray, flipped: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Return values at three equidistant floats, (k, 3), between which the function is straight.

    Args:
        center: the value at the point.
        near: (m, 2 + 3 + 3) values next to it, and further out to the one side and the other.
        flipped: (m, 2, F), which words of their signatures differ from the point's.
        beside: (m, 2 + 3 + 3, F), their signatures.
    """
    pairs = np.stack([near[:, 0], np.full(len(near), center), near[:, 1]], axis=1)
    own = ~flipped.any(axis=(1, 2))
    further = beside[:, 2:].reshape(2 * len(near), len(BEYOND), -1)
    same = np.all(further == further[:, :1], axis=(1, 2))
    choices = pairs[own], near[:, 2:].reshape(2 * len(near), len(BEYOND))[same], pairs
    fit = [three[np.isfinite(three).all(axis=1)] for three in choices]
    return next((three for three in fit if len(three)), fit[0])


def _noise(asked: Question, center: float, near: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return what rounding does to a value: measured, and at least that of the value itself."""
    second = np.max(np.abs(near[:, 0] - 2 * near[:, 1] + near[:, 2]), initial=0.0) / 2
    # A direction moves all parameters, and the rounding of each moves the function.
    first = np.max(np.abs(near[:, 0] - near[:, 2]), initial=0.0) / 2
    size = asked.eps * np.maximum(np.nan_to_num(np.abs(lines)), abs(center)) + asked.tiny
    base = np.full(len(lines), second)
    base[len(asked.places) :] += first
    return SAFETY * (base[:, None, None] + size)
