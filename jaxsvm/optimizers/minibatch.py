"""Mini-batches: hand each step of an optimizer a few random rows of the data.

Mini-batch gradient descent is ``minibatch(gradient_descent(...))``, and the notes' stochastic
gradient descent is that with batches of one row. What compares losses across steps, a search say,
needs all the rows and is refused.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Int

from jaxsvm.core.arguments import check_count, check_examples
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import take
from jaxsvm.core.types import Data, LossFn, ScalarLike
from jaxsvm.optimizers.contract import Optimizer, check_optimizer, scan_between
from jaxsvm.optimizers.descent import Schedule, gradient_descent


class MinibatchState(NamedTuple):
    """What `minibatch` needs for its next step.

    Attributes:
        inner: the wrapped optimizer's state.
        order: (N,) int32, the order of this epoch's examples; None where rows are drawn with
            replacement.
        num_steps: how many steps were taken.
    """

    inner: Any
    order: Int[Array, " N"] | None
    num_steps: Int[Array, ""]

    @property
    def params(self) -> Any:
        """The wrapped optimizer's answer."""
        return self.inner.params


def minibatch(
    optimizer: Optimizer, *, batch_size: int = 256, replacement: bool = True
) -> Optimizer:
    """Hand each step of an optimizer ``batch_size`` random examples instead of all.

        objective on a batch = (1/B) Σ_{i in batch} loss(scores, y)_i + reg · R(W)

    With replacement, every row of a batch is an independent uniform draw. Without, an epoch is a
    fresh permutation of the examples cut into ⌊N / batch_size⌋ batches; the examples left over
    sit out that epoch.

    Args:
        optimizer: a batchable one, such as `gradient_descent` or `from_optax`; its ``init`` sees
            all the data, its ``step`` a batch.
        batch_size: examples a step, ≥ 1. A power of two is not needed.
        replacement: whether a row may be drawn again before all the others were.

    Returns:
        An optimizer of `MinibatchState` whose info is the wrapped one's: losses and counts are of
        batches. A step costs the wrapped one's on ``batch_size`` rows.

    Raises:
        ValueError: the optimizer is not batchable, or ``batch_size`` is not an integer ≥ 1; at
            trace time, it is larger than N without replacement.

    Source: CS231n notes, "Optimization", mini-batch gradient descent.

    >>> from jaxsvm import Objective, gradient_descent, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> epochs = minibatch(
    ...     gradient_descent(Objective(), step_size=0.5), batch_size=1, replacement=False
    ... )
    >>> state, _ = run(epochs, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=6)
    >>> sorted(state.order.tolist()), float(Objective()(state.params, data))
    ([0, 1, 2], 0.0)
    """
    check_optimizer(optimizer)
    if not getattr(optimizer, "batchable", False):
        raise ValueError(
            "optimizer.batchable is False: its state holds something of all the rows, with which a "
            "batch cannot be compared; expected an optimizer of batches such as gradient_descent "
            "or from_optax (best_so_far goes around minibatch, not inside)"
        )
    batch_size = check_count("batch_size", batch_size)

    def init(params: Any, data: Data) -> MinibatchState:
        check_examples(data)
        N = data.X.shape[0]
        if not replacement and batch_size > N:
            raise ValueError(
                f"batch_size = {batch_size} and the data has {N} examples: expected batch_size "
                "<= N without replacement; lower it or draw with replacement"
            )
        order = None if replacement else jnp.arange(N, dtype=jnp.int32)
        return MinibatchState(optimizer.init(params, data), order, jnp.int32(0))

    def draw(key: Array, data: Data) -> Int[Array, " B"]:
        return jax.random.randint(key, (batch_size,), 0, data.X.shape[0], jnp.int32)

    def take_step(
        key: Array, index: Int[Array, " B"], state: MinibatchState, data: Data
    ) -> tuple[MinibatchState, Any]:
        X = take(data.X, index) if optimizer.by_products else data.X[index]
        batch = Data(X, data.y[index])
        inner, info = optimizer.step(key, state.inner, batch)
        return MinibatchState(inner, state.order, state.num_steps + 1), info

    def step(key: Array, state: MinibatchState, data: Data) -> tuple[MinibatchState, Any]:
        key, inner_key = jax.random.split(key)
        if state.order is None:
            return take_step(inner_key, draw(key, data), state, data)
        # num_steps is no function of the key, so under vmap over keys this stays a branch.
        place = state.num_steps % (data.X.shape[0] // batch_size)
        order = lax.cond(
            place == 0, jax.random.permutation, lambda _, order: order, key, state.order
        )
        index = lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
        return take_step(inner_key, index, state._replace(order=order), data)

    def block_step(
        keys: Array, state: MinibatchState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[MinibatchState, Any]:
        # Only the draws are shared: beside a step on a few rows, a draw by itself is expensive.
        def split_and_draw(key: Array) -> tuple[Array, Int[Array, " B"]]:
            key, inner_key = jax.random.split(key)
            # As plain bits: the key-reuse checker takes a scan over keys under vmap for reuse.
            return jax.random.key_data(inner_key), draw(key, data)

        implementation = jax.random.key_impl(keys)

        def one(state: MinibatchState, drawn: Any) -> tuple[MinibatchState, Any]:
            inner_bits, index = drawn
            inner_key = jax.random.wrap_key_data(inner_bits, impl=implementation)
            return take_step(inner_key, index, state, data)

        return scan_between(one, state, jax.vmap(split_and_draw)(keys), first, stop)

    return Optimizer(init, step, block_step if replacement else None, block_sizes().steps)


def minibatch_gradient_descent(
    loss_fn: LossFn,
    *,
    step_size: ScalarLike | Schedule,
    batch_size: int = 256,
    replacement: bool = True,
    momentum: ScalarLike = 0.0,
    nesterov: bool = False,
) -> Optimizer:
    """Follow the negative gradient on a few random examples at each step.

        W ← W − step_size · gradient of loss_fn on the batch

    This is ``minibatch(gradient_descent(...))``: see both for the arguments. With
    ``batch_size=1`` it is the notes' SGD.

    Raises:
        ValueError: as `gradient_descent` and `minibatch`.

    Source: CS231n notes, "Optimization", mini-batch gradient descent.

    >>> from jaxsvm import Objective, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> sgd = minibatch_gradient_descent(Objective(), step_size=0.5, batch_size=1)
    >>> state, _ = run(sgd, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=20)
    >>> float(Objective()(state.params, data))
    0.0
    """
    descent = gradient_descent(loss_fn, step_size=step_size, momentum=momentum, nesterov=nesterov)
    return minibatch(descent, batch_size=batch_size, replacement=replacement)
