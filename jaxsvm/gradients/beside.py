"""Slopes along a line of pieces that meet at the point, also of those that the line never enters.

Where three or more pieces meet at a point, a line through it enters two of them. Autodiff may take
the derivative of another: of equal numbers a sort leaves the first where it is, and along the line
it becomes the last or stays. All of them are derivatives of the function right next to the point,
and what lies between them is Clarke's generalized gradient there: what a gradient at a kink can be
(Clarke, Optimization and Nonsmooth Analysis, 1983). Pieces are sought on random rays from the
point; on each of these the slope along the line is a difference between two points of one piece,
ever nearer to the point.
"""

from collections.abc import Iterable

import numpy as np

from jaxsvm.gradients.measure import Evidence
from jaxsvm.gradients.question import LARGEST, Question, random
from jaxsvm.gradients.slopes import RATIO, Slopes, approaching

NUM_RAYS = 24
VAGUE = 16.0
SHARE = 4.0  # of the distance on a ray, that to both sides of it along the line


def pieces_beside(asked: Question, evidence: Evidence, lines: Iterable[int]) -> dict[int, Slopes]:
    """Return for each of the lines the slopes along it of pieces that meet at the point.

    Each takes `num_evaluations` evaluations.
    """
    rng = np.random.default_rng(asked.seed)
    rays = LARGEST * asked.unit * random((NUM_RAYS, asked.flat.size), rng)
    return {line: _slopes(asked, evidence, line, rays) for line in lines}


def num_evaluations(asked: Question) -> int:
    """Return how many evaluations a line takes."""
    return NUM_RAYS * 2 * asked.num_rungs


def _slopes(asked: Question, evidence: Evidence, line: int, rays: np.ndarray) -> Slopes:
    L, P = asked.num_rungs, asked.flat.size
    dtype = np.dtype(asked.flat.dtype)
    scale = RATIO ** -np.arange(L)
    sides = np.array([1.0, -1.0])[:, None]
    step = asked.largest[line] / SHARE
    place, value, rows = P, np.zeros((NUM_RAYS, 2, L)), np.concatenate([rays, rays])
    if line < len(asked.places):
        # The coordinate is set, so that its distance is known to the last bit.
        place = asked.places[line]
        moved = scale * (rays[:, place][:, None, None] + step * sides)
        value = (float(asked.flat[place]) + moved).astype(dtype)
        width = value[:, 0].astype(float) - value[:, 1].astype(float)
    else:
        direction = step * asked.directions[line - len(asked.places)]
        rows = np.concatenate([rays + direction, rays - direction])
        width = np.broadcast_to(2 * step * scale, (NUM_RAYS, L))
    ray = np.arange(NUM_RAYS)[:, None, None] + NUM_RAYS * np.array([0, 1])[None, :, None]
    shape = (NUM_RAYS, 2, L)
    points = (
        np.full(value.size, place),
        value.ravel(),
        np.broadcast_to(ray, shape).ravel(),
        np.broadcast_to(scale, shape).ravel(),
    )
    values, signatures = asked.evaluate(rows, points)
    values, signatures = values.reshape(shape), signatures.reshape(*shape, -1)

    stable = (
        signatures[..., ~evidence.unstable[line]] == evidence.signature[~evidence.unstable[line]]
    )
    right, left = signatures[:, 0], signatures[:, 1]
    on_one_piece = stable.all(axis=(1, 3)) & (right == left).all(axis=2)
    D = np.where(on_one_piece, (values[:, 0] - values[:, 1]) / width, np.nan)
    rounding = 2 * np.max(evidence.noise[line], axis=0) / width
    changes = np.any(right[:, :-1] != right[:, 1:], axis=2)
    run = np.cumsum(np.concatenate([np.zeros((NUM_RAYS, 1)), changes], axis=1), axis=1)
    # A ray crosses few kinks that meet at the point only to rounding: few runs.
    parts = [approaching(np.where(run == number, D, np.nan), rounding) for number in np.unique(run)]
    found = Slopes(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    # A slope that is known much less well than others of the same line says nothing.
    known = found.error <= VAGUE * np.min(found.error)
    return Slopes(*(part[known & np.isfinite(found.error)] for part in found))
