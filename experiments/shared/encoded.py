"""Patch features of images, kept in a file that an interrupted run goes on with.

A feature is a byte times a step of its own, so 50,000 images with 12,800 features take 0.6 GB, and
`StandardizedFeatures` folds step, mean and deviation into its products. The step is a 255th of the
largest value among the first images, and a quarter more; what is above it is cut off. Kept as
floats, features are in the same units, not rounded and not cut off.

    <folder>/<digest>.npy     (N, F), written a block of rows at a time: `--X` reads it
    <folder>/<digest>.json    how many rows are done, in how many seconds, and their checksum

The digest is of the encoder, the images and the steps, so that no other file is taken for it.
"""

import hashlib
import json
import os
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from experiments.shared.record import write_json
from jaxsvm import Data, Dataset, StandardizedFeatures, patches
from jaxsvm.datasets import rows_from_pixels, rows_from_table
from jaxsvm.patches import PatchEncoder

ROWS = 500  # encoded between two moves of the progress bar
HEADROOM = 1.25
SMALLEST_STEP = 1e-6  # of a feature that the first images do not have
DEVIATION_FLOOR = 0.01  # added to a variance, so that a feature that is hardly ever on stays small

KEPT = ("bytes", "floats")

_encode = {False: jax.jit(patches.encode), True: jax.jit(patches.mirrored)}


class Recipe(NamedTuple):
    """How images become rows of features.

    Attributes:
        encoder: of `patch_encoder`.
        mirrored: whether the features of the mirror image are added.
        step: (F,) what a byte counts.
        dtype: of what is kept, uint8 or float32.
    """

    encoder: PatchEncoder
    mirrored: bool
    step: np.ndarray
    dtype: np.dtype

    def encode(self, images: Array) -> np.ndarray:
        """Return the features of images in units of their steps, (N, F)."""
        features = np.asarray(_encode[self.mirrored](self.encoder, images)) / self.step
        if self.dtype == np.uint8:
            features = np.clip(np.rint(features), 0, 255)
        return features.astype(self.dtype)

    def digest(self, images: np.ndarray) -> str:
        """Return a name for what a file of these images would hold."""
        leaves, form = jax.tree.flatten(self[:3])
        digest = hashlib.sha256(f"{form} {self.dtype} {images.shape}".encode())
        for leaf in [*leaves, images]:
            digest.update(np.ascontiguousarray(leaf).data)
        return digest.hexdigest()[:16]


class Encoded(NamedTuple):
    """Features in a file.

    Attributes:
        path: of the file.
        rows: (N, F) bytes or floats, memory-mapped.
        seconds: that encoding took, without compilation, in this run or in those before it.
    """

    path: Path
    rows: np.ndarray
    seconds: float


def training_images(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return all images that are not test images, (N, H, W, channels), and their labels.

    Raises:
        ValueError: the dataset is not images.
    """
    parts = dataset.train, dataset.validation
    images = np.concatenate([images_of(dataset, part) for part in parts])
    return images, np.concatenate([np.asarray(part.y) for part in parts])


def images_of(dataset: Dataset, data: Data) -> np.ndarray:
    """Return the images of a part of a dataset, (N, H, W, channels) bytes.

    Raises:
        ValueError: the dataset is not images.
    """
    if not isinstance(data.X, StandardizedFeatures) or len(dataset.image_shape) != 3:
        raise ValueError(
            f"{dataset.name} has no images, only features of shape {dataset.image_shape}: expected "
            "images as bytes, (N, H, W, channels)"
        )
    pixels = np.asarray(data.X.values)[:, : int(np.prod(dataset.image_shape))]
    return pixels.reshape(-1, *dataset.image_shape)


def recipe(
    encoder: PatchEncoder, images: np.ndarray, *, mirrored: bool, kept: str = "bytes"
) -> Recipe:
    """Return how the images become features, the steps taken from the first of them."""
    first = np.asarray(_encode[mirrored](encoder, _block(images, 0)))
    step = np.maximum(HEADROOM / 255 * first.max(axis=0), SMALLEST_STEP).astype(np.float32)
    return Recipe(encoder, mirrored, step, np.dtype(np.uint8 if kept == "bytes" else np.float32))


def encode_to_file(recipe: Recipe, images: np.ndarray, folder: Path, name: str) -> Encoded:
    """Return the features of images, encoding those that the file does not hold yet.

    Args:
        recipe: how.
        images: (N, H, W, channels) bytes.
        folder: of the file; made where it is not there.
        name: of the progress bar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe.digest(images)}.npy"
    state, shape = path.with_suffix(".json"), (len(images), len(recipe.step))
    done, seconds, checksum = _progress(path, state, shape)
    if not done:
        np.lib.format.open_memmap(path, "w+", recipe.dtype, shape)  # zeros, with no room taken yet
    if done < len(images):
        recipe.encode(_block(images, 0))  # compiled before the clock
    bar = tqdm(total=len(images), initial=done, desc=name, unit="image", disable=None)
    # Not by a memory map: where the disk is full, writing to one ends the process.
    with bar, open(path, "r+b") as file:
        row_bytes = shape[1] * recipe.dtype.itemsize
        file.seek(path.stat().st_size - (len(images) - done) * row_bytes)
        for start in range(done, len(images), ROWS):
            began = time.perf_counter()
            end = min(start + ROWS, len(images))
            block = recipe.encode(_block(images, start))[: end - start].tobytes()
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            checksum = zlib.crc32(block, checksum)
            seconds += time.perf_counter() - began
            write_json(state, {"rows": end, "seconds": seconds, "crc32": checksum})
            bar.update(end - start)
    return Encoded(path, np.load(path, mmap_mode="r", allow_pickle=False), seconds)


def standardized(recipe: Recipe, *parts: np.ndarray) -> list[Any]:
    """Return encoded images, each feature less its mean, over its deviation, in the first part.

    Args:
        recipe: of the features.
        *parts: (N, F) each.

    Returns:
        Each part with a bias column, (N, F + 1): `StandardizedFeatures`, or an array of floats.
    """
    F = len(recipe.step)
    total, square = np.zeros(F), np.zeros(F)
    for start in range(0, len(parts[0]), ROWS):
        block = parts[0][start : start + ROWS].astype(np.float64)
        total += block.sum(axis=0)
        square += (block * block).sum(axis=0)
    mean = total / len(parts[0])
    variance = np.maximum(square / len(parts[0]) - mean**2, 0) * recipe.step.astype(np.float64) ** 2
    scale = recipe.step / np.sqrt(variance + DEVIATION_FLOOR)
    shift, scale = mean.astype(np.float32), scale.astype(np.float32)
    to_rows: Any = rows_from_pixels if recipe.dtype == np.uint8 else rows_from_table
    return [to_rows(np.asarray(rows), shift=shift, scale=scale) for rows in parts]


def _block(images: np.ndarray, start: int) -> Array:
    """Return the images from ``start`` on, always as many: fewer would be compiled anew."""
    size = min(ROWS, len(images))
    block = images[start : start + size]
    return jax.device_put(np.concatenate([block, images[: size - len(block)]]))


def _progress(path: Path, state: Path, shape: tuple[int, int]) -> tuple[int, float, int]:
    """Return how many rows a file has, their seconds and their checksum.

    None where it is another file, or was changed.
    """
    try:
        found = json.loads(state.read_text())
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        done, seconds, checksum = int(found["rows"]), float(found["seconds"]), found["crc32"]
        if rows.shape == shape and zlib.crc32(rows[:done]) == checksum:
            return done, seconds, checksum
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, 0.0, 0
