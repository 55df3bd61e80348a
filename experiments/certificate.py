"""How far above the bottom does each strategy end? The race again, with a proved bottom under it.

    python -m experiments.certificate --dataset cifar10

`jaxsvm.solve` ends with a pair, a W and a dual bound, between which the minimum lies. A strategy's
objective less the bound is therefore at least its true distance above the bottom, and less the
solver's primal it is at most that: the band between. The same solver, warm from one reg to the
next, draws the curve for choosing reg; and its dual variables name the hardest training examples,
those whose hinges all still push: pictures of them, or the rows of a table.

Expected: the searches end orders of magnitude above the bottom and batches come closest. Some 15
seconds on digits on two cores, minutes on CIFAR-10.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared import options, runner, settings
from experiments.shared.figures import LOG_LOG, Figures, Picture, accuracy_against_reg
from experiments.shared.kept_runs import kept_path, kept_solve
from experiments.shared.pictures import hardest, hardest_figures, hardest_table
from experiments.shared.report import Story
from experiments.shared.strategies import follow, near_zero, strategies
from experiments.shared.text import table, table_of
from jaxsvm import Data, Objective, accuracy
from jaxsvm import plot as draw

STRATEGIES = (
    "random search", "local search", "gradient descent", "exact line search", "mini-batch",
    "Adam (optax), mini-batch",
)  # fmt: skip
# Relative gap to prove at each reg of the path: accuracies tell no smaller one apart.
PATH_GAP = 2e-2

STORY = Story(
    "How is the bottom proved, and what does it tell?",
    r"""To each objective of this family belongs a *dual* one, $D(\alpha)$, with one variable for
each hinge, and every value of it is a bound that no $W$ is below:

$$D(\alpha) \;\leq\; \min_W L(W) \;\leq\; L(W).$$

The solver raises the left side and lowers the right one until they nearly meet. What is between
them is all that anyone could still gain. So a strategy's distance from the bottom is known too: at
least its objective less the right side, at most less the left one.""",
    "The dual variables name the examples that hold the optimum where it is. All others could be "
    "taken away.",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Certify the optimum and measure every strategy from it.

    Attributes:
        reg: The penalty's weight, > 0: without one there is no certificate.
        gap_tolerance: Relative gap to prove.
        regs: The regularization path.
        search_steps: Tries of each search.
        full_steps: Steps of those that see all the data.
        batch_steps: Steps of those that see a batch of 256.
    """

    reg: options.Positive = 1e-2
    gap_tolerance: options.Positive = 1e-2
    regs: tuple[options.Positive, ...] = (10.0, 1.0, 0.3, 0.1, 0.05, 1e-2)
    search_steps: options.Count = 200
    full_steps: options.Count = 50
    batch_steps: options.Count = 1000

    measures_seconds: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    dataset, objective = settings.load(config.source, "scaled"), Objective(reg=config.reg)
    data, test, C = dataset.train, dataset.test, len(dataset.class_names)
    limits: Any = {"gap_tolerance": config.gap_tolerance, "max_passes": 1000}
    solution = kept_solve(objective, data, num_classes=C, **limits)
    known = strategies(dataset, config)
    start = near_zero(dataset, seed=0)
    courses = {n: follow(known[n], dataset, objective, *start, n) for n in STRATEGIES}
    paths = {name: course.path for name, course in courses.items()}
    regs: dict[str, Any] = {"gap_tolerance": PATH_GAP, "max_passes": 300, "regs": config.regs}
    held_out = dataset.validation
    path = kept_path(Objective(), data, held_out, num_classes=C, **regs)
    return {
        "dataset": settings.facts(dataset),
        "gap_tolerance": config.gap_tolerance,
        "path_gap_tolerance": PATH_GAP,
        "strategies": {
            name: {"passes": c.loss_evaluations + c.gradient_evaluations, "objective": c.objective}
            for name, c in courses.items()
        },
        "reg": config.reg,
        "primal": solution.primal,
        "dual": solution.dual,
        "passes": solution.passes,
        "seconds": float(solution.history.seconds[-1]),
        "solver": solution.history._asdict(),
        "summary": str(solution),
        "test_accuracy": float(accuracy(solution.W, test)),
        "path_reg": np.array([p.reg for p in path]),
        "path_accuracy": np.array([p.accuracy for p in path]),
        "path_test_accuracy": np.array([float(accuracy(p.solution.W, test)) for p in path]),
        "path_gap": np.array([p.solution.gap / p.solution.primal for p in path]),
        **hardest(dataset, solution),
        **plane(objective, data, solution.W, paths),
    }


def plane(objective: Objective, data: Data, W: Any, paths: dict[str, Any]) -> dict[str, Any]:
    """The objective on the plane through the optimum and two ends, and the paths on it."""
    ends = [paths[name][-1] - W for name in ("mini-batch", "gradient descent")]
    a = ends[0] / jnp.linalg.norm(ends[0])
    rest = ends[1] - jnp.sum(ends[1] * a) * a
    b = rest / jnp.linalg.norm(rest)
    on_plane = {
        name: np.array([[np.sum((V - W) * a), np.sum((V - W) * b)] for V in paths[name]])
        for name in ("gradient descent", "exact line search", "mini-batch")
    }
    reach = 1.1 * max(np.abs(points).max() for points in on_plane.values())
    surface = jaxsvm.slice_2d(objective, W, a, b, data, start=-reach, stop=reach, num=41)
    return {"plane_t": np.asarray(surface.t), "plane": np.asarray(surface.loss), "paths": on_plane}


def plot(arrays: dict[str, Any]) -> Figures:
    series, bands = {}, {}
    primal, dual, solver = arrays["primal"], arrays["dual"], arrays["solver"]
    solved = {"passes": solver["passes"], "objective": solver["primal"]}
    for name, found in {**arrays["strategies"], "solve": solved}.items():
        keep = found["passes"] > 0
        x, value = found["passes"][keep], found["objective"][keep]
        series[name] = (x, value - dual)
        # The minimum is between the dual and the primal: the true distance is in this band.
        bands[name] = (np.maximum(value - primal, 1e-3 * (primal - dual)), value - dual)
    t = arrays["plane_t"]
    regs = {"held out": arrays["path_accuracy"], "test": arrays["path_test_accuracy"]}
    return {
        "suboptimality": Picture(
            draw.lines(
                series, bands=bands, horizontal={"the proof's own gap": primal - dual}, **LOG_LOG,
                xlabel="passes over the data: loss + gradient evaluations",
                ylabel="objective above the proved bottom",
                title="At most (line) and at least (band) so far up",
            ),
            "A line is the most that a strategy can be above the minimum, the foot of its band the "
            "least. Where the band reaches down to the dotted line the proof cannot tell more.",
            "Line chart on logarithmic axes: objective above the proved bottom against passes, for "
            f"each of {', '.join(series)}.",
        ),
        "landscape_around_the_optimum": Picture(
            draw.plane(
                t, t, np.log10(arrays["plane"] - dual),
                paths=arrays["paths"], points={"optimum": (0.0, 0.0)},
                xlabel="towards the mini-batch end (norm of W)",
                ylabel="towards the gradient descent end (norm of W)",
                label="log₁₀ of the objective above the bottom",
                title="Around the certified optimum",
            ),
            "The plane through the optimum and two ends of strategies. All set out at the ring; "
            "the optimum is the dot in the darkest place.",
            "Coloured plane with the paths of three strategies that end near the optimum.",
        ),
        "regularization_path": accuracy_against_reg(
            arrays["path_reg"], regs, "accuracy, %", title="Choosing reg: each point certified"
        ),
        **hardest_figures(arrays),
    }  # fmt: skip


def report(arrays: dict[str, Any]) -> str:
    primal, dual, test_accuracy = arrays["primal"], arrays["dual"], arrays["path_test_accuracy"]
    ends = []
    for name, found in arrays["strategies"].items():
        value = float(found["objective"][-1])
        above = f"{max(value - primal, 0):.4f} to {value - dual:.4f}"
        ends.append((name, found["passes"][-1], value, above))
    path = {
        "reg {:g}": arrays["path_reg"],
        "held-out accuracy, % {:.2%}": arrays["path_accuracy"],
        "test accuracy, % {:.2%}": test_accuracy,
        "relative gap proved {:.1e}": arrays["path_gap"],
    }
    best = int(np.argmax(arrays["path_accuracy"]))
    at_an_end = len(test_accuracy) > 1 and best in (0, len(test_accuracy) - 1)
    edge = " It is at an end of `--regs`: the best may lie beyond." if at_an_end else ""
    return (
        f"The minimum is between {dual:.5f} and {primal:.5f}: proved in {arrays['passes']} passes "
        f"over the data. The W that was found answers {100 * arrays['test_accuracy']:.2f} % of the "
        "test examples rightly.\n\n[[suboptimality]]\n\n"
        f"reg is {arrays['reg']:g}, one seed. A relative gap of {arrays['gap_tolerance']:g} was "
        "asked for.\n\n"
        + table("strategy | passes {:.0f} | objective {:.4f} | above the minimum", ends)
        + "\n\n[[landscape_around_the_optimum]]\n\n### Choosing reg\n\n"
        f"Each optimum along reg, from the one before, to a relative gap of "
        f"{arrays['path_gap_tolerance']:g}: enough to compare accuracies by."
        f"\n\n[[regularization_path]]\n\n{table_of(path)}\n\n"
        f"Chosen by the held-out part: reg {arrays['path_reg'][best]:g}, with a test accuracy of "
        f"{100 * test_accuracy[best]:.2f} %.{edge}\n\n"
        "### The examples that matter\n\n"
        f"{100 * arrays['support']:.1f} % of the examples are support vectors: W depends on no "
        f"others.\n\n{hardest_table(arrays)}[[hardest_examples]]"
    )


if __name__ == "__main__":
    runner.main(__name__)
