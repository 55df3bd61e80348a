"""Records of TFRECORD files, the format that tfds prepares by default, without TensorFlow.

A file is a row of frames, numbers in little-endian order:

    length (8 bytes)  crc of these 8 bytes (4)  data (length bytes)  crc of the data (4)

A crc is CRC-32C, rotated and shifted so that data which contain a crc do not upset it. Python has
no CRC-32C, so here it is in NumPy, for many records at once: the crc is linear over bits, so the
two halves of a message are halves of one sum, the first moved over the second's length. Halving
goes on until one word is left, and every record of a batch takes the same steps.

Source: TensorFlow's `record_writer.h`; RFC 3720, appendix B.4 (CRC-32C and its test vectors).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
# The bytes that take a register of zeros to one of ones, from which a crc starts. Zeros before
# them change nothing, so that records of any length can be lined up at their ends.
START = np.frombuffer(bytes.fromhex("54641f64"), np.uint8)
BATCH_BYTES = 2**22


def read_examples(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """Yield the decoded examples of one split of a prepared tfds dataset, in the files' order.

    Raises:
        ValueError: a record is damaged.
        OSError: a file is missing.
    """
    for file in builder.info.splits[split].filepaths:
        for record in read_records(Path(file)):
            yield builder.info.features.deserialize_example_np(record)


def read_records(file: Path) -> Iterator[bytes]:
    """Yield the records of an uncompressed TFRECORD file, each after its checksums were verified.

    Raises:
        ValueError: a record is damaged or cut short; the message names the file and the record,
            the first of which is 0.
        OSError: the file cannot be read.
    """
    if file.stat().st_size == 0:
        return
    content = np.memmap(file, np.uint8, "r")
    starts, lengths, whole = _frames(content)
    heads = crc32c(content, starts - 12, np.full(len(starts), 8))
    _compare(file, 0, heads, _words(content, starts - 4))
    for batch in _batches(lengths):
        sums = crc32c(content, starts[batch], lengths[batch])
        _compare(file, batch.start, sums, _words(content, starts[batch] + lengths[batch]))
        for start, length in zip(starts[batch], lengths[batch], strict=True):
            yield content[start : start + length].tobytes()
    if not whole:
        raise ValueError(f"{file.name}, record {len(starts)}: the file ends before the record does")


def _frames(content: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Where the data of each record starts, how long it is, and whether the last one is whole."""
    starts, lengths, at = [], [], 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if length > len(content) - at - 16:
            break
        starts.append(at + 12)
        lengths.append(length)
        at += 16 + length
    return np.array(starts, np.int64), np.array(lengths, np.int64), at == len(content)


def _batches(lengths: np.ndarray) -> Iterator[slice]:
    """Slices of records whose lengths, padded to the longest, stay within ``BATCH_BYTES``."""
    start, longest = 0, 0
    for i, length in enumerate(lengths.tolist()):
        longest = max(longest, length)
        if i > start and (i + 1 - start) * longest > BATCH_BYTES:
            yield slice(start, i)
            start, longest = i, length
    if len(lengths):
        yield slice(start, len(lengths))


def _words(content: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The 32-bit numbers that begin at the given places."""
    places = starts[:, None] + np.arange(4)
    return content[places].view("<u4")[:, 0]


def _compare(file: Path, first: int, sums: np.ndarray, stored: np.ndarray) -> None:
    """Compare checksums with those in the file, which are masked.

    Raises:
        ValueError: one differs.
    """
    masked = ((sums >> 15) | (sums << 17)) + np.uint32(0xA282EAD8)
    for i in np.flatnonzero(masked != stored)[:1]:
        raise ValueError(f"{file.name}, record {first + i}: its checksum is not that of its bytes")


def crc32c(content: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the CRC-32C of stretches of bytes.

    Args:
        content: bytes.
        starts: (R,) where each stretch starts.
        lengths: (R,) how long it is.

    Returns:
        (R,) uint32. Cost: about one look-up in a small table for each byte of R times the longest,
        rounded up to a power of two.

    >>> bytes_ = np.frombuffer(b"123456789", np.uint8)
    >>> [hex(crc) for crc in crc32c(bytes_, np.array([0, 4]), np.array([9, 0]))]
    ['0xe3069283', '0x0']
    """
    longest = len(START) + max(lengths.tolist(), default=0)
    halvings = (-(-longest // 4) - 1).bit_length()
    width = 4 << halvings
    rows = np.zeros((len(starts), width), np.uint8)
    for row, start, length in zip(rows, starts.tolist(), lengths.tolist(), strict=True):
        row[width - length :] = content[start : start + length]
        row[width - length - 4 : width - length] = START
    register = rows.view("<u4").astype(np.uint32, copy=False)
    for k in reversed(range(halvings)):
        half = 1 << k
        register = _look_up(_move(k), register[:, :half]) ^ register[:, half:]
    return ~_look_up(_move(0), register[:, 0])


def _look_up(tables: np.ndarray, register: np.ndarray) -> np.ndarray:
    """Move registers over zeros: the sum of what each of their four bytes becomes."""
    low, second, third, high = tables
    return (
        low[register & 255]
        ^ second[(register >> 8) & 255]
        ^ third[(register >> 16) & 255]
        ^ high[register >> 24]
    )


def _move(k: int) -> np.ndarray:
    """Tables (4, 256) that move a register over 2ᵏ words of zeros: entry b of its byte 0 to 3."""
    while len(_MOVES) <= k:
        _MOVES.append(_look_up(_MOVES[-1], _MOVES[-1]))
    return _MOVES[k]


def _over_one_word() -> np.ndarray:
    """The tables of one word, bit by bit."""
    tables: np.ndarray = (
        np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    )
    for _ in range(32):
        tables = (tables >> 1) ^ (tables & 1) * np.uint32(POLYNOMIAL)
    return tables


_MOVES = [_over_one_word()]
