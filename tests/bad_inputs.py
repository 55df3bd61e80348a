"""Every public function that takes W, X or y, called with every bad W, X and y.

    python -m tests.bad_inputs

Prints how many calls gave a clear error (a ValueError that says what was expected), an error from
somewhere inside, NaN, or a number. Eager calls with arrays see everything; the same calls inside
`jax.jit` see shapes and dtypes. Not run under pytest itself, whose checks of annotations would
answer first: a test runs this file as a program.
"""

import collections
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxsvm
from jaxsvm import Data, Objective, certificate, gradients, lines

N, D, C = 6, 4, 3
RNG = np.random.default_rng(0)
W = jnp.asarray(RNG.standard_normal((C, D)), jnp.float32)
X = jnp.asarray(RNG.standard_normal((N, D)), jnp.float32)
Y = jnp.asarray(np.arange(N) % C, jnp.int32)
KEY = jax.random.key(0)
OBJECTIVE = Objective(reg=0.1)


class Tensor:
    """What another library's array looks like from here."""

    shape, ndim, dtype = (C, D), 2, "torch.float32"

    def __len__(self) -> int:
        return C


def runs(make: Callable[[], Any]) -> Callable[[Any, Any, Any], Any]:
    return lambda W, X, y: jaxsvm.run(make(), KEY, W, Data(X, y), num_steps=2)


def direction(W: Any) -> Any:
    return jnp.ones((C, D), jnp.float32)


# Each takes W, X and y; those in WITHOUT do not look at one of them.
FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "score": lambda W, X, y: jaxsvm.score(W, X),
    "predict": lambda W, X, y: jaxsvm.predict(W, X),
    "accuracy": lambda W, X, y: jaxsvm.accuracy(W, Data(X, y)),
    "Objective": lambda W, X, y: OBJECTIVE(W, Data(X, y)),
    "Objective, softmax": lambda W, X, y: Objective(jaxsvm.softmax_loss)(W, Data(X, y)),
    "jax.grad": lambda W, X, y: jax.grad(OBJECTIVE)(W, Data(X, y)),
    "analytic_gradient": lambda W, X, y: jaxsvm.analytic_gradient(OBJECTIVE, W, Data(X, y)),
    "termwise": lambda W, X, y: jaxsvm.termwise_numerical_gradient(OBJECTIVE, W, Data(X, y)),
    "numerical_gradient": lambda W, X, y: jaxsvm.numerical_gradient(
        lambda W: OBJECTIVE(W, Data(X, y)), W
    ),
    "check_gradient": lambda W, X, y: jaxsvm.check_gradient(OBJECTIVE, W, Data(X, y)).numerical,
    "error_budget": lambda W, X, y: gradients.error_budget(
        OBJECTIVE, W, Data(X, y), jnp.array([1e-3])
    ),
    "suggest_h": lambda W, X, y: gradients.suggest_h(OBJECTIVE, W, Data(X, y)),
    "along": lambda W, X, y: jaxsvm.along(OBJECTIVE, W, direction(W), Data(X, y)).value(0.5),
    "spanned": lambda W, X, y: (
        lines.spanned(OBJECTIVE, W, direction(W), direction(W), Data(X, y)).offset
    ),
    "slice_1d": lambda W, X, y: jaxsvm.slice_1d(OBJECTIVE, W, direction(W), Data(X, y), num=3).loss,
    "slice_2d": lambda W, X, y: (
        jaxsvm.slice_2d(OBJECTIVE, W, direction(W), direction(W), Data(X, y), num=3).accuracy
    ),
    "lower_bound": lambda W, X, y: jaxsvm.lower_bound(OBJECTIVE, W, Data(X, y)),
    "duality_gap": lambda W, X, y: certificate.duality_gap(
        OBJECTIVE, W, jnp.full((N, C), 0.5), Data(X, y)
    ),
    "solve": lambda W, X, y: jaxsvm.solve(OBJECTIVE, Data(X, y), start=W).primal,
    "random_search": runs(lambda: jaxsvm.random_search(OBJECTIVE, block_size=2)),
    "pruned_random_search": runs(lambda: jaxsvm.pruned_random_search(OBJECTIVE, block_size=2)),
    "local_search": runs(lambda: jaxsvm.local_search(OBJECTIVE, block_size=2)),
    "pruned_local_search": runs(lambda: jaxsvm.pruned_local_search(OBJECTIVE, block_size=2)),
    "gradient_descent": runs(lambda: jaxsvm.gradient_descent(OBJECTIVE, step_size=0.1)),
    "minibatch": runs(
        lambda: jaxsvm.minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=2)
    ),
    "line_search_descent": runs(lambda: jaxsvm.line_search_descent(OBJECTIVE)),
    "from_optax": runs(lambda: jaxsvm.from_optax(optax.adam(0.1), OBJECTIVE)),
    "hinge_loss(scores, y)": lambda W, X, y: jaxsvm.hinge_loss(W, y),
    "crammer_singer_loss(scores, y)": lambda W, X, y: jaxsvm.crammer_singer_loss(W, y),
    "softmax_loss(scores, y)": lambda W, X, y: jaxsvm.softmax_loss(W, y),
    "margins(scores, y)": lambda W, X, y: jaxsvm.margins(W, y),
    "validate": lambda W, X, y: jaxsvm.validate(Data(X, y), C),
    "data_from_arrays": lambda W, X, y: jaxsvm.data_from_arrays(X, y, num_classes=C).X,
}
# Where W stands for the scores (N, C), and what a function does not take.
SCORES = {name for name in FUNCTIONS if "(scores, y)" in name}
WITHOUT = {
    "y": {"score", "predict"},
    "X": SCORES,
    "W": {"validate", "data_from_arrays"},
}
HOST = {"check_gradient", "suggest_h", "solve", "validate", "data_from_arrays"}

KINDS: dict[str, Callable[[Any], Any]] = {
    "a list": lambda a: np.asarray(a).tolist(),
    "None": lambda a: None,
    "a string": lambda a: "W",
    "float16": lambda a: a.astype(jnp.float16),
    "bfloat16": lambda a: a.astype(jnp.bfloat16),
    "complex": lambda a: a.astype(jnp.complex64),
    "integers": lambda a: a.astype(jnp.int32),
    "booleans": lambda a: a > 0,
    "objects": lambda a: np.asarray(a).astype(object),
    "masked": lambda a: np.ma.masked_array(np.asarray(a), mask=np.asarray(a) > 0),
    "a foreign tensor": lambda a: Tensor(),
    "one dimension": lambda a: a[0],
    "three dimensions": lambda a: a[None],
    "transposed": lambda a: a.T,
    "a column short": lambda a: a[:, :-1],
    "no columns": lambda a: a[:, :0],
    "no rows": lambda a: a[:0],
}
LABELS: dict[str, Callable[[Any], Any]] = {
    "a list": lambda y: y.tolist(),
    "None": lambda y: None,
    "floats": lambda y: y.astype(jnp.float32),
    "booleans": lambda y: y > 0,
    "objects": lambda y: np.asarray(y).astype(object),
    "masked": lambda y: np.ma.masked_array(np.asarray(y), mask=np.asarray(y) > 0),
    "a column": lambda y: y[:, None],
    "one label": lambda y: y[:1],
    "three too many": lambda y: jnp.concatenate([y, y[:3]]),
    "none": lambda y: y[:0],
    "a scalar": lambda y: y[0],
    "C": lambda y: y.at[2].set(C),
    "-1": lambda y: y.at[2].set(-1),
}
VALUES = {"C", "-1"}  # not seen inside jax.jit
# No start is a start; arrays of your own have any number of columns; scores any of classes.
MEANINGFUL = {("solve", "W", "None")}
MEANINGFUL |= {(name, "X", "a column short") for name in ("validate", "data_from_arrays")}
MEANINGFUL |= {(name, "W", "a column short") for name in SCORES}
# No examples have no scores. That a gradient is taken of floats is JAX's to say, and it does.
MEANINGFUL |= {(name, "X", "no rows") for name in ("score", "predict")}
OF_JAX = "integers booleans objects masked"
MEANINGFUL |= {("jax.grad", "W", kind) for kind in OF_JAX.split()}
MEANINGFUL |= {("jax.grad", "W", f"a {kind}") for kind in ("list", "string", "foreign tensor")}


# What else is said, and where: the call, and words of the error.
MANY = Data(jnp.ones((300, D)), jnp.zeros(300, jnp.int32))
ADAM, OPTIMIZER = optax.adam(0.1), jaxsvm.random_search(OBJECTIVE)


def jitted(function: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: jax.jit(function)(W)


MESSAGES: dict[str, Callable[[], Any]] = {
    "W has shape (10, 64)": lambda: OBJECTIVE(jnp.ones((10, 64)), MANY),
    "W has shape (4, 3) and X has shape (300, 4)": lambda: jaxsvm.score(W.T, MANY.X),
    "did you pass W.T?": lambda: OBJECTIVE(W.T, Data(X, Y)),
    "y[2] = 3: labels must be integers in [0, 3)": lambda: jaxsvm.hinge_loss(
        X[:, :C], Y.at[2].set(3)
    ),
    "optimizer is a PRNGKeyArray": lambda: jaxsvm.run(
        KEY, OPTIMIZER, W, Data(X, Y), num_steps=1  # type: ignore[arg-type]
    ),
    "key is a int": lambda: jaxsvm.run(
        OPTIMIZER, 0, W, Data(X, Y), num_steps=1  # type: ignore[arg-type]
    ),
    "transformation is a Objective": lambda: jaxsvm.from_optax(
        OBJECTIVE, ADAM
    ),
    "loss_fn is a GradientTransformationExtraArgs": lambda: jaxsvm.run(
        jaxsvm.gradient_descent(ADAM, step_size=0.1),
        KEY, W, Data(X, Y), num_steps=1,
    ),
    "solve is called inside jax.jit": jitted(
        lambda W: jaxsvm.solve(OBJECTIVE, Data(W, Y[:C])).W
    ),
    "check_gradient is called inside jax.jit": jitted(
        lambda W: jaxsvm.check_gradient(OBJECTIVE, W, Data(X, Y)).numerical
    ),
    "mode = forward is given, and loss_fn is a Objective": lambda: jaxsvm.check_gradient(
        OBJECTIVE, W, Data(X, Y), mode="forward"
    ),
    "ties = any is given, and loss_fn is a function": lambda: jaxsvm.assert_gradient(
        lambda W: jnp.sum(W), W, ties="any"
    ),
    "data is missing: expected check_gradient": lambda: jaxsvm.assert_gradient(OBJECTIVE, W),
    "which takes no delta": lambda: Objective(lambda scores, y: scores[:, 0]),
    "loss is a float: expected a function": lambda: Objective(0.5),  # type: ignore[arg-type]
    "optax's lookahead, which asks for": lambda: jaxsvm.run(
        jaxsvm.from_optax(optax.lookahead(ADAM, 2, 0.5), OBJECTIVE),
        KEY, W, Data(X, Y), num_steps=1,
    ),
    "optax's sam, which asks for": lambda: jaxsvm.run(
        jaxsvm.from_optax(
            optax.contrib.sam(ADAM, optax.sgd(0.1), opaque_mode=True), OBJECTIVE
        ),
        KEY, W, Data(X, Y), num_steps=1,
    ),
}  # fmt: skip


@functools.cache
def spoiled(argument: str, kind: str, scores: bool) -> Any:
    """Return the bad argument; made once, because each is some compiled operations."""
    good = {"W": X[:, :C] if scores else W, "X": X, "y": Y}[argument]
    return (LABELS if argument == "y" else KINDS)[kind](good)


def cases() -> Iterator[tuple[str, str, Callable[..., Any], tuple[Any, Any, Any], bool]]:
    """Yield the function's name, the input's, the function, W, X and y, and whether it jits."""
    for name, function in FUNCTIONS.items():
        good = {"W": X[:, :C] if name in SCORES else W, "X": X, "y": Y}
        for argument, kinds in (("W", KINDS), ("X", KINDS), ("y", LABELS)):
            for kind in kinds:
                if name in WITHOUT[argument] or (name, argument, kind) in MEANINGFUL:
                    continue
                bad = good | {argument: spoiled(argument, kind, name in SCORES)}
                jits = name not in HOST and kind not in VALUES
                jits = jits and isinstance(bad[argument], jax.Array)
                yield name, f"{argument}: {kind}", function, (bad["W"], bad["X"], bad["y"]), jits


def outcome(function: Callable[..., Any], arguments: tuple[Any, Any, Any]) -> str:
    try:
        result = function(*arguments)
    except ValueError as error:
        is_clear = "expected" in str(error) or "must be" in str(error)
        return "clear error" if is_clear else f"from inside: {error!r:.90}"
    except Exception as error:
        return f"from inside: {error!r:.90}"
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(result) if not is_key(leaf)]
    floats = [leaf for leaf in leaves if leaf.dtype.kind == "f"]
    return "NaN" if any(np.isnan(leaf).any() for leaf in floats) else "a number"


def is_key(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", np.float32), jax.dtypes.prng_key)


def main() -> int:
    """Print the table, and every call that gave no clear error; return how many did not."""
    warnings.simplefilter("ignore")
    for name, function in FUNCTIONS.items():
        if name not in HOST:  # good arguments pass; traced only, because to compile takes long
            jax.eval_shape(function, X[:, :C] if name in SCORES else W, X, Y)
    rows, failures = [], 0
    for words, call in MESSAGES.items():
        try:
            said = f"returned {call()}"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if words not in said or not said.startswith("ValueError"):
            failures += 1
            print(f"expected a ValueError with {words!r}: {said}")
    for way in ("eager", "inside jax.jit"):
        counts: collections.Counter[str] = collections.Counter()
        for name, kind, function, arguments, jits in cases():
            if way == "inside jax.jit" and not jits:
                continue
            found = outcome(function if way == "eager" else jax.jit(function), arguments)
            counts[found.split(":")[0]] += 1
            if found != "clear error":
                failures += 1
                print(f"{way}, {name}, {kind}: {found}", flush=True)
        cells = (counts[key] for key in ("clear error", "from inside", "NaN", "a number"))
        rows.append(f"| {way} | {sum(counts.values())} | " + " | ".join(map(str, cells)) + " |")
    print("| called | with bad inputs | clear error | error from inside | NaN | a number |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")
    return failures


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
