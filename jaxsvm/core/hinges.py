"""Sums of hinges of one number t: what every loss of this library is along a line.

    f(t) = constant + weight · Σ height(h),     h = max(0, offsets + t·slopes)

The height of a term is h, or h², or in general ``linear·h + square·h²``. A sum of hinges along a
line is one as it stands. A maximum of straight lines is one too: it is convex and made of straight
pieces, so it is its lowest value and a hinge for each of its kinks (`upper_envelope`).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.types import Scalar, ScalarLike


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Height:
    """How high a term is: ``h**power``, or ``linear·h + square·h²`` where one of these is given.

    Attributes:
        power: 1 or 2.
        linear: the coefficient of h, an array like the terms, ≥ 0; or None.
        square: the coefficient of h², likewise.
    """

    power: int = field(default=1, metadata={"static": True})
    linear: Float[Array, "..."] | None = None
    square: Float[Array, "..."] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether all terms are alike."""
        return self.linear is None and self.square is None

    @property
    def is_smooth(self) -> bool:
        """Whether no term has a jump of slope: all heights are squares."""
        return self.linear is None and (self.square is not None or self.power == 2)

    def at(self, h: Array) -> Array:
        """Return the heights at h = max(0, offset + t·slope)."""
        if self.is_plain:
            return h**self.power
        return self._sum(h, h**2)

    def derivative(self, h: Array) -> Array:
        """Return the derivatives at h > 0, and from the right at h = 0."""
        if self.is_plain:
            return jnp.ones_like(h) if self.power == 1 else 2 * h
        return self._sum(jnp.ones_like(h), 2 * h)

    def between(self, difference: Array, total: Array) -> Array:
        """Return height(a) − height(b) from ``a − b`` and ``a + b``: nothing cancels."""
        if self.is_plain:
            return difference if self.power == 1 else difference * total
        return difference * self._sum(jnp.ones_like(total), total)

    def scaled(self, factor: Array | float) -> "Height":
        """Return the heights of terms given in units of ``factor``; plain ones stay as they are."""
        linear = None if self.linear is None else self.linear * factor
        square = None if self.square is None else self.square * factor**2
        return Height(self.power, linear, square)

    @property
    def curvature(self) -> Array | float | None:
        """The coefficient of h²; None where all terms are straight."""
        return 1.0 if self.is_plain and self.power == 2 else self.square

    def map(self, f: Callable[[Array], Array]) -> "Height":
        """Return the same with f applied to the coefficients: taking rows, say."""
        return jax.tree.map(f, self)

    def _sum(self, a: Array, b: Array) -> Array:
        parts = [] if self.linear is None else [self.linear * a]
        parts += [] if self.square is None else [self.square * b]
        return sum(parts[1:], start=parts[0])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hinges:
    """A sum of hinges of t.

    Attributes:
        offsets: the terms' values at t = 0, of any shape. A term that is not there is 0 + 0·t.
        slopes: their derivatives, of the same shape.
        weight: what multiplies the sum: 1/N for a loss, ``reg`` for a penalty; ≥ 0.
        height: of the terms.
        constant: what is added to the sum; None for nothing.
    """

    offsets: Float[Array, "..."]
    slopes: Float[Array, "..."]
    weight: ScalarLike | Float[Array, "..."]  # batched under vmap
    height: Height = field(default_factory=Height)
    constant: Float[Array, "..."] | None = None

    def value(self, t: ScalarLike) -> Scalar:
        """Return the sum at t."""
        h = positive_part(self.offsets + t * self.slopes)
        total = self.weight * jnp.sum(self.height.at(h))
        return total if self.constant is None else self.constant + total


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ScoreHinges:
    """What an example's loss is along each of its scores: hinges of t, where s_k becomes s_k + t.

    Hinge j has a rate along its own score, and may have one along other scores too.

    Attributes:
        offsets: (N, C) the hinges' values at t = 0; −∞ where there is none.
        height: of the hinges.
        own: the rate along the own score: of a wrong class's hinge, and of the own class's.
        shared: the same along the scores that share it; None where none does.
        only_label: whether the label's score alone shares the hinges, or every other score.
        roundings: of how many margins' roundings an offset has the size.
    """

    offsets: Float[Array, "N C"]
    height: Height
    own: tuple[float, float] = field(metadata={"static": True})
    shared: tuple[float, float] | None = field(default=None, metadata={"static": True})
    only_label: bool = field(default=False, metadata={"static": True})
    roundings: float = field(default=1.0, metadata={"static": True})


def positive_part(margin: Array) -> Array:
    """Return max(0, margin), with derivative 1(margin > 0) and NaN kept."""
    return jnp.where(margin <= 0, jnp.zeros_like(margin), margin)


def upper_envelope(
    offsets: Float[Array, "K *batch"], slopes: Float[Array, "K *batch"], *, power: int = 1
) -> Hinges:
    """Return ``max(0, max_k offsets[k] + t·slopes[k])**power`` as a sum of hinges.

    Sort the lines, the line 0 among them, by slope: r_0 ≤ ... ≤ r_K. The maximum g has at least the
    slope r_l from

        T_l = max_{a<l} min_{b≥l} (o_a − o_b) / (r_b − r_a)

    on, so its slope jumps by r_l − r_{l−1} at T_l, and T_l never falls with l. Every jump is a
    hinge on one side of the flat piece: no sum cancels. A jump of g² at T_l is one of slope,
    2·g(T_l)·(r_l − r_{l−1}), and one of curvature, r_l² − r_{l−1}².

    Args:
        offsets: K lines' values at t = 0. A line 0 + 0·t changes nothing.
        slopes: their slopes.
        power: 1 or 2.

    Returns:
        K hinges for each entry of the batch, with weight 1 and the lowest values as ``constant``
        (*batch). Cost O(K²) for each, memory O(K).

    >>> pieces = upper_envelope(jnp.array([1.0, -3.0]), jnp.array([-1.0, 1.0]))
    >>> [float(pieces.value(t)) for t in (0.0, 2.0, 5.0)]
    [1.0, 0.0, 2.0]
    """
    zero = jnp.zeros_like(offsets[:1])
    o, r = jnp.concatenate([zero, offsets]), jnp.concatenate([zero, slopes])
    order = jnp.argsort(r, axis=0)
    o, r = jnp.take_along_axis(o, order, axis=0), jnp.take_along_axis(r, order, axis=0)
    index = jnp.arange(len(o)).reshape(-1, *[1] * zero[0].ndim)

    def overtaken(latest: Array, a: tuple[Array, ...]) -> tuple[Array, None]:
        """Raise T_l to where a line b ≥ l overtakes the line a < l."""
        o_a, r_a, place = a
        rise = r - r_a[None]
        # Equal slopes: b is above a everywhere or nowhere.
        never = jnp.where(o >= o_a[None], -jnp.inf, jnp.inf).astype(o.dtype)
        crossing = jnp.where(rise > 0, (o_a[None] - o) / jnp.where(rise > 0, rise, 1), never)
        crossing = jnp.where(index > place, crossing, jnp.inf)
        first = lax.cummin(crossing, axis=0, reverse=True)
        return jnp.where(index > place, jnp.maximum(latest, first), latest), None

    lines = (o[:-1], r[:-1], jnp.arange(len(o) - 1))
    T, _ = lax.scan(overtaken, jnp.full_like(o, -jnp.inf), lines)
    T, jump, falling = T[1:], r[1:] - r[:-1], r[1:] <= 0
    real = jump > 0
    T = jnp.where(real, T, 0)

    def highest(t: Array) -> Array:
        """Return the maximum of all lines at t (*batch)."""

        def higher(g: Array, line: tuple[Array, Array]) -> tuple[Array, None]:
            return jnp.maximum(g, line[0] + line[1] * t), None

        return lax.scan(higher, jnp.full_like(t, -jnp.inf), (o, r))[0]

    last = jnp.max(jnp.where(real & falling, T, -jnp.inf), axis=0)
    first = jnp.min(jnp.where(real & ~falling, T, jnp.inf), axis=0)
    # The flat piece, or the lowest point: where t = 0 is not in it, the end that is nearer.
    lowest = highest(jnp.clip(jnp.zeros_like(last), last, jnp.maximum(first, last)))
    # A hinge of slope ±1 has its kink at T to the bit; its height holds the jumps.
    slope = jnp.where(real, jnp.where(falling, -1, 1), 0).astype(T.dtype)
    height = Height(1, linear=jump)
    if power == 2:
        bend = jump * jnp.abs(r[1:] + r[:-1])
        height = Height(2, linear=2 * jax.vmap(highest)(T) * jump, square=bend)
    return Hinges(-slope * T, slope, 1.0, height, constant=lowest**power)


class Kink(NamedTuple):
    """A kink of a maximum of lines.

    Attributes:
        t: where it is, an array like the lines' offsets, such as (N, C).
        side: 1.0 if the maximum is at its lowest before the kink, −1.0 if after it.
        jump: of the maximum's slope, > 0.
        level: the maximum there, an array like t.
        bend: the jump of the curvature of the square, halved.
    """

    t: Array
    side: float
    jump: float
    level: Array
    bend: float

    def as_hinge(self, power: int) -> tuple[Array, Array | float, float, float]:
        """Return a hinge's offset at t = 0, the coefficients of it and of its square, its rate."""
        if power == 1:
            # A jump of slope is a plain hinge of that slope.
            return -self.side * self.jump * self.t, 1.0, 0.0, self.side * self.jump
        return -self.side * self.t, 2 * self.level * self.jump, self.bend, self.side


# The same where there is no kink.
NO_HINGE = (-float("inf"), 0.0, 0.0, 0.0)


def envelope_kinks(lines: Sequence[tuple[Array, float]]) -> list[Kink]:
    """Return the kinks of ``max(0, max_k offset_k + t·rate_k)`` for rates that are numbers.

    What `upper_envelope` finds by sorting is known beforehand here: the order of the rates. The
    equation for T_l is its.

    Args:
        lines: K offsets, arrays that broadcast to one shape, each with its rate.

    Returns:
        The kinks in the order of t, at most K, one between any two different rates and 0.

    >>> kinks = envelope_kinks([(jnp.array([1.0]), -1.0), (jnp.array([-3.0]), 1.0)])
    >>> [(float(kink.t[0]), kink.side, kink.jump) for kink in kinks]
    [(1.0, -1.0, 1.0), (3.0, 1.0, 1.0)]
    """
    highest: dict[float, Any] = {0.0: 0.0}
    for offset, rate in lines:
        highest[rate] = jnp.maximum(highest[rate], offset) if rate in highest else offset
    rates = sorted(highest)

    def crossing(a: float, b: float) -> Array:
        return (highest[a] - highest[b]) / (b - a)

    kinks = []
    for place, rate in enumerate(rates[1:], 1):
        overtaken = (
            functools.reduce(jnp.minimum, [crossing(a, b) for b in rates[place:]])
            for a in rates[:place]
        )
        t = functools.reduce(jnp.maximum, overtaken)
        level = functools.reduce(jnp.maximum, [highest[r] + r * t for r in rates])
        jump = rate - rates[place - 1]
        bend = jump * abs(rate + rates[place - 1])
        kinks.append(Kink(t, -1.0 if rate <= 0 else 1.0, jump, level, bend))
    return kinks
