"""How long a command takes on small data, where most of the time is spent on starting.

Each time is the wall clock of a new process: with nothing kept, on an empty folder of compiled
programs, and once more on the folder that this left (`experiments.shared.compilation`).
"""

import os
import subprocess
import sys
import tempfile
import time

from experiments.benchmark.harness import Config, Row, row_of

SOLVE = """
from experiments.shared.compilation import keep_programs
import jaxsvm
keep_programs()
data = jaxsvm.load_dataset("digits", scale="columns").train
jaxsvm.solve(jaxsvm.Objective(reg=1e-2), data)
"""
NOTHING = "from experiments.shared.compilation import keep_programs; keep_programs()"
# {what: the arguments of Python}
COMMANDS = {
    "solve": ["-c", SOLVE],
    "fit": ["-m", "experiments.fit"],
    "the notes, whole": ["-m", "experiments"],
}
# What a tiny run starts, which has nothing to do.
TINY = {"nothing": ["-c", NOTHING]}
# A start is long enough to be timed by a few.
REPEATS = 3


def run(config: Config) -> list[Row]:
    rows = []
    for work, arguments in (COMMANDS if config.full else TINY).items():
        times: dict[str, list[float]] = {}
        for _ in range(min(config.repeats, REPEATS)):
            with tempfile.TemporaryDirectory() as folder:
                out = ["--out", folder] if arguments[0] == "-m" else []
                command = [sys.executable, *arguments, *out]
                own = {"XDG_CACHE_HOME": folder}
                for kept, settings in (
                    ("nothing kept", {**own, "JAX_ENABLE_COMPILATION_CACHE": "0"}),
                    ("first run", own),
                    ("second run", own),
                ):
                    times.setdefault(f"jaxsvm, {kept}", []).append(seconds_of(command, settings))
        rows += [row_of("start", work, peer, found) for peer, found in times.items()]
    return rows


def seconds_of(command: list[str], settings: dict[str, str]) -> float:
    """Return the wall clock of a process with these changes to the environment.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    known = {name: value for name, value in os.environ.items() if "JAX_COMPILATION" not in name}
    began = time.perf_counter()
    subprocess.run(command, env={**known, **settings}, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
