"""The batches of a run, read from a stream: a chunk of them ahead, by a thread.

Which rows a batch has follows from the key and the batch's number (`jaxsvm.streams.order`). Of
several processes each reads a share of every batch, and is sent the others'.

This file works on the host.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.multihost_utils import process_allgather

from jaxsvm.core.arguments import check_count, check_examples, check_key
from jaxsvm.core.features import StandardizedFeatures
from jaxsvm.core.sources import read_ahead
from jaxsvm.core.streamed import StreamedRows
from jaxsvm.core.types import Data
from jaxsvm.streams.order import Order, batch_rows
from jaxsvm.streams.sources import ShuffledSource

# Of the batches that are put to the device together; two such chunks are in memory at once, and a
# third while it is read.
CHUNK_BYTES = 2**24
CHUNK_STEPS = 256
# Rows at either end by which a folder knows a stream again.
END_ROWS = 256


class Batches:
    """The batches of a stream in the order of a key.

    Attributes:
        batch_size: examples of a batch.
        rows: of all of X.
        y: (N,) labels, on the host.
        frame: what X has besides its rows: `StandardizedFeatures` without values, or None.
        order: of the rows.

    Raises:
        ValueError: the key is none, the batch cannot be shared by the processes, or data is no
            stream that can be shuffled.
    """

    def __init__(self, key: Array, data: Data, batch_size: int) -> None:
        check_key(key)
        self.batch_size = check_count("batch_size", batch_size)
        if self.batch_size % jax.process_count():
            raise ValueError(
                f"batch_size = {batch_size}: expected a multiple of {jax.process_count()}, the "
                "number of processes, each of which reads a share"
            )
        if getattr(data, "_fields", ()) != ("X", "y"):
            raise ValueError(f"data is a {type(data).__name__}: expected Data(X, y)")
        X = data.X
        rows = X.values if isinstance(X, StandardizedFeatures) else X
        if not isinstance(rows, StreamedRows):
            raise ValueError(
                f"data.X is of {type(rows).__name__}: expected a stream, such as stream_from_npy "
                "returns; of arrays minibatch draws batches"
            )
        if not isinstance(rows.source, ShuffledSource):
            raise ValueError(
                f"data.X has a {type(rows.source).__name__} as its source: expected one with "
                "take(rows), block_rows and window, by which it is shuffled; stream_from_blocks "
                "makes one of a function"
            )
        check_examples(data)
        self.rows, self._source, self.y = rows, rows.source, np.asarray(data.y)
        self.frame = replace(X, values=None) if isinstance(X, StandardizedFeatures) else None
        words = jax.random.key_data(key).ravel().tolist()
        self.order = Order(len(rows), rows.source.block_rows, rows.source.window, tuple(words))

    def ends(self) -> Data:
        """Return the first and the last rows with all labels: what a stream is known by."""
        N = len(self.rows)
        index = np.unique(np.r_[0 : min(N, END_ROWS), max(0, N - END_ROWS) : N])
        return Data(rows_of(self.frame, self.rows[index]), jnp.asarray(self.y))

    def ahead(self, start: int, num_steps: int) -> Iterator[tuple[int, Any]]:
        """Yield how many batches a chunk has, and the chunk, the next one read meanwhile.

        There is one at least, of no batches. Every chunk has room for as many as the first.
        """
        bytes_of_batch = self.batch_size * self.rows.shape[1] * self.rows.dtype.itemsize
        room = min(max(1, CHUNK_BYTES // bytes_of_batch), CHUNK_STEPS, max(1, num_steps))
        stop = start + num_steps
        begins = range(start, max(stop, start + 1), room)
        chunks = read_ahead(self.read, ((first, min(room, stop - first), room) for first in begins))
        for chunk, first in zip(chunks, begins, strict=True):
            yield min(room, stop - first), self.put(chunk)

    def read(self, first: int, size: int, room: int) -> tuple[Any, Any, Any]:
        """Return the numbers, the rows and the labels of ``size`` batches.

        Each has ``room`` batches; those from ``size`` on are zeros.
        """
        order, B, processes = self.order, self.batch_size, jax.process_count()
        parts = [batch_rows(order, step, batch_size=B) for step in range(first, first + size)]
        index = np.concatenate([np.zeros(0, np.int64), *parts])
        share = index.reshape(size, processes, B // processes)[:, jax.process_index()].reshape(-1)
        values, y = self._source.take(share), self.y[index]
        expected = len(share), self.rows.shape[1]
        if values.shape != expected or values.dtype != self._source.dtype:
            raise ValueError(
                f"{type(self._source).__name__}.take(of {len(share)} rows) returned "
                f"{values.dtype}{list(values.shape)}: expected {self._source.dtype}{list(expected)}"
            )
        if processes > 1:
            # (processes, batches, rows of a share, P), of which a batch's shares go together.
            shares = process_allgather(values.reshape(size, B // processes, expected[1]))
            values = np.moveaxis(shares, 0, 1).reshape(len(index), expected[1])
        missing = room * B - len(index)
        if missing:
            values, y = np.pad(values, ((0, missing), (0, 0))), np.pad(y, (0, missing))
        values, y = (part.reshape(room, B, *part.shape[1:]) for part in (values, y))
        return np.arange(first, first + room, dtype=np.int32), values, y

    def put(self, chunk: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Any, Any, Any]:
        """Return what was read, on the device, by the settings of the thread that calls."""
        numbers, values, y = jax.device_put(chunk)
        return numbers, self.rows.mapped(values), y


def rows_of(frame: Any, values: Array) -> Any:
    """Return rows in the form that X has."""
    return values if frame is None else replace(frame, values=values)
