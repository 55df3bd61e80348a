"""The devices that a command computes on: one, several of this machine, or those of many machines.

`use` is called before JAX starts, once in every process that computes. From then on `spread` lays
examples over the devices, and no bit of what is computed of them depends on how many there are
(`jaxsvm.shard`). What is small, such as a test part, is on each of them.
"""

import contextlib
import functools

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.shared.options import Hardware
from jaxsvm import Data, shard
from jaxsvm.core.rows import layout

# Of a process that no longer answers, its machine lost say, the others know after so many seconds.
HEARTBEAT_SECONDS = 10
JOINING_SECONDS = 120  # in which all processes have to be started
_used: list[Hardware] = []  # by this process: one, or none yet


class TooFewExamplesError(ValueError):
    """The examples are too few for the devices to share."""


def use(hardware: Hardware) -> None:
    """Start JAX on the devices of a command; called again with the same, do nothing.

    Raises:
        ValueError: there are not so many, or they are no power of two; the other processes cannot
            be reached.
    """
    if hardware in _used:
        return
    if hardware.coordinator is not None:
        _join(hardware)
    if hardware.devices > 1:
        # Devices of a CPU are made, unless JAX has started; of others there are what there are.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", hardware.devices)
    there = jax.local_device_count()
    if there < hardware.devices:
        raise ValueError(
            f"devices = {hardware.devices}: JAX has {there} of {jax.default_backend()} in this "
            f"process: expected at most {there}"
        )
    total = jax.process_count() * hardware.devices
    if total & (total - 1):
        raise ValueError(
            f"num_processes = {jax.process_count()} of {hardware.devices} devices each: expected a "
            f"power of two in all, came {total}"
        )
    _used[:] = [hardware]


def _join(hardware: Hardware) -> None:
    """Find the other processes of this run."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Else a process that is told that another one is gone ends itself, in the middle of anything.
    jax.config.update("jax_enable_recoverability", True)
    address = None if hardware.coordinator == "auto" else hardware.coordinator
    try:
        jax.distributed.initialize(
            address, hardware.num_processes, hardware.process_id,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=JOINING_SECONDS,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        what = f"coordinator = {hardware.coordinator}: the processes did not find each other"
        raise ValueError(f"{what} ({error})") from error


@functools.cache
def _mesh(devices: int) -> Mesh:
    """Return so many devices of each process, next to one another."""
    of_each = (jax.local_devices(process_index=i)[:devices] for i in range(jax.process_count()))
    return Mesh(np.array([device for some in of_each for device in some]), ("devices",))


def are_several() -> bool:
    """Return whether there are several devices in use, of this process or of several."""
    return bool(_used) and _used[0] != Hardware()


def spread(data: Data) -> Data:
    """Return examples with their rows over the devices in use; on one device they are as they were.

    Raises:
        TooFewExamplesError: there is not a segment of rows for each device.
    """
    if not are_several():
        return data
    found = _mesh(_used[0].devices)
    N, segments = len(data.y), layout(len(data.y)).segments
    if found.size > segments:
        most = "cannot be shared" if segments == 1 else f"can be shared by at most {segments}"
        raise TooFewExamplesError(
            f"devices = {found.size} in all: the {N:,} examples to learn from {most}, since a "
            "device takes whole segments of some thousands; take fewer devices"
        )
    return shard(data, found)
