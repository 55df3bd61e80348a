"""What does each step size along the gradient lead to? The notes' table, as the exact curve it is.

    python -m experiments.step_size --dataset cifar10

W is uniform in [0, 0.001), as in the notes. Along minus the gradient the loss is convex and
piecewise linear, L(η) = L(W − η ∇L), with no penalty; two products with the data give all of it:
the notes' ten points, where the first term switches, the best step, the step that gains nothing,
and the straight tail. The products are float32; everything after them is float64.

Expected, on any data: L starts with slope −‖∇L‖² up to the first kink, its secants never fall, a
step ten times the best may already be worse than none, and past the last kink L is a straight line
to the last digit. The notes' own digits cannot come from their listing: at random weights it gives
about 9 or more, never 2.2. Seconds on digits; half a minute on CIFAR-10, on two cores.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import common, reporting
from jaxsvm import Objective, along, analytic_gradient, random_direction, slice_2d
from jaxsvm import plot as draw
from jaxsvm.lines.line import Line


@dataclass(frozen=True)
class Config(common.Config):
    """Follow minus the gradient to every distance at once. One W is drawn: seed 0."""

    lowest: int | None = None
    """The smallest step size is 10 to this power; by default -10, as in the notes (digits: -7)."""
    num: int = 10
    """How many step sizes, each ten times the one before."""
    grid: int = 65
    """Nodes on each axis of the figure of the plane."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.at_least("num", self.num, 4)
        common.at_least("grid", self.grid, 2)


def run(config: Config) -> dict[str, Any]:
    dataset = common.load(config.dataset)
    data, objective = dataset.train, Objective()
    shape = (len(dataset.class_names), data.X.shape[1])
    W = 0.001 * jax.random.uniform(jax.random.key(0), shape)
    gradient = jax.jit(analytic_gradient)(objective, W, data)
    ahead = jax.jit(along)(objective, W, -gradient, data)
    lowest = config.lowest or (-7 if config.dataset == "digits" else -10)
    with jax.enable_x64(True):
        found = exact_curve(in_float64(ahead), lowest, config.num)
    squared = float(np.sum(np.square(np.asarray(gradient), dtype=np.float64)))
    plane, corners = around(objective, W, gradient, found["best_step"], data, config.grid)
    return {**found, "gradient_norm_squared": squared, "plane": plane, "line": corners}


def in_float64(ahead: Line) -> Line:
    """Return the line with the same numbers in float64, so that sums of them round less."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), ahead)


def exact_curve(ahead: Line, lowest: int, num: int) -> dict[str, Any]:
    """Return what the line says about every step size; x64 must be on."""
    value, slopes = jax.jit(Line.value), jax.jit(Line.slopes)
    # lax.map: one point after the other, without num copies of the terms.
    values = jax.jit(lambda ahead, t: jax.lax.map(lambda s: ahead.value(s), t))
    start = float(value(ahead, 0.0))
    best = jax.jit(Line.minimum)(ahead)
    every = np.asarray(jax.jit(Line.kinks)(ahead))
    ahead_of_us = every[(every > 0) & np.isfinite(every)]
    best_step = float(best.t_low)

    # Past its minimum a convex curve rises for good: double until it is above the start, bisect.
    low, high = best_step, 2 * best_step
    while float(value(ahead, high)) < start:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(value(ahead, middle)) < start else (low, middle)

    last = float(ahead_of_us[-1])
    tail_slope = float(slopes(ahead, last)[1])
    sampled = 10.0 ** np.arange(lowest, lowest + num)
    first_kink = float(ahead_of_us[0])
    curve = np.geomspace(min(sampled[0], first_kink / 2), sampled[-1], 301)
    near = np.linspace(0, 5 * best_step, 241)
    return {
        "loss_before": start,
        "step_sizes": sampled,
        "losses": np.asarray(values(ahead, jnp.asarray(sampled))),
        "slope_at_start": float(slopes(ahead, 0.0)[1]),
        "first_kink": first_kink,
        "num_kinks": len(ahead_of_us),
        "kinks_before_best": int((ahead_of_us < best_step).sum()),
        "best_step": best_step,
        "best_step_high": float(best.t_high),
        "best_loss": float(best.value),
        "break_even": high,
        "last_kink": last,
        "tail_slope": tail_slope,
        "tail_intercept": float(value(ahead, 2 * last)) - tail_slope * 2 * last,
        "curve": {"step_size": curve, "loss": np.asarray(values(ahead, jnp.asarray(curve)))},
        "near": {
            "step_size": near,
            "loss": np.asarray(
                jax.jit(Line.values, static_argnames="num")(
                    ahead, start=0.0, stop=5 * best_step, num=241
                )
            ),
        },
    }


def around(
    objective: Objective, W: Any, gradient: Any, best_step: float, data: Any, num: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plane of the gradient and a random direction about the best step's end.

    The two axes are the half sum and the half difference of the two, so that the way down runs
    along the diagonal, where no axis hides it.
    """
    down = -best_step * gradient
    sideways = random_direction(jax.random.key(1), W, normalize="unit")
    unit = down / jnp.linalg.norm(down)
    sideways = sideways - jnp.sum(sideways * unit) * unit
    sideways = sideways * (jnp.linalg.norm(down) / jnp.linalg.norm(sideways))
    a, b = (down + sideways) / 2, (down - sideways) / 2
    found = jax.jit(slice_2d, static_argnames="num")(
        objective, W + down, a, b, data, start=-2.0, stop=2.0, num=num
    )
    plane = {"t": np.asarray(found.t), "loss": np.asarray(found.loss)}
    # In these axes a step along `down` moves both coordinates alike: W is at (−1, −1).
    return plane, {"start": (-1.0, -1.0), "arrow": (-0.3, -0.3), "end": (2.0, 2.0)}


def secants(arrays: dict[str, Any]) -> np.ndarray:
    """Return the slopes between the step table's rows, the start being the first row."""
    steps = np.append(0.0, arrays["step_sizes"])
    losses = np.append(arrays["loss_before"], arrays["losses"])
    return np.diff(losses) / np.diff(steps)


def tail_formula(arrays: dict[str, Any]) -> str:
    return f"tail {arrays['tail_intercept']:.4g} + {arrays['tail_slope']:.4g} η"


def plot(arrays: dict[str, Any], path: Path) -> list[Path]:
    marks = {
        f"first kink {arrays['first_kink']:.3g}": arrays["first_kink"],
        f"best {arrays['best_step']:.3g}": arrays["best_step"],
        f"break-even {arrays['break_even']:.3g}": arrays["break_even"],
    }
    start = {f"no step {arrays['loss_before']:.4g}": arrays["loss_before"]}
    curve, near = arrays["curve"], arrays["near"]
    tail = arrays["tail_intercept"] + arrays["tail_slope"] * curve["step_size"]
    # On logarithmic axes: where the line is far below the curve there is nothing to see.
    tail = np.where(tail > 0.5 * arrays["best_loss"], tail, np.nan)
    table = draw.lines(
        {"exact": (curve["step_size"], curve["loss"])},
        dashed={tail_formula(arrays): (curve["step_size"], tail)},
        points={"the table's steps": (arrays["step_sizes"], arrays["losses"])},
        vertical=marks,
        horizontal=start,
        xlabel="step size η",
        ylabel="loss after the step, L(W − η ∇L)",
        title="The step size: every one of them",
        xscale="log",
        yscale="log",
    )
    inside = arrays["step_sizes"] <= near["step_size"][-1]
    close = draw.lines(
        {"exact": (near["step_size"], near["loss"])},
        points={"the table's steps": (arrays["step_sizes"][inside], arrays["losses"][inside])},
        vertical=dict(list(marks.items())[:2]),
        horizontal=start,
        xlabel="step size η",
        ylabel="loss after the step",
        title="Near the best step",
    )
    where = arrays["line"]
    bowl = draw.plane(
        arrays["plane"]["t"],
        arrays["plane"]["t"],
        np.log10(arrays["plane"]["loss"]),
        xlabel="half the best step and as far to one side",
        ylabel="half the best step and as far to the other",
        label="log₁₀ of the loss",
        title="Along minus the gradient: how far?",
        points={"W": where["start"]},
        arrow=(where["start"], where["arrow"]),
        dashes=[(where["start"], where["end"])],
    )
    return [
        draw.save_figure(table, path / "step_table.png"),
        draw.save_figure(close, path / "near_the_best_step.png"),
        draw.save_figure(bowl, path / "stepsize.png"),
    ]


def report(arrays: dict[str, Any]) -> str:
    start, steps, losses = arrays["loss_before"], arrays["step_sizes"], arrays["losses"]
    slopes = secants(arrays)
    table = reporting.table(
        ("step size η", "loss after it", "slope since the row above"),
        [("0", f"{start:.6f}", "")]
        + [
            (f"{e:.0e}", f"{f:.6f}", f"{s:.6g}")
            for e, f, s in zip(steps, losses, slopes, strict=True)
        ],
    )
    falls = int((np.diff(slopes) < -1e-9 * np.max(np.abs(slopes))).sum())
    lowest = int(np.argmin(losses))
    worse = steps[(steps > steps[lowest]) & (losses > start)]
    straight = np.ptp(slopes[-2:]) / abs(slopes[-1])
    tail = arrays["tail_intercept"] + arrays["tail_slope"] * steps[-1]
    facts = reporting.table(
        ("of the curve", "measured"),
        [
            ("slope at 0", f"{arrays['slope_at_start']:.6g}"),
            ("−‖∇L‖²", f"{-arrays['gradient_norm_squared']:.6g}"),
            ("first kink", f"{arrays['first_kink']:.4g}"),
            ("best step", f"{arrays['best_step']:.6g}, loss {arrays['best_loss']:.6f}"),
            ("break-even step", f"{arrays['break_even']:.6g}"),
            ("kinks ahead", f"{arrays['num_kinks']:,}"),
            ("of them before the best", f"{arrays['kinks_before_best']:,}"),
            ("last kink", f"{arrays['last_kink']:.4g}"),
            ("tail", f"{arrays['tail_intercept']:.6g} + {arrays['tail_slope']:.6g} η"),
            # The first rows differ from the start by little, so their secants carry its rounding.
            ("secants that fall by over 1e-9 of the steepest", f"{falls} of {len(slopes) - 1}"),
            ("lowest of the table", f"η = {steps[lowest]:.0e}"),
            ("first of the table worse than no step", f"{worse[0]:.0e}" if len(worse) else "none"),
            ("last two secants differ by", f"{straight:.1e} of themselves"),
            ("the tail's line misses the last row by", f"{abs(tail / losses[-1] - 1):.1e} of it"),
        ],
    )
    return (
        "W is uniform in [0, 0.001), no penalty. The notes' table has these properties too: it "
        "starts straight, its secants never fall, and it ends in a straight line, so no penalty is "
        "in it. "
        "Its digits do not come from its listing: scores that do not depend on the label give a "
        f"loss near 9 or above, here {start:.4f}.\n\n{table}\n\n{facts}"
    )


if __name__ == "__main__":
    common.main(sys.modules[__name__])
