"""Which multiclass hinge is the best, each at its own certified optimum?

    python -m experiments.losses
    python -m experiments.losses --dataset cifar10 --num-examples 5000

Every machine of the family (`jaxsvm.core.FAMILY`) is solved to a proved gap for a path of regs,
with hinges and with squared hinges; reg is chosen on the validation part and the accuracy there is
measured on the test part. So the losses are compared, not how well each was optimized. Then the
question that theory asks: is a consistent loss, one whose minimizer over all functions predicts the
likeliest class, the better one?

Expected on digits: the relative and the one-vs-rest machines agree within what 300 test images can
tell, the consistent ones are not ahead, and the maxima over centred margins (ADM, ATM) learn
nothing: W = 0 is their optimum, to the proved gap.
A few minutes on digits, nearly all of it compilation, on two cores.
"""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared import options, recipes, runner, settings
from experiments.shared.figures import Figures, Picture, accuracy_against_reg
from experiments.shared.kept_runs import kept_path
from experiments.shared.report import Story
from experiments.shared.text import table_of
from jaxsvm import Data, Dataset, Objective
from jaxsvm import plot as draw
from jaxsvm.core import FAMILY, Hinge

# Fisher consistent for any number of classes (Liu, AISTATS 2007; Liu & Yuan, JCGS 2011).
CONSISTENT = ("Lee-Lin-Wahba", "reinforced")

STORY = Story(
    "Is this the best of the hinges?",
    r"""The notes' loss is one of a family. Each member is four choices: which margins, over which
classes, summed or the largest, hinges or their squares. They are compared here at their proved
optima, so that no difference is one of how well each was trained. Theory adds a question: some
members are *consistent*, that is, with enough data and any function at all they would end at the
likeliest class. Are those the better ones?""",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Certify every member of the family. --seeds changes nothing: the optima are not random.

    Attributes:
        regs: The penalty's weights to choose from.
        gap_tolerance: Relative gap to prove at each.
        max_passes: Passes over the data at most, for each.
        num_examples: Training examples; by default all.
        members: Which machines, by their names in the literature.
    """

    regs: tuple[options.Positive, ...] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
    gap_tolerance: options.Positive = 1e-2
    max_passes: options.Count = 1000
    num_examples: options.Count | None = None
    members: tuple[Annotated[str, options.one_of(tuple(FAMILY))], ...] = tuple(FAMILY)

    measures_seconds: ClassVar[bool] = True


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.source, "scaled")
    train = recipes.first(dataset.train, config.num_examples)
    found = [member(FAMILY[name], train, dataset, config) for name in config.members]
    return {
        "dataset": settings.facts(dataset),
        "members": list(config.members),
        "regs": np.sort(np.array(config.regs))[::-1],
        "num_examples": len(train.y),
        "num_test": len(dataset.test.y),
        "gap_tolerance": config.gap_tolerance,
        **{key: np.stack([part[key] for part in found]) for key in found[0]},
    }


def member(loss: Hinge, train: Data, dataset: Dataset, config: Config) -> dict[str, np.ndarray]:
    """Solve one machine for every reg, each from the reg before.

    Returns:
        For each reg, the largest first: accuracies on the validation and the test part, the proved
        relative gap, whether W = 0 is as good to that gap, the share of examples that still push,
        and the seconds, which for the first reg hold the compilation.
    """
    objective = Objective(loss=loss)
    # The table says which gap was reached.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        points = kept_path(
            objective, train, dataset.validation,
            regs=config.regs, gap_tolerance=config.gap_tolerance, max_passes=config.max_passes,
            num_classes=len(dataset.class_names),
        )  # fmt: skip
    solutions = [point.solution for point in points]
    at_zero = float(objective(jnp.zeros_like(solutions[0].W), train))
    return {
        "validation": np.array([point.accuracy for point in points]),
        "test": np.array([float(jaxsvm.accuracy(s.W, dataset.test)) for s in solutions]),
        "gap": np.array([s.gap / s.primal if s.primal > 0 else 0.0 for s in solutions]),
        "trivial": np.array([s.dual >= (1 - config.gap_tolerance) * at_zero for s in solutions]),
        "support": np.array([support(s) for s in solutions]),
        "seconds": np.array([s.history.seconds[-1] for s in solutions]),
    }


def support(solution: Any) -> float:
    """Return the share of the training examples whose hinges still push."""
    return float(np.mean(np.asarray(solution.dual_variables.sum(axis=1)) > 0))


def chosen(arrays: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each member's best reg on validation data (its index), test accuracy and its error.

    Where W = 0 is as good as the optimum, to the proved gap, the accuracy means nothing: such a reg
    is chosen only where there is no other.
    """
    best = np.argmax(np.where(arrays["trivial"], -1, arrays["validation"]), axis=1)
    accuracy = np.take_along_axis(arrays["test"], best[:, None], axis=1)[:, 0]
    return best, accuracy, np.sqrt(accuracy * (1 - accuracy) / arrays["num_test"])


def plot(arrays: dict[str, Any]) -> Figures:
    names, regs = arrays["members"], arrays["regs"]
    _, accuracy, error = chosen(arrays)
    order = np.argsort(-accuracy, kind="stable")
    bars = draw.bars(
        [labelled(names[i]) for i in order], 100 * accuracy[order],
        errors=100 * np.stack([error, error])[:, order],
        xlabel="test accuracy at the reg chosen on validation data, % ± a standard error",
        title="The hinge family, each at its certified optimum",
    )  # fmt: skip
    figures: Figures = {
        "test_accuracy": Picture(
            bars,
            "Each machine at its own best reg; whiskers are a standard error. Machines whose "
            "whiskers overlap cannot be told apart by this test part.",
            f"Bar chart of the test accuracy of {len(names)} machines with standard errors.",
        )
    }
    for squared, shown in by_power(names):
        if shown:
            figures[f"accuracy_against_reg{'_squared' * squared}"] = accuracy_against_reg(
                regs, {names[i]: arrays["test"][i] for i in shown}, "test accuracy, %",
                title=f"Optima along reg, {'squared ' * squared}hinges",
            )  # fmt: skip
    return figures


def by_power(names: list[str]) -> list[tuple[bool, list[int]]]:
    """Return (False, which members have hinges) and (True, which have squared hinges)."""
    squared = [name.startswith("squared") for name in names]
    return [(kind, [i for i, s in enumerate(squared) if s == kind]) for kind in (False, True)]


def labelled(name: str) -> str:
    """Return a member's name, marked if the member is consistent."""
    return f"{name} (consistent)" if is_consistent(name) else name


def is_consistent(name: str) -> bool:
    """Whether a member is one of those known to be consistent, squared or not."""
    return name.removeprefix("squared ") in CONSISTENT


def report(arrays: dict[str, Any]) -> str:
    names, regs = arrays["members"], arrays["regs"]
    best, accuracy, error = chosen(arrays)
    learns = ~arrays["trivial"].all(axis=1)
    tested = map("{:.2f} ± {:.2f}".format, 100 * accuracy, 100 * error)
    cells = np.where(learns, list(tested), "W = 0 is as good")
    order = np.argsort(-accuracy, kind="stable")
    chosen_regs = order, best[order]
    columns = {
        "machine": [labelled(names[i]) for i in order],
        "best reg {:g}": regs[best[order]],
        "validation accuracy, % {:.2%}": arrays["validation"][chosen_regs],
        "test accuracy, %": cells[order],
        "largest relative gap {:.1e}": arrays["gap"].max(axis=1)[order],
        "support vectors, % {:.1%}": arrays["support"][chosen_regs],
        "seconds after the first reg {:.2f}": arrays["seconds"][order, 1:].sum(axis=1),
    }
    first = order[0]
    paths = "[[accuracy_against_reg]]\n\n[[accuracy_against_reg_squared]]"
    return (
        f"{names[first]} is ahead with {100 * accuracy[first]:.2f} ± {100 * error[first]:.2f} % of "
        f"the test examples, and {np.sum(accuracy >= accuracy[first] - 2 * error[first])} of "
        f"{len(names)} machines are within two of its standard errors.\n\n[[test_accuracy]]\n\n"
        f"{arrays['num_examples']:,} training examples, {arrays['num_test']:,} test examples; "
        f"every optimum to a relative gap of {arrays['gap_tolerance']:g} where the table shows no "
        "larger one. Errors are standard errors of a share of the test examples. Where every reg's "
        "optimum is W = 0 to the proved gap, an accuracy would mean nothing.\n\n"
        f"{table_of(columns)}\n\n{paths}\n\n{verdict(names, np.where(learns, accuracy, 0), error)}"
    )


def verdict(names: list[str], accuracy: np.ndarray, error: np.ndarray) -> str:
    """Answer whether the consistent losses are the better ones, for hinges and squared hinges."""
    answers = []
    for squared, shown in by_power(names):
        consistent = [i for i in shown if is_consistent(names[i])]
        others = [i for i in shown if i not in consistent]
        if not (consistent and others):
            continue
        first, second = (max(group, key=lambda i: accuracy[i]) for group in (consistent, others))
        ahead = accuracy[first] - accuracy[second]
        noise = 2 * np.hypot(error[first], error[second])
        word = "no: no difference that this test part shows"
        if abs(ahead) > noise:
            word = "yes" if ahead > 0 else "no: it is the worse one"
        answers.append(
            f"Is the consistent loss the better one ({'squared ' * squared}hinges)? {word}. The "
            f"best consistent machine, {names[first]}, has {100 * accuracy[first]:.2f} %, the best "
            f"of the others, {names[second]}, {100 * accuracy[second]:.2f} %; two standard errors "
            f"of the difference are {100 * noise:.2f}."
        )
    return "\n\n".join(answers)


if __name__ == "__main__":
    runner.main(__name__)
