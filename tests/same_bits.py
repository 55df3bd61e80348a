"""Have all results the same bits on 1, 2, 4 and 8 devices, and in 2 and 4 processes?

    python -m tests.same_bits

Made by hand, because each of some thirty programs is compiled once for each layout: ten minutes on
two cores. What is computed is in `tests/devices_child.py`: every optimizer, slices, bounds, and
`solve`. A table of layouts is printed; the last line is ``results N equal M``, and the status is 1
unless all are.
"""

import argparse
import hashlib
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsvm import Data, shard
from tests.children import said_by
from tests.devices_child import (
    bits,
    functions,
    functions_of_floats,
    problem,
    runs,
    solutions,
    sums,
)

LAYOUTS = ((1, 2), (1, 4), (1, 8), (2, 1), (4, 1))  # processes, and devices of each


def digests(devices):
    """Return a digest of every result on so many devices of each process, by name."""
    many = devices * jax.process_count() > 1
    of_each = (jax.local_devices(process_index=i)[:devices] for i in range(jax.process_count()))
    mesh = jax.sharding.Mesh(np.array([device for some in of_each for device in some]), ("rows",))

    def laid(data):
        return shard(data, mesh) if many else data

    W, data = problem()
    W, plain = np.asarray(W), Data(jnp.asarray(np.asarray(data.X)), data.y)
    found: dict[str, Any] = {}
    for f, of in ((sums, data), (functions, data), (functions_of_floats, plain)):
        found |= jax.jit(f)(W, laid(of))
    found |= runs(W, laid(data)) | solutions(data, laid)
    return {name: hashlib.sha256(b"".join(bits(tree))).hexdigest() for name, tree in found.items()}


def child(devices, address, processes, number):
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, processes, number)
    print(json.dumps(digests(devices)))


def answers(processes, devices):
    """Return the digests that each of so many processes prints."""
    found = said_by(processes, "-m", "tests.same_bits", "--child", devices)
    return list(map(json.loads, found))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4)
    given = parser.parse_args()
    if given.child:
        devices, address, *numbers = given.child
        child(int(devices), address, *map(int, numbers))
        return 0
    (expected,) = answers(1, 1)
    results = equal = 0
    print("| processes | devices of each | results | equal to one device's, to the bit |")
    print("|---|---|---|---|")
    for processes, devices in LAYOUTS:
        for found in answers(processes, devices):
            assert found.keys() == expected.keys()
            others = [name for name in expected if found[name] != expected[name]]
            results, equal = results + len(found), equal + len(found) - len(others)
            said = f"{len(found) - len(others)}{': not ' * bool(others)}{', '.join(others)}"
            print(f"| {processes} | {devices} | {len(found)} | {said} |", flush=True)
    print(f"results {results} equal {equal}")
    return 0 if results == equal else 1


if __name__ == "__main__":
    sys.exit(main())
