"""What a machine would do, by its rates and the work of every strategy: a row for each case."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from experiments.shared.cost_model import PARTS, Machine, Work, fits, parts
from experiments.shared.rented import STRATEGIES, Problem


def predict(problems: Sequence[Problem], machine: Machine, largest: int) -> list[dict[str, Any]]:
    """Return a row for each problem, way of sharing, strategy and number of devices.

    Args:
        problems: of different N.
        machine: one device.
        largest: most devices, a power of two; all smaller ones are predicted too.
    """
    counts = [2**k for k in range(largest.bit_length())]
    rows = []
    for problem in problems:
        for how, strategies in STRATEGIES.items():
            for name, work_of in strategies.items():
                works = [work_of(problem, count, machine) for count in counts]
                rows += curve(works, counts, machine, {"N": problem.N, "how": how, "name": name})
    return rows


def curve(
    works: Sequence[Work], counts: Sequence[int], machine: Machine, of: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a row for each number of devices; nothing is predicted where memory is too small."""
    rows: list[dict[str, Any]] = []
    for work, count in zip(works, counts, strict=True):
        found = parts(work, machine, count)
        total, limit = sum(found.values()), max(found, key=lambda part: found[part])
        if not fits(work, machine):
            total, limit = math.nan, "memory is full"
        rows.append(of | {"devices": count, "seconds": total, "limit": limit,
                          "examples_a_second": work.examples / total} | found)  # fmt: skip
    # Of one device; where the problem does not fit one, of the fewest that hold it.
    first = next((row for row in rows if math.isfinite(row["seconds"])), rows[0])
    of_one = first["examples_a_second"] / first["devices"]
    for row in rows:
        row["efficiency"] = row["examples_a_second"] / row["devices"] / of_one
    return rows


def end_of_scaling(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first row where twice the devices brought less than 1.4 times the examples.

    Its "cause" is the largest part of its seconds but for the compute that devices divide.
    """
    for before, after in pairwise(rows):
        if after["examples_a_second"] < 1.4 * before["examples_a_second"]:
            return after | {"cause": max(PARTS[1:], key=lambda part: after[part])}
    return None
