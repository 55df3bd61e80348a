"""Measure callables against each other, honestly, and write what came out.

A part of the benchmark is a file of this folder with one function, ``run(config) -> list[Row]``.
It builds its inputs, names its peers as zero-argument callables, and hands them to `compare`:

    peers = {"jaxsvm": lambda: loss(W, data), "numpy": lambda: listing(W_host, X_host, y_host)}
    rows += compare("descent", "loss, all data", peers, config, flops=2 * N * C * D, bytes=N * D)

The peers of one comparison run in turns, so that what else the machine does meets all of them; each
is warmed up first (which compiles it), and the clock stops only when its result is there. The
machine's own two limits are measured in the same run (`limits`): the rate of a large product and
the rate at which memory is read.
"""

import functools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import timing
from experiments.shared.timing import Row as Row
from experiments.shared.timing import row_of as row_of
from jaxsvm import Data, StandardizedFeatures
from jaxsvm import plot as draw


@dataclass(frozen=True)
class Config:
    """What every part is told.

    Attributes:
        size: "full" has CIFAR-10's shape (50,000 x 3,073, 10 classes); "tiny" checks that every
            line runs, its times mean nothing.
        repeats: timed runs of each callable, after its warm-up.
        seconds: a comparison stops early (after three rounds) when it has taken this long.
        seed: of the random inputs.
        out: the folder for the JSON file and the figures.
        landscapes_python: an interpreter that has torch and loss-landscapes, a peer of the part
            "landscape"; by default this one.
    """

    size: Literal["tiny", "full"] = "full"
    repeats: int = 15
    seconds: float = 20.0
    seed: int = 0
    out: Path = Path("runs/benchmark")
    landscapes_python: Path | None = None

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats = {self.repeats}: expected an integer >= 1")
        if not self.seconds > 0:
            raise ValueError(f"seconds = {self.seconds}: expected a number > 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, D, C) of the problem."""
        return (50_000, 3_073, 10) if self.size == "full" else (600, 65, 10)


def compare(
    part: str, work: str, peers: Mapping[str, Callable[[], Any]], config: Config, **options: Any
) -> list[Row]:
    """Time the peers as `timing.compare` does, as often and for as long as the config says."""
    pause = timing.PAUSE_SECONDS if config.size == "full" else 0.0
    return timing.compare(
        part, work, peers, repeats=config.repeats, seconds=config.seconds, pause=pause, **options
    )


def memory_rows(part: str, work: str, prepare: str, *args: str) -> list[Row]:
    """Return `peak_memory` of a call as a row; none where it cannot be measured."""
    if sys.platform != "linux":
        print(f"{work}: measured on Linux only")
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
    child = subprocess.run(
        [sys.executable, "-m", "experiments.benchmark.memory", prepare, *args],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(child.stdout.split()[-1])


class Limits(NamedTuple):
    """What the machine can do, measured.

    Attributes:
        flops: floating-point operations a second in a large float32 product by JAX.
        bytes: bytes a second read in the sum of a large float32 array by JAX.
    """

    flops: float
    bytes: float


def limits(config: Config) -> Limits:
    """Measure the machine's two limits; the best of the runs, since a limit is no average."""
    n = 3_000 if config.size == "full" else 128
    a = jnp.ones((n, n), jnp.float32)
    v = jnp.ones(100_000_000 if config.size == "full" else 1_000, jnp.float32)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    total = jax.jit(jnp.sum)
    peers = {"product": lambda: product(a), "sum": lambda: total(v)}
    best = dict.fromkeys(peers, np.inf)
    for name, call in peers.items():
        jax.block_until_ready(call())
        for _ in range(config.repeats):
            start = time.perf_counter()
            jax.block_until_ready(call())
            best[name] = min(best[name], time.perf_counter() - start)
    return Limits(flops=2 * n**3 / float(best["product"]), bytes=v.nbytes / float(best["sum"]))


def machine() -> dict[str, Any]:
    """Return what a reader needs to judge the numbers: device, threads, versions."""
    device = jax.devices()[0]
    versions = {}
    for name in ("jax", "jaxlib", "numpy", "optax", "torch", "scikit-learn", "evosax"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.device_count(),
        "cores": len(os.sched_getaffinity(0)),
        "x64": bool(jax.config.read("jax_enable_x64")),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@functools.lru_cache(maxsize=1)
def problem(config: Config) -> tuple[np.ndarray, Data, Data]:
    """Return (W, data as bytes, data as floats): the same random numbers in CIFAR-10's shape.

    Random bytes, centred and divided by 128, and a bias column: how long a dense product takes does
    not depend on what is in it.
    """
    N, D, C = config.shape
    rng = np.random.default_rng(config.seed)
    values = np.zeros((N, padded(D)), np.uint8)
    values[:, : D - 1] = rng.integers(0, 256, (N, D - 1), dtype=np.uint8)
    values[:, D - 1] = 1
    shift = np.append(values[:1000, : D - 1].mean(axis=0), 0.0).astype(np.float32)
    scale = np.append(np.full(D - 1, 1 / 128), 1.0).astype(np.float32)
    rows = StandardizedFeatures(jnp.asarray(values), jnp.asarray(shift), jnp.asarray(scale))
    plain = values[:, :D].astype(np.float32)
    plain -= shift
    plain *= scale
    y = jnp.asarray(rng.integers(0, C, N), jnp.int32)
    W = (0.01 * rng.standard_normal((C, D))).astype(np.float32)
    return W, Data(rows, y), Data(jnp.asarray(plain), y)


def random_data(config: Config, form: str) -> tuple[jax.Array, Data]:
    """Return (W, data) as `problem` has them, in one form, "bytes" or "floats", and nothing beside.

    For what `problem` is too large for: memory measured, many calls in one process.
    """
    N, D, C = config.shape
    rng = np.random.default_rng(config.seed)
    W = jnp.asarray(0.01 * rng.standard_normal((C, D)), jnp.float32)
    y = jnp.asarray(rng.integers(0, C, N), jnp.int32)
    if form == "floats":
        plain = rng.random((N, D), dtype=np.float32)
        plain -= 0.5
        plain *= 2
        plain[:, D - 1] = 1
        return W, Data(jax.device_put(plain), y)
    values = rng.integers(0, 256, (N, padded(D)), dtype=np.uint8)
    values[:, D - 1 :] = 0
    values[:, D - 1] = 1
    shift = jnp.full(D, 128.0).at[-1].set(0.0)
    scale = jnp.full(D, 1 / 128).at[-1].set(1.0)
    return W, Data(StandardizedFeatures(jnp.asarray(values), shift, scale), y)


def padded(D: int) -> int:
    """Return how many columns a row of bytes has, padding included."""
    return -(-D // 16) * 16


def table(rows: Sequence[Row], limits: Limits | None = None) -> str:
    """Return the rows as a markdown table.

    "against the first" is the median of the peer over the median of the first row of its
    comparison: 2.0 says that the first is twice as fast. "of the limit" is the roofline's time,
    max(flops / peak, bytes / bandwidth), over the median.
    """
    lines = [
        "| part | work | who | dtype | median | quartiles | against the first | of the limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first: dict[tuple[str, str], float] = {}
    for row in rows:
        base = first.setdefault((row.part, row.work), row.median)
        share = ""
        if limits is not None and (row.flops or row.bytes):
            floor = max((row.flops or 0) / limits.flops, (row.bytes or 0) / limits.bytes)
            share = f"{100 * floor / row.median:.0f} %"
        show = _duration if row.unit == "s" else _size
        quartiles = f"{show(row.lower)} .. {show(row.upper)}"
        peer = row.peer
        if row.reached is not None:
            peer += f": reached {row.reached:.6g}"
        if row.evaluations is not None:
            peer += f" (evaluations: {row.evaluations})"
        lines.append(
            f"| {row.part} | {row.work} | {peer} | {row.dtype} | {show(row.median)} | "
            f"{quartiles} | {row.median / base:.2f} | {share} |"
        )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _size(count: float) -> str:
    return f"{count / 2**20:.0f} MiB"


def write(
    path: Path, rows: Sequence[Row], limits: Limits, config: Config, command: Sequence[str]
) -> None:
    """Write rows, limits, machine and command as JSON; the file is whole or is not there."""
    record = {
        "command": list(command),
        "config": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()},
        "machine": machine(),
        "limits": limits._asdict(),
        "rows": [row._asdict() for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(path)


def roofline(rows: Sequence[Row], limits: Limits, path: Path) -> Path | None:
    """Draw what was reached against the machine's limits; None where no row counts its work."""
    counted = [row for row in rows if row.flops and row.bytes]
    if not counted:
        return None
    points: dict[str, tuple[list[float], list[float]]] = {}
    for row in counted:
        assert row.flops
        assert row.bytes
        x, y = points.setdefault(row.peer, ([], []))
        x.append(row.flops / row.bytes)
        y.append(row.flops / row.median / 1e9)
    most = max(max(x) for x, _ in points.values())
    least = min(min(x) for x, _ in points.values())
    grid = np.geomspace(least / 2, 2 * most, 200)
    reach = np.minimum(limits.flops, grid * limits.bytes) / 1e9
    figure = draw.roofline(points, (grid, reach), title="Reached, and the machine's limits")
    return draw.save_figure(figure, path)
