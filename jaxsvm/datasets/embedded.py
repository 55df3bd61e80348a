"""scikit-learn's own small datasets: real data that need no network and no files."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxsvm.datasets.examples import DatasetError, Examples
from jaxsvm.datasets.split import divide


def load_embedded(name: str) -> Examples:
    """Return one of the datasets in ``EMBEDDED``.

    Raises:
        DatasetError: scikit-learn is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise DatasetError(
            f"{name!r} comes with scikit-learn, which is not installed: pip install scikit-learn"
        )
    make, description = EMBEDDED[name]
    return make(name, f"scikit-learn's {name}: {description}")


def _digits(name: str, description: str) -> Examples:
    """The digits, shuffled by a fixed seed, because their order follows the writers."""
    table = _digits_table()
    # RandomState's stream is frozen by NumPy's policy; the newer generators' may change.
    table = table[np.random.RandomState(0).permutation(len(table))]
    pixels, labels = table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(np.int32)
    train = len(table) - 300
    return Examples(
        train=(pixels[:train], labels[:train]),
        test=(pixels[train:], labels[train:]),
        class_names=tuple("0123456789"),
        description=description,
    )


def _digits_table() -> np.ndarray:
    """Return scikit-learn's digits, (1797, 65) bytes, the label last.

    From its file where that is where it has always been: importing scikit-learn takes longer than
    all else that a small experiment does first.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / "datasets/data/digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",").astype(np.uint8)
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.uint8)


def _table(name: str, description: str) -> Examples:
    """A table, which is sorted by class: a fifth of every class is the test part."""
    import sklearn.datasets

    table = getattr(sklearn.datasets, f"load_{name}")()
    train, test = divide((table.data, table.target.astype(np.int32)))
    return Examples(
        train=train,
        test=test,
        class_names=tuple(str(name) for name in table.target_names),
        description=description,
        feature_names=tuple(str(name) for name in table.feature_names),
    )


# {name: (what makes examples of the name and the description, the description)}
EMBEDDED: dict[str, tuple[Callable[[str, str], Examples], str]] = {
    "digits": (_digits, "1,797 handwritten digits of 8x8 pixels, 0 to 16"),
    "iris": (_table, "150 irises of three species, 4 lengths and widths"),
    "wine": (_table, "178 wines of three growers, 13 measurements"),
    "breast_cancer": (_table, "569 tumours, malignant or benign, 30 measurements"),
}
