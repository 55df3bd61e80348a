"""Is that all a linear SVM can do? The same SVM on patch features of the images, certified.

    python -m experiments.features --dataset cifar10 --num-filters 100 400 1600

Every image becomes the pooled responses of K random patches of the training images, whitened
(`jaxsvm.patches`); nothing is trained but the linear SVM on top, whose optimum is proved to a gap.
How the features are made (threshold, whitening, grid, k-means, mirror images, bytes or floats) is
chosen with the fewest filters on held-out training images, one setting after the other, by the
median over all seeds; reg is chosen on the same images for each K and each loss. Then W is solved
on all training images, and the test images are looked at once, for each seed of the patches.

The features stay in `<out>/encoded`, where an interrupted run finds them; the report says how to
hand them to any other section.

Expected on CIFAR-10: about 69 % with 100 filters, 75 % with 400 and 79 % with 1,600, where pixels
reach 40 %. 400 filters take some 80 seconds to encode on two cores, 1,600 six minutes.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared import options, runner, settings
from experiments.shared.encoded import (
    KEPT,
    Encoded,
    Recipe,
    encode_to_file,
    images_of,
    recipe,
    standardized,
    training_images,
)
from experiments.shared.figures import Figures, Picture, accuracy_against_reg
from experiments.shared.kept_runs import kept_path, kept_solve
from experiments.shared.record import write_array
from experiments.shared.report import Story
from experiments.shared.text import quartiles, spread, table, table_of
from experiments.shared.timing import product_rate
from jaxsvm import Data, Objective
from jaxsvm import plot as draw
from jaxsvm.core import FAMILY
from jaxsvm.patches import patch_encoder

HELD_OUT = 10  # one of so many training images, the last of them
STORY = Story(
    "Is that all that a linear classifier can do?",
    r"""On pixels, nearly. A linear score of other *features* can do more. Here each image becomes
the pooled responses of $K$ random patches of the training images, whitened; nothing of that is
trained. On top is the same linear SVM, and its optimum is proved as before.""",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Encode images with random patches and certify the SVM on them.

    Attributes:
        num_filters: How many patches, K; one row of the table each. Multiples of 100 are fastest.
        patch_size: Height and width of a patch; by default 6, or 3 where images are below 16.
        alphas: Soft thresholds to choose from; the first is where the choice begins.
        whitenings: Added to the eigenvalues of the patches, to choose from.
        pools: Cells on each axis of the grid, to choose from.
        kmeans_rounds: Rounds of k-means that move the filters, to choose from; 0 leaves them drawn.
        mirrored: Whether mirror images count, to choose from.
        kept: What a feature is kept as, to choose from: a byte, or a float32 of four.
        losses: Machines of the family, by their names in the literature; how the features are made
            is chosen by the first.
        regs: The penalty's weights to choose from.
        gap_tolerance: Relative gap to prove.
        num_patches: Patches drawn to whiten by.
    """

    seeds: options.Count = 3
    num_filters: tuple[options.Count, ...] = (100,)
    patch_size: options.Count | None = None
    alphas: tuple[options.NonNegative, ...] = (0.25, 0.1, 0.5)
    whitenings: tuple[options.Positive, ...] = (0.3, 0.1, 1.0)
    pools: tuple[options.Count, ...] = (2,)
    kmeans_rounds: tuple[Annotated[int, options.at_least(0)], ...] = (0,)
    mirrored: tuple[bool, ...] = (True, False)
    kept: tuple[Annotated[str, options.one_of(KEPT)], ...] = ("bytes",)
    losses: tuple[Annotated[str, options.one_of(tuple(FAMILY))], ...] = ("squared one-vs-rest",)
    regs: tuple[options.Positive, ...] = (0.03, 0.01, 0.003, 0.001, 0.0003)
    gap_tolerance: options.Positive = 1e-2
    num_patches: options.Count = 100_000

    measures_seconds: ClassVar[bool] = True
    is_for_one_process: ClassVar[str] = "it writes the features to one file, block by block"


class How(NamedTuple):
    """How features are made."""

    alpha: float
    whitening: float
    pool: int
    kmeans_rounds: int
    mirrored: bool
    kept: str


class Images(NamedTuple):
    """Images and labels, those for training in the dataset's order."""

    train: np.ndarray
    y: np.ndarray
    test: np.ndarray
    y_test: np.ndarray

    @property
    def fitted(self) -> int:
        """How many of the training images choices are fitted to; the rest are held out."""
        return len(self.y) - len(self.y) // HELD_OUT


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.source, "raw")
    images = Images(
        *training_images(dataset), images_of(dataset, dataset.test), np.asarray(dataset.test.y)
    )
    how, tried = choose(images, config)
    paths, rows, regs = [], [], {}
    for K in config.num_filters:
        for seed in range(config.seeds):
            features = encoded(images, config, how, K, seed)
            for loss in config.losses:
                if seed == 0:
                    path = solved_path(features, images, config, loss)
                    regs[K, loss] = max(path, key=lambda point: point.accuracy).reg
                    paths += [
                        {"num_filters": K, "loss": loss, "reg": point.reg,
                         "accuracy": point.accuracy, "gap": point.gap / point.solution.primal}
                        for point in path
                    ]  # fmt: skip
                found = measure(features, images, config, loss, regs[K, loss])
                rows.append({"num_filters": K, "seed": seed, "loss": loss, **found})
    return {
        "dataset": settings.facts(dataset),
        "name": dataset.name,
        "num_train": len(images.y),
        "num_test": len(images.y_test),
        "gap_tolerance": config.gap_tolerance,
        "chosen": how._asdict(),
        "tried": [{**how._asdict(), "accuracy": accuracies} for how, accuracies in tried],
        "peak": product_rate(),
        "files": [str(file.path) for file in features.files],
        "labels": {"y.npy": images.y, "y-test.npy": images.y_test},
        "rows": columns(rows),
        "paths": columns(paths),
    }


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return rows of the same names as arrays by name."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def files(arrays: dict[str, Any]) -> dict[str, Callable[[Path], None]]:
    return {name: functools.partial(write_array, array=y) for name, y in arrays["labels"].items()}


def choose(images: Images, config: Config) -> tuple[How, list[tuple[How, np.ndarray]]]:
    """Choose how features are made, one setting after the other, by held-out images.

    Returns:
        What was chosen, and what was tried with its accuracies, one a seed.
    """
    choices: dict[str, tuple[Any, ...]] = {
        "alpha": config.alphas,
        "whitening": config.whitenings,
        "pool": config.pools,
        "kmeans_rounds": config.kmeans_rounds,
        "mirrored": config.mirrored,
        "kept": config.kept,
    }
    K, loss = min(config.num_filters), config.losses[0]

    @functools.cache
    def held_out(how: How) -> np.ndarray:
        best = []
        for seed in range(config.seeds):
            features = encoded(images, config, how, K, seed, tested=False)
            path = solved_path(features, images, config, loss)
            best.append(max(point.accuracy for point in path))
        return np.array(best)

    how, tried = How(**{name: values[0] for name, values in choices.items()}), []
    if all(len(values) == 1 for values in choices.values()):
        return how, []
    for name, values in choices.items():
        for value in values:
            trial = how._replace(**{name: value})
            tried.append((trial, held_out(trial)))
        how = max(tried, key=lambda found: float(np.median(found[1])))[0]
    return how, list(dict(tried).items())


class Features(NamedTuple):
    """Features of the training images and perhaps of the test images, and what they cost."""

    parts: list[Any]
    recipe: Recipe
    files: list[Encoded]


def encoded(
    images: Images, config: Config, how: How, K: int, seed: int, *, tested: bool = True
) -> Features:
    """Encode images with K patches drawn by a seed."""
    small = min(images.train.shape[1:3]) < 16
    encoder = patch_encoder(
        jax.random.key(seed), jnp.asarray(images.train),
        num_filters=K, patch_size=config.patch_size or (3 if small else 6), pool=how.pool,
        alpha=how.alpha, whitening=how.whitening, num_patches=max(config.num_patches, K),
        kmeans_rounds=how.kmeans_rounds,
    )  # fmt: skip
    made = recipe(encoder, images.train, mirrored=how.mirrored, kept=how.kept)
    folder, what = config.out / "encoded", f"{K} filters, seed {seed}"
    files = [encode_to_file(made, images.train, folder, what)]
    if tested:
        files.append(encode_to_file(made, images.test, folder, f"{what}, test"))
    return Features(standardized(made, *(file.rows for file in files)), made, files)


def solved_path(
    features: Features, images: Images, config: Config, loss: str
) -> list[jaxsvm.certificate.PathPoint]:
    """Solve for every reg on the images that are not held out, and measure those that are."""
    X, y, fitted = features.parts[0], jnp.asarray(images.y, jnp.int32), images.fitted
    return kept_path(
        Objective(FAMILY[loss]), Data(X[:fitted], y[:fitted]),
        Data(X[fitted:], y[fitted:]), regs=config.regs, gap_tolerance=config.gap_tolerance,
    )  # fmt: skip


def measure(
    features: Features, images: Images, config: Config, loss: str, reg: float
) -> dict[str, Any]:
    """Solve on all training images, and look at the test images once."""
    train, other = features.parts
    data, test = (
        Data(X, jnp.asarray(y, jnp.int32)) for X, y in ((train, images.y), (other, images.y_test))
    )
    objective = Objective(FAMILY[loss], reg=reg)
    solution = kept_solve(objective, data, gap_tolerance=config.gap_tolerance)
    encoder, mirrored = features.recipe[:2]
    places = np.prod([length - encoder.patch_size + 1 for length in images.train.shape[1:3]])
    products = (1 + mirrored) * (len(images.y) + len(images.y_test)) * places
    return {
        "reg": reg,
        "num_features": encoder.num_features(),
        "gap": solution.gap / solution.primal,
        "train_accuracy": float(jaxsvm.accuracy(solution.W, data)),
        "test_accuracy": float(jaxsvm.accuracy(solution.W, test)),
        "encoding_seconds": sum(file.seconds for file in features.files),
        "encoding_flops": 2.0 * products * encoder.weights.size,
        "solving_seconds": float(solution.history.seconds[-1]),
        "passes": solution.passes,
    }


def groups(rows: dict[str, Any]) -> dict[tuple[int, str], dict[str, np.ndarray]]:
    """Return the rows of each K and loss, over its seeds."""
    filters, losses = rows["num_filters"], rows["loss"]
    return {
        (K, loss): {n: values[(filters == K) & (losses == loss)] for n, values in rows.items()}
        for K, loss in dict.fromkeys(zip(filters.tolist(), losses.tolist(), strict=True))
    }


def plot(arrays: dict[str, Any]) -> Figures:
    rows, paths = arrays["rows"], groups(arrays["paths"])
    accuracies: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    bands = {}
    for loss in dict.fromkeys(rows["loss"].tolist()):
        found = {K: part for (K, name), part in groups(rows).items() if name == loss}
        low, median, high = np.array(
            [quartiles(100 * part["test_accuracy"]) for part in found.values()]
        ).T
        spent = [
            float(np.median(part["encoding_seconds"] + part["solving_seconds"]))
            for part in found.values()
        ]
        accuracies[loss], seconds[loss], bands[loss] = (
            (list(found), median),
            (spent, median),
            (low, high),
        )
    marked: dict[str, Any] = {"bands": bands, "marker": "o", "xscale": "log"}
    held_out = {f"{K} filters, {loss}": part["accuracy"] for (K, loss), part in paths.items()}
    return {
        "accuracy_against_filters": Picture(
            draw.lines(
                accuracies, **marked,
                xlabel="filters, K", ylabel="test accuracy, %", title="More patches, the same SVM",
            ),
            "Median over seeds of the patches, in a band of their quartiles: more patches, more "
            "accuracy, with nothing trained but the SVM.",
            "Line chart of the test accuracy against the number of filters.",
        ),
        "accuracy_against_seconds": Picture(
            draw.lines(
                seconds, **marked,
                xlabel="seconds: encoding all images, then solving", ylabel="test accuracy, %",
                title="What an accuracy costs",
            ),
            "The same accuracies against the seconds that they cost.",
            "Line chart of the test accuracy against seconds.",
        ),
        "regularization_path": accuracy_against_reg(
            next(iter(paths.values()))["reg"], held_out,
            "held-out accuracy, %", title="Choosing reg: each point certified",
        ),
    }  # fmt: skip


def report(arrays: dict[str, Any]) -> str:
    how, seeds = arrays["chosen"], len(np.unique(arrays["rows"]["seed"]))
    mirror = "the image and its mirror image" if how["mirrored"] else "the image"
    moved = f", moved by {how['kmeans_rounds']} rounds of k-means" if how["kmeans_rounds"] else ""
    words = (
        f"{arrays['name']}: {arrays['num_train']:,} training images, {arrays['num_test']:,} test "
        f"images; optima proved to a relative gap of {arrays['gap_tolerance']:g}. Features of "
        f"{mirror}, kept as {how['kept']}: alpha {how['alpha']:g}, whitening {how['whitening']:g}, "
        f"a grid of {how['pool']} by {how['pool']} cells, filters drawn{moved}. {seeds} seed(s) of "
        "the patches: median [lowest, highest]. Seconds are medians; encoding is of all images, "
        "without compilation, solving with it. reg was chosen for the first seed."
    )
    accuracies = {
        K: np.median(part["test_accuracy"]) for (K, _), part in groups(arrays["rows"]).items()
    }
    best = max(accuracies, key=lambda K: accuracies[K])
    found = (
        f"{100 * accuracies[best]:.2f} % of the test images with {best:,} filters (median of "
        f"{seeds} seeds of the patches)."
    )
    places = "[[accuracy_against_filters]]", "[[accuracy_against_seconds]]"
    parts = [found, words, results_table(arrays), *places]
    if tried := arrays["tried"]:
        choices = {name: [str(row[name]) for row in tried] for name in how}
        choices["held-out accuracy, %"] = [spread(100 * row["accuracy"], ".2f") for row in tried]
        chosen = "Chosen with the fewest filters, at the best reg of each and seed:"
        parts += [chosen, table_of(choices)]
    paths = arrays["paths"]
    shown = {
        "filters {:.0f}": paths["num_filters"],
        "loss": paths["loss"],
        "reg {:g}": paths["reg"],
        "held-out accuracy, % {:.2%}": paths["accuracy"],
        "gap proved {:.1e}": paths["gap"],
    }
    parts += ["[[regularization_path]]", table_of(shown)]
    train, test = arrays["files"]
    parts.append(
        "Any section takes the last row's features, with the labels beside this page: "
        f"`--X {train} --y y.npy --X-test {test} --y-test y-test.npy`."
    )
    return "\n\n".join(parts)


def results_table(arrays: dict[str, Any]) -> str:
    """Return what each number of filters and each loss reached, and what it cost."""
    rows = []
    for (K, loss), part in groups(arrays["rows"]).items():
        rate = part["encoding_flops"] / part["encoding_seconds"]
        rows.append((
            str(K), str(part["num_features"][0]), loss, f"{part['reg'][0]:g}",
            spread(100 * part["test_accuracy"], ".2f"), np.median(part["train_accuracy"]),
            np.max(part["gap"]), np.median(part["encoding_seconds"]),
            np.median(rate) / 1e9, np.median(rate) / arrays["peak"],
            np.median(part["solving_seconds"]), f"{np.median(part['passes']):.0f}",
        ))  # fmt: skip
    return table(
        "filters | features | loss | reg | test accuracy, % | train accuracy, % {:.1%}"
        " | largest gap {:.1e} | encoding, s {:.0f} | GFLOP/s {:.0f}"
        " | of a product's peak, % {:.0%} | solving, s {:.0f} | passes",
        rows,
    )


if __name__ == "__main__":
    runner.main(__name__)
