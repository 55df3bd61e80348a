"""How far above the bottom does each strategy end? The race again, with a proved bottom under it.

    python -m experiments.certificate --dataset cifar10

`jaxsvm.solve` ends with a pair, a W and a dual bound, between which the minimum lies. A strategy's
objective less the bound is therefore at least its true distance above the bottom, and less the
solver's primal it is at most that: the band between. The same solver, warm from one reg to the
next, draws the curve for choosing reg; and its dual variables name the hardest training examples,
those whose hinges all still push.

Expected: the searches end orders of magnitude above the bottom and batches come closest. Some 15
seconds on digits on two cores, minutes on CIFAR-10.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments import common, race, reporting
from jaxsvm import Objective
from jaxsvm import plot as draw

STRATEGIES = (
    "random search", "local search", "gradient descent", "exact line search", "mini-batch",
    "Adam (optax), mini-batch",
)  # fmt: skip


@dataclass(frozen=True)
class Config(common.Config):
    """Certify the optimum and measure every strategy from it."""

    reg: float = 1e-2
    """The penalty's weight, > 0: without one there is no certificate."""
    gap_tolerance: float = 1e-2
    """Relative gap to prove."""
    regs: tuple[float, ...] = (10.0, 1.0, 0.3, 0.1, 0.05, 1e-2)
    """The regularization path."""
    search_steps: int = 200
    """Tries of each search."""
    full_steps: int = 50
    """Steps of those that see all the data."""
    batch_steps: int = 1000
    """Steps of those that see a batch of 256."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.positive("reg", self.reg)
        common.positive("gap_tolerance", self.gap_tolerance)
        for reg in self.regs:
            common.positive("regs", reg)
        for name in ("search_steps", "full_steps", "batch_steps"):
            common.at_least(name, getattr(self, name), 1)


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset, scale=common.unit_scale(config.dataset))
    data, objective = dataset.train, Objective(reg=config.reg)
    C = len(dataset.class_names)
    solution = jaxsvm.solve(
        objective, data, gap_tolerance=config.gap_tolerance, num_classes=C, max_passes=1000
    )
    entries = race.entries(
        race.Config(
            config.dataset,
            reg=config.reg,
            search_steps=config.search_steps,
            full_steps=config.full_steps,
            batch_steps=config.batch_steps,
        ),
        len(data.X),
    )
    start_key, key = jax.random.split(jax.random.key(0))
    start = 1e-3 * jax.random.normal(start_key, solution.W.shape)
    curves: dict[str, dict[str, np.ndarray]] = {}
    paths = {}
    for name in STRATEGIES:
        entry = entries[name]
        progress = common.progress_run(
            entry.optimizer, key, start, data, entry.num_steps, description=name, num_chunks=10
        )
        counts = progress.info.loss_evaluations + progress.info.gradient_evaluations
        passes = entry.share * np.append(0, np.cumsum(counts))
        paths[name] = progress.path
        curves[name] = {
            "passes": passes[progress.path_steps],
            "objective": np.array([common.evaluate(objective, W, data)[0] for W in progress.path]),
        }
    path = list(
        jaxsvm.regularization_path(
            Objective(),
            data,
            dataset.validation,
            regs=config.regs,
            gap_tolerance=0.02,
            max_passes=300,
        )
    )
    pressure = np.asarray(solution.dual_variables).sum(axis=1)
    hardest = np.argsort(-pressure, kind="stable")[:20]
    pixels = np.asarray(jaxsvm.core.features.dense(data.X[jnp.asarray(hardest)]))
    pixels = pixels[:, :-1].reshape(-1, *dataset.image_shape) / common.unit_scale(config.dataset)
    pixels = pixels + dataset.mean_image  # as they were before centring
    predicted = np.asarray(jaxsvm.predict(solution.W, data.X))[hardest]
    return {
        "strategies": curves,
        "reg": config.reg,
        "primal": solution.primal,
        "dual": solution.dual,
        "passes": solution.passes,
        "seconds": float(solution.history.seconds[-1]),
        "solver": solution.history._asdict(),
        "summary": str(solution),
        "test_accuracy": float(jaxsvm.accuracy(solution.W, dataset.test)),
        "path_reg": np.array([point.reg for point in path]),
        "path_accuracy": np.array([point.accuracy for point in path]),
        "path_test_accuracy": np.array(
            [float(jaxsvm.accuracy(point.solution.W, dataset.test)) for point in path]
        ),
        "path_gap": np.array([point.solution.gap / point.solution.primal for point in path]),
        "support": float(np.mean(pressure > 0)),
        "hardest": _unit(pixels),
        "hardest_names": [
            f"{dataset.class_names[int(data.y[i])]}, seen as {dataset.class_names[int(guess)]}"
            for i, guess in zip(hardest, predicted, strict=True)
        ],
        **_plane(objective, data, solution.W, paths),
    }


def _unit(pixels: np.ndarray) -> np.ndarray:
    """Bring pixels to [0, 1], all pictures alike; one channel loses its axis."""
    pictures = np.clip(pixels / pixels.max(), 0, 1)
    return pictures[..., 0] if pictures.shape[-1] == 1 else pictures


def _plane(
    objective: Objective, data: jaxsvm.Data, W: Any, paths: dict[str, Any]
) -> dict[str, Any]:
    """The objective on the plane through the optimum and two ends, and the paths on it."""
    ends = [paths[name][-1] - W for name in ("mini-batch", "gradient descent")]
    a = ends[0] / jnp.linalg.norm(ends[0])
    rest = ends[1] - jnp.sum(ends[1] * a) * a
    b = rest / jnp.linalg.norm(rest)
    shown = ("gradient descent", "exact line search", "mini-batch")
    on_plane = {
        name: np.array([[np.sum((V - W) * a), np.sum((V - W) * b)] for V in paths[name]])
        for name in shown
    }
    reach = 1.1 * max(np.abs(points).max() for points in on_plane.values())
    surface = jaxsvm.slice_2d(objective, W, a, b, data, start=-reach, stop=reach, num=41)
    return {"plane_t": np.asarray(surface.t), "plane": np.asarray(surface.loss), "paths": on_plane}


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    series, bands = {}, {}
    curves = dict(arrays["strategies"])
    solver = arrays["solver"]
    curves["solve"] = {"passes": solver["passes"], "objective": solver["primal"]}
    for name, found in curves.items():
        x, above = found["passes"], found["objective"] - arrays["dual"]
        keep = x > 0
        series[name] = (x[keep], above[keep])
        # The minimum is between the dual and the primal: the true distance is in this band.
        floor = 1e-3 * (arrays["primal"] - arrays["dual"])
        bands[name] = (np.maximum(found["objective"] - arrays["primal"], floor)[keep], above[keep])
    figures = {
        "suboptimality": draw.lines(
            series,
            bands=bands,
            xlabel="passes over the data: loss evaluations + gradient evaluations",
            ylabel="objective above the proved bottom",
            title="How far from the bottom: at most (line), at least (band)",
            xscale="log",
            yscale="log",
            horizontal={"the proof's own gap": arrays["primal"] - arrays["dual"]},
        ),
        "landscape_around_the_optimum": draw.plane(
            arrays["plane_t"],
            arrays["plane_t"],
            np.log10(arrays["plane"] - arrays["dual"]),
            xlabel="towards the mini-batch end (norm of W)",
            ylabel="towards the gradient descent end (norm of W)",
            label="log10 of the objective above the bottom",
            title="Around the certified optimum",
            paths=arrays["paths"],
            points={"optimum": (0.0, 0.0)},
        ),
        "regularization_path": draw.lines(
            {
                "held out": (arrays["path_reg"], 100 * arrays["path_accuracy"]),
                "test": (arrays["path_reg"], 100 * arrays["path_test_accuracy"]),
            },
            xlabel="reg",
            ylabel="accuracy, %",
            title="Choosing reg: each point certified",
            xscale="log",
            marker="o",
        ),
        "hardest_examples": draw.images(
            arrays["hardest"],
            [name.replace(", ", "\n") for name in arrays["hardest_names"]],
            title="The training examples that push hardest",
        ),
    }
    return [draw.save_figure(figure, path / f"{name}.png") for name, figure in figures.items()]


def report(arrays: dict[str, Any]) -> str:
    rows = []
    for name, found in arrays["strategies"].items():
        value = float(found["objective"][-1])
        rows.append(
            (
                name,
                f"{found['passes'][-1]:.0f}",
                f"{value:.4f}",
                f"{max(value - arrays['primal'], 0):.4f} to {value - arrays['dual']:.4f}",
            )
        )
    header = ("strategy", "passes", "objective", "above the minimum")
    path = reporting.table(
        ("reg", "held-out accuracy, %", "test accuracy, %", "relative gap proved"),
        [
            (f"{reg:g}", f"{100 * held_out:.2f}", f"{100 * test:.2f}", f"{gap:.1e}")
            for reg, held_out, test, gap in zip(
                arrays["path_reg"],
                arrays["path_accuracy"],
                arrays["path_test_accuracy"],
                arrays["path_gap"],
                strict=True,
            )
        ],
    )
    best = int(np.argmax(arrays["path_accuracy"]))
    return (
        f"reg {arrays['reg']:g}. The minimum is between {arrays['dual']:.5f} and "
        f"{arrays['primal']:.5f}, proved in {arrays['passes']} passes; test accuracy there "
        f"{100 * arrays['test_accuracy']:.2f} %; {100 * arrays['support']:.1f} % of the examples "
        f"are support vectors. One seed.\n\n{reporting.table(header, rows)}\n\n{path}\n\n"
        f"Chosen by the held-out part: reg {arrays['path_reg'][best]:g}, with a test accuracy of "
        f"{100 * arrays['path_test_accuracy'][best]:.2f} %."
    )


def main() -> None:
    common.main(sys.modules[__name__])


if __name__ == "__main__":
    main()
