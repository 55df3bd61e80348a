"""What do the step size's schedule and momentum change in full-batch descent?

    python -m experiments.gradient_descent --dataset cifar10

Vanilla gradient descent with a constant step size, with the notes' three ways of lowering it (step
decay, exponential, 1/t) and a straight line to zero, then with momentum and with Nesterov's. All
start at W = 0 and take the same number of steps, each one loss and one gradient of all the data.
The last run shows a step size that is far too large: the penalty makes it diverge, and the run
stops where the loss is no longer finite.

Expected on digits: the best training accuracy is above 99 %. A few seconds; minutes on CIFAR-10.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import common, reporting
from jaxsvm import Data, Objective, Optimizer, gradient_descent
from jaxsvm import plot as draw
from jaxsvm.optimizers import schedules as schedule

RUNS = (
    "constant", "step decay", "exponential", "1/t", "linear to 0", "momentum", "Nesterov",
    "too large",
)  # fmt: skip


@dataclass(frozen=True)
class Config(common.Config):
    """Follow the gradient of all the data. Nothing is random: --seeds changes nothing."""

    num_steps: int | None = None
    """Steps of each run; by default 1000 on digits and 150 on anything larger."""
    step_size: float | None = None
    """At the first step; by default 0.3 on digits and 0.003 on anything larger."""
    momentum: float = 0.9
    """For the two runs with momentum; their step size is (1 - momentum) times the others'."""
    reg: float = 1e-3
    """The penalty's weight."""
    too_large: float = 1e4
    """The step size of the run that is to diverge."""
    runs: tuple[str, ...] = RUNS
    """Which runs to make."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps is not None:
            common.at_least("num_steps", self.num_steps, 1)
        if self.step_size is not None:
            common.positive("step_size", self.step_size)
        common.positive("too_large", self.too_large)
        common.at_least("reg", self.reg, 0)
        if not 0 < self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum}: expected a number between 0 and 1")
        common.one_of("runs", self.runs, RUNS)


class SweptState(NamedTuple):
    """A descent's state with the settings that a sweep changes."""

    inner: Any
    settings: tuple[Array, Array]

    @property
    def params(self) -> Array:
        """Where the descent stands."""
        return self.inner.params


def swept(objective: Objective, *, nesterov: bool) -> Optimizer:
    """Return gradient descent that starts from (W, step sizes (T,), momentum).

    What differs between the runs is part of the state, so one compiled program serves them all.
    """

    def descent(settings: tuple[Array, Array]) -> Optimizer:
        table, momentum = settings
        return gradient_descent(
            objective, step_size=lambda t: table[t], momentum=momentum, nesterov=nesterov
        )

    def init(start: tuple[Array, Array, Array], data: Data) -> SweptState:
        W, table, momentum = start
        settings = (table, momentum)
        return SweptState(descent(settings).init(W, data), settings)

    def step(key: Array, state: SweptState, data: Data) -> tuple[SweptState, Any]:
        inner, info = descent(state.settings).step(key, state.inner, data)
        return SweptState(inner, state.settings), info

    return Optimizer(init, step)


def run(config: Config) -> dict[str, Any]:
    small = config.dataset == "digits"
    T = config.num_steps or (1000 if small else 150)
    eta = config.step_size or (0.3 if small else 0.003)
    dataset = common.load(config.dataset, scale=common.unit_scale(config.dataset))
    objective = Objective(reg=config.reg)
    W = jnp.zeros((len(dataset.class_names), dataset.train.X.shape[1]))
    slow = (1 - config.momentum) * eta
    variants: dict[str, tuple[schedule.Schedule, float]] = {
        "constant": (schedule.constant(eta), 0.0),
        "step decay": (schedule.step_decay(eta, factor=0.5, every=-(-T // 5)), 0.0),
        "exponential": (schedule.exponential_decay(eta, rate=5 / T), 0.0),
        "1/t": (schedule.inverse_decay(eta, rate=20 / T), 0.0),
        "linear to 0": (schedule.linear_decay(eta, num_steps=T), 0.0),
        "momentum": (schedule.constant(slow), config.momentum),
        "Nesterov": (schedule.constant(slow), config.momentum),
        "too large": (schedule.constant(config.too_large), 0.0),
    }
    plain, nesterov = swept(objective, nesterov=False), swept(objective, nesterov=True)
    key = jax.random.key(0)  # no step looks at it
    rows: list[dict[str, Any]] = []
    losses: dict[str, np.ndarray] = {}
    trace: dict[str, list[Any]] = {"run": [], "step": [], "loss": [], "step_size": []}
    for name in config.runs:
        step_size, momentum = variants[name]
        table = jax.vmap(step_size)(jnp.arange(T))
        progress = common.progress_run(
            nesterov if name == "Nesterov" else plain,
            key,
            (W, table, jnp.asarray(momentum)),
            dataset.train,
            T,
            description=name,
        )
        info, final = progress.info, progress.state.params
        loss, train_accuracy = common.evaluate(objective, final, dataset.train)
        losses[name] = info.loss
        trace["run"] += [name] * len(info.loss)
        trace["step"] += range(len(info.loss))
        trace["loss"] += info.loss.tolist()
        trace["step_size"] += info.step_size.tolist()
        rows.append(
            {
                "name": name,
                "loss": loss,
                "lowest_loss": min(float(np.min(info.loss)), loss),
                "train_accuracy": train_accuracy,
                "test_accuracy": common.evaluate(objective, final, dataset.test)[1],
                "seconds": float(progress.seconds[-1]),
                "gradient_evaluations": int(info.gradient_evaluations.sum()),
                "outcome": progress.divergence.describe() if progress.divergence else "finished",
            }
        )
    return {"rows": rows, "losses": losses, "reg": config.reg, "num_steps": T, "trace": trace}


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    finished = {
        row["name"]: (np.arange(1, len(loss) + 1), loss)
        for row, loss in zip(arrays["rows"], arrays["losses"].values(), strict=True)
        if row["outcome"] == "finished"
    }
    figure = draw.lines(
        finished,
        xlabel="steps (gradients of all the data)",
        ylabel="training objective",
        title="Gradient descent: schedules and momentum",
        xscale="log",
        yscale="log",
    )
    return [draw.save_figure(figure, path / "schedules_and_momentum.png")]


def report(arrays: dict[str, Any]) -> str:
    cells = [
        (
            row["name"],
            f"{row['loss']:.4g}",
            f"{row['lowest_loss']:.4g}",
            f"{100 * row['train_accuracy']:.2f}",
            f"{100 * row['test_accuracy']:.2f}",
            f"{row['seconds']:.2f}",
            row["outcome"],
        )
        for row in arrays["rows"]
    ]
    header = (
        "run", "last objective", "lowest objective", "training accuracy, %", "test accuracy, %",
        "seconds", "outcome",
    )  # fmt: skip
    return (
        f"{arrays['num_steps']} steps from W = 0, reg {arrays['reg']:g}. A step costs one loss and "
        "one gradient of all the training data. A run that diverges keeps its last W with a finite "
        "loss.\n\n" + reporting.table(header, cells)
    )


if __name__ == "__main__":
    common.main(sys.modules[__name__])
