"""Slopes of a function along lines, from its values on one smooth piece, with their errors.

The values lie at a ladder of distances h, h/4, h/16, … from a point. An estimate combines two or
more neighbouring rungs so that the first terms of its error cancel (Richardson); how far it is from
the same estimate one rung further down says what is left, and rounding of the values, divided by
the distance, is added. An estimate is believed if it meets all those of smaller distances, which
rounding makes vague and curvature leaves right; of the believed the most precise is kept.

Arrays are (n, L): n lines, L rungs, the largest distance first. A value that does not lie on the
piece in question is NaN. All of it is NumPy in float64.
"""

from typing import NamedTuple

import numpy as np

RATIO = 4.0


class Slopes(NamedTuple):
    """One slope for each line; infinite error where there is none.

    Attributes:
        value: the slope at the point.
        error: how far off it may be.
        rung: the number of the distance it was measured at.
    """

    value: np.ndarray
    error: np.ndarray
    rung: np.ndarray


def central(right: np.ndarray, left: np.ndarray, width: np.ndarray, noise: np.ndarray) -> Slopes:
    """Return slopes from values on both sides of the point.

    Args:
        right: the values to the right.
        left: to the left.
        width: the distances between the two.
        noise: what rounding does to a value.
    """
    D, rounding = (right - left) / width, 2 * noise / width
    bent = _extrapolated(D, rounding, RATIO**2)
    return most_precise(_judged(D, rounding), _judged(*bent))


def one_sided(
    values: np.ndarray, center: np.ndarray, distance: np.ndarray, noise: np.ndarray
) -> Slopes:
    """Return slopes from the value at the point and values on one side, on the same piece.

    Args:
        values: on the side.
        center: (n, 1), at the point.
        distance: from the point, negative to the left.
        noise: what rounding does to a value.
    """
    D, rounding = (values - center) / distance, 2 * noise / np.abs(distance)
    straight = _extrapolated(D, rounding, RATIO)
    bent = _extrapolated(*straight, RATIO**2)
    return most_precise(_judged(D, rounding), _judged(*straight), _judged(*bent))


def beyond(values: np.ndarray, distance: np.ndarray, noise: np.ndarray) -> Slopes:
    """Return slopes of a piece that the point does not lie on, continued to the point.

    Args:
        values: on one side of the point.
        distance: from the point, negative to the left.
        noise: what rounding does to a value.
    """
    gap = distance[:, :-1] - distance[:, 1:]
    rounding = (noise[:, :-1] + noise[:, 1:]) / np.abs(gap)
    return approaching((values[:, :-1] - values[:, 1:]) / gap, rounding)


def approaching(D: np.ndarray, rounding: np.ndarray) -> Slopes:
    """Return what slopes at the rungs tend to at the point.

    Args:
        D: slopes, each off by about as much as its distance.
        rounding: of each.
    """
    return most_precise(_judged(D, rounding), _judged(*_extrapolated(D, rounding, RATIO)))


def most_precise(*slopes: Slopes) -> Slopes:
    """Return of each line the slope with the least error."""
    value, error, rung = (np.stack(parts) for parts in zip(*slopes, strict=True))
    best = np.argmin(error, axis=0)[None]
    return Slopes(*(np.take_along_axis(a, best, axis=0)[0] for a in (value, error, rung)))


def _extrapolated(
    D: np.ndarray, rounding: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return estimates without the term of the error that falls by ``factor`` from rung to rung."""
    value = (factor * _next(D) - D) / (factor - 1)
    return value, (factor * _next(rounding) + rounding) / (factor - 1)


def _next(a: np.ndarray) -> np.ndarray:
    """Return of each rung what the rung below has; of the last there is none."""
    return np.concatenate([a[:, 1:], np.full_like(a[:, :1], np.nan)], axis=1)


def _judged(D: np.ndarray, rounding: np.ndarray) -> Slopes:
    """Return the most precise estimate that those of all smaller distances agree with."""
    # The second difference: the first may vanish by chance, where a function bends both ways.
    later = np.abs(_next(D) - _next(_next(D)))
    error = 2 * (np.abs(D - _next(D)) + np.where(np.isfinite(later), later, 0.0)) + rounding
    fit = np.isfinite(error)
    error, value = np.where(fit, error, np.inf), np.where(fit, D, 0.0)
    for k in range(D.shape[1] - 1):
        apart = np.abs(value[:, k : k + 1] - value[:, k + 1 :])
        doubted = np.any(apart > error[:, k : k + 1] + 2 * error[:, k + 1 :], axis=1)
        error[:, k] = np.where(doubted, np.inf, error[:, k])
    rung = np.argmin(error, axis=1)
    at = rung[:, None]
    value, error = (np.take_along_axis(a, at, axis=1)[:, 0] for a in (value, error))
    return Slopes(value, error, rung)
