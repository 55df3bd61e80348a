"""Files that are whole or absent: written beside their place, flushed, then renamed into it.

The folder is flushed too, so that after a power cut the file has its name.

Arrays and a header travel in one sealed file: a plain ``.npz`` (a zip archive of uncompressed
``.npy`` members, which any reader of either opens) whose archive comment, its last 71 bytes, is
``sha256:`` and the digest, in lower-case hexadecimal, of every byte before those 64 digits. The
member ``header.npy`` holds UTF-8 JSON as bytes. Nothing in such a file is unpickled or executed,
and equal contents make equal files.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SEAL, DIGITS = b"sha256:", 64
HEADER = "header"


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[BinaryIO]:
    """Open ``path`` for writing; it appears, whole, when the block ends without an exception.

    Whatever happens meanwhile (a full disk, Ctrl-C, a kill) ``path`` holds what it held before.
    The folder must exist. A kill leaves a file ``.<name>.<letters>`` beside it, an exception none.

    Raises:
        OSError: the folder or the file cannot be written; it names a path. What ``path`` held
            before is there or, where the last flush failed, what is new; each is whole.

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
        _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error says more
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write or a flush does not know what it writes to
        raise


def _flush_folder(folder: Path) -> None:
    """Write a folder's names to the disk, where the system and the file system can."""
    if os.name == "nt":  # opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # PostgreSQL's list of what a file system says that flushes no folders (fd.c, fsync_fname).
        if error.errno not in (errno.EBADF, errno.EINVAL):
            raise
    finally:
        os.close(descriptor)


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
    try:
        _archive(buffer, {HEADER: np.frombuffer(text, np.uint8), **arrays})
    except ValueError:
        if buffer.closed:  # it could not grow, at which the archive's end fails too
            raise MemoryError(f"no room to put together {path}") from None
        raise
    body = buffer.getvalue()[:-DIGITS]
    with atomic_file(path) as file:
        file.write(body + hashlib.sha256(body).hexdigest().encode())


def _archive(file: io.BytesIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an archive of arrays whose comment has room for the digest."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            contiguous = np.asarray(array, order="C")
            np.lib.format.write_array(member, contiguous, version=(1, 0), allow_pickle=False)
            # Named by a ZipInfo, which has a fixed date where a plain name would get today's.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
        archive.comment = SEAL + bytes(DIGITS)


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
    except MemoryError:  # which says nothing of the file
        raise
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
