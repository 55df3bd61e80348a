"""Runs of optimizers and solves that go on where a section was cut.

A section makes its runs one after the other, always in the same order. While it is `kept_in` a
folder, each of them has a folder of its own there, by its number, and saves itself now and then
(`jaxsvm.checkpoint`). Made once more by the next process, it finds what it has. Of several
processes that make them together the first alone touches the folder, and tells the others.

    <section>/unfinished/003/step-000000001000.npz     its fourth run, after 1,000 steps
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from jaxsvm import Data, Objective, Solution, regularization_path, solve
from jaxsvm.certificate import PathPoint
from jaxsvm.checkpoint import Checkpoint, newest, save
from jaxsvm.processes import Packed, is_first, of_first, said_by_first

UNFINISHED = "unfinished"  # the folder of such runs, in that of a section with no result yet
SECONDS = 10.0  # of running that may be lost

T = TypeVar("T")


class _Numbered:
    """A folder, and how many runs have been made in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0


_place: ContextVar[_Numbered | None] = ContextVar("_place", default=None)


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Keep the runs that are made while the block runs.

    They stay when it ends: until what came of them is kept too, a full disk may lose it.
    """
    token = _place.set(_Numbered(folder))
    try:
        yield
    finally:
        _place.reset(token)


def _next_folder() -> Path | None:
    """Return the folder of the next run, if it has one."""
    if not (place := _place.get()):
        return None
    place.count += 1
    return place.folder / f"{place.count - 1:03d}"


def kept_solve(objective: Objective, data: Data, **arguments: Any) -> Solution:
    """Solve as `jaxsvm.solve` does, saved in the next place."""
    return _kept(lambda folder: solve(objective, data, folder=folder, **arguments))


def kept_path(
    objective: Objective, data: Data, held_out: Data, **arguments: Any
) -> list[PathPoint]:
    """Return the points of `jaxsvm.regularization_path`, each saved in the next place."""
    return _kept(
        lambda folder: list(
            regularization_path(objective, data, held_out, folder=folder, **arguments)
        )
    )


def _kept(call: Callable[[Path | None], T]) -> T:
    """Call with the next folder; begin again where what it holds cannot be gone on from."""
    folder = _next_folder()
    try:
        return call(folder)
    except ValueError as error:
        why = str(error)
        if folder is None or not said_by_first(lambda: _removed(folder, why)):
            raise
        return call(folder)


def _removed(folder: Path, why: str) -> bool:
    """Remove a folder, saying why, and return whether it was there."""
    if not folder.is_dir():
        return False
    print(f"{folder} begins again: {why}", file=sys.stderr)
    shutil.rmtree(folder)
    return True


class KeptRun:
    """One run's place, if it has one: `newest` finds what an earlier process saved of it.

    Args:
        identity: what JSON can say of the run; what was saved of another one does not count.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity, self.folder = dict(identity), _next_folder()
        self.saved = time.perf_counter()
        self.step: int | None = None

    def newest(self, unpack: Callable[[Packed], T]) -> T | None:
        """Return what was saved last, unpacked; None where nothing was, or it cannot be used.

        Args:
            unpack: raises ValueError where what was packed does not fit the run.
        """

        unpacked: list[T] = []  # by the first process, which tries whether it fits

        def use(checkpoint: Checkpoint) -> Checkpoint:
            if checkpoint.header.get("identity") != self.identity:
                raise ValueError("it is of another run")
            unpacked[:] = [unpack((checkpoint.header["at"], checkpoint.arrays))]
            return checkpoint

        def look() -> Packed:
            assert self.folder is not None
            try:
                if self.folder.is_dir() and (found := newest(self.folder, use)):
                    return [found.step, found.header["at"]], found.arrays
            except ValueError as error:
                print(f"{self.folder} begins again: {error}", file=sys.stderr)
                shutil.rmtree(self.folder)
            return None, {}

        if self.folder is None:
            return None
        found, arrays = of_first(look)
        if found is None:
            return None
        self.step, at = found
        return unpacked[0] if unpacked else unpack((at, arrays))

    def save_if_due(
        self, step: int, pack: Callable[[], Packed], *, is_worth_it: bool = False
    ) -> None:
        """Save the run where as much would be lost as may be; all processes call this together.

        Args:
            step: as of `save`.
            pack: as of `save`.
            is_worth_it: whether to save it in any case.

        Raises:
            OSError: it cannot be written; of several processes all raise it.
        """

        def look() -> None:
            if is_worth_it or time.perf_counter() - self.saved >= SECONDS:
                self.save(step, pack)

        if self.folder is not None:
            said_by_first(look)

    def save(self, step: int, pack: Callable[[], Packed]) -> None:
        """Save the run after ``step`` steps, where it has a place and has not been saved there."""
        if self.folder is None or step == (self.step or 0) or not is_first():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        at, arrays = pack()
        header = {"identity": self.identity, "at": dict(at)}
        save(self.folder, Checkpoint(step, header, arrays), previous=self.step)
        self.step, self.saved = step, time.perf_counter()
