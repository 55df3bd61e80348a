"""Set the results of two commits beside each other, row by row.

    python -m experiments.benchmark.compare before.json after.json [--percent 5]

The files are those that `python -m experiments.benchmark` writes; take them in turns on one
machine. Prints a markdown table of medians and of their ratio, after over before. A row is flagged
if it is slower (or needs more memory) by more than ``--percent``; the exit status is 1 if any is.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmark.harness import Row, show
from experiments.shared import report

# A peer's name may end in what its run reached, and that differs between runs.
OUTCOME = re.compile(r"(: |, (under|OVER) ).*")


def compare(
    before: tyro.conf.Positional[Path], after: tyro.conf.Positional[Path], *, percent: float = 5.0
) -> int:
    """Print the rows of two result files with their ratios; return how many are flagged.

    Args:
        before: the JSON file of one commit.
        after: the JSON file of another.
        percent: how much slower a row may be.

    Raises:
        ValueError: the files are of different sizes of the problem.
    """
    records = [json.loads(path.read_text()) for path in (before, after)]
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
    print(report.table(header, cells))
    print(f"\n{flagged} of {len(cells)} rows are slower by more than {percent:g} %")
    for path, missing in ((before, old.keys() - new.keys()), (after, new.keys() - old.keys())):
        for name in sorted(missing):
            print(f"only in {path}: {', '.join(name)}")
    return flagged


def by_name(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str], Row]:
    """Return the rows of a file by part, work and peer."""
    found = (Row(**row) for row in rows)
    return {(row.part, row.work, OUTCOME.sub("", row.peer)): row for row in found}


if __name__ == "__main__":
    sys.exit(min(tyro.cli(compare, description=__doc__), 1))
