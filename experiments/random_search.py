"""How far do blind draws of W go? The notes' strategy #1.

    python -m experiments.random_search --seeds 5 --dataset cifar10

A thousand draws of W, each entry normal with standard deviation 1e-4 (the notes' listing) or 1e-5
(the text this library began from); the W with the lowest training loss is kept. The notes report
15.5 % on CIFAR-10's test images where chance is 10 %.

Expected on CIFAR-10 (mean image subtracted, pixels otherwise unscaled): 13 to 18 % at 1e-4. At
1e-5 every loss is close to 9 and the accuracy is the same kind of luck: an argmax does not see a
scale. The mean of the draws' losses agrees with its closed form.

A draw has a loss below the best so far only if the loss's tangent plane at W = 0 has, so a longer
search evaluates a handful of its draws (`jaxsvm.pruned_random_search`) and takes seconds.

Seconds on digits; 18 s for a seed and a scale on CIFAR-10, on two cores, and 5 s for a long search.
"""

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import common, reporting
from jaxsvm import Dataset, Objective, Optimizer, pruned_random_search, random_search
from jaxsvm import plot as draw


@dataclass(frozen=True)
class Config(common.Config):
    """Draw W at random and keep the best."""

    num_steps: int = 1000
    """How many draws."""
    scales: tuple[float, ...] = (1e-4, 1e-5)
    """Standard deviations of the entries of W."""
    long_steps: int = 20_000
    """How many draws of the first scale in the long search, which evaluates only where it must."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.at_least("num_steps", self.num_steps, 2)
        common.at_least("long_steps", self.long_steps, 1)
        for scale in self.scales:
            common.positive("scales", scale)


def expected_loss(X: Any, num_classes: int, scale: float, delta: float = 1.0) -> float:
    """Return the expectation of the Weston-Watkins loss over normal draws of W, in closed form.

        E = (C − 1) · mean_i [delta·Φ(delta/τ_i) + τ_i·φ(delta/τ_i)],    τ_i = √2·scale·‖x_i‖

    With independent normal weights each margin is normal with mean delta and standard deviation
    τ_i, whatever the label, and this is the mean of its positive part.

    Args:
        X: (N, D) features, an array or `jaxsvm.StandardizedFeatures`.
        num_classes: C.
        scale: standard deviation of the entries of W, > 0.
        delta: the margin, > 0.

    Returns:
        The expected loss, in float64; at least (C − 1)·delta.
    """
    tau = math.sqrt(2) * scale * row_norms(X)
    z = delta / tau
    cumulative = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return (num_classes - 1) * float(np.mean(delta * cumulative + tau * density))


def row_norms(X: Any, rows: int = 1000) -> np.ndarray:
    """Return (N,) the Euclidean lengths of the rows, in float64, ``rows`` of them at a time."""
    blocks = (X[i : i + rows] for i in range(0, X.shape[0], rows))
    return np.concatenate(
        [np.linalg.norm(np.asarray(block, np.float64), axis=1) for block in blocks]
    )


@functools.cache
def strategy(make: Callable[..., Optimizer], scale: float) -> Optimizer:
    """Return the one optimizer of a scale, so that sections that share it compile it once."""
    return make(Objective(), scale=scale)


def search(
    dataset: Dataset,
    scale: float,
    num_steps: int,
    seeds: int,
    make: Callable[..., Optimizer] = random_search,
) -> dict[str, np.ndarray]:
    """Run one search a seed; return what its draws saw, and the best W's test accuracy."""
    # A NaN start counts as an infinite loss: as in the notes, the first draw is always kept.
    W = jnp.full((len(dataset.class_names), dataset.train.X.shape[1]), jnp.nan, float)
    infos, accuracy, seconds = [], [], []
    for seed in range(seeds):
        progress = common.progress_run(
            strategy(make, scale), jax.random.key(seed), W, dataset.train, num_steps,
            description=f"scale {scale:g}, seed {seed}",
        )  # fmt: skip
        infos.append(progress.info)
        seconds.append(progress.seconds[-1])
        accuracy.append(common.evaluate(Objective(), progress.state.params, dataset.test)[1])
    return {
        "losses": np.stack([info.loss for info in infos]),
        "lowest": np.stack([info.best_loss for info in infos]),
        "evaluations": np.array([info.loss_evaluations.sum() for info in infos]),
        "test_accuracy": np.array(accuracy),
        "seconds": np.array(seconds),
    }


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset)
    C = len(dataset.class_names)
    parts = [search(dataset, s, config.num_steps, config.seeds) for s in config.scales]
    found = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    losses, scales = found["losses"], np.asarray(config.scales)
    draws = losses.reshape(len(scales), -1)  # of all seeds: independent, all of them
    place = np.indices(losses.shape).reshape(3, -1)
    long = search(dataset, scales[0], config.long_steps, config.seeds, pruned_random_search)
    return {
        **found,
        "long": long,
        "scales": scales,
        "best_loss": losses.min(axis=2),
        "mean_loss": draws.mean(axis=1),
        "standard_error": draws.std(axis=1, ddof=1) / math.sqrt(draws.shape[1]),
        "expected_loss": np.array([expected_loss(dataset.train.X, C, s) for s in scales]),
        "chance": 1 / C,
        "trace": {
            "scale": scales[place[0]],
            "seed": place[1],
            "step": place[2],
            "loss": losses.ravel(),
        },
    }


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    steps = np.arange(1, arrays["losses"].shape[2] + 1)
    # The long search first, so that the others, the same draws, are seen on top of it.
    low, median, high = common.quartiles(arrays["long"]["lowest"])
    label = f"scale {arrays['scales'][0]:g}, evaluated only where it may be lower"
    series = {label: (np.arange(1, len(median) + 1), median)}
    bands, written = {label: (low, high)}, []
    for scale, losses, expected in zip(
        arrays["scales"], arrays["losses"], arrays["expected_loss"], strict=True
    ):
        label = f"scale {scale:g}"
        low, median, high = common.quartiles(np.minimum.accumulate(losses, axis=1))
        series[label], bands[label] = (steps, median), (low, high)
        figure = draw.histogram(
            {f"{losses.size} draws": losses},
            vertical={f"expected mean {expected:.3f}": expected},
            xlabel="training loss of a draw",
            title=f"Random W of scale {scale:g}",
        )
        written.append(draw.save_figure(figure, path / f"losses_at_scale_{scale:g}.png"))
    figure = draw.lines(
        series,
        bands=bands,
        xlabel="draws",
        ylabel="lowest training loss so far",
        title="Random search: median and quartiles over seeds",
        xscale="log",
        step=True,
    )
    return [draw.save_figure(figure, path / "best_loss_so_far.png"), *written]


def report(arrays: dict[str, Any]) -> str:
    rows = [
        (
            f"{scale:g}",
            common.spread(arrays["best_loss"][i], ".3f"),
            common.spread(100 * arrays["test_accuracy"][i], ".1f"),
            f"{arrays['mean_loss'][i]:.4f} ± {arrays['standard_error'][i]:.4f}",
            f"{arrays['expected_loss'][i]:.4f}",
            f"{np.median(arrays['seconds'][i]):.2f}",
        )
        for i, scale in enumerate(arrays["scales"])
    ]
    header = (
        "scale of W",
        "lowest training loss",
        "test accuracy, %",
        "mean loss of a draw ± standard error",
        "its closed form",
        "seconds a run",
    )
    seeds, num_steps = arrays["losses"].shape[1:]
    long = arrays["long"]
    draws, evaluated = long["lowest"].shape[1], common.spread(long["evaluations"], ".0f")
    further = (
        f"A search of {draws:,} draws of scale {arrays['scales'][0]:g}: lowest loss "
        f"{common.spread(long['lowest'][:, -1], '.3f')}, test accuracy "
        f"{common.spread(100 * long['test_accuracy'], '.1f')} %, {evaluated} loss evaluations and "
        f"{np.median(long['seconds']):.1f} seconds a run. The loss's tangent plane at W = 0, which "
        "lies below it, refused all other draws without a look at the data."
    )
    return (
        f"{num_steps} draws of W, {seeds} seeds; the W of the lowest training loss is tested. "
        f"Chance is {100 * arrays['chance']:.0f} %. Cells say median [lowest, highest] over seeds. "
        "The same draws at another scale give other losses and the same predictions.\n\n"
        + reporting.table(header, rows)
        + f"\n\n{further}"
    )


if __name__ == "__main__":
    common.main(sys.modules[__name__])
