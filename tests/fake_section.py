"""A section that does in no time whatever can happen to one, for the tests of the runner."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from experiments.shared import options, settings
from experiments.shared.figures import Picture
from experiments.shared.report import Story
from experiments.shared.text import table
from jaxsvm import plot as draw


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
    "refuse": refuse, "no data": no_data,
}  # fmt: skip


def plot(arrays: dict[str, Any]) -> dict[str, Any]:
    x = np.arange(3.0)
    line = draw.lines({"a": (x, arrays["losses"][:3])}, xlabel="x", ylabel="y")
    return {"a_line": Picture(line, "A line.", "A chart of a line.")}


def report(arrays: dict[str, Any]) -> str:
    return table("value | text", [(f"{arrays['value']!r} {arrays['nothing']}", arrays["text"])])
