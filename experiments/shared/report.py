"""Reports for people: a story with measured numbers and figures in it, on one page.

    runs/<name>/report.html               everything a person reads, one file, nothing fetched
    runs/<name>/report.md                 the same for an editor or a diff
    runs/<name>/<section>/*.svg, *.png    the figures: drawings as SVG, images as PNG

A section tells its part in three pieces: a `Story` (the question, what is tried, the next
question), the numbers (markdown that begins with a paragraph that says what was found) and its
figures, each with a caption and a description. A figure stands where the numbers have its name in
double brackets, alone on a line; figures without such a line come last.

What comes from outside stays text (`experiments.shared.text`). Only a story may hold formulas: it
is ours.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from experiments.shared.figures import Shown
from experiments.shared.page import script_hashes
from experiments.shared.record import write_text
from experiments.shared.text import MARKDOWN, as_text, reader, table

# The place of a figure in a text.
_PLACE = re.compile(r"^\[\[([\w.-]+)\]\]$", re.MULTILINE)
PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


class Story(NamedTuple):
    """What a section asks, in our own words; markdown with formulas between dollars.

    Attributes:
        question: the heading; plain text.
        before: what the notes say and what is tried.
        after: what it means for the next question.
    """

    question: str
    before: str = ""
    after: str = ""


class Claim(NamedTuple):
    """A sentence of the notes with a number in it, and what became of it; all markdown.

    Attributes:
        source: what the notes say.
        measured: what was measured here.
        verdict: whether it is so, or on what it depends.
        judged: whether this dataset can tell.
    """

    source: str
    measured: str
    verdict: str
    judged: bool = True


class Chapter(NamedTuple):
    """A part of a report.

    Attributes:
        heading: plain text.
        body: markdown, with the places of figures.
        figures: by name.
        name: the section's, for links within the page.
        story: what is told around the body.
        made: markdown that says how the numbers came to be.
        play: HTML of ours that one can play with; only a page has it.
    """

    heading: str
    body: str
    figures: Mapping[str, Shown] = {}
    name: str = ""
    story: Story = Story("")
    made: str = ""
    play: str = ""

    @property
    def anchor(self) -> str:
        """Where a link leads to."""
        return re.sub(r"[^a-z0-9]+", "-", (self.name or self.heading).lower()).strip("-")

    @property
    def found(self) -> str:
        """The body's first paragraph, which says what was found."""
        return self.body.strip().split("\n\n", 1)[0]

    @property
    def pieces(self) -> list[str | Shown]:
        """The body after what was found: texts and figures, each figure in its place."""
        texts = _PLACE.split(self.body.strip()[len(self.found) :])
        pieces: list[str | Shown] = []
        left = dict(self.figures)
        for i, piece in enumerate(texts):
            if i % 2 == 0:
                pieces.append(piece.strip())
            elif piece in left:  # it may have nothing to show for these data
                pieces.append(left.pop(piece))
        return [piece for piece in [*pieces, *left.values()] if piece]


class Top(NamedTuple):
    """What a report begins with.

    Attributes:
        story: whose question is the title, and an introduction.
        about: date, data and command, each a line of markdown.
        picture: one that sums it up.
        claims: that the sections judged, by the section's heading.
        play: as in `Chapter`.
    """

    story: Story
    about: Sequence[str] = ()
    picture: Shown | None = None
    claims: Mapping[str, Sequence[Claim]] = {}
    play: str = ""

    @property
    def judged(self) -> list[tuple[Claim, str]]:
        """All claims with their section's heading, those first that the data can tell."""
        rows = [(claim, name) for name, part in self.claims.items() for claim in part]
        return sorted(rows, key=lambda row: not row[0].judged)

    @property
    def verdicts(self) -> str:
        """The table of all claims as markdown; empty without claims."""
        cells = [(c.source, f"**{c.verdict}**", c.measured, name) for c, name in self.judged]
        return table("the notes say | verdict | measured | measured in", cells) if cells else ""


def write_report(folder: Path, top: Top, chapters: Sequence[Chapter]) -> list[Path]:
    """Write report.md and report.html, and return their paths."""
    text = "\n\n".join(_markdown(folder, top, chapters)) + "\n"
    page = PAGES.get_template("report.html.jinja").render(
        top=top, chapters=chapters, markdown=MARKDOWN, story=STORY,
        anchors={chapter.heading: chapter.anchor for chapter in chapters},
        scripts=script_hashes("".join([top.play, *(chapter.play for chapter in chapters)])),
    )  # fmt: skip
    texts = {"report.md": text, "report.html": page}
    for name, content in texts.items():
        write_text(folder / name, content)
    return [folder / name for name in texts]


def _markdown(folder: Path, top: Top, chapters: Sequence[Chapter]) -> Iterable[str]:
    """Yield the report's paragraphs as markdown."""

    def text(piece: str | Shown) -> str:
        if isinstance(piece, str):
            return piece
        path = piece.path.relative_to(folder).as_posix()
        return f"![{as_text(piece.alt)}]({path})\n\n*{piece.caption}*"

    parts = [f"# {top.story.question}", "  \n".join(top.about), top.story.before]
    parts += [text(top.picture)] if top.picture else []
    parts += ["## The claims", top.verdicts] if top.verdicts else []
    for chapter in chapters:
        parts += [f"## {chapter.heading}", chapter.story.before, chapter.found]
        parts += [*map(text, chapter.pieces), chapter.story.after, chapter.made]
    return filter(None, parts)


def _formula(text: str, options: Mapping[str, Any]) -> str:
    """Return a formula as MathML, which a browser sets without a script."""
    return convert(text, display="block" if options["display_mode"] else "inline")


def _formulas() -> MarkdownIt:
    """Return a reader of formulas too; on a phone a wide one is moved sideways in its box."""
    found = reader().use(dollarmath_plugin, renderer=_formula)
    box = '<div class="wide math" tabindex="0" role="group" aria-label="formula">'

    def block(_: Any, tokens: Sequence[Any], index: int, *rest: Any) -> str:
        return f"{box}{_formula(tokens[index].content, {'display_mode': True})}</div>\n"

    found.add_render_rule("math_block", block)
    return found


STORY = _formulas()
