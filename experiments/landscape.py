"""What does the loss look like along a line and over a plane?

    python -m experiments.landscape --dataset cifar10

The notes' pictures, without a penalty as there: one example along a line (svm1d), one example over
a plane with the lines on which its terms switch (svm_one), a hundred examples (svm_all), and three
one-dimensional examples whose hinges add up to a bowl (svmbowl). Then what they could not draw: all
examples at once, with the accuracy; zooms into the lowest point of a line, where the smooth bowl
turns out to be made of kinks; the paths of several strategies over the plane of their principal
directions, with how far off that plane they are; and the line between the ends of two of them.

Expected: every curve convex and made of straight pieces; a round bowl for many examples; all
training examples over the whole grid in about the time of a few hundred single evaluations. Seconds
on digits at 128 × 128; a minute on CIFAR-10 at 1024 × 1024, on two cores.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared import compiled, options, recipes, runner, settings, timing
from experiments.shared.kept_runs import kept_solve
from experiments.shared.live_plane import live_plane
from experiments.shared.progress import progress_run
from experiments.shared.report import Figures, table_of
from jaxsvm import Data, Dataset, Objective
from jaxsvm import plot as draw
from jaxsvm.lines import spanned
from jaxsvm.lines.line import Line

ZOOMS = (1, 10, 100, 1000)
# The two strategies between whose ends a line is drawn.
BETWEEN = ("gradient descent", "momentum")


@dataclass(frozen=True)
class Config(options.Config):
    """Draw the loss along lines and planes through a random W. One W is drawn: seed 0.

    Attributes:
        grid: Nodes on each axis of the planes; by default 1024, and 128 on anything small.
        num_steps: Steps of the strategies whose paths are drawn.
        scale: Standard deviation of W's entries, for features of about [-1, 1].
    """

    grid: Annotated[int, options.at_least(2)] | None = None
    num_steps: Annotated[int, options.at_least(20)] = 60
    scale: options.Positive = 0.1


def run(config: Config) -> dict[str, Any]:
    dataset, objective = settings.load(config.source, "scaled"), Objective()
    data, num = dataset.train, config.grid or settings.suiting(dataset).plane_nodes
    W = config.scale * jax.random.normal(jax.random.key(0), recipes.zero_weights(dataset).shape)
    a, b = (jaxsvm.random_direction(jax.random.key(i), W, normalize="rows") for i in (1, 2))
    return {
        "scale": config.scale,
        "grid": num,
        "one_line": one_line(objective, W, a, recipes.first(data, 1)),
        "one_plane": one_plane(objective, W, a, b, recipes.first(data, 1), num),
        "hundred": plane(objective, W, a, b, recipes.first(data, 100), num),
        "all": plane(objective, W, a, b, data, num),
        "bowl": bowl(),
        "zooms": zooms(objective, W, a, data),
        "paths": paths(dataset, config, min(num, 256)),
    }


def one_line(objective: Objective, W: Any, direction: Any, data: Data) -> dict[str, Any]:
    """One example along a line, wide enough to hold most of its kinks."""
    ahead = jaxsvm.along(objective, W, direction, data)
    kinks, _ = ahead.kinks_between(-1e6, 1e6)
    reach = 1.2 * float(np.quantile(np.abs(kinks), 0.7))
    found = compiled.slice_1d(objective, W, direction, data, start=-reach, stop=reach, num=801)
    inside = kinks[np.abs(kinks) < reach]
    values = jax.vmap(Line.value, in_axes=(None, 0))(ahead, jnp.asarray(inside))
    return {"t": found.t, "loss": found.loss, "kinks": inside, "kink_losses": np.asarray(values)}


def plane(
    objective: Objective, W: Any, a: Any, b: Any, data: Data, num: int, reach: float = 1.0
) -> dict[str, Any]:
    """A plane, and the seconds that it took without compilation."""
    call, ends = (compiled.slice_2d, objective, W, a, b, data), {"start": -reach, "stop": reach}
    found, seconds = timing.timed(timing.ready(*call, static={"num": num}, **ends))
    shown = {name: np.asarray(getattr(found, name)) for name in ("t", "loss", "accuracy")}
    return {**shown, "seconds": seconds, "examples": len(data.y)}


def one_plane(objective: Objective, W: Any, a: Any, b: Any, data: Data, num: int) -> dict[str, Any]:
    """One example over a plane, with the pieces of its kink lines that cross the square."""
    found = spanned(objective, W, a, b, data)
    parts = np.stack([found.offset, found.slope_a, found.slope_b], axis=-1)[:, 0]
    parts = parts[(parts[:, 1:] != 0).any(axis=1)]
    # Wide enough that most of the lines cross the square.
    reach = 1.5 * float(np.median(np.abs(parts[:, 0]) / np.hypot(parts[:, 1], parts[:, 2])))
    return plane(objective, W, a, b, data, num, reach) | {"segments": clip(parts, reach)}


def clip(lines: np.ndarray, reach: float) -> np.ndarray:
    """Return (k, 2, 2): where ``m + a·p + b·q = 0`` enters and leaves the square |a|, |b| ≤ reach.

    Args:
        lines: (n, 3) of (m, p, q), p and q not both 0.
        reach: half the square's side.
    """
    kept = []
    for m, p, q in lines:
        ends = [(a, -(m + a * p) / q) for a in (-reach, reach) if q != 0]
        ends += [(-(m + b * q) / p, b) for b in (-reach, reach) if p != 0]
        inside = sorted({end for end in ends if max(abs(end[0]), abs(end[1])) <= reach})
        if len(inside) >= 2:
            kept.append((inside[0], inside[-1]))
    return np.array(kept).reshape(-1, 2, 2)


def bowl() -> dict[str, Any]:
    """Three one-dimensional examples of three classes along the first class's weight.

    L_0 falls in w_0, the other two rise, each from its own kink on.
    """
    data = Data(jnp.array([[1.0], [0.8], [1.5]]), jnp.array([0, 1, 2], jnp.int32))
    W, direction = jnp.array([[0.0], [1.2], [-0.6]]), jnp.array([[1.0], [0.0], [0.0]])
    parts = [Data(data.X[i : i + 1], data.y[i : i + 1]) for i in range(3)]
    *each, total = (
        compiled.slice_1d(Objective(), W, direction, part, start=-4.0, stop=6.0, num=501)
        for part in (*parts, data)
    )
    losses = np.stack([part.loss for part in each])
    return {"w": np.asarray(total.t), "examples": losses, "mean": np.asarray(total.loss)}


def zooms(objective: Objective, W: Any, direction: Any, data: Data) -> dict[str, Any]:
    """All examples along a line, in ever smaller windows about its minimum."""
    ahead = compiled.along(objective, W, direction, data)
    with jax.enable_x64(True):
        ahead = recipes.in_float64(ahead)
        lowest = compiled.minimum(ahead)
        # Where the line is flat towards one end, its lowest stretch has only the other one.
        middle = float(lowest.t_low if np.isfinite(lowest.t_low) else lowest.t_high)
        kinks = np.asarray(compiled.kinks(ahead)) - middle
        t = np.stack([np.linspace(-1 / zoom, 1 / zoom, 401) for zoom in ZOOMS])
        ends = middle + t[:, [0, -1]]
        losses = [compiled.values(ahead, start=low, stop=high, num=401) for low, high in ends]
    num_kinks = np.array([np.sum(np.abs(kinks) <= 1 / zoom) for zoom in ZOOMS])
    return {"t": t, "rise": np.stack(losses) - float(lowest.value), "num_kinks": num_kinks}


def paths(dataset: Dataset, config: Config, num: int) -> dict[str, Any]:
    """Strategies from one start, over the plane of their paths' two principal directions."""
    data, objective = dataset.train, Objective(reg=1e-3)
    step, scale = settings.suiting(dataset).batch_step_size, 0.3 * config.scale
    batches = jaxsvm.minibatch_gradient_descent(objective, step_size=step, batch_size=32)
    strategies = {
        "gradient descent": jaxsvm.gradient_descent(objective, step_size=step),
        "momentum": jaxsvm.gradient_descent(objective, step_size=step, momentum=0.9),
        "mini-batches of 32": batches,
        "exact steps": jaxsvm.line_search_descent(objective),
        "exact, conjugate": jaxsvm.line_search_descent(objective, momentum="conjugate"),
        "local search": jaxsvm.local_search(objective, step_size=scale, block_size=3),
        "random search": jaxsvm.random_search(objective, scale=scale, block_size=3),
    }
    W = scale * jax.random.normal(jax.random.key(3), recipes.zero_weights(dataset).shape)
    key, T = jax.random.key(4), config.num_steps
    runs = {
        name: progress_run(optimizer, key, W, data, T, description=name)
        for name, optimizer in strategies.items()
    }
    found, steps = {name: run.path for name, run in runs.items()}, runs[BETWEEN[0]].path_steps
    every_point = jnp.concatenate(list(found.values()))
    directions, share = jax.jit(jaxsvm.lines.principal_directions)(every_point)
    # The plane through the end of gradient descent; its axes as long as the start is far away.
    origin = jnp.asarray(found["gradient descent"][-1])
    a, b = directions * jnp.linalg.norm(W - origin)
    project = jax.jit(jaxsvm.project_path)
    shadows = {name: project(objective, p, origin, a, b, data) for name, p in found.items()}
    reach = 1.15 * max(float(jnp.max(jnp.abs(s.coordinates))) for s in shadows.values())
    surface = compiled.slice_2d(objective, origin, a, b, data, start=-reach, stop=reach, num=num)
    # Where it is the work of a moment, what is proved of the bottom.
    solution = None
    if settings.is_small(dataset):
        solution = kept_solve(objective, data, gap_tolerance=1e-4)
    here, there = (jnp.asarray(found[name][-1]) for name in BETWEEN)
    way = jaxsvm.lines.direction_between(here, there)
    between = compiled.slice_1d(objective, here, way, data, start=-0.1, stop=1.1, num=361)
    ends = {"residual": "residual", "last_loss": "loss", "drawn_loss": "plane_loss"}
    return {
        "t": np.asarray(surface.t),
        "loss": np.asarray(surface.loss),
        "share": np.asarray(share),
        "names": list(shadows),
        "coordinates": {name: np.asarray(s.coordinates) for name, s in shadows.items()},
        "distance": np.array([np.linalg.norm(path[-1] - path[0]) for path in found.values()]),
        **{k: np.array([getattr(s, at)[-1] for s in shadows.values()]) for k, at in ends.items()},
        "between": {name: np.asarray(getattr(between, name)) for name in ("t", "loss", "accuracy")},
        "live": live_plane(objective, data, (origin, a, b), surface, steps, shadows, solution),
    }


def plot(arrays: dict[str, Any]) -> Figures:
    one, facets, every = arrays["one_line"], arrays["one_plane"], arrays["all"]
    three, near, found = arrays["bowl"], arrays["zooms"], arrays["paths"]
    hundred = arrays["hundred"]
    way, share = found["between"], 100 * found["share"]
    examples = f"{every['examples']:,} examples"
    chord = ([0, 1], way["loss"][ends_of(way["t"])])

    def surface(part: dict[str, Any], title: str, **options: Any) -> Any:
        texts = {"xlabel": "along a (rows of W's own length)", "ylabel": "along b (the same)"}
        look = {"values": part["loss"], "label": "loss", **texts, **options}
        return draw.plane(part["t"], part["t"], title=title, **look)

    return {
        "svm1d": draw.lines(
            {"loss": (one["t"], one["loss"])}, points={"kinks": (one["kinks"], one["kink_losses"])},
            xlabel="t, along a random direction", ylabel="loss of one example",
            title="One example along a line",
        ),
        "svm_one": surface(
            facets, "One example: a flat facet between kink lines", levels=0,
            segments=facets["segments"],
        ),
        "svm_hundred": surface(hundred, f"{hundred['examples']} examples"),
        "svm_all": surface(every, examples),
        "svm_all_accuracy": surface(
            every, examples, values=100 * every["accuracy"], label="accuracy, %", levels=0
        ),
        "svmbowl": draw.lines(
            {f"L{'₀₁₂'[i]}": (three["w"], loss) for i, loss in enumerate(three["examples"])}
            | {"mean of the three": (three["w"], three["mean"])},
            xlabel="the first class's weight", ylabel="loss",
            title="Three hinge losses add up to a bowl",
        ),
        "zooms": draw.panels(
            [
                ({"": (near["t"][i], near["rise"][i])}, f"{zoom}×: {near['num_kinks'][i]:,} kinks")
                for i, zoom in enumerate(ZOOMS)
            ],
            xlabel="t, from the lowest point", ylabel="loss above its lowest",
        ),
        "paths": surface(
            found, "The strategies' shadows on one plane", paths=found["coordinates"],
            values=np.log10(found["loss"]), label="log₁₀ of the objective",
            xlabel=f"first principal direction ({share[0]:.0f} % of the variance)",
            ylabel=f"second ({share[1]:.0f} %)",
        ),
        "between": draw.lines(
            {"objective": (way["t"], way["loss"])}, dashed={"chord": chord},
            points={"the two ends": chord}, ylabel="objective",
            xlabel=f"t, from {BETWEEN[0]} (0) to {BETWEEN[1]} (1)",
            title="Between two solutions there is no barrier",
        ),
    }  # fmt: skip


def ends_of(t: np.ndarray) -> np.ndarray:
    """Return where on the grid t = 0 and t = 1 are: the two solutions."""
    return np.argmin(np.abs(t[:, None] - np.array([0.0, 1.0])), axis=0)


def report(arrays: dict[str, Any]) -> str:
    every, near, found = arrays["all"], arrays["zooms"], arrays["paths"]
    nodes = arrays["grid"] ** 2
    kinks = {
        "zoom": [f"{zoom}×" for zoom in ZOOMS],
        "window": [f"±{1 / zoom:g}" for zoom in ZOOMS],
        "kinks in it {:,}": near["num_kinks"],
    }
    ends = {
        "strategy": found["names"],
        "objective at its end {:.4g}": found["last_loss"],
        "at its shadow {:.4g}": found["drawn_loss"],
        "off the plane {:.3g}": found["residual"],
        "moved in all {:.3g}": found["distance"],
    }
    way = found["between"]
    shown = [*ends_of(way["t"]), np.argmin(way["loss"])]
    between = {
        "": (*BETWEEN, "lowest on the line"),
        "t": ("0", "1", f"{way['t'][shown[2]]:.2f}"),
        "objective {:.4g}": way["loss"][shown],
        "accuracy on the same data, % {:.2%}": way["accuracy"][shown],
    }
    return (
        f"Around a normal W of scale {arrays['scale']:g}, along directions whose rows are as long "
        f"as W's. The plane over all {every['examples']:,} examples has {nodes:,} nodes, loss and "
        f"accuracy, and took {every['seconds']:.2f} s: "
        f"{1e6 * every['seconds'] / nodes:.2f} µs a node.\n\n{table_of(kinks)}\n\n"
        "A path is drawn where its nearest point of the plane is. It is not on the surface there: "
        f"the table says how far off it ends and what the surface claims.\n\n{table_of(ends)}\n\n"
        "The objective is convex, so there is no barrier between two of those ends: it stays under "
        f"its chord, and a mixture of the two can be better than either.\n\n{table_of(between)}"
    )


if __name__ == "__main__":
    runner.main(__name__)
