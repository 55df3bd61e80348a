"""Which strategy gets furthest for what it spends? Every one, on the same axes.

    python -m experiments.race --seeds 5 --dataset cifar10

All strategies minimize the same objective from the same starts. They are compared by what they ask
of the data, in passes over all of it (a loss evaluation needs one product with X, a gradient one
more; a batch counts for its share), and by seconds, compilation left out. Never by steps: theirs
are not alike. Curves are medians over seeds with their quartiles.

Expected: the searches spend a thousand passes and stay near the start; every descent passes them
with its first few; batches are ahead until the last digit is asked for, and then exact line search
and L-BFGS. Some ten seconds on digits, several minutes on CIFAR-10, on two cores.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxsvm
from experiments import common, minibatch, reporting
from jaxsvm import Objective, Optimizer
from jaxsvm import plot as draw

STRATEGIES = (
    "random search", "local search", "gradient descent", "Nesterov", "exact line search",
    "L-BFGS (optax)", "mini-batch", "Adam (optax), mini-batch",
)  # fmt: skip


@dataclass(frozen=True)
class Config(common.Config):
    """Run every strategy from the same starts."""

    search_steps: int | None = None
    """Tries of each search; by default 1000 on digits and 200 on anything larger."""
    full_steps: int | None = None
    """Steps of those that see all the data; by default 200 on digits and 50 on anything larger."""
    batch_steps: int = 2000
    """Steps of those that see a batch of 256."""
    reg: float = 1e-3
    """The penalty's weight."""
    strategies: tuple[str, ...] = STRATEGIES
    """Which take part."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("search_steps", "full_steps", "batch_steps"):
            if getattr(self, name) is not None:
                common.at_least(name, getattr(self, name), 1)
        common.at_least("reg", self.reg, 0)
        common.one_of("strategies", self.strategies, STRATEGIES)


class Entry(NamedTuple):
    """A strategy of the race.

    Attributes:
        optimizer: with its settings.
        num_steps: how many it takes.
        share: of the data that one evaluation looks at.
    """

    optimizer: Optimizer
    num_steps: int
    share: float


def entries(config: Config, num_examples: int) -> dict[str, Entry]:
    """Return the strategies with settings that suit each dataset's size; none is tuned further."""
    small = config.dataset == "digits"
    objective = Objective(reg=config.reg)
    tries = config.search_steps or (1000 if small else 200)
    full = config.full_steps or (200 if small else 50)
    share = min(1.0, 256 / num_examples)
    eta = 0.3 if small else 0.01
    adam = optax.adam(optax.linear_schedule(0.01 if small else 0.001, 0.0, config.batch_steps))
    batches = minibatch.recipe(
        256, config.batch_steps, minibatch.Config(config.dataset).first_step_size, config.reg
    )
    return {
        "random search": Entry(jaxsvm.random_search(objective, scale=1e-2), tries, 1),
        "local search": Entry(jaxsvm.local_search(objective, step_size=3e-3), tries, 1),
        "gradient descent": Entry(jaxsvm.gradient_descent(objective, step_size=eta), full, 1),
        "Nesterov": Entry(
            jaxsvm.gradient_descent(objective, step_size=eta / 3, momentum=0.9, nesterov=True),
            full,
            1,
        ),
        "exact line search": Entry(jaxsvm.line_search_descent(objective), full, 1),
        "L-BFGS (optax)": Entry(jaxsvm.from_optax(optax.lbfgs(), objective), full, 1),
        "mini-batch": Entry(batches, config.batch_steps, share),
        "Adam (optax), mini-batch": Entry(
            jaxsvm.from_optax(adam, objective, batch_size=256), config.batch_steps, share
        ),
    }


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset, scale=common.unit_scale(config.dataset))
    objective, data = Objective(reg=config.reg), dataset.train
    shape = (len(dataset.class_names), data.X.shape[1])
    results: dict[str, dict[str, np.ndarray]] = {}
    all_entries = entries(config, len(data.X))
    for name in config.strategies:
        entry, parts = all_entries[name], []
        for seed in range(config.seeds):
            start_key, key = jax.random.split(jax.random.key(seed))
            W = 1e-3 * jax.random.normal(start_key, shape)
            progress = common.progress_run(
                entry.optimizer, key, W, data, entry.num_steps,
                description=f"{name}, seed {seed}", num_chunks=10,
            )  # fmt: skip
            at = progress.path_steps
            losses, gradients = (
                entry.share * np.append(0, np.cumsum(counts))[at]
                for counts in (progress.info.loss_evaluations, progress.info.gradient_evaluations)
            )
            parts.append(
                {
                    "loss_evaluations": losses,
                    "gradient_evaluations": gradients,
                    "seconds": progress.path_seconds,
                    "objective": np.array(
                        [common.evaluate(objective, W, data)[0] for W in progress.path]
                    ),
                    "test_accuracy": np.array(
                        common.evaluate(objective, progress.state.params, dataset.test)[1]
                    ),
                }
            )
        results[name] = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
    return {"strategies": results, "reg": config.reg}


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    written = []
    for file, xlabel in (
        ("passes", "passes over the data: loss evaluations + gradient evaluations"),
        ("seconds", "seconds, without compilation"),
    ):
        series, bands = {}, {}
        for name, found in arrays["strategies"].items():
            low, median, high = common.quartiles(found["objective"])
            passes = found["loss_evaluations"] + found["gradient_evaluations"]
            x = np.median(passes if file == "passes" else found["seconds"], axis=0)
            # The start has spent nothing, and a logarithmic axis has no 0.
            series[name], bands[name] = (x[1:], median[1:]), (low[1:], high[1:])
        figure = draw.lines(
            series,
            bands=bands,
            xlabel=xlabel,
            ylabel="training objective",
            title="Every strategy from the same starts: median and quartiles",
            xscale="log",
            yscale="log",
            marker="o",
        )
        written.append(draw.save_figure(figure, path / f"objective_against_{file}.png"))
    return written


def report(arrays: dict[str, Any]) -> str:
    rows = [
        (
            name,
            f"{np.median(found['loss_evaluations'][:, -1]):.0f}",
            f"{np.median(found['gradient_evaluations'][:, -1]):.0f}",
            f"{np.median(found['seconds'][:, -1]):.2f}",
            quartile_cell(found["objective"][:, -1], ".4f"),
            quartile_cell(100 * found["test_accuracy"], ".2f"),
        )
        for name, found in arrays["strategies"].items()
    ]
    header = (
        "strategy", "loss evaluations", "gradient evaluations", "seconds", "training objective",
        "test accuracy, %",
    )  # fmt: skip
    seeds = len(next(iter(arrays["strategies"].values()))["objective"])
    return (
        f"reg {arrays['reg']:g}, {seeds} seeds. Evaluations are of all the training data (a batch "
        "counts for its share). Cells say median [lower quartile, upper quartile] over seeds. Step "
        "sizes are fixed for each dataset's size and not tuned further.\n\n"
        + reporting.table(header, rows)
    )


def quartile_cell(values: Any, form: str) -> str:
    """Return "median [lower quartile, upper quartile]"."""
    low, median, high = common.quartiles(values)
    return f"{median:{form}} [{low:{form}}, {high:{form}}]"


if __name__ == "__main__":
    common.main(sys.modules[__name__])
