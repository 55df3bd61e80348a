"""Lower bounds: how far above the bottom any W can be.

A hinge is the largest of its supporting lines, max(0, m) = max_{0≤a≤1} a·m. Fix the slopes a of all
N·C hinges and the objective becomes a quadratic whose minimum over W is known: a lower bound of the
objective at *every* W, the optimum's too. With the slopes a (N, C) and

    G[i] = pull_back(a[i])        the slopes pulled back to the scores, (N, C)
    V    = −(1/N) Gᵀ X            (C, D)

the bound is, for the l2 penalty and W in the ball ‖W‖ ≤ radius,

    D(a) = (1/N) Σ_i (Σ_j target_ij·a_ij − conjugate(a_i))  +  min_{‖W‖≤radius} (reg·‖W‖² − ⟨V, W⟩)

where the minimum is −‖V‖²/(4·reg), at W = V/(2·reg), if that lies in the ball. The slopes that are
allowed, and the conjugate, are the loss's (`jaxsvm.core.losses.AllowedSlopes`):

    sum, power 1    0 ≤ a ≤ 1               0
    sum, power 2    0 ≤ a                   Σ_j a_j²/4
    max, power 1    0 ≤ a, Σ_j a_j ≤ 1      0
    max, power 2    0 ≤ a                   (Σ_j a_j)²/4

Divided by N, the slopes are the textbook's α, 0 ≤ α ≤ 1/N. With reg = 0 nothing holds W, so a bound
other than 0 exists only within a ball.

The bounds hold in float32 too: what rounding can do at worst is derived below and subtracted.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.arguments import check_examples, check_number, check_problem, check_scores
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import Features, dense, scan_rows
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.rows import num_sums
from jaxsvm.core.types import Data, Labels, Scalar, ScalarLike, Scores, Weights

# V is summed over GROUP rows at a time, in pairs over the groups of a piece, and compensated
# between pieces: the worst case of its rounding grows with GROUP + log2(rows/GROUP) and not with N.
GROUP = 8


def feasible(objective: Objective, slopes: Scores, y: Labels) -> Scores:
    """Return the slopes that the loss allows, nearest to these or along their ray; NaN becomes 0.

    >>> feasible(Objective(), jnp.array([[9.0, 2.0, -1.0]]), jnp.array([0]))
    Array([[0., 1., 0.]], dtype=float32)
    """
    loss, _ = require(objective, "feasible", penalty=False)
    allowed = loss.allowed_slopes(y, slopes.shape[1], slopes.dtype)
    inside = jnp.nan_to_num(jnp.clip(slopes, 0, allowed.upper), posinf=0.0)
    inside = loss.mask(inside, y)
    if allowed.capped:
        # A sum of C numbers that rounds to 1 may exceed it: shrink by what it can exceed it.
        slack = 1 + 2 * (slopes.shape[1] + 2) * jnp.finfo(slopes.dtype).eps
        inside = inside / jnp.maximum(1, slack * jnp.sum(inside, axis=1, keepdims=True))
    return inside


def dual_value(
    objective: Objective, slopes: Scores, data: Data, *, radius: ScalarLike = jnp.inf
) -> Scalar:
    """Return D(slopes), a lower bound of the objective at every W with ‖W‖ ≤ radius.

    Infeasible slopes are first made `feasible`, and a loss is never negative, so the result is a
    bound for any at all: at least 0.

    Args:
        objective: any `Hinge` with `l2_penalty`, reg ≥ 0.
        slopes: (N, C) of the hinges.
        data: N examples.
        radius: of the ball, in units of W; without one, reg = 0 gives 0.

    Returns:
        The bound, a scalar, what rounding can add subtracted (about ``BLOCK_ROWS`` ulp of
        (1/N)·Σ|G|·‖x‖ in V). Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: the loss has no hinges, the penalty has no bound, or shapes disagree.

    Source: Shalev-Shwartz & Zhang, "Stochastic dual coordinate ascent", JMLR 14 (2013), eq. 2.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> bound = dual_value(Objective(reg=1.0), jnp.full((2, 2), 0.5), data)
    >>> print(f"{bound:.3f}")
    0.469
    """
    require(objective, "dual_value", bound=True)
    check_radius(radius)
    check_examples(data)
    check_scores(slopes, data.y, "slopes")
    parts = _parts(objective, feasible(objective, slopes, data.y), data)
    return jnp.maximum(_value(objective, parts, jnp.ones_like(parts.linear), radius), 0)


def lower_bound(
    objective: Objective, W: Weights, data: Data, *, radius: ScalarLike = jnp.inf
) -> Scalar:
    """Return a lower bound of the objective at every W, from any W, at the cost of one gradient.

    The slopes of the hinges at W are scaled by the best single number:

        max_s D(s·slopes),   s = min(1, 2·reg·A / ‖V‖²),   A = (delta/N)·Σ slopes   (hinge)

    Valid for any W, near 0 for most, tight at the optimum of the squared hinge only (there the
    slopes *are* the optimal dual); `jaxsvm.solve` finds slopes that are tight for all losses.

    Args:
        objective: any `Hinge` with `l2_penalty`, reg ≥ 0.
        W: (C, D) weights, anywhere.
        data: N examples.
        radius: as in `dual_value`: the bound holds for ‖W‖ ≤ radius.

    Returns:
        The bound, a scalar ≥ 0, rounding subtracted; NaN where X has one. Cost: two products.

    Raises:
        ValueError: the loss has no hinges, the penalty has no bound, or shapes disagree.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> objective, W = Objective(reg=1.0), jnp.zeros((2, 2))
    >>> print(f"{lower_bound(objective, W, data):.3f} <= {objective(W, data):.3f}")
    0.875 <= 1.000
    """
    loss, _ = require(objective, "lower_bound", bound=True)
    check_radius(radius)
    check_problem(W, data)
    slopes = loss.slopes(score(W, data.X), data.y, delta=objective.delta)
    parts = _parts(objective, slopes, data)
    A, Q, norm = parts.linear, parts.conjugate, parts.norm
    reg = jnp.asarray(objective.reg, norm.dtype)
    largest = jnp.inf if loss.allowed_slopes(data.y, slopes.shape[1], slopes.dtype).is_cone else 1.0
    tiny = jnp.finfo(norm.dtype).tiny
    # D(s) is concave, quadratic while the minimizer is inside the ball and flatter outside.
    inside = A / jnp.maximum(2 * Q + jnp.where(reg > 0, norm**2 / (2 * reg), jnp.inf), tiny)
    outside = jnp.where(jnp.isinf(radius), 0, jnp.maximum(A - norm * radius, 0))
    outside = outside / jnp.maximum(2 * Q, tiny)
    scales = jnp.clip(jnp.nan_to_num(jnp.stack([inside, outside])), 0, largest)
    values = jax.vmap(lambda s: _value(objective, parts, s, radius))(scales)
    lowest = jnp.maximum(jnp.max(jnp.nan_to_num(values, nan=0.0)), 0)
    return jnp.where(jnp.isnan(norm), norm, lowest)


def duality_gap(objective: Objective, W: Weights, slopes: Scores, data: Data) -> Scalar:
    """Return ``objective(W, data) − dual_value(objective, slopes, data)``, at least 0 in theory.

    W is at most this far above the bottom in value, and ``‖W − W*‖² ≤ gap / reg``. The objective
    itself is as accurate as its dtype; only the bound has its rounding subtracted.

    Cost: two products.

    Raises:
        ValueError: as `dual_value`.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> gap = duality_gap(Objective(reg=1.0), jnp.zeros((2, 2)), jnp.full((2, 2), 0.5), data)
    >>> print(f"{gap:.3f}")
    0.531
    """
    require(objective, "duality_gap", bound=True)
    check_problem(W, data)
    lower = dual_value(objective, slopes, data)
    if slopes.shape[1] != W.shape[0]:
        raise ValueError(
            f"slopes have shape {slopes.shape} and W has shape {W.shape}: expected slopes (N, C) "
            "and W (C, D) with the same C"
        )
    return objective(W, data) - lower


def check_radius(radius: ScalarLike) -> None:
    """Raise ValueError unless radius is a number ≥ 0; it may be infinite, or traced."""
    check_number("radius", radius, "a number >= 0, infinite for all of space", lambda x: x >= 0)


class Parts(NamedTuple):
    """What D is made of; every bound below is a function of these three numbers."""

    linear: Array  # (1/N) Σ target·slope, rounded down
    conjugate: Array  # (1/N) Σ conjugate, rounded up
    norm: Array  # ‖V‖, rounded up


def linear_and_conjugate(
    objective: Objective, slopes: Scores, other: Scores, y: Labels
) -> tuple[Scalar, Scalar]:
    """Return (1/N) Σ target·slope, and the bilinear form of the conjugate between two slopes."""
    loss, _ = require(objective, "linear_and_conjugate", penalty=False)
    N, C = slopes.shape
    target = jnp.asarray(loss.targets(y, C, objective.delta), slopes.dtype)
    linear = tree_sum(jnp.sum(target * slopes, axis=1)) / N
    allowed = loss.allowed_slopes(y, C, slopes.dtype)
    conjugate = jnp.zeros_like(linear)
    if not (isinstance(allowed.bend, float) and allowed.bend == 0):
        conjugate += tree_sum(jnp.sum(allowed.bend / 2 * (slopes * other), axis=1)) / N
    if allowed.total_bend:
        totals = jnp.sum(slopes, axis=1) * jnp.sum(other, axis=1)
        conjugate += allowed.total_bend / 2 * tree_sum(totals) / N
    return linear, conjugate


def _parts(objective: Objective, slopes: Scores, data: Data) -> Parts:
    """Return D's parts for feasible slopes, each on the safe side of its rounding.

    Every entry of a sum of n products has an error of at most n·u/(1 − n·u) times the sum of
    the products' magnitudes, u the unit roundoff, whatever the order (Higham, "Accuracy and
    Stability", ch. 3). For V that is n = a group, C for G itself, one for each level of the
    pairs, and 8 for the folded centring and the compensated sum between pieces. What that sum
    corrects is itself summed plainly, K numbers (`num_sums`), which leaves (K·u)². By the triangle
    inequality the magnitudes add up to at most Σ_i |G[i, j]|·‖x_i‖ in the norm of row j.
    """
    loss, _ = require(objective, "dual_value", bound=True)
    N, C = data.X.shape[0], slopes.shape[1]
    u = jnp.finfo(slopes.dtype).eps / 2
    G, size = loss.pull_back(slopes, data.y), loss.pull_back_size(slopes, data.y)
    raw, magnitude = _block_sums(G, size, data.X)
    group = _group(slopes.dtype)
    pairs = (block_sizes().certified // group).bit_length() - 1
    n = group + C + pairs + 8
    sums = num_sums(N, block_sizes().certified)
    # `magnitude` is itself a sum of positive numbers, no further off than its number of terms.
    magnitude = magnitude * (1 + 2 * u * (data.X.shape[1] + N))
    error = 1.01 * (n * u + (sums * u) ** 2) * tree_sum((magnitude**2).ravel()) ** 0.5
    norm = (1 + 32 * u) * (tree_sum((raw**2).ravel()) ** 0.5 + error) / N
    linear, conjugate = linear_and_conjugate(objective, slopes, slopes, data.y)
    target = jnp.abs(jnp.asarray(loss.targets(data.y, C, objective.delta), slopes.dtype))
    lost = jnp.max(target) * tree_sum(jnp.sum(slopes, axis=1)) / N
    few = (64 + 2 * C) * u  # a plain sum over classes, a tree over examples
    return Parts(linear - few * lost, (1 + few) * conjugate, norm)


def _group(dtype: Any) -> int:
    """Return how many rows are summed plainly: in float64 a block, whose rounding is small too."""
    return GROUP if jnp.finfo(dtype).bits == 32 else block_sizes().certified


def _block_sums(
    G: Float[Array, "N C"], size: Float[Array, "N C"], X: Features
) -> tuple[Array, Array]:
    """Return ``Gᵀ X`` (C, D), compensated between pieces, and Σ_i size[i, j]·‖x_i‖ (C,)."""

    def add(
        sums: tuple[Array, Array, Array], piece: Features, g: Array, size: Array
    ) -> tuple[tuple[Array, Array, Array], tuple[()]]:
        rows = dense(piece).astype(G.dtype)
        lengths = jnp.sqrt(jnp.sum(rows * rows, axis=1))
        pad = ((0, -len(g) % group), (0, 0))
        groups = jnp.pad(g, pad).reshape(-1, group, g.shape[1])
        members = jnp.pad(rows, pad).reshape(-1, group, rows.shape[1])
        products = jnp.einsum("kgc,kgd->kcd", groups, members, precision=lax.Precision.HIGHEST)
        magnitude = jnp.sum(size * lengths[:, None], axis=0)
        return merge(sums, (tree_sum(products), jnp.zeros_like(zero), magnitude)), ()

    def merge(
        a: tuple[Array, Array, Array], b: tuple[Array, Array, Array]
    ) -> tuple[Array, Array, Array]:
        total, term = a[0], b[0]
        # Knuth's two-sum: `total + term` is exactly `s + rest`.
        s = total + term
        back = s - total
        rest = (total - (s - back)) + (term - back)
        return s, (a[1] + b[1]) + rest, a[2] + b[2]

    group = _group(G.dtype)
    zero = jnp.zeros((G.shape[1], X.shape[1]), G.dtype)
    none = (zero, zero, jnp.zeros(G.shape[1], G.dtype))
    (total, lost, magnitude), _ = scan_rows(
        add, none, X, G, size, rows=block_sizes().certified, merge=merge
    )
    return total + lost, magnitude


def tree_sum(x: Array) -> Array:
    """Return the sum over the first axis in pairs, pairs of pairs, ...: log2(n) roundings.

    >>> print(tree_sum(jnp.arange(5.0)))
    10.0
    """
    n = x.shape[0]
    x = jnp.pad(x, ((0, (1 << (n - 1).bit_length()) - n), *((0, 0),) * (x.ndim - 1)))
    while x.shape[0] > 1:
        x = x[: x.shape[0] // 2] + x[x.shape[0] // 2 :]
    return x[0]


def _value(objective: Objective, parts: Parts, scale: Array, radius: ScalarLike) -> Array:
    """Return D at ``scale`` times the slopes, with the roundings of this very line subtracted."""
    _, penalty = require(objective, "dual_value", bound=True)
    assert penalty.conjugate is not None
    norm = scale * parts.norm
    reg = jnp.asarray(objective.reg, norm.dtype)
    linear, conjugate = scale * parts.linear, scale**2 * parts.conjugate
    lost = penalty.conjugate(norm, reg, radius)
    u = jnp.finfo(norm.dtype).eps / 2
    return linear - conjugate - lost - 16 * u * (jnp.abs(linear) + conjugate + jnp.abs(lost))
