"""The proved bottom of an objective: two numbers between which its minimum lies.

A strategy's objective less the lower one is at least its true distance from the minimum, and less
the upper one at most that. So strategies are compared with the best there is, not with each other.
"""

import warnings
from typing import Any

from experiments.shared.compilation import compiled_as_started
from experiments.shared.kept_runs import kept_solve
from experiments.shared.once import once
from experiments.shared.settings import suiting
from jaxsvm import Dataset, Objective, Solution
from jaxsvm.core.trees import digests

# What is proved by then is shown, whatever the gap is: a proof for a figure is not to take longer
# than what the figure shows.
MOST_PASSES = 400


def proved_bottom(objective: Objective, dataset: Dataset) -> dict[str, Any]:
    """Return bounds of the minimum over the training part, and the passes that the proof took.

    Without a penalty nothing but "no loss is below 0" is proved, and nothing is solved.

    Args:
        objective: with a convex loss of the hinge family.
        dataset: whose `Settings` say how small the relative gap is to be.

    Returns:
        ``dual``, which no W is below; ``primal``, which some W reaches, infinite without a penalty;
        and ``passes`` over the data.
    """
    if objective.reg == 0:
        return {"dual": 0.0, "primal": float("inf"), "passes": 0}
    found = proved_solution(objective, dataset)
    return {name: getattr(found, name) for name in ("dual", "primal", "passes")}


def proved_solution(objective: Objective, dataset: Dataset) -> Solution:
    """Return a W near the minimum over the training part, and its proof; reg > 0.

    Several sections of a run that ask for the same get one, in whichever way they are compiled.
    """
    identity = {
        "what": "bottom", "objective": [repr(objective.loss), objective.reg, objective.delta],
        "penalty": objective.penalty.__name__, "data": digests([dataset.shift, dataset.scale]),
    }  # fmt: skip
    with compiled_as_started():
        found = once(identity, lambda: _solved(objective, dataset)._asdict())
    return Solution(**found)


def _solved(objective: Objective, dataset: Dataset) -> Solution:
    # Who shows the bounds shows the gap that was reached.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return kept_solve(
            objective, dataset.train, num_classes=len(dataset.class_names), max_passes=MOST_PASSES,
            gap_tolerance=suiting(dataset).proof_gap,
        )  # fmt: skip


def described(bottom: dict[str, Any]) -> str:
    """Return what is known of the minimum, as a sentence."""
    low, high = bottom["dual"], bottom["primal"]
    if high == float("inf"):
        return "Without a penalty only this much is proved: no W has an objective below 0."
    return (
        f"The minimum lies between {low:.6g} and {high:.6g}: proved, by a solver of the dual "
        f"problem, in {bottom['passes']} passes over the data."
    )
