"""A plane of the loss over all the data, and the exact step, beside what there was before.

- a plane of loss and accuracy, num × num, against direct evaluation: the compiled full loss,
  vmapped over a few points at a time, measured on 16 of them and scaled to the grid;
- one row of it at several sizes, to see what a node costs;
- the exact line search against up to 100 evaluations of the objective on the same line, by
  optax's backtracking or one by one, with the value that each reaches; and against a sort of all
  the kinks;
- the `loss-landscapes` package on a torch linear layer, in its own virtual environment (pip install
  torch loss-landscapes), whose interpreter ``--landscapes-python`` names.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark import common
from jaxsvm import Objective, along, analytic_gradient, random_direction, slice_2d
from jaxsvm import plot as draw
from jaxsvm.lines.line import Line

# How many points are evaluated directly, for a grid of any size.
SAMPLED_POINTS = 16

_plane = jax.jit(slice_2d, static_argnames="num")
_grid = jax.jit(Line.values, static_argnames="num")


def run(config: common.Config) -> list[common.Row]:
    W_host, _, data = common.problem(config)
    W, objective = jnp.asarray(W_host), Objective()
    a, b = (random_direction(jax.random.key(i), W, normalize="rows") for i in (1, 2))
    sizes = (64, 256, 1024) if config.size == "full" else (8,)
    found = planes(objective, W, a, b, data, sizes, config)
    found += one_row(objective, W, a, data, config)
    found += exact_step(objective, W, data, config)
    found += torch_package(objective, W, data, sizes, config)
    return found + common.memory_rows(
        "landscape",
        f"peak memory of a plane {sizes[-1]} x {sizes[-1]}, beyond X and W",
        f"{__name__}:plane_alone",
        config.size,
        str(sizes[-1]),
    )


def planes(
    objective: Objective, W: Any, a: Any, b: Any, data: Any, sizes: Any, config: common.Config
) -> list[common.Row]:
    """Planes of each size beside the direct evaluation of a few points, scaled to the plane."""
    W_points = W[None] + jnp.linspace(-1, 1, SAMPLED_POINTS)[:, None, None] * a[None]
    direct = jax.jit(
        lambda points, data: jax.lax.map(lambda p: objective(p, data), points, batch_size=8)
    )
    found = []
    for num in sizes:
        peers: dict[str, Callable[[], Any]] = {
            "jaxsvm, slice_2d": partial(_plane, objective, W, a, b, data, num=num),
            "direct": lambda: direct(W_points, data),
        }
        plane, sample = common.compare("landscape", f"plane {num} x {num}", peers, config)
        scale = num * num / SAMPLED_POINTS
        found += [
            plane,
            sample._replace(
                peer=f"direct, {SAMPLED_POINTS} points scaled to {num * num}",
                median=scale * sample.median,
                lower=scale * sample.lower,
                upper=scale * sample.upper,
            ),
        ]
    return found


def one_row(
    objective: Objective, W: Any, a: Any, data: Any, config: common.Config
) -> list[common.Row]:
    """One line at several grid sizes: the cost is the terms', then the nodes'."""
    ahead = jax.jit(along)(objective, W, a, data)
    sizes = (2, 4, 5, 64, 1024, 16_384, 262_144) if config.size == "full" else (4, 64)
    found = []
    for num in sizes:
        call = {
            "jaxsvm, values_on_grid": lambda num=num: _grid(ahead, start=-1.0, stop=1.0, num=num)
        }
        found += common.compare("landscape", f"row of {num}", call, config)
    nodes = np.array(sizes, float)
    figure = draw.lines(
        {"a row": (nodes, np.array([1e3 * row.median for row in found]))},
        xlabel="nodes on the row",
        ylabel="milliseconds",
        title=f"{data.y.shape[0] * W.shape[0]:,} terms: what a row costs",
        xscale="log",
        marker="o",
    )
    config.out.mkdir(parents=True, exist_ok=True)
    draw.save_figure(figure, config.out / "landscape_rows.png")
    return found


def exact_step(objective: Objective, W: Any, data: Any, config: common.Config) -> list[common.Row]:
    """The best step along minus the gradient: found exactly, and by evaluating the objective.

    Who searches is given W, the gradient and the objective at W. Backtracking tries ever smaller
    steps, up to 100 of them, until the objective falls by ``slope_rtol`` of what the slope
    promises: from optax's own start, 1, or from 1,000 times the best step, by optax's own factor
    or by the one with which about a hundred steps lead to the best. A slope_rtol of 1/2 is the
    best there can be on a parabola, where the first step so accepted is near the lowest point.
    """
    gradient = jax.jit(analytic_gradient)(objective, W, data)
    value = jax.jit(objective)
    before = value(W, data)

    @jax.jit
    def exact(W: Any, gradient: Any, data: Any) -> Any:
        return along(objective, W, -gradient, data).minimum().t_low

    best = float(exact(W, gradient, data))

    @partial(jax.jit, static_argnames="search")
    def backtrack(search: Any, W: Any, before: Any, gradient: Any, data: Any) -> Any:
        _, state = search.update(
            -gradient, search.init(W), W,
            value=before, grad=gradient, value_fn=lambda W: objective(W, data),
        )  # fmt: skip
        return state.learning_rate, state.info.num_linesearch_steps

    @jax.jit
    def try_all(W: Any, gradient: Any, data: Any) -> Any:
        losses = jax.lax.map(lambda t: objective(W - t * gradient, data), sizes)
        return sizes[jnp.argmin(losses)]

    far = {"max_learning_rate": 1000 * best, "increase_factor": float("inf")}
    settings: dict[str, dict[str, float]] = {
        "optax backtracking, defaults": {},
        "optax backtracking, from 1000 × best": far,
        "optax backtracking, from 1000 × best, factor 0.93, slope_rtol 0.5": far
        | {"decrease_factor": 0.93, "slope_rtol": 0.5},
    }
    sizes = jnp.geomspace(1e-3 * best, 1e3 * best, 100, dtype=W.dtype)
    searches: dict[str, Callable[[], Any]] = {
        "jaxsvm, two products and minimum": lambda: (exact(W, gradient, data), None)
    }
    for name, options in settings.items():
        search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=99, **options)
        searches[name] = partial(backtrack, search, W, before, gradient, data)
    searches["the best of 100 steps from best/1000 to 1000 × best"] = lambda: (
        try_all(W, gradient, data),
        len(sizes),
    )

    rows = common.compare("landscape", "best step along the gradient", searches, config)
    found = []
    for row in rows:
        step, evaluations = searches[row.peer]()
        found.append(
            row._replace(
                reached=float(value(W - step * gradient, data)),
                evaluations=None if evaluations is None else int(evaluations),
            )
        )
    print(f"best step: the objective is {float(before):.6f} before it")

    ahead = jax.jit(along)(objective, W, -gradient, data)
    minimum, kinks = jax.jit(Line.minimum), jax.jit(Line.kinks)
    return found + common.compare(
        "landscape",
        "minimum of a line at hand",
        {
            "jaxsvm, bisection": lambda: minimum(ahead),
            "sort of the kinks alone": lambda: kinks(ahead),
        },
        config,
    )


def torch_package(
    objective: Objective, W: Any, data: Any, sizes: Any, config: common.Config
) -> list[common.Row]:
    """The `loss-landscapes` package on the same weights and data, a few points scaled to planes.

    In a process of its own, which waits while others are measured, in the interpreter that the
    option names: the package's dependencies are no part of ours.

    Raises:
        RuntimeError: its loss at W is not ours.
        subprocess.CalledProcessError: it failed; its own message is on stderr.
    """
    python = str(config.landscapes_python or sys.executable)
    probe = [python, "-c", "import torch, loss_landscapes"]
    if (tried := subprocess.run(probe, capture_output=True, text=True, check=False)).returncode:
        why = tried.stderr.strip().splitlines()[-1]
        print(
            f"loss-landscapes is skipped, {python} says {why!r}: in a virtual environment do `pip "
            "install torch loss-landscapes`, and give its interpreter as --landscapes-python"
        )
        return []
    side = 4
    script = Path(__file__).with_name("loss_landscapes_peer.py")
    with tempfile.TemporaryDirectory() as folder:
        for name, array in {"W": W, "X": data.X, "y": data.y}.items():
            np.save(Path(folder, f"{name}.npy"), np.asarray(array))
        command = [python, str(script), folder, str(side)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:

            def answer() -> Any:
                assert child.stdout
                if not (text := child.stdout.readline()):
                    raise subprocess.CalledProcessError(child.wait(), command)
                return json.loads(text)

            def draw_plane() -> Any:
                print(file=child.stdin, flush=True)
                return answer()

            hello = answer()
            ours = float(jax.jit(objective)(W, data))  # no penalty in it
            if not np.isclose(hello["loss"], ours, rtol=1e-4):
                raise RuntimeError(f"loss-landscapes: {hello['loss']} at W, and ours is {ours}")
            (row,) = common.compare("landscape", "", {"package": draw_plane}, config)
    found = []
    for num in sizes:
        scale = num * num / side**2
        found.append(
            row._replace(
                work=f"plane {num} x {num}",
                peer=f"{hello['versions']}, {side**2} points scaled to {num * num}",
                median=scale * row.median,
                lower=scale * row.lower,
                upper=scale * row.upper,
            )
        )
    return found


def plane_alone(size: str, num: str) -> Callable[[], Any]:
    """Return the compiled plane of data at hand, to be called in a process of its own."""
    W, data = common.random_data(common.Config(size="full" if size == "full" else "tiny"), "floats")
    arrays = Objective(), W, W[::-1], W[:, ::-1], data
    return partial(_plane.lower(*arrays, num=int(num)).compile(), *arrays)
