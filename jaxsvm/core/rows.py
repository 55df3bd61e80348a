"""The only loop over rows, and where the rows lie: on one device, or spread over several.

The rows of X are cut into 2^k segments, each of some blocks of one size; a row or so for each block
is left over, the rest. How they are cut depends on the number of rows alone (`layout`). A sum over
rows is taken block by block within a segment; the sums of the segments are added in pairs, and
pairs of pairs; the rest comes last. So a segment's sum is the same computation wherever it is made,
the order of all additions is fixed, and no bit of a result depends on how many devices share the
work (`ShardedRows`): each has as many neighbouring segments as the others, and the last pairs are
formed by exchange between devices.

Of n devices each holds 1/n of X, and all of what has a number for each example or score: y, the
losses, the scores. What is computed from those alone is computed by each device, in the same order
if the compiler writes it for several devices as it does for one. That is so where tests say it is;
it was not for plain transposes (`jaxsvm.core.losses.classes_first`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.streamed import StreamedRows

AXIS = "rows"  # of the mesh
# A loop of one step is no loop to the compiler, and what is fused then may round otherwise. So a
# segment has several blocks, also where it is a device's only one.
BLOCKS = 4
HOST_ROWS = 4096  # of a stream, read together
# Partial sums in memory at once. More devices than this share no more work.
MOST_SEGMENTS = 64
MOST_INT32 = 2**31 - 1


class Layout(NamedTuple):
    """How N rows are cut.

    Attributes:
        segments: a power of two.
        blocks: of a segment.
        size: rows of a block.
    """

    segments: int
    blocks: int
    size: int

    @property
    def main(self) -> int:
        """Rows of all the segments; those after them are the rest."""
        return self.segments * self.blocks * self.size


def layout(N: int) -> Layout:
    """Return how N rows are cut; where they are few, they are one block.

    >>> layout(50_000), layout(49_000).main
    (Layout(segments=16, blocks=5, size=625), 48960)
    """
    most = block_sizes().product
    if most >= N:
        return Layout(1, 1, N)
    whole_segments = max(1, -(-N // most) // BLOCKS)
    segments = min(MOST_SEGMENTS, 1 << (whole_segments.bit_length() - 1))
    length = N // segments
    size = block_length(length, most)
    # One row against W is a product of another kind, whose bits are its own.
    size -= N - segments * (length // size) * size == 1
    return Layout(segments, length // size, size)


def block_length(N: int, most: int) -> int:
    """Return how many rows a block has: at most ``most``, and divides N where it can.

    >>> block_length(50_000, 768), block_length(1009, 768)
    (625, 504)
    """
    divisors = (size for size in range(min(most, N), most // 2, -1) if N % size == 0)
    return next(divisors, N // -(-N // most))


def num_sums(N: int, rows: int) -> int:
    """Return how many totals `scan_blocks` makes of N rows at most, pieces and merges together.

    Args:
        N: how many rows.
        rows: that its function is handed at most.

    >>> num_sums(100, 128), num_sums(50_000, 128)
    (2, 416)
    """
    cut = layout(N)
    pieces = -(-cut.size // block_length(cut.size, rows))
    # Segments merge in pairs, the last of them with the rest and with the total of no rows.
    here = cut.segments * (cut.blocks * pieces + 1)
    return here + (num_sums(N - cut.main, rows) + 1 if cut.main < N else 0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ShardedRows:
    """The rows of a matrix over the devices of a mesh; made by `jaxsvm.shard`.

    It has the matrix's shape and dtype. ``X[index]`` takes rows, which each device then has;
    ``X @ other`` is the product; `numpy.asarray` gives the matrix.

    Attributes:
        main: (M, P) the rows of all segments, each device's next to one another.
        rest: (N − M, P) the others, on each device.
        mesh: of one axis, "rows"; as many devices as a power of two, and no more than segments.
    """

    main: Array | Any  # Any, too: JAX rebuilds a pytree around what is no array
    rest: Array | Any
    mesh: Mesh = field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return (self.main.shape[0] + self.rest.shape[0], self.main.shape[1])

    @property
    def dtype(self) -> Any:
        """The dtype of the numbers."""
        return self.main.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __repr__(self) -> str:
        if not hasattr(self.main, "shape"):
            return f"ShardedRows({self.main!r}, {self.rest!r})"
        return f"ShardedRows({self.dtype}{list(self.shape)}, over {self.mesh.size} devices)"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        return take_rows(self, index)

    def __matmul__(self, other: Array) -> Array:
        return each_row(lambda rows: rows @ other, self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(np.concatenate(list(host_blocks(self))), dtype=dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TakenRows:
    """Rows of a matrix by number, which are copied when a product takes them, a block at a time.

    For the library's own products, which then copy them once and while in cache, and no others. It
    has the shape and dtype of the rows; ``X[index]`` takes some of them.

    Attributes:
        matrix: (N, P).
        index: (B,) int32, in [0, N); any number may come again.
    """

    matrix: Array | Any  # Any, too: JAX rebuilds a pytree around what is no array
    index: Array | Any

    @property
    def shape(self) -> tuple[int, int]:
        """(B, P)."""
        return (self.index.shape[0], self.matrix.shape[1])

    @property
    def dtype(self) -> Any:
        """The dtype of the numbers."""
        return self.matrix.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        return self.matrix[self.index[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def add(a: Any, b: Any) -> Any:
    """Return the sum of two pytrees."""
    return jax.tree.map(jnp.add, a, b)


def scan_blocks(
    f: Callable[..., tuple[Any, Any]],
    zero: Any,
    X: Array | TakenRows | ShardedRows | StreamedRows,
    *columns: Array,
    rows: int | None = None,
    width: int | None = None,
    merge: Callable[[Any, Any], Any] = add,
) -> tuple[Any, Any]:
    """Sum over blocks of rows, and map them: ``total, out = f(total, rows, *rows of columns)``.

    Args:
        f: takes the total so far, a block of X and the same rows of each column, and returns the
            total with the block's share; every leaf of ``out`` has the block's rows as its leading
            axis. It must treat every row alone but for the total. What gradients flow through is
            given to it by a `jax.tree_util.Partial`; it may close over anything else.
        zero: the total of no rows, to `merge` and to f; () where nothing is summed.
        X: (N, P), in memory or a stream, which is then read once.
        *columns: arrays (N, ...), such as the labels; on several devices each has all of them.
        rows: that f is handed at most, where a block has too many for what f makes of them.
        width: columns of a block as f is handed it, those after X's own zero; X's own if None.
        merge: ``(total, total) -> total`` of two sets of rows; elementwise, and the same to the bit
            where the two change places.

    Returns:
        The total of all rows, and ``out`` with a leading axis of N, on each device.
    """
    N = len(X)
    cut = layout(N)
    if rows is not None:
        f = partial(_scan_pieces, f, rows)
    if cut.main == N and cut.blocks == 1:
        whole = X if isinstance(X, Array | TakenRows) else X[:]
        return f(zero, _block(whole, 0, N, width), *columns)
    sums = bool(jax.tree.leaves(zero))

    def some(
        f: Callable[..., Any], part: Any, columns: Any, first: int | Array, segments: int
    ) -> tuple[Any, Any]:
        """Return the segments' totals and all their rows; of X these are ``first`` and after."""

        # Sliced inside the loop: slicing off the segments before it would copy them.
        def block(total: Any, number: Array) -> tuple[Any, Any]:
            start = number * cut.size
            here = _block(part, start, cut.size, width)
            of_columns = (
                lax.dynamic_slice_in_dim(column, first + start, cut.size) for column in columns
            )
            return f(total, here, *of_columns)

        def segment(_: tuple[()], numbers: Array) -> tuple[tuple[()], tuple[Any, Any]]:
            return (), lax.scan(block, zero, numbers)

        numbers = jnp.arange(segments * cut.blocks, dtype=jnp.int32)
        if sums:
            numbers = numbers.reshape(segments, cut.blocks)
            _, (totals, out) = lax.scan(segment, (), numbers)
        else:
            totals, out = lax.scan(block, zero, numbers)
        inner = numbers.ndim + 1
        return totals, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[inner:]), out)

    if isinstance(X, ShardedRows):

        def share(part: Array, device: Array, f: Any, columns: Any) -> tuple[Any, Any]:
            segments = cut.segments // X.mesh.size
            totals, out = some(f, part, columns, device * len(part), segments)
            return _exchanged(totals, device, X.mesh.size, merge), _gathered(out)

        parts, out = _on_devices(share, X, _as_pytree(f), columns)
    else:
        if isinstance(X, StreamedRows):
            totals, out = X.scan_blocks(
                lambda total, rows, *columns: f(total, _block(rows, 0, cut.size, width), *columns),
                zero, columns, cut,
            )  # fmt: skip
        else:
            totals, out = some(f, X, columns, 0, cut.segments)
        parts = _in_pairs(totals, merge, 2)
    if cut.main < N:
        rest = X.rest if isinstance(X, ShardedRows) else X[cut.main :]
        last, out_of_rest = scan_blocks(
            f, zero, rest, *(column[cut.main :] for column in columns), width=width, merge=merge
        )
        out = jax.tree.map(lambda *both: jnp.concatenate(both), out, out_of_rest)
        parts = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), parts, last)
    if not sums:
        return zero, out
    # In a loop, so that the last addition is never fused with what comes after it: on several
    # devices it could not be.
    total, _ = lax.scan(lambda total, part: (merge(total, part), ()), zero, parts)
    return total, out


def _block(X: Array | TakenRows, start: int | Array, size: int, width: int | None) -> Array:
    """Return (size, width): rows from ``start`` on, and zeros after their own columns."""
    wider = None if width is None or width == X.shape[1] else width
    if isinstance(X, TakenRows):
        index = lax.dynamic_slice_in_dim(X.index, start, size)
        return _wide_rows(X.matrix, index, wider) if wider else X.matrix[index]
    if wider:
        return _wide_rows(X, start + jnp.arange(size, dtype=jnp.int32), wider)
    return X if size == len(X) else lax.dynamic_slice_in_dim(X, start, size)


def _wide_rows(X: Array, index: Array, width: int) -> Array:
    """Return rows of X by number, (B, width), with zeros after their own columns.

    One padded copy: every row is read on into the next, and what is not its own is replaced. To pad
    what a gather returned takes a CPU twice as long.
    """
    N, D = X.shape
    if X.size > MOST_INT32:  # where a row starts could not be said
        X, index = X[index], jnp.arange(len(index), dtype=jnp.int32)
        N = len(X)
    starts = lax.GatherDimensionNumbers(
        offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,)
    )
    read = lax.gather(X.reshape(-1), index[:, None] * D, starts, (width,), mode="clip")
    # After the last row there is nothing to read on into.
    last = jnp.pad(X[-1], (0, width - D))
    own = jnp.arange(width) < D
    # Or the compiler spreads these out to whole blocks, once, and every block reads them again.
    index, last, own = lax.optimization_barrier((index, last, own))
    return jnp.where(own[None, :] & (index < N - 1)[:, None], read, last[None, :])


def mean_rows(x: Array) -> Array:
    """Return the mean of N numbers, summed as `scan_blocks` does, whatever they are computed of."""
    total, _ = scan_blocks(lambda total, some: (total + jnp.sum(some), ()), jnp.zeros_like(x[0]), x)
    return total / len(x)


def _scan_pieces(
    f: Callable[..., tuple[Any, Any]], most: int, total: Any, X: Array, *columns: Array
) -> tuple[Any, Any]:
    """Do as f, handing it at most so many rows at a time."""
    N = len(X)
    size = block_length(N, most)
    if size == N:
        return f(total, X, *columns)

    def piece(total: Any, start: Array) -> tuple[Any, Any]:
        parts = (lax.dynamic_slice_in_dim(array, start, size) for array in (X, *columns))
        return f(total, *parts)

    whole = N // size * size
    total, out = lax.scan(piece, total, jnp.arange(0, whole, size))
    out = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), out)
    if whole < N:
        total, last = f(total, *(array[whole:] for array in (X, *columns)))
        out = jax.tree.map(lambda *both: jnp.concatenate(both), out, last)
    return total, out


def each_row(
    f: Callable[[Array], Array], X: Array | TakenRows | ShardedRows | StreamedRows
) -> Array:
    """Return ``f(X)``, which treats every row alone, whatever is computed beside it.

    f is handed as many rows at once as lie together; as in `scan_blocks` it may be a `Partial`.
    That a product's rows are the same bits however many there are is so on the CPU, and tested.
    """
    if isinstance(X, StreamedRows):
        return X.each_row(f)
    if isinstance(X, TakenRows):
        return f(X[:])
    if not isinstance(X, ShardedRows):
        return f(X)
    main = _on_devices(lambda rows, _, f: _gathered(f(rows)), X, _as_pytree(f))
    return jnp.concatenate([main, f(X.rest)]) if len(X.rest) else main


def take_rows(X: ShardedRows, index: Any) -> Array:
    """Return ``X[index]`` as a plain array on each device; index is of rows alone."""
    N, M = len(X), len(X.main)
    if not (hasattr(index, "dtype") and jnp.issubdtype(index.dtype, jnp.integer)):
        index = jnp.arange(N)[index]
    index = jnp.asarray(index)
    index = jnp.where(index < 0, index + N, index)

    def own(rows: Array, device: Array, index: Array) -> Array:
        place = index - (device * len(rows)).astype(index.dtype)
        is_here = (place >= 0) & (place < len(rows))
        taken = as_bits(rows.at[place].get(mode="clip"))
        # Every row is some device's, and as integers a sum with zeros changes no bit of it.
        return lax.psum(jnp.where(is_here[..., None], taken, 0), AXIS)

    unsigned = jnp.dtype(f"uint{8 * X.dtype.itemsize}")

    def as_bits(rows: Array) -> Array:
        return lax.bitcast_convert_type(rows, unsigned)

    taken = lax.bitcast_convert_type(_on_devices(own, X, index), X.dtype)
    if not len(X.rest):
        return taken
    return jnp.where((index < M)[..., None], taken, X.rest.at[index - M].get(mode="clip"))


def host_blocks(X: Any) -> Iterator[np.ndarray]:
    """Yield the rows of a matrix as NumPy's arrays, some at a time.

    Where other processes have some of them, all take part: each is sent them, a block at a time.
    """
    if isinstance(X, StreamedRows):
        for start in range(0, len(X), HOST_ROWS):
            yield np.asarray(X[start : start + HOST_ROWS])
        return
    if not isinstance(X, ShardedRows):
        yield np.asarray(X)
        return
    if X.main.is_fully_addressable:
        yield np.asarray(X.main)
    else:
        share = len(X.main) // layout(len(X)).segments
        for start in range(0, len(X.main), share):
            yield np.asarray(_taken(X, start + jnp.arange(share)))
    yield np.asarray(X.rest)


_taken = jax.jit(lambda X, index: take_rows(X, index))


def _on_devices(f: Callable[..., Any], X: ShardedRows, *others: Any) -> Any:
    """Return ``f(rows, device, *others)`` of each device's rows; it must be the same on all.

    Only X is split. Else the compiler might split what is computed around it too, sums over
    examples among it.
    """

    def on_device(rows: Array, *others: Any) -> Any:
        return f(rows, lax.axis_index(AXIS), *others)

    everywhere = PartitionSpec()
    mapped = jax.shard_map(
        on_device,
        mesh=X.mesh,
        in_specs=(PartitionSpec(AXIS), *(everywhere for _ in others)),
        out_specs=everywhere,
        check_vma=False,
    )
    return jax.jit(mapped)(X.main, *others)


def _as_pytree(f: Callable[..., Any]) -> Partial:
    """Return a function whose arguments that are given already can be handed to a device."""
    return f if isinstance(f, Partial) else Partial(f)


def _gathered(out: Any) -> Any:
    return jax.tree.map(lambda leaf: lax.all_gather(leaf, AXIS, tiled=True), out)


def _in_pairs(totals: Any, merge: Callable[[Any, Any], Any], most: int) -> Any:
    """Merge neighbours along the leading axis until there are at most ``most``."""
    while jax.tree.leaves(totals) and len(jax.tree.leaves(totals)[0]) > most:
        left, right = (jax.tree.map(lambda leaf, n=n: leaf[n::2], totals) for n in (0, 1))
        totals = merge(left, right)
    return totals


def _exchanged(totals: Any, device: Array, devices: int, merge: Callable[[Any, Any], Any]) -> Any:
    """Return the two halves' totals on every device, from the totals of each device's segments."""
    totals = _in_pairs(totals, merge, 1 if devices > 1 else 2)
    distance = 1
    while distance < devices:
        others = [(i, i ^ distance) for i in range(devices)]
        other = jax.tree.map(lambda leaf, to=others: lax.ppermute(leaf, AXIS, to), totals)
        distance *= 2
        if distance < devices:
            totals = merge(totals, other)
        else:
            is_left = device < devices // 2
            totals = jax.tree.map(
                lambda a, b, first=is_left: jnp.where(
                    first, jnp.concatenate([a, b]), jnp.concatenate([b, a])
                ),
                totals,
                other,
            )
    return totals
