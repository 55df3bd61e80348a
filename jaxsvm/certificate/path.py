"""Certified solutions for many weights of the penalty, each from the one before. For the host."""

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from jaxsvm.certificate.solve import Solution, solve
from jaxsvm.core.arguments import (
    check_count,
    check_examples,
    check_path,
    check_positive,
    check_values,
    validate,
)
from jaxsvm.core.compilation import compiled
from jaxsvm.core.objective import Objective, accuracy, require
from jaxsvm.core.types import Data
from jaxsvm.files import atomic_file
from jaxsvm.optimizers.identity import differences
from jaxsvm.processes import said_by_first

SETTINGS = "path.json"  # in a path's folder: what decides where each of its solves starts


class PathPoint(NamedTuple):
    """One reg of a `regularization_path`.

    Attributes:
        reg: the penalty's weight.
        solution: the certified solution there.
        accuracy: on the held-out data, in [0, 1].
    """

    reg: float
    solution: Solution
    accuracy: float

    @property
    def gap(self) -> float:
        """The solution's gap: its objective is at most this far above the minimum."""
        return self.solution.gap

    def __repr__(self) -> str:
        return f"PathPoint(reg={self.reg:g}, accuracy={self.accuracy:.4g}, {self.solution})"


def regularization_path(
    objective: Objective,
    data: Data,
    held_out: Data,
    *,
    regs: Sequence[float],
    gap_tolerance: float = 1e-2,
    num_classes: int | None = None,
    key: Array | None = None,
    max_passes: int | None = None,
    folder: Path | str | None = None,
) -> Iterator[PathPoint]:
    """Solve for each reg, from the largest to the smallest, each from the one before.

        W(reg) ≈ argmin_W (1/N) Σ_i loss(scores, y)_i + reg · R(W)

    Args:
        objective: its reg is not used.
        data: the examples to solve on.
        held_out: the examples that ``accuracy`` is measured on: the curve to choose reg by.
        regs: the weights, each > 0, in any order.
        gap_tolerance: as in `solve`.
        num_classes: C; by default the largest label in ``data`` + 1, which ``held_out`` may exceed.
        key: as in `solve`.
        max_passes: as in `solve`, for each reg.
        folder: of this path's own; each solve has a folder there, and goes on as `solve` says. It
            is of these regs, this ``gap_tolerance`` and these ``max_passes``: with others all but
            the first solve would start elsewhere, and end with other bits.

    Returns:
        An iterator of one `PathPoint` a reg, the largest first, each as soon as it is there.

    Raises:
        ValueError: at once: regs or ``gap_tolerance`` are not finite numbers > 0, ``max_passes`` no
            integer ≥ 1, ``held_out`` no finite examples of the same columns and classes, or the
            folder is of another path. At the first point: as `solve`.
        BlockingIOError: as `solve`.
        OSError: the folder cannot be written, at once; or as `solve`.

    >>> import jax.numpy as jnp
    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> path = regularization_path(Objective(), data, data, regs=[1.0])
    >>> [(point.reg, point.accuracy) for point in path]
    [(1.0, 0.5)]
    """
    require(objective, "regularization_path", bound=True)
    if isinstance(regs, str | bytes) or np.ndim(regs) != 1 or len(regs) == 0:
        raise ValueError(f"regs = {reprlib.repr(regs)}: expected one or more numbers > 0")
    for i, reg in enumerate(regs):
        check_positive(f"regs[{i}]", reg)
    check_values("regularization_path", data, held_out)
    check_examples(data)
    check_positive("gap_tolerance", gap_tolerance)
    if max_passes is not None:
        max_passes = check_count("max_passes", max_passes)
    # The last thing that a point takes: to be refused before hours of solving.
    check_held_out(held_out, data, num_classes)
    options = {
        "gap_tolerance": gap_tolerance,
        "num_classes": num_classes,
        "key": key,
        "max_passes": max_passes,
    }
    in_order = sorted(map(float, regs), reverse=True)
    if folder is not None:
        check_path("folder", folder)
        folder = Path(folder)
        limits = {"gap_tolerance": float(gap_tolerance), "max_passes": max_passes}
        said_by_first(partial(check_folder, folder, {"regs": in_order, **limits}))
    return _points(objective, data, held_out, in_order, options, folder)


def check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Write a path's settings to its folder, which is made if need be, or compare them.

    Raises:
        ValueError: it is of a path with others; or what is there is damaged.
        OSError: it cannot be written.
    """
    file = folder / SETTINGS
    try:
        changed = differences(dict(json.loads(file.read_bytes())), settings)
    except FileNotFoundError:
        if any(folder.glob("[0-9][0-9][0-9]")):
            raise ValueError(
                f"{folder} holds solves and no {SETTINGS}, which says of which path they are: "
                "choose another folder"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as new:
            new.write(json.dumps(settings).encode())
        return
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}): choose another folder") from error
    if changed:
        raise ValueError(
            f"{folder} holds another path: {'; '.join(changed)}. Each solve starts from the one "
            "before, so what is there cannot go on: ask for the same path, or choose another folder"
        )


def check_held_out(held_out: Data, data: Data, num_classes: int | None) -> None:
    """Raise ValueError unless W of the data classifies ``held_out``."""
    C = max(2, int(np.max(data.y)) + 1)
    if num_classes is not None:
        C = check_count("num_classes", num_classes, least=2)
    try:
        validate(held_out, C)
    except ValueError as error:
        raise ValueError(f"held_out: {error}") from error
    if held_out.X.shape[1] != data.X.shape[1]:
        raise ValueError(
            f"held_out.X has shape {held_out.X.shape}: expected {data.X.shape[1]} columns, as the "
            "data to solve on"
        )


def _points(
    objective: Objective,
    data: Data,
    held_out: Data,
    regs: Sequence[float],
    options: Mapping[str, Any],
    folder: Path | None,
) -> Iterator[PathPoint]:
    """Yield the solutions, each from the one before."""
    solution: Solution | None = None
    for i, reg in enumerate(regs):
        place = folder and folder / f"{i:03d}"
        at_reg = replace(objective, reg=reg)
        solution = solve(at_reg, data, start=solution, folder=place, **options)
        yield PathPoint(reg, solution, float(_accuracy(solution.W, held_out)))


_accuracy = compiled(accuracy)
