"""Optimizers made of optimizers: keep the best point visited, or take many steps as one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxsvm.core.arguments import check_count, check_loss_fn
from jaxsvm.core.types import Data, LossFn, Scalar
from jaxsvm.optimizers.contract import Optimizer, advance, check_optimizer


class BestState(NamedTuple):
    """The best point so far, and where the wrapped optimizer stands.

    Attributes:
        params: the best point evaluated.
        best_loss: ``loss_fn`` there; infinite if no point had a number.
        inner: the wrapped optimizer's state.
    """

    params: Any
    best_loss: Scalar
    inner: Any


def best_so_far(optimizer: Optimizer, loss_fn: LossFn) -> Optimizer:
    """Make ``state.params`` the best of all points an optimizer has visited.

        params ← the visited W with the lowest loss_fn(W, data), the first of equals

    ``loss_fn`` is evaluated on all the data at the start and after every step, the last included;
    NaN is never the best. To evaluate it less often, put `record_every` inside. To wrap mini-batch
    descent, put `minibatch` inside: around, it is refused, because the losses of two batches
    cannot be compared.

    Args:
        optimizer: the one to wrap; its info is a NamedTuple.
        loss_fn: what "best" means, ``(params, data) -> scalar``.

    Returns:
        An optimizer of `BestState`, with the wrapped one's info. A step costs one more loss
        evaluation, which is counted.

    Raises:
        ValueError: ``optimizer`` is not one; at the start of a run, ``loss_fn`` is no function to
            a scalar.

    >>> from jaxsvm import Objective, gradient_descent, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> wild = best_so_far(gradient_descent(Objective(reg=1.0), step_size=1.1), Objective(reg=1.0))
    >>> state, info = run(wild, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=50)
    >>> float(state.best_loss), bool(info.loss[-1] > 1e6)
    (2.0, True)
    """

    check_optimizer(optimizer)

    def better(state: BestState, inner: Any, data: Data) -> BestState:
        loss = loss_fn(inner.params, data)
        lower = loss < state.best_loss
        params = jax.tree.map(
            lambda new, old: jnp.where(lower, new, old), inner.params, state.params
        )
        return BestState(params, jnp.where(lower, loss, state.best_loss), inner)

    def init(params: Any, data: Data) -> BestState:
        shape = check_loss_fn(loss_fn, params, data)
        inner = optimizer.init(params, data)
        return better(BestState(params, jnp.full((), jnp.inf, shape.dtype), inner), inner, data)

    def step(key: Array, state: BestState, data: Data) -> tuple[BestState, Any]:
        inner, info = optimizer.step(key, state.inner, data)
        info = info._replace(loss_evaluations=info.loss_evaluations + 1)
        return better(state, inner, data), info

    return Optimizer(init, step)


class Record(NamedTuple):
    """What `record_every` keeps of some steps: where they led, and the last step's info.

    Attributes:
        params: where the optimizer stood after them.
        info: the last one's.
        loss_evaluations: of all of them together.
        gradient_evaluations: of all of them together.
    """

    params: Any
    info: Any
    loss_evaluations: Array
    gradient_evaluations: Array

    @property
    def loss(self) -> Array:
        """The loss of ``info``."""
        return self.info.loss


def record_every(optimizer: Optimizer, num_steps: int) -> Optimizer:
    """Take ``num_steps`` steps of an optimizer as one, and record where they led.

    The info of a run is then a path of params, one point for every ``num_steps`` steps. Inner step
    j of step i is handed ``fold_in(key_i, j)``: a run is reproducible, but a random optimizer draws
    other numbers than in a run of its own.

    Args:
        optimizer: the one to wrap; batchable if it is, and then all the inner steps see one batch.
        num_steps: how many steps are one, ≥ 1.

    Returns:
        An optimizer of the wrapped one's state, whose info is a `Record`. A step costs
        ``num_steps`` of the wrapped one's.

    Raises:
        ValueError: ``num_steps`` is not an integer ≥ 1, or ``optimizer`` is not one.

    >>> from jaxsvm import Objective, gradient_descent, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> descent = record_every(gradient_descent(Objective(), step_size=0.1), 5)
    >>> _, record = run(descent, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=4)
    >>> record.params.shape, record.gradient_evaluations
    ((4, 3, 3), Array([5, 5, 5, 5], dtype=int32))
    """
    check_optimizer(optimizer)
    num_steps = check_count("num_steps", num_steps)

    def step(key: Array, state: Any, data: Data) -> tuple[Any, Record]:
        state, info = advance(optimizer, key, state, data, 0, num_steps=num_steps)
        last = jax.tree.map(lambda leaf: leaf[-1], info)
        losses = jnp.sum(info.loss_evaluations, dtype=jnp.int32)
        gradients = jnp.sum(info.gradient_evaluations, dtype=jnp.int32)
        return state, Record(state.params, last, losses, gradients)

    return Optimizer(optimizer.init, step, batchable=optimizer.batchable)
