"""Results for programs: the numbers of a run as JSON and the arrays behind them.

    runs/<name>/metrics.json         config, seeds, versions, commit, device, every number
    runs/<name>/metrics.jsonl        one row a recorded step
    runs/<name>/<section>/arrays.npz the arrays behind the figures

Every file is written whole or not at all. JSON holds null where a number is NaN or infinite.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsvm.files import atomic_file

# An array longer than this is named in metrics.json and kept in arrays.npz.
MOST_INLINE = 2000


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
        return plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


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
        np.savez(file, allow_pickle=False, **_numeric(arrays))


def trace(axes: Sequence[str], **values: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays of one shape as columns of equal length, the index along each axis first."""
    shape = next(iter(values.values())).shape
    index = np.indices(shape).reshape(len(shape), -1)
    columns = {name: value.ravel() for name, value in values.items()}
    return dict(zip(axes, index, strict=True)) | columns


def trace_rows(section: str, columns: Mapping[str, Any]) -> list[str]:
    """Return columns of equal length as JSON Lines, one row each."""
    rows = zip(*(plain(np.asarray(column).tolist()) for column in columns.values()), strict=True)
    return [
        json.dumps({"section": section, **dict(zip(columns, row, strict=True))}, allow_nan=False)
        for row in rows
    ]


def _numeric(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the numeric leaves of nested dicts, flat; lists of numbers count as arrays."""
    flat: dict[str, np.ndarray] = {}
    is_list = lambda value: isinstance(value, list | tuple)  # noqa: E731
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(arrays), is_leaf=is_list):
        with contextlib.suppress(ValueError):  # a ragged list is no array; metrics.json has it
            array = np.asarray(leaf)
            if array.dtype.kind in "biuf":
                flat[jax.tree_util.keystr(path, simple=True, separator=".")] = array
    return flat
