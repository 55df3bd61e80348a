"""Results for programs: the numbers of a run as JSON and the arrays behind them.

    runs/<name>/metrics.json         config, seeds, versions, commit, device, every number; the
                                     digests of the run's other files, and last its own
    runs/<name>/metrics.jsonl        one row a recorded step
    runs/<name>/<section>/arrays.npz the arrays behind the figures (`experiments.shared.results`)

Every file is written whole or not at all. JSON holds null where a number is NaN or infinite.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.shared.options import Hardware
from jaxsvm.files import atomic_file

# An array longer than this is named in metrics.json and kept in arrays.npz.
MOST_INLINE = 2000

# What differs between two runs of one command, by how the path to it in metrics.json ends. The
# report prints some of these numbers; metrics.jsonl has none of them.
CLOCK = (
    ".seconds", "_seconds", ".timings", ".at_once_speedup", ".powers", ".peak", ".summary",
    ".verdicts",  # some of whose texts quote times
    ".files", ".sha256",  # of what holds times; and a section's files are paths below --out
)  # fmt: skip
HOST = (
    ".versions", ".date", ".commit", ".uncommitted_changes", ".device", ".num_devices", ".platform",
    ".processor", ".cores", ".sections_at_a_time", ".config.out", ".config.name", ".config.again",
    *(f".config.{name}" for name in Hardware._fields),
)  # fmt: skip
NOT_REPRODUCIBLE = CLOCK + HOST


def plain(value: Any) -> Any:
    """Return a value in JSON's types: arrays as lists, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        if np.size(value) > MOST_INLINE:
            return {"shape": list(np.shape(value)), "dtype": str(value.dtype), "in": "arrays.npz"}
        return _listed(np.asarray(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _listed(array: np.ndarray) -> Any:
    """Return an array of any size as lists, NaN and infinity as None."""
    is_plain = array.dtype.kind in "biuU" or (array.dtype.kind == "f" and np.isfinite(array).all())
    return array.tolist() if is_plain else plain(array.tolist())


def as_json(value: Any) -> str:
    """Return JSON that every parser accepts: NaN and infinity become null."""
    return json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def signed_json(value: Mapping[str, Any]) -> str:
    """Return an object, not empty, as JSON, and in it last the SHA-256 of the JSON without that."""
    text = as_json(value)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text.removesuffix("\n}\n") + f',\n "sha256": "{digest}"\n}}\n'


def read_signed(path: Path) -> dict[str, Any]:
    """Return an object that was written as `signed_json`.

    Raises:
        ValueError: a byte of the file was changed.
        OSError: it cannot be read.
    """
    text = path.read_bytes().decode()
    value = json.loads(text)
    if not isinstance(value, dict) or not value.pop("sha256", "") or signed_json(value) != text:
        raise ValueError(f"{path} does not have the digest that it ends in")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a value `as_json`."""
    write_text(path, as_json(value))


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as ``.npy``."""
    with atomic_file(path) as file:
        np.save(file, array, allow_pickle=False)


def trace(axes: Sequence[str], **values: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays of one shape as columns of equal length, the index along each axis first."""
    shape = next(iter(values.values())).shape
    index = np.indices(shape).reshape(len(shape), -1)
    columns = {name: value.ravel() for name, value in values.items()}
    return dict(zip(axes, index, strict=True)) | columns


def trace_rows(section: str, columns: Mapping[str, Any]) -> list[str]:
    """Return columns of equal length as JSON Lines, one row each."""
    head = f'"section": {json.dumps(section)}'
    cells = [_cells(json.dumps(name), np.asarray(column)) for name, column in columns.items()]
    return [f"{{{', '.join((head, *row))}}}" for row in zip(*cells, strict=True)]


def _cells(name: str, column: np.ndarray) -> list[str]:
    """Return a column of numbers or texts as members of JSON objects."""
    # As one text, whose values hold no line break: a text for each takes many times as long.
    text = json.dumps(_listed(column), separators=("\n", ":"), allow_nan=False)
    return [f"{name}: {value}" for value in text[1:-1].split("\n")] if len(column) else []


def reproducible(metrics: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return the content of a metrics.json without what a clock or the host decides.

    Two runs of one command, however often they were ended and went on, have the rest in common, to
    the last bit.

    >>> reproducible({"cores": 2, "sections": {"race": {"seconds": 1.5, "results": {"reg": 0.1}}}})
    {'sections': {'race': {'results': {'reg': 0.1}}}}
    """
    kept = {}
    for key, value in metrics.items():
        where = f"{place}.{key}"
        if not where.endswith(NOT_REPRODUCIBLE):
            kept[key] = _reproducible(value, where)
    return kept


def _reproducible(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        return reproducible(value, place)
    return [_reproducible(item, place) for item in value] if isinstance(value, list) else value
