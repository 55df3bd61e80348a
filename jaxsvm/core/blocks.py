"""How much is looked at together: every block size of the library, chosen by the backend.

A block is there for memory and speed. It never changes what is computed, only the order of sums and
how they round.
"""

from pathlib import Path
from typing import NamedTuple

import jax


class BlockSizes(NamedTuple):
    """Rows of X, unless another unit is said.

    Attributes:
        product: for one product: of bytes made floats, as many as stay in cache.
        columns: of weights that a product takes together.
        summed: into one of several sums, side by side, that a gradient is the sum of.
        narrow: a choice: whether bytes are multiplied as bfloat16 (`jaxsvm.core.products`), and
            kept as int8, which a product reads as they are; of uint8 it makes a copy first.
        digits: a choice: whether bytes are multiplied as int8, but for scores whose ties count
            (`jaxsvm.core.digits`).
        part: of a pruned local search, seen before it is asked whether more are needed.
        few: up to which rows are centred and scaled themselves, which is then cheaper than folding
            both into all of W.
        label: of one label, over which termwise differences are summed in one fused loop.
        unroll: of those, added in one iteration.
        certified: whose contribution to a lower bound is summed in pairs.
        host: that leave the device together.
        terms: of a sum of hinges, added side by side at each of a few nodes.
        draws: proposals of a search made together.
        side_by_side: a choice: whether several local searches take a trial together, or in turn.
        trials: of a pruned local search multiplied together with a part of the rows.
        steps: mini-batch steps whose examples are drawn together.
        points: of a black-box landscape evaluated side by side.
        images: encoded side by side.
        filters: whose responses to one image should stay in cache.
        collide: bytes; rows of a multiple of as many fall into the same few places of the cache.
    """

    product: int
    columns: int
    summed: int
    narrow: bool
    digits: bool
    part: int
    few: int
    label: int
    unroll: int
    certified: int
    host: int
    terms: int
    draws: int
    side_by_side: bool
    trials: int
    steps: int
    points: int
    images: int
    filters: int
    collide: int


def _multiplies_int8() -> bool:
    """Return whether this processor has a unit that multiplies matrices of int8."""
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        return False


CPU = BlockSizes(
    product=768, columns=8, summed=2**30, narrow=False, digits=_multiplies_int8(),
    part=1536, few=128, label=64, unroll=8, certified=128, host=1024, terms=1024,
    draws=10, side_by_side=False, trials=8, steps=10, points=8, images=1, filters=2000,
    collide=4096,
)  # fmt: skip
# Of an H100 at CIFAR-10's shape; `host`, `part`, `trials`, `terms`, `points`, `images` and
# `filters` by arithmetic.
ACCELERATOR = BlockSizes(
    product=65_536, columns=1, summed=3200, narrow=True, digits=False,
    part=16_384, few=128, label=512, unroll=64, certified=1024, host=16_384, terms=2**30,
    draws=50, side_by_side=True, trials=16, steps=50, points=64, images=64, filters=4000,
    collide=2**30,
)  # fmt: skip


def block_sizes() -> BlockSizes:
    """Return the sizes for the backend that JAX runs on by default."""
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR
