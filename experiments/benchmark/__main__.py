"""Run parts of the benchmark: a table on the screen; JSON and a roofline in the folder ``--out``.

    python -m experiments.benchmark [PART] [--size tiny|full]

"all", the default, runs every part. "full" takes minutes a part on two cores; quote only its
medians, and only against peers of the same run. "tiny" takes seconds and is what the tests run.
`python -m experiments.benchmark.compare` sets two of the JSON files beside each other.
"""

import importlib
import sys
import tempfile
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import jax
import tyro

from experiments.benchmark import harness, landscape
from experiments.shared import command_line
from experiments.shared.failures import BAD_INPUT, CANNOT_WRITE, fail, say

Part = Literal["landscape", "gradient", "search", "descent", "dual", "stream", "compile", "start"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Arguments(harness.Config):
    """Measure the parts of jaxsvm beside their peers and the machine's limits."""

    part: Annotated[Part | Literal["all"], tyro.conf.Positional] = "all"


def main(argv: list[str] | None = None) -> list[harness.Row]:
    config = command_line.read(Arguments, __doc__, argv)
    if status := check(config):
        sys.exit(status)
    # First calls are measured with all their compilation.
    jax.config.update("jax_enable_compilation_cache", False)
    bounds = harness.limits(config)
    gigaflops, gigabytes = bounds.flops / 1e9, bounds.bytes / 1e9
    said = say(f"limits: {gigaflops:.0f} GFLOP/s in a product, {gigabytes:.1f} GB/s read")
    rows: list[harness.Row] = []
    for name in PARTS if config.part == "all" else (config.part,):
        new = importlib.import_module(f"experiments.benchmark.{name}").run(config)
        said = say(harness.table(new, bounds)) or said
        rows += new
    command = ["python", "-m", "experiments.benchmark", *(sys.argv[1:] if argv is None else argv)]
    try:
        harness.write(config.out / f"{config.part}.json", rows, bounds, config, command)
        harness.roofline(rows, bounds, config.out / f"{config.part}_roofline.png")
    except OSError as error:
        sys.exit(fail(CANNOT_WRITE, str(error)))
    if said:
        sys.exit(said)
    return rows


def check(config: Arguments) -> int:
    """Return 0, or the exit status of what would fail after all measuring, said in a line."""
    python = config.landscapes_python
    if python is not None:
        try:
            why = landscape.lacks_peer(str(python))
        except OSError as error:
            why = str(error)
        if why:
            return fail(BAD_INPUT, f"landscapes_python = {python}: expected an interpreter: {why}")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.out):
            return 0
    except OSError as error:
        return fail(CANNOT_WRITE, f"out = {config.out}: expected a folder to write to: {error}")


if __name__ == "__main__":
    main()
