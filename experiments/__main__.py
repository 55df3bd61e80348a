"""Run the notes from beginning to end and write one report.

    python -m experiments                      # the embedded digits; a minute or two on two cores
    python -m experiments --dataset cifar10    # all of CIFAR-10; minutes
    python -m experiments --X X.npy --y y.npy  # data of your own

Every section is also a command of its own, with its own options: `python -m experiments.race`. A
run that was ended, by Ctrl-C, a kill or a crash, goes on with the same command and its `--name`:
what had finished is kept.
"""

import dataclasses
import importlib
import sys
from dataclasses import dataclass
from typing import Annotated

from experiments.shared import command_line, options, runner
from experiments.shared.compilation import keep_programs

# In the notes' order.
SECTIONS = (
    "landscape", "random_search", "local_search", "gradient_check", "step_size", "gradient_descent",
    "minibatch", "templates", "race", "claims",
)  # fmt: skip
# Beyond the notes; run them by name, here or as commands of their own.
FURTHER = ("optax_comparison", "certificate", "losses", "features")


@dataclass(frozen=True)
class Config(options.Config):
    """The options of the main job; each section keeps its defaults for the rest.

    Attributes:
        sections: Which sections, in which order; optax_comparison, certificate, losses and
            features may be named too.
        workers: Sections run at a time. 1 gives each the whole machine: for seconds to be quoted.
    """

    sections: Annotated[
        tuple[Annotated[str, options.one_of(SECTIONS + FURTHER)], ...], options.distinct
    ] = SECTIONS
    workers: options.Count = 2


def main() -> None:
    keep_programs()
    config = command_line.read(Config, __doc__)
    same = {field.name: getattr(config, field.name) for field in dataclasses.fields(options.Config)}
    sections = []
    for name in config.sections:
        module = importlib.import_module(f"experiments.{name}")
        sections.append((module, module.Config(**same)))
    sys.exit(runner.execute("notes", sections, config, config.workers))


if __name__ == "__main__":
    main()
