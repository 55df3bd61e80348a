"""Local search that looks at no more of the data than it takes to refuse a trial.

The data loss L is convex in W, and so is the share L_p that a part p of the rows has in it. Each
lies above its tangent plane at W, so whatever parts have been looked at,

    L(W + δ) ≥ Σ_{p seen} L_p(W + δ) + Σ_{p not seen} (L_p(W) + ⟨∇L_p(W), δ⟩)

and once that and the penalty are no lower than the best loss, δ cannot be accepted. With no part
seen this is one inner product, and refuses every δ that does not lead downhill, about half. The
others are looked at part by part, until the loss has bent up enough. Only what is accepted is seen
whole.

Three things make it pay. The rows come first whose loss will bend most, those near a kink: half the
bend is in a sixth of CIFAR-10's rows. A product with one step takes nearly twice its share of a
product with several, so the trial that asks for a part takes with it the next trials that will ask,
as far as the last bend seen can tell. None of that is lost when W moves: X δᵀ does not depend on W.
And after a small step the gradients change by few rows, those whose slopes have changed.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from jaxsvm.core import features
from jaxsvm.core.arguments import check_count, check_positive
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.digits import prepared, prepared_scores
from jaxsvm.core.losses import Hinge
from jaxsvm.core.objective import Objective, less_last, require, up_to
from jaxsvm.core.types import Data, Scalar, ScalarLike, Weights
from jaxsvm.optimizers.contract import Optimizer, scan_between
from jaxsvm.optimizers.local_search import LocalSearchState, block_start, local_search, once
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
        block = _Block(objective, loss, data, draw_each(draw, keys, state.params), begin)
        trials = jnp.arange(block_size, dtype=jnp.int32)
        carry = block.here, block.products
        (here, _), info = scan_between(block.trial, carry, trials, 0, stop)
        return LocalSearchState(here.W, here.best_loss, begin), info

    return Optimizer(whole.init, step, block_step, block_size)


class _Here(NamedTuple):
    """Where the search stands, and how the land lies there, for K parts of n rows and B trials.

    Attributes:
        W: (C, D) the best so far.
        best_loss: the objective there.
        scores: of W.
        gradient: of the data loss, on R rows of weights.
        bounds: of each trial the tangent plane and the penalty: no objective at W + δ is lower.
    """

    W: Weights
    best_loss: Scalar
    scores: Float[Array, "K R n"]
    gradient: Float[Array, "R D"]
    bounds: Float[Array, " B"]


class _Products(NamedTuple):
    """What has been multiplied in this block.

    Attributes:
        changes: the scores of a part and a step, where ``known``.
        bend: how far above its tangent plane the last trial that was looked at would lie, if its
            unseen parts bent as foreseen.
    """

    changes: Float[Array, "K B R n"]
    known: Bool[Array, "K B"]
    bend: Scalar


class _Block:
    """The trials of one block: its steps, and the rows cut into parts, those first that bend most.

    Of a loss that adding a number to all scores does not change, the scores are those less the last
    class's: R = C − 1 products a row, else R = C.

    How far a row's loss will bend is foreseen from one step, the first: with its classes in another
    order, or turned round, it would have been as likely.
    """

    def __init__(
        self,
        objective: Objective,
        loss: Hinge,
        data: Data,
        deltas: Float[Array, "B C D"],
        at: SearchState,
    ) -> None:
        stored = features.values_of(data.X)
        if not isinstance(stored, Array):
            raise ValueError(
                f"data.X is {data.X!r}: pruned_local_search expected rows in the memory of one "
                "device; local_search takes any"
            )
        self.objective, self.X, self.stored, self.deltas = objective, data.X, stored, deltas
        self.is_relative = loss.is_shift_invariant and deltas.shape[1] > 1
        self.steps = less_last(deltas) if self.is_relative else deltas
        B, self.R, D = self.steps.shape
        weights, offset = features.fold(data.X, self.steps.reshape(-1, D))
        self.weights = prepared(weights.reshape(B, self.R, -1), stored)
        self.offset = offset.reshape(B, self.R)

        N = len(stored)
        n = min(block_sizes().part, N)
        self.parts = jnp.arange(-(-N // n), dtype=jnp.int32)
        K = len(self.parts)

        W = less_last(at.params) if self.is_relative else at.params
        both = features.scores_by_row(data.X, jnp.concatenate([W, self.steps[0]]))
        scores, step = both[: self.R], both[self.R :]
        losses, pull = jax.vjp(partial(self.losses, data.y), scores)
        (slopes,) = pull(jnp.ones_like(losses))
        gradient = features.dot_transpose(slopes.T, data.X)
        bends = self.bends(data.y, losses, scores, step)
        order = jnp.argsort(-bends).astype(jnp.int32)
        self.order = jnp.pad(order, (0, K * n - N)).reshape(K, n)
        self.real = (jnp.arange(K * n) < N).reshape(K, n)
        self.seen = _shares(jnp.where(self.real, bends[self.order], 0))
        self.y = data.y[self.order]

        changes = jnp.zeros((K, B, self.R, n), deltas.dtype)
        self.products = _Products(
            changes.at[:, 0].set(step[:, self.order].swapaxes(0, 1)),
            jnp.zeros((K, B), bool).at[:, 0].set(True),
            jnp.zeros((), deltas.dtype),
        )
        scores = scores[:, self.order].swapaxes(0, 1)
        self.here = self.arrive(at, jnp.sum(losses) / N, scores, gradient / N)

    def losses(self, y: Array, scores: Float[Array, "R n"]) -> Float[Array, " n"]:
        """Return the data loss of each of some rows."""
        scores = up_to(self.deltas.shape[1], scores, axis=0)
        return self.objective.loss(scores.T, y, delta=self.objective.delta)

    def bends(self, y: Array, losses: Array, scores: Array, step: Array) -> Float[Array, " n"]:
        """Return how far each row's loss lies above its tangent plane, over steps like this one."""

        def add(k: Array, total: Array) -> Array:
            turned = jnp.roll(step, k, axis=0)
            # Of a step and its opposite the slopes cancel.
            total += self.losses(y, scores + turned) + self.losses(y, scores - turned)
            return total - 2 * losses

        return lax.fori_loop(0, self.R, add, jnp.zeros_like(losses))

    def loss(self, p: Array, scores: Float[Array, "R n"]) -> Scalar:
        """Return the share of part p in the data loss."""
        losses = self.losses(self.y[p], scores)
        return jnp.sum(jnp.where(self.real[p], losses, 0)) / len(self.stored)

    def arrive(self, at: SearchState, loss: Scalar, scores: Array, gradient: Array) -> _Here:
        """Return what is known at W, where the data loss is ``loss``, with the trials' bounds."""
        along = jnp.sum(self.steps * gradient[None], axis=(1, 2))
        penalty = jax.vmap(lambda delta: self.objective.penalty(at.params + delta))
        bounds = loss + along + self.objective.reg * penalty(self.deltas)
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
            products = once(
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
        bend = jnp.where(p > 0, (lower - here.bounds[t]) / self.seen[p], products.bend)

        W = here.W + self.deltas[t]
        whole = data_loss + self.objective.reg * self.objective.penalty(W)
        loss = jnp.where(p == K, whole, jnp.nan)
        accepted = loss < here.best_loss
        changes = products.changes
        to = SearchState(W, loss)
        here = once(accepted, lambda here: self.move(to, data_loss, here, changes[:, t]), here)
        fresh = (t == 0).astype(jnp.int32)
        info = PrunedInfo(
            loss=loss,
            lower_bound=jnp.where(p == K, loss, lower),
            best_loss=here.best_loss,
            accepted=accepted,
            share=p.astype(lower.dtype) / K,
            loss_evaluations=(p > 0).astype(jnp.int32) + fresh,
            gradient_evaluations=accepted.astype(jnp.int32) + fresh,
        )
        return (here, products._replace(bend=bend)), info

    def multiply(self, p: Array, t: Array, here: _Here, products: _Products) -> _Products:
        """Multiply part p with the step of trial t, and of the next trials that will ask for it."""
        B = len(self.steps)
        # A trial asks until its parts, bent as foreseen, have made up for the fall of its planes.
        falls = here.best_loss - here.bounds
        asks = (falls > 0) & (falls > self.seen[p] * products.bend) & ~products.known[p]
        later = jnp.arange(B, dtype=jnp.int32)
        turn = jnp.where(asks, later, B + later)
        turn = jnp.where(later < t, 2 * B, turn).at[t].set(-1)
        some = jnp.argsort(turn)[: min(B, block_sizes().trials)].astype(jnp.int32)
        weights, offset = jax.tree.map(lambda leaf: leaf[some], (self.weights, self.offset))
        scores = prepared_scores(weights, self.stored[self.order[p]]) - offset[:, :, None]
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
        change = change.transpose(0, 2, 1).reshape(K * n, R)
        changed = jnp.any(change != 0, axis=1)
        count, together = jnp.sum(changed), n
        places = jnp.nonzero(changed, size=K * n, fill_value=0)[0].astype(jnp.int32)

        def add(i: Array, gradient: Array) -> Array:
            some = lax.dynamic_slice_in_dim(places, i * together, together)
            real = i * together + jnp.arange(together) < count
            slopes = jnp.where(real[:, None], change[some], 0)
            rows = features.take(self.X, self.order.reshape(-1)[some])
            return gradient + features.dot_transpose(slopes, rows)

        gradient = lax.fori_loop(0, -(-count // together), add, here.gradient)
        return self.arrive(to, loss, scores, gradient)


def _shares(bends: Float[Array, "K n"]) -> Float[Array, " _K"]:
    """Return which share of all bend is foreseen before each of K parts, and 1 after the last."""
    K = len(bends)
    together = jnp.cumsum(jnp.sum(bends, axis=1))
    evenly = jnp.arange(1, K + 1, dtype=bends.dtype) / K
    after = jnp.where(together[-1] > 0, together / together[-1], evenly)
    return jnp.concatenate([jnp.zeros_like(after[:1]), after])
