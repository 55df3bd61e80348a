"""Raw examples as rows of X: ``x = (raw − shift) · scale``, then a 1.

Images stay bytes (`StandardizedFeatures`): centring and scaling are folded into the products. Other
numbers are centred here, in float64: in float32 a column with a large mean would lose its digits.
"""

import mmap
from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped, UInt8

from jaxsvm.core.arguments import check_finite, check_floats, check_number, check_values
from jaxsvm.core.features import StandardizedFeatures, for_backend
from jaxsvm.datasets.examples import ROWS

# Rows of bytes are padded to a multiple of this many columns, so that each starts aligned.
COLUMN_MULTIPLE = 8


def total(raw: Shaped[np.ndarray, "N *shape"]) -> np.ndarray:
    """Return the sum of the examples: of bytes in integers, so the same on every machine.

    >>> total(np.array([[200], [100]], np.uint8))
    array([300], dtype=uint64)
    """
    if raw.dtype != np.uint8:
        summed: np.ndarray = raw.sum(axis=0, dtype=np.float64)
        return summed
    summed = np.zeros(raw.shape[1:], np.uint64)
    for start in range(0, len(raw), ROWS):
        summed += raw[start : start + ROWS].sum(axis=0, dtype=np.uint64)
        let_go(raw)
    return summed


def let_go(array: np.ndarray) -> None:
    """Let the system have the memory of what was read of a memory map; it can be read again."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def mean(raw: Shaped[np.ndarray, "N *shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the mean example in float32.

    >>> mean(np.array([[1, 2], [3, 5]]))
    array([2. , 3.5], dtype=float32)
    """
    return (total(raw) / len(raw)).astype(np.float32)


def inverse_deviation(raw: Shaped[np.ndarray, "N *shape"]) -> Float[np.ndarray, "*shape"]:
    """Return 1 over the standard deviation of each column in float32; 1 where it is constant.

    >>> inverse_deviation(np.array([[1.0, 0.1], [5.0, 0.1]]))
    array([0.5, 1. ], dtype=float32)
    """
    center = raw.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(center)
    for start in range(0, len(raw), ROWS):
        squares += ((raw[start : start + ROWS] - center) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / len(raw))
    # Compared, because a constant's mean may differ from it by rounding.
    varies = (raw.min(axis=0) < raw.max(axis=0)) & (deviation >= np.finfo(np.float32).tiny)
    return (1 / np.where(varies, deviation, 1)).astype(np.float32)


def rows_from_pixels(
    pixels: UInt8[np.ndarray, "N *image"],
    *,
    shift: Float[np.ndarray, "*image"],
    scale: float | Float[np.ndarray, "*image"] = 1.0,
) -> StandardizedFeatures:
    """Return images as rows of bytes: ``x = (pixels − shift) · scale``, then a 1.

    Args:
        pixels: (N, ...) bytes, one image an entry.
        shift: what is subtracted from each image, 0 for nothing.
        scale: what multiplies after that, one number or one for each pixel.

    Returns:
        `StandardizedFeatures` of shape (N, D), D − 1 the number of pixels; padded to a multiple of
        ``COLUMN_MULTIPLE`` columns. On an accelerator the bytes are int8, 128 less, and so is the
        shift.

    Raises:
        ValueError: pixels are no bytes, a shift or a scale is not finite, or shapes disagree.

    >>> X = rows_from_pixels(np.full((1, 2), 9, np.uint8), shift=np.array([1.0, 2.0], np.float32))
    >>> np.asarray(X)
    array([[8., 7., 1.]], dtype=float32)
    """
    _check_rows("pixels", pixels, shift, scale, kinds="u")
    if pixels.dtype != np.uint8:
        raise ValueError(f"pixels has dtype {pixels.dtype}: expected uint8, the bytes of images")
    N, num_pixels = len(pixels), shift.size
    width = -(-(num_pixels + 1) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE
    values = np.zeros((N, width), np.uint8)
    values[:, :num_pixels] = pixels.reshape(N, num_pixels)
    values[:, num_pixels] = 1
    scales = np.broadcast_to(scale, shift.shape).ravel()
    return for_backend(standardized(jax.device_put(values), shift.ravel(), scales))


def standardized(values: Any, shift: np.ndarray, scale: np.ndarray) -> StandardizedFeatures:
    """Return rows of bytes (N, P), of which the column after the (F,) of shift is the bias."""
    # Not jnp.asarray, which compiles a program for each shape before it copies anything.
    at_end = (np.append(part, end).astype(np.float32) for part, end in ((shift, 0), (scale, 1)))
    return StandardizedFeatures(values, *map(jax.device_put, at_end))


def rows_from_table(
    table: Shaped[np.ndarray, "N *shape"],
    *,
    shift: Float[np.ndarray, "*shape"],
    scale: float | Float[np.ndarray, "*shape"] = 1.0,
) -> Float[Array, "N D"]:
    """Return a table as rows of float32: ``x = (table − shift) · scale`` in float64, then a 1.

    Args:
        table: (N, ...) real numbers of any type, flattened in C order.
        shift: what is subtracted from each example, 0 for nothing.
        scale: what multiplies after that, one number or one for each column.

    Raises:
        ValueError: the table is not of real numbers, a shift or a scale is not finite, or shapes
            disagree.

    >>> rows_from_table(np.array([[1e8], [1e8 + 1]]), shift=np.array([1e8], np.float32))
    Array([[0., 1.],
           [1., 1.]], dtype=float32)
    """
    _check_rows("table", table, shift, scale, kinds="biuf")
    N = len(table)
    X = np.ones((N, shift.size + 1), np.float32)
    for start in range(0, N, ROWS):
        block: Any = (table[start : start + ROWS] - shift.astype(np.float64)) * scale
        with np.errstate(over="ignore"):  # `validate` finds what is not finite
            X[start : start + ROWS, :-1] = block.reshape(len(block), shift.size)
    return jax.device_put(X)


def _check_rows(name: str, raw: Any, shift: Any, scale: Any, *, kinds: str) -> None:
    """Raise ValueError unless raw examples, shift and scale are numbers that fit each other."""
    for what, array, allowed in ((name, raw, kinds), ("shift", shift, "f")):
        if type(array) not in (np.ndarray, np.memmap) or array.dtype.kind not in allowed:
            came = f"dtype {array.dtype}" if hasattr(array, "dtype") else type(array).__name__
            raise ValueError(f"{what} is of {came}: expected a plain NumPy array of numbers")
    if raw.ndim < 2 or raw.shape[1:] != shift.shape:
        raise ValueError(
            f"{name} has shape {raw.shape} and shift has shape {shift.shape}: expected (N, ...) "
            "and the shape of one of the N"
        )
    check_finite("shift", shift)
    check_values(f"a function of {name}", scale)
    if np.ndim(scale) == 0:
        check_number("scale", scale)
        return
    check_floats("scale", scale)
    check_finite("scale", scale)
    if scale.shape != shift.shape:
        raise ValueError(
            f"scale has shape {scale.shape} and shift has shape {shift.shape}: expected a number, "
            "or one for each"
        )
