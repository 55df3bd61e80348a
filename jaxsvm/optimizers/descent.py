"""Gradient descent and its kin: follow the negative gradient of any ``loss_fn(params, data)``.

    velocity ← momentum · velocity + gradient
    W        ← W − step_size · velocity                              (momentum)
    W        ← W − step_size · (gradient + momentum · velocity)      (Nesterov)

`minibatch` turns any optimizer of this kind into one that sees a few random rows at each step, so
mini-batch descent is ``minibatch(gradient_descent(...))`` and stochastic descent is that with one
row. What optax offers comes in through `from_optax`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.core import Tracer
from jaxtyping import Float, Int, PyTree

from jaxsvm.core.types import Data, LossFn, ScalarLike
from jaxsvm.optimizers.contract import Optimizer
from jaxsvm.optimizers.schedules import Schedule, as_schedule, check_count

# Steps whose mini-batches are drawn together. It divides the usual numbers of steps, so that no
# shorter block at the end is compiled beside the others.
BLOCK_STEPS = 10

Params: TypeAlias = PyTree[Float[Array, "..."]]


class DescentState(NamedTuple):
    """What a descent needs for its next step.

    Attributes:
        params: where it stands.
        velocity: the running sum of gradients, like params; None without momentum.
        num_steps: steps taken, what a step-size schedule is a function of.
    """

    params: Params
    velocity: Params | None
    num_steps: Int[Array, ""]


class DescentInfo(NamedTuple):
    """What a step saw. Its loss is NaN or infinite where a run has diverged.

    Attributes:
        loss: ``loss_fn`` at the params the step started from, on the data it was handed.
        step_size: what the gradient was multiplied by.
        loss_evaluations: calls of ``loss_fn`` on that data (the product X Wᵀ of each).
        gradient_evaluations: gradients of it (the product Gᵀ X of each).
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
    """Follow the negative gradient; plain, with momentum, or with Nesterov's look ahead.

    The update is optax's `sgd`, to the rounding of one multiplication and addition.

    Args:
        loss_fn: ``(params, data) -> scalar``; an `Objective` is one.
        step_size: a number > 0 or a schedule of `jaxsvm.optimizers.schedules`.
        momentum: the fraction of the velocity kept, in [0, 1).
        nesterov: whether to step along the gradient plus the new velocity.
        gradient_fn: ``(params, data) -> gradient`` in place of `jax.grad` of ``loss_fn``. With
            ``lambda W, data: termwise_numerical_gradient(objective, W, data)`` this is descent on
            the numerical gradient. It counts as one gradient evaluation whatever it costs.

    Returns:
        An optimizer of `DescentState` and `DescentInfo`. A step costs one loss and one gradient.

    Raises:
        ValueError: ``step_size`` is not a finite number > 0 or ``momentum`` not in [0, 1) (traced
            ones are not checked).

    Source: CS231n notes, "Optimization", gradient descent; "Neural networks 3", momentum.

    >>> from jaxsvm import Objective, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> descent = gradient_descent(Objective(), step_size=0.5)
    >>> state, info = run(descent, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=4)
    >>> [round(float(loss), 3) for loss in info.loss]
    [2.0, 1.0, 0.0, 0.0]
    """
    schedule = as_schedule(step_size)
    if not isinstance(momentum, Tracer) and not (0 <= float(momentum) < 1):
        raise ValueError(f"momentum = {momentum}: expected a number in [0, 1)")
    # A traced momentum may be anything, so only a plain 0 goes without the velocity.
    has_velocity = isinstance(momentum, Tracer) or float(momentum) != 0

    def init(params: Params, data: Data) -> DescentState:
        velocity = jax.tree.map(jnp.zeros_like, params) if has_velocity else None
        return DescentState(params, velocity, jnp.int32(0))

    def step(key: Array, state: DescentState, data: Data) -> tuple[DescentState, DescentInfo]:
        if gradient_fn is None:
            loss, gradient = jax.value_and_grad(loss_fn)(state.params, data)
        else:
            loss, gradient = loss_fn(state.params, data), gradient_fn(state.params, data)
        eta = schedule(state.num_steps)

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

    return Optimizer(init, step)


class MinibatchState(NamedTuple):
    """What `minibatch` needs for its next step.

    Attributes:
        inner: the wrapped optimizer's state.
        order: (N,) int32, the order of this epoch's examples; None where rows are drawn with
            replacement.
        num_steps: steps taken.
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

    With replacement, every row of a batch is an independent uniform draw. Without, an epoch is a
    fresh permutation of the examples cut into ⌊N / batch_size⌋ batches; the examples left over
    sit out that epoch.

    Args:
        optimizer: any; its ``init`` sees all the data, its ``step`` a batch.
        batch_size: examples a step, ≥ 1. A power of two is not needed.
        replacement: see above.

    Returns:
        An optimizer whose info is the wrapped one's: losses and counts are of batches.

    Raises:
        ValueError: ``batch_size`` is not an integer ≥ 1; at trace time, it is larger than N
            without replacement.

    Source: CS231n notes, "Optimization", mini-batch gradient descent.
    """
    check_count("batch_size", batch_size)

    def init(params: Any, data: Data) -> MinibatchState:
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
        batch = Data(data.X[index], data.y[index])
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

    def block_step(keys: Array, state: MinibatchState, data: Data) -> tuple[MinibatchState, Any]:
        # Drawn together: a step's indices drawn by themselves took an eighth of the time of a step
        # on 256 rows, and two fifths of that of a step on one.
        def split_and_draw(key: Array) -> tuple[Array, Int[Array, " B"]]:
            key, inner_key = jax.random.split(key)
            # As plain bits: the key-reuse checker takes a scan over keys under vmap for reuse.
            return jax.random.key_data(inner_key), draw(key, data)

        implementation = jax.random.key_impl(keys)

        def one(state: MinibatchState, drawn: Any) -> tuple[MinibatchState, Any]:
            inner_bits, index = drawn
            inner_key = jax.random.wrap_key_data(inner_bits, impl=implementation)
            return take_step(inner_key, index, state, data)

        return lax.scan(one, state, jax.vmap(split_and_draw)(keys))

    return Optimizer(init, step, block_step if replacement else None, BLOCK_STEPS)


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

    ``minibatch(gradient_descent(...))``: see both. ``batch_size=1`` is the notes' SGD.

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


class OptaxState(NamedTuple):
    """A point and what optax keeps beside it."""

    params: Params
    opt_state: Any


class OptaxInfo(NamedTuple):
    """What a step of an optax transformation saw.

    Attributes:
        loss: ``loss_fn`` at the params the step started from, on the data it was handed.
        loss_evaluations: 1, and one for each step of a line search if there is one.
        gradient_evaluations: 1, and one for each step of a zoom line search (lbfgs).
    """

    loss: Float[Array, "*B"]
    loss_evaluations: Int[Array, "*B"]
    gradient_evaluations: Int[Array, "*B"]


def from_optax(
    transformation: optax.GradientTransformation,
    loss_fn: LossFn,
    *,
    batch_size: int | None = None,
) -> Optimizer:
    """Make an optimizer of any optax transformation.

    The transformation is handed the gradient and, for those that ask (line searches, `optax.lbfgs`,
    `optax.polyak_sgd`), the value, the gradient and the function itself, on the same data.

    ``state.params`` is where the gradient is taken. The answer of a schedule-free optimizer is
    elsewhere: ``optax.contrib.schedule_free_eval_params(state.opt_state, state.params)``.

    Args:
        transformation: `optax.adam(1e-3)`, a chain, or your own.
        loss_fn: ``(params, data) -> scalar``.
        batch_size: examples a step, drawn with replacement (`minibatch`); None for all.

    Returns:
        An optimizer of `OptaxState` and `OptaxInfo`.

    Raises:
        ValueError: ``batch_size`` is not an integer ≥ 1.

    >>> from jaxsvm import Objective, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> adam = from_optax(optax.adam(0.1), Objective())
    >>> state, _ = run(adam, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=20)
    >>> float(Objective()(state.params, data))
    0.0
    """
    transformation = optax.with_extra_args_support(transformation)

    def init(params: Params, data: Data) -> OptaxState:
        with jax.numpy_dtype_promotion("standard"):
            return OptaxState(params, transformation.init(params))

    def step(key: Array, state: OptaxState, data: Data) -> tuple[OptaxState, OptaxInfo]:
        value, gradient = jax.value_and_grad(loss_fn)(state.params, data)
        # optax mixes dtypes (adam's bias correction): relaxed for its own arithmetic only.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = transformation.update(
                gradient,
                state.opt_state,
                state.params,
                value=value,
                grad=gradient,
                value_fn=lambda params: loss_fn(params, data),
            )
            params = optax.apply_updates(state.params, updates)
        losses, gradients = _line_search_evaluations(opt_state)
        return OptaxState(params, opt_state), OptaxInfo(value, 1 + losses, 1 + gradients)

    optimizer = Optimizer(init, step)
    return optimizer if batch_size is None else minibatch(optimizer, batch_size=batch_size)


def _line_search_evaluations(opt_state: Any) -> tuple[Array, Array]:
    """Return how many losses and gradients optax's line searches spent in the last update."""
    zoom, backtracking = optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState
    losses = gradients = jnp.int32(0)
    for leaf in jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, zoom | backtracking)):
        if isinstance(leaf, zoom | backtracking):
            steps = leaf.info.num_linesearch_steps.astype(jnp.int32)
            losses = losses + steps
            gradients = gradients + steps if isinstance(leaf, zoom) else gradients
    return losses, gradients
