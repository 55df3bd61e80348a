"""Optimizers from optax: any of its gradient transformations becomes one of ours.

Below, ``optax`` is the library and not this file, because imports are absolute.
"""

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxsvm.core.arguments import check_loss_fn
from jaxsvm.core.types import Data, LossFn
from jaxsvm.optimizers.contract import Optimizer, Params
from jaxsvm.optimizers.minibatch import minibatch


class OptaxState(NamedTuple):
    """What a step of an optax transformation needs.

    Attributes:
        params: where the gradient is taken next.
        opt_state: the transformation's own state.
    """

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

        updates, opt_state ← transformation.update(gradient, opt_state, W)
        W ← W + updates

    The transformation is handed the gradient and, for those that ask (line searches, `optax.lbfgs`,
    `optax.polyak_sgd`), the value, the gradient and the function itself, on the same data.

    ``state.params`` is where the gradient is taken. The answer of a schedule-free optimizer is
    elsewhere: ``optax.contrib.schedule_free_eval_params(state.opt_state, state.params)``.

    Args:
        transformation: `optax.adam(1e-3)`, a chain, or your own.
        loss_fn: ``(params, data) -> scalar``.
        batch_size: examples a step, drawn with replacement (`minibatch`); None for all.

    Returns:
        An optimizer of `OptaxState` and `OptaxInfo`; of batches, of `MinibatchState`. A step costs
        one loss and one gradient, and what a line search adds.

    Raises:
        ValueError: ``transformation`` is not one, or ``batch_size`` is not an integer ≥ 1; at the
            start of a run, ``loss_fn`` is no function to a scalar, or the transformation asks for
            something else than this, as `optax.lookahead` does for params of its own kind and
            ``optax.contrib.sam(opaque_mode=True)`` for a ``grad_fn``.

    >>> from jaxsvm import Objective, run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> adam = from_optax(optax.adam(0.1), Objective())
    >>> state, _ = run(adam, jax.random.key(0), jnp.zeros((3, 3)), data, num_steps=20)
    >>> float(Objective()(state.params, data))
    0.0
    """
    if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
        raise ValueError(
            f"transformation is a {type(transformation).__name__}: expected one of optax's, "
            "optax.adam(1e-3) say; the order is from_optax(transformation, loss_fn)"
        )
    name = transformation.init.__qualname__.split(".")[0]
    transformation = optax.with_extra_args_support(transformation)
    takes = inspect.signature(transformation.update).parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in takes)

    def update(
        value: Array, gradient: Params, state: OptaxState, data: Data
    ) -> tuple[Params, optax.OptState]:
        def value_fn(params: Params) -> Array:
            return loss_fn(params, data)

        extra = {"value": value, "grad": gradient, "value_fn": value_fn}
        names = extra if takes_any else {p.name for p in takes} & extra.keys()
        return transformation.update(
            gradient, state.opt_state, state.params, **{name: extra[name] for name in names}
        )

    def init(params: Params, data: Data) -> OptaxState:
        value = check_loss_fn(loss_fn, params, data)
        with jax.numpy_dtype_promotion("standard"):
            state = OptaxState(params, transformation.init(params))
            try:
                jax.eval_shape(lambda v, g, s: update(v, g, s, data), value, params, state)
            except (AttributeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"transformation is optax's {name}, which asks for what from_optax does not "
                    f"give: {error}; expected one that takes update(gradient, state, params), and "
                    "value, grad and value_fn if it wants them"
                ) from error
        return state

    def step(key: Array, state: OptaxState, data: Data) -> tuple[OptaxState, OptaxInfo]:
        value, gradient = jax.value_and_grad(loss_fn)(state.params, data)
        # optax mixes dtypes (adam's bias correction): promotion is relaxed for its arithmetic only.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = update(value, gradient, state, data)
            params = optax.apply_updates(state.params, updates)
        losses, gradients = _line_search_evaluations(opt_state)
        return OptaxState(params, opt_state), OptaxInfo(value, 1 + losses, 1 + gradients)

    optimizer = Optimizer(init, step, batchable=True)
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
