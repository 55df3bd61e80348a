"""Run the notes from beginning to end and write one report.

    python -m experiments                      # the embedded digits; under 90 s on two cores
    python -m experiments --dataset cifar10    # all of CIFAR-10; minutes

Every section is also a command of its own, with its own options: `python -m experiments.race`.
"""

import importlib
import sys
from dataclasses import dataclass

import tyro

from experiments import common

# In the notes' order.
SECTIONS = (
    "landscape",
    "random_search",
    "local_search",
    "gradient_check",
    "step_size",
    "gradient_descent",
    "minibatch",
    "templates",
    "race",
    "claims",
)
# Beyond the notes; run them by name, here or as commands of their own.
FURTHER = ("optax_comparison", "certificate")


@dataclass(frozen=True)
class Config(common.Config):
    """The options of the main job; each section keeps its defaults for the rest."""

    sections: tuple[str, ...] = SECTIONS
    """Which sections, in which order; optax_comparison and certificate may be named too."""

    workers: int = 2
    """Sections run at a time. 1 gives each the whole machine: for seconds to be quoted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.at_least("workers", self.workers, 1)
        common.one_of("sections", self.sections, SECTIONS + FURTHER)


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    sections = []
    for name in config.sections:
        module = importlib.import_module(f"experiments.{name}")
        options = {"dataset": config.dataset, "seeds": config.seeds, "out": config.out}
        sections.append((module, module.Config(**options, name=config.name)))
    sys.exit(common.execute("notes", sections, config, config.workers))


if __name__ == "__main__":
    main()
