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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

# Bytes are widened to floats a block of rows at a time, so that the float copy of a block lives in
# cache and is never a second X in memory. Of 128 to 1300 rows, 768 took the least time: the loss
# on all of CIFAR-10 a twelfth less than with 512.
BLOCK_ROWS = 768

# Up to this many rows are centred and scaled themselves: cheaper than folding both into all of W
# (a step on 32 or on 128 rows takes a tenth less; on 256 it takes more).
FEW_ROWS = 128

# An accelerator's default product rounds float32 to fewer bits, enough to flip an accepted trial.
PRECISION = lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """X as stored: ``X[:, d] = (values[:, d] - shift[d]) * scale[d]`` for d < D.

    To the outside it has X's own shape ``(N, D)``: ``X[:100]`` takes rows as `take` does, and
    ``X @ W.T`` is `dot`'s product, so a loss_fn of one's own reads like one over an array.
    `numpy.asarray` gives the plain matrix.

    Attributes:
        values: (N, P) uint8 or float, P ≥ D; the columns from D on are padding, zero.
        shift: (D,) float; what is subtracted (the mean image; 0 in the bias column).
        scale: (D,) float; what multiplies (1 in the bias column).
    """

    # Any, too: JAX rebuilds a pytree around axes of vmap and symbolic zeros.
    values: Array | Any
    shift: Array | Any
    scale: Array | Any

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

    def __getitem__(self, index: Any) -> "Rows":
        return Rows(values=self.values[index], shift=self.shift, scale=self.scale)

    def __matmul__(self, other: Array) -> Array:
        return dot(self, other.T)

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
    check_width(X, W)
    if not isinstance(X, Rows):
        return _product(X, W)
    if len(X) <= FEW_ROWS:
        return _product(_centred(X, W.dtype), _pad(W, X))
    weights, offset = _fold(X, W)

    # Checkpointed: the backward pass widens the bytes again rather than keep a float32 copy of X.
    @jax.checkpoint
    def product(weights: Array, values: Array) -> Array:
        return _product(values.astype(W.dtype), weights)

    if jnp.issubdtype(X.values.dtype, jnp.floating):
        raw = product(weights, X.values)
    else:
        _, raw = _visit(lambda _, values: ((), product(weights, values)), (), X.values)
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
    if len(X) <= FEW_ROWS:
        return jnp.matmul(G.T, _centred(X, G.dtype), precision=PRECISION)[:, : X.shape[1]]
    if X.values.dtype == G.dtype:
        raw = jnp.matmul(G.T, X.values, precision=PRECISION)
    else:

        def add(total: Array, values: Array, g: Array) -> tuple[Array, tuple[()]]:
            product = jnp.matmul(g.T, values.astype(G.dtype), precision=PRECISION)
            return total + product, ()

        zeros = jnp.zeros((G.shape[1], X.values.shape[1]), G.dtype)
        raw, _ = _visit(add, zeros, X.values, G)
    return _unfold(X, raw, jnp.sum(G, axis=0))


def dot_and_transpose(
    f: Callable[..., tuple[Any, Array]], X: Features, W: Float[Array, "C D"], *columns: Array
) -> tuple[Any, Float[Array, "K D"]]:
    """Return ``(out, Gᵀ X)`` where ``(out, G) = f(X Wᵀ, *columns)``: both products, X read once.

    f must treat every example alone, because it sees a block of them at a time. X is read from
    memory and widened once, and the second product finds it in cache.

    Args:
        f: ``(scores (B, C), *columns (B, ...)) -> (out, G (B, K))``; every leaf of out has the
            leading axis B. K is C as a rule.
        X: (N, D) features, an array or `Rows`.
        W: (C, D) weights.
        *columns: arrays (N, ...), such as the labels.

    Returns:
        out, each leaf with the leading axis N, and the pull-back (K, D) in W's dtype. Cost: two
        products, 2·N·(C + K)·D floating-point operations.

    Raises:
        ValueError: W has another number of columns than X.
    """
    check_width(X, W)
    if isinstance(X, Rows) and len(X) <= FEW_ROWS:
        out, pulled = dot_and_transpose(f, _centred(X, W.dtype), _pad(W, X), *columns)
        return out, pulled[:, : W.shape[1]]
    if isinstance(X, Rows):
        (weights, offset), values = _fold(X, W), X.values
    else:
        weights, offset, values = W, jnp.zeros(W.shape[0], W.dtype), X

    def both(
        carry: tuple[Array, Array], values: Array, *columns: Array
    ) -> tuple[tuple[Array, Array], Any]:
        x = values.astype(W.dtype)
        out, G = f(_product(x, weights) - offset[None, :], *columns)
        pulled, total = carry
        pulled += jnp.matmul(G.T, x, precision=PRECISION)
        return (pulled, total + jnp.sum(G, axis=0)), out

    shapes = jax.eval_shape(f, jax.ShapeDtypeStruct((len(values), len(W)), W.dtype), *columns)
    K = shapes[1].shape[1]
    start = jnp.zeros((K, values.shape[1]), W.dtype), jnp.zeros(K, W.dtype)
    (raw, total), out = _visit(both, start, values, *columns)
    return out, (_unfold(X, raw, total) if isinstance(X, Rows) else raw)


def take(X: Features, index: Int[Array, " B"] | slice) -> Features:
    """Return the rows ``X[index]``, in the form that X has. Indices are not checked."""
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
    return _centred(X, X.dtype)[:, : X.shape[1]]


def widen(X: Features) -> Features:
    """Return X with bytes made floats, so that several products of a few rows share the copy."""
    if not isinstance(X, Rows):
        return X
    return Rows(values=X.values.astype(X.dtype), shift=X.shift, scale=X.scale)


def absolute(X: Features) -> Features:
    """Return the magnitudes that X's products sum, for bounds on their rounding.

    |X| for an array. Of `Rows` the values and the shift are summed apart, so it is
    ``(|values| + |shift|)·|scale| ≥ |X|``.
    """
    if isinstance(X, Rows):
        unsigned = jnp.issubdtype(X.values.dtype, jnp.unsignedinteger)
        values = X.values if unsigned else jnp.abs(X.values)
        return Rows(values=values, shift=-jnp.abs(X.shift), scale=jnp.abs(X.scale))
    return jnp.abs(X)


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


def check_width(X: Features, W: Array) -> None:
    """Raise ValueError unless X and W have the same number of columns."""
    if W.ndim != 2 or X.ndim != 2 or W.shape[1] != X.shape[1]:
        raise ValueError(
            f"W has shape {W.shape} and X has shape {X.shape}: expected W (C, D) and X (N, D) with "
            "the same D (X's last column is the bias column of ones)"
        )


def _fold(X: Rows, W: Array) -> tuple[Array, Array]:
    """Return weights (C, P) and offset (C,) such that ``X Wᵀ = values weightsᵀ − offset``."""
    weights = W * X.scale.astype(W.dtype)[None, :]
    offset = jnp.matmul(weights, X.shift.astype(W.dtype), precision=PRECISION)
    return _pad(weights, X), offset


def _pad(W: Array, X: Rows) -> Array:
    """Return W with columns of zeros for X's padding."""
    return jnp.pad(W, ((0, 0), (0, X.values.shape[1] - W.shape[1])))


def _centred(X: Rows, dtype: Any) -> Array:
    """Return (N, P): `dense` with the padding kept, zero."""
    shift, scale = _pad(X.shift[None, :], X), _pad(X.scale[None, :], X)
    return (X.values.astype(dtype) - shift.astype(dtype)) * scale.astype(dtype)


def _unfold(X: Rows, raw: Array, total: Array) -> Array:
    """Return ``Gᵀ X`` from ``raw = Gᵀ values`` and ``total``, the sum of G's rows."""
    shift, scale = X.shift.astype(raw.dtype), X.scale.astype(raw.dtype)
    return (raw[:, : X.shape[1]] - total[:, None] * shift[None, :]) * scale[None, :]


def _product(x: Array, W: Array) -> Array:
    """Return ``x Wᵀ`` by products whose width is a multiple of 8, or at most 4.

    The CPU's product works on 8 columns at a time and is slow on what is left: 10 columns at once
    take 1.6 times as long as 8 and then 2, 1.3 times as long as 16.
    """
    C = W.shape[0]
    rest = C % 8
    # One row against W is a product of another kind, in which splitting W means copying it.
    if rest == 0 or C <= 4 or x.shape[0] == 1:
        return jnp.matmul(x, W.T, precision=PRECISION)
    # More rows than a block come from memory, not from cache, and are better read once.
    if rest > 4 or x.shape[0] > BLOCK_ROWS:
        padded = jnp.pad(W, ((0, 8 - rest), (0, 0)))
        return jnp.matmul(x, padded.T, precision=PRECISION)[:, :C]
    parts = [jnp.matmul(x, part.T, precision=PRECISION) for part in (W[:-rest], W[-rest:])]
    return jnp.concatenate(parts, axis=1)


def _visit(f: Callable[..., tuple[Any, Any]], carry: Any, *arrays: Array) -> tuple[Any, Any]:
    """Scan ``carry, out = f(carry, *blocks)`` over blocks of rows; join what comes out."""
    N = arrays[0].shape[0]
    if N <= BLOCK_ROWS:
        return f(carry, *arrays)
    # A size near BLOCK_ROWS that divides N (625 for 50,000) needs no shorter last block, which
    # would be compiled a second time.
    sizes = (size for size in range(BLOCK_ROWS, BLOCK_ROWS // 2, -1) if N % size == 0)
    size = next(sizes, BLOCK_ROWS)
    whole = N // size * size

    # Sliced inside the loop: slicing off the whole blocks before it would copy them.
    def body(carry: Any, start: Array) -> tuple[Any, Any]:
        return f(carry, *(lax.dynamic_slice_in_dim(a, start, size) for a in arrays))

    carry, out = lax.scan(body, carry, jnp.arange(0, whole, size))
    out = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), out)
    if whole < N:
        carry, last = f(carry, *(a[whole:] for a in arrays))
        out = jax.tree.map(lambda head, tail: jnp.concatenate([head, tail]), out, last)
    return carry, out
