"""Examples that a function makes or reads, a block at a time."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from jaxsvm.core.arguments import check_labels
from jaxsvm.datasets.examples import check_numbers

# Of the blocks that are kept, where nobody says how many.
WINDOW_BYTES = 2**27


class Blocks:
    """Raw examples of a function of a block's number; the ``window`` blocks last used are kept.

    Attributes:
        shape: (N, F), each example flattened in C order.
        dtype: of the first block, and so of all.
        block_rows: examples of a block; the last has what is left.
        window: how many blocks are kept.
    """

    def __init__(
        self,
        block: Callable[[int], tuple[Any, Any]],
        num_rows: int,
        block_rows: int,
        window: int | None,
    ) -> None:
        self._block, self.block_rows = block, block_rows
        X, _ = self._pair(0)
        self.shape, self.dtype = (num_rows, X[0].size), X.dtype
        self._example = X.shape[1:]
        self.window = window or max(2, WINDOW_BYTES // X.nbytes)
        # Copied, because the function may fill its arrays again.
        self._kept = lru_cache(self.window)(lambda i: self._made(i)[0].copy())

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.arange(*index.indices(self.shape[0])) if isinstance(index, slice) else index
        numbers = rows // self.block_rows
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        # In the order in which they come, so that a block is done with before the next is made.
        for i in dict.fromkeys(numbers.tolist()):
            here = numbers == i
            found[here] = self._kept(i)[rows[here] - i * self.block_rows]
        return found

    def checked(self, *, has_labels: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the examples and the labels of one block after the other, looking at every value.

        Args:
            has_labels: whether the blocks say the labels, so that these are looked at too.

        Raises:
            ValueError: what a block holds cannot be used.
        """
        for i in range(-(-self.shape[0] // self.block_rows)):
            X, y = self._made(i)
            check_numbers(X, lambda *place, i=i: f"X of block({i}), flattened, {list(place)}")
            if not has_labels:
                yield X, y
                continue
            if not isinstance(y, np.ndarray) or y.shape != X.shape[:1]:
                raise ValueError(
                    f"y of block({i}) has shape {np.shape(y)}: expected a NumPy array of {len(X)} "
                    "labels, or name them all by y="
                )
            try:
                check_labels(y, None)
            except ValueError as error:
                raise ValueError(f"block({i}): {error}") from None
            yield X, y

    def _made(self, i: int) -> tuple[np.ndarray, Any]:
        """Return a block's examples, flattened, and what it says of their labels."""
        X, y = self._pair(i)
        expected = min(self.block_rows, self.shape[0] - i * self.block_rows), *self._example
        if X.shape != expected or X.dtype != self.dtype:
            raise ValueError(
                f"X of block({i}) is {X.dtype}{list(X.shape)}: expected "
                f"{self.dtype}{list(expected)}, as num_rows, block_rows and the first block say"
            )
        return X.reshape(len(X), -1), y

    def _pair(self, i: int) -> tuple[np.ndarray, Any]:
        """Return what the function does, a pair of which the first are numbers, (n, ...)."""
        pair = self._block(i)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            came = type(pair).__name__
            raise ValueError(f"block({i}) returned a {came}: expected a pair, X and y")
        X, y = pair
        if type(X) not in (np.ndarray, np.memmap) or X.dtype.kind not in "biuf":
            came = f"dtype {X.dtype}" if hasattr(X, "dtype") else type(X).__name__
            raise ValueError(
                f"X of block({i}) is of {came}: expected a NumPy array of real numbers"
            )
        if X.ndim < 2 or X.size == 0:
            raise ValueError(f"X of block({i}) has shape {X.shape}: expected (n, F), or (n, ...)")
        return X, y
