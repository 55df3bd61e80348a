"""The notes' claims on batches, measured: what a batch's gradient costs, and what copies change."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from experiments.shared.options import Source
from experiments.shared.recipes import first, zero_weights
from experiments.shared.settings import load, suiting
from experiments.shared.timing import Row, compare, ready
from jaxsvm import Data, Dataset, Objective
from jaxsvm.core import features

# The sizes that the notes name.
POWERS = (32, 64, 128)
ONE_BY_ONE = "100 times one"


@functools.cache
def timed_calls(source: Source) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """Return compiled gradients of batches around `POWERS`, of 100 examples, and 100 of one.

    Each call takes gradients in a row inside one compiled loop, so that the cost of a call is not
    what is measured. A dataset with fewer examples than a batch is gone through again.

    Args:
        source: of the dataset.

    Returns:
        The calls, and how many gradients each of them takes.
    """
    dataset = load(source, "scaled")
    W, train, grad = zero_weights(dataset), dataset.train, jax.grad(Objective())
    if len(train.y) <= (most := max(100, *POWERS) + 1):
        index = np.arange(most) % len(train.y)
        train = Data(train.X[index], train.y[index])

    def one_by_one(W: Array, data: Data) -> Array:
        def add(i: Array, total: Array) -> Array:
            return total + grad(W, Data(data.X[i[None]], data.y[i[None]]))

        return lax.fori_loop(0, 100, add, jnp.zeros_like(W)) / 100

    def in_a_row(gradient: Callable[[Array, Data], Array], B: int | None, repeats: int) -> Any:
        def descend(W: Array, data: Data) -> Array:
            # Each gradient is taken where the last one led, so that none can be left out.
            batch = first(data, B)
            return lax.fori_loop(0, repeats, lambda i, W: W - 1e-3 * gradient(W, batch), W)

        return ready(jax.jit(descend), W, train)

    # As many gradients in a call as make it last about as long for every batch size.
    count = suiting(dataset).timed_examples
    sizes = sorted({100, *(p + k for p in POWERS for k in (-1, 0, 1))})
    calls = {str(B): max(1, count // B) for B in sizes} | {ONE_BY_ONE: max(1, count // 1000)}
    peers = {str(B): in_a_row(grad, B, calls[str(B)]) for B in sizes}
    peers[ONE_BY_ONE] = in_a_row(one_by_one, None, calls[ONE_BY_ONE])
    return peers, calls


def measure_times(source: Source, rounds: int) -> dict[str, Any]:
    """Return the timings of a dataset's batches and what they say about the two claims.

    Args:
        source: of the dataset.
        rounds: timed calls of each batch size.
    """
    peers, calls = timed_calls(source)
    # All peers are XLA's: no thread of OpenMP spins on after its work, so none is waited for.
    timings = compare(
        "minibatch", "gradient", peers, repeats=rounds, seconds=30, calls=calls, pause=0
    )
    median = {row.peer: row.median for row in timings}
    return {
        "timings": [row._asdict() for row in timings],
        "at_once_speedup": median[ONE_BY_ONE] / median["100"],
        "powers": [power_against_neighbours(timings, p) for p in POWERS],
    }


def power_against_neighbours(timings: list[Row], p: int) -> dict[str, Any]:
    """Compare the time an example takes in a batch of p with that in p − 1 and in p + 1.

    "faster" only where p's upper quartile is below both neighbours' lower ones, and "slower" the
    other way round; "no difference" otherwise.
    """
    rows = {row.peer: row for row in timings}
    here, low, high = (rows[str(B)] for B in (p, p - 1, p + 1))
    around = (low.median / (p - 1) + high.median / (p + 1)) / 2
    if here.upper / p < min(low.lower / (p - 1), high.lower / (p + 1)):
        verdict = "faster"
    elif here.lower / p > max(low.upper / (p - 1), high.upper / (p + 1)):
        verdict = "slower"
    else:
        verdict = "no difference"
    return {"batch_size": p, "time_ratio": here.median / p / around, "verdict": verdict}


def duplicate_error(copies: int, dataset: Dataset, reg: float) -> dict[str, float]:
    """Return how far the loss and gradient of copies are from one copy's, in float64."""
    with jax.enable_x64(True):
        some = first(dataset.train, 1000)
        one = Data(features.astype(some.X, jnp.float64), some.y)
        index = np.tile(np.arange(len(one.y)), copies)
        many = Data(one.X[index], one.y[index])
        W = 1e-3 * jax.random.normal(jax.random.key(0), zero_weights(dataset).shape, jnp.float64)
        value_and_grad = jax.jit(jax.value_and_grad(Objective(reg=reg)))
        loss, gradient = jax.tree.map(np.asarray, value_and_grad(W, one))
        loss_many, gradient_many = jax.tree.map(np.asarray, value_and_grad(W, many))
        difference = np.max(np.abs(gradient_many - gradient))
        return {
            "examples": len(one.y),
            "copies": copies,
            "loss": float(abs(loss_many - loss) / loss),
            "gradient": float(difference / np.max(np.abs(gradient))),
        }
