"""Every public function, called with one argument replaced by something bad or odd.

    python -m tests.fuzz --cases 5000 --seed 0

A call may do one of two things: return the right value, or raise a ValueError or TypeError that
names the argument and says what was expected. Everything else is a finding: another error, a
message that names nothing, a number for what has no meaning, another number than the right one, an
argument that was written to.

The right value is that of the oracle in NumPy and float64 (`tests.reference`) where there is one,
and of the same call with a plain float32 array of the same values where there is none. Where the
values are NaN, infinite or so large that float32 overflows, a result that is not finite is right,
too, and counted apart: nobody can mistake it for an answer.

`tests.public_functions` has an entry for every one, `tests.odd_values` what is put in its place.
Not run under pytest itself, whose checks of annotations would answer first: users have none.
"""

import argparse
import collections
import functools
import re
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsvm import Data
from tests.odd_values import HUGE, KINDS, NOTHING, Odd
from tests.public_functions import GOOD, Entry, registry

# What else a message may call an argument.
ALIASES = {
    "W": ("params", "y"),
    "params": ("W", "y"),
    "X": ("data", "y"),
    "table": ("shift",),
    "pixels": ("shift",),
    "y": ("data",),
    "data": ("X", "y"),
    "num_classes": ("y",),
    "held_X": ("held_out", "X"),
    "held_y": ("held_out", "y"),
    "scores": ("y",),
    "loss_fn": ("y",),
    "objective": ("loss_fn", "loss", "reg", "delta", "y"),
    "origin": ("direction_a", "path", "W"),
    "path": ("origin", "W"),
    "slopes": ("y",),
    "other": ("W",),
    "start": ("W",),
}
# Found once, and dear, so seldom drawn: a traced step takes rows of NumPy's arrays.
KNOWN = [
    ("minibatch", "X", "NumPy's"),
    ("termwise_numerical_gradient", "X", "NumPy's"),
]
OUTCOMES = ("right value", "not finite", "refused")


def assembled(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as they are passed: X and y as data, and a key."""
    passed = dict(arguments)
    if "key" in passed and passed["key"] is GOOD:
        passed["key"] = jax.random.key(0)
    if "data" in passed:
        X, y = passed.pop("X"), passed.pop("y")
        passed["data"] = Data(X, y) if passed["data"] is GOOD else passed["data"]
    return passed


def leaves(result: Any) -> list[np.ndarray]:
    found = [leaf for leaf in jax.tree.leaves(result) if not _is_key(leaf)]
    return [np.asarray(leaf) for leaf in found]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key)


def plain(entry: Entry) -> dict[str, Any]:
    """The good arguments, arrays as JAX's."""
    return {
        name: a.value if entry.host or not isinstance(a.value, np.ndarray) else jnp.asarray(a.value)
        for name, a in entry.arguments.items()
    }


@functools.cache
def good_result(name: str) -> list[np.ndarray]:
    entry = registry()[name]
    return leaves(entry.call(**assembled(plain(entry))))


def expected(name: str, argument: str, odd: Odd) -> list[np.ndarray] | None:
    """The right result; None where the meaning has none, so that the call has to be refused."""
    entry = registry()[name]
    if odd.exact:
        return good_result(name)
    values = {name: a.value for name, a in entry.arguments.items()} | {argument: odd.means}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if entry.oracle is not None:
            values.pop("data", None)
            return leaves(entry.oracle(**values))
        means = odd.means
        if isinstance(means, np.ndarray) and not entry.host:
            means = jnp.asarray(means)
        try:
            return leaves(entry.call(**assembled(plain(entry) | {argument: means})))
        except (ValueError, TypeError):
            return None


def agree(got: list[np.ndarray], right: list[np.ndarray], odd: Odd, biggest: float) -> bool:
    if len(got) != len(right):
        return False
    for a, b in zip(got, right, strict=True):
        if a.shape != b.shape:
            return False
        if a.dtype.kind not in "fV" or odd.exact:
            if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                return False
            continue
        rtol = 1e-2 if a.dtype.itemsize == 2 else 1e-4
        scale = 1e-6 * min(1 + biggest, HUGE) ** 2
        a, b = a.astype(float), b.astype(float)
        if not np.allclose(a, b, rtol=rtol, atol=scale, equal_nan=True):
            return False
    return True


def size_of(odd: Odd) -> float:
    """The largest finite number among what a replacement means."""
    if not isinstance(odd.means, int | float | np.ndarray | jax.Array):
        return 0.0
    numbers = np.asarray(odd.means, float).ravel()
    return float(np.max(np.abs(numbers[np.isfinite(numbers)]), initial=0))


def has_nan(means: Any) -> bool:
    is_floats = isinstance(means, np.ndarray) and means.dtype.kind == "f"
    return is_floats and bool(np.isnan(means).any())


def judged(error: Exception, argument: str, odd: Odd, kind: str, *, foreign: bool) -> str:
    """What an exception is: "refused", or what is wrong with it."""
    text = str(error)
    if odd.traced and isinstance(error, ValueError) and "inside jax.jit" in text:
        return "refused"
    if isinstance(error, OSError) and kind == "path" and _folder_of(odd.value) in text:
        return "refused"
    is_own = type(error).__module__ in ("builtins", "jaxsvm.datasets.examples")
    if not isinstance(error, ValueError | TypeError) or not (is_own or foreign):
        return f"{type(error).__name__}: {text:.90}"
    names = (argument, *ALIASES.get(argument, ()))
    named = any(re.search(rf"\b{name}\b", text) for name in names)
    named = named or (kind == "path" and _folder_of(odd.value) in text)
    if not foreign and not (named and ("expected" in text or "must be" in text)):
        return f"unclear {type(error).__name__}: {text:.90}"
    return "refused"


def _folder_of(value: Any) -> str:
    """What an error of the system has of a path: the file written first has a name of its own."""
    return Path(value).parts[0] if isinstance(value, str | Path) else repr(value)


def outcome(name: str, argument: str, label: str, seed: int) -> str:
    """One of OUTCOMES, or what is wrong."""
    entry = registry()[name]
    kind, good, _ = entry.arguments[argument]
    odd = KINDS[kind][label](np.random.default_rng(seed), good)
    if odd.means is NOTHING and label in entry.free.get(argument, ()):
        odd = odd._replace(means=odd.value)
    if "big-endian" in label:
        good_result(name)  # so that foreign bytes meet functions that are compiled already
    before = odd.value.tobytes() if isinstance(odd.value, np.ndarray) else None
    arguments = plain(entry)

    def call(value: Any) -> Any:
        return entry.call(**assembled(arguments | {argument: value}))

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if odd.traced:
                shapes = jax.tree.leaves(jax.eval_shape(call, odd.value))
            else:
                got = leaves(call(odd.value))
    except Exception as error:
        return judged(error, argument, odd, kind, foreign=entry.foreign)
    if before is not None and odd.value.tobytes() != before:
        return "the argument was written to"
    if odd.traced:
        if entry.host or odd.means is NOTHING:
            return "traced, and not refused"
        same = [leaf.shape for leaf in shapes] == [leaf.shape for leaf in good_result(name)]
        return "right value" if same else "another shape inside jax.jit"
    if odd.means is NOTHING:
        return f"returned {got!s:.90}"
    floats = [leaf.astype(float) for leaf in got if leaf.dtype.kind == "f"]
    if not odd.finite and not all(np.isfinite(leaf).all() for leaf in floats):
        return "not finite"
    if has_nan(odd.means) and label not in entry.free.get(argument, ()):
        return f"NaN went in, and {got!s:.90} came out"
    right = expected(name, argument, odd)
    if right is None:
        return f"returned {got!s:.90}, where plain arrays are refused"
    if agree(got, right, odd, size_of(odd)):
        return "right value"
    return f"returned {got!s:.90}, expected {right!s:.90}"


def every_case() -> list[tuple[str, str, str]]:
    """Function, argument and replacement."""
    return [
        (name, argument, label)
        for name, entry in registry().items()
        for argument, (kind, _, skip) in entry.arguments.items()
        for label in KINDS[kind]
        if label not in skip
    ]


def weights(cases: list[tuple[str, str, str]]) -> np.ndarray:
    """How often each case is drawn: a refusal costs nothing, and what runs may be dear."""
    share = []
    for name, argument, label in cases:
        entry = registry()[name]
        kind, good, _ = entry.arguments[argument]
        runs = label in entry.free.get(argument, ()) or "big-endian" in label
        runs = runs or has_meaning(kind, label, good)
        share.append(1 / entry.cost if runs else 1.0)
    return np.array(share) / sum(share)


def has_meaning(kind: str, label: str, good: Any) -> bool:
    if (kind, label) not in _MEANINGS:
        odd = KINDS[kind][label](np.random.default_rng(0), good)
        _MEANINGS[kind, label] = odd.means is not NOTHING
    return _MEANINGS[kind, label]


_MEANINGS: dict[tuple[str, str], bool] = {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_disable_most_optimizations", True)
    rng = np.random.default_rng(options.seed)
    cases = every_case()
    first = [cases.index(known) for known in KNOWN][: options.cases]
    drawn = rng.choice(len(cases), options.cases - len(first), p=weights(cases))
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    findings = 0
    for i in sorted([*first, *drawn.tolist()]):
        seed = int(rng.integers(2**31))
        name, argument, label = cases[i]
        found = outcome(name, argument, label, seed)
        counts[name][found if found in OUTCOMES else "finding"] += 1
        if found not in OUTCOMES:
            findings += 1
            print(f"{', '.join(cases[i])} (seed {seed}): {found}", flush=True)
    print(f"| function | cases | {' | '.join(OUTCOMES)} |", "|---" * 5 + "|", sep="\n")
    for name, count in counts.items():
        cells = (count.total(), *(count[kind] for kind in OUTCOMES))
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    print(f"cases {options.cases} findings {findings}")
    return min(findings, 1)


if __name__ == "__main__":
    raise SystemExit(main())
