"""The work of every strategy on many devices, by arithmetic: what is split, repeated, exchanged.

Each strategy is counted twice. "as shard does it" is this library: X is split, and what has a
number for each example or score is on every device, computed or received by each. "sums only" is
the same strategy where each device keeps what is of its own rows, and only sums are exchanged: what
could be had by more work of ours, not by more devices.

Bytes of X are read once and their floats written once and read by each product; scores are written
once and read as often as they are used. Operations that are not of a product are those that XLA
counts in the compiled loop (`cost_analysis`, on a CPU): about 90 for a normal number and 25 for a
termwise difference.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from experiments.shared.cost_model import HINGE, Machine, Work

NORMAL, TERM = 90, 25  # operations
FLOAT = 4  # bytes
SOLVERS_ARRAYS = 5  # of a number for each score, that a step of `solve` reads and writes


class Problem(NamedTuple):
    """What is to be computed.

    Attributes:
        N: examples.
        C: classes.
        D: features with the bias, each a byte of an example.
        batch: rows of a mini-batch on each device.
        trials: of a search that share a product, at most.
    """

    N: int
    C: int
    D: int
    batch: int
    trials: int


def products(rows: float, problem: Problem, columns: float, times: int) -> tuple[float, float]:
    """Return operations and bytes of ``times`` products of rows of X with so many columns."""
    of_X = rows * problem.D
    return times * 2 * of_X * columns, of_X * (1 + (1 + times) * FLOAT)


def full_batch(problem: Problem, devices: int, machine: Machine, everywhere: bool) -> Work:
    """Return the work of a value and gradient."""
    N, C, D, _, _ = problem
    rows = N / devices
    flops, read = products(rows, problem, C, 2)
    of_examples = FLOAT * (N if everywhere else rows)  # the losses; the labels are as many
    return Work(
        N, flops, read + 3 * FLOAT * rows * C + 2 * of_examples,
        losses=rows * C, messages=1, reduced=FLOAT * C * D, gathered=of_examples * everywhere,
        rows=rows * D, held_rows=rows * D, held=2 * of_examples + 3 * FLOAT * C * D,
    )  # fmt: skip


def mini_batch(problem: Problem, devices: int, machine: Machine, everywhere: bool) -> Work:
    """Return the work of a step on ``batch`` rows for each device."""
    N, C, D, B, _ = problem
    examples = B * devices
    # As `shard` does it the rows are summed to every device, and each takes all of them.
    rows = examples if everywhere else B
    flops, read = products(rows, problem, C, 2)
    own, _ = products(B, problem, C, 2)
    return Work(
        examples, own, read + 3 * FLOAT * rows * C + 4 * FLOAT * C * D,
        losses=B * C, repeated=flops - own,
        messages=1, reduced=examples * D if everywhere else FLOAT * C * D,
        rows=B * D, held_rows=N / devices * D,
        held=FLOAT * (N if everywhere else N / devices) + 3 * FLOAT * C * D,
    )  # fmt: skip


def random_search(problem: Problem, devices: int, machine: Machine, everywhere: bool) -> Work:
    """Return the work of a block of draws: every device makes all of them, a loss is a sum."""
    N, C, D, _, T = problem
    rows = N / devices
    flops, read = products(rows, problem, C * T, 1)
    return Work(
        N * T, flops, read + 2 * FLOAT * rows * C * T + 3 * FLOAT * T * C * D,
        losses=rows * C * T, repeated=NORMAL * T * C * D, messages=1, reduced=FLOAT * T,
        rows=rows * D, held_rows=rows * D,
        held=FLOAT * (N if everywhere else rows) + 2 * FLOAT * T * C * D,
    )  # fmt: skip


def local_search(problem: Problem, devices: int, machine: Machine, everywhere: bool) -> Work:
    """Return the work of a block of trials, as many as a device holds the scores of.

    Where it does not hold those of one trial beside X, "sums only" evaluates each by itself.
    """
    N, C, D, _, T = problem
    rows = N / devices
    own = N if everywhere else rows  # examples whose scores a device has
    weights = FLOAT * (T + 1) * C * D
    room = machine.capacity - rows * D - weights - 2 * FLOAT * own
    stored = min(T, int(room / (FLOAT * own * C)) - 2)  # beside W's own scores and the moved ones
    if stored < 1 and not everywhere:
        one = full_batch(problem, devices, machine, False)
        flops, read = products(rows, problem, C, 1)
        return one._replace(
            examples=N * T, flops=T * flops, losses=T * rows * C,
            read=T * (read + 2 * FLOAT * rows * C), repeated=NORMAL * T * C * D,
            messages=T, reduced=FLOAT * T, rows=T * rows * D,
        )  # fmt: skip
    T = max(stored, 1)
    flops, read = products(rows, problem, C * (T + 1), 1)
    scores = FLOAT * own * C
    return Work(
        N * T, flops, read + (T + 1 + 4 * T) * scores,
        losses=rows * C * T, repeated=HINGE * (own - rows) * C * T + NORMAL * T * C * D,
        messages=1 if everywhere else T, reduced=0.0 if everywhere else FLOAT * T,
        gathered=(T + 1) * scores * everywhere,
        rows=rows * D, held_rows=rows * D, held=(T + 2) * scores + 2 * FLOAT * own + weights,
    )  # fmt: skip


def termwise(problem: Problem, devices: int, machine: Machine, everywhere: bool) -> Work:
    """Return the work of the finite difference of every coordinate."""
    N, C, D, _, _ = problem
    rows = N / devices
    own = N if everywhere else rows  # rows whose differences a device takes
    flops, read = products(rows, problem, C, 1)
    scores = FLOAT * own * C
    return Work(
        N, flops + TERM * rows * C * D, read + own * D * (1 + 2 * FLOAT) + 2 * scores,
        repeated=TERM * (own - rows) * C * D,
        messages=1, reduced=FLOAT * C * D, gathered=(own * D + scores) * everywhere,
        rows=rows * D, held_rows=rows * D, held=scores + 2 * FLOAT * own + 3 * FLOAT * C * D,
    )  # fmt: skip


def solve(problem: Problem, devices: int, machine: Machine, everywhere: bool) -> Work:
    """Return the work of one step of `solve`, two products and the slopes of every example."""
    N, C, D, _, _ = problem
    rows = N / devices
    own = N if everywhere else rows
    flops, read = products(rows, problem, C, 2)
    scores = FLOAT * own * C
    return Work(
        N, flops, read + 2 * SOLVERS_ARRAYS * scores,
        losses=10 * rows * C, repeated=10 * HINGE * (own - rows) * C,
        messages=1, reduced=FLOAT * C * D, gathered=scores * everywhere,
        rows=rows * D, held_rows=rows * D,
        held=SOLVERS_ARRAYS * scores + 2 * FLOAT * own + 6 * FLOAT * C * D,
    )  # fmt: skip


Counted = Callable[[Problem, int, Machine], Work]
FUNCTIONS = {
    "full-batch gradient": full_batch,
    "mini-batch": mini_batch,
    "random search": random_search,
    "local search": local_search,
    "termwise gradient": termwise,
    "a pass of solve": solve,
}
TODAY, SUMS = "as shard does it", "sums only"
# {how: {strategy: its work}}
STRATEGIES: dict[str, dict[str, Counted]] = {
    how: {name: partial(function, everywhere=everywhere) for name, function in FUNCTIONS.items()}
    for how, everywhere in ((TODAY, True), (SUMS, False))
}
