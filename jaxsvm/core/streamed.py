"""X that is too large for memory: its rows are read whenever they are needed.

`StreamedRows` stands in place of X, or of the values of `StandardizedFeatures`. It holds no rows,
only a `RowSource` that reads them, a piece at a time: one piece is computed on while a thread reads
the next. So memory holds three pieces and whatever has a number for each example: labels, losses,
and scores where a method needs all of them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.passes import pass_over
from jaxsvm.core.sources import RowSource, held_dtype, take_rows


@jax.tree_util.register_static
class StreamedRows:
    """The rows of a matrix, read when they are needed.

    It has the matrix's shape and dtype. ``X[index]`` reads rows, of a slice or of integers, as a
    plain array; `numpy.asarray` reads all of them. Two are equal if they have the same source.

    Attributes:
        source: reads the rows.
        maps: functions of single numbers, such as `jax.numpy.abs`, that are applied to what is
            read.

    Raises:
        ValueError: the source has no (N, P) shape, or a dtype that X cannot have.

    >>> class Numbers:
    ...     shape, dtype = (4, 1), np.dtype(np.float32)
    ...     def read(self, start, stop):
    ...         return np.arange(start, stop, dtype=np.float32)[:, None]
    >>> X = StreamedRows(Numbers())
    >>> X, X[1:3].tolist()
    (StreamedRows(float32[4, 1]), [[1.0], [2.0]])
    """

    source: RowSource
    maps: tuple[Callable[[Array], Array], ...]

    def __init__(self, source: Any, maps: tuple[Callable[[Array], Array], ...] = ()) -> None:
        shape, dtype = getattr(source, "shape", None), getattr(source, "dtype", None)
        if not callable(getattr(source, "read", None)):
            raise ValueError(
                f"source is a {type(source).__name__}: expected shape, dtype and read(start, stop)"
            )
        if not (isinstance(shape, tuple) and len(shape) == 2):
            raise ValueError(f"source.shape = {shape!r}: expected (N, P), rows and columns")
        if dtype not in (np.uint8, np.float32, np.float64):
            raise ValueError(f"source.dtype = {dtype!r}: expected uint8, float32 or float64")
        try:
            hash(source)
        except TypeError as error:
            raise ValueError(
                f"source is a {type(source).__name__} without a hash ({error}): expected one, by "
                "which JAX tells programs apart; a dataclass has one with eq=False"
            ) from None
        self.source, self.maps = source, maps

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        N, P = self.source.shape
        return int(N), int(P)

    @property
    def dtype(self) -> Any:
        """The dtype of the numbers, as JAX has them: float32 of float64 where that is off."""
        number = jax.ShapeDtypeStruct((), held_dtype(self.source))
        return jax.eval_shape(self.mapped, number).dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __repr__(self) -> str:
        return f"StreamedRows({self.dtype}{list(self.shape)})"

    def __len__(self) -> int:
        return self.shape[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StreamedRows):
            return NotImplemented
        return self.source is other.source and self.maps == other.maps

    def __hash__(self) -> int:
        return hash((id(self.source), self.maps))

    def __getitem__(self, index: Any) -> Array:
        if not (hasattr(index, "dtype") and jnp.issubdtype(index.dtype, np.integer)):
            places = slice(None) if isinstance(index, slice) else index
            rows = index.indices(len(self)) if isinstance(index, slice) else (len(self),)
            index = np.arange(*rows, dtype=np.int32)[places]
        return self.mapped(take_rows.bind(index, source=self.source))

    def __matmul__(self, other: Array) -> Array:
        return self.each_row(lambda rows: rows @ other)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def mapped(self, rows: Array) -> Array:
        """Return rows as they are after all maps."""
        for f in self.maps:
            rows = f(rows)
        return rows

    def map(self, f: Callable[[Array], Array]) -> "StreamedRows":
        """Return f of every number, computed whenever a piece has been read."""
        return StreamedRows(self.source, (*self.maps, f))

    def scan_blocks(
        self,
        f: Callable[..., tuple[Any, Any]],
        zero: Any,
        columns: tuple[Array, ...],
        cut: tuple[int, int, int],
    ) -> tuple[Any, Any]:
        """Do as `jaxsvm.core.passes.pass_over`, f being handed what the maps made of the rows."""

        def block(total: Any, rows: Array, *columns: Array) -> tuple[Any, Any]:
            return f(total, self.mapped(rows), *columns)

        return pass_over(block, zero, self.source, columns, cut)

    def each_row(self, f: Callable[[Array], Array]) -> Array:
        """Return f of all rows, which treats every row alone; it sees a block of them at a time."""
        N, most = len(self), block_sizes().product
        if most >= N:
            return f(self[:])
        # No rest of one row: its product with a matrix is of another kind.
        size = next(size for size in range(most, 0, -1) if N % size != 1)
        _, out = self.scan_blocks(lambda _, rows: ((), f(rows)), (), (), (1, N // size, size))
        rest = self[N // size * size :]
        return jnp.concatenate([out, f(rest)]) if len(rest) else out
