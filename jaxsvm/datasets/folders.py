"""Folders of images, one folder a class: ``cats/*.png``, ``dogs/*.jpg``."""

import os
from pathlib import Path

import numpy as np

from jaxsvm.datasets.examples import DatasetError, Part
from jaxsvm.datasets.labels import canonical_labels

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# Pillow's modes of 8 bits a channel; others would lose what they hold.
GREY = {"1", "L", "LA"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def read_folder(folder: Path, labels: str | os.PathLike[str] | None) -> tuple[Part, Part | None]:
    """Return the images below a folder of class folders, or below ``train/`` and ``test/`` in it.

    Images are all of one size. They become RGB, or stay grey where all of them are; transparency
    is dropped, and of an animation the first picture counts. Hidden files are passed over.

    Raises:
        DatasetError: labels are named, although the folders are the labels; files or folders in
            other places; a class without images; an image that cannot be read, has more than 8
            bits a channel, or another size than the first.
    """
    if labels is not None:
        raise DatasetError(
            f"{folder} is a folder, in which the names of the folders are the labels: expected no "
            "labels="
        )
    train, test = folder / "train", folder / "test"
    roots = [folder]
    if train.is_dir() and any(path.is_dir() for path in _visible(train)):
        roots = [train, test] if test.is_dir() else [train]
        for other in _visible(folder):
            if other.is_dir() and other not in roots:
                raise DatasetError(f"{other} is beside {train}: expected train and test only")
    images = [_images(root) for root in roots]
    shape = _shape([image for part in images for image in part])
    parts = [_decoded(root, part, shape) for root, part in zip(roots, images, strict=True)]
    return parts[0], parts[1] if len(parts) == 2 else None


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without hidden files."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    """The images in the class folders of a folder, class after class."""
    found = []
    for path in _visible(folder):
        if not path.is_dir():
            if path.suffix.lower() in SUFFIXES:
                raise DatasetError(f"{path} is in no class: expected images in folders of classes")
            continue
        images = _visible(path)
        for image in images:
            if image.suffix.lower() not in SUFFIXES or image.is_dir():
                raise DatasetError(f"{image} is no image: expected {', '.join(SUFFIXES)}")
        if not images:
            raise DatasetError(f"{path} is empty: expected the images of a class")
        found += images
    if not found:
        raise DatasetError(f"{folder} holds no folders of images: expected one for each class")
    return found


def _shape(images: list[Path]) -> tuple[int, int, int]:
    """Height, width and channels of images, which have one size; only their headers are read."""
    from PIL import Image

    sizes, modes = [], set()
    for file in images:
        try:
            with Image.open(file) as image:
                size, mode = image.size, image.mode
        except Exception as error:  # Pillow raises many kinds for damaged bytes
            raise _unreadable(file, error) from error
        if mode not in GREY | COLOUR:
            raise DatasetError(f"{file} has pixels of mode {mode}: expected 8 bits a channel")
        sizes.append(size)
        modes.add(mode)
        if size != sizes[0]:
            (w, h), (width, height) = size, sizes[0]
            raise DatasetError(
                f"{file} has {w}x{h} pixels and {images[0]} has {width}x{height}: expected images "
                "of one size; resize or crop them first"
            )
    width, height = sizes[0]
    return height, width, 1 if modes <= GREY else 3


def _decoded(root: Path, images: list[Path], shape: tuple[int, int, int]) -> Part:
    """The pixels of images, and the names of their folders."""
    from PIL import Image
    from tqdm import tqdm

    X = np.empty((len(images), *shape), np.uint8)
    mode = "L" if shape[2] == 1 else "RGB"
    files = tqdm(images, desc=f"decoding {root.name}", unit="image", disable=None)
    for i, file in enumerate(files):
        try:
            with Image.open(file) as image:
                X[i] = np.asarray(image.convert(mode)).reshape(shape)
        except Exception as error:
            raise _unreadable(file, error) from error
    folders = np.array([file.parent.name for file in images])
    return Part(root, X, canonical_labels(folders, lambda i: f"{images[i].parent}: its name"))


def _unreadable(file: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{file} cannot be read as an image ({type(error).__name__}): replace or remove it"
    )
