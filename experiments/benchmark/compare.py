"""Set the results of two commits beside each other, row by row.

    python -m experiments.benchmark.compare before.json after.json [--percent 5]

The files are those that `python -m experiments.benchmark` writes; take them in turns on one
machine. Prints a markdown table of medians and of their ratio, after over before. A row is flagged
if it is slower (or needs more memory) by more than ``--percent``; the exit status is 1 if any is,
and 2, with one line, where the files cannot be compared.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from experiments.benchmark.harness import Row, show
from experiments.shared import command_line
from experiments.shared.failures import BAD_INPUT, fail
from experiments.shared.options import NonNegative, check_fields
from experiments.shared.text import table

# A peer's name may end in what its run reached, and that differs between runs.
OUTCOME = re.compile(r"(: |, (under|OVER) ).*")


@dataclass(frozen=True)
class Config:
    """Compare two result files.

    Attributes:
        before: the JSON file of one commit.
        after: the JSON file of another.
        percent: how much slower a row may be.
    """

    before: Positional[Path]
    after: Positional[Path]
    percent: NonNegative = 5.0

    def __post_init__(self) -> None:
        check_fields(self)


def main() -> None:
    config = command_line.read(Config, __doc__)
    try:
        flagged = compare(config.before, config.after, percent=config.percent)
    except (OSError, ValueError) as error:
        sys.exit(fail(BAD_INPUT, str(error)))
    sys.exit(min(flagged, 1))


def compare(before: Path, after: Path, *, percent: float) -> int:
    """Print the rows of two result files with their ratios; return how many are flagged.

    Args:
        before: the JSON file of one commit.
        after: the JSON file of another.
        percent: how much slower a row may be.

    Raises:
        ValueError: a file holds no results, or they are of different sizes of the problem.
        OSError: a file cannot be read.
    """
    records = [read(path) for path in (before, after)]
    sizes = [record["config"]["size"] for record in records]
    if sizes[0] != sizes[1]:
        raise ValueError(f"sizes {sizes[0]} and {sizes[1]}: expected two files of the same size")
    old, new = (by_name(record["rows"]) for record in records)
    cells, flagged = [], 0
    for name in [name for name in old if name in new]:
        ratio = new[name].median / old[name].median
        slower = ratio > 1 + percent / 100
        flagged += slower
        medians = (show(row, row.median) for row in (old[name], new[name]))
        cells.append((*name, *medians, ratio, "SLOWER" if slower else ""))
    header = "part | work | who | before | after | after / before {:.3f} | flag"
    print(table(header, cells))
    print(f"\n{flagged} of {len(cells)} rows are slower by more than {percent:g} %")
    for path, missing in ((before, old.keys() - new.keys()), (after, new.keys() - old.keys())):
        for name in sorted(missing):
            print(f"only in {path}: {', '.join(name)}")
    return flagged


def read(path: Path) -> Any:
    """Return what a result file holds."""
    try:
        record = json.loads(path.read_text())
        by_name(record["rows"])
        record["config"]["size"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a JSON file that `python -m experiments.benchmark` wrote"
        ) from error
    return record


def by_name(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str], Row]:
    """Return the rows of a file by part, work and peer."""
    found = (Row(**row) for row in rows)
    return {(row.part, row.work, OUTCOME.sub("", row.peer)): row for row in found}


if __name__ == "__main__":
    main()
