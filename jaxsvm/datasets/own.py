"""Files and folders of one's own, by their suffix, as the record that named datasets come in."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from jaxsvm.datasets.arrays import read_npy, read_npz
from jaxsvm.datasets.examples import DatasetError, Examples, Part, is_image
from jaxsvm.datasets.folders import read_folder
from jaxsvm.datasets.labels import classes
from jaxsvm.datasets.split import divide
from jaxsvm.datasets.tables import read_csv, read_parquet

StrPath: TypeAlias = str | os.PathLike[str]
# From a file and what ``labels`` names there to its part, and to its test part if it holds one.
Reader: TypeAlias = Callable[[Path, StrPath | None], tuple[Part, Part | None]]
READERS: dict[str, Reader] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def is_path(name: StrPath) -> bool:
    """Return whether a name is meant as a path, whatever exists on this machine.

    It is if it is a `pathlib.Path`, or text with a suffix or with a folder; but ``"word/word"`` is
    a tfds dataset and its configuration, so a folder in a folder is ``"./word/word"``.

    >>> [is_path(name) for name in ("cifar10", "a/b", "./a/b", "a/b.csv", "a.xlsx")]
    [False, False, True, True, True]
    """
    if not isinstance(name, str) or Path(name).suffix.lower() in READERS:
        return True
    if re.fullmatch(r"\w+/[\w-][\w.-]*", name):
        return False
    return Path(name).suffix != "" or any(sep in name for sep in (os.sep, os.altsep) if sep)


def load_own(
    path: StrPath,
    labels: StrPath | None = None,
    test: StrPath | None = None,
    test_labels: StrPath | None = None,
) -> Examples:
    """Return the examples of a file or folder, the training part in `mixed_order`.

    Args:
        path: a file with a suffix in ``READERS``, or a folder of class folders of images.
        labels: what the reader of that suffix takes: a file, the name of a column, or nothing.
        test: the same for the test part; by default the file's own, else `hold_out`.
        test_labels: the same as ``labels``; by default the column of the training part.

    Raises:
        DatasetError: the path does not exist or has another suffix; whatever its reader refuses;
            two test parts; a test part of another form; labels that it alone has; one class only.
    """
    train, held = _read(path, labels)
    if test is not None and held is not None:
        raise DatasetError(f"{path} holds a test part of its own: expected no test=")
    if test is not None:
        held, second = _read(test, test_labels or train.label_column)
        if second is not None:
            raise DatasetError(f"{test} holds a test part of its own: expected one part for test=")
    elif test_labels is not None:
        raise DatasetError(f"test_labels = {str(test_labels)!r} without test=: expected both")
    if held is not None:
        _check_alike(train, held)
    names, y, test_y = classes(train, held)
    given = None if held is None or test_y is None else (held.X, test_y)
    shape = "x".join(map(str, train.X.shape[1:]))
    held_out = "" if given else ", of which a fixed part was held out as the test part"
    examples = Examples(
        *divide((train.X, y), given),
        class_names=names,
        description=f"{Path(path).name}: {len(y):,} examples of {shape} numbers{held_out}",
        feature_names=train.feature_names,
    )
    if len(examples.test[1]) == 0:
        raise DatasetError(
            f"{path} has no class of two examples, so that no test part can be held out: name one, "
            "test=..."
        )
    return examples


def _read(path: StrPath, labels: StrPath | None) -> tuple[Part, Part | None]:
    """Read a file by its suffix, or a folder."""
    path = Path(path).expanduser()
    known = f"a folder of class folders of images, or a file in {', '.join(READERS)}"
    if path.is_dir():
        return read_folder(path, labels)
    if not path.is_file():
        raise DatasetError(f"{path} does not exist: expected {known}")
    if path.suffix.lower() not in READERS:
        raise DatasetError(f"{path} has the suffix {path.suffix!r}: expected {known}")
    return READERS[path.suffix.lower()](path, labels)


def _check_alike(train: Part, test: Part) -> None:
    """Refuse a test part whose examples have other columns or another shape.

    Raises:
        DatasetError: it has.
    """
    a, b = train.X, test.X
    if a.shape[1:] != b.shape[1:] or is_image(a) != is_image(b):
        raise DatasetError(
            f"{test.source} has examples of {b.dtype} {b.shape[1:]} and {train.source} of "
            f"{a.dtype} {a.shape[1:]}: expected the test part in the form of the training part"
        )
    if train.feature_names and test.feature_names:
        pairs = zip(train.feature_names, test.feature_names, strict=True)
        for j, (name, other) in enumerate(pairs):
            if name != other:
                raise DatasetError(
                    f"{test.source} has {other!r} where {train.source} has {name!r}, in column {j} "
                    "of the features: expected the same columns in the same order"
                )
