"""Child of `common.peak_memory`: call one function in a fresh process and print the bytes it added.

`python -m experiments.benchmark.memory MODULE:FUNCTION [ARGUMENT ...]`
"""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp


def main() -> None:
    module, name = sys.argv[1].split(":")
    function = getattr(importlib.import_module(module), name)
    jax.block_until_ready(jnp.zeros(1) + 1)  # The backend and its first compilation.
    before = peak_bytes()
    jax.block_until_ready(function(*sys.argv[2:]))
    print(peak_bytes() - before)


def peak_bytes() -> int:
    """Return the most bytes this process has held, from /proc.

    Not `resource.ru_maxrss`, which a child takes over from a large parent.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM line: peak memory is measured on Linux only")


if __name__ == "__main__":
    main()
