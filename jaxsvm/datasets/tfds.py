"""Labelled images as tfds keeps them on disk, decoded once into arrays.

A prepared dataset is a folder of ArrayRecord files, which tensorflow-datasets reads without
TensorFlow, or of TFRECORD files, which `jaxsvm.datasets.tfrecord` reads. Decoding CIFAR-10's 60,000
images takes many seconds, so the bytes are kept as ``.npy`` in the user's cache folder
(``XDG_CACHE_HOME``, else ``~/.cache``) and memory-mapped from then on. Kept bytes are used only
while the record files are the ones they came from and their checksums agree; otherwise they are
made again.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.datasets.examples import DatasetError, Examples, UnknownDatasetError, first_line
from jaxsvm.datasets.prepare import prepare
from jaxsvm.datasets.tfrecord import read_examples
from jaxsvm.files import read_sealed, write_sealed

SPLITS = ("train", "test")
MANIFEST = "manifest.npz"  # sealed: a changed letter in a class's name would be seen by nobody
BATCH = 500  # images decoded at a time
READ_BYTES = 2**22  # of a file at a time
ABANDONED = 86400.0  # seconds, after which what is half decoded is a killed process's


def load_images(name: str, data_dir: str | os.PathLike[str] | None = None) -> Examples:
    """Return the images of a tfds dataset, preparing and decoding it where that was not done yet.

    Args:
        name: a tfds name, ``"cifar10"``, or ``"name/config"``.
        data_dir: the folder of prepared datasets; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.

    Returns:
        The images, memory-mapped.

    Raises:
        DatasetError: no such dataset, none prepared and no way to, or damaged files.
    """
    folder = prepared_folder(name, data_dir)
    source = _fingerprint(folder)
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    kept = _cache_root() / f"{name.replace('/', '-')}-{folder.name}-{key}"
    images = _read_kept(kept, source)
    if images is None:
        _decode(folder, kept, source)
        images = _read_kept(kept, source)
        if images is None:
            raise DatasetError(f"{kept} does not read back as it was written: is the disk sound?")
    return images


def prepared_folder(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a prepared dataset, which is prepared now where it was not yet.

    Raises:
        DatasetError: no such dataset, or none prepared and no way to.
    """
    root = _root(data_dir)
    folder = _find(name, root)
    if folder is None:
        try:
            prepare(name, root)
        except DatasetError:
            # Of two processes that prepare one dataset together, tfds lets the second one fail.
            if _find(name, root) is None:
                raise
        folder = _find(name, root)
        assert folder is not None, f"{name} was prepared, but not in {root}"
    return folder


def _root(data_dir: str | os.PathLike[str] | None) -> Path:
    """The folder of prepared datasets; one that was named must exist."""
    said = "data_dir"
    if data_dir is None and os.environ.get("TFDS_DATA_DIR"):
        said, data_dir = "TFDS_DATA_DIR", os.environ["TFDS_DATA_DIR"]
    if data_dir is None:
        return Path("~/tensorflow_datasets").expanduser()
    root = Path(data_dir).expanduser().absolute()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{said} = {root} {what}: name an existing folder, or make this one")
    return root


def _find(name: str, root: Path) -> Path | None:
    """The newest prepared version of a dataset below root, or None."""
    if not re.fullmatch(r"[a-z]\w*(/[\w-][\w.-]*)?", name):
        raise UnknownDatasetError(f"name = {name!r}: expected a dataset's name such as 'cifar10'")
    within = [p for p in (root, *root.parents) if p.name == name.split("/")[0]]
    if within and ((root / "dataset_info.json").is_file() or _versions(root)):
        raise DatasetError(
            f"data_dir = {root} is a dataset itself: expected the folder above it, "
            f"data_dir={str(within[0].parent)!r}"
        )
    versions = _versions(root / name)
    if versions:
        return versions[-1]
    configs = [p.name for p in sorted((root / name).glob("*")) if p.is_dir() and _versions(p)]
    if configs:
        names = ", ".join(repr(f"{name}/{config}") for config in configs)
        raise DatasetError(f"{root / name} holds configurations of {name!r}: name one of {names}")
    return None


def _versions(folder: Path) -> list[Path]:
    """The version folders of a dataset, oldest first."""
    found = [p for p in folder.glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", p.name) and p.is_dir()]
    return sorted(found, key=lambda p: [int(part) for part in p.name.split(".")])


def _cache_root() -> Path:
    """The user's cache folder of this library."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "jaxsvm"


def _fingerprint(folder: Path) -> list[list[Any]]:
    """Names, sizes and times of a prepared dataset's files: what kept bytes must have come from."""
    files = [(p.name, p.stat()) for p in sorted(folder.iterdir()) if p.is_file()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]


def _read_kept(kept: Path, source: list[list[Any]]) -> Examples | None:
    """The decoded images, or None where they are absent, stale or damaged."""
    try:
        manifest, _ = read_sealed(kept / MANIFEST)
        if manifest["source"] != source:
            return None
        arrays = {}
        for file, checksum in manifest["crc32"].items():
            array = np.load(kept / file, mmap_mode="r", allow_pickle=False)
            if _checksum(kept / file, array.offset) != checksum:
                return None
            arrays[file] = array
        train, test = (
            (arrays[f"{split}_images.npy"], arrays[f"{split}_labels.npy"]) for split in SPLITS
        )
        return Examples(train, test, tuple(manifest["class_names"]), manifest["description"])
    except Exception:  # whatever is wrong with a copy, it is made again
        return None


def _checksum(path: Path, start: int) -> int:
    """Return the checksum of a file from a byte on, without its pages in this process's memory."""
    checksum = 0
    with open(path, "rb") as file:
        file.seek(start)
        while part := file.read(READ_BYTES):
            checksum = zlib.crc32(part, checksum)
    return checksum


def _decode(folder: Path, kept: Path, source: list[list[Any]]) -> None:
    """Decode a prepared dataset into ``kept``, each file whole or not at all, the manifest last."""
    builder = open_prepared(folder)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        for left in kept.glob("tmp*"):
            with contextlib.suppress(FileNotFoundError):  # another process has just deleted it
                if time.time() - left.stat().st_mtime > ABANDONED:
                    shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=kept) as temporary:
            part = Path(temporary)
            checksums: dict[str, int] = {}
            for split in SPLITS:
                checksums |= _decode_split(builder, split, folder, part)
            names = builder.info.features["label"].names
            manifest = {
                "source": source,
                "crc32": checksums,
                "class_names": names,
                "description": builder.info.description or "",
            }
            write_sealed(part / MANIFEST, manifest, {})
            for file in [*checksums, MANIFEST]:
                os.replace(part / file, kept / file)
    except OSError as error:
        raise DatasetError(
            f"cannot keep the decoded images in {kept} ({error}): point XDG_CACHE_HOME at a folder "
            "with room for them"
        ) from error


def open_prepared(folder: Path) -> Any:
    """The tfds builder of a prepared folder whose form we can read."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        file_format = builder.info.file_format.value
        missing = {"image", "label"} - set(builder.info.features)
        splits = set(builder.info.splits)
        names = builder.info.features["label"].names if not missing else []
        if len(set(names)) < len(names):
            raise ValueError("two of its classes have one name")
    except Exception as error:  # tfds raises many kinds for a damaged folder
        raise damaged(folder, error) from error
    if file_format not in FORMATS:
        raise DatasetError(
            f"{folder} holds {file_format} files: expected {' or '.join(FORMATS)}. Name another "
            "data_dir, and it is prepared there as array_record"
        )
    if missing:
        raise DatasetError(
            f"{folder} has no feature {' or '.join(sorted(missing))}: expected a dataset of images "
            f"with labels, found {sorted(builder.info.features)}"
        )
    if not set(SPLITS) <= splits:
        raise DatasetError(f"{folder} has the splits {sorted(splits)}: expected train and test")
    return builder


def array_records(
    builder: Any, split: str, decoders: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the decoded examples of one split of ArrayRecord files.

    Args:
        builder: of `open_prepared`.
        split: the split.
        decoders: {feature: decoder of tfds'}, in place of the usual one.

    Raises:
        ValueError: a file has more or fewer than the dataset's description says.
    """
    from array_record.python.array_record_module import ArrayRecordReader

    info = builder.info.splits[split]
    for file, expected in zip(info.filepaths, info.shard_lengths, strict=True):
        # The data source takes the first ones of a file that has too many.
        if (found := ArrayRecordReader(str(file)).num_records()) != expected:
            raise ValueError(f"{Path(file).name} has {found} records: expected {expected}")
    records = builder.as_data_source(split, decoders=decoders)
    for start in range(0, len(records), BATCH):
        yield from records.__getitems__(range(start, min(start + BATCH, len(records))))


FORMATS: dict[str, Callable[[Any, str], Iterator[dict[str, Any]]]] = {
    "array_record": array_records,
    "tfrecord": read_examples,
}


def _examples(builder: Any, split: str, folder: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the images of one split with their labels.

    Raises:
        DatasetError: they are damaged, or are not what the dataset's description says.
    """
    num_classes = len(builder.info.features["label"].names)
    expected, count = builder.info.splits[split].num_examples, 0
    try:
        for record in FORMATS[builder.info.file_format.value](builder, split):
            image, label = image_of(record, builder.info, f"{split} image {count}"), record["label"]
            if not 0 <= label < num_classes:
                raise ValueError(f"{split} label {count} is {label}, of {num_classes} classes")
            yield image, int(label)
            count += 1
        if count != expected:
            raise ValueError(f"{split} has {count} images: expected {expected}")
    except Exception as error:  # array_record and Pillow raise many kinds for damaged bytes
        raise damaged(folder, error) from error


def image_of(record: dict[str, Any], info: Any, place: str) -> np.ndarray:
    """Return a record's image, which is what the dataset's description says.

    Raises:
        ValueError: it is not.
    """
    image = np.asarray(record["image"])
    if image.shape != info.features["image"].shape or image.dtype != np.uint8:
        raise ValueError(f"{place} is {image.dtype} of {image.shape}")
    return image


def image_shape(builder: Any, folder: Path) -> tuple[int, ...]:
    """Return the shape of a dataset's images.

    Raises:
        DatasetError: they have several.
    """
    shape: tuple[int, ...] = builder.info.features["image"].shape
    if None in shape:
        raise DatasetError(f"{folder} has images of shape {shape}: expected one fixed size")
    return shape


def _decode_split(builder: Any, split: str, folder: Path, part: Path) -> dict[str, int]:
    """Decode one split into two ``.npy`` files in ``part``; return their checksums by name."""
    from tqdm import tqdm

    shape = image_shape(builder, folder)
    N = builder.info.splits[split].num_examples
    files = [f"{split}_images.npy", f"{split}_labels.npy"]
    header = {"descr": "|u1", "fortran_order": False, "shape": (N, *shape)}
    examples = _examples(builder, split, folder)
    title = f"decoding {builder.name} {split}"
    # Not by a memory map: where the disk is full, writing to one ends the process.
    with open(part / files[0], "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        checksum, found = 0, []
        for image, label in tqdm(examples, title, N, unit="image", disable=None):
            pixels = image.tobytes()
            file.write(pixels)
            checksum = zlib.crc32(pixels, checksum)
            found.append(label)
    labels = np.array(found, np.int32)
    np.save(part / files[1], labels)
    return {files[0]: checksum, files[1]: zlib.crc32(labels.data)}


def damaged(folder: Path, error: Exception) -> DatasetError:
    """Return the error of a folder that cannot be read, and what to do about it."""
    return DatasetError(
        f"{folder} cannot be read, so it is damaged or incomplete: copy it again, or remove it and "
        f"load again to prepare it anew ({type(error).__name__}: {first_line(error)})"
    )
