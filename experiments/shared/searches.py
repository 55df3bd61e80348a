"""The notes' two searches over seeds, and what each found."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.once import once
from experiments.shared.options import Source
from experiments.shared.progress import Progress, progress_run, run_seeds
from experiments.shared.recipes import accuracies, losses, zero_weights
from experiments.shared.settings import Pixels, load
from experiments.shared.views import View, random_search_of_views, view_of
from jaxsvm import Dataset, Objective, Optimizer, local_searches, random_search
from jaxsvm.core.trees import digests

# A preprocessing of the features, and a scale of the draws.
Form: TypeAlias = tuple[Pixels, float]


def notes_forms(scales: Sequence[float]) -> tuple[Form, ...]:
    """Return centred features at several scales, and the other preprocessings at the first one."""
    others: tuple[Pixels, ...] = ("raw", "scaled")
    return *(("centred", scale) for scale in scales), *((pixels, scales[0]) for pixels in others)


def search_at_random(
    source: Source, forms: Sequence[Form], num_steps: int, seeds: int
) -> list[dict[str, np.ndarray]]:
    """Run one random search a seed in each form; return what the draws saw, and the best W's.

    The draws are the same in each form but for their scale. Of images all forms share the products
    with the data (`views`), and the seconds. Sections of a run that ask for the same forms share
    the search.

    Args:
        source: of the dataset.
        forms: F of them.
        num_steps: how many draws.
        seeds: how many searches.

    Returns:
        For each form, of each seed: the losses of the draws (seeds, num_steps) and the lowest so
        far, and (seeds,) evaluations, seconds and the test accuracy of the best W.

    Raises:
        ValueError: the scale is so large that scores overflow.
    """
    asked = {"forms": [list(form) for form in forms], "num_steps": num_steps, "seeds": seeds}

    def measure() -> list[dict[str, np.ndarray]]:
        datasets = [load(source, pixels) for pixels, _ in forms]
        X, scales = datasets[0].train.X, [scale for _, scale in forms]
        known = [
            view_of(X, dataset.train.X, scale)
            for dataset, scale in zip(datasets, scales, strict=True)
        ]
        views = tuple(view for view in known if view is not None)
        if len(views) == len(forms):
            return _search_views(views, datasets, num_steps, seeds)
        return [
            search_one_form(
                dataset, random_search(Objective(), scale=scale), scale, num_steps, seeds
            )
            for dataset, scale in zip(datasets, scales, strict=True)
        ]

    found: list[dict[str, np.ndarray]] = once({"what": "random search", **asked}, measure)
    return found


def search_one_form(
    dataset: Dataset, search: Optimizer, scale: float, num_steps: int, seeds: int
) -> dict[str, np.ndarray]:
    """Run a random search at a scale once a seed; return the same of one form.

    Raises:
        ValueError: the scale is so large that scores overflow.
    """
    # A NaN start counts as an infinite loss: as in the notes, the first draw is always kept.
    W = jnp.full_like(zero_weights(dataset), jnp.nan)
    runs = run_seeds(search, W, dataset.train, num_steps, seeds, "random search")
    for run in runs:
        _check_finite(run, f"scale = {scale:g}")
    infos = [run.info for run in runs]
    return _found(dataset, runs, infos, [run.state.params for run in runs])


def _search_views(
    views: tuple[View, ...], datasets: Sequence[Dataset], num_steps: int, seeds: int
) -> list[dict[str, np.ndarray]]:
    """Run one search a seed for all views; the first is of the first dataset."""
    W = jnp.full((len(views), *zero_weights(datasets[0]).shape), jnp.nan)
    search = random_search_of_views(Objective(), views)
    runs = run_seeds(search, W, datasets[0].train, num_steps, seeds, "random search")
    for run in runs:
        _check_finite(run, f"scale = {max(view.scale for view in views):g}")
    found = []
    for i, dataset in enumerate(datasets):
        infos = [jax.tree.map(lambda leaf, i=i: leaf[:, i], run.info) for run in runs]
        found.append(_found(dataset, runs, infos, [run.state.params[i] for run in runs]))
    return found


def _found(
    dataset: Dataset, runs: Sequence[Progress], infos: Sequence[Any], best: Sequence[Any]
) -> dict[str, np.ndarray]:
    """Return what came of a search in one form, from each seed's info and best W."""
    return {
        "losses": np.stack([info.loss for info in infos]),
        "lowest": np.stack([info.best_loss for info in infos]),
        "evaluations": np.array([info.loss_evaluations.sum() for info in infos]),
        "test_accuracy": accuracies(best, dataset.test),
        "seconds": np.array([run.seconds[-1] for run in runs]),
    }


def search_locally(
    dataset: Dataset, start_scale: float, step_size: float, num_steps: int, seeds: int
) -> dict[str, Any]:
    """Run one local search a seed; return losses after each try, acceptances and accuracies.

    Sections of a run that ask for the same search share it.

    Raises:
        ValueError: the start's scale is so large that scores overflow.
    """
    asked = {
        "what": "local search", "start_scale": start_scale, "step_size": step_size,
        "num_steps": num_steps, "seeds": seeds, "form": digests([dataset.shift, dataset.scale]),
    }  # fmt: skip

    def measure() -> dict[str, Any]:
        return _search_locally(dataset, start_scale, step_size, num_steps, seeds)

    found: dict[str, Any] = once(asked, measure)
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
        local_searches(objective, step_size=step_size), jax.random.key(0), starts, train, num_steps,
        description=f"{seeds} searches",
    )  # fmt: skip
    _check_finite(progress, f"start_scale = {start_scale:g}")
    return {
        "start_loss": losses(objective, starts, train),
        "start_accuracy": accuracies(starts, test),
        "best_loss": progress.info.best_loss.T,
        "accepted": progress.info.accepted.T,
        "test_accuracy": accuracies(progress.state.params, test),
        "seconds": progress.seconds[-1],
    }


def _check_finite(run: Progress, what: str) -> None:
    if run.divergence is not None:
        raise ValueError(
            f"{what}: the loss at try {run.divergence.step} is {run.divergence.loss}: expected a "
            "smaller scale, at which the scores of these data are finite"
        )
