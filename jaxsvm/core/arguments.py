"""What is checked of arguments: values on the host, at the edge; shapes wherever code is traced.

Traced code sees shapes and dtypes only. A label out of range, a NaN pixel or an array of foreign
byte order passes through it and comes out as a plausible number, so values are looked at here,
once, before the first step.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxsvm.core.features import StandardizedFeatures, check_width
from jaxsvm.core.types import ScalarLike

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
        num_classes: C ≥ 2, where known; labels must lie in [0, C), else in [0, 2³¹). Without it a
            label that never occurs is no mistake: labels 1 to 4 make five classes.
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
    _check_features("X", X)
    check_values("validate", X, y)
    shape = X.shape
    if X.ndim != 2:
        raise ValueError(f"X has shape {shape}: expected (N, D), one example a row")
    for name in ("values", "shift", "scale") if isinstance(X, StandardizedFeatures) else ():
        _check_finite(f"X.{name}", getattr(X, name))
    if not isinstance(X, StandardizedFeatures):
        _check_finite("X", X)
    if 0 in shape:
        what = "examples" if shape[0] == 0 else "columns"
        raise ValueError(f"X has shape {shape}, no {what}: expected (N, D) with N, D >= 1")
    if np.shape(y) != shape[:1]:
        _check_array("y", y)
        raise ValueError(
            f"y has shape {y.shape} and X has shape {shape}: expected y of shape ({shape[0]},), "
            "one label for each row of X"
        )
    check_labels(y, num_classes)
    present = np.unique(y)
    if present.size < min_classes:
        raise ValueError(
            f"y holds {present.size} class(es), {present.tolist()}: expected at least "
            f"{min_classes}; were the examples sorted by class and then cut?"
        )


def check_problem(W: Any, data: Any) -> None:
    """Raise ValueError unless weights and data are a problem that has an answer.

    Raises:
        ValueError: what `check_weights` and `check_examples` refuse.
    """
    check_examples(data, len(W) if np.ndim(W) == 2 else None)
    check_weights(W, data.X)


def check_examples(data: Any, num_classes: int | None = None) -> None:
    """Raise ValueError unless data is examples and their labels.

    Shapes and dtypes are checked in traced code too, where that is free; labels wherever they have
    values, which inside `jax.jit` they have not. That X is finite is not checked: see `validate`.

    Raises:
        ValueError: not `Data`; X not floats (N, D), or empty; y not N integers, or a label out of
            range.
    """
    if getattr(data, "_fields", ()) != ("X", "y"):
        raise ValueError(f"data is a {type(data).__name__}: expected Data(X, y)")
    X, y = data
    _check_features("data.X", X)
    if X.ndim != 2 or np.shape(y) != X.shape[:1]:
        raise ValueError(
            f"data.X has shape {X.shape} and data.y has shape {np.shape(y)}: expected X (N, D) and "
            "y (N,), one label for each row of X"
        )
    if X.shape[0] == 0:
        raise ValueError("data has no examples: expected N >= 1; a mean over none is not defined")
    check_labels(y, num_classes)


def check_weights(W: Any, X: Any) -> None:
    """Raise ValueError unless W (C, D) and X (N, D) are floats whose product is defined.

    Raises:
        ValueError: what `check_floats` refuses; other dimensions than two, no columns, no classes,
            or another D.
    """
    check_floats("W", W)
    _check_features("X", X)
    check_width(X, W)
    if 0 in W.shape:
        raise ValueError(f"W has shape {W.shape}: expected (C, D) with C, D >= 1")


def check_scores(scores: Any, y: Any, name: str = "scores") -> None:
    """Raise ValueError unless scores are floats (N, C) and y has a label for each row.

    Raises:
        ValueError: what `check_floats` and `check_labels` refuse, or other shapes.
    """
    check_floats(name, scores)
    if scores.ndim != 2 or np.shape(y) != scores.shape[:1]:
        raise ValueError(
            f"y has shape {np.shape(y)} and {name} have shape {scores.shape}: expected y (N,), one "
            f"label for each row of {name} (N, C)"
        )
    if scores.shape[1] == 0:
        raise ValueError(f"{name} have shape {scores.shape}: expected (N, C) with C >= 1")
    check_labels(y, scores.shape[1])


def check_floats(name: str, array: Any) -> None:
    """Raise ValueError unless it is a plain array of float32 or float64.

    Raises:
        ValueError: a list, a masked array, another library's tensor, foreign byte order; complex,
            integer, object or half-precision numbers: ties and bounds are not theirs.
    """
    _check_array(name, array)
    if array.dtype not in (np.float32, np.float64):
        hint = "; bytes go through rows_from_pixels" if array.dtype == np.uint8 else ""
        raise ValueError(f"{name} has dtype {array.dtype}: expected float32 or float64{hint}")


def check_labels(y: Any, num_classes: int | None) -> None:
    """Raise ValueError unless labels are integers, and in [0, C) where they have values.

    Raises:
        ValueError: not an array of integers, or, outside `jax.jit`, a label out of range.
    """
    _check_array("y", y)
    most = 2**31 if num_classes is None else num_classes
    allowed = "labels must be integers" + (" >= 0" if num_classes is None else f" in [0, {most})")
    if not isinstance(y, Tracer) and y.dtype.kind in "iuf" and y.size:
        y = np.asarray(y)
        # Where all is well, only two numbers are looked for.
        if not (y.dtype.kind in "iu" and y.min() >= 0 and y.max() < most):
            for i in np.flatnonzero(~((y >= 0) & (y < most) & (y == np.floor(y))))[:1]:
                raise ValueError(f"y[{i}] = {y[i]}: {allowed}")
    if y.dtype.kind not in "iu":
        hint = "; convert with y.astype(np.int32)" if y.dtype.kind == "f" else ""
        raise ValueError(f"y has dtype {y.dtype}: {allowed}, as expected of classes{hint}")


def _check_features(name: str, X: Any) -> None:
    if not isinstance(X, StandardizedFeatures):
        check_floats(name, X)


def _check_array(name: str, array: Any) -> None:
    """Refuse what is no NumPy or JAX array, and foreign byte order."""
    if not isinstance(array, np.ndarray | Array) or isinstance(array, np.ma.MaskedArray):
        kind = type(array).__name__
        raise ValueError(f"{name} is a {kind}: expected a plain NumPy or JAX array")
    if not getattr(array.dtype, "isnative", True):
        raise ValueError(
            f"{name} has dtype {array.dtype} of foreign byte order, which compiled code would "
            f"misread: expected native order; {name}.astype({name}.dtype.newbyteorder('='))"
        )


def _check_finite(name: str, array: Any) -> None:
    if array.dtype == np.uint8:  # bytes are finite: leave them on their device
        return
    check_floats(name, array)
    array = np.asarray(array)
    for start in range(0, len(array), CHECK_ROWS):
        bad = np.argwhere(~np.isfinite(array[start : start + CHECK_ROWS]))
        if bad.size:
            index = (int(bad[0][0]) + start, *(int(i) for i in bad[0][1:]))
            at = ", ".join(map(str, index))
            raise ValueError(f"{name}[{at}] = {array[index]}: expected finite numbers only")


def check_values(caller: str, *arguments: Any) -> None:
    """Raise ValueError inside `jax.jit` or `jax.vmap`, where a host-level function has no values.

    Raises:
        ValueError: an argument is being traced.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
        raise ValueError(
            f"{caller} is called inside jax.jit, jax.grad or jax.vmap: it works on the host, with "
            "values; call it outside"
        )


def check_params(params: Any) -> None:
    """Raise ValueError unless params is a pytree of floating arrays, of any precision.

    Raises:
        ValueError: a leaf is no NumPy or JAX array, or not of floats.
    """
    for leaf in jax.tree.leaves(params):
        _check_array("params", leaf)
        if not jax.numpy.issubdtype(leaf.dtype, np.floating):
            raise ValueError(f"params has a leaf of dtype {leaf.dtype}: expected floating arrays")


def check_loss_fn(loss_fn: Any, params: Any, data: Any) -> Any:
    """Raise ValueError unless ``loss_fn(params, data)`` is one floating scalar; it is not computed.

    Returns:
        Its shape and dtype.

    Raises:
        ValueError: ``loss_fn`` is not a function, or returns something else.
    """
    if not callable(loss_fn):
        raise ValueError(
            f"loss_fn is a {type(loss_fn).__name__}: expected a function (params, data) -> scalar, "
            "such as an Objective"
        )
    check_params(params)
    # The data is not traced, so that labels are seen where they have values.
    return check_scalar("loss_fn(params, data)", lambda params: loss_fn(params, data), params)


def check_scalar(call: str, f: Callable[[Any], Any], params: Any) -> Any:
    """Return the shape and dtype of ``f(params)``, or raise ValueError: it is no floating scalar.

    Raises:
        ValueError: it is something else; ``call`` is what it is called in the message.
    """
    out = jax.eval_shape(f, params)
    if getattr(out, "shape", None) != () or not jax.numpy.issubdtype(out.dtype, np.floating):
        raise ValueError(f"{call} is {out}: expected one floating scalar")
    return out


def check_positive(name: str, value: ScalarLike) -> None:
    """Raise ValueError unless ``value`` is a finite number > 0; a traced value is not checked."""
    if not isinstance(value, Tracer) and not (0 < float(value) < float("inf")):
        raise ValueError(f"{name} = {value}: expected a finite number > 0")


def check_count(name: str, value: int) -> None:
    """Raise ValueError unless ``value`` is an integer ≥ 1."""
    if value != int(value) or value < 1:
        raise ValueError(f"{name} = {value}: expected an integer >= 1")
