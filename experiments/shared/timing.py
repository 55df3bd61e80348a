"""Time callables against each other, in turns, and summarize their seconds.

The callables of one comparison do the same work. They run in turns, so that what else the machine
does meets all of them; each is warmed up first (which compiles it), and the clock stops only when
its result is there. This file depends on no other file of the experiments.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxsvm.processes import said_by_first

T = TypeVar("T", bool, float)
# How long to wait before a timed run: Intel's OpenMP lets a thread spin for 0.2 s after its work.
PAUSE_SECONDS = 0.25
# A run that is shorter than this is repeated untimed after the pause.
SHORT_SECONDS = 1.0


class Row(NamedTuple):
    """One measured line: what was done, by whom, how long it took.

    Attributes:
        part: the part's name.
        work: what was computed, in words; rows with equal ``part`` and ``work`` compare.
        peer: who computed it.
        median: in ``unit``, of ``rounds`` runs, with the quartiles ``lower`` and ``upper``.
        lower: first quartile.
        upper: third quartile.
        rounds: how many timed runs.
        dtype: of the arithmetic.
        flops: floating-point operations the work needs, or None where that is not the measure.
        bytes: the fewest bytes it must move, or None.
        unit: "s", or "bytes" of peak memory.
        reached: the objective where a search ended, or None where nothing is searched.
        evaluations: of the objective, that a search needed.
        note: what a reader of the whole comparison has to know, in words.
    """

    part: str
    work: str
    peer: str
    median: float
    lower: float
    upper: float
    rounds: int
    dtype: str = "float32"
    flops: float | None = None
    bytes: float | None = None
    unit: Literal["s", "bytes"] = "s"
    reached: float | None = None
    evaluations: int | None = None
    note: str = ""


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return a call's result, once it is there, and the seconds it took."""
    began = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    for leaf in jax.tree.leaves(result):
        if getattr(leaf, "is_cuda", False):  # PyTorch's, for which JAX does not wait
            leaf.cpu()
    return result, time.perf_counter() - began


def agreed(by_clock: T) -> T:
    """Return a number or a decision of the first of several processes, which run the same calls."""
    return said_by_first(lambda: by_clock)


def product_rate(n: int = 3_000, repeats: int = 5) -> float:
    """Return the floating-point operations a second of a large product, the best of some runs."""
    a = jnp.ones((n, n), jnp.float32)
    product = ready(jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST)), a)
    return 2 * n**3 / min(timed(product)[1] for _ in range(repeats))


def ready(
    function: Any, *arguments: Any, static: Mapping[str, Any] | None = None, **named: Any
) -> Callable[[], Any]:
    """Return a call that is compiled and has its arguments, so that nothing but it is timed.

    Args:
        function: made by `jax.jit`.
        arguments: those that are traced.
        static: the static ones, by name.
        named: those that are traced and have only a name.
    """
    compiled = function.lower(*arguments, **(static or {}), **named).compile()
    return functools.partial(compiled, *arguments, **named)


def row_of(part: str, work: str, peer: str, times: Any) -> Row:
    """Return the row of these seconds: their median and quartiles."""
    lower, median, upper = (float(q) for q in np.percentile(times, [25, 50, 75]))
    return Row(part, work, peer, median, lower, upper, len(times))


def compare(
    part: str,
    work: str,
    peers: Mapping[str, Callable[[], Any]],
    *,
    repeats: int,
    seconds: float,
    pause: float = PAUSE_SECONDS,
    calls: int | Mapping[str, int] = 1,
    flops: float | None = None,
    bytes: float | Mapping[str, float] | None = None,
) -> list[Row]:
    """Time the peers in turns and return one row for each, in the order given.

    Every peer runs twice untimed. A round then runs each of them once, starting one further on than
    the round before; JAX's asynchronous results are waited for. Each run follows a pause, because
    the threads of OpenBLAS and OpenMP spin for a while after their work, on cores that the next
    peer needs. What is short runs once more untimed, because the pause cools caches and cores.

    Args:
        part: as in `Row`.
        work: what every peer computes.
        peers: name to callable.
        repeats: timed runs of each peer.
        seconds: stop early, after three rounds, when the comparison has taken this long.
        pause: seconds before each timed run.
        calls: how many times a callable does the work; its time is divided by that. A mapping
            where peers differ.
        flops: operations of the work, once.
        bytes: the fewest bytes of the work, once; a mapping where peers differ.
    """
    names = list(peers)
    times: dict[str, list[float]] = {name: [] for name in names}
    short = {}
    for name, call in peers.items():
        timed(call)
        short[name] = agreed(timed(call)[1] < SHORT_SECONDS)
    started = time.perf_counter()
    for turn in range(repeats):
        if turn >= 3 and agreed(time.perf_counter() - started > seconds):
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            if short[name]:
                timed(peers[name])
            times[name].append(timed(peers[name])[1])
    rows = []
    for name in names:
        each = np.asarray(times[name]) / (calls[name] if isinstance(calls, Mapping) else calls)
        moved = bytes.get(name) if isinstance(bytes, Mapping) else bytes
        rows.append(row_of(part, work, name, each)._replace(flops=flops, bytes=moved))
    return rows
