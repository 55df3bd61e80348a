"""The parts of a report that one can play with: HTML with its style and its script inside.

A fragment needs nothing from elsewhere and asks for nothing: it works from a file. Its source files
lie beside this one. They are JavaScript modules, which node's tests import as they are; here those
that a fragment needs are joined into one script, each after the ones that it imports.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

FOLDER = Path(__file__).parent
TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), trim_blocks=True)
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.mjs";\n', re.MULTILINE)
_SCRIPT = re.compile(r'<script type="module">(.*?)</script>', re.DOTALL)
# Of a slider: the setting, its name, and its positions: all but delta's are powers of ten.
SLIDERS = (
    ("stepSize", "step size", -3, 1, 0.05),
    ("reg", "reg", -5, 1, 0.05),
    ("delta", "delta", 0, 3, 0.1),
    ("h", "h", -9, 0, 0.5),
)


def hiker(*, level: int = 2) -> str:
    """Return the hiker, a small problem to play with, as a section whose heading has a level."""
    return _fragment("hiker", level=level, sliders=SLIDERS)


def landscape(arrays: Mapping[str, Any], *, level: int = 2) -> str:
    """Return a plane of the objective with the paths over it, as a section of a page.

    Args:
        arrays: as `experiments.shared.live_plane.live_plane` returns them, and perhaps ``share``,
            of the paths' variance, along the two directions.
        level: of the heading.
    """
    told = _encoded(arrays)
    # What may end a script is written otherwise: a strategy's name is text from outside.
    return _fragment("landscape", level=level, arrays=json.dumps(told).replace("<", "\\u003c"))


def script(name: str) -> str:
    """Return a module and those it imports as one module that imports nothing."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in found:
            source = (FOLDER / f"{name}.mjs").read_text()
            for needed in _IMPORT.findall(source):
                add(needed)
            # Of a dict, the order is that of the first mention: the imported come first.
            found[name] = re.sub(r"^export ", "", _IMPORT.sub("", source), flags=re.MULTILINE)

    add(name)
    return "\n".join(found.values())


def script_hashes(html: str) -> str:
    """Return the ``script-src`` of a Content-Security-Policy that allows these scripts alone."""
    digests = (hashlib.sha256(source.encode()).digest() for source in _SCRIPT.findall(html))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def document(title: str, *fragments: str) -> str:
    """Return a page of its own that holds the fragments."""
    body = "\n".join(fragments)
    return TEMPLATES.get_template("document.html.jinja").render(
        title=title, body=body, hashes=script_hashes(body)
    )


def _encoded(value: Any) -> Any:
    """Return what JSON can say of arrays: small ones as lists, others as float32 in base64."""
    if isinstance(value, Mapping):
        return {name: _encoded(part) for name, part in value.items()}
    if not isinstance(value, np.ndarray | np.generic):
        return value
    if value.size <= 2 or value.dtype.kind != "f":
        return value.tolist()
    data = base64.b64encode(value.astype("<f4").tobytes()).decode()
    return {"data": data, "shape": value.shape}


def _fragment(name: str, **more: object) -> str:
    template = TEMPLATES.get_template(f"{name}.html.jinja")
    style = "".join((FOLDER / f"{part}.css").read_text() for part in ("common", name))
    return template.render(style=style, script=script(name), **more)
