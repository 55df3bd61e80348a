"""The entries of the registry in pytest-benchmark, to compare two commits on one machine.

    pytest tests/test_speed.py -n0 --benchmark-enable --benchmark-save=before
    pytest tests/test_speed.py -n0 --benchmark-enable --benchmark-compare \
        --benchmark-compare-fail=median:20%

The first saves, the second, on another commit, compares with what was saved last. They take
CIFAR-10's shape and a few minutes. Without ``--benchmark-enable`` each entry runs once on a small
problem, which shows that it works.
"""

from functools import lru_cache

import jax
import pytest

from experiments.benchmark.harness import random_data
from experiments.benchmark.registry import ENTRIES, Problem
from jaxsvm import Objective

CASES = [
    pytest.param(entry, form, id=f"{name.format(n=entry.counts.speed)}, {form}")
    for name, entry in ENTRIES.items()
    for form in (("bytes", "floats") if entry.floats else ("bytes",))
]

pytestmark = pytest.mark.experiments

data = lru_cache(maxsize=2)(random_data)


@pytest.fixture
def full(request):
    """Whether times count; then entries are compiled as users compile them, else cheaply."""
    enabled = request.config.getoption("benchmark_enable")
    cheap = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", not enabled)
    # An entry timed again and again uses its key again and again.
    with jax.debug_key_reuse(False):
        yield enabled
    jax.config.update("jax_disable_most_optimizations", cheap)


@pytest.mark.parametrize(("entry", "form"), CASES)
def test_speed(entry, form, benchmark, full):
    W, examples = data("full" if full else "tiny", form)
    problem = Problem(Objective(reg=1e-4), jax.random.key(0), entry.size, W, examples)
    function = jax.jit(entry.call, static_argnums=1) if entry.jittable else entry.call

    def call():
        return jax.block_until_ready(function(problem, entry.counts.speed))

    call()  # compiles
    benchmark(call)
