"""Which strategy gets furthest for what it spends? Every one, on the same axes.

    python -m experiments.race --seeds 5 --dataset cifar10

All strategies minimize the same objective from the same starts. They are compared by what they ask
of the data, in passes over all of it (a loss evaluation needs one product with X, a gradient one
more; a batch counts for its share), and by seconds, compilation left out. Never by steps: theirs
are not alike. `jaxsvm.solve` proves where the bottom is, and the figures show heights above
it. Curves are medians over seeds with their quartiles; a run that diverges is left out,
and said to be.

Expected: the searches spend a thousand passes and stay near the start; every descent passes them
with its first few; batches are ahead until the last digit is asked for, and then exact line search
and L-BFGS. Some ten seconds on digits, several minutes on CIFAR-10, on two cores.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from experiments.shared import bottom, options, runner, settings, strategies
from experiments.shared.figures import LOG_LOG, Figures, Picture, curves_over_seeds
from experiments.shared.progress import divergences, stacked
from experiments.shared.report import Story
from experiments.shared.text import counted, quartile_cell, table_of
from jaxsvm import Dataset, Objective

STRATEGIES = (
    "random search", "local search", "gradient descent", "Nesterov", "exact line search",
    "L-BFGS (optax)", "mini-batch", "Adam (optax), mini-batch",
)  # fmt: skip
# Of each run, what is kept.
MEASURED = ("loss_evaluations", "gradient_evaluations", "seconds", "objective")
STORY = Story(
    "Who gets furthest for what he spends?",
    r"""All strategies, the same objective, the same starts. They are charged for what they ask of
the data: a loss evaluation is a *pass* over all examples, a gradient evaluation is one too, and a
batch counts for its share. And by the clock, compilation left out, with nothing else running. Never
by steps, which are not alike.

Since the objective is convex, a solver of its dual problem proves how low anyone can get. So the
figures show the height above the proved bottom, and every further decade down is another digit of
the minimum that is right.""",
    "That answers the notes' question. What is left is to go through their sentences one by one.",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Run every strategy from the same starts.

    Attributes:
        search_steps: Tries of each search; by default 1000 on digits and 200 on anything larger.
        full_steps: Steps of those that see all the data; by default 200 on digits and 50 on
            anything larger.
        batch_steps: Steps of those that see a batch of 256.
        reg: The penalty's weight.
        strategies: Which take part.
    """

    search_steps: options.Count | None = None
    full_steps: options.Count | None = None
    batch_steps: options.Count = 2000
    reg: options.NonNegative = 1e-3
    strategies: tuple[Annotated[str, options.one_of(STRATEGIES)], ...] = STRATEGIES

    measures_seconds: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    return prepare(config)()


def prepare(config: Config) -> Callable[[], dict[str, Any]]:
    dataset, objective = settings.load(config.source, "scaled"), Objective(reg=config.reg)
    every = strategies.strategies(dataset, config)
    known = {name: every[name] for name in config.strategies}
    strategies.prepare(known.values(), dataset, objective)
    proved = bottom.proved_bottom(objective, dataset)
    return functools.partial(measure, config, dataset, objective, known, proved)


def measure(
    config: Config,
    dataset: Dataset,
    objective: Objective,
    known: dict[str, strategies.Strategy],
    proved: dict[str, Any],
) -> dict[str, Any]:
    """Run the strategies, which are compiled."""
    results: dict[str, dict[str, np.ndarray]] = {}
    for name, strategy in known.items():
        runs = []
        for seed in range(config.seeds):
            start = strategies.near_zero(dataset, seed)
            what = f"{name}, seed {seed}"
            runs.append(strategies.follow(strategy, dataset, objective, *start, what))
        results[name] = {
            **{key: stacked([getattr(run, key) for run in runs]) for key in MEASURED},
            "test_accuracy": np.array([run.test_accuracy for run in runs]),
            "diverged": np.array([run.diverged for run in runs]),
        }
    return {
        "dataset": settings.facts(dataset),
        "strategies": results,
        "reg": config.reg,
        "bottom": proved,
    }


def plot(arrays: dict[str, Any]) -> Figures:
    known = arrays["bottom"]
    proof = known["primal"] - known["dual"]
    figures = {}
    for cost, xlabel in (
        ("passes", "passes over the data: loss + gradient evaluations"),
        ("seconds", "seconds, without compilation"),
    ):
        curves = {}
        for name, found in finished(arrays).items():
            passes = found["loss_evaluations"] + found["gradient_evaluations"]
            x = np.median(passes if cost == "passes" else found["seconds"], axis=0)
            # The start has spent nothing, and a logarithmic axis has no 0.
            curves[name] = (x[1:], found["objective"][:, 1:] - known["dual"])
        figure = curves_over_seeds(
            curves, xlabel=xlabel, ylabel="objective above the proved bottom", marker="o",
            horizontal={"what the proof leaves open": proof} if np.isfinite(proof) else {},
            title="Every strategy from the same starts", **LOG_LOG,
        )  # fmt: skip
        figures[f"above_the_bottom_against_{cost}"] = Picture(
            figure,
            f"How far each strategy is above the lowest possible objective, for the {cost} that it "
            "spent: median over seeds in a band of their quartiles. Down and left is better. "
            + ("Below the dotted line the proof cannot tell a strategy from the minimum."
               if np.isfinite(proof) else "Without a penalty, 0 is all that is proved."),
            f"Line chart on logarithmic axes: objective above the proved bottom against {cost}, "
            f"one curve for each of {', '.join(curves)}.",
        )  # fmt: skip
    return figures


def finished(arrays: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Return what was measured of the strategies that finished, of the seeds that did."""
    found = {}
    for name, run in arrays["strategies"].items():
        if not run["diverged"].all():
            found[name] = {key: values[~run["diverged"]] for key, values in run.items()}
    return found


def diverged(arrays: dict[str, Any]) -> list[str]:
    lost = [name for name, run in arrays["strategies"].items() if run["diverged"].all()]
    return [f"{name} diverged from every seed" for name in lost]


def report(arrays: dict[str, Any]) -> str:
    runs, low = finished(arrays).values(), arrays["bottom"]["dual"]

    def spent(cost: str) -> list[Any]:
        return [np.median(run[cost][:, -1]) for run in runs]

    columns = {
        "strategy": list(finished(arrays)),
        "loss evaluations {:.0f}": spent("loss_evaluations"),
        "gradient evaluations {:.0f}": spent("gradient_evaluations"),
        "seconds {:.2f}": spent("seconds"),
        "above the bottom, at most {:.2g}": np.array(spent("objective")) - low,
        "training objective": [quartile_cell(run["objective"][:, -1], ".4f") for run in runs],
        "test accuracy, %": [quartile_cell(run["test_accuracy"], ".2%") for run in runs],
    }
    entered = arrays["strategies"].items()
    lost = [f"{name} {share}" for name, run in entered if (share := divergences(run["diverged"]))]
    left_out = f"Left out: {', '.join(lost)}.\n\n" if lost else ""
    seeds = len(next(run["diverged"] for _, run in entered))
    ends = {name: np.median(run["objective"][:, -1]) for name, run in finished(arrays).items()}
    best = min(ends, key=lambda name: ends[name], default="")
    words = "Every strategy diverged."
    if best:
        words = (
            f"{best} gets furthest: its objective ends {ends[best] - low:.2g} above the proved "
            f"bottom of {low:.4g} (median of {counted(seeds, 'seed')})"
        )
        worst = max(ends, key=lambda name: ends[name])
        words += f"; {worst} ends {ends[worst] - low:.2g} above it." if worst != best else "."
    return (
        f"{words}\n\n[[above_the_bottom_against_passes]]\n\n"
        f"{bottom.described(arrays['bottom'])} The search for it is charged to nobody here.\n\n"
        "[[above_the_bottom_against_seconds]]\n\n"
        f"reg is {arrays['reg']:g}. Cells say median [lower quartile, upper quartile] over seeds. "
        f"Step sizes are fixed for each dataset and not tuned further.\n\n"
        f"{left_out}{table_of(columns)}"
    )


if __name__ == "__main__":
    runner.main(__name__)
