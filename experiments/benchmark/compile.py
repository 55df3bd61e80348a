"""How long the first call of every entry takes to trace and compile, against two seconds.

Compilation depends on shapes and not on values, so the entries are compiled for abstract arguments
of the full shape and no data is made. `check_gradient` alone works on the host between its compiled
parts: what it needs is its first call's time, on zeros, less that of a second.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmark.common import Config, Row, padded, row_of
from jaxsvm import (
    Data,
    Objective,
    Optimizer,
    StandardizedFeatures,
    along,
    check_gradient,
    line_search_descent,
    local_search,
    local_searches,
    minibatch_gradient_descent,
    pruned_random_search,
    random_search,
    slice_2d,
    termwise_numerical_gradient,
)
from jaxsvm import run as run_steps
from jaxsvm.lines.line import Minimum

OBJECTIVE = Objective(reg=1e-4)
LIMIT = 2.0
# A compilation takes long enough to be timed by a few.
REPEATS = 3


def run(config: Config) -> list[Row]:
    rows = []
    full = config.size == "full"
    for form in ("bytes", "floats") if full else ("bytes",):
        arguments = abstract(config, form)
        for name, entry in list(ENTRIES.items())[: None if full else 2]:
            compile_once = partial(_compile, entry, *arguments)
            rows.append(_row(f"{name}, {form}", _first_calls(compile_once, config)))
    _, *shapes = abstract(config, "bytes")
    W, data = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    check = partial(check_gradient, OBJECTIVE, W, data)
    first = _first_calls(check, config)
    again = _seconds(check)
    return [*rows, _row("check_gradient, bytes", [seconds - again for seconds in first])]


def abstract(config: Config, form: str) -> tuple[Any, Any, Data]:
    """Return (key, W, data) of the problem's shape, without their values."""
    N, D, C = config.shape

    def zeros() -> tuple[Any, Any, Data]:
        X: Any = jnp.zeros((N, D))
        if form == "bytes":
            X = StandardizedFeatures(
                jnp.zeros((N, padded(D)), jnp.uint8), jnp.zeros(D), jnp.ones(D)
            )
        return jax.random.key(0), jnp.zeros((C, D)), Data(X, jnp.zeros(N, jnp.int32))

    return jax.eval_shape(zeros)


def _compile(entry: Callable[..., Any], *arguments: Any) -> None:
    jax.jit(entry).lower(*arguments).compile()


def _first_calls(call: Callable[[], Any], config: Config) -> list[float]:
    """Return the seconds of calls before each of which everything compiled is forgotten."""
    times = []
    for _ in range(min(config.repeats, REPEATS)):
        jax.clear_caches()
        times.append(_seconds(call))
    return times


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _row(work: str, times: list[float]) -> Row:
    row = row_of("compile", work, "jaxsvm", times)
    return row._replace(peer=f"jaxsvm, {'under' if row.median < LIMIT else 'OVER'} {LIMIT:g} s")


def _steps(optimizer: Optimizer) -> Callable[..., Any]:
    return lambda key, W, data: run_steps(optimizer, key, W, data, num_steps=1000)


def _minibatch(batch_size: int) -> Callable[..., Any]:
    return _steps(minibatch_gradient_descent(OBJECTIVE, step_size=1e-5, batch_size=batch_size))


def _best_step(key: Any, W: Any, data: Data) -> Minimum:
    gradient = jax.grad(OBJECTIVE)(W, data)
    return along(OBJECTIVE, W, -gradient, data).minimum()


ENTRIES: dict[str, Callable[..., Any]] = {
    "loss": lambda key, W, data: OBJECTIVE(W, data),
    "loss and gradient": lambda key, W, data: jax.value_and_grad(OBJECTIVE)(W, data),
    "best step along the gradient": _best_step,
    "plane 1024 x 1024": lambda key, W, data: slice_2d(
        OBJECTIVE, W, W[::-1], W[:, ::-1], data, num=1024
    ),
    "termwise numerical gradient": lambda key, W, data: termwise_numerical_gradient(
        OBJECTIVE, W, data
    ),
    "1000 mini-batch steps of 256": _minibatch(256),
    "1000 mini-batch steps of 1": _minibatch(1),
    "1000 draws of random_search": _steps(random_search(OBJECTIVE)),
    "1000 draws of pruned_random_search": _steps(pruned_random_search(OBJECTIVE)),
    "1000 trials of local_search": _steps(local_search(OBJECTIVE)),
    "1000 trials of 8 local_searches": lambda key, W, data: run_steps(
        local_searches(OBJECTIVE), key, jnp.broadcast_to(W, (8, *W.shape)), data, num_steps=1000
    ),
    "1000 steps of line_search_descent": _steps(line_search_descent(OBJECTIVE)),
}
