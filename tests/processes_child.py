"""What tests/test_devices_line.py has several processes compute together, in one folder.

    python -m tests.processes_child FOLDER ADDRESS NUM_PROCESSES PROCESS_ID

X is a memory map of FOLDER/../X.npy. Prints which share of it this process has read, and a digest
of the answers; each of these is saved, and gone on with, on the way.
"""

import hashlib
import sys
from pathlib import Path

import jax
import numpy as np

import jaxsvm
from jaxsvm import Data, Objective

C = 3


def shard(X, y):
    return jaxsvm.shard(Data(X, y), jax.make_mesh((jax.device_count(),), ("devices",)))


def share_read(path):
    """Return which share of a file's pages this process has mapped into its memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    sizes = {}
    for line in lines:
        if line.endswith(str(path)):
            sizes = dict(field.split(":") for field in (next(lines) for _ in range(5)))
    return int(sizes["Rss"].split()[0]) / int(sizes["Size"].split()[0])


def answers(folder, sharded):
    objective = Objective(reg=1e-3)
    W = np.zeros((C, sharded.X.shape[1]), np.float32)
    optimizer = jaxsvm.gradient_descent(objective, step_size=0.1, momentum=0.9)
    arguments = optimizer, jax.random.key(1), W, sharded
    for num_steps in (3, 9):  # in chunks of 3, which are one program
        state, info = jaxsvm.run_resumable(
            *arguments, num_steps=num_steps, folder=folder / "run", every=3
        )
    # The second solve begins where the first one ended.
    for max_passes in (20, 40):
        solution = jaxsvm.solve(
            objective, sharded, num_classes=C, gap_tolerance=1e-7, max_passes=max_passes,
            folder=folder / "solve",
        )  # fmt: skip
    return state.params, info.loss, solution.W, solution.primal, solution.dual, solution.passes


def main():
    folder, address, processes, number = sys.argv[1:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, int(processes), int(number))
    jaxsvm.processes.PIECE = 50_000  # bytes, so that what a solve has saved is sent in some pieces
    path = Path(folder).parent / "X.npy"
    X, y = np.load(path, mmap_mode="r"), np.load(path.with_name("y.npy"))
    sharded = shard(X, y)
    share = share_read(path)
    del X
    found = answers(Path(folder), sharded)
    print(share, hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in found)).hexdigest())


if __name__ == "__main__":
    main()
