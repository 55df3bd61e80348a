"""Files that are whole or absent: written beside their place, flushed, then renamed into it.

Arrays and a header travel in one sealed file: a plain ``.npz`` (a zip archive of uncompressed
``.npy`` members, which any reader of either opens) whose archive comment, its last 71 bytes, is
``sha256:`` and the digest, in lower-case hexadecimal, of every byte before those 64 digits. The
member ``header.npy`` holds UTF-8 JSON as bytes. Nothing in such a file is unpickled or executed,
and equal contents make equal files.
"""

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SEAL, DIGITS = b"sha256:", 64
HEADER = "header"


@contextmanager
def atomic_file(path: Path | str) -> Iterator[BinaryIO]:
    """Open ``path`` for writing; it appears, whole, when the block ends without an exception.

    Whatever happens meanwhile (a full disk, Ctrl-C, a kill) ``path`` holds what it held before.
    The folder must exist.

    Raises:
        OSError: the folder cannot be written; nothing is left behind.

    >>> folder = tempfile.mkdtemp()
    >>> with atomic_file(Path(folder) / "a.txt") as file:
    ...     file.write(b"whole")
    5
    >>> os.listdir(folder)
    ['a.txt']
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's own mode hides results from colleagues
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_sealed(
    path: Path | str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a header and arrays to one sealed ``.npz``, whole or not at all.

    Args:
        path: where to; the folder must exist.
        header: what JSON can say; no NaN and no infinity.
        arrays: of numbers or booleans, by name; none is called "header".

    Raises:
        ValueError: the header is no JSON, an array holds objects, or a name is taken.
        OSError: the file cannot be written; what was there before stays.

    >>> path = Path(tempfile.mkdtemp()) / "a.npz"
    >>> write_sealed(path, {"format": 1}, {"W": np.eye(2)})
    >>> header, arrays = read_sealed(path)
    >>> header, arrays["W"].tolist(), np.load(path)["W"].shape
    ({'format': 1}, [[1.0, 0.0], [0.0, 1.0]], (2, 2))
    """
    if HEADER in arrays:
        raise ValueError(f"arrays has an array named {HEADER!r}: expected another name")
    text = json.dumps(dict(header), allow_nan=False, ensure_ascii=False).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in {HEADER: np.frombuffer(text, np.uint8), **arrays}.items():
            member = io.BytesIO()
            contiguous = np.asarray(array, order="C")
            np.lib.format.write_array(member, contiguous, version=(1, 0), allow_pickle=False)
            # Named by a ZipInfo, which has a fixed date where a plain name would get today's.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
        archive.comment = SEAL + bytes(DIGITS)
    body = buffer.getvalue()[:-DIGITS]
    with atomic_file(path) as file:
        file.write(body + hashlib.sha256(body).hexdigest().encode())


def read_sealed(path: Path | str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the header and the arrays of a file that `write_sealed` wrote; the arrays read-only.

    A file without the seal is refused before it is read, and no array is larger than what is in the
    file.

    Raises:
        ValueError: no such file's form, or any of its bytes is missing, added or changed.
        OSError: there is no such file, or it cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - DIGITS - len(SEAL)))
        if not file.read().startswith(SEAL):
            raise ValueError(
                f"{path} is no file of jaxsvm's, or its end is missing: expected an .npz that ends "
                "in its digest; write it again, or copy it again"
            )
        file.seek(0)
        data = file.read()
    body, digest = data[:-DIGITS], data[-DIGITS:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError(
            f"{path} is damaged: its bytes do not have the digest that it ends in; write it again, "
            "or copy it again"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {
                member.filename.removesuffix(".npy"): _stored(archive, member)
                for member in archive.infolist()
            }
        header = json.loads(members.pop(HEADER).tobytes().decode())
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
    except Exception as error:  # a forged file makes the parsers raise many kinds
        raise ValueError(
            f"{path} has a right digest but not the form of a file of jaxsvm's ({error}): expected "
            "one that jaxsvm wrote"
        ) from error
    return header, members


def _stored(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return a member as a read-only array, which has as many bytes as the file has for it."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    raw = archive.read(member)
    start = io.BytesIO(raw)
    if np.lib.format.read_magic(start) != (1, 0):
        raise ValueError(f"{member.filename} is not in version 1.0 of the npy format")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(start)
    if is_fortran:
        raise ValueError(f"{member.filename} has its columns first")
    # It makes no array of objects, and none that is not in the bytes at hand.
    return np.frombuffer(raw, dtype, offset=start.tell()).reshape(shape)
