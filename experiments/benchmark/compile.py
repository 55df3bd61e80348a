"""How long the first call of every entry takes to trace and compile, against two seconds.

Compilation depends on shapes and not on values, so the entries are compiled for abstract arguments
of the full shape and no data is made. An entry that works on the host between its compiled parts
runs on zeros instead: the time of its first call, less that of a second.
"""

from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmark.harness import Config, Row, padded, row_of
from experiments.benchmark.registry import ENTRIES, Entry, Problem
from experiments.shared.timing import timed
from jaxsvm import Data, Objective, StandardizedFeatures

OBJECTIVE = Objective(reg=1e-4)
LIMIT = 2.0
# A compilation takes long enough to be timed by a few.
REPEATS = 3
# What runs at the tiny size.
TINY = ("loss", "loss and gradient", "check_gradient")


def run(config: Config) -> list[Row]:
    rows = []
    for form in ("bytes", "floats") if config.full else ("bytes",):
        for name, entry in ENTRIES.items():
            if config.full or name in TINY:
                work = f"{name.format(n=entry.counts.compile)}, {form}"
                row = row_of("compile", work, "jaxsvm", first_calls(entry, config, form))
                verdict = "under" if row.median < LIMIT else "OVER"
                rows.append(row._replace(peer=f"jaxsvm, {verdict} {LIMIT:g} s"))
    return rows


def first_calls(entry: Entry, config: Config, form: str) -> list[float]:
    """Return the seconds of calls before each of which everything compiled is forgotten."""
    arguments = abstract(config, form)

    def call_entry(key: Any, W: Any, data: Data) -> Any:
        problem = Problem(OBJECTIVE, key, entry.size, W, data)
        return entry.call(problem, entry.counts.compile)

    def compiled() -> Any:
        return jax.jit(call_entry).lower(*arguments).compile()

    def on_zeros() -> Any:
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), arguments[1:])
        return call_entry(jax.random.key(0), *zeros)

    call = compiled if entry.jittable else on_zeros
    times = []
    for _ in range(min(config.repeats, REPEATS)):
        jax.clear_caches()
        times.append(timed(call)[1])
    again = 0.0 if entry.jittable else timed(call)[1]
    return [first - again for first in times]


def abstract(config: Config, form: str) -> tuple[Any, Any, Data]:
    """Return (key, W, data) of the problem's shape, without their values."""
    N, D, C = config.shape

    def zeros() -> tuple[Any, Any, Data]:
        X: Any = jnp.zeros((N, D))
        if form == "bytes":
            values = jnp.zeros((N, padded(D)), jnp.uint8)
            X = StandardizedFeatures(values, jnp.zeros(D), jnp.ones(D))
        return jax.random.key(0), jnp.zeros((C, D)), Data(X, jnp.zeros(N, jnp.int32))

    return jax.eval_shape(zeros)
