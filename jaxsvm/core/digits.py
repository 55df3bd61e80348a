"""Products of floats and bytes as exact products of int8: four digits of each float.

A processor with a unit for int8 (Intel's AMX) multiplies it several times as fast as float32.
A row of weights is written in fixed point, with four digits to the base 256 and a unit of its own,

    w = (d₁ + d₂/256 + d₃/256² + d₄/256³) · unit,   unit = 2ᵏ > max|w|/64,   −128 ≤ d < 128

and its score is four sums of integers, which do not round and are the same in any order:

    x·w = (x·d₁ + (x·d₂ + (x·d₃ + x·d₄/256)/256)/256) · unit

To divide by 256 and to multiply by the unit is exact. What rounds, with u the unit roundoff of
float32 (6e-8): the four sums as they become floats, and three additions. The digits of a weight add
up to at most 3.1|w| in size, and no remainder is above 1.01|w|, so these are 6.2u·Σ|w_d||x_d|; what
is left of a weight after its digits is half of unit/256³. A score is within

    8u·Σ|w_d||x_d| + (u/64)·max|w|·Σ|x_d|

of the exact one, where a product in float32 is within (D + 1)u·Σ|w_d||x_d|. So it is the better of
the two, unless a row has almost nothing but weights 64·D times below its largest. A pull-back of
slopes is the same over a block of rows, with slopes for weights.

Source: Ootomo, Ozaki and Yokota, "DGEMM on integer matrix multiplication unit" (2024).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, Int8, Shaped

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.contraction import as_contraction, contract
from jaxsvm.core.products import BYTES, score_rows

COUNT, BITS = 4, 8  # digits, and of each
BASE = 2**BITS
HALF = BASE // 2  # the largest size of a digit
EVERY_HALF = sum(HALF * BASE**k for k in range(COUNT)) - 2**32  # as an int32
EXPONENT = 0x7F800000  # the bits of a float32's
MOST = (2**31 - 1) // (255 * HALF)  # products of a digit and a byte whose sum an int32 holds


class Digits(NamedTuple):
    """Rows of weights in fixed point.

    Attributes:
        weights: themselves, of which the scores have the derivative of a product in float32.
        digits: the K digits of each weight.
        total: their sums over a row.
        unit: of each row.
    """

    weights: Float[Array, "*C P"]
    digits: Int8[Array, "*C K P"]
    total: Int[Array, "*C K"]
    unit: Float[Array, "*C"]


def has_digits(stored: Any, dtype: Any, *, axis: int = 1) -> bool:
    """Return whether products over an axis of these rows, in this dtype, are better by digits."""
    few = stored.shape[axis] <= MOST
    return bool(block_sizes().digits and few and stored.dtype in BYTES and dtype == jnp.float32)


def prepared(W: Float[Array, "*C P"], stored: Any) -> Digits | Array:
    """Return weights as they are best multiplied with these rows, by `prepared_scores`."""
    return in_digits(W) if has_digits(stored, W.dtype) else W


def prepared_scores(
    weights: Digits | Float[Array, "*C P"], rows: Shaped[Array, "n P"]
) -> Float[Array, "*C n"]:
    """Return ``W rowsᵀ``."""
    if isinstance(weights, Digits):
        return digit_product(weights, rows, axis=1)
    scores = score_rows(weights.reshape(-1, weights.shape[-1]), rows).T
    return scores.reshape(*weights.shape[:-1], -1)


def in_digits(W: Float[Array, "*C P"]) -> Digits:
    """Return weights in fixed point; a row that is not finite has the unit NaN."""
    largest = jnp.max(jnp.abs(W), axis=-1)
    # Without its fraction a float is the power of two below it.
    power = lax.bitcast_convert_type(
        lax.bitcast_convert_type(largest, jnp.int32) & EXPONENT, W.dtype
    )
    unit = jnp.maximum(power / 32, jnp.finfo(W.dtype).tiny)
    unit = jnp.where(jnp.isfinite(largest), unit, jnp.nan)
    whole = jnp.round(W / unit[..., None] * BASE ** (COUNT - 1)).astype(jnp.int32)
    # HALF is added to every digit, carries and all, and taken from each alone.
    shape = *W.shape[:-1], COUNT, W.shape[-1]
    places = COUNT - 1 - lax.broadcasted_iota(jnp.int32, shape, W.ndim - 1)
    raised = (whole + EVERY_HALF)[..., None, :] >> BITS * places
    digits = ((raised & (BASE - 1)) - HALF).astype(jnp.int8)
    return Digits(W, digits, jnp.sum(digits, axis=-1, dtype=jnp.int32), unit)


def digit_product(
    A: Digits | Float[Array, "*C n"], rows: Shaped[Array, "_n _P"], *, axis: int
) -> Float[Array, "*C P"]:
    """Return the product of weights and bytes over one axis of rows: 1 for scores, 0 to pull back.

    What products in several programs share is best `in_digits` before.

    >>> W, rows = jnp.array([[1.0, -0.5, 0.0]]), jnp.array([[100, 200, 7], [8, 0, 255]], jnp.uint8)
    >>> digit_product(in_digits(W), rows, axis=1)
    Array([[0., 8.]], dtype=float32)
    >>> digit_product(W[:, :2], rows, axis=0)
    Array([[  96. ,  200. , -120.5]], dtype=float32)
    """
    return _product(*A, rows, axis=axis) if isinstance(A, Digits) else _product(A, rows, axis=axis)


def _by_digits(A: Array, *others: Array, axis: int) -> Array:
    *prepared, rows = others
    digits, total, unit = prepared or in_digits(A)[1:]
    is_signed = rows.dtype == jnp.int8
    # HALF less is an int8 of the same bits but one.
    signed = rows if is_signed else lax.bitcast_convert_type(rows ^ jnp.uint8(HALF), jnp.int8)
    flat = digits.reshape(total.size, digits.shape[-1])
    sums = contract(flat, signed, axis, preferred_element_type=jnp.int32)
    sums = sums.reshape(*total.shape, rows.shape[1 - axis])
    if not is_signed:
        sums += HALF * total[..., None]
    score = jnp.zeros((), unit.dtype)
    for k in reversed(range(COUNT)):
        score = score / BASE + sums[..., k, :].astype(unit.dtype)
    return score * unit[..., None]


_product = as_contraction("product_by_digits", _by_digits)
