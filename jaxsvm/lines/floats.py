"""Bisection over the floats themselves: where a monotone condition first holds, to the last bit.

Floats in order are integers in order, once the bits of the negative ones are turned over, so 32
halvings (64 in float64) find the very float, whatever its size.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from jaxsvm.core.types import ScalarLike


def _turn(i: Array) -> Array:
    """Turn over the bits of a negative float, but for the sign: the step to order and back."""
    return i ^ ((i >> (jnp.iinfo(i.dtype).bits - 1)) & jnp.iinfo(i.dtype).max)


def place_of(t: ScalarLike, dtype: Any) -> Int[Array, ""]:
    """Return the place of a float among all floats of its type; the two zeros share one.

    >>> int(place_of(1.0, jnp.float32)) > int(place_of(-1.0, jnp.float32))
    True
    """
    integer = jnp.int64 if dtype == jnp.float64 else jnp.int32
    # + 0 makes a negative zero positive.
    return _turn(lax.bitcast_convert_type(jnp.asarray(t, dtype) + 0, integer))


def float_at(place: Int[Array, ""], dtype: Any) -> Float[Array, ""]:
    """Return the float at a place; subnormal ones, which compare as 0 here, are 0."""
    t = lax.bitcast_convert_type(_turn(place), dtype)
    return jnp.where(jnp.abs(t) < float(jnp.finfo(dtype).tiny), 0, t)


def first_place(
    holds: Callable[[Float[Array, ""]], Bool[Array, ""]], low: Array, high: Array, dtype: Any
) -> Int[Array, ""]:
    """Return the first place in (low, high] at whose float ``holds``, given that it does at high.

    >>> at = first_place(
    ...     lambda t: t * t >= 2, *(place_of(t, jnp.float32) for t in (0.0, 4.0)), jnp.float32
    ... )
    >>> print(f"{float_at(at, jnp.float32):.5f}")
    1.41421
    """

    def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
        reached = holds(float_at(middle, dtype))
        return jnp.where(reached, low, middle), jnp.where(reached, middle, high)

    return lax.while_loop(lambda ends: ends[0] + 1 < ends[1], halve, (low, high))[1]
