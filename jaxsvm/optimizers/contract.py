"""The contract of every strategy, and the one loop that runs them.

An optimizer is a pair of pure functions, as in optax and BlackJAX:

    init(params, data)     -> state            state.params is the current answer
    step(key, state, data) -> (state, info)

`run` scans ``step`` under ``fold_in(key, i)``, so a run depends on its key and on nothing else: not
on how it was cut into chunks, nor on how many runs are vmapped beside it.

Some steps are faster many at a time (the scores of a block of random proposals are one product).
Such an optimizer carries a third function, ``block_step``: what ``block_size`` calls of ``step``
would do, in one. ``step`` remains the definition; a test holds the two equal.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsvm.core.types import Data


class Optimizer(NamedTuple):
    """A strategy: ``init`` and ``step``, both pure and un-jitted.

    Attributes:
        init: ``(params, data) -> state``.
        step: ``(key, state, data) -> (state, info)``: state is what the next step needs, info what
            a person wants to see.
        block_step: ``(keys, state, data) -> (state, info)`` with ``keys`` of shape (block_size,)
            and every leaf of info with a leading axis of that length; None where a step gains
            nothing from company.
        block_size: how many steps ``block_step`` takes. It never changes a result.
    """

    init: Callable[[Any, Data], Any]
    step: Callable[[Array, Any, Data], tuple[Any, Any]]
    block_step: Callable[[Array, Any, Data], tuple[Any, Any]] | None = None
    block_size: int = 1


def run(
    optimizer: Optimizer, key: Array, params: Any, data: Data, *, num_steps: int
) -> tuple[Any, Any]:
    """Start from ``params`` and take ``num_steps`` steps.

    Pure and un-jitted: jit it once at the edge,
    ``jax.jit(run, static_argnames=("optimizer", "num_steps"))``, or vmap it over keys. Another
    optimizer is then another compilation. What shall vary without one, a step size say, is an
    argument of a jitted function that makes the optimizer inside:
    ``jax.jit(lambda size, key, W, data: run(make(step_size=size), key, W, data, num_steps=100))``.

    Args:
        optimizer: the strategy.
        key: a typed key (`jax.random.key`); step i sees ``fold_in(key, i)``.
        params: the start, usually W (C, D).
        data: the examples; an argument always, never closed over.
        num_steps: how many steps, ≥ 0; static.

    Returns:
        The last state, and the steps' info with a leading axis of ``num_steps``.

    Raises:
        ValueError: ``num_steps`` is negative.

    >>> data = Data(jnp.ones((4, 1)), jnp.zeros(4, jnp.int32))
    >>> counter = Optimizer(
    ...     init=lambda params, data: params,
    ...     step=lambda key, state, data: (state + jnp.mean(data.X), state),
    ... )
    >>> run(counter, jax.random.key(0), jnp.zeros(()), data, num_steps=3)
    (Array(3., dtype=float32), Array([0., 1., 2.], dtype=float32))
    """
    return advance(optimizer, key, optimizer.init(params, data), data, 0, num_steps=num_steps)


def advance(
    optimizer: Optimizer, key: Array, state: Any, data: Data, start: int | Array, *, num_steps: int
) -> tuple[Any, Any]:
    """Continue a run: take steps ``start`` to ``start + num_steps − 1`` of the run under ``key``.

    ``run`` is ``init`` and one ``advance``. A long run is many, with a progress bar between them;
    the bits are the same.

    Returns:
        The state after, and the steps' info with a leading axis of ``num_steps``.

    Raises:
        ValueError: ``num_steps`` is negative.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps = {num_steps}: expected an integer >= 0")
    steps = start + jnp.arange(num_steps)

    def one(state: Any, i: Array) -> tuple[Any, Any]:
        return optimizer.step(jax.random.fold_in(key, i), state, data)

    block_step, size = optimizer.block_step, optimizer.block_size
    if block_step is None or num_steps == 0:
        return lax.scan(one, state, steps)

    def block(state: Any, indices: Array) -> tuple[Any, Any]:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)
        return block_step(keys, state, data)

    whole = num_steps // size * size
    infos = []
    if whole:
        state, info = lax.scan(block, state, steps[:whole].reshape(-1, size))
        infos.append(jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), info))
    if whole < num_steps:  # The last, shorter block.
        state, info = block(state, steps[whole:])
        infos.append(info)
    return state, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *infos)
