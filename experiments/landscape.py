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

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared import compiled, options, page, recipes, runner, settings, timing
from experiments.shared.bottom import proved_solution
from experiments.shared.figures import Figures, Picture
from experiments.shared.live_plane import live_plane
from experiments.shared.progress import progress_run
from experiments.shared.report import Story
from experiments.shared.text import table_of
from jaxsvm import Data, Dataset, Objective
from jaxsvm import plot as draw

STORY = Story(
    "What does the land look like?",
    r"""A point of this land is a whole $W$: on CIFAR-10 a list of 30,730 numbers. Nobody can draw
that, so the notes cut it open. Start at a random $W$, walk in one random direction $A$ and plot
$L(W + aA)$ against $a$; or take two directions and colour the plane, $L(W + aA + bB)$.

One example is made of hinges. Its loss is a sum of terms $\max(0, m_j)$, and along a line each
margin $m_j$ is a straight function of $a$. So the loss of one example is a chain of straight
pieces, bent upwards at the *kinks* where a margin passes 0. The whole dataset is a mean of such
chains: many kinks, close together, look round. That is also why these pictures are cheap and exact:
two products with the data give all margins along a line, and three give a whole plane.""",
    "So the land is one wide bowl, bent only upwards: there is no second valley to get stuck in. "
    "But the hiker wears a blindfold. What if he just jumps to random places?",
)
PICTURES = 4  # of the same lowest point, from ever nearer
# Of the plane of the paths.
PLANE = {
    "xlabel": "a, along the first principal direction",
    "ylabel": "b, along the second",
    "label": "log₁₀ of the objective",
}
FRAMES = 61  # of the animation
# The two strategies between whose ends a line is drawn.
BETWEEN = ("gradient descent", "momentum")


@dataclass(frozen=True)
class Config(options.Config):
    """Draw the loss along lines and planes through a random W. One W is drawn: seed 0.

    Attributes:
        grid: Nodes on each axis of the planes; by default 1024, and 128 on anything small.
        num_steps: Steps of the strategies whose paths are drawn.
        scale: Standard deviation of W's entries, for features of about [-1, 1].
        animate: Whether the strategies' walks are also written as `hiker.gif`.
    """

    grid: Annotated[int, options.at_least(2)] | None = None
    num_steps: Annotated[int, options.at_least(20)] = 60
    scale: options.Positive = 0.1
    animate: bool = False

    is_mostly_compilation: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    dataset, objective = settings.load(config.source, "scaled"), Objective()
    data, num = dataset.train, config.grid or settings.suiting(dataset).plane_nodes
    W = recipes.normal_weights(dataset, jax.random.key(0), config.scale)
    a, b = (compiled.random_direction(jax.random.key(i), W, normalize="rows") for i in (1, 2))
    return {
        "dataset": settings.facts(dataset),
        "animate": config.animate,
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
    ahead = compiled.along(objective, W, direction, data)
    kinks = np.unique(compiled.kinks(ahead))
    kinks = kinks[np.abs(kinks) <= 1e6]
    reach = 1.2 * float(np.quantile(np.abs(kinks), 0.7))
    found = compiled.slice_1d(objective, W, direction, data, start=-reach, stop=reach, num=801)
    inside = kinks[np.abs(kinks) < reach]
    values = compiled.value_at_each(ahead, inside)
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
    found = compiled.spanned(objective, W, a, b, data)
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
    X, y = np.array([[1.0], [0.8], [1.5]], np.float32), np.arange(3, dtype=np.int32)

    def of(some: slice) -> Data:
        return Data(jnp.asarray(X[some]), jnp.asarray(y[some]))

    W = np.array([[0.0], [1.2], [-0.6]], np.float32)
    direction = np.array([[1.0], [0.0], [0.0]], np.float32)
    *each, total = (
        compiled.slice_1d(Objective(), W, direction, of(some), start=-4.0, stop=6.0, num=501)
        for some in (*(slice(i, i + 1) for i in range(3)), slice(3))
    )
    losses = np.stack([part.loss for part in each])
    return {"w": np.asarray(total.t), "examples": losses, "mean": np.asarray(total.loss)}


def zooms(objective: Objective, W: Any, direction: Any, data: Data) -> dict[str, Any]:
    """All examples along a line, in ever smaller windows about its minimum.

    The last one is so small that about four kinks are left of those within ±1.
    """
    ahead = compiled.along(objective, W, direction, data)
    with jax.enable_x64(True):
        ahead = recipes.in_float64(ahead)
        lowest = compiled.minimum(ahead)
        # Where the line is flat towards one end, its lowest stretch has only the other one.
        middle = float(lowest.t_low if np.isfinite(lowest.t_low) else lowest.t_high)
        kinks = np.asarray(compiled.kinks(ahead)) - middle
        last = np.log10(max(np.sum(np.abs(kinks) <= 1) / 4, 10.0))
        zooms = np.unique(10 ** np.linspace(0, last, PICTURES).round().astype(int))
        t = np.stack([np.linspace(-1 / zoom, 1 / zoom, 401) for zoom in zooms])
        ends = middle + t[:, [0, -1]]
        losses = [compiled.values(ahead, start=low, stop=high, num=401) for low, high in ends]
    num_kinks = np.array([np.sum(np.abs(kinks) <= 1 / zoom) for zoom in zooms])
    return {
        "zoom": zooms,
        "t": t,
        "rise": np.stack(losses) - float(lowest.value),
        "num_kinks": num_kinks,
    }


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
    W = recipes.normal_weights(dataset, jax.random.key(3), scale)
    key, T = jax.random.key(4), config.num_steps
    runs = {
        name: progress_run(optimizer, key, W, data, T, description=name)
        for name, optimizer in strategies.items()
    }
    found = {name: run.path for name, run in runs.items()}
    # One that diverges ends early.
    steps = max((run.path_steps for run in runs.values()), key=len)
    every_point = np.concatenate(list(found.values()))
    directions, share = jax.jit(jaxsvm.lines.principal_directions)(every_point)
    # The plane through the end of gradient descent; its axes as long as the start is far away.
    origin = found["gradient descent"][-1]
    a, b = np.asarray(directions) * np.linalg.norm(np.asarray(W) - origin)
    project = jax.jit(jaxsvm.project_path)
    shadows = {name: project(objective, p, origin, a, b, data) for name, p in found.items()}
    reach = 1.15 * max(float(np.max(np.abs(s.coordinates))) for s in shadows.values())
    surface = compiled.slice_2d(objective, origin, a, b, data, start=-reach, stop=reach, num=num)
    # Where it is the work of a moment, what is proved of the bottom.
    solution = None
    if settings.is_small(dataset):
        solution = proved_solution(objective, dataset)
    here, there = (found[name][-1] for name in BETWEEN)
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


def play(arrays: dict[str, Any]) -> str:
    """Return the plane of the paths as a part of the page that one can play with."""
    found = arrays["paths"]
    return page.landscape(found["live"] | {"share": found["share"]}, level=3)


def plot(arrays: dict[str, Any]) -> Figures:
    every, found = arrays["all"], arrays["paths"]
    examples = f"All {every['examples']:,} examples"
    return {
        **small_figures(arrays),
        "svm_all": Picture(
            surface(every, f"{examples}: loss"),
            "The mean over all training examples. White lines join places of equal loss. Each of "
            "so many facets is still flat, and together they look smooth.",
            "Coloured plane with smooth curves that join places of equal loss.",
        ),
        "svm_all_accuracy": Picture(
            surface(
                every, f"{examples}: accuracy", values=100 * every["accuracy"],
                label="accuracy on the same examples, %", levels=0,
            ),
            "The same plane, coloured by how many examples are answered rightly. Compare where it "
            "is high with where the loss is low. It is made of flat steps, too small to be seen: "
            "there is no slope to walk along, which is why training minimizes the loss instead.",
            "Coloured plane of the accuracy on the same examples, a ragged patchwork.",
        ),
        "zooms": Picture(
            zoomed(arrays["zooms"]),
            "Ever nearer to the lowest point of a line through all examples, with how many kinks "
            "are in each picture. What looks like a smooth bowl turns out to be a chain of "
            "straight pieces.",
            "Line charts of the same curve, each enlarged more than the one before: a smooth bowl "
            "at first, a few straight pieces at the end.",
        ),
        "paths": Picture(
            surface(
                found, "Seven strategies on one plane", paths=found["coordinates"],
                values=np.log10(found["loss"]), zoom=near_the_start(found["coordinates"]), **PLANE,
            ),
            "All strategies set out at the ringed point; a mark of its own is where each ends. The "
            f"plane holds {100 * found['share'].sum():.0f} % of the paths' variance. In the corner "
            "the part about the start once more: there are those that stayed near it. The land is "
            "of this plane, and the paths are shadows on it, so a mark need not be at its own "
            "height.",
            "Coloured plane with the paths of seven strategies from one start, and in a corner the "
            "part about the start, enlarged.",
        ),
        "between": Picture(
            between_two(found["between"]),
            f"On the straight line between the ends of {BETWEEN[0]} and of {BETWEEN[1]} the "
            "objective stays below its chord: there is no hill between two solutions.",
            "Line chart: a curve that sags below the straight line between its two marked points.",
        ),
    }  # fmt: skip


def small_figures(arrays: dict[str, Any]) -> Figures:
    """The notes' own figures, of one, three and a hundred examples."""
    one, facets, hundred, three = (arrays[k] for k in ("one_line", "one_plane", "hundred", "bowl"))
    terms = {f"L{'₀₁₂'[i]}": (three["w"], loss) for i, loss in enumerate(three["examples"])}
    return {
        "svm1d": Picture(
            draw.lines(
                {"loss": (one["t"], one["loss"])},
                points={"kinks": (one["kinks"], one["kink_losses"])},
                xlabel="a, steps along a random direction", ylabel="loss of one example",
                title="One example along a line",
            ),
            "Straight pieces that bend upwards at the marked kinks, and nowhere else.",
            "Line chart of one example's loss: straight pieces that meet at marked kinks.",
        ),
        "svmbowl": Picture(
            draw.lines(
                terms | {"mean of the three": (three["w"], three["mean"])},
                xlabel="the first class's weight", ylabel="loss",
                title="Three hinge losses add up to a bowl",
            ),
            "The smallest possible case: three examples, three classes, one feature. "
            "L₀ falls as the first class's weight grows, the other two rise, each from a "
            "kink of its own on. Their mean is a bowl of straight pieces.",
            "Line chart of three piecewise straight losses, one falling and two rising, and of "
            "their mean, which falls and then rises.",
        ),
        "svm_one": Picture(
            surface(
                facets, "One example: flat facets between kink lines", levels=0,
                segments=list(facets["segments"]),
            ),
            "One example over a plane. On each white line one margin is 0; between the "
            "lines the land is a flat facet, as on a cut stone.",
            "Coloured plane crossed by white straight lines, with flat shading between them.",
        ),
        "svm_hundred": Picture(
            surface(hundred, f"{hundred['examples']} examples: loss"),
            "The mean of a hundred examples: the curves of equal loss look nearly smooth, with "
            "corners still to be seen.",
            "Coloured plane with nearly smooth curves that join places of equal loss.",
        ),
    }  # fmt: skip


def files(arrays: dict[str, Any]) -> dict[str, Callable[[Path], Any]]:
    found = arrays["paths"]
    if not arrays["animate"]:
        return {}

    def walked(path: np.ndarray) -> np.ndarray:
        """Return where a path is in each frame, on the straight way between its points."""
        place = np.linspace(0, len(path) - 1, FRAMES)
        return np.stack([np.interp(place, np.arange(len(path)), axis) for axis in path.T], axis=1)

    figure = surface(found, "Seven hikers, one bowl", values=np.log10(found["loss"]), **PLANE)
    walks = {name: walked(path) for name, path in found["coordinates"].items()}
    return {"hiker.gif": functools.partial(draw.save_walks, figure, walks)}


def surface(part: dict[str, Any], title: str, **options: Any) -> Any:
    """The loss over a plane, or what the options say instead."""
    texts = {"xlabel": "a, along A (1: as long as W)", "ylabel": "b, along B (1: as long as W)"}
    look = {"values": part["loss"], "label": "loss", **texts, **options}
    return draw.plane(part["t"], part["t"], title=title, **look)


def near_the_start(paths: dict[str, np.ndarray]) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top) about the half of the paths that stayed nearest."""
    reach = {name: np.abs(path - path[0]).max() for name, path in paths.items()}
    nearest = sorted(paths, key=lambda name: reach[name])[: (len(paths) + 1) // 2]
    points = np.concatenate([paths[name] for name in nearest])
    low, high = points.min(axis=0), points.max(axis=0)
    room = 0.2 * np.max(high - low)
    left, bottom, right, top = map(float, (*(low - room), *(high + room)))
    return left, right, bottom, top


def zoomed(near: dict[str, Any]) -> Any:
    """The same line in smaller and smaller windows."""
    parts = [
        ({"": (near["t"][i], near["rise"][i])}, f"{zoom:,}×: {near['num_kinks'][i]:,} kinks")
        for i, zoom in enumerate(near["zoom"])
    ]
    return draw.panels(parts, xlabel="a, from the lowest point", ylabel="loss above its lowest")


def between_two(way: dict[str, Any]) -> Any:
    """The objective on the line between two ends."""
    chord = ([0, 1], way["loss"][ends_of(way["t"])])
    return draw.lines(
        {"objective": (way["t"], way["loss"])}, dashed={"chord": chord},
        points={"the two ends": chord}, ylabel="objective",
        xlabel=f"from {BETWEEN[0]} (0) to {BETWEEN[1]} (1)",
        title="Between two solutions there is no barrier",
    )  # fmt: skip


def ends_of(t: np.ndarray) -> np.ndarray:
    """Return where on the grid t = 0 and t = 1 are: the two solutions."""
    return np.argmin(np.abs(t[:, None] - np.array([0.0, 1.0])), axis=0)


def report(arrays: dict[str, Any]) -> str:
    every, near, found = arrays["all"], arrays["zooms"], arrays["paths"]
    nodes = arrays["grid"] ** 2
    kinks = {
        "zoom": [f"{zoom:,}×" for zoom in near["zoom"]],
        "window": [f"±{1 / zoom:g}" for zoom in near["zoom"]],
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
        "where": (*BETWEEN, "lowest in the figure"),
        "place on the line": ("0", "1", f"{way['t'][shown[2]]:.2f}"),
        "objective {:.4g}": way["loss"][shown],
        "accuracy on the same data, % {:.2%}": way["accuracy"][shown],
    }
    return (
        f"A bowl, and yet made of straight pieces: along one line through the mean of all "
        f"{every['examples']:,} examples there are {near['num_kinks'][0]:,} kinks, and between two "
        "of them the land is exactly straight.\n\n"
        "### From one example to a bowl\n\n[[svm1d]]\n\n[[svmbowl]]\n\n[[svm_one]]\n\n"
        "[[svm_hundred]]\n\n"
        f"W is normal of scale {arrays['scale']:g}; the rows of the directions are as long as W's. "
        f"The plane over all {every['examples']:,} examples has {nodes:,} nodes, each with the "
        "exact loss and accuracy; three products with the data gave all of them.\n\n"
        "[[svm_all]]\n\n[[svm_all_accuracy]]\n\n"
        f"### The bowl from nearby\n\n[[zooms]]\n\n{table_of(kinks)}\n\n"
        "### Who walks where\n\n"
        "The strategies of the sections below, from one start. A path of so many numbers has a "
        "shadow on a plane, as a bird has one on the ground. The table says how far off the plane "
        "each path ends, and what the land says at its shadow.\n\n[[paths]]\n\n"
        f"{table_of(ends)}\n\n"
        "### Between two solutions\n\n"
        "The objective is convex: between two points it is never above the straight line that "
        "joins their heights. So a mixture of two solutions may be better than both.\n\n"
        f"[[between]]\n\n{table_of(between)}"
    )


if __name__ == "__main__":
    runner.main(__name__)
