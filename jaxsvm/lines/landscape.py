"""The loss seen along lines and planes through W, as the notes draw it, at any resolution.

For an `Objective` a plane W + aA + bB costs three products with X whatever its grid: each row of
the grid is a `Line`, evaluated whole, and its accuracy comes from the same scores. The
same calls take any ``loss_fn(params, data) -> scalar`` over any pytree and evaluate it point by
point, a few at a time. A linear layer on frozen features is the first kind: pass the features as X.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxsvm.core.arguments import check_loss_fn, check_params, check_problem
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.compilation import evaluate
from jaxsvm.core.losses import Hinge
from jaxsvm.core.objective import Objective, check_objective, scores_of
from jaxsvm.core.penalties import Penalty
from jaxsvm.core.types import Labels, LossFn, ScalarLike, Scores, Weights
from jaxsvm.lines.accuracy import leads, right_on_grid
from jaxsvm.lines.directions import check_like, flatten_path
from jaxsvm.lines.grid import nodes
from jaxsvm.lines.line import line_of_scores
from jaxsvm.lines.plane import plane_of_scores


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

        loss[i] = objective(W + t[i]·direction),   t from start to stop

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

    >>> from jaxsvm import Data, Objective
    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> direction = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    >>> slice_1d(Objective(), jnp.zeros((2, 2)), direction, data, num=3).loss
    Array([2., 1., 0.], dtype=float32)
    """
    _check_slice(objective, W, data)
    check_like(W, direction, "direction")
    t = nodes(start, stop, num, _dtype(W))
    if not isinstance(objective, Objective):
        return Slice(t, _losses(objective, lambda s: _move(W, direction, s), t, data))
    y = data.y
    S, T = scores_of(data.X, W, direction)
    right = right_on_grid(leads(S, y), leads(T, y), y, start=start, stop=stop, num=num)
    if _has_lines(objective):
        line = line_of_scores(objective, S, T, W, direction, y)
        parts = line.parts(start=start, stop=stop, num=num)
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

        loss[i, j] = objective(W + t[i]·a + t[j]·b),   t from start to stop

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

    >>> from jaxsvm import Data, Objective
    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> a, b = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    >>> slice_2d(Objective(), jnp.zeros((2, 2)), a, b, data, num=3).loss
    Array([[1., 2., 3.],
           [0., 1., 2.],
           [0., 0., 1.]], dtype=float32)
    """
    _check_slice(objective, W, data)
    check_like(W, direction_a, "direction_a")
    check_like(W, direction_b, "direction_b")
    t = nodes(start, stop, num, _dtype(W))
    if not isinstance(objective, Objective):

        def rows(t: Array, data: Any) -> Array:
            def row(s: Array) -> Array:
                line = _move(W, direction_a, s)
                return slice_1d(
                    objective, line, direction_b, data, start=start, stop=stop, num=num
                ).loss

            return lax.map(row, t)

        return Slice(t, evaluate(rows, t, data))
    y = data.y
    S, A, B = scores_of(data.X, W, direction_a, direction_b)
    # Leads are linear too: taken once, not once a row, since own scores are gathered.
    lead, lead_a, lead_b = leads(S, y), leads(A, y), leads(B, y)
    exact = _has_lines(objective)
    if exact:
        plane = plane_of_scores(objective, (S, A, B), (W, direction_a, direction_b), y)

    def exact_row(s: Array) -> tuple[Array, tuple[Array, Array]]:
        right = right_on_grid(lead + s * lead_a, lead_b, y, start=start, stop=stop, num=num)
        if exact:
            return right, plane.row(s).parts(start=start, stop=stop, num=num)
        here = W + s * direction_a
        return right, _sweep(objective, S + s * A, B, here, direction_b, y, t)

    right, (data_loss, penalty) = lax.map(exact_row, t)
    return _as_slice(t, right, len(y), data_loss, penalty)


def _check_slice(objective: LossFn, W: Any, data: Any) -> None:
    """Raise ValueError unless the loss is one of W and the data."""
    if isinstance(objective, Objective):
        check_problem(W, data)
        check_objective(objective, "a slice")
    else:
        check_loss_fn(objective, W, data, "objective")


def _has_lines(objective: Objective) -> bool:
    """Whether the objective is a sum of hinges and a parabola along every line."""
    return isinstance(objective.loss, Hinge) and isinstance(objective.penalty, Penalty)


def _sweep(
    objective: Objective,
    scores: Scores,
    direction_scores: Scores,
    W: Weights,
    direction: Weights,
    y: Labels,
    t: Float[Array, " num"],
) -> tuple[Array, Array]:
    """Do the same for a loss without hinges: the scores are linear in t all the same."""
    data_loss = lax.map(lambda s: objective.data_loss(scores + s * direction_scores, y), t)
    penalty = lax.map(lambda s: objective.reg * objective.penalty(W + s * direction), t)
    return data_loss, penalty


def _as_slice(t: Array, right: Array, num_examples: int, data_loss: Array, penalty: Array) -> Slice:
    accuracy = right.astype(t.dtype) / num_examples
    return Slice(t, data_loss + penalty, accuracy, data_loss, penalty)


def project_path(
    objective: LossFn, path: Any, origin: Any, direction_a: Any, direction_b: Any, data: Any
) -> PathOnPlane:
    """Project a path on the plane origin + a·A + b·B, and say how far off it is.

        coordinates_t = argmin_{a, b} ‖path_t − origin − a·A − b·B‖,   residual_t = the least

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
        ValueError: the directions or the path's points differ from the origin in shape or
            structure; the path has no points.

    >>> from jaxsvm import Data, Objective
    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> a, b = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    >>> path = jnp.array([[[2.0, 3.0], [0.0, 4.0]]])
    >>> project_path(Objective(), path, jnp.zeros((2, 2)), a, b, data)[:2]
    (Array([[2., 4.]], dtype=float32), Array([3.], dtype=float32))
    """
    check_params(origin, "origin")
    check_like(origin, direction_a, "direction_a")
    check_like(origin, direction_b, "direction_b")
    check_params(path, "path")
    _check_slice(objective, origin, data)
    check_like(origin, jax.tree.map(lambda leaf: leaf[0] if len(leaf) else leaf, path), "path[0]")
    flat, _ = flatten_path(path)
    centre, unravel = ravel_pytree(origin)
    plane = jnp.stack([ravel_pytree(direction_a)[0], ravel_pytree(direction_b)[0]])
    coordinates = jnp.linalg.lstsq(plane.T, (flat - centre[None, :]).T)[0].T
    shadow = centre[None, :] + jnp.matmul(coordinates, plane, precision=lax.Precision.HIGHEST)
    residual = jnp.linalg.norm(flat - shadow, axis=1)

    on_path, on_plane = (_losses(objective, unravel, points, data) for points in (flat, shadow))
    return PathOnPlane(coordinates, residual, on_path, on_plane)


def _losses(loss_fn: LossFn, at: Callable[[Array], Any], points: Array, data: Any) -> Array:
    """Return the loss at each of some points, a few side by side."""

    def every(points: Array, data: Any) -> Array:
        return lax.map(lambda p: loss_fn(at(p), data), points, batch_size=block_sizes().points)

    return evaluate(every, points, data)


def _move(params: Any, direction: Any, t: Array) -> Any:
    return jax.tree.map(lambda p, d: p + t.astype(p.dtype) * d, params, direction)


def _dtype(params: Any) -> Any:
    return jnp.result_type(*jax.tree.leaves(params))
