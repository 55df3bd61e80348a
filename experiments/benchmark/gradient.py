"""The numerical gradient of every coordinate, beside the notes' loop and a jitted one.

- the whole central difference, summed termwise, from bytes and from floats;
- the notes' loop in NumPy (perturb in place, evaluate the vectorized loss, restore): a few
  coordinates timed, and scaled to all of them;
- `numerical_gradient` of the jitted objective, 32 coordinates to a product: one batch, scaled;
- the closed form, and the whole check with its verdicts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import common
from jaxsvm import (
    Data,
    Objective,
    analytic_gradient,
    check_gradient,
    numerical_gradient,
    termwise_numerical_gradient,
)

H = 1e-3
# How many coordinates are timed, for as many as there are.
LOOPED, BATCHED = 2, 32

_termwise = jax.jit(termwise_numerical_gradient)
_analytic = jax.jit(analytic_gradient)


def run(config: common.Config) -> list[common.Row]:
    W_host, data, floats = common.problem(config)
    W, objective = jnp.asarray(W_host), Objective(reg=0.1)
    X_host, y_host = np.asarray(floats.X), np.asarray(floats.y)
    pairs = float(np.prod(config.shape))
    work = f"central difference, {W.size} coordinates"
    found = common.compare(
        "gradient",
        work,
        {
            "jaxsvm, termwise, bytes": lambda: _termwise(objective, W, data, h=H),
            "jaxsvm, termwise, floats": lambda: _termwise(objective, W, floats, h=H),
        },
        config,
        # For every hinge and feature: two additions, four comparisons and a sum.
        flops=7 * pairs,
    )
    found += scaled(
        common.compare(
            "gradient", work, {"NumPy loop": lambda: notes_loop(W_host, X_host, y_host)}, config
        ),
        LOOPED,
        W.size,
    )
    some = jnp.linspace(0, W.size - 1, BATCHED).astype(jnp.int32)
    for form, X in (("bytes", data), ("floats", floats)):
        peer = {f"numerical_gradient, {form}": partial(_batch, objective, W, X, some)}
        found += scaled(common.compare("gradient", work, peer, config), BATCHED, W.size)
    found += common.compare(
        "gradient",
        "closed form, and the check",
        {
            "analytic_gradient": lambda: _analytic(objective, W, data),
            "check_gradient": lambda: check_gradient(objective, W, data, h=H).num_wrong,
        },
        config,
    )
    return found + common.memory_rows(
        "gradient",
        "peak memory of the central difference, beyond X and W",
        f"{__name__}:alone",
        config.size,
    )


def scaled(rows: list[common.Row], measured: int, coordinates: int) -> list[common.Row]:
    """Scale rows that did ``measured`` coordinates to all of them, and say so."""
    factor = coordinates / measured
    return [
        row._replace(
            peer=f"{row.peer}, {measured} coordinates scaled to {coordinates}",
            median=factor * row.median,
            lower=factor * row.lower,
            upper=factor * row.upper,
        )
        for row in rows
    ]


def notes_loop(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> list[float]:
    """The notes' eval_numerical_gradient, central, on a few coordinates."""
    W, reg = W.copy(), np.float32(0.1)

    def loss() -> float:
        scores = X @ W.T
        margins = np.maximum(0, scores - scores[np.arange(len(y)), y][:, None] + 1)
        margins[np.arange(len(y)), y] = 0
        return float(np.sum(margins) / len(y) + reg * np.sum(W * W))

    slopes = []
    for i in range(LOOPED):
        old = W[i, i]
        W[i, i] = old + H
        right = loss()
        W[i, i] = old - H
        slopes.append((right - loss()) / (2 * H))
        W[i, i] = old
    return slopes


@jax.jit
def _batch(objective: Objective, W: Any, data: Data, some: Any) -> Any:
    """Return the differences of the coordinates ``some``, as `numerical_gradient` batches them."""

    def along_some(steps: Any) -> Any:
        return objective((W.ravel().at[some].add(steps)).reshape(W.shape), data)

    return numerical_gradient(along_some, jnp.zeros(BATCHED, W.dtype), h=H, batch_size=BATCHED)


def alone(size: str) -> Callable[[], Any]:
    """Return the compiled difference of data at hand, to be called in a process of its own."""
    W, data = common.random_data(common.Config(size="full" if size == "full" else "tiny"), "bytes")
    return partial(_termwise.lower(Objective(), W, data, h=H).compile(), Objective(), W, data, h=H)
