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
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from experiments import common, reporting
from experiments.benchmark.common import Config as Timing
from experiments.benchmark.common import Row, compare
from jaxsvm import Data, Dataset, Objective, Optimizer, minibatch_gradient_descent
from jaxsvm import plot as draw
from jaxsvm.core import features
from jaxsvm.optimizers import schedules as schedule

# The sizes that the notes name.
POWERS = (32, 64, 128)


@dataclass(frozen=True)
class Config(common.Config):
    """Follow the gradient of a few examples at a time."""

    batch_size: int = 256
    """Of the recipe."""
    num_steps: int = 4000
    """Of the recipe."""
    step_size: float | None = None
    """Of the recipe, at its first step; by default 0.1 on digits and 0.003 on anything larger."""
    reg: float = 1e-3
    """The penalty's weight."""
    batch_sizes: tuple[int, ...] = (1, 16, 256, 0)
    """Batch sizes to compare; 0 stands for all the data."""
    epochs: int | None = None
    """Times that they see all the data; by default 20 on digits and 2 on anything larger."""
    copies: int = 12
    """How many times the duplicated dataset holds its examples."""
    repeats: int = 15
    """Timed runs of each batch size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "num_steps", "copies", "repeats"):
            common.at_least(name, getattr(self, name), 1)
        for size in self.batch_sizes:
            common.at_least("batch_sizes", size, 0)
        if self.epochs is not None:
            common.at_least("epochs", self.epochs, 1)
        if self.step_size is not None:
            common.positive("step_size", self.step_size)
        common.at_least("reg", self.reg, 0)

    @property
    def first_step_size(self) -> float:
        """The recipe's, with its default filled in."""
        return self.step_size or (0.1 if self.dataset == "digits" else 0.003)


@functools.cache
def recipe(batch_size: int, num_steps: int, step_size: float, reg: float) -> Optimizer:
    """Return the recipe's optimizer, the same one each time, so that it is compiled once."""
    return minibatch_gradient_descent(
        Objective(reg=reg),
        batch_size=batch_size,
        step_size=schedule.linear_decay(step_size, num_steps=num_steps),
    )


def train_recipe(config: Config, dataset: Dataset) -> list[common.Progress]:
    """Run the recipe once a seed, from W = 0."""
    optimizer = recipe(config.batch_size, config.num_steps, config.first_step_size, config.reg)
    W = jnp.zeros((len(dataset.class_names), dataset.train.X.shape[1]))
    return [
        common.progress_run(
            optimizer, jax.random.key(seed), W, dataset.train, config.num_steps,
            description=f"recipe, seed {seed}",
        )
        for seed in range(config.seeds)
    ]  # fmt: skip


def compare_batch_sizes(config: Config, dataset: Dataset) -> list[dict[str, Any]]:
    """Run each batch size over the same number of examples; one seed, a curve each."""
    objective, data = Objective(reg=config.reg), dataset.train
    N = len(data.X)
    epochs = config.epochs or (20 if config.dataset == "digits" else 2)
    W = jnp.zeros((len(dataset.class_names), data.X.shape[1]))
    curves = []
    for size in config.batch_sizes:
        B = min(size or N, N)
        T = max(1, epochs * N // B // 10) * 10
        first = config.first_step_size * math.sqrt(B / 256)
        optimizer = minibatch_gradient_descent(
            objective,
            batch_size=B,
            step_size=schedule.linear_decay(first, num_steps=T),
            replacement=B < N,  # all the data are all the data
        )
        progress = common.progress_run(
            optimizer, jax.random.key(0), W, data, T, description=f"batch size {B}", num_chunks=10
        )
        curves.append(
            {
                "batch_size": B,
                "num_steps": T,
                "step_size": first,
                "examples": progress.path_steps * B,
                "seconds": progress.path_seconds,
                "loss": np.array([common.evaluate(objective, w, data)[0] for w in progress.path]),
                "test_accuracy": common.evaluate(objective, progress.state.params, dataset.test)[1],
            }
        )
    return curves


@functools.cache
def time_batches(name: str, powers: tuple[int, ...], rounds: int) -> list[Row]:
    """Time gradients of batches round the powers of two, of 100 examples, and 100 of one.

    Each timed call takes gradients in a row inside one compiled loop, so that the cost of a call is
    not what is measured. The rows' seconds are of one gradient. Kept, for sections that share it.

    Args:
        name: of the dataset.
        powers: batch sizes to time, and their neighbours.
        rounds: timed calls of each.
    """
    dataset, objective = common.load(name, scale=common.unit_scale(name)), Objective()
    W = jnp.zeros((len(dataset.class_names), dataset.train.X.shape[1]))
    grad = jax.grad(objective)

    def descend(W: Array, all_data: Data, B: int, repeats: int) -> Array:
        data = Data(all_data.X[:B], all_data.y[:B])
        # Each gradient is taken where the last one led, so that none can be left out.
        return lax.fori_loop(0, repeats, lambda i, W: W - 1e-3 * grad(W, data), W)

    def one_by_one(W: Array, data: Data, B: int, repeats: int) -> Array:
        def step(_: Array, W: Array) -> Array:
            def add(i: Array, total: Array) -> Array:
                one = Data(data.X[i[None]], data.y[i[None]])
                return total + grad(W, one)

            return W - 1e-3 * lax.fori_loop(0, B, add, jnp.zeros_like(W)) / B

        return lax.fori_loop(0, repeats, step, W)

    def timed(f: Any, B: int, repeats: int) -> Any:
        call = jax.jit(f, static_argnums=(2, 3)).lower(W, dataset.train, B, repeats).compile()
        return lambda: call(W, dataset.train)

    # As many gradients in a call as make it last about as long for every batch size.
    count = 6000 if name == "digits" else 1500
    sizes = sorted({100, *(p + k for p in powers for k in (-1, 0, 1))})
    repeats = {str(B): max(1, count // B) for B in sizes}
    peers = {str(B): timed(descend, B, repeats[str(B)]) for B in sizes}
    repeats["100 times one"] = max(1, count // 1000)
    peers["100 times one"] = timed(one_by_one, 100, repeats["100 times one"])
    rows = compare("minibatch", "gradient", peers, Timing(repeats=rounds, seconds=30))
    return [
        row._replace(
            median=row.median / repeats[row.peer],
            lower=row.lower / repeats[row.peer],
            upper=row.upper / repeats[row.peer],
        )
        for row in rows
    ]


def duplicate_error(copies: int, dataset: Dataset, reg: float) -> dict[str, float]:
    """Return how far the loss and gradient of copies are from one copy's, in float64."""
    with jax.enable_x64(True):
        X = features.astype(dataset.train.X[:1000], jnp.float64)
        one = Data(X, dataset.train.y[:1000])
        index = jnp.tile(jnp.arange(len(one.y)), copies)
        many = Data(X[index], one.y[index])
        shape = (len(dataset.class_names), X.shape[1])
        W = 1e-3 * jax.random.normal(jax.random.key(0), shape, jnp.float64)
        value_and_grad = jax.jit(jax.value_and_grad(Objective(reg=reg)))
        (loss, gradient), (loss_many, gradient_many) = (
            value_and_grad(W, one),
            value_and_grad(W, many),
        )
        largest = jnp.max(jnp.abs(gradient))
        return {
            "examples": len(one.y),
            "copies": copies,
            "loss": float(abs(loss_many - loss) / loss),
            "gradient": float(jnp.max(jnp.abs(gradient_many - gradient)) / largest),
        }


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset, scale=common.unit_scale(config.dataset))
    objective = Objective(reg=config.reg)
    runs = train_recipe(config, dataset)
    final = [progress.state.params for progress in runs]
    batch_loss = np.stack([progress.info.loss for progress in runs])
    seed, step = np.indices(batch_loss.shape).reshape(2, -1)
    timings = time_batches(config.dataset, POWERS, config.repeats)
    return {
        "recipe": {
            "batch_size": config.batch_size,
            "num_steps": config.num_steps,
            "step_size": config.first_step_size,
            "reg": config.reg,
            "seconds": np.array([progress.seconds[-1] for progress in runs]),
            "train": np.array([common.evaluate(objective, W, dataset.train) for W in final]),
            "test_accuracy": np.array(
                [common.evaluate(objective, W, dataset.test)[1] for W in final]
            ),
        },
        "curves": compare_batch_sizes(config, dataset),
        "timings": [row._asdict() for row in timings],
        "at_once_speedup": median_of(timings, "100 times one") / median_of(timings, "100"),
        "powers": [power_against_neighbours(timings, p) for p in POWERS],
        "duplicates": duplicate_error(config.copies, dataset, config.reg),
        "trace": {"seed": seed, "step": step, "batch_loss": batch_loss.ravel()},
    }


def median_of(timings: list[Row], peer: str) -> float:
    """Return the median seconds of one row."""
    return next(row.median for row in timings if row.peer == peer)


def power_against_neighbours(timings: list[Row], p: int) -> dict[str, Any]:
    """Compare the time an example takes in a batch of p with that in p − 1 and in p + 1.

    "faster" only where p's upper quartile is below both neighbours' lower ones, and "slower" the
    other way round; "no difference" otherwise.
    """
    rows = {row.peer: row for row in timings}
    here, low, high = (rows[str(B)] for B in (p, p - 1, p + 1))
    around = (low.median / (p - 1) + high.median / (p + 1)) / 2
    if here.upper / p < min(low.lower / (p - 1), high.lower / (p + 1)):
        verdict = "faster"
    elif here.lower / p > max(low.upper / (p - 1), high.upper / (p + 1)):
        verdict = "slower"
    else:
        verdict = "no difference"
    return {"batch_size": p, "time_ratio": here.median / p / around, "verdict": verdict}


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    written = []
    for axis, xlabel in (("examples", "examples seen"), ("seconds", "seconds of training")):
        figure = draw.lines(
            {
                f"batch size {curve['batch_size']}": (curve[axis][1:], curve["loss"][1:])
                for curve in arrays["curves"]
            },
            xlabel=xlabel,
            ylabel="training objective",
            title="One budget of examples, batch by batch",
            xscale="log",
            yscale="log",
            marker="o",
        )
        written.append(draw.save_figure(figure, path / f"loss_against_{axis}.png"))
    rows = arrays["timings"]
    examples = np.array([int(row["peer"].split()[0]) for row in rows])
    low, median, high = (
        1e6 * np.array([row[key] for row in rows]) / examples
        for key in ("lower", "median", "upper")
    )
    figure = draw.bars(
        [row["peer"] for row in rows],
        median,
        errors=np.stack([median - low, high - median]),
        xlabel="microseconds an example, median and quartiles",
        ylabel="batch size",
        title="Time of a gradient",
    )
    return [*written, draw.save_figure(figure, path / "time_per_example.png")]


def report(arrays: dict[str, Any]) -> str:
    recipe, twice = arrays["recipe"], arrays["duplicates"]
    measured = [
        ("training objective", common.spread(recipe["train"][:, 0], ".4f")),
        ("training accuracy, %", common.spread(100 * recipe["train"][:, 1], ".2f")),
        ("test accuracy, %", common.spread(100 * recipe["test_accuracy"], ".2f")),
        ("seconds of training", common.spread(recipe["seconds"], ".2f")),
    ]
    curves = [
        (
            curve["batch_size"],
            curve["num_steps"],
            f"{curve['step_size']:.3g}",
            f"{curve['seconds'][-1]:.2f}",
            f"{curve['loss'][-1]:.4f}",
            f"{100 * curve['test_accuracy']:.2f}",
        )
        for curve in arrays["curves"]
    ]
    powers = [(p["batch_size"], f"{p['time_ratio']:.3f}", p["verdict"]) for p in arrays["powers"]]
    return "\n\n".join(
        [
            "### The recipe",
            f"Batches of {recipe['batch_size']}, {recipe['num_steps']} steps from W = 0, step size "
            f"{recipe['step_size']:g} falling linearly to 0, reg {recipe['reg']:g}; "
            f"{len(recipe['seconds'])} seeds.",
            reporting.table(("measured", "median [lowest, highest] over seeds"), measured),
            "### Batch sizes",
            "Every batch size sees the same number of examples. The first step "
            "size goes with the square root of the batch size; none is tuned.",
            reporting.table(
                ("batch size", "steps", "first step size", "seconds", "training objective",
                 "test accuracy, %"),
                curves,
            ),
            "### The claims",
            f"The gradient of 100 examples at once takes 1/{arrays['at_once_speedup']:.1f} of the "
            "time of 100 gradients of one example.",
            "Time an example takes in a batch of a power of two, over the mean of the two sizes "
            "beside it; below 1 is faster. The verdict asks for separate quartiles.",
            reporting.table(("batch size", "time ratio", "verdict"), powers),
            f"{twice['copies']} copies of {twice['examples']} examples: the loss differs from that "
            f"of one copy by {twice['loss']:.1e} of itself and the gradient by "
            f"{twice['gradient']:.1e} of its largest entry, in float64: rounding.",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    common.main(sys.modules[__name__])
