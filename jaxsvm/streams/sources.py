"""Where the rows of a stream are taken from in any order."""

from typing import Protocol, runtime_checkable

import numpy as np

from jaxsvm.core.sources import RowSource


@runtime_checkable
class ShuffledSource(RowSource, Protocol):
    """A `RowSource` whose rows can be taken in the order of `jaxsvm.streams.order`.

    Attributes:
        block_rows: how many rows lie together; N where any row costs as much as its neighbour.
        window: how many blocks of them can be at hand together.
    """

    @property
    def block_rows(self) -> int:
        """How many rows lie together."""
        ...

    @property
    def window(self) -> int:
        """How many blocks of them can be at hand together."""
        ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of these numbers, (len(rows), P), a fresh array that nobody fills again.

        It is called on several threads, by one at a time.
        """
        ...
