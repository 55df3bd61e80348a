"""Everything that is traced, compiled and timed, once.

`OPTIMIZERS` names every optimizer; the contract suite reads it. `ENTRIES` adds the other functions
and puts each optimizer under `jaxsvm.run`; the trace tests, the speed tests and the part "compile"
read it. An optimizer or a function added here is held to the contract and measured.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jaxsvm
from jaxsvm import Data, Objective, Optimizer


class OptimizerEntry(NamedTuple):
    """How to make one optimizer.

    Attributes:
        make: ``(objective, size, block_size) -> optimizer``: ``size`` is its scale or step size and
            may be traced; what takes no such thing, or no blocks, ignores it.
        random: whether a run depends on its key.
        starts: 1, or how many starts ``params`` holds along a leading axis.
    """

    make: Callable[[Objective, Any, int], Optimizer]
    random: bool = True
    starts: int = 1


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "random_search": OptimizerEntry(
        lambda objective, size, block: jaxsvm.random_search(objective, scale=size, block_size=block)
    ),
    "pruned_random_search": OptimizerEntry(
        lambda objective, size, block: jaxsvm.pruned_random_search(
            objective, scale=size, block_size=block
        )
    ),
    "local_search": OptimizerEntry(
        lambda objective, size, block: jaxsvm.local_search(
            objective, step_size=size, block_size=block
        )
    ),
    "local_searches": OptimizerEntry(
        lambda objective, size, block: jaxsvm.local_searches(
            objective, step_size=size, block_size=block
        ),
        starts=2,
    ),
    "gradient_descent": OptimizerEntry(
        lambda objective, size, block: jaxsvm.gradient_descent(objective, step_size=size),
        random=False,
    ),
    "nesterov": OptimizerEntry(
        lambda objective, size, block: jaxsvm.gradient_descent(
            objective, step_size=optax.linear_schedule(size, 0.0, 20), momentum=0.9, nesterov=True
        ),
        random=False,
    ),
    "minibatch": OptimizerEntry(
        lambda objective, size, block: jaxsvm.minibatch_gradient_descent(
            objective, step_size=size, batch_size=8
        )
    ),
    "epochs": OptimizerEntry(
        lambda objective, size, block: jaxsvm.minibatch_gradient_descent(
            objective, step_size=size, batch_size=8, replacement=False, momentum=0.5
        )
    ),
    "line_search_descent": OptimizerEntry(
        lambda objective, size, block: jaxsvm.line_search_descent(objective), random=False
    ),
    "adam": OptimizerEntry(
        lambda objective, size, block: jaxsvm.from_optax(optax.adam(size), objective, batch_size=8)
    ),
    "lbfgs": OptimizerEntry(
        lambda objective, size, block: jaxsvm.from_optax(
            optax.lbfgs(size, linesearch=None), objective
        ),
        random=False,
    ),
    "best_so_far": OptimizerEntry(
        lambda objective, size, block: jaxsvm.best_so_far(
            jaxsvm.gradient_descent(objective, step_size=size), objective
        ),
        random=False,
    ),
    "record_every": OptimizerEntry(
        lambda objective, size, block: jaxsvm.record_every(
            jaxsvm.gradient_descent(objective, step_size=size), 2
        ),
        random=False,
    ),
}


class Problem(NamedTuple):
    """What an entry works on: a pytree, so that one compilation serves other values.

    Attributes:
        objective: with ``reg`` and ``delta`` as leaves.
        key: of what is random.
        size: a scale, a step size or a radius, as the entry needs one.
        W: (C, D) weights.
        data: N examples.
    """

    objective: Objective
    key: Any
    size: Any
    W: Any
    data: Data


class Counts(NamedTuple):
    """The ``n`` of an entry, its steps or its points a side, for each of its readers."""

    trace: int = 3
    speed: int = 50
    compile: int = 1000


class Entry(NamedTuple):
    """One function that is traced, compiled and timed.

    Attributes:
        call: ``(problem, n) -> result``, pure; ``n`` is static.
        counts: its ``n`` for each reader.
        size: the problem's where time is measured.
        floats: whether the speed test also runs it on float32 data; on bytes it runs every entry.
        jittable: False for a function that works on the host between its compiled parts.
    """

    call: Callable[[Problem, int], Any]
    counts: Counts = Counts()
    size: float = 1e-4
    floats: bool = False
    jittable: bool = True


def best_step(p: Problem) -> Any:
    """Return the lowest point along minus the gradient."""
    gradient = jax.grad(p.objective)(p.W, p.data)
    return jaxsvm.along(p.objective, p.W, -gradient, p.data).minimum()


# How many searches run side by side.
STARTS = 8
# What the searches call their steps, and how many steps the speed test takes.
SEARCHES = {
    "random_search": ("draws of", 50),
    "pruned_random_search": ("draws of", 1000),
    "local_search": ("trials of", 50),
    "local_searches": (f"trials of {STARTS}", 50),
}


def steps(optimizer: OptimizerEntry, speed: int, *, floats: bool = False) -> Entry:
    """Return the entry that runs ``n`` steps of an optimizer, in blocks of the library's size."""

    def call(p: Problem, n: int) -> Any:
        block_size = min(n, jaxsvm.random_search(p.objective).block_size)
        W = p.W if optimizer.starts == 1 else jnp.broadcast_to(p.W, (STARTS, *p.W.shape))
        made = optimizer.make(p.objective, p.size, block_size)
        return jaxsvm.run(made, p.key, W, p.data, num_steps=n)

    return Entry(call, Counts(speed=speed), floats=floats)


def minibatch(batch_size: int) -> OptimizerEntry:
    return OptimizerEntry(
        lambda objective, size, block: jaxsvm.minibatch_gradient_descent(
            objective, step_size=size, batch_size=batch_size
        )
    )


def every_optimizer() -> dict[str, Entry]:
    """Return an entry for each optimizer; one without a key takes all the data at each step."""
    entries = {}
    for name, optimizer in OPTIMIZERS.items():
        words, speed = SEARCHES.get(name, ("steps of", 100 if optimizer.random else 10))
        entries[f"{{n}} {words} {name}"] = steps(optimizer, speed)
    return entries


# By name; "{n}" stands for the count.
ENTRIES: dict[str, Entry] = {
    "loss": Entry(lambda p, n: p.objective(p.W, p.data), floats=True),
    "loss and gradient": Entry(
        lambda p, n: jax.value_and_grad(p.objective)(p.W, p.data), floats=True
    ),
    "analytic gradient": Entry(lambda p, n: jaxsvm.analytic_gradient(p.objective, p.W, p.data)),
    "best step along the gradient": Entry(lambda p, n: best_step(p)),
    "slice of {n}": Entry(
        lambda p, n: jaxsvm.slice_1d(
            p.objective, p.W, jaxsvm.random_direction(p.key, p.W), p.data,
            start=-p.size, stop=p.size, num=n,
        ),
        Counts(trace=5),
    ),
    "plane {n} x {n}": Entry(
        lambda p, n: jaxsvm.slice_2d(
            p.objective, p.W, p.W[::-1], p.W[:, ::-1], p.data, start=-p.size, stop=p.size, num=n
        ),
        Counts(trace=5, speed=64, compile=1024),
    ),
    "termwise numerical gradient": Entry(
        lambda p, n: jaxsvm.termwise_numerical_gradient(p.objective, p.W, p.data, h=p.size),
        size=1e-3,
    ),
    "check_gradient": Entry(
        lambda p, n: jaxsvm.check_gradient(p.objective, p.W, p.data), jittable=False
    ),
    "lower bound": Entry(
        lambda p, n: jaxsvm.lower_bound(p.objective, p.W, p.data, radius=1 / p.size)
    ),
    "{n} mini-batch steps of 256": steps(minibatch(256), speed=100, floats=True),
    "{n} mini-batch steps of 1": steps(minibatch(1), speed=100),
    **every_optimizer(),
}  # fmt: skip
