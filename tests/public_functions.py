"""Every public function as `tests.fuzz` calls it: by named arguments, each with a good value.

A public name without an entry here fails a test; `RECORDS` are handed out, not called.
"""

import functools
import hashlib
import tempfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow_datasets as tfds

import jaxsvm
from jaxsvm import Data, certificate, gradients, lines, model, optimizers, patches, streams
from jaxsvm.certificate.solve import History
from jaxsvm.datasets.prepare import prepare
from jaxsvm.estimator import LinearSVC
from tests import reference, tiny_images
from tests.odd_values import COLUMNS, OBJECTIVE, ROWS, C, D, N, draw, good_X, good_y

GOOD = object()  # an argument made when it is passed: data of X and y, a key, a path


# --- what is public ---

ROOMS = {
    "": jaxsvm,
    "core.": jaxsvm.core,
    "lines.": lines,
    "gradients.": gradients,
    "optimizers.": optimizers,
    "certificate.": certificate,
    "datasets.": jaxsvm.datasets,
    "streams.": streams,
}
# Files beside the rooms whose own functions are offered too.
FILES = (model, patches)
# What users are handed, or make of numbers that are looked at where they are used.
RECORDS = {
    "Certificate", "Data", "Dataset", "DatasetError", "DivergedError", "FAMILY", "FittedOn",
    "FunctionCheck", "GradientCheck", "Info", "Minimum", "Optimizer", "Order", "PatchEncoder",
    "PathPoint", "Penalty", "Plane", "RowSource", "Slice", "Solution",
    "StandardizedFeatures", "State", "StreamedRows", "Verdict",
}  # fmt: skip


# They have a result, if not one that a loss can have.
FUNCTIONS = frozenset({"to a vector", "to nothing", "to an integer", "to a Python number"})
TOO_LARGE_OR_SMALL = {"3e38", "two of 3e38", "1e30", "1e300 in float64", "all small"}


def public_names() -> set[str]:
    """The names that are offered, each once, without those of modules."""
    names = set()
    for room in ROOMS.values():
        for name, value in vars(room).items():
            if not name.startswith("_") and not isinstance(value, types.ModuleType):
                names.add(name)
    for file in FILES:
        own = (x for x in vars(file).items() if getattr(x[1], "__module__", "") == file.__name__)
        names |= {name for name, _ in own if not name.startswith("_")}
    return names


def uncovered() -> set[str]:
    """The public names that nothing here calls."""
    return public_names() - RECORDS - {name.split(",")[0].split(".")[0] for name in registry()}


# --- what is called ---


class Argument(NamedTuple):
    """A good value, and what kind of replacements it has; ``skip`` are those with a meaning."""

    kind: str
    value: Any
    skip: frozenset[str] = frozenset()


class Entry(NamedTuple):
    """A function of named arguments; ``data`` is made of X and y.

    Attributes:
        call: the function.
        arguments: by name.
        oracle: the same in NumPy and float64, of W, X, y, scores.
        host: whether it works with values, and has to refuse traced ones.
        free: labels of shapes that have a meaning, by argument.
        foreign: whether messages are another library's, whose form is its own.
        cost: how many calls cost as much as one.
    """

    call: Callable[..., Any]
    arguments: dict[str, Argument]
    oracle: Callable[..., Any] | None = None
    host: bool = False
    free: Mapping[str, set[str]] = types.MappingProxyType({})
    foreign: bool = False
    cost: int = 1


def weights(seed: int = 2) -> Argument:
    return Argument("floats", draw(seed, C, D))


def examples(kind: str = "features") -> dict[str, Argument]:
    X, y = Argument(kind, good_X()), Argument("labels", good_y())
    return {"X": X, "y": y, "data": Argument("data", GOOD)}


def objective() -> Argument:
    return Argument("objective", OBJECTIVE)


def loss_of_scores(name: str) -> Entry:
    loss = getattr(jaxsvm, name)
    arguments = {
        "scores": Argument("floats", draw(3, N, C)),
        "y": Argument("labels", good_y()),
        "delta": Argument("number", 1.0),
    }
    oracle = None
    if name == "softmax_loss":  # it has no delta
        del arguments["delta"]
    if name in reference.LOSSES:
        oracle = lambda scores, y, delta: reference.losses(name, scores, y, delta)  # noqa: E731
    free = {"scores": {"a column more"}}

    def call(scores: Any, y: Any, **delta: Any) -> Any:
        return loss(scores, y, **delta)

    return Entry(call, arguments, oracle, free=free)


def strategy(make: Callable[..., Any], first: str, params: Argument, **settings: Argument) -> Entry:
    """An optimizer made of a loss and settings, and run for two steps."""

    def call(params: Any, data: Any, **rest: Any) -> Any:
        optimizer = make(rest.pop(first), **rest)
        return jaxsvm.run(optimizer, jax.random.key(0), params, data, num_steps=2)

    function = {
        "objective": objective(),
        "loss_fn": Argument("function", OBJECTIVE),
        "optimizer": Argument("optimizer", _descent()),
    }[first]
    return Entry(
        call,
        {first: function, **settings, "params": params, **examples()},
        cost=300,
        free={"params": ROWS if params.value.ndim == 3 else MORE},
    )


def positive(value: float) -> Argument:
    return Argument("positive", value)


def count(value: int) -> Argument:
    return Argument("count", value)


def _descent() -> Any:
    return jaxsvm.gradient_descent(OBJECTIVE, step_size=0.1)


def _data() -> Data:
    return Data(jnp.asarray(good_X()), jnp.asarray(good_y()))


def _state() -> Any:
    return _descent().init(jnp.asarray(draw(2, C, D)), _data())


def _checked(check: Any) -> Any:
    return check.verdict, check.numerical, check.left, check.right


def _solved(objective: Any, data: Any, solution: Any) -> Any:
    """The solution's numbers, once the oracle has said that they are bounds."""
    W, X = np.asarray(solution.W, float), np.asarray(data.X, float)
    here = reference.objective(W, X, np.asarray(data.y), reg=float(objective.reg))
    assert solution.dual <= here <= solution.primal, f"{here} is outside of {solution}"
    return solution.W, solution.primal, solution.dual


def _line(W: Any) -> Any:
    return jaxsvm.along(OBJECTIVE, jnp.asarray(W), jnp.ones((C, D)), _data())


def _model() -> Any:
    return jaxsvm.Model(
        draw(2, C, D + 1), np.zeros(D, np.float32), np.ones(D, np.float32), ("a", "b", "c"), (D,)
    )


def _images() -> np.ndarray:
    return np.random.default_rng(12).integers(0, 256, (4, 5, 5, 1), np.uint8)


def _encoder(images: Any, **settings: Any) -> Any:
    settings = {"num_filters": 2, "patch_size": 3, "num_patches": 20} | settings
    return patches.patch_encoder(jax.random.key(1), images, **settings)


def _accuracy(W: Any, X: Any, y: Any) -> float:
    return float(np.mean(np.argmax(reference.score(W, X), axis=1) == np.asarray(y)))


def l2(W: Any) -> float:
    return reference.penalty("l2_penalty", W)


def l1(W: Any) -> float:
    return reference.penalty("l1_penalty", W)


def value(objective: Any, W: Any, X: Any, y: Any) -> float:
    return reference.objective(W, X, y, reg=float(objective.reg))


def _sum_of_squares(params: Any) -> Any:
    return sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(params))


@functools.cache
def _iris() -> tuple[Any, Any]:
    """A dataset, and what might be a solution on it."""
    W, slopes = jnp.zeros((3, 5)), jnp.zeros((108, 3))
    history = History(np.ones(1), np.ones(1), np.ones(1), np.ones(1))
    solution = jaxsvm.Solution(W, slopes, 2.0, 1.0, 1.0, 1, history)
    return jaxsvm.load_dataset("iris"), solution


@functools.cache
def _fitted() -> Any:
    return LinearSVC(reg=0.1, gap_tolerance=0.1).fit(good_X(), good_y())


@functools.cache
def _saved() -> Path:
    path = Path(tempfile.mkdtemp()) / "model.npz"
    jaxsvm.save(path, _model())
    return path


@functools.cache
def _files() -> Path:
    folder = Path(tempfile.mkdtemp())
    np.save(folder / "X.npy", good_X())
    np.save(folder / "y.npy", good_y())
    return folder


def _block(i: int) -> Any:
    return good_X()[2 * i : 2 * i + 2], good_y()[2 * i : 2 * i + 2]


@functools.cache
def _stream() -> Any:
    return streams.stream_from_blocks(_block, num_rows=N, block_rows=2, shift=0.0)


def _read(data: Any) -> Any:
    """The numbers of a stream."""
    return np.asarray(data.X), data.y


@functools.cache
def _tiny_images() -> Path:
    """A data_dir that holds the tiny cifar10."""
    root = Path(tempfile.mkdtemp())
    content = tiny_images.archive(*tiny_images.raw_batches("cifar10"))
    with tiny_images.served(content) as url:
        digest = hashlib.sha256(content).hexdigest()
        facts, infos = tiny_images.downloads("cifar10", url, len(content), digest)
        builder = tfds.builder_cls("cifar10")
        with mock.patch.multiple(builder, _cifar_info=facts, url_infos=infos):
            prepare("cifar10", root)
    return root


ANY_SHAPE = {"an axis less", "an axis more", "an axis at the end", "transposed", "a row less"}
ANY_SHAPE |= ROWS | COLUMNS
NO_NUMBERS = {"no rows", "no columns", "one number"}
PICTURES = {"a row more", "a row less", "one row", "one column", "float32", "float64", "int32"}
MORE = {"a row more"}  # one class more
LOSSES = [*reference.LOSSES, "softmax_loss", "margins"]


@functools.cache
def registry() -> dict[str, Entry]:
    """Every function; "function, what differs" where one has several entries."""
    word, W = functools.partial(Argument, "word"), weights()
    key = Argument("key", GOOD)
    number = functools.partial(Argument, "number")
    path = Argument("floats", draw(4, 4, C, D))
    h = positive(0.01)
    entries = {name: loss_of_scores(name) for name in LOSSES}
    entries |= {
        "Hinge": Entry(
            lambda margins, terms, join, power, own_weight: jaxsvm.Hinge(
                margins, terms, join, power, own_weight
            )(jnp.asarray(draw(3, N, C)), jnp.asarray(good_y())),
            {
                "margins": word("centred"), "terms": word("all"), "join": word("sum"),
                "power": count(1), "own_weight": Argument("fraction", 0.5, frozenset({"None"})),
            },
        ),
        "l2_penalty": Entry(jaxsvm.l2_penalty, {"W": W}, l2, free={"W": ANY_SHAPE | NO_NUMBERS}),
        "l1_penalty": Entry(jaxsvm.l1_penalty, {"W": W}, l1, free={"W": ANY_SHAPE | NO_NUMBERS}),
        "score": Entry(
            jaxsvm.score, {"W": W, "X": Argument("features", good_X())}, reference.score,
            free={"W": ROWS, "X": ROWS | {"no rows"}},
        ),
        "predict": Entry(
            jaxsvm.predict, {"W": W, "X": Argument("features", good_X())},
            free={"W": ROWS, "X": ROWS | {"no rows"}},
        ),
        "accuracy": Entry(jaxsvm.accuracy, {"W": W} | examples(), _accuracy, free={"W": MORE}),
        "Objective": Entry(
            lambda W, data: OBJECTIVE(W, data), {"W": W} | examples(),
            lambda W, X, y: value(OBJECTIVE, W, X, y), free={"W": MORE},
        ),
        "Objective, its numbers": Entry(
            lambda reg, delta, W, data: jaxsvm.Objective(reg=reg, delta=delta)(W, data),
            {"reg": number(0.1), "delta": number(1.0), "W": W} | examples(),
            lambda reg, delta, W, X, y: reference.objective(W, X, y, reg=reg, delta=delta),
            free={"W": MORE},
        ),
        "shard": Entry(
            lambda data, mesh: np.asarray(jaxsvm.shard(data, mesh).X),
            {"mesh": Argument("optimizer", jax.make_mesh((1,), ("devices",)))} | examples(),
            host=True, free={"X": COLUMNS, "y": {"C", "100"}},  # it is not told C
        ),
        "compiled": Entry(
            lambda f: jaxsvm.compiled(f)(good_X()),
            {"f": Argument("function", _sum_of_squares, FUNCTIONS)}, foreign=True,
        ),
        "validate": Entry(
            lambda data, num_classes: jaxsvm.validate(data, num_classes),
            {"num_classes": Argument("count", C, frozenset({"None"}))} | examples(),
            host=True, free={"X": COLUMNS, "data": {"a pair", "a list"}},
        ),
        "data_from_arrays": Entry(
            lambda X, y, num_classes: jaxsvm.data_from_arrays(X, y, num_classes=num_classes),
            {
                "X": Argument("floats", good_X()), "y": Argument("labels", good_y()),
                "num_classes": Argument("count", C, frozenset({"None"})),
            },
            host=True, free={"X": COLUMNS},
        ),
        "rows_from_pixels": Entry(
            lambda pixels, shift, scale: np.asarray(
                jaxsvm.datasets.rows_from_pixels(pixels, shift=shift, scale=scale)
            ),
            {
                "pixels": Argument("pixels", np.arange(N * D, dtype=np.uint8).reshape(N, D)),
                "shift": Argument("floats", draw(5, D)), "scale": Argument("number", 0.5),
            },
            host=True, free={"pixels": ROWS | {"no rows"}, "shift": {"transposed"}},
        ),
        "rows_from_table": Entry(
            lambda table, shift, scale: jaxsvm.datasets.rows_from_table(
                table, shift=shift, scale=scale
            ),
            {
                "table": Argument("floats", good_X()), "shift": Argument("floats", draw(5, D)),
                "scale": Argument("number", 0.5),
            },
            lambda table, shift, scale: np.pad(
                (np.asarray(table, float) - shift) * scale, ((0, 0), (0, 1)), constant_values=1
            ),
            host=True, free={"table": ROWS | {"no rows"}, "shift": {"transposed"}},
        ),
        "load_dataset": Entry(
            lambda **options: jaxsvm.load_dataset("iris", **options).train,
            {
                "labels": Argument("record", None), "test": Argument("record", None),
                "test_labels": Argument("record", None),
                "scale": Argument("positive", 1.0), "dtype": word("uint8"),
                "place": Argument("record", None, frozenset({"a class"})),
                "validation": Argument("count", 10, frozenset({"None", "0"})),
            },
            host=True,
        ),
        "load_dataset, a path": Entry(
            lambda name: jaxsvm.load_dataset(name).train, {"name": Argument("path", "digits")},
            host=True,
        ),
        # Lines and landscapes.
        "along": Entry(
            lambda objective, W, direction, data: jaxsvm.along(objective, W, direction, data).value(
                0.5
            ),
            {"objective": objective(), "W": W, "direction": weights(6)} | examples(),
            lambda objective, W, direction, X, y: value(
                objective, np.asarray(W, float) + 0.5 * np.asarray(direction, float), X, y
            ),
        ),
        "spanned": Entry(
            lambda objective, W, direction_a, direction_b, data: (
                lines.spanned(objective, W, direction_a, direction_b, data).row(0.5).value(0.5)
            ),
            {
                "objective": objective(), "W": W, "direction_a": weights(6),
                "direction_b": weights(7),
            } | examples(),
        ),
        "Line.value": Entry(lambda t: _line(draw(2, C, D)).value(t), {"t": number(0.5)}),
        "Line.slopes": Entry(lambda t: _line(draw(2, C, D)).slopes(t), {"t": number(0.5)}),
        "Line.kinks_between": Entry(
            lambda low, high: _line(draw(2, C, D)).kinks_between(low, high),
            {"low": Argument("end", -1.0), "high": Argument("end", 1.0)}, host=True,
        ),
        "Line.values": Entry(
            lambda start, stop, num: _line(draw(2, C, D)).values(start=start, stop=stop, num=num),
            {"start": number(-1.0), "stop": number(1.0), "num": count(3)}, cost=60,
        ),
        "slice_1d": Entry(
            lambda objective, W, direction, data, start, stop, num: jaxsvm.slice_1d(
                objective, W, direction, data, start=start, stop=stop, num=num
            ),
            {
                "objective": objective(), "W": W, "direction": weights(6),
                "start": number(-1.0), "stop": number(1.0), "num": count(3),
            } | examples(),
            cost=60,
        ),
        "slice_2d": Entry(
            lambda objective, W, direction_a, direction_b, data, start, stop, num: jaxsvm.slice_2d(
                objective, W, direction_a, direction_b, data, start=start, stop=stop, num=num
            ),
            {
                "objective": objective(), "W": W, "direction_a": weights(6),
                "direction_b": weights(7), "start": number(-1.0), "stop": number(1.0),
                "num": count(3),
            } | examples(),
            cost=500,
        ),
        "project_path": Entry(
            jaxsvm.project_path,
            {
                "objective": objective(), "path": path, "origin": W, "direction_a": weights(6),
                "direction_b": weights(7),
            } | examples(),
            free={"path": ROWS | {"transposed"}}, cost=60,
        ),
        "random_direction": Entry(
            lambda key, params, normalize: jaxsvm.random_direction(
                key, params, normalize=normalize
            ),
            {"key": key, "params": W, "normalize": word("rows")},
            free={"params": ANY_SHAPE | NO_NUMBERS | {"a dict"}}, cost=60,
        ),
        "direction_between": Entry(
            lines.direction_between, {"W": W, "other": weights(6)},
            lambda W, other: np.asarray(other, float) - np.asarray(W, float),
        ),
        "principal_directions": Entry(
            lambda path, num: lines.principal_directions(path, num=num),
            {"path": path, "num": count(2)}, free={"path": ANY_SHAPE | {"a dict"}}, cost=150,
        ),
        # Gradients.
        "analytic_gradient": Entry(
            jaxsvm.analytic_gradient, {"objective": objective(), "W": W} | examples(),
            lambda objective, W, X, y: reference.hinge_gradient(
                np.asarray(W, float), np.asarray(X, float), np.asarray(y), reg=float(objective.reg)
            ),
            free={"W": MORE},
        ),
        "score_gradient": Entry(
            gradients.score_gradient,
            {
                "objective": objective(), "scores": Argument("floats", draw(3, N, C)),
                "y": Argument("labels", good_y()),
            },
            free={"scores": {"a column more"}},
        ),
        "numerical_gradient": Entry(
            lambda f, params, h, method, batch_size: jaxsvm.numerical_gradient(
                f, params, h=h, method=method, batch_size=batch_size
            ),
            {
                "f": Argument("function", _sum_of_squares), "params": W,
                "h": Argument("positive", 0.01, frozenset({"None"})), "method": word("central"),
                "batch_size": count(4),
            },
            free={"params": ANY_SHAPE | NO_NUMBERS | {"a dict"}}, cost=200,
        ),
        "termwise_numerical_gradient": Entry(
            lambda objective, W, data, h, method: jaxsvm.termwise_numerical_gradient(
                objective, W, data, h=h, method=method
            ),
            {"objective": objective(), "W": W, "h": h, "method": word("central")} | examples(),
            free={"W": MORE}, cost=100,
        ),
        "check_gradient": Entry(
            lambda objective, W, data, gradient, h, ties: _checked(
                jaxsvm.check_gradient(objective, W, data, gradient=gradient, h=h, ties=ties)
            ),
            {
                "objective": objective(), "W": W,
                "gradient": weights(8)._replace(skip=frozenset({"a function"})),
                "h": Argument("positive", 0.01, frozenset({"None"})), "ties": word("zero"),
            } | examples(),
            host=True, free={"gradient": {"None", "NaN"}, "ties": {"None"}}, cost=100,
        ),
        "assert_gradient": Entry(
            lambda objective, W, data, ties: jaxsvm.assert_gradient(
                objective, W, data, ties=ties
            ),
            {"objective": objective(), "W": W, "ties": word("any")} | examples(),
            host=True, free={"W": MORE, "ties": {"None"}}, cost=100,
        ),
        "error_budget": Entry(
            gradients.error_budget,
            {
                "objective": objective(), "W": W,
                "h": Argument("floats", np.array([0.1, 0.01], np.float32)),
            } | examples(),
            free={"W": MORE, "h": ANY_SHAPE}, cost=60,
        ),
        "suggest_h": Entry(
            gradients.suggest_h, {"objective": objective(), "W": W} | examples(),
            host=True, free={"W": MORE},
        ),
        "check_gradient, of a function": Entry(
            lambda loss_fn, params, gradient, h, mode, order, num_coordinates, key: _checked(
                jaxsvm.check_gradient(
                    loss_fn, params, gradient=gradient, h=h, mode=mode, order=order,
                    num_coordinates=num_coordinates, key=key,
                )
            ),
            {
                "loss_fn": Argument("function", _sum_of_squares), "params": W,
                "gradient": weights(8),
                "h": Argument("positive", 0.01, frozenset({"None"})), "mode": word("reverse"),
                "order": Argument("count", 1, frozenset({"None"})),
                "num_coordinates": Argument("count", 2, frozenset({"None"})), "key": key,
            },
            host=True, cost=300,
            free={"gradient": {"None", "NaN"}, "mode": {"None"}, "loss_fn": {"to a vector"}},
        ),
        "assert_numerical_grads": Entry(
            lambda f, params, order: gradients.assert_numerical_grads(f, (params,), order),
            {
                "f": Argument("function", _sum_of_squares),
                # Of such numbers it says, by its AssertionError, that nothing can be resolved.
                "params": W._replace(skip=W.skip | TOO_LARGE_OR_SMALL), "order": count(1),
            },
            host=True, cost=300,
            free={"params": ANY_SHAPE | {"a dict"}, "f": {"to a vector"}},
        ),
        "relative_error": Entry(gradients.relative_error, {"a": W, "b": weights(6)}),
        # Optimizers.
        "random_search": strategy(
            jaxsvm.random_search, "objective", W, scale=positive(0.1), block_size=count(2)
        ),
        "pruned_random_search": strategy(
            jaxsvm.pruned_random_search, "objective", W, scale=positive(0.1), block_size=count(2)
        ),
        "local_search": strategy(
            jaxsvm.local_search, "objective", W, step_size=positive(0.1), block_size=count(2)
        ),
        "pruned_local_search": strategy(
            jaxsvm.pruned_local_search, "objective", W, step_size=positive(0.1), block_size=count(2)
        ),
        "local_searches": strategy(
            jaxsvm.local_searches, "objective", Argument("floats", draw(4, 2, C, D)),
            step_size=positive(0.1), block_size=count(2),
        ),
        "gradient_descent": strategy(
            jaxsvm.gradient_descent, "loss_fn", W, step_size=positive(0.1),
            momentum=Argument("fraction", 0.5),
        ),
        "line_search_descent": strategy(
            jaxsvm.line_search_descent, "objective", W, momentum=Argument("nonnegative", 0.5)
        ),
        "minibatch": strategy(
            jaxsvm.minibatch, "optimizer", W, batch_size=count(2)
        ),
        "minibatch_gradient_descent": strategy(
            jaxsvm.minibatch_gradient_descent, "loss_fn", W, step_size=positive(0.1),
            momentum=Argument("fraction", 0.5), batch_size=count(2),
        ),
        "from_optax": strategy(
            lambda loss_fn, batch_size: jaxsvm.from_optax(
                optax.sgd(0.1), loss_fn, batch_size=batch_size
            ),
            "loss_fn", W, batch_size=Argument("count", 2, frozenset({"None"})),
        ),
        "best_so_far": strategy(
            lambda loss_fn: optimizers.best_so_far(_descent(), loss_fn), "loss_fn", W
        ),
        "record_every": strategy(
            optimizers.record_every, "optimizer", W, num_steps=count(2)
        ),
        "run": Entry(
            lambda optimizer, key, params, data, num_steps: jaxsvm.run(
                optimizer, key, params, data, num_steps=num_steps
            ),
            {
                "optimizer": Argument("optimizer", _descent()), "key": key, "params": W,
                "num_steps": Argument("count", 2, frozenset({"0"})),
            } | examples(),
            free={"params": MORE}, cost=300,
        ),
        "advance": Entry(
            lambda optimizer, key, data, start, num_steps: jaxsvm.advance(
                optimizer, key, _state(), data, start, num_steps=num_steps
            ),
            {
                "optimizer": Argument("optimizer", _descent()), "key": key,
                "start": Argument("count", 2, frozenset({"0", "traced"})),
                "num_steps": Argument("count", 2, frozenset({"0"})),
            } | examples(),
            cost=100,
        ),
        "run_resumable": Entry(
            lambda optimizer, key, params, data, num_steps, every: jaxsvm.run_resumable(
                optimizer, key, params, data, num_steps=num_steps, every=every,
                folder=tempfile.mkdtemp(),
            ),
            {
                "optimizer": Argument("optimizer", _descent()), "key": key, "params": W,
                "num_steps": Argument("count", 2, frozenset({"0"})),
                "every": Argument("count", 2, frozenset({"None"})),
            } | examples(),
            host=True, free={"params": MORE}, cost=300,
        ),
        # Streams.
        "stream_from_npy": Entry(
            lambda X, y, shift, scale: _read(
                streams.stream_from_npy(
                    _files() / "X.npy" if X is GOOD else X,
                    _files() / "y.npy" if y is GOOD else y, shift=shift, scale=scale,
                )
            ),
            {
                "X": Argument("path", GOOD), "y": Argument("path", GOOD),
                "shift": number(0.5), "scale": number(0.5),
            },
            host=True,
        ),
        "stream_from_tfds": Entry(
            lambda split, shift, scale, workers: streams.stream_from_tfds(
                "cifar10", split, data_dir=_tiny_images(), shift=shift, scale=scale,
                workers=workers,
            ).y,
            {
                "split": word("test"), "shift": number(0.5), "scale": number(0.5),
                "workers": count(2),
            },
            host=True,
        ),
        "stream_from_blocks": Entry(
            lambda block, num_rows, block_rows, y, shift, scale, window: _read(
                streams.stream_from_blocks(
                    block, num_rows=num_rows, block_rows=block_rows, y=y, shift=shift,
                    scale=scale, window=window,
                )
            ),
            {
                "block": Argument("function", _block), "num_rows": count(N),
                "block_rows": count(2), "y": Argument("labels", good_y()),
                "shift": number(0.5), "scale": number(0.5),
                "window": Argument("count", 1, frozenset({"None"})),
            },
            host=True, free={"y": {"None", "C", "100"}},  # it is not told C
        ),
        "batch_rows": Entry(
            lambda step, batch_size, process, num_processes: streams.batch_rows(
                streams.Order(N, 2, 2, (0,)), step, batch_size=batch_size, process=process,
                num_processes=num_processes,
            ),
            {
                "step": Argument("count", 3, frozenset({"0"})), "batch_size": count(2),
                "process": Argument("count", 1, frozenset({"0"})), "num_processes": count(2),
            },
            host=True,
        ),
        "run_stream": Entry(
            lambda optimizer, key, params, num_steps, batch_size, every: streams.run_stream(
                optimizer, key, params, _stream(), num_steps=num_steps, batch_size=batch_size,
                every=every,
            ),
            {
                "optimizer": Argument("optimizer", _descent()), "key": key,
                "params": Argument("floats", draw(2, C, D + 1)),
                "num_steps": Argument("count", 2, frozenset({"0"})), "batch_size": count(2),
                "every": Argument("count", 2, frozenset({"None"})),
            },
            host=True, free={"params": MORE}, cost=300,
        ),
        "advance_stream": Entry(
            lambda optimizer, key, start, num_steps, batch_size: streams.advance_stream(
                optimizer, key, _descent().init(jnp.asarray(draw(2, C, D + 1)), _data()._replace(
                    X=jnp.asarray(draw(1, N, D + 1)))),
                _stream(), start, num_steps=num_steps, batch_size=batch_size,
            ),
            {
                "optimizer": Argument("optimizer", _descent()), "key": key,
                "start": Argument("count", 2, frozenset({"0"})),
                "num_steps": Argument("count", 2, frozenset({"0"})), "batch_size": count(2),
            },
            host=True, cost=300,
        ),
        # Certificates.
        "lower_bound": Entry(
            lambda objective, W, data, radius: jaxsvm.lower_bound(
                objective, W, data, radius=radius
            ),
            {"objective": objective(), "W": W, "radius": Argument("radius", 10.0)} | examples(),
            # Any W gives a bound.
            free={"W": MORE | {"NaN"}}, cost=2,
        ),
        "dual_value": Entry(
            certificate.dual_value,
            {"objective": objective(), "slopes": Argument("floats", np.abs(draw(9, N, C)))}
            | examples(),
            free={"slopes": {"a column more", "NaN"}, "X": COLUMNS}, cost=2,
        ),
        "duality_gap": Entry(
            certificate.duality_gap,
            {
                "objective": objective(), "W": W,
                "slopes": Argument("floats", np.abs(draw(9, N, C))),
            } | examples(),
            free={"slopes": {"NaN"}}, cost=2,
        ),
        "solve": Entry(
            lambda objective, data, **options: _solved(
                objective, data, jaxsvm.solve(objective, data, **options)
            ),
            {
                "objective": objective(), "start": Argument("floats", draw(2, C, D)),
                "gap_tolerance": positive(0.1),
                "num_classes": Argument("count", C, frozenset({"None"})), "key": key,
                "max_passes": Argument("count", 500, frozenset({"None"})),
            } | examples(),
            host=True, free={"start": {"None"}}, cost=100,
        ),
        "regularization_path": Entry(
            lambda objective, data, held_X, held_y, regs, gap_tolerance: [
                (*point.solution[:5], point.accuracy)
                for point in jaxsvm.regularization_path(
                    objective, data, Data(held_X, held_y), regs=regs, num_classes=C,
                    gap_tolerance=gap_tolerance,
                )
            ],
            {
                "objective": objective(), "held_X": Argument("features", good_X()),
                "held_y": Argument("labels", good_y()), "regs": Argument("regs", [0.1]),
                "gap_tolerance": positive(0.1),
            } | examples(),
            host=True, cost=100,
        ),
        # Models.
        "Model": Entry(
            lambda W, shift, scale: jaxsvm.Model(W, shift, scale, ("a", "b", "c"), (D,)).scores(
                good_X()
            ),
            {
                "W": Argument("floats", draw(2, C, D + 1)), "shift": Argument("floats", draw(5, D)),
                "scale": Argument("floats", draw(6, D)),
            },
            host=True, free={"shift": {"transposed"}, "scale": {"transposed"}},
        ),
        "Model.predict": Entry(
            _model().predict, {"X": Argument("floats", good_X())}, host=True,
            free={"X": ROWS | {"no rows", "an axis at the end"}},
        ),
        "model_of": Entry(
            lambda dataset, objective, solution: jaxsvm.model_of(
                _iris()[0] if dataset is None else dataset,
                objective,
                _iris()[1] if solution is None else solution,
            ).W,
            {
                "dataset": Argument("record", None), "objective": objective(),
                "solution": Argument("record", None),
            },
            host=True,
        ),
        "LinearSVC.fit": Entry(
            lambda X, y, **settings: LinearSVC(**settings).fit(X, y).decision_function(good_X()),
            {
                "X": Argument("floats", good_X()), "y": Argument("classes", good_y()),
                "reg": Argument("positive", 0.1, frozenset({"None"})),
                "gap_tolerance": positive(0.1),
                "max_passes": Argument("count", 500, frozenset({"None"})),
            },
            host=True, foreign=True, cost=300,
            free={"X": {"array of text"}, "y": {"an axis at the end", "dates"}},
        ),
        "LinearSVC.predict": Entry(
            lambda X: _fitted().predict(X), {"X": Argument("floats", good_X())},
            host=True, foreign=True, free={"X": ROWS | {"array of text"}}, cost=300,
        ),
        "save": Entry(
            lambda path, model: jaxsvm.save(
                _saved() if path is GOOD else path, _model() if model is None else model
            ),
            {"path": Argument("path", GOOD), "model": Argument("record", None)}, host=True,
        ),
        "export_safetensors": Entry(
            lambda path, model: jaxsvm.model.export_safetensors(
                _saved().with_suffix(".safetensors") if path is GOOD else path,
                _model() if model is None else model,
            ),
            {"path": Argument("path", GOOD), "model": Argument("record", None)}, host=True,
        ),
        "in_words": Entry(
            lambda objective: model.in_words(objective)["reg"], {"objective": objective()},
            host=True,
        ),
        # Patches of images.
        "patch_encoder": Entry(
            lambda key, images, **settings: patches.patch_encoder(key, images, **settings).weights,
            {
                "key": key, "images": Argument("pixels", _images()), "num_filters": count(2),
                "patch_size": count(3), "pool": count(2), "num_patches": count(20),
                "alpha": Argument("nonnegative", 0.25), "contrast": positive(10.0),
                "whitening": positive(0.3), "kmeans_rounds": Argument("count", 1, frozenset("0")),
            },
            cost=100, free={"images": PICTURES | {"transposed", "a column more"}},
        ),
        "encode": Entry(
            lambda images: patches.encode(_encoder(_images()), images),
            {"images": Argument("pixels", _images())},
            cost=100, free={"images": PICTURES | {"no rows"}},
        ),
        "mirrored": Entry(
            lambda images: patches.mirrored(_encoder(_images()), images),
            {"images": Argument("pixels", _images())},
            cost=100, free={"images": PICTURES | {"no rows"}},
        ),
        "load": Entry(
            lambda path: jaxsvm.load(_saved() if path is GOOD else path).W,
            {"path": Argument("path", GOOD)}, host=True,
        ),
    }  # fmt: skip
    return entries
