"""The gradient in closed form, as the notes derive it with calculus: no autodiff.

The objective is a mean over examples of a function of their scores, and the scores are X Wᵀ, so its
gradient is one pull-back, ``Gᵀ X / N``, of the losses' derivatives G (N, C) on the scores. A loss
is a sum or a maximum of hinges on its margins, and these are affine in the scores, so G is the
slopes of the hinges pulled back once more.
"""

import jax.numpy as jnp

from jaxsvm.core.arguments import check_problem
from jaxsvm.core.features import dot_and_transpose
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Data, Labels, Scores, Weights


def score_gradient(objective: Objective, scores: Scores, y: Labels) -> Scores:
    """Return the derivative of each example's loss on its scores, G.

        G = pull_back(slopes)            slopes[i, j] = d loss_i / d margins[i, j]

        hinge            G[i, j] = 1(margins[i, j] > 0)   at j ≠ y_i,   G[i, y_i] = −Σ_j of those
        squared hinge    G[i, j] = 2·max(0, margins[i, j])              and likewise
        Crammer-Singer   +1 at the first of the largest margins, −1 at y_i, where it is positive
        one against rest G[i, j] = 1(margins[i, j] > 0), negative at j = y_i

    Args:
        objective: its ``loss`` and ``delta`` are used; the mean over examples is not taken here.
        scores: (N, C).
        y: (N,) labels in [0, C), checked outside `jax.jit`.

    Returns:
        (N, C). A margin of exactly 0 contributes exactly 0; a NaN score stays NaN.

    Raises:
        ValueError: the loss has no hinges.

    Source: CS231n notes, "Optimization", computing the gradient analytically with calculus.

    >>> import jax.numpy as jnp
    >>> scores = jnp.array([[13.0, -7.0, 11.0]])
    >>> score_gradient(Objective(delta=10.0), scores, jnp.array([0]))
    Array([[-1.,  0.,  1.]], dtype=float32)
    """
    loss, _ = require(objective, "score_gradient", penalty=False)
    G = loss.pull_back(loss.slopes(scores, y, delta=objective.delta), y)
    # A NaN is above no margin, and would look like a class without a violation.
    return jnp.where(jnp.isnan(scores), scores, G)


def analytic_gradient(objective: Objective, W: Weights, data: Data) -> Weights:
    """Return the gradient of the objective in closed form, without autodiff.

        ∇f(W) = (1/N) Gᵀ X + reg · ∇penalty(W),     G = score_gradient(objective, X Wᵀ, y)

    Equals ``jax.grad(objective)`` to rounding, at kinks too, where each tied term contributes 0.

    Args:
        objective: any `Hinge` with `l2_penalty` or `l1_penalty`.
        W: (C, D) weights.
        data: N examples.

    Returns:
        (C, D) in W's dtype. Cost: two products, 4·N·C·D floating-point operations.

    Raises:
        ValueError: the loss has no hinges, the penalty is a function of your own, the data is
            empty, or shapes disagree.

    Source: CS231n notes, "Optimization", computing the gradient analytically with calculus.

    >>> import jax.numpy as jnp
    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> analytic_gradient(Objective(), jnp.zeros((3, 2)), data)
    Array([[ 0. , -0.5],
           [-1.5, -0.5],
           [ 1.5,  1. ]], dtype=float32)
    """
    check_problem(W, data)
    _, penalty = require(objective, "analytic_gradient")

    def on_scores(scores: Scores, y: Labels) -> tuple[tuple[()], Scores]:
        return (), score_gradient(objective, scores, y)

    _, total = dot_and_transpose(on_scores, data.X, W, data.y)
    # Divided after the sum: counts and integer pixels are summed without rounding.
    return total / data.X.shape[0] + objective.reg * penalty.gradient(W)
