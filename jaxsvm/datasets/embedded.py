"""scikit-learn's own small datasets: real data that need no network and no files."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsvm.datasets.examples import DatasetError, Examples
from jaxsvm.datasets.split import divide


def load_embedded(name: str) -> Examples:
    """Return one of the datasets in ``EMBEDDED``.

    Raises:
        DatasetError: scikit-learn is not installed.
    """
    try:
        import sklearn.datasets
    except ImportError as error:
        raise DatasetError(
            f"{name!r} comes with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error

    make, description = EMBEDDED[name]
    source = getattr(sklearn.datasets, f"load_{name}")()
    return make(source, f"scikit-learn's {name}: {description}")


def _digits(digits: Any, description: str) -> Examples:
    """The digits, shuffled by a fixed seed, because their order follows the writers."""
    # RandomState's stream is frozen by NumPy's policy; the newer generators' may change.
    order = np.random.RandomState(0).permutation(len(digits.target))
    pixels = digits.images.astype(np.uint8)[order, :, :, None]
    labels = digits.target.astype(np.int32)[order]
    train, test = order.size - 300, order.size
    return Examples(
        train=(pixels[:train], labels[:train]),
        test=(pixels[train:test], labels[train:test]),
        class_names=tuple(str(name) for name in digits.target_names),
        description=description,
    )


def _table(table: Any, description: str) -> Examples:
    """A table, which is sorted by class: a fifth of every class is the test part."""
    train, test = divide((table.data, table.target.astype(np.int32)))
    return Examples(
        train=train,
        test=test,
        class_names=tuple(str(name) for name in table.target_names),
        description=description,
        feature_names=tuple(str(name) for name in table.feature_names),
    )


# {name: (what makes examples of scikit-learn's record, the description)}
EMBEDDED: dict[str, tuple[Callable[[Any, str], Examples], str]] = {
    "digits": (_digits, "1,797 handwritten digits of 8x8 pixels, 0 to 16"),
    "iris": (_table, "150 irises of three species, 4 lengths and widths"),
    "wine": (_table, "178 wines of three growers, 13 measurements"),
    "breast_cancer": (_table, "569 tumours, malignant or benign, 30 measurements"),
}
