"""Gradients: the notes' closed form, and the slow numerical one for any function.

The objective is a mean over examples of a function of their scores, and the scores are X Wᵀ, so
its gradient is one pull-back, ``Gᵀ X / N``, of the losses' derivatives G (N, C) on the scores. Each
loss has its G written out below; nothing here calls autodiff. The numerical gradient knows none of
that: it moves one parameter at a time and evaluates, P + 1 or 2·P times.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.features import dot_and_transpose
from jaxsvm.core.losses import (
    Objective,
    check_shapes,
    crammer_singer_loss,
    hinge_loss,
    is_label,
    l1_penalty,
    l2_penalty,
    margins,
    one_vs_rest_loss,
    one_vs_rest_margins,
    squared_hinge_loss,
)
from jaxsvm.core.types import Data, Labels, ScalarLike, Scores, Weights


def score_gradient(objective: Objective, scores: Scores, y: Labels) -> Scores:
    """Return the derivative of each example's loss on its scores, G.

        hinge            G[i, j] = 1(margins[i, j] > 0)   at j ≠ y_i,   G[i, y_i] = −Σ_j of those
        squared hinge    G[i, j] = 2·max(0, margins[i, j])              and likewise
        Crammer-Singer   +1 at the first of the largest margins, −1 at y_i, where it is positive
        one against rest G[i, j] = 1(margins[i, j] > 0), negative at j = y_i

    Args:
        objective: its ``loss`` and ``delta`` are used; the mean over examples is not taken here.
        scores: (N, C).
        y: (N,) labels in [0, C); not checked.

    Returns:
        (N, C). A margin of exactly 0 contributes exactly 0.

    Raises:
        ValueError: the loss is not one of `jaxsvm.core.losses`.

    Source: CS231n notes, "Optimization", computing the gradient analytically with calculus.

    >>> scores = jnp.array([[13.0, -7.0, 11.0]])
    >>> score_gradient(Objective(delta=10.0), scores, jnp.array([0]))
    Array([[-1.,  0.,  1.]], dtype=float32)
    """
    label = is_label(scores, y)
    if objective.loss is one_vs_rest_loss:
        violated = one_vs_rest_margins(scores, y, delta=objective.delta) > 0
        return jnp.where(label, -1, 1).astype(scores.dtype) * violated.astype(scores.dtype)
    all_margins = margins(scores, y, delta=objective.delta)
    if objective.loss is hinge_loss:
        wrong = (all_margins > 0).astype(scores.dtype)
    elif objective.loss is squared_hinge_loss:
        wrong = 2 * jnp.maximum(all_margins, 0)
    elif objective.loss is crammer_singer_loss:
        hardest = jnp.argmax(all_margins, axis=1)[:, None] == jnp.arange(scores.shape[1])[None, :]
        wrong = (hardest & (all_margins > 0)).astype(scores.dtype)
    else:
        name = getattr(objective.loss, "__name__", objective.loss)
        raise ValueError(
            f"objective.loss is {name}: no closed form is known for it; expected a loss of "
            "jaxsvm.loss, or take jax.grad(objective)"
        )
    # The margin at j = y_i is 0, so the row's sum is over the wrong classes.
    return jnp.where(label, -jnp.sum(wrong, axis=1, keepdims=True), wrong)


def penalty_gradient(objective: Objective, W: Weights) -> Weights:
    """Return reg · ∇penalty: ``2·reg·W`` for l2, ``reg·sign(W)`` (0 at 0) for l1.

    Raises:
        ValueError: the penalty is not one of `jaxsvm.core.losses`.

    >>> penalty_gradient(Objective(reg=0.5), jnp.array([[1.0, -2.0]]))
    Array([[ 1., -2.]], dtype=float32)
    """
    if objective.penalty is l2_penalty:
        return objective.reg * (2 * W)
    if objective.penalty is l1_penalty:
        return objective.reg * jnp.sign(W)
    name = getattr(objective.penalty, "__name__", objective.penalty)
    raise ValueError(
        f"objective.penalty is {name}: no closed form is known for it; expected l2_penalty or "
        "l1_penalty, or take jax.grad(objective)"
    )


def analytic_gradient(objective: Objective, W: Weights, data: Data) -> Weights:
    """Return the gradient of the objective in closed form, without autodiff.

        ∇f(W) = (1/N) Gᵀ X + reg · ∇penalty(W),     G = score_gradient(objective, X Wᵀ, y)

    Equals ``jax.grad(objective)`` to rounding, at kinks too, where each tied term contributes 0.

    Args:
        objective: a loss and a penalty of `jaxsvm.core.losses`.
        W: (C, D) weights.
        data: N examples.

    Returns:
        (C, D) in W's dtype. Cost: two products, 4·N·C·D floating-point operations.

    Raises:
        ValueError: the loss or the penalty has no closed form here, the data is empty, or shapes
            disagree.

    Source: CS231n notes, "Optimization", computing the gradient analytically with calculus.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> analytic_gradient(Objective(), jnp.zeros((3, 2)), data)
    Array([[ 0. , -0.5],
           [-1.5, -0.5],
           [ 1.5,  1. ]], dtype=float32)
    """
    check_shapes(data)

    def on_scores(scores: Scores, y: Labels) -> tuple[tuple[()], Scores]:
        return (), score_gradient(objective, scores, y)

    _, total = dot_and_transpose(on_scores, data.X, W, data.y)
    # Divided after the sum: counts and integer pixels are summed without rounding.
    return total / data.X.shape[0] + penalty_gradient(objective, W)


def numerical_gradient(
    f: Callable[[Any], Array],
    params: Any,
    *,
    h: ScalarLike = 1e-5,
    method: str = "central",
    batch_size: int = 32,
) -> Any:
    """Return the finite differences of any scalar function, one parameter at a time.

        forward   (f(p + h·e) − f(p)) / h                P + 1 evaluations, error O(h)
        central   (f(p + h·e) − f(p − h·e)) / (2·h)      2·P evaluations, error O(h²)

    For CIFAR-10's W (10, 3073) that is 30,731 and 61,460 evaluations. Two totals are subtracted, so
    rounding of f is divided by h: in float32 take h near 1e-2, in float64 near 1e-5.
    `termwise_numerical_gradient` does neither, for an `Objective`.

    Args:
        f: ``f(params) -> scalar``, pure; jit the call as a whole, with the data an argument:
            ``jax.jit(lambda W, data: numerical_gradient(lambda W: objective(W, data), W))``.
        params: a pytree of floating arrays, P numbers in all.
        h: the step, > 0 (not checked).
        method: "forward" or "central".
        batch_size: how many parameters are moved at once; bounds the memory, changes no value
            beyond rounding.

    Returns:
        A pytree like ``params``.

    Raises:
        ValueError: f returns no floating scalar, a leaf is not floating, or method is unknown.

    Source: CS231n notes, "Optimization", eval_numerical_gradient.

    >>> numerical_gradient(lambda p: jnp.sum(p["a"] ** 2), {"a": jnp.array([1.0, 2.0])}, h=0.5)
    {'a': Array([2., 4.], dtype=float32)}
    """
    if method not in ("forward", "central"):
        raise ValueError(f"method = {method!r}: expected 'forward' or 'central'")
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected an integer >= 1")
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params has a leaf of dtype {leaf.dtype}: expected floating arrays")
    out = jax.eval_shape(f, params)
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(f"f(params) is {out}: expected one floating scalar")
    center = f(params) if method == "forward" else None

    def differences(n: int) -> Array:
        leaf = leaves[n]
        if leaf.size == 0:
            return leaf

        def difference(i: Array) -> Array:
            def moved(step: Array) -> Array:
                flat = leaf.ravel().at[i].add(step)
                return f(
                    jax.tree.unflatten(
                        tree, [*leaves[:n], flat.reshape(leaf.shape), *leaves[n + 1 :]]
                    )
                )

            step = jnp.asarray(h, leaf.dtype)
            if center is not None:
                return (moved(step) - center).astype(leaf.dtype) / step
            right, left = jax.vmap(moved)(jnp.stack([step, -step]))
            return (right - left).astype(leaf.dtype) / (2 * step)

        # A parameter is moved where it stands: vmap over a P×P identity would need P² numbers.
        indices = jnp.arange(leaf.size)
        return lax.map(difference, indices, batch_size=batch_size).reshape(leaf.shape)

    return jax.tree.unflatten(tree, [differences(n) for n in range(len(leaves))])


def relative_error(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return |a − b| / max(|a|, |b|) of every entry, and 0 where both are 0.

    Source: CS231n notes, "Learning", gradient checks: 1e-7 and less is happy, 1e-2 probably wrong,
    *where no kink was crossed*; `check_gradient` knows where one was.

    >>> relative_error(jnp.array([1.0, 0.0]), jnp.array([1.5, 0.0]))
    Array([0.33333334, 0.        ], dtype=float32)
    """
    size = jnp.maximum(jnp.abs(a), jnp.abs(b))
    return jnp.where(size == 0, 0, jnp.abs(a - b) / jnp.where(size == 0, 1, size))
