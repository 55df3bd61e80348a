"""What does a batch size cost, and what does it buy? Mini-batch descent, and the claims on it.

    python -m experiments.minibatch --seeds 5 --dataset cifar10

1. The recipe: batches of 256, 4000 steps, a step size that falls linearly to 0, reg 1e-3.
2. Batch sizes from 1 to all the data, with one budget of examples, against examples seen and
   against seconds. Step sizes go with the square root of the batch size: a rule, not a tuning.
3. "Evaluating the gradient for 100 examples at once is much cheaper than for one example 100
   times", and "batch sizes of powers of two are faster": both timed.
4. Duplicates: a dataset made of copies has the loss and the gradient of one copy.

Expected on CIFAR-10: the recipe reaches at least 39 % of the test images in well under a minute of
training. Some ten seconds on digits, minutes on CIFAR-10, on two cores.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from experiments.shared import batches, options, recipes, record, runner, settings, strategies
from experiments.shared.figures import LOG_LOG, Figures, Picture
from experiments.shared.progress import divergences, stacked
from experiments.shared.report import Claim, Story
from experiments.shared.text import spread, table, table_of
from jaxsvm import Dataset, Objective
from jaxsvm import plot as draw

STORY = Story(
    "Is it enough to ask a few examples?",
    r"""The gradient is a mean over all examples. A mean over a few of them, drawn anew each time,
points nearly the same way and costs a fraction:

$$\nabla L(W) \approx \frac{1}{B} \sum_{i \in \mathrm{batch}} \nabla L_i(W)
+ 2\, \mathrm{reg}\, W.$$

The notes say why this works (much of a large dataset says the same again), how large batches are
(256, say), and that a batch should fit the machine: 100 examples at once are cheaper than one
example 100 times, and powers of two are faster. The last two are about time, so they are timed
here, with nothing else running.""",
    "So a few examples will do for a step. What has such a W learned?",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Follow the gradient of a few examples at a time.

    Attributes:
        batch_size: Of the recipe.
        num_steps: Of the recipe.
        step_size: Of the recipe, at its first step; by default 0.1 on digits, 0.003 on CIFAR-10,
            and inverse to the examples' squared length on other data.
        reg: The penalty's weight.
        batch_sizes: Batch sizes to compare; 0 stands for all the data.
        epochs: Times that they see all the data; by default 20 on digits and 2 on anything larger.
        copies: How many times the duplicated dataset holds its examples.
        repeats: Timed runs of each batch size.
    """

    batch_size: options.Count = 256
    num_steps: options.Count = 4000
    step_size: options.Positive | None = None
    reg: options.NonNegative = 1e-3
    batch_sizes: tuple[Annotated[int, options.at_least(0)], ...] = (1, 16, 256, 0)
    epochs: options.Count | None = None
    copies: options.Count = 12
    repeats: options.Count = 15

    measures_seconds: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    return prepare(config)()


def prepare(config: Config) -> Callable[[], dict[str, Any]]:
    dataset, objective = settings.load(config.source, "scaled"), Objective(reg=config.reg)
    step_size = config.step_size or settings.suiting(dataset).batch_step_size
    recipe: dict[str, Any] = {
        "batch_size": config.batch_size, "num_steps": config.num_steps, "step_size": step_size,
        "reg": config.reg,
    }  # fmt: skip
    recipes.prepare_recipe(dataset, **recipe)
    epochs, N = config.epochs or settings.suiting(dataset).epochs, len(dataset.train.y)
    # Of few examples several sizes may mean all of them.
    sizes = dict.fromkeys(min(B or N, N) for B in config.batch_sizes)
    swept = {B: of_size(B, epochs, step_size, config.reg, N) for B in sizes}
    strategies.prepare((strategy for _, strategy in swept.values()), dataset, objective)
    # The recipe is judged by what it learned from, too.
    recipes.accuracy(recipes.zero_weights(dataset), dataset.train)
    batches.timed_calls(config.source)
    copies = batches.duplicate_error(config.copies, dataset, config.reg)
    return functools.partial(measure, config, dataset, objective, recipe, swept, copies)


def measure(
    config: Config,
    dataset: Dataset,
    objective: Objective,
    recipe: dict[str, Any],
    swept: dict[int, tuple[float, strategies.Strategy]],
    copies: dict[str, float],
) -> dict[str, Any]:
    """Run the recipe and every batch size, which are compiled, and time the gradients."""
    runs = recipes.train_recipe(dataset, config.seeds, **recipe)
    final = [run.state.params for run in runs]
    batch_loss = stacked([run.info.loss for run in runs])
    curves = [follow_batches(B, *found, dataset, objective) for B, found in swept.items()]
    return {
        "dataset": settings.facts(dataset),
        "recipe": {
            **recipe,
            "seconds": np.array([run.seconds[-1] for run in runs]),
            "train": np.column_stack(
                (
                    recipes.losses(objective, final, dataset.train),
                    recipes.accuracies(final, dataset.train),
                )
            ),
            "test_accuracy": recipes.accuracies(final, dataset.test),
            "diverged": np.array([run.divergence is not None for run in runs]),
        },
        "curves": curves,
        **batches.measure_times(config.source, config.repeats),
        "duplicates": copies,
        "trace": record.trace(("seed", "step"), batch_loss=batch_loss),
    }


def of_size(
    B: int, epochs: int, step_size: float, reg: float, N: int
) -> tuple[float, strategies.Strategy]:
    """Return the first step size and the descent of one batch size, at most N, over some epochs.

    ``step_size`` is the first of batches of 256; others go with the square root of their size.
    """
    T = epochs * N // B
    T = T // 10 * 10 or max(1, T)  # ten equal parts, where there are so many steps
    first = step_size * math.sqrt(B / 256)
    # All the data are taken as they are: nothing is drawn.
    optimizer = recipes.minibatch_recipe(B, T, first, reg, replacement=B < N)
    return first, strategies.Strategy(optimizer, T, B / N)


def follow_batches(
    B: int, first: float, strategy: strategies.Strategy, dataset: Dataset, objective: Objective
) -> dict[str, Any]:
    """Run one batch size from W = 0 and one seed."""
    start = recipes.zero_weights(dataset), jax.random.key(0)
    course = strategies.follow(strategy, dataset, objective, *start, f"batch size {B}")
    return {
        "batch_size": B,
        "num_steps": strategy.num_steps,
        "step_size": first,
        "examples": course.steps * B,
        "seconds": course.seconds,
        "loss": course.objective,
        "test_accuracy": course.test_accuracy,
    }


def plot(arrays: dict[str, Any]) -> Figures:
    figures = {}
    for axis, xlabel in (("examples", "examples seen"), ("seconds", "seconds of training")):
        curves = {f"batch size {c['batch_size']}": (c[axis], c["loss"]) for c in arrays["curves"]}
        figures[f"loss_against_{axis}"] = draw.lines(
            {label: (x[1:], loss[1:]) for label, (x, loss) in curves.items()},
            xlabel=xlabel, ylabel="training objective", marker="o", **LOG_LOG,
            title="Step sizes by a rule, not tuned",
        )  # fmt: skip
    rows = arrays["timings"]
    names = [row["peer"] for row in rows]
    examples = np.array([int(name.split()[0]) for name in names])
    quartiles = np.array([[row[q] for row in rows] for q in ("lower", "median", "upper")])
    low, median, high = 1e6 * quartiles / examples
    sizes = [int(name) for name in names if name.isdigit()]
    kinds = [
        "one at a time" if not name.isdigit()
        else "power of two" if (size := int(name)) & (size - 1) == 0
        else "other size"
        for name in names
    ]  # fmt: skip
    figures["time_per_example"] = draw.bars(
        names, median, errors=np.stack([median - low, high - median]), ylabel="batch size",
        xlabel="µs an example (median and quartiles)", title="Time of a gradient",
        kinds=kinds,
    )  # fmt: skip
    words = {
        "loss_against_examples": (
            "Every curve has seen the same examples when it ends. Small batches take many more "
            "steps for them. The step size goes with the square root of the batch size; none was "
            "tuned, so this compares a rule, not the best of each size.",
            "Line chart on logarithmic axes: the training objective against examples seen, one "
            "curve for each batch size.",
        ),
        "loss_against_seconds": (
            "The same runs against the clock. A smaller batch takes more steps for the same "
            "examples, and each step costs something of its own.",
            "Line chart on logarithmic axes: the training objective against seconds, one curve "
            "for each batch size.",
        ),
        "time_per_example": (
            f"Look whether the powers of two, among {min(sizes)} to {max(sizes)}, are shorter than "
            "their neighbours by more than the whiskers, and how much longer the last bar is.",
            "Bar chart of the time that an example takes in batches of several sizes, and one at a "
            "time.",
        ),
    }
    return {name: Picture(figure, *words[name]) for name, figure in figures.items()}


def diverged(arrays: dict[str, Any]) -> list[str]:
    return ["the recipe diverged from every seed"] if arrays["recipe"]["diverged"].all() else []


def report(arrays: dict[str, Any]) -> str:
    recipe, twice = arrays["recipe"], arrays["duplicates"]
    measured = [
        ("training objective", spread(recipe["train"][:, 0], ".4f")),
        ("training accuracy, %", spread(recipe["train"][:, 1], ".2%")),
        ("test accuracy, %", spread(recipe["test_accuracy"], ".2%")),
        ("seconds of training", spread(recipe["seconds"], ".2f")),
    ]
    if share := divergences(recipe["diverged"]):
        measured.append(("the last finite W is measured where a run", share))
    curves = arrays["curves"]
    sizes = {
        "batch size": [curve["batch_size"] for curve in curves],
        "steps": [curve["num_steps"] for curve in curves],
        "first step size {:.3g}": [curve["step_size"] for curve in curves],
        "seconds {:.2f}": [curve["seconds"][-1] for curve in curves],
        "training objective {:.4f}": [curve["loss"][-1] for curve in curves],
        "test accuracy, % {:.2%}": [curve["test_accuracy"] for curve in curves],
    }
    powers = (power.values() for power in arrays["powers"])
    N = twice["examples"]
    return (
        f"Batches of {recipe['batch_size']} reach {spread(recipe['test_accuracy'], '.2%')} % of "
        f"the test examples in {np.median(recipe['seconds']):.2f} s of training, and 100 gradients "
        f"one by one cost {arrays['at_once_speedup']:.1f} times as much as at once.\n\n"
        "### The recipe\n\n"
        f"Batches of {recipe['batch_size']}, {recipe['num_steps']} steps from W = 0, step size "
        f"{recipe['step_size']:g} falling linearly to 0, reg {recipe['reg']:g}; "
        f"{len(recipe['seconds'])} seeds.\n\n"
        + table("measured | median [lowest, highest] over seeds", measured)
        + "\n\n### Batch sizes\n\n"
        "Every batch size sees the same number of examples. The first step size goes with the "
        "square root of the batch size; none is tuned.\n\n"
        f"[[loss_against_examples]]\n\n[[loss_against_seconds]]\n\n{table_of(sizes)}"
        + "\n\n### What a batch costs\n\n[[time_per_example]]\n\n"
        f"100 gradients of one example take {arrays['at_once_speedup']:.1f} times as long as one "
        "gradient of 100 examples.\n\n"
        "Time an example takes in a batch of a power of two, over the mean of the two sizes "
        "beside it; below 1 is faster. The verdict asks for separate quartiles.\n\n"
        + table("batch size | time ratio {:.3f} | verdict", powers)
        + f"\n\n### Copies\n\n{twice['copies']} copies of {N} of the training examples: the "
        f"loss differs from that of one copy by {twice['loss']:.1e} of itself and the gradient by "
        f"{twice['gradient']:.1e} of its largest entry, in float64: rounding."
    )


def claims(arrays: dict[str, Any]) -> list[Claim]:
    speedup, twice = arrays["at_once_speedup"], arrays["duplicates"]
    powers, same = arrays["powers"], max(twice["loss"], twice["gradient"]) < 1e-12
    ratios = "; ".join("{batch_size}: × {time_ratio:.2f}".format(**p) for p in powers)
    faster = "reproduced"
    if {power["verdict"] for power in powers} != {"faster"}:
        each = ", ".join("{batch_size} {verdict}".format(**power) for power in powers)
        faster = f"not on this device: {each}"
    return [
        Claim(
            "the gradient of 100 examples is much cheaper than 100 gradients of one",
            f"{speedup:.1f} times cheaper",
            "reproduced" if speedup > 2 else "not reproduced",
        ),
        Claim(
            "batch sizes that are powers of two are faster",
            f"time an example takes against the sizes beside it: {ratios}", faster,
        ),
        Claim(
            "1.2 million images that are 1200 copies of 1000 have the gradient of the 1000",
            f"{twice['copies']} copies of {twice['examples']}: loss and gradient differ by "
            f"{twice['loss']:.0e} and {twice['gradient']:.0e} of themselves in float64",
            "reproduced" if same else "not reproduced",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    runner.main(__name__)
