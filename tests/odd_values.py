"""What an argument may be replaced by: for each kind of argument, bad and odd values by name.

A replacement knows what it means, if anything: a list of numbers means the same numbers as a plain
array, a label out of range means nothing. `tests.fuzz` calls functions with them.
"""

import fractions
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsvm
from jaxsvm import Data, Objective, StandardizedFeatures

N, D, C = 5, 4, 3
OBJECTIVE = Objective(reg=0.1)
HUGE = 1e15  # from here on float32 may overflow: squares of a thousand such numbers add up
NOTHING = object()  # what an argument without a meaning means


class Odd(NamedTuple):
    """A replacement.

    Attributes:
        value: what is passed.
        means: the plain value it stands for, with which a result is compared; NOTHING if the call
            has to be refused.
        finite: whether the meaning is finite and far from float32's overflow.
        exact: whether a result has to be the same to the bit.
        traced: whether the argument is passed inside `jax.jit`.
    """

    value: Any
    means: Any = NOTHING
    finite: bool = True
    exact: bool = False
    traced: bool = False


Maker = Callable[[np.random.Generator, Any], Odd]


class Tensor:
    """Another library's array, which NumPy can convert: a data frame, say."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.ndim = array, array.shape, array.ndim
        self.dtype = f"frame.{array.dtype}"

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.array, dtype=dtype)


def _unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _memory_map(a: np.ndarray) -> np.ndarray:
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file.name, a.dtype, "w+", shape=a.shape)
        mapped[...] = a
        return mapped


def _spread(a: np.ndarray) -> np.ndarray:
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def _backwards(a: np.ndarray) -> np.ndarray:
    flip = tuple(slice(None, None, -1) for _ in a.shape)
    return a[flip].copy()[flip]


# The same array, lying otherwise: the result is the same to the bit, or refused.
LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "NumPy's": lambda a: a.copy(),
    "Fortran order": np.asfortranarray,
    "spread in memory": _spread,
    "negative strides": _backwards,
    "read-only": _read_only,
    "unaligned": _unaligned,
    "memory map": _memory_map,
    "on another device": lambda a: jax.device_put(a, jax.devices()[-1]),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "big-endian view": lambda a: a.astype(a.dtype.newbyteorder(">"))[::1],
    "another library's": Tensor,
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a.tolist()),
    "objects": lambda a: a.astype(object),
    "a matrix": lambda a: np.matrix(a) if a.ndim == 2 else np.rec.array(a),
}
# Nothing that could be computed with, and what holds more than its numbers.
SENSELESS: dict[str, Callable[[np.ndarray], Any]] = {
    "None": lambda a: None,
    "text": lambda a: "X",
    "a dict": lambda a: {"X": a},
    "a function": lambda a: np.sum,
    "an object": lambda a: object(),
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) % 3 == 0),
    "array of text": lambda a: a.astype(str),
    "dates": lambda a: a.astype(np.int64).astype("M8[s]"),
    "complex": lambda a: a + 1j,
    "records": lambda a: np.zeros(a.shape, [("a", np.float32), ("b", np.int32)]),
}


def _floats(a: Any) -> np.ndarray:
    a = np.asarray(a)
    return (a.real if a.dtype.kind == "c" else a).astype(np.float32)


def _same(make: Callable[[np.ndarray], Any]) -> Maker:
    return lambda rng, good: Odd(make(good), good, exact=True)


def _without_meaning(make: Callable[[np.ndarray], Any]) -> Maker:
    return lambda rng, good: Odd(make(good))


def _cast(dtype: Any) -> Maker:
    def make(rng: np.random.Generator, good: np.ndarray) -> Odd:
        cast = (4 * good).astype(dtype) if np.dtype(dtype).kind in "iub" else good.astype(dtype)
        # Half precision is its own: a result is that of an array that is JAX's.
        half = np.dtype(dtype).itemsize == 2 and np.dtype(dtype).kind in "fV"
        return Odd(cast, jnp.asarray(cast) if half else _floats(cast))

    return make


def _with_entry(*numbers: float) -> Maker:
    def make(rng: np.random.Generator, good: np.ndarray) -> Odd:
        bad = good.copy()
        for number in numbers:
            bad[tuple(rng.integers(n) for n in bad.shape)] = number
        finite = bool(np.all(np.abs(bad) < HUGE))
        return Odd(jnp.asarray(bad) if rng.integers(2) else bad, bad, finite)

    return make


def _scaled(number: float) -> Maker:
    def make(rng: np.random.Generator, good: np.ndarray) -> Odd:
        bad = good * np.float32(number)
        return Odd(bad, bad, bool(np.all(np.abs(bad) < HUGE)))

    return make


def _mixed(rng: np.random.Generator, good: np.ndarray) -> Odd:
    bad = good * (10.0 ** rng.integers(-9, 9, good.shape)).astype(np.float32)
    return Odd(bad, bad)


def _beyond_float32(rng: np.random.Generator, good: np.ndarray) -> Odd:
    bad = good.astype(float)
    bad.ravel()[-1] = 1e300
    return Odd(bad, bad, finite=False)


VALUES: dict[str, Maker] = {
    "1e300 in float64": _beyond_float32,
    "NaN": _with_entry(np.nan),
    "infinity": _with_entry(np.inf),
    "minus infinity": _with_entry(-np.inf),
    "1e30": _with_entry(1e30),
    "3e38": _with_entry(3e38),
    "two of 3e38": _with_entry(3e38, -3e38),
    "subnormal": _with_entry(1e-42),
    "all subnormal": _scaled(1e-42),
    "all large": _scaled(1e18),
    "all small": _scaled(1e-20),
    "all 0": _scaled(0.0),
    "mixed scales": _mixed,
    "repeated rows": lambda rng, good: Odd(good[[0] * len(good)], good[[0] * len(good)]),
    "broadcast rows": lambda rng, good: Odd(
        np.broadcast_to(good[0], good.shape), good[[0] * len(good)]
    ),
}
DTYPES = ["f2", jnp.bfloat16, "f8", np.longdouble, "i4", "i8", "u1", "?"]
# Some of these are as good as before for some arguments: those in FREE.
SHAPES: dict[str, Callable[[np.ndarray], Any]] = {
    "an axis less": lambda a: a[0],
    "an axis more": lambda a: a[None],
    "an axis at the end": lambda a: a[..., None],
    "transposed": lambda a: a.T,
    "a row less": lambda a: a[:-1],
    "a row more": lambda a: np.concatenate([a, a[:1]]),
    "one row": lambda a: a[:1],
    "no rows": lambda a: a[:0],
    "a column less": lambda a: a[..., :-1],
    "a column more": lambda a: np.concatenate([a, a[..., :1]], axis=-1),
    "one column": lambda a: a[..., :1],
    "no columns": lambda a: a[..., :0],
    "one number": lambda a: a.ravel()[0],
    "a Python number": lambda a: float(a.ravel()[0]),
}
OF_ONE_AXIS = {"transposed", "a column less", "a column more", "one column", "no columns"}
ROWS = {"a row less", "a row more", "one row"}
COLUMNS = {"a column less", "a column more", "one column"}


def _reshaped(make: Callable[[np.ndarray], Any]) -> Maker:
    def odd(rng: np.random.Generator, good: np.ndarray) -> Odd:
        bad = make(good)
        is_array = isinstance(bad, np.ndarray) and rng.integers(2)
        return Odd(jnp.asarray(bad) if is_array else bad)

    return odd


FLOATS: dict[str, Maker] = (
    {label: _same(make) for label, make in LAYOUTS.items()}
    | {label: _without_meaning(make) for label, make in SENSELESS.items()}
    | {np.dtype(dtype).name: _cast(dtype) for dtype in DTYPES}
    | VALUES
    | {label: _reshaped(make) for label, make in SHAPES.items()}
    | {"traced": lambda rng, good: Odd(good, good, traced=True)}
)


def _stored(**parts: Any) -> Maker:
    """StandardizedFeatures whose values, shift or scale are replaced; no parts: good ones."""

    def make(rng: np.random.Generator, good: np.ndarray) -> Odd:
        values = rng.integers(0, 256, good.shape).astype(np.uint8)
        plain: dict[str, Any] = {
            "values": np.pad(values, ((0, 0), (0, 5))),
            "shift": np.full(good.shape[1], 127.5, np.float32),
            "scale": np.full(good.shape[1], 1 / 128, np.float32),
        }
        means = ((values - plain["shift"]) * plain["scale"]).astype(np.float32)
        odd = plain | {name: change(plain[name]) for name, change in parts.items()}
        nan = any(isinstance(p, np.ndarray) and np.isnan(_floats(p)).any() for p in odd.values())
        bad = NOTHING if parts and not nan else np.full_like(means, np.nan) if nan else means
        return Odd(StandardizedFeatures(**odd), bad, finite=not nan)

    return make


def _with_nan(a: np.ndarray) -> np.ndarray:
    bad = a.astype(np.float32)
    bad.ravel()[0] = np.nan
    return bad


FEATURES: dict[str, Maker] = FLOATS | {
    "bytes": _stored(),
    "a wide shift": _stored(shift=lambda a: np.append(a, np.zeros(9, np.float32))),
    "a narrow scale": _stored(scale=lambda a: a[:-1]),
    "one scale": _stored(scale=lambda a: a[0]),
    "a column of shifts": _stored(shift=lambda a: a[:, None]),
    "shift of integers": _stored(shift=lambda a: a.astype(np.int32)),
    "no shift": _stored(shift=lambda a: None),
    "a list of scales": _stored(scale=lambda a: a.tolist()),
    "big-endian scale": _stored(scale=lambda a: a.astype(">f4")),
    "NaN in the shift": _stored(shift=_with_nan),
    "NaN in the stored values": _stored(values=_with_nan),
    "values of int16": _stored(values=lambda a: a.astype(np.int16)),
    "complex values": _stored(values=lambda a: a + 1j),
    "values of one axis": _stored(values=lambda a: a[0]),
    "no values": _stored(values=lambda a: None),
    "big-endian values": _stored(values=lambda a: a.astype(">f4")),
}


def _label(number: Any, dtype: Any = np.int32) -> Maker:
    def make(rng: np.random.Generator, good: np.ndarray) -> Odd:
        bad = good.astype(dtype)
        bad[rng.integers(len(bad))] = number
        return Odd(jnp.asarray(bad) if dtype == np.int32 and rng.integers(2) else bad)

    return make


def _labels(make: Callable[[np.ndarray], Any], *, same: bool = False) -> Maker:
    return lambda rng, good: Odd(make(good), good if same else NOTHING, exact=same)


def _relabelled(rng: np.random.Generator, good: np.ndarray) -> Odd:
    other = rng.integers(0, C, good.shape).astype(np.int32)
    return Odd(other.astype(rng.choice(["i1", "u1", "i2", "i4", "i8", "u8"])), other)


LABELS: dict[str, Maker] = (
    {label: _labels(make, same=True) for label, make in LAYOUTS.items()}
    | {label: _labels(make) for label, make in SENSELESS.items()}
    | {label: _labels(make) for label, make in SHAPES.items() if label not in OF_ONE_AXIS}
    | {
        "C": _label(C),
        "100": _label(100),
        "-1": _label(-1),
        "the least integer": _label(np.iinfo(np.int32).min),
        "the largest of uint64": _label(np.iinfo(np.uint64).max, np.uint64),
        "2**32 and a label": _label(2**32 + 1, np.int64),
        "-2**32": _label(-(2**32), np.int64),
        "a half": _label(0.5, np.float32),
        "NaN": _label(np.nan, np.float32),
        "infinity": _label(np.inf, np.float64),
        "floats": _labels(lambda y: y.astype(np.float32), same=True),
        "booleans": _labels(lambda y: y > 0),
        "one-hot": _labels(lambda y: np.eye(C, dtype=np.int32)[y]),
        "a column": _labels(lambda y: y[:, None]),
        "a row": _labels(lambda y: y[None]),
        "other labels": _relabelled,
        "one class": lambda rng, good: Odd(np.zeros_like(good), np.zeros_like(good)),
        "traced": lambda rng, good: Odd(good, good, traced=True),
    }
)


def _number(value: Any, *, is_real: bool = True) -> Callable[[Callable[[float], bool]], Maker]:
    def of(allowed: Callable[[float], bool]) -> Maker:
        def make(rng: np.random.Generator, good: Any) -> Odd:
            passed = jnp.asarray(value, jnp.float32) if value is JAX_NUMBER else value
            real = float(value) if is_real else np.nan  # no comparison allows NaN
            if not allowed(real):
                return Odd(passed)
            return Odd(passed, real, abs(real) < HUGE)

        return make

    return of


JAX_NUMBER = np.float64(0.25)  # made JAX's when it is passed
NUMBERS: dict[str, Callable[[Callable[[float], bool]], Maker]] = {
    "NaN": _number(np.nan),
    "infinity": _number(np.inf),
    "minus infinity": _number(-np.inf),
    "0": _number(0),
    "-1": _number(-1.0),
    "1": _number(1),
    "True": _number(True),
    "1e30": _number(1e30),
    "1e300": _number(1e300),
    "1e-300": _number(1e-300),
    "10**400": _number(10**400, is_real=False),
    "float32": _number(np.float32(0.5)),
    "float16": _number(np.float16(0.5)),
    "int64": _number(np.int64(1)),
    "no axes": _number(np.array(0.5)),
    "JAX's": _number(JAX_NUMBER),
    "a fraction": _number(fractions.Fraction(1, 2)),
    "a column of one": _number(np.array([0.5]), is_real=False),
    "three": _number(np.array([0.5, 0.25, 1.0], np.float32), is_real=False),
    "a list": _number([0.5], is_real=False),
    "text": _number("0.5", is_real=False),
    "bytes": _number(b"0.5", is_real=False),
    "None": _number(None, is_real=False),
    "complex": _number(0.5j, is_real=False),
    "an object": _number(object(), is_real=False),
}
ALLOWED: dict[str, Callable[[float], bool]] = {
    "number": lambda x: bool(np.isfinite(x)),
    "positive": lambda x: 0 < x < np.inf,
    "nonnegative": lambda x: 0 <= x < np.inf,
    "fraction": lambda x: 0 <= x < 1,
    "radius": lambda x: x >= 0,
    "end": lambda x: not np.isnan(x),
}


def _count(value: Any, *, is_whole: bool = False) -> Maker:
    return lambda rng, good: Odd(value, int(value) if is_whole else NOTHING)


COUNTS: dict[str, Maker] = {
    "-1": _count(-1),
    "0": _count(0),
    "a half": _count(1.5),
    "2.0": _count(2.0, is_whole=True),
    "NaN": _count(np.nan),
    "infinity": _count(np.inf),
    "text": _count("2"),
    "None": _count(None),
    "a list": _count([2]),
    "complex": _count(2j),
    "two": _count(np.array([2, 3])),
    "an object": _count(object()),
    "int64": _count(np.int64(2), is_whole=True),
    "uint8": _count(np.uint8(2), is_whole=True),
    "no axes": _count(np.array(2), is_whole=True),
    "traced": lambda rng, good: Odd(np.int32(2), traced=True),
}
WORDS: dict[str, Maker] = {
    label: _count(value)
    for label, value in {
        "another": "another", "empty": "", "None": None, "a number": 3, "True": True,
        "a list": ["central"], "bytes": b"central", "an array": np.array(["central", "zero"]),
    }.items()
}  # fmt: skip
KEYS: dict[str, Callable[[], Any]] = {
    "a seed": lambda: 0,
    "text": lambda: "0",
    "a float": lambda: 0.5,
    "bits": lambda: np.zeros(2, np.uint32),
    "an old key": lambda: jax.random.PRNGKey(0),
    "two keys": lambda: jax.random.split(jax.random.key(0)),
    "an object": object,
}
FUNCTIONS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a number": lambda: 0.5,
    "text": lambda: "hinge_loss",
    "an optimizer": lambda: jaxsvm.random_search(OBJECTIVE),
    "to a vector": lambda: lambda *arguments: jnp.ones(3),
    "to nothing": lambda: lambda *arguments: None,
    "to an integer": lambda: lambda *arguments: jnp.int32(1),
    "to a Python number": lambda: lambda *arguments: 1,
}
OBJECTIVES: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a number": lambda: 0.5,
    "text": lambda: "hinge_loss",
    "a class": lambda: Objective,
    "a loss": lambda: jaxsvm.hinge_loss,
    "an optimizer": lambda: jaxsvm.random_search(OBJECTIVE),
    **{
        f"{name} {label}": (lambda name=name, value=value: Objective(**{name: value}))  # type: ignore[misc]
        for name in ("reg", "delta")
        for label, value in {
            "None": None, "text": "0.5", "three": np.ones(3, np.float32), "a list": [1.0],
            "complex": 1j, "NaN": np.nan, "infinity": np.inf, "an object": object(),
        }.items()
    },
}  # fmt: skip


def _made(make: Callable[[], Any]) -> Maker:
    return lambda rng, good: Odd(make())


DATA: dict[str, Callable[[Any, Any], Any]] = {
    "None": lambda X, y: None,
    "X alone": lambda X, y: X,
    "a pair": lambda X, y: (X, y),
    "a list": lambda X, y: [X, y],
    "a dict": lambda X, y: {"X": X, "y": y},
    "swapped": lambda X, y: Data(y, X),
    "a triple": lambda X, y: (X, y, y),
    "a dataset": lambda X, y: types.SimpleNamespace(train=Data(X, y)),
    "text": lambda X, y: "digits",
}


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def good_X() -> np.ndarray:
    return draw(1, N, D)


def good_y() -> np.ndarray:
    return (np.arange(N) % C).astype(np.int32)


OPTIMIZERS: dict[str, Any] = {
    "None": None, "a number": 3, "a function": np.sum, "optax's": optax.sgd(0.1), "a pair": (1, 2),
    "a class": jaxsvm.Optimizer,
}  # fmt: skip
# What is a path, or is left alone.
PATHS: dict[str, Any] = {
    "None": None, "a number": 3, "a list": ["a.csv"], "a missing file": "./missing/data.csv",
    "a missing path": Path("missing/too"), "a folder": "./tests/", "an array": np.zeros(3),
}  # fmt: skip
RECORDS: dict[str, Any] = {
    "a number": 3, "text": "label", "a list": [1], "an array": np.zeros(3), "a dict": {"W": 1},
    "a class": Data,
}  # fmt: skip
REGS: dict[str, Odd] = {
    "a number": Odd(0.1), "None": Odd(None), "text": Odd("0.1"), "0": Odd([0.1, 0.0]),
    "-1": Odd([-1.0]), "NaN": Odd([0.1, np.nan]), "infinity": Odd([np.inf]), "nothing": Odd([None]),
    "words": Odd(["0.1"]), "complex": Odd([1j]), "a column": Odd(np.array([[0.1]])),
    "an array": Odd(np.array([0.1]), [0.1]), "a tuple": Odd((0.1,), [0.1]), "1": Odd([1], [1.0]),
}  # fmt: skip


KINDS: dict[str, dict[str, Maker]] = {
    "floats": FLOATS,
    "features": FEATURES,
    "labels": LABELS,
    "classes": {
        label: LABELS[label]
        for label in (*LAYOUTS, *SENSELESS, *SHAPES, "NaN", "a half", "infinity", "one-hot")
        if label in LABELS and label not in ("array of text", "a column")
    }
    | {"one class": _labels(np.zeros_like)},
    "pixels": {
        label: FLOATS[label] for label in (*LAYOUTS, *SENSELESS, *SHAPES, "float16", "float64")
    }
    | {
        "float32": _without_meaning(_floats),
        "int32": _without_meaning(lambda a: a.astype(np.int32) + 300),
    },
    "path": {label: _count(value) for label, value in PATHS.items()},
    "record": {label: _count(value) for label, value in RECORDS.items()},
    "regs": {label: (lambda rng, good, odd=odd: odd) for label, odd in REGS.items()},  # type: ignore[misc]
    "count": COUNTS,
    "word": WORDS,
    "optimizer": {label: _count(value) for label, value in OPTIMIZERS.items()},
    "key": {label: _made(make) for label, make in KEYS.items()},
    "function": {label: _made(make) for label, make in FUNCTIONS.items()},
    "objective": {label: _made(make) for label, make in OBJECTIVES.items()},
    "data": {
        label: (lambda rng, good, make=make: Odd(make(good_X(), good_y())))  # type: ignore[misc]
        for label, make in DATA.items()
    },
    **{
        kind: {label: make(allowed) for label, make in NUMBERS.items()}
        | {"traced": lambda rng, good: Odd(np.float32(good), good, traced=True)}
        for kind, allowed in ALLOWED.items()
    },
}
