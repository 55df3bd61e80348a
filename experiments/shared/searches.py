"""The notes' two searches over seeds, and what each found."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.once import once
from experiments.shared.progress import Progress, progress_run, run_seeds
from experiments.shared.recipes import evaluate_each, zero_weights
from jaxsvm import Dataset, Objective, Optimizer, local_searches, random_search
from jaxsvm.core.trees import digests


@functools.cache
def _search(make: Callable[..., Optimizer], **settings: float) -> Optimizer:
    """Return the same optimizer for the same settings, so that it is compiled once."""
    return make(Objective(), **settings)


def search_at_random(
    dataset: Dataset,
    scale: float,
    num_steps: int,
    seeds: int,
    make: Callable[..., Optimizer] = random_search,
) -> dict[str, np.ndarray]:
    """Run one random search a seed; return what its draws saw, and the best W's test accuracy.

    Sections of a run that ask for the same search share it, as they do a local one.

    Raises:
        ValueError: the scale is so large that scores overflow.
    """
    asked = {"make": make.__name__, "scale": scale, "num_steps": num_steps, "seeds": seeds}

    def measure() -> dict[str, np.ndarray]:
        return _search_at_random(dataset, make, scale, num_steps, seeds)

    found: dict[str, np.ndarray] = once(_identity(dataset, **asked), measure)
    return found


def _search_at_random(
    dataset: Dataset, make: Callable[..., Optimizer], scale: float, num_steps: int, seeds: int
) -> dict[str, np.ndarray]:
    # A NaN start counts as an infinite loss: as in the notes, the first draw is always kept.
    W = jnp.full_like(zero_weights(dataset), jnp.nan)
    search = _search(make, scale=scale)
    runs = run_seeds(search, W, dataset.train, num_steps, seeds, f"scale {scale:g}")
    for run in runs:
        _check_finite(run, f"scale = {scale:g}")
    best = [run.state.params for run in runs]
    return {
        "losses": np.stack([run.info.loss for run in runs]),
        "lowest": np.stack([run.info.best_loss for run in runs]),
        "evaluations": np.array([run.info.loss_evaluations.sum() for run in runs]),
        "test_accuracy": evaluate_each(Objective(), best, dataset.test).accuracy,
        "seconds": np.array([run.seconds[-1] for run in runs]),
    }


def search_locally(
    dataset: Dataset, start_scale: float, step_size: float, num_steps: int, seeds: int
) -> dict[str, Any]:
    """Run one local search a seed; return losses after each try, acceptances and accuracies.

    Raises:
        ValueError: the start's scale is so large that scores overflow.
    """
    asked: dict[str, Any] = {
        "make": "local", "start_scale": start_scale, "step_size": step_size,
        "num_steps": num_steps, "seeds": seeds,
    }  # fmt: skip

    def measure() -> dict[str, Any]:
        return _search_locally(dataset, start_scale, step_size, num_steps, seeds)

    found: dict[str, Any] = once(_identity(dataset, **asked), measure)
    return found


def _search_locally(
    dataset: Dataset, start_scale: float, step_size: float, num_steps: int, seeds: int
) -> dict[str, Any]:
    objective, train, test = Objective(), dataset.train, dataset.test
    shape = zero_weights(dataset).shape
    keys = [jax.random.split(jax.random.key(seed))[0] for seed in range(seeds)]
    starts = jnp.stack([start_scale * jax.random.normal(key, shape) for key in keys])
    # The seeds' searches share their matrix products.
    progress = progress_run(
        _search(local_searches, step_size=step_size), jax.random.key(0), starts, train, num_steps,
        description=f"{seeds} searches",
    )  # fmt: skip
    _check_finite(progress, f"start_scale = {start_scale:g}")
    return {
        "start_loss": evaluate_each(objective, starts, train).loss,
        "start_accuracy": evaluate_each(objective, starts, test).accuracy,
        "best_loss": progress.info.best_loss.T,
        "accepted": progress.info.accepted.T,
        "test_accuracy": evaluate_each(objective, progress.state.params, test).accuracy,
        "seconds": progress.seconds[-1],
    }


def _identity(dataset: Dataset, **asked: Any) -> dict[str, Any]:
    """Return what tells a search from others of the same run, which have the same examples."""
    return {"what": "search", **asked, "form": digests([dataset.shift, dataset.scale])}


def _check_finite(run: Progress, what: str) -> None:
    if run.divergence is not None:
        raise ValueError(
            f"{what}: the loss at try {run.divergence.step} is {run.divergence.loss}: expected a "
            "smaller scale, at which the scores of these data are finite"
        )
