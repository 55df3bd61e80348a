"""The numerical gradient of every coordinate, beside the notes' loop and a jitted one.

- the whole central difference, summed termwise, from bytes and from floats;
- the notes' loop in NumPy (perturb in place, evaluate the vectorized loss, restore): a few
  coordinates timed, and scaled to all of them;
- `numerical_gradient` of the jitted objective, 32 coordinates to a product: one batch, scaled;
- the closed form, and the whole check with its verdicts;
- the check of any function: 1,000 coordinates and 16 directions of a network, compiling included.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.benchmark import harness
from experiments.benchmark.harness import Config, Peers, Row, compare
from experiments.benchmark.listings import numpy_loss
from experiments.shared.compiled import analytic_gradient, termwise_numerical_gradient
from experiments.shared.recipes import sampled_differences
from experiments.shared.timing import ready
from jaxsvm import Objective

PART = "gradient"
OBJECTIVE = Objective(reg=0.1)
H = 1e-3
# How many coordinates are timed, for as many as there are.
LOOPED, BATCHED = 2, 32
# The layers of a network that is checked, and how many of its coordinates are.
LAYERS, CHECKED = {"full": (256, 256, 128, 10), "tiny": (8, 8, 3)}, {"full": 1000, "tiny": 10}


def run(config: Config) -> list[Row]:
    inputs = harness.problem(config)
    W, data, floats = inputs
    work = f"central difference, {W.size} coordinates"
    # For every hinge and feature: two additions, four comparisons and a sum.
    flops = 7 * float(np.prod(config.shape))
    termwise = partial(termwise_numerical_gradient, OBJECTIVE, W, h=H)
    whole: Peers = {
        "jaxsvm, termwise, bytes": partial(termwise, data),
        "jaxsvm, termwise, floats": partial(termwise, floats),
    }
    rows = compare(PART, work, whole, config, flops=flops)
    some = jnp.linspace(0, W.size - 1, BATCHED).astype(jnp.int32)
    one_batch = partial(sampled_differences, some=some, h=H, batch_size=BATCHED)
    sampled: dict[str, tuple[int, Callable[[], Any]]] = {
        "NumPy loop": (LOOPED, partial(notes_loop, *inputs.host())),
        "numerical_gradient, bytes": (BATCHED, partial(one_batch, OBJECTIVE, W, data)),
        "numerical_gradient, floats": (BATCHED, partial(one_batch, OBJECTIVE, W, floats)),
    }
    for name, (count, call) in sampled.items():
        (row,) = compare(PART, work, {name: call}, config)
        peer = f"{name}, {count} coordinates scaled to {W.size}"
        rows.append(harness.scaled(row, W.size / count, peer=peer))
    checks: Peers = {
        "analytic_gradient": partial(analytic_gradient, OBJECTIVE, W, data),
        "check_gradient": lambda: jaxsvm.check_gradient(OBJECTIVE, W, data, h=H).num_wrong,
    }
    rows += compare(PART, "closed form, and the check", checks, config)
    rows += network_rows(config)
    work = "peak memory of the central difference, beyond X and W"
    return rows + harness.memory_rows(PART, work, f"{__name__}:alone", config.size)


def network_rows(config: Config) -> list[Row]:
    """Time the check of some coordinates of a network with relu and a hinge loss."""
    params, data = network(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    count = CHECKED[config.size]
    checks = []

    def check() -> None:
        found = jaxsvm.check_gradient(network_loss, params, data, num_coordinates=count)
        checks.append(found)

    work = f"{count:,} of a network's {size:,} coordinates, compiling included"
    (row,) = compare(PART, work, {"check_gradient": check}, config)
    return [row._replace(evaluations=checks[-1].evaluations)]


def network(config: Config) -> tuple[Any, Any]:
    """Return the layers of a random network, and 32 examples."""
    widths, rng = LAYERS[config.size], np.random.default_rng(config.seed)
    params = []
    for before, width in pairwise(widths):
        W = rng.standard_normal((before, width)) * np.sqrt(2 / before)
        params.append({"W": jnp.asarray(W, jnp.float32), "b": jnp.zeros(width, jnp.float32)})
    X = jnp.asarray(rng.standard_normal((32, widths[0])), jnp.float32)
    return params, (X, jnp.asarray(rng.integers(0, widths[-1], 32), jnp.int32))


def network_loss(params: Any, data: Any) -> Any:
    """Return the mean multiclass hinge loss of a network with relu between its layers."""
    x, y = data
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["W"] + layer["b"][None, :])
    scores = x @ params[-1]["W"] + params[-1]["b"][None, :]
    return jnp.mean(jaxsvm.hinge_loss(scores, y))


def notes_loop(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> list[float]:
    """The notes' eval_numerical_gradient, central, on a few coordinates."""
    W = W.copy()
    slopes = []
    for i in range(LOOPED):
        old = W[i, i]
        W[i, i] = old + H
        right = numpy_loss(W, X, y, OBJECTIVE.reg)
        W[i, i] = old - H
        slopes.append(float(right - numpy_loss(W, X, y, OBJECTIVE.reg)) / (2 * H))
        W[i, i] = old
    return slopes


def alone(size: str) -> Callable[[], Any]:
    """Return the compiled difference of data at hand, to be called in a process of its own."""
    W, data = harness.random_data(size, "bytes")
    return ready(termwise_numerical_gradient, Objective(), W, data, h=H)
