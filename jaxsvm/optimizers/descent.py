"""Gradient descent: follow the negative gradient of any ``loss_fn(params, data)``.

    W ← W − step_size · gradient

The step size is a number or a schedule, any function of the number of steps taken: those of optax
are such functions. On a few random rows at each step, this is `minibatch.minibatch`.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import Float, Int

from jaxsvm.core.arguments import check_loss_fn, check_number, check_positive
from jaxsvm.core.objective import Objective
from jaxsvm.core.types import Data, LossFn, ScalarLike
from jaxsvm.optimizers.contract import Optimizer, Params

# The step size at step t = 0, 1, 2, ...
Schedule: TypeAlias = Callable[[Int[Array, ""]], ScalarLike]


class DescentState(NamedTuple):
    """What a descent needs for its next step.

    Attributes:
        params: where it stands.
        velocity: the running sum of gradients, like params; None without momentum.
        num_steps: how many steps were taken; a schedule is a function of it.
    """

    params: Params
    velocity: Params | None
    num_steps: Int[Array, ""]


class DescentInfo(NamedTuple):
    """What a step saw. Its loss is NaN or infinite where a run has diverged.

    Attributes:
        loss: ``loss_fn`` at the params the step started from, on the data it was handed.
        step_size: what the gradient was multiplied by.
        loss_evaluations: 1.
        gradient_evaluations: 1.
    """

    loss: Float[Array, "*B"]
    step_size: Float[Array, "*B"]
    loss_evaluations: Int[Array, "*B"]
    gradient_evaluations: Int[Array, "*B"]


def gradient_descent(
    loss_fn: LossFn,
    *,
    step_size: ScalarLike | Schedule,
    momentum: ScalarLike = 0.0,
    nesterov: bool = False,
    gradient_fn: Callable[[Params, Data], Params] | None = None,
) -> Optimizer:
    """Follow the negative gradient: plain, with momentum, or with Nesterov's look ahead.

        velocity ← momentum · velocity + gradient
        W ← W − step_size · velocity                              (plain, momentum)
        W ← W − step_size · (gradient + momentum · velocity)      (Nesterov)

    The update is that of `optax.sgd`, to the rounding of one multiplication and addition.

    Args:
        loss_fn: ``(params, data) -> scalar``; an `Objective` is one.
        step_size: a number > 0, or a schedule: a function of the number of steps taken, such as
            ``optax.linear_schedule(0.5, 0.0, 100)`` (its values are not checked).
        momentum: the fraction of the velocity kept, in [0, 1).
        nesterov: whether to step along the gradient plus the new velocity.
        gradient_fn: ``(params, data) -> gradient`` in place of `jax.grad` of ``loss_fn``. With
            ``lambda W, data: termwise_numerical_gradient(objective, W, data)`` this is descent on
            the numerical gradient. A call counts as one gradient evaluation, whatever it costs.

    Returns:
        An optimizer of `DescentState` and `DescentInfo`. A step costs one loss and one gradient.

    Raises:
        ValueError: ``step_size`` is a number but not a finite one > 0, or ``momentum`` is not in
            [0, 1) (traced ones are not checked); at the start of a run, ``loss_fn`` is no function
            to a scalar.

    Source: CS231n notes, "Optimization", gradient descent; "Neural networks 3", momentum.

    >>> from jaxsvm import Objective, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> descent = gradient_descent(Objective(), step_size=0.5)
    >>> state, info = run(descent, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=4)
    >>> [round(float(loss), 3) for loss in info.loss]
    [2.0, 1.0, 0.0, 0.0]
    """
    schedule = _as_schedule(step_size)
    check_number("momentum", momentum, "a number in [0, 1)", lambda x: 0 <= x < 1)
    # A traced momentum may be anything, so only a plain 0 goes without the velocity.
    has_velocity = isinstance(momentum, Tracer) or float(momentum) != 0

    def init(params: Params, data: Data) -> DescentState:
        check_loss_fn(loss_fn, params, data)
        velocity = jax.tree.map(jnp.zeros_like, params) if has_velocity else None
        return DescentState(params, velocity, jnp.int32(0))

    def step(key: Array, state: DescentState, data: Data) -> tuple[DescentState, DescentInfo]:
        if gradient_fn is None:
            loss, gradient = jax.value_and_grad(loss_fn)(state.params, data)
        else:
            loss, gradient = loss_fn(state.params, data), gradient_fn(state.params, data)
        # optax's schedules mix dtypes: promotion is relaxed for their arithmetic only.
        with jax.numpy_dtype_promotion("standard"):
            eta = jnp.asarray(schedule(state.num_steps), float)

        def add(a: Array, factor: ScalarLike, b: Array) -> Array:
            return a + jnp.asarray(factor, a.dtype) * b

        velocity, direction = state.velocity, gradient
        if has_velocity:
            velocity = jax.tree.map(lambda g, v: add(g, momentum, v), gradient, velocity)
            direction = velocity
            if nesterov:
                direction = jax.tree.map(lambda g, v: add(g, momentum, v), gradient, velocity)
        params = jax.tree.map(lambda w, d: add(w, -eta, d), state.params, direction)
        one = jnp.int32(1)
        return DescentState(params, velocity, state.num_steps + 1), DescentInfo(loss, eta, one, one)

    by_products = gradient_fn is None and type(loss_fn) is Objective
    return Optimizer(init, step, batchable=True, by_products=by_products)


def _as_schedule(step_size: ScalarLike | Schedule) -> Schedule:
    """Return a schedule as it is, and a number as that number at every step."""
    if callable(step_size):
        return step_size
    check_positive("step_size", step_size)
    return lambda t: step_size
