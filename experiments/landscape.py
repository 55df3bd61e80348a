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

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import common, reporting
from experiments.step_size import in_float64
from jaxsvm import (
    Data,
    Objective,
    along,
    direction_between,
    gradient_descent,
    line_search_descent,
    local_search,
    minibatch_gradient_descent,
    principal_directions,
    project_path,
    random_direction,
    random_search,
    slice_1d,
    slice_2d,
    spanned,
)
from jaxsvm import plot as draw
from jaxsvm.lines.line import Line

ZOOMS = (1, 10, 100, 1000)
# The two strategies between whose ends a line is drawn.
BETWEEN = ("gradient descent", "momentum")

_slice_1d = jax.jit(slice_1d, static_argnames="num")
_slice_2d = jax.jit(slice_2d, static_argnames="num")


@dataclass(frozen=True)
class Config(common.Config):
    """Draw the loss along lines and planes through a random W. One W is drawn: seed 0."""

    grid: int | None = None
    """Nodes on each axis of the planes; by default 1024, and 128 on digits."""
    num_steps: int = 60
    """Steps of the strategies whose paths are drawn."""
    scale: float = 0.1
    """Standard deviation of W's entries, for pixels of about [-1, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid is not None:
            common.at_least("grid", self.grid, 2)
        common.at_least("num_steps", self.num_steps, 20)
        common.positive("scale", self.scale)


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset, scale=common.unit_scale(config.dataset))
    num = config.grid or (128 if config.dataset == "digits" else 1024)
    data, objective = dataset.train, Objective()
    shape = (len(dataset.class_names), data.X.shape[1])
    W = config.scale * jax.random.normal(jax.random.key(0), shape)
    a, b = (random_direction(jax.random.key(i), W, normalize="rows") for i in (1, 2))
    return {
        "scale": config.scale,
        "grid": num,
        "one_line": one_line(objective, W, a, first(data, 1)),
        "one_plane": one_plane(objective, W, a, b, first(data, 1), num),
        "hundred": plane(objective, W, a, b, first(data, 100), num),
        "all": plane(objective, W, a, b, data, num),
        "bowl": bowl(),
        "zooms": zooms(objective, W, a, data),
        "paths": paths(dataset, config, min(num, 256)),
    }


def first(data: Data, n: int) -> Data:
    return Data(data.X[:n], data.y[:n])


def one_line(objective: Objective, W: Any, direction: Any, data: Data) -> dict[str, Any]:
    """One example along a line, wide enough to hold most of its kinks."""
    kinks, _ = along(objective, W, direction, data).kinks_between(-1e6, 1e6)
    reach = 1.2 * float(np.quantile(np.abs(kinks), 0.7))
    found = _slice_1d(objective, W, direction, data, start=-reach, stop=reach, num=801)
    inside = kinks[np.abs(kinks) < reach]
    values = jax.vmap(Line.value, in_axes=(None, 0))(
        along(objective, W, direction, data), jnp.asarray(inside)
    )
    return {"t": found.t, "loss": found.loss, "kinks": inside, "kink_losses": np.asarray(values)}


def plane(
    objective: Objective, W: Any, a: Any, b: Any, data: Data, num: int, reach: float = 1.0
) -> dict[str, Any]:
    """A plane, and the seconds that it took without compilation."""
    call = _slice_2d.lower(objective, W, a, b, data, start=-reach, stop=reach, num=num).compile()
    began = time.perf_counter()
    found = jax.block_until_ready(call(objective, W, a, b, data, start=-reach, stop=reach))
    seconds = time.perf_counter() - began
    return {
        "t": np.asarray(found.t),
        "loss": np.asarray(found.loss),
        "accuracy": np.asarray(found.accuracy),
        "seconds": seconds,
        "examples": data.y.shape[0],
    }


def one_plane(objective: Objective, W: Any, a: Any, b: Any, data: Data, num: int) -> dict[str, Any]:
    """One example over a plane, with the pieces of its kink lines that cross the square."""
    found = spanned(objective, W, a, b, data)
    lines = (found.offset, found.slope_a, found.slope_b)
    parts = np.stack([np.asarray(part)[:, 0] for part in lines], axis=1)
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
    X, y = jnp.array([[1.0], [0.8], [1.5]]), jnp.array([0, 1, 2], jnp.int32)
    W, direction = jnp.array([[0.0], [1.2], [-0.6]]), jnp.array([[1.0], [0.0], [0.0]])
    options = {"start": -4.0, "stop": 6.0, "num": 501}
    each = [
        _slice_1d(Objective(), W, direction, Data(X[i : i + 1], y[i : i + 1]), **options)
        for i in range(3)
    ]
    total = _slice_1d(Objective(), W, direction, Data(X, y), **options)
    return {
        "w": np.asarray(total.t),
        "examples": np.stack([part.loss for part in each]),
        "mean": np.asarray(total.loss),
    }


def zooms(objective: Objective, W: Any, direction: Any, data: Data) -> dict[str, Any]:
    """All examples along a line, in ever smaller windows about its minimum."""
    ahead = jax.jit(along)(objective, W, direction, data)
    with jax.enable_x64(True):
        ahead = in_float64(ahead)
        lowest = jax.jit(Line.minimum)(ahead)
        grid = jax.jit(Line.values, static_argnames="num")
        kinks = np.asarray(jax.jit(Line.kinks)(ahead)) - float(lowest.t_low)
        t = np.stack([np.linspace(-1 / zoom, 1 / zoom, 401) for zoom in ZOOMS])
        rise = [
            grid(ahead, start=lowest.t_low + t[0], stop=lowest.t_low + t[-1], num=401) for t in t
        ]
    return {
        "t": t,
        "rise": np.stack(rise) - float(lowest.value),
        "num_kinks": np.array([int((np.abs(kinks) <= 1 / zoom).sum()) for zoom in ZOOMS]),
    }


def paths(dataset: Any, config: Config, num: int) -> dict[str, Any]:
    """Strategies from one start, over the plane of their paths' two principal directions."""
    data, objective = dataset.train, Objective(reg=1e-3)
    step = 0.1 if config.dataset == "digits" else 0.003
    strategies = {
        "gradient descent": gradient_descent(objective, step_size=step),
        "momentum": gradient_descent(objective, step_size=step, momentum=0.9),
        "mini-batches of 32": minibatch_gradient_descent(objective, step_size=step, batch_size=32),
        "exact steps": line_search_descent(objective),
        "exact, conjugate": line_search_descent(objective, momentum="conjugate"),
        "local search": local_search(objective, step_size=0.3 * config.scale, block_size=3),
        "random search": random_search(objective, scale=0.3 * config.scale, block_size=3),
    }
    shape = (len(dataset.class_names), data.X.shape[1])
    W = 0.3 * config.scale * jax.random.normal(jax.random.key(3), shape)
    found = {
        name: common.progress_run(
            optimizer, jax.random.key(4), W, data, config.num_steps, description=name
        ).path
        for name, optimizer in strategies.items()
    }
    directions, share = jax.jit(principal_directions)(jnp.concatenate(list(found.values())))
    # The plane through the end of gradient descent; its axes as long as the start is far away.
    origin = jnp.asarray(found["gradient descent"][-1])
    a, b = directions * jnp.linalg.norm(W - origin)
    project = jax.jit(project_path)
    shadows = {
        name: project(objective, jnp.asarray(path), origin, a, b, data)
        for name, path in found.items()
    }
    reach = 1.15 * max(float(jnp.max(jnp.abs(s.coordinates))) for s in shadows.values())
    surface = _slice_2d(objective, origin, a, b, data, start=-reach, stop=reach, num=num)
    here, there = (jnp.asarray(found[name][-1]) for name in BETWEEN)
    way = direction_between(here, there)
    between = _slice_1d(objective, here, way, data, start=-0.1, stop=1.1, num=361)
    return {
        "t": np.asarray(surface.t),
        "loss": np.asarray(surface.loss),
        "share": np.asarray(share),
        "names": list(shadows),
        "coordinates": {name: np.asarray(s.coordinates) for name, s in shadows.items()},
        "residual": np.array([float(s.residual[-1]) for s in shadows.values()]),
        "distance": np.array(
            [float(np.linalg.norm(path[-1] - path[0])) for path in found.values()]
        ),
        "last_loss": np.array([float(s.loss[-1]) for s in shadows.values()]),
        "drawn_loss": np.array([float(s.plane_loss[-1]) for s in shadows.values()]),
        "between": {
            "t": np.asarray(between.t),
            "loss": np.asarray(between.loss),
            "accuracy": np.asarray(between.accuracy),
        },
    }


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    one, facets, every = arrays["one_line"], arrays["one_plane"], arrays["all"]
    bowl_, near, found = arrays["bowl"], arrays["zooms"], arrays["paths"]
    examples = f"{every['examples']:,} examples"
    way = found["between"]
    ends = way["loss"][ends_of(way["t"])]

    def surface(part: dict[str, Any], values: Any, label: str, title: str, **options: Any) -> Any:
        return draw.plane(
            part["t"],
            part["t"],
            values,
            xlabel="along a (rows of W's own length)",
            ylabel="along b (the same)",
            label=label,
            title=title,
            **options,
        )

    figures = {
        "svm1d": draw.lines(
            {"loss": (one["t"], one["loss"])},
            points={"kinks": (one["kinks"], one["kink_losses"])},
            xlabel="t, along a random direction",
            ylabel="loss of one example",
            title="One example along a line",
        ),
        "svm_one": surface(
            facets,
            facets["loss"],
            "loss",
            "One example: a flat facet between kink lines",
            levels=0,
            segments=facets["segments"],
        ),
        "svm_hundred": surface(
            arrays["hundred"], arrays["hundred"]["loss"], "loss", "A hundred examples"
        ),
        "svm_all": surface(every, every["loss"], "loss", examples),
        "svm_all_accuracy": surface(
            every, 100 * every["accuracy"], "accuracy, %", examples, levels=0
        ),
        "svmbowl": draw.lines(
            {f"L{'₀₁₂'[i]}": (bowl_["w"], loss) for i, loss in enumerate(bowl_["examples"])}
            | {"mean of the three": (bowl_["w"], bowl_["mean"])},
            xlabel="the first class's weight",
            ylabel="loss",
            title="Three hinge losses add up to a bowl",
        ),
        "zooms": draw.panels(
            [
                ({"": (t, rise)}, f"{zoom}×: {count:,} kinks")
                for zoom, t, rise, count in zip(
                    ZOOMS, near["t"], near["rise"], near["num_kinks"], strict=True
                )
            ],
            xlabel="t, from the lowest point",
            ylabel="loss above its lowest",
        ),
        "paths": draw.plane(
            found["t"],
            found["t"],
            np.log10(found["loss"]),
            xlabel=f"first principal direction ({100 * found['share'][0]:.0f} % of the variance)",
            ylabel=f"second ({100 * found['share'][1]:.0f} %)",
            label="log₁₀ of the objective",
            title="The strategies' shadows on one plane",
            paths=found["coordinates"],
        ),
        "between": draw.lines(
            {"objective": (way["t"], way["loss"])},
            dashed={"chord": ([0, 1], ends)},
            points={"the two ends": ([0, 1], ends)},
            xlabel=f"t, from {BETWEEN[0]} (0) to {BETWEEN[1]} (1)",
            ylabel="objective",
            title="Between two solutions there is no barrier",
        ),
    }
    return [draw.save_figure(figure, path / f"{name}.png") for name, figure in figures.items()]


def ends_of(t: np.ndarray) -> np.ndarray:
    """Return where on the grid t = 0 and t = 1 are: the two solutions."""
    return np.argmin(np.abs(t[:, None] - np.array([0.0, 1.0])), axis=0)


def report(arrays: dict[str, Any]) -> str:
    every, near, found = arrays["all"], arrays["zooms"], arrays["paths"]
    way = found["between"]
    ends, lowest = ends_of(way["t"]), int(np.argmin(way["loss"]))
    between = reporting.table(
        ("", "t", "objective", "accuracy on the same data, %"),
        [
            (name, t, f"{way['loss'][k]:.4g}", f"{100 * way['accuracy'][k]:.2f}")
            for name, t, k in (
                (BETWEEN[0], "0", ends[0]),
                (BETWEEN[1], "1", ends[1]),
                ("lowest on the line", f"{way['t'][lowest]:.2f}", lowest),
            )
        ],
    )
    nodes = arrays["grid"] ** 2
    kinks = reporting.table(
        ("zoom", "window", "kinks in it"),
        [
            (f"{zoom}×", f"±{1 / zoom:g}", f"{count:,}")
            for zoom, count in zip(ZOOMS, near["num_kinks"], strict=True)
        ],
    )
    rows = zip(
        found["names"], found["last_loss"], found["drawn_loss"],
        found["residual"], found["distance"], strict=True,
    )  # fmt: skip
    table = reporting.table(
        ("strategy", "objective at its end", "at its shadow", "off the plane", "moved in all"),
        [(n, f"{a:.4g}", f"{b:.4g}", f"{r:.3g}", f"{d:.3g}") for n, a, b, r, d in rows],
    )
    return (
        f"Around a normal W of scale {arrays['scale']:g}, along directions whose rows are as long "
        f"as W's. The plane over all {every['examples']:,} examples has {nodes:,} nodes, loss and "
        f"accuracy, and took {every['seconds']:.2f} s: "
        f"{1e6 * every['seconds'] / nodes:.2f} µs a node.\n\n{kinks}\n\n"
        "A path is drawn where its nearest point of the plane is. It is not on the surface there: "
        f"the table says how far off it ends and what the surface claims.\n\n{table}\n\n"
        "The objective is convex, so there is no barrier between two of those ends: it stays under "
        f"its chord, and a mixture of the two can be better than either.\n\n{between}"
    )


if __name__ == "__main__":
    common.main(sys.modules[__name__])
