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
from experiments.shared.compilation import compile_quickly, keep_programs
from experiments.shared.garbage import collect_rarely
from experiments.shared.report import Story
from experiments.shared.run import Front

# In the notes' order.
SECTIONS = (
    "landscape", "random_search", "local_search", "gradient_check", "step_size", "gradient_descent",
    "minibatch", "templates", "race", "claims",
)  # fmt: skip
FRONT = Front(
    Story(
        "How to get down a hill that you cannot see",
        r"""A linear classifier gives every class a score, $s = Wx$, with one row of $W$ for each
class, and answers with the class whose score is highest. The multiclass SVM says which $W$ are
good ones: the score of the right class $y_i$ is to be above every other score by a margin
$\Delta = 1$. What is missing is the loss, and large weights cost a little too:

$$L(W) = \frac{1}{N} \sum_i \sum_{j \neq y_i}
\max\left(0,\; w_j^\top x_i - w_{y_i}^\top x_i + \Delta\right)
\;+\; \mathrm{reg} \sum_{k,d} W_{kd}^2$$

To train is to find the $W$ with the lowest loss. The CS231n course notes on optimization ask how,
and try one idea after the other, from blind luck to the gradient of a few examples at a time. Think
of a hiker with a blindfold: a point of the land is a $W$, its height is the loss, and the way down
has to be found by feeling. This page follows the hiker from the beginning to the end. Each section
asks one question, answers it by measuring, and leads to the next.

One thing here is not in the notes. The loss is made of straight pieces and has no second valley, so
the height of the lowest point can be *proved*. Every strategy is measured from there, not against
the others.""",
    ),
    picture=("race", "above_the_bottom_against_passes"),
)
# Beyond the notes; run them by name, here or as commands of their own.
FURTHER = ("optax_comparison", "certificate", "losses", "features", "scaling")


@dataclass(frozen=True)
class Config(options.Config):
    """The options of the main job; each section keeps its defaults for the rest.

    Attributes:
        sections: Which sections, in which order; optax_comparison, certificate, losses,
            features and scaling may be named too.
        animate: Whether the landscape is also written as a GIF of hikers that walk down it.
        workers: Sections run at a time. Those whose seconds are measured run alone in any case.
    """

    sections: Annotated[
        tuple[Annotated[str, options.one_of(SECTIONS + FURTHER)], ...], options.distinct
    ] = SECTIONS
    animate: bool = False
    workers: options.Count = 2


def main() -> None:
    collect_rarely()
    keep_programs()
    config = command_line.read(Config, __doc__)
    compile_quickly(config.source)
    given, sections = vars(config), []
    for name in config.sections:
        module = importlib.import_module(f"experiments.{name}")
        fields = {field.name for field in dataclasses.fields(module.Config)}
        # Each section takes what it has of these options.
        sections.append((module, module.Config(**{k: given[k] for k in fields & given.keys()})))
    sys.exit(runner.execute("notes", sections, config, config.workers, FRONT))


if __name__ == "__main__":
    main()
