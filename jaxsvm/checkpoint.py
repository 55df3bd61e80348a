"""A folder of checkpoints that one process owns: save the next one, find the newest that is whole.

A checkpoint is named arrays, a step and a header, in one sealed file (`jaxsvm.files`) named by the
step: ``step-000000000590.npz``. `save` reads the new file back before it deletes an old one, and
the one before is kept. `newest` passes over files that are damaged, and says so.

NumPy is enough here; `jaxsvm.core.trees` makes named arrays of any pytree.
"""

import contextlib
import errno
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxsvm.files import read_sealed, write_sealed

KIND, FORMAT = "jaxsvm checkpoint", 1
LOCK, OWNER = ".lock", ".owner"
NAME = re.compile(r"step-(\d+)\.npz")
# What a kill leaves of a file that was being written.
LEFTOVERS = ".*.npz.*"

T = TypeVar("T")


class Checkpoint(NamedTuple):
    """What a run needs to go on.

    Attributes:
        step: how many steps have been taken, ≥ 0.
        header: what JSON can say of the run; no NaN and no infinity.
        arrays: of numbers or booleans, by name; none is called "header".
    """

    step: int
    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class UnusableError(ValueError):
    """A file that a run cannot go on from, though it may from the one before."""


def save(folder: Path | str, checkpoint: Checkpoint, *, previous: int | None = None) -> None:
    """Write a checkpoint, read it back, and delete all others but the previous one.

    Args:
        folder: an existing one, `owned` by this process.
        checkpoint: what to write; one of the same step is replaced.
        previous: the step of the newest one known to be good; None where there is none.

    Raises:
        ValueError: the header is no JSON, an array holds objects, or a name is taken.
        OSError: the folder cannot be written, or what is read back is not what was written; it
            names the path. The previous checkpoint is there, and no file that is not whole.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for step in (10, 20, 30):
    ...     previous = step - 10 if step > 10 else None
    ...     save(folder, Checkpoint(step, {}, {"W": np.full(3, step)}), previous=previous)
    >>> sorted(os.listdir(folder))
    ['step-000000000020.npz', 'step-000000000030.npz']
    >>> newest(folder, lambda checkpoint: checkpoint.arrays["W"])
    array([30, 30, 30])
    """
    folder = Path(folder)
    path = folder / _name(checkpoint.step)
    header = {"kind": KIND, "format": FORMAT, "step": checkpoint.step, "run": checkpoint.header}
    write_sealed(path, header, checkpoint.arrays)
    try:
        found = read(path).arrays
        right = found.keys() == checkpoint.arrays.keys() and all(
            _same(array, checkpoint.arrays[name]) for name, array in found.items()
        )
    except ValueError:
        right = False
    if not right:
        path.unlink(missing_ok=True)
        raise OSError(errno.EIO, "what is read back is not what was written", str(path))
    keep = {path.name, _name(previous) if previous is not None else None}
    for old in _files(folder):
        if old.name not in keep:
            old.unlink()


def delete(folder: Path | str, step: int) -> None:
    """Delete the checkpoint of a step, if it is there."""
    (Path(folder) / _name(step)).unlink(missing_ok=True)


def read(path: Path) -> Checkpoint:
    """Return the checkpoint in a file.

    Raises:
        UnusableError: the file is damaged, of another version, or of another step than its name
            says.
        OSError: there is no such file, or it cannot be read.
    """
    try:
        header, arrays = read_sealed(path)
    except ValueError as error:
        raise UnusableError(str(error)) from error
    kind, version = header.get("kind"), header.get("format")
    if (kind, version) != (KIND, FORMAT):
        raise UnusableError(
            f"{path} is a {kind!r} of format {version!r}: expected a {KIND!r} of format {FORMAT}"
        )
    step, run = header.get("step"), header.get("run")
    if not isinstance(step, int) or _name(step) != path.name or not isinstance(run, dict):
        raise UnusableError(f"{path} holds step {step!r}: expected the step that its name says")
    return Checkpoint(step, run, arrays)


def newest(folder: Path | str, use: Callable[[Checkpoint], T]) -> T | None:
    """Return ``use`` of the newest checkpoint that can be used; None where there is none at all.

    Args:
        folder: an existing one.
        use: takes a checkpoint to what is returned. It raises `UnusableError` where the one before
            may do; what else it raises is raised.

    Raises:
        ValueError: there are checkpoints, and none of them can be used.
        OSError: likewise, and the reason is that files cannot be read.

    Warns:
        UserWarning: a newer one cannot be used; which, and why.
    """
    reasons: list[OSError | UnusableError] = []
    for path in reversed(_files(Path(folder))):
        try:
            found = use(read(path))
        except (OSError, UnusableError) as error:
            reasons.append(error)
            continue
        if reasons:
            said = "; ".join(map(str, reasons))
            warnings.warn(f"{said}. Going on from {path.name}, the one before", stacklevel=2)
        return found
    for reason in reasons:
        if isinstance(reason, OSError):
            raise reason
    if reasons:
        raise ValueError(
            f"{folder} has no checkpoint that can be used: {'; '.join(map(str, reasons))}. Put a "
            "good copy there, or delete the folder to begin again"
        )
    return None


@contextlib.contextmanager
def owned(folder: Path | str) -> Iterator[None]:
    """Own a folder, which is made if need be, while the block runs; a kill ends that too.

    What a killed owner left half written is deleted.

    Raises:
        BlockingIOError: another process owns it.
        OSError: the folder cannot be made or written.
    """
    import filelock  # takes longer to import than all else here

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = folder / LOCK, folder / OWNER
    try:
        held = filelock.FileLock(lock).acquire(blocking=False)
    except filelock.Timeout as error:
        if not lock.exists():  # it was not taken: it could not be made
            raise PermissionError(errno.EACCES, "no file can be made in", str(folder)) from error
        process = "another process"
        with contextlib.suppress(OSError):
            process = f"process {owner.read_text() or 'unknown'}"
        raise BlockingIOError(
            errno.EWOULDBLOCK, f"{process} is running there: choose another folder", str(folder)
        ) from error
    with held:
        owner.write_text(str(os.getpid()))
        for leftover in folder.glob(LEFTOVERS):
            leftover.unlink()
        yield


def _name(step: int) -> str:
    return f"step-{step:012d}.npz"


def _files(folder: Path) -> list[Path]:
    """Return the folder's checkpoints, the newest, that of the highest step, last."""
    found = ((NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are equal to the bit; a NaN is equal to itself."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
