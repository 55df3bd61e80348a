"""Is that all a linear SVM can do? The same SVM on patch features of the images, certified.

    python -m experiments.features --dataset cifar10 --num-filters 100 400 1600

Every image becomes the pooled responses of K random patches of the training images, whitened
(`jaxsvm.patches`); nothing is trained but the linear SVM on top, whose optimum is proved to a gap.
How the features are made (threshold, whitening, grid, mirror images) is chosen with the fewest
filters on held-out training images, one setting after the other; reg is chosen on the same images
for each K. Then W is solved on all training images, and the test images are looked at once, for
each seed of the patches.

The features stay in `<out>/encoded` as bytes, where an interrupted run finds them; the report says
how to hand them to any other section.

Expected on CIFAR-10: about 73 % with 100 filters, 76 % with 400 and 79 % with 1,600, where pixels
reach 40 %. 100 filters take some 15 seconds to encode on two cores, 1,600 four minutes.
"""

import functools
import time
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared import options, runner, settings
from experiments.shared.encoded import (
    Encoded,
    Recipe,
    encode_to_file,
    images_of,
    recipe,
    standardized,
    training_images,
)
from experiments.shared.report import (
    Figures,
    accuracy_against_reg,
    quartiles,
    spread,
    table,
    table_of,
)
from experiments.shared.timing import product_rate
from jaxsvm import Data, Objective, StandardizedFeatures
from jaxsvm import plot as draw
from jaxsvm.core import FAMILY
from jaxsvm.patches import patch_encoder

HELD_OUT = 10  # one of so many training images, the last of them


@dataclass(frozen=True)
class Config(options.Config):
    """Encode images with random patches and certify the SVM on them.

    Attributes:
        num_filters: How many patches, K; one row of the table each. Multiples of 100 are fastest.
        patch_size: Height and width of a patch; by default 6, or 3 where images are below 16.
        alphas: Soft thresholds to choose from; the first is where the choice begins.
        whitenings: Added to the eigenvalues of the patches, to choose from.
        pools: Cells on each axis of the grid, to choose from.
        mirrored: Whether mirror images count, to choose from.
        loss: A machine of the family, by its name in the literature.
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
    mirrored: tuple[bool, ...] = (True, False)
    loss: Annotated[str, options.one_of(tuple(FAMILY))] = "squared one-vs-rest"
    regs: tuple[options.Positive, ...] = (0.03, 0.01, 0.003, 0.001, 0.0003)
    gap_tolerance: options.Positive = 1e-2
    num_patches: options.Count = 100_000

    measures_seconds: ClassVar[bool] = True


class How(NamedTuple):
    """How features are made."""

    alpha: float
    whitening: float
    pool: int
    mirrored: bool


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
    paths, rows = [], []
    for K in config.num_filters:
        for seed in range(config.seeds):
            features = encoded(images, config, how, K, seed)
            if seed == 0:
                path = solved_path(features, images, config)
                reg = max(path, key=lambda point: point.accuracy).reg
                paths += [(K, p.reg, p.accuracy, p.gap / p.solution.primal) for p in path]
            rows.append({"num_filters": K, "seed": seed, **measure(features, images, config, reg)})
    return {
        "name": dataset.name,
        "num_train": len(images.y),
        "num_test": len(images.y_test),
        "loss": config.loss,
        "gap_tolerance": config.gap_tolerance,
        "chosen": how._asdict(),
        "tried": [{**how._asdict(), "accuracy": accuracy} for how, accuracy in tried],
        "peak": product_rate(),
        "files": [str(file.path) for file in features.files],
        "rows": {name: np.array([row[name] for row in rows]) for name in rows[0]},
        "paths": dict(
            zip(("num_filters", "reg", "accuracy", "gap"), np.array(paths).T, strict=True)
        ),
    }


def choose(images: Images, config: Config) -> tuple[How, list[tuple[How, float]]]:
    """Choose how features are made, one setting after the other, by held-out images."""
    choices: dict[str, tuple[Any, ...]] = {
        "alpha": config.alphas,
        "whitening": config.whitenings,
        "pool": config.pools,
        "mirrored": config.mirrored,
    }
    K = min(config.num_filters)

    @functools.cache
    def held_out(how: How) -> float:
        features = encoded(images, config, how, K, seed=0, tested=False)
        return max(point.accuracy for point in solved_path(features, images, config))

    how, tried = How(**{name: values[0] for name, values in choices.items()}), []
    if all(len(values) == 1 for values in choices.values()):
        return how, []
    for name, values in choices.items():
        for value in values:
            trial = how._replace(**{name: value})
            tried.append((trial, held_out(trial)))
        how = max(tried, key=lambda found: found[1])[0]
    return how, list(dict(tried).items())


class Features(NamedTuple):
    """Features of the training images and perhaps of the test images, and what they cost."""

    parts: list[StandardizedFeatures]
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
    )  # fmt: skip
    made = recipe(encoder, images.train, mirrored=how.mirrored)
    folder, what = config.out / "encoded", f"{K} filters, seed {seed}"
    files = [encode_to_file(made, images.train, folder, what)]
    if tested:
        files.append(encode_to_file(made, images.test, folder, f"{what}, test"))
    return Features(standardized(made, *(file.rows for file in files)), made, files)


def solved_path(
    features: Features, images: Images, config: Config
) -> list[jaxsvm.certificate.PathPoint]:
    """Solve for every reg on the images that are not held out, and measure those that are."""
    X, y, fitted = features.parts[0], jnp.asarray(images.y, jnp.int32), images.fitted
    return list(
        jaxsvm.regularization_path(
            Objective(FAMILY[config.loss]), Data(X[:fitted], y[:fitted]),
            Data(X[fitted:], y[fitted:]), regs=config.regs, gap_tolerance=config.gap_tolerance,
        )
    )  # fmt: skip


def measure(features: Features, images: Images, config: Config, reg: float) -> dict[str, Any]:
    """Solve on all training images, and look at the test images once."""
    began = time.perf_counter()
    train, other = features.parts
    data, test = (
        Data(X, jnp.asarray(y, jnp.int32)) for X, y in ((train, images.y), (other, images.y_test))
    )
    objective = Objective(FAMILY[config.loss], reg=reg)
    solution = jaxsvm.solve(objective, data, gap_tolerance=config.gap_tolerance)
    encoder, mirrored, _ = features.recipe
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
        "solving_seconds": time.perf_counter() - began,
        "passes": solution.passes,
    }


def by_filters(rows: dict[str, Any]) -> dict[int, dict[str, np.ndarray]]:
    """Return the rows of each K, over its seeds."""
    return {
        int(K): {name: values[rows["num_filters"] == K] for name, values in rows.items()}
        for K in np.unique(rows["num_filters"])
    }


def plot(arrays: dict[str, Any]) -> Figures:
    found, paths = by_filters(arrays["rows"]), arrays["paths"]
    accuracy = np.array([quartiles(100 * part["test_accuracy"]) for part in found.values()]).T
    low, median, high = accuracy
    seconds = [
        float(np.median(part["encoding_seconds"] + part["solving_seconds"]))
        for part in found.values()
    ]
    label = "test images"
    marked: dict[str, Any] = {"bands": {label: (low, high)}, "marker": "o", "xscale": "log"}
    return {
        "accuracy_against_filters": draw.lines(
            {label: (list(found), median)}, **marked,
            xlabel="filters, K", ylabel="test accuracy, %", title="More patches, the same SVM",
        ),
        "accuracy_against_seconds": draw.lines(
            {label: (seconds, median)}, **marked,
            xlabel="seconds: encoding all images, then solving", ylabel="test accuracy, %",
            title="What an accuracy costs",
        ),
        "regularization_path": accuracy_against_reg(
            np.unique(paths["reg"])[::-1],
            {
                f"{int(K)} filters": paths["accuracy"][paths["num_filters"] == K]
                for K in np.unique(paths["num_filters"])
            },
            "held-out accuracy, %", title="Choosing reg: each point certified",
        ),
    }  # fmt: skip


def report(arrays: dict[str, Any]) -> str:
    rows = []
    for K, part in by_filters(arrays["rows"]).items():
        rate = part["encoding_flops"] / part["encoding_seconds"]
        rows.append((
            str(K), str(part["num_features"][0]), f"{part['reg'][0]:g}",
            spread(100 * part["test_accuracy"], ".2f"), np.median(part["train_accuracy"]),
            np.max(part["gap"]), np.median(part["encoding_seconds"]),
            np.median(rate) / 1e9, np.median(rate) / arrays["peak"],
            np.median(part["solving_seconds"]), f"{np.median(part['passes']):.0f}",
        ))  # fmt: skip
    header = (
        "filters | features | reg | test accuracy, % | train accuracy, % {:.1%}"
        " | largest gap {:.1e} | encoding, s {:.0f} | GFLOP/s {:.0f}"
        " | of a product's peak, % {:.0%} | solving, s {:.0f} | passes"
    )
    how, seeds = arrays["chosen"], len(np.unique(arrays["rows"]["seed"]))
    mirror = "the image and its mirror image" if how["mirrored"] else "the image"
    words = (
        f"{arrays['name']}: {arrays['num_train']:,} training images, {arrays['num_test']:,} test "
        f"images; {arrays['loss']}, optima proved to a relative gap of "
        f"{arrays['gap_tolerance']:g}. Features of {mirror}: alpha {how['alpha']:g}, whitening "
        f"{how['whitening']:g}, a grid of {how['pool']} by {how['pool']} cells. {seeds} seed(s) of "
        "the patches: median [lowest, highest]. Seconds are medians; encoding is of all images, "
        "without compilation, solving "
        "with it. reg was chosen for the first seed."
    )
    parts = [words, table(header, rows)]
    if arrays["tried"]:
        tried = {
            f"{name} {form}".strip(): [row[name] for row in arrays["tried"]]
            for name, form in (("alpha", "{:g}"), ("whitening", "{:g}"), ("pool", "{:.0f}"))
        }
        tried["mirrored"] = ["yes" if row["mirrored"] else "no" for row in arrays["tried"]]
        tried["held-out accuracy, % {:.2%}"] = [row["accuracy"] for row in arrays["tried"]]
        parts.append(
            "Chosen with the fewest filters, at the best reg of each:\n\n" + table_of(tried)
        )
    paths = {
        "filters {:.0f}": arrays["paths"]["num_filters"],
        "reg {:g}": arrays["paths"]["reg"],
        "held-out accuracy, % {:.2%}": arrays["paths"]["accuracy"],
        "gap proved {:.1e}": arrays["paths"]["gap"],
    }
    parts.append(table_of(paths))
    train, test = arrays["files"]
    parts.append(
        f"The last row's features are in `{train}` and `{test}`, a byte each: any section takes "
        "them with `--X`, `--y` (the labels), `--X-test` and `--y-test`."
    )
    return "\n\n".join(parts)


if __name__ == "__main__":
    runner.main(__name__)
