"""JAX is told to look whether a key is used twice, by tests/conftest.py, and no optimizer does so.

That depends on no value, and to look costs about 6 % of the time of a test. So it is done where
every function is called that is given a key: in the documents, whose examples call the public
ones, in the tests of the experiments, and in those marked ``keys``.
"""

import contextlib

import jax
import pytest

from experiments.benchmark.registry import OPTIMIZERS
from tests.problems import problem
from tests.test_optimizer import BLOCK, LOSS, SHAPE, STEP, start_of

pytestmark = pytest.mark.any_precision
REUSED = pytest.raises(jax.errors.KeyReuseError)


def use_twice(key):
    return jax.random.bits(key), jax.random.bits(key)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(True, marks=pytest.mark.keys),
        pytest.param(True, marks=pytest.mark.experiments),
        False,
    ],
)
def test_a_key_that_is_used_twice_is_found(found):
    for use in (use_twice, jax.jit(use_twice)):
        with REUSED if found else contextlib.nullcontext():
            use(jax.random.key(0))


@pytest.mark.keys
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_step_by_itself_uses_its_key_once(name):
    """As runs do; these are traced in tests/test_traces.py, and take blocks of steps."""
    W, data = problem(0, SHAPE)
    optimizer = OPTIMIZERS[name].make(LOSS, STEP, BLOCK)
    state = jax.eval_shape(optimizer.init, start_of(name, W), data)
    jax.jit(optimizer.step).trace(jax.random.key(0), state, data)
