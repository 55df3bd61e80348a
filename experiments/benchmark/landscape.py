"""A plane of the loss over all the data, and the exact step, beside what there was before.

- a plane of loss and accuracy, num × num, against direct evaluation: the compiled full loss,
  vmapped over a few points at a time, measured on 16 of them and scaled to the grid;
- one row of it at several sizes, to see what a node costs;
- the exact line search against backtracking (optax's, with at most 100 evaluations), and against
  a sort of all the kinks;
- the `loss-landscapes` package on a torch linear layer, where both are installed (they belong in a
  virtual environment of their own: pip install torch loss-landscapes).
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark import common
from jaxsvm import Objective, along, analytic_gradient, line, random_direction, slice_2d
from jaxsvm import plot as draw

GIBIBYTE = 2**30
# How many points are evaluated directly, for a grid of any size.
SAMPLED_POINTS = 16

_plane = jax.jit(slice_2d, static_argnames="num")
_grid = jax.jit(line.values_on_grid, static_argnames="num")


def run(config: common.Config) -> list[common.Row]:
    W_host, _, data = common.problem(config)
    W, objective = jnp.asarray(W_host), Objective()
    a, b = (random_direction(jax.random.key(i), W, normalize="rows") for i in (1, 2))
    sizes = (64, 256, 1024) if config.size == "full" else (8, 16, 32)
    found = planes(objective, W, a, b, data, sizes, config)
    found += one_row(objective, W, a, data, config)
    found += exact_step(objective, W, data, config)
    found += torch_package(np.asarray(W), data, sizes[0], config)
    if sys.platform == "linux":
        extra = common.peak_memory(f"{__name__}:plane_alone", config.size, str(sizes[-1]))
        without = common.peak_memory(f"{__name__}:plane_alone", config.size, "1")
        print(
            f"peak memory of the {sizes[-1]}² plane beyond that of one node: "
            f"{(extra - without) / GIBIBYTE:.3f} GiB"
        )
    return found


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
    """The best step along minus the gradient: found exactly, by backtracking, by a sort."""
    gradient = jax.jit(analytic_gradient)(objective, W, data)

    @jax.jit
    def exact(W: Any, gradient: Any, data: Any) -> Any:
        return line.minimum(along(objective, W, -gradient, data))

    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=99)

    @jax.jit
    def backtracking(W: Any, gradient: Any, data: Any) -> Any:
        updates, state = search.update(
            -gradient, search.init(W), W,
            value=objective(W, data), grad=gradient, value_fn=lambda W: objective(W, data),
        )  # fmt: skip
        return objective(W + updates, data), 1 + state.info.num_linesearch_steps

    ahead = jax.jit(along)(objective, W, -gradient, data)
    minimum, kinks = jax.jit(line.minimum), jax.jit(line.kinks)
    found = common.compare(
        "landscape",
        "best step along the gradient",
        {
            "jaxsvm, two products and minimum": lambda: exact(W, gradient, data),
            "optax backtracking": lambda: backtracking(W, gradient, data),
        },
        config,
    )
    found += common.compare(
        "landscape",
        "minimum of a line at hand",
        {
            "jaxsvm, bisection": lambda: minimum(ahead),
            "sort of the kinks alone": lambda: kinks(ahead),
        },
        config,
    )
    reached, evaluations = backtracking(W, gradient, data)
    print(
        f"best step: from {float(objective(W, data)):.6f} to "
        f"{float(exact(W, gradient, data).value):.6f} exactly, to {float(reached):.6f} by "
        f"backtracking with {int(evaluations)} evaluations"
    )
    return found


def torch_package(W: Any, data: Any, num: int, config: common.Config) -> list[common.Row]:
    """The `loss-landscapes` package on the same weights and data, a few points of a plane."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "loss_landscapes")):
        print("loss-landscapes and torch are not installed: that comparison is skipped")
        return []
    import torch

    package = importlib.import_module("loss_landscapes")
    metrics = importlib.import_module("loss_landscapes.metrics")

    model = torch.nn.Linear(W.shape[1], W.shape[0], bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(np.array(W)))
    X, y = (torch.from_numpy(np.array(part)) for part in (data.X, data.y))
    # torch divides the sum over classes by C: the same work.
    metric = metrics.Loss(torch.nn.MultiMarginLoss(), X, y.long())
    side = 4
    (row,) = common.compare(
        "landscape",
        f"plane {num} x {num}",
        {"loss-landscapes": lambda: package.random_plane(model, metric, distance=1, steps=side)},
        config,
    )
    scale = num * num / side**2
    return [
        row._replace(
            peer=f"loss-landscapes (torch), {side**2} points scaled to {num * num}",
            median=scale * row.median,
            lower=scale * row.lower,
            upper=scale * row.upper,
        )
    ]


def plane_alone(size: str, num: str) -> Any:
    """One plane in a process of its own, for its memory."""
    W_host, _, data = common.problem(common.Config(size="full" if size == "full" else "tiny"))
    W = jnp.asarray(W_host)
    a, b = (random_direction(jax.random.key(i), W, normalize="rows") for i in (1, 2))
    return _plane(Objective(), W, a, b, data, num=int(num))
