"""Rows that are too many for memory: read a piece at a time, wherever they come from.

`StreamedRows` stands in place of X, or of the values of `StandardizedFeatures`. It holds no rows,
only a `RowSource` that reads them. All of them are met in passes (`jaxsvm.core.passes`): one piece
is computed on while a thread reads the next. So memory holds two or three pieces and whatever has a
number for each example: labels, losses, and scores where a method needs all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir


@runtime_checkable
class RowSource(Protocol):
    """Where rows are read from: a file, a memory map, a function.

    Attributes:
        shape: (N, P).
        dtype: of what `read` returns: uint8, float32 or float64.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The dtype of what `read` returns."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows ``start`` to ``stop − 1``, (stop − start, P).

        It is called on a thread of its own, by one thread at a time, and what it returns is copied
        at once: it may be a memory map, or a buffer that the next call fills again. A source that
        can take single rows faster may also have ``take(index: np.ndarray) -> np.ndarray``, of
        indices in [0, N).
        """
        ...


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

    def __init__(self, source: RowSource, maps: tuple[Callable[[Array], Array], ...] = ()) -> None:
        shape, dtype = getattr(source, "shape", None), getattr(source, "dtype", None)
        if not callable(getattr(source, "read", None)):
            raise ValueError(
                f"source is a {type(source).__name__}: expected shape, dtype and read(start, stop)"
            )
        if not (isinstance(shape, tuple) and len(shape) == 2):
            raise ValueError(f"source.shape = {shape!r}: expected (N, P), rows and columns")
        if dtype not in (np.uint8, np.float32, np.float64):
            raise ValueError(f"source.dtype = {dtype!r}: expected uint8, float32 or float64")
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
            index = np.arange(len(self), dtype=np.int32)[index]
        return self.mapped(take_rows.bind(index, source=self.source))

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


def held_dtype(source: RowSource) -> np.dtype:
    """Return the dtype that JAX has a source's numbers in: of float64 float32 where that is off."""
    return np.dtype(jax.dtypes.canonicalize_dtype(source.dtype))


def read_rows(
    source: RowSource, start: int, stop: int, dtype: np.dtype, *, room: int = 0
) -> np.ndarray:
    """Return a copy of rows of a source, in an array with room for as many or more.

    ``dtype`` is `held_dtype`, which depends on the thread that asks.

    Raises:
        OSError: the source raised one; this one says which rows.
        ValueError: it returned something else than these rows.
    """
    try:
        rows = source.read(start, stop)
    except OSError as error:
        raise OSError(
            error.errno, f"rows {start} to {stop - 1} of {_name(source)} cannot be read: {error}"
        ) from error
    return _checked(source, rows, stop - start, f"read({start}, {stop})", dtype, room)


def read_pieces(
    source: RowSource, ranges: Sequence[tuple[int, int]], *, room: int = 0
) -> Iterator[np.ndarray]:
    """Yield `read_rows` of each range, the next one read meanwhile."""
    dtype = held_dtype(source)
    with ThreadPoolExecutor(1, thread_name_prefix="jaxsvm-read") as reader:

        def begin(number: int) -> Any:
            return reader.submit(read_rows, source, *ranges[number], dtype, room=room)

        ahead = begin(0) if ranges else None
        for number in range(1, len(ranges) + 1):
            rows = ahead.result()
            ahead = begin(number) if number < len(ranges) else None
            yield rows


def refuse_compilation(*_: Any, **__: Any) -> NoReturn:
    """Say that compiled code cannot read a stream."""
    raise ValueError(
        "data.X is StreamedRows, which code inside jax.jit cannot read: expected a call outside "
        "jax.jit; jaxsvm.core.compiled compiles a function all the same, but for its passes over X"
    )


def _rows_at(index: Any, *, source: RowSource) -> Array:
    """Return ``X[index]``, each row read once, neighbours together."""
    (N, P), dtype = source.shape, held_dtype(source)
    index = np.asarray(index)
    index = np.clip(np.where(index < 0, index + N, index), 0, N - 1)
    wanted, place = np.unique(index, return_inverse=True)
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1)
    take = getattr(source, "take", None)
    if take is not None and len(runs) > 1:
        try:
            rows = take(wanted)
        except OSError as error:
            raise OSError(
                error.errno, f"{len(wanted)} rows of {_name(source)} cannot be read: {error}"
            ) from error
        rows = _checked(source, rows, len(wanted), f"take(of {len(wanted)} rows)", dtype)
    else:
        parts = [
            read_rows(source, int(run[0]), int(run[-1]) + 1, dtype) for run in runs if len(run)
        ]
        rows = np.concatenate([np.zeros((0, P), dtype), *parts])
    return jnp.asarray(rows[place.reshape(index.shape)])


def _checked(
    source: RowSource, rows: Any, number: int, call: str, dtype: np.dtype, room: int = 0
) -> np.ndarray:
    """Return a copy of rows as JAX has them, or raise ValueError: they are not what was asked."""
    expected = (number, source.shape[1])
    if getattr(rows, "shape", None) != expected or rows.dtype != source.dtype:
        found = f"{rows.dtype}{list(rows.shape)}" if hasattr(rows, "dtype") else type(rows).__name__
        raise ValueError(
            f"{_name(source)}.{call} returned {found}: expected {np.dtype(source.dtype)}"
            f"{list(expected)}"
        )
    copy = np.empty((max(number, room), expected[1]), dtype)
    copy[:number] = rows
    return copy


def _name(source: RowSource) -> str:
    return type(source).__name__


def _form_of_taken(index: Any, *, source: RowSource) -> ShapedArray:
    return ShapedArray((*index.shape, int(source.shape[1])), held_dtype(source))


# A primitive, so that a function may be traced of which a part is done on the host.
take_rows = Primitive("take_streamed_rows")
take_rows.def_impl(_rows_at)
take_rows.def_abstract_eval(_form_of_taken)
mlir.register_lowering(take_rows, refuse_compilation)
