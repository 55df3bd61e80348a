"""A page to play with: three classes, a few points, nine weights, and every strategy of the notes.

    python -m experiments.hiker                      # writes runs/hiker.html: open it in a browser
    python -m experiments.hiker --out elsewhere.html

One file, which asks for nothing and needs no server. Drag the points, choose a loss and a strategy,
and press play; how far the bottom is stands beside it, proved.

Bad input is one line on stderr and exit status 2; a file that cannot be written, status 5.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.shared import command_line, page
from experiments.shared.failures import CANNOT_WRITE, fail, say
from experiments.shared.record import write_text


@dataclass(frozen=True)
class Config:
    """Write the page.

    Attributes:
        out: The file.
    """

    out: Path = Path("runs/hiker.html")


def main() -> None:
    sys.exit(execute(command_line.read(Config, __doc__)))


def execute(config: Config) -> int:
    """Write the page and return the exit status."""
    try:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(config.out, page.document("The hiker", page.hiker()))
    except OSError as error:
        return fail(CANNOT_WRITE, str(error))
    return say(f"Open {config.out} in a browser.")


if __name__ == "__main__":
    main()
