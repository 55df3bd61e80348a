"""From files or a function to `Data` whose X is a stream, checked once.

X is never whole in memory; y is, as 4 bytes an example. The rows are those that
`jaxsvm.load_dataset` would make: bytes stay bytes, centring and scaling are folded into the
products, the last column is 1.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from jaxsvm.core.arguments import check_count, check_labels, check_path, check_values, check_word
from jaxsvm.core.types import Data
from jaxsvm.datasets.arrays import check_lengths, load_arrays
from jaxsvm.datasets.examples import ROWS, DatasetError, check_numbers
from jaxsvm.datasets.rows import total
from jaxsvm.datasets.sources import Examples, streamed
from jaxsvm.datasets.tfds import prepared_folder
from jaxsvm.streams.blocks import Blocks
from jaxsvm.streams.images import Images

Numbers: TypeAlias = float | np.ndarray


def stream_from_npy(
    X: str | os.PathLike[str],
    y: str | os.PathLike[str],
    *,
    shift: Numbers | Literal["mean"] = "mean",
    scale: Numbers = 1.0,
) -> Data:
    """Return the examples of a ``.npy`` file as a stream: a memory map, of which rows are read.

        x = (raw − shift) · scale,  then a 1

    Any rows can be read at any time, so that epochs are uniform permutations. The order is kept at
    8 bytes an example, of two epochs.

    Args:
        X: the file of examples, (N, F) of any real type or images (N, ...), in C order; uint8 stays
            bytes.
        y: the file of their (N,) labels, integers in [0, C).
        shift: what is subtracted, one number or one for each column; ``"mean"`` for the mean
            example, which takes one pass over the file. Test data have the training data's.
        scale: what multiplies after that, the same.

    Returns:
        `Data` whose X is `jaxsvm.core.streamed.StreamedRows` of float32, or `StandardizedFeatures`
        of bytes.

    Raises:
        DatasetError: (a ValueError) a file is missing, damaged, or holds something else.
        ValueError: ``shift`` or ``scale`` does not fit; a label is out of range; a number is not
            finite, which is looked for where a pass is made, and otherwise not checked.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "X.npy", np.arange(8, dtype=np.uint8).reshape(4, 2))
    >>> np.save(folder / "y.npy", np.array([0, 1, 1, 0]))
    >>> data = stream_from_npy(folder / "X.npy", folder / "y.npy")
    >>> data.X.shape, data.X.shift.tolist()
    ((4, 3), [3.0, 4.0, 0.0])
    """
    raw, labels = _mapped("X", X), _mapped("y", y)
    if raw.dtype.kind not in "biuf" or raw.ndim < 2 or raw.size == 0 or not raw.flags.c_contiguous:
        order = "" if raw.flags.c_contiguous else " in Fortran order"
        raise DatasetError(
            f"{X} holds {raw.dtype}{list(raw.shape)}{order}: expected real numbers (N, F), or "
            "(N, ...), in C order, and none of these 0"
        )
    check_lengths(str(X), raw, str(y), labels)
    # As a plain array: a memory map's own indexing is slower.
    return _anywhere(np.asarray(raw).reshape(len(raw), -1), np.asarray(labels), shift, scale)


def stream_from_tfds(
    name: str,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    shift: Numbers | Literal["mean"] = "mean",
    scale: Numbers = 1.0,
    workers: int = 1,
) -> Data:
    """Return the images of a tfds dataset as a stream, decoded whenever they are read.

    Decoding is what a stream of images waits for: where the decoded bytes fit on a disk,
    `jaxsvm.load_dataset` decodes once and maps them from then on. Labels are read in a first pass,
    which decodes no image unless the mean is asked for. Epochs are uniform permutations.

    Args:
        name: as of `jaxsvm.load_dataset`, prepared as ArrayRecord files, or now.
        split: ``"train"``, ``"test"`` or another that the dataset has, whole.
        data_dir: the folder of prepared datasets; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.
        shift: as in `stream_from_npy`; ``"mean"`` decodes every image once.
        scale: as in `stream_from_npy`.
        workers: processes that decode; with 1, the reading thread does. More are started as new
            Pythons, so that a script needs its ``if __name__ == "__main__":``, and end with the
            last reference to the stream. One that is killed is a `DatasetError` where it is read.

    Returns:
        `Data` whose X is `StandardizedFeatures` of `jaxsvm.core.streamed.StreamedRows`.

    Raises:
        DatasetError: (a ValueError) no such dataset or split, files of another format, or damaged.
        ValueError: ``shift``, ``scale`` or ``workers`` does not fit.

    Source: `tensorflow_datasets`, ``as_data_source``.
    """
    workers = check_count("workers", workers)
    images = Images(prepared_folder(name, data_dir), split, workers)
    return _anywhere(images, images.labels(), shift, scale)


def stream_from_blocks(
    block: Callable[[int], tuple[np.ndarray, np.ndarray]],
    *,
    num_rows: int,
    block_rows: int,
    y: np.ndarray | None = None,
    shift: Numbers | Literal["mean"] = "mean",
    scale: Numbers = 1.0,
    window: int | None = None,
) -> Data:
    """Return the examples that a function makes, a block at a time, as a stream.

    Its epochs are no uniform permutations: the blocks are shuffled, and then the rows of each
    ``window`` neighbouring ones among themselves, which are kept in memory meanwhile. So examples
    that are sorted by class should not lie in blocks of one class, or in many more than a window.

    Args:
        block: ``block(i) -> (X, y)``, block i of (n, F) or (n, ...) real numbers and (n,) labels
            in [0, C), for i from 0 to ⌈N / block_rows⌉ − 1; n is ``block_rows``, of the last block
            what is left. The same i gives the same numbers. It is called on several
            threads, by one at a time.
        num_rows: N.
        block_rows: examples of a block, ≥ 1.
        y: the (N,) labels, if they are at hand; else they are collected in a first pass.
        shift: as in `stream_from_npy`; ``"mean"`` takes a pass, the same as the labels'.
        scale: as in `stream_from_npy`.
        window: how many blocks are kept, ≥ 1; by default 128 MiB of them, at least 2.

    Returns:
        `Data`, as `stream_from_npy`.

    Raises:
        ValueError: a block is of another shape or dtype than it should be; an argument does not
            fit; a label is out of range; a number is not finite, which is looked for where a pass
            is made, and otherwise not checked.

    >>> def block(i):
    ...     return np.full((2, 3), i, np.uint8), np.array([0, 1])
    >>> data = stream_from_blocks(block, num_rows=6, block_rows=2)
    >>> data.X.shape, data.X.shift.tolist(), data.y.tolist()
    ((6, 4), [1.0, 1.0, 1.0, 0.0], [0, 1, 0, 1, 0, 1])
    """
    if not callable(block):
        raise ValueError(f"block is a {type(block).__name__}: expected a function, i -> (X, y)")
    num_rows = check_count("num_rows", num_rows)
    block_rows = min(check_count("block_rows", block_rows), num_rows)
    window = None if window is None else check_count("window", window)
    blocks = Blocks(block, num_rows, block_rows, window)
    labels: list[np.ndarray] = []

    def parts() -> Iterable[np.ndarray]:
        for X, of_block in blocks.checked(has_labels=y is None):
            if y is None:
                labels.append(of_block.copy())
            yield X

    if _is_mean(shift):
        shift = _mean(parts(), num_rows)
    elif y is None:
        for _ in parts():
            pass
    y = np.concatenate(labels) if y is None else y
    return _data(blocks, y, shift, scale, blocks.block_rows, blocks.window)


def _mapped(name: str, path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array of a .npy file, mapped."""
    check_path(name, path)
    path = Path(path).expanduser()
    array = load_arrays(path, mapped=True)
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{path} holds several arrays: expected one, as numpy.save writes it")
    return array


def _anywhere(
    examples: Examples, y: np.ndarray, shift: Numbers | Literal["mean"], scale: Numbers
) -> Data:
    """Return the stream of examples of which any can be read at any time."""
    N = examples.shape[0]

    def parts() -> Iterable[np.ndarray]:
        for start in range(0, N, ROWS):
            part = examples[start : start + ROWS]
            check_numbers(
                part, lambda i, *j, start=start: f"X[{', '.join(map(str, (start + i, *j)))}]"
            )
            yield part

    return _data(examples, y, _mean(parts(), N) if _is_mean(shift) else shift, scale, N, 1)


def _is_mean(shift: Any) -> bool:
    """Return whether the mean is to be computed; no other word is known."""
    if isinstance(shift, str):
        check_word("shift", shift, ("mean",))
        return True
    return False


def _mean(parts: Iterable[np.ndarray], N: int) -> np.ndarray:
    """Return the mean example in float32."""
    return np.asarray(sum(map(total, parts)) / N, np.float32)


def _data(examples: Examples, y: Any, shift: Any, scale: Any, block_rows: int, window: int) -> Data:
    """Return the stream of examples and their labels, once all but the examples is checked."""
    N, F = examples.shape
    check_values("a function of streams", y, shift, scale)
    check_labels(y, None)
    if y.shape != (N,):
        raise ValueError(f"y has shape {y.shape}: expected ({N},), num_rows labels")
    shift, scale = _for_columns("shift", shift, F), _for_columns("scale", scale, F)
    labels = jax.device_put(np.asarray(y).astype(np.int32))
    return Data(streamed(examples, shift, scale, block_rows, window), labels)


def _for_columns(name: str, numbers: Any, F: int) -> np.ndarray:
    """Return (F,) float32 of one number or F."""
    array = np.asarray(numbers)
    fits = array.ndim == 0 or array.size == F
    if array.dtype.kind in "iuf" and fits and not isinstance(numbers, list | tuple):
        with np.errstate(over="ignore"):
            columns = np.broadcast_to(array.reshape(-1), (F,)).astype(np.float32)
        if np.isfinite(columns).all():
            return columns
    raise ValueError(
        f"{name} is {array.dtype}{list(array.shape)}: expected a finite number, or an array of {F} "
        "of them, one for each column, that float32 can hold"
    )
