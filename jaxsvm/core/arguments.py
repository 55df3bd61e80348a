"""What is checked of arguments: values on the host, at the edge; shapes wherever code is traced.

Traced code sees shapes and dtypes only. A label out of range, a NaN pixel or an array of foreign
byte order passes through it and comes out as a plausible number, so values are looked at here,
once, before the first step.
"""

import math
import operator
import os
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxsvm.core.features import StandardizedFeatures, check_width
from jaxsvm.core.products import BYTES
from jaxsvm.core.rows import ShardedRows, TakenRows, host_blocks
from jaxsvm.core.streamed import StreamedRows

# Rows looked at together, so that the mask of a large X is never as long as X.
CHECK_ROWS = 4096


def validate(
    data: tuple[Any, Any], num_classes: int | None = None, *, min_classes: int = 1
) -> None:
    """Raise ValueError, naming the first bad entry, unless data is fit to be trained on.

    For the host: it reads every value, so it cannot be called inside `jax.jit`. Where it is called
    already, and where it is not:

    - Functions of the host read much more than this does, so they look at every value:
      `load_dataset`, `data_from_arrays`, `solve`, `regularization_path`, `run_resumable`,
      `check_gradient` and `jaxsvm.estimator.LinearSVC`.
    - Pure functions look at shapes and dtypes, also while they are traced, where that is free. At
      labels they look wherever these have values, which is outside of `jax.jit`: N integers.
    - They do not look for NaN in X, because each call would read all of it. What they return is
      then NaN, which nobody takes for an answer. `jaxsvm.predict` and `jaxsvm.accuracy`, which
      would hide it behind a class, look at the scores, again outside of `jax.jit`.

    So whoever jits a loop of his own over data of his own calls this once before it.

    Args:
        data: a `Data`, or its pair of arrays, NumPy's or JAX's: X float32 or float64 or
            `jaxsvm.core.features.StandardizedFeatures`; y integers.
        num_classes: C ≥ 2, where known; labels must lie in [0, C), else in [0, 2³¹). Without it a
            label that never occurs is no mistake: labels 1 to 4 make five classes.
        min_classes: how many different labels must occur. A strategy compares losses, and with one
            class alone there is nothing to tell apart: at the edge of an experiment ask for 2.

    Raises:
        ValueError: no examples or no columns; X and y of different length; X not finite, beyond
            float32 where JAX has no float64 enabled, or of another dtype or byte order; labels
            fractional, negative or too large; fewer than ``min_classes`` classes; masked arrays,
            lists and other objects.

    >>> validate((np.ones((2, 3)), np.array([0, 10])), num_classes=10)
    Traceback (most recent call last):
        ...
    ValueError: y[1] = 10: labels must be integers in [0, 10)
    """
    if num_classes is not None:
        num_classes = check_count("num_classes", num_classes, least=2)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"data is a {type(data).__name__}: expected Data(X, y), or that pair")
    X, y = data
    check_values("validate", X, y)
    _check_features("X", X)
    shape = X.shape
    if X.ndim != 2:
        raise ValueError(f"X has shape {shape}: expected (N, D), one example a row")
    check_finite_features("X", X)
    if 0 in shape:
        what = "examples" if shape[0] == 0 else "columns"
        raise ValueError(f"X has shape {shape}, no {what}: expected (N, D) with N, D >= 1")
    check_array("y", y)
    if y.shape != shape[:1]:
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
    check_array("data.y", y)
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise ValueError(
            f"data.X has shape {X.shape} and data.y has shape {y.shape}: expected X (N, D) and "
            "y (N,), one label for each row of X"
        )
    if X.shape[0] == 0:
        raise ValueError("data has no examples: expected N >= 1; a mean over none is not defined")
    if X.shape[1] == 0:
        raise ValueError(f"data.X has shape {X.shape}, no columns: expected (N, D) with D >= 1")
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


def check_finite_problem(W: Any, data: Any) -> None:
    """Raise ValueError, naming the first bad entry, unless all numbers of W and X are finite.

    For the host: it reads every value.
    """
    check_finite("W", W)
    check_finite_features("data.X", data.X)


def check_finite_features(name: str, X: Any) -> None:
    """Raise ValueError, naming the first bad entry, unless all numbers of X are finite.

    For the host: it reads every value; of `StandardizedFeatures` those that are stored.
    """
    stored = ("values", "shift", "scale") if isinstance(X, StandardizedFeatures) else ()
    for part in stored:
        check_finite(f"{name}.{part}", getattr(X, part))
    if not stored:
        check_finite(name, X)


def check_steps(steps: Any, name: str = "h") -> None:
    """Raise ValueError unless steps are (H,) floats, and > 0 where they have values."""
    check_floating(name, steps)
    if steps.ndim != 1 or steps.shape[0] == 0:
        raise ValueError(f"{name} has shape {steps.shape}: expected (H,) with H >= 1")
    for step in () if isinstance(steps, Tracer) else np.asarray(steps, float):
        check_positive(name, float(step))


def check_scores(scores: Any, y: Any, name: str = "scores") -> None:
    """Raise ValueError unless scores are floats (N, C) and y has a label for each row.

    Raises:
        ValueError: what `check_floats` and `check_labels` refuse, or other shapes.
    """
    check_floats(name, scores)
    check_array("y", y)
    if scores.ndim != 2 or y.shape != scores.shape[:1]:
        raise ValueError(
            f"y has shape {y.shape} and {name} have shape {scores.shape}: expected y (N,), one "
            f"label for each row of {name} (N, C)"
        )
    if scores.shape[1] == 0:
        raise ValueError(f"{name} have shape {scores.shape}: expected (N, C) with C >= 1")
    check_labels(y, scores.shape[1])


def check_floats(name: str, array: Any) -> None:
    """Raise ValueError unless it is a plain array of float32 or float64.

    NumPy's float64 becomes float32 where JAX has no float64 enabled, as everywhere in JAX.

    Raises:
        ValueError: a list, a masked array, another library's tensor, foreign byte order; complex,
            integer, object or half-precision numbers: ties and bounds are not theirs.
    """
    check_array(name, array)
    if array.dtype not in (np.float32, np.float64):
        hint = "; bytes go through rows_from_pixels" if array.dtype == np.uint8 else ""
        raise ValueError(f"{name} has dtype {array.dtype}: expected float32 or float64{hint}")


def check_labels(y: Any, num_classes: int | None) -> None:
    """Raise ValueError unless labels are integers, and in [0, C) where they have values.

    Raises:
        ValueError: not an array of integers, or of a dtype that does not hold all classes, or,
            outside `jax.jit`, a label out of range.
    """
    check_array("y", y)
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
    largest = int(np.iinfo(y.dtype).max)
    if num_classes is not None and largest < num_classes - 1:
        # Compared with the classes 0 to C − 1 in its own dtype, 44 would also be class 300.
        raise ValueError(
            f"y has dtype {y.dtype}, whose largest number is {largest}, and there are "
            f"{num_classes} classes: expected a dtype that holds them; y.astype(np.int32)"
        )


def _check_features(name: str, X: Any) -> None:
    """Refuse what is neither a plain array of floats nor whole `StandardizedFeatures`."""
    if not isinstance(X, StandardizedFeatures):
        check_floats(name, X)
        return
    check_array(f"{name}.values", X.values)
    if X.values.dtype not in BYTES:
        check_floats(f"{name}.values", X.values)
    for part in ("shift", "scale"):
        check_floats(f"{name}.{part}", getattr(X, part))
    stored, shift, scale = X.values.shape, X.shift.shape, X.scale.shape
    if not (len(stored) == 2 and len(shift) == 1 and shift == scale and shift[0] <= stored[1]):
        raise ValueError(
            f"{name}.values has shape {stored}, {name}.shift {shift} and {name}.scale {scale}: "
            "expected (N, P), (D,) and (D,) with P >= D"
        )


def check_array(name: str, array: Any) -> None:
    """Raise ValueError unless it is a plain NumPy or JAX array of native byte order."""
    # Of NumPy's subclasses a memory map alone computes as an array does.
    if not (
        isinstance(array, Array | TakenRows | ShardedRows | StreamedRows)
        or type(array) in (np.ndarray, np.memmap)
    ):
        kind = type(array).__name__
        hint = f"; jnp.asarray({name}) makes one of numbers" if isinstance(array, list) else ""
        raise ValueError(f"{name} is a {kind}: expected a plain NumPy or JAX array{hint}")
    if not getattr(array.dtype, "isnative", True):
        raise ValueError(
            f"{name} has dtype {array.dtype} of foreign byte order, which compiled code would "
            f"misread: expected native order; {name}.astype({name}.dtype.newbyteorder('='))"
        )


def check_finite(name: str, array: Any) -> None:
    """Raise ValueError, naming the first bad entry, unless all numbers are finite.

    A traced array has none to look at, and passes. Where JAX has no float64 enabled, a number that
    float32 cannot hold is not finite either.
    """
    if isinstance(array, Tracer) or array.dtype in BYTES:
        return  # bytes stay on their device
    check_floats(name, array)
    held = jax.dtypes.canonicalize_dtype(array.dtype)
    most = np.inf if held == array.dtype else np.finfo(held).max
    before = 0
    for part in host_blocks(array):
        for start in range(0, len(part), CHECK_ROWS):
            block = part[start : start + CHECK_ROWS]
            fits = np.isfinite(block) if np.isinf(most) else np.abs(block) <= most
            bad = np.argwhere(~fits)
            if bad.size:
                first = tuple(map(int, bad[0]))
                at = ", ".join(map(str, (first[0] + start + before, *first[1:])))
                within = (
                    "" if np.isinf(most) else f", at most {most:.4g} in size, as {held} is used"
                )
                raise ValueError(
                    f"{name}[{at}] = {block[first]}: expected finite numbers only{within}"
                )
        before += len(part)


def check_values(caller: str, *arguments: Any) -> None:
    """Raise ValueError inside `jax.jit` or `jax.vmap`, where a host-level function has no values.

    Raises:
        ValueError: an argument is being traced.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
        raise ValueError(
            f"{caller} is called inside jax.jit, jax.grad or jax.vmap: expected values, with which "
            "it works on the host; call it outside"
        )


def check_params(params: Any, name: str = "params") -> None:
    """Raise ValueError unless params is a pytree of floating arrays, of any precision.

    Raises:
        ValueError: a leaf is no NumPy or JAX array, or not of floats; or there is none.
    """
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise ValueError(f"{name} = {reprlib.repr(params)}: expected at least one floating array")
    for leaf in leaves:
        check_floating(name, leaf)


def check_floating(name: str, array: Any) -> None:
    """Raise ValueError unless it is a plain array of floats of any precision.

    Raises:
        ValueError: what `check_floats` refuses, but for half precision.
    """
    check_array(name, array)
    if not jnp.issubdtype(array.dtype, np.floating) or array.dtype.itemsize > 8:
        raise ValueError(f"{name} has dtype {array.dtype}: expected floating arrays")


def check_loss_fn(loss_fn: Any, params: Any, data: Any, name: str = "loss_fn") -> Any:
    """Raise ValueError unless ``loss_fn(params, data)`` is one floating scalar; it is not computed.

    Args:
        loss_fn: is called with traced params.
        params: a pytree of floating arrays.
        data: anything.
        name: what ``loss_fn`` is called in a message.

    Returns:
        Its shape and dtype.

    Raises:
        ValueError: ``loss_fn`` is not a function, or returns something else.
    """
    if not callable(loss_fn):
        raise ValueError(
            f"{name} is a {type(loss_fn).__name__}: expected a function (params, data) -> scalar, "
            "such as an Objective"
        )
    check_params(params)
    # The data is not traced, so that labels are seen where they have values.
    return check_scalar(f"{name}(params, data)", lambda params: loss_fn(params, data), params)


def check_scalar(call: str, f: Callable[[Any], Any], params: Any) -> Any:
    """Return the shape and dtype of ``f(params)``, or raise ValueError: it is no floating scalar.

    Raises:
        ValueError: it is something else; ``call`` is what it is called in the message.
    """
    if not callable(f):
        name = call.partition("(")[0]
        raise ValueError(
            f"{name} is a {type(f).__name__}: expected a function to one floating scalar"
        )
    out = jax.eval_shape(f, params)
    if getattr(out, "shape", None) != () or not jnp.issubdtype(out.dtype, np.floating):
        raise ValueError(f"{call} is {out}: expected one floating scalar")
    return out


def as_arrays(data: Any) -> Any:
    """Return data with NumPy's arrays of numbers made JAX's, whose rows a traced step can take.

    Left for the checks to refuse: foreign byte order, and integers that JAX's dtype does not hold.
    """

    def convert(leaf: Any) -> Any:
        is_numbers = type(leaf) in (np.ndarray, np.memmap) and leaf.dtype.kind in "biuf"
        if not (is_numbers and leaf.dtype.isnative):
            return leaf
        narrow = jax.dtypes.canonicalize_dtype(leaf.dtype)
        is_held = narrow.kind not in "iu" or np.array_equal(leaf.astype(narrow), leaf)
        return jnp.asarray(leaf) if is_held else leaf

    return jax.tree.map(convert, data)


def check_key(key: Any) -> None:
    """Raise ValueError unless ``key`` is one typed key."""
    is_key = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not is_key or key.shape != ():
        what = f"has shape {key.shape}" if is_key else f"is a {type(key).__name__}"
        raise ValueError(f"key {what}: expected a typed key, jax.random.key(seed)")


def check_number(
    name: str,
    value: Any,
    expected: str = "a finite number",
    is_allowed: Callable[[float], bool] = math.isfinite,
) -> None:
    """Raise ValueError unless ``value`` is one real number that is allowed.

    Python's, NumPy's or an array without axes; of a traced one only the shape is checked.

    Raises:
        ValueError: text, a complex number, an array with axes; a number that is not allowed.
    """
    is_array = isinstance(value, np.ndarray | Array)
    real = isinstance(value, int | float | np.integer | np.floating) or (
        is_array and value.shape == () and jnp.issubdtype(value.dtype, np.number)
        and not jnp.issubdtype(value.dtype, np.complexfloating)
    )  # fmt: skip
    if real and isinstance(value, Tracer):
        return
    try:
        if real and is_allowed(float(value)):
            return
    except OverflowError:  # an integer beyond the floats
        pass
    raise ValueError(f"{_described(name, value)}: expected {expected}")


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a finite number > 0; a traced value is not checked."""
    check_number(name, value, "a finite number > 0", lambda x: 0 < x < math.inf)


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return ``value`` as a Python integer, or raise ValueError unless it is one ≥ ``least``."""
    try:
        # No floats: 2.0 would be refused later, by a range or a shape that does not name it.
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        where = "traced: " if isinstance(value, Tracer) else ""
        raise ValueError(f"{_described(name, value)}: {where}expected an integer >= {least}")
    return count


def check_path(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is text or a path, not empty."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"{_described(name, value)}: expected a path, as text or pathlib.Path")


def check_word(name: str, value: Any, known: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of the known words."""
    if not isinstance(value, str) or value not in known:
        words = " or ".join(map(repr, known))
        raise ValueError(f"{_described(name, value)}: expected {words}")


def _described(name: str, value: Any) -> str:
    """Return what came in a few words: a number, or an array's shape, or the start of a repr."""
    if isinstance(value, Tracer):
        return f"{name} is a traced {value.dtype}{list(value.shape)}"
    if isinstance(value, np.ndarray | Array) and value.shape != ():
        return f"{name} has shape {value.shape}"
    is_plain = isinstance(value, int | float | np.generic | np.ndarray | Array)
    try:
        return f"{name} = {value if is_plain else reprlib.repr(value)}"
    except ValueError:  # Python prints no integer of thousands of digits
        return f"{name} is an integer of {value.bit_length()} bits"
