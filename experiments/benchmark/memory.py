"""Child of `harness.peak_memory`: measure one call in a fresh process and print the bytes it added.

`python -m experiments.benchmark.memory MODULE:FUNCTION [ARGUMENT ...]`
"""

import contextlib
import ctypes
import gc
import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp


def main() -> None:
    module, name = sys.argv[1].split(":")
    prepare = getattr(importlib.import_module(module), name)
    jax.block_until_ready(jnp.zeros(1) + 1)  # The backend and its first compilation.
    call = prepare(*sys.argv[2:])
    forget_peak()
    before = held("VmRSS")
    jax.block_until_ready(call())
    print(held("VmHWM") - before)


def forget_peak() -> None:
    """Reset the peak to what is held now: the preparation may have needed more than the call."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc keeps freed memory, which the call would use
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        print(f"peak memory is an upper bound, preparation included: {error}", file=sys.stderr)


def held(line: str) -> int:
    """Return the bytes this process holds ("VmRSS"), or the most it has held ("VmHWM").

    Not `resource.ru_maxrss`, which a child takes over from a large parent.
    """
    for found in Path("/proc/self/status").read_text().splitlines():
        if found.startswith(f"{line}:"):
            return int(found.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {line} line: peak memory is measured on Linux only")


if __name__ == "__main__":
    main()
