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

The same draws are also looked at in raw and in scaled features. Scores are linear in the features
and in the scale, so that one product serves every form and scale (`experiments.shared.views`).

Seconds on digits; 18 s for a seed on CIFAR-10, on two cores, and 5 s for a long search.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from experiments.shared import options, record, runner, searches, settings
from experiments.shared.figures import Figures, Picture, curves_over_seeds
from experiments.shared.report import Claim, Story
from experiments.shared.text import counted, spread, table_of
from jaxsvm import Objective, pruned_random_search
from jaxsvm import plot as draw

STORY = Story(
    "How far does blind luck go?",
    r"""The notes' first strategy is "a very bad idea" and worth doing once: draw a thousand random
$W$, keep the one with the lowest loss. The hiker is dropped at random places and remembers the
lowest.

Two things about it can be known without luck. The loss of a random $W$ has an expectation in
closed form, since every margin is then a normal number. And the loss lies above each of its tangent
planes, being convex: where the tangent plane at $W = 0$ is already above the best loss so far, a
draw cannot win, and nobody has to look at the data.""",
    "A place is drawn and forgotten, so the thousandth draw knows no more than the first. What if "
    "the hiker stays at the best place so far and takes a small step from there?",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Draw W at random and keep the best.

    Attributes:
        num_steps: How many draws.
        scales: Standard deviations of the entries of W.
        long_steps: How many draws of the first scale in the long search, which evaluates only where
            it must.
    """

    num_steps: Annotated[int, options.at_least(2)] = 1000
    scales: tuple[options.Positive, ...] = (1e-4, 1e-5)
    long_steps: options.Count = 20_000


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
    blocks = (np.asarray(X[i : i + rows], np.float64) for i in range(0, X.shape[0], rows))
    return np.concatenate([np.linalg.norm(block, axis=1) for block in blocks])


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.source, "centred")
    C = len(dataset.class_names)
    scales, seeds = np.asarray(config.scales), config.seeds
    forms = searches.notes_forms(config.scales)
    every = searches.search_at_random(config.source, forms, config.num_steps, seeds)
    parts, others = every[: len(scales)], every[len(scales) :]
    found = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    losses = found["losses"]
    pruned = pruned_random_search(Objective(), scale=config.scales[0])
    long = searches.search_one_form(dataset, pruned, scales[0], config.long_steps, seeds)
    draws = losses.reshape(len(scales), -1)  # of all seeds: independent, all of them
    steps = record.trace(("scale", "seed", "step"), loss=losses)
    return {
        **found,
        "dataset": settings.facts(dataset),
        "long": long,
        "forms": dict(zip(("raw", "scaled"), others, strict=True)),
        "scales": scales,
        "best_loss": losses.min(axis=2),
        "mean_loss": draws.mean(axis=1),
        "standard_error": draws.std(axis=1, ddof=1) / math.sqrt(draws.shape[1]),
        "expected_loss": np.array([expected_loss(dataset.train.X, C, s) for s in scales]),
        "chance": 1 / C,
        "trace": steps | {"scale": scales[steps["scale"]]},
    }


def plot(arrays: dict[str, Any]) -> Figures:
    scales, lowest, draws = arrays["scales"], {}, {}
    # The long search first, so that the others, the same draws, are seen on top of it.
    lowest[f"scale {scales[0]:g}, the long search"] = arrays["long"]["lowest"]
    for scale, losses, mean in zip(scales, arrays["losses"], arrays["expected_loss"], strict=True):
        lowest[f"scale {scale:g}"] = np.minimum.accumulate(losses, axis=1)
        # For small scales the loss is nearly linear in W, hence its spread nearly in the scale.
        draws[f"scale {scale:g}"] = (losses.astype(float) - mean) / scale
    best = curves_over_seeds(
        {label: stairs(seen) for label, seen in lowest.items()},
        xlabel="draws", ylabel="lowest training loss so far", xscale="log", step=True,
        title="The best of so many draws",
    )  # fmt: skip
    histogram = draw.histogram(
        draws, vertical={"the closed form": 0.0},
        xlabel="(loss of a draw − its expectation) / scale of W", title="Where the draws land",
    )  # fmt: skip
    return {
        "best_loss_so_far": Picture(
            best,
            "Median over seeds, in a band of their quartiles. Each further fall takes about ten "
            "times as many draws as the one before, so the curve is nearly straight on this axis.",
            "Stair line chart of the lowest loss so far against draws on a logarithmic axis.",
        ),
        "losses_of_draws": Picture(
            histogram,
            "Losses of all draws, shifted by the expected loss and divided by the scale of W, for "
            "each scale. Where the outline follows the filled shape, the scale only stretches the "
            "losses: the draws are ranked alike, so the same one wins.",
            "Histograms of the draws' losses about the expectation, one for each scale of W.",
        ),
    }


def stairs(lowest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (draws, values) of curves (seeds, draws) where one of them falls, and of both ends."""
    falls = np.flatnonzero((np.diff(lowest, axis=1) != 0).any(axis=0)) + 1
    at = np.unique([0, *falls, lowest.shape[1] - 1])
    return at + 1, lowest[:, at]


def report(arrays: dict[str, Any]) -> str:
    means = map("{:.4f} ± {:.4f}".format, arrays["mean_loss"], arrays["standard_error"])
    columns = {
        "scale of W {:g}": arrays["scales"],
        "lowest training loss": (spread(losses, ".3f") for losses in arrays["best_loss"]),
        "test accuracy, %": (spread(shares, ".1%") for shares in arrays["test_accuracy"]),
        "mean loss of a draw ± standard error": means,
        "its closed form {:.4f}": arrays["expected_loss"],
    }
    (seeds, num_steps), long = arrays["losses"].shape[1:], arrays["long"]
    return (
        f"The best of {num_steps:,} draws answers {spread(arrays['test_accuracy'][0], '.1%')} % of "
        f"the test examples rightly (median [lowest, highest] of {counted(seeds, 'seed')}), where "
        f"guessing has {100 * arrays['chance']:.0f} %.\n\n"
        "The training loss chooses the W, the test part judges it. A loss sees the scale of W and "
        "an answer, the class of the highest score, does not.\n\n"
        f"{table_of(columns)}\n\n[[best_loss_so_far]]\n\n[[losses_of_draws]]\n\n"
        "### The same draws of other features\n\n"
        f"At scale {arrays['scales'][0]:g}, of features as they are, with the mean subtracted, and "
        f"scaled as well:\n\n{table_of(forms(arrays))}\n\n"
        f"### Twenty times as long\n\n"
        f"A search of {long['lowest'].shape[1]:,} draws of scale {arrays['scales'][0]:g} ends at "
        f"loss {spread(long['lowest'][:, -1], '.3f')} and test accuracy "
        f"{spread(long['test_accuracy'], '.1%')} %. It evaluated the loss of "
        f"{spread(long['evaluations'], '.0f')} draws; the tangent plane refused all the others."
    )


def forms(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the table of the three preprocessings, at the first scale."""
    centred = {name: arrays[name][0] for name in ("losses", "lowest", "test_accuracy")}
    found = {"raw": arrays["forms"]["raw"], "centred": centred, "scaled": arrays["forms"]["scaled"]}
    losses = [part["losses"] for part in found.values()]
    return {
        "features": list(found),
        "loss of a draw, mean {:.4f}": [np.mean(loss) for loss in losses],
        "deviation {:.4f}": [np.std(loss) for loss in losses],
        "lowest": [spread(part["lowest"][:, -1], ".3f") for part in found.values()],
        "test accuracy, %": [spread(part["test_accuracy"], ".1%") for part in found.values()],
    }


def claims(arrays: dict[str, Any]) -> list[Claim]:
    off = np.abs(arrays["mean_loss"] - arrays["expected_loss"]) / arrays["standard_error"]
    worst = float(np.max(off))
    return [
        Claim(
            "(ours) the mean loss of random draws has a closed form",
            f"means of {arrays['losses'][0].size:,} draws are at most {worst:.1f} standard errors "
            "off it",
            "reproduced" if worst < 4 else "not reproduced",
        )
    ]


if __name__ == "__main__":
    runner.main(__name__)
