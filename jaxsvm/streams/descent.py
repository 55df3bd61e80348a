"""Mini-batch descent over a stream: the loop of `jaxsvm.run`, fed from a thread.

The rows of each step follow from the key and the step's number (`jaxsvm.streams.order`), so the
state and the number of steps taken are all that a run needs to go on. While the device takes the
steps of one chunk of batches, a thread reads the next one. A chunk is one compiled loop; how
long it is changes no bit.

This file works on the host.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsvm.core.arguments import check_count, check_params, check_path, check_values
from jaxsvm.core.types import Data
from jaxsvm.optimizers.contract import Optimizer, check_optimizer, scan_between
from jaxsvm.optimizers.identity import computation, environment, identity
from jaxsvm.optimizers.resumable import NUM_CHUNKS, begin, resumed
from jaxsvm.streams.batches import Batches, rows_of


def run_stream(
    optimizer: Optimizer,
    key: Array,
    params: Any,
    data: Data,
    *,
    num_steps: int,
    batch_size: int = 256,
    folder: Path | str | None = None,
    every: int | None = None,
) -> tuple[Any, Any]:
    """Start from ``params`` and take ``num_steps`` steps over batches of a stream, in epochs.

    Step i is handed ``fold_in(key, i)``, as by `jaxsvm.run`, and the rows `batch_rows` of step i:
    the bits are those of the same batches taken from memory. The key's words are the order's seed,
    so one key gives one run.

    Of several processes (`jax.distributed`), which call this with the same arguments but for
    ``folder``, each reads its share of every batch and is sent the others'. All take the same
    steps: what a stream waits for is reading, and W is small. So the bits do not depend on how many
    there are, and a run may go on with another number.

    For the host: not to be jitted. Memory holds a few chunks of batches of 16 MiB, the source's own
    window of rows, y, and the order.

    Args:
        optimizer: a batchable one, such as `jaxsvm.gradient_descent` or `jaxsvm.from_optax`. Its
            ``init`` sees the first batch.
        key: a typed key.
        params: the start.
        data: a stream, such as `stream_from_npy` returns.
        num_steps: how many steps, ≥ 0.
        batch_size: examples a step, ≥ 1; a multiple of the number of processes.
        folder: of this run's own, as in `jaxsvm.run_resumable`: killed and called again, the run
            goes on from its last checkpoint, to the same bits. Of the rows only the first and the
            last are compared with the folder's, and all labels. None keeps nothing.
        every: steps from checkpoint to checkpoint, ≥ 1; by default a twentieth of ``num_steps``.

    Returns:
        The last state, and the steps' info with a leading axis of ``num_steps``.

    Raises:
        ValueError: the optimizer is not batchable, data is no stream that can be shuffled, an
            argument is out of range, or the call is inside `jax.jit`; the folder's run is another
            one; whatever the optimizer's ``init`` and the source refuse.
        DivergedError: with a folder, as `jaxsvm.run_resumable`.
        OSError: the source cannot be read, or the folder not be written.

    >>> import numpy as np
    >>> from jaxsvm import Objective, gradient_descent
    >>> from jaxsvm.streams import stream_from_blocks
    >>> def block(i):
    ...     return np.eye(3, dtype=np.float32), np.arange(3)
    >>> data = stream_from_blocks(block, num_rows=30, block_rows=3, shift=0.0)
    >>> descent, W = gradient_descent(Objective(), step_size=0.5), jnp.zeros((3, 4))
    >>> state, info = run_stream(
    ...     descent, jax.random.key(0), W, data, num_steps=40, batch_size=2
    ... )
    >>> info.loss.shape, float(info.loss[-1])
    ((40,), 0.0)
    """
    check_values("run_stream", key, params)
    batches = _batches(optimizer, key, data, batch_size)
    num_steps = check_count("num_steps", num_steps, least=0)
    every = check_count("every", max(1, num_steps // NUM_CHUNKS) if every is None else every)
    _check_start(optimizer, params, batches)
    _, values, y = batches.put(batches.read(0, 1, 1))
    batch = Data(rows_of(batches.frame, values[0]), y[0])
    advance = partial(_advance, optimizer, key, batches)
    if folder is None:
        return advance(begin(optimizer, params, batch), 0, num_steps)
    check_path("folder", folder)
    state = jax.eval_shape(partial(begin, optimizer), params, batch)
    _, info = jax.eval_shape(optimizer.step, key, state, batch)
    infos = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((num_steps, *leaf.shape), leaf.dtype), info
    )
    settings = {"batch_size": batches.batch_size, "order": list(batches.order[:3])}
    return resumed(
        identity(key, params, batches.ends(), state, 1, settings),
        environment(computation(optimizer.step, key, state, batch)),
        (state, infos),
        begin=lambda: begin(optimizer, params, batch),
        chunk=advance,
        num_steps=num_steps,
        folder=folder,
        every=every,
    )


def advance_stream(
    optimizer: Optimizer,
    key: Array,
    state: Any,
    data: Data,
    start: int,
    *,
    num_steps: int,
    batch_size: int = 256,
) -> tuple[Any, Any]:
    """Continue a run over a stream: take steps ``start`` to ``start + num_steps − 1``.

    `run_stream` is a start and one `advance_stream`; the bits are the same for any cut.

    Args:
        optimizer: the run's.
        key: the run's.
        state: after ``start`` steps of the run.
        data: the run's.
        start: how many steps have been taken, ≥ 0.
        num_steps: how many to take, ≥ 0.
        batch_size: the run's.

    Returns:
        The state after, and the steps' info with a leading axis of ``num_steps``.

    Raises:
        ValueError: as `run_stream`.
        OSError: the source cannot be read.

    >>> import numpy as np
    >>> from jaxsvm import Objective, gradient_descent
    >>> from jaxsvm.streams import run_stream, stream_from_blocks
    >>> def block(i):
    ...     return np.eye(3, dtype=np.float32), np.arange(3)
    >>> data = stream_from_blocks(block, num_rows=30, block_rows=3)
    >>> run = gradient_descent(Objective(), step_size=0.5), jax.random.key(0)
    >>> whole, _ = run_stream(*run, jnp.zeros((3, 4)), data, num_steps=9, batch_size=4)
    >>> state, _ = run_stream(*run, jnp.zeros((3, 4)), data, num_steps=5, batch_size=4)
    >>> state, _ = advance_stream(*run, state, data, 5, num_steps=4, batch_size=4)
    >>> bool((state.params == whole.params).all())
    True
    """
    check_values("advance_stream", key, state)
    batches = _batches(optimizer, key, data, batch_size)
    start = check_count("start", start, least=0)
    num_steps = check_count("num_steps", num_steps, least=0)
    return _advance(optimizer, key, batches, state, start, num_steps)


def _batches(optimizer: Optimizer, key: Array, data: Data, batch_size: int) -> Batches:
    """Return a run's batches, or raise ValueError: the optimizer takes none."""
    check_optimizer(optimizer)
    if not getattr(optimizer, "batchable", False):
        raise ValueError(
            "optimizer.batchable is False: expected an optimizer of batches such as "
            "gradient_descent or from_optax; minibatch is none, because the stream has its own"
        )
    return Batches(key, data, batch_size)


def _check_start(optimizer: Optimizer, params: Any, batches: Batches) -> None:
    """Raise ValueError unless the optimizer can start from params, with any of the rows."""
    check_params(params)
    y = jnp.asarray(batches.y)

    # The labels are not traced, so that all of them are seen.
    def start(params: Any, values: Any) -> Any:
        return optimizer.init(params, Data(rows_of(batches.frame, values), y))

    rows = batches.rows
    jax.eval_shape(start, params, jax.ShapeDtypeStruct(rows.shape, rows.dtype))


def _advance(
    optimizer: Optimizer, key: Array, batches: Batches, state: Any, start: int, num_steps: int
) -> tuple[Any, Any]:
    """Take steps, chunk by chunk."""
    infos = []
    for size, chunk in batches.ahead(start, num_steps):
        before = state
        state, info = _chunk(optimizer, key, state, batches.frame, chunk, size)
        infos.append((size, info))
        # The device has this chunk at hand when it is done with the one before: none more waits.
        jax.block_until_ready(before)
    whole = [jax.tree.map(lambda leaf, n=size: np.asarray(leaf)[:n], info) for size, info in infos]
    return state, jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)), *whole)


@partial(jax.jit, static_argnames="optimizer")
def _chunk(
    optimizer: Optimizer, key: Array, state: Any, frame: Any, chunk: Any, size: int | Array
) -> tuple[Any, Any]:
    """Take the first ``size`` steps of a chunk of batches."""

    def one(state: Any, batch: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        number, values, y = batch
        step_key = jax.random.fold_in(key, number)
        return optimizer.step(step_key, state, Data(rows_of(frame, values), y))

    return scan_between(one, state, chunk, 0, size)
