"""The certificate in float64, whatever the precision that W and the slopes were found in.

In float32 the worst case of rounding is larger than the gap that a weak penalty leaves, and the
objective itself is a sum that rounds. So both are taken once more in float64, a block of rows at a
time, without a float64 copy of X; what float64 can round is added to the one and subtracted from
the other.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsvm.certificate.bound import dual_value, tree_sum
from jaxsvm.core.compilation import compiled
from jaxsvm.core.features import Features, StandardizedFeatures, dense, scan_rows
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Data, Labels, Scalar, Scores, Weights


def certify(objective: Objective, W: Weights, slopes: Scores, data: Data) -> tuple[float, float]:
    """Return the objective at W, rounded up, and the bound of the slopes, rounded down.

    For the host. X, W and the slopes are taken as the numbers that they are.

    Args:
        objective: any `Hinge` with `l2_penalty`, reg > 0.
        W: (C, D) of any float dtype.
        slopes: (N, C) feasible ones.
        data: N examples.

    Returns:
        Two numbers; at every W the objective is above the second.
    """
    with jax.enable_x64(True):
        return float(_above(objective, W, data)), float(_below(objective, slopes, data))


def objective_above(objective: Objective, W: Weights, data: Data) -> Scalar:
    """Return the objective at W, and what rounding can have taken from it added.

    A score is a sum of D products, so it is off by at most (D + 16)·u·‖w_j‖·‖x_i‖ with the
    subtractions of a margin counted in (Higham, "Accuracy and Stability", ch. 3); a loss by that
    times its steepest slopes, pulled back. What is left are sums of positive numbers.

    Args:
        objective: any `Hinge` with a record for a penalty.
        W: (C, D), in the dtype to compute in.
        data: N examples.

    Returns:
        A scalar. Cost: one product, a block of rows at a time.

    Raises:
        ValueError: the loss has no hinges, or the penalty is a function of your own.
    """
    loss, penalty = require(objective, "objective_above")
    N, D = data.X.shape
    C, u = W.shape[0], jnp.finfo(W.dtype).eps / 2
    lengths = (1 + D * u) * jnp.sqrt(jnp.sum(W * W, axis=1))
    delta = jnp.asarray(objective.delta, W.dtype)

    def add(_: tuple[()], X: Features, y: Labels) -> tuple[tuple[()], tuple[Array, Array]]:
        rows = dense(X).astype(W.dtype)
        scores = jnp.matmul(rows, W.T, precision=lax.Precision.HIGHEST)
        size = (1 + D * u) * jnp.sqrt(jnp.sum(rows * rows, axis=1, keepdims=True))
        size = size * lengths[None, :]
        upper = loss.allowed_slopes(y, C, W.dtype).upper
        # Of a square, |(m + e)² − m²| ≤ (2|m| + 1)·e for an error e below 1.
        steep = 2 * jnp.abs(loss.all_margins(scores, y, delta=delta)) + 1
        steep = loss.mask(jnp.broadcast_to(jnp.minimum(upper, steep), scores.shape), y)
        target = jnp.abs(jnp.asarray(loss.targets(y, C, delta), W.dtype))
        lost = jnp.sum(loss.pull_back_size(steep, y) * size * (D + 16) * u, axis=1)
        return (), (loss(scores, y, delta=delta), lost + jnp.sum(steep * target * 4 * u, axis=1))

    _, (losses, lost) = scan_rows(add, (), data.X, data.y)
    total = (tree_sum(losses) + tree_sum(lost)) / N + objective.reg * penalty(W)
    return (1 + (W.size.bit_length() + D + 2 * C + 64) * u) * total


@compiled
def _above(objective: Objective, W: Weights, data: Data) -> Scalar:
    return objective_above(objective, W.astype(jnp.float64), _in_float64(data))


@compiled
def _below(objective: Objective, slopes: Scores, data: Data) -> Scalar:
    return dual_value(objective, slopes.astype(jnp.float64), _in_float64(data))


def _in_float64(data: Data) -> Data:
    """Return data with scores in float64; X's values, widened a block at a time, stay."""
    X = data.X
    if isinstance(X, StandardizedFeatures):
        X = replace(X, shift=X.shift.astype(jnp.float64), scale=X.scale.astype(jnp.float64))
    return Data(X, data.y)
