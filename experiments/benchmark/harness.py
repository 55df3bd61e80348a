"""Measure callables against each other and write the result.

A part of the benchmark is a file of this folder with one function, ``run(config) -> list[Row]``.
It builds its inputs, names its peers as zero-argument callables, and passes them to `compare`:

    peers = {"jaxsvm": lambda: loss(W, data), "numpy": lambda: listing(W_host, X_host, y_host)}
    rows += compare("descent", "loss, all data", peers, config, flops=2 * N * C * D, bytes=N * D)

The peers of one comparison run in turns (`experiments.shared.timing`). The same run measures the
machine's two limits (`limits`): the rate of a large product and the rate at which memory is read.
"""

import functools
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import record, text, timing
from experiments.shared.compiled import run_steps as run_steps
from experiments.shared.environment import environment
from experiments.shared.options import Count, Positive, at_least, check_fields
from experiments.shared.timing import Row as Row
from experiments.shared.timing import row_of as row_of
from jaxsvm import Data, StandardizedFeatures
from jaxsvm import plot as draw
from jaxsvm.core.features import for_backend
from jaxsvm.datasets.rows import COLUMN_MULTIPLE

SHAPES = {"full": (50_000, 3_073, 10), "tiny": (600, 65, 10)}  # (N, D, C)

Peers: TypeAlias = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Config:
    """The settings of every part.

    Attributes:
        size: "full" has CIFAR-10's shape (50,000 x 3,073, 10 classes); "tiny" checks that every
            line runs, and its times mean nothing.
        repeats: timed runs of each callable, after its warm-up.
        seconds: a comparison stops early (after three rounds) when it has taken this long.
        fit_seconds: in the part "dual", what one fit of another package may take, at most 60.
        seed: of the random inputs.
        out: the folder for the JSON file and the figures.
        landscapes_python: an interpreter that has torch and loss-landscapes, a peer of the part
            "landscape"; by default this one.
    """

    size: Literal["tiny", "full"] = "full"
    repeats: Count = 15
    seconds: Positive = 20.0
    fit_seconds: Positive = 30.0
    seed: Annotated[int, at_least(0)] = 0
    out: Path = Path("runs/benchmark")
    landscapes_python: Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def full(self) -> bool:
        """Whether the times count."""
        return self.size == "full"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, D, C) of the problem."""
        return SHAPES[self.size]


def compare(
    part: str, work: str, peers: Mapping[str, Callable[[], Any]], config: Config, **options: Any
) -> list[Row]:
    """Time the peers as `timing.compare` does, as often and for as long as the config says."""
    pause = timing.PAUSE_SECONDS if config.full else 0.0
    return timing.compare(
        part, work, peers, repeats=config.repeats, seconds=config.seconds, pause=pause, **options
    )


def scaled(row: Row, factor: float, **changes: Any) -> Row:
    """Return the row of ``factor`` times the work, under another name."""
    median, lower, upper = (factor * time for time in (row.median, row.lower, row.upper))
    return row._replace(median=median, lower=lower, upper=upper, **changes)


def in_a_row(config: Config) -> int:
    """Return how many short calls are timed together: what a device waits for the host is not its.

    A CPU computes one after the other in any case.
    """
    return 20 if config.full and jax.default_backend() != "cpu" else 1


def repeated(peers: Peers, calls: int) -> Peers:
    """Return peers that do their work so often, and then wait for the last result."""

    def several(call: Callable[[], Any]) -> Any:
        for _ in range(calls - 1):
            call()
        return timing.timed(call)[0]

    return {name: functools.partial(several, call) for name, call in peers.items()}


def memory_rows(part: str, work: str, prepare: str, *args: str) -> list[Row]:
    """Return `peak_memory` of a call as a row; none where it cannot be measured."""
    if sys.platform != "linux" or jax.default_backend() != "cpu":
        print(f"{work}: measured on Linux and a CPU only")
        return []
    peak = peak_memory(prepare, *args)
    return [Row(part, work, "jaxsvm", peak, peak, peak, 1, unit="bytes")]


def peak_memory(prepare: str, *args: str) -> float:
    """Return the bytes a call adds to the peak of a fresh process. Linux only.

    The child imports ``prepare``, "module:function", starts JAX's backend and takes
    ``call = function(*args)``. What it holds then, arrays and compiled programs that ``call`` keeps
    included, is subtracted from the peak during ``call()``.

    Raises:
        subprocess.CalledProcessError: the child failed; its own message is on stderr.
    """
    command = [sys.executable, "-m", "experiments.benchmark.memory", prepare, *args]
    child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(child.stdout.split()[-1])


class Limits(NamedTuple):
    """The machine's two limits, measured.

    Attributes:
        flops: floating-point operations a second in a large float32 product by JAX.
        bytes: bytes a second read in the sum of a large float32 array by JAX.
    """

    flops: float
    bytes: float


def limits(config: Config) -> Limits:
    """Measure the machine's two limits; the best of the runs, since a limit is no average."""
    n, calls = 128, in_a_row(config)
    if config.full:
        n = 3_000 if calls == 1 else 8_192
    v = jnp.ones(100_000_000 if config.full else 1_000, jnp.float32)
    (total,) = repeated({"sum": timing.ready(jax.jit(jnp.sum), v)}, calls).values()
    seconds = min(timing.timed(total)[1] for _ in range(config.repeats)) / calls
    return Limits(flops=timing.product_rate(n, config.repeats), bytes=v.nbytes / seconds)


class Inputs(NamedTuple):
    """The same random numbers in two forms.

    Attributes:
        W: (C, D) weights.
        rows: the data with X as bytes.
        plain: the data with X as float32.
    """

    W: jax.Array
    rows: Data
    plain: Data

    def peers(self, call: Callable[[Data], Any]) -> Peers:
        """Return a call of the library as two peers, one for each form of the data."""
        forms = {"bytes": self.rows, "float32": self.plain}
        return {f"jaxsvm, {form}": functools.partial(call, data) for form, data in forms.items()}

    def host(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W, X as float32, and y for the peers that are not JAX."""
        return np.asarray(self.W), np.asarray(self.plain.X), np.asarray(self.plain.y)


@functools.lru_cache(maxsize=1)
def problem(config: Config) -> Inputs:
    """Return the inputs of a part: random bytes in CIFAR-10's shape, kept as users' are."""
    W, rows = random_data(config.size, "bytes", config.seed)
    rows = rows._replace(X=for_backend(rows.X))
    return Inputs(W, rows, random_data(config.size, "floats", config.seed)[1])


def random_data(size: str, form: str, seed: int = 0) -> tuple[jax.Array, Data]:
    """Return (W, data) with X in one form, "bytes" or "floats"; the seed decides the numbers.

    Random bytes, centred and divided by 128, and a bias column: the time of a dense product does
    not depend on the values. Filled row by row, so that no second X is held.
    """
    N, D, C = SHAPES[size]
    rng = np.random.default_rng(seed)
    X: Any = np.zeros((N, padded(D)), np.uint8) if form == "bytes" else np.zeros((N, D), np.float32)
    for row in X:
        row[: D - 1] = rng.integers(0, 256, D - 1, dtype=np.uint8)
    X[:, D - 1] = 1
    mean = X[:1000, : D - 1].mean(axis=0, dtype=np.float64)
    shift = np.append(mean, 0.0).astype(np.float32)
    scale = np.append(np.full(D - 1, 1 / 128), 1.0).astype(np.float32)
    y = jnp.asarray(rng.integers(0, C, N), jnp.int32)
    W = jnp.asarray(0.01 * rng.standard_normal((C, D)), jnp.float32)
    if form == "bytes":
        rows = StandardizedFeatures(jnp.asarray(X), jnp.asarray(shift), jnp.asarray(scale))
        return W, Data(rows, y)
    X -= shift
    X *= scale
    return W, Data(jnp.asarray(X), y)


def padded(D: int) -> int:
    """Return how many columns a row of bytes has, padding included, as a user gets them."""
    return -(-D // COLUMN_MULTIPLE) * COLUMN_MULTIPLE


def table(rows: Sequence[Row], limits: Limits | None = None) -> str:
    """Return the rows as a markdown table, and below it their notes as a list.

    "against the first" is the median of the peer over the median of the first row of its
    comparison: 2.0 says that the first is twice as fast. "of the limit" is the roofline's time,
    max(flops / peak, bytes / bandwidth), over the median.
    """
    header = (
        "part | work | who | dtype | median | quartiles | against the first {:.2f} | of the limit"
    )
    first: dict[tuple[str, str], float] = {}
    cells = []
    for row in rows:
        base = first.setdefault((row.part, row.work), row.median)
        share = ""
        if limits is not None and (row.flops or row.bytes):
            share = share_of_limit(row, limits)
        peer = row.peer
        if row.reached is not None:
            peer += f": reached {row.reached:.6g}"
        if row.evaluations is not None:
            peer += f" (evaluations: {row.evaluations})"
        median, lower, upper = (show(row, x) for x in (row.median, row.lower, row.upper))
        times = median, f"{lower} .. {upper}", row.median / base
        cells.append((row.part, row.work, peer, row.dtype, *times, share))
    notes = [f"- {row.part}, {row.work}: {row.note}" for row in rows if row.note]
    return "\n".join([text.table(header, cells), *([""] if notes else []), *notes])


def share_of_limit(row: Row, limits: Limits) -> str:
    """Return how near a row's counted work comes to the machine's limits, in %."""
    seconds = max((row.flops or 0) / limits.flops, (row.bytes or 0) / limits.bytes)
    return f"{100 * seconds / row.median:.0f} %"


def show(row: Row, value: float) -> str:
    """Return a value of a row with its unit."""
    if row.unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def write(
    path: Path, rows: Sequence[Row], limits: Limits, config: Config, command: Sequence[str]
) -> None:
    """Write rows, limits, machine and command as JSON; the file is whole or is not there."""
    result = {
        "command": command,
        "config": config,
        "machine": environment(),
        "limits": limits._asdict(),
        "rows": [row._asdict() for row in rows],
    }
    record.write_json(path, result)


def roofline(rows: Sequence[Row], limits: Limits, path: Path) -> Path | None:
    """Draw what was reached against the machine's limits; None where no row counts its work."""
    points: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row.flops and row.bytes:
            x, y = points.setdefault(row.peer, ([], []))
            x.append(row.flops / row.bytes)
            y.append(row.flops / row.median / 1e9)
    if not points:
        return None
    intensities = [value for x, _ in points.values() for value in x]
    grid = np.geomspace(min(intensities) / 2, 2 * max(intensities), 200)
    reach = np.minimum(limits.flops, grid * limits.bytes) / 1e9
    figure = draw.roofline(points, (grid, reach), title="Reached, and the machine's limits")
    return draw.save_figure(figure, path)
