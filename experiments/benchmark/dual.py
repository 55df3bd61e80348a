"""The certified solver: seconds to a proved gap, in units of one loss and gradient, and its peers.

On "full" the data is CIFAR-10, all training examples, centred and divided by 128, because how hard
an optimum is to reach depends on the data. Each run is one run, after a short one to compile; the
peer's name says what it reached.

1. `solve` to several gaps.
2. The same objective by mini-batch descent, Adam and L-BFGS, the best of a few step sizes each:
   how far above the proved bottom they are against seconds, in ``dual_suboptimality.png``.
3. One against rest, as scikit-learn and SnapML minimize it (`pip install snapml`; left out where
   it is missing), beside `solve`.
"""

import importlib.util
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.svm import LinearSVC

import jaxsvm
from experiments.benchmark.common import Config, Row, compare, problem
from jaxsvm import Data, Objective
from jaxsvm import plot as draw

PART = "dual"
FULL = ((1.0, 1e-4), (1e-2, 1e-2), (1e-2, 1e-3), (1e-3, 1e-2))
TINY = ((1.0, 0.5),)
REG = 1e-2


def run(config: Config) -> list[Row]:
    full = config.size == "full"
    train, test = _data(config)
    C = int(np.max(train.y)) + 1
    both = jax.jit(jax.value_and_grad(Objective(reg=REG)))
    W = jnp.zeros((C, train.X.shape[1]), jnp.float32)
    rows = compare(PART, "loss and gradient, all data", {"jaxsvm": lambda: both(W, train)}, config)
    unit = rows[0].median
    for reg, tolerance in FULL if full else TINY:
        solution, seconds = _solve(Objective(reg=reg), train, C, tolerance)
        name = (
            f"jaxsvm.solve: gap {solution.gap / solution.primal:.1e} in {seconds / unit:.0f} "
            f"gradients, test accuracy {100 * _accuracy(solution.W, test):.2f} %"
        )
        rows.append(_row(f"hinge, reg {reg:g}, to a gap of {tolerance:g}", name, seconds))
    rows += descents(train, test, C, config)
    return rows + one_vs_rest(train, test, C, config)


def descents(train: Data, test: Data, C: int, config: Config) -> list[Row]:
    """The hinge objective by methods without a certificate: objective against seconds."""
    full = config.size == "full"
    objective = Objective(reg=REG)
    tolerance = 1e-3 if full else 0.5
    solution, _ = _solve(objective, train, C, tolerance)
    history = solution.history
    curves: dict[str, Any] = {"jaxsvm.solve": (history.seconds, history.primal - solution.dual)}
    start = jnp.zeros((C, train.X.shape[1]), jnp.float32)
    descend = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))
    rows = []

    def batches(step_size: float, steps: int) -> Any:
        falling = jaxsvm.linear_decay(step_size, num_steps=steps)
        return jaxsvm.minibatch_gradient_descent(objective, step_size=falling)

    def adam(step_size: float, steps: int) -> Any:
        falling = optax.linear_schedule(step_size, 0.0, steps)
        return jaxsvm.from_optax(optax.adam(falling), objective, batch_size=256)

    def lbfgs(_: float, steps: int) -> Any:
        return jaxsvm.from_optax(optax.lbfgs(), objective)

    lengths = (500, 2000, 8000) if full else (3,)
    peers: dict[str, tuple[Any, tuple[float, ...], tuple[int, ...]]] = {
        "jaxsvm, mini-batch descent": (batches, (1e-3, 3e-3, 1e-2), lengths),
        "optax.adam, mini-batches": (adam, (1e-4, 3e-4, 1e-3), lengths),
        "optax.lbfgs": (lbfgs, (0.0,), (15, 60) if full else (3,)),
    }
    for name, (make, step_sizes, each) in peers.items():
        points = []
        for steps in each:
            best, took = (np.inf, start, 0.0), 0.0
            for step_size in step_sizes:
                optimizer, key = make(step_size, steps), jax.random.key(config.seed)
                call = descend.lower(optimizer, key, start, train, num_steps=steps).compile()
                began = time.perf_counter()
                state, _ = jax.block_until_ready(call(key, start, train))
                took = time.perf_counter() - began
                value = float(objective(state.params, train))
                if value < best[0]:
                    best = value, state.params, step_size
            points.append((took, best[0] - solution.dual))
            share = f"test accuracy {100 * _accuracy(best[1], test):.2f} %"
            how = f"{steps} steps of {best[2]:g}" if best[2] else f"{steps} steps"
            reached = f"{name}, {how}: objective {best[0]:.4f}, {share}"
            rows.append(_row(f"hinge, reg {REG:g}, as far as it gets", reached, took))
        curves[name] = tuple(np.array(column) for column in zip(*points, strict=True))
    # Batches are the better start: a few hundred steps, then the proof.
    first = descend.lower(
        batches(1e-2, lengths[0]), jax.random.key(0), start, train, num_steps=lengths[0]
    ).compile()
    for _ in range(2):  # once to compile
        began = time.perf_counter()
        state, _ = jax.block_until_ready(first(jax.random.key(0), start, train))
        took = time.perf_counter() - began
        warm = jaxsvm.solve(objective, train, gap_tolerance=tolerance, start=state.params)
    curves[f"{lengths[0]} mini-batch steps, then solve"] = (
        took + warm.history.seconds,
        warm.history.primal - solution.dual,
    )
    rows.append(
        _row(
            f"hinge, reg {REG:g}, as far as it gets",
            f"{lengths[0]} mini-batch steps, then jaxsvm.solve: objective {warm.primal:.4f}",
            took + float(warm.history.seconds[-1]),
        )
    )
    reached = (
        f"jaxsvm.solve: objective {solution.primal:.4f}, minimum at least {solution.dual:.4f}, "
        f"test accuracy {100 * _accuracy(solution.W, test):.2f} %"
    )
    seconds = float(history.seconds[-1])
    figure = draw.lines(
        curves,
        xlabel="seconds, without compilation",
        ylabel="objective above the proved bottom",
        title=f"How far above the bottom, hinge loss, reg {REG:g}",
        xscale="log",
        yscale="log",
        marker="o",
    )
    config.out.mkdir(parents=True, exist_ok=True)
    draw.save_figure(figure, config.out / "dual_suboptimality.png")
    return [_row(f"hinge, reg {REG:g}, as far as it gets", reached, seconds), *rows]


def one_vs_rest(train: Data, test: Data, C: int, config: Config) -> list[Row]:
    """All with one-against-rest hinges at the same reg: objective and accuracy against seconds."""
    objective = Objective(loss=jaxsvm.one_vs_rest_loss, reg=REG)
    work = f"one against rest, reg {REG:g}"
    N, full = len(train.y), config.size == "full"

    def row(name: str, W: Any, seconds: float) -> Row:
        W = jnp.asarray(W, jnp.float32)
        reached = f"objective {float(objective(W, train)):.4f}"
        return _row(
            work, f"{name}: {reached}, test accuracy {100 * _accuracy(W, test):.2f} %", seconds
        )

    rows = []
    for tolerance in (1e-2, 1e-3) if full else (0.5,):
        solution, seconds = _solve(objective, train, C, tolerance)
        rows.append(row(f"jaxsvm.solve to a gap of {tolerance:g}", solution.W, seconds))
    X, y = np.asarray(train.X, np.float32), np.asarray(train.y)
    # liblinear's and SnapML's λ/2·‖w‖² + Σ is our reg·‖w‖² + mean.
    peers: dict[str, Callable[[], Any]] = {
        "sklearn SGDClassifier, 5 passes": lambda: SGDClassifier(
            alpha=2 * REG, max_iter=5, tol=None, fit_intercept=False, n_jobs=2, random_state=0
        ).fit(X, y),
        "sklearn LinearSVC, 5 passes": lambda: LinearSVC(
            C=1 / (2 * REG * N), loss="hinge", max_iter=5, fit_intercept=False, random_state=0
        ).fit(X, y),
    }
    if importlib.util.find_spec("snapml"):
        import snapml

        def snap(passes: int, weights: str | None) -> Any:
            model = snapml.SupportVectorMachine(
                regularizer=2 * REG * N, max_iter=passes, n_jobs=2, fit_intercept=False, tol=0.0,
                class_weight=weights,
            )  # fmt: skip
            return model.fit(X, y)

        for passes in (5, 20):
            peers[f"SnapML, {passes} passes"] = partial(snap, passes, None)
        peers["SnapML, 20 passes, classes balanced (another objective)"] = partial(
            snap, 20, "balanced"
        )
    else:
        print("SnapML is not installed (pip install snapml): left out")
    for name, fit in peers.items():
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a few passes are all it gets
            model = fit()
        seconds = time.perf_counter() - began
        rows.append(row(name, np.reshape(model.coef_, (C, -1)), seconds))
    return rows


def _accuracy(W: Any, data: Data) -> float:
    return float(jaxsvm.accuracy(W, data))


def _solve(
    objective: Objective, data: Data, C: int, tolerance: float
) -> tuple[jaxsvm.Solution, float]:
    """Return a solution and its seconds, without compilation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the short run is to end early
        short = replace(objective, reg=0.9 * float(objective.reg))
        jaxsvm.solve(short, data, gap_tolerance=tolerance, num_classes=C, max_passes=10)
    began = time.perf_counter()
    solution = jaxsvm.solve(objective, data, gap_tolerance=tolerance, num_classes=C)
    return solution, time.perf_counter() - began


def _data(config: Config) -> tuple[Data, Data]:
    """Return training and test data: CIFAR-10, or a tiny random problem."""
    if config.size == "full":
        found = jaxsvm.load_dataset("cifar10", scale=1 / 128, validation=0)
        return found.train, found.test
    _, _, train = problem(config)
    return train, train


def _row(work: str, peer: str, seconds: float) -> Row:
    return Row(PART, work, peer, seconds, seconds, seconds, 1)
