"""What a finite difference gets wrong, by cause, and the step that balances the two.

The objective is piecewise linear (or quadratic) in W, so a central difference of it has no
truncation error: away from kinks it is exact for any h. Two things are left, and they pull h in
opposite directions:

- crossing: a hinge whose margin lies within h·|x| changes its slope on the way. About h of the
  hinges are crossed, each with a random sign, so this part grows like √h.
- rounding: f(W + h·e) and f(W − h·e) are rounded to ``eps·|f|`` before their difference is divided
  by 2h, so this part falls like 1/h.

Their sum is the U-shaped curve of the notes' advice on choosing h.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.arguments import check_finite_problem, check_problem, check_steps, check_values
from jaxsvm.core.compilation import compiled
from jaxsvm.core.features import largest_feature, per_row
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.types import Data, Weights

# The steps that `suggest_h` tries, in units of 1 / (the features' size).
STEPS = (1e-9, 1e1, 61)


class ErrorBudget(NamedTuple):
    """The expected size (root mean square over coordinates) of the parts of a central difference.

    Attributes:
        crossing: one number for each h.
        rounding: one number for each h.
    """

    crossing: Array
    rounding: Array


def error_budget(
    objective: Objective,
    W: Weights,
    data: Data,
    h: Float[Array, " H"],
    dtype: Any = None,
) -> ErrorBudget:
    """Predict the error of ``numerical_gradient`` of the objective for each step h.

        crossing(h)² = (2/C)·(1/N²) Σ_i Σ_j (r_i·(1 − |margins[i, j]| / (h·max|x_i|))₊ / 2)²
        rounding(h)  = eps·|f(W)| / (√2·h)

    with r_i the root mean square of x_i: a hinge's slope is taken wrong by at most x/2, where its
    margin is crossed, with a sign as random as the margin's; it moves with two of the C rows. The
    reach is that of the largest feature, so the first part errs on the large side, and is 0 only
    where no coordinate crosses a kink.

    Args:
        objective: one whose loss is a `Hinge`.
        W: (C, D) weights.
        data: N examples.
        h: (H,) steps.
        dtype: the precision in which f is to be evaluated; W's by default.

    Returns:
        Two arrays (H,). Cost: one product for the scores, and N·C·H.

    Raises:
        ValueError: the data is empty, shapes disagree, the loss has no hinges, or h is not (H,)
            floats > 0 (of traced ones only shape and dtype are checked).

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> budget = error_budget(Objective(), jnp.zeros((2, 2)), data, jnp.array([0.5]))
    >>> float(budget.crossing[0])  # the margin of 1 is out of reach of h = 0.5
    0.0
    """
    check_problem(W, data)
    loss, _ = require(objective, "error_budget", penalty=False)
    check_steps(h)
    N, C = data.X.shape[0], W.shape[0]
    scores = score(W, data.X)
    parts = loss.along_scores(scores, data.y, delta=objective.delta)
    size = per_row(lambda rows: jnp.sqrt(jnp.mean(rows**2, axis=1)), data.X).astype(W.dtype)
    largest = largest_feature(data.X).astype(W.dtype)

    def crossing(step: Array) -> Array:
        reach, total = step * largest[:, None], jnp.zeros((), W.dtype)
        for part in parts:
            share = jnp.maximum(1 - jnp.abs(part.offsets) / jnp.where(reach > 0, reach, 1), 0)
            # A hinge's slope jumps at its kink, a squared one's is off by as much as it bends.
            jump = part.height.derivative(jnp.zeros_like(share))
            if part.height.is_smooth:
                jump = part.height.derivative(jnp.broadcast_to(reach, share.shape)) / 2
            rates = part.own[0] ** 2
            if part.shared is not None:
                rates += part.shared[0] ** 2 * (1 if part.only_label else C - 1)
            total += rates * jnp.sum((size[:, None] * jump / 2 * share) ** 2)
        return jnp.sqrt(total / C) / N

    value = objective.data_loss(scores, data.y) + objective.reg * objective.penalty(W)
    eps = float(jnp.finfo(W.dtype if dtype is None else dtype).eps)
    return ErrorBudget(lax.map(crossing, h), eps * jnp.abs(value) / (jnp.sqrt(2.0) * h))


def suggest_h(objective: Objective, W: Weights, data: Data, dtype: Any = None) -> float:
    """Return the step at which the predicted errors of a central difference add up to the least.

    For the host: it returns a Python number.

    Args:
        objective: one whose loss is a `Hinge`.
        W: (C, D) weights.
        data: N examples.
        dtype: the precision in which the objective is to be evaluated; W's by default.

    Returns:
        h, in units of W: small where features are large (raw pixels) or numbers are precise.

    Raises:
        ValueError: as `error_budget`; W or X is not finite.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> suggest_h(Objective(), jnp.zeros((3, 2)), data) > suggest_h(
    ...     Objective(), jnp.zeros((3, 2)), Data(100 * data.X, data.y)
    ... )
    True
    """
    require(objective, "suggest_h", penalty=False)
    check_values("suggest_h", objective, W, data)
    check_problem(W, data)
    check_finite_problem(W, data)
    h = float(_best_step(objective, W, data, None if dtype is None else jnp.dtype(dtype)))
    if not 0 < h < math.inf:
        raise ValueError(
            f"data.X has features so large that the best step is {h} in {W.dtype}: expected "
            "features of a moderate size; scale them"
        )
    return h


@partial(compiled, static_argnames=("dtype",))
def _best_step(objective: Objective, W: Weights, data: Data, dtype: Any) -> Array:
    largest = jnp.max(largest_feature(data.X)).astype(W.dtype)
    low, high, num = STEPS
    steps = jnp.geomspace(low, high, num, dtype=W.dtype) / jnp.where(largest > 0, largest, 1)
    budget = error_budget(objective, W, data, steps, dtype)
    return steps[jnp.argmin(budget.crossing + budget.rounding)]
