"""Processes with 1, 2, 4, ... virtual CPU devices, which time their steps in turns.

All of them have compiled everything before the first is timed, and then all but one wait, so that
what else the machine does meets all of them alike.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.shared.cost_model import Work
from experiments.shared.device_times import STEPS, Size, serve
from experiments.shared.workers import Death, Worker

ONE_BLOCK = 512  # rows of which the compiled program has no loop


@contextlib.contextmanager
def crew(devices: Collection[int]) -> Iterator[dict[int, Worker]]:
    """Start a process for each number of devices, and end them all after the block."""
    workers: dict[int, Worker] = {}
    try:
        for count in devices:
            workers[count] = Worker.started(serve, count)
        yield workers
    finally:
        for worker in workers.values():
            worker.end()


def answer(workers: Mapping[int, Worker], devices: int) -> dict[str, float]:
    """Return the answer to the oldest request of the process that has so many devices.

    Raises:
        ChildProcessError: it has ended; what it said is on stderr.
    """
    found = workers[devices].answer()
    if isinstance(found, Death):
        raise ChildProcessError(f"timing on {devices} devices: {found.describe()}")
    return found


class Case(NamedTuple):
    """Something to be timed.

    Attributes:
        name: of a step.
        devices: how many.
        size: of the problem.
    """

    name: str
    devices: int
    size: Size

    @property
    def work(self) -> Work:
        """What each device does in a call."""
        return STEPS[self.name].work(self.size, self.devices)


def measure(
    cases: Sequence[Case], repeats: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the times of every case, and what the compiler counts of one device's.

    Returns:
        For each case its medians with the quartiles of the seconds; and for each step, of one block
        of rows and of the smallest case on one device, the operations and bytes of a step, by
        arithmetic and as the compiler counts them.
    """
    alone = {case.name: case for case in reversed(cases) if case.devices == 1}
    small = [
        case._replace(size=case.size._replace(N=rows))
        for case in alone.values() for rows in (ONE_BLOCK, case.size.N)
    ]  # fmt: skip
    with crew({case.devices for case in cases}) as workers:
        # All at once: each process compiles by itself.
        for case in [*small, *cases]:
            workers[case.devices].ask(("count", case.name, case.size))
        counts = [answer(workers, case.devices) for case in small]
        for case in cases:
            answer(workers, case.devices)
        times: list[list[dict[str, float]]] = [[] for _ in cases]
        for turn in tqdm(range(repeats), desc="timing", unit="round", disable=None):
            for i in np.random.default_rng(turn).permutation(len(cases)).tolist():
                name, devices, size = cases[i]
                workers[devices].ask(("time", name, size))
                times[i].append(answer(workers, devices))
    timings = [_summary(case, found) for case, found in zip(cases, times, strict=True)]
    return timings, [_counted(case, count) for case, count in zip(small, counts, strict=True)]


def _summary(case: Case, times: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return a case's medians."""
    lower, median, upper = np.percentile([one["seconds"] for one in times], [25, 50, 75]).tolist()
    return {
        "name": case.name, "devices": case.devices, "rows": case.size.N,
        "steps": STEPS[case.name].steps, "examples": case.work.examples,
        "seconds": median, "lower": lower, "upper": upper,
        "core_seconds": float(np.median([one["core_seconds"] for one in times])),
    }  # fmt: skip


def _counted(case: Case, count: dict[str, float]) -> dict[str, Any]:
    """Return a step's operations and bytes by arithmetic, beside the compiler's."""
    work, steps = case.work, STEPS[case.name].steps
    return {
        "name": case.name, "rows": case.size.N,
        "flops": work.flops / steps, "read": work.read / steps,
        "compiled_flops": count["flops"], "compiled_read": count["read"],
    }  # fmt: skip
