"""Primal-dual steps in the metric of the features' covariance, for a penalty too weak for ascent.

Features that vary together make coordinates slow. With S = X Wᵀ, slopes a, u = pull_back(a)/ρ, and
M ≥ ρ XᵀX/N in the sense of quadratic forms, one step is

    W' = W − (M + 2·reg)⁻¹ (2·reg·W + (ρ/N) uᵀX)
    a' = row_step(margins at u + 2XW'ᵀ − S, curvature 1/ρ)

a gradient step whose slopes are chosen by the exact row step, for two products. M is the features'
covariance, or that of a sample of rows and a multiple of the identity for what they miss, so that
its inverse is a matter of as many numbers each way, not of D. The weaker the penalty, the more the
directions count in which features hardly vary, which a sample does not show. That M is large enough
is checked at every step, at no cost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsvm.certificate import bound
from jaxsvm.certificate.row_step import row_step
from jaxsvm.core.features import Features, dense, dot, dot_transpose, second_moments
from jaxsvm.core.objective import Objective, require, score
from jaxsvm.core.types import Data, Scores, Weights

RELAXATION = 1.9  # in (0, 2); over-relaxation of the proximal step


class State(NamedTuple):
    """A primal-dual step's own variables, and the best pair met."""

    rho: Array  # slope per score
    W: Array
    scores: Array  # X Wᵀ
    G: Array  # ρu, (N, C)
    pulled: Array  # GᵀX/N, (C, D)
    best_W: Array
    primal: Array
    best_slopes: Array
    best_V: Array
    dual: Array  # its value at the best slopes


def initial_state(objective: Objective, W: Weights, slopes: Scores | None, data: Data) -> State:
    """Return the state from which the steps go on, with a first ρ.

    Without slopes those at W are taken, as they are: together with W they nearly balance. Scaled to
    the best bound on their ray they would not, and on CIFAR-10 cost ten steps.
    """
    loss, _ = require(objective, "solve", bound=True)
    scores = score(W, data.X)
    if slopes is None:
        slopes = loss.slopes(scores, data.y, delta=objective.delta)
    primal = objective.data_loss(scores, data.y) + objective.reg * jnp.sum(W * W)
    G = loss.pull_back(slopes, data.y)
    pulled = dot_transpose(G, data.X) / data.X.shape[0]
    V = -pulled
    linear, conjugate = bound.linear_and_conjugate(objective, slopes, slopes, data.y)
    dual = linear - conjugate - jnp.sum(V * V) / (4 * objective.reg)
    rho = _balance(objective, G, scores)
    return State(rho, W, scores, G, pulled, W, primal, slopes, V, dual)


def _balance(objective: Objective, G: Scores, scores: Scores) -> Array:
    """Return ρ, slope per score: a weighted geometric mean of what the state shows and of 1/delta.

    ‖G‖/‖scores‖ lets both travel in proportion to their size; a hinge's own scale is a slope of 1
    over a margin of delta. Of digits and CIFAR-10 at penalties from strong to weak, the first alone
    and the two evenly weighted took up to four times as many steps.
    """
    slopes, size = jnp.sum(G * G), jnp.sum(scores * scores)
    seen = (slopes > 0) & (size > 0)  # neither at the origin
    own = 1 / jnp.asarray(objective.delta, scores.dtype)
    ratio = jnp.where(seen, jnp.sqrt(slopes / jnp.where(seen, size, 1)), own)
    return ratio.clip(1e-12, 1e12) ** 0.8 * own**0.2


class Metric(NamedTuple):
    """The inverse of M + 2·reg, made by `make_metric`.

    A multiple of the identity less a term of the sample's rank; or, where the features are not more
    than the rows, a plain (D, D) inverse.

    Attributes:
        basis: (n, D) rows R with RᵀR the covariance; None where ``root`` is (D, D).
        root: (n, n) or (D, D), a square root's inverse.
        diagonal: what multiplies the identity.
    """

    basis: Array | None
    root: Array
    diagonal: Array

    def solve(self, G: Array) -> Array:
        """Return G (M + 2·reg)⁻¹ for G (C, D)."""
        rotated = G if self.basis is None else _matmul(G, self.basis.T)
        inner = _matmul(_matmul(rotated, self.root.T), self.root)
        if self.basis is None:
            return inner
        return (G - _matmul(inner, self.basis)) / self.diagonal


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def covariance_of(key: Array, X: Features, *, rows: int) -> Array:
    """Return the covariance of as many random rows of X, or of all: XᵀX/rows.

    It is (D, D); or (rows, D), a matrix R with RᵀR the covariance, where that is smaller.
    """
    N, D = X.shape
    if rows < N:
        X = X[jax.random.choice(key, N, (rows,), replace=False)]
    return second_moments(X) if rows >= D else dense(X) / jnp.sqrt(jnp.asarray(rows, X.dtype))


def make_metric(reg: Array, covariance: Array, rho: Array, *, rows: int, N: int) -> Metric:
    """Return the metric of a covariance of ``rows`` of N rows, for ρ = ``rho``.

    By the identity of Woodbury, (c + s RᵀR)⁻¹ = (1 − Rᵀ(c/s + R Rᵀ)⁻¹R)/c.
    """
    D, eps = covariance.shape[1], jnp.finfo(covariance.dtype).eps
    is_square = rows >= D
    variance = jnp.trace(covariance) if is_square else jnp.sum(covariance * covariance)
    # What a sample misses is in directions in which less than about one of its rows varies. Where
    # it misses nothing, the floor keeps the inverse within the dtype's precision.
    if rows < N:
        factor, floor = 1.3, 0.7 * variance / rows
    else:
        factor, floor = 1.01, variance * (4 * eps if is_square else 1e4 * eps / D)
    diagonal, strength = rho * floor + 2 * reg, rho * factor
    if is_square:
        inner = diagonal * jnp.eye(D, dtype=covariance.dtype) + strength * covariance
    else:
        eye = jnp.eye(rows, dtype=covariance.dtype)
        inner = diagonal / strength * eye + _matmul(covariance, covariance.T)
    eye = jnp.eye(len(inner), dtype=inner.dtype)
    root = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(inner), eye, lower=True)
    return Metric(None if is_square else covariance, root, diagonal)


def steps(
    objective: Objective, state: State, metric: Metric, data: Data, *, num_steps: int
) -> tuple[State, Array, Array]:
    """Take primal-dual steps in a metric.

    Returns:
        The state; the largest of ρ‖XdWᵀ‖²/(N·‖dW‖²_M), above 1 where the metric was too small;
        and the ρ that would suit the state.
    """
    loss, _ = require(objective, "solve", bound=True)
    N = data.X.shape[0]
    reg, y, rho = objective.reg, data.y, state.rho
    curvature = jnp.broadcast_to(1 / rho, (N,))
    zero = jnp.zeros_like(state.scores)

    def one(state: State, _: Any) -> tuple[State, Array]:
        gradient = 2 * reg * state.W + state.pulled
        dW = -metric.solve(gradient)
        W = state.W + dW
        scores = dot(data.X, W)
        primal = objective.data_loss(scores, y) + reg * jnp.sum(W * W)
        target = state.G / rho + 2 * scores - state.scores
        margins = loss.all_margins(target, y, delta=objective.delta)
        slopes = row_step(objective, margins, zero, curvature, y)
        G = loss.pull_back(slopes, y)
        pulled = dot_transpose(G, data.X) / N

        # Between the best slopes and these the dual is a parabola: take its top.
        V = -pulled
        d, dV = slopes - state.best_slopes, V - state.best_V
        linear, cross = bound.linear_and_conjugate(objective, d, state.best_slopes, y)
        _, bend = bound.linear_and_conjugate(objective, d, d, y)
        rise = linear - 2 * cross - jnp.sum(state.best_V * dV) / (2 * reg)
        curve = 2 * bend + jnp.sum(dV * dV) / (2 * reg)
        t = jnp.clip(rise / jnp.where(curve > 0, curve, 1), 0, 1)
        better = primal < state.primal

        # ‖dW‖²_M, since (M + 2·reg) dW = −gradient. A move of the size of rounding shows nothing.
        in_metric = -jnp.sum(dW * gradient) - 2 * reg * jnp.sum(dW * dW)
        moved = rho * jnp.sum((scores - state.scores) ** 2) / N
        noise = rho * (100 * jnp.finfo(W.dtype).eps) ** 2 * jnp.sum(scores * scores) / N
        seen = (in_metric > 0) & (moved > noise)
        excess = jnp.where(seen, moved / jnp.where(seen, in_metric, 1), 0)
        state = State(
            rho=rho,
            W=state.W + RELAXATION * dW,
            scores=state.scores + RELAXATION * (scores - state.scores),
            G=state.G + RELAXATION * (G - state.G),
            pulled=state.pulled + RELAXATION * (pulled - state.pulled),
            best_W=jnp.where(better, W, state.best_W),
            primal=jnp.minimum(primal, state.primal),
            best_slopes=state.best_slopes + t * d,
            best_V=state.best_V + t * dV,
            dual=state.dual + t * rise - t * t * curve / 2,
        )
        return state, excess

    state, excess = lax.scan(one, state, length=num_steps)
    return state, jnp.max(excess), _balance(objective, state.G, state.scores)
