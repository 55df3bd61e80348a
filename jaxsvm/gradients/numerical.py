"""The slow numerical gradient of any function: move one parameter at a time, and evaluate.

It knows nothing of the function. P parameters take P + 1 evaluations, or 2·P by the centred
formula.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.arguments import (
    check_count,
    check_floating,
    check_params,
    check_positive,
    check_scalar,
    check_word,
)
from jaxsvm.core.types import ScalarLike


def numerical_gradient(
    f: Callable[[Any], Array],
    params: Any,
    *,
    h: ScalarLike | None = None,
    method: str = "central",
    batch_size: int = 32,
) -> Any:
    """Return the finite differences of any scalar function, one parameter at a time.

        forward   (f(p + h·e) − f(p)) / h                P + 1 evaluations, error O(h)
        central   (f(p + h·e) − f(p − h·e)) / (2·h)      2·P evaluations, error O(h²)

    For CIFAR-10's W (10, 3073) that is 30,731 and 61,460 evaluations. Two totals are subtracted, so
    rounding of f is divided by h: what suits float64, h = 1e-5, is noise in float32.
    `termwise_numerical_gradient` does neither, for an `Objective`.

    Args:
        f: ``f(params) -> scalar``, pure; jit the call as a whole, with the data an argument:
            ``jax.jit(lambda W, data: numerical_gradient(lambda W: objective(W, data), W))``.
        params: a pytree of floating arrays, P numbers in all.
        h: the step, > 0; by default it follows the dtype of what is moved,
            ``eps**(1/3)``: 5e-3 in float32, 6e-6 in float64.
        method: "forward" or "central".
        batch_size: how many parameters are moved at once; bounds the memory, changes no value
            beyond rounding.

    Returns:
        A pytree like ``params``.

    Raises:
        ValueError: f returns no floating scalar, a leaf is not floating, method is unknown, or h
            is not a finite number > 0 (a traced one is not checked).

    Source: CS231n notes, "Optimization", eval_numerical_gradient.

    >>> numerical_gradient(lambda p: jnp.sum(p["a"] ** 2), {"a": jnp.array([1.0, 2.0])}, h=0.5)
    {'a': Array([2., 4.], dtype=float32)}
    """
    check_word("method", method, ("forward", "central"))
    batch_size = check_count("batch_size", batch_size)
    if h is not None:
        check_positive("h", h)
    check_params(params)
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
    check_scalar("f(params)", f, params)
    center = f(params) if method == "forward" else None

    def differences(n: int) -> Array:
        leaf = leaves[n]
        if leaf.size == 0:
            return leaf
        eps = float(jnp.finfo(leaf.dtype).eps)

        def difference(i: Array) -> Array:
            def moved(step: Array) -> Array:
                flat = leaf.ravel().at[i].add(step)
                return f(
                    jax.tree.unflatten(
                        tree, [*leaves[:n], flat.reshape(leaf.shape), *leaves[n + 1 :]]
                    )
                )

            step = jnp.asarray(eps ** (1 / 3) if h is None else h, leaf.dtype)
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

    Raises:
        ValueError: they differ in shape, or are no plain arrays of floats.

    Source: CS231n notes, "Learning", gradient checks: 1e-7 and less is happy, 1e-2 probably wrong,
    *where no kink was crossed*; `check_gradient` knows where one was.

    >>> relative_error(jnp.array([1.0, 0.0]), jnp.array([1.5, 0.0]))
    Array([0.33333334, 0.        ], dtype=float32)
    """
    check_floating("a", a)
    check_floating("b", b)
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape} and b has shape {b.shape}: expected equal ones")
    size = jnp.maximum(jnp.abs(a), jnp.abs(b))
    return jnp.where(size == 0, 0, jnp.abs(a - b) / jnp.where(size == 0, 1, size))
