"""The exact step of one example's slopes: the maximum of the dual over them, for many examples.

All that couples an example's slopes is one number, or two, so the step is the root of a piecewise
linear equation: found exactly, between two of its kinks. Coordinate ascent takes it for one example
after the other, a primal-dual step for all at once.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.losses import AllowedSlopes, classes_first
from jaxsvm.core.objective import Objective, require
from jaxsvm.core.types import Labels, Scores

FEW = 32  # classes up to which a sum over them is one loop over examples

# Around a zero: the kink before it, the excess there, the kink after it, the excess there; (N,).
Ends: TypeAlias = tuple[Array, Array, Array, Array]


def row_step(
    objective: Objective,
    margin: Scores,
    slopes: Scores,
    curvature: Float[Array, " N"],
    y: Labels,
) -> Scores:
    """Return, for each example on its own, the slopes that maximize the dual.

        maximize over a:  m·d − (q/2)·‖pull_back(d)‖² − conjugate(a),     d = a − slopes

    over the slopes that the loss allows (`AllowedSlopes`). All that couples them is
    κ·(w·d)², w = ±1, and, for a maximum over classes, Σ_j a_j. So each follows from one number t,

        a_j = clip((q·slopes_j + m_j − w_j·t) / (q + bend_j), 0, upper_j),     t = q·κ·(w·d) + μ

    with μ ≥ 0 the multiplier of Σ_j a_j ≤ 1, or half of Σ_j a_j for the square of a maximum. The
    left side is piecewise linear and monotone in t, so t is found exactly, between two of its kinks
    (`_root`). Only where both couplings are there and w has two signs, the maximum over all centred
    margins, is μ found by bisection around it.

    Args:
        objective: its loss and delta.
        margin: (N, C) m, the margins at ``slopes``.
        slopes: (N, C) feasible ones.
        curvature: (N,) q > 0: ‖x_i‖²/(2·reg·N) in coordinate ascent, 1/ρ in a proximal step.
        y: (N,) labels.

    Returns:
        (N, C) feasible slopes. Cost: N·C·2C clips, no product.

    Source: Wang & Scott, "Weston-Watkins hinge loss and ordered partitions / an exact solver"
    (arXiv 2102.05640), there by sorting; Crammer & Singer (2001) for the simplex.

    >>> m, zero = jnp.array([[0.0, 1.0, 3.0]]), jnp.zeros((1, 3))
    >>> row_step(Objective(), m, zero, jnp.array([4.0]), jnp.array([0]))
    Array([[0.   , 0.   , 0.375]], dtype=float32)
    """
    loss, _ = require(objective, "row_step", penalty=False)
    C, q = margin.shape[1], curvature[:, None]
    allowed = loss.allowed_slopes(y, C, margin.dtype)
    bend = q + jnp.asarray(allowed.bend, margin.dtype)
    # In units of the bend where it is one number an example, so that a slope falls by 1 with t.
    is_even = bend.shape[1] == 1
    unit = bend if is_even else jnp.ones_like(q)
    signs = allowed.signs
    rates = signs if is_even else (1.0 if signs is None else signs) / bend
    there = loss.mask(jnp.ones_like(margin), y) > 0
    # A division by one number an example would become this product on one device, and not on more.
    inverse = lax.optimization_barrier(1 / bend)
    c = jnp.where(there, (q * slopes + margin) * inverse, -jnp.inf)
    upper = allowed.upper
    kappa = allowed.coupling
    before = jnp.sum(slopes if signs is None else signs * slopes, axis=1)
    total_bend = allowed.total_bend

    def clipped(c: Array, t: Array) -> Array:
        moved = c - t[:, None] if rates is None else c - rates * t[:, None]
        return jnp.clip(moved, 0, upper)

    def coupled(c: Array, strength: float, extra: float) -> Array:
        """Return the root of t·unit = q·κ·(w·a − before) + extra·Σ_j a_j."""
        pull = strength * curvature + extra  # t·unit = pull·(w·a) − strength·q·before
        size, sign = jnp.abs(pull), jnp.where(pull > 0, 1, -1).astype(c.dtype)
        seen = size > 0
        tau = unit[:, 0] / jnp.where(seen, size, 1)
        offset = -strength * curvature * before / jnp.where(seen, size, 1)
        return jnp.where(seen, _root(c, rates, signs, upper, tau, sign, offset), 0)

    if signs is not None and (allowed.capped or total_bend):
        return _two_couplings(coupled, clipped, c, allowed, unit[:, 0], curvature, before)
    if kappa == 0 and not total_bend and not allowed.capped:
        return clipped(c, jnp.zeros_like(curvature))
    t = coupled(c, kappa, total_bend)
    if allowed.capped:
        one = jnp.ones_like(curvature)
        t = jnp.maximum(t, _root(c, rates, signs, upper, 0 * one, one, -one))
    return clipped(c, t)


def _root(
    c: Scores,
    rates: Scores | None,
    signs: Scores | None,
    upper: float | Scores,
    tau: Float[Array, " N"],
    sign: Float[Array, " N"],
    offset: Float[Array, " N"],
) -> Float[Array, " N"]:
    """Return the zero in t of ``sign·Σ_j w_j·clip(c_j − rate_j·t, 0, upper_j) + offset − tau·t``.

    This excess never rises, and it is linear between the kinks of the clips and beyond the last of
    them on either side. Nothing is compared with c again, which a compiler may round another way
    the second time.

    Args:
        c: (N, C); −∞ where there is no slope.
        rates: (N, C) with the signs of w; None where all are 1.
        signs: (N, C) w; None where all are 1.
        upper: a number or (N, C).
        tau: (N,) ≥ 0.
        sign: (N,) of ±1.
        offset: (N,).
    """
    # Classes first, so that a loop over examples is contiguous.
    c = classes_first(c)
    there = -jnp.inf < c
    rates, signs = (None if x is None else classes_first(x) for x in (rates, signs))
    bounds = None if isinstance(upper, float) else classes_first(upper)
    is_bounded = bounds is not None or upper < float("inf")
    kinks = [c, c - (upper if bounds is None else bounds)] if is_bounded else [c]
    if rates is not None:
        kinks = [kink / rates for kink in kinks]
    somewhere = jnp.max(jnp.where(there, kinks[0], -jnp.inf), axis=0)
    somewhere = jnp.where(jnp.isfinite(somewhere), somewhere, 0)
    at = jnp.concatenate([jnp.where(there, kink, somewhere) for kink in kinks])

    def weighted(t: Array, column: tuple[Any, ...]) -> Array:
        """Return w_j·a_j at t."""
        c, bound, rate, w = column
        moved = c - (t if rate is None else rate * t)
        a = jnp.clip(moved, 0, upper if bound is None else bound)
        return a if w is None else w * a

    last, above, following, below = _around_zero(
        at, lambda t, total: sign * total + offset - tau * t, weighted, (c, bounds, rates, signs)
    )
    # Beyond all kinks the slope is that of the slopes which are free there.
    w = jnp.ones_like(c) if signs is None else signs
    pace = jnp.ones_like(c) if rates is None else jnp.abs(rates)
    free = jnp.where(there & (not is_bounded), pace, 0)
    left = tau + sign * jnp.sum(jnp.where(w > 0, free, 0), axis=0)
    right = tau + sign * jnp.sum(jnp.where(w < 0, free, 0), axis=0)
    from_left = following + below / jnp.where(left > 0, left, 1)
    from_right = last + above / jnp.where(right > 0, right, 1)
    share = above / jnp.where(above > below, above - below, 1)
    between = last + share * (following - last)
    found = jnp.where(jnp.isfinite(last), between, from_left)
    return jnp.where(jnp.isfinite(following), found, jnp.where(jnp.isfinite(last), from_right, 0))


def _around_zero(
    kinks: Float[Array, "K N"],
    excess: Callable[[Array, Array], Array],
    term: Callable[[Array, tuple[Any, ...]], Array],
    columns: tuple[Any, ...],
) -> Ends:
    """Return the kinks before and after the zero of a falling excess, and the excess at both.

    Args:
        kinks: K for each example; infinite ends come back where the zero is beyond all of them.
        excess: ``(t, Σ_j term_j(t)) -> (N,)``.
        term: ``(t, one class of each column) -> (N,)``.
        columns: (C, N) each, or None.
    """

    def narrow(ends: Ends, t: Array, total: Array) -> Ends:
        last, above, following, below = ends
        here = excess(t, total)
        is_last = (here >= 0) & (t >= last)
        is_next = ~(here >= 0) & (t <= following)
        return (
            jnp.where(is_last, t, last),
            jnp.where(is_last, here, above),
            jnp.where(is_next, t, following),
            jnp.where(is_next, here, below),
        )

    infinite = jnp.full_like(kinks[0], jnp.inf)
    nothing: Ends = (-infinite, infinite, infinite, -infinite)
    if kinks.shape[1] > 1:
        # Many examples: a kink at a time, so that nothing leaves the cache. The sums come first,
        # on their own: fused with the ends the compiler would take each of them four times.
        num_classes = len(columns[0])

        def sum_at(_: None, t: Array) -> tuple[None, Array]:
            def add(total: Array, column: tuple[Any, ...]) -> tuple[Array, None]:
                return total + term(t, column), None

            return None, lax.scan(add, jnp.zeros_like(t), columns, unroll=num_classes <= FEW)[0]

        def one_kink(ends: Ends, at: tuple[Array, Array]) -> tuple[Ends, None]:
            return narrow(ends, *at), None

        sums = lax.scan(sum_at, None, kinks)[1]
        return lax.scan(one_kink, nothing, (kinks, sums))[0]
    # A sequential pass has one example at a time: all kinks at once, in few operations.
    terms = jax.vmap(jax.vmap(term, in_axes=(None, 0)), in_axes=(0, None))(kinks, columns)
    every = jax.vmap(narrow, in_axes=(None, 0, 0))(nothing, kinks, jnp.sum(terms, axis=1))
    places = (jnp.argmax(every[0], axis=0)[None], jnp.argmin(every[2], axis=0)[None])
    last, above, following, below = (
        jnp.take_along_axis(end, places[n // 2], axis=0)[0] for n, end in enumerate(every)
    )
    return last, above, following, below


def _two_couplings(
    coupled: Callable[[Array, float, float], Array],
    clipped: Callable[[Array, Array], Array],
    c: Scores,
    allowed: AllowedSlopes,
    unit: Array,
    curvature: Array,
    before: Array,
) -> Scores:
    """Return the slopes where both w·d, of two signs, and Σ_j a_j couple them.

    For a given multiplier μ of the sum, the rest is one root. The sum falls with μ, and is to be 1
    at most, or 2μ for the square of a maximum: bisection. Slopes that move along w change no
    centred margin, so at that μ the sum may jump, and rounding picks its side: taken clearly above
    and clearly below, the slopes in between whose sum is right are as good as either.
    """

    def at(mu: Array) -> Scores:
        lower = c - (mu / unit)[:, None]
        return clipped(lower, coupled(lower, allowed.coupling, 0.0))

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        total = jnp.sum(at(middle), axis=1)
        enough = total <= (1.0 if allowed.capped else middle / allowed.total_bend)
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    # At this μ all slopes are 0.
    largest = jnp.maximum(jnp.max(c, axis=1), 0) * unit
    high = 1.01 * (largest + jnp.abs(allowed.coupling) * curvature * jnp.abs(before))
    clearly = 64 * jnp.finfo(c.dtype).eps * high
    zero = jnp.zeros_like(high)
    if allowed.capped:
        high = jnp.where(jnp.sum(at(zero), axis=1) <= 1, 0, high)
    steps = 2 * (jnp.finfo(c.dtype).nmant + 4)
    low, high = lax.fori_loop(0, steps, halve, (zero, high))
    clearly = jnp.where(high > 0, clearly, 0)
    few, many = at(high + clearly), at(jnp.maximum(low - clearly, 0))
    limit = 1.0 if allowed.capped else high / allowed.total_bend
    over, under = jnp.sum(many, axis=1) - limit, limit - jnp.sum(few, axis=1)
    share = jnp.clip(under / jnp.where(over + under > 0, over + under, 1), 0, 1)
    share = jnp.where(over > 0, share, 0)
    return few + share[:, None] * (many - few)
