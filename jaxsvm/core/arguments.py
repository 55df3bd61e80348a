"""What is checked of arguments: values on the host, at the edge; shapes wherever code is traced.

Traced code sees shapes and dtypes only. A label out of range, a NaN pixel or an array of foreign
byte order passes through it and comes out as a plausible number, so values are looked at here,
once, before the first step.
"""

from typing import Any

import numpy as np
from jax import Array

from jaxsvm.core.features import StandardizedFeatures
from jaxsvm.core.types import Data

# Rows looked at together, so that the mask of a large X is never as long as X.
CHECK_ROWS = 4096


def validate(
    data: tuple[Any, Any], num_classes: int | None = None, *, min_classes: int = 1
) -> None:
    """Raise ValueError, naming the first bad entry, unless data is fit to be trained on.

    For the host: it reads every value, so it cannot be called inside `jax.jit`.

    Args:
        data: a `Data`, or its pair of arrays, NumPy's or JAX's: X float32 or float64 or
            `jaxsvm.core.features.StandardizedFeatures`; y integers.
        num_classes: C ≥ 2, where known; labels must lie in [0, C), else in [0, 2³¹).
        min_classes: how many different labels must occur. A strategy compares losses, and with one
            class alone there is nothing to tell apart: at the edge of an experiment ask for 2.

    Raises:
        ValueError: no examples or no columns; X and y of different length; X not finite, or of
            another dtype or byte order; labels fractional, negative or too large; fewer than
            ``min_classes`` classes; masked arrays, lists and other objects.

    >>> validate((np.ones((2, 3)), np.array([0, 10])), num_classes=10)
    Traceback (most recent call last):
        ...
    ValueError: y[1] = 10: labels must be integers in [0, 10)
    """
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes = {num_classes}: expected an integer >= 2")
    X, y = data
    if isinstance(X, StandardizedFeatures):
        shape: tuple[int, ...] = X.shape
        for part in ("values", "shift", "scale"):
            array = getattr(X, part)
            if array.dtype != np.uint8:  # bytes are finite: leave them on their device
                _check_floats(f"X.{part}", np.asarray(array))
    else:
        X = _check_native("X", X)
        shape = X.shape
        if X.ndim != 2:
            raise ValueError(f"X has shape {shape}: expected (N, D), one example a row")
        _check_floats("X", X)
    if 0 in shape:
        what = "examples" if shape[0] == 0 else "columns"
        raise ValueError(f"X has shape {shape}, no {what}: expected (N, D) with N, D >= 1")
    y = _check_native("y", y)
    if y.shape != shape[:1]:
        raise ValueError(
            f"y has shape {y.shape} and X has shape {shape}: expected y of shape ({shape[0]},), "
            "one label for each row of X"
        )
    _check_labels(y, num_classes)
    present = np.unique(y)
    if present.size < min_classes:
        raise ValueError(
            f"y holds {present.size} class(es), {present.tolist()}: expected at least "
            f"{min_classes}; were the examples sorted by class and then cut?"
        )


def _check_native(name: str, array: Any) -> np.ndarray:
    """Return a NumPy or JAX array as NumPy's; refuse everything else and foreign byte order."""
    if not isinstance(array, np.ndarray | Array) or isinstance(array, np.ma.MaskedArray):
        kind = type(array).__name__
        raise ValueError(f"{name} is a {kind}: expected a plain NumPy or JAX array")
    array = np.asarray(array)
    if not array.dtype.isnative:
        raise ValueError(
            f"{name} has dtype {array.dtype} of foreign byte order, which compiled code would "
            f"misread: convert it with {name}.astype({name}.dtype.newbyteorder('='))"
        )
    return array


def _check_floats(name: str, array: np.ndarray) -> None:
    """Refuse what is not float32 or float64, or not finite."""
    if array.dtype not in (np.float32, np.float64):
        hint = "; bytes go through rows_from_pixels" if array.dtype == np.uint8 else ""
        raise ValueError(f"{name} has dtype {array.dtype}: expected float32 or float64{hint}")
    for start in range(0, len(array), CHECK_ROWS):
        bad = np.argwhere(~np.isfinite(array[start : start + CHECK_ROWS]))
        if bad.size:
            index = (int(bad[0][0]) + start, *(int(i) for i in bad[0][1:]))
            at = ", ".join(map(str, index))
            raise ValueError(f"{name}[{at}] = {array[index]}: expected finite numbers only")


def _check_labels(y: np.ndarray, num_classes: int | None) -> None:
    """Refuse labels that are not integers in range, naming the first."""
    most = 2**31 if num_classes is None else num_classes
    allowed = "labels must be integers >= 0" if num_classes is None else ""
    allowed = allowed or f"labels must be integers in [0, {num_classes})"
    if y.dtype.kind not in "iuf":
        raise ValueError(f"y has dtype {y.dtype}: {allowed}")
    bad = np.flatnonzero(~((y >= 0) & (y < most) & (y == np.floor(y))))
    if bad.size:
        raise ValueError(f"y[{bad[0]}] = {y[bad[0]]}: {allowed}")
    if y.dtype.kind == "f":
        raise ValueError(f"y has dtype {y.dtype}: {allowed}; convert with y.astype(np.int32)")


def check_shapes(data: Data) -> None:
    """Raise ValueError for empty data or for X and y of different length; free after tracing.

    Raises:
        ValueError: N = 0, X not (N, D), or y not (N,).
    """
    N = data.X.shape[0]
    if data.X.ndim != 2 or data.y.shape != (N,):
        raise ValueError(
            f"data.X has shape {data.X.shape} and data.y has shape {data.y.shape}: expected "
            "X (N, D) and y (N,), one label for each row of X"
        )
    if N == 0:
        raise ValueError("data has no examples: expected N >= 1; a mean over none is not defined")
