"""Slopes along a line of pieces that meet at the point, also of those that the line never enters.

Where three or more pieces meet at a point, a line through it enters two of them. Autodiff may take
the derivative of another: of equal numbers a sort leaves the first where it is, and along the line
it becomes the last or stays. All of them are derivatives of the function right next to the point,
and what lies between them is Clarke's generalized gradient there: what a gradient at a kink can be
(Clarke, Optimization and Nonsmooth Analysis, 1983). Pieces are sought on rays from the point; on
each of these the slope along the line is a difference between two points of one piece, ever nearer
to the point. Rays are random, but for those on which equal params come to lie in their own order.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxsvm.gradients.measure import Evidence
from jaxsvm.gradients.question import Points, Question, random
from jaxsvm.gradients.slopes import RATIO, Slopes, approaching

NUM_RANDOM = 20
NUM_RAYS = NUM_RANDOM + 4
SHARES = (4.0, 64.0)  # of the distance on a ray, those to both sides of it along the line
VAGUE = 16.0  # how much less well than another of its line a slope may be known
UNSEEN = 0.25  # how likely another ray may show another slope


class Beside(NamedTuple):
    """What was found for a line.

    Attributes:
        slopes: of the pieces.
        is_all: whether there are hardly others.
    """

    slopes: Slopes
    is_all: bool


def pieces_beside(asked: Question, evidence: Evidence, lines: Iterable[int]) -> dict[int, Beside]:
    """Return for each of the lines the slopes along it of pieces that meet at the point.

    Each takes `num_evaluations` evaluations.
    """
    rng = np.random.default_rng(asked.seed)
    P = asked.flat.size
    order = np.linspace(0.5, 1.5, P)
    ordered = np.stack([order, order[::-1], -order, -order[::-1]])
    rays = asked.reach * np.concatenate([random((NUM_RANDOM, P), rng), ordered])
    return {line: _found(asked, evidence, line, rays) for line in lines}


def num_evaluations(asked: Question) -> int:
    """Return how many evaluations a line takes."""
    return NUM_RAYS * len(SHARES) * 2 * asked.num_rungs


def _found(asked: Question, evidence: Evidence, line: int, rays: np.ndarray) -> Beside:
    each = [_slopes(asked, evidence, line, rays, share) for share in SHARES]
    best = np.argmin([slopes.error for slopes in each], axis=0)
    found = Slopes(*(np.choose(best, part) for part in zip(*each, strict=True)))
    known = np.isfinite(found.error) & (found.error <= VAGUE * np.min(found.error))
    value, error, rung = (part[known] for part in found)
    apart = np.abs(value[:, None] - value) > error[:, None] + error
    # How many of the slopes are seen once tells how likely the next is a new one (Good, 1953).
    once = np.sum(np.sum(~apart, axis=1) == 1)
    return Beside(Slopes(value, error, rung), bool(once <= UNSEEN * len(value)))


def _slopes(
    asked: Question, evidence: Evidence, line: int, rays: np.ndarray, share: float
) -> Slopes:
    """Return the slope along a line of the piece that each ray lies on."""
    rows, points, width = _points(asked, line, rays, share)
    values, signatures = asked.evaluate(rows, points)
    shape = (NUM_RAYS, 2, asked.num_rungs)
    values, signatures = values.reshape(shape), signatures.reshape(*shape, -1)
    stable = ~evidence.unstable[line]
    at_point = np.all(signatures[..., stable] == evidence.signature[stable], axis=(1, 3))
    on_one_piece = at_point & np.all(signatures[:, 0] == signatures[:, 1], axis=2)
    # To rounding the nearest rungs may lie on other pieces: the furthest that fit are of one.
    first = np.argmax(on_one_piece, axis=1)
    furthest = signatures[np.arange(NUM_RAYS), 0, first][:, None]
    on_one_piece &= np.all(signatures[:, 0] == furthest, axis=2)
    D = np.where(on_one_piece, (values[:, 0] - values[:, 1]) / width, np.nan)
    return approaching(D, 2 * np.max(evidence.noise[line], axis=0) / width)


def _points(
    asked: Question, line: int, rays: np.ndarray, share: float
) -> tuple[np.ndarray, Points, np.ndarray]:
    """Return rows and points for `Question.evaluate`, a pair at each rung of each ray.

    And the distances in the pairs, (NUM_RAYS, L), NaN where floats do not tell them apart.
    """
    shape = (NUM_RAYS, 2, asked.num_rungs)
    scale = RATIO ** -np.arange(asked.num_rungs)
    step = asked.largest[line] / share
    if line < len(asked.places):
        # The coordinate is set, so that its distance is known to the last bit.
        place, rows = asked.places[line], np.concatenate([rays, rays])
        moved = scale * (rays[:, place][:, None, None] + step * np.array([[1.0], [-1.0]]))
        value = (float(asked.flat[place]) + moved).astype(asked.flat.dtype)
        width = value[:, 0].astype(float) - value[:, 1].astype(float)
    else:
        direction = step * asked.directions[line - len(asked.places)]
        place, rows = asked.flat.size, np.concatenate([rays + direction, rays - direction])
        value, width = np.zeros(shape), np.broadcast_to(2 * step * scale, shape[::2])
    row = np.arange(NUM_RAYS)[:, None, None] + np.array([[0], [NUM_RAYS]])
    points = (
        np.full(value.size, place),
        value.ravel(),
        np.broadcast_to(row, shape).ravel(),
        np.broadcast_to(scale, shape).ravel(),
    )
    return rows, points, np.where(width == 0, np.nan, width)
