"""From your own examples to a classifier with a proof: one command, a model file and a report.

    python -m experiments.fit --X X.npy --y y.npy
    python -m experiments.fit --X table.csv --y species
    python -m experiments.fit --X photos/ --loss one-vs-rest
    python -m experiments.fit --dataset digits

Each feature is standardized by the training part (the model file undoes it, so that it takes raw
inputs). reg is chosen on the validation part, or by cross-validation, from a path of certified
solutions; then W is solved on all but the test part until it is proved to be near the best there
is. The test part is looked at once, at the end. The run's folder gets `report.html` and
`model.npz`, for `python -m experiments.predict`, or `jaxsvm.load` and its `predict`.

Expected: 97 % of the test part on digits, 40 % on CIFAR-10. Seconds on digits, nearly all of them
compilation; minutes on CIFAR-10, on two cores.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

import jaxsvm
from experiments.shared import devices, options, pictures, runner, settings
from experiments.shared.figures import Figures, Picture, accuracy_against_reg
from experiments.shared.kept_runs import kept_path, kept_solve
from experiments.shared.report import Story
from experiments.shared.text import as_text, table_of
from jaxsvm import Data, Dataset, Model, Objective, StandardizedFeatures
from jaxsvm import plot as draw
from jaxsvm.core import FAMILY
from jaxsvm.model import Certificate, FittedOn

# The penalty's weights to choose from, in units of the mean of ‖x‖² over N, in which the best ones
# of large and small data are alike; `solve` has one way for all of these.
GRID = (8.0, 3.0, 1.0, 0.3, 0.1, 0.03)
# With fewer held-out examples than this their accuracy is too coarse to choose by, and there are as
# many folds.
FEW_HELD_OUT, FOLDS = 100, 5
# Errors of an accuracy beyond which a difference is taken to be one.
ERRORS = 3

STORY = Story(
    "How good is a linear classifier of these examples?",
    r"""Each feature is shifted and scaled by its mean and deviation. The weight of the penalty,
$\mathrm{reg}$, is chosen on examples that were held out. Then $W$ is solved on all but the test
part, until it is *proved* to be near the best there is, and the test part is looked at once.""",
)


def fold_count(name: str, value: int) -> None:
    """Check that a number of folds is 0 or at least 2."""
    if value < 0 or value == 1:
        raise ValueError(f"{name} = {value}: expected 0, for the validation part, or 2 and more")


@dataclass(frozen=True)
class Config(options.Config):
    """Fit a linear SVM and prove it. --seeds changes nothing: the optimum is not random.

    Attributes:
        loss: Which hinge, by its name in the literature.
        regs: The penalty's weights to choose from; by default six that suit the data.
        folds: Parts of a cross-validation; 0 holds the validation part out instead. By default 5
            where that has fewer than 100 examples, else 0.
        path_tolerance: Relative gap to prove at each reg of the path.
        gap_tolerance: Relative gap to prove at the end.
    """

    loss: Annotated[str, options.one_of(tuple(FAMILY))] = "Weston-Watkins"
    regs: tuple[options.Positive, ...] | None = None
    folds: Annotated[int, fold_count] | None = None
    path_tolerance: options.Positive = 2e-2
    gap_tolerance: options.Positive = 1e-3


def run(config: Config) -> dict[str, Any]:
    dataset = settings.read(config.source, scale="columns")
    objective, C = Objective(loss=FAMILY[config.loss]), len(dataset.class_names)
    everything = joined(dataset.train, dataset.validation)
    # The report says which gap was reached.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        path = measure_path(objective, dataset, everything, config)
        reg = float(path["regs"][best_of(path)])
        chosen = dataclasses.replace(objective, reg=reg)
        tolerance = config.gap_tolerance
        solution = kept_solve(
            chosen, devices.spread(everything), num_classes=C, gap_tolerance=tolerance
        )
    every = joined(everything, dataset.test)
    # What is found on all devices is looked at on one.
    here: Any = {name: np.asarray(getattr(solution, name)) for name in ("W", "dual_variables")}
    solution = solution._replace(**here)
    answers = np.asarray(jax.jit(jaxsvm.predict)(solution.W, every.X))
    model = jaxsvm.model_of(dataset, chosen, solution)
    known, test = np.asarray(everything.y), np.asarray(dataset.test.y)
    confusion = np.zeros((C, C), int)
    np.add.at(confusion, (test, answers[len(known) :]), 1)
    return {
        "dataset": settings.facts(dataset),
        "path": path,
        "reg": reg,
        "confusion": confusion,
        "train_accuracy": float(np.mean(answers[: len(known)] == known)),
        "num_examples": [len(part.y) for part in (dataset.train, dataset.validation, dataset.test)],
        "gap_tolerance": tolerance,
        "loss": config.loss,
        "is_images": settings.has_images(dataset),
        "features": pictures.names_of_features(dataset),
        "model": dict(vars(model)),
        **pictures.hardest(dataset._replace(train=everything), solution),
    }


def joined(first: Data, second: Data) -> Data:
    """Return the examples of two parts of one dataset as one."""
    both = zip(stored(first), stored(second), strict=True)
    return restored(first, *map(np.concatenate, both))


def rows(data: Data, index: np.ndarray) -> Data:
    """Return some of the examples."""
    return restored(data, *(array[index] for array in stored(data)))


def stored(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Return the examples as they are in memory, bytes or floats, and the labels."""
    X: Any = data.X
    return np.asarray(X.values if isinstance(X, StandardizedFeatures) else X), np.asarray(data.y)


def restored(like: Data, X: np.ndarray, y: np.ndarray) -> Data:
    """Return examples as they are in memory in the form of those that they are like."""
    # NumPy's copies need no compiling.
    features: Any = jax.device_put(X)
    if isinstance(like.X, StandardizedFeatures):
        features = dataclasses.replace(like.X, values=features)
    return Data(features, jax.device_put(y))


def divided(dataset: Dataset, everything: Data, folds: int) -> Iterator[tuple[Data, Data]]:
    """Yield pairs of examples to solve on and examples to choose reg by.

    The folds are stratified. What is solved on is filled up to the number of all examples with
    repeats of its first ones, whose order is random: one compiled program then serves the whole
    path, every fold and the last solve, and compiling is what takes the time on small data.

    Raises:
        ValueError: there are too few examples for that.
    """
    N = len(everything.y)
    if folds > N or (folds == 0 and len(dataset.validation.y) == 0):
        raise ValueError(
            f"folds = {folds} with {N} examples beside the test part: expected 2 to {N}, or more "
            "examples"
        )
    if folds == 0:
        yield rows(dataset.train, np.arange(N) % len(dataset.train.y)), dataset.validation
        return
    by_class = np.argsort(np.asarray(everything.y), kind="stable")
    for k in range(folds):
        held = np.sort(by_class[k::folds][: N // folds])
        rest = np.setdiff1d(np.arange(N), held)
        yield rows(everything, rest[np.arange(N) % len(rest)]), rows(everything, held)


def measure_path(
    objective: Objective, dataset: Dataset, everything: Data, config: Config
) -> dict[str, Any]:
    """Return, for each reg, the largest first, the mean accuracy held out and the largest gap."""
    accuracies, gaps, num_held_out = [], [], 0
    regs = np.sort(np.array(config.regs or suiting_regs(everything)))[::-1]
    folds = config.folds
    if folds is None:
        folds = FOLDS if len(dataset.validation.y) < FEW_HELD_OUT else 0
    for data, held_out in divided(dataset, everything, folds):
        points = kept_path(
            objective, devices.spread(data), held_out,
            regs=regs.tolist(), gap_tolerance=config.path_tolerance,
            num_classes=len(dataset.class_names),
        )  # fmt: skip
        num_held_out += len(held_out.y)
        accuracies.append([point.accuracy for point in points])
        gaps.append([point.gap / max(point.solution.primal, 1e-30) for point in points])
    return {
        "regs": regs,
        "folds": folds,
        "accuracy": np.mean(accuracies, axis=0),
        "gap": np.max(gaps, axis=0),
        "num_held_out": num_held_out,
    }


def suiting_regs(data: Data) -> list[float]:
    """Return the weights of ``GRID`` in the units of some data, each to one digit."""
    unit = settings.mean_square(data.X) / len(data.y)
    return [float(f"{unit * factor:.0e}") for factor in GRID]


def best_of(path: dict[str, Any]) -> int:
    """Return where on the path the held-out accuracy is best; of equals, in the middle."""
    best = np.flatnonzero(path["accuracy"] == np.max(path["accuracy"]))
    return int(best[len(best) // 2])


def files(arrays: dict[str, Any]) -> dict[str, Callable[[Path], None]]:
    found = arrays["model"]
    # Out of a file these come as any tuples of these names.
    records = {
        "certificate": Certificate(*found["certificate"]),
        "fitted_on": FittedOn(*found["fitted_on"]),
    }
    return {"model.npz": functools.partial(jaxsvm.save, model=Model(**(found | records)))}


def plot(arrays: dict[str, Any]) -> Figures:
    confusion, model, path = arrays["confusion"], arrays["model"], arrays["path"]
    classes = list(model["classes"])
    share = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    weights = model["W"][:, :-1].reshape(len(classes), *model["image_shape"])
    return {
        "confusion": Picture(
            draw.heat_map(
                share, classes, classes, limits=(0.0, 100.0), cells=confusion.astype(str).tolist(),
                xlabel="answer", ylabel="class", label="share of the class's test examples, %",
                title="The test part: counts",
            ),
            "A row is a class and a column an answer. Off the diagonal are the mistakes.",
            f"Coloured matrix of {len(classes)} classes by {len(classes)} answers.",
        ),
        "accuracy_against_reg": accuracy_against_reg(
            path["regs"], {"held out": path["accuracy"]}, "accuracy on held-out examples, %",
            title="Choosing reg: each point certified",
        ),
        "templates": pictures.templates(weights, classes, arrays["features"]),
        **pictures.hardest_figures(arrays),
    }  # fmt: skip


def report(arrays: dict[str, Any]) -> str:
    model, path, reg = arrays["model"], arrays["path"], arrays["reg"]
    train, validation, test = arrays["num_examples"]
    proof, loss = model["certificate"], arrays["loss"]
    accuracy, error = tested(arrays)
    by_reg = {
        "reg {:g}": path["regs"],
        "held-out accuracy, % {:.2%}": path["accuracy"],
        "relative gap proved {:.1e}": path["gap"],
    }
    return (
        f"**{100 * accuracy:.2f} % of the test part is right**, ± {100 * error:.2f} (a standard "
        f"error); of the examples it learned from, {100 * arrays['train_accuracy']:.2f} %.\n\n"
        f"{train + validation:,} examples to learn from, of {len(model['classes'])} classes and "
        f"{len(arrays['features']):,} features, and {test:,} to test with. Loss: {loss}, reg "
        f"{reg:g}.\n\n"
        f"How far from the optimum? The objective at this W is {proof.primal:.6g}, and no W has "
        f"one below {proof.dual:.6g}: that is proved, in {proof.passes} passes over the data. So "
        f"this W is at most {100 * relative_gap(arrays):.2f} % above the best, and optimizing it "
        "longer could not gain more than that.\n\n"
        "`model.npz` beside this page takes raw inputs: "
        "`jaxsvm.load('model.npz').predict(X)`, or "
        "`python -m experiments.predict model.npz X.npy`.\n\n"
        f"### What to try next\n\n{bullets(advice(arrays))}\n\n"
        f"### The test part, class by class\n\n[[confusion]]\n\n{class_table(arrays)}\n\n"
        f"### Choosing reg\n\nOn {path['num_held_out']:,} held-out examples; the others, "
        "filled up with repeats to the number of all, were solved on.\n\n"
        f"[[accuracy_against_reg]]\n\n{table_of(by_reg)}\n\n"
        "### The hardest examples\n\n"
        f"W depends on {100 * arrays['support']:.1f} % of the examples only, the support vectors. "
        "Look at the hardest of them first: a wrong label is often among them."
        f"\n\n{pictures.hardest_table(arrays)}[[hardest_examples]]\n\n"
        "### What W looks for\n\n[[templates]]"
    )


def relative_gap(arrays: dict[str, Any]) -> float:
    """Return the proved gap as a share of the objective."""
    proof = arrays["model"]["certificate"]
    return proof.gap / proof.primal if proof.primal > 0 else 0.0


def tested(arrays: dict[str, Any]) -> tuple[float, float]:
    """Return the accuracy on the test part and its standard error."""
    confusion = arrays["confusion"]
    accuracy = float(np.trace(confusion) / confusion.sum())
    return accuracy, standard_error(accuracy, int(confusion.sum()))


def standard_error(share: float, count: int) -> float:
    """Return the standard error of a share of ``count`` examples; of none or all, as of one."""
    likely = min(max(share, 1 / (count + 1)), count / (count + 1))
    return float(np.sqrt(likely * (1 - likely) / count))


def class_table(arrays: dict[str, Any]) -> str:
    """Return the accuracy of each class, and what it is most often taken for."""
    confusion, classes = arrays["confusion"], [*map(as_text, arrays["model"]["classes"])]
    counts, right = confusion.sum(axis=1), np.diag(confusion)
    wrong = confusion - np.diag(right)
    taken = [f"{classes[np.argmax(row)]} ({row.max()})" if row.any() else "" for row in wrong]
    share = [f"{100 * r / n:.2f}" if n else "" for r, n in zip(right, counts, strict=True)]
    columns = {"class": classes, "test examples {:d}": counts, "right, %": share}
    return table_of({**columns, "most often taken for": taken})


def advice(arrays: dict[str, Any]) -> list[str]:
    """Return what the measured numbers suggest, most important first."""
    path, confusion = arrays["path"], arrays["confusion"]
    accuracy, error = tested(arrays)
    train_accuracy, regs = arrays["train_accuracy"], path["regs"]
    best, found = best_of(path), []
    if relative_gap(arrays) > arrays["gap_tolerance"]:
        found.append(
            f"The proof stopped at a gap of {relative_gap(arrays):.1e}, above "
            f"`--gap-tolerance {arrays['gap_tolerance']:g}`: a larger reg is easier to solve."
        )
    most = confusion.sum(axis=1) / confusion.sum()
    if accuracy <= most.max() + ERRORS * error:
        name = as_text(arrays["model"]["classes"][int(np.argmax(most))])
        found.append(
            f"Always answering “{name}” would be right in {100 * most.max():.1f} %, which is as "
            "good to the error of this test part: are the labels those of these rows?"
        )
    if len(regs) > 1 and best in (0, len(regs) - 1):
        end = f"largest: add larger ones, `--regs {10 * regs[0]:g} {3 * regs[0]:g} ...`"
        if best:
            end = f"smallest: add smaller ones, `--regs ... {regs[-1] / 3:g} {regs[-1] / 10:g}`"
        found.append(f"The best reg, {regs[best]:g}, is the {end}.")
    if path["folds"] == 0 and path["num_held_out"] < FEW_HELD_OUT:
        found.append(
            f"reg was chosen on {path['num_held_out']} examples, which is few: "
            f"`--folds {FOLDS}` uses every example that is not in the test part."
        )
    if train_accuracy - accuracy > max(ERRORS * error, 0.05):
        found.append(
            f"It knows what it learned from ({100 * train_accuracy:.1f} %) better than what it did "
            f"not ({100 * accuracy:.1f} %): more examples, fewer features or a larger reg."
        )
    if train_accuracy < 0.9:
        better = (
            "`python -m experiments.features` makes some from images."
            if arrays["is_images"]
            else "add columns, such as products, squares or logarithms of those there are."
        )
        found.append(
            f"{100 * (1 - train_accuracy):.1f} % of the examples it learned from are wrong too, so "
            f"a linear score of these features cannot tell them apart: {better}"
        )
    counts = confusion.sum(axis=1)
    shares = np.diag(confusion) / np.maximum(counts, 1)
    worst = int(np.argmin(np.where(counts > 0, shares, np.inf)))
    if shares[worst] < 0.5 < accuracy:
        name = as_text(arrays["model"]["classes"][worst])
        found.append(
            f"“{name}” is right in {100 * shares[worst]:.0f} % of its "
            f"{counts[worst]} test examples only: more examples of it, or look at its labels."
        )
    return found or ["Nothing stands out: reg is inside its grid, and test and training agree."]


def bullets(lines: list[str]) -> str:
    """Return lines as a markdown list."""
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


if __name__ == "__main__":
    runner.main(__name__)
