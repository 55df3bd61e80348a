"""What do the step size's schedule and momentum change in full-batch descent?

    python -m experiments.gradient_descent --dataset cifar10

Vanilla gradient descent with a constant step size, with the notes' three ways of lowering it (step
decay, exponential, 1/t) and a straight line to zero, then with momentum and with Nesterov's. All
start at W = 0 and take the same number of steps, each one loss and one gradient of all the data.
The last run shows a step size that is far too large: the penalty makes it diverge, and the run
stops where the loss is no longer finite.

Expected on digits: the best training accuracy is above 99 %. A few seconds; minutes on CIFAR-10.
"""

import math
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from experiments.shared import bottom, options, recipes, runner, settings
from experiments.shared.figures import LOG_LOG, Figures, Picture
from experiments.shared.progress import Progress, progress_run
from experiments.shared.report import Story
from experiments.shared.text import table
from jaxsvm import Data, Dataset, Objective, Optimizer, gradient_descent
from jaxsvm import plot as draw

RUNS = (
    "constant", "step decay", "exponential", "1/t", "linear to 0", "momentum", "Nesterov",
    "too large",
)  # fmt: skip
STORY = Story(
    "What do many steps do, and does it matter how they shrink?",
    r"""Take the gradient, step against it, repeat:

$$W_{t+1} = W_t - \eta_t\, \nabla L(W_t).$$

That loop trains most of what is trained today. Two things about it are up to us. The step size
$\eta_t$ may shrink on the way, by halves, exponentially, as $1/t$ or in a straight line to zero;
and the hiker may have *momentum*, as a ball that keeps some of its speed. All runs start at $W = 0$
and take the same number of steps. The steps of one are much too long, to show what that looks like.

How far is each from the bottom? The minimum is known: a solver proved two numbers that it lies
between, and the figure shows heights above the lower one.""",
    "A step here looks at every example, and its direction is exact. Is that exactness worth its "
    "price, when a few examples would say nearly the same?",
)
# The figure ends at so many times the start's height: a run above it has only left.
TOP = 5.0


def fraction(name: str, value: float) -> None:
    """Check that a value is between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} = {value}: expected a number between 0 and 1")


@dataclass(frozen=True)
class Config(options.Config):
    """Follow the gradient of all the data. Nothing is random: --seeds changes nothing.

    Attributes:
        num_steps: Steps of each run; by default 1000 on digits and 150 on anything larger.
        step_size: At the first step; by default 0.3 on digits, 0.003 on CIFAR-10, and inverse to
            the examples' squared length on other data.
        momentum: For the two runs with momentum; their step size is (1 - momentum) times the
            others'.
        reg: The penalty's weight.
        too_large: The step size of the run that is to diverge.
        runs: Which runs to make.
    """

    num_steps: options.Count | None = None
    step_size: options.Positive | None = None
    momentum: Annotated[float, fraction] = 0.9
    reg: options.NonNegative = 1e-3
    too_large: options.Positive = 1e4
    runs: tuple[Annotated[str, options.one_of(RUNS)], ...] = RUNS


class Swept(NamedTuple):
    """A descent's state, and the settings that differ between the runs."""

    inner: Any
    step_sizes: Array
    momentum: Array

    @property
    def params(self) -> Array:
        """Where the descent stands."""
        return self.inner.params


def swept(objective: Objective, *, nesterov: bool) -> Optimizer:
    """Return gradient descent that starts from (W, step sizes (T,), momentum).

    What differs between the runs is part of the state, so one compiled program serves them all.
    """

    def descent(step_sizes: Array, momentum: Array) -> Optimizer:
        return gradient_descent(
            objective, step_size=lambda t: step_sizes[t], momentum=momentum, nesterov=nesterov
        )

    def init(start: tuple[Array, Array, Array], data: Data) -> Swept:
        W, *varied = start
        return Swept(descent(*varied).init(W, data), *varied)

    def step(key: Array, state: Swept, data: Data) -> tuple[Swept, Any]:
        inner, *varied = state
        inner, info = descent(*varied).step(key, inner, data)
        return state._replace(inner=inner), info

    return Optimizer(init, step)


def run(config: Config) -> dict[str, Any]:
    dataset, objective = settings.load(config.source, "scaled"), Objective(reg=config.reg)
    T = config.num_steps or settings.suiting(dataset).descent_steps
    eta = config.step_size or settings.suiting(dataset).descent_step_size
    slow = optax.constant_schedule((1 - config.momentum) * eta)
    schedules = {
        "constant": optax.constant_schedule(eta),
        "step decay": optax.exponential_decay(eta, -(-T // 5), 0.5, staircase=True),
        "exponential": optax.exponential_decay(eta, T, math.exp(-5)),
        "1/t": lambda t: eta / (1 + 20 * t / T),
        "linear to 0": optax.linear_schedule(eta, 0.0, T),
        "momentum": slow,
        "Nesterov": slow,
        "too large": optax.constant_schedule(config.too_large),
    }
    descents = {nesterov: swept(objective, nesterov=nesterov) for nesterov in (False, True)}
    W, runs = recipes.zero_weights(dataset), {}
    for name in config.runs:
        sizes = jnp.broadcast_to(jnp.asarray(schedules[name](jnp.arange(T)), float), T)
        momentum = jnp.asarray(config.momentum if name in ("momentum", "Nesterov") else 0.0)
        start, key = (W, sizes, momentum), jax.random.key(0)  # no step looks at the key
        descent = descents[name == "Nesterov"]
        runs[name] = progress_run(descent, key, start, dataset.train, T, description=name)
    infos = {name: progress.info for name, progress in runs.items()}
    steps = {name: np.arange(len(info.loss)) for name, info in infos.items()}
    trace = {
        "run": np.repeat(list(steps), list(map(len, steps.values()))),
        "step": np.concatenate(list(steps.values())),
        "loss": np.concatenate([info.loss for info in infos.values()]),
        "step_size": np.concatenate([info.step_size for info in infos.values()]),
    }
    return {
        "dataset": settings.facts(dataset),
        "bottom": bottom.proved_bottom(objective, dataset),
        "rows": [row(name, progress, objective, dataset) for name, progress in runs.items()],
        "losses": {name: losses(progress) for name, progress in runs.items()},
        "reg": config.reg,
        "num_steps": T,
        "trace": trace,
    }


def losses(progress: Progress) -> np.ndarray:
    """Return the loss of each step; last, of a run that diverged, that by which it was seen."""
    if progress.divergence is None:
        return progress.info.loss
    return np.append(progress.info.loss, np.nan_to_num(progress.divergence.loss, nan=np.inf))


def row(name: str, progress: Progress, objective: Objective, dataset: Dataset) -> dict[str, Any]:
    """Return what the table says of one run."""
    W = progress.state.params
    loss = recipes.loss(objective, W, dataset.train)
    return {
        "name": name,
        "loss": loss,
        "lowest_loss": min(float(np.min(progress.info.loss)), loss),
        "train_accuracy": recipes.accuracy(W, dataset.train),
        "test_accuracy": recipes.accuracy(W, dataset.test),
        "seconds": float(progress.seconds[-1]),
        "gradient_evaluations": int(progress.info.gradient_evaluations.sum()),
        "outcome": progress.divergence.describe() if progress.divergence else "finished",
    }


def plot(arrays: dict[str, Any]) -> Figures:
    losses, known = arrays["losses"], arrays["bottom"]
    above = {row["name"]: losses[row["name"]] - known["dual"] for row in arrays["rows"]}
    lost = {row["name"] for row in arrays["rows"] if row["outcome"] != "finished"}
    kept = [values for name, values in above.items() if name not in lost] or list(above.values())
    low = min(float(values.min()) for values in kept)
    high = TOP * max(float(values[0]) for values in kept)
    # What is above the frame is only to leave it: numbers near the largest would overflow.
    above = {name: np.minimum(values, 10 * high) for name, values in above.items()}
    proof = known["primal"] - known["dual"]
    figure = draw.lines(
        {
            f"{name} (diverges)" if name in lost else name: (2 * np.arange(1, len(v) + 1), v)
            for name, v in above.items()
        },
        horizontal={"what the proof leaves open": proof} if np.isfinite(proof) else {},
        xlabel="passes over the data (loss and gradient: two a step)",
        ylabel="objective above the proved bottom", ylim=(0.5 * min(low, proof), high), **LOG_LOG,
        title="Schedules and momentum",
    )  # fmt: skip
    picture = Picture(
        figure,
        "Down is better, and below the dotted line the proof cannot tell. Look at the right end, "
        "where the curves part: only there is seen what a schedule's short steps gain or cost. A "
        "run whose steps are too long leaves the picture at the top.",
        "Line chart on logarithmic axes of the objective above the proved bottom against passes, "
        "for each schedule and for momentum; the divergent run leaves at the top.",
    )
    return {"schedules_and_momentum": picture}


def diverged(arrays: dict[str, Any]) -> list[str]:
    rows = [row for row in arrays["rows"] if row["name"] != "too large"]
    return [f"{row['name']} {row['outcome']}" for row in rows if row["outcome"] != "finished"]


def report(arrays: dict[str, Any]) -> str:
    header = (
        "run | last objective {:.4g} | lowest objective {:.4g} | training accuracy, % {:.2%} | "
        "test accuracy, % {:.2%} | outcome"
    )
    names = "name", "loss", "lowest_loss", "train_accuracy", "test_accuracy", "outcome"
    shown = itemgetter(*names)
    finished = [row for row in arrays["rows"] if row["outcome"] == "finished"]
    found = "No run finished: every step size was too large for these data."
    if finished:
        best = min(finished, key=itemgetter("loss"))
        share = best["loss"] / arrays["bottom"]["dual"] - 1 if arrays["bottom"]["dual"] > 0 else 0
        found = (
            f"The lowest end is that of “{best['name']}”: objective {best['loss']:.4g} after "
            f"{arrays['num_steps']:,} steps"
            + (f", at most {100 * share:.1f} % above the minimum" if share else "")
            + f", and {100 * best['test_accuracy']:.2f} % of the test examples right."
        )
    return (
        f"{found}\n\n"
        f"reg is {arrays['reg']:g}. {bottom.described(arrays['bottom'])}\n\n"
        "[[schedules_and_momentum]]\n\n"
        "A run that diverges keeps its last W with a finite loss.\n\n"
        + table(header, map(shown, arrays["rows"]))
    )


if __name__ == "__main__":
    runner.main(__name__)
