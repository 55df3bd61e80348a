"""Images of a prepared tfds dataset, decoded when they are read.

Most of the time that a small image takes is Python's, which runs on one core at a time: what helps
is more processes, not threads. Where the decoded bytes fit on a disk, `jaxsvm.load_dataset` decodes
them once, and a memory map of them is read a hundred times as fast.
"""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from jaxsvm.core.arguments import check_word
from jaxsvm.datasets.examples import DatasetError
from jaxsvm.datasets.tfds import array_records, damaged, image_of, image_shape, open_prepared


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
        shape = image_shape(builder, folder)
        self.shape = builder.info.splits[split].num_examples, int(np.prod(shape))
        self.dtype = np.dtype(np.uint8)
        self._records, self._workers, self._pool = (folder, split), workers, None
        if workers > 1:
            # Not forked: JAX's threads would be lost on the way, and their locks held for ever.
            # Python ends the processes once nothing refers to the pool.
            self._pool = ProcessPoolExecutor(workers, get_context("spawn"))

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.arange(*index.indices(self.shape[0])) if isinstance(index, slice) else index
        if self._pool is None:
            return _decoded(*self._records, rows)
        parts = np.array_split(rows, self._workers)
        folder, split = self._records
        try:
            decoded = list(self._pool.map(_decoded, repeat(folder), repeat(split), parts))
        except BrokenProcessPool as error:
            raise DatasetError(
                f"a process that decodes {folder} has ended before its work was done: expected "
                f"memory for all {self._workers} of them, and `if __name__ == '__main__':` in the "
                "script, which each of them imports"
            ) from error
        return np.concatenate(decoded)

    def labels(self) -> np.ndarray:
        """Return the (N,) labels; every record is read, and no image decoded.

        Raises:
            DatasetError: the files are damaged.
        """
        import tensorflow_datasets as tfds

        folder, split = self._records
        builder, skip = open_prepared(folder), {"image": tfds.decode.SkipDecoding()}
        try:
            records = array_records(builder, split, skip)
            return np.array([record["label"] for record in records], np.int32)
        except Exception as error:  # array_record raises many kinds for damaged bytes
            raise damaged(folder, error) from error


@lru_cache(maxsize=2)
def _source(folder: Path, split: str) -> Any:
    return open_prepared(folder).as_data_source(split)


def _decoded(folder: Path, split: str, rows: np.ndarray) -> np.ndarray:
    """Return images of these numbers, (len(rows), F) bytes; called in the worker processes too."""
    source = _source(folder, split)
    info = source.dataset_info
    found = np.empty((len(rows), int(np.prod(info.features["image"].shape))), np.uint8)
    try:
        for place, record in enumerate(source.__getitems__(rows.tolist())):
            found[place] = image_of(record, info, f"{split} image {rows[place]}").reshape(-1)
    except Exception as error:  # array_record and Pillow raise many kinds for damaged bytes
        raise damaged(folder, error) from error
    return found
