"""Processes with 1, 2, 4, ... virtual CPU devices, which time their steps in turns.

All of them have compiled everything before the first is timed, and then all but one wait, so that
what else the machine does meets all of them alike.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.shared.device_times import STEPS, Size

ONE_BLOCK = 512  # rows of which the compiled program has no loop


class Member(NamedTuple):
    """A process of a crew, and how many devices it has."""

    process: subprocess.Popen[str]
    devices: int

    def ask(self, do: str, name: str, size: Size) -> None:
        """Send a request; the answers come in the order of the requests."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died, which is seen in its answer
            print(
                json.dumps({"do": do, "name": name, "size": size}),
                file=self.process.stdin,
                flush=True,
            )

    def answer(self) -> dict[str, float]:
        """Return the answer to the oldest request.

        Raises:
            ChildProcessError: the process has ended; what it said is on stderr.
        """
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return json.loads(line)
        raise ChildProcessError(
            f"the process that times {self.devices} devices ended with status "
            f"{self.process.wait()}, killed for memory perhaps (below 0 it is a signal's number)"
        )


@contextlib.contextmanager
def crew(devices: Sequence[int]) -> Iterator[list[Member]]:
    """Start a process for each number of devices, and end them all at the end."""
    members = []
    try:
        for count in devices:
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments.shared.device_times", str(count)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                start_new_session=True,  # Ctrl-C is for the parent alone
            )  # fmt: skip
            members.append(Member(process, count))
        yield members
    finally:
        for member in members:
            member.process.kill()
            member.process.communicate()


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
    with crew(sorted({case.devices for case in cases})) as members:
        of = {member.devices: member for member in members}
        # All at once: each process compiles by itself.
        for case in [*small, *cases]:
            of[case.devices].ask("count", case.name, case.size)
        counts = [of[case.devices].answer() for case in small]
        for case in cases:
            of[case.devices].answer()
        times: list[list[dict[str, float]]] = [[] for _ in cases]
        for turn in tqdm(range(repeats), desc="timing", unit="round", disable=None):
            for i in np.random.default_rng(turn).permutation(len(cases)).tolist():
                of[cases[i].devices].ask("time", cases[i].name, cases[i].size)
                times[i].append(of[cases[i].devices].answer())
    timings = [_summary(case, found) for case, found in zip(cases, times, strict=True)]
    return timings, [_counted(case, count) for case, count in zip(small, counts, strict=True)]


def _summary(case: Case, times: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return a case's medians."""
    lower, median, upper = np.percentile([one["seconds"] for one in times], [25, 50, 75]).tolist()
    step = STEPS[case.name]
    return {
        "name": case.name, "devices": case.devices, "rows": case.size.N, "steps": step.steps,
        "examples": step.work(case.size, case.devices).examples,
        "seconds": median, "lower": lower, "upper": upper,
        "core_seconds": float(np.median([one["core_seconds"] for one in times])),
    }  # fmt: skip


def _counted(case: Case, count: dict[str, float]) -> dict[str, Any]:
    """Return a step's operations and bytes by arithmetic, beside the compiler's."""
    step = STEPS[case.name]
    work = step.work(case.size, 1)
    return {
        "name": case.name, "rows": case.size.N,
        "flops": work.flops / step.steps, "read": work.read / step.steps,
        "compiled_flops": count["flops"], "compiled_read": count["read"],
    }  # fmt: skip
