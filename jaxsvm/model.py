"""A trained classifier as one file: weights, what was done to the features, and the certificate.

A `Model` takes raw inputs, as they are before any centring and scaling, and answers with the names
of classes. `save` and `load` keep it in one sealed ``.npz`` (`jaxsvm.files`), which any reader of
zip and npy files opens, in any language; nothing in it is executed. Its arrays, C classes and D − 1
features:

    W.npy        (C, D)     float32 or float64, one class a row; the last column is the bias
    shift.npy    (D − 1,)   float32 or float64
    scale.npy    (D − 1,)   float32 or float64
    header.npy   (bytes,)   uint8: a JSON object in UTF-8

    score_c = Σ_d W[c, d] · (x_d − shift_d) · scale_d  +  W[c, D − 1]

and the class of the highest score is the answer, the first of equals. The header's keys:

    kind           "jaxsvm model"
    format         1
    classes        C names
    image_shape    the shape of one input, D − 1 numbers in C order
    feature_names  D − 1 names, or none
    objective      loss, penalty, reg and delta, in words and numbers
    certificate    primal, dual, gap and passes, or null
    fitted_on      name, num_examples and description of the data, or null
    versions       of jaxsvm, jax and numpy where W was found
"""

import dataclasses
import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from jaxsvm.certificate import Solution
from jaxsvm.core import Hinge, Objective, l1_penalty, l2_penalty, softmax_loss
from jaxsvm.core.arguments import check_floats, check_path, check_values
from jaxsvm.core.objective import check_objective
from jaxsvm.datasets import Dataset
from jaxsvm.files import atomic_file, read_sealed, write_sealed

KIND, FORMAT = "jaxsvm model", 1
ROWS = 1024  # made float64 at a time
# What an objective in words is rebuilt from; hinges have words of their own.
KNOWN = {"softmax_loss": softmax_loss, "l2_penalty": l2_penalty, "l1_penalty": l1_penalty}


class Certificate(NamedTuple):
    """What was proved of a W on the examples it was fitted on: `Solution`'s numbers.

    Attributes:
        primal: the objective at W.
        dual: a lower bound of the objective at any W.
        gap: primal − dual.
        passes: over the data, that it took.
    """

    primal: float
    dual: float
    gap: float
    passes: int


class FittedOn(NamedTuple):
    """The examples that a W was fitted on.

    Attributes:
        name: of the dataset.
        num_examples: N.
        description: free text.
    """

    name: str
    num_examples: int
    description: str = ""


def _versions() -> dict[str, str]:
    """Return the versions that find a W here and now."""
    # Looked up when called, because the top level imports this file.
    own = importlib.import_module("jaxsvm").__version__
    return {"jaxsvm": own, "jax": jax.__version__, "numpy": np.__version__}


@dataclass(frozen=True, eq=False)
class Model:
    """Weights that classify raw inputs, and where they come from.

    Attributes:
        W: (C, D) float32 or float64, the bias last.
        shift: (D − 1,) what is subtracted from each feature.
        scale: (D − 1,) what multiplies it after that.
        classes: C names.
        image_shape: of one input, such as (32, 32, 3), or (F,) of a table's row.
        feature_names: D − 1 names, or none.
        objective: that W minimizes, in words and numbers; see `rebuild_objective`.
        certificate: how far W is from the minimum at most; None where nothing was proved.
        fitted_on: the examples; None where nothing is known.
        versions: of jaxsvm, jax and numpy.

    Raises:
        ValueError: shapes that do not fit each other, or numbers that are not finite.

    >>> model = Model(
    ...     W=np.array([[1.0, 0.0], [-1.0, 0.0]]), shift=np.array([5.0]), scale=np.array([0.5]),
    ...     classes=("large", "small"), image_shape=(1,),
    ... )
    >>> model.predict(np.array([[9], [2]]))
    array(['large', 'small'], dtype='<U5')
    """

    W: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    feature_names: tuple[str, ...] = ()
    objective: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = None
    fitted_on: FittedOn | None = None
    versions: Mapping[str, str] = field(default_factory=_versions)

    def __post_init__(self) -> None:
        for name in ("W", "shift", "scale"):
            array = getattr(self, name)
            check_values("Model", array)
            check_floats(name, array)
            # One of JAX's would have the products taken in its precision.
            array = np.asarray(array)
            object.__setattr__(self, name, array)
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has a NaN or an infinity: expected finite numbers only")
        shape = self.W.shape
        if len(shape) != 2 or shape[0] != len(self.classes):
            raise ValueError(
                f"W has shape {shape} and classes has {len(self.classes)} names: expected W (C, D) "
                "and C names"
            )
        width = shape[1] - 1
        for name in ("shift", "scale"):
            if getattr(self, name).shape != (width,):
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape} and W has shape {shape}: "
                    f"expected (D - 1,) = ({width},), because W's last column is the bias"
                )
        if math.prod(self.image_shape) != width:
            raise ValueError(
                f"image_shape = {self.image_shape} and W has shape {shape}: expected a shape of "
                f"D - 1 = {width} numbers"
            )
        if len(self.feature_names) not in (0, width):
            raise ValueError(
                f"feature_names has {len(self.feature_names)} names: expected {width}, or none"
            )

    def __repr__(self) -> str:
        of = f" of {self.fitted_on.name}" if self.fitted_on else ""
        gap = f", gap {self.certificate.gap:.2g}" if self.certificate else ""
        return f"Model({len(self.classes)} classes{of}, inputs {self.image_shape}{gap})"

    def scores(self, X: Any) -> np.ndarray:
        """Return the class scores of raw inputs.

            score_c = Σ_d W[c, d] · (x_d − shift_d) · scale_d  +  W[c, D − 1]

        In NumPy and float64, some rows at a time: nothing is compiled, and a feature's mean may be
        far larger than its spread.

        Args:
            X: an array (N, ...), NumPy's or JAX's, of any integers or floats, one input an entry:
                (N, D − 1), or of ``image_shape``.

        Returns:
            (N, C) float64. Cost: 2·N·C·D floating-point operations.

        Raises:
            ValueError: no array of numbers, another shape than the inputs it was fitted on, or a
                NaN or an infinity, whose place is named.
        """
        rows = self._rows(X)
        W = self.W.astype(np.float64)
        weights, bias = W[:, :-1] * self.scale, W[:, -1]
        out = np.empty((len(rows), len(W)))
        for start in range(0, len(rows), ROWS):
            # Subtracted first: the products of large means would cancel.
            block = rows[start : start + ROWS].astype(np.float64) - self.shift
            _check_finite(block, start)
            out[start : start + ROWS] = block @ weights.T + bias
        return out

    def predict(self, X: Any) -> np.ndarray:
        """Return the name of the class of the highest score of each input; the first of equals.

        Args:
            X: as in `scores`.

        Returns:
            (N,) text.

        Raises:
            ValueError: as `scores`.
        """
        return np.array(self.classes)[np.argmax(self.scores(X), axis=1)]

    def rebuild_objective(self) -> Objective:
        """Return the objective that W minimizes, from its words and numbers.

        Raises:
            ValueError: the loss or the penalty is a function of somebody's own, whose name alone is
                known here; or nothing is known.
        """
        words = self.objective
        if not words:
            raise ValueError("objective is empty: expected the words of an objective")
        named = words["loss"]
        loss: Any = Hinge(**named) if isinstance(named, Mapping) else _known("loss", named)
        penalty: Any = _known("penalty", words["penalty"])
        return Objective(loss=loss, penalty=penalty, reg=words["reg"], delta=words["delta"])

    def _rows(self, X: Any) -> np.ndarray:
        """Return inputs as an array (N, D − 1), or raise ValueError."""
        check_values("Model", X)
        if not isinstance(X, np.ndarray | Array) or isinstance(X, np.ma.MaskedArray):
            raise ValueError(f"X is a {type(X).__name__}: expected a plain NumPy or JAX array")
        X = np.asarray(X)
        if X.dtype.kind not in "uif":
            raise ValueError(f"X has dtype {X.dtype}: expected integers or floats")
        width = self.W.shape[1] - 1
        expected = f"(N, {width})"
        if len(self.image_shape) > 1:
            expected += f", or (N, {', '.join(map(str, self.image_shape))})"
        # A grey picture may lack the axis of its one channel, or have it first.
        is_picture = _without_ones(X.shape[1:]) == _without_ones(self.image_shape)
        if X.ndim < 2 or not (X.shape[1:] == (width,) or is_picture):
            hint = "; for one input pass X[None]" if X.shape == self.image_shape else ""
            raise ValueError(
                f"X has shape {X.shape}: expected {expected}, one input an entry{hint}"
            )
        return X.reshape(len(X), width)


def model_of(dataset: Dataset, objective: Objective, solution: Solution) -> Model:
    """Return the model of a solution on a dataset's features.

    Args:
        dataset: whose features the solution was found on, its own training part or more of it.
        objective: that was solved.
        solution: of `jaxsvm.solve`.

    Returns:
        The `Model`: it takes inputs as they were before `load_dataset` shifted and scaled them.

    Raises:
        ValueError: the solution is of another number of features or classes than the dataset, or
            an argument is something else.

    >>> from jaxsvm import load_dataset, solve
    >>> iris, objective = load_dataset("iris", scale="columns"), Objective(reg=0.01)
    >>> model = model_of(iris, objective, solve(objective, iris.train))  # doctest: +SKIP
    >>> model.predict(np.array([[5.1, 3.5, 1.4, 0.2]]))  # doctest: +SKIP
    array(['setosa'], dtype='<U10')
    """
    words = in_words(objective)
    for name, value, kind in (("dataset", dataset, Dataset), ("solution", solution, Solution)):
        if not isinstance(value, kind):
            raise ValueError(
                f"{name} is a {type(value).__name__}: expected a {kind.__name__}; the order is "
                "model_of(dataset, objective, solution)"
            )
    return Model(
        W=np.asarray(solution.W),
        shift=np.asarray(dataset.shift),
        scale=np.asarray(dataset.scale),
        classes=dataset.class_names,
        image_shape=dataset.image_shape,
        feature_names=dataset.feature_names,
        objective=words,
        certificate=Certificate(solution.primal, solution.dual, solution.gap, solution.passes),
        fitted_on=FittedOn(dataset.name, len(solution.dual_variables), dataset.description),
    )


def in_words(objective: Objective) -> dict[str, Any]:
    """Return an objective in JSON's types; of a loss that is no plain `Hinge`, its name.

    Raises:
        ValueError: no `Objective`, or its reg or delta is no finite number.

    >>> in_words(Objective(softmax_loss, reg=0.5))
    {'loss': 'softmax_loss', 'penalty': 'l2_penalty', 'reg': 0.5, 'delta': 1.0}
    """
    check_objective(objective, "a model")
    loss = objective.loss
    # A subclass is somebody's own loss: its choices alone would rebuild another one.
    return {
        "loss": dataclasses.asdict(loss) if type(loss) is Hinge else _name(loss),
        "penalty": _name(objective.penalty),
        "reg": float(objective.reg),
        "delta": float(objective.delta),
    }


def save(path: Path | str, model: Model) -> None:
    """Write a model to one file, whole or not at all; equal models make equal files.

    Args:
        path: such as ``"model.npz"``; its folder must exist. An older file there is replaced.
        model: what is kept.

    Raises:
        ValueError: ``model`` is no `Model`, or ``path`` no path.
        OSError: the file cannot be written; an older one stays.

    >>> import tempfile
    >>> model = Model(np.eye(2), np.zeros(1), np.ones(1), ("a", "b"), (1,))
    >>> path = Path(tempfile.mkdtemp()) / "model.npz"
    >>> save(path, model)
    >>> load(path)
    Model(2 classes, inputs (1,))
    """
    _check_written(path, model)
    header = {
        "kind": KIND,
        "format": FORMAT,
        "classes": list(model.classes),
        "image_shape": list(model.image_shape),
        "feature_names": list(model.feature_names),
        "objective": dict(model.objective),
        "certificate": model.certificate and model.certificate._asdict(),
        "fitted_on": model.fitted_on and model.fitted_on._asdict(),
        "versions": dict(model.versions),
    }
    write_sealed(path, header, {"W": model.W, "shift": model.shift, "scale": model.scale})


def export_safetensors(path: Path | str, model: Model) -> None:
    """Write a model's arrays as a ``.safetensors`` file, which many other programs read.

    ``W`` (C, D), ``shift`` and ``scale`` (D − 1,): the scores of a raw x are
    ``W @ [(x - shift) * scale, 1]``. The file's metadata have the classes as JSON. It has no digest
    and no certificate: `load` reads what `save` wrote.

    Args:
        path: such as ``"model.safetensors"``; its folder must exist.
        model: what is written.

    Raises:
        ValueError: ``model`` is no `Model`, or ``path`` no path.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written; an older one stays.
    """
    from safetensors.numpy import save as to_bytes

    _check_written(path, model)
    arrays = {name: np.ascontiguousarray(getattr(model, name)) for name in ("W", "shift", "scale")}
    with atomic_file(path) as file:
        file.write(to_bytes(arrays, metadata={"classes": json.dumps(list(model.classes))}))


def _check_written(path: Any, model: Any) -> None:
    """Raise ValueError unless there is a model to write, and a path to write it to."""
    check_path("path", path)
    if not isinstance(model, Model):
        raise ValueError(
            f"model is a {type(model).__name__}: expected a Model; the order is (path, model)"
        )


def load(path: Path | str) -> Model:
    """Return the model that `save` wrote, the same to the bit; its arrays are read-only.

    Raises:
        ValueError: no model's file, a damaged one, or one of a format that this version does not
            know; the message says what to do.
        OSError: there is no such file, or it cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.npz"
    >>> save(path, Model(np.eye(2), np.zeros(1), np.ones(1), ("a", "b"), (1,)))
    >>> load(path).predict(np.array([[-3.0]]))
    array(['b'], dtype='<U1')
    """
    check_path("path", path)
    header, arrays = read_sealed(path)
    if header.get("kind") != KIND:
        raise ValueError(f"{path} holds a {header.get('kind')!r}: expected a {KIND!r}")
    if header.get("format") != FORMAT:
        by = f"jaxsvm {header.get('versions', {}).get('jaxsvm', 'of another version')}"
        raise ValueError(
            f"{path} has format {header.get('format')} and was written by {by}: expected format "
            f"{FORMAT}; load it with that version, or fit the model again"
        )
    try:
        proof, fitted_on = header["certificate"], header["fitted_on"]
        return Model(
            **{name: arrays[name] for name in ("W", "shift", "scale")},
            classes=tuple(header["classes"]),
            image_shape=tuple(header["image_shape"]),
            feature_names=tuple(header["feature_names"]),
            objective=header["objective"],
            certificate=proof and Certificate(**proof),
            fitted_on=fitted_on and FittedOn(**fitted_on),
            versions=header["versions"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole model ({error}): fit the model again") from error


def _known(kind: str, name: str) -> Any:
    """Return a loss or a penalty of this library by its name."""
    if name not in KNOWN:
        raise ValueError(
            f"objective has the {kind} {name!r}, which is none of this library's: make the "
            "Objective yourself, from the code that has it"
        )
    return KNOWN[name]


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _check_finite(block: np.ndarray, start: int) -> None:
    """Raise ValueError, naming the first NaN or infinity of the rows from ``start`` on."""
    for row, column in np.argwhere(~np.isfinite(block))[:1]:
        raise ValueError(
            f"X[{start + row}] has {block[row, column]} at feature {column}: expected finite "
            "numbers only"
        )
