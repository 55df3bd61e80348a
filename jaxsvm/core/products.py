"""The two products of some rows of X, as they are stored, and weights.

Bytes, uint8 or int8, become floats of the weights' type first, as a rule. An accelerator multiplies
bfloat16 many times as fast as float32, and a byte is a bfloat16 exactly: there
(`BlockSizes.narrow`) bytes become bfloat16, and a float32 factor the sum of three, each of which
rounds what those before it left:

    A B = A₁ B + A₂ B + A₃ B,   A = A₁ + A₂ + A₃

The products of two such numbers are exact in float32, in which they are summed, so the result is as
good as float32's. Of an infinite factor it is NaN.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Shaped

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.contraction import PRECISION, as_contraction, contract
from jaxsvm.core.rows import block_length

BYTES = (jnp.uint8, jnp.int8)  # as which features may be kept


def score_rows(
    W: Float[Array, "C P"], rows: Shaped[Array, "B P"], *, in_cache: bool = True
) -> Float[Array, "B C"]:
    """Return ``rows Wᵀ``, where a CPU multiplies a number of columns that it is fast at.

    The CPU's product works on 8 columns at a time and is slow on what is left: 10 columns at once
    take 1.6 times as long as 8 and then 2, 1.3 times as long as 16. Rows that come from memory, not
    from cache, are better read once.

    Args:
        W: (C, P) weights.
        rows: (B, P) bytes or floats.
        in_cache: whether to read the rows twice costs little.
    """
    if _is_narrow(W, rows):
        return _product(W, rows, axis=1).T
    x = rows.astype(W.dtype)
    C, columns = W.shape[0], block_sizes().columns
    rest = C % columns
    # One row against W is a product of another kind, in which splitting W means copying it.
    if rest == 0 or columns // 2 >= C or x.shape[0] == 1:
        return jnp.matmul(x, W.T, precision=PRECISION)
    if rest > columns // 2 or not in_cache:
        padded = jnp.pad(W, ((0, columns - rest), (0, 0)))
        return jnp.matmul(x, padded.T, precision=PRECISION)[:, :C]
    parts = [jnp.matmul(x, part.T, precision=PRECISION) for part in (W[:-rest], W[-rest:])]
    return jnp.concatenate(parts, axis=1)


def pull_back(G: Float[Array, "B C"], rows: Shaped[Array, "B P"]) -> Float[Array, "C P"]:
    """Return ``Gᵀ rows``; of many rows on an accelerator as the sum of several such, side by side.

    Else its compiler cuts the rows itself, and for that copies all of them to make them more.

    Args:
        G: (B, C) floats.
        rows: (B, P) bytes or floats.
    """
    B, most = len(rows), block_sizes().summed
    size = block_length(B, most) if most < B else B
    if size == B or B % size:
        return _pulled(G, rows)
    parts = (whole.reshape(-1, size, whole.shape[1]) for whole in (G, rows))
    return jnp.sum(jax.vmap(_pulled)(*parts), axis=0)


def _pulled(G: Array, rows: Array) -> Array:
    if _is_narrow(G, rows):
        return _product(G.T, rows, axis=0)
    return jnp.matmul(G.T, rows.astype(G.dtype), precision=PRECISION)


def _is_narrow(A: Array, rows: Array) -> bool:
    return rows.dtype in BYTES and A.dtype == jnp.float32 and block_sizes().narrow


def _in_thirds(A: Array, rows: Array, *, axis: int) -> Array:
    flat = A.reshape(math.prod(A.shape[:-1]), A.shape[-1])
    # Not by conversion and back, which the compiler may leave out.
    high = lax.reduce_precision(flat, exponent_bits=8, mantissa_bits=7)
    middle = lax.reduce_precision(flat - high, exponent_bits=8, mantissa_bits=7)
    thirds = jnp.concatenate([high, middle, flat - high - middle]).astype(jnp.bfloat16)
    x = rows.astype(jnp.bfloat16)
    product = contract(thirds, x, axis, preferred_element_type=jnp.float32)
    first, second, third = jnp.split(product, 3)
    return ((third + second) + first).reshape(*A.shape[:-1], rows.shape[1 - axis])


_product = as_contraction("product_in_thirds", _in_thirds)
