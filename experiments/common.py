"""What every experiment shares: its options, its run folder, and the loop with a progress bar.

An experiment is a module of four names:

    Config             a frozen dataclass (of `Config` below); its fields are the command's options
    run(config)        -> a dict of arrays, numbers and strings: everything measured
    plot(arrays, path) -> the PNG files it wrote into the folder ``path``
    report(arrays)     -> markdown with the measured numbers

so that a notebook can call each by itself. Two keys of the dict mean something here:
``"trace"``, columns of equal length, becomes one row of metrics.jsonl for each step; every other
number is in metrics.json, and the arrays are in arrays.npz.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import jax
import numpy as np
import tyro
from jax import Array
from tqdm import tqdm

import jaxsvm
from experiments import reporting
from jaxsvm.optimizers.contract import Optimizer, advance

# Exit statuses, next to 0 and Python's own 1.
BAD_INPUT, CANNOT_WRITE, INTERRUPTED = 2, 5, 130

# Experiments that measure seconds.
TIMED = ("minibatch", "race", "optax_comparison", "certificate")

# A chunk of a run shows progress this many times, and lasts no longer than this.
NUM_CHUNKS, LONGEST_CHUNK_SECONDS = 20, 5.0


@dataclass(frozen=True)
class Config:
    """The options that every experiment has."""

    dataset: str = "digits"
    """"digits", or a tfds image dataset such as "cifar10"."""
    seeds: int = 5
    """How many seeds: 0, 1, ... seeds − 1."""
    out: Path = Path("runs")
    """The folder that holds the runs."""
    name: str = ""
    """The run's own folder in it; by default made of the experiment, the dataset and the time."""

    def __post_init__(self) -> None:
        at_least("seeds", self.seeds, 1)
        if Path(self.name).name != self.name or self.name == "..":
            raise ValueError(f"name = {self.name!r}: expected one folder name, without a path")


def at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError, naming the option, unless ``value >= least`` (NaN is not)."""
    if not value >= least or value == float("inf"):
        raise ValueError(f"{name} = {value}: expected a finite number >= {least:g}")


def positive(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless ``value`` is finite and > 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} = {value}: expected a finite number > 0")


def one_of(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError, naming the option, unless every value is a known one."""
    for value in values:
        if value not in known:
            raise ValueError(f"{name}: there is no {value!r}; there are {', '.join(known)}")


@functools.lru_cache(maxsize=4)
def load(dataset: str, **options: Any) -> Any:
    """Return `jaxsvm.load_dataset`'s answer, kept for the next section of the same process."""
    return jaxsvm.load_dataset(dataset, **options)


def unit_scale(dataset: str) -> float:
    """Return the scale that brings centred pixels to about [-1, 1]: digits' go from 0 to 16."""
    return 1 / 8 if dataset == "digits" else 1 / 128


def quartiles(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lower quartile, the median and the upper quartile over the first axis."""
    low, median, high = np.percentile(np.asarray(values), [25, 50, 75], axis=0)
    return low, median, high


def spread(values: Any, form: str) -> str:
    """Return "median [lowest, highest]" with the numbers formatted by ``form``."""
    values = np.asarray(values)
    low, median, high = np.min(values), np.median(values), np.max(values)
    return f"{median:{form}} [{low:{form}}, {high:{form}}]"


class Divergence(NamedTuple):
    """Where a run stopped making sense.

    Attributes:
        step: the first whose loss was not finite.
        loss: there; NaN or infinite.
        step_size: that led there; NaN where the optimizer tells none.
    """

    step: int
    loss: float
    step_size: float

    def describe(self) -> str:
        """Return what a report says about it."""
        return f"diverged at step {self.step} with step size {self.step_size:g} (loss {self.loss})"


class Progress(NamedTuple):
    """What `progress_run` returns.

    Attributes:
        state: after the last step or, of a run that diverged, after the last step whose params
            have a finite loss.
        info: the steps' info as NumPy arrays, cut before the first bad step.
        seconds: (steps,) running time after each step, without compilation; measured at the ends
            of the chunks and linear between them.
        path_steps: (k,) after how many steps `path` was taken: 0, and the ends of about
            ``num_chunks`` equal parts.
        path: (k, ...) where the run stood then.
        divergence: None, or where the loss stopped being finite.
    """

    state: Any
    info: Any
    seconds: np.ndarray
    path_steps: np.ndarray
    path: Any
    divergence: Divergence | None

    @property
    def path_seconds(self) -> np.ndarray:
        """(k,) running time at each point of the path."""
        return np.append(0.0, self.seconds)[self.path_steps]


_advance = jax.jit(advance, static_argnames=("optimizer", "num_steps"))


def progress_run(
    optimizer: Optimizer,
    key: Array,
    params: Any,
    data: jaxsvm.Data,
    num_steps: int,
    *,
    description: str = "",
    num_chunks: int = NUM_CHUNKS,
) -> Progress:
    """Run an optimizer with a progress bar; stop where the loss is NaN or infinite.

    The run is `contract.advance` a chunk at a time, compiled once, and its bits are those
    of one `jaxsvm.run`. Compilation is not in the seconds.

    Args:
        optimizer: whose info has a field ``loss`` (or ``best_loss``, which is looked at instead:
            a search may well try a bad point).
        key: of the run.
        params: the start.
        data: the examples.
        num_steps: how many steps, ≥ 1.
        description: the bar's.
        num_chunks: into about how many parts the run is cut; a part that takes long is run in
            pieces, for the bar.

    Returns:
        The state, the info of every step, the seconds, the path, and where the run diverged.
    """
    block = optimizer.block_size
    chunk = stage = max(1, -(-num_steps // (num_chunks * block))) * block
    state = jax.jit(optimizer.init)(params, data)
    path_steps, path, ends, seconds, infos = [0], [state.params], [0], [0.0], []
    before, divergence = (0, state), None
    with tqdm(total=num_steps, desc=description, disable=None, leave=False, delay=1) as bar:
        while ends[-1] < num_steps and divergence is None:
            start = ends[-1]
            # Where the path is taken must not depend on the machine's speed: runs are compared.
            size = min(chunk, num_steps - start, stage - start % stage)
            call = _advance.lower(optimizer, key, state, data, start, num_steps=size).compile()
            began = time.perf_counter()
            after, info = jax.block_until_ready(call(key, state, data, start))
            took = time.perf_counter() - began
            info = jax.tree.map(np.asarray, info)
            loss = getattr(info, "best_loss", info.loss)
            if not np.isfinite(loss).all():
                bad = int(np.argmin(np.isfinite(loss)))
                sizes = getattr(info, "step_size", np.full(size, np.nan))
                divergence = Divergence(
                    start + bad, float(loss[bad]), float(sizes[max(bad - 1, 0)])
                )
                # A step reports the loss that it started from: one step less is still finite.
                since, state = before if bad == 0 else (start, state)
                if (extra := start + bad - 1 - since) > 0:
                    state, _ = _advance(optimizer, key, state, data, since, num_steps=extra)
                info = jax.tree.map(lambda leaf, n=bad: leaf[:n], info)
                size, took = bad, took * bad / size
            else:
                before, state = (start, state), after
                if (start + size) % stage == 0 or start + size == num_steps:
                    path_steps.append(start + size)
                    path.append(state.params)
            infos.append(info)
            ends.append(start + size)
            seconds.append(seconds[-1] + took)
            bar.update(size)
            if took > LONGEST_CHUNK_SECONDS:
                chunk = max(1, int(chunk / took) // block) * block
    return Progress(
        state=state,
        info=jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos),
        seconds=np.interp(np.arange(1, ends[-1] + 1), ends, seconds),
        path_steps=np.asarray(path_steps),
        path=jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *path),
        divergence=divergence,
    )


@jax.jit
def _evaluate(objective: Any, W: Array, data: jaxsvm.Data) -> tuple[Array, Array]:
    return objective(W, data), jaxsvm.accuracy(W, data)


def evaluate(objective: jaxsvm.Objective, W: Any, data: jaxsvm.Data) -> tuple[float, float]:
    """Return the objective and the accuracy of W on data."""
    loss, accuracy = _evaluate(objective, W, data)
    return float(loss), float(accuracy)


def _measure(module: Any, config: Any) -> tuple[dict[str, Any], float]:
    """Run one experiment; return what it found and its seconds."""
    began = time.perf_counter()
    arrays = dict(module.run(config))
    return arrays, time.perf_counter() - began


def _measure_in_child(name: str, config: Any) -> tuple[dict[str, Any], float]:
    """Do `_measure` in a process of its own, which gets the module by its name."""
    # On the digits most of the work is compilation. XLA's expensive passes pay off only where
    # seconds are what is measured.
    quick = config.dataset == "digits" and name.split(".")[-1] not in TIMED
    jax.config.update("jax_disable_most_optimizations", quick)
    return _measure(importlib.import_module(name), config)


def _found(
    sections: Sequence[tuple[Any, Any]], workers: int
) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield what each section found, in order; up to ``workers`` of them run at a time."""
    if workers == 1:
        yield from (_measure(module, config) for module, config in sections)
        return
    # Spawned: a fork of a process in which JAX has started may deadlock. Bars of two processes
    # would overwrite each other, and the main job has its own.
    context = multiprocessing.get_context("spawn")
    os.environ["TQDM_DISABLE"] = "1"
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        try:
            names = [module.__name__ for module, _ in sections]
            yield from pool.map(_measure_in_child, names, [config for _, config in sections])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            del os.environ["TQDM_DISABLE"]


def run_sections(
    title: str, sections: Sequence[tuple[Any, Any]], folder: Path, workers: int = 1
) -> None:
    """Run experiments and write what they found, in their order, as soon as it is there.

    Args:
        title: of the report.
        sections: (module, config) of each.
        folder: an existing folder of this run's own.
        workers: how many run at a time, each in a process of its own.
    """
    metrics: dict[str, Any] = {"title": title, **reporting.environment(), "sections": {}}
    chapters: list[tuple[str, str, list[Path]]] = []
    rows: list[str] = []
    metrics["sections_at_a_time"] = workers
    found = zip(sections, _found(sections, workers), strict=True)
    bar = tqdm(found, desc=title, total=len(sections), disable=None)
    for (module, config), (arrays, seconds) in bar:
        name = section_name(module)
        bar.set_postfix_str(name)
        place = folder / name
        place.mkdir(exist_ok=True)
        reporting.write_arrays(place / "arrays.npz", arrays)
        rows += reporting.trace_rows(name, arrays.pop("trace", {}))
        body = module.report(arrays)
        chapters.append((name.replace("_", " "), body, module.plot(arrays, place)))
        metrics["sections"][name] = {
            "config": config,
            "seconds": seconds,
            "results": arrays,
        }
        # After every section: an interrupted run keeps what it finished.
        reporting.write_text(folder / "metrics.jsonl", "".join(f"{row}\n" for row in rows))
        reporting.write_report(folder, title, [*chapters, ("environment", _about(metrics), [])])
        reporting.write_json(folder / "metrics.json", metrics)


def section_name(module: Any) -> str:
    """Return the experiment's name: that of its file."""
    return Path(module.__file__).stem


def execute(
    title: str, sections: Sequence[tuple[Any, Any]], config: Config, workers: int = 1
) -> int:
    """Claim the run's folder, run the sections in it, and return the exit status.

    Bad input is one line and status 2; a folder that is taken or cannot be written, status 5;
    Ctrl-C, status 130, with the finished sections kept.
    """
    stem = f"{title.replace(' ', '_')}-{config.dataset}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    folder = config.out / (config.name or stem.replace("/", "_"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _claimed(folder):
            if taken := sorted(path.name for path in folder.iterdir() if path.name != ".lock"):
                message = f"{folder} already holds {taken[0]}: choose another --name"
                return _fail(CANNOT_WRITE, message)
            run_sections(title, sections, folder, workers)
    except filelock.Timeout:
        return _fail(CANNOT_WRITE, f"{folder} is in use by another run: choose another --name")
    except ValueError as error:
        return _fail(BAD_INPUT, str(error))
    except OSError as error:
        return _fail(CANNOT_WRITE, str(error))
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, f"interrupted; the sections that finished are in {folder}")
    print(f"wrote {folder / 'report.html'}")
    return 0


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; after a run that wrote nothing, leave nothing.

    Raises:
        filelock.Timeout: another process has it.
    """
    lock = folder / ".lock"
    with filelock.FileLock(lock, blocking=False):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # not empty, as a rule
                lock.unlink(missing_ok=True)
                folder.rmdir()


def main(module: Any) -> None:
    """Read the module's options from the command line, run it alone, write its report, exit."""
    config = tyro.cli(module.Config, description=module.__doc__)
    sys.exit(execute(section_name(module), [(module, config)], config))


def _fail(status: int, message: str) -> int:
    """Print one line on stderr and return the status."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


# What the report's last chapter repeats of the run as a whole.
ABOUT = ("commit", "device", "dtype", "platform", "sections_at_a_time")


def _about(metrics: dict[str, Any]) -> str:
    """Return the report's last chapter: what a reader needs to repeat the run."""
    rows = [(key, metrics[key]) for key in ABOUT]
    rows += list(metrics["versions"].items())
    parts = [reporting.table(("what", "which"), rows)]
    timed = [(name, f"{part['seconds']:.1f}") for name, part in metrics["sections"].items()]
    parts.append(reporting.table(("section", "seconds, with compilation"), timed))
    options = []
    for name, part in metrics["sections"].items():
        fields = dataclasses.asdict(part["config"]).items()
        options.append(f"- `{name}`: " + ", ".join(f"{key} {value}" for key, value in fields))
    parts.append("\n".join(options))
    return "\n\n".join(parts)
