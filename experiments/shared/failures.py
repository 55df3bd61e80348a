"""What a command says when something goes wrong, and its exit status.

    0    done                         1    a mistake in this code: a traceback
    2    bad input                    3    not whole: a worker or another process of the run is
    4    data missing or damaged           gone, or what was asked for diverges from every seed
    5    cannot write
    130  Ctrl-C                       143  SIGTERM

Bad input is what our own checks refuse, and nothing else: a ``ValueError`` from a ``raise`` in
`jaxsvm` or here. One that NumPy or JAX raises for what we asked of it is a mistake of ours.
"""

import contextlib
import os
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import jaxsvm
from experiments.shared.devices import TooFewExamplesError
from jaxsvm import DatasetError
from jaxsvm.datasets.examples import UnknownDatasetError

MISTAKE, BAD_INPUT, NOT_WHOLE, BAD_DATA, CANNOT_WRITE = 1, 2, 3, 4, 5
# Of several failures the first of these is the command's exit status.
WORST_FIRST = (MISTAKE, NOT_WHOLE, CANNOT_WRITE, BAD_DATA, BAD_INPUT)

OUR_FOLDERS = (Path(jaxsvm.__file__).resolve().parent, Path(__file__).resolve().parents[1])


class Failure(NamedTuple):
    """Why a section has no result.

    Attributes:
        status: the exit status that it stands for.
        why: one line.
        traceback: what a programmer needs; empty where nobody does.
        is_final: whether every other section would fail alike: there are no data, or too few.
    """

    status: int
    why: str
    traceback: str = ""
    is_final: bool = False

    @property
    def is_refusal(self) -> bool:
        """Whether our own checks refused what was given."""
        return self.status in (BAD_INPUT, BAD_DATA)


def failure_of(error: Exception) -> Failure:
    """Return what an exception means."""
    why, text = one_line(str(error)), "".join(traceback.format_exception(error))
    if isinstance(error, DatasetError):
        unknown = isinstance(error, UnknownDatasetError)
        return Failure(BAD_INPUT if unknown else BAD_DATA, why, is_final=True)
    if isinstance(error, ValueError) and is_ours(error):
        return Failure(BAD_INPUT, why, is_final=isinstance(error, TooFewExamplesError))
    if isinstance(error, ChildProcessError):
        return Failure(NOT_WHOLE, why)
    if isinstance(error, OSError):
        return Failure(CANNOT_WRITE, why, text)
    return Failure(MISTAKE, f"{type(error).__name__}: {why}", text)


def is_ours(error: Exception) -> bool:
    """Return whether an exception comes from a ``raise`` of ours, not from a call of ours."""
    if not (frames := traceback.extract_tb(error.__traceback__)):
        return False
    last = frames[-1]
    within = any(Path(last.filename).resolve().is_relative_to(folder) for folder in OUR_FOLDERS)
    return within and (last.line or "").startswith("raise")


def worst(failures: list[Failure]) -> int:
    """Return the exit status of a command with these failures."""
    return min((failure.status for failure in failures), key=WORST_FIRST.index, default=0)


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def fail(status: int, message: str) -> int:
    """Print one line on stderr and return the status."""
    with contextlib.suppress(OSError):  # stderr may be what cannot be written
        print(f"error: {one_line(message)}", file=sys.stderr)
    return status


def say(text: str, end: str = "\n") -> int:
    """Print on stdout and return 0; 5, and one line on stderr, where it cannot be written."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        # What is left in the buffer would be tried again at the end, and fail with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail(CANNOT_WRITE, f"standard output cannot be written: {error.strerror}")
    return 0
