"""Arrays of one's own in NumPy's files: X.npy with y.npy, or an .npz of both.

A file that could only be read by running code (a pickle, an array of objects) is refused.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.datasets.examples import DatasetError, Part, check_numbers, first_line
from jaxsvm.datasets.labels import canonical_labels


def read_npy(file: Path, labels: str | os.PathLike[str] | None) -> tuple[Part, None]:
    """Return the examples of one .npy file with the labels of another.

    Raises:
        DatasetError: no file of labels is named, or what `_part` and `load_arrays` refuse.
    """
    if labels is None:
        raise DatasetError(
            f"{file} holds X alone: name the file of its labels, labels='y.npy' (and test_labels= "
            "for that of test=)"
        )
    labels = Path(labels).expanduser()
    return _part(file, f"{file}: X", load_arrays(file), f"{labels}: y", load_arrays(labels)), None


def read_npz(file: Path, labels: str | os.PathLike[str] | None) -> tuple[Part, Part | None]:
    """Return X and y of an .npz file, and X_test and y_test where it has them.

    Raises:
        DatasetError: labels are named, although the file holds them; arrays are missing or of
            other names, or what `_part` and `load_arrays` refuse.
    """
    if labels is not None:
        raise DatasetError(f"{file} holds its own labels, y: expected no labels= for an .npz file")
    arrays = load_arrays(file)
    names = set(arrays)
    if names not in ({"X", "y"}, {"X", "y", "X_test", "y_test"}):
        raise DatasetError(
            f"{file} holds the arrays {sorted(names)}: expected X and y and, with a test part, "
            "X_test and y_test"
        )
    parts = [
        _part(file, f"{file}: {X}", arrays[X], f"{file}: {y}", arrays[y])
        for X, y in (("X", "y"), ("X_test", "y_test"))
        if X in names
    ]
    return parts[0], parts[1] if len(parts) == 2 else None


def load_arrays(file: Path, *, mapped: bool = False) -> Any:
    """Return the array of an .npy file; {name: array} of an .npz file.

    Args:
        file: the file.
        mapped: whether the array of an .npy file is a memory map; what an .npz file holds is then
            not read.

    Raises:
        DatasetError: the file does not exist, is damaged, holds objects or is another kind of file.
    """
    if not file.is_file():
        raise DatasetError(f"{file} does not exist, or is no file: expected one of NumPy's")
    try:
        if mapped:
            return np.load(file, mmap_mode="r", allow_pickle=False)
        with open(file, "rb") as stream:
            content = np.load(stream, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise DatasetError(
            f"{file} cannot be read ({first_line(error)}): expected arrays of numbers or text as "
            "numpy.save and numpy.savez write them, without objects"
        ) from error


def check_lengths(X_name: str, X: np.ndarray, y_name: str, y: np.ndarray) -> None:
    """Raise DatasetError unless y has a label for each example of X."""
    if y.shape != X.shape[:1]:
        raise DatasetError(
            f"{y_name} has shape {y.shape} and {X_name} has shape {X.shape}: expected "
            f"{X.shape[:1]} for y, one label for each example"
        )


def _part(source: Path, X_name: str, X: Any, y_name: str, y: Any) -> Part:
    """Examples and labels, checked; images without an axis of channels get one.

    Raises:
        DatasetError: X is not real numbers (N, F) or (N, ...), is empty, or has a bad number; y is
            not labels (N,), or of another length.
    """
    for name, array, kinds in ((X_name, X, "biuf"), (y_name, y, "biufUS")):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            what = f"type {array.dtype}" if isinstance(array, np.ndarray) else "several arrays"
            wanted = "real numbers" if kinds == "biuf" else "whole numbers or names"
            raise DatasetError(f"{name} has {what}: expected {wanted}")
    if X.ndim < 2 or X.size == 0:
        raise DatasetError(
            f"{X_name} has shape {X.shape}: expected (N, F), or (N, H, W, channels), one example "
            "an entry and none of them empty"
        )
    check_lengths(X_name, X, y_name, y)

    def place(*index: int) -> str:
        return f"{X_name}[{', '.join(map(str, index))}]"

    check_numbers(X, place)
    labels = canonical_labels(y, lambda i: f"{y_name}[{i}]")
    return Part(source, X[..., None] if X.dtype == np.uint8 and X.ndim == 3 else X, labels)
