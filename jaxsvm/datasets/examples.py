"""What a source of examples hands over, and the error of one that cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Rows looked at together, so that a mask or a float64 copy of a large X is never as long as X.
ROWS = 4096
# Far enough below the largest float32 that the difference of two such numbers is one, too.
LARGEST = 1e37


class DatasetError(ValueError):
    """A dataset is missing, damaged or in a form that cannot be read; the message says what to do.

    >>> issubclass(DatasetError, ValueError)
    True
    """


class UnknownDatasetError(DatasetError):
    """No dataset has this name."""


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or what it is called if it says nothing.

    >>> first_line(ValueError("no magic\\nin line 7")), first_line(EOFError())
    ('no magic', 'EOFError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Examples(NamedTuple):
    """A dataset's training and test part as its source has them, undivided and unscaled.

    Attributes:
        train: examples (N, ...) and (N,) int32 labels in [0, C). Images are uint8 of
            (N, H, W, channels); others are a table (N, F), or (N, ...), of any real type.
        test: the same for the test part.
        class_names: the classes, by label.
        description: the dataset's own words about itself.
        feature_names: the F columns of a table, where the source names them; else empty.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]
    description: str
    feature_names: tuple[str, ...] = ()


class Part(NamedTuple):
    """What a reader makes of one file or folder: examples, and labels not yet numbered.

    Attributes:
        source: where it came from, for messages.
        X: (N, ...) of any real type, all finite.
        labels: (N,) int64 or text, as `canonical_labels` returns them.
        feature_names: as in `Examples`.
        label_column: what the column of labels is called; None where it is no column.
    """

    source: Path
    X: np.ndarray
    labels: np.ndarray
    feature_names: tuple[str, ...] = ()
    label_column: str | None = None


def is_image(X: np.ndarray) -> bool:
    """Return whether examples are images: uint8 with more axes than (N, F).

    >>> is_image(np.zeros((5, 8, 8, 3), np.uint8)), is_image(np.zeros((5, 8), np.uint8))
    (True, False)
    """
    return X.dtype == np.uint8 and X.ndim > 2


def check_numbers(X: np.ndarray, place: Callable[..., str]) -> None:
    """Raise DatasetError, naming the first bad entry, unless float32 can hold every number.

    Args:
        X: (N, ...) of a boolean, integer or float type.
        place: how a message calls the entry of an index, ``place(i, j, ...) -> str``.

    Raises:
        DatasetError: an entry is NaN, infinite or beyond ``LARGEST``.
    """
    for start in range(0, len(X), ROWS):
        block = np.asarray(X[start : start + ROWS], np.float64)
        for first, *rest in np.argwhere(~(np.abs(block) <= LARGEST))[:1].tolist():
            value = block[(first, *rest)]
            raise DatasetError(
                f"{place(first + start, *rest)} is {value}: expected a finite number, at most "
                f"{LARGEST:g} in size; fill in or leave out what is missing"
            )
