"""A plane of the loss over all the data, and the exact step, beside other ways to compute them.

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

from experiments.benchmark import harness
from experiments.benchmark.harness import Config, Peers, Row, compare, scaled
from experiments.shared import compiled
from experiments.shared.timing import ready
from jaxsvm import Data, Objective, along, random_direction
from jaxsvm import plot as draw

PART = "landscape"
OBJECTIVE = Objective()
# How many points are evaluated directly, for a grid of any size.
SAMPLED_POINTS = 16


def run(config: Config) -> list[Row]:
    W, _, data = harness.problem(config)
    sizes = (64, 256, 1024) if config.full else (8,)
    rows = planes(W, data, sizes, config) + one_row(W, data, config)
    rows += exact_step(W, data, config) + line_at_hand(W, data, config)
    rows += torch_package(W, data, sizes, config)
    work = f"peak memory of a plane {sizes[-1]} x {sizes[-1]}, beyond X and W"
    arguments = f"{__name__}:plane_alone", config.size, str(sizes[-1])
    return rows + harness.memory_rows(PART, work, *arguments)


def direction(W: Any, seed: int) -> Any:
    return random_direction(jax.random.key(seed), W, normalize="rows")


def planes(W: Any, data: Data, sizes: tuple[int, ...], config: Config) -> list[Row]:
    """Planes of each size beside the direct evaluation of a few points, scaled to the plane."""
    a, b = direction(W, 1), direction(W, 2)
    points = W[None] + jnp.linspace(-1, 1, SAMPLED_POINTS)[:, None, None] * a[None]

    @jax.jit
    def direct(points: Any, data: Data) -> Any:
        return jax.lax.map(lambda W: OBJECTIVE(W, data), points, batch_size=8)

    rows = []
    for num in sizes:
        peers: Peers = {
            "jaxsvm, slice_2d": partial(compiled.slice_2d, OBJECTIVE, W, a, b, data, num=num),
            "direct": partial(direct, points, data),
        }
        plane, sample = compare(PART, f"plane {num} x {num}", peers, config)
        peer = f"direct, {SAMPLED_POINTS} points scaled to {num * num}"
        rows += [plane, scaled(sample, num * num / SAMPLED_POINTS, peer=peer)]
    return rows


def one_row(W: Any, data: Data, config: Config) -> list[Row]:
    """One line at several grid sizes: the cost is the terms', then the nodes'."""
    ahead = compiled.along(OBJECTIVE, W, direction(W, 1), data)
    sizes = (2, 4, 5, 64, 1024, 16_384, 262_144) if config.full else (4, 64)
    rows = []
    for num in sizes:
        grid = partial(compiled.values, ahead, start=-1.0, stop=1.0, num=num)
        rows += compare(PART, f"row of {num}", {"jaxsvm, values_on_grid": grid}, config)
    milliseconds = [1e3 * row.median for row in rows]
    figure = draw.lines(
        {"a row": (sizes, milliseconds)}, xlabel="nodes on the row", ylabel="milliseconds",
        title=f"{len(data.y) * len(W):,} terms: what a row costs", xscale="log", marker="o",
    )  # fmt: skip
    draw.save_figure(figure, config.out / "landscape_rows.png")
    return rows


def exact_step(W: Any, data: Data, config: Config) -> list[Row]:
    """The best step along minus the gradient: found exactly, and by evaluating the objective.

    Each search is given W, the gradient and the objective at W. Backtracking tries ever smaller
    steps, up to 100 of them, until the objective falls by ``slope_rtol`` of what the slope
    promises: from optax's own start, 1, or from 1,000 times the best step, by optax's own factor
    or by the one with which about a hundred steps lead to the best. A slope_rtol of 1/2 is the
    best there can be on a parabola, where the first step so accepted is near the lowest point.
    """
    gradient = compiled.analytic_gradient(OBJECTIVE, W, data)
    value = jax.jit(OBJECTIVE)
    before = value(W, data)

    @jax.jit
    def exact(W: Any, gradient: Any, data: Data) -> Any:
        return along(OBJECTIVE, W, -gradient, data).minimum().t_low

    @partial(jax.jit, static_argnames="search")
    def backtrack(search: Any, W: Any, before: Any, gradient: Any, data: Data) -> Any:
        _, state = search.update(
            -gradient, search.init(W), W,
            value=before, grad=gradient, value_fn=lambda W: OBJECTIVE(W, data),
        )  # fmt: skip
        return state.learning_rate, state.info.num_linesearch_steps

    best = float(exact(W, gradient, data))
    sizes = jnp.geomspace(1e-3 * best, 1e3 * best, 100, dtype=W.dtype)

    @jax.jit
    def try_all(W: Any, gradient: Any, data: Data) -> Any:
        losses = jax.lax.map(lambda t: OBJECTIVE(W - t * gradient, data), sizes)
        return sizes[jnp.argmin(losses)]

    far = {"max_learning_rate": 1000 * best, "increase_factor": float("inf")}
    fine = far | {"decrease_factor": 0.93, "slope_rtol": 0.5}
    settings: dict[str, dict[str, float]] = {
        "optax backtracking, defaults": {},
        "optax backtracking, from 1000 × best": far,
        "optax backtracking, from 1000 × best, factor 0.93, slope_rtol 0.5": fine,
    }
    searches: Peers = {"jaxsvm, two products and minimum": lambda: (exact(W, gradient, data), None)}
    for name, options in settings.items():
        search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=99, **options)
        searches[name] = partial(backtrack, search, W, before, gradient, data)
    name = "the best of 100 steps from best/1000 to 1000 × best"
    searches[name] = lambda: (try_all(W, gradient, data), len(sizes))

    rows = []
    for row in compare(PART, "best step along the gradient", searches, config):
        step, count = searches[row.peer]()
        reached = float(value(W - step * gradient, data))
        count = None if count is None else int(count)
        rows.append(row._replace(reached=reached, evaluations=count))
    print(f"best step: the objective is {float(before):.6f} before it")
    return rows


def line_at_hand(W: Any, data: Data, config: Config) -> list[Row]:
    """The minimum of a line, without the two products that the line took."""
    gradient = compiled.analytic_gradient(OBJECTIVE, W, data)
    ahead = compiled.along(OBJECTIVE, W, -gradient, data)
    peers: Peers = {
        "jaxsvm, bisection": partial(compiled.minimum, ahead),
        "sort of the kinks alone": partial(compiled.kinks, ahead),
    }
    return compare(PART, "minimum of a line at hand", peers, config)


def lacks_peer(python: str) -> str:
    """Return why an interpreter cannot run the peer, empty where it can.

    Raises:
        OSError: there is no such program.
    """
    probe = [python, "-c", "import torch, loss_landscapes; print('both')"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode == 0 and tried.stdout == "both\n":
        return ""
    return (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]


def torch_package(W: Any, data: Data, sizes: tuple[int, ...], config: Config) -> list[Row]:
    """The `loss-landscapes` package on the same weights and data, a few points scaled to planes.

    It runs in a process of its own, which waits while others are measured, and in the interpreter
    that the option names, because the package's dependencies are not ours.

    Raises:
        RuntimeError: its loss at W is not ours.
        subprocess.CalledProcessError: it failed; its own message is on stderr.
    """
    python = str(config.landscapes_python or sys.executable)
    if why := lacks_peer(python):
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
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as child:

            def answer() -> Any:
                assert child.stdout
                if not (text := child.stdout.readline()):
                    raise subprocess.CalledProcessError(child.wait(), command)
                return json.loads(text)

            def draw_plane() -> Any:
                print(file=child.stdin, flush=True)
                return answer()

            hello = answer()
            ours = float(jax.jit(OBJECTIVE)(W, data))  # no penalty in it
            if not np.isclose(hello["loss"], ours, rtol=1e-4):
                raise RuntimeError(f"loss-landscapes: {hello['loss']} at W, and ours is {ours}")
            (row,) = compare(PART, "", {"package": draw_plane}, config)
    rows = []
    for num in sizes:
        peer = f"{hello['versions']}, {side**2} points scaled to {num * num}"
        rows.append(scaled(row, num * num / side**2, work=f"plane {num} x {num}", peer=peer))
    return rows


def plane_alone(size: str, num: str) -> Callable[[], Any]:
    """Return the compiled plane of data at hand, to be called in a process of its own."""
    W, data = harness.random_data(size, "floats")
    arrays = OBJECTIVE, W, W[::-1], W[:, ::-1], data
    return ready(compiled.slice_2d, *arrays, static={"num": int(num)})
