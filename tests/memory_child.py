"""What loading CIFAR-10 for a section adds to a process's memory, of one process or of several.

    python -m tests.memory_child ADDRESS NUM_PROCESSES PROCESS_ID

Prints what the peak is above what the process had when JAX had started, in bytes, and a digest of
the labels and of some rows.
"""

import hashlib
import os
import re
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from experiments.shared import devices, settings
from experiments.shared.options import Hardware, Source
from experiments.shared.team import LEAVING_SECONDS
from jaxsvm.processes import is_first


def memory(name):
    """Return a number of this process's, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def main():
    address, processes, number = sys.argv[1:]
    together = Hardware(1, address, int(number), int(processes))
    devices.use(Hardware() if processes == "1" else together)
    jnp.zeros(3).block_until_ready()
    before = memory("VmRSS")
    train = settings.load(Source("cifar10"), "scaled").train
    added = memory("VmHWM") - before
    some = jax.jit(lambda X: X.values[jnp.arange(0, X.shape[0], 97)])(train.X)
    digest = hashlib.sha256(np.asarray(some).tobytes() + np.asarray(train.y).tobytes())
    print(added, digest.hexdigest(), flush=True)
    multihost_utils.sync_global_devices("end")
    if is_first():
        time.sleep(LEAVING_SECONDS)
    os._exit(0)  # as in a section's team: JAX would wait for the others, who may be gone


if __name__ == "__main__":
    main()
