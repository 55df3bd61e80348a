"""Sections run here or in processes of their own, whose end is always noticed.

A worker is a process that takes one section after the other, so that what one has loaded and
compiled serves the next. It ends with its parent, however that ends: the system closes the pipe
between them. Where a worker ends first, killed for memory say, the section that it had is named,
and another worker takes the next.

A section that measures seconds runs alone. What of it is not timed, compiling above all, it may do
before, beside the others: `prepare` of its module does that and returns the call that measures.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tqdm import tqdm

from experiments.shared import devices, signals
from experiments.shared.compilation import CHEAP, compile_cheaply
from experiments.shared.failures import NOT_WHOLE, Failure, failure_of
from experiments.shared.garbage import collect_rarely
from experiments.shared.kept_runs import UNFINISHED, kept_in
from experiments.shared.once import shared_in
from experiments.shared.settings import load, suiting
from experiments.shared.timing import timed

# The lock that tqdm makes by itself is one between processes, and outlives one that is killed.
tqdm.set_lock(threading.RLock())

# Each a section's module and its options.
Sections: TypeAlias = Sequence[tuple[Any, Any]]


class Found(NamedTuple):
    """What a section measured, and the seconds that it took, with compilation."""

    result: dict[str, Any]
    seconds: float


Outcome: TypeAlias = Found | Failure


def section_name(module: Any) -> str:
    """Return a section's name: that of its file."""
    return Path(module.__file__).stem


class Prepared(NamedTuple):
    """The call that is left of a section, and the seconds that were spent on it before."""

    call: Callable[[], dict[str, Any]]
    seconds: float


def attempt(module: Any, config: Any, place: Path, prepared: Prepared | None = None) -> Outcome:
    """Run a section in this process; what its optimizers do is kept on the way, in its folder."""
    call, before = prepared or Prepared(partial(module.run, config), 0.0)
    try:
        with shared_in(place / UNFINISHED), kept_in(place / section_name(module) / UNFINISHED):
            result, seconds = timed(call)
            return Found(result, before + seconds)
    except Exception as error:  # whatever it is: the other sections are still to run
        return failure_of(error)


class Task(NamedTuple):
    """What a worker is asked to do: a section, by its number, or what can be done of it before."""

    number: int
    is_alone: bool = False
    is_preparing: bool = False


def outcomes(
    sections: Sections, workers: int | None, place: Path
) -> Generator[tuple[int, Outcome]]:
    """Yield each section's number and what came of it, as soon as it is there.

    Args:
        sections: what to run; a worker gets each module by its name.
        workers: how many run at a time, each in a process of its own; None runs them one after the
            other in this process. Those that measure seconds come last, and alone: not even the
            caller, which may draw what has ended, works beside them.
        place: the run's folder.
    """
    if workers is None:
        for i, (module, config) in enumerate(sections):
            yield i, attempt(module, config, place)
        return
    waiting = deque(_in_order(sections))
    idle: list[Worker] = []
    busy: dict[Connection, tuple[Worker, Task]] = {}
    prepared: dict[int, Worker] = {}

    def hand_out(*, caller_is_busy: bool) -> None:
        """Give workers what may run now; what measures seconds, only while nothing else does."""
        while waiting and len(busy) < (1 if waiting[0].is_alone else workers):
            if caller_is_busy and waiting[0].is_alone:
                return
            task = waiting.popleft()
            worker = prepared.get(task.number)
            if worker in idle:
                idle.remove(worker)
            else:
                worker = idle.pop() if idle else Worker.started()
            busy[worker.pipe] = worker, task
            module, config = sections[task.number]
            worker.ask((task.is_preparing, module.__name__, config, place))

    try:
        while waiting or busy:
            hand_out(caller_is_busy=False)
            ended = []
            for pipe in wait(list(busy)):
                worker, task = busy.pop(pipe)  # type: ignore[call-overload]
                if isinstance(outcome := worker.answer(), Death):
                    outcome = Failure(NOT_WHOLE, outcome.describe())
                else:
                    idle.append(worker)
                if not task.is_preparing:
                    ended.append((task.number, outcome))
                elif worker in idle:
                    prepared[task.number] = worker
            # While the caller draws and writes what came of these, the workers go on.
            hand_out(caller_is_busy=True)
            yield from ended
    finally:
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.end()


def _in_order(sections: Sections) -> list[Task]:
    """Return all there is to do: what measures seconds last, and just before what prepares it."""
    numbers = range(len(sections))
    alone = [i for i in numbers if sections[i][1].measures_seconds]
    # Those that are compiled alike one after the other: a worker forgets its programs in between.
    others = sorted(
        set(numbers) - set(alone), key=lambda i: (not sections[i][1].is_mostly_compilation, i)
    )
    return [
        *(Task(i) for i in others),
        *(Task(i, is_preparing=True) for i in alone if hasattr(sections[i][0], "prepare")),
        *(Task(i, is_alone=True) for i in alone),
    ]


class Death(NamedTuple):
    """How a worker ended: its exit status or, below 0, the signal that killed it."""

    status: int | None

    def describe(self) -> str:
        if self.status is None or self.status >= 0:
            return f"its process ended by itself, with status {self.status}"
        name = signal.Signals(-self.status).name
        why = ", as the system does when memory runs out" * (name == "SIGKILL")
        return f"its process was killed ({name}{why}); the same command runs it again"


class Worker(NamedTuple):
    """A process, and the pipe to it."""

    process: Any
    pipe: Connection

    @staticmethod
    def started(serve: Callable[..., None] | None = None, *arguments: Any) -> "Worker":
        """Start a process; a fork of one in which JAX has started may deadlock.

        Args:
            serve: what it does with its pipe, and these arguments; by default `_serve`.
        """
        context = multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # or `start` does, which lets Ctrl-C through again
        ours, theirs = context.Pipe()
        # Bars of two processes would overwrite each other, and the main job has its own.
        os.environ["TQDM_DISABLE"] = "1"
        try:
            # Ctrl-C reaches every process of a terminal: the parent alone decides what it means.
            with signals.ctrl_c_blocked():
                # No daemon, which might start no workers of its own.
                process = context.Process(target=serve or _serve, args=(theirs, *arguments))
                process.start()
        finally:
            del os.environ["TQDM_DISABLE"]
        theirs.close()
        return Worker(process, ours)

    def ask(self, request: Any) -> None:
        """Send a request; where the process has died, its answer says so."""
        with contextlib.suppress(OSError):
            self.pipe.send(request)

    def answer(self) -> Any:
        """Return the answer to the oldest request, or the process's `Death`."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return Death(self.process.exitcode)

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection) -> None:
    collect_rarely()
    prepared: dict[str, Prepared] = {}

    def answer(is_preparing: bool, name: str, config: Any, place: Path) -> Outcome | None:
        if not is_preparing:
            return attempt_by_name(name, config, place, prepared.pop(name, None))
        # What goes wrong here goes wrong again when the section is run, and is told then.
        with contextlib.suppress(Exception), shared_in(place / UNFINISHED):
            prepared[name] = Prepared(*timed(_found(name, config).prepare, config))
        return None

    answer_requests(pipe, answer)


def answer_requests(pipe: Connection, call: Callable[..., Any]) -> None:
    """Answer each of the parent's requests by a call, until the parent ends."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        found = call(*request)
        try:
            pipe.send(found)
        except Exception as error:  # a result that cannot be sent, say
            pipe.send(failure_of(error))


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def attempt_by_name(
    name: str, config: Any, place: Path, prepared: Prepared | None = None
) -> Outcome:
    """Run a section of the main job, its programs compiled for speed only where that pays."""
    try:
        module = _found(name, config)
    except Exception as error:
        return failure_of(error)
    return attempt(module, config, place, prepared)


def _found(name: str, config: Any) -> Any:
    """Return a section's module, where JAX is on its devices and compiles as suits it.

    Raises:
        ValueError: there are no such devices, or no such dataset.
    """
    devices.use(config.hardware)
    cheap = CHEAP or (
        config.is_mostly_compilation and suiting(load(config.source, "centred")).mostly_compilation
    )
    compile_cheaply(cheap)
    return importlib.import_module(name)
