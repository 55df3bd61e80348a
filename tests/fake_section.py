"""A section that does in no time whatever can happen to one, for the tests of the runner."""

import contextlib
import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import jax.numpy as jnp
import numpy as np

from experiments.shared import options, settings, team
from experiments.shared.figures import Picture
from experiments.shared.kept_runs import KeptRun
from experiments.shared.report import Story
from experiments.shared.text import table
from jaxsvm import Data, Objective, solve
from jaxsvm import plot as draw
from jaxsvm.certificate import kept as solve_folder


@dataclass(frozen=True)
class Config(options.Config):
    """What is to happen."""

    event: str = "found"

    measures_seconds: ClassVar[bool] = True  # so that no worker needs to look at the data


STORY = Story("What can happen?")


def called(name: str) -> Any:
    """Return this section under another name."""
    return SimpleNamespace(
        __name__=__name__, __file__=f"{name}.py", STORY=STORY, run=run, plot=plot, report=report
    )


def run(config: Config) -> dict[str, Any]:
    with open(config.out / "calls", "a") as file:
        file.write(f"{config.event} {os.getpid()}\n")
    if (config.out / "mended").exists():
        return results()
    return EVENTS[config.event](config)


def results() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "value": np.float32(0.1),
        "nothing": float("nan"),
        "text": "<script>",
        "losses": rng.normal(size=3000),
        "seconds": time.perf_counter(),
        "trace": {"step": np.arange(3), "loss": rng.normal(size=3)},
    }


def saves(config: Config) -> Any:
    KeptRun({}).save(1, lambda: ({}, {"W": np.zeros(1)}))
    return results()


def full(config: Config) -> Any:
    """Keep a run and a solve on a disk without room; of several processes the first one writes."""

    def save(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    team.NAMING_SECONDS = 0.0  # nobody is gone whose name the others could find
    with contextlib.suppress(OSError):
        KeptRun({}).save_if_due(1, save, is_worth_it=True)
        raise AssertionError("this process was not told")
    with mock.patch.multiple(solve_folder, SECONDS=0.0, save=save):
        data = Data(jnp.eye(3), jnp.arange(3))
        solve(Objective(reg=1e-3), data, gap_tolerance=1e-6, folder=config.out / "solve")
    return results()


def wait(config: Config) -> Any:
    time.sleep(100)


def kill(config: Config) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(config: Config) -> Any:
    raise KeyboardInterrupt


def mistake(config: Config) -> Any:
    return np.stack([np.zeros(1), np.zeros(2)])  # NumPy raises a ValueError


def shown(config: Config) -> Any:
    raise RuntimeError("``` <script>alert(1)</script> **bold**")


def refuse(config: Config) -> Any:
    options.positive("reg", -1.0)


def no_data(config: Config) -> Any:
    return settings.read(options.Source(str(Path(config.out, "absent.csv"))))


EVENTS: dict[str, Any] = {
    "found": lambda config: results(), "object": lambda config: {"thing": object()},
    "wait": wait, "kill": kill, "interrupt": interrupt, "mistake": mistake, "shown": shown,
    "refuse": refuse, "no data": no_data, "saves": saves, "full": full,
    "diverged": lambda config: results() | {"lost": "too fast diverged"},
}  # fmt: skip


def plot(arrays: dict[str, Any]) -> dict[str, Any]:
    x = np.arange(3.0)
    line = draw.lines({"a": (x, arrays["losses"][:3])}, xlabel="x", ylabel="y")
    return {"a_line": Picture(line, "A line.", "A chart of a line.")}


def diverged(arrays: dict[str, Any]) -> list[str]:
    return [arrays["lost"]] if "lost" in arrays else []


def report(arrays: dict[str, Any]) -> str:
    return table("value | text", [(f"{arrays['value']!r} {arrays['nothing']}", arrays["text"])])
