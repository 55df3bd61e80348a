"""Images of a prepared tfds dataset, decoded when they are read.

Most of the time that a small image takes is Python's, which runs on one core at a time: what helps
is more processes, not threads. Where the decoded bytes fit on a disk, `jaxsvm.load_dataset` decodes
them once, and a memory map of them is read a hundred times as fast.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.core.arguments import check_word
from jaxsvm.datasets.examples import DatasetError
from jaxsvm.datasets.tfds import BATCH, damaged, open_prepared


class Images:
    """The images of a split of ArrayRecord files as raw examples.

    Attributes:
        shape: (N, height · width · channels).
        dtype: uint8.
    """

    def __init__(self, folder: Path, split: str, workers: int) -> None:
        builder = open_prepared(folder)
        if builder.info.file_format.value != "array_record":
            raise DatasetError(
                f"{folder} holds {builder.info.file_format.value} files, which are read from "
                "beginning to end only: expected array_record; load_dataset decodes them once"
            )
        check_word("split", split, list(builder.info.splits))
        image = builder.info.features["image"].shape
        if None in image:
            raise DatasetError(f"{folder} has images of shape {image}: expected one fixed size")
        self.shape = builder.info.splits[split].num_examples, int(np.prod(image))
        self.dtype = np.dtype(np.uint8)
        self._records, self._workers, self._pool = (folder, split), workers, None
        if workers > 1:
            # Not forked: JAX's threads would be lost on the way, and their locks held for ever.
            self._pool = ProcessPoolExecutor(workers, get_context("spawn"))

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.arange(*index.indices(self.shape[0])) if isinstance(index, slice) else index
        if self._pool is None:
            return _decoded(*self._records, rows)
        parts = np.array_split(rows, self._workers)
        folder, split = map(repeat, self._records)
        return np.concatenate(list(self._pool.map(_decoded, folder, split, parts)))

    def labels(self) -> np.ndarray:
        """Return the (N,) labels; every record is read, and no image decoded."""
        import tensorflow_datasets as tfds

        folder, split = self._records
        skip = {"image": tfds.decode.SkipDecoding()}
        records = open_prepared(folder).as_data_source(split, decoders=skip)
        N = self.shape[0]
        try:
            return np.array(
                [
                    record["label"]
                    for start in range(0, N, BATCH)
                    for record in records.__getitems__(range(start, min(start + BATCH, N)))
                ],
                np.int32,
            )
        except Exception as error:  # array_record raises many kinds for damaged bytes
            raise damaged(folder, error) from error


@lru_cache(maxsize=2)
def _source(folder: Path, split: str) -> Any:
    return open_prepared(folder).as_data_source(split)


def _decoded(folder: Path, split: str, rows: np.ndarray) -> np.ndarray:
    """Return images of these numbers, (len(rows), F) bytes; called in the worker processes too."""
    source = _source(folder, split)
    shape = source.dataset_info.features["image"].shape
    found = np.empty((len(rows), int(np.prod(shape))), np.uint8)
    try:
        for place, record in enumerate(source.__getitems__(rows.tolist())):
            image = np.asarray(record["image"])
            if image.shape != shape or image.dtype != np.uint8:
                raise ValueError(f"{split} image {rows[place]} is {image.dtype} of {image.shape}")
            found[place] = image.reshape(-1)
    except Exception as error:  # array_record and Pillow raise many kinds for damaged bytes
        raise damaged(folder, error) from error
    return found
