"""How rows of features look: pictures where the features are pixels, numbers where they are not.

Shared by the sections that show a dataset's hardest examples or the rows of a trained W.
"""

from typing import Any

import numpy as np

from experiments.shared.figures import Figures, Picture
from experiments.shared.settings import some_rows
from experiments.shared.text import as_text, table_of
from jaxsvm import Dataset, Solution
from jaxsvm import plot as draw

# Columns of a table whose values are listed with its hardest examples.
MOST_VALUES = 6


def is_picture(image_shape: tuple[int, ...]) -> bool:
    """Return whether inputs of a shape can be drawn: (H, W), grey (H, W, 1) or colour (H, W, 3)."""
    return len(image_shape) == 2 or (len(image_shape) == 3 and image_shape[2] in (1, 3))


def names_of_features(dataset: Dataset) -> list[str]:
    """Return the names of a dataset's features, their numbers where they have none."""
    F = dataset.train.X.shape[1] - 1
    return list(dataset.feature_names) or [str(d) for d in range(F)]


def hardest(dataset: Dataset, solution: Solution, count: int = 20) -> dict[str, Any]:
    """Return the training examples whose hinges push hardest, and the share of those that push.

    Args:
        dataset: with the training part that was solved on.
        solution: whose dual variables say how hard each example pushes.
        count: how many examples, at most.
    """
    names, y = dataset.class_names, np.asarray(dataset.train.y)
    pressure = np.asarray(solution.dual_variables).sum(axis=1)
    order = np.argsort(-pressure, kind="stable")[:count]
    rows = some_rows(dataset.train.X, order)
    predicted = np.argmax(rows @ np.asarray(solution.W).T, axis=1)
    # As they were before they were shifted and scaled.
    raw = rows[:, :-1] / dataset.scale + dataset.shift
    found = {
        "support": float(np.mean(pressure > 0)),
        "hardest_rows": order,
        "hardest_classes": [names[k] for k in y[order]],
        "hardest_seen_as": [names[k] for k in predicted],
    }
    if is_picture(dataset.image_shape):
        pixels = raw.reshape(-1, *dataset.image_shape)
        low = min(float(pixels.min()), 0.0)
        pictures = (pixels - low) / (float(pixels.max()) - low or 1.0)  # all alike
        return found | {"hardest": pictures[..., 0] if pictures.shape[-1] == 1 else pictures}
    shown = names_of_features(dataset)[:MOST_VALUES]
    return found | {"hardest_values": {name: raw[:, d] for d, name in enumerate(shown)}}


def hardest_figures(arrays: dict[str, Any]) -> Figures:
    """Return the figure of the hardest examples, or none where they are no pictures."""
    if "hardest" not in arrays:
        return {}
    names = zip(arrays["hardest_classes"], arrays["hardest_seen_as"], strict=True)
    seen = [f"{name}\n" + ("right, just" if name == s else f"seen as {s}") for name, s in names]
    figure = draw.images(
        arrays["hardest"], seen,
        title="The training examples that push hardest",
    )  # fmt: skip
    picture = Picture(
        figure,
        "The hardest first. Above each is its class and, where it is answered wrongly, what it is "
        "taken for; “right, just” is inside the margin. A wrong label is often among them.",
        f"Grid of the {len(arrays['hardest_classes'])} hardest training images with their classes.",
    )
    return {"hardest_examples": picture}


def hardest_table(arrays: dict[str, Any]) -> str:
    """Return the table of the hardest examples, or nothing where a figure shows them."""
    if "hardest" in arrays:
        return ""
    columns = {
        "row of the training part {:d}": arrays["hardest_rows"],
        "class": map(as_text, arrays["hardest_classes"]),
        "seen as": map(as_text, arrays["hardest_seen_as"]),
    }
    values = {
        as_text(name): [f"{value:.6g}" for value in column]
        for name, column in arrays["hardest_values"].items()
    }
    return f"The training examples that push hardest:\n\n{table_of(columns | values)}\n\n"


def templates(weights: np.ndarray, classes: list[str], features: list[str]) -> Picture:
    """Draw the rows of W, one a class, and say how to read them.

    Args:
        weights: (C, H, W), (C, H, W, 1) or (C, H, W, 3) of pictures, or (C, F), without the bias.
        classes: C names.
        features: F names, for weights of (C, F).
    """
    largest = float(np.max(np.abs(weights))) or 1.0
    # Signed weights: blue speaks against the class, red for it.
    signed: dict[str, Any] = {"limits": (-largest, largest), "cmap": "RdBu_r", "label": "weight"}
    alt = f"Grid of pictures of the weights of {len(classes)} classes."
    red = "red speaks for the class and blue against it"
    if not is_picture(weights.shape[1:]):
        flat = weights.reshape(len(weights), -1)
        figure = draw.heat_map(flat, classes, features, xlabel="feature", ylabel="class", **signed)
        alt = f"Coloured matrix of the weights, {len(classes)} classes by {len(features)} features."
        return Picture(figure, f"Each row of cells is a row of W: {red}.", alt)
    if weights.shape[-1] == 3 and weights.ndim == 4:
        # Each template over its own range, 0 in the middle, so that colours are its weights' signs.
        own = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
        figure = draw.images(0.5 + 0.5 * weights / np.where(own > 0, own, 1), classes)
        return Picture(figure, "Each picture is a row of W over its own range; grey is 0.", alt)
    figure = draw.images(weights.reshape(weights.shape[:3]), classes, **signed)
    return Picture(figure, f"Each picture is a row of W: {red}, as a stamp of what it likes.", alt)
