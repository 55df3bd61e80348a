"""Lower bounds: how far above the bottom any W can be.

A hinge is the largest of its supporting lines, max(0, m) = max_{0≤a≤1} a·m. Fix the slopes a of all
N·C hinges and the objective becomes a quadratic whose minimum over W is known: a lower bound of the
objective at *every* W, the optimum's too. With ``dual`` (N, C) those slopes and

    G[i] = Σ_j dual[i, j] (e_j − e_{y_i})        the slopes pulled back to the scores, (N, C)
    V    = −(1/N) Gᵀ X                           (C, D)

the bound is, for the l2 penalty and W in the ball ‖W‖ ≤ radius,

    D(dual) = (1/N) Σ_ij (delta·dual − conjugate(dual))  +  min_{‖W‖≤radius} (reg·‖W‖² − ⟨V, W⟩)

where the minimum is −‖V‖²/(4·reg), at W = V/(2·reg), if that lies in the ball. The slopes that are
allowed, and the conjugate, are the loss's:

    hinge_loss           0 ≤ dual ≤ 1                   0
    squared_hinge_loss   0 ≤ dual                       dual²/4
    crammer_singer_loss  0 ≤ dual, Σ_j dual[i, j] ≤ 1   0
    one_vs_rest_loss     0 ≤ dual ≤ 1                   0; G[i, j] = ±dual[i, j], minus at j = y_i

Divided by N, ``dual`` is the textbook's α, 0 ≤ α ≤ 1/N. With reg = 0 nothing holds W, so a bound
other than 0 exists only within a ball.

The bounds hold in float32 too: what rounding can do at worst is derived below and subtracted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.features import Features, dense, slice_rows
from jaxsvm.core.losses import (
    Objective,
    check_shapes,
    crammer_singer_loss,
    hinge_loss,
    is_label,
    l2_penalty,
    one_vs_rest_loss,
    score,
    squared_hinge_loss,
)
from jaxsvm.core.types import Data, Labels, Scalar, ScalarLike, Scores, Weights
from jaxsvm.gradients.analytic import score_gradient

# V is summed over GROUP rows at a time, in pairs over a block's groups, and compensated between
# blocks: the worst case of its rounding grows with GROUP + log2(BLOCK_ROWS/GROUP) and not with N.
BLOCK_ROWS = 128
GROUP = 8

LOSSES = (hinge_loss, squared_hinge_loss, crammer_singer_loss, one_vs_rest_loss)


def slopes(objective: Objective, scores: Scores, y: Labels) -> Scores:
    """Return the slope of every hinge at these scores: a feasible dual, tight at the scores' W.

    ``1(margin > 0)`` for a hinge, ``2·max(0, margin)`` for a squared one; one 1 a row, at the
    largest violation, for Crammer-Singer.

    Returns:
        (N, C), 0 at j = y_i except for `one_vs_rest_loss`.

    Raises:
        ValueError: the loss is not one of `jaxsvm.core.losses`.

    >>> scores = jnp.array([[13.0, -7.0, 11.0]])
    >>> slopes(Objective(delta=10.0), scores, jnp.array([0]))
    Array([[0., 0., 1.]], dtype=float32)
    """
    check_objective(objective)
    G = score_gradient(objective, scores, y)
    return jnp.abs(G) if objective.loss is one_vs_rest_loss else _mask_label(objective, G, y)


def pull_back(objective: Objective, dual: Scores, y: Labels) -> Scores:
    """Return G: the slopes of the hinges pulled back to the scores; linear in ``dual``.

    Returns:
        (N, C). With ``dual = slopes(objective, scores, y)`` it is the loss's derivative on them.

    >>> pull_back(Objective(), jnp.array([[0.0, 0.5, 0.25]]), jnp.array([0]))
    Array([[-0.75,  0.5 ,  0.25]], dtype=float32)
    """
    label = is_label(dual, y)
    if objective.loss is one_vs_rest_loss:
        return jnp.where(label, -dual, dual)
    wrong = jnp.where(label, 0, dual)
    return jnp.where(label, -jnp.sum(wrong, axis=1, keepdims=True), wrong)


def feasible(objective: Objective, dual: Scores, y: Labels) -> Scores:
    """Return the slopes that the loss allows, nearest to these or along their ray; NaN becomes 0.

    >>> feasible(Objective(), jnp.array([[9.0, 2.0, -1.0]]), jnp.array([0]))
    Array([[0., 1., 0.]], dtype=float32)
    """
    upper = 1.0 if objective.loss in (hinge_loss, one_vs_rest_loss) else jnp.inf
    inside = jnp.nan_to_num(jnp.clip(dual, 0, upper), posinf=0.0)
    inside = _mask_label(objective, inside, y)
    if objective.loss is crammer_singer_loss:
        # A sum of C numbers that rounds to 1 may exceed it: shrink by what it can exceed it.
        slack = 1 + 2 * (dual.shape[1] + 2) * jnp.finfo(dual.dtype).eps
        inside = inside / jnp.maximum(1, slack * jnp.sum(inside, axis=1, keepdims=True))
    return inside


def dual_value(
    objective: Objective, dual: Scores, data: Data, *, radius: ScalarLike = jnp.inf
) -> Scalar:
    """Return D(dual), a lower bound of the objective at every W with ‖W‖ ≤ radius.

    Infeasible slopes are first made `feasible`, and a loss is never negative, so the result is a
    bound for any ``dual`` at all: at least 0.

    Args:
        objective: a loss of `jaxsvm.core.losses` and `l2_penalty`, reg ≥ 0.
        dual: (N, C) slopes.
        data: N examples.
        radius: of the ball, in units of W; without one, reg = 0 gives 0.

    Returns:
        The bound, a scalar, what rounding can add subtracted (about ``BLOCK_ROWS`` ulp of
        (1/N)·Σ|G|·‖x‖ in V). Cost: one product, 2·N·C·D floating-point operations.

    Raises:
        ValueError: another penalty or an unknown loss, or shapes disagree.

    Source: Shalev-Shwartz & Zhang, "Stochastic dual coordinate ascent", JMLR 14 (2013), eq. 2.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> bound = dual_value(Objective(reg=1.0), jnp.full((2, 2), 0.5), data)
    >>> print(f"{bound:.3f}")
    0.469
    """
    check_objective(objective)
    parts = _parts(objective, feasible(objective, dual, data.y), data)
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
        objective: a loss of `jaxsvm.core.losses` and `l2_penalty`, reg ≥ 0.
        W: (C, D) weights, anywhere.
        data: N examples.
        radius: as in `dual_value`: the bound holds for ‖W‖ ≤ radius.

    Returns:
        The bound, a scalar ≥ 0, rounding subtracted. Cost: two products.

    Raises:
        ValueError: another penalty or an unknown loss, or shapes disagree.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> objective, W = Objective(reg=1.0), jnp.zeros((2, 2))
    >>> print(f"{lower_bound(objective, W, data):.3f} <= {objective(W, data):.3f}")
    0.875 <= 1.000
    """
    check_objective(objective)
    check_shapes(data)
    parts = _parts(objective, slopes(objective, score(W, data.X), data.y), data)
    A, Q, norm = parts.linear, parts.conjugate, parts.norm
    reg = jnp.asarray(objective.reg, norm.dtype)
    largest = jnp.inf if objective.loss is squared_hinge_loss else 1.0
    tiny = jnp.finfo(norm.dtype).tiny
    # D(s) is concave, quadratic while the minimizer is inside the ball and flatter outside.
    inside = A / jnp.maximum(2 * Q + jnp.where(reg > 0, norm**2 / (2 * reg), jnp.inf), tiny)
    outside = jnp.where(jnp.isinf(radius), 0, jnp.maximum(A - norm * radius, 0))
    outside = outside / jnp.maximum(2 * Q, tiny)
    scales = jnp.clip(jnp.nan_to_num(jnp.stack([inside, outside])), 0, largest)
    values = jax.vmap(lambda s: _value(objective, parts, s, radius))(scales)
    return jnp.maximum(jnp.max(jnp.nan_to_num(values, nan=0.0)), 0)


def duality_gap(objective: Objective, W: Weights, dual: Scores, data: Data) -> Scalar:
    """Return ``objective(W, data) − dual_value(objective, dual, data)``, at least 0 in theory.

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
    return objective(W, data) - dual_value(objective, dual, data)


class Parts(NamedTuple):
    """What D is made of; every bound below is a function of these three numbers."""

    linear: Array  # (delta/N) Σ dual, rounded down
    conjugate: Array  # (1/N) Σ conjugate(dual), rounded up
    norm: Array  # ‖V‖, rounded up


def _parts(objective: Objective, dual: Scores, data: Data) -> Parts:
    """Return D's parts for feasible slopes, each on the safe side of its rounding.

    Every entry of a sum of n products has an error of at most n·u/(1 − n·u) times the sum of the
    products' magnitudes, u the unit roundoff, whatever the order (Higham, "Accuracy and Stability",
    ch. 3). For V that is n = GROUP, C for G itself, and 12 for the pairs, the folded centring and
    the compensated sum between blocks. By the triangle inequality the magnitudes add up
    to at most Σ_i |G[i, j]|·‖x_i‖ in the norm of row j.
    """
    check_shapes(data)
    N, C = data.X.shape[0], dual.shape[1]
    u = jnp.finfo(dual.dtype).eps / 2
    G = pull_back(objective, dual, data.y)
    raw, magnitude = _block_sums(G, data.X)
    n = GROUP + C + 12
    # `magnitude` is itself a sum of positive numbers, no further off than its number of terms.
    magnitude = magnitude * (1 + 2 * u * (data.X.shape[1] + N))
    error = 1.01 * n * u * tree_sum((magnitude**2).ravel()) ** 0.5
    norm = (1 + 32 * u) * (tree_sum((raw**2).ravel()) ** 0.5 + error) / N
    terms = tree_sum(dual.ravel())
    conjugate = jnp.zeros_like(terms)
    if objective.loss is squared_hinge_loss:
        conjugate = (1 + 64 * u) * tree_sum((dual**2).ravel()) / (4 * N)
    delta = jnp.asarray(objective.delta, dual.dtype)
    linear = delta * terms / N
    return Parts(linear - 64 * u * jnp.abs(linear), conjugate, norm)


def _block_sums(G: Float[Array, "N C"], X: Features) -> tuple[Array, Array]:
    """Return ``Gᵀ X`` (C, D), compensated between blocks of rows, and Σ_i |G[i, j]|·‖x_i‖ (C,)."""
    N = X.shape[0]
    whole = N // BLOCK_ROWS * BLOCK_ROWS

    def block(g: Array, rows: Array) -> tuple[Array, Array]:
        lengths = jnp.sqrt(jnp.sum(rows * rows, axis=1))
        pad = ((0, BLOCK_ROWS - g.shape[0]), (0, 0))
        groups = jnp.pad(g, pad).reshape(-1, GROUP, g.shape[1])
        members = jnp.pad(rows, pad).reshape(-1, GROUP, rows.shape[1])
        products = jnp.einsum("kgc,kgd->kcd", groups, members, precision=lax.Precision.HIGHEST)
        return tree_sum(products), jnp.sum(jnp.abs(g) * lengths[:, None], axis=0)

    def add(
        carry: tuple[Array, Array, Array], b: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array, Array], None]:
        total, lost, magnitude = carry
        g, start = b
        rows = dense(slice_rows(X, start, BLOCK_ROWS)).astype(G.dtype)
        term, more = block(g, rows)
        # Knuth's two-sum: `total + term` is exactly `s + rest`.
        s = total + term
        back = s - total
        rest = (total - (s - back)) + (term - back)
        return (s, lost + rest, magnitude + more), None

    first, magnitude = block(G[whole:], dense(X[whole:]).astype(G.dtype))
    if not whole:
        return first, magnitude
    blocks = (
        G[:whole].reshape(-1, BLOCK_ROWS, G.shape[1]),
        BLOCK_ROWS * jnp.arange(whole // BLOCK_ROWS),
    )
    carry = (first, jnp.zeros_like(first), magnitude)
    (total, lost, magnitude), _ = lax.scan(add, carry, blocks)
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
    norm = scale * parts.norm
    reg = jnp.asarray(objective.reg, norm.dtype)
    free = jnp.where(reg > 0, norm / (2 * reg), jnp.inf)
    r = jnp.minimum(free, jnp.asarray(radius, norm.dtype))
    linear, conjugate = scale * parts.linear, scale**2 * parts.conjugate
    lost = jnp.where(norm > 0, norm * r - reg * jnp.where(jnp.isinf(r), 0, r) ** 2, 0)
    u = jnp.finfo(norm.dtype).eps / 2
    return linear - conjugate - lost - 16 * u * (jnp.abs(linear) + conjugate + jnp.abs(lost))


def _mask_label(objective: Objective, dual: Scores, y: Labels) -> Scores:
    """Return ``dual`` with 0 at j = y_i, where only one-against-rest has a hinge."""
    return dual if objective.loss is one_vs_rest_loss else jnp.where(is_label(dual, y), 0, dual)


def check_objective(objective: Objective) -> None:
    """Raise ValueError for what has no bound here."""
    if objective.loss not in LOSSES or objective.penalty is not l2_penalty:
        name = getattr(objective.loss, "__name__", objective.loss)
        penalty = getattr(objective.penalty, "__name__", objective.penalty)
        raise ValueError(
            f"objective has loss {name} and penalty {penalty}: bounds are known for the losses of "
            "jaxsvm.loss with l2_penalty; use Objective(loss=hinge_loss, penalty=l2_penalty, reg=…)"
        )
