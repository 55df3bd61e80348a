"""Streams: the bits of the same data in memory, and each row read once for each evaluation."""

import os
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, StandardizedFeatures, StreamedRows, advance, compiled, run
from jaxsvm.core import blocks, passes
from jaxsvm.core.trees import digests
from tests.problems import byte_problem, problem

SMOOTH = Objective(jaxsvm.softmax_loss, reg=0.1)
HINGES = Objective(jaxsvm.crammer_singer_loss, reg=0.1)
D, C = 5, 3
# Two segments of five blocks and a rest of 11 rows. No other test has arrays of these shapes: they
# would be compiled already, for other block sizes.
MANY = 211


class Rows:
    """Rows that lie in memory all the same, and how often each has been read."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.shape, self.dtype = self.array.shape, self.array.dtype
        self.reads = np.zeros(len(array), int)

    def read(self, start, stop):
        self.reads[start:stop] += 1
        return self.array[start:stop]

    def times(self):
        """How often each row has been read since the last call, where all have the same number."""
        reads, self.reads = self.reads, np.zeros_like(self.reads)
        assert np.ptp(reads) == 0
        return int(reads[0])


def streamed(data):
    """The same data as a stream, and the stream's source."""
    if not isinstance(data.X, StandardizedFeatures):
        source = Rows(data.X)
        return Data(StreamedRows(source), data.y), source
    source = Rows(data.X.values)
    X = StandardizedFeatures(StreamedRows(source), data.X.shift, data.X.scale)
    return Data(X, data.y), source


def examples(kind, N):
    if kind == "bytes":
        return byte_problem(0, (N, D, C))
    W, data = problem(0, (N, D, C))
    return W, data


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Blocks of few rows, and pieces of a block or two."""
    sizes = blocks.CPU._replace(product=24, few=8, certified=8, label=8)
    monkeypatch.setattr(blocks, "CPU", sizes)
    monkeypatch.setattr(passes, "PIECE_BYTES", 700)


def values(W, data):
    return {
        "value": SMOOTH(W, data),
        "gradient": jax.grad(SMOOTH)(W, data),
        "bound": jaxsvm.lower_bound(HINGES, W, data),
    }


def shapes(W, data):
    V = W[::-1]
    line = jaxsvm.along(HINGES, W, V, data)
    return {
        "analytic gradient": jaxsvm.analytic_gradient(HINGES, W, data),
        "accuracy": jaxsvm.accuracy(W, data),
        "line": (line.value(0.3), line.slopes(0.3)),
        "plane": jaxsvm.slice_2d(SMOOTH, W, V, jnp.roll(W, 1), data, num=2),
    }


@pytest.mark.compiled
@pytest.mark.parametrize(("f", "kind"), [(values, "bytes"), (shapes, "floats")])
def test_whole_data_quantities_have_the_bits_of_memory(f, kind):
    W, data = examples(kind, MANY)
    stream, source = streamed(data)
    expected, got = jax.jit(f)(W, data), compiled(f)(W, stream)
    assert [name for name in expected if bits(got[name]) != bits(expected[name])] == []
    assert source.times() == 4  # a bound takes two


@pytest.mark.compiled
@pytest.mark.parametrize(("kind", "N"), [("bytes", 1), ("floats", 22)])
def test_so_have_those_of_one_block(kind, N):
    W, data = examples(kind, N)
    stream, source = streamed(data)
    for f in (SMOOTH, jax.grad(SMOOTH), partial(jaxsvm.analytic_gradient, HINGES)):
        assert bits(compiled(f)(W, stream)) == bits(jax.jit(f)(W, data))
        assert source.times() == 1


PASSES = {
    "value": (1, lambda W, data: SMOOTH(W, data)),
    "analytic gradient": (1, lambda W, data: jaxsvm.analytic_gradient(HINGES, W, data)),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_call_that_is_not_compiled_has_the_bits_of_one_in_memory(name):
    W, data = examples("bytes", MANY)
    stream, source = streamed(data)
    times, f = PASSES[name]
    assert bits(f(W, stream)) == bits(f(W, data))
    assert source.times() == times


OPTIMIZERS = {
    # One pass a step.
    "gradient_descent": (6, jaxsvm.gradient_descent(SMOOTH, step_size=0.5, momentum=0.9)),
    # One at the start, and one for each block of four trials.
    "local_search": (3, jaxsvm.local_search(HINGES, step_size=0.3, block_size=4)),
    # Two at the start; then one for each draw that is not refused.
    "pruned_random_search": (None, jaxsvm.pruned_random_search(HINGES, scale=0.3, block_size=4)),
}


@pytest.mark.any_precision
@pytest.mark.compiled
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_runs_have_the_bits_of_memory(name):
    W, data = examples("bytes", MANY)
    stream, source = streamed(data)
    times, optimizer = OPTIMIZERS[name]
    key = jax.random.key(0)
    jitted = jax.jit(run, static_argnames=("optimizer", "num_steps"))
    expected = jitted(optimizer, key, W, data, num_steps=6)
    state, info = run(optimizer, key, W, stream, num_steps=6)
    found = state, info
    if hasattr(info, "lower_bound") and not os.environ.get("JAXSVM_DEFAULT_COMPILATION"):
        # XLA's cheap passes round what is fused with a pass's sums in another way.
        np.testing.assert_allclose(info.lower_bound, expected[1].lower_bound, rtol=1e-6)
        found, expected = ((s, i._replace(lower_bound=0)) for s, i in (found, expected))
    assert bits(found) == bits(expected)
    assert source.times() == (times or 2 + int(info.loss_evaluations.sum()))


def test_a_run_is_compiled_once_and_may_be_cut(programs):
    W, data = examples("bytes", MANY)
    stream, _ = streamed(data)
    _, optimizer = OPTIMIZERS["gradient_descent"]
    key = jax.random.key(0)
    state, _ = run(optimizer, key, W, stream, num_steps=40)
    first = len(programs)
    part, _ = run(optimizer, key, W, stream, num_steps=0)
    for start in (0, 20):
        part, _ = advance(optimizer, key, part, stream, start, num_steps=20)
    assert bits(part) == bits(state)
    programs.clear()
    advance(optimizer, key, part, stream, 30, num_steps=20)
    assert 0 < first < 40
    assert programs == []


def test_a_call_again_compiles_nothing():
    W, data = examples("floats", MANY)
    stream, _ = streamed(data)
    jaxsvm.analytic_gradient(HINGES, W, stream)
    before = passes._first_of.cache_info().misses
    for scale in (2.0, 3.0):
        jaxsvm.analytic_gradient(HINGES, scale * W, stream)
    assert passes._first_of.cache_info().misses == before


def test_the_check_of_a_gradient_has_the_bits_of_memory():
    W, data = examples("floats", MANY)
    stream, _ = streamed(data)
    expected, got = (jaxsvm.check_gradient(HINGES, W, part, h=0.5) for part in (data, stream))
    assert expected.num_kink > 0
    for field in ("verdict", "gradient", "numerical", "left", "right", "tolerance"):
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field), field)
    assert got.worst == expected.worst


def test_a_termwise_gradient_has_the_bits_of_memory():
    W, data = examples("bytes", MANY)
    stream, source = streamed(data)
    termwise = partial(jaxsvm.termwise_numerical_gradient, HINGES)
    assert bits(termwise(W, stream)) == bits(jax.jit(termwise)(W, data))
    assert source.reads.min() == 2  # the scores, and the terms in order of labels


def test_a_solve_has_the_bits_of_memory():
    """By coordinate passes, while they halve the gap, and by steps in the metric."""
    _, data = examples("bytes", MANY)
    stream, _ = streamed(data)
    expected, got = (
        _quiet(
            lambda part=part: jaxsvm.solve(
                Objective(reg=20.0), part, gap_tolerance=1e-12, max_passes=7
            )
        )
        for part in (data, stream)
    )
    assert bits(got[:2]) == bits(expected[:2])
    assert got[2:6] == expected[2:6]
    # Five passes, and the first steps; in float64 two passes are enough.
    assert len(got.history.passes) == (2 if jax.config.read("jax_enable_x64") else 6)


def _quiet(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def test_a_saved_run_goes_on_from_memory_over_a_stream(tmp_path):
    W, data = examples("bytes", MANY)
    stream, _ = streamed(data)
    assert digests(stream) == digests(data)
    _, optimizer = OPTIMIZERS["gradient_descent"]
    resumed = partial(jaxsvm.run_resumable, optimizer, jax.random.key(0), W, every=2)
    resumed(data, num_steps=2, folder=tmp_path / "both")
    got = resumed(stream, num_steps=4, folder=tmp_path / "both")
    assert bits(got) == bits(resumed(data, num_steps=4, folder=tmp_path / "one"))


def test_a_function_of_ones_own_is_seen_along_a_line():
    """Several points share a pass."""
    W, data = examples("bytes", MANY)
    stream, source = streamed(data)

    def loss(W, data):
        return SMOOTH(W, data)

    seen = partial(jaxsvm.slice_1d, loss, W, W[::-1], num=3)
    expected = jax.jit(lambda data: seen(data=data).loss)(data)
    np.testing.assert_allclose(seen(data=stream).loss, expected, rtol=1e-5)
    assert source.times() == 1


def test_rows_are_taken():
    _, data = examples("floats", MANY)
    (X, _), _source = streamed(data)
    host = np.asarray(data.X)
    some = np.array([7, 3, 7, -2])
    for index in (5, -1, slice(3, 40), slice(None, None, 17), some, np.asarray(data.y) > 1):
        np.testing.assert_array_equal(X[index], host[index])
    np.testing.assert_array_equal(np.asarray(X), data.X)
    np.testing.assert_array_equal(X.map(jnp.abs)[:3], jnp.abs(data.X[:3]))
    assert repr(X) == f"StreamedRows({data.X.dtype}[{MANY}, {D}])"


def test_a_source_may_take_rows_itself():
    _, data = examples("floats", MANY)

    class Taking(Rows):
        def take(self, index):
            return self.array[index]

    source = Taking(data.X)
    index = np.array([9, 2, 5])
    np.testing.assert_array_equal(StreamedRows(source)[index], data.X[index])
    assert source.reads.sum() == 0


def test_compiled_code_does_not_read():
    W, data = examples("floats", MANY)
    stream, _ = streamed(data)
    with pytest.raises(ValueError, match=r"code inside jax\.jit cannot read"):
        jax.jit(SMOOTH)(W, stream)
    with pytest.raises(ValueError, match=r"code inside jax\.jit cannot read"):
        jax.jit(lambda X: X[3:5])(stream.X)
    with pytest.raises(ValueError, match="JAX derives nothing: expected an Objective"):
        jax.grad(lambda W: jnp.sum(stream.X @ W.T))(W)


def test_what_cannot_be_read_is_named():
    W, data = examples("floats", MANY)
    stream, source = streamed(data)

    def read(start, stop):
        if start > 100:
            raise OSError(5, "Input/output error")
        return source.array[start:stop]

    source.read = read
    with pytest.raises(OSError, match=r"rows 120 to 143 of Rows cannot be read: .*Input/output"):
        SMOOTH(W, stream)
    source.read = lambda start, stop: source.array[start : stop - 1]
    with pytest.raises(ValueError, match=r"Rows.read\(0, 24\) returned .*\[23, 5\]: expected"):
        SMOOTH(W, stream)
    source.read = lambda start, stop: source.array[start:stop].astype(np.uint8)
    with pytest.raises(ValueError, match=r"returned uint8\[24, 5\]: expected float"):
        SMOOTH(W, stream)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ones((3, 2)), "source is a ndarray: expected shape, dtype and read"),
        (Rows(np.ones(3, np.float32)), r"source.shape = \(3,\): expected \(N, P\)"),
        (Rows(np.ones((3, 2), int)), "source.dtype = .*expected uint8, float32 or float64"),
    ],
)
def test_what_is_no_source_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        StreamedRows(source)


def test_a_number_that_is_not_finite_is_found():
    _W, data = examples("floats", MANY)
    stream, source = streamed(data)
    jaxsvm.validate(stream)
    source.array = source.array.copy()
    source.array[207, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[207, 2\] = nan: expected finite numbers only"):
        jaxsvm.validate(stream)


def test_a_source_may_fill_its_buffer_again():
    W, data = examples("bytes", MANY)
    stream, source = streamed(data)
    buffer = np.zeros_like(source.array)

    def read(start, stop):
        buffer[: stop - start] = source.array[start:stop]
        return buffer[: stop - start]

    source.read = read
    assert bits(compiled(SMOOTH)(W, stream)) == bits(jax.jit(SMOOTH)(W, data))
