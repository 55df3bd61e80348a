"""Along a line the objective is a sum of hinges and a parabola, and X is needed no more.

The scores are linear in W, so every margin of W + tD is ``offset + t·slope``:

    objective(W + tD) = (1/N) Σ_i join_j max(0, offset_ij + t·slope_ij)**power + reg · R(W + tD)

`along` takes the two products that give the margins, X Wᵀ and X Dᵀ, in one pass over X; a maximum
over classes becomes a sum of hinges too (`jaxsvm.core.hinges.upper_envelope`). What follows is
exact and touches no example again: the value and both one-sided slopes at any t, values on a grid
of any size, every kink, and the interval where the objective is smallest.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxsvm.core.arguments import check_floats, check_number, check_problem, check_values
from jaxsvm.core.hinges import Hinges
from jaxsvm.core.losses import classes_first
from jaxsvm.core.objective import Objective, require, scores_of
from jaxsvm.core.types import Data, Direction, Labels, Scalar, ScalarLike, Scores, Weights
from jaxsvm.lines.floats import first_place, float_at, place_of
from jaxsvm.lines.grid import hinges_on_grid, nodes


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


class Line(NamedTuple):
    """An objective along W + tD; made by `along`.

        objective(W + tD) = loss(t) + absolute(t) + parabola · (1, t, t²)

    Attributes:
        loss: the data loss.
        absolute: the l1 penalty's hinges, or empty.
        parabola: (3,) the l2 penalty as coefficients of 1, t and t².
    """

    loss: Hinges
    absolute: tuple[Hinges, ...]
    parabola: Float[Array, "3"]

    def value(self, t: ScalarLike) -> Scalar:
        """Return the objective at W + t·direction. Cost O(M), M terms; vmap it for a few t.

        >>> two = Hinges(jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0]), 1.0)
        >>> float(Line(two, (), jnp.array([0.0, 0.0, 0.5])).value(2.0))
        3.0
        """
        check_number("t", t)
        constant, linear, square = self.parabola
        total = constant + t * (linear + t * square)
        for part in self._sums:
            total = total + part.value(t)
        return total

    def slopes(self, t: ScalarLike) -> tuple[Scalar, Scalar]:
        """Return the left and the right derivative at t: the ends of the subgradient interval.

        A term has its kink at t if the nearest float to −offset/slope is t. The two are equal where
        no term has, and always for squared hinges. A NaN offset is not seen here. Cost O(M).

        >>> two = Hinges(jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0]), 1.0)
        >>> [float(slope) for slope in Line(two, (), jnp.zeros(3)).slopes(1.0)]
        [-1.0, 1.0]
        """
        check_number("t", t)
        _, linear, square = self.parabola
        left = right = linear + 2 * t * square
        for part in self._sums:
            v = part.slopes
            steep = part.height.derivative(jnp.maximum(part.offsets + t * v, 0)) * v
            if part.height.is_smooth:
                smooth = part.weight * jnp.sum(steep)
                left, right = left + smooth, right + smooth
            else:
                # A rising term is on after its kink, a falling one before it.
                kink, rising = _kinks(part), v > 0
                left = left + part.weight * jnp.sum(jnp.where((kink < t) == rising, steep, 0))
                right = right + part.weight * jnp.sum(jnp.where((kink <= t) == rising, steep, 0))
        return left, right

    def kinks(self) -> Float[Array, " M"]:
        """Return every t at which a term switches on or off, sorted; +inf for those that never do.

        Each |w + t d| of an l1 penalty is two hinges and is there twice. Cost: one sort of M
        numbers.

        >>> two = Hinges(jnp.array([1.0, 2.0]), jnp.array([-1.0, 0.0]), 1.0)
        >>> Line(two, (), jnp.zeros(3)).kinks()
        Array([ 1., inf], dtype=float32)
        """
        return jnp.sort(jnp.concatenate([_kinks(part).reshape(-1) for part in self._sums]))

    def kinks_between(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct kinks in [low, high] and how many terms meet at each.

        On the host, in NumPy: how many there are depends on the values, so it cannot be jitted.

        Raises:
            ValueError: an end is NaN. An empty range has no kinks, an infinite one all there are.

        >>> terms = Hinges(jnp.array([1.0, 1.0, 3.0]), jnp.array([-1.0, -1.0, -1.0]), 1.0)
        >>> Line(terms, (), jnp.zeros(3)).kinks_between(0.0, 2.0)
        (array([1.], dtype=float32), array([2]))
        """
        for name, end in (("low", low), ("high", high)):
            check_values("kinks_between", end)
            check_number(name, end, "a number, infinite ones included", lambda x: not math.isnan(x))
        every = np.asarray(self.kinks())
        inside = every[(every >= low) & (every <= high) & np.isfinite(every)]
        distinct, count = np.unique(inside, return_counts=True)
        return distinct, count

    def values(self, *, start: ScalarLike, stop: ScalarLike, num: int) -> Float[Array, " num"]:
        """Return the objective at ``num`` equally spaced t, from ``start`` to ``stop`` inclusive.

        Cost O(M + num): see `jaxsvm.lines.grid.hinges_on_grid`, whose errors it has.

        >>> two = Hinges(jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0]), 1.0)
        >>> Line(two, (), jnp.zeros(3)).values(start=0.0, stop=2.0, num=5)
        Array([1. , 0.5, 0. , 0.5, 1. ], dtype=float32)
        """
        data_loss, penalty = self.parts(start=start, stop=stop, num=num)
        return data_loss + penalty

    def parts(
        self, *, start: ScalarLike, stop: ScalarLike, num: int
    ) -> tuple[Float[Array, " num"], Float[Array, " num"]]:
        """Return the data loss and the penalty apart; their sum is `values`."""
        t = nodes(start, stop, num, self.parabola.dtype)
        constant, linear, square = self.parabola
        penalty = constant + t * (linear + t * square)
        for part in self.absolute:
            penalty = penalty + hinges_on_grid(part, start=start, stop=stop, num=num)
        return hinges_on_grid(self.loss, start=start, stop=stop, num=num), penalty

    def minimum(self) -> Minimum:
        """Return the exact interval of t where the objective is smallest, and its value there.

        The right derivative never falls, so the smallest minimizer is the first float at which it
        is ≥ 0; bisection over the floats finds it in 32 slope sums (64 in float64). The largest is
        the last float with left derivative ≤ 0. Nothing is accumulated, so a flat floor of exactly
        0 is found exactly; elsewhere a slope is known to the rounding of its sum. The objective
        cannot be unbounded below: it is a sum of terms ≥ 0. It may be flat towards an end, and then
        that end is infinite.

        Returns:
            A `Minimum`; NaN throughout where the line is NaN. Cost O(M) for each sum.

        Source: the line search of Yu, Vishwanathan, Günter & Schraudolph, JMLR 11 (2010), with
        bisection in place of its sort.

        >>> terms = Hinges(jnp.array([1.0, -3.0]), jnp.array([-1.0, 1.0]), 1.0)
        >>> [float(x) for x in Line(terms, (), jnp.zeros(3)).minimum()]
        [1.0, 3.0, 0.0]
        """
        dtype = self.parabola.dtype
        largest = _largest(dtype)

        def climbs(t: ScalarLike) -> Array:
            return self.slopes(t)[0] > 0

        t_low = first_minimizer(self)
        begin = place_of(jnp.where(jnp.isfinite(t_low), t_low, -largest), dtype)
        # Most often the very next float climbs and the search is over.
        end = jnp.where(climbs(float_at(begin + 1, dtype)), begin + 1, place_of(largest, dtype))
        t_high = float_at(first_place(climbs, begin, end, dtype) - 1, dtype)
        t_high = jnp.where(climbs(largest), t_high, jnp.inf)

        inside = jnp.where(jnp.isfinite(t_low), t_low, jnp.where(jnp.isfinite(t_high), t_high, 0))
        lowest = self.value(inside)
        bad = jnp.isnan(lowest)
        return Minimum(jnp.where(bad, jnp.nan, t_low), jnp.where(bad, jnp.nan, t_high), lowest)

    @property
    def _sums(self) -> tuple[Hinges, ...]:
        return (self.loss, *self.absolute)


def first_minimizer(line: Line) -> Scalar:
    """Return ``Line.minimum().t_low``, a scalar, without a search for the other end.

    It is −∞ where the line does not fall before its bottom. Where the line is NaN it may be any
    number: its value there is NaN.
    """
    dtype = line.parabola.dtype
    largest = _largest(dtype)

    def rises(t: ScalarLike) -> Array:
        return line.slopes(t)[1] >= 0

    first = first_place(rises, place_of(-largest, dtype), place_of(largest, dtype), dtype)
    return jnp.where(rises(-largest), -jnp.inf, float_at(first, dtype))


def _largest(dtype: jnp.dtype) -> float:
    """Return a quarter of the largest float: beyond, 2t or t·slope may overflow."""
    return float(jnp.finfo(dtype).max) / 4


def along(objective: Objective, W: Weights, direction: Direction, data: Data) -> Line:
    """Return the objective along W + t·direction as a sum of hinges.

        f(t) = (1/N) Σ_i join_j max(0, u_ij + t·v_ij)^power + reg · R(W + t·direction)

    An all-zero direction gives a constant; a NaN in W or in the direction gives NaN everywhere.

    Args:
        objective: any `Hinge` with `l2_penalty` or `l1_penalty`.
        W: (C, D) where t = 0.
        direction: (C, D), of any length: t is in units of it.
        data: the examples, N ≥ 1.

    Returns:
        A `Line`. Cost: 4·N·C·D floating-point operations in one pass over X, and for a maximum
        over classes O(N·C²); 2·N·C numbers kept.

    Raises:
        ValueError: the loss has no hinges, the penalty is a function of your own, W and direction
            differ in shape, or the data is empty.

    Source: CS231n notes, "Optimization", L(W + aW₁); Yu, Vishwanathan, Günter & Schraudolph, JMLR
    11 (2010), for the multiclass line search.

    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> line = along(Objective(), jnp.zeros((2, 2)), jnp.array([[1.0, 0.0], [0.0, 0.0]]), data)
    >>> [float(line.value(t)) for t in (-1.0, 0.0, 1.0, 2.0)]
    [2.0, 1.0, 0.0, 0.0]
    """
    check_problem(W, data)
    check_floats("direction", direction)
    if W.shape != direction.shape:
        raise ValueError(
            f"direction has shape {direction.shape} and W has shape {W.shape}: expected the same"
        )
    scores, direction_scores = scores_of(data.X, W, direction)
    return line_of_scores(objective, scores, direction_scores, W, direction, data.y)


def line_of_scores(
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
    loss, penalty = require(objective, "along")
    # Classes first: loops are then over examples, of which there are many.
    offsets = classes_first(loss.all_margins(scores, y, delta=objective.delta))
    slopes = classes_first(loss.linear(direction_scores, y))
    return Line(loss.along(offsets, slopes, y), *penalty.along(objective.reg, W, direction))


def _kinks(part: Hinges) -> Array:
    """Return −offset/slope, the nearest float to each term's kink; +inf where the slope is 0."""
    flat = part.slopes == 0
    return jnp.where(flat, jnp.inf, -part.offsets / jnp.where(flat, 1, part.slopes))
