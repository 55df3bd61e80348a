"""Tables of one's own: CSV and Parquet files with named columns, one of which is the label.

A CSV file is read in one pass of NumPy's parser, which is fast and says little about a bad cell;
where it fails, the file is read again, row by row, to say which cell it was.
"""

import csv
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.datasets.examples import LARGEST, DatasetError, Part, check_numbers, first_line
from jaxsvm.datasets.labels import NUMBER, canonical_labels, is_missing

# What a column of labels is taken to be called where none is named.
LABEL_NAMES = ("label", "class", "target", "y")


def read_csv(file: Path, labels: str | os.PathLike[str] | None) -> tuple[Part, None]:
    """Return the table of a CSV file: UTF-8, commas, a header row, numbers in all other columns.

    Args:
        file: the file.
        labels: the name of the column of labels; by default the one in ``LABEL_NAMES``.

    Raises:
        DatasetError: what `_label_column` refuses; no rows; a row of another length; a cell that is
            no finite number; a label that is missing or has a fraction.
    """
    header = next(_rows(file), None)
    if header is None:
        raise DatasetError(f"{file} is empty: expected a header row and rows of numbers")
    skip, cells = header
    names = tuple(cell.strip() for cell in cells)
    column = _label_column(file, names, labels)
    at = names.index(column)
    seen: dict[str, int] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a file has no rows
            table = np.loadtxt(
                file,
                delimiter=",",
                quotechar='"',
                comments=None,
                skiprows=skip,
                ndmin=2,
                encoding="utf-8-sig",
                # So that labels are read in the same pass: each by the number of its text.
                converters={at: lambda text: seen.setdefault(text.strip(), len(seen))},
            )
    except ValueError as error:
        raise _first_bad(file, names, at, str(error)) from error
    if table.size == 0:
        raise DatasetError(f"{file} has a header and no rows: expected one example a row")
    if table.shape[1] != len(names) or any(map(is_missing, seen)):
        raise _first_bad(file, names, at)
    X = np.delete(table, at, axis=1)
    if not (X.min() >= -LARGEST and X.max() <= LARGEST):  # False for NaN, too
        raise _first_bad(file, names, at)
    order = table[:, at].astype(np.int64)
    texts = canonical_labels(
        np.array(list(seen)), lambda k: _place(file, int(np.argmax(order == k)), column)
    )
    return Part(file, X, texts[order], names[:at] + names[at + 1 :], column), None


def read_parquet(file: Path, labels: str | os.PathLike[str] | None) -> tuple[Part, None]:
    """Return the table of a Parquet file; arguments and errors are those of `read_csv`.

    Raises:
        DatasetError: pyarrow is not installed; the file is damaged; a column beside the labels
            that is not numbers; a missing value.
    """
    try:
        from pyarrow import parquet, types
    except ImportError as error:
        raise DatasetError(
            f"{file}: Parquet files are read by pyarrow, which is not installed: "
            "pip install 'jaxsvm[parquet]'"
        ) from error
    try:
        # Not read_table, which takes the names of the folders above for columns.
        with parquet.ParquetFile(file) as stream:
            table = stream.read()
    except Exception as error:  # pyarrow raises many kinds for a damaged file
        raise DatasetError(
            f"{file} cannot be read as Parquet ({first_line(error)}): is it damaged or incomplete?"
        ) from error
    names = tuple(table.column_names)
    column = _label_column(file, names, labels)
    if table.num_rows == 0:
        raise DatasetError(f"{file} has no rows: expected one example a row")
    features = tuple(name for name in names if name != column)
    X = np.empty((table.num_rows, len(features)))
    for j, name in enumerate(features):
        X[:, j] = _numbers(file, name, table.column(name))
    check_numbers(X, lambda i, j: _place(file, i, features[j]))
    values = table.column(column)
    _check_none_missing(file, column, values)
    if types.is_nested(values.type):
        raise DatasetError(
            f"{file}, column {column!r} has type {values.type}: expected whole numbers or names"
        )
    y = canonical_labels(np.array(values.to_pylist()), lambda i: _place(file, i, column))
    return Part(file, X, y, features, column), None


def _label_column(file: Path, names: Sequence[str], labels: str | os.PathLike[str] | None) -> str:
    """The column of labels: the one that is named, or the only one with a usual name.

    Raises:
        DatasetError: there is none or more than one; columns without a name or of one name; no
            column beside it; a first row that is no header.
    """
    columns = ", ".join(map(repr, names))
    asked = [labels] if labels is not None else LABEL_NAMES
    found = [name for name in names if name in asked]
    if len(found) != 1 and any(map(NUMBER.fullmatch, names)):
        raise DatasetError(
            f"{file} begins with {columns}: expected a header row, which names the columns, and in "
            "it the column of labels"
        )
    if len(set(names)) < len(names):
        raise DatasetError(f"{file} has the columns {columns}: expected each name once")
    if len(found) != 1 and labels is not None:
        raise DatasetError(
            f"{file} has no column {str(labels)!r}: labels= names one of its columns, {columns}"
        )
    if len(found) != 1:
        raise DatasetError(
            f"{file} has the columns {columns}: name the one of the labels, labels='...'; without "
            f"that, exactly one must be called {' or '.join(map(repr, LABEL_NAMES))}"
        )
    # An index that pandas wrote along is no measurement, and often tells the class.
    for name in names:
        if not name or name.startswith("__index_level_"):
            raise DatasetError(
                f"{file} has a column without a name among {columns}: name it or leave it out "
                "(pandas: index=False)"
            )
    if len(names) == 1:
        raise DatasetError(f"{file} has the column {columns} alone: expected columns of numbers")
    return found[0]


def _place(file: Path, i: int, column: str) -> str:
    """How a message calls a cell where lines are not known."""
    return f"{file}, row {i} (the first is 0), column {column!r}"


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the number of its last line."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            yield from ((rows.line_num, row) for row in rows if row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} is no CSV file in UTF-8 ({error}): convert it") from error


def _first_bad(
    file: Path, names: Sequence[str], at: int, otherwise: str = "cannot be read"
) -> DatasetError:
    """The error that names the first bad row or cell; ``otherwise`` where all look well."""
    rows = _rows(file)
    next(rows)
    for line, row in rows:
        if len(row) != len(names):
            return DatasetError(
                f"{file}, line {line} has {len(row)} cells: expected {len(names)}, as the header"
            )
        for j, (name, cell) in enumerate(zip(names, row, strict=True)):
            place = f"{file}, line {line}, column {name!r}"
            if j == at and is_missing(cell):
                return DatasetError(f"{place} is missing: expected a label for every example")
            if j != at and not _is_number(cell):
                return DatasetError(f"{place} is {cell!r}: expected a finite number")
    return DatasetError(f"{file}: {otherwise}")


def _is_number(cell: str) -> bool:
    try:
        return abs(float(cell)) <= LARGEST
    except ValueError:
        return False


def _numbers(file: Path, name: str, values: Any) -> np.ndarray:
    """A column of a Parquet file as numbers."""
    _check_none_missing(file, name, values)
    numbers = values.to_numpy()
    if numbers.dtype.kind not in "biuf":
        raise DatasetError(f"{file}, column {name!r} has type {values.type}: expected numbers")
    return numbers


def _check_none_missing(file: Path, name: str, values: Any) -> None:
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy()))
        raise DatasetError(f"{_place(file, row, name)} is missing: expected a value in every row")
