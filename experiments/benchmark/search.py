"""Random and local search beside the notes' listings in NumPy and a plain vmapped loop.

The listings evaluate one candidate at a time. Here a block of candidates is one product; the
decisions are the listings' own. A call of ours is a whole block, a call of a listing two
candidates; a row is the time of one. Eight and thirty-two local searches at once, by
`local_searches`, are measured against one, and against a vmap over eight keys.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.common import Config, Row, compare, problem
from experiments.benchmark.descent import numpy_loss, plain_objective
from jaxsvm import (
    Objective,
    StandardizedFeatures,
    local_search,
    local_searches,
    pruned_random_search,
    random_search,
)
from jaxsvm import run as run_steps

PART = "search"
OBJECTIVE = Objective(reg=1e-4)
SCALE = 1e-4
SEEDS = (8, 32)
# Candidates in one call of what takes them one at a time.
LISTED = 2


def run(config: Config) -> list[Row]:
    W, as_bytes, as_floats = problem(config)
    assert not isinstance(as_floats.X, StandardizedFeatures)
    N, D, C = config.shape
    X, y = np.asarray(as_floats.X), np.asarray(as_floats.y)
    start, key = jnp.asarray(W), jax.random.key(config.seed)
    optimizers = {
        "random_search": random_search(OBJECTIVE, scale=SCALE),
        "local_search": local_search(OBJECTIVE, step_size=SCALE),
    }
    search = jax.jit(run_steps, static_argnames=("optimizer", "num_steps"))
    loss = jax.jit(plain_objective)

    def random_listing() -> float:
        """The notes' strategy #1."""
        rng, best = np.random.default_rng(config.seed), np.inf
        for _ in range(LISTED):
            trial = rng.standard_normal((C, D), dtype=np.float32) * np.float32(SCALE)
            best = min(best, float(numpy_loss(trial, X, y)))
        return best

    def local_listing() -> float:
        """The notes' strategy #2."""
        rng, best, W_now = np.random.default_rng(config.seed), np.inf, W
        for _ in range(LISTED):
            step = rng.standard_normal((C, D), dtype=np.float32) * np.float32(SCALE)
            value = float(numpy_loss(W_now + step, X, y))
            if value < best:
                best, W_now = value, W_now + step
        return best

    def jax_listing() -> float:
        """The listing with a jitted loss in place of NumPy's."""
        best = np.inf
        for i in range(LISTED):
            trial = SCALE * jax.random.normal(jax.random.fold_in(key, i), (C, D))
            best = min(best, float(loss(trial, as_floats.X, as_floats.y)))
        return best

    @jax.jit
    def vmapped(key: Any, X: Any, y: Any) -> Any:
        trials = SCALE * jax.random.normal(key, (LISTED, C, D))
        return jnp.min(jax.vmap(plain_objective, in_axes=(0, None, None))(trials, X, y))

    listings: dict[str, dict[str, Callable[[], Any]]] = {
        "random_search": {
            "numpy, the notes' listing": random_listing,
            "jax, the notes' listing": jax_listing,
            "jax, plain vmap": lambda: vmapped(key, as_floats.X, as_floats.y),
        },
        "local_search": {"numpy, the notes' listing": local_listing},
    }
    rows = []
    for name, optimizer in optimizers.items():
        candidates = optimizer.block_size if config.size == "full" else 2
        # Both also evaluate their start: that time is theirs.
        ours: dict[str, Callable[[], Any]] = {
            "jaxsvm, bytes": partial(search, optimizer, key, start, as_bytes, num_steps=candidates),
            "jaxsvm, float32": partial(
                search, optimizer, key, start, as_floats, num_steps=candidates
            ),
        }
        calls = dict.fromkeys(ours, candidates) | dict.fromkeys(listings[name], LISTED)
        peers = ours | listings[name]
        work = f"{name}, one candidate (ours of {candidates}, a listing's of {LISTED} a call)"
        rows += compare(PART, work, peers, config, calls=calls, flops=2.0 * N * D * C)
    return rows + pruned(config) + many(config)


def pruned(config: Config) -> list[Row]:
    """A draw of a random search of a thousand, all evaluated or only those that may be lower.

    How many are refused depends on the data, and these are random bytes: for images see the
    experiment `random_search`.
    """
    W, as_bytes, _ = problem(config)
    draws = 1000 if config.size == "full" else 10
    search = jax.jit(run_steps, static_argnames=("optimizer", "num_steps"))
    arguments = jax.random.key(config.seed), jnp.zeros_like(jnp.asarray(W)), as_bytes
    peers = {}
    for make in (pruned_random_search, random_search):
        optimizer = make(OBJECTIVE, scale=SCALE)
        peers[f"jaxsvm, {make.__name__}"] = partial(search, optimizer, *arguments, num_steps=draws)
    return compare(PART, f"random search, a draw of {draws}", peers, config, calls=draws)


def many(config: Config) -> list[Row]:
    """One local search beside several: a row is the time in which each of them takes one trial."""
    W, as_bytes, _ = problem(config)
    start, key = jnp.asarray(W), jax.random.key(config.seed)
    one, together = (make(OBJECTIVE, step_size=SCALE) for make in (local_search, local_searches))
    search = jax.jit(run_steps, static_argnames=("optimizer", "num_steps"))
    blocks = {
        name: optimizer.block_size if config.size == "full" else 2
        for name, optimizer in (("one", one), ("together", together))
    }

    @jax.jit
    def vmapped(keys: Any, W: Any, data: Any) -> Any:
        def alone(key: Any) -> Any:
            return run_steps(one, key, W, data, num_steps=blocks["one"])[0]

        return jax.vmap(alone)(keys)

    keys = jax.random.split(key, SEEDS[0])
    peers: dict[str, Callable[[], Any]] = {
        "one": lambda: search(one, key, start, as_bytes, num_steps=blocks["one"])
    }
    calls = {"one": blocks["one"]}
    for count in SEEDS:
        starts = jnp.broadcast_to(start, (count, *start.shape))
        name = f"{count}, local_searches"
        peers[name] = partial(search, together, key, starts, as_bytes, num_steps=blocks["together"])
        calls[name] = blocks["together"]
    name = f"{SEEDS[0]}, vmap over keys"
    peers[name] = lambda: vmapped(keys, start, as_bytes)
    calls[name] = blocks["one"]
    return compare(PART, "local searches, a trial of each", peers, config, calls=calls)
