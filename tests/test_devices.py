"""Data over several devices: the bits of one, whatever is computed of it."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Objective, shard
from jaxsvm.core import features, rows
from jaxsvm.core.blocks import block_sizes
from jaxsvm.optimizers import resumable
from tests.children import ROOT, said, said_by, started
from tests.problems import problem

# The child compiles for most of a minute; on a busy machine that is several.
pytestmark = pytest.mark.timeout(900)


def mesh():
    return jax.make_mesh((1,), ("devices",))


@pytest.fixture(scope="module")
def child():
    """What tests/devices_child.py found on 8 virtual devices."""
    status, out, err = said(started("-m", "tests.devices_child"))
    assert status == 0, err
    return json.loads(out)


# What devices could change is the order of sums, which is one in either precision.
@pytest.mark.any_precision
@pytest.mark.compiled
def test_the_bits_do_not_depend_on_how_many_devices_there_are(child):
    compared = child["compared"]
    assert len(compared) >= 26
    assert [name for name, is_equal in compared.items() if not is_equal] == []


@pytest.mark.any_precision
@pytest.mark.compiled
def test_a_run_goes_on_from_8_devices_on_one_and_back(child):
    assert child["resumed"]


@pytest.mark.any_precision
@pytest.mark.compiled
def test_the_check_of_a_gradient_says_the_same(child):
    assert child["checked"]


@pytest.mark.any_precision
@pytest.mark.compiled
def test_what_cannot_be_shared_is_refused(child):
    refused = child["refused"]
    assert refused["three devices"].startswith("mesh has 3 devices: expected a power of two")
    few = "data has 10000 examples, which are 2 segments of 5000, and mesh has 8 devices: expected"
    assert refused["few examples"].startswith(few)
    assert refused["devices"].startswith("mesh is a list: expected a jax.sharding.Mesh")
    assert refused["an array"] == "data is a ndarray: expected Data(X, y)"
    assert refused["jit"].startswith("shard is called inside jax.jit")


def recipe():
    """Return the guide's program for several hosts."""
    guide = (ROOT / "experiments" / "docs" / "guide.md").read_text()
    (code,) = re.findall(r"## Run on several hosts\n.*?```python\n(.*?)```", guide, re.DOTALL)
    return code


@pytest.mark.compiled
@pytest.mark.any_precision
def test_the_bits_do_not_depend_on_how_many_processes_there_are():
    program = "-c", recipe()
    (alone,) = said_by(1, *program)
    assert alone.startswith("1 devices: loss 0.")
    # Two of them, and longer programs, are in tests/test_devices_line.py.
    assert said_by(4, *program) == [alone.replace("1 devices", "4 devices")] * 4


def test_one_device_is_no_other_case():
    W, data = problem(0, (1000, 3, 2))
    one = shard(data, mesh())
    assert float(Objective()(W, one)) == float(Objective()(W, data))
    np.testing.assert_array_equal(np.asarray(one.X), data.X)
    for index in (5, slice(2, 900, 7), jnp.array([0, -1, 999, 3])):
        np.testing.assert_array_equal(one.X[index], data.X[index])
    again = shard(one, mesh())
    np.testing.assert_array_equal(np.asarray(again.X), data.X)


def test_a_chunk_takes_the_memory_of_the_state_before_it():
    W, data = problem(0, (12, 5, 4))
    optimizer = jaxsvm.gradient_descent(Objective(), step_size=0.1, momentum=0.9)
    state = resumable.begin(optimizer, W, data)
    resumable._chunk(optimizer, jax.random.key(0), state, data, 0, num_steps=2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not W.is_deleted()


def test_a_layout_leaves_few_rows_over():
    most = block_sizes().product
    for N in [*range(1, 3000), 23_808, 24_007, 49_000, 50_000, 1_200_001, 2**20 - 1]:
        cut = rows.layout(N)
        rest = N - cut.main
        # A rest of one row would be multiplied by another kind of product.
        assert rest == 0 or 1 < rest <= 2 * cut.segments * cut.blocks
        assert cut.size <= most
        assert cut.segments & (cut.segments - 1) == 0
        assert cut.blocks >= rows.BLOCKS or cut.segments == 1


@pytest.mark.parametrize("N", [1, 100, 129, 769, 4000, 6145, 24_007])
def test_no_sum_takes_more_totals_than_are_counted(N):
    """A lower bound's rounding is what so many of them leave."""

    def count(total, block):
        return total + 1, ()

    X, nothing = jnp.zeros((N, 1)), jnp.zeros((), jnp.int32)
    for most in (32, 128):
        total, _ = rows.scan_blocks(count, nothing, X, rows=most, merge=lambda a, b: a + b + 1)
        assert 0.9 * rows.num_sums(N, most) - 3 <= int(total) <= rows.num_sums(N, most)


def test_sums_and_rows_are_numpys():
    _, data = problem(0, (7001, 2, 2), integers=True)
    X, y = data.X, data.y.astype(data.X.dtype)

    def both(total, block, y):
        return total + jnp.sum(block * y[:, None], axis=0), 2 * block[:, 0] + y

    for most in (None, 100):
        total, out = rows.scan_blocks(both, jnp.zeros(2, X.dtype), X, y, rows=most)
        np.testing.assert_array_equal(out, 2 * X[:, 0] + y)
        np.testing.assert_allclose(total, np.asarray(y, float) @ np.asarray(X, float), rtol=1e-6)


def test_a_row_of_a_product_is_the_same_beside_any_others():
    """`rows.each_row` hands a product the rows of a device, or all."""
    W, data = problem(0, (6200, 33, 10))
    product = jax.jit(features.dot)
    whole = product(data.X, W)
    for start, stop in [(0, 3100), (3100, 6200), (1000, 1800)]:
        np.testing.assert_array_equal(product(data.X[start:stop], W), whole[start:stop])
