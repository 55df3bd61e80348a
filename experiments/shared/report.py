"""Reports for people: markdown tables of measured numbers, and one page with all figures in it.

    runs/<name>/report.html          everything a person reads, one file, nothing fetched
    runs/<name>/report.md            the same for an editor or a diff
    runs/<name>/<section>/*.png      the figures

Text from outside (a dataset's class names, a path) is made `as_text` by who puts it into a report,
so that it is the same text in both. Whoever forgets it does no harm to the HTML, where all text is
escaped: its markdown may hold headings, tables, lists, code and emphasis, and a link or an image
stays text, so that no page fetches anything.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jinja2
import numpy as np
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from experiments.shared.record import write_text
from jaxsvm import plot as draw

Figures: TypeAlias = dict[str, Figure]

MARKDOWN = MarkdownIt("zero", {"html": False}).enable(
    ["heading", "table", "list", "fence", "backticks", "emphasis", "escape"]
)
# Figure options of two logarithmic axes.
LOG_LOG: dict[str, Any] = {"xscale": "log", "yscale": "log"}
# A column of a table's header: its name and, in braces, the form of its numbers.
_COLUMN = re.compile(r"^(.*?)(?: ?\{:(.*)\})?$")
# What may begin markdown or HTML within a line, a formula, or the form in a column's name.
_MARKS = re.compile(r"[\\`*_{}\[\]<>&|$~:#]")
PAGES = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)


class Chapter(NamedTuple):
    """A part of a report: its heading, its text in markdown, and the PNG files of its figures."""

    heading: str
    body: str
    figures: Sequence[Path] = ()


def quartiles(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lower quartile, the median and the upper quartile over the first axis."""
    low, median, high = np.percentile(np.asarray(values), [25, 50, 75], axis=0)
    return low, median, high


def number(value: Any, form: str) -> str:
    """Return a number as text; where the form is a percentage, without its sign."""
    return format(value, form).removesuffix("%")


def spread(values: Any, form: str, percentiles: Sequence[float] = (0, 50, 100)) -> str:
    """Return "median [lowest, highest]", or other percentiles, with the numbers in ``form``."""
    low, median, high = (number(value, form) for value in np.percentile(values, percentiles))
    return f"{median} [{low}, {high}]"


def quartile_cell(values: Any, form: str) -> str:
    """Return "median [lower quartile, upper quartile]", with the numbers in ``form``."""
    return spread(values, form, (25, 50, 75))


def table(header: str, rows: Iterable[Iterable[Any]]) -> str:
    """Return a markdown table; a bar inside a cell is escaped, and a line's end becomes a space.

    Text from outside has to be made `as_text` before.

    Args:
        header: the columns' names between bars, each with the form of its numbers if it has some:
            ``"name | loss {:.3f} | accuracy, % {:.1%}"``.
        rows: the cells; text is taken as it is.
    """
    names, forms = zip(*(_COLUMN.findall(column)[0] for column in header.split(" | ")), strict=True)

    def line(cells: Iterable[Any]) -> str:
        texts = (
            cell if isinstance(cell, str) else number(cell, form)
            for cell, form in zip(cells, forms, strict=True)
        )
        shown = (re.sub(r"(?<!\\)\|", r"\|", " ".join(text.splitlines())) for text in texts)
        return "| " + " | ".join(shown) + " |"

    return "\n".join([line(names), line(["---"] * len(names)), *map(line, rows)])


def as_text(name: str) -> str:
    r"""Return a name from outside as markdown that shows it as it is, on one line.

    >>> print(as_text("<b>a*b|c"))
    \<b\>a\*b\|c
    """
    return _MARKS.sub(r"\\\g<0>", " ".join(name.split()))


def verbatim(text: str) -> str:
    """Return text in which nothing is markdown, as a block of its own."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def table_of(columns: Mapping[str, Iterable[Any]]) -> str:
    """Return the `table` of columns by their headers."""
    return table(" | ".join(columns), zip(*columns.values(), strict=True))


def curves_over_seeds(curves: Mapping[str, tuple[Any, Any]], **options: Any) -> Figure:
    """Draw, for each label, (x, values (seeds, len(x))) as a median line in its quartiles' band."""
    found = {label: (x, quartiles(values)) for label, (x, values) in curves.items()}
    return draw.lines(
        {label: (x, median) for label, (x, (_, median, _)) in found.items()},
        bands={label: (low, high) for label, (_, (low, _, high)) in found.items()},
        **options,
    )


def accuracy_against_reg(
    regs: Any, accuracies: Mapping[str, Any], ylabel: str, *, title: str
) -> Figure:
    """Draw, for each label, the accuracies of the optima along a path of regs."""
    return draw.lines(
        {label: (regs, 100 * accuracy) for label, accuracy in accuracies.items()},
        xlabel="reg", ylabel=ylabel, title=title, xscale="log", marker="o",
    )  # fmt: skip


def save_figures(figures: Figures, folder: Path) -> list[Path]:
    """Write each figure to the folder as a PNG of its name."""
    return [draw.save_figure(figure, folder / f"{name}.png") for name, figure in figures.items()]


def write_report(folder: Path, title: str, chapters: Sequence[Chapter]) -> list[Path]:
    """Write report.md and report.html, and return their paths."""
    markdown = [f"# {title}"]
    for heading, body, figures in chapters:
        markdown += [f"## {heading}", body.strip()]
        markdown += [f"![{caption(f)}]({f.relative_to(folder).as_posix()})" for f in figures]
    text = "\n\n".join(markdown) + "\n"
    page = PAGES.get_template("report.html.jinja").render(
        title=title, chapters=chapters, to_html=MARKDOWN.render, caption=caption, base64=in_base64
    )
    texts = {"report.md": text, "report.html": page}
    for name, content in texts.items():
        write_text(folder / name, content)
    return [folder / name for name in texts]


def caption(figure: Path) -> str:
    """Return what a reader sees below a figure."""
    return figure.stem.replace("_", " ")


def in_base64(figure: Path) -> str:
    """Return a file's bytes as text."""
    return base64.b64encode(figure.read_bytes()).decode()
