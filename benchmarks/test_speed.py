"""The hot functions, an entry of pytest-benchmark each, to compare two commits on one machine.

    pytest benchmarks -n0 --benchmark-enable --benchmark-save=before
    pytest benchmarks -n0 --benchmark-enable --benchmark-compare --benchmark-compare-fail=median:20%

The first saves, the second, on another commit, compares with what was saved last. They take
CIFAR-10's shape and a minute or two; a plain ``pytest benchmarks`` runs each entry once on a
small one, to see that it works.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark.common import Config, random_data
from jaxsvm import (
    Data,
    Objective,
    along,
    check_gradient,
    local_search,
    local_searches,
    lower_bound,
    minibatch_gradient_descent,
    pruned_random_search,
    random_search,
    run,
    slice_2d,
    termwise_numerical_gradient,
)
from jaxsvm.lines.line import Minimum

OBJECTIVE = Objective(reg=1e-4)

loss = jax.jit(lambda objective, W, data: objective(W, data))
value_and_grad = jax.jit(lambda objective, W, data: jax.value_and_grad(objective)(W, data))
steps = jax.jit(run, static_argnames=("optimizer", "num_steps"))
plane = jax.jit(slice_2d, static_argnames="num")
lower = jax.jit(lower_bound)
termwise = jax.jit(termwise_numerical_gradient)


@jax.jit
def best_step(objective: Objective, W: Any, direction: Any, data: Data) -> Minimum:
    """Return the lowest point of the line ahead: `along` and its minimum."""
    return along(objective, W, direction, data).minimum()


class Problem(NamedTuple):
    """What an entry works on."""

    W: jax.Array
    data: Data
    key: jax.Array

    def run(self, optimizer: Any, num_steps: int) -> Callable[[], Any]:
        """Return the run of an optimizer from W."""
        return partial(steps, optimizer, self.key, self.W, self.data, num_steps=num_steps)


def minibatch(p: Problem, batch_size: int) -> Callable[[], Any]:
    descent = minibatch_gradient_descent(OBJECTIVE, step_size=1e-5, batch_size=batch_size)
    return p.run(descent, 100)


# How each entry is called. Searches take a whole block, what one call evaluates together.
ENTRIES: dict[str, Callable[[Problem], Callable[[], Any]]] = {
    "loss": lambda p: partial(loss, OBJECTIVE, p.W, p.data),
    "value_and_grad": lambda p: partial(value_and_grad, OBJECTIVE, p.W, p.data),
    "minibatch, 100 steps of 256": lambda p: minibatch(p, 256),
    "minibatch, 100 steps of 1": lambda p: minibatch(p, 1),
    "random_search, 50 draws": lambda p: p.run(random_search(OBJECTIVE), 50),
    "pruned_random_search, 1000 draws": lambda p: p.run(pruned_random_search(OBJECTIVE), 1000),
    "local_search, 50 trials": lambda p: p.run(local_search(OBJECTIVE), 50),
    "local_searches, 50 trials of 8": lambda p: p._replace(
        W=jnp.broadcast_to(p.W, (8, *p.W.shape))
    ).run(local_searches(OBJECTIVE), 50),
    "slice_2d, 64 x 64": lambda p: partial(
        plane, OBJECTIVE, p.W, p.W[::-1], p.W[:, ::-1], p.data, num=64
    ),
    "along and minimum": lambda p: partial(best_step, OBJECTIVE, p.W, -p.W, p.data),
    "termwise_numerical_gradient": lambda p: partial(termwise, OBJECTIVE, p.W, p.data, h=1e-3),
    "check_gradient": lambda p: partial(check_gradient, OBJECTIVE, p.W, p.data, h=1e-3),
    "lower_bound": lambda p: partial(lower, OBJECTIVE, p.W, p.data),
}
FLOATS = ("loss", "value_and_grad", "minibatch, 100 steps of 256")
CASES = [(name, "bytes") for name in ENTRIES] + [(name, "floats") for name in FLOATS]


@lru_cache(maxsize=2)
def problem(form: str, size: str) -> Problem:
    config = Config(size="full" if size == "full" else "tiny")
    W, data = random_data(config, form)
    return Problem(W, data, jax.random.key(0))


@pytest.mark.parametrize(("name", "form"), CASES)
def test_speed(name: str, form: str, benchmark: Any, request: pytest.FixtureRequest) -> None:
    size = "full" if request.config.getoption("benchmark_enable") else "tiny"
    call = ENTRIES[name](problem(form, size))
    jax.block_until_ready(call())  # compiles
    benchmark(lambda: jax.block_until_ready(call()))
