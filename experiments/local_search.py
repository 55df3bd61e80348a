"""Does it help to start each try from the best so far? The notes' strategy #2.

    python -m experiments.local_search --seeds 5 --dataset cifar10

W starts as 1e-3 times a normal draw; each of 1000 tries adds a normal step of 1e-4 and is kept if
the training loss falls. The notes report 21.4 % on CIFAR-10's test images.

Expected on CIFAR-10 (mean image subtracted, pixels otherwise unscaled): 19 to 24 %, and a final
loss that is *higher* than random search's. That is no mistake: a W ten times larger has scores,
and so losses, ten times larger, and accuracy does not see the scale.

The seeds' searches share their matrix products (`jaxsvm.local_searches`), so many cost little more
than one: seconds on digits; on CIFAR-10, two cores, half a minute for 5 seeds and 1.5 for 50.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.shared import options, record, runner, searches, settings
from experiments.shared.figures import Figures, Picture, curves_over_seeds
from experiments.shared.report import Story
from experiments.shared.text import counted, spread, table

STORY = Story(
    "Does it help to start from the best so far?",
    r"""The notes' second strategy: the hiker feels around with a foot. From the present $W$ try a
random step, $W + \delta W$, and stand there if the loss is lower. A thousand tries cost exactly as
many loss evaluations as a thousand blind draws did, so the comparison is fair.

In the notes' listing the first try is always taken, since the best loss begins at infinity. Here
the start is evaluated, and the first try has to earn its place like all others.""",
    "Each try asks one question, better or worse, and most of what it could have learned is thrown "
    "away. The slope of the land says at once which of *all* directions is the best. How is it "
    "had?",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Improve W by random steps.

    Attributes:
        num_steps: How many tries.
        start_scale: Standard deviation of the entries of the first W.
        step_size: Standard deviation of the entries of a step.
    """

    num_steps: options.Count = 1000
    start_scale: options.Positive = 1e-3
    step_size: options.Positive = 1e-4


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.source, "centred")
    sizes = config.start_scale, config.step_size
    found = searches.search_locally(dataset, *sizes, config.num_steps, config.seeds)
    columns = {name: found[name] for name in ("best_loss", "accepted")}
    return {
        **found,
        "dataset": settings.facts(dataset),
        "num_accepted": found["accepted"].sum(axis=1),
        "trace": record.trace(("seed", "step"), **columns),
    }


def plot(arrays: dict[str, Any]) -> Figures:
    steps = np.arange(arrays["best_loss"].shape[1] + 1)
    losses = np.column_stack([arrays["start_loss"], arrays["best_loss"]])
    accepted = np.cumsum(arrays["accepted"], axis=1)
    return {
        "loss": Picture(
            curves_over_seeds(
                {"loss": (steps, losses)}, step=True, xlabel="tries (loss evaluations)",
                ylabel="training loss of the kept W", title="Down, one lucky step at a time",
            ),
            "Median over seeds, in a band of their quartiles. Compare its width with that of blind "
            "draws: luck evens out over many small steps.",
            "Stair line chart of the training loss, which falls steadily with the tries.",
        ),
        "accepted_steps": Picture(
            curves_over_seeds(
                {"accepted": (steps[1:], accepted)}, xlabel="tries (loss evaluations)",
                ylabel="steps accepted so far", title="How many tries are kept",
            ),
            "Half of all directions go down on a straight slope. Where the curve bends below that "
            "the steps have become long for the valley, and tries are wasted.",
            "Line chart of the number of accepted steps against tries.",
        ),
    }  # fmt: skip


def report(arrays: dict[str, Any]) -> str:
    seeds, num_steps = arrays["accepted"].shape
    rows = [
        ("training loss at the start", spread(arrays["start_loss"], ".3f")),
        ("training loss at the end", spread(arrays["best_loss"][:, -1], ".3f")),
        ("steps accepted", spread(arrays["num_accepted"], ".0f")),
        ("test accuracy at the start, %", spread(arrays["start_accuracy"], ".1%")),
        ("test accuracy at the end, %", spread(arrays["test_accuracy"], ".1%")),
    ]
    share = 100 * np.median(arrays["num_accepted"]) / num_steps
    return (
        f"{num_steps:,} tries lead from {spread(arrays['start_accuracy'], '.1%')} % of the test "
        f"examples to {spread(arrays['test_accuracy'], '.1%')} % (median [lowest, highest] of "
        f"{counted(seeds, 'seed')}); {share:.0f} % of the tries went down.\n\n"
        f"{table('measured | median [lowest, highest] over seeds', rows)}\n\n"
        "[[loss]]\n\n[[accepted_steps]]"
    )


if __name__ == "__main__":
    runner.main(__name__)
