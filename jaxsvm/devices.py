"""Data over several devices, with the bits of one.

`shard` lays the rows of X over the devices of a mesh, and everything that takes data takes what it
returns. Sums over rows are taken in one fixed order, wherever the rows lie
(`jaxsvm.core.rows`): the results on 1, 2, 4 and 8 devices of one kind are equal to the bit.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxsvm.core.arguments import check_examples, check_values
from jaxsvm.core.features import StandardizedFeatures
from jaxsvm.core.memory import aligned
from jaxsvm.core.rows import AXIS, ShardedRows, layout
from jaxsvm.core.sources import held_dtype, read_rows
from jaxsvm.core.streamed import StreamedRows
from jaxsvm.core.types import Data

PIECE_ROWS = 512  # of a stream, read together


def shard(data: Data, mesh: Mesh) -> Data:
    """Return the same data with the rows of X over the devices of a mesh.

    X is what is large: each of n devices holds 1/n of it, and takes 1/n of every product with it.
    What has a number for each example or score (y, losses, scores) is on all devices, and so is
    what is computed from that alone, such as the values of a slice from its scores.

    Equal to the bit for any number of devices, and for data that is not sharded: values and
    gradients of an `Objective`, lines and slices, accuracies, lower bounds, and the steps of every
    optimizer (a mini-batch has the same rows, a search accepts the same trials), and `solve`. The
    functions compared must be compiled, each by itself, by one version of JAX for one kind of
    device: what else is in a program may change how the compiler sums. Equal to rounding only:
    gradients that JAX derives from a loss_fn of your own which reads X.

    Compile one run at a time. Of two loops in one program that do not need each other, virtual
    devices of a CPU may each begin with another one; then they wait for each other, and XLA ends
    the process after 40 seconds.

    Of several processes (`jax.distributed`) each calls this with the same data, and reads the rows
    of its own devices and the few that are left over: of a memory map or a stream no others.

    For the host: not to be jitted. `run_resumable` goes on from a folder on another number of
    devices. `numpy.asarray(data.X)` is the plain matrix again.

    Args:
        data: N examples, on one device, sharded, or a stream, which is in memory then.
        mesh: a `jax.sharding.Mesh`, such as ``jax.make_mesh((8,), ("devices",))``; a power of two
            devices, whose order counts and whose axes do not. Each needs a segment of rows of its
            own (`jaxsvm.core.rows.layout`): on CPUs 8 devices need 23,809 examples.

    Returns:
        `Data` whose X is a `jaxsvm.core.rows.ShardedRows`, or `StandardizedFeatures` of one.

    Raises:
        ValueError: what `validate` would say of shapes, dtypes and labels; no mesh, a number of
            devices that is no power of two, or more devices than N examples have segments; or the
            call is inside `jax.jit`.
        OSError: a stream cannot be read.

    >>> import jax.numpy as jnp
    >>> from jaxsvm import Objective
    >>> data, W = Data(jnp.ones((1000, 2)), jnp.zeros(1000, jnp.int32)), jnp.zeros((3, 2))
    >>> sharded = shard(data, jax.make_mesh((1,), ("devices",)))
    >>> sharded, float(Objective()(W, sharded))
    (Data(X=ShardedRows float32[1000, 2], y=int32[1000]), 2.0)
    """
    check_values("shard", data)
    check_examples(data)
    devices = _devices(mesh)
    N = len(data.y)
    cut = layout(N)
    if len(devices) > cut.segments:
        raise ValueError(
            f"data has {N} examples, which are {cut.segments} segments of "
            f"{cut.blocks * cut.size}, and mesh has {len(devices)} devices: expected at most "
            f"{cut.segments} devices; take fewer, or more examples"
        )
    # Automatic axes: `jax.make_mesh` makes explicit ones, which ask every caller for shardings.
    rows = Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,))

    def split(X: Any) -> ShardedRows:
        if isinstance(X, StreamedRows):
            parts = (_read(X, 0, cut.main, rows, AXIS), _read(X, cut.main, N, rows))
            return ShardedRows(*parts, rows)
        host = np.asarray(X)
        main, rest = host[: cut.main], host[cut.main :]
        return ShardedRows(_placed(main, rows, AXIS), _placed(rest, rows), rows)

    X = data.X
    if not isinstance(X, StandardizedFeatures):
        return Data(split(X), _placed(data.y, rows))
    shift, scale = (_placed(part, rows) for part in (X.shift, X.scale))
    return Data(replace(X, values=split(X.values), shift=shift, scale=scale), _placed(data.y, rows))


def _devices(mesh: Any) -> np.ndarray:
    """Return a mesh's devices in a row, or raise ValueError: it is none, or not a power of two."""
    if not isinstance(mesh, Mesh):
        raise ValueError(
            f"mesh is a {type(mesh).__name__}: expected a jax.sharding.Mesh, such as "
            'jax.make_mesh((8,), ("devices",))'
        )
    number = mesh.devices.size
    if number == 0 or number & (number - 1):
        raise ValueError(
            f"mesh has {number} devices: expected a power of two, by which the pairs of a sum are "
            "shared; leave some out"
        )
    return mesh.devices.reshape(-1)


def _placed(array: Any, mesh: Mesh, *axes: str) -> Array:
    """Return an array with its rows over the mesh's axes, or on all devices."""
    host = np.asarray(array)
    dtype = jax.dtypes.canonicalize_dtype(host.dtype)
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.make_array_from_callback(
        host.shape, sharding, lambda index: host[index].astype(dtype), dtype=dtype
    )


def _read(X: StreamedRows, start: int, stop: int, mesh: Mesh, *axes: str) -> Array:
    """Return rows of a stream over the mesh's axes, or on all devices; only these are read."""
    form = (stop - start, X.shape[1])

    def rows(index: Any) -> np.ndarray:
        first, last, _ = index[0].indices(form[0])
        found = aligned((last - first, form[1]), X.dtype)
        for i in range(first, last, PIECE_ROWS):
            end = min(i + PIECE_ROWS, last)
            piece = read_rows(X.source, start + i, start + end, held_dtype(X.source))
            found[i - first : end - first] = X.mapped(jnp.asarray(piece))
        return found

    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.make_array_from_callback(form, sharding, rows, dtype=X.dtype)
