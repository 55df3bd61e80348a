"""Write the measured tables of README.md: each is what a command left or printed.

    python -m experiments.benchmark.readme runs/benchmark/*.json   # of the parts in these files
    python -m experiments.benchmark.readme --run tests.bad_inputs  # runs it, takes what it prints

A table stands between ``<!-- table: which -->`` and ``<!-- end -->``. ``which`` is one of the
benchmark's tables (`experiments.benchmark.speed_tables`), whose numbers are those of a JSON file
that a part wrote, or a command that prints the table. Every other table stays as it is.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.benchmark import speed_tables
from experiments.shared import command_line
from experiments.shared.failures import BAD_INPUT, CANNOT_WRITE, fail, say
from experiments.shared.record import write_text

_BLOCK = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Config:
    """Write measured tables of a README anew.

    Attributes:
        records: JSON files that `experiments.benchmark` wrote.
        run: Run the commands that have this in them, and take the tables that they print.
        readme: The file.
    """

    records: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    run: str = ""
    readme: Path = Path("README.md")


def main(arguments: list[str] | None = None) -> None:
    config = command_line.read(Config, __doc__, arguments)
    try:
        text = config.readme.read_text()
        texts: dict[str, str] = {}
        for path in config.records:
            texts |= speed_tables.tables(json.loads(path.read_text()))
        names = [name for _, name, _ in _BLOCK.findall(text)]
        commands = [name for name in names if name.startswith("python") and config.run]
        texts |= {name: printed(name) for name in commands if config.run in name}
    except (OSError, ValueError, LookupError, TypeError) as error:
        sys.exit(fail(BAD_INPUT, f"cannot read a table: {error}"))
    new = [name for name in names if name in texts]
    if not new:
        sys.exit(fail(BAD_INPUT, f"no table to write; {config.readme} has {', '.join(names)}"))
    try:
        write_text(config.readme, filled(text, texts))
    except OSError as error:
        sys.exit(fail(CANNOT_WRITE, str(error)))
    sys.exit(say(f"wrote {', '.join(new)}"))


def filled(text: str, tables: Mapping[str, str]) -> str:
    """Return the text with these tables in their places."""
    return _BLOCK.sub(lambda found: found[1] + tables.get(found[2], found[3]), text)


def printed(command: str) -> str:
    """Run a command of Python and return the first table in what it prints.

    Raises:
        ValueError: it printed none; what it said is on stderr.
    """
    words = [sys.executable, *shlex.split(command)[1:]]
    ran = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    found = _TABLE.search(ran.stdout + "\n")
    if not found:
        raise ValueError(f"{command} ended with status {ran.returncode} and printed no table")
    if ran.returncode:  # such as where not every fault was survived: the table says so
        print(f"{command} ended with status {ran.returncode}", file=sys.stderr)
    return found[0]


if __name__ == "__main__":
    main()
