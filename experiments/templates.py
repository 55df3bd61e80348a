"""What does a trained row of W look like? One template a class.

    python -m experiments.templates --dataset cifar10

A linear score is an inner product of the image with a row of W, so the row, drawn as an image, is
what its class looks for. W comes from the mini-batch recipe (`experiments.minibatch`), seed 0. The
mean image and the bias are not part of the pictures.

Expected: on digits, strokes; on CIFAR-10, blurred colours: blue round ships and planes, a horse
with two heads. A few seconds on digits, half a minute on CIFAR-10.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.shared import options, recipes, runner, settings
from experiments.shared.report import Figures, table
from jaxsvm import Objective
from jaxsvm import plot as draw


@dataclass(frozen=True)
class Config(options.Config):
    """Draw the rows of a trained W. --seeds changes nothing: seed 0 is drawn.

    Attributes:
        num_steps: Of the mini-batch recipe that trains W.
    """

    num_steps: options.Count = 4000


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.dataset, "scaled")
    (progress,) = recipes.train_recipe(dataset, 1, num_steps=config.num_steps)
    W = np.asarray(progress.state.params)
    weights, bias = W[:, :-1], W[:, -1]
    return {
        "templates": weights.reshape(len(W), *dataset.image_shape),
        "bias": bias,
        "norm": np.linalg.norm(weights, axis=1),
        "class_names": list(dataset.class_names),
        "test_accuracy": recipes.evaluate(Objective(), W, dataset.test).accuracy,
    }


def plot(arrays: dict[str, Any]) -> Figures:
    templates, names = arrays["templates"], arrays["class_names"]
    if templates.shape[-1] == 1:
        # Signed weights of grey pixels: blue speaks against the class, red for it.
        limit = float(np.max(np.abs(templates)))
        figure = draw.images(
            templates[..., 0], names, limits=(-limit, limit), cmap="RdBu_r", label="weight"
        )
    else:
        # Each template over its own range, 0 in the middle, so that colours are its weights' signs.
        largest = np.abs(templates).max(axis=(1, 2, 3), keepdims=True)
        figure = draw.images(0.5 + 0.5 * templates / largest, names)
    return {"templates": figure}


def report(arrays: dict[str, Any]) -> str:
    rows = zip(arrays["class_names"], arrays["norm"], arrays["bias"], strict=True)
    return (
        f"The rows of the recipe's W, {100 * arrays['test_accuracy']:.2f} % of the test images "
        "right.\n\n" + table("class | length of the template {:.3f} | bias {:+.3f}", rows)
    )


if __name__ == "__main__":
    runner.main(__name__)
