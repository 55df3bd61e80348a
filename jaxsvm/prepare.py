"""Download and prepare a tfds dataset as ArrayRecord files, without TensorFlow.

The stock CIFAR builders read their binary batches with ``tf.io.gfile`` and encode each image with
``tf.image``. Ours are the same builders with that one step in NumPy and Pillow, so what they write
is an ordinary tfds dataset: the download, its checksum, the version and the folder are tfds' own.
"""

import difflib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.images import DatasetError


def prepare(name: str, root: Path) -> None:
    """Download a dataset through tfds and write it below ``root``; progress bars are tfds' own.

    Raises:
        DatasetError: tfds has no such dataset, the download failed (with what to do instead), or
            the dataset's builder needs TensorFlow.
    """
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    base = name.split("/")[0]
    if base not in known:
        near = difflib.get_close_matches(base, ["digits", *known], n=3)
        did = f"; near names: {', '.join(map(repr, near))}" if near else ""
        raise DatasetError(f"name = {name!r}: neither 'digits' nor a dataset of tfds{did}")
    try:
        builder = _builder(name, root)
        builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError) as error:
        raise DatasetError(
            f"{name!r} is not prepared in {root}, and it could not be downloaded "
            f"({type(error).__name__}: {error}). Either point TFDS_DATA_DIR (or data_dir=) at a "
            f"folder that holds it, or run load_dataset({name!r}) once with a network; "
            "'digits' needs neither"
        ) from error
    except ImportError as error:
        raise DatasetError(
            f"{name!r} is not prepared in {root}, and preparing it needs a package that is not "
            f"installed ({error}). Prepare it once where it is, with "
            f"tfds.builder({name!r}, file_format='array_record').download_and_prepare(), and point "
            "TFDS_DATA_DIR at the result; reading it needs no TensorFlow"
        ) from error


def _builder(name: str, root: Path) -> Any:
    """The builder that prepares a dataset: ours for CIFAR, tfds' own for the rest."""
    import tensorflow_datasets as tfds

    if name not in ("cifar10", "cifar100"):
        return tfds.builder(name, data_dir=root, file_format="array_record")
    stock = tfds.builder_cls(name)

    # Not registered, so that tfds' own cifar10 stays the one that others get.
    class Builder(stock, skip_registration=True):  # type: ignore[misc, valid-type, call-arg]
        # Class attributes that tfds would otherwise derive from this class and this file.
        name = stock.name
        url_infos = stock.url_infos

        def _generate_examples(
            self, split_prefix: str, filepaths: Iterable[str]
        ) -> Iterator[tuple[int, dict[str, Any]]]:
            label_keys = self._cifar_info.label_keys
            index = 0
            for path in filepaths:
                for labels, image in read_batch(Path(path), len(label_keys)):
                    record = dict(zip(label_keys, labels, strict=True))
                    yield (
                        index,
                        record | {"id": f"{split_prefix}{index:05d}", "image": _png(image)},
                    )
                    index += 1

    return Builder(data_dir=root, file_format="array_record")


def read_batch(path: Path, num_labels: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield the labels and the (32, 32, 3) image of each record of a CIFAR binary batch.

    A record is ``num_labels`` bytes, then the red, the green and the blue plane, row by row.

    Raises:
        DatasetError: the file is not a whole number of records.
    """
    size = num_labels + 3 * 32 * 32
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % size:
        raise DatasetError(f"{path} has {data.size} bytes: expected a multiple of {size}")
    for record in data.reshape(-1, size):
        image = record[num_labels:].reshape(3, 32, 32).transpose(1, 2, 0)
        yield record[:num_labels].tolist(), image


def _png(image: np.ndarray) -> bytes:
    """Encode without loss; tfds passes bytes through, where an array would call TensorFlow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return buffer.getvalue()
