"""The host's edge: from a dataset's name, a file of one's own or arrays to checked `Data`.

Everything behind this file is pure and assumes good values. Here, once and in NumPy, examples are
split, centred by the mean of the training part, scaled, given a bias column of ones, and checked.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax import Array

from jaxsvm.core import features
from jaxsvm.core.arguments import check_number, check_path, check_values, check_word, validate
from jaxsvm.core.types import Data
from jaxsvm.datasets.embedded import EMBEDDED, load_embedded
from jaxsvm.datasets.examples import Examples
from jaxsvm.datasets.own import is_path, load_own
from jaxsvm.datasets.rows import inverse_deviation, mean, rows_from_pixels, rows_from_table
from jaxsvm.datasets.sources import streamed
from jaxsvm.datasets.tfds import load_images


class Dataset(NamedTuple):
    """A dataset, split, centred and on the device.

    Attributes:
        train: what W is fitted to.
        validation: what settings are chosen on; the last of the original training examples.
        test: what is reported.
        class_names: the classes, by label; its length is C.
        image_shape: (height, width, channels), or (F,) for a table; X has their product of
            columns, and the bias.
        mean_image: float32 of that shape, the mean of ``train``'s raw examples.
        name: as given to `load_dataset`; of a path the last part, without its suffix.
        description: the dataset's own words about itself, which say if it is an altered copy.
        shift: (D − 1,) float32; what centring subtracts, 0 without it.
        scale: (D − 1,) float32; what multiplies after that: x = (raw − shift) · scale.
        feature_names: the columns of a table that names them; else empty.

    >>> load_dataset("digits").image_shape
    (8, 8, 1)
    """

    train: Data
    validation: Data
    test: Data
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    mean_image: np.ndarray
    name: str
    description: str
    shift: np.ndarray
    scale: np.ndarray
    feature_names: tuple[str, ...]


def load_dataset(
    name: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    test: str | os.PathLike[str] | None = None,
    test_labels: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | None = None,
    center: bool = True,
    scale: float | Literal["columns"] = 1.0,
    dtype: Literal["uint8", "float32"] = "uint8",
    place: Callable[[Data], Data] | None = None,
) -> Dataset:
    """Load a dataset by name or path and make it ready: split, centred, scaled, a bias column last.

        x = (raw − mean) · scale,  then a 1

    ``"digits"`` (1,797 images of 8×8) and the tables ``"iris"``, ``"wine"`` and
    ``"breast_cancer"`` come with scikit-learn and need no network. Any other name is a tfds dataset
    with ``image`` and ``label``, such as ``"cifar10"``: read from ``data_dir`` without TensorFlow,
    or downloaded and prepared there first. CIFAR-10 is split 49,000/1,000/10,000 by default.

    A path is data of your own, read without running anything that is in it:

    - ``X.npy`` with ``labels="y.npy"``, or an ``.npz`` of X and y, and X_test and y_test if it has
      a test part: X (N, F) of any real type, or uint8 images (N, H, W) or (N, H, W, channels);
      uint8 stays bytes, images or not;
    - ``.csv`` or ``.parquet`` (which needs pyarrow): named columns of numbers and one of labels;
    - a folder of class folders of images, ``cats/*.png`` and ``dogs/*.jpg``, all of one size; or
      ``train/`` and ``test/`` above such folders.

    The classes are the different labels in sorted order, numbers or names. Of data without a test
    part a fifth of each class is held out, at most 10,000 examples; the rest is shuffled so that
    the validation part is stratified, too. Both are the same on every machine.

    Args:
        name: a name, or a path: a `pathlib.Path`, or text with a suffix or a folder in it (text of
            the form ``"word/word"`` is a tfds dataset and its configuration; ``"./word/word"`` is
            a path).
        labels: for ``.npy`` the file of labels; for a table the name of the column of labels, by
            default ``"label"``, ``"class"``, ``"target"`` or ``"y"`` if there is one of these.
        test: a path to a test part in the same form; by default the file's own, or a held-out one.
        test_labels: for it what ``labels`` is for the training part.
        data_dir: the folder of prepared tfds datasets; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.
        validation: how many of the last training examples to set apart, ≥ 0; by default a tenth of
            them, at most 1,000.
        center: whether to subtract the mean of the training part.
        scale: what multiplies after that, a number > 0 such as 1/128, or ``"columns"``: each column
            is divided by its standard deviation over the training part, a constant one by 1.
        dtype: how bytes lie in memory: ``"uint8"``, `StandardizedFeatures` (CIFAR-10: 0.2 GB; on
            an accelerator int8, 128 less, with the shift), or ``"float32"`` as a plain array
            (0.7 GB). Same values, to float32 rounding. Other numbers are always a plain array.
        place: puts the training part where it is wanted, handed to it as a stream of what is on
            disk: ``lambda data: jaxsvm.shard(data, mesh)``, of which each of several processes has
            its own rows in memory and no others. By default it is on the first device.

    Returns:
        The three parts and what is needed to draw them. Scores are float32, labels int32.

    Raises:
        ValueError: an argument out of range, or labels out of range in the dataset.
        DatasetError: (a ValueError) no dataset of that name, not prepared and not to be had,
            damaged, or not images with labels; a set of scikit-learn's without scikit-learn; a path
            that does not exist, has an unknown suffix, or holds something else than is described
            above: the message names the file and the row or cell.

    Source: CS231n notes and assignment 1: the split, the mean image and the bias trick.

    >>> digits = load_dataset("digits")
    >>> digits.train.X.shape, digits.validation.X.shape, digits.test.X.shape
    ((1348, 65), (149, 65), (300, 65))
    >>> load_dataset("iris", scale="columns").train.X.shape
    (108, 5)
    """
    check_path("name", name)
    check_values("load_dataset", scale)
    _check_scale(scale)
    check_word("dtype", dtype, ("uint8", "float32"))
    _check_place(place, dtype)
    examples = _examples(name, labels, test, test_labels, data_dir)
    raw, y = examples.train
    N = len(raw) - _validation_size(validation, len(raw), name)
    average = mean(raw[:N])
    shift = average if center else np.zeros_like(average)
    by_columns = scale == "columns"
    scales = inverse_deviation(raw[:N]) if by_columns else np.full(average.shape, scale, np.float32)

    def on_device(y: np.ndarray) -> Array:
        return jax.device_put(np.array(y, np.int32))

    def part(raw: np.ndarray, y: np.ndarray) -> Data:
        X: features.Features
        if raw.dtype == np.uint8:
            X = rows_from_pixels(raw, shift=shift, scale=scales)
        else:
            X = rows_from_table(raw, shift=shift, scale=scales)
        if dtype == "float32":
            # Compiled, so that bytes become centred floats in one pass and one allocation.
            X = jax.jit(features.dense)(X)
        return Data(X, on_device(y))

    if place is None:
        train = part(raw[:N], y[:N])
    else:
        flat = raw[:N].reshape(N, -1)
        train = place(Data(streamed(flat, shift.ravel(), scales.ravel(), N, 1), on_device(y[:N])))
    dataset = Dataset(
        train=train,
        validation=part(raw[N:], y[N:]),
        test=part(*examples.test),
        class_names=examples.class_names,
        image_shape=raw.shape[1:],
        mean_image=average,
        name=Path(name).stem if is_path(name) else str(name),
        description=examples.description,
        shift=shift.ravel(),
        scale=scales.ravel(),
        feature_names=examples.feature_names,
    )
    validate(dataset.train, len(examples.class_names), min_classes=2)
    validate(dataset.test, len(examples.class_names))
    if len(dataset.validation.y):
        validate(dataset.validation, len(examples.class_names))
    return dataset


def _check_place(place: object, dtype: str) -> None:
    if place is not None and (not callable(place) or dtype == "float32"):
        raise ValueError(
            f"place is a {type(place).__name__}, dtype = {dtype!r}: expected a function of Data, "
            "and bytes as they are"
        )


def _check_scale(scale: float | str) -> None:
    """Refuse a scale that is neither a finite number > 0 nor ``"columns"``.

    Raises:
        ValueError: it is something else; or float32 does not hold its products with pixels.
    """
    if not isinstance(scale, str) or scale != "columns":
        expected = "a finite number > 0, such as 1/128 (1e-30 to 1e30), or 'columns'"
        check_number("scale", scale, expected, lambda x: 1e-30 <= x <= 1e30)


def _examples(
    name: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    test: str | os.PathLike[str] | None,
    test_labels: str | os.PathLike[str] | None,
    data_dir: str | os.PathLike[str] | None,
) -> Examples:
    """The examples of a name or a path, from where it says.

    Raises:
        ValueError: an argument for a path with a name, or the reverse.
    """
    if is_path(name):
        if data_dir is not None:
            raise ValueError(f"data_dir = {str(data_dir)!r}: expected none with a path, {name}")
        return load_own(name, labels, test, test_labels)
    own = {"labels": labels, "test": test, "test_labels": test_labels}
    for argument, value in own.items():
        if value is not None:
            raise ValueError(
                f"{argument} = {str(value)!r}: expected none, because {name!r} is the name of a "
                "dataset, which has labels and a test part; a path would have a suffix, or a "
                "folder such as './'"
            )
    return load_embedded(str(name)) if name in EMBEDDED else load_images(str(name), data_dir)


def _validation_size(validation: int | None, available: int, name: object) -> int:
    """How many training examples are set apart.

    Raises:
        ValueError: not an integer in [0, available).
    """
    if validation is None:
        return min(available // 10, 1000)
    if isinstance(validation, bool) or not isinstance(validation, int):
        raise ValueError(f"validation = {validation!r}: expected an integer >= 0")
    if not 0 <= validation < available:
        raise ValueError(
            f"validation = {validation}: expected 0 to {available - 1}, because {name} has "
            f"{available} training examples and at least one must be left to train on"
        )
    return validation


def data_from_arrays(
    X: np.ndarray | Array, y: np.ndarray | Array, *, num_classes: int | None = None
) -> Data:
    """Check arrays of one's own, append the bias column of ones, and return them as `Data`.

    Args:
        X: (N, D − 1) float32 or float64, one example a row, without the bias column.
        y: (N,) labels, of any integer dtype.
        num_classes: C, where known; see `validate`.

    Returns:
        X of (N, D) in the dtype it came in (float64 is rounded to float32 where JAX has no float64
        enabled) and y as int32.

    Raises:
        ValueError: whatever `validate` refuses.

    >>> data_from_arrays(np.array([[3.0], [4.0]], np.float32), np.array([0, 1])).X
    Array([[3., 1.],
           [4., 1.]], dtype=float32)
    """
    validate((X, y), num_classes)
    X = np.asarray(X)
    # Not jnp.asarray, which holds a second copy of X while it makes its own.
    return Data(
        X=jax.device_put(np.append(X, np.ones((len(X), 1), X.dtype), axis=1)),
        y=jax.device_put(np.asarray(y).astype(np.int32)),
    )
