"""Streams: the rows of whole arrays, in orders that follow from the step, and descent on them."""

import hashlib
import threading
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import jaxsvm
from jaxsvm import Data, DatasetError, Objective, compiled, from_optax, gradient_descent, minibatch
from jaxsvm.core import memory
from jaxsvm.core.streamed import StreamedRows
from jaxsvm.datasets import rows_from_pixels, rows_from_table
from jaxsvm.streams import (
    Order,
    advance_stream,
    batch_rows,
    batches,
    descent,
    run_stream,
    stream_from_blocks,
    stream_from_npy,
)
from tests.children import said_by

any_precision = pytest.mark.any_precision
# (N, block_rows, window, batch_size): one block, a short last block, windows that do not divide,
# batches longer than an epoch, one row.
ORDERS = [(10, 10, 1, 4), (23, 5, 2, 4), (20, 4, 3, 7), (7, 2, 9, 20), (1, 1, 1, 3), (12, 1, 4, 5)]


# --- the order ---


@any_precision
@pytest.mark.parametrize(("N", "block_rows", "window", "batch_size"), ORDERS)
def test_no_row_is_missing_or_repeated_wherever_a_run_is_cut(N, block_rows, window, batch_size):
    order = Order(N, block_rows, window, (1, 2))

    def share(step, process, num_processes):
        return batch_rows(
            order, step, batch_size=batch_size, process=process, num_processes=num_processes
        )

    steps = -(-3 * N // batch_size)
    whole = [share(step, 0, 1) for step in range(steps)]
    seen = np.concatenate(whole)
    for epoch in range(3):
        assert sorted(seen[epoch * N : (epoch + 1) * N]) == list(range(N))
    for processes in (1, 2, 3, 8):
        parts = [[share(step, p, processes) for p in range(processes)] for step in range(steps)]
        # Whoever reads the steps before a cut, and whoever those after it: the batches are these.
        for step in range(steps):
            np.testing.assert_array_equal(np.concatenate(parts[step]), whole[step])


@any_precision
def test_a_window_has_rows_of_its_own_blocks_alone():
    order = Order(23, 5, 2, (3,))
    rows = batch_rows(order, 0, batch_size=23)
    blocks = rows // 5
    found, start = [], 0
    while start < 23:
        here = list(dict.fromkeys(blocks[start:]))[:2]
        length = sum(min(5, 23 - 5 * block) for block in here)
        window = rows[start : start + length]
        assert set(window // 5) == set(here)
        assert window.tolist() != sorted(window)
        found += here
        start += length
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert found != sorted(found)


@any_precision
def test_orders_of_all_kinds_are_equally_likely():
    order = Order(3, 3, 1, (0,))
    epochs = 600
    rows = batch_rows(order, 0, batch_size=3 * epochs).reshape(epochs, 3)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    # Six orders, each expected 100 times: 20.5 is exceeded by chance once in a thousand.
    assert counts.size == 6
    assert ((counts - 100) ** 2 / 100).sum() < 20.5


@any_precision
def test_a_seed_an_epoch_and_a_window_have_orders_of_their_own():
    rows = [batch_rows(Order(40, 40, 1, (seed,)), 0, batch_size=80) for seed in (0, 1)]
    windows = batch_rows(Order(40, 20, 1, (0,)), 0, batch_size=40) % 20
    pairs = [(rows[0][:40], rows[0][40:]), (rows[0], rows[1]), (windows[:20], windows[20:])]
    assert all(not np.array_equal(a, b) for a, b in pairs)


@any_precision
def test_what_an_order_refuses():
    order = Order(10, 10, 1, (0,))
    for message, arguments in {
        "step = -1": {"step": -1, "batch_size": 2},
        "batch_size = 0": {"step": 0, "batch_size": 0},
        "num_processes = 0": {"step": 0, "batch_size": 2, "num_processes": 0},
        "process = 2 and num_processes = 2: expected process < num_processes": {
            "step": 0, "batch_size": 2, "process": 2, "num_processes": 2,
        },
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            batch_rows(order, **arguments)


@any_precision
def test_equal_random_words_leave_rows_in_their_order(monkeypatch):
    class Coarse:
        def __init__(self, seed):
            self.words = generator(seed)

        def random_raw(self, size):
            return self.words.random_raw(size) % 4

    generator = np.random.PCG64
    monkeypatch.setattr(np.random, "PCG64", Coarse)
    N = 1000
    rows = batch_rows(Order(N, N, 1, (5,)), 0, batch_size=N)
    falls = np.flatnonzero(np.diff(rows) < 0)
    assert sorted(rows) == list(range(N))
    assert len(falls) == 3  # between the four words


# --- the sources ---


def images(N=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (N, 2, 3, 1), np.uint8), rng.integers(0, 3, N)


def table(N=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, 6)) + 1e3, rng.integers(0, 3, N).astype(np.uint8)


def as_files(folder, X, y):
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return folder / "X.npy", folder / "y.npy"


def in_blocks(X, y, size, calls=None) -> Any:
    def block(i):
        if calls is not None:
            calls.append(i)
        return X[i * size : (i + 1) * size], y[i * size : (i + 1) * size]

    return {"block": block, "num_rows": len(X), "block_rows": size}


def streamed(X) -> Any:
    return X if isinstance(X, StreamedRows) else X.values


@any_precision
def test_a_stream_has_the_rows_of_the_whole_array(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxsvm.datasets.sources.PIECE_ROWS", 16)
    index = np.array([49, 0, 7, 7, 30] * 5)
    data: Any
    expected: Any
    for make, rows in ((images, rows_from_pixels), (table, rows_from_table)):
        X, y = make()
        mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        expected = rows(X, shift=mean, scale=0.5)
        values = np.asarray(getattr(expected, "values", expected))
        for data in (
            stream_from_npy(*as_files(tmp_path, X, y), scale=0.5),
            stream_from_blocks(**in_blocks(X, y, 8), scale=0.5, window=2),
        ):
            assert data.X.shape == expected.shape
            np.testing.assert_array_equal(data.y, y)
            assert data.y.dtype == np.int32
            source = streamed(data.X).source
            np.testing.assert_array_equal(source.read(0, 50), values)
            np.testing.assert_array_equal(source.read(13, 31), values[13:31])
            np.testing.assert_array_equal(source.take(index), values[index])
            if make is images:
                np.testing.assert_array_equal(data.X.shift, expected.shift)
                np.testing.assert_array_equal(data.X.scale, expected.scale)


@any_precision
def test_a_file_is_mapped(tmp_path):
    files = as_files(tmp_path, *images())
    data = stream_from_npy(*files, shift=0.0)
    np.load(files[0], mmap_mode="r+")[:] = 7
    assert (streamed(data.X).source.read(0, 50)[:, :6] == 7).all()


@any_precision
@pytest.mark.parametrize("name", ["digits", "iris"])
def test_a_dataset_is_put_where_it_is_wanted(name):
    usual = jaxsvm.load_dataset(name, scale="columns")
    mesh = jax.make_mesh((1,), ("devices",))
    for place in (lambda data: data, partial(jaxsvm.shard, mesh=mesh)):
        other = jaxsvm.load_dataset(name, scale="columns", place=place)
        np.testing.assert_array_equal(np.asarray(other.train.X), np.asarray(usual.train.X))
        np.testing.assert_array_equal(other.train.y, usual.train.y)
        assert type(other.test.X) is type(usual.test.X)
    with pytest.raises(ValueError, match="dtype = 'float32': expected a function of Data, and by"):
        jaxsvm.load_dataset(name, dtype="float32", place=place)


def test_rows_that_nobody_holds_leave_their_memory_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_unused", deque(maxlen=4))
    X, y = images(60)
    rows = streamed(stream_from_npy(*as_files(tmp_path, X, y)).X).source
    order = np.random.default_rng(0).permutation(60)
    held, gone = rows.take(order[:20]), rows.take(order[20:40])
    copy, place = held.copy(), gone.ctypes.data
    del gone
    again = rows.take(order[40:])
    assert again.ctypes.data == place
    on_device = jax.device_put(rows.take(order[20:40]))
    other = rows.take(order[20:40])
    np.testing.assert_array_equal(held, copy)
    np.testing.assert_array_equal(on_device, other)
    np.testing.assert_array_equal(again[:, :6], X[order[40:]].reshape(20, 6))
    np.testing.assert_array_equal(again[:, 6:], np.tile([1, 0], (20, 1)))


@any_precision
def test_labels_and_the_mean_come_from_one_pass_and_handed_ones_from_none():
    (X, y), calls = images(), list[int]()
    stream_from_blocks(**in_blocks(X, y, 20, calls))
    assert calls == [0, 0, 1, 2]  # the first one is looked at before
    calls.clear()
    data = stream_from_blocks(**in_blocks(X, -y, 20, calls), y=y, shift=0.0)
    assert calls == [0]
    np.testing.assert_array_equal(data.y, y)


@any_precision
def test_an_epoch_makes_each_block_once():
    (X, y), calls = images(200), list[int]()
    data = stream_from_blocks(**in_blocks(X, y, 10, calls), y=y, shift=0.0, window=4)
    source = streamed(data.X).source
    order = Order(200, source.block_rows, source.window, (0,))
    calls.clear()
    for step in range(10):
        source.take(batch_rows(order, step, batch_size=20))
    assert sorted(calls) == list(range(20))


@any_precision
def test_what_cannot_be_read_is_named(tmp_path):
    X, y = table()
    X_file, y_file = as_files(tmp_path, X, y)
    broken, several = tmp_path / "broken.npy", tmp_path / "several.npz"
    broken.write_bytes(X_file.read_bytes()[:200])
    np.savez(several, X=X)
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}, {}]), allow_pickle=True)
    fortran, _ = as_files(tmp_path / "..", np.asfortranarray(X), y)
    for message, arguments in {
        "missing.npy does not exist, or is no file: expected": (tmp_path / "missing.npy", y_file),
        "broken.npy cannot be read": (broken, y_file),
        "several.npz holds several arrays": (several, y_file),
        "objects.npy cannot be read": (objects, y_file),
        "in Fortran order: expected": (fortran, y_file),
        r"y.npy holds .*int.*\[50\]: expected real numbers \(N, F\)": (y_file, y_file),
        r"X.npy has shape \(50, 6\) and": (X_file, X_file),
    }.items():
        with pytest.raises(DatasetError, match=message):
            stream_from_npy(*arguments)
    options: Any
    for message, options in {
        r"shift is float64\[5\]: expected a finite number, or an array of 6": {
            "shift": np.zeros(5)
        },
        r"scale is float64\[\]: expected": {"scale": np.nan},
    }.items():
        with pytest.raises(ValueError, match=message):
            stream_from_npy(X_file, y_file, **options)
    X[41, 2], y[3] = np.inf, 200
    stream_from_npy(*as_files(tmp_path, X, y), shift=0.0)  # not checked
    with pytest.raises(DatasetError, match=r"X\[41, 2\] is inf: expected a finite number"):
        stream_from_npy(X_file, y_file)
    np.save(y_file, -y.astype(int))
    with pytest.raises(ValueError, match=r"y\[\d\] = -\d: labels must be integers >= 0"):
        stream_from_npy(X_file, y_file, shift=0.0)


@any_precision
def test_blocks_that_do_not_fit_are_named():
    X, y = images()
    whole = in_blocks(X, y, 20)

    def with_second(X_second, y_second):
        def block(i):
            return (X_second, y_second) if i == 1 else whole["block"](i)

        return whole | {"block": block}

    for message, arguments in {
        "num_rows = 0": whole | {"num_rows": 0},
        "block_rows = 0": whole | {"block_rows": 0},
        "window = 0": whole | {"window": 0},
        r"X of block\(1\) is uint8\[19, 2, 3, 1\]: expected uint8\[20, 2, 3, 1\]": with_second(
            X[:19], y[:19]
        ),
        r"X of block\(1\) is float32": with_second(X[:20].astype(np.float32), y[:20]),
        r"X of block\(1\) is of list": with_second(X[:20].tolist(), y[:20]),
        r"y of block\(1\) has shape \(19,\)": with_second(X[:20], y[:19]),
        r"block\(1\): y\[0\] = -5: labels": with_second(X[:20], y[:20] - 5 - y[0]),
        r"y has shape \(3,\): expected \(50,\)": whole | {"y": y[:3]},
        r"X of block\(0\) has shape \(5,\)": whole | {"block": lambda i: (y[:5], y[:5])},
    }.items():
        with pytest.raises(ValueError, match=message):
            stream_from_blocks(**arguments)


# --- descent ---


OBJECTIVE = Objective(reg=1e-3)
DESCENT = gradient_descent(OBJECTIVE, step_size=1e-2, momentum=0.9)


def noisy_step(key, state, data):
    state, info = DESCENT.step(key, state, data)
    noise = jax.random.normal(key, state.params.shape, state.params.dtype)
    return state._replace(params=state.params + 1e-3 * noise), info


# A step that needs its key.
NOISY = DESCENT._replace(step=noisy_step)


def start(C=3, D=7) -> Any:
    dtype = jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32
    return jax.random.key(5), jnp.asarray(np.random.default_rng(1).standard_normal((C, D)), dtype)


def whole(make, N) -> Any:
    """The same examples in memory and as blocks in a stream, in floats of the test's precision."""
    X, y = make(N)
    data: Any = stream_from_blocks(**in_blocks(X, y, 32), scale=1 / 128, window=3)
    rows = jnp.asarray(np.asarray(streamed(data.X).source.read(0, N)))
    if make is table:
        return Data(rows, data.y), data
    shift = np.asarray(data.X.shift)[:-1].reshape(2, 3, 1)
    return Data(rows_from_pixels(X, shift=shift, scale=1 / 128), data.y), data


@partial(jax.jit, static_argnames="optimizer")
def from_memory(optimizer, key, W, data, index):
    def one(state, batch):
        i, rows = batch
        return optimizer.step(jax.random.fold_in(key, i), state, Data(data.X[rows], data.y[rows]))

    numbers = jnp.arange(len(index), dtype=jnp.int32)
    return lax.scan(one, optimizer.init(W, data), (numbers, index))


def the_same_to_the_bit(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in leaves)


@pytest.mark.compiled
@pytest.mark.parametrize(("make", "batch_size"), [(images, 5), (images, 200), (table, 5)])
def test_a_run_has_the_bits_of_the_same_batches_from_memory(make, batch_size):
    if make is table and jax.config.read("jax_enable_x64"):
        pytest.skip("a stream of numbers is float32")
    in_memory, data = whole(make, 450)
    key, W = start()
    state, info = run_stream(NOISY, key, W, data, num_steps=11, batch_size=batch_size)
    order = Order(450, 32, 3, tuple(jax.random.key_data(key).tolist()))
    index = np.stack([batch_rows(order, i, batch_size=batch_size) for i in range(11)])
    expected = from_memory(NOISY, key, W, in_memory, jnp.asarray(index, jnp.int32))
    assert info.loss.shape == (11,)
    assert the_same_to_the_bit((state, info), expected)
    assert not np.array_equal(state.params, W)


def test_cuts_and_chunks_change_no_bit(monkeypatch):
    _, data = whole(images, 100)
    key, W = start()
    run = NOISY, key
    once, info = run_stream(*run, W, data, num_steps=9, batch_size=8)
    monkeypatch.setattr(batches, "CHUNK_STEPS", 3)
    assert the_same_to_the_bit(run_stream(*run, W, data, num_steps=9, batch_size=8), (once, info))
    state, _ = run_stream(*run, W, data, num_steps=0, batch_size=8)
    losses = []
    for first, size in ((0, 1), (1, 3), (4, 5)):
        state, part = advance_stream(*run, state, data, first, num_steps=size, batch_size=8)
        losses += part.loss.tolist()
    assert the_same_to_the_bit(state, once)
    assert losses == info.loss.tolist()


class Watched:
    """A source that remembers by which thread it was asked, and for how many rows."""

    def __init__(self, source):
        self.source, self.seen = source, []
        self.shape, self.dtype = source.shape, source.dtype
        self.block_rows, self.window = source.block_rows, source.window

    @staticmethod
    def over(data) -> Any:
        """The same stream, watched, and what is seen."""
        watched = Watched(streamed(data.X).source)
        return Data(replace(data.X, values=StreamedRows(watched)), data.y), watched.seen

    def read(self, start, stop):
        return self.source.read(start, stop)

    def take(self, rows):
        self.seen.append((threading.current_thread().name, len(rows)))
        return self.source.take(rows)


def said_of_a_run(*sizes):
    """A digest of the params after so many steps, cut into parts, and how many rows were read."""
    X, y = images(100)
    data, seen = Watched.over(stream_from_blocks(**in_blocks(X, y, 10), window=3))
    key, W = start()
    state, _ = run_stream(NOISY, key, W, data, num_steps=0, batch_size=8)
    for i, size in enumerate(sizes):
        state, _ = advance_stream(
            NOISY, key, state, data, sum(sizes[:i]), num_steps=size, batch_size=8
        )
    digest = hashlib.sha256(np.asarray(state.params).tobytes()).hexdigest()
    return f"{digest}, {sum(rows for _, rows in seen)} rows read"


@any_precision
def test_processes_share_the_reading_and_have_the_bits_of_one():
    program = (
        "-c",
        "import sys, jax\n"
        "jax.config.update('jax_cpu_collectives_implementation', 'gloo')\n"
        "jax.distributed.initialize(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))\n"
        "from tests.test_streams import said_of_a_run\n"
        "print(said_of_a_run(9, 6))\n",
    )
    (alone,) = said_by(1, *program)
    assert alone.endswith(", 128 rows read")  # of 15 batches and the first one for the start
    assert said_by(2, *program) == [alone.replace("128", "64")] * 2


@any_precision
def test_one_chunk_is_read_ahead_by_a_thread(monkeypatch):
    monkeypatch.setattr(batches, "CHUNK_STEPS", 2)
    _, data = whole(images, 100)
    watched, seen = Watched.over(data)
    key, _ = start()
    ahead = batches.Batches(key, watched, 8).ahead(0, 9)
    for number, (size, _) in enumerate(ahead, 1):
        assert size == (2 if number < 5 else 1)
        assert number <= len(seen) <= min(number + 1, 5)
    assert [rows for _, rows in seen] == [16, 16, 16, 16, 8]
    assert all(name.startswith("jaxsvm-read") for name, _ in seen)


def test_a_chunk_is_handed_to_the_device_before_it_is_done_with_the_last(monkeypatch):
    monkeypatch.setattr(batches, "CHUNK_STEPS", 2)
    handed: list[Any] = []

    def chunk(*arguments):
        handed.append(arguments[2])
        return take(*arguments)

    def wait(state):
        waited.append((len(handed), state is handed[-1]))
        return state

    take, waited = descent._chunk, list[Any]()
    monkeypatch.setattr(descent, "_chunk", chunk)
    monkeypatch.setattr(jax, "block_until_ready", wait)
    _, data = whole(images, 100)
    key, W = start()
    run_stream(DESCENT, key, W, data, num_steps=6, batch_size=8)
    assert waited == [(1, True), (2, True), (3, True)]


@any_precision
def test_a_source_that_fails_ends_the_run():
    X, y = images(100)
    made = in_blocks(X, y, 10)

    def block(i):
        if i == 7:
            raise OSError("the disk is gone")
        return made["block"](i)

    data = stream_from_blocks(**made | {"block": block}, y=y, shift=0.0)
    key, W = start()
    with pytest.raises(OSError, match="the disk is gone"):
        run_stream(DESCENT, key, W, data, num_steps=30, batch_size=10)


@any_precision
def test_what_a_run_over_a_stream_refuses():
    in_memory, data = whole(images, 40)
    key, W = start()

    class Forward:
        shape, dtype = (40, 7), np.dtype(np.float32)

        def read(self, start, stop):
            return np.zeros((stop - start, 7), np.float32)

    class Wide(Forward):
        block_rows, window = 40, 1

        def take(self, rows):
            return np.zeros((len(rows), 8), np.float32)

    for message, arguments in {
        r"Wide.take\(of 256 rows\) returned float32\[256, 8\]: expected float32\[256, 7\]": (
            DESCENT, key, W, Data(StreamedRows(Wide()), data.y),
        ),
        "optimizer.batchable is False.*minibatch is none": (minibatch(DESCENT), key, W, data),
        "key has shape": (DESCENT, jax.random.split(key), W, data),
        "data.X is of .*: expected a stream, such as stream_from_npy": (DESCENT, key, W, in_memory),
        "data.X has a Forward as its source": (
            DESCENT, key, W, Data(StreamedRows(Forward()), data.y),
        ),
        "W has shape": (DESCENT, key, W.T, data),
        r"y\[\d+\] = 2: labels must be integers in \[0, 2\)": (DESCENT, key, W[:2], data),
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            run_stream(*arguments, num_steps=2)
    options: Any
    for message, options in {
        "batch_size = 0": {"num_steps": 1, "batch_size": 0},
        "num_steps = -1": {"num_steps": -1},
    }.items():
        with pytest.raises(ValueError, match=message):
            run_stream(DESCENT, key, W, data, **options)
    with pytest.raises(ValueError, match="run_stream is called inside"):
        jax.jit(lambda W: run_stream(DESCENT, key, W, data, num_steps=2))(W)


def test_a_killed_run_goes_on_from_its_folder(tmp_path):
    (X, y), reads = images(100), list[int]()

    class Killed(Exception):
        pass

    # Blocks of one batch, so that every step reads.
    arguments = in_blocks(X, y, 10) | {"y": y, "shift": 0.0, "window": 1}
    whole_block = arguments["block"]

    def killed(i):
        reads.append(i)
        if len(reads) == 18:  # ten were read to know the stream by
            raise Killed
        return whole_block(i)

    key, W = start()
    adam = from_optax(optax.adam(1e-2), OBJECTIVE)
    options: Any = {"num_steps": 8, "batch_size": 10}
    good = stream_from_blocks(**arguments)
    expected = run_stream(adam, key, W, good, **options)
    with pytest.raises(Killed):
        run_stream(
            adam, key, W, stream_from_blocks(**arguments | {"block": killed}),
            folder=tmp_path, every=2, **options,
        )  # fmt: skip
    kept = [path.name for path in tmp_path.glob("step-*")]
    assert kept
    assert "step-000000000008.npz" not in kept
    found = run_stream(adam, key, W, good, folder=tmp_path, every=2, **options)
    assert the_same_to_the_bit(found, expected)
    assert the_same_to_the_bit(run_stream(adam, key, W, good, folder=tmp_path, **options), found)
    other = stream_from_blocks(**in_blocks(X[::-1].copy(), y, 10) | {"y": y, "shift": 0.0})
    for message, changes in {
        r"holds another run: config batch_size was 10, is 5": (good, 5),
        r"holds another run: data .*; config order was": (other, 10),
    }.items():
        with pytest.raises(ValueError, match=message):
            run_stream(
                adam, key, W, changes[0], num_steps=8, batch_size=changes[1], folder=tmp_path
            )


@pytest.mark.parametrize("N", [300, 4000])
def test_a_mapped_stream_is_taken_by_everything(tmp_path, N):
    X, y = images(N)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    stream = stream_from_npy(tmp_path / "X.npy", tmp_path / "y.npy")
    values = jnp.asarray(np.asarray(streamed(stream.X)))
    memory = Data(replace(stream.X, values=values), stream.y)  # type: ignore[type-var]
    objective = Objective(reg=0.1)
    W = jnp.ones((10, stream.X.shape[1]), stream.X.dtype)
    assert the_same_to_the_bit(compiled(objective)(W, stream), jax.jit(objective)(W, memory))
    solution = jaxsvm.solve(objective, stream, num_classes=10, gap_tolerance=0.5)
    assert solution.gap <= 0.5 * solution.primal


def test_a_function_may_fill_its_arrays_again():
    X, y = np.zeros((2, 3), np.uint8), np.zeros(2, np.int64)

    def block(i):
        X[:], y[:] = i, i
        return X, y

    data = stream_from_blocks(block, num_rows=8, block_rows=2, window=4)
    assert data.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    rows = streamed(data.X).source.take(np.array([0, 2, 4, 1, 3, 5]))
    assert rows[:, 0].tolist() == [0, 1, 2, 0, 1, 2]
