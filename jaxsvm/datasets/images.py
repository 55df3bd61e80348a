"""What a source of images hands over, and the error of one that cannot."""

from typing import NamedTuple

import numpy as np


class DatasetError(ValueError):
    """A dataset is missing, damaged or in a form that cannot be read; the message says what to do.

    >>> issubclass(DatasetError, ValueError)
    True
    """


class Images(NamedTuple):
    """A dataset's two splits as it names them, undivided and unscaled.

    Attributes:
        train: (N, H, W, channels) uint8 images and (N,) int32 labels.
        test: the same for the test split.
        class_names: the classes, by label.
        description: the dataset's own words about itself.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]
    description: str
