"""What a step costs, from its work and a machine's rates: a sum of parts, each a plain quotient.

    seconds = operations/rate + bytes read/memory rate + bytes from storage/storage rate
            + levels · messages · latency + (levels · reduced + gathered)/link rate + a call's own

Nothing overlaps in it, which is wrong by a factor of two at most, where two parts are equal. An
all-reduce goes up a tree of pairs (`jaxsvm.core.rows`): log2(devices) levels, and each moves all of
what is reduced. The levels within a host are its links, those above are the network.

`fitted` finds the rates of a core from calls on virtual devices, which share the cores there are.
So it counts the seconds of all cores together: what the devices do is added up, whoever waits.
"""

from collections.abc import Mapping, Sequence
from math import log2
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

HINGE = 8  # operations of a score's loss and slope


class Work(NamedTuple):
    """What each device does in one step, and what it holds.

    Attributes:
        examples: that the step looks at, on all devices together; a trial looks at each once.
        flops: operations of products.
        losses: scores of which a hinge is taken, its `HINGE` operations beside those.
        repeated: operations beside both, which every other device does as well.
        read: bytes to and from its memory.
        messages: all-reduces that wait for one another.
        reduced: bytes of all of them.
        gathered: bytes that it receives of what every device has to have.
        rows: bytes of X that it looks at.
        held_rows: bytes of its share of X, which may lie in storage instead.
        held: bytes of everything else, which may not.
    """

    examples: float
    flops: float
    read: float
    losses: float = 0.0
    repeated: float = 0.0
    messages: float = 0.0
    reduced: float = 0.0
    gathered: float = 0.0
    rows: float = 0.0
    held_rows: float = 0.0
    held: float = 0.0


class Machine(NamedTuple):
    """Rates, a second and a device each unless another unit is said.

    Attributes:
        flops: operations.
        memory: bytes to and from a device's memory.
        capacity: bytes of that memory that data may fill.
        host: devices that links join; hosts are joined by the network.
        link_bytes: between two devices of a host.
        link_latency: seconds of a message there.
        network_bytes: between two hosts.
        network_latency: seconds of a message there.
        storage: bytes from storage.
        call: seconds of a call that does nothing.
    """

    flops: float
    memory: float
    capacity: float
    host: int
    link_bytes: float
    link_latency: float
    network_bytes: float
    network_latency: float
    storage: float
    call: float


# The parts of a step's seconds, as a reader calls them; a step is limited by its largest.
PARTS = (
    "compute", "repeated compute", "memory", "reading storage", "exchange latency",
    "exchange bandwidth", "calls",
)  # fmt: skip


def fits(work: Work, machine: Machine) -> bool:
    """Whether a device's memory holds what may not lie in storage."""
    return work.held <= machine.capacity


def parts(work: Work, machine: Machine, devices: int) -> dict[str, float]:
    """Return the seconds of each part of a step on as many devices, a power of two."""
    within = log2(min(devices, machine.host))
    between = log2(devices) - within
    slowest = machine.network_bytes if between else machine.link_bytes
    in_memory = work.held + work.held_rows <= machine.capacity
    latency = within * machine.link_latency + between * machine.network_latency
    bandwidth = within / machine.link_bytes + between / machine.network_bytes
    seconds = (
        (work.flops + HINGE * work.losses) / machine.flops,
        work.repeated / machine.flops,
        work.read / machine.memory,
        0.0 if in_memory else work.rows / machine.storage,
        work.messages * latency,
        work.reduced * bandwidth + work.gathered * (devices - 1) / devices / slowest,
        machine.call,
    )
    return dict(zip(PARTS, seconds, strict=True))


class Measured(NamedTuple):
    """A call on virtual devices of one machine.

    Attributes:
        work: of each device.
        devices: how many.
        core_seconds: of all its threads together.
    """

    work: Work
    devices: int
    core_seconds: float


# What the fit finds, each in the seconds of a core for one unit.
UNITS = (
    "operation of a product", "loss of a score", "byte of memory", "message of a level",
    "byte exchanged", "device called",
)  # fmt: skip


def units(call: Measured) -> np.ndarray:
    """Return how many of `UNITS` a call takes, on all devices together."""
    work, levels = call.work, log2(call.devices)
    exchanged = levels * work.reduced + work.gathered * (1 - 1 / call.devices)
    of_devices = work.flops, work.losses, work.read, levels * work.messages, exchanged, 1.0
    return call.devices * np.array(of_devices)


def fitted(calls: Sequence[Measured]) -> dict[str, float]:
    """Return the core's seconds of each unit, none below 0, that miss the measured calls least.

    The squares of the relative errors are least, so that short calls matter as long ones do.
    """
    rows = np.stack([units(call) / call.core_seconds for call in calls])
    sizes = np.maximum(rows.max(axis=0), np.finfo(float).tiny)  # of like columns nnls is sure
    found, _ = nnls(rows / sizes, np.ones(len(calls)))
    return dict(zip(UNITS, (found / sizes).tolist(), strict=True))


def modelled(rates: Mapping[str, float], call: Measured) -> float:
    """Return the core's seconds that the fit gives a call."""
    return float(units(call) @ np.array([rates[name] for name in UNITS]))
