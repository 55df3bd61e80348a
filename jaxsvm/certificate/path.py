"""Certified solutions for many weights of the penalty, each from the one before. For the host."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from jax import Array

from jaxsvm.certificate.solve import Solution, solve
from jaxsvm.core.objective import Objective, accuracy
from jaxsvm.core.types import Data


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
) -> Iterator[PathPoint]:
    """Solve for each reg, from the largest to the smallest, each from the one before.

    Args:
        objective: its reg is not used.
        data: the examples to solve on.
        held_out: the examples that ``accuracy`` is measured on: the curve to choose reg by.
        regs: the weights, each > 0, in any order.
        gap_tolerance: as in `solve`.
        num_classes: C; by default the largest label in ``data`` + 1, which ``held_out`` may exceed.
        key: as in `solve`.
        max_passes: as in `solve`, for each reg.

    Yields:
        One `PathPoint` a reg, the largest first, as soon as it is there.

    Raises:
        ValueError: as `solve`.

    >>> import jax.numpy as jnp
    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> path = regularization_path(Objective(), data, data, regs=[1.0])
    >>> [(point.reg, point.accuracy) for point in path]
    [(1.0, 0.5)]
    """
    solution: Solution | None = None
    for reg in sorted(regs, reverse=True):
        solution = solve(
            replace(objective, reg=reg),
            data,
            gap_tolerance=gap_tolerance,
            num_classes=num_classes,
            key=key,
            start=solution,
            max_passes=max_passes,
        )
        yield PathPoint(reg, solution, float(accuracy(solution.W, held_out)))
