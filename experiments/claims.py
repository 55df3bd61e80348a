"""Every sentence of the notes with a number in it: is it so?

    python -m experiments.claims --seeds 5 --dataset cifar10

One row a claim: what the source says, what was measured here (over seeds, and over the three usual
preprocessings where they matter: raw pixels, pixels with the mean image subtracted, and those
scaled to about [-1, 1]; likewise the columns of a table), and a verdict: reproduced, depends on
something, or not reproducible and why. The verdicts are computed from the measurements. Figures
that belong to CIFAR-10 are measured on whatever data there are, but get a verdict on CIFAR-10 only.
Claims that another section measures are judged there (`claims` of its file, such as those on time
in `experiments.minibatch`); the report's table has them all.

In the main job it quotes the searches that `experiments.random_search` and
`experiments.local_search` have made of the same draws, and makes only the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from experiments.shared import options, recipes, runner, settings
from experiments.shared.figures import Figures, Picture
from experiments.shared.progress import progress_run
from experiments.shared.report import Claim, Story
from experiments.shared.searches import notes_forms, search_at_random, search_locally
from experiments.shared.text import counted, spread
from jaxsvm import Data, Dataset, Objective, gradient_descent, hinge_loss, l2_penalty
from jaxsvm import plot as draw

# The first seven losses that the notes' random search prints.
LISTING = (9.401632, 8.959668, 9.044034, 9.278948, 8.857370, 8.943151, 8.605604)
SCALES = (1e-4, 1e-5)  # of the draws, in the notes' listing and in another source
CIFAR_ONLY = "a figure for CIFAR-10: no verdict on this dataset"
# The test accuracies, in %, that the notes report of the two searches on CIFAR-10.
NOTES = {"random search": 15.5, "local search": 21.4}
STORY = Story(
    "Which of the notes' numbers come back?",
    """The table near the top of this page has every sentence of the notes with a number in it that
a section of this run could judge. Here the two searches are seen over several seeds and under the
three usual preprocessings, so that a single number of the notes becomes a place in a distribution.
Those that a section above has made are quoted, not made again.""",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Check the notes' claims.

    Attributes:
        num_steps: Draws of random search and tries of local search.
    """

    num_steps: Annotated[int, options.at_least(7)] = 1000


def run(config: Config) -> dict[str, Any]:
    seeds, num_steps = config.seeds, config.num_steps
    forms, searches = notes_forms(SCALES), {}
    drawn = search_at_random(config.source, forms, num_steps, seeds)
    of_form = dict(zip(forms, drawn, strict=True))
    for pixels in settings.PIXELS:
        dataset = settings.load(config.source, pixels)
        starts = [recipes.uniform_weights(dataset, seed) for seed in range(seeds)]
        searches[pixels] = {
            "random": of_form[pixels, SCALES[0]],
            "local": search_locally(dataset, 1e-3, 1e-4, num_steps, seeds),
            "uniform_start": recipes.losses(Objective(), starts, dataset.train),
            "range": pixel_range(dataset.train),
        }
    centred, scaled = (settings.load(config.source, p) for p in ("centred", "scaled"))
    return {
        "dataset": settings.facts(centred),
        "is_cifar10": config.source.name.split(":")[0] == "cifar10",
        "scaling": settings.scaling(centred),
        "shape": recipes.zero_weights(centred).shape,
        "searches": searches,
        "small_scale": of_form["centred", SCALES[1]],
        "at_zero": recipes.loss(Objective(), recipes.zero_weights(centred), centred.train),
        "overfit": overfit(scaled),
        "chords": chord_excess(scaled),
        **worked_examples(),
    }


def pixel_range(data: Data) -> tuple[float, float]:
    """Return the lowest and the highest feature; the bias's 1 is not one of them."""
    blocks = (np.asarray(data.X[i : i + 1000])[:, :-1] for i in range(0, len(data.X), 1000))
    lowest, highest = zip(*((block.min(), block.max()) for block in blocks), strict=True)
    return float(min(lowest)), float(max(highest))


def overfit(dataset: Dataset) -> dict[str, float]:
    """Train on 20 examples without a penalty: the notes' sanity check is a cost of zero."""
    few, step_size = recipes.first(dataset.train, 20), settings.suiting(dataset).few_step_size
    descent = gradient_descent(Objective(), step_size=step_size)
    progress = progress_run(descent, jax.random.key(0), recipes.zero_weights(dataset), few, 2000)
    W = progress.state.params
    return {"loss": recipes.loss(Objective(), W, few), "accuracy": recipes.accuracy(W, few)}


def chord_excess(dataset: Dataset, pairs: int = 20) -> float:
    """Return the most by which the loss at a midpoint exceeds the mean of the ends, of all pairs.

    A convex function's is at most 0, and rounding.
    """
    few = recipes.first(dataset.train, 1000)
    shape = (2 * pairs, *recipes.zero_weights(dataset).shape)
    W = np.asarray(jax.random.normal(jax.random.key(0), shape))
    losses = jax.jit(jax.vmap(Objective(), in_axes=(0, None)))
    ends, middle = (np.asarray(losses(w, few)) for w in (W, 0.5 * (W[:pairs] + W[pairs:])))
    return float(np.max(middle - 0.5 * (ends[:pairs] + ends[pairs:])))


def worked_examples() -> dict[str, float]:
    """Return the values of the notes' own small examples."""
    scores, y = np.array([[13.0, -7.0, 11.0]], np.float32), np.array([0], np.int32)
    penalty = jax.jit(l2_penalty)
    return {
        "worked_loss": float(np.asarray(jax.jit(hinge_loss)(scores, y, delta=10.0))[0]),
        "worked_peak": float(penalty(np.array([[1.0, 0.0, 0.0, 0.0]], np.float32))),
        "worked_spread": float(penalty(np.full((1, 4), 0.25, np.float32))),
    }


def facts(found: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was found, and the numbers and words derived from it."""
    (C, D), searches, small = found["shape"], found["searches"], found["small_scale"]
    centred = searches["centred"]
    lowest = centred["random"]["losses"].min(axis=1)
    final = centred["local"]["best_loss"][:, -1]

    def each(text: Callable[[dict[str, Any]], str]) -> str:
        return "; ".join(f"{name} {text(part)}" for name, part in searches.items())

    return found | {
        "wrong_classes": C - 1,
        "parameters": C * D,
        "terms": (found["dataset"]["train"] + found["dataset"]["validation"]) * (C - 1),
        "evaluations": (C * D + 1, 2 * C * D),
        "percent_right": 100 * found["overfit"]["accuracy"],
        "pixels": (*centred["range"], *searches["scaled"]["range"]),
        "draws": each(lambda part: mean_and_deviation(part["random"]["losses"])),
        "listing": mean_and_deviation(LISTING, ddof=1),
        "random_accuracy": each(lambda part: spread(part["random"]["test_accuracy"], ".1%")),
        "local_accuracy": each(lambda part: spread(part["local"]["test_accuracy"], ".1%")),
        "starts": each(lambda part: spread(part["uniform_start"], ".2f")),
        "small_accuracy": spread(small["test_accuracy"], ".1%"),
        "small_lowest": spread(small["losses"].min(axis=1), ".3f"),
        "lowest": spread(lowest, ".3f"),
        "ends": f"{spread(final, '.2f')}, random search at {spread(lowest, '.2f')}",
        "higher": final.mean() > lowest.mean(),
        "below": "at least" if found["chords"] <= 0 else "at worst",
        "sag": -found["chords"],
    }


def mean_and_deviation(values: Any, ddof: int = 0) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=ddof):.3f}"


def fitting_draws(found: dict[str, Any]) -> str:
    """Say with which preprocessings the listing's losses look like draws."""

    def fits(losses: np.ndarray) -> bool:
        near = abs(np.mean(LISTING) - losses.mean()) < 3 * losses.std() / np.sqrt(len(LISTING))
        return near and 0.4 < np.std(LISTING, ddof=1) / losses.std() < 2

    draws = {name: part["random"]["losses"] for name, part in found["searches"].items()}
    names = ", ".join(name for name, losses in draws.items() if fits(losses)) or "none"
    return (
        f"depends on the preprocessing: consistent with {names}; the digits of a draw are not "
        "reproducible, since its seed was not given"
    )


def within_seeds(found: dict[str, Any], figure: float, kind: str) -> str:
    """Say with which preprocessings a figure, in %, lies within what the seeds of a search gave."""
    values = {name: 100 * part[kind]["test_accuracy"] for name, part in found["searches"].items()}
    # A point beyond the few seeds' own range is still within their kind of luck.
    inside = [name for name, v in values.items() if v.min() - 1 <= figure <= v.max() + 1]
    if len(inside) == len(values):
        return "reproduced, whatever the preprocessing"
    if inside:
        return f"depends on the preprocessing: reproduced with {', '.join(inside)} pixels"
    seeds = len(found["small_scale"]["test_accuracy"])
    return f"not reproduced with any preprocessing ({counted(seeds, 'seed')})"


def scale_matters(found: dict[str, Any]) -> str:
    here = found["searches"]["centred"]["random"]["test_accuracy"]
    if np.array_equal(found["small_scale"]["test_accuracy"], here):
        return "no matter: each seed has the same accuracy at both scales"
    return "the lowest loss picks other draws at another scale: a nonlinear loss, same luck"


def better_is_lower(found: dict[str, Any]) -> str:
    kinds = found["searches"]["centred"]
    local, random = (kinds[kind]["test_accuracy"].mean() for kind in ("local", "random"))
    if not (found["higher"] and local > random):
        return "so on this dataset"
    return (
        "no: the higher loss has the better accuracy, because the loss grows with the scale of W "
        "and accuracy does not see it"
    )


def fits_twenty(found: dict[str, Any]) -> bool | str:
    if found["overfit"]["loss"] < 1e-3:
        return True
    features = found["shape"][1] - 1
    return f"not here: {features} features may be too few to tell any 20 examples apart"


def lowest_start(found: dict[str, Any]) -> str:
    nearest = min(float(part["uniform_start"].min()) for part in found["searches"].values())
    return (
        f"not reproducible from its own listing: the lowest start here is {nearest:.2f}. A W "
        "that knows no labels has a loss near 9 or above. See step size for its invariants"
    )


class Sentence(NamedTuple):
    """A sentence of the notes with a number in it.

    Attributes:
        source: what the source says.
        measured: what was measured of it, a format of the `facts`.
        judge: from the facts to whether the claim is reproduced, or on what it depends.
        cifar_only: whether only CIFAR-10 can tell.
    """

    source: str
    measured: str
    judge: Callable[[dict[str, Any]], bool | str]
    cifar_only: bool = False


SENTENCES = (
    Sentence("W is 10 × 3073: 30,730 parameters", "{shape[0]} × {shape[1]}: {parameters:,}",
             lambda f: f["parameters"] == 30_730, cifar_only=True),
    Sentence("up to 450,000 max(0, ·) terms",
             "{dataset[train]:,} training and {dataset[validation]:,} held-out examples × "
             "{wrong_classes}: {terms:,}",
             lambda f: f["terms"] == 450_000, cifar_only=True),
    Sentence("a numerical gradient takes 30,731 evaluations",
             "one-sided {evaluations[0]:,}; the centred formula takes {evaluations[1]:,}",
             lambda f: "depends on the formula: the figure is the one-sided one's",
             cifar_only=True),
    Sentence("subtracting the mean image leaves pixels in about [-127, 127]; they may then be "
             "scaled to [-1, 1]",
             "[{pixels[0]:.0f}, {pixels[1]:.0f}], scaled [{pixels[2]:.2f}, {pixels[3]:.2f}]",
             lambda f: "reproduced as “about”: the mean image is not 127 everywhere",
             cifar_only=True),
    Sentence("scores [13, -7, 11], label 0, Δ = 10: the loss is 8", "{worked_loss:g}",
             lambda f: f["worked_loss"] == 8),
    Sentence("R = 1 for w = [1, 0, 0, 0] and 0.25 for [.25, .25, .25, .25]",
             "{worked_peak:g} and {worked_spread:g}",
             lambda f: (f["worked_peak"], f["worked_spread"]) == (1, 0.25)),
    Sentence("for a tiny W the loss is 9 (10 classes)", "{at_zero:.6g} at W = 0",
             lambda f: f["at_zero"] == f["wrong_classes"]),
    Sentence("the loss is convex",
             "every midpoint lies {below} {sag:.2g} below its chord (20 random chords)",
             lambda f: f["chords"] < 1e-5),
    Sentence("20 examples can be fitted to a cost of zero",
             "loss {overfit[loss]:.2g}, {percent_right:.0f} % right", fits_twenty),
    Sentence("random search prints losses 9.40, 8.96, 9.04, 9.28, 8.86, 8.94, 8.61",
             "mean ± deviation of a draw: {draws}; theirs {listing}", fitting_draws,
             cifar_only=True),
    Sentence("random search, 1000 draws: 15.5 % of the test images; chance is 10 %",
             "{random_accuracy}", lambda f: within_seeds(f, 15.5, "random"), cifar_only=True),
    Sentence("the scale of the draws is 1e-4 in one source and 1e-5 in another",
             "test accuracy at 1e-5: {small_accuracy}; lowest loss {small_lowest} against {lowest}",
             scale_matters),
    Sentence("random local search, 1000 tries: 21.4 %",
             "{local_accuracy}", lambda f: within_seeds(f, 21.4, "local"), cifar_only=True),
    Sentence("(implied) a better strategy has a lower loss",
             "centred: local search ends at loss {ends}", better_is_lower),
    Sentence("the step-size table starts at loss 2.200718 for W = rand · 0.001", "{starts}",
             lowest_start, cifar_only=True),
)  # fmt: skip


def claims(found: dict[str, Any]) -> list[Claim]:
    known, words = facts(found), {True: "reproduced", False: "not reproduced"}
    judged = []
    for one in SENTENCES:
        can_tell = found["is_cifar10"] or not one.cifar_only
        verdict = one.judge(known) if can_tell else CIFAR_ONLY
        text = verdict if isinstance(verdict, str) else words[bool(verdict)]
        judged.append(Claim(one.source, one.measured.format(**known), text, can_tell))
    return judged


def plot(arrays: dict[str, Any]) -> Figures:
    found = {
        (f"{kind} search", name): 100 * part[kind]["test_accuracy"]
        for name, part in arrays["searches"].items()
        for kind in ("random", "local")
    }
    low, median, high = np.percentile(list(found.values()), [0, 50, 100], axis=1)
    where = "" if arrays["is_cifar10"] else " on CIFAR-10"
    marks = {f"the notes' {kind}{where}, {figure} %": figure for kind, figure in NOTES.items()}
    figure = draw.bars(
        [name for _, name in found], median, ylabel="features", kinds=[kind for kind, _ in found],
        errors=np.array([median - low, high - median]),
        vertical={"chance": 100 / arrays["shape"][0], **marks},
        xlabel="test accuracy, % (median, lowest, highest)",
        title="The two searches under three preprocessings",
    )  # fmt: skip
    picture = Picture(
        figure,
        "Bars are medians over seeds, whiskers reach from the worst seed to the best. Look how "
        "long those of blind draws are: one run of it says little."
        + (" The notes' two numbers are of other data." if where else ""),
        "Bar chart of the test accuracy of random and local search for raw, centred and scaled "
        "features, with marks at chance and at the notes' two numbers.",
    )
    return {"searches": picture}


def report(arrays: dict[str, Any]) -> str:
    seeds = len(arrays["small_scale"]["test_accuracy"])
    judged = [claim for claim in claims(arrays) if claim.judged]
    same = sum(claim.verdict.startswith("reproduced") for claim in judged)
    return (
        f"Of this section's {len(judged)} sentences that these data can judge, {same} are "
        f"reproduced as they stand ({counted(seeds, 'seed')}).\n\n"
        f"Raw, centred (the mean subtracted) and scaled ({arrays['scaling']}) are the features. "
        "In the table at the top, cells say median [lowest, highest] over seeds.\n\n[[searches]]"
    )


if __name__ == "__main__":
    runner.main(__name__)
