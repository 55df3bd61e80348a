"""The strategies of the race, with settings that suit a dataset, and what a run costs.

A cost is in passes over all the data: a loss evaluation needs one product with X, a gradient one
more, and a batch counts for its share.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import Array

import jaxsvm
from experiments.shared.progress import prepare_run, progress_run
from experiments.shared.recipes import accuracy, loss, losses, minibatch_recipe, zero_weights
from experiments.shared.settings import suiting
from jaxsvm import Dataset, Objective, Optimizer

BATCH_SIZE = 256
PARTS = 10  # of a run, at whose ends it is measured


class Strategy(NamedTuple):
    """An optimizer and how far it goes.

    Attributes:
        optimizer: with its settings.
        num_steps: how many it takes.
        share: of the data that one evaluation looks at.
    """

    optimizer: Optimizer
    num_steps: int
    share: float = 1.0


class Course(NamedTuple):
    """A run of a strategy, at each of the k points of its path.

    Attributes:
        path: (k, C, D) where it stood.
        steps: (k,) taken until then.
        loss_evaluations: (k,) passes over the data for losses.
        gradient_evaluations: (k,) passes over the data for gradients.
        seconds: (k,) of running, without compilation.
        objective: (k,) on the training data.
        test_accuracy: of the last W.
        diverged: whether its loss stopped being finite, so that k is smaller than of other runs.
    """

    path: np.ndarray
    steps: np.ndarray
    loss_evaluations: np.ndarray
    gradient_evaluations: np.ndarray
    seconds: np.ndarray
    objective: np.ndarray
    test_accuracy: float
    diverged: bool


def strategies(dataset: Dataset, config: Any) -> dict[str, Strategy]:
    """Return the strategies by name; none is tuned further than `Settings` says.

    Args:
        dataset: whose `Settings` hold the step sizes.
        config: a section's options: ``reg``, ``search_steps`` (tries of each search),
            ``full_steps`` (of those that see all the data) and ``batch_steps`` (of those that see a
            batch). The first two numbers of steps may be None, for what suits the dataset.
    """
    objective, chosen = Objective(reg=config.reg), suiting(dataset)
    share = min(1.0, BATCH_SIZE / len(dataset.train.y))
    eta, batch_steps = chosen.race_step_size, config.batch_steps
    tries = config.search_steps or chosen.search_steps
    full = config.full_steps or chosen.full_steps
    nesterov = jaxsvm.gradient_descent(objective, step_size=eta / 3, momentum=0.9, nesterov=True)
    batches = minibatch_recipe(BATCH_SIZE, batch_steps, chosen.batch_step_size, config.reg)
    adam = optax.adam(optax.linear_schedule(chosen.adam_step_size, 0.0, batch_steps))
    adam_on_batches = jaxsvm.from_optax(adam, objective, batch_size=BATCH_SIZE)
    return {
        "random search": Strategy(jaxsvm.random_search(objective, scale=1e-2), tries),
        "local search": Strategy(jaxsvm.local_search(objective, step_size=3e-3), tries),
        "gradient descent": Strategy(jaxsvm.gradient_descent(objective, step_size=eta), full),
        "Nesterov": Strategy(nesterov, full),
        "exact line search": Strategy(jaxsvm.line_search_descent(objective), full),
        "L-BFGS (optax)": Strategy(jaxsvm.from_optax(optax.lbfgs(), objective), full),
        "mini-batch": Strategy(batches, batch_steps, share),
        "Adam (optax), mini-batch": Strategy(adam_on_batches, batch_steps, share),
    }


def near_zero(dataset: Dataset, seed: int) -> tuple[Array, Array]:
    """Return the race's random start, and the key of the run from there."""
    start_key, key = jax.random.split(jax.random.key(seed))
    return 1e-3 * jax.random.normal(start_key, zero_weights(dataset).shape), key


def prepare(strategies: Iterable[Strategy], dataset: Dataset, objective: Objective) -> None:
    """Compile what `follow` will run of these strategies."""
    W, _ = near_zero(dataset, 0)
    for strategy in strategies:
        prepare_run(strategy.optimizer, W, dataset.train, strategy.num_steps, num_chunks=PARTS)
    loss(objective, W, dataset.train)
    accuracy(W, dataset.test)


def follow(
    strategy: Strategy, dataset: Dataset, objective: Objective, W: Array, key: Array, name: str
) -> Course:
    """Run a strategy over the training data and measure it ten times on its way."""
    progress = progress_run(
        strategy.optimizer, key, W, dataset.train, strategy.num_steps,
        description=name, num_chunks=PARTS,
    )  # fmt: skip

    def passes(counts: Any) -> np.ndarray:
        return strategy.share * np.append(0, np.cumsum(counts))[progress.path_steps]

    return Course(
        path=progress.path,
        steps=progress.path_steps,
        loss_evaluations=passes(progress.info.loss_evaluations),
        gradient_evaluations=passes(progress.info.gradient_evaluations),
        seconds=progress.path_seconds,
        objective=losses(objective, progress.path, dataset.train),
        test_accuracy=accuracy(progress.state.params, dataset.test),
        diverged=progress.divergence is not None,
    )
