"""What a section measured, in one sealed file that gives back exactly what was written.

    write_result(path, result, about)     read_result(path) -> result, about

A result is a nest of dicts, lists, tuples and named tuples of arrays, numbers, strings, booleans
and None. JSON would lose types and bits of it, and an unpickled file could run code; a sealed file
(`jaxsvm.files`) does neither, and notices a changed byte. Its arrays are named by their place in
the nest, ``trace.loss``, for any reader of ``.npz``; its header holds the nest itself, in JSON:

    null, true, 1, 2.5, "text", [...]                 as they are
    {"dict": [[key, value], ...]}
    {"tuple": [...]}                                  with "type" and "fields" where it has names
    {"float": "7ff8000000000000"}                     a NaN or an infinity, as its 8 bytes
    {"array": name}, {"scalar": name}                 a NumPy array, and one number of NumPy's

A JAX array comes back as NumPy's, and a named tuple as one with the same name and fields.
"""

import collections
import itertools
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsvm.files import HEADER, read_sealed, write_sealed

KIND, FORMAT = "jaxsvm section", 1


def write_result(path: Path, result: Any, about: Mapping[str, Any]) -> None:
    """Write a result, and what is to be known about it, to one file.

    Args:
        path: where to; the folder must exist.
        result: a nest as above.
        about: what JSON can say.

    Raises:
        TypeError: something else is in the nest; the message says where.
        OSError: the file cannot be written; what was there before stays.
    """
    arrays: dict[str, np.ndarray] = {}
    header = {"kind": KIND, "format": FORMAT, "about": dict(about)}
    write_sealed(path, header | {"result": _packed(result, "", arrays)}, arrays)


def read_result(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the result in a file that `write_result` wrote, its arrays read-only, and the rest.

    Raises:
        ValueError: the file is damaged, or is no such file.
        OSError: there is none, or it cannot be read.
    """
    header, arrays = read_sealed(path)
    if (header.get("kind"), header.get("format")) != (KIND, FORMAT):
        raise ValueError(f"{path} is no section's result of format {FORMAT}: expected one")
    return _unpacked(header["result"], arrays), header["about"]


def _packed(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as JSON; its arrays are added to ``arrays``, named by their place."""

    def inside(items: Any) -> list[Any]:
        return [_packed(item, f"{place}.{i}", arrays) for i, item in enumerate(items)]

    if isinstance(value, np.ndarray | np.generic | jax.Array):
        kind = "scalar" if isinstance(value, np.generic) else "array"
        if (array := np.asarray(value)).dtype.kind not in "biufcUS":
            raise TypeError(f"{place[1:]} is an array of {array.dtype}: expected numbers or text")
        name = _free_name(place[1:], arrays)
        arrays[name] = array
        return {kind: name}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, Mapping):
        pairs = value.items()
        return {"dict": [[_packed(k, place, arrays), _packed(v, f"{place}.{k}", arrays)]
                         for k, v in pairs]}  # fmt: skip
    if isinstance(value, list):
        return inside(value)
    if isinstance(value, tuple):
        names = {"type": type(value).__name__, "fields": list(getattr(value, "_fields", ()))}
        return {"tuple": inside(value)} | (names if names["fields"] else {})
    raise TypeError(f"{place[1:]} is a {type(value).__name__}: expected arrays, numbers or text")


def _free_name(place: str, arrays: Mapping[str, Any]) -> str:
    """Return a name for the array of a place that no other has: two places may look alike."""
    place = place.replace("\0", " ") or "result"
    names = itertools.chain([place], (f"{place}~{i}" for i in itertools.count(1)))
    return next(name for name in names if name not in arrays and name != HEADER)


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value that `_packed` returned this JSON for."""
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "scalar" in value:
        return arrays[value["scalar"]][()]
    if "float" in value:
        return struct.unpack(">d", bytes.fromhex(value["float"]))[0]
    if "dict" in value:
        return {_unpacked(key, arrays): _unpacked(item, arrays) for key, item in value["dict"]}
    items = [_unpacked(item, arrays) for item in value["tuple"]]
    if "type" in value:
        return collections.namedtuple(value["type"], value["fields"])(*items)
    return tuple(items)
