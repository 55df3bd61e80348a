"""Divide examples of one's own, which may be sorted by class, so that every part has every class.

Everything here follows from the labels and a fixed seed, so a file is split alike on every machine.
RandomState's stream is frozen by NumPy's policy; the newer generators' may change.
"""

from typing import TypeAlias

import numpy as np

LabelledArray: TypeAlias = tuple[np.ndarray, np.ndarray]

# The test part that is held out where none is given: a fifth, up to this many.
MOST_HELD_OUT = 10_000


def divide(
    train: LabelledArray, test: LabelledArray | None = None
) -> tuple[LabelledArray, LabelledArray]:
    """Return a training part in `mixed_order`, and the test part, held out unless it is given.

    Args:
        train: examples (N, ...) and their labels (N,) in [0, C).
        test: the same where there is a test part; its order is kept.

    >>> (_, y), (_, y_test) = divide((np.arange(10), np.repeat([0, 1], 5)))
    >>> y.tolist(), y_test.tolist()
    ([1, 0, 0, 1, 1, 0, 1, 0], [0, 1])
    """
    X, y = train
    rows = np.arange(len(y))
    if test is None:
        held = hold_out(y)
        rows, test = np.flatnonzero(~held), (X[held], y[held])
    rows = rows[mixed_order(y[rows])]
    return (X[rows], y[rows]), test


def hold_out(y: np.ndarray) -> np.ndarray:
    """Choose a test part: a fifth of each class, drawn at random, and at most 10,000 in all.

    Every class with two examples or more has one on either side, whatever that does to the total;
    an only example is left to train on.

    Args:
        y: (N,) labels in [0, C).

    Returns:
        (N,) booleans, True where an example is held out.

    >>> hold_out(np.array([0, 0, 0, 0, 1, 1, 2])).sum()
    np.int64(2)
    """
    order, counts, ranks = _ranks(y, np.random.RandomState(0))
    total = min(len(y) // 5, MOST_HELD_OUT)
    # Differences of rounded running sums: each within 1 of its class's share, and exact in total.
    shares = np.diff(np.cumsum(counts) * total // len(y), prepend=0)
    shares = np.minimum(np.maximum(shares, 1), counts - 1)
    held = np.zeros(len(y), bool)
    held[order] = ranks < shares[y[order]]
    return held


def mixed_order(y: np.ndarray) -> np.ndarray:
    """Return a random order of which any first or last examples are a stratified sample.

    The k-th example of a class of n, drawn at random, goes to a random place in ``[k/n, (k+1)/n)``
    of the whole: any stretch has each class in its proportion, to within 2 examples. An only
    example comes first, so that no validation part at the end takes it.

    Args:
        y: (N,) labels in [0, C).

    Returns:
        (N,) the indices of y in that order.

    >>> y = np.repeat([0, 1], [6, 3])
    >>> y[mixed_order(y)].tolist()
    [0, 1, 0, 0, 1, 0, 0, 0, 1]
    """
    rng = np.random.RandomState(0)
    order, counts, ranks = _ranks(y, rng)
    sizes = counts[y[order]]
    places = np.where(sizes == 1, 0.0, (ranks + rng.random_sample(len(y))) / sizes)
    return order[np.argsort(places, kind="stable")]


def _ranks(y: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A shuffled order, class after class; the classes' sizes; each example's rank in its class."""
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    counts = np.bincount(y)
    first = np.cumsum(counts) - counts
    return order, counts, np.arange(len(y)) - first[y[order]]
