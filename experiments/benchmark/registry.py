"""Every optimizer there is, once: what the contract suite, the traces, the compile entries and the
speed entries read. An optimizer added here is held to the contract and measured.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

import jaxsvm
from jaxsvm import Objective, Optimizer


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
