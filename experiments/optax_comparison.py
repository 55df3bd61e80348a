"""Which first-order method is best at its best step size? And is our descent optax's?

    python -m experiments.optax_comparison
    python -m experiments.optax_comparison --dataset cifar10

Every method minimizes the objective of all the examples from the same random starts, one a seed.
Its step size is the best of one grid, all of it run at once under `vmap` from a start of its own
and judged by the objective on the validation part. lbfgs finds its own step by line search.

1. Gradient descent, momentum and Nesterov's, ours beside `optax.sgd`: the traces are the same.
2. The field, against passes over the data and against seconds.

Expected on digits: ours and optax's losses agree to rounding; lbfgs reaches the lowest loss for
a gradient evaluation, by far. Half a minute, nearly all of it compilation; minutes on CIFAR-10.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from tqdm import tqdm

from experiments.shared import options, recipes, runner, settings, timing
from experiments.shared.figures import LOG_LOG, Figures, Picture, curves_over_seeds
from experiments.shared.report import Story
from experiments.shared.text import quartile_cell, table_of
from jaxsvm import Data, Objective, Optimizer, accuracy, from_optax, gradient_descent
from jaxsvm import run as run_steps
from jaxsvm.optimizers.contract import advance

METHODS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw, "rmsprop": optax.rmsprop,
    "adagrad": optax.adagrad, "lion": optax.lion, "polyak_sgd": optax.polyak_sgd,
    "schedule-free": optax.contrib.schedule_free_sgd,
    "lbfgs": lambda step_size: optax.lbfgs(),  # its line search decides
}  # fmt: skip
# Half decades; a best step size at either end is marked in the table.
STEP_SIZES = 10.0 ** np.arange(-5, 1.5, 0.5)
CHECKPOINTS = 20
STORY = Story(
    "Would another optimizer do better?",
    r"""Gradient descent has many heirs. Here those of optax minimize the same objective from the
same starts, each with the best step size of one grid, chosen on held-out data from a start that is
judged nowhere. Ours are among them: gradient descent, momentum and Nesterov's are optax's `sgd`, to
rounding.""",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Compare optax's methods, each at its best step size, with ours beside them.

    Attributes:
        num_steps: Steps of each run, in twenty pieces.
        num_examples: Training examples; by default all of digits, and 10,000 of anything larger.
        reg: The penalty's weight.
    """

    num_steps: Annotated[int, options.at_least(CHECKPOINTS)] = 200
    num_examples: options.Count | None = None
    reg: options.NonNegative = 1e-3

    measures_seconds: ClassVar[bool] = True


def run_method(
    method: str, objective: Objective, num_steps: int, step_size: Any, W: Array, data: Data
) -> tuple[Array, Array, Array]:
    """Run one method from W.

    Returns:
        Its answer at every checkpoint, (CHECKPOINTS, C, D), and the evaluations of the loss and of
        the gradient spent by then, (CHECKPOINTS,) each.
    """
    optimizer = from_optax(METHODS[method](step_size), objective)

    def piece(state: Any, start: Array) -> tuple[Any, tuple[Array, Array, Array]]:
        size = num_steps // CHECKPOINTS
        # Nothing here is random; the contract asks for a key.
        state, info = advance(optimizer, jax.random.key(0), state, data, start, num_steps=size)
        answer = state.params
        if method == "schedule-free":
            answer = optax.contrib.schedule_free_eval_params(state.opt_state, answer)
        counts = jnp.sum(info.loss_evaluations), jnp.sum(info.gradient_evaluations)
        return state, (answer, *counts)

    starts = jnp.arange(CHECKPOINTS) * (num_steps // CHECKPOINTS)
    _, (answers, *counts) = lax.scan(piece, optimizer.init(W, data), starts)
    losses, gradients = map(jnp.cumsum, counts)
    return answers, losses, gradients


@jax.jit
def scores(objective: Objective, answers: Array, data: Data) -> tuple[Array, Array]:
    """Return the objective and the accuracy of each of (k, C, D) answers."""
    return jax.vmap(lambda W: (objective(W, data), accuracy(W, data)))(answers)


def compare_method(
    method: str, objective: Objective, config: Config, starts: Array, parts: tuple[Data, ...]
) -> dict[str, Any]:
    """Choose the step size by one vmapped sweep, then run every seed with it."""
    train, validation, test = parts
    one = functools.partial(run_method, method, objective, config.num_steps)
    sizes = jnp.asarray(STEP_SIZES if method != "lbfgs" else [1.0], starts.dtype)
    answers, *_ = jax.jit(jax.vmap(one, in_axes=(0, None, None)))(sizes, starts[0], train)
    # Over the last quarter, since a step too large for the end may be lucky at one point.
    last = CHECKPOINTS // 4
    final = np.array([scores(objective, a[-last:], validation)[0].mean() for a in answers])
    best = int(np.argmin(np.where(np.isfinite(final), final, np.inf)))

    @jax.jit
    def every_seed(step_size: Array, starts: Array, train: Data) -> tuple[Array, Array, Array]:
        # One after the other, so that the time is of single runs.
        return lax.map(lambda W: one(step_size, W, train), starts)

    call = timing.ready(every_seed, sizes[best], starts[1:], train)
    (answers, losses, gradients), seconds = timing.timed(call)
    return {
        "step_size": float(sizes[best]),
        "at_the_edge": len(sizes) > 1 and best in (0, len(sizes) - 1),
        "seconds": seconds / (len(starts) - 1),
        "gradients": np.asarray(gradients),
        "passes": np.asarray(losses + gradients),
        "loss": np.stack([scores(objective, a, train)[0] for a in answers]),
        "accuracy": np.stack([scores(objective, a, test)[1] for a in answers]),
    }


def same_traces(objective: Objective, W: Array, data: Data, num_steps: int) -> dict[str, float]:
    """Return the largest relative difference of two loss traces, ours and optax's."""

    def losses(optimizer: Optimizer, W: Array, data: Data) -> Array:
        return run_steps(optimizer, jax.random.key(0), W, data, num_steps=num_steps)[1].loss

    kinds = {"gradient descent": (0.0, False), "momentum": (0.9, False), "Nesterov": (0.9, True)}
    differences = {}
    for name, (momentum, nesterov) in kinds.items():
        ours = gradient_descent(objective, step_size=0.01, momentum=momentum, nesterov=nesterov)
        theirs = from_optax(optax.sgd(0.01, momentum, nesterov), objective)
        both = jax.jit(lambda W, data, a=ours, b=theirs: (losses(a, W, data), losses(b, W, data)))
        mine, other = (np.asarray(trace, float) for trace in both(W, data))
        differences[name] = float(np.max(np.abs(mine - other) / np.abs(other)))
    return differences


def run(config: Config) -> dict[str, Any]:
    dataset, objective = settings.load(config.source, "scaled"), Objective(reg=config.reg)
    train = recipes.first(dataset.train, config.num_examples or 10_000)
    # The first start is the sweep's, so that no seed chose the step size it is judged at.
    shape = (config.seeds + 1, *recipes.zero_weights(dataset).shape)
    starts = 1e-3 * jax.random.normal(jax.random.key(0), shape)
    parts = (train, dataset.validation, dataset.test)
    return {
        "dataset": settings.facts(dataset),
        "same_traces": same_traces(objective, starts[0], train, config.num_steps),
        "num_examples": len(train.y),
        "methods": {
            method: compare_method(method, objective, config, starts, parts)
            for method in tqdm(METHODS, desc="methods", disable=None, leave=False)
        },
    }


def plot(arrays: dict[str, Any]) -> Figures:
    figures = {}
    words = {
        "passes": "passes over the data: loss + gradient evaluations",
        "seconds": "seconds, without compilation",
    }
    for cost, xlabel in words.items():
        curves = {}
        for method, seen in arrays["methods"].items():
            x = np.median(seen["passes"], axis=0)
            if cost == "seconds":
                x = seen["seconds"] * np.arange(1, CHECKPOINTS + 1) / CHECKPOINTS
            curves[method] = (x, seen["loss"])
        figures[f"against_{cost}"] = Picture(
            curves_over_seeds(
                curves, xlabel=xlabel, ylabel="objective, training examples", **LOG_LOG,
                title="Each method at its best step size",
            ),
            "Median over seeds, in a band of their quartiles. Down and left is better. Where two "
            "methods coincide, as adam and adamw may, one is seen between the dashes of the other.",
            f"Line chart on logarithmic axes of the objective against {cost}, one curve for each "
            f"of {', '.join(curves)}.",
        )  # fmt: skip
    return figures


def report(arrays: dict[str, Any]) -> str:
    def step_size(method: str, seen: dict[str, Any]) -> str:
        size = "line search" if method == "lbfgs" else f"{seen['step_size']:.2g}"
        return size + (" (end of the grid)" if seen["at_the_edge"] else "")

    methods = arrays["methods"].items()
    best_first = dict(sorted(methods, key=lambda item: np.median(item[1]["loss"][:, -1])))
    runs = best_first.values()
    columns = {
        "method": best_first,
        "step size": itertools.starmap(step_size, best_first.items()),
        "objective": [quartile_cell(run["loss"][:, -1], ".4f") for run in runs],
        "test accuracy, %": [quartile_cell(run["accuracy"][:, -1], ".2%") for run in runs],
        "passes {:.0f}": [np.median(run["passes"][:, -1]) for run in runs],
        "seconds a run {:.3f}": [run["seconds"] for run in runs],
    }
    same = ", ".join(f"{name} {value:.1e}" for name, value in arrays["same_traces"].items())
    best = next(iter(best_first))
    return (
        f"{best} ends lowest, at {np.median(best_first[best]['loss'][:, -1]):.4f} (median over "
        "seeds).\n\n[[against_passes]]\n\n[[against_seconds]]\n\n"
        f"{arrays['num_examples']:,} training examples, all of them at every step. The largest "
        f"relative difference between our loss traces and `optax.sgd`'s: {same}.\n\n"
        "Median [quartiles] over seeds after the last step; seconds without compilation.\n\n"
        + table_of(columns)
    )


if __name__ == "__main__":
    runner.main(__name__)
