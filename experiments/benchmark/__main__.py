"""Run parts of the benchmark: a table on the screen; JSON and a roofline in the folder ``--out``.

    python -m experiments.benchmark [landscape|gradient|search|descent|dual|compile|all]
        [--size tiny|full]

"all" runs every part there is. "full" takes minutes a part on two cores; quote only its medians,
and only against peers of the same run. "tiny" takes seconds and is what the tests run.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.benchmark import common

PARTS = ("landscape", "gradient", "search", "descent", "dual", "compile")


@dataclass(frozen=True)
class Arguments(common.Config):
    """Measure the parts of jaxsvm beside their peers and the machine's limits."""

    part: Annotated[
        Literal["landscape", "gradient", "search", "descent", "dual", "compile", "all"],
        tyro.conf.Positional,
    ] = "all"


def main(argv: list[str] | None = None) -> list[common.Row]:
    config = tyro.cli(Arguments, args=argv, description=__doc__)
    names = PARTS if config.part == "all" else (config.part,)
    there = [name for name in names if Path(__file__).with_name(f"{name}.py").exists()]
    if config.part != "all" and not there:
        raise ValueError(f"part {config.part}: there is no such file beside {__file__}")
    bounds = common.limits(config)
    print(
        f"limits: {bounds.flops / 1e9:.0f} GFLOP/s in a product, {bounds.bytes / 1e9:.1f} GB/s read"
    )
    rows: list[common.Row] = []
    for name in there:
        new = importlib.import_module(f"experiments.benchmark.{name}").run(config)
        print(common.table(new, bounds), flush=True)
        rows += new
    command = ["python", "-m", "experiments.benchmark", *(sys.argv[1:] if argv is None else argv)]
    common.write(config.out / f"{config.part}.json", rows, bounds, config, command)
    common.roofline(rows, bounds, config.out / f"{config.part}_roofline.png")
    return rows


if __name__ == "__main__":
    main()
