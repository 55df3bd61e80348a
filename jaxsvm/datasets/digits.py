"""scikit-learn's handwritten digits: real images that need no network and no files."""

import numpy as np

from jaxsvm.datasets.images import DatasetError, Images


def load_digits_images() -> Images:
    """Return the digits, shuffled by a fixed seed, because their order follows the writers.

    Raises:
        DatasetError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError(
            "'digits' comes with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error

    digits = load_digits()
    # RandomState's stream is frozen by NumPy's policy; the newer generators' may change.
    order = np.random.RandomState(0).permutation(len(digits.target))
    pixels = digits.images.astype(np.uint8)[order, :, :, None]
    labels = digits.target.astype(np.int32)[order]
    train, test = order.size - 300, order.size
    return Images(
        train=(pixels[:train], labels[:train]),
        test=(pixels[train:test], labels[train:test]),
        class_names=tuple(str(name) for name in digits.target_names),
        description="scikit-learn's digits: 1,797 handwritten digits of 8x8 pixels, 0 to 16",
    )
