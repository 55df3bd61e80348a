"""The folder of a run: who owns it, what it was asked for, and what it has already found.

    runs/<name>/options.json          what the run was asked for, written first
    runs/<name>/<section>/arrays.npz  what a finished section measured (`results`, beside this)

The same command, given again with the same ``--name``, goes on where an earlier one ended, whatever
ended it: sections whose results are kept are not run again. Another command is refused.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from experiments.shared.kept_runs import UNFINISHED
from experiments.shared.options import Config, Hardware
from experiments.shared.record import plain, write_json
from experiments.shared.results import read_result, write_result
from jaxsvm.checkpoint import LOCK, OWNER, owned
from jaxsvm.optimizers.identity import differences

OPTIONS, ARRAYS = "options.json", "arrays.npz"
# Options that change no number: where the run is, and how it is run.
HOW_NOT_WHAT = ("out", "name", "again", *Hardware._fields)
# What a kill leaves of a file of ours that was being written (`jaxsvm.files.atomic_file`).
LEFTOVER = re.compile(r"\..+\.(json|jsonl|md|html|txt|png|svg|gif|npy|npz)\.[a-z0-9_]{8}")
LONGEST_NAME = 64


class Kept(NamedTuple):
    """What a finished section measured, as it is in its file.

    Attributes:
        result: that the section returned.
        seconds: that it took, with compilation.
        environment: that it was measured in.
    """

    result: dict[str, Any]
    seconds: float
    environment: dict[str, Any]


def dated_name(title: str, config: Config) -> str:
    """Return the name of a folder of its own: the title, the dataset and the time."""
    date = f"-{datetime.now():%Y%m%d-%H%M%S-%f}"
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", f"{title}-{config.data_name}")
    return stem[: LONGEST_NAME - len(date)].lstrip(".") + date


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Own a folder while the block runs; where nothing was kept in it, leave nothing.

    Raises:
        BlockingIOError: another process owns it; the message says which.
        OSError: it cannot be made or written; or it is a link, behind which is somebody else's.
    """
    if folder.is_symlink():
        raise FileExistsError(
            f"{folder} is a link to {os.readlink(folder)}: choose another --name (--out may be one)"
        )
    with owned(folder):
        for path in [*folder.glob(".*"), *folder.glob("*/.*")]:
            if LEFTOVER.fullmatch(path.name) and path.is_file():
                path.unlink()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # not empty, as a rule
                if set(os.listdir(folder)) <= {LOCK, OWNER, OPTIONS}:
                    (folder / OPTIONS).unlink(missing_ok=True)
                for name in (OWNER, LOCK):
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()


def asked_for(title: str, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is asked for, as JSON has it.

    Args:
        title: of the report.
        sections: each section's options by its name.
    """
    asked: dict[str, Any] = {"title": title, "sections": {}, "data": {}}
    for name, config in sections.items():
        fields = {k: v for k, v in dataclasses.asdict(config).items() if k not in HOW_NOT_WHAT}
        asked["sections"][name] = plain(fields)
        for file in (config.X, config.y, config.X_test, config.y_test):
            if file is not None and str(file) not in asked["data"] and Path(file).exists():
                asked["data"][str(file)] = digest(Path(file))
    return asked


def digest(path: Path) -> str:
    """Return the digest of a file, or of the names and sizes in a folder."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = sorted((str(p.relative_to(path)), p.stat().st_size) for p in path.rglob("*"))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def begin(folder: Path, asked: dict[str, Any], *, again: bool) -> None:
    """Write down what a run is asked for, or check that it is what the folder is of.

    Args:
        folder: `claimed`.
        asked: `asked_for`.
        again: whether what is kept counts no longer, so that all is computed anew.

    Raises:
        ValueError: the folder is of a run with other options; the message has the difference.
        FileExistsError: it holds something else.
    """
    try:
        found = changes(dict(json.loads((folder / OPTIONS).read_text())), asked)
    except FileNotFoundError:
        if others := sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")):
            raise FileExistsError(
                f"{folder} already holds {others[0]}, and no run to go on with: choose another "
                "--name"
            ) from None
    except (ValueError, TypeError) as error:
        raise FileExistsError(
            f"{folder / OPTIONS} is damaged ({error}): choose another --name, or remove the folder"
        ) from error
    else:
        if again:
            for path in folder.glob(f"*/{ARRAYS}"):
                path.unlink()
            for path in [folder / UNFINISHED, *folder.glob(f"*/{UNFINISHED}")]:
                shutil.rmtree(path, ignore_errors=True)
        elif found:
            raise ValueError(
                f"{folder} is of a run with other options ({'; '.join(found)}): choose another "
                "--name, or add --again to compute all of it anew"
            )
        else:
            return
    write_json(folder / OPTIONS, asked)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return which options differ, in words; once where sections share one."""
    a, b = ({"sections": {}, "data": {}, **part} for part in (then, now))
    pairs: list[Any] = [
        [{"title": part.get("title"), "sections": list(part["sections"])} for part in (a, b)],
        [a["data"], b["data"]],
    ]
    both = [name for name in b["sections"] if name in a["sections"]]
    pairs += [(a["sections"][name], b["sections"][name]) for name in both]
    found = [text for before, after in pairs for text in differences(before, after)]
    return list(dict.fromkeys(found))


def keep(
    folder: Path, name: str, result: Any, seconds: float, environment: Mapping[str, Any]
) -> Kept:
    """Write what a section measured, and return it as it was read back; its runs are forgotten.

    Raises:
        TypeError: the result holds something else than arrays, numbers and text.
        OSError: it cannot be written; nothing is left of it.
    """
    path = folder / name / ARRAYS
    path.parent.mkdir(exist_ok=True)
    about = {"section": name, "seconds": seconds, "environment": plain(environment)}
    write_result(path, result, about)
    return _read(path, name)


def kept(folder: Path, name: str) -> Kept | None:
    """Return what a section measured in an earlier run; None where it is to be run."""
    path = folder / name / ARRAYS
    try:
        return _read(path, name)
    except FileNotFoundError:
        return None
    except ValueError as error:
        print(f"{' '.join(str(error).split())}; {name} is run again", file=sys.stderr)
        return None


def count_kept(folder: Path) -> int:
    """Return of how many sections something is kept."""
    return len(list(folder.glob(f"*/{ARRAYS}")))


def _read(path: Path, name: str) -> Kept:
    """Return what a section's file holds; the runs that it was made of are needed no longer.

    Raises:
        ValueError: the file is damaged, or another section's.
        OSError: there is none, or it cannot be read.
    """
    result, about = read_result(path)
    if about.get("section") != name:
        raise ValueError(f"{path} is of the section {about.get('section')}: expected {name}")
    shutil.rmtree(path.parent / UNFINISHED, ignore_errors=True)
    return Kept(result, about["seconds"], about["environment"])
