"""What depends on the dataset: how its pixels are scaled, and which settings suit its size.

A section asks for a dataset's pixels in one of three forms. The bytes are loaded once; the forms
differ in the centring and the scaling that `StandardizedFeatures` folds into its products.
An option that is None takes its value from the `Settings` of the dataset's size.
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxsvm import Data, Dataset, load_dataset

# As they are; less the mean image; and then scaled to about [-1, 1].
Pixels: TypeAlias = Literal["raw", "centred", "scaled"]
PIXELS: tuple[Pixels, ...] = get_args(Pixels)


class Settings(NamedTuple):
    """Settings that suit a dataset's size, with scaled pixels; none is tuned further.

    Attributes:
        descent_steps: of full-batch descent, where schedules are compared.
        descent_step_size: of the same, at the first step.
        batch_step_size: of the mini-batch recipe, at the first step.
        epochs: how often each batch size sees all the data.
        timed_examples: how many examples a timed call looks at, about.
        search_steps: tries of a search in the race.
        full_steps: steps of a strategy in the race that sees all the data.
        race_step_size: of gradient descent in the race.
        adam_step_size: of Adam in the race, at the first step.
        plane_nodes: on each axis of a plane.
        first_power: the smallest step size of the notes' table is 10 to this power, with pixels
            that are not scaled.
        mostly_compilation: whether compiling for speed takes longer than it saves.
    """

    descent_steps: int = 150
    descent_step_size: float = 0.003
    batch_step_size: float = 0.003
    epochs: int = 2
    timed_examples: int = 1500
    search_steps: int = 200
    full_steps: int = 50
    race_step_size: float = 0.01
    adam_step_size: float = 0.001
    plane_nodes: int = 1024
    first_power: int = -10
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
    mostly_compilation=True,
)
# The most numbers in X, N·D, of a small dataset. Digits have 9e4 and CIFAR-10 has 1.5e8.
SMALL_SIZE = 10**6


def suiting(dataset: Dataset) -> Settings:
    """Return the settings that suit a dataset's size."""
    N, D = dataset.train.X.shape
    return SMALL if N * D <= SMALL_SIZE else LARGE


@functools.lru_cache(maxsize=1)
def _centred(name: str) -> Dataset:
    """Return a dataset as `load_dataset` does, kept for the next section of the same process."""
    return load_dataset(name)


def load(name: str, pixels: Pixels) -> Dataset:
    """Return a dataset by its name, with the pixels in one of the three forms.

    Raises:
        ValueError: there is no such dataset, or it is not to be had.
    """
    dataset = _centred(name)
    X: Any = dataset.train.X
    changes = {}
    if pixels == "raw":
        changes["shift"] = jnp.zeros_like(X.shift)
    elif pixels == "scaled":
        scale = np.append(np.full(X.shape[1] - 1, unit_scale(X.values)), 1)
        changes["scale"] = jax.device_put(scale.astype(np.float32))

    def view(data: Data) -> Data:
        features: Any = data.X
        return Data(dataclasses.replace(features, **changes), data.y)

    train, validation, test = map(view, (dataset.train, dataset.validation, dataset.test))
    return dataset._replace(train=train, validation=validation, test=test)


def unit_scale(pixels: Any) -> float:
    """Return 2 over the power of two that no pixel exceeds: centred pixels go to about [-1, 1]."""
    return 2 / 2 ** (int(jnp.max(pixels)) - 1).bit_length()
