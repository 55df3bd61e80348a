"""Primal-dual steps in the metric of the features' covariance, for a penalty too weak for ascent.

Features that vary together make coordinates slow. With S = X Wᵀ, slopes a, G = pull_back(a), a
number ρ_i = ρ·w_i for each example, and M ≥ Xᵀ diag(ρ_i) X/N in the sense of quadratic forms, one
step is

    W' = W − (M + 2·reg)⁻¹ (2·reg·W + GᵀX/N)
    a' = row_step(margins at G/ρ_i + 2XW'ᵀ − S, curvature 1/ρ_i)

a gradient step whose slopes are chosen by the exact row step, for two products. M is the features'
weighted covariance, or that of a sample of rows and a multiple of the identity for what they miss,
so that its inverse is a matter of as many numbers each way, not of D. The weaker the penalty, the
more the directions count in which features hardly vary, which a sample does not show. That M is
large enough is checked at every step, at no cost.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxsvm.certificate import bound
from jaxsvm.certificate.row_step import row_step
from jaxsvm.core.features import (
    Features,
    dense,
    dot_and_transpose,
    second_moments,
)
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Data, Labels, Scores, Weights
from jaxsvm.lines.line import first_minimizer, line_of_scores

RELAXATION = 1.9  # in (0, 2); over-relaxation of the proximal step
FIRST = 0.25  # ρ·delta where nothing is known yet
WEIGHTS = 1 / 32, 2.0  # of an example whose slopes are at their bounds, and of a free one
NEAR = 1e-4  # rounding of a slope at its upper bound


class State(NamedTuple):
    """A primal-dual step's own variables, and the best pair met."""

    rho: Array  # slope per score
    weights: Array  # (N,), the share of ρ that an example has
    slopes: Array  # (N, C), those of the last step
    W: Array
    scores: Array  # X Wᵀ
    G: Array  # ρu, (N, C)
    pulled: Array  # GᵀX/N, (C, D)
    best_W: Array
    primal: Array
    best_slopes: Array
    best_V: Array
    dual: Array  # its value at the best slopes


def form_of_state(N: int, C: int, D: int, dtype: Any) -> State:
    """Return a state's shapes and dtypes."""
    shapes = (), (N,), (N, C), (C, D)
    forms: Any = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    number, rows, scores, W = forms
    return State(
        rho=number, weights=rows, slopes=scores, W=W, scores=scores, G=scores, pulled=W,
        best_W=W, primal=number, best_slopes=scores, best_V=W, dual=number,
    )  # fmt: skip


def initial_state(objective: Objective, W: Weights, slopes: Scores | None, data: Data) -> State:
    """Return the state from which the steps go on, with a first ρ.

    Without slopes those at W are taken, as they are: together with W they nearly balance. Scaled to
    the best bound on their ray they would not, and on CIFAR-10 cost ten steps.
    """
    loss, _ = require(objective, "solve", bound=True)

    def of_rows(
        scores: Scores, y: Labels, *slopes: Scores
    ) -> tuple[tuple[Scores, Scores, Scores], Scores]:
        own = slopes[0] if slopes else loss.slopes(scores, y, delta=objective.delta)
        G = loss.pull_back(own, y)
        return (scores, own, G), G

    given = () if slopes is None else (slopes,)
    (scores, slopes, G), pulled = dot_and_transpose(of_rows, data.X, W, data.y, *given)
    pulled = pulled / data.X.shape[0]
    primal = objective.data_loss(scores, data.y) + objective.reg * jnp.sum(W * W)
    V = -pulled
    linear, conjugate = bound.linear_and_conjugate(objective, slopes, slopes, data.y)
    dual = linear - conjugate - jnp.sum(V * V) / (4 * objective.reg)
    state = State(
        rho=primal, weights=jnp.ones_like(scores[:, 0]), slopes=slopes, W=W, scores=scores, G=G,
        pulled=pulled, best_W=W, primal=primal, best_slopes=slopes, best_V=V, dual=dual,
    )  # fmt: skip
    return state._replace(rho=_balance(objective, state, data.y))


def _is_free(objective: Objective, slopes: Scores, y: Labels) -> Array:
    """Return for each example whether any of its slopes is between its bounds, (N,)."""
    loss, _ = require(objective, "solve", bound=True)
    allowed = loss.allowed_slopes(y, slopes.shape[1], slopes.dtype)
    upper = jnp.minimum(allowed.upper, 1.0 if allowed.capped else jnp.inf)
    return jnp.any((slopes > 0) & (slopes < upper - NEAR), axis=1)


def _balance(objective: Objective, state: State, y: Labels) -> Array:
    """Return ρ, slope per score: the size of G over the scores', of the free examples or all.

    Both then travel in proportion to their size. A score's size is delta at least: that far apart
    are the kinks, however small the scores.
    """
    free = _is_free(objective, state.slopes, y)
    rows = jnp.where(jnp.any(free), free, True)[:, None]
    delta = jnp.asarray(objective.delta, state.G.dtype)
    slopes = jnp.sum(jnp.where(rows, state.G**2, 0))
    size = jnp.sum(jnp.where(rows, state.scores**2 + delta**2, 0))
    return jnp.where(slopes > 0, jnp.sqrt(slopes / size), FIRST / delta).clip(1e-12, 1e12)


def reweighted(objective: Objective, state: State, y: Labels) -> Array:
    """Return the examples' shares of ρ, (N,), after a look at which of them are free.

    An example with a slope between its bounds has a margin of exactly zero in the end: a large ρ
    holds it there. The slopes of all others are known, and their ρ in the metric only slows W down.
    """
    free = _is_free(objective, state.slopes, y)
    return jnp.clip(state.weights * jnp.where(free, 2, 0.5), *WEIGHTS)


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


def covariance_of(key: Array, X: Features, weights: Array, *, rows: int) -> Array:
    """Return the weighted covariance of as many random rows of X, or of all: Xᵀ diag(w) X/rows.

    It is (D, D); or (rows, D), a matrix R with RᵀR the covariance, where that is smaller.
    """
    N, D = X.shape
    if rows < N:
        index = jax.random.choice(key, N, (rows,), replace=False)
        X, weights = X[index], weights[index]
    if rows >= D:
        return second_moments(X, weights)
    return jnp.sqrt(weights / rows)[:, None] * dense(X)


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
    reg, y, rho = objective.reg, data.y, (state.rho * state.weights)[:, None]
    # Held apart, or each division by ρ or 1/ρ becomes a product, on one device and not on more.
    curvature = lax.optimization_barrier(1 / rho[:, 0])

    def of_rows(
        scores: Scores, y: Labels, G: Scores, before: Scores, curvature: Array
    ) -> tuple[tuple[Scores, Scores, Scores], Scores]:
        target = G * curvature[:, None] + 2 * scores - before
        margins = loss.all_margins(target, y, delta=objective.delta)
        slopes = row_step(objective, margins, jnp.zeros_like(scores), curvature, y)
        G = loss.pull_back(slopes, y)
        return (scores, slopes, G), G

    def one(state: State, _: Any) -> tuple[State, Array]:
        gradient = 2 * reg * state.W + state.pulled
        dW = -metric.solve(gradient)
        W = state.W + dW
        (scores, slopes, G), pulled = dot_and_transpose(
            of_rows, data.X, W, y, state.G, state.scores, curvature
        )
        pulled = pulled / N
        primal = objective.data_loss(scores, y) + reg * jnp.sum(W * W)

        # Between the best slopes and these the dual is a parabola: take its top.
        V = -pulled
        d, dV = slopes - state.best_slopes, V - state.best_V
        linear, cross = bound.linear_and_conjugate(objective, d, state.best_slopes, y)
        _, bend = bound.linear_and_conjugate(objective, d, d, y)
        rise = linear - 2 * cross - jnp.sum(state.best_V * dV) / (2 * reg)
        curve = 2 * bend + jnp.sum(dV * dV) / (2 * reg)
        t = jnp.clip(rise / jnp.where(curve > 0, curve, 1), 0, 1)
        better = primal < state.primal

        # ‖dW‖²_M, since (M + 2·reg) dW = −gradient, and what may cancel of it. A move of the size
        # of rounding shows nothing.
        whole, eps = -jnp.sum(dW * gradient), jnp.finfo(W.dtype).eps
        in_metric = (1 + 100 * eps) * whole - 2 * reg * jnp.sum(dW * dW)
        moved = jnp.sum(rho * (scores - state.scores) ** 2) / N
        noise = (100 * eps) ** 2 * jnp.sum(rho * scores * scores) / N
        seen = (in_metric > 0) & (moved > noise)
        excess = jnp.where(seen, moved / jnp.where(seen, in_metric, 1), 0)
        state = State(
            rho=state.rho,
            weights=state.weights,
            slopes=slopes,
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
    return state, jnp.max(excess), _balance(objective, state, y)


def along_ray(objective: Objective, state: State, y: Labels) -> State:
    """Return the state with the lowest point on the ray of its W, where that is the best so far.

    Where the loss is small, the margins end at their kinks: half of them just above, and a W that
    is a little longer has hardly any loss left.
    """
    line = line_of_scores(objective, state.scores, state.scores, state.W, state.W, y)
    t = first_minimizer(line)
    # A flat ray has no end, and its W is 0.
    has_end = jnp.isfinite(t)
    lowest = line.value(jnp.where(has_end, t, 0))
    better = has_end & (lowest < state.primal)
    longer = (1 + jnp.where(better, t, 0)) * state.W
    return state._replace(
        best_W=jnp.where(better, longer, state.best_W),
        primal=jnp.where(better, lowest, state.primal),
    )
