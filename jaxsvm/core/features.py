"""The feature matrix X, as it lies in memory, and the only two products anything takes with it.

Every method of this library meets the data in one of two products: the scores ``X Wᵀ`` and the
pull-back ``Gᵀ X`` of a gradient on them. So how X is stored concerns this file alone. X is either

- an array ``(N, D)``, or
- `StandardizedFeatures`: bytes or floats with the centring, the scaling and the padding folded into
  the product. Column d is ``(values[:, d] - shift[d]) * scale[d]``, so

      X Wᵀ = values (W·scale)ᵀ − (W·scale) shift

  and neither the centred nor the float32 matrix exists. CIFAR-10 stays 154 MB of uint8 instead of
  614 MB of float32, and rows are padded with zeros to a width that the machine likes.
Whatever looks at X a part at a time does so by `scan_rows`, the one loop over rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.core.blocks import block_sizes

# An accelerator's default product rounds float32 to fewer bits, enough to flip an accepted trial.
PRECISION = lax.Precision.HIGHEST
NARROWEST = 128  # columns of a panel: compiling a narrower one takes longer than it saves


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StandardizedFeatures:
    """X as stored: ``X[:, d] = (values[:, d] - shift[d]) * scale[d]`` for d < D.

    To the outside it has X's own shape ``(N, D)``: ``X[:100]`` takes rows, and
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

    def __repr__(self) -> str:
        if not (hasattr(self.values, "shape") and hasattr(self.shift, "shape")):
            return f"StandardizedFeatures({self.values!r}, {self.shift!r}, {self.scale!r})"
        stored = self.values.dtype
        return f"StandardizedFeatures({self.dtype}{list(self.shape)}, stored as {stored})"

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __getitem__(self, index: Any) -> "StandardizedFeatures":
        return StandardizedFeatures(values=self.values[index], shift=self.shift, scale=self.scale)

    def __matmul__(self, other: Array) -> Array:
        return dot(self, other.T)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(dense(self), dtype=dtype)


# Underscored sizes are documentation: where W and X disagree, our own ValueError is to speak.
Features: TypeAlias = Float[Array, "_N _D"] | StandardizedFeatures


def dot(X: Features, W: Float[Array, "C D"]) -> Float[Array, "N C"]:
    """Return ``X Wᵀ``, the scores of N examples under C rows of weights.

    Args:
        X: (N, D) features, an array or `StandardizedFeatures`.
        W: (C, D) weights.

    Returns:
        (N, C) scores in W's dtype. Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: W has another number of columns than X.
    """
    check_width(X, W)
    if not isinstance(X, StandardizedFeatures):
        return _product(X, W)
    if len(X) <= block_sizes().few:
        return _product(_centred(X, W.dtype), _pad(W, X))
    weights, offset = _fold(X, W)

    # Checkpointed: the backward pass widens the bytes again rather than keep a float32 copy of X.
    @jax.checkpoint
    def product(weights: Array, values: Array) -> Array:
        return _product(values.astype(W.dtype), weights)

    if jnp.issubdtype(X.values.dtype, jnp.floating):
        raw = product(weights, X.values)
    else:
        _, raw = scan_rows(lambda _, block: ((), product(weights, block.values)), (), X)
    return raw - offset[None, :]


def dot_transpose(G: Float[Array, "N C"], X: Features) -> Float[Array, "C D"]:
    """Return ``Gᵀ X``: a gradient on the scores pulled back to the weights.

    Args:
        G: (N, C) one number for each score.
        X: (N, D) features, an array or `StandardizedFeatures`.

    Returns:
        (C, D) in G's dtype. Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: G has another number of rows than X.
    """
    if G.shape[0] != X.shape[0]:
        raise ValueError(f"G has {G.shape[0]} rows and X has {X.shape[0]}: expected the same N")
    if not isinstance(X, StandardizedFeatures):
        return jnp.matmul(G.T, X, precision=PRECISION)
    if len(X) <= block_sizes().few:
        return jnp.matmul(G.T, _centred(X, G.dtype), precision=PRECISION)[:, : X.shape[1]]
    if X.values.dtype == G.dtype:
        raw = jnp.matmul(G.T, X.values, precision=PRECISION)
    else:

        def add(total: Array, block: StandardizedFeatures, g: Array) -> tuple[Array, tuple[()]]:
            product = jnp.matmul(g.T, block.values.astype(G.dtype), precision=PRECISION)
            return total + product, ()

        zeros = jnp.zeros((G.shape[1], X.values.shape[1]), G.dtype)
        raw, _ = scan_rows(add, zeros, X, G)
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
        X: (N, D) features, an array or `StandardizedFeatures`.
        W: (C, D) weights.
        *columns: arrays (N, ...), such as the labels.

    Returns:
        out, each leaf with the leading axis N, and the pull-back (K, D) in W's dtype. Cost: two
        products, 2·N·(C + K)·D floating-point operations.

    Raises:
        ValueError: W has another number of columns than X.
    """
    check_width(X, W)
    if isinstance(X, StandardizedFeatures) and len(X) <= block_sizes().few:
        out, pulled = dot_and_transpose(f, _centred(X, W.dtype), _pad(W, X), *columns)
        return out, pulled[:, : W.shape[1]]
    if isinstance(X, StandardizedFeatures):
        weights, offset = _fold(X, W)
    else:
        weights, offset = W, jnp.zeros(W.shape[0], W.dtype)

    def both(
        carry: tuple[Array, Array], block: Features, *columns: Array
    ) -> tuple[tuple[Array, Array], Any]:
        x = _stored(block).astype(W.dtype)
        out, G = f(_product(x, weights) - offset[None, :], *columns)
        pulled, total = carry
        pulled += jnp.matmul(G.T, x, precision=PRECISION)
        return (pulled, total + jnp.sum(G, axis=0)), out

    shapes = jax.eval_shape(f, jax.ShapeDtypeStruct((X.shape[0], len(W)), W.dtype), *columns)
    K = shapes[1].shape[1]
    start = jnp.zeros((K, _stored(X).shape[1]), W.dtype), jnp.zeros(K, W.dtype)
    (raw, total), out = scan_rows(both, start, X, *columns)
    return out, (_unfold(X, raw, total) if isinstance(X, StandardizedFeatures) else raw)


def scan_rows(
    f: Callable[..., tuple[Any, Any]],
    carry: Any,
    X: Features,
    *columns: Array,
    rows: int | None = None,
) -> tuple[Any, Any]:
    """Scan ``carry, out = f(carry, block of X, *blocks of columns)`` over blocks of rows.

    The only loop over the rows of X. Blocks have one size near ``rows`` that divides N where there
    is one; else a shorter one comes last.

    Args:
        f: takes the carry, a block of X in the form that X has, and the same rows of each column;
            every leaf of ``out`` has the block's rows as its leading axis.
        carry: what goes from block to block.
        X: (N, D) features.
        *columns: arrays (N, ...), such as the labels.
        rows: of a block at most; by default what suits a product. No more than N are one block.

    Returns:
        The last carry, and ``out`` with a leading axis of N.
    """
    N = X.shape[0]
    rows = rows or block_sizes().product
    if rows >= N:
        return f(carry, X, *columns)
    size = block_length(N, rows)
    whole = N // size * size

    # Sliced inside the loop: slicing off the whole blocks before it would copy them.
    def body(carry: Any, start: Array) -> tuple[Any, Any]:
        blocks = (lax.dynamic_slice_in_dim(column, start, size) for column in columns)
        return f(carry, slice_rows(X, start, size), *blocks)

    carry, out = lax.scan(body, carry, jnp.arange(0, whole, size))
    out = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), out)
    if whole < N:
        rest = (column[whole:] for column in columns)
        carry, last = f(carry, X[whole:], *rest)
        out = jax.tree.map(lambda head, tail: jnp.concatenate([head, tail]), out, last)
    return carry, out


def block_length(N: int, rows: int) -> int:
    """Return how many rows a block of `scan_rows` has: near ``rows``, and divides N where it can.

    A shorter last block would be compiled a second time.

    >>> block_length(50_000, 768)
    625
    """
    return next((size for size in range(rows, rows // 2, -1) if N % size == 0), rows)


def slice_rows(X: Features, start: int | Int[Array, ""], size: int) -> Features:
    """Return the rows ``X[start : start + size]``, in the form that X has; start may be traced.

    As `jax.lax.dynamic_slice`, a start past N − size is moved back to it.
    """
    if isinstance(X, StandardizedFeatures):
        values = lax.dynamic_slice_in_dim(X.values, start, size)
        return StandardizedFeatures(values=values, shift=X.shift, scale=X.scale)
    return lax.dynamic_slice_in_dim(X, start, size)


def dense(X: Features) -> Float[Array, "N D"]:
    """Return X as one plain array, in the dtype of its scores."""
    if not isinstance(X, StandardizedFeatures):
        return X
    return _centred(X, X.dtype)[:, : X.shape[1]]


def widen(X: Features) -> Features:
    """Return X with bytes made floats, so that several products of a few rows share the copy."""
    if not isinstance(X, StandardizedFeatures):
        return X
    return StandardizedFeatures(values=X.values.astype(X.dtype), shift=X.shift, scale=X.scale)


def per_row(f: Callable[[Array], Array], X: Features) -> Float[Array, " N"]:
    """Return ``f(rows)`` for every row, f taking (B, D) to (B,): X is dense a block at a time.

    >>> per_row(lambda rows: jnp.max(jnp.abs(rows), axis=1), jnp.array([[1.0, -2.0], [0.5, 0.0]]))
    Array([2. , 0.5], dtype=float32)
    """
    return scan_rows(lambda _, block: ((), f(dense(block))), (), X)[1]


def second_moments(X: Features, weights: Float[Array, " N"]) -> Float[Array, "D D"]:
    """Return ``Xᵀ diag(weights) X/N``, second moments by about half of a full product.

    It is symmetric, so a panel of columns is multiplied with the columns up to its own end only.
    Rows are made dense before the product: of bytes that are centred afterwards the small
    eigenvalues would drown in the rounding of the mean.

    Args:
        X: (N, D) features, an array or `StandardizedFeatures`.
        weights: (N,) ≥ 0, of the rows.

    Returns:
        (D, D), symmetric to the bit. Cost: 1.13·N·D² floating-point operations.

    >>> second_moments(jnp.array([[1.0, 0.0], [1.0, 2.0]]), jnp.ones(2))
    Array([[1., 1.],
           [1., 2.]], dtype=float32)
    """
    N, D = X.shape
    width = max(-(-D // 8), NARROWEST)
    panels = [(start, min(start + width, D)) for start in range(0, D, width)]

    def add(
        totals: tuple[Array, ...], block: Features, root: Array
    ) -> tuple[tuple[Array, ...], tuple[()]]:
        rows = root[:, None] * dense(block)
        products = (
            jnp.matmul(rows[:, start:end].T, rows[:, :end], precision=PRECISION)
            for start, end in panels
        )
        return tuple(total + new for total, new in zip(totals, products, strict=True)), ()

    zeros = tuple(jnp.zeros((end - start, end), X.dtype) for start, end in panels)
    totals, _ = scan_rows(add, zeros, X, jnp.sqrt(weights))
    lower = [jnp.pad(total, ((0, 0), (0, D - total.shape[1]))) for total in totals]
    below = jnp.tril(jnp.concatenate(lower)) / N
    return below + jnp.tril(below, -1).T


def largest_feature(X: Features) -> Float[Array, " N"]:
    """Return the largest magnitude in each row."""
    return per_row(lambda rows: jnp.max(jnp.abs(rows), axis=1), X)


def absolute(X: Features) -> Features:
    """Return the magnitudes that X's products sum, for bounds on their rounding.

    |X| for an array. Of `StandardizedFeatures` the values and the shift are summed apart, so it is
    ``(|values| + |shift|)·|scale| ≥ |X|``.
    """
    if isinstance(X, StandardizedFeatures):
        unsigned = jnp.issubdtype(X.values.dtype, jnp.unsignedinteger)
        values = X.values if unsigned else jnp.abs(X.values)
        return StandardizedFeatures(values=values, shift=-jnp.abs(X.shift), scale=jnp.abs(X.scale))
    return jnp.abs(X)


def astype(X: Features, dtype: Any) -> Features:
    """Return X with scores of another float dtype; bytes stay bytes."""
    if not isinstance(X, StandardizedFeatures):
        return X.astype(dtype)
    floats = jnp.issubdtype(X.values.dtype, jnp.floating)
    return StandardizedFeatures(
        values=X.values.astype(dtype) if floats else X.values,
        shift=X.shift.astype(dtype),
        scale=X.scale.astype(dtype),
    )


def check_width(X: Features, W: Array) -> None:
    """Raise ValueError unless X and W have the same number of columns."""
    if W.ndim != 2 or X.ndim != 2 or W.shape[1] != X.shape[1]:
        hint = "; did you pass W.T?" if W.ndim == X.ndim == 2 and len(W) == X.shape[1] else ""
        raise ValueError(
            f"W has shape {W.shape} and X has shape {X.shape}: expected W (C, D) and X (N, D) with "
            f"the same D (X's last column is the bias column of ones){hint}"
        )


def _stored(X: Features) -> Array:
    """Return the numbers in memory, (N, D) or with padding (N, P)."""
    return X.values if isinstance(X, StandardizedFeatures) else X


def _fold(X: StandardizedFeatures, W: Array) -> tuple[Array, Array]:
    """Return weights (C, P) and offset (C,) such that ``X Wᵀ = values weightsᵀ − offset``."""
    weights = W * X.scale.astype(W.dtype)[None, :]
    offset = jnp.matmul(weights, X.shift.astype(W.dtype), precision=PRECISION)
    return _pad(weights, X), offset


def _pad(W: Array, X: StandardizedFeatures) -> Array:
    """Return W with columns of zeros for X's padding."""
    return jnp.pad(W, ((0, 0), (0, X.values.shape[1] - W.shape[1])))


def _centred(X: StandardizedFeatures, dtype: Any) -> Array:
    """Return (N, P): `dense` with the padding kept, zero."""
    shift, scale = _pad(X.shift[None, :], X), _pad(X.scale[None, :], X)
    return (X.values.astype(dtype) - shift.astype(dtype)) * scale.astype(dtype)


def _unfold(X: StandardizedFeatures, raw: Array, total: Array) -> Array:
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
    if rest > 4 or x.shape[0] > block_sizes().product:
        padded = jnp.pad(W, ((0, 8 - rest), (0, 0)))
        return jnp.matmul(x, padded.T, precision=PRECISION)[:, :C]
    parts = [jnp.matmul(x, part.T, precision=PRECISION) for part in (W[:-rest], W[-rest:])]
    return jnp.concatenate(parts, axis=1)
