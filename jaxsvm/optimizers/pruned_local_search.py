"""Local search that looks at no more of the data than it takes to refuse a trial.

The data loss L is convex in W, and so is the share L_p that a part p of the rows has in it. Each
lies above its tangent plane at W, so whatever parts have been looked at,

    L(W + δ) ≥ Σ_{p seen} L_p(W + δ) + Σ_{p not seen} (L_p(W) + ⟨∇L_p(W), δ⟩)

and once that and the penalty are no lower than the best loss, δ cannot be accepted. With no part
seen this is one inner product, and refuses every δ that does not lead downhill, about half. The
others are looked at part by part, until the loss has bent up enough. Only what is accepted is seen
whole.

Two things make it pay. A product with one step takes nearly twice its share of a product with
several, so the trial that asks for a part takes with it the next trials that will ask, as far as
the last bend seen can tell. None of that is lost when W moves: X δᵀ does not depend on W. And
after a small step the gradients change by few rows, those whose slopes have changed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Shaped

from jaxsvm.core import features
from jaxsvm.core.arguments import check_count, check_positive
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.losses import Hinge
from jaxsvm.core.objective import Objective, less_last, require, up_to
from jaxsvm.core.products import pull_back, score_rows
from jaxsvm.core.types import Data, Scalar, ScalarLike, Weights
from jaxsvm.optimizers.contract import Optimizer, scan_between
from jaxsvm.optimizers.local_search import LocalSearchState, block_start, local_search
from jaxsvm.optimizers.random_search import PrunedInfo, SearchState, draw_each, normal


def pruned_local_search(
    objective: Objective, *, step_size: ScalarLike = 1e-4, block_size: int = 100
) -> Optimizer:
    """Try a random step from where the search stands; look at as few rows as decide it.

        δ_t = step_size · normal(key_t),     W ← W + δ_t if objective(W + δ_t) < best_loss

    Under one key the steps are those of `local_search`, and so are the answer and every decision
    but those between losses that tie to rounding. How many rows it takes depends on the data and
    on the step: the fewer trials are accepted, the fewer. Where half are accepted it saves
    next to nothing.

    Args:
        objective: what is minimized; its loss must be convex in the scores.
        step_size: standard deviation of each entry of δ, > 0.
        block_size: how many trials are drawn together. Each block starts from fresh scores and
            gradients. Memory: block_size·N·C numbers.

    Returns:
        An optimizer of `LocalSearchState` and `PrunedInfo`. A trial counts a loss if any row is
        looked at and a gradient if it is accepted, the first of a block one more of each. Only
        blocks look at parts: a ``step`` by itself evaluates its trial whole, and under `jax.vmap`
        nothing is saved.

    Raises:
        ValueError: the loss is not known to be convex, because it is not one of this library's,
            ``step_size`` is not a finite number > 0 (a traced one is not checked), ``block_size``
            is not an integer ≥ 1, or (in a run) the rows of X are not in one device's memory.

    Source: CS231n notes, "Optimization", strategy #2, and the loss's convexity.

    >>> from jaxsvm import run
    >>> data = Data(jnp.eye(3), jnp.arange(3))
    >>> key, W = jax.random.key(0), jnp.zeros((3, 3))
    >>> pruned = pruned_local_search(Objective(), step_size=0.1)
    >>> state, info = run(pruned, key, W, data, num_steps=100)
    >>> plain, _ = run(local_search(Objective(), step_size=0.1), key, W, data, num_steps=100)
    >>> bool(jnp.allclose(state.params, plain.params)), int((info.share > 0).sum())
    (True, 34)
    """
    check_positive("step_size", step_size)
    block_size = check_count("block_size", block_size)
    loss, _ = require(objective, "pruned_local_search", penalty=False)
    whole = local_search(objective, step_size=step_size, block_size=block_size)
    draw = normal(step_size)

    def step(
        key: Array, state: LocalSearchState, data: Data
    ) -> tuple[LocalSearchState, PrunedInfo]:
        state, seen = whole.step(key, state, data)
        return state, PrunedInfo(
            loss=seen.loss,
            lower_bound=seen.loss,
            best_loss=seen.best_loss,
            accepted=seen.accepted,
            share=jnp.ones_like(seen.loss),
            loss_evaluations=seen.loss_evaluations,
            gradient_evaluations=seen.gradient_evaluations,
        )

    def block_step(
        keys: Array, state: LocalSearchState, data: Data, first: int | Array, stop: int | Array
    ) -> tuple[LocalSearchState, PrunedInfo]:
        begin = block_start(state, first)
        block = _Block(objective, loss, data, draw_each(draw, keys, state.params))
        trials = jnp.arange(block_size, dtype=jnp.int32)
        carry = block.start(begin), block.no_products()
        (here, _), info = scan_between(block.trial, carry, trials, 0, stop)
        return LocalSearchState(here.W, here.best_loss, begin), info

    return Optimizer(whole.init, step, block_step, block_size)


class _Folded(NamedTuple):
    """Weights as X is stored (`jaxsvm.core.features.fold`), or a gradient on them.

    Attributes:
        weights: (..., R, P).
        offset: (..., R).
    """

    weights: Array
    offset: Array


class _Here(NamedTuple):
    """Where the search stands, and how the land lies there, for K parts of n rows and B trials.

    Attributes:
        W: (C, D) the best so far.
        best_loss: the objective there.
        scores: of W.
        gradient: of the data loss, (R, P) and (R,).
        bounds: of each trial the tangent plane and the penalty: no objective at W + δ is lower.
    """

    W: Weights
    best_loss: Scalar
    scores: Float[Array, "K R n"]
    gradient: _Folded
    bounds: Float[Array, " B"]


class _Products(NamedTuple):
    """What has been multiplied in this block.

    Attributes:
        changes: the scores of a part and a step, where ``known``.
        bend: how far above its tangent plane the last trial that was looked at would lie, if its
            unseen parts bent as much as those that were seen.
    """

    changes: Float[Array, "K B R n"]
    known: Bool[Array, "K B"]
    bend: Scalar


class _Block:
    """The trials of one block: its steps, and the rows cut into parts.

    Of a loss that adding a number to all scores does not change, the scores are those less the last
    class's: R = C − 1 products a row, else R = C.
    """

    def __init__(
        self, objective: Objective, loss: Hinge, data: Data, deltas: Float[Array, "B C D"]
    ) -> None:
        stored = features.values_of(data.X)
        if not isinstance(stored, Array):
            raise ValueError(
                f"data.X is {data.X!r}: pruned_local_search expected rows in the memory of one "
                "device; local_search takes any"
            )
        self.objective, self.data, self.stored, self.deltas = objective, data, stored, deltas
        self.is_relative = loss.is_shift_invariant and deltas.shape[1] > 1
        self.steps = self.fold(deltas)
        self.n = min(block_sizes().part, len(stored))
        self.parts = jnp.arange(-(-len(stored) // self.n), dtype=jnp.int32)

    def fold(self, W: Float[Array, "*B C D"]) -> _Folded:
        """Return the weights whose products with the stored rows are the scores."""
        if self.is_relative:
            W = less_last(W)
        weights, offset = features.fold(self.data.X, W.reshape(-1, W.shape[-1]))
        return _Folded(weights.reshape(*W.shape[:-1], -1), offset.reshape(W.shape[:-1]))

    def first_row(self, p: Array) -> Array:
        """Return where part p begins. The last begins early, so that all are as long."""
        return jnp.minimum(p * self.n, len(self.stored) - self.n)

    def rows(self, p: Array) -> Shaped[Array, "n P"]:
        """Return the rows of part p as they are stored."""
        return lax.dynamic_slice_in_dim(self.stored, self.first_row(p), self.n)

    def loss(self, p: Array, scores: Float[Array, "R n"]) -> Scalar:
        """Return the share of part p in the data loss."""
        first = self.first_row(p)
        y = lax.dynamic_slice_in_dim(self.data.y, first, self.n)
        own = first + jnp.arange(self.n, dtype=jnp.int32) >= p * self.n
        scores = up_to(self.deltas.shape[1], scores, axis=0)
        losses = self.objective.loss(scores.T, y, delta=self.objective.delta)
        return jnp.sum(jnp.where(own, losses, 0)) / len(self.stored)

    def start(self, at: SearchState) -> _Here:
        """Return what is known where the block starts: a product, and its pull-back."""
        weights, offset = self.fold(at.params)

        def part(total: tuple[Array, _Folded], p: Array) -> tuple[tuple[Array, _Folded], Array]:
            rows = self.rows(p)
            scores = score_rows(weights, rows).T - offset[:, None]
            loss, slopes = jax.value_and_grad(self.loss, argnums=1)(p, scores)
            return jax.tree.map(jnp.add, total, (loss, _pulled_back(slopes, rows))), scores

        zero = jnp.zeros_like(at.best_loss), jax.tree.map(jnp.zeros_like, _Folded(weights, offset))
        (loss, gradient), scores = lax.scan(part, zero, self.parts)
        return self.arrive(at, loss, scores, gradient)

    def no_products(self) -> _Products:
        """Return that nothing has been multiplied, and nothing is known of the bend."""
        dtype, (B, R, _), K = self.deltas.dtype, self.steps.weights.shape, len(self.parts)
        known = jnp.zeros((K, B), bool)
        return _Products(jnp.zeros((K, B, R, self.n), dtype), known, jnp.zeros((), dtype))

    def arrive(self, at: SearchState, loss: Scalar, scores: Array, gradient: _Folded) -> _Here:
        """Return what is known at W, where the data loss is ``loss``, with the trials' bounds."""

        def along(steps: Array, gradient: Array) -> Array:
            return jnp.sum(steps * gradient[None], axis=range(1, steps.ndim))

        weights, offset = jax.tree.map(along, self.steps, gradient)
        penalty = jax.vmap(lambda delta: self.objective.penalty(at.params + delta))
        bounds = loss + (weights - offset) + self.objective.reg * penalty(self.deltas)
        return _Here(*at, scores, gradient, bounds)

    def trial(self, carry: Any, t: Array) -> Any:
        """Look at one part after the other, until trial t is refused or all have been seen."""
        here, products = carry  # a _Here and _Products
        K = len(self.parts)

        def undecided(loop: Any) -> Array:
            p, lower, _, _ = loop
            return (p < K) & (lower < here.best_loss)  # NaN is not, and is not accepted

        def look(loop: Any) -> Any:
            p, lower, data_loss, products = loop
            products = _once(
                ~products.known[p, t],
                lambda products: self.multiply(p, t, here, products),
                products,
            )
            scores, change = here.scores[p], products.changes[p, t]
            before, slope = jax.jvp(partial(self.loss, p), (scores,), (change,))
            loss = self.loss(p, scores + change)
            return p + 1, lower + (loss - (before + slope)), data_loss + loss, products

        begin = jnp.int32(0), here.bounds[t], jnp.zeros_like(here.best_loss), products
        p, lower, data_loss, products = lax.while_loop(undecided, look, begin)
        share = p.astype(lower.dtype) / K
        bend = jnp.where(p > 0, (lower - here.bounds[t]) / share, products.bend)

        W = here.W + self.deltas[t]
        whole = data_loss + self.objective.reg * self.objective.penalty(W)
        loss = jnp.where(p == K, whole, jnp.nan)
        accepted = loss < here.best_loss
        changes = products.changes
        to = SearchState(W, loss)
        here = _once(accepted, lambda here: self.move(to, data_loss, here, changes[:, t]), here)
        fresh = (t == 0).astype(jnp.int32)
        info = PrunedInfo(
            loss=loss,
            lower_bound=jnp.where(p == K, loss, lower),
            best_loss=here.best_loss,
            accepted=accepted,
            share=share,
            loss_evaluations=(p > 0).astype(jnp.int32) + fresh,
            gradient_evaluations=accepted.astype(jnp.int32) + fresh,
        )
        return (here, products._replace(bend=bend)), info

    def multiply(self, p: Array, t: Array, here: _Here, products: _Products) -> _Products:
        """Multiply part p with the step of trial t, and of the next trials that will ask for it."""
        weights, offset = self.steps
        B, R, P = weights.shape
        # A trial asks until its parts, bent alike, have made up for the fall of its planes.
        falls = here.best_loss - here.bounds
        seen = p.astype(falls.dtype) / len(self.parts)
        asks = (falls > 0) & (falls > seen * products.bend) & ~products.known[p]
        after = (jnp.arange(B, dtype=jnp.int32) - t) % B
        turn = jnp.where(asks, after, B + after).at[t].set(-1)
        some = jnp.argsort(turn)[: min(B, block_sizes().trials)].astype(jnp.int32)
        scores = score_rows(weights[some].reshape(-1, P), self.rows(p)).T
        scores = scores.reshape(len(some), R, -1) - offset[some][:, :, None]
        changes, zero = products.changes, jnp.int32(0)
        for i in range(len(some)):
            place = p, some[i], zero, zero
            changes = lax.dynamic_update_slice(changes, scores[i][None, None], place)
        return _Products(changes, products.known.at[p, some].set(True), products.bend)

    def move(
        self, to: SearchState, loss: Scalar, here: _Here, changes: Float[Array, "K R n"]
    ) -> _Here:
        """Accept a trial: only rows whose slopes change move the gradient."""
        slopes = jax.vmap(jax.grad(self.loss, argnums=1))
        scores = here.scores + changes
        change = slopes(self.parts, scores) - slopes(self.parts, here.scores)
        K, R, n = change.shape
        change = change.transpose(1, 0, 2).reshape(R, K * n)
        changed = jnp.any(change != 0, axis=0)
        count, together = jnp.sum(changed), -(-n // 3)
        size = -(-K * n // together) * together
        places = jnp.nonzero(changed, size=size, fill_value=0)[0].astype(jnp.int32)

        def add(i: Array, gradient: _Folded) -> _Folded:
            some = lax.dynamic_slice_in_dim(places, i * together, together)
            real = i * together + jnp.arange(together) < count
            rows = self.stored[self.first_row(some // n) + some % n]
            more = _pulled_back(jnp.where(real, change[:, some], 0), rows)
            return jax.tree.map(jnp.add, gradient, more)

        gradient = lax.fori_loop(0, -(-count // together), add, here.gradient)
        return self.arrive(to, loss, scores, gradient)


def _pulled_back(slopes: Float[Array, "R m"], rows: Shaped[Array, "m P"]) -> _Folded:
    """Return slopes on the scores of some rows as a gradient on the weights and the offset."""
    return _Folded(pull_back(slopes.T, rows), jnp.sum(slopes, axis=1))


def _once(condition: Array, f: Callable[[Any], Any], value: Any) -> Any:
    """Return ``f(value)`` where the condition holds, else value: a `lax.cond` without copies."""

    def body(loop: tuple[Array, Any]) -> tuple[Array, Any]:
        return jnp.zeros_like(condition), f(loop[1])

    return lax.while_loop(lambda loop: loop[0], body, (condition, value))[1]
