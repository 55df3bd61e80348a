"""The command line of an experiment: options are read, and a refusal is one line.

tyro makes the options of a dataclass, and writes what it refuses as a box of many lines. Here the
box becomes one line on stderr, as all other bad input is said; ``--help`` is what tyro writes.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from experiments.shared.failures import BAD_INPUT, fail, is_ours

T = TypeVar("T")
SIDES, RULE = "│ ", "─-"  # of a box; where the screen has no such letters, blanks and "-"


def read(kind: type[T], about: str | None, arguments: Sequence[str] | None = None) -> T:
    """Return what a command line says; end the process with status 2 where it cannot be read.

    Args:
        kind: a dataclass whose fields are the options.
        about: the text of ``--help`` above the options.
        arguments: of the command line; by default this process's.
    """
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            found = tyro.cli(kind, args=arguments, description=about)
    except SystemExit as end:
        if end.code == BAD_INPUT:
            refused = end.__context__  # by a check of ours, which says all that is to be said
            ours = isinstance(refused, ValueError) and is_ours(refused)
            sys.exit(fail(BAD_INPUT, str(refused) if ours else reduced(written.getvalue())))
        raise
    sys.stderr.write(written.getvalue())
    return found


def reduced(box: str) -> str:
    """Return what one of tyro's boxes says, on one line.

    Its title repeats the first lines, and its last part names the program's path.
    """
    parts = [""]
    for line in (line.strip(SIDES) for line in box.splitlines()[1:-1]):
        if line and not line.strip(RULE):
            parts.append("")
        else:
            parts[-1] += f" {line}"
    said = "; ".join(part.strip(" .") for part in parts[:-1])
    return f"{said.replace('Argument helptext', 'expected')}; --help lists what there is"
