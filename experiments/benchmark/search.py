"""Random and local search beside the notes' listings in NumPy and a plain vmapped loop.

The listings evaluate one candidate at a time. Ours evaluate a block of candidates in one product,
with the listings' own decisions. A call of ours is a whole block, a call of a listing two
candidates; a row is the time of one. Eight and thirty-two local searches at once, by
`local_searches`, are measured against one, and against a vmap over eight keys. The pruned local
search is measured on images: how many rows decide a trial depends on the data.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.benchmark.harness import Config, Peers, Row, compare, problem, run_steps
from experiments.benchmark.listings import (
    REG,
    in_torch,
    numpy_loss,
    plain_objective,
    torch_loss,
)
from experiments.shared.recipes import zero_weights
from jaxsvm import Objective, Optimizer

PART = "search"
OBJECTIVE = Objective(reg=REG)
SCALE = 1e-4
SEEDS = (8, 32)
# Candidates in one call of a listing.
LISTED = 2
# Trials of a run of several searches: whole blocks, enough of them that the starts hardly count.
MANY_TRIALS = 200


def run(config: Config) -> list[Row]:
    draws = jaxsvm.random_search(OBJECTIVE, scale=SCALE)
    steps = jaxsvm.local_search(OBJECTIVE, step_size=SCALE)
    rows = one_candidate(config, "random_search", draws, random_listings(config))
    rows += one_candidate(config, "local_search", steps, local_listings(config))
    return rows + pruned(config) + pruned_local(config) + many(config)


def one_candidate(config: Config, name: str, optimizer: Optimizer, listings: Peers) -> list[Row]:
    """A search of one block beside the listings, which take two candidates a call."""
    inputs = problem(config)
    N, D, C = config.shape
    count = candidates(optimizer, config)
    # A run also evaluates its start: that time is its own.
    start = optimizer, jax.random.key(config.seed), inputs.W
    ours = inputs.peers(lambda data: run_steps(*start, data, num_steps=count))
    calls = dict.fromkeys(ours, count) | dict.fromkeys(listings, LISTED)
    work = f"{name}, one candidate (ours of {count}, a listing's of {LISTED} a call)"
    return compare(PART, work, ours | listings, config, calls=calls, flops=2.0 * N * D * C)


def candidates(optimizer: Optimizer, config: Config) -> int:
    """Return how many candidates one call of ours takes."""
    return optimizer.block_size if config.full else 2


def random_listings(config: Config) -> Peers:
    """The notes' strategy #1: in NumPy, with a jitted loss, and with a vmapped one."""
    inputs = problem(config)
    W, X, y = inputs.host()
    loss, key = jax.jit(plain_objective), jax.random.key(config.seed)

    def in_numpy() -> float:
        rng, best = np.random.default_rng(config.seed), np.inf
        for _ in range(LISTED):
            trial = rng.standard_normal(W.shape, dtype=np.float32) * np.float32(SCALE)
            best = min(best, float(numpy_loss(trial, X, y)))
        return best

    def in_jax() -> float:
        best = np.inf
        for i in range(LISTED):
            trial = SCALE * jax.random.normal(jax.random.fold_in(key, i), W.shape)
            best = min(best, float(loss(trial, *inputs.plain)))
        return best

    @jax.jit
    def vmapped(key: Any, X: Any, y: Any) -> Any:
        trials = SCALE * jax.random.normal(key, (LISTED, *W.shape))
        return jnp.min(jax.vmap(plain_objective, in_axes=(0, None, None))(trials, X, y))

    return {
        "numpy, the notes' listing": in_numpy,
        "jax, the notes' listing": in_jax,
        "jax, plain vmap": lambda: vmapped(key, *inputs.plain),
    } | torch_listing(W, X, y, local=False)


def local_listings(config: Config) -> Peers:
    """The notes' strategy #2 in NumPy and PyTorch."""
    W, X, y = problem(config).host()

    def in_numpy() -> float:
        rng, best, W_now = np.random.default_rng(config.seed), np.inf, W
        for _ in range(LISTED):
            step = rng.standard_normal(W.shape, dtype=np.float32) * np.float32(SCALE)
            value = float(numpy_loss(W_now + step, X, y))
            if value < best:
                best, W_now = value, W_now + step
        return best

    return {"numpy, the notes' listing": in_numpy} | torch_listing(W, X, y, local=True)


def torch_listing(W: np.ndarray, X: np.ndarray, y: np.ndarray, *, local: bool) -> Peers:
    """The notes' strategies #1 and #2 in PyTorch, where it is installed."""
    tensors = in_torch(W, X, y)
    if not tensors:
        return {}

    def in_turn() -> float:
        start, X, y = tensors
        best, W_now = float("inf"), start if local else 0 * start
        for _ in range(LISTED):
            trial = W_now + SCALE * start.new_empty(start.shape).normal_()
            value = float(torch_loss(trial, X, y))
            if value < best:
                best, W_now = value, trial if local else W_now
        return best

    return {"torch, the notes' listing": in_turn}


def pruned(config: Config) -> list[Row]:
    """A draw of a random search of a thousand, all evaluated or only those that may be lower.

    How many are refused depends on the data, and these are random bytes: for images see the
    experiment `random_search`.
    """
    W, data, _ = problem(config)
    draws = 1000 if config.full else 10
    start = jax.random.key(config.seed), jnp.zeros_like(W), data
    peers = {
        f"jaxsvm, {make.__name__}": partial(
            run_steps, make(OBJECTIVE, scale=SCALE), *start, num_steps=draws
        )
        for make in (jaxsvm.pruned_random_search, jaxsvm.random_search)
    }
    return compare(PART, f"random search, a draw of {draws}", peers, config, calls=draws)


def pruned_local(config: Config) -> list[Row]:
    """The notes' local search on CIFAR-10, a thousand trials seen whole or as far as decides."""
    try:
        data = jaxsvm.load_dataset("cifar10" if config.full else "digits")
    except jaxsvm.DatasetError as error:
        print(f"the pruned local search of images is left out: {error}")
        return []
    trials = 1000 if config.full else 10
    key = jax.random.key(config.seed)
    W = 10 * SCALE * jax.random.normal(key, zero_weights(data).shape)
    peers = {
        f"jaxsvm, {make.__name__}": partial(
            run_steps, make(Objective(), step_size=SCALE), key, W, data.train, num_steps=trials
        )
        for make in (jaxsvm.pruned_local_search, jaxsvm.local_search)
    }
    name = f"local search of images, a trial of {trials}"
    return compare(PART, name, peers, config, calls=trials)


def many(config: Config) -> list[Row]:
    """One local search beside several: a row is the time in which each of them takes one trial."""
    W, data, _ = problem(config)
    key = jax.random.key(config.seed)
    one = jaxsvm.local_search(OBJECTIVE, step_size=SCALE)
    together = jaxsvm.local_searches(OBJECTIVE, step_size=SCALE)
    trials = MANY_TRIALS if config.full else 2
    a_block = candidates(one, config)

    @jax.jit
    def vmapped(keys: Any, W: Any, data: Any) -> Any:
        search = partial(run_steps, one, params=W, data=data, num_steps=a_block)
        return jax.vmap(lambda key: search(key=key)[0])(keys)

    peers: Peers = {"one": partial(run_steps, one, key, W, data, num_steps=trials)}
    calls = {"one": trials}
    for count in SEEDS:
        name = f"{count}, local_searches"
        calls[name] = trials
        starts = jnp.broadcast_to(W, (count, *W.shape))
        peers[name] = partial(run_steps, together, key, starts, data, num_steps=calls[name])
    name = f"{SEEDS[0]}, vmap over keys"
    calls[name] = a_block
    peers[name] = partial(vmapped, jax.random.split(key, SEEDS[0]), W, data)
    return compare(PART, "local searches, a trial of each", peers, config, calls=calls)
