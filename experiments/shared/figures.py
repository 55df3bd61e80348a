"""Figures with the words that go with them: what to look at, and a description.

A figure is drawn by `jaxsvm.plot` and kept as SVG where it is a drawing, or else as PNG.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from experiments.shared.text import quartiles
from jaxsvm import plot as draw

if TYPE_CHECKING:  # `jaxsvm.plot` says why
    from matplotlib.figure import Figure

# Figure options of two logarithmic axes.
LOG_LOG: dict[str, Any] = {"xscale": "log", "yscale": "log"}
# A drawing of more bytes than this is smaller as pixels.
MOST_SVG = 150_000


class Picture(NamedTuple):
    """A figure and the words that go with it.

    Attributes:
        figure: to be drawn.
        caption: says what to look at; markdown.
        alt: describes the figure to who does not see it; plain text.
    """

    figure: "Figure"
    caption: str
    alt: str


Figures: TypeAlias = dict[str, Picture]


class Shown(NamedTuple):
    """A figure's file, and the words that go with it.

    Attributes:
        path: of the file.
        caption: markdown.
        alt: plain text.
        is_drawing: whether it is of lines on white, whose colours may be turned for a dark page.
    """

    path: Path
    caption: str
    alt: str
    is_drawing: bool

    @property
    def source(self) -> str:
        """The file itself, as the address of an image."""
        kind = "svg+xml" if self.path.suffix == ".svg" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def curves_over_seeds(curves: Mapping[str, tuple[Any, Any]], **options: Any) -> "Figure":
    """Draw, for each label, (x, values (seeds, len(x))) as a median line in its quartiles' band."""
    found = {label: (x, quartiles(values)) for label, (x, values) in curves.items()}
    return draw.lines(
        {label: (x, median) for label, (x, (_, median, _)) in found.items()},
        bands={label: (low, high) for label, (_, (low, _, high)) in found.items()},
        **options,
    )


def accuracy_against_reg(
    regs: Any, accuracies: Mapping[str, Any], ylabel: str, *, title: str
) -> Picture:
    """Draw, for each label, the accuracies of the optima along a path of regs."""
    figure = draw.lines(
        {label: (regs, 100 * accuracy) for label, accuracy in accuracies.items()},
        xlabel="reg", ylabel=ylabel, title=title, xscale="log", marker="o",
    )  # fmt: skip
    return Picture(
        figure,
        "Each point is an optimum that is proved to a gap, so that no difference between points is "
        "one of how long they were trained. Look for the top of a curve.",
        f"Line chart: {ylabel} against reg on a logarithmic axis, for {', '.join(accuracies)}.",
    )


def save_figures(figures: Figures, folder: Path) -> dict[str, Shown]:
    """Write each figure to the folder as a file of its name: SVG, or PNG where that is smaller."""
    return {name: _save(picture, folder, name) for name, picture in figures.items()}


def _save(picture: Picture, folder: Path, name: str) -> Shown:
    is_drawing = not any(ax.images for ax in picture.figure.axes)
    path = folder / f"{name}.png"
    if is_drawing:
        drawing = draw.save_figure(picture.figure, folder / f"{name}.svg")
        if drawing.stat().st_size <= MOST_SVG:
            return Shown(drawing, picture.caption, picture.alt, is_drawing)
        drawing.unlink()
    draw.save_figure(picture.figure, path)
    return Shown(path, picture.caption, picture.alt, is_drawing)
