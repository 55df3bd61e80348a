"""The certified solver: seconds to a proved gap, in units of one loss and gradient, and its peers.

On "full" the data is CIFAR-10, all training examples, centred and divided by 128, because how hard
an optimum is to reach depends on the data. Each run is one run, after a short one to compile; the
peer's name says what it reached. SnapML (`pip install snapml`) takes part where it is installed.
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
from sklearn.linear_model import SGDClassifier

import jaxsvm
from experiments.benchmark.common import Config, Row, compare, problem
from jaxsvm import Data, Objective, Rows

PART = "dual"
FULL = ((1.0, 1e-4), (1e-2, 1e-2), (1e-2, 1e-3), (1e-3, 1e-2))
TINY = ((1.0, 0.5),)


def run(config: Config) -> list[Row]:
    train, test = _data(config)
    C = int(np.max(train.y)) + 1
    both = jax.jit(jax.value_and_grad(Objective(reg=1e-2)))
    W = jnp.zeros((C, train.X.shape[1]), jnp.float32)
    rows = compare(PART, "loss and gradient, all data", {"jaxsvm": lambda: both(W, train)}, config)
    unit = rows[0].median
    for reg, tolerance in FULL if config.size == "full" else TINY:
        solution, seconds = _solve(Objective(reg=reg), train, C, tolerance)
        name = (
            f"jaxsvm.solve: gap {solution.gap / solution.primal:.1e} in {seconds / unit:.0f} "
            f"gradients, test accuracy {100 * float(jaxsvm.accuracy(solution.W, test)):.2f} %"
        )
        rows.append(_row(f"hinge, reg {reg:g}, to a gap of {tolerance:g}", name, seconds))
    return rows + one_vs_rest(train, test, C, config)


def one_vs_rest(train: Data, test: Data, C: int, config: Config) -> list[Row]:
    """All with one-against-rest hinges at reg = 1e-2: objective and accuracy against seconds."""
    objective = Objective(loss=jaxsvm.one_vs_rest_loss, reg=1e-2)
    work = "one against rest, reg 0.01"
    N = len(train.y)

    def row(name: str, W: Any, seconds: float) -> Row:
        W = jnp.asarray(W, jnp.float32)
        reached = f"objective {float(objective(W, train)):.4f}"
        share = f"test accuracy {100 * float(jaxsvm.accuracy(W, test)):.2f} %"
        return _row(work, f"{name}: {reached}, {share}", seconds)

    rows = []
    for tolerance in (0.1, 0.01) if config.size == "full" else (0.5,):
        solution, seconds = _solve(objective, train, C, tolerance)
        rows.append(row(f"jaxsvm.solve to a gap of {tolerance:g}", solution.W, seconds))
    X, y = np.asarray(train.X, np.float32), np.asarray(train.y)
    # liblinear's λ/2·‖w‖² is our reg·‖w‖².
    peers: dict[str, Callable[[], Any]] = {
        "sklearn SGDClassifier, 5 passes": lambda: SGDClassifier(
            alpha=2e-2, max_iter=5, tol=None, fit_intercept=False, n_jobs=2, random_state=0
        ).fit(X, y)
    }
    if importlib.util.find_spec("snapml"):
        import snapml

        def snap(passes: int) -> Any:
            model = snapml.SupportVectorMachine(
                regularizer=2e-2 * N, max_iter=passes, n_jobs=2, fit_intercept=False, tol=0.0
            )
            return model.fit(X, y)

        for passes in (5, 20):
            peers[f"SnapML, {passes} passes"] = partial(snap, passes)
    else:
        print("SnapML is not installed (pip install snapml): left out")
    for name, fit in peers.items():
        began = time.perf_counter()
        model = fit()
        seconds = time.perf_counter() - began
        rows.append(row(name, np.reshape(model.coef_, (C, -1)), seconds))
    return rows


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
    """Return training and test data: CIFAR-10 as floats, or a tiny random problem."""
    if config.size == "full":
        found = jaxsvm.load_dataset("cifar10", scale=1 / 128, validation=0)
        train, test = found.train, found.test
    else:
        _, _, train = problem(config)
        test = train
    X = jaxsvm.features.dense(train.X) if isinstance(train.X, Rows) else train.X
    return Data(X, train.y), test


def _row(work: str, peer: str, seconds: float) -> Row:
    return Row(PART, work, peer, seconds, seconds, seconds, 1)
