"""Arrays in memory that a CPU's device takes as it is, and that is used again.

NumPy's own arrays are copied on their way to the device, because they begin anywhere.
"""

import contextlib
import weakref
from collections import deque

import numpy as np

ALIGNMENT = 64  # bytes
# Memory of arrays that are gone: what a run of batches has at a time, and no more.
_unused: deque[memoryview] = deque(maxlen=4)


def aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Return an array, not filled, that the CPU's device takes as it is: others it copies.

    Its memory is used again once nothing refers to it: fresh pages are zeroed before they are
    written, which costs a tenth of a mini-batch step.
    """
    size = shape[0] * shape[1] * dtype.itemsize + ALIGNMENT
    memory = _used_again(size)
    if memory is None:
        memory = np.empty(size, np.uint8).data
    room = np.frombuffer(memory, np.uint8)
    weakref.finalize(room, _unused.append, memory).atexit = False
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size - ALIGNMENT].view(dtype).reshape(shape)


def _used_again(size: int) -> memoryview | None:
    """Return memory of this size that nothing refers to, if there is some."""
    with contextlib.suppress(IndexError):  # another thread may take the last one
        for _ in range(len(_unused)):
            memory = _unused.popleft()
            if len(memory) == size:
                return memory
            _unused.append(memory)
    return None
