"""What does a trained row of W look like? One template a class.

    python -m experiments.templates --dataset cifar10

A linear score is an inner product of the image with a row of W, so the row, drawn as an image, is
what its class looks for; of a table, the row's weights are colours beside each other. W comes from
the mini-batch recipe (`experiments.minibatch`), seed 0. The mean and the bias are not part of the
pictures.

Expected: on digits, strokes; on CIFAR-10, blurred colours: blue round ships and planes, a horse
with two heads. A few seconds on digits, half a minute on CIFAR-10.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.shared import options, pictures, recipes, runner, settings
from experiments.shared.figures import Figures
from experiments.shared.report import Story
from experiments.shared.text import as_text, table

STORY = Story(
    "What was learned?",
    """A score is an inner product of an example with a row of W. So a row is what its class looks
for: a *template*, which can be drawn as an image where the features are pixels. W is the mini-batch
recipe's.""",
    "One template a class is all that a linear classifier has: it cannot look for a horse that "
    "faces left and for one that faces right apart. Which way to such a W is the shortest?",
)


@dataclass(frozen=True)
class Config(options.Config):
    """Draw the rows of a trained W. --seeds changes nothing: seed 0 is drawn.

    Attributes:
        num_steps: Of the mini-batch recipe that trains W.
    """

    num_steps: options.Count = 4000


def run(config: Config) -> dict[str, Any]:
    dataset = settings.load(config.source, "scaled")
    (progress,) = recipes.train_recipe(dataset, 1, num_steps=config.num_steps)
    W = np.asarray(progress.state.params)
    weights, bias = W[:, :-1], W[:, -1]
    return {
        "dataset": settings.facts(dataset),
        "templates": weights.reshape(len(W), *dataset.image_shape),
        "bias": bias,
        "norm": np.linalg.norm(weights, axis=1),
        "class_names": list(dataset.class_names),
        "feature_names": pictures.names_of_features(dataset),
        "test_accuracy": recipes.accuracy(W, dataset.test),
    }


def plot(arrays: dict[str, Any]) -> Figures:
    names = arrays["class_names"], arrays["feature_names"]
    return {"templates": pictures.templates(arrays["templates"], *names)}


def report(arrays: dict[str, Any]) -> str:
    rows = zip(map(as_text, arrays["class_names"]), arrays["norm"], arrays["bias"], strict=True)
    return (
        f"With one template a class, {100 * arrays['test_accuracy']:.2f} % of the test examples "
        "are answered rightly (seed 0).\n\n[[templates]]\n\n"
        + table("class | length of the template {:.3f} | bias {:+.3f}", rows)
    )


if __name__ == "__main__":
    runner.main(__name__)
