"""Any pytree as named arrays that NumPy can store, and back to the bit.

A typed PRNG key is stored as its words, and a float of a kind that NumPy does not have (bfloat16,
float8) as unsigned integers of the same bits. What a leaf was is in the template it is restored to.
Rows that lie over several devices, or are read when they are needed, are one array here, because
what they are does not depend on it.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxsvm.core.rows import ShardedRows, host_blocks
from jaxsvm.core.streamed import StreamedRows

# The generators of `jax.random.key`, one of which a typed key's dtype is of.
GENERATORS = ("threefry2x32", "rbg", "unsafe_rbg")


def stored(tree: Any) -> dict[str, np.ndarray]:
    """Return a pytree's leaves as arrays of plain numbers, by a name that says where it is.

    Args:
        tree: of arrays, NumPy's or JAX's, typed keys, and numbers.

    >>> stored({"W": jnp.ones(2, jnp.bfloat16), "key": jax.random.key(7)})
    {"0['W']": array([16256, 16256], dtype=uint16), "1['key']": array([0, 7], dtype=uint32)}
    """
    return {name: _stored(leaf) for name, leaf in _named(tree)}


def restored(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the pytree that `stored` took apart, with JAX's arrays for leaves.

    Args:
        template: of the same structure, shapes and dtypes: arrays, or `jax.eval_shape`'s.
        arrays: what `stored` returned.

    Raises:
        ValueError: a name is missing or unknown; an array has another shape or dtype than the
            template says.

    >>> key = jax.random.key(7)
    >>> bool(restored(key, stored(key)) == key)
    True
    """
    check_stored(template, arrays)
    leaves = [_restored(leaf, arrays[name]) for name, leaf in _named(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def check_stored(template: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless arrays are what `restored` takes to the template's form.

    Raises:
        ValueError: a name is missing or unknown; an array has another shape or dtype.
    """
    wanted = {name: _stored_as(leaf) for name, leaf in _named(template)}
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    for name in wanted | found:
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"array {name!r} is {_said(found.get(name))}: expected {_said(wanted.get(name))}"
            )


def described(tree: Any) -> dict[str, str]:
    """Return dtype and shape of a pytree's leaves, by name; `jax.eval_shape`'s will do.

    >>> described({"W": jnp.ones((2, 3)), "key": jax.random.key(7)})
    {"0['W']": 'float32[2, 3]', "1['key']": 'key<fry>[]'}
    """
    return {name: f"{_dtype(leaf)}{list(np.shape(leaf))}" for name, leaf in _named(tree)}


def digests(tree: Any) -> dict[str, str]:
    """Return dtype, shape and a digest of the bits of a pytree's leaves, by name.

    >>> digests(jnp.ones((2, 3)))
    {'0': 'float32[2, 3] f46913286d895f62d646314f400fc3d7'}
    """
    bits = {name: _digest(leaf) for name, leaf in _named(tree)}
    return {name: f"{said} {bits[name]}" for name, said in described(tree).items()}


def on_one_device(tree: Any) -> Any:
    """Return a pytree's arrays as forms: shapes and dtypes, and nothing of where they lie."""

    def form(leaf: Any) -> Any:
        if not isinstance(leaf, Array | ShardedRows | StreamedRows):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    return jax.tree.map(form, tree, is_leaf=_is_rows)


def _is_rows(node: Any) -> bool:
    return isinstance(node, ShardedRows | StreamedRows)


def _named(tree: Any) -> list[tuple[str, Any]]:
    # Numbered, because two leaves of a node that names no children share a path.
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_rows)
    return [(f"{i}{jax.tree_util.keystr(path)}", leaf) for i, (path, leaf) in enumerate(leaves)]


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(_dtype(leaf), jax.dtypes.prng_key)


def _stored(leaf: Any) -> np.ndarray:
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return array.view(_plain(array.dtype))


def _plain(dtype: np.dtype) -> np.dtype:
    """Return the dtype that NumPy can store the bits of another in."""
    return np.dtype(f"u{dtype.itemsize}") if dtype.kind == "V" else dtype


def _stored_as(leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the dtype of a leaf as it is stored."""
    if _is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return np.shape(leaf), _plain(np.dtype(_dtype(leaf)))


def _restored(leaf: Any, array: np.ndarray) -> Any:
    if not _is_key(leaf):
        return jnp.asarray(array.view(_dtype(leaf)))
    for generator in GENERATORS:
        key = jax.eval_shape(lambda name=generator: jax.random.key(0, impl=name))
        if key.dtype == leaf.dtype:
            return jax.random.wrap_key_data(jnp.asarray(array), impl=generator)
    raise ValueError(f"a key is of dtype {leaf.dtype}: expected a key of {', '.join(GENERATORS)}")


def _said(form: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "not there" if form is None else f"{form[1]}{list(form[0])}"


def _digest(leaf: Any) -> str:
    """Return the first half of the sha256 of an array's bytes, as they are stored."""
    found = hashlib.sha256()
    for block in host_blocks(leaf) if _is_rows(leaf) else [_stored(leaf)]:
        # Reshaped, because the bytes of an array with no entries or no axes cannot be viewed.
        flat = np.ascontiguousarray(block).reshape(-1)
        found.update(flat.view(np.uint8).data)
    return found.hexdigest()[:32]
