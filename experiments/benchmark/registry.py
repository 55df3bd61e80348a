"""Everything that is traced, compiled and timed, once.

`OPTIMIZERS` names every optimizer; the contract suite reads it. `ENTRIES` adds the other functions
and puts each optimizer under `jaxsvm.run`; the trace tests, the speed tests and the part "compile"
read it. An optimizer or a function added here is held to the contract and measured.
"""

from collections.abc import Callable
from functools import partial
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


def search(function: Callable[..., Optimizer], size_name: str, starts: int = 1) -> OptimizerEntry:
    """Return the entry of a search that works in blocks, with the library's name of its size."""

    def make(objective: Objective, size: Any, block_size: int) -> Optimizer:
        return function(objective, block_size=block_size, **{size_name: size})

    return OptimizerEntry(make, starts=starts)


def descent(
    function: Callable[..., Optimizer], *, random: bool = False, **options: Any
) -> OptimizerEntry:
    """Return the entry of a descent, whose size is its step size."""

    def make(objective: Objective, size: Any, block_size: int) -> Optimizer:
        return function(objective, step_size=size, **options)

    return OptimizerEntry(make, random)


def nesterov(objective: Objective, step_size: Any) -> Optimizer:
    falling = optax.linear_schedule(step_size, 0.0, 20)
    return jaxsvm.gradient_descent(objective, step_size=falling, momentum=0.9, nesterov=True)


def adam(objective: Objective, step_size: Any) -> Optimizer:
    return jaxsvm.from_optax(optax.adam(step_size), objective, batch_size=8)


def lbfgs(objective: Objective, step_size: Any) -> Optimizer:
    return jaxsvm.from_optax(optax.lbfgs(step_size, linesearch=None), objective)


def best_so_far(objective: Objective, step_size: Any) -> Optimizer:
    inner = jaxsvm.gradient_descent(objective, step_size=step_size)
    return jaxsvm.optimizers.best_so_far(inner, objective)


def record_every(objective: Objective, step_size: Any) -> Optimizer:
    inner = jaxsvm.gradient_descent(objective, step_size=step_size)
    return jaxsvm.optimizers.record_every(inner, 2)


minibatch = partial(descent, jaxsvm.minibatch_gradient_descent, random=True)

OPTIMIZERS: dict[str, OptimizerEntry] = {
    "random_search": search(jaxsvm.random_search, "scale"),
    "pruned_random_search": search(jaxsvm.pruned_random_search, "scale"),
    "local_search": search(jaxsvm.local_search, "step_size"),
    "pruned_local_search": search(jaxsvm.pruned_local_search, "step_size"),
    "local_searches": search(jaxsvm.local_searches, "step_size", starts=2),
    "gradient_descent": descent(jaxsvm.gradient_descent),
    "nesterov": descent(nesterov),
    "minibatch": minibatch(batch_size=8),
    "epochs": minibatch(batch_size=8, replacement=False, momentum=0.5),
    "line_search_descent": OptimizerEntry(
        lambda objective, size, block_size: jaxsvm.line_search_descent(objective), random=False
    ),
    "adam": descent(adam, random=True),
    "lbfgs": descent(lbfgs),
    "best_so_far": descent(best_so_far),
    "record_every": descent(record_every),
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


# How many searches run side by side.
STARTS = 8
# What the searches call their steps, and how many steps the speed test takes.
SEARCHES = {
    "random_search": ("draws of", 50),
    "pruned_random_search": ("draws of", 1000),
    "local_search": ("trials of", 50),
    "pruned_local_search": ("trials of", 50),
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
    "best step along the gradient": Entry(
        lambda p, n: jaxsvm.along(
            p.objective, p.W, -jax.grad(p.objective)(p.W, p.data), p.data
        ).minimum()
    ),
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
    "{n} mini-batch steps of 256": steps(minibatch(batch_size=256), speed=100, floats=True),
    "{n} mini-batch steps of 1": steps(minibatch(batch_size=1), speed=100),
    **every_optimizer(),
}  # fmt: skip
