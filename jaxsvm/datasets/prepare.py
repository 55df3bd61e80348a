"""Download and prepare a tfds dataset as ArrayRecord files, without TensorFlow.

The stock CIFAR builders unpack and read their archive with ``tf.io.gfile`` and encode each image
with ``tf.image``. Ours are the same builders with those steps in tarfile, NumPy and Pillow, so what
they write is an ordinary tfds dataset: download, checksum, version and folder are tfds' own.
"""

import difflib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.datasets.embedded import EMBEDDED
from jaxsvm.datasets.examples import DatasetError, UnknownDatasetError


def prepare(name: str, root: Path) -> None:
    """Download a dataset through tfds and write it below ``root``; progress bars are tfds' own.

    Raises:
        DatasetError: tfds has no such dataset, there is no network, the download is not what tfds
            expects, or the dataset's builder needs TensorFlow or files fetched by hand.
    """
    import requests
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    base = name.split("/")[0]
    if base not in known:
        near = difflib.get_close_matches(base, [*EMBEDDED, *known], n=3)
        did = f"; near names: {', '.join(map(repr, near))}" if near else ""
        own = f" (a folder of your own would be './{name}')" if "/" in name else ""
        embedded = ", ".join(map(repr, EMBEDDED))
        raise UnknownDatasetError(
            f"name = {name!r}: neither {embedded} nor a dataset of tfds{own}{did}"
        )
    found = ", ".join(sorted(p.name for p in root.iterdir())) if root.is_dir() else ""
    missing = f"{name!r} is not in {root} (which holds {found or 'nothing'})"
    elsewhere = "point TFDS_DATA_DIR (or data_dir=) at a folder that holds it"
    try:
        builder = _builder(name, root)
        # tfds tries ten times, for minutes, before it admits that there is no network.
        for url in list(builder.url_infos or ())[:1]:
            requests.head(url, timeout=10)
        builder.download_and_prepare()
    except requests.RequestException as error:
        raise DatasetError(
            f"{missing}, and there is no network to download it ({type(error).__name__}): either "
            f"{elsewhere}, or run load_dataset({name!r}) once with a network; "
            "'digits' needs neither"
        ) from None  # four chained tracebacks of a network library would hide this sentence
    except Exception as error:  # tfds and its builders raise kinds of their own
        checksum = tfds.download.download_manager.NonMatchingChecksumError
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, (tfds.download.DownloadError, checksum)):
            advice = f"the download is not what tfds expects: remove {root / 'downloads'}, or"
            why = why.splitlines()[0]
        elif "No module named 'tensorflow'" in why:
            advice = (
                "preparing it needs TensorFlow, though reading does not: prepare it elsewhere with "
                f"tfds.builder({name!r}, file_format='array_record').download_and_prepare(), and"
            )
        else:
            advice = "do what this says, or"
        raise DatasetError(
            f"{missing} and cannot be prepared there ({why}); {advice} {elsewhere}"
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

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
            facts = self._cifar_info
            archive = Path(dl_manager.download(facts.url))
            with tarfile.open(archive) as tar:
                for key, file in zip(facts.label_keys, facts.label_files, strict=True):
                    text = _member(tar, facts.prefix + file).decode()
                    self.info.features[key].names = [line for line in text.split("\n") if line]
            return {
                split: self._generate_examples(f"{split}_", archive, files)
                for split, files in (("train", facts.train_files), ("test", facts.test_files))
            }

        def _generate_examples(
            self, split_prefix: str, archive: Path, files: list[str]
        ) -> Iterator[tuple[int, dict[str, Any]]]:
            facts, index = self._cifar_info, 0
            with tarfile.open(archive) as tar:
                for file in files:
                    batch = _member(tar, facts.prefix + file)
                    for labels, image in read_batch(batch, len(facts.label_keys)):
                        record: dict[str, Any] = dict(zip(facts.label_keys, labels, strict=True))
                        record["id"] = f"{split_prefix}{index:05d}"
                        record["image"] = _png(image)
                        yield index, record
                        index += 1

    return Builder(data_dir=root, file_format="array_record")


def _member(tar: tarfile.TarFile, path: str) -> bytes:
    """Read one file of an archive; nothing is unpacked to disk."""
    file = tar.extractfile(path)
    assert file is not None, f"{path} is no file"
    return file.read()


def read_batch(batch: bytes, num_labels: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield the labels and the (32, 32, 3) image of each record of a CIFAR binary batch.

    A record is ``num_labels`` bytes, then the red, the green and the blue plane, row by row.

    Raises:
        ValueError: not a whole number of records.
    """
    size = num_labels + 3 * 32 * 32
    if not batch or len(batch) % size:
        raise ValueError(f"a batch has {len(batch)} bytes: expected a multiple of {size}")
    for record in np.frombuffer(batch, np.uint8).reshape(-1, size):
        image = record[num_labels:].reshape(3, 32, 32).transpose(1, 2, 0)
        yield record[:num_labels].tolist(), image


def _png(image: np.ndarray) -> bytes:
    """Encode without loss; tfds passes bytes through, where an array would call TensorFlow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return buffer.getvalue()
