"""Ctrl-C and SIGTERM: the first one ends a command, which keeps what it has; the second, at once.

A command goes through three stages. From its first import on (`install`, which is called before
anything slow is imported) a signal ends it with one line, since there is nothing to keep. While it
is `watched` a signal raises `Interrupted` in the main thread: between two calls of JAX, that is
after at most one chunk of a run, and never within what is being saved. After that all is written,
and a signal changes nothing.

This file imports no other, and nothing that takes time.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeAlias

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Saving: TypeAlias = Callable[[], contextlib.AbstractContextManager[None]]


class Interrupted(KeyboardInterrupt):
    """Raised where the program was when a signal asked it to end.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def status(error: KeyboardInterrupt) -> int:
    """Return the exit status of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + int(getattr(error, "number", signal.SIGINT))


def install() -> None:
    """Let a signal end this process with one line and no traceback."""
    for number in SIGNALS:
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"error: interrupted; nothing was written\n")
    os._exit(128 + number)


@contextlib.contextmanager
def watched() -> Iterator[Saving]:
    """Raise `Interrupted` at the first signal while the block runs; end the process at the second.

    Yields:
        A context manager in which a signal waits for the block's end, so that what is being saved
        is kept.
    """
    received: list[int] = []
    saves: list[bool] = []
    again: list[threading.Timer] = []
    usual = sys.unraisablehook

    def on_signal(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        for timer in again:
            timer.cancel()
        if not saves:
            raise Interrupted(number)

    def on_unraisable(found: Any) -> None:
        if not isinstance(found.exc_value, Interrupted):
            usual(found)
            return
        # It came while an object was deleted, say, where Python drops exceptions: once more, later.
        received.clear()
        again.append(threading.Timer(0.05, os.kill, (os.getpid(), found.exc_value.number)))
        again[-1].start()

    @contextlib.contextmanager
    def saving() -> Iterator[None]:
        saves.append(True)
        try:
            yield
        finally:
            saves.pop()
        if received and not saves:
            raise Interrupted(received[0])

    if threading.current_thread() is not threading.main_thread():
        yield saving  # Python has signals in its main thread only
        return
    before: dict[int, Any] = {number: signal.signal(number, on_signal) for number in SIGNALS}
    sys.unraisablehook = on_unraisable
    ended = False
    try:
        yield saving
        ended = True
    finally:
        sys.unraisablehook = usual
        for timer in again:
            timer.cancel()
        for number, handler in before.items():
            # `_end` would say that nothing was written. Python's own end keeps SIG_IGN.
            signal.signal(number, signal.SIG_IGN if ended and handler is _end else handler)


@contextlib.contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Hold Ctrl-C back from this thread, and for good from the processes that are started here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
