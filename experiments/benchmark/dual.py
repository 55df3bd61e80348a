"""The certified solver: seconds to a proved gap, in units of one loss and gradient, and its peers.

On "full" the data is CIFAR-10, all training examples, centred and divided by 128, because the
difficulty of an optimum depends on the data; on "tiny" it is the digits. There each method runs
once, after a short run to compile; the peer's name says what it reached.

1. `solve` to several gaps.
2. The same objective by mini-batch descent, Adam and L-BFGS, the best of a few step sizes each:
   how far above the proved bottom they are against seconds, in ``dual_suboptimality.png``.
3. A table of `solve` beside scikit-learn, liblinear, SnapML, dual-fw-svm and ReHLine
   (`pip install liblinear-multicore snapml dual-fw-svm rehline`; what is missing is left out), on
   the digits too: Weston-Watkins, Crammer-Singer, one-vs-rest and its square, at three penalties.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxsvm
from experiments.benchmark import svm_table
from experiments.benchmark.harness import Config, Row, compare, row_of, run_steps
from experiments.benchmark.svm_table import accurate, load, solver
from experiments.shared.figures import LOG_LOG
from experiments.shared.recipes import zero_weights
from experiments.shared.timing import ready, timed
from jaxsvm import Dataset, Objective, Optimizer
from jaxsvm import plot as draw

PART = "dual"
FULL = ((1.0, 1e-4), (1e-2, 1e-2), (1e-2, 1e-3), (1e-3, 1e-2))
TINY = ((1.0, 0.5),)
REG = 1e-2
OBJECTIVE = Objective(reg=REG)
DESCENTS = f"hinge, reg {REG:g}, as far as it gets"


def run(config: Config) -> list[Row]:
    name = "cifar10" if config.full else "digits"
    data = load(name)
    both = jax.jit(jax.value_and_grad(OBJECTIVE))
    peers = {"jaxsvm": partial(both, zero_weights(data), data.train)}
    rows = compare(PART, "loss and gradient, all data", peers, config)
    unit = rows[0].median
    for reg, tolerance in FULL if config.full else TINY:
        solution, seconds = solve(Objective(reg=reg), data, tolerance)
        name = (
            f"jaxsvm.solve: gap {solution.gap / solution.primal:.1e} in {seconds / unit:.0f} "
            f"gradients, {tested(solution.W, data)}"
        )
        rows.append(once(f"hinge, reg {reg:g}, to a gap of {tolerance:g}", name, seconds))
    return rows + descents(data, config) + svm_table.run(PART, config)


def once(work: str, peer: str, seconds: float) -> Row:
    return row_of(PART, work, peer, [seconds])


def tested(W: Any, data: Dataset) -> str:
    """Return what a peer's name says of W."""
    return accurate(float(jaxsvm.accuracy(W, data.test)))


def solve(objective: Objective, data: Dataset, tolerance: float) -> tuple[jaxsvm.Solution, float]:
    """Return a solution and its seconds, without compilation."""
    return timed(solver(objective, data, tolerance))


class Method(NamedTuple):
    """A descent without a certificate: ``make(schedule of the step size)``, and what it tries."""

    make: Callable[[optax.Schedule], Optimizer]
    step_sizes: tuple[float, ...]
    lengths: tuple[int, ...]


class End(NamedTuple):
    """Where a descent ended."""

    loss: float
    seconds: float
    step_size: float
    W: Any


def methods(config: Config) -> dict[str, Method]:
    def batches(falling: optax.Schedule) -> Optimizer:
        return jaxsvm.minibatch_gradient_descent(OBJECTIVE, step_size=falling)

    def adam(falling: optax.Schedule) -> Optimizer:
        return jaxsvm.from_optax(optax.adam(falling), OBJECTIVE, batch_size=256)

    def lbfgs(_: optax.Schedule) -> Optimizer:
        return jaxsvm.from_optax(optax.lbfgs(), OBJECTIVE)

    lengths = (500, 2000, 8000) if config.full else (3,)
    return {
        "jaxsvm, mini-batch descent": Method(batches, (1e-3, 3e-3, 1e-2), lengths),
        "optax.adam, mini-batches": Method(adam, (1e-4, 3e-4, 1e-3), lengths),
        "optax.lbfgs": Method(lbfgs, (0.0,), (15, 60) if config.full else (3,)),
    }


def descend(method: Method, step_size: float, steps: int, data: Dataset, seed: int) -> End:
    """Run a descent from zeros and time it, without compilation."""
    falling = optax.linear_schedule(step_size, 0.0, steps)
    arguments = {"key": jax.random.key(seed), "params": zero_weights(data), "data": data.train}
    static = {"optimizer": method.make(falling), "num_steps": steps}
    (state, _), seconds = timed(ready(run_steps, static=static, **arguments))
    return End(float(OBJECTIVE(state.params, data.train)), seconds, step_size, state.params)


def descents(data: Dataset, config: Config) -> list[Row]:
    """The hinge objective by methods without a certificate: objective against seconds."""
    tolerance = 1e-3 if config.full else 0.5
    solution, _ = solve(OBJECTIVE, data, tolerance)
    bottom, history = solution.dual, solution.history
    curves: dict[str, Any] = {"jaxsvm.solve": (history.seconds, history.primal - bottom)}
    name = (
        f"jaxsvm.solve: objective {solution.primal:.4f}, minimum at least {bottom:.4f}, "
        f"{tested(solution.W, data)}"
    )
    rows = [once(DESCENTS, name, float(history.seconds[-1]))]
    for name, method in methods(config).items():
        ends = []
        for steps in method.lengths:
            tried = [descend(method, size, steps, data, config.seed) for size in method.step_sizes]
            end = min(tried, key=lambda end: end.loss)
            how = f"{steps} steps of {end.step_size:g}" if end.step_size else f"{steps} steps"
            reached = f"{name}, {how}: objective {end.loss:.4f}, {tested(end.W, data)}"
            rows.append(once(DESCENTS, reached, end.seconds))
            ends.append((end.seconds, end.loss - bottom))
        curves[name] = tuple(np.array(column) for column in zip(*ends, strict=True))
    rows.append(batches_first(data, tolerance, bottom, curves, config))
    figure = draw.lines(
        curves, xlabel="seconds, without compilation", ylabel="objective above the proved bottom",
        title=f"How far above the bottom, hinge loss, reg {REG:g}", marker="o", **LOG_LOG,
    )  # fmt: skip
    draw.save_figure(figure, config.out / "dual_suboptimality.png")
    return rows


def batches_first(
    data: Dataset, tolerance: float, bottom: float, curves: dict[str, Any], config: Config
) -> Row:
    """A few hundred mini-batch steps, then the proof from where they end; add its curve."""
    method = methods(config)["jaxsvm, mini-batch descent"]
    steps = method.lengths[0]
    for _ in range(2):  # the first to compile
        end = descend(method, 1e-2, steps, data, seed=0)
        warm = jaxsvm.solve(OBJECTIVE, data.train, gap_tolerance=tolerance, start=end.W)
    seconds = end.seconds + warm.history.seconds
    curves[f"{steps} mini-batch steps, then solve"] = seconds, warm.history.primal - bottom
    name = f"{steps} mini-batch steps, then jaxsvm.solve: objective {warm.primal:.4f}"
    return once(DESCENTS, name, float(seconds[-1]))
