"""What a run leaves behind: report.md, report.html, metrics.json, metrics.jsonl, arrays, figures.

    runs/<name>/report.html          everything a person reads, one file, nothing fetched
    runs/<name>/report.md            the same for an editor or a diff
    runs/<name>/metrics.json         config, seeds, versions, commit, device, every number
    runs/<name>/metrics.jsonl        one row a recorded step
    runs/<name>/<section>/*.png      the figures
    runs/<name>/<section>/arrays.npz the arrays behind them

Every file is written whole or not at all. Text from outside (a dataset's class names, a path) is
escaped on its way into HTML, and JSON holds null where a number is NaN or infinite.
"""

import base64
import dataclasses
import html
import importlib.metadata
import json
import math
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from jaxsvm.files import atomic_file

# An array longer than this is named in metrics.json and kept in arrays.npz.
MOST_INLINE = 2000

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "matplotlib", "scikit-learn")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 56rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1, h2, h3 {{ line-height: 1.2; }} h2 {{ margin-top: 3rem; border-top: 1px solid #ccc;
  padding-top: 1rem; }}
table {{ border-collapse: collapse; font-size: 0.9em; font-variant-numeric: tabular-nums;
  display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 0.3rem 0.7rem; text-align: left;
  vertical-align: top; }}
code, pre {{ font-family: ui-monospace, monospace; font-size: 0.9em; background: #f4f4f4; }}
pre {{ padding: 0.7rem; overflow-x: auto; }}
figure {{ margin: 1.5rem 0; }} img {{ max-width: 100%; height: auto; }}
figcaption {{ color: #555; font-size: 0.9em; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a markdown table; a bar inside a cell is escaped."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def plain(value: Any) -> Any:
    """Return a value as JSON can say it: arrays as lists, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        if np.size(value) > MOST_INLINE:
            return {"shape": list(np.shape(value)), "dtype": str(value.dtype), "in": "arrays.npz"}
        return plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def environment() -> dict[str, Any]:
    """Return what a reader needs to repeat a run: versions, commit, device, dtype."""
    versions = {"python": platform.python_version(), "jaxsvm": jaxsvm.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    device = jax.devices()[0]
    return {
        "versions": versions,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "device": f"{device.platform}: {device.device_kind}",
        "num_devices": jax.device_count(),
        "dtype": str(jnp.zeros(()).dtype),
        "platform": platform.platform(),
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON that every parser accepts: NaN and infinity become null."""
    text = json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write every array of a (nested) dict to one ``.npz``, its keys joined by dots."""
    with atomic_file(path) as file:
        np.savez(file, allow_pickle=False, **_numeric("", arrays))


def trace_rows(section: str, trace: Mapping[str, Any]) -> list[str]:
    """Return columns of equal length as JSON Lines, one row each.

    Raises:
        ValueError: the columns differ in length.
    """
    columns = {name: plain(list(np.asarray(column).tolist())) for name, column in trace.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError(
            f"the trace of {section} has columns of lengths "
            f"{ {name: len(column) for name, column in columns.items()} }: expected one length"
        )
    return [
        json.dumps({"section": section, **dict(zip(columns, row, strict=True))}, allow_nan=False)
        for row in zip(*columns.values(), strict=True)
    ]


def write_report(folder: Path, title: str, sections: Sequence[tuple[str, str, list[Path]]]) -> None:
    """Write report.md and report.html from (heading, markdown body, figures) of each section."""
    markdown, page = [f"# {title}"], [f"<h1>{html.escape(title)}</h1>"]
    for heading, body, figures in sections:
        markdown += [f"## {heading}", body.strip()]
        page += [f"<h2>{html.escape(heading)}</h2>", to_html(body)]
        for figure in figures:
            caption = figure.stem.replace("_", " ")
            markdown.append(f"![{caption}]({figure.relative_to(folder).as_posix()})")
            page.append(_figure(figure, caption))
    write_text(folder / "report.md", "\n\n".join(markdown) + "\n")
    write_text(folder / "report.html", PAGE.format(title=html.escape(title), body="\n".join(page)))


def to_html(markdown: str) -> str:
    """Return the HTML of the markdown that reports use.

    Blocks, apart by blank lines: ``###`` headings, ``|`` tables, ``-`` lists, fenced code,
    paragraphs. Inside them: code spans and bold. Everything else is text, escaped.
    """
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        rows = block.strip("\n").split("\n")
        if rows[0].startswith("```"):
            blocks.append(f"<pre>{html.escape(chr(10).join(rows[1:-1]))}</pre>")
        elif heading := re.match(r"(#{3,6}) (.*)", rows[0]):
            level = len(heading[1])
            blocks.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
        elif rows[0].startswith("|"):
            blocks.append(_table(rows))
        elif rows[0].startswith("- "):
            items = re.split(r"\n- ", "\n".join(rows)[2:])
            blocks.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        elif block.strip():
            blocks.append(f"<p>{_inline(block.strip())}</p>")
    return "\n".join(blocks)


def _inline(text: str) -> str:
    """Escape, then code spans and bold; what is inside a code span is left alone."""
    parts = re.split(r"`([^`]*)`", text)
    for i, part in enumerate(parts):
        escaped = html.escape(part)
        if i % 2:
            parts[i] = f"<code>{escaped}</code>"
        else:
            parts[i] = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)
    return "".join(parts)


def _table(rows: Sequence[str]) -> str:
    def cells(row: str, tag: str) -> str:
        texts = re.split(r"(?<!\\)\|", row.strip().strip("|"))
        inner = (_inline(text.strip().replace("\\|", "|")) for text in texts)
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in inner) + "</tr>"

    body = "".join(cells(row, "td") for row in rows[2:])
    return f"<table><thead>{cells(rows[0], 'th')}</thead><tbody>{body}</tbody></table>"


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _numeric(prefix: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the numeric leaves of nested dicts, flat; lists of numbers count as arrays."""
    flat: dict[str, np.ndarray] = {}
    for key, value in arrays.items():
        if isinstance(value, Mapping):
            flat |= _numeric(f"{prefix}{key}.", value)
        elif isinstance(value, np.ndarray | np.generic | jax.Array | float | int | list):
            try:
                array = np.asarray(value)
            except ValueError:  # a ragged list is no array; metrics.json has it
                continue
            if array.dtype.kind in "biuf":
                flat[f"{prefix}{key}"] = array
    return flat


def _git(*arguments: str) -> str | None:
    """Return git's answer about this code's repository, or None where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
