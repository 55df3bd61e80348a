"""What depends on the dataset: how its features are scaled, and which settings suit it.

A section asks for a dataset in one of three forms. The data are loaded once; the forms differ in
the centring and the scaling, which for bytes `StandardizedFeatures` folds into its products.
An option that is None takes its value from the `Settings` of the dataset. How many steps are worth
their time follows from its size. Step sizes are those that were tuned for digits and CIFAR-10; for
any other data they follow from the examples' mean square length, to which they are inverse.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import devices
from experiments.shared.options import Source
from jaxsvm import Data, Dataset, StandardizedFeatures, load_dataset
from jaxsvm.core.rows import ShardedRows
from jaxsvm.datasets.embedded import EMBEDDED
from jaxsvm.datasets.rows import inverse_deviation

# As they are; less the mean of the training part; and then scaled to about [-1, 1].
Pixels: TypeAlias = Literal["raw", "centred", "scaled"]
PIXELS: tuple[Pixels, ...] = get_args(Pixels)


class Settings(NamedTuple):
    """Settings that suit a dataset, its step sizes the form it is in; none is tuned further.

    Attributes:
        descent_steps: of full-batch descent, where schedules are compared.
        descent_step_size: of the same, at the first step.
        batch_step_size: of the mini-batch recipe, at the first step.
        few_step_size: of descent on twenty examples without a penalty.
        epochs: how often each batch size sees all the data.
        timed_examples: how many examples a timed call looks at, about.
        search_steps: tries of a search in the race.
        full_steps: steps of a strategy in the race that sees all the data.
        race_step_size: of gradient descent in the race.
        adam_step_size: of Adam in the race, at the first step.
        plane_nodes: on each axis of a plane.
        first_power: the smallest step size of the notes' table is 10 to this power, with features
            that are not scaled.
        proof_gap: relative gap between the bounds of a proved minimum.
        mostly_compilation: whether compiling for speed takes longer than it saves.
    """

    descent_steps: int = 150
    descent_step_size: float = 0.003
    batch_step_size: float = 0.003
    few_step_size: float = 0.01
    epochs: int = 2
    timed_examples: int = 1500
    search_steps: int = 200
    full_steps: int = 50
    race_step_size: float = 0.01
    adam_step_size: float = 0.001
    plane_nodes: int = 1024
    first_power: int = -10
    proof_gap: float = 1e-2
    mostly_compilation: bool = False


LARGE = Settings()
SMALL = Settings(
    descent_steps=1000,
    descent_step_size=0.3,
    batch_step_size=0.1,
    epochs=20,
    timed_examples=6000,
    search_steps=1000,
    full_steps=200,
    race_step_size=0.3,
    adam_step_size=0.01,
    plane_nodes=128,
    first_power=-7,
    proof_gap=1e-3,
    mostly_compilation=True,
)
# The most numbers in X, N·D, of a small dataset. Digits have 9e4 and CIFAR-10 has 1.5e8.
SMALL_SIZE = 10**6
# The datasets whose step sizes are as they stand above, and what tells them from a file so called.
TUNED = {"digits": (8, 8, 1), "cifar10": (32, 32, 3)}
# A step size times the mean of ‖x‖²: of digits that is 20, of CIFAR-10 742 (1.2e3 and 1.2e7 where
# pixels are centred only). The tuned products are beside these, of digits and of CIFAR-10.
STEP_TIMES_SQUARE = {
    "descent_step_size": 4.0,  # 5.9 and 2.2
    "batch_step_size": 2.0,  # 2.0 and 2.2
    "race_step_size": 7.0,  # 5.9 and 7.4
    "few_step_size": 1.0,  # 0.2 and 7.4: one size for both
}
# Adam's step is of the size of a weight, whatever the gradient's is.
ADAM_STEP_TIMES_LENGTH = 0.035  # 0.044 and 0.027
FIRST_STEP_TIMES_SQUARE = 4e-4  # 1.2e-4 and 1.2e-3, powers of ten
SOME_ROWS = 1024  # over which ‖x‖² is averaged


def is_small(dataset: Dataset) -> bool:
    """Return whether a pass over the training part takes no time to speak of."""
    N, D = dataset.train.X.shape
    return N * D <= SMALL_SIZE


def looks_small(source: Source) -> bool:
    """Return whether a dataset will be small, as far as is known before it is read."""
    path = Path(source.name)
    most_bytes = 8 * SMALL_SIZE  # in float64
    return source.name in EMBEDDED or (path.is_file() and path.stat().st_size <= most_bytes)


def suiting(dataset: Dataset) -> Settings:
    """Return the settings that suit a dataset, in the form that it is in."""
    sized = SMALL if is_small(dataset) else LARGE
    if TUNED.get(dataset.name.split(":")[0]) == dataset.image_shape:
        return sized
    square = mean_square(dataset.train.X)
    sizes: Any = {name: product / square for name, product in STEP_TIMES_SQUARE.items()}
    return sized._replace(
        **sizes,
        adam_step_size=ADAM_STEP_TIMES_LENGTH / math.sqrt(square),
        first_power=round(math.log10(FIRST_STEP_TIMES_SQUARE / square)),
    )


def mean_square(X: Any) -> float:
    """Return the mean of ‖x‖², the bias's 1 included, over a thousand examples or all."""
    rows = some_rows(X, slice(None, None, -(-X.shape[0] // SOME_ROWS)))
    return float(np.mean(np.sum(rows**2, axis=1)))


def some_rows(X: Any, index: Any) -> np.ndarray:
    """Return rows of X in float64, bytes shifted and scaled; in NumPy, which compiles nothing."""
    if not isinstance(X, StandardizedFeatures):
        return _taken(X, index).astype(float)
    rows = _taken(X.values, index)[:, : X.shape[1]].astype(float)
    return (rows - np.asarray(X.shift)) * np.asarray(X.scale)


def _taken(array: Any, index: Any) -> np.ndarray:
    """Return rows of an array, of which no process need have all."""
    if isinstance(array, ShardedRows):
        return np.asarray(array[index])
    return np.asarray(array)[index]


def read(source: Source, **options: Any) -> Dataset:
    """Return the dataset of a source; the options are `load_dataset`'s.

    Raises:
        ValueError: there is no such dataset, or it is not to be had.
    """
    return load_dataset(
        source.name, labels=source.labels, test=source.test, test_labels=source.test_labels,
        **options,
    )  # fmt: skip


@functools.lru_cache(maxsize=1)
def _centred(source: Source) -> Dataset:
    """Return a dataset as `load_dataset` does, kept for the next section of the same process.

    The training part is over the devices in use: of several processes none has all of it.
    """
    return read(source, place=devices.spread if devices.are_several() else None)


def load(source: Source, pixels: Pixels) -> Dataset:
    """Return the dataset of a source in one of the three forms.

    Images are scaled by one number, a table column by column, since its columns have units of their
    own. The training part lies over the devices in use.

    Raises:
        ValueError: there is no such dataset, or it is not to be had; or it is too small for the
            devices.
    """
    dataset = _centred(source)
    if pixels == "centred":
        return dataset
    X: Any = dataset.train.X
    shift = dataset.shift
    if pixels == "raw":
        shift, scale = np.zeros_like(shift), dataset.scale
    elif has_images(dataset):
        scale = np.full_like(shift, unit_scale(X.values))
    else:
        stored = X.values if isinstance(X, StandardizedFeatures) else X
        scale = inverse_deviation(np.asarray(stored)[:, : len(shift)])
    moved, new_shift, new_scale = (
        np.append(part, bias).astype(np.float32)
        for part, bias in ((dataset.shift - shift, 0), (shift, 0), (scale, 1))
    )
    folded = {"shift": jax.device_put(new_shift), "scale": jax.device_put(new_scale)}

    def view(data: Data) -> Data:
        if isinstance(data.X, StandardizedFeatures):
            return Data(dataclasses.replace(data.X, **folded), data.y)
        return Data(jax.device_put((np.asarray(data.X) + moved) * new_scale), data.y)

    # Bytes lie there already; floats are other ones in each form.
    is_bytes = isinstance(X, StandardizedFeatures)
    train = view(dataset.train) if is_bytes else devices.spread(view(dataset.train))
    validation, test = map(view, (dataset.validation, dataset.test))
    return dataset._replace(train=train, validation=validation, test=test, shift=shift, scale=scale)


def facts(dataset: Dataset) -> dict[str, Any]:
    """Return what a report says of a dataset: its name and how large it is."""
    return {
        "name": dataset.name,
        "classes": len(dataset.class_names),
        "features": dataset.train.X.shape[1] - 1,
        "train": len(dataset.train.y),
        "validation": len(dataset.validation.y),
        "test": len(dataset.test.y),
    }


def has_images(dataset: Dataset) -> bool:
    """Return whether a dataset's examples are images in bytes, not a table."""
    return isinstance(dataset.train.X, StandardizedFeatures) and len(dataset.image_shape) > 1


def unit_scale(pixels: Any) -> float:
    """Return 2 over the power of two that no pixel exceeds: centred pixels go to about [-1, 1]."""
    parts = (pixels.main, pixels.rest) if isinstance(pixels, ShardedRows) else (pixels,)
    largest = max(int(jnp.max(part)) for part in parts if part.size)
    return 2 / 2 ** (largest - 1).bit_length()


def scaling(dataset: Dataset) -> str:
    """Return what "scaled" means for a dataset, as a report says it."""
    if has_images(dataset):
        return "then to about [-1, 1]"
    return "then each column divided by its standard deviation"
