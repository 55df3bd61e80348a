"""The feature matrix X, as it lies in memory, and the only two products anything takes with it.

Every method of this library meets the data in one of two products: the scores ``X Wᵀ`` and the
pull-back ``Gᵀ X`` of a gradient on them. So how X is stored concerns this file alone. X is either

- an array ``(N, D)``, or
- `Rows`: bytes or floats with the centring, the scaling and the padding folded into the product.
  Column d is ``(values[:, d] - shift[d]) * scale[d]``, so

      X Wᵀ = values (W·scale)ᵀ − (W·scale) shift

  and neither the centred nor the float32 matrix exists. CIFAR-10 stays 154 MB of uint8 instead of
  614 MB of float32, and rows are padded with zeros to a width that the machine likes.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

# Bytes are widened to floats a block of rows at a time, so that the float copy of a block lives in
# cache and is never a second X in memory.
BLOCK_ROWS = 512

# An accelerator's default product rounds float32 to fewer bits, enough to flip an accepted trial.
PRECISION = lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """X as stored: ``X[:, d] = (values[:, d] - shift[d]) * scale[d]`` for d < D.

    To the outside it has X's own shape ``(N, D)``. `numpy.asarray` gives the plain matrix.

    Attributes:
        values: (N, P) uint8 or float, P ≥ D; the columns from D on are padding, zero.
        shift: (D,) float; what is subtracted (the mean image; 0 in the bias column).
        scale: (D,) float; what multiplies (1 in the bias column).
    """

    values: Array
    shift: Array
    scale: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return (self.values.shape[0], self.shift.shape[0])

    @property
    def dtype(self) -> Any:
        """The dtype of the scores, float32 or float64, not of what is stored."""
        return self.shift.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(dense(self), dtype=dtype)


# Underscored sizes are documentation: where W and X disagree, our own ValueError is to speak.
Features: TypeAlias = Float[Array, "_N _D"] | Rows


def dot(X: Features, W: Float[Array, "C D"]) -> Float[Array, "N C"]:
    """Return ``X Wᵀ``, the scores of N examples under C rows of weights.

    Args:
        X: (N, D) features, an array or `Rows`.
        W: (C, D) weights.

    Returns:
        (N, C) scores in W's dtype. Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: W has another number of columns than X.
    """
    if W.ndim != 2 or X.ndim != 2 or W.shape[1] != X.shape[1]:
        raise ValueError(
            f"W has shape {W.shape} and X has shape {X.shape}: expected W (C, D) and X (N, D) with "
            "the same D (X's last column is the bias column of ones)"
        )
    if not isinstance(X, Rows):
        return jnp.matmul(X, W.T, precision=PRECISION)
    weights = W * X.scale.astype(W.dtype)[None, :]
    padded = jnp.pad(weights, ((0, 0), (0, X.values.shape[1] - W.shape[1])))

    # Checkpointed: the backward pass widens the bytes again rather than keep a float32 copy of X.
    @jax.checkpoint
    def product(values: Array) -> Array:
        return jnp.matmul(values.astype(W.dtype), padded.T, precision=PRECISION)

    raw = _map_row_blocks(product, X.values)
    offset = jnp.matmul(weights, X.shift.astype(W.dtype), precision=PRECISION)
    return raw - offset[None, :]


def dot_transpose(G: Float[Array, "N C"], X: Features) -> Float[Array, "C D"]:
    """Return ``Gᵀ X``: a gradient on the scores pulled back to the weights.

    Args:
        G: (N, C) one number for each score.
        X: (N, D) features, an array or `Rows`.

    Returns:
        (C, D) in G's dtype. Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: G has another number of rows than X.
    """
    if G.shape[0] != X.shape[0]:
        raise ValueError(f"G has {G.shape[0]} rows and X has {X.shape[0]}: expected the same N")
    if not isinstance(X, Rows):
        return jnp.matmul(G.T, X, precision=PRECISION)
    values, width = X.values, X.shape[1]
    if values.dtype == G.dtype:
        raw = jnp.matmul(G.T, values, precision=PRECISION)
    else:
        whole = values.shape[0] // BLOCK_ROWS * BLOCK_ROWS

        def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
            g, v = block
            return total + jnp.matmul(g.T, v.astype(G.dtype), precision=PRECISION), None

        start = jnp.matmul(G[whole:].T, values[whole:].astype(G.dtype), precision=PRECISION)
        blocks = (
            G[:whole].reshape(-1, BLOCK_ROWS, G.shape[1]),
            values[:whole].reshape(-1, BLOCK_ROWS, values.shape[1]),
        )
        raw, _ = lax.scan(add, start, blocks)
    shift, scale = X.shift.astype(G.dtype), X.scale.astype(G.dtype)
    return (raw[:, :width] - jnp.sum(G, axis=0)[:, None] * shift[None, :]) * scale[None, :]


def take(X: Features, index: Int[Array, " B"] | slice) -> Features:
    """Return the rows ``X[index]``, in the form that X has. Indices are not checked."""
    if isinstance(X, Rows):
        return Rows(values=X.values[index], shift=X.shift, scale=X.scale)
    return X[index]


def slice_rows(X: Features, start: int | Int[Array, ""], size: int) -> Features:
    """Return the rows ``X[start : start + size]``, in the form that X has; start may be traced.

    As `jax.lax.dynamic_slice`, a start past N − size is moved back to it.
    """
    if isinstance(X, Rows):
        values = lax.dynamic_slice_in_dim(X.values, start, size)
        return Rows(values=values, shift=X.shift, scale=X.scale)
    return lax.dynamic_slice_in_dim(X, start, size)


def dense(X: Features) -> Float[Array, "N D"]:
    """Return X as one plain array, in the dtype of its scores."""
    if not isinstance(X, Rows):
        return X
    values = X.values[:, : X.shape[1]].astype(X.dtype)
    return (values - X.shift[None, :]) * X.scale[None, :]


def astype(X: Features, dtype: Any) -> Features:
    """Return X with scores of another float dtype; bytes stay bytes."""
    if not isinstance(X, Rows):
        return X.astype(dtype)
    floats = jnp.issubdtype(X.values.dtype, jnp.floating)
    return Rows(
        values=X.values.astype(dtype) if floats else X.values,
        shift=X.shift.astype(dtype),
        scale=X.scale.astype(dtype),
    )


def _map_row_blocks(f: Any, values: Array) -> Array:
    """Apply f to blocks of rows of bytes, one after the other, and join the results."""
    N = values.shape[0]
    if jnp.issubdtype(values.dtype, jnp.floating) or N <= BLOCK_ROWS:
        return f(values)
    whole = N // BLOCK_ROWS * BLOCK_ROWS
    blocks = lax.map(f, values[:whole].reshape(-1, BLOCK_ROWS, values.shape[1]))
    head = blocks.reshape(whole, -1)
    return jnp.concatenate([head, f(values[whole:])]) if whole < N else head
