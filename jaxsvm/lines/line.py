"""Along a line the objective is a sum of hinges and a parabola, and X is needed no more.

The scores are linear in W, so every margin of W + tD is ``offset + t·slope``:

    objective(W + tD) = (1/N) Σ max(0, offset + t·slope)**power + penalty(W + tD)

with M = N·C terms. `along` takes the two products that give them, X Wᵀ and X Dᵀ, in one pass over
X. What follows is exact and touches no example again: the value and both one-sided slopes at any t,
values on a grid of any size, every kink, and the interval where the objective is smallest.

A penalty along a line is of the same two kinds: ΣΣ (w + t d)² is a parabola, ΣΣ |w + t d| is a sum
of hinges, |a| = max(0, a) + max(0, −a).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.features import check_width, dot
from jaxsvm.core.losses import (
    Objective,
    check_shapes,
    hinge_loss,
    hinge_terms,
    l1_penalty,
    l2_penalty,
    one_vs_rest_loss,
    positive_part,
    squared_hinge_loss,
)
from jaxsvm.core.types import Data, Direction, Labels, Scalar, ScalarLike, Scores, Weights

# Up to this many nodes a grid is swept node by node: measured on 450,000 terms on two cores, one
# direct sweep costs a ninth of the scatter and the running sums, whatever the size of the grid.
DIRECT_NUM = 8

# Into how many bins a sum of many terms is split before they are added pairwise.
SPREAD = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hinges:
    """A weighted sum of hinges of t: ``weight · Σ max(0, offsets + t·slopes)**power``.

    Attributes:
        offsets: the terms' values at t = 0, of any shape. A term that is not there is 0 + 0·t.
        slopes: their derivatives, of the same shape.
        weight: what multiplies the sum: 1/N for a loss, ``reg`` for a penalty; ≥ 0.
        power: 1, or 2 for the squared hinge.
    """

    offsets: Float[Array, "..."]
    slopes: Float[Array, "..."]
    weight: float | Float[Array, "..."]  # batched under vmap
    power: int = field(default=1, metadata={"static": True})


class Line(NamedTuple):
    """An objective along W + tD; made by `along`.

    Attributes:
        loss: the data loss, N·C hinges with weight 1/N.
        absolute: the l1 penalty's hinges, or empty.
        parabola: (3,) the l2 penalty as coefficients of 1, t and t².
    """

    loss: Hinges
    absolute: tuple[Hinges, ...]
    parabola: Float[Array, "3"]


class Minimum(NamedTuple):
    """Where a line is lowest.

    Attributes:
        t_low: the smallest minimizer; −inf where the objective is flat from there on.
        t_high: the largest; equal to ``t_low`` where the minimizer is unique.
        value: the objective there.
    """

    t_low: Scalar
    t_high: Scalar
    value: Scalar


def along(objective: Objective, W: Weights, direction: Direction, data: Data) -> Line:
    """Return the objective along W + t·direction as a sum of hinges.

    An all-zero direction gives a constant; a NaN in W or in the direction gives NaN everywhere.

    Args:
        objective: a sum of hinges (`hinge_loss`, `squared_hinge_loss`, `one_vs_rest_loss`) with
            `l2_penalty` or `l1_penalty`.
        W: (C, D) where t = 0.
        direction: (C, D), of any length: t is in units of it.
        data: the examples, N ≥ 1.

    Returns:
        A `Line`. Cost: 4·N·C·D floating-point operations in one pass over X; 2·N·C numbers kept.

    Raises:
        ValueError: the loss is no sum of hinges (`crammer_singer_loss`: its scores are still linear
            in t, so `slice_1d` draws it, but its kinks need every pair of classes); the penalty is
            another; W and direction differ in shape; the data is empty.

    Source: CS231n notes, "Optimization", L(W + aW₁); Yu, Vishwanathan, Günter & Schraudolph, JMLR
    11 (2010), for the multiclass line search.

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> line = along(Objective(), jnp.zeros((2, 2)), jnp.array([[1.0, 0.0], [0.0, 0.0]]), data)
    >>> [float(value(line, t)) for t in (-1.0, 0.0, 1.0, 2.0)]
    [2.0, 1.0, 0.0, 0.0]
    """
    check_shapes(data)
    if W.shape != direction.shape:
        raise ValueError(
            f"direction has shape {direction.shape} and W has shape {W.shape}: expected the same"
        )
    check_width(data.X, W)
    both = dot(data.X, jnp.concatenate([W, direction]))
    C = W.shape[0]
    return from_scores(objective, both[:, :C], both[:, C:], W, direction, data.y)


def from_scores(
    objective: Objective,
    scores: Scores,
    direction_scores: Scores,
    W: Weights,
    direction: Direction,
    y: Labels,
) -> Line:
    """Return `along`'s line from scores at hand, ``X Wᵀ`` and ``X directionᵀ``: no product at all.

    Raises:
        ValueError: as `along`.
    """
    loss = loss_along(objective, scores, direction_scores, y)
    return Line(loss, *penalty_along(objective, W, direction))


def loss_along(objective: Objective, scores: Scores, direction_scores: Scores, y: Labels) -> Hinges:
    """Return a line's data loss alone.

    Raises:
        ValueError: the loss is no sum of hinges.
    """
    terms = hinge_terms(objective)
    return Hinges(
        offsets=terms.margins(scores, y, delta=objective.delta),
        slopes=terms.margins(direction_scores, y, delta=0.0),
        weight=1.0 / scores.shape[0],
        power=terms.power,
    )


def penalty_along(
    objective: Objective, W: Weights, direction: Direction
) -> tuple[tuple[Hinges, ...], Float[Array, "3"]]:
    """Return a line's ``absolute`` and ``parabola``: its penalty alone.

    Raises:
        ValueError: the penalty is another than `l2_penalty` or `l1_penalty`.
    """
    if objective.penalty is l2_penalty:
        products = [jnp.sum(W * W), 2 * jnp.sum(W * direction), jnp.sum(direction * direction)]
        return (), objective.reg * jnp.stack(products)
    if objective.penalty is l1_penalty:
        absolute = Hinges(
            jnp.concatenate([W, -W]), jnp.concatenate([direction, -direction]), objective.reg
        )
        return (absolute,), jnp.zeros(3, W.dtype)
    name = getattr(objective.penalty, "__name__", objective.penalty)
    raise ValueError(f"objective.penalty is {name}: expected l2_penalty or l1_penalty on a line")


def is_line(objective: Objective) -> bool:
    """Return whether `along` takes the objective: a sum of hinges with an l2 or l1 penalty.

    >>> from jaxsvm import crammer_singer_loss
    >>> is_line(Objective()), is_line(Objective(loss=crammer_singer_loss))
    (True, False)
    """
    hinges = objective.loss in (hinge_loss, squared_hinge_loss, one_vs_rest_loss)
    return hinges and objective.penalty in (l1_penalty, l2_penalty)


def value(line: Line, t: ScalarLike) -> Scalar:
    """Return the objective at W + t·direction. Cost O(M); vmap it for a few values of t.

    >>> two = Hinges(jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0]), 1.0)
    >>> float(value(Line(two, (), jnp.array([0.0, 0.0, 0.5])), 2.0))
    3.0
    """
    constant, linear, square = line.parabola
    total = constant + t * (linear + t * square)
    for part in (line.loss, *line.absolute):
        active = positive_part(part.offsets + t * part.slopes)
        total = total + part.weight * jnp.sum(active**part.power)
    return total


def slopes(line: Line, t: ScalarLike) -> tuple[Scalar, Scalar]:
    """Return the left and the right derivative at t: the ends of the subgradient interval.

    A term has its kink at t if the nearest float to −offset/slope is t. The two are equal where no
    term has, and always for the squared hinge. A NaN offset is not seen here. Cost O(M).

    >>> two = Hinges(jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0]), 1.0)
    >>> [float(slope) for slope in slopes(Line(two, (), jnp.zeros(3)), 1.0)]
    [-1.0, 1.0]
    """
    _, linear, square = line.parabola
    left = right = linear + 2 * t * square
    for part in (line.loss, *line.absolute):
        u, v = part.offsets, part.slopes
        if part.power == 2:
            smooth = part.weight * jnp.sum(2 * jnp.maximum(u + t * v, 0) * v)
            left, right = left + smooth, right + smooth
        else:
            # A rising term is on after its kink, a falling one before it.
            kink, rising = _kinks(part), v > 0
            left = left + part.weight * jnp.sum(jnp.where((kink < t) == rising, v, 0))
            right = right + part.weight * jnp.sum(jnp.where((kink <= t) == rising, v, 0))
    return left, right


def kinks(line: Line) -> Float[Array, " M"]:
    """Return every t at which a term switches on or off, sorted; +inf for those that never do.

    Each |w + t d| of an l1 penalty is two hinges and is there twice. Cost: one sort of M numbers.

    >>> kinks(Line(Hinges(jnp.array([1.0, 2.0]), jnp.array([-1.0, 0.0]), 1.0), (), jnp.zeros(3)))
    Array([ 1., inf], dtype=float32)
    """
    parts = (line.loss, *line.absolute)
    return jnp.sort(jnp.concatenate([_kinks(part).reshape(-1) for part in parts]))


def kinks_between(line: Line, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct kinks in [low, high] and how many terms meet at each.

    On the host, in NumPy: how many there are depends on the values, so it cannot be jitted.

    Raises:
        ValueError: an end is NaN. An empty range has no kinks, an infinite one all there are.

    >>> terms = Hinges(jnp.array([1.0, 1.0, 3.0]), jnp.array([-1.0, -1.0, -1.0]), 1.0)
    >>> kinks_between(Line(terms, (), jnp.zeros(3)), 0.0, 2.0)
    (array([1.], dtype=float32), array([2]))
    """
    for name, end in (("low", low), ("high", high)):
        if math.isnan(end):
            raise ValueError(f"{name} = {end}: expected a number, infinite ones included")
    every = np.asarray(kinks(line))
    inside = every[(every >= low) & (every <= high) & np.isfinite(every)]
    distinct, count = np.unique(inside, return_counts=True)
    return distinct, count


def _kinks(part: Hinges) -> Array:
    """−offset/slope, the nearest float to each term's kink; +inf where the slope is 0."""
    flat = part.slopes == 0
    return jnp.where(flat, jnp.inf, -part.offsets / jnp.where(flat, 1, part.slopes))


def values_on_grid(
    line: Line, *, start: ScalarLike, stop: ScalarLike, num: int
) -> Float[Array, " num"]:
    """Return the objective at ``num`` equally spaced t, from ``start`` to ``stop`` inclusive.

    Cost O(M + num), whatever ``num`` is. A reversed range is walked backwards; ``start = stop``
    gives ``num`` equal values, ``num = 1`` the one at ``start``.

    Rounding: only non-negative numbers are added, and few at a time, so nothing cancels and nothing
    piles up: a test holds float32 to a relative 6e-7 over 200,000 terms and 4,097 nodes.

    Raises:
        ValueError: ``num < 1``, or an infinite or NaN ``start`` or ``stop`` (traced ones
            are not checked).

    >>> two = Hinges(jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0]), 1.0)
    >>> values_on_grid(Line(two, (), jnp.zeros(3)), start=0.0, stop=2.0, num=5)
    Array([1. , 0.5, 0. , 0.5, 1. ], dtype=float32)
    """
    total = hinges_on_grid(line.loss, start=start, stop=stop, num=num)
    return total + penalty_on_grid(line, start=start, stop=stop, num=num)


def penalty_on_grid(
    line: Line, *, start: ScalarLike, stop: ScalarLike, num: int
) -> Float[Array, " num"]:
    """Return the penalty's share of `values_on_grid`; arguments and errors are the same."""
    t = nodes(start, stop, num, line.parabola.dtype)
    constant, linear, square = line.parabola
    total = constant + t * (linear + t * square)
    for part in line.absolute:
        total = total + hinges_on_grid(part, start=start, stop=stop, num=num)
    return total


def nodes(start: ScalarLike, stop: ScalarLike, num: int, dtype: jnp.dtype) -> Float[Array, " num"]:
    """Return the grid itself.

    Raises:
        ValueError: as `values_on_grid`.
    """
    if num < 1:
        raise ValueError(f"num = {num}: expected at least one point on the grid")
    for name, end in (("start", start), ("stop", stop)):
        if not isinstance(end, jax.core.Tracer) and not math.isfinite(end):
            raise ValueError(f"{name} = {end}: expected a finite number, a grid has both ends")
    return jnp.linspace(start, stop, num, dtype=dtype)


def hinges_on_grid(
    hinges: Hinges, *, start: ScalarLike, stop: ScalarLike, num: int
) -> Float[Array, " num"]:
    """Return one sum of hinges on the grid: the work of `values_on_grid`.

    Seen from the end of the grid where it is low, a term is 0 up to some node k, has a value r ≥ 0
    there and rises by w ≥ 0 at each node after. So it is two numbers put in bin k, (r, w), and two
    running sums over the bins give all values. Rising terms are put in bins counted from ``start``,
    falling ones in bins counted from ``stop``. A squared term is three numbers, (r², 2rw, w²).
    """
    t = nodes(start, stop, num, hinges.offsets.dtype)
    u, v = hinges.offsets.reshape(-1), hinges.slopes.reshape(-1)
    if num <= DIRECT_NUM:
        direct = lax.map(lambda t: jnp.sum(jnp.maximum(u + t * v, 0) ** hinges.power), t)
        return hinges.weight * direct

    step = (t[-1] - t[0]) / (num - 1)
    falling = v * step < 0
    w = jnp.abs(v * step)
    at_low_end = u + jnp.where(falling, t[-1], t[0]) * v
    k = jnp.where(at_low_end < 0, jnp.minimum(jnp.ceil(-at_low_end / w), num), 0)
    r = jnp.maximum(at_low_end + k * w, 0)
    # Bin `num` takes the terms that are off all over the grid. Those on from its first node, most
    # of a zoom's value and none of its shape, have bins of their own and stay out of the running
    # sums. Bins are repeated and the copies added pairwise, so that no float32 sum is long.
    width = 2 * (num + 1)
    copies = max(1, min(SPREAD, u.size // (8 * width)))
    place = jnp.arange(u.size, dtype=jnp.int32)
    index = jnp.where(
        k == 0,
        copies * width + jnp.where(falling, SPREAD, 0) + place % SPREAD,
        place % copies * width + jnp.where(falling, num + 1, 0) + k.astype(jnp.int32),
    )

    def bins(x: Array) -> tuple[Array, Array]:
        """(2, 1) the sum of x over the terms on from the first node, (2, num) over the others."""
        filled = jnp.zeros(copies * width + 2 * SPREAD, x.dtype)
        filled = filled.at[index].add(x, mode="promise_in_bounds")
        later, first = filled[: copies * width], filled[copies * width :]
        first = jnp.sum(first.reshape(2, SPREAD), axis=1, keepdims=True)
        return first, jnp.sum(later.reshape(copies, 2, num + 1), axis=0)[:, :num]

    def before(x: Array) -> Array:  # the running sum up to, not including, each node
        return jnp.concatenate([jnp.zeros_like(x[:, :1]), jnp.cumsum(x, axis=1)[:, :-1]], axis=1)

    d = jnp.arange(num, dtype=u.dtype)[None, :]
    if hinges.power == 1:
        (on, height), (on_rise, rise) = bins(r), bins(w)
        values = on + d * on_rise + jnp.cumsum(height + before(rise), axis=1)
    else:
        (on, height), (on_rise, rise), (on_bend, bend) = bins(r * r), bins(2 * r * w), bins(w * w)
        # w²d² grows by w²(2d + 1) from node to node: twice what has come before, and once w².
        growth = before(rise + bend) + 2 * before(before(bend))
        values = on + d * (on_rise + d * on_bend) + jnp.cumsum(height + growth, axis=1)
    return hinges.weight * (values[0] + values[1, ::-1])


def minimum(line: Line) -> Minimum:
    """Return the exact interval of t where the objective is smallest, and its value there.

    The right derivative never falls, so the smallest minimizer is the first float at which it is
    ≥ 0: bisection over the floats themselves finds it in 32 slope sums (64 in float64), less than
    one sort of the kinks costs. The largest is the last float with left derivative ≤ 0. Nothing is
    accumulated, so a flat floor of exactly 0 is found exactly; elsewhere a slope is known to the
    rounding of its sum. The objective cannot be unbounded below: it is a sum of terms ≥ 0. It may
    be flat towards an end, and then that end is infinite.

    Returns:
        A `Minimum`; NaN throughout where the line is NaN. Cost O(M) for each sum.

    Source: the line search of Yu, Vishwanathan, Günter & Schraudolph, JMLR 11 (2010), with
    bisection in place of its sort.

    >>> terms = Hinges(jnp.array([1.0, -3.0]), jnp.array([-1.0, 1.0]), 1.0)
    >>> [float(x) for x in minimum(Line(terms, (), jnp.zeros(3)))]
    [1.0, 3.0, 0.0]
    """
    dtype = line.parabola.dtype
    integer = jnp.int64 if dtype == jnp.float64 else jnp.int32
    # Beyond a quarter of the largest float, 2t or t·slope may overflow; no kink of note is there.
    largest, smallest = float(jnp.finfo(dtype).max) / 4, float(jnp.finfo(dtype).tiny)

    # Floats in order, as integers: the bits of a negative one are flipped below the sign.
    def flip(i: Array) -> Array:
        return i ^ ((i >> (jnp.iinfo(integer).bits - 1)) & jnp.iinfo(integer).max)

    def key(t: ScalarLike) -> Array:
        # + 0 makes a negative zero positive: the two zeros are one place.
        return flip(lax.bitcast_convert_type(jnp.asarray(t, dtype) + 0, integer))

    def number(i: Array) -> Array:
        t = lax.bitcast_convert_type(flip(i), dtype)
        return jnp.where(jnp.abs(t) < smallest, 0, t)  # subnormal numbers compare as 0 here

    def first(reached: Callable[[Array], Array], low: Array, high: Array) -> Array:
        """The smallest integer in (low, high] at whose float ``reached`` holds, given high's."""

        def halve(ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
            up = reached(number(middle))
            return jnp.where(up, low, middle), jnp.where(up, middle, high)

        return lax.while_loop(lambda ends: ends[0] + 1 < ends[1], halve, (low, high))[1]

    low_end, high_end = key(-largest), key(largest)

    def rises(t: ScalarLike) -> Array:
        return slopes(line, t)[1] >= 0

    def climbs(t: ScalarLike) -> Array:
        return slopes(line, t)[0] > 0

    t_low = number(first(rises, low_end, high_end))
    t_low = jnp.where(rises(-largest), -jnp.inf, t_low)

    begin = key(jnp.where(jnp.isfinite(t_low), t_low, -largest))
    # Most often the very next float climbs and the search is over.
    end = jnp.where(climbs(number(begin + 1)), begin + 1, high_end)
    t_high = number(first(climbs, begin, end) - 1)
    t_high = jnp.where(climbs(largest), t_high, jnp.inf)

    inside = jnp.where(jnp.isfinite(t_low), t_low, jnp.where(jnp.isfinite(t_high), t_high, 0))
    lowest = value(line, inside)
    bad = jnp.isnan(lowest)
    return Minimum(jnp.where(bad, jnp.nan, t_low), jnp.where(bad, jnp.nan, t_high), lowest)
