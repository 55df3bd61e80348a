"""Labels of one's own, numbers or names, and the classes 0 to C − 1 that they stand for."""

import re
from collections.abc import Callable

import numpy as np

from jaxsvm.datasets.examples import DatasetError, Part

WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?")
ANY_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
MOST = 2**53  # the whole numbers up to here are exact in float64, and in int64


def canonical_labels(labels: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """Return labels as int64 if all of them are whole numbers, else as text.

    Args:
        labels: (N,) integers, floats without a fraction, booleans, text or bytes of UTF-8.
        place: how a message calls the label of an index.

    Raises:
        DatasetError: a label is missing (NaN, or text that is empty or "nan") or has a fraction;
            labels of another type.

    >>> canonical_labels(np.array(["10", " 9", "10.0"]), str)
    array([10,  9, 10])
    >>> canonical_labels(np.array(["cat", "7"]), str).tolist()
    ['cat', '7']
    """
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind in "iuf":
        numbers = labels.astype(np.float64)
        for i in np.flatnonzero(~((numbers == np.floor(numbers)) & (np.abs(numbers) <= MOST)))[:1]:
            raise _bad(place(int(i)), "" if np.isnan(numbers[i]) else f"{labels[i]}")
        return labels.astype(np.int64)
    if labels.dtype.kind not in "Ub":
        raise DatasetError(
            f"{place(0)} has type {labels.dtype}: expected whole numbers or names as labels"
        )
    texts, inverse = np.unique(np.char.strip(labels.astype(str)), return_inverse=True)
    return _numbered(texts, inverse, place)[inverse]


def is_missing(label: str) -> bool:
    """Return whether the text of a label says that there is none.

    >>> is_missing(" "), is_missing("NaN"), is_missing("none of them")
    (True, True, False)
    """
    return label.strip().lower() in ("", "nan")


def _numbered(texts: np.ndarray, inverse: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """The different labels as int64 where all are whole numbers, else as they are."""
    values = texts.tolist()

    def refuse(k: int, label: str) -> None:
        raise _bad(place(int(np.flatnonzero(inverse == k)[0])), label)

    for k, text in enumerate(values):
        if is_missing(text):
            refuse(k, "")
    if all(map(WHOLE.fullmatch, values)):
        numbers = [int(text.split(".")[0]) for text in values]
        return np.array(numbers, np.int64) if max(map(abs, numbers)) <= MOST else texts
    if all(map(NUMBER.fullmatch, values)):
        for k, text in enumerate(values):
            if not ANY_WHOLE.fullmatch(text):
                refuse(k, text)
    return texts


def _bad(place: str, label: str) -> DatasetError:
    if not label:
        return DatasetError(f"{place} is missing: expected a label for every example")
    return DatasetError(
        f"{place} is {label}: expected classes, whole numbers or names; a number to be predicted "
        "is no class"
    )


def classes(
    train: Part, test: Part | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray | None]:
    """Return the class names and the (N,) int32 labels of the training and of the test part.

    The classes are the different labels of the training part, numbers sorted as numbers and names
    as text.

    Raises:
        DatasetError: the training part has one class only, or the test part one that it lacks.
    """
    labels, others = train.labels, None if test is None else test.labels
    if others is not None and labels.dtype.kind != others.dtype.kind:
        labels, others = labels.astype(str), others.astype(str)
    values, y = np.unique(labels, return_inverse=True)
    names = tuple(str(value) for value in values)
    if len(names) < 2:
        raise DatasetError(
            f"{train.source} has one class only, {names[0]!r}: expected two classes or more"
        )
    if test is None or others is None:
        return names, y.astype(np.int32), None
    places = np.minimum(np.searchsorted(values, others), len(values) - 1)
    for i in np.flatnonzero(values[places] != others)[:1]:
        shown = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
        raise DatasetError(
            f"{test.source} has the label {str(others[i])!r} (example {i}, the first is 0), which "
            f"no training example has: expected one of {shown}"
        )
    return names, y.astype(np.int32), places.astype(np.int32)
