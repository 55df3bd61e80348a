"""Random programs with kinks, and mistakes in their gradients, for checks of gradient checks.

A program is a few layers, each a random choice with parameters of its own (dense, convolutions,
pooling, and every kind of kink), and a loss. Its point is drawn generic, with some numbers that
kinks depend on at 1e-3 to 1e-9 from where they flip, or exactly there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

ROWS, WIDTH = 6, 6
GAPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
POINTS = ("generic", "near", "on")


class Program(NamedTuple):
    """A function of a pytree, and the point at which it is looked at."""

    name: str
    f: Callable[[Any], Any]
    params: Any
    mode: str


def pairs(x: Array) -> Array:
    """Return the larger of neighbours, as pooling does."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID")


def convolved(x: Array) -> Array:
    kernel = jnp.asarray([[[0.5, -1.0, 0.75]]], x.dtype)
    return lax.conv_general_dilated(x[:, None, :], kernel, (1,), "SAME")[:, 0, :]


def scanned(x: Array) -> Array:
    def step(carry: Array, row: Array) -> tuple[Array, Array]:
        carry = jnp.maximum(carry * 0.5, row)
        return carry, carry

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def halved(x: Array) -> Array:
    """Halve each number until none is beyond 1: a loop whose length depends on the numbers."""
    return lax.while_loop(
        lambda state: jnp.max(jnp.abs(state)) > 1, lambda state: state * 0.5 + 0.01, x
    )


def chosen(x: Array) -> Array:
    return lax.cond(jnp.sum(x[0]) > 0, lambda x: x * x[0, 0], lambda x: jnp.sin(x), x)


def cut(x: Array) -> Array:
    return jnp.where(x > 0, jnp.exp(-x), 1 - 2 * x)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "abs": jnp.abs,
    "clip": lambda x: jnp.clip(x, -1.0, 1.0),
    "where": cut,
    "sort": lambda x: jnp.sort(x, axis=1),
    "top_k": lambda x: lax.top_k(x, 4)[0],
    "pool": pairs,
    "conv": lambda x: jax.nn.relu(convolved(x)),
    "scan": scanned,
    "cond": chosen,
    "cummax": lambda x: lax.cummax(x, axis=1),
    "median": lambda x: x - jnp.median(x, axis=1, keepdims=True),
    "remat": jax.checkpoint(lambda x: jnp.minimum(x, x**2)),
    "while": halved,
}


def multiclass_hinge(x: Array, y: Array) -> Array:
    correct = jnp.take_along_axis(x, y[:, None], axis=1)
    return jnp.mean(jnp.sum(jax.nn.relu(x - correct + 1.0), axis=1) - 1.0)


def quantile(x: Array, y: Array) -> Array:
    error = x[:, 0] - y.astype(x.dtype)
    return jnp.mean(jnp.maximum(0.3 * error, -0.7 * error))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "hinge": multiclass_hinge,
    "quantile": quantile,
    "squared": lambda x, y: jnp.mean((x[:, 0] - y.astype(x.dtype)) ** 2),
    "cross-entropy": lambda x, y: (
        -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))
    ),
    # Shifted, so that no two of them are tied because both were clipped: at such a point autodiff
    # is wrong, of max(clip(x), clip(y)) say.
    "largest": lambda x, y: jnp.max(
        x + jnp.sin(jnp.arange(x.size).reshape(x.shape)).astype(x.dtype)
    ),
}


def program(seed: int, point: str, dtype: Any) -> Program:
    """Return a random program; call it where ``dtype`` is enabled."""
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.choice([*LAYERS], rng.integers(1, 4))]
    loss = str(rng.choice([*LOSSES]))
    X = rng.standard_normal((ROWS, WIDTH)).astype(dtype)
    X[0] = 0.0
    y = jnp.asarray(rng.integers(0, 3, ROWS))
    shapes: dict[str, tuple[int, ...]] = {"shift": (WIDTH,)}
    width = WIDTH
    for i, name in enumerate(names):
        shapes[f"W{i}"], shapes[f"b{i}"] = (width, WIDTH), (WIDTH,)
        width = jax.eval_shape(LAYERS[name], jnp.zeros((ROWS, WIDTH))).shape[1]
    params: dict[str, Any] = {
        name: rng.standard_normal(shape) / (np.sqrt(shape[0]) if len(shape) == 2 else 1.0)
        for name, shape in shapes.items()
    }
    # The first row of X is 0, so its first layer's inputs are the biases, with no rounding at all.
    if point != "generic":
        gaps = rng.choice(GAPS, WIDTH) * rng.choice([-1, 1], WIDTH) * (point == "near")
        some = rng.random(WIDTH) < 0.5
        params["shift"] = np.where(some, gaps, params["shift"])
        target = rng.choice([0.0, 1.0, 0.5], WIDTH)
        params["b0"] = np.where(rng.random(WIDTH) < 0.6, target + gaps, params["b0"])

    def f(params: Any) -> Any:
        x = X
        for i, name in enumerate(names):
            z = x @ params[f"W{i}"] + params[f"b{i}"][None, :]
            x = LAYERS[name](z)
        return (
            LOSSES[loss](x, y)
            + 0.1 * jnp.sum(jax.nn.relu(params["shift"]) ** 2)
            + (0.1 * jnp.sum(jnp.abs(params["shift"])))
        )

    name = " ".join([*names, loss, point, jnp.dtype(dtype).name])
    params = {key: jnp.asarray(value, dtype) for key, value in params.items()}
    return Program(name, f, params, "forward" if "while" in names else "reverse")


def mutants(g: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return wrong gradients."""
    n = len(g)
    one, part = int(rng.integers(n)), np.sort(rng.choice(n + 1, 2, replace=False))
    block = np.arange(n)
    inside = (block >= part[0]) & (block < part[1])
    side = int(np.sqrt(n))
    square = g.copy()
    square[: side * side] = g[: side * side].reshape(side, side).T.ravel()
    return {
        "wrong sign": -g,
        "one wrong sign": np.where(block == one, -g, g),
        "shifted": np.roll(g, 1),
        "1 % off": 1.01 * g,
        "one entry 1 % off": np.where(block == one, 1.01 * g, g),
        "one entry dropped": np.where(block == one, 0, g),
        "a block stopped": np.where(inside, 0, g),
        "a block doubled": np.where(inside, 2 * g, g),
        "transposed": square,
        "one entry not a number": np.where(block == one, np.nan, g),
    }
