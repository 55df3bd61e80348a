"""Files that are whole or absent: written beside their place, flushed, then renamed into it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
