"""What several sections of a run need is measured once.

The section that is first to need it leaves what it measured in the run's folder, and the others
take it from there, in whichever process they run. Two that need it at the same time wait for each
other. Outside of a run's folder, and where several processes compute together, each call measures.

    <run>/unfinished/<digest>.npz     what was measured, until every section is finished
    <run>/unfinished/<digest>/        the runs of what is being measured (`kept_runs`)
"""

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock

from experiments.shared.kept_runs import kept_in
from experiments.shared.results import read_result, write_result

_folder: ContextVar[Path | None] = ContextVar("_folder", default=None)


@contextlib.contextmanager
def shared_in(folder: Path) -> Iterator[None]:
    """Keep what is measured by `once` in a folder while the block runs, and look for it there."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def once(identity: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """Return what was measured, by this call or by an earlier one of the same run.

    Args:
        identity: what JSON can say of the measurement; an equal one has an equal result.
        measure: returns what a section may return (`results`).

    Returns:
        The result; of a run, as it was read back.
    """
    folder = _folder.get()
    if folder is None:
        return measure()
    # Sections that are compiled in another way round otherwise.
    known = {**identity, "cheap": jax.config.read("jax_disable_most_optimizations")}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    path, runs = folder / f"{digest}.npz", folder / digest
    if jax.process_count() > 1:
        with kept_in(runs):
            return measure()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")), kept_in(runs):
        try:
            return read_result(path)[0]
        except FileNotFoundError:
            pass
        except ValueError as error:
            print(f"{' '.join(str(error).split())}; it is measured again", file=sys.stderr)
        write_result(path, measure(), known)
        shutil.rmtree(runs, ignore_errors=True)
        return read_result(path)[0]
