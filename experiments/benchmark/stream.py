"""Mini-batches of data that are read when they are needed, beside the same from memory.

Three questions: what reading from a memory map costs a step, how long decoding an image takes
beside a row's share of a step, and how much memory 5 million examples need. The last one makes
15 GB of bytes, which takes minutes.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import harness, listings
from experiments.benchmark.harness import Config, Row, compare, run_steps
from jaxsvm import Data, Objective, gradient_descent, minibatch
from jaxsvm.streams import run_stream, stream_from_blocks, stream_from_npy, stream_from_tfds

OBJECTIVE = Objective(reg=listings.REG)
STEP = gradient_descent(OBJECTIVE, step_size=1e-5)
PART = "stream"
BATCH_SIZE = 256
# {size: (rows of all, of a block, columns)}
ON_THE_FLY = {"full": (5_000_000, 4096, 3072), "tiny": (4096, 512, 64)}


def run(config: Config) -> list[Row]:
    with mapped(config) as (W, rows, stream):
        steps = from_a_map(config, W, rows, stream)
    return [*steps, *decoding(config, steps[-1].median / BATCH_SIZE), *peaks(config)]


@contextlib.contextmanager
def mapped(config: Config) -> Iterator[tuple[jax.Array, Data, Data]]:
    """The benchmark's random bytes in memory, and in a file that is mapped."""
    W, rows = harness.random_data(config.size, "bytes", config.seed)
    features: Any = rows.X
    F = W.shape[1] - 1
    with tempfile.TemporaryDirectory() as folder:
        X, y = Path(folder) / "X.npy", Path(folder) / "y.npy"
        np.save(X, np.asarray(features.values)[:, :F])
        np.save(y, np.asarray(rows.y))
        shift, scale = (np.asarray(part)[:F] for part in (features.shift, features.scale))
        yield W, rows, stream_from_npy(X, y, shift=shift, scale=scale)


def from_a_map(config: Config, W: jax.Array, rows: Data, stream: Data) -> list[Row]:
    """One step on a batch, drawn in memory, and read from the map."""
    steps = 2000 if config.full else 3  # of which a call's own checks are no part to speak of
    key = jax.random.key(config.seed)

    def in_memory(replacement: bool) -> Callable[[], Any]:
        optimizer = minibatch(STEP, batch_size=BATCH_SIZE, replacement=replacement)
        return lambda: run_steps(optimizer, key, W, rows, num_steps=steps)

    peers = {
        "jaxsvm, in memory": in_memory(True),
        "jaxsvm, in memory, epochs": in_memory(False),
        "jaxsvm, from a memory map": lambda: run_stream(
            STEP, key, W, stream, num_steps=steps, batch_size=BATCH_SIZE
        ),
    }
    _, D, C = config.shape
    return compare(
        PART, f"mini-batch step, {BATCH_SIZE} rows", peers, config, calls=steps,
        flops=4.0 * BATCH_SIZE * D * C, bytes=1.0 * BATCH_SIZE * D + 8.0 * C * D,
    )  # fmt: skip


def decoding(config: Config, seconds_of_row: float) -> list[Row]:
    """One image of CIFAR-10's records, by one process and by one for each core.

    Args:
        config: of the benchmark.
        seconds_of_row: a row's share of a step, with which decoding is compared in a note.
    """
    root = os.environ.get("TFDS_DATA_DIR")
    if not root or not (Path(root) / "cifar10").is_dir():
        print("decoding an image: measured where TFDS_DATA_DIR has cifar10")
        return []
    number = 4000 if config.full else 20
    rows = np.random.default_rng(config.seed).permutation(10_000)[:number]
    peers = {}
    for workers in (1, os.cpu_count() or 1) if config.full else (1,):
        images: Any = stream_from_tfds("cifar10", "test", shift=0.0, workers=workers).X
        source = images.values.source
        peers[f"jaxsvm, {workers} decoding"] = lambda source=source: source.take(rows)
    alone, *others = compare(PART, "decoding an image", peers, config, calls=number)
    note = (
        f"one process decodes {1 / alone.median:,.0f} images a second, and steps take "
        f"{1 / seconds_of_row:,.0f} rows: decoding is the limit up to "
        f"{alone.median / seconds_of_row:,.0f} processes on cores of their own"
    )
    return [alone._replace(note=note), *others]


def peaks(config: Config) -> list[Row]:
    """The peak of memory over rows that are made on the fly; of a tenth of them, too."""
    found = []
    N = ON_THE_FLY[config.size][0]
    for number in (N // 10, N) if config.full else (N,):
        work = f"peak memory of training on {number:,} rows made on the fly"
        found += harness.memory_rows(PART, work, f"{__name__}:train", config.size, str(number))
    return found


def train(size: str, num_rows: str) -> Callable[[], Any]:
    """Return a training over random bytes, to be called in a process of its own.

    300 mini-batch steps, then the loss of all rows and its gradient, in one pass.
    """
    (_, block_rows, F), N = ON_THE_FLY[size], int(num_rows)

    def block(i: int) -> tuple[np.ndarray, np.ndarray]:
        words = np.random.PCG64(i).random_raw(block_rows * F // 8)
        X = words.view(np.uint8).reshape(block_rows, F)[: N - i * block_rows]
        return X, X[:, 0] % 10

    def call() -> Any:
        stream = stream_from_blocks(
            block, num_rows=N, block_rows=block_rows, y=np.zeros(N, np.int32), shift=128.0,
            scale=1 / 128,
        )  # fmt: skip
        W = jnp.zeros((10, F + 1))
        state, _ = run_stream(STEP, jax.random.key(0), W, stream, num_steps=300)
        return jax.value_and_grad(OBJECTIVE)(state.params, stream)

    return call
