"""Write the reference: a page for every room, every public name with its equation and its example.

    pip install -e '.[docs]' && python -m experiments.docs
    python -m experiments.docs --out runs/<name>/docs    # beside a report

The docstrings are the text. index.html is the guide: recipes, which function to take, error
messages. The pages open from disk and fetch nothing.
"""

import html
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxsvm
from experiments.shared import command_line
from experiments.shared.failures import CANNOT_WRITE, fail, say
from experiments.shared.record import write_text

HERE = Path(__file__).parent
ROOMS = (
    "core", "lines", "gradients", "optimizers", "certificate", "datasets", "patches", "model",
    "checkpoint", "devices", "estimator", "plot",
)  # fmt: skip
# Indented lines below a blank one, which is below a line that is not indented.
_BLOCK = re.compile(r"^(\S.*)\n\n((?:    .+(?:\n|\Z)|\n(?=    ))+)", re.MULTILINE)
# What Python itself says of a record's fields.
_NOISE = re.compile(r"Alias for field number \d+$|Create new instance of ")
_SUBSCRIPT = re.compile(r"_(?:\{([^}\n]*)\}|([^\W_]\b))")


@dataclass(frozen=True)
class Config:
    """Write the reference.

    Attributes:
        out: The folder for the pages.
    """

    out: Path = Path("runs/docs")


def main() -> None:
    config = command_line.read(Config, __doc__)
    try:
        write(config.out)
    except OSError as error:
        sys.exit(fail(CANNOT_WRITE, f"cannot write {error.filename}: {error.strerror}"))
    sys.exit(say(f"wrote {config.out / 'index.html'}"))


def write(out: Path) -> None:
    """Write index.html, a page for the top level and one for each room, and search.js."""
    from pdoc import doc, render  # of the extra `docs`

    render.env.globals["guide"] = (HERE / "guide.md").read_text()
    render.configure(
        docformat="google", show_source=False, template_directory=HERE,
        footer_text=f"jaxsvm {jaxsvm.__version__}",
    )  # fmt: skip
    for room in ROOMS:
        show_all_names(f"jaxsvm.{room}")
    names = ["jaxsvm", *(f"jaxsvm.{room}" for room in ROOMS)]
    pages = {name: doc.Module.from_name(name) for name in names}
    for page in pages.values():
        # Losses and penalties are records with docstrings of their own.
        for member in page.variables:
            own = getattr(vars(page.obj)[member.name], "__dict__", {})
            member.docstring = inspect.cleandoc(own.get("__doc__") or member.docstring)
        for part in parts(page):
            part.docstring = "" if _NOISE.match(part.docstring) else typeset(part.docstring)
    (out / "jaxsvm").mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        write_text(out / f"{name.replace('.', '/')}.html", render.html_module(page, pages))
    write_text(out / "index.html", render.html_index(pages))
    write_text(out / "search.js", render.search_index(pages))


def show_all_names(room: str) -> None:
    """Tell pdoc that a room's public names are all that its `__init__` has but modules.

    It would otherwise show them on pages of the files that they come from.
    """
    module = importlib.import_module(room)
    if hasattr(module, "__path__"):
        shown = (name for name, value in vars(module).items() if not hasattr(value, "__spec__"))
        vars(module)["__all__"] = [name for name in shown if not name.startswith("_")]


def parts(page: Any) -> Iterator[Any]:
    """Yield a page, and everything that it shows."""
    yield page
    for member in getattr(page, "members", {}).values():
        yield from parts(member)


def typeset(docstring: str) -> str:
    """Return a docstring whose formulas, its indented lines, have subscripts and a serif type.

    >>> print(typeset("The loss:\\n\\n    loss_i = Σ_{j≠y} m_j\\n\\nArgs:\\n    m_j: a margin"))
    The loss:
    <BLANKLINE>
    <pre class="formula">loss<sub>i</sub> = Σ<sub>j≠y</sub> m<sub>j</sub></pre>
    <BLANKLINE>
    Args:
        m_j: a margin
    """

    def formula(block: re.Match[str]) -> str:
        text = html.escape(textwrap.dedent(block[2]).rstrip(), quote=False)
        # Columns stand below each other in letters of one width only.
        if "\n" in text and "   " in text:
            return f'{block[1]}\n\n<pre class="formula columns">{text}</pre>\n'
        text = _SUBSCRIPT.sub(lambda found: f"<sub>{found[1] or found[2]}</sub>", text)
        return f'{block[1]}\n\n<pre class="formula">{text}</pre>\n'

    return _BLOCK.sub(formula, docstring)


if __name__ == "__main__":
    main()
