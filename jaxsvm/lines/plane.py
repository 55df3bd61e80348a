"""Over a plane the objective is a stack of lines: three products, then no more of X.

Every margin of W + pA + qB is ``offset + p·slope_a + q·slope_b``. For a fixed p that is a line in
q, with all that `jaxsvm.lines.line.Line` knows about it.
"""

from typing import NamedTuple

from jax import Array
from jaxtyping import Float

from jaxsvm.core.arguments import check_problem
from jaxsvm.core.losses import classes_first
from jaxsvm.core.objective import Objective, require, scores_of
from jaxsvm.core.types import Data, Direction, Labels, ScalarLike, Scores, Weights
from jaxsvm.lines.directions import check_like
from jaxsvm.lines.line import Line


class Plane(NamedTuple):
    """An objective over W + p·direction_a + q·direction_b; made by `spanned`.

    Term (i, j) of a sum switches on the straight line ``offset + p·slope_a + q·slope_b = 0``.

    Attributes:
        objective: with a `Hinge` for its loss.
        W: (C, D) where p = q = 0.
        direction_a: (C, D).
        direction_b: (C, D).
        offset: (C, N) the margins at W, classes first; a term that is not there is 0 throughout.
        slope_a: (C, N) what they grow by per unit of p.
        slope_b: (C, N) per unit of q.
        y: (N,) labels.
    """

    objective: Objective
    W: Weights
    direction_a: Direction
    direction_b: Direction
    offset: Float[Array, "C N"]
    slope_a: Float[Array, "C N"]
    slope_b: Float[Array, "C N"]
    y: Labels

    def row(self, p: ScalarLike) -> Line:
        """Return the objective along W + p·direction_a + t·direction_b. Cost O(N·C)."""
        loss, penalty = require(self.objective, "Plane.row")
        ahead = loss.along(self.offset + p * self.slope_a, self.slope_b, self.y)
        here = self.W + p * self.direction_a
        return Line(ahead, *penalty.along(self.objective.reg, here, self.direction_b))


def spanned(
    objective: Objective, W: Weights, direction_a: Direction, direction_b: Direction, data: Data
) -> Plane:
    """Return the objective over the plane that two directions span at W.

    Args:
        objective: any `Hinge` with `l2_penalty` or `l1_penalty`.
        W: (C, D) weights.
        direction_a: (C, D).
        direction_b: (C, D).
        data: the examples, N ≥ 1.

    Returns:
        A `Plane`. Cost: 6·N·C·D floating-point operations in one pass over X; 3·N·C numbers kept.

    Raises:
        ValueError: the loss has no hinges, the penalty is a function of your own, the directions
            differ from W in shape, or the data is empty.

    Source: CS231n notes, "Optimization", L(W + aW₁ + bW₂).

    >>> import jax.numpy as jnp
    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> a, b = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 1.0]])
    >>> plane = spanned(Objective(), jnp.zeros((2, 2)), a, b, data)
    >>> [float(part[1, 0]) for part in (plane.offset, plane.slope_a, plane.slope_b)]
    [1.0, -1.0, 1.0]
    >>> float(plane.row(0.5).value(0.25))
    0.75
    """
    check_problem(W, data)
    check_like(W, direction_a, "direction_a")
    check_like(W, direction_b, "direction_b")
    scores = scores_of(data.X, W, direction_a, direction_b)
    return plane_of_scores(objective, scores, (W, direction_a, direction_b), data.y)


def plane_of_scores(
    objective: Objective,
    scores: tuple[Scores, ...],
    weights: tuple[Weights, Direction, Direction],
    y: Labels,
) -> Plane:
    """Return `spanned`'s plane from the three scores at hand.

    Raises:
        ValueError: as `spanned`.
    """
    loss, _ = require(objective, "spanned")
    S, A, B = scores
    offset = classes_first(loss.all_margins(S, y, delta=objective.delta))
    # Taken once, not once a row, since own scores are gathered.
    slope_a, slope_b = (classes_first(loss.linear(scores, y)) for scores in (A, B))
    return Plane(objective, *weights, offset, slope_a, slope_b, y)
