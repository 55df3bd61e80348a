"""What a run leaves in its folder, and what can be gone on from (`resumable`).

At the end of each chunk, first its info is written to a file of its own, then a checkpoint of the
state (`jaxsvm.checkpoint`). So a checkpoint has all the info before it, and no info is written
twice.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxsvm.checkpoint import Checkpoint, UnusableError, save
from jaxsvm.core.trees import check_stored
from jaxsvm.files import read_sealed, write_sealed
from jaxsvm.optimizers.identity import check_computation, differences, warn_elsewhere

KIND, FORMAT = "jaxsvm info", 1
INFO = re.compile(r"info-(\d+)-(\d+)\.npz")


class Past(NamedTuple):
    """What a checkpoint says of its run; written as JSON.

    Attributes:
        run: what must not change: `identity`.
        environments: each that took part, in the order in which they came.
        ends: after how many steps each chunk ended.
    """

    run: dict[str, dict[str, Any]]
    environments: list[dict[str, Any]]
    ends: list[int]

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return self.ends[-1] if self.ends else 0


# The past, and arrays by name: "state ..." those of the state, "info ..." those of all steps' info.
Found: TypeAlias = tuple[Past, dict[str, np.ndarray]]


def part_of(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of one kind by the names that `stored` gave them."""
    of_kind = {name: array for name, array in arrays.items() if name.startswith(f"{kind} ")}
    return {name.removeprefix(f"{kind} "): array for name, array in of_kind.items()}


def use(folder: Path, here: Past, forms: tuple[Any, Any], checkpoint: Checkpoint) -> Found:
    """Return the past, the state and the info, or raise: it cannot be gone on from.

    Raises:
        ValueError: the run is another.
        UnusableError: the arrays are not what the run has, or some info is missing or damaged.
    """
    name = f"the checkpoint of step {checkpoint.step} in {folder}"
    if checkpoint.header.keys() != set(Past._fields):
        raise UnusableError(f"{name} says {list(checkpoint.header)}: expected {Past._fields}")
    past = Past(**checkpoint.header)
    if changed := differences(past.run, here.run):
        raise ValueError(
            f"{folder} holds another run: {'; '.join(changed)}. Call again with what the "
            "folder's run has, or choose another folder"
        )
    try:
        check_stored(forms[0], checkpoint.arrays)
    except ValueError as error:
        raise UnusableError(f"{name} does not fit the run: {error}") from error
    starts = [0, *past.ends[:-1]]
    infos = [
        _read_info(folder, past, start, stop, forms[1])
        for start, stop in zip(starts, past.ends, strict=True)
    ]
    whole = {f"info {name}": np.concatenate([i[name] for i in infos]) for name in infos[0]}
    return past, {f"state {name}": array for name, array in checkpoint.arrays.items()} | whole


def join(folder: Path, past: Past, here: Past, num_steps: int) -> Past:
    """Return the folder's past with this process's environment, and delete info of no use.

    Raises:
        ValueError: there is no going on from there.
    """
    of_past = {_info_name(a, b) for a, b in pairwise([0, *past.ends])}
    others = [path for path in folder.iterdir() if INFO.fullmatch(path.name)]
    others = [path for path in others if path.name not in of_past]
    if not past.ends and (late := [path for path in others if path.name >= _info_name(1, 0)]):
        # The info of a second chunk is written after the first one's checkpoint.
        raise ValueError(
            f"{folder} has lost its checkpoints: it holds {late[0].name} and no checkpoint; put a "
            "copy there, or delete the folder to begin again"
        )
    if num_steps < past.step:
        raise ValueError(
            f"num_steps = {num_steps}, and the run in {folder} has taken {past.step} steps: "
            f"expected num_steps >= {past.step}, or another folder"
        )
    (now,) = here.environments
    check_computation(folder, past.environments, now, "optimizer")
    for path in others:
        path.unlink()
    if now in past.environments:
        return past
    if past.step < num_steps:
        warn_elsewhere(folder, past.environments[0], now)
    return past._replace(environments=[*past.environments, now])


def write(
    folder: Path,
    past: Past,
    longer: Past,
    info: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
) -> None:
    """Write a chunk's info and then the checkpoint at its end, which holds the longer past."""
    start, stop = past.step, longer.step
    write_sealed(folder / _info_name(start, stop), _info_header(past, start, stop), info)
    save(folder, Checkpoint(stop, longer._asdict(), state), previous=start if past.ends else None)


def _read_info(folder: Path, past: Past, start: int, stop: int, form: Any) -> dict[str, np.ndarray]:
    """Return a chunk's info.

    Raises:
        UnusableError: it is damaged, another chunk's or another run's.
        OSError: it is not there.
    """
    path = folder / _info_name(start, stop)
    try:
        header, arrays = read_sealed(path)
        if header != _info_header(past, start, stop):
            raise ValueError(f"{path} is not of these steps of this run")
        check_stored(of_steps(form, stop - start), arrays)
    except ValueError as error:
        raise UnusableError(f"{path} cannot be used: {error}") from error
    return arrays


def of_steps(form: Any, count: int) -> Any:
    """Return the form of the info of so many steps."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), form
    )


def _info_name(start: int, stop: int) -> str:
    return f"info-{start:012d}-{stop:012d}.npz"


def _info_header(past: Past, start: int, stop: int) -> dict[str, Any]:
    run = hashlib.sha256(json.dumps(past.run, sort_keys=True).encode()).hexdigest()
    return {"kind": KIND, "format": FORMAT, "run": run, "start": start, "stop": stop}
