"""Several processes that compute one thing together: the first alone touches the disk.

JAX has the same program run in every process, step by step. What a process learns elsewhere, from a
folder say, must not lead it another way than the others; so the first one looks, and tells them.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils

# What JSON can say, and arrays of numbers by name; none is called "header".
Packed: TypeAlias = tuple[Any, Mapping[str, np.ndarray]]
HEADER, SMALLEST = "header", 1024
PIECE = 2**28  # bytes that are sent together
ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (ValueError, OSError, BlockingIOError, Exception)
}


def is_first() -> bool:
    """Return whether this process is the only one, or the first of several."""
    return jax.process_index() == 0


def of_first(look: Callable[[], Packed]) -> Packed:
    """Return in every process what ``look`` returns in the first; only there is it called.

    To be called by all processes at the same place of the program.

    Raises:
        Exception: ``look`` raised it in the first process, and so all do; what is neither a
            ValueError nor an OSError there is an Exception in the others.

    >>> of_first(lambda: ({"step": 3}, {}))
    ({'step': 3}, {})
    """
    if jax.process_count() == 1:
        return look()
    error: Exception | None = None
    content = b""
    if is_first():
        try:
            content = _content("", *look())
        except Exception as raised:  # whatever it is, the others are not to wait for it
            error = raised
            kinds = [kind.__name__ for kind in type(raised).__mro__ if kind.__name__ in ERRORS]
            content = _content(kinds[0], str(raised), {})
    content = _of_first(content)
    if error is not None:
        raise error
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = dict(file)
    kind, said = json.loads(arrays.pop(HEADER).tobytes())
    if kind:
        raise ERRORS[kind](said)
    return said, arrays


def said_by_first(f: Callable[[], Any]) -> Any:
    """Return in every process what f, called in the first, returns: what JSON can say, or None.

    Raises:
        Exception: as `of_first`.

    >>> said_by_first(lambda: 3)
    3
    """
    return of_first(lambda: (f(), {}))[0]


def _content(kind: str, said: Any, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an error's kind or none, what JSON can say, and arrays, as bytes."""
    file = io.BytesIO()
    header = np.frombuffer(json.dumps([kind, said]).encode(), np.uint8)
    np.savez(file, allow_pickle=False, **{**arrays, HEADER: header})
    return file.getvalue()


def _of_first(content: bytes) -> bytes:
    """Return the first process's bytes, however many."""
    sizes = np.array(divmod(len(content), PIECE), np.int32)
    whole, rest = map(int, multihost_utils.broadcast_one_to_all(sizes))
    pieces = (content[i * PIECE : (i + 1) * PIECE] for i in range(whole + 1))
    return b"".join(map(_piece_of_first, pieces, [PIECE] * whole + [rest]))


def _piece_of_first(content: bytes, size: int) -> bytes:
    """Return so many bytes of the first process."""
    # A power of two: few lengths, hence few programs.
    buffer = np.zeros(max(SMALLEST, 1 << (size - 1).bit_length()), np.uint8)
    buffer[: len(content)] = bytearray(content)
    return multihost_utils.broadcast_one_to_all(buffer)[:size].tobytes()
