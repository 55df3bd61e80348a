"""What does each step size along the gradient lead to? The notes' table, as the exact curve it is.

    python -m experiments.step_size --dataset cifar10

W is uniform in [0, 0.001), as in the notes. Along minus the gradient the loss is convex and
piecewise linear, L(η) = L(W − η ∇L), with no penalty; two products with the data give all of it:
the notes' ten points, where the first term switches, the best step, the step that gains nothing,
and the straight tail. The products are float32; everything after them is float64.

Expected, on any data: L starts with slope −‖∇L‖² up to the first kink, its secants never fall, a
step ten times the best may already be worse than none, and past the last kink L is a straight line
to the last digit (a flat one if the gradient alone parts the classes: then no step is too long).
The notes' own digits cannot come from their listing: at random weights it gives about 9 or more,
never 2.2. Seconds on digits; half a minute on CIFAR-10, on two cores.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import compiled, options, recipes, runner, settings
from experiments.shared.figures import LOG_LOG, Figures, Picture
from experiments.shared.report import Claim, Story
from experiments.shared.text import table
from jaxsvm import Objective, random_direction
from jaxsvm import plot as draw
from jaxsvm.lines.line import Line

# From W along minus the gradient, in units of the best step.
LINE = {"start": (0.0, 0.0), "arrow": (0.7, 0.0), "end": (3.0, 0.0)}
# What a loss of 0 is drawn as, where a logarithm is taken.
SMALLEST = 1e-6

STORY = Story(
    "The gradient says where to. How far?",
    r"""Along minus the gradient the land falls most steeply, and nothing says for how long. The
notes print a table: ten step sizes $\eta$, each ten times the one before, and the loss after each
step,

$$L(\eta) = L(W - \eta\, \nabla L(W)).$$

Too short a step hardly moves, too long a step ends on the other side, higher than before. The table
samples a curve that needs no sampling: along a line the loss is a sum of hinges, so two products
with the data give it at *every* $\eta$, with its kinks and its lowest point.""",
    "So one step can be taken as far as it is worth. Nobody gets to the bottom in one. What "
    "happens when the hiker takes a thousand?",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Follow minus the gradient to every distance at once. One W is drawn: seed 0.

    Attributes:
        lowest: The smallest step size is 10 to this power; by default -10, as in the notes
            (digits: -7; other data: inverse to the examples' squared length).
        num: How many step sizes, each ten times the one before.
        grid: Nodes on each axis of the figure of the plane.
    """

    lowest: int | None = None
    num: Annotated[int, options.at_least(4)] = 10
    grid: Annotated[int, options.at_least(2)] = 65

    is_mostly_compilation: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    dataset, objective = settings.load(config.source, "centred"), Objective()
    data, W = dataset.train, recipes.uniform_weights(dataset, seed=0)
    gradient = compiled.analytic_gradient(objective, W, data)
    ahead = compiled.along(objective, W, -gradient, data)
    lowest = settings.suiting(dataset).first_power if config.lowest is None else config.lowest
    with jax.enable_x64(True):
        found = exact_curve(recipes.in_float64(ahead), lowest, config.num)
    down, sideways = axes(W, gradient, found["best_step"])
    ends, middle = {"start": -2.0, "stop": 2.0}, W + down
    plane = compiled.slice_2d(objective, middle, down, sideways, data, num=config.grid, **ends)
    return {
        **found,
        "dataset": settings.facts(dataset),
        "num_classes": len(W),
        "gradient_norm_squared": float(np.sum(np.square(np.asarray(gradient), dtype=np.float64))),
        "plane": {"t": np.asarray(plane.t), "loss": np.asarray(plane.loss)},
        "line": LINE,
    }


def exact_curve(ahead: Line, lowest: int, num: int) -> dict[str, Any]:
    """Return what the line says about every step size; x64 must be on."""
    value, slopes = compiled.value, jax.jit(Line.slopes)
    # lax.map: one point after the other, without num copies of the terms.
    values = jax.jit(lambda ahead, t: jax.lax.map(lambda s: ahead.value(s), t))
    best = compiled.minimum(ahead)
    start, best_step = float(value(ahead, 0.0)), float(best.t_low)
    every = np.asarray(compiled.kinks(ahead))
    kinks = every[(every > 0) & np.isfinite(every)]
    first, last = float(kinks[0]), float(kinks[-1])

    tail_slope = float(slopes(ahead, last)[1])
    sampled = 10.0 ** np.arange(lowest, lowest + num)
    curve = np.geomspace(min(sampled[0], first / 2), sampled[-1], 301)
    near = compiled.values(ahead, start=0.0, stop=5 * best_step, num=241)
    return {
        "loss_before": start,
        "step_sizes": sampled,
        "losses": np.asarray(values(ahead, jnp.asarray(sampled))),
        "slope_at_start": float(slopes(ahead, 0.0)[1]),
        "first_kink": first,
        "num_kinks": len(kinks),
        "kinks_before_best": int((kinks < best_step).sum()),
        "best_step": best_step,
        "best_step_high": float(best.t_high),
        "best_loss": float(best.value),
        "break_even": break_even(ahead, start, best_step) if tail_slope > 0 else np.inf,
        "last_kink": last,
        "tail_slope": tail_slope,
        "tail_intercept": float(value(ahead, 2 * last)) - tail_slope * 2 * last,
        "curve": {"step_size": curve, "loss": np.asarray(values(ahead, jnp.asarray(curve)))},
        "near": {"step_size": np.linspace(0, 5 * best_step, 241), "loss": np.asarray(near)},
    }


def break_even(ahead: Line, start: float, best_step: float) -> float:
    """Return the step past the best one at which a line that rises is at its start's value."""
    # Past its minimum a convex curve rises for good: double until it is above the start, bisect.
    low, high = best_step, 2 * best_step
    while float(compiled.value(ahead, high)) < start:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        below = float(compiled.value(ahead, middle)) < start
        low, high = (middle, high) if below else (low, middle)
    return high


def axes(W: Any, gradient: Any, best_step: float) -> tuple[Any, Any]:
    """Return two directions: the best step, and one across it that is random and as long."""
    down = -best_step * gradient
    sideways = random_direction(jax.random.key(1), W, normalize="unit")
    unit = down / jnp.linalg.norm(down)
    sideways = sideways - jnp.sum(sideways * unit) * unit
    return down, sideways * (jnp.linalg.norm(down) / jnp.linalg.norm(sideways))


def secants(arrays: dict[str, Any]) -> np.ndarray:
    """Return the slopes between the step table's rows, the start being the first row."""
    steps = np.append(0.0, arrays["step_sizes"])
    losses = np.append(arrays["loss_before"], arrays["losses"])
    return np.diff(losses) / np.diff(steps)


def plot(arrays: dict[str, Any]) -> Figures:
    curve, near, plane = arrays["curve"], arrays["near"], arrays["plane"]
    intercept, slope = arrays["tail_intercept"], arrays["tail_slope"]
    names = {"first kink": "first_kink", "best": "best_step", "break-even": "break_even"}
    places = {name: arrays[key] for name, key in names.items() if np.isfinite(arrays[key])}
    marks = {f"{name} {place:.3g}": place for name, place in places.items()}
    start = {f"no step {arrays['loss_before']:.4g}": arrays["loss_before"]}
    tail = intercept + slope * curve["step_size"]
    # On logarithmic axes: where the line is far below the curve there is nothing to see.
    tail = np.where(tail > 0.5 * arrays["best_loss"], tail, np.nan)
    steps, losses = arrays["step_sizes"], arrays["losses"]
    inside = steps <= near["step_size"][-1]
    return {
        "stepsize": Picture(
            draw.plane(
                plane["t"] + 1, plane["t"], np.log10(np.maximum(plane["loss"], SMALLEST)),
                points={"W": LINE["start"]},
                arrow=(LINE["start"], LINE["arrow"]), dashes=[(LINE["start"], LINE["end"])],
                xlabel="step along minus the gradient (1: the best step)",
                ylabel="as far across it, at random",
                label="log₁₀ of the loss", title="Which way is known. How far is not",
            ),
            "Seen from above: the hiker stands at W, the arrow is minus the gradient, and the "
            "dashed line goes on where the arrow points. The dark valley ends soon: past the best "
            "step, at 1, the line climbs again.",
            "Coloured plane with an arrow from W towards a dark valley, and a dashed line through "
            "the valley and up its other side.",
        ),
        "step_table": Picture(
            draw.lines(
                {"exact": (curve["step_size"], curve["loss"])},
                dashed={f"tail {intercept:.4g} + {slope:.4g} η": (curve["step_size"], tail)},
                points={"the table's steps": (steps, losses)}, vertical=marks, horizontal=start,
                xlabel="step size η", ylabel="loss after the step", **LOG_LOG,
                title="The notes' table, and everything between its rows",
            ),
            "The dots are the table, the curve is exact. Nothing happens for the shortest steps, "
            "then comes a narrow valley, and then a wall: past the last kink the loss is a "
            "straight line, the dashed tail.",
            "Line chart on logarithmic axes: level at first, a valley at the best step, then a "
            "straight rise; the table's steps are dots on it.",
        ),
        "near_the_best_step": Picture(
            draw.lines(
                {"exact": (near["step_size"], near["loss"])},
                points={"the table's steps": (steps[inside], losses[inside])},
                vertical=dict(list(marks.items())[:2]), horizontal=start,
                xlabel="step size η", ylabel="loss after the step", title="Near the best step",
            ),
            "The same valley on plain axes. Look on which side of the best step it is steeper: "
            "there a step of the wrong length loses more.",
            "Line chart of the loss near the best step: a fall to it and a rise behind it.",
        ),
    }  # fmt: skip


def report(arrays: dict[str, Any]) -> str:
    start, steps, losses = arrays["loss_before"], arrays["step_sizes"], arrays["losses"]
    slopes = secants(arrays)
    falls = int((np.diff(slopes) < -1e-9 * np.max(np.abs(slopes))).sum())
    lowest = int(np.argmin(losses))
    worse = steps[(steps > steps[lowest]) & (losses > start)]
    tail, even = arrays["tail_intercept"] + arrays["tail_slope"] * steps[-1], arrays["break_even"]
    straight = missed = "nothing: both are 0"
    if slopes[-1] != 0:
        straight = f"{np.ptp(slopes[-2:]) / abs(slopes[-1]):.1e} of themselves"
    if losses[-1] != 0:
        missed = f"{abs(tail / losses[-1] - 1):.1e} of it"
    sampled = table(
        "step size η {:.0e} | loss after it {:.6f} | slope since the row above {:.6g}",
        [("0", start, ""), *zip(steps, losses, slopes, strict=True)],
    )
    facts = [
        ("slope at 0", f"{arrays['slope_at_start']:.6g}"),
        ("−‖∇L‖²", f"{-arrays['gradient_norm_squared']:.6g}"),
        ("first kink", f"{arrays['first_kink']:.4g}"),
        ("best step", f"{arrays['best_step']:.6g}, loss {arrays['best_loss']:.6f}"),
        ("break-even step", f"{even:.6g}" if np.isfinite(even) else "none: the tail is flat"),
        ("kinks ahead", f"{arrays['num_kinks']:,}"),
        ("of them before the best", f"{arrays['kinks_before_best']:,}"),
        ("last kink", f"{arrays['last_kink']:.4g}"),
        ("tail", f"{arrays['tail_intercept']:.6g} + {arrays['tail_slope']:.6g} η"),
        # The first rows differ from the start by little, so their secants carry its rounding.
        ("secants that fall by over 1e-9 of the steepest", f"{falls} of {len(slopes) - 1}"),
        ("lowest of the table", f"η = {steps[lowest]:.0e}"),
        ("first of the table worse than no step", f"{worse[0]:.0e}" if len(worse) else "none"),
        ("last two secants differ by", straight),
        ("the tail's line misses the last row by", missed),
    ]
    return (
        f"The best step, {arrays['best_step']:.3g}, brings the loss from {start:.3f} to "
        f"{arrays['best_loss']:.3f} at once; "
        + (f"a step beyond {even:.3g} is worse than none.\n\n" if np.isfinite(even)
           else "no step is so long that it is worse than none.\n\n")
        + "[[stepsize]]\n\n"
        f"W is uniform in [0, 0.001), as in the notes, and there is no penalty.\n\n{sampled}\n\n"
        "[[step_table]]\n\n[[near_the_best_step]]\n\n"
        "### Is it the notes' table?\n\n"
        "It has the same shape: it starts straight, its secants never fall, and it ends in a "
        "straight line, so that no penalty is in it. Its digits are others, and the notes' own "
        "cannot come from their listing: scores that know no labels give a loss near C − 1 or "
        f"above, 9 for ten classes. Here, with {arrays['num_classes']} classes, it starts at "
        f"{start:.4f}.\n\n"
        + table("of the curve | measured", facts)
    )  # fmt: skip


def claims(arrays: dict[str, Any]) -> list[Claim]:
    start, losses = arrays["loss_before"], arrays["losses"]
    slopes = secants(arrays)
    convex = bool((np.diff(slopes) > -1e-9 * np.max(np.abs(slopes))).all())
    lowest = int(np.argmin(losses))
    shape = convex and losses[lowest] < start < losses[-1]
    return [
        Claim(
            "the table of step sizes falls, reaches a lowest loss and then explodes",
            f"from {start:.3f} down to {losses[lowest]:.3f} at η = "
            f"{arrays['step_sizes'][lowest]:.0e}, then up to {losses[-1]:.3g}; its secants "
            + ("never fall" if convex else "fall somewhere"),
            "reproduced, with other digits" if shape else "not reproduced",
        )
    ]


if __name__ == "__main__":
    runner.main(__name__)
