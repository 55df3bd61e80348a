"""The loss seen along lines and planes through W, as the notes draw it, at any resolution.

For an `Objective` a plane W + aA + bB costs three products with X whatever its grid: each row of
the grid is a `line.Line`, evaluated whole, and its accuracy comes from the same scores. The
same calls take any ``loss_fn(params, data) -> scalar`` over any pytree and evaluate it point by
point, a few at a time. A linear layer on frozen features is the first kind: pass the features as X.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import check_width, dot
from jaxsvm.core.losses import Objective, check_shapes, hinge_terms
from jaxsvm.core.types import Data, Direction, Labels, LossFn, ScalarLike, Scores, Weights
from jaxsvm.lines.directions import check_like, flatten_path
from jaxsvm.lines.line import (
    Hinges,
    Line,
    from_scores,
    hinges_on_grid,
    is_line,
    loss_along,
    nodes,
    penalty_along,
    penalty_on_grid,
)


class Slice(NamedTuple):
    """A slice of a loss: 1-D with leaves (num,), 2-D with leaves (num, num).

    Attributes:
        t: (num,) the nodes, the same on both axes of a plane.
        loss: the objective at W + t[i]·a, or at W + t[i]·a + t[j]·b.
        accuracy: the fraction of examples predicted right there; None for a black box.
        data_loss: the objective without its penalty; None for a black box.
        penalty: ``reg · penalty``; None for a black box.
    """

    t: Float[Array, " num"]
    loss: Float[Array, "*grid"]
    accuracy: Float[Array, "*grid"] | None = None
    data_loss: Float[Array, "*grid"] | None = None
    penalty: Float[Array, "*grid"] | None = None


class KinkLines(NamedTuple):
    """The straight lines ``offset + a·slope_a + b·slope_b = 0`` on which a plane has its kinks.

    Attributes:
        offset: (N, C); all three are 0 for a term that is not there (j = y_i).
        slope_a: (N, C) per unit of the first direction.
        slope_b: (N, C) per unit of the second.
    """

    offset: Float[Array, "N C"]
    slope_a: Float[Array, "N C"]
    slope_b: Float[Array, "N C"]


class PathOnPlane(NamedTuple):
    """A path and its shadow on a plane.

    Attributes:
        coordinates: (T, 2) where the nearest points of the plane are, in units of the directions.
        residual: (T,) the distance from the path to the plane, in units of the weights.
        loss: (T,) the loss on the path itself.
        plane_loss: (T,) the loss at its shadow: what a figure of the plane shows there.
    """

    coordinates: Float[Array, "T 2"]
    residual: Float[Array, " T"]
    loss: Float[Array, " T"]
    plane_loss: Float[Array, " T"]


def slice_1d(
    objective: LossFn,
    W: Any,
    direction: Any,
    data: Any,
    *,
    start: ScalarLike = -1.0,
    stop: ScalarLike = 1.0,
    num: int = 101,
) -> Slice:
    """Evaluate a loss at ``num`` points of the line W + t·direction.

    Args:
        objective: an `Objective`, or any ``loss_fn(params, data) -> scalar``.
        W: (C, D) weights; any pytree for a black box.
        direction: like W; e.g. `random_direction` or `direction_between`.
        data: the examples; anything that a black box takes.
        start: the first t.
        stop: the last t.
        num: how many, ≥ 1; static.

    Returns:
        A `Slice` with leaves (num,). Cost for a sum of hinges: two products and O(N·C + num).

    Raises:
        ValueError: direction differs from W in shape or structure; ``num < 1``; an infinite or NaN
            end; no examples.

    Source: CS231n notes, "Optimization", L(W + aW₁).

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> direction = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    >>> slice_1d(Objective(), jnp.zeros((2, 2)), direction, data, num=3).loss
    Array([2., 1., 0.], dtype=float32)
    """
    check_like(W, direction, "direction")
    t = nodes(start, stop, num, _dtype(W))
    if not isinstance(objective, Objective):
        points = lax.map(
            lambda s: objective(_move(W, direction, s), data), t, batch_size=block_sizes().points
        )
        return Slice(t, points)
    check_shapes(data)
    y, C = data.y, W.shape[0]
    check_width(data.X, W)
    both = dot(data.X, jnp.concatenate([W, direction]))
    S, T = both[:, :C], both[:, C:]
    right = right_on_grid(leads(S, y), leads(T, y), y, start=start, stop=stop, num=num)
    if is_line(objective):
        line = from_scores(objective, S, T, W, direction, y)
        parts = _line_on_grid(line, start=start, stop=stop, num=num)
    else:
        parts = _sweep(objective, S, T, W, direction, y, t)
    return _as_slice(t, right, len(y), *parts)


def slice_2d(
    objective: LossFn,
    W: Any,
    direction_a: Any,
    direction_b: Any,
    data: Any,
    *,
    start: ScalarLike = -1.0,
    stop: ScalarLike = 1.0,
    num: int = 51,
) -> Slice:
    """Evaluate a loss on a ``num`` × ``num`` grid of the plane W + t[i]·a + t[j]·b.

    Args:
        objective: an `Objective`, or any ``loss_fn(params, data) -> scalar``.
        W: (C, D) weights; any pytree for a black box.
        direction_a: like W; the first axis of the result.
        direction_b: like W; the second.
        data: the examples; anything that a black box takes.
        start: the first t, on both axes.
        stop: the last.
        num: nodes on each axis, ≥ 1; static.

    Returns:
        A `Slice` with leaves (num, num). Cost for a sum of hinges: three products, then
        O(N·C + num) a row; memory about 12·N·C numbers beyond X and the result. A black box is
        called num² times.

    Raises:
        ValueError: as `slice_1d`.

    Source: CS231n notes, "Optimization", L(W + aW₁ + bW₂).

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> a, b = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    >>> slice_2d(Objective(), jnp.zeros((2, 2)), a, b, data, num=3).loss
    Array([[1., 2., 3.],
           [0., 1., 2.],
           [0., 0., 1.]], dtype=float32)
    """
    check_like(W, direction_a, "direction_a")
    check_like(W, direction_b, "direction_b")
    t = nodes(start, stop, num, _dtype(W))
    if not isinstance(objective, Objective):

        def row(s: Array) -> Array:
            line = _move(W, direction_a, s)
            return slice_1d(
                objective, line, direction_b, data, start=start, stop=stop, num=num
            ).loss

        return Slice(t, lax.map(row, t))
    check_shapes(data)
    y, C = data.y, W.shape[0]
    check_width(data.X, W)
    scores = dot(data.X, jnp.concatenate([W, direction_a, direction_b]))
    S, A, B = scores[:, :C], scores[:, C : 2 * C], scores[:, 2 * C :]
    # Leads and margins are linear too: taken once, not once a row, since own scores are gathered.
    lead, lead_a, lead_b = leads(S, y), leads(A, y), leads(B, y)
    if is_line(objective):
        loss_a = _classes_first(loss_along(objective, S, A, y))
        loss_b = _classes_first(loss_along(objective, S, B, y))

    def exact_row(s: Array) -> tuple[Array, tuple[Array, Array]]:
        here = W + s * direction_a
        right = right_on_grid(lead + s * lead_a, lead_b, y, start=start, stop=stop, num=num)
        if not is_line(objective):
            return right, _sweep(objective, S + s * A, B, here, direction_b, y, t)
        loss = replace(loss_b, offsets=loss_a.offsets + s * loss_a.slopes)
        line = Line(loss, *penalty_along(objective, here, direction_b))
        return right, _line_on_grid(line, start=start, stop=stop, num=num)

    right, (data_loss, penalty) = lax.map(exact_row, t)
    return _as_slice(t, right, len(y), data_loss, penalty)


def _classes_first(hinges: Hinges) -> Hinges:
    """Lay the terms out for loops over examples, which are many, not over classes."""
    return replace(hinges, offsets=hinges.offsets.T, slopes=hinges.slopes.T)


def _line_on_grid(
    line: Line, *, start: ScalarLike, stop: ScalarLike, num: int
) -> tuple[Array, Array]:
    """Return the data loss and the penalty of a line on a grid."""
    data_loss = hinges_on_grid(line.loss, start=start, stop=stop, num=num)
    return data_loss, penalty_on_grid(line, start=start, stop=stop, num=num)


def _sweep(
    objective: Objective,
    scores: Scores,
    direction_scores: Scores,
    W: Weights,
    direction: Weights,
    y: Labels,
    t: Float[Array, " num"],
) -> tuple[Array, Array]:
    """Do the same for a loss that is no sum of hinges: the scores are linear in t all the same."""
    data_loss = lax.map(lambda s: objective.data_loss(scores + s * direction_scores, y), t)
    penalty = lax.map(lambda s: objective.reg * objective.penalty(W + s * direction), t)
    return data_loss, penalty


def _as_slice(t: Array, right: Array, num_examples: int, data_loss: Array, penalty: Array) -> Slice:
    accuracy = right.astype(t.dtype) / num_examples
    return Slice(t, data_loss + penalty, accuracy, data_loss, penalty)


def leads(scores: Scores, y: Labels) -> Float[Array, "C N"]:
    """Return how far each example's own score is ahead of each class's, classes first.

    >>> leads(jnp.array([[1.0, 3.0]]), jnp.array([1]))
    Array([[2.],
           [0.]], dtype=float32)
    """
    own = jnp.take_along_axis(scores, y[:, None], axis=1)
    return (own - scores).T


def right_on_grid(
    lead: Float[Array, "C N"],
    lead_slope: Float[Array, "C N"],
    y: Labels,
    *,
    start: ScalarLike,
    stop: ScalarLike,
    num: int,
) -> Int[Array, " num"]:
    """Count the examples that `predict` gets right at each node of ``lead + t·lead_slope``.

    An example is right where it leads every class (strictly, those before its own: of equals the
    first wins). Each of those is a half-line of t, so the example is right on one interval of
    nodes: +1 at its first, −1 after its last, and a running sum counts them all. A NaN never leads.

    Args:
        lead: (C, N) the `leads` of the scores at t = 0.
        lead_slope: (C, N) those of the direction's scores.
        y: (N,) labels.
        start: as `jaxsvm.lines.line.values_on_grid`, with its errors.
        stop: the same.
        num: the same.

    Returns:
        (num,) int32 counts. Cost O(N·C + num).

    >>> lead, slope = jnp.array([[0.0], [0.0]]), jnp.array([[0.0], [1.0]])
    >>> right_on_grid(lead, slope, jnp.array([0]), start=-1.0, stop=1.0, num=3)
    Array([0, 1, 1], dtype=int32)
    """
    t = nodes(start, stop, num, lead.dtype)
    step = (t[-1] - t[0]) / max(num - 1, 1)

    # One class at a time: a loop over examples, in which all that a class needs stays in registers.
    def narrow(interval: tuple[Array, Array], one: tuple[Array, ...]) -> tuple[Any, None]:
        first, last = interval
        j, lead, lead_slope = one
        gap, rise = lead + t[0] * lead_slope, lead_slope * step
        tie_wins = j >= y  # must be > 0, or >= 0 from class y on
        crossing = -gap / rise  # in nodes; not looked at where the lead never changes
        down, up = jnp.floor(crossing), jnp.ceil(crossing)
        leads_still = (gap > 0) | (tie_wins & (gap == 0))
        begin = jnp.where(rise > 0, jnp.where(tie_wins, up, down + 1), 0)
        begin = jnp.where((rise > 0) | (rise < 0) | leads_still, begin, num)
        end = jnp.where(rise < 0, jnp.where(tie_wins, down, up - 1), num - 1)
        return (jnp.maximum(first, begin), jnp.minimum(last, end)), None

    everywhere = jnp.zeros_like(lead[0]), jnp.full_like(lead[0], num - 1)
    classes = jnp.arange(lead.shape[0], dtype=y.dtype)
    (first, last), _ = lax.scan(narrow, everywhere, (classes, lead, lead_slope))
    ever = first <= last  # False for a NaN
    begin = jnp.where(ever, first, 0).astype(jnp.int32)
    end = jnp.where(ever, last + 1, 0).astype(jnp.int32)
    ever = ever.astype(jnp.int32)
    change = jnp.zeros(num + 1, jnp.int32).at[begin].add(ever).at[end].add(-ever)
    return jnp.cumsum(change)[:num]


def kink_lines(
    objective: Objective, W: Weights, direction_a: Direction, direction_b: Direction, data: Data
) -> KinkLines:
    """Return the straight lines on which each term of the data loss switches, over a plane.

    Term (i, j) is on where ``offset + a·slope_a + b·slope_b > 0`` at W + a·A + b·B.

    Raises:
        ValueError: the loss is no sum of hinges; the directions differ from W in shape.

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> a, b = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    >>> [float(part[0, 1]) for part in kink_lines(Objective(), jnp.zeros((2, 2)), a, b, data)]
    [1.0, -1.0, 1.0]
    """
    check_like(W, direction_a, "direction_a")
    check_like(W, direction_b, "direction_b")
    check_shapes(data)
    C, terms = W.shape[0], hinge_terms(objective)
    check_width(data.X, W)
    scores = dot(data.X, jnp.concatenate([W, direction_a, direction_b]))
    return KinkLines(
        terms.margins(scores[:, :C], data.y, delta=objective.delta),
        terms.margins(scores[:, C : 2 * C], data.y, delta=0.0),
        terms.margins(scores[:, 2 * C :], data.y, delta=0.0),
    )


def project_path(
    objective: LossFn, path: Any, origin: Any, direction_a: Any, direction_b: Any, data: Any
) -> PathOnPlane:
    """Project a path on the plane origin + a·A + b·B, and say how far off it is.

    Args:
        objective: an `Objective`, or any ``loss_fn(params, data) -> scalar``.
        path: (T, C, D) weights, or a pytree whose leaves have a leading axis T.
        origin: a point of the plane, e.g. the path's last.
        direction_a: the first direction; the two need not be orthogonal.
        direction_b: the second.
        data: the examples.

    Returns:
        A `PathOnPlane`; where ``residual`` is large, or ``loss`` and ``plane_loss`` differ, the
        path is not on the surface that a figure of the plane shows. Cost: 2·T evaluations.

    Raises:
        ValueError: the directions differ from the origin in shape or structure.

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> a, b = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    >>> path = jnp.array([[[2.0, 3.0], [0.0, 4.0]]])
    >>> project_path(Objective(), path, jnp.zeros((2, 2)), a, b, data)[:2]
    (Array([[2., 4.]], dtype=float32), Array([3.], dtype=float32))
    """
    check_like(origin, direction_a, "direction_a")
    check_like(origin, direction_b, "direction_b")
    flat, _ = flatten_path(path)
    centre, unravel = ravel_pytree(origin)
    plane = jnp.stack([ravel_pytree(direction_a)[0], ravel_pytree(direction_b)[0]])
    coordinates = jnp.linalg.lstsq(plane.T, (flat - centre[None, :]).T)[0].T
    shadow = centre[None, :] + jnp.matmul(coordinates, plane, precision=lax.Precision.HIGHEST)
    residual = jnp.linalg.norm(flat - shadow, axis=1)

    def losses(points: Array) -> Array:
        return lax.map(
            lambda p: objective(unravel(p), data), points, batch_size=block_sizes().points
        )

    return PathOnPlane(coordinates, residual, losses(flat), losses(shadow))


def _move(params: Any, direction: Any, t: Array) -> Any:
    return jax.tree.map(lambda p, d: p + t.astype(p.dtype) * d, params, direction)


def _dtype(params: Any) -> Any:
    return jnp.result_type(*jax.tree.leaves(params))
