"""Steps that several sections have in common: starts, the mini-batch recipe, what a W is worth.

The recipe: batches of 256 from W = 0, a step size that falls linearly to 0, a small penalty.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxsvm
from experiments.shared.progress import Progress, prepare_run, run_seeds
from experiments.shared.settings import suiting
from jaxsvm import Data, Dataset, Objective, Optimizer

# Each a program of its own: in one of both XLA sums the losses in another order on one device than
# on several.
_value = jax.jit(lambda objective, W, data: objective(W, data))
_accuracy = jax.jit(jaxsvm.accuracy)


# NumPy's weights go where the data are; those that lie on all devices would take the data there.
def loss(objective: Objective, W: Any, data: Data) -> float:
    """Return the objective of W."""
    return float(_value(objective, np.asarray(W), data))


def accuracy(W: Any, data: Data) -> float:
    """Return the accuracy of W."""
    return float(_accuracy(np.asarray(W), data))


def losses(objective: Objective, Ws: Iterable[Any], data: Data) -> np.ndarray:
    """Return the objectives of k weights, (k,)."""
    return np.array([loss(objective, W, data) for W in Ws])


def accuracies(Ws: Iterable[Any], data: Data) -> np.ndarray:
    """Return the accuracies of k weights, (k,)."""
    return np.array([accuracy(W, data) for W in Ws])


def first(data: Data, count: int | None) -> Data:
    """Return the first examples, or all of them where the count is None."""
    return Data(data.X[:count], data.y[:count])


def zero_weights(dataset: Dataset) -> Array:
    """Return W = 0 for a dataset, (C, D)."""
    return jnp.zeros((len(dataset.class_names), dataset.train.X.shape[1]))


def normal_weights(dataset: Dataset, key: Array, scale: float) -> Array:
    """Return normal weights for a dataset, (C, D), of this standard deviation."""
    return _normal(key, scale, (len(dataset.class_names), dataset.train.X.shape[1]))


@functools.partial(jax.jit, static_argnames="shape")
def _normal(key: Array, scale: Any, shape: tuple[int, int]) -> Array:
    return scale * jax.random.normal(key, shape)


def uniform_weights(dataset: Dataset, seed: int) -> Array:
    """Return the notes' W = rand(C, D) · 0.001, uniform in [0, 0.001)."""
    return 1e-3 * jax.random.uniform(jax.random.key(seed), zero_weights(dataset).shape)


@functools.partial(jax.jit, static_argnames="batch_size")
def sampled_differences(
    objective: Objective, W: Array, data: Data, some: Array, h: Any, *, batch_size: int
) -> Array:
    """Return the central differences of some coordinates, each of two evaluated objectives."""

    def moved(steps: Array) -> Array:
        return objective(W.ravel().at[some].add(steps).reshape(W.shape), data)

    zero = jnp.zeros(len(some), W.dtype)
    return jaxsvm.numerical_gradient(moved, zero, h=h, batch_size=batch_size)


def in_float64(tree: Any) -> Any:
    """Return the same numbers in float64, so that sums of them round less; x64 must be on."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), tree)


@functools.cache
def minibatch_recipe(
    batch_size: int, num_steps: int, step_size: float, reg: float, *, replacement: bool = True
) -> Optimizer:
    """Return the recipe's optimizer, the same one for the same settings: it is compiled once."""
    falling, objective = optax.linear_schedule(step_size, 0.0, num_steps), Objective(reg=reg)
    return jaxsvm.minibatch_gradient_descent(
        objective, batch_size=batch_size, step_size=falling, replacement=replacement
    )


def prepare_recipe(
    dataset: Dataset, *, batch_size: int, num_steps: int, step_size: float, reg: float
) -> None:
    """Compile what `train_recipe` will run."""
    optimizer = minibatch_recipe(batch_size, num_steps, step_size, reg)
    prepare_run(optimizer, zero_weights(dataset), dataset.train, num_steps)


def train_recipe(
    dataset: Dataset,
    seeds: int,
    *,
    num_steps: int,
    step_size: float | None = None,
    batch_size: int = 256,
    reg: float = 1e-3,
) -> list[Progress]:
    """Run the recipe once a seed; ``step_size`` is by default what suits the dataset."""
    step_size = step_size or suiting(dataset).batch_step_size
    optimizer = minibatch_recipe(batch_size, num_steps, step_size, reg)
    return run_seeds(optimizer, zero_weights(dataset), dataset.train, num_steps, seeds, "recipe")
