"""The host's edge: from a dataset's name, or from arrays, to checked `Data`.

Everything behind this file is pure and assumes good values. Here, once and in NumPy, images are
split, centred by the mean image of the training part, given a bias column of ones, and checked.
Pixels stay bytes (`StandardizedFeatures`): centring and scaling are folded into the products.
"""

import math
import os
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from jaxsvm.core import features
from jaxsvm.core.arguments import validate
from jaxsvm.core.features import StandardizedFeatures
from jaxsvm.core.types import Data
from jaxsvm.datasets.digits import load_digits_images
from jaxsvm.datasets.tfds import load_images

# Rows of bytes are padded to a multiple of this many columns, so that each starts aligned.
COLUMN_MULTIPLE = 8


class Dataset(NamedTuple):
    """A dataset, split, centred and on the device.

    Attributes:
        train: what W is fitted to.
        validation: what settings are chosen on; the last of the original training examples.
        test: what is reported.
        class_names: the classes, by label; its length is C.
        image_shape: (height, width, channels); X has their product of columns, and the bias.
        mean_image: float32 of that shape, the mean of ``train``'s pixels; what centring subtracts.
        name: as given to `load_dataset`.
        description: the dataset's own words about itself, which say if it is an altered copy.

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


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | None = None,
    center: bool = True,
    scale: float = 1.0,
    dtype: Literal["uint8", "float32"] = "uint8",
) -> Dataset:
    """Load a dataset by name and make it ready: split, centred, scaled, the bias column last.

        x = (pixels − mean_image) · scale,  then a 1

    ``"digits"`` (1,797 images of 8×8, from scikit-learn) is there without a network; 300 of them,
    the same on every machine, are its test part. Any other name is a tfds dataset with ``image``
    and ``label``, such as ``"cifar10"``: read from ``data_dir`` without TensorFlow, or downloaded
    and prepared there first. CIFAR-10 is split 49,000/1,000/10,000 by default.

    Args:
        name: ``"digits"``, or a tfds name.
        data_dir: the folder of prepared tfds datasets; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.
        validation: how many of the last training examples to set apart, ≥ 0; by default a tenth of
            them, at most 1,000.
        center: whether to subtract the mean image of the training part.
        scale: what multiplies the pixels after that, > 0, such as 1/128.
        dtype: how X lies in memory: ``"uint8"``, `StandardizedFeatures` (CIFAR-10: 0.2 GB), or
            ``"float32"`` as a plain array (0.7 GB). Same values, to float32 rounding.

    Returns:
        The three parts and what is needed to draw them. Scores are float32, labels int32.

    Raises:
        ValueError: an argument out of range, or labels out of range in the dataset.
        DatasetError: (a ValueError) no dataset of that name, not prepared and not to be had,
            damaged, or not images with labels; ``"digits"`` without scikit-learn.

    Source: CS231n notes and assignment 1: the split, the mean image and the bias trick.

    >>> digits = load_dataset("digits")
    >>> digits.train.X.shape, digits.validation.X.shape, digits.test.X.shape
    ((1348, 65), (149, 65), (300, 65))
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale = {scale}: expected a finite number > 0, such as 1/128")
    if dtype not in ("uint8", "float32"):
        raise ValueError(f"dtype = {dtype!r}: expected 'uint8' or 'float32'")
    images = load_digits_images() if name == "digits" else load_images(name, data_dir)
    pixels, labels = images.train
    if validation is None:
        validation = min(len(pixels) // 10, 1000)
    if isinstance(validation, bool) or not isinstance(validation, int):
        raise ValueError(f"validation = {validation!r}: expected an integer >= 0")
    N = len(pixels) - validation
    if validation < 0 or N < 1:
        raise ValueError(
            f"validation = {validation}: expected 0 to {len(pixels) - 1}, because {name} has "
            f"{len(pixels)} training examples and at least one must be left to train on"
        )
    # Sums of bytes are exact in integers, so the mean is the same on every machine.
    mean = (pixels[:N].sum(axis=0, dtype=np.uint64) / N).astype(np.float32)
    shift = mean if center else np.zeros_like(mean)

    def part(pixels: np.ndarray, labels: np.ndarray) -> Data:
        X: features.Features = rows_from_pixels(pixels, shift=shift, scale=scale)
        if dtype == "float32":
            # Compiled, so that bytes become centred floats in one pass and one allocation.
            X = jax.jit(features.dense)(X)
        return Data(X, jax.device_put(np.array(labels, np.int32)))

    dataset = Dataset(
        train=part(pixels[:N], labels[:N]),
        validation=part(pixels[N:], labels[N:]),
        test=part(*images.test),
        class_names=images.class_names,
        image_shape=pixels.shape[1:],
        mean_image=mean,
        name=name,
        description=images.description,
    )
    validate(dataset.train, len(images.class_names), min_classes=2)
    validate(dataset.test, len(images.class_names))
    if validation:
        validate(dataset.validation, len(images.class_names))
    return dataset


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


def rows_from_pixels(
    pixels: UInt8[np.ndarray, "N *image"],
    *,
    shift: Float[np.ndarray, "*image"],
    scale: float = 1.0,
) -> StandardizedFeatures:
    """Return images as rows of bytes: ``x = (pixels − shift) · scale``, then a 1.

    Args:
        pixels: (N, ...) bytes, one image an entry.
        shift: what is subtracted from each image, 0 for nothing.
        scale: what multiplies after that; not checked.

    Returns:
        `StandardizedFeatures` of shape (N, D), D − 1 the number of pixels; padded to a multiple of
        ``COLUMN_MULTIPLE`` columns.

    >>> X = rows_from_pixels(np.full((1, 2), 9, np.uint8), shift=np.array([1.0, 2.0], np.float32))
    >>> np.asarray(X)
    array([[8., 7., 1.]], dtype=float32)
    """
    N, num_pixels = len(pixels), shift.size
    width = -(-(num_pixels + 1) // COLUMN_MULTIPLE) * COLUMN_MULTIPLE
    values = np.zeros((N, width), np.uint8)
    values[:, :num_pixels] = pixels.reshape(N, num_pixels)
    values[:, num_pixels] = 1
    # Not jnp.asarray, which compiles a program for each shape before it copies anything.
    return StandardizedFeatures(
        values=jax.device_put(values),
        shift=jax.device_put(np.append(shift.ravel(), 0).astype(np.float32)),
        scale=jax.device_put(np.append(np.full(num_pixels, scale), 1).astype(np.float32)),
    )
