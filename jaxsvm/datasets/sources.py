"""Rows of X from where they are kept, a few at a time.

Raw examples are anything that is sliced, and indexed by numbers of rows, as an array is: a memory
map, the images of `jaxsvm.streams.images`, or `jaxsvm.streams.blocks` that a function makes.
`ExampleRows` makes rows of X of them as they are read, the same that `jaxsvm.datasets.rows` makes
of a whole array.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxsvm.core.features import Features
from jaxsvm.core.memory import aligned
from jaxsvm.core.streamed import StreamedRows
from jaxsvm.datasets.rows import COLUMN_MULTIPLE, standardized

# So few that they are still in cache when they are copied into their places.
PIECE_ROWS = 256


@runtime_checkable
class Examples(Protocol):
    """N raw examples, of which some are read at a time.

    Attributes:
        shape: (N, F).
        dtype: uint8, or real numbers.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, F)."""
        ...

    @property
    def dtype(self) -> Any:
        """The dtype of the numbers."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Return the rows of a slice, or of an array of numbers."""
        ...


@dataclass(frozen=True, eq=False)  # its own hash: programs are told apart by their sources
class ExampleRows:
    """Rows of X, made of raw examples as they are read.

    Bytes stay bytes, with a 1 and padding; others are ``(raw − shift) · scale`` in float64, then
    float32, and a 1.

    Attributes:
        examples: N raw ones.
        shift: (F,) float32.
        scale: (F,) float32.
        block_rows: how many rows lie together; N where one costs as much as another.
        window: how many blocks of them are at hand together.
    """

    examples: Examples
    shift: np.ndarray
    scale: np.ndarray
    block_rows: int
    window: int

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P), the bias column and padding included."""
        N, F = self.examples.shape
        multiple = COLUMN_MULTIPLE if self.dtype == np.uint8 else 1
        return N, -(-(F + 1) // multiple) * multiple

    @property
    def dtype(self) -> np.dtype:
        """Of what is read: uint8 or float32."""
        return np.dtype(np.uint8 if self.examples.dtype == np.uint8 else np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows ``start`` to ``stop − 1``, a fresh array (stop − start, P)."""
        pieces = range(start, stop, PIECE_ROWS)
        return self._rows(stop - start, (slice(i, min(i + PIECE_ROWS, stop)) for i in pieces))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of these numbers, a fresh array (len(rows), P)."""
        pieces = range(0, len(rows), PIECE_ROWS)
        return self._rows(len(rows), (rows[i : i + PIECE_ROWS] for i in pieces))

    def _rows(self, number: int, pieces: Iterable[Any]) -> np.ndarray:
        """Return so many rows, which the pieces index together."""
        F = self.examples.shape[1]
        X, stop = aligned((number, self.shape[1]), self.dtype), 0
        after = np.eye(1, self.shape[1] - F, dtype=self.dtype)  # the bias column, and padding
        for piece in pieces:
            raw = self.examples[piece]
            start, stop = stop, stop + len(raw)
            if self.dtype == np.float32:
                raw = (raw - self.shift.astype(np.float64)) * self.scale
            with np.errstate(over="ignore"):  # a number beyond float32 is infinite, and seen so
                X[start:stop, :F] = raw
            X[start:stop, F:] = after  # while they are in cache
        return X


def streamed(
    examples: Examples, shift: np.ndarray, scale: np.ndarray, block_rows: int, window: int
) -> Features:
    """Return X as a stream of `ExampleRows`, bytes centred and scaled in the products."""
    rows = StreamedRows(ExampleRows(examples, shift, scale, block_rows, window))
    return standardized(rows, shift, scale) if rows.dtype == np.uint8 else rows
