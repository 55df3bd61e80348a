"""Run the notes from beginning to end and write one report.

    python -m experiments                      # the embedded digits; under 90 s on two cores
    python -m experiments --dataset cifar10    # all of CIFAR-10; minutes

Every section is also a command of its own, with its own options: `python -m experiments.race`.
"""

import importlib
import importlib.util
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
    "optax_comparison",
    "templates",
    "certificate",
    "race",
    "claims",
)


@dataclass(frozen=True)
class Config(common.Config):
    """The options of the main job; each section keeps its defaults for the rest."""

    sections: tuple[str, ...] = SECTIONS
    """Which sections, in which order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.one_of("sections", self.sections, SECTIONS)


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    sections = []
    for name in config.sections:
        if importlib.util.find_spec(f"experiments.{name}") is None:
            continue
        module = importlib.import_module(f"experiments.{name}")
        options = {"dataset": config.dataset, "seeds": config.seeds, "out": config.out}
        sections.append((module, module.Config(**options, name=config.name)))
    sys.exit(common.execute("notes", sections, config))


if __name__ == "__main__":
    main()
