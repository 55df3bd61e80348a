"""One run in several processes, on as many machines: the same command, given in each.

Each command starts a child that computes, because JAX may end a process whose neighbour is gone, in
the middle of anything. The first command owns the run's folder, and its child tells the others
which section is next; they compute the same numbers and throw them away. When one child ends, all
do within seconds, and their commands say which one is gone: it is missed after
`devices.HEARTBEAT_SECONDS`, or at once where it is the first, by which the others are connected.
"""

import contextlib
import importlib
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils

from experiments.shared import devices
from experiments.shared.environment import environment
from experiments.shared.failures import BAD_INPUT, NOT_WHOLE, Failure, failure_of
from experiments.shared.options import Hardware
from experiments.shared.workers import (
    Death,
    Outcome,
    Worker,
    attempt,
    attempt_by_name,
    end_with_parent,
)
from jaxsvm.optimizers.identity import differences
from jaxsvm.processes import is_first, said_by_first

LOOK_SECONDS = 1.0  # between two looks at who is there
NAMING_SECONDS = 2.0 * devices.HEARTBEAT_SECONDS  # in which it is known who is gone
# A child that ends stays so long: the others may be about to end for the same reason.
PARTING_SECONDS = 5.0
LEAVING_SECONDS = 1.0  # the first child is the last to go: without it JAX ends the others


class Joined(NamedTuple):
    """What a child says when it has found the others.

    Attributes:
        is_first: whether its command owns the folder.
        environment: that it computes in.
    """

    is_first: bool
    environment: dict[str, Any]


class Task(NamedTuple):
    """What a child has to know of a section.

    Attributes:
        module: its name.
        config: its options.
        asked: those of them that decide its numbers: equal in all processes.
        is_one_of_many: whether it is compiled as the main job's workers do.
    """

    module: str
    config: Any
    asked: Mapping[str, Any]
    is_one_of_many: bool


class Ending(NamedTuple):
    """That no more is asked for.

    Attributes:
        wrong: the exit status and the line of each thing that went wrong.
    """

    wrong: list[tuple[int, str]]


class Team(NamedTuple):
    """A command's child among the other processes' children; made by `joined`.

    Attributes:
        worker: the child.
        is_first: whether this command owns the folder and prints.
        environment: that the child computes in.
    """

    worker: Worker
    is_first: bool
    environment: dict[str, Any]

    def outcomes(self, numbers: list[int], place: Path) -> Generator[tuple[int, Outcome]]:
        """Yield what came of each section that is to be run, as `workers.outcomes` does.

        Args:
            numbers: of these among all sections.
            place: the run's folder.
        """
        for i, number in enumerate(numbers):
            self.worker.ask((number, str(place)))
            yield i, _outcome(self.worker)

    def end(self, wrong: list[Failure]) -> None:
        """Ask for no more; tell the others what went wrong, by which they end as this command."""
        self.worker.ask(Ending([(failure.status, failure.why) for failure in wrong]))

    def follow(self) -> list[Failure]:
        """Compute what the first process asks for, until no more; return what went wrong."""
        while not isinstance(outcome := _outcome(self.worker), Ending):
            if isinstance(outcome, Failure):
                return [outcome]
        return [Failure(*of_first) for of_first in outcome.wrong]


@contextlib.contextmanager
def joined(tasks: list[Task], hardware: Hardware) -> Iterator[Team | Failure]:
    """Start a child that joins the others', and end it after the block.

    Yields:
        The team; or why there is none.
    """
    worker = Worker.started(_compute, tasks, hardware)
    try:
        said = worker.answer()
        if isinstance(said, Joined):
            team = Team(worker, *said)
            try:
                yield team
            except Exception as error:  # the folder cannot be written, say
                team.end([failure_of(error)])
                worker.process.join(PARTING_SECONDS)
                raise
        else:
            yield said if isinstance(said, Failure) else _failure_of(said)
        worker.process.join(PARTING_SECONDS)
    finally:
        worker.end()


def _outcome(worker: Worker) -> Any:
    """Return what came of a section; an `Ending` where no more was asked for."""
    said = worker.answer()
    return _failure_of(said) if isinstance(said, Death) else said


def _failure_of(death: Death) -> Failure:
    """Return what the end of a child means."""
    if death.status == -signal.SIGABRT:
        # JAX says so itself, on stderr, at greater length.
        why = "the first process, number 0, by which all are connected, is gone"
    else:
        why = f"this process is gone: {death.describe()}"
    return Failure(NOT_WHOLE, _go_on(why), is_final=True)


def _go_on(why: str) -> str:
    return f"{why}; the same commands go on from what the run's folder holds"


def _compute(pipe: Connection, tasks: list[Task], hardware: Hardware) -> None:
    """Join the others, and run the sections that the first process's command asks for."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        devices.use(hardware)
    except Exception as error:
        pipe.send(failure_of(error))
        return
    is_ending = threading.Event()
    threading.Thread(target=_watch, args=(pipe, is_ending), daemon=True).start()
    pipe.send(Joined(is_first(), environment()))
    try:
        _follow(pipe, tasks)
    except Exception as error:
        time.sleep(NAMING_SECONDS)  # `_watch` knows better, and ends this process
        pipe.send(failure_of(error))
        return
    is_ending.set()
    with contextlib.suppress(Exception):  # what there is to say has been said
        multihost_utils.sync_global_devices("end")
    if is_first():
        time.sleep(LEAVING_SECONDS)
    os._exit(0)


def _follow(pipe: Connection, tasks: list[Task]) -> None:
    """Run sections until no more are asked for, or one fails."""
    while True:
        wrong, asked = said_by_first(lambda: _next_of(pipe, tasks))
        if asked is None:
            pipe.send(Ending(wrong))
            return
        number, place, options = asked
        task = tasks[number]
        if changed := differences(options, task.asked):
            what = f"process {jax.process_index()} was given other options than the first one"
            pipe.send(Failure(BAD_INPUT, f"{what}: {'; '.join(changed)}", is_final=True))
            time.sleep(PARTING_SECONDS)
            return
        if task.is_one_of_many:
            outcome = attempt_by_name(task.module, task.config, Path(place))
        else:
            outcome = attempt(importlib.import_module(task.module), task.config, Path(place))
        if isinstance(outcome, Failure):
            if not outcome.is_refusal:
                time.sleep(NAMING_SECONDS)
            # Where it failed in this process alone, the others wait for it: they end when it does.
            pipe.send(outcome._replace(is_final=True))
            time.sleep(PARTING_SECONDS)
            os._exit(outcome.status)
        pipe.send(outcome)


def _next_of(pipe: Connection, tasks: list[Task]) -> Any:
    """Return what went wrong, at the end; before it what is next: a section's number, and where."""
    asked = pipe.recv()
    if isinstance(asked, Ending):
        return asked.wrong, None
    number, place = asked
    return None, (number, place, tasks[number].asked)


def _watch(pipe: Connection, is_ending: threading.Event) -> None:
    """End this process when another one is gone, and say which."""
    everyone = jax.devices()
    while not is_ending.wait(LOOK_SECONDS):
        gone: set[int] = set()
        try:
            with multihost_utils.live_devices(everyone) as live:
                there = {device.process_index for device in live}
                gone = {device.process_index for device in everyone} - there
        except multihost_utils.ProcessFailureError as error:
            gone = {device.process_index for device in error.failed_devices}
        except Exception:  # the first process does not answer: JAX ends this one
            return
        if gone and not is_ending.is_set():
            which = " and ".join(map(str, sorted(gone)))
            total = jax.process_count()
            why = f"process {which} of {total} (0 to {total - 1}) no longer answers"
            pipe.send(Failure(NOT_WHOLE, _go_on(why), is_final=True))
            if is_first():  # without it JAX ends the others, who could not say so
                time.sleep(NAMING_SECONDS / 4)
            os._exit(NOT_WHOLE)
