"""Where rows are read from, a piece at a time, and what is said when they cannot be.

A `RowSource` is a file, a memory map or a function. Whatever is computed from its rows is traced as
if they were there, through primitives of JAX's that are computed on the host: rows taken by index
here, a whole pass in `jaxsvm.core.passes`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

T = TypeVar("T")


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

        It is called on several threads, by one at a time, and what it returns is copied at once: it
        may be a memory map, or a buffer that the next call fills again. A source that can take
        single rows faster may also have ``take(index: np.ndarray) -> np.ndarray``, of indices in
        [0, N), called in the same way.
        """
        ...


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
            error.errno,
            f"rows {start} to {stop - 1} of {_name(source)} cannot be read: "
            f"{error.strerror or error}",
        ) from error
    return _checked(source, rows, stop - start, f"read({start}, {stop})", dtype, room)


def read_pieces(
    source: RowSource, ranges: Sequence[tuple[int, int]], *, room: int = 0
) -> Iterator[np.ndarray]:
    """Yield `read_rows` of each range, one at least, the next one read meanwhile."""
    dtype = held_dtype(source)
    return read_ahead(lambda start, stop: read_rows(source, start, stop, dtype, room=room), ranges)


def read_ahead(read: Callable[..., T], calls: Iterable[tuple[int, ...]]) -> Iterator[T]:
    """Yield what a function returns of each, one at least, the next one read meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="jaxsvm-read") as reader:
        calls = iter(calls)
        ahead = reader.submit(read, *next(calls))
        for arguments in calls:
            found, ahead = ahead.result(), reader.submit(read, *arguments)
            yield found
        yield ahead.result()


def refuse_compilation(*_: Any, **__: Any) -> NoReturn:
    """Say that compiled code cannot read a stream."""
    raise ValueError(
        "data.X is StreamedRows, which code inside jax.jit cannot read: expected a call outside "
        "jax.jit; jaxsvm.compiled(f) compiles a function but for its passes over X"
    )


def refuse_derivative(*_: Any, **__: Any) -> NoReturn:
    """Say that JAX derives nothing through a stream."""
    raise ValueError(
        "data.X is StreamedRows, through which JAX derives nothing: expected an Objective, whose "
        "gradient is a pass of its own, or X in memory"
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


def _batched_take(operands: Any, axes: Any, *, source: RowSource) -> tuple[Array, int]:
    ((index,), (axis,)) = operands, axes
    return take_rows.bind(jnp.moveaxis(index, axis, 0), source=source), 0


# A primitive, so that a function may be traced of which a part is done on the host.
take_rows = Primitive("take_streamed_rows")
take_rows.def_impl(_rows_at)
take_rows.def_abstract_eval(_form_of_taken)
mlir.register_lowering(take_rows, refuse_compilation)
batching.primitive_batchers[take_rows] = _batched_take
ad.primitive_jvps[take_rows] = refuse_derivative
