"""The feature matrix X, as it lies in memory, and the only two products anything takes with it.

Every method of this library meets the data in one of two products: the scores ``X Wᵀ`` and the
pull-back ``Gᵀ X`` of a gradient on them. So how X is stored concerns this file alone. X is either

- an array ``(N, D)``, or
- `StandardizedFeatures`: bytes or floats with the centring, the scaling and the padding folded into
  the product. Column d is ``(values[:, d] - shift[d]) * scale[d]``, so

      X Wᵀ = values (W·scale)ᵀ − (W·scale) shift

  and neither the centred nor the float32 matrix exists. CIFAR-10 stays 154 MB of uint8 instead of
  614 MB of float32, and rows are padded with zeros to a width that the machine likes.

The numbers lie on one device, or their rows over several (`jaxsvm.core.rows.ShardedRows`), or they
are read when they are needed (`jaxsvm.core.streamed.StreamedRows`). Whatever looks at X a part at a
time does so by `scan_rows`, the one loop over rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial
from jaxtyping import Float, Int

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.contraction import PRECISION
from jaxsvm.core.digits import digit_product, has_digits, in_digits
from jaxsvm.core.products import pull_back, score_rows
from jaxsvm.core.rows import ShardedRows, TakenRows, add, each_row, layout, scan_blocks
from jaxsvm.core.streamed import StreamedRows

CACHE_LINE = 64  # bytes
GROUP = 8  # rows that a product takes together, or a multiple of as many as it does
NARROWEST = 128  # columns of a panel: compiling a narrower one takes longer than it saves


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StandardizedFeatures:
    """X as stored, with the centring and the scale beside it.

        X[:, d] = (values[:, d] − shift[d]) · scale[d],   d < D

    To the outside it has X's own shape ``(N, D)``: ``X[:100]`` takes rows, and
    ``X @ W.T`` is `dot`'s product, so a loss_fn of one's own reads like one over an array.
    `numpy.asarray` gives the plain matrix.

    Attributes:
        values: (N, P) uint8, int8 or float, P ≥ D; the columns from D on are padding, zero. An
            array, `ShardedRows` or `StreamedRows`.
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
        if isinstance(index, tuple) and len(index) > 1:
            raise ValueError(
                f"X[index] has an index of {len(index)} parts: expected one, of rows; "
                "numpy.asarray(X) has the columns too"
            )
        return replace(self, values=self.values[index])

    def __matmul__(self, other: Array) -> Array:
        return dot(self, other.T)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(dense(self), dtype=dtype)


# Underscored sizes are documentation: where W and X disagree, our own ValueError is to speak.
Features: TypeAlias = (
    Float[Array, "_N _D"] | StandardizedFeatures | ShardedRows | StreamedRows | TakenRows
)
F = TypeVar("F", bound=Features)


def dot(X: Features, W: Float[Array, "C D"]) -> Float[Array, "N C"]:
    """Return ``X Wᵀ``, the scores of N examples under C rows of weights.

    Args:
        X: (N, D) features: an array, `StandardizedFeatures`, or either with sharded or streamed
            rows.
        W: (C, D) weights.

    Returns:
        (N, C) scores in W's dtype. Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: W has another number of columns than X.
    """
    check_width(X, W)
    in_cache = len(X) <= block_sizes().product
    alike = _alike if layout(len(X)).segments > 1 else lambda product, rows: product(rows)
    if not isinstance(X, StandardizedFeatures):

        def plain(W: Array, rows: Array) -> Array:
            return alike(lambda rows: score_rows(W, rows, in_cache=in_cache), rows)

        return each_row(Partial(plain, W), X)
    if len(X) <= block_sizes().few:
        return score_rows(_pad(W, X), _centred(X, W.dtype))
    weights, offset = fold(X, W)

    # Checkpointed: the backward pass widens the bytes again rather than keep a float32 copy of X.
    @partial(jax.checkpoint, static_argnums=2)
    def product(weights: Array, values: Array, in_cache: bool) -> Array:
        return score_rows(weights, values, in_cache=in_cache)

    def scores(weights: Array, total: tuple[()], values: Array) -> tuple[tuple[()], Array]:
        return total, product(weights, values, True)

    if jnp.issubdtype(X.values.dtype, jnp.floating):

        def floats(weights: Array, rows: Array) -> Array:
            return alike(lambda rows: product(weights, rows, in_cache), rows)

        raw = each_row(Partial(floats, weights), X.values)
    else:
        _, raw = scan_blocks(Partial(scores, weights), (), X.values)
    return raw - offset[None, :]


def scorer(X: Features, W: Float[Array, "C D"]) -> Callable[[Features], Float[Array, "B C"]]:
    """Return the function that takes some rows of X, in its form, to their scores, for values.

    From bytes, on processors with a unit for int8, it multiplies in fixed point, with the error
    that `jaxsvm.core.digits` gives. Else it is `dot`, whose X, W and error it has.
    """
    check_width(X, W)
    if not has_digits(values_of(X), W.dtype):
        return lambda rows: dot(rows, W)
    weights, offset = fold(X, W)
    digits = in_digits(weights)
    return lambda rows: digit_product(digits, values_of(rows)[:], axis=1).T - offset[None, :]


def scores_by_row(X: Features, W: Float[Array, "C D"]) -> Float[Array, "C N"]:
    """Return ``W Xᵀ`` as by `scorer`: the scores of one row of W are neighbours in memory.

    For values: what ties in `dot` may part here by rounding. A few rows `dot` multiplies sooner.
    """
    check_width(X, W)
    stored = values_of(X)
    if len(X) <= block_sizes().few or not has_digits(stored, W.dtype):
        return dot(X, W).T
    weights, offset = fold(X, W)

    def scores(weights: Array, offset: Array, rows: Array) -> Array:
        return digit_product(weights, rows, axis=1) - offset[:, None]

    if not isinstance(stored, Array):

        def taken(weights: Array, offset: Array, total: tuple[()], rows: Array) -> Any:
            return total, scores(weights, offset, rows).T

        return scan_blocks(Partial(taken, weights, offset), (), stored)[1].T
    N = len(stored)
    size = min(block_sizes().product, N)

    def block(i: Array, out: Array) -> Array:
        start = jnp.minimum(i * size, N - size)  # the last block begins early
        found = scores(weights, offset, lax.dynamic_slice_in_dim(stored, start, size))
        return lax.dynamic_update_slice_in_dim(out, found, start, axis=1)

    return lax.fori_loop(0, -(-N // size), block, jnp.zeros((len(W), N), W.dtype))


def dot_transpose(G: Float[Array, "N C"], X: Features) -> Float[Array, "C D"]:
    """Return ``Gᵀ X``: a gradient on the scores pulled back to the weights.

    Of bytes in fixed point where a processor has a unit for int8 (`jaxsvm.core.digits`).

    Args:
        G: (N, C) one number for each score.
        X: (N, D) features: an array, `StandardizedFeatures`, or either with sharded or streamed
            rows.

    Returns:
        (C, D) in G's dtype. Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: G has another number of rows than X.
    """
    if G.shape[0] != X.shape[0]:
        raise ValueError(f"G has {G.shape[0]} rows and X has {X.shape[0]}: expected the same N")
    stored = values_of(X)
    if len(X) <= block_sizes().few and isinstance(X, StandardizedFeatures):
        return pull_back(G, _centred(X, G.dtype))[:, : X.shape[1]]

    def add_block(total: Array, values: Array, g: Array) -> tuple[Array, tuple[()]]:
        return total + _pulled_back(g, values), ()

    width = _width(stored)
    zeros = jnp.zeros((G.shape[1], width), G.dtype)
    raw, _ = scan_blocks(add_block, zeros, stored, G, width=width)
    raw = raw[:, : stored.shape[1]]
    return _unfold(X, raw, jnp.sum(G, axis=0)) if isinstance(X, StandardizedFeatures) else raw


def dot_and_transpose(
    f: Callable[..., tuple[Any, Array]], X: Features, W: Float[Array, "C D"], *columns: Array
) -> tuple[Any, Float[Array, "K D"]]:
    """Return ``(out, Gᵀ X)`` where ``(out, G) = f(X Wᵀ, *columns)``: both products, X read once.

    f must treat every example alone, because it sees a block of them at a time. X is read from
    memory and widened once, and the second product finds it in cache. Both products take bytes in
    fixed point where a processor has a unit for int8 (`jaxsvm.core.digits`).

    Args:
        f: ``(scores (B, C), *columns (B, ...)) -> (out, G (B, K))``; every leaf of out has the
            leading axis B. K is C as a rule.
        X: (N, D) features: an array, `StandardizedFeatures`, or either with sharded or streamed
            rows.
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
    weights, offset = fold(X, W)
    stored = values_of(X)

    def both(
        weights: Array, offset: Array, sums: tuple[Array, Array], values: Array, *columns: Array
    ) -> tuple[tuple[Array, Array], Any]:
        out, G = f(_scores(weights, values) - offset[None, :], *columns)
        pulled, total = sums
        pulled += _pulled_back(G, values)
        return (pulled, total + jnp.sum(G, axis=0)), out

    width = _width(stored)
    weights = jnp.pad(weights, ((0, 0), (0, width - weights.shape[1])))
    shapes = jax.eval_shape(f, jax.ShapeDtypeStruct((X.shape[0], len(W)), W.dtype), *columns)
    K = shapes[1].shape[1]
    zero = jnp.zeros((K, width), W.dtype), jnp.zeros(K, W.dtype)
    (raw, total), out = scan_blocks(
        Partial(both, weights, offset), zero, stored, *columns, width=width
    )
    raw = raw[:, : stored.shape[1]]
    return out, (_unfold(X, raw, total) if isinstance(X, StandardizedFeatures) else raw)


def scan_rows(
    f: Callable[..., tuple[Any, Any]],
    zero: Any,
    X: Features,
    *columns: Array,
    rows: int | None = None,
    merge: Callable[[Any, Any], Any] = add,
) -> tuple[Any, Any]:
    """Do as `jaxsvm.core.rows.scan_blocks`, where f takes blocks of X in the form that X has."""

    def block(total: Any, values: Array, *columns: Array) -> tuple[Any, Any]:
        return f(total, _with_values(X, values), *columns)

    return scan_blocks(block, zero, values_of(X), *columns, rows=rows, merge=merge)


def dense(X: Features) -> Float[Array, "N D"]:
    """Return X as one plain array, in the dtype of its scores; on several devices each has it."""

    def plain(values: Array) -> Array:
        if not isinstance(X, StandardizedFeatures):
            return values
        return _centred(replace(X, values=values), X.dtype)[:, : X.shape[1]]

    return each_row(plain, values_of(X))


def for_backend(X: F) -> F:
    """Return X as this backend multiplies it fastest: on an accelerator bytes as int8, 128 less.

    >>> X = StandardizedFeatures(jnp.array([[7, 1]], jnp.uint8), jnp.array([5.0, 0.0]), jnp.ones(2))
    >>> for_backend(X)[:1] @ jnp.ones((2, 1))
    Array([[3.]], dtype=float32)
    """
    if not (isinstance(X, StandardizedFeatures) and isinstance(X.values, Array)):
        return X
    kept: Any = _signed(X) if X.values.dtype == jnp.uint8 and block_sizes().narrow else X
    return kept


@jax.jit
def _signed(X: StandardizedFeatures) -> StandardizedFeatures:
    signed = lax.bitcast_convert_type(X.values ^ jnp.uint8(128), jnp.int8)
    own = jnp.arange(X.values.shape[1]) < X.shape[1]
    return replace(X, values=jnp.where(own[None, :], signed, 0), shift=X.shift - 128)


def take(X: Features, index: Int[Array, " B"]) -> Features:
    """Return rows by number, for products only: where there are many, a product copies them.

    >>> take(jnp.eye(3), jnp.array([2, 0]))
    Array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    stored = values_of(X)
    if len(index) <= block_sizes().few or not isinstance(stored, Array):
        return X[index]
    return _with_values(X, TakenRows(stored, index))


def widen(X: Features) -> Features:
    """Return X with bytes made floats, so that several products of a few rows share the copy."""
    if not isinstance(X, StandardizedFeatures):
        return X
    return replace(X, values=_each(lambda values: values.astype(X.dtype), X.values))


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
        X: (N, D) features: an array, `StandardizedFeatures`, or either with sharded or streamed
            rows.
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


def lost_by_digits(X: Features, W: Float[Array, "C D"]) -> Float[Array, " N"]:
    """Return what the scores, less one another, may lose below the last digit of a weight.

    The part of the error in `jaxsvm.core.digits` that the size of a row's largest weight decides;
    0 where nothing is multiplied by digits.
    """
    stored = values_of(X)
    if not has_digits(stored, W.dtype):
        return jnp.zeros(len(X), W.dtype)
    largest = jnp.max(jnp.abs(fold(X, W)[0]))

    def sums(total: tuple[()], values: Array) -> tuple[tuple[()], Array]:
        return total, jnp.sum(_magnitude(values), axis=1, dtype=W.dtype)

    # Of two scores each, and a class less the last has weights of twice the size.
    return jnp.finfo(W.dtype).eps / 32 * largest * scan_blocks(sums, (), stored)[1]


def largest_feature(X: Features) -> Float[Array, " N"]:
    """Return the largest magnitude in each row."""
    return per_row(lambda rows: jnp.max(jnp.abs(rows), axis=1), X)


def absolute(X: Features) -> Features:
    """Return the magnitudes that X's products sum, for bounds on their rounding.

    |X| for an array. Of `StandardizedFeatures` the values and the shift are summed apart, so it is
    ``(|values| + |shift|)·|scale| ≥ |X|``.
    """
    if isinstance(X, StandardizedFeatures):
        values = X.values if X.values.dtype == jnp.uint8 else _each(_magnitude, X.values)
        return StandardizedFeatures(values=values, shift=-jnp.abs(X.shift), scale=jnp.abs(X.scale))
    return _each(jnp.abs, X)


def astype(X: Features, dtype: Any) -> Features:
    """Return X with scores of another float dtype; bytes stay bytes."""
    if not isinstance(X, StandardizedFeatures):
        return _each(lambda values: values.astype(dtype), X)
    floats = jnp.issubdtype(X.values.dtype, jnp.floating)
    return StandardizedFeatures(
        values=_each(lambda values: values.astype(dtype), X.values) if floats else X.values,
        shift=X.shift.astype(dtype),
        scale=X.scale.astype(dtype),
    )


def values_of(X: Features) -> Array | TakenRows | ShardedRows | StreamedRows:
    """Return the numbers in memory, (N, D) or with padding (N, P)."""
    return X.values if isinstance(X, StandardizedFeatures) else X


def fold(X: Features, W: Float[Array, "C D"]) -> tuple[Float[Array, "C P"], Float[Array, " C"]]:
    """Return weights and offset such that ``X Wᵀ = values_of(X) weightsᵀ − offset``.

    >>> weights, offset = fold(jnp.eye(2), jnp.ones((3, 2)))
    >>> weights.shape, offset
    ((3, 2), Array([0., 0., 0.], dtype=float32))
    """
    if not isinstance(X, StandardizedFeatures):
        return W, jnp.zeros(len(W), W.dtype)
    weights = W * X.scale.astype(W.dtype)[None, :]
    offset = jnp.matmul(weights, X.shift.astype(W.dtype), precision=PRECISION)
    return _pad(weights, X), offset


def check_width(X: Features, W: Array) -> None:
    """Raise ValueError unless X and W have the same number of columns."""
    if W.ndim != 2 or X.ndim != 2 or W.shape[1] != X.shape[1]:
        hint = "; did you pass W.T?" if W.ndim == X.ndim == 2 and len(W) == X.shape[1] else ""
        raise ValueError(
            f"W has shape {W.shape} and X has shape {X.shape}: expected W (C, D) and X (N, D) with "
            f"the same D (X's last column is the bias column of ones){hint}"
        )


def _width(stored: Array | TakenRows | ShardedRows | StreamedRows) -> int:
    """Return how many columns a gradient's products take: more than there are where rows collide.

    Rows of float32 that are a multiple of 4,096 bytes long, or one number more or less, as those of
    3,073 columns are, lie in the same few places of a CPU's first cache. The product that sums over
    rows then takes up to twice as long as of rows that are a cache line longer.
    """
    N, P = stored.shape
    sizes, number = block_sizes(), stored.dtype.itemsize
    lengths, apart = divmod((P + 1) * number, sizes.collide)
    if stored.dtype != jnp.float32 or sizes.few >= N or not lengths or apart > 2 * number:
        return P
    return (lengths * sizes.collide + CACHE_LINE) // number


def _with_values(X: Features, values: Array | TakenRows) -> Features:
    """Return some rows in the form that X has."""
    return replace(X, values=values) if isinstance(X, StandardizedFeatures) else values


def _magnitude(values: Array) -> Array:
    """Return |values|; that of int8 is a uint8, which holds 128."""
    if values.dtype == jnp.int8:
        return jnp.abs(values.astype(jnp.int16)).astype(jnp.uint8)
    return jnp.abs(values)


def _each(
    f: Callable[[Array], Array], values: Array | TakenRows | ShardedRows | StreamedRows
) -> Any:
    """Return f of every number, wherever it lies."""
    if isinstance(values, TakenRows):
        return f(values[:])
    if isinstance(values, StreamedRows):
        return values.map(f)
    return jax.tree.map(f, values)


def _scores(W: Array, rows: Array) -> Array:
    """Return ``rows Wᵀ``, of bytes by digits where a processor has a unit for int8."""
    return digit_product(W, rows, axis=1).T if has_digits(rows, W.dtype) else score_rows(W, rows)


def _pulled_back(G: Array, rows: Array) -> Array:
    """Return ``Gᵀ rows``, likewise."""
    if has_digits(rows, G.dtype, axis=0):
        return digit_product(G.T, rows, axis=0)
    return pull_back(G, rows)


def _pad(W: Array, X: StandardizedFeatures) -> Array:
    """Return W with columns of zeros for X's padding."""
    return jnp.pad(W, ((0, 0), (0, X.values.shape[1] - W.shape[1])))


def _centred(X: StandardizedFeatures, dtype: Any) -> Array:
    """Return (N, P): `dense` with the padding kept, zero."""
    shift, scale = _pad(X.shift[None, :], X), _pad(X.scale[None, :], X)
    values = X.values[:] if isinstance(X.values, StreamedRows) else X.values
    return (values.astype(dtype) - shift.astype(dtype)) * scale.astype(dtype)


def _unfold(X: StandardizedFeatures, raw: Array, total: Array) -> Array:
    """Return ``Gᵀ X`` from ``raw = Gᵀ values`` and ``total``, the sum of G's rows."""
    shift, scale = X.shift.astype(raw.dtype), X.scale.astype(raw.dtype)
    return (raw[:, : X.shape[1]] - total[:, None] * shift[None, :]) * scale[None, :]


def _alike(product: Callable[[Array], Array], rows: Array) -> Array:
    """Return ``product(rows)``, no row of which is another sum for being among the last.

    Rows are multiplied in groups, and those left over one by one, in another order of additions.
    Whether a row is left over must not depend on how many devices the rows are on.
    """
    whole = len(rows) // GROUP * GROUP
    if whole == len(rows):
        return product(rows)
    last = product(jnp.pad(rows[whole:], ((0, whole + GROUP - len(rows)), (0, 0))))
    last = last[: len(rows) - whole]
    return product(rows).at[whole:].set(last) if whole else last
