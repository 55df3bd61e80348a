"""Is the gradient right, and what does a finite difference get wrong?

    python -m experiments.gradient_check --dataset cifar10

First the U-curve: the error of a central difference against its step h, in float32 and float64,
with its two causes apart: crossed kinks (the exact difference, summed termwise, against the slope)
and rounding (the computed difference against the exact one), and beside them what `error_budget`
predicts. Then the verdict on every coordinate and every example against h, for raw, centred and
scaled pixels, beside the alarms of the naive check (relative error above 1e-2, "probably wrong").
Then what each checker says of a correct gradient and of three mistakes.

Expected: rounding falls as 1/h and crossings rise with h, so float64 is at its best with a smaller
h than float32 and by many orders of magnitude better; the naive check calls correct coordinates
wrong, the more the larger h, `check_gradient` none. A tenth of a minute on digits; CIFAR-10 takes
minutes on two cores.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from tqdm import tqdm

from experiments import common, reporting
from jaxsvm import (
    Data,
    Objective,
    analytic_gradient,
    check_gradient,
    numerical_gradient,
    termwise_numerical_gradient,
)
from jaxsvm import plot as draw
from jaxsvm.core import features
from jaxsvm.gradients import check_directions, error_budget, relative_error, suggest_h

PIXELS = ("raw", "centred", "scaled")

_analytic = jax.jit(analytic_gradient)
_termwise = jax.jit(termwise_numerical_gradient)
_budget = jax.jit(error_budget)


@dataclass(frozen=True)
class Config(common.Config):
    """Measure finite differences against exact ones. One W is drawn: seed 0."""

    sampled: int = 32
    """Coordinates whose difference is also taken of evaluated objectives, for the U-curve."""
    num: int = 9
    """How many steps h."""
    scale: float = 1.0
    """Standard deviation of the scores: W is divided by the root mean square of ‖x‖."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.at_least("sampled", self.sampled, 1)
        common.at_least("num", self.num, 2)
        common.positive("scale", self.scale)


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset)
    classes, D = len(dataset.class_names), dataset.train.X.shape[1]
    draw_of_W = config.scale * np.random.default_rng(0).standard_normal((classes, D))
    W = draw_of_W / length(dataset.train)
    curves = {}
    for x64 in (False, True):
        with jax.enable_x64(x64):
            dtype = jnp.float64 if x64 else jnp.float32
            data = Data(features.astype(dataset.train.X, dtype), dataset.train.y)
            curves["float64" if x64 else "float32"] = u_curve(jnp.asarray(W, dtype), data, config)
    steps = np.geomspace(1e-7, 1e-1, 5)
    verdicts = {}
    for kind in tqdm(PIXELS, desc="verdicts", disable=None, leave=False, delay=1):
        part = common.load(config.dataset, **pixels(kind, config.dataset)).train
        W_kind = jnp.asarray(draw_of_W / length(part), jnp.float32)
        verdicts[kind] = count_verdicts(W_kind, part, steps)
    return {
        "coordinates": W.size,
        "examples": dataset.train.y.shape[0],
        "curves": curves,
        "verdict_steps": steps,
        "verdicts": verdicts,
        "checkers": compare_checkers(),
    }


def length(data: Data) -> float:
    """Return the root mean square of ‖x‖."""
    return float(jax.jit(lambda X: jnp.sqrt(jnp.mean(features.dense(X) ** 2) * X.shape[1]))(data.X))


def pixels(kind: str, dataset: str) -> dict[str, Any]:
    """Return the options of `load_dataset` that make raw, centred or centred and scaled pixels."""
    return {
        "center": kind != "raw",
        "scale": common.unit_scale(dataset) if kind == "scaled" else 1.0,
    }


def u_curve(W: Any, data: Data, config: Config) -> dict[str, Any]:
    """Return the errors (root mean square) of sampled central differences against h, by cause."""
    objective = Objective(reg=0.01)
    some = jnp.linspace(0, W.size - 1, min(config.sampled, W.size)).astype(jnp.int32)

    @jax.jit
    def evaluated(W: Any, data: Data, h: Any) -> Any:
        return numerical_gradient(
            lambda steps: objective(W.ravel().at[some].add(steps).reshape(W.shape), data),
            jnp.zeros(len(some), W.dtype),
            h=h,
            batch_size=16,
        )

    best = suggest_h(objective, W, data)
    h = jnp.asarray(best * np.logspace(-3, 3, config.num), W.dtype)
    exact = _analytic(objective, W, data).ravel()[some]
    found: dict[str, list[float]] = {"measured": [], "crossing": [], "rounding": []}
    for step in tqdm(h, desc=f"U-curve, {W.dtype}", disable=None, leave=False, delay=1):
        black_box = evaluated(W, data, step)
        termwise = _termwise(objective, W, data, h=step).ravel()[some]
        for name, error in (
            ("measured", black_box - exact),
            ("crossing", termwise - exact),
            ("rounding", black_box - termwise),
        ):
            found[name].append(float(jnp.sqrt(jnp.mean(error**2))))
    budget = _budget(objective, W, data, h)
    return {name: np.array(values) for name, values in found.items()} | {
        "h": np.asarray(h),
        "predicted_crossing": np.asarray(budget.crossing),
        "predicted_rounding": np.asarray(budget.rounding),
        "suggested": best,
    }


def count_verdicts(W: Any, data: Data, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many coordinates are smooth, kink and wrong, and what the naive check says."""
    objective = Objective(reg=0.01)
    rows = []
    for h in steps:
        check = check_gradient(objective, W, data, h=float(h))
        naive = np.asarray(
            relative_error(jnp.asarray(check.gradient), jnp.asarray(check.numerical))
        )
        rows.append(
            (check.num_smooth, check.num_kink, check.num_wrong,
             int(np.sum(naive > 1e-2)), int(np.sum(naive > 1e-4)))
        )  # fmt: skip
    names = ("smooth", "kink", "wrong", "naive_wrong", "naive_doubtful")
    return dict(zip(names, np.array(rows).T, strict=True))


def compare_checkers() -> dict[str, Any]:
    """Return how often each checker raises an alarm, in float64, at the checkers' own defaults.

    Two functions, each at random points with kinks near and at the point: the SVM on integer data
    with ties, and a network with one hidden layer of relu units, one of them on its kink.
    """
    trials = 2
    alarms: dict[str, list[list[int]]] = {}
    mutations: dict[str, Callable[[Any], Any]] = {
        "correct": lambda g: g,
        "wrong sign": lambda g: -g,
        "shifted": lambda g: jnp.roll(g, 1),
        "3 % off": lambda g: 1.03 * g,
    }
    with jax.enable_x64(True):
        for seed in range(trials):
            for name, function, point, svm in (_svm(seed), _network(seed)):
                f = jax.jit(function)
                g = jax.grad(f)(point)
                for column, mutate in enumerate(mutations.values()):
                    wrong = mutate(g)
                    key = jax.random.fold_in(jax.random.key(seed), column)
                    claimed = _claiming(f, wrong)
                    told = {
                        "jax.test_util.check_grads": _raises(
                            jax.test_util.check_grads, claimed, (point,), 1
                        ),
                        "chex.assert_numerical_grads": _raises(
                            chex.assert_numerical_grads, claimed, (point,), 1
                        ),
                        "check_directions": check_directions(f, point, wrong, key=key).num_wrong
                        > 0,
                    }
                    if svm is not None:
                        told["check_gradient"] = (
                            check_gradient(*svm, gradient=wrong.reshape(svm[1].shape)).num_wrong > 0
                        )
                    for checker, alarm in told.items():
                        row = alarms.setdefault(f"{name}: {checker}", [[] for _ in mutations])
                        row[column].append(int(alarm))
    return {
        "trials": trials,
        "columns": list(mutations),
        "names": list(alarms),
        "alarms": np.array([[sum(cell) for cell in row] for row in alarms.values()]),
    }


def _svm(seed: int) -> tuple[str, Callable[[Any], Any], Any, Any]:
    rng = np.random.default_rng(seed)
    X = jnp.asarray(rng.integers(-2, 3, (40, 6)).astype(float)).at[:, -1].set(1.0)
    data = Data(X, jnp.asarray(rng.integers(0, 4, 40), jnp.int32))
    W = jnp.asarray(rng.integers(-2, 3, (4, 6)).astype(float))
    objective = Objective(reg=0.1)
    return (
        "SVM with ties",
        lambda w: objective(w.reshape(4, 6), data),
        W.ravel(),
        (objective, W, data),
    )


def _network(seed: int) -> tuple[str, Callable[[Any], Any], Any, Any]:
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.standard_normal((20, 4))).at[0].set(0.0)

    def f(p: Any) -> Any:
        hidden = jax.nn.relu(x @ p[:32].reshape(4, 8) + p[32:40][None, :])
        return jnp.mean((hidden @ p[40:] - 1.0) ** 2)

    # At the input 0 the unit without a bias sits on its kink.
    return "relu network", f, jnp.asarray(rng.standard_normal(48)).at[32].set(0.0), None


def _claiming(f: Callable[[Any], Any], gradient: Any) -> Callable[[Any], Any]:
    """Return f with ``gradient`` for its derivative, which these checkers ask autodiff for."""
    claimed = jax.custom_jvp(f)
    claimed.defjvp(lambda primals, tangents: (f(primals[0]), jnp.vdot(gradient, tangents[0])))
    return claimed


def _raises(check: Callable[..., Any], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except AssertionError:
        return True
    return False


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    figures = {}
    for dtype, curve in arrays["curves"].items():
        series = {
            "measured": (curve["h"], curve["measured"]),
            "crossed kinks": (curve["h"], curve["crossing"]),
            "rounding": (curve["h"], curve["rounding"]),
            "crossings, predicted": (curve["h"], curve["predicted_crossing"]),
            "rounding, predicted": (curve["h"], curve["predicted_rounding"]),
        }
        # A logarithmic axis has no place for "no kink crossed".
        shown = {k: (x, np.where(y > 0, y, np.nan)) for k, (x, y) in series.items()}
        figures[f"u_curve_{dtype}"] = draw.lines(
            shown,
            xlabel="step h, in units of W",
            ylabel="error of a slope (root mean square)",
            title=f"Central differences in {dtype}: what goes wrong, by cause",
            xscale="log",
            yscale="log",
            marker="o",
            vertical={"suggested h": curve["suggested"]},
        )
    steps, total = arrays["verdict_steps"], arrays["coordinates"]
    figures["alarms"] = draw.lines(
        {
            f"naive check, {kind} pixels": (steps, 100 * counts["naive_wrong"] / total)
            for kind, counts in arrays["verdicts"].items()
        }
        | {
            "ours, all three": (
                steps,
                100 * np.max([v["wrong"] for v in arrays["verdicts"].values()], axis=0) / total,
            )
        },
        xlabel="step h, in units of W",
        ylabel="correct coordinates called wrong, %",
        title="False alarms on a correct gradient",
        xscale="log",
        marker="o",
    )
    return [draw.save_figure(figure, path / f"{name}.png") for name, figure in figures.items()]


def report(arrays: dict[str, Any]) -> str:
    steps, total, told = arrays["verdict_steps"], arrays["coordinates"], arrays["checkers"]
    counts = reporting.table(
        ("pixels", "h", "smooth", "kink", "wrong", "naive: error > 1e-4", "naive: > 1e-2"),
        [
            (kind, f"{h:.1g}", *(f"{v[name][i]:,}" for name in
             ("smooth", "kink", "wrong", "naive_doubtful", "naive_wrong")))
            for kind, v in arrays["verdicts"].items()
            for i, h in enumerate(steps)
        ],
    )  # fmt: skip
    best = reporting.table(
        ("precision", "suggested h", "least error measured", "at h", "error at the suggested h"),
        [
            (dtype, f"{c['suggested']:.2g}", f"{c['measured'].min():.2g}",
             f"{c['h'][c['measured'].argmin()]:.2g}", f"{c['measured'][len(c['h']) // 2]:.2g}")
            for dtype, c in arrays["curves"].items()
        ],
    )  # fmt: skip
    checkers = reporting.table(
        ("function: checker", *told["columns"]),
        [
            (name, *(f"{int(n)} of {told['trials']}" for n in row))
            for name, row in zip(told["names"], told["alarms"], strict=True)
        ],
    )
    return (
        f"Every one of {total:,} coordinates, summed over all {arrays['examples']:,} examples. The "
        "gradient is the closed form, so every alarm is a false one:\n\n"
        f"{counts}\n\n"
        "The error of a central difference falls with h while rounding rules and rises when kinks "
        f"are crossed:\n\n{best}\n\n"
        "How often each checker raises an alarm, at its defaults in float64: on the correct "
        f"gradient it should never, on each mistake always.\n\n{checkers}\n"
    )


if __name__ == "__main__":
    common.main(sys.modules[__name__])
