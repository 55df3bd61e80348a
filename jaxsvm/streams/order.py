"""The order in which a stream's rows come: a pure function of a seed, an epoch and a place.

Rows lie in blocks. In each epoch the blocks are shuffled, and then the rows of each ``window``
neighbouring blocks among themselves. With one block of all rows that is a uniform permutation of
them; with small blocks a row has company from its own window only, and memory holds one window.

Epochs follow each other without a gap: batch s is the places s·B to (s + 1)·B − 1 of their endless
sequence, so the number of steps taken is all that a run has to remember.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from jaxsvm.core.arguments import check_count


class Order(NamedTuple):
    """What decides the order of N rows in every epoch.

    Attributes:
        num_rows: N ≥ 1.
        block_rows: rows of a block, which lie together; the last block may have fewer.
        window: how many blocks' rows are shuffled among themselves.
        seed: integers ≥ 0 of any number.

    >>> batch_rows(Order(10, block_rows=2, window=2, seed=(7,)), 0, batch_size=10)
    array([7, 8, 6, 9, 0, 5, 1, 4, 2, 3])
    """

    num_rows: int
    block_rows: int
    window: int
    seed: tuple[int, ...]


def batch_rows(
    order: Order, step: int, *, batch_size: int, process: int = 0, num_processes: int = 1
) -> Int64[np.ndarray, " B"]:
    """Return which rows a batch has, or the share of it that one process of several reads.

    Every row comes once in each epoch. A batch that begins in one epoch and ends in the next has
    rows of both. The shares of all processes, one after the other, are the batch.

    Args:
        order: of the rows.
        step: the batch's number, ≥ 0, from the start of the first epoch.
        batch_size: rows of a batch, ≥ 1; it may be larger than an epoch.
        process: the process's number, 0 ≤ process < num_processes.
        num_processes: how many share the reading.

    Returns:
        (B,) numbers of rows; B is ``batch_size``, or about ``batch_size / num_processes``. Cost:
        the first batch of an epoch or window sorts its N/block_rows blocks or all its rows.

    Raises:
        ValueError: an argument is out of range.

    >>> order = Order(3, block_rows=3, window=1, seed=(0,))
    >>> [batch_rows(order, step, batch_size=2).tolist() for step in range(3)]
    [[1, 0], [2, 2], [1, 0]]
    """
    step = check_count("step", step, least=0)
    batch_size = check_count("batch_size", batch_size)
    process = check_count("process", process, least=0)
    num_processes = check_count("num_processes", num_processes)
    if process >= num_processes:
        raise ValueError(
            f"process = {process} and num_processes = {num_processes}: expected process < "
            "num_processes; the first is 0"
        )
    place, stop = (
        step * batch_size + batch_size * end // num_processes for end in (process, process + 1)
    )
    parts = [np.zeros(0, np.int64)]
    while place < stop:
        epoch, within = divmod(place, order.num_rows)
        starts = _epoch(order, epoch)[1]
        number = int(np.searchsorted(starts, within, side="right")) - 1
        first = within - int(starts[number])
        rows = _window(order, epoch, number)[first : first + stop - place]
        parts.append(rows)
        place += len(rows)
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _epoch(order: Order, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an epoch's blocks in their order, and the place where each window of them starts."""
    size = order.block_rows
    blocks = _permutation(order, -(-order.num_rows // size), epoch, 0)
    lengths = np.minimum(size, order.num_rows - size * blocks)
    return blocks, (np.cumsum(lengths) - lengths)[:: order.window]


@lru_cache(maxsize=2)
def _window(order: Order, epoch: int, number: int) -> np.ndarray:
    """Return the rows of one window of an epoch in their order."""
    blocks = _epoch(order, epoch)[0][number * order.window :][: order.window]
    rows = (blocks[:, None] * order.block_rows + np.arange(order.block_rows)).reshape(-1)
    rows = rows[rows < order.num_rows]
    return rows[_permutation(order, len(rows), epoch, 1 + number)]


def _permutation(order: Order, length: int, *what: int) -> np.ndarray:
    """Return a uniform permutation of 0 to length − 1, the same in every version of NumPy.

    NumPy keeps the raw words of a generator as they are, and not what its methods make of them.
    """
    seed = np.random.SeedSequence([*order.seed, *what])
    words = np.random.PCG64(seed).random_raw(length)
    # Several times as fast as a stable sort, and the same unless two words are equal.
    found = np.argsort(words)
    ordered = words[found]
    if (ordered[1:] == ordered[:-1]).any():
        found = np.argsort(words, kind="stable")
    return found
