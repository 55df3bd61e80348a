"""Measured numbers as text: cells, tables, and names from outside, in markdown.

Text from outside (a dataset's class names, a path) is made `as_text` by who puts it into a report,
so that it is the same text wherever it is shown. Whoever forgets it does no harm to HTML, where all
text is escaped: its markdown may hold headings, tables, lists, code and emphasis, and a link or an
image stays text, so that no page fetches anything.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markdown_it import MarkdownIt

# A column of a table's header: its name and, in braces, the form of its numbers.
_COLUMN = re.compile(r"^(.*?)(?: ?\{:(.*)\})?$")
# What may begin markdown or HTML within a line, a formula, or the form in a column's name.
_MARKS = re.compile(r"[\\`*_{}\[\]<>&|$~:#]")


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


def counted(count: int, name: str) -> str:
    """Return a number of things: "1 seed", "1,200 seeds"."""
    return f"{count:,} {name}" + "s" * (count != 1)


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


def table_of(columns: Mapping[str, Iterable[Any]]) -> str:
    """Return the `table` of columns by their headers."""
    return table(" | ".join(columns), zip(*columns.values(), strict=True))


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


def code(text: str) -> str:
    """Return text in which nothing is markdown, as code within a line."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " * (len(fence) > 1)
    return f"{fence}{space}{text}{space}{fence}"


def reader() -> MarkdownIt:
    """Return what turns markdown into HTML; a wide table can be moved sideways in its box."""
    box = '<div class="wide" tabindex="0" role="group" aria-label="table">'
    reader = MarkdownIt("zero", {"html": False}).enable(
        ["heading", "table", "list", "fence", "backticks", "emphasis", "escape"]
    )
    reader.add_render_rule("table_open", lambda *_: f"{box}<table>\n")
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return reader


def plain_text(markdown: str) -> str:
    """Return a paragraph of markdown as a terminal shows it: without its marks, on one line.

    >>> print(plain_text("**99 %** of `W`, \\\\<b\\\\>"))
    99 % of W, <b>
    """
    (tokens,) = MARKDOWN.parseInline(" ".join(markdown.split()))
    return "".join(token.content for token in tokens.children or ())


MARKDOWN = reader()
