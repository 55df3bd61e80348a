"""Where a solve saves itself, and what it finds there: its moments, in a folder of its own.

Of several processes only the first looks there and writes (`jaxsvm.processes`).

What is saved is a checkpoint (`jaxsvm.checkpoint`): a moment of the iterates (`iterate`), and the
marks by which the solve is followed. It also says what the solve is: a folder continues no other.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax import Array

from jaxsvm.certificate.iterate import Ascent, Descent, Moment
from jaxsvm.checkpoint import Checkpoint, UnusableError, newest, owned, save
from jaxsvm.core.objective import Objective
from jaxsvm.core.trees import digests, restored, stored
from jaxsvm.core.types import Data
from jaxsvm.optimizers.identity import (
    check_computation,
    computation,
    differences,
    environment,
    warn_elsewhere,
    words_of,
)
from jaxsvm.processes import Packed, is_first, of_first, said_by_first

SECONDS = 10.0  # of work that a kill may cost
WORTH_SECONDS = 1.0  # of a solve that has ended: a shorter one is not saved
MOMENTS: dict[str, type[Moment]] = {"Ascent": Ascent, "Descent": Descent}


class Marks(NamedTuple):
    """What a solve knows of its way; to look at a moment twice changes nothing.

    Attributes:
        halved: passes when the gap last halved.
        target: half the gap of then.
        in_float64: whether the steps have gone on in float64, of float32 data.
        after: passes before they did.
    """

    halved: int = 0
    target: float = np.inf
    in_float64: bool = False
    after: int = 0


# A row of `History`: passes, seconds, primal and dual.
Row: TypeAlias = tuple[float, float, float, float]
Found: TypeAlias = tuple[Moment, Marks, list[Row]]


class Kept:
    """The place of one solve's moments, made by `kept_in`; without a folder nothing is saved.

    Args:
        folder: of the solve's own, or None.
        header: returns what every checkpoint says. Digests take time, and are taken when needed.

    Attributes:
        found: what an earlier process left there; None where there is nothing.
    """

    def __init__(self, folder: Path | None, header: Callable[[], dict[str, Any]] = dict) -> None:
        self.folder, self.header, self.step = folder, header, 0
        self.found: Found | None = None
        self.began = self.saved = time.perf_counter()

    def save_if_due(self, at: Moment, marks: Marks, rows: list[Row], *, has_ended: bool) -> None:
        """Save a moment where as much would be lost as may be; all processes call this together.

        Raises:
            OSError: it cannot be written; of several processes all raise it.
        """

        def look() -> None:
            now = time.perf_counter()
            worth = now - self.began >= WORTH_SECONDS
            if now - self.saved >= SECONDS or (has_ended and (worth or self.step > 0)):
                self.save(at, marks, rows)

        if self.folder is not None:
            said_by_first(look)

    def save(self, at: Moment, marks: Marks, rows: list[Row]) -> None:
        """Save a moment, with the marks, and the rows of the history from before it."""
        step = len(rows) + 1
        if self.folder is None or step == self.step or not is_first():
            return
        numbers = [getattr(at, name) for name in _numbers(type(at))]
        parts = {name: getattr(at, name) for name in at._fields if name not in _numbers(type(at))}
        arrays = {
            **{f"moment {name}": array for name, array in stored(parts).items()},
            "numbers": np.array(numbers, np.float64),
            "marks": np.array(marks, np.float64),
            "rows": np.array(rows, np.float64).reshape(-1, 4),
        }
        checkpoint = Checkpoint(step, {**self.header(), "moment": type(at).__name__}, arrays)
        save(self.folder, checkpoint, previous=self.step or None)
        self.saved, self.step = time.perf_counter(), step


@contextlib.contextmanager
def kept_in(
    folder: Path | None,
    key: Array,
    objective: Objective,
    data: Data,
    start: Any,
    *,
    num_classes: int,
    num_features: int,
) -> Iterator[Kept]:
    """Own a folder while the block runs.

    Args:
        folder: made if need be; None to save nothing.
        key: of the solve.
        objective: of the solve.
        data: of the solve.
        start: a pytree of what it starts from.
        num_classes: C.
        num_features: D of the iterates, which may be fewer than the data's.

    Raises:
        ValueError: it holds another solve, or nothing that can be used.
        BlockingIOError: another process runs there.
        OSError: it cannot be written.

    Warns:
        UserWarning: a damaged checkpoint was passed over, or the last bits may differ.
    """
    if folder is None:
        yield Kept(None)
        return
    sizes = len(data.y), num_classes, num_features

    @functools.cache
    def header() -> dict[str, Any]:
        return _header(key, objective, data, start, num_classes)

    def use(checkpoint: Checkpoint) -> Checkpoint:
        if changed := differences(checkpoint.header.get("run", {}), header()["run"]):
            raise ValueError(
                f"{folder} holds another solve: {'; '.join(changed)}. Call solve with what the "
                "folder's solve has, or choose another folder"
            )
        unpack(checkpoint)
        return checkpoint

    def unpack(checkpoint: Checkpoint) -> Found:
        return _unpacked(checkpoint, key, *sizes, data.X.dtype)

    with contextlib.ExitStack() as until_end:

        def look() -> Packed:
            until_end.enter_context(owned(folder))
            past = newest(folder, use)
            return ([past.step, past.header], past.arrays) if past else (None, {})

        if jax.process_count() > 1:
            header()  # all processes take part in it, which one of them may be the first to need
        past, arrays = of_first(look)
        kept = Kept(folder, header)
        if past:
            step, said = past
            checkpoint = Checkpoint(step, said, arrays)
            kept.found, kept.step = unpack(checkpoint), checkpoint.step
            joined = _joined(folder, checkpoint.header["environments"], header())
            kept.header = lambda: joined
        yield kept


def _header(
    key: Array, objective: Objective, data: Data, start: Any, num_classes: int
) -> dict[str, Any]:
    """Return what must not change, and the environment, which may, with a warning."""
    W = jax.ShapeDtypeStruct((num_classes, data.X.shape[1]), data.X.dtype)
    run = {
        "key": {"words": words_of(key)},
        "objective": {"reg": float(objective.reg), "delta": float(objective.delta)},
        "num_classes": num_classes,
        "start": digests(start),
        "data": digests(data),
    }
    return {"run": run, "environments": [environment(computation(objective, W, data))]}


def _joined(
    folder: Path, environments: list[dict[str, Any]], header: dict[str, Any]
) -> dict[str, Any]:
    """Return a header with all environments that took part.

    Raises:
        ValueError: in an equal environment the loss was another.
    """
    (now,) = header["environments"]
    check_computation(folder, environments, now, "loss")
    if now in environments:
        return {**header, "environments": environments}
    warn_elsewhere(folder, environments[0], now)
    return {**header, "environments": [*environments, now]}


def _numbers(kind: type[Moment]) -> list[str]:
    """Return the names of what is a number, not an array, in a moment."""
    return [name for name, type_ in kind.__annotations__.items() if type_ in (int, float, bool)]


def _unpacked(checkpoint: Checkpoint, key: Array, N: int, C: int, D: int, dtype: Any) -> Found:
    """Return the moment, the marks and the rows that were saved.

    Raises:
        UnusableError: the arrays are not of this solve.
    """
    arrays = checkpoint.arrays
    try:
        kind = MOMENTS[checkpoint.header["moment"]]
        halved, target, in_float64, after = arrays["marks"].tolist()
        marks = Marks(int(halved), target, bool(in_float64), int(after))
        parts = {name: arrays[name] for name in arrays if name.startswith("moment ")}
        parts = {name.removeprefix("moment "): array for name, array in parts.items()}
        with jax.enable_x64(True) if marks.in_float64 else contextlib.nullcontext():
            form = kind.arrays(key, N, C, D, np.dtype(np.float64) if marks.in_float64 else dtype)
            found = restored(form, parts)
        names = _numbers(kind)
        numbers = {
            name: kind.__annotations__[name](value)
            for name, value in zip(names, arrays["numbers"], strict=True)
        }
        rows = [tuple(row) for row in arrays["rows"].tolist()]
    except (KeyError, ValueError) as error:
        raise UnusableError(f"step {checkpoint.step} does not fit the solve: {error!r}") from error
    return kind(**found, **numbers), marks, rows
