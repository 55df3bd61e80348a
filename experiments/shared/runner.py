"""Run sections into a folder of their own and say by the exit status how it went.

A section is a module of four names:

    Config           a frozen dataclass (of `options.Config`); its fields are the command's options
    run(config)      -> a dict of arrays, numbers and strings: everything measured
    plot(arrays)     -> figures by name
    report(arrays)   -> markdown with the measured numbers

so that a notebook can call each by itself. One key of the dict has a meaning here: ``"trace"``,
columns of equal length, becomes one row of metrics.jsonl for each step. Every other number is in
metrics.json, and the arrays are in arrays.npz. A section that leaves files of its own beside the
report has a fifth name:

    files(arrays)    -> by the file's name, a function that writes it to the path it is given
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import filelock
import jax
import tyro
from tqdm import tqdm

from experiments.shared.environment import environment
from experiments.shared.options import Config
from experiments.shared.record import trace_rows, write_arrays, write_json, write_text
from experiments.shared.report import Chapter, save_figures, table, write_report
from experiments.shared.settings import load, suiting
from experiments.shared.timing import timed

# Exit statuses, next to 0 and Python's own 1.
BAD_INPUT, CANNOT_WRITE, INTERRUPTED = 2, 5, 130

# What the report's last chapter repeats of the run as a whole.
ABOUT = ("commit", "device", "dtype", "platform", "processor", "cores", "sections_at_a_time")

Sections: TypeAlias = Sequence[tuple[Any, Any]]


def main(name: str) -> None:
    """Read a section's options from the command line, run it alone, write its report, exit.

    Args:
        name: of the section's module, as imported or ``"__main__"``.
    """
    module = sys.modules[name]
    config = tyro.cli(module.Config, description=module.__doc__)
    sys.exit(execute(section_name(module), [(module, config)], config))


def section_name(module: Any) -> str:
    """Return a section's name: that of its file."""
    return Path(module.__file__).stem


def execute(title: str, sections: Sections, config: Config, workers: int = 1) -> int:
    """Claim the run's folder, run the sections in it, and return the exit status.

    Bad input is one line and status 2; a folder that is taken or cannot be written, status 5;
    Ctrl-C, status 130, with the finished sections kept.
    """
    stem = f"{title.replace(' ', '_')}-{config.data_name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    folder = config.out / (config.name or stem.replace("/", "_"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _claimed(folder):
            if taken := sorted(path.name for path in folder.iterdir() if path.name != ".lock"):
                raise FileExistsError(f"{folder} already holds {taken[0]}: choose another --name")
            run_sections(title, sections, folder, workers)
    except filelock.Timeout:
        return fail(CANNOT_WRITE, f"{folder} is in use by another run: choose another --name")
    except ValueError as error:
        return fail(BAD_INPUT, str(error))
    except OSError as error:
        return fail(CANNOT_WRITE, str(error))
    except KeyboardInterrupt:
        return fail(INTERRUPTED, f"interrupted; the sections that finished are in {folder}")
    print(f"wrote {folder / 'report.html'}")
    return 0


def run_sections(title: str, sections: Sections, folder: Path, workers: int = 1) -> None:
    """Run sections and write what they found, in their order, as soon as it is there.

    Args:
        title: of the report.
        sections: (module, config) of each.
        folder: an existing folder of this run's own.
        workers: how many run at a time, each in a process of its own.
    """
    metrics: dict[str, Any] = {"title": title, **environment(), "sections": {}}
    metrics["sections_at_a_time"] = workers
    chapters, rows = [], []
    found = zip(sections, _found(sections, workers), strict=True)
    bar = tqdm(found, desc=title, total=len(sections), disable=None)
    for (module, config), (arrays, seconds) in bar:
        name = section_name(module)
        bar.set_postfix_str(name)
        place = folder / name
        place.mkdir(exist_ok=True)
        write_arrays(place / "arrays.npz", arrays)
        rows += trace_rows(name, arrays.pop("trace", {}))
        for file, write in module.files(arrays).items() if hasattr(module, "files") else ():
            write(folder / file)
        figures = save_figures(module.plot(arrays), place)
        chapters.append(Chapter(name.replace("_", " "), module.report(arrays), figures))
        metrics["sections"][name] = {"config": config, "seconds": seconds, "results": arrays}
        # After every section: an interrupted run keeps what it finished.
        write_text(folder / "metrics.jsonl", "".join(f"{row}\n" for row in rows))
        write_report(folder, title, [*chapters, Chapter("environment", _about(metrics))])
        write_json(folder / "metrics.json", metrics)


def _found(sections: Sections, workers: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield what each section found, in order; up to ``workers`` of them run at a time."""
    if workers == 1:
        yield from (timed(module.run, config) for module, config in sections)
        return
    # Spawned: a fork of a process in which JAX has started may deadlock. Bars of two processes
    # would overwrite each other, and the main job has its own.
    context = multiprocessing.get_context("spawn")
    os.environ["TQDM_DISABLE"] = "1"
    with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
        try:
            names = [module.__name__ for module, _ in sections]
            yield from pool.map(_run_in_child, names, [config for _, config in sections])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        finally:
            del os.environ["TQDM_DISABLE"]


def _run_in_child(name: str, config: Any) -> tuple[dict[str, Any], float]:
    """Run a section in a process of its own, which gets the module by its name, and time it."""
    # On small data most of the work is compilation, and XLA's expensive passes pay off only where
    # seconds are what is measured.
    small = suiting(load(config.source, "centred")).mostly_compilation
    quick = small and not config.measures_seconds
    if jax.config.read("jax_disable_most_optimizations") != quick:
        # A program that was compiled the other way has another speed and another rounding.
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", quick)
    return timed(importlib.import_module(name).run, config)


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


def fail(status: int, message: str) -> int:
    """Print one line on stderr and return the status."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _about(metrics: dict[str, Any]) -> str:
    """Return the report's last chapter: what a reader needs to repeat the run."""
    rows = [(key, metrics[key]) for key in ABOUT] + list(metrics["versions"].items())
    seconds, options = [], []
    for name, part in metrics["sections"].items():
        seconds.append((name, part["seconds"]))
        fields = dataclasses.asdict(part["config"])
        if fields.get("X"):
            del fields["dataset"]
        given = (f"{key} {value}" for key, value in fields.items() if value is not None)
        options.append(f"- `{name}`: " + ", ".join(given))
    times = table("section | seconds, with compilation {:.1f}", seconds)
    return "\n\n".join([table("what | which", rows), times, "\n".join(options)])
