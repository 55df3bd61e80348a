"""The penalties: what the objective adds for the size of W, one record each.

    l2   R(W) = ΣΣ W²     no ½, so ∇R = 2W
    l1   R(W) = ΣΣ |W|    its subgradient at 0 is 0

A record holds all that differs between the two, so nothing else asks which one it has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxsvm.core.arguments import check_floating
from jaxsvm.core.hinges import Hinges
from jaxsvm.core.types import Direction, Scalar, ScalarLike, Weights

# What a penalty is along a line: sums of hinges, and the coefficients of 1, t and t².
AlongLine: TypeAlias = tuple[tuple[Hinges, ...], Float[Array, "3"]]


@dataclass(frozen=True)
class Penalty:
    """A penalty: call it as ``penalty(W) -> scalar``.

    Attributes:
        value: ``W -> scalar``.
        gradient: ``W -> (C, D)``; at a kink, 0.
        half_jump: ``W -> (C, D)``, half of what the slope jumps by at each weight; 0 off a kink.
        along: ``(reg, W, direction) -> `` reg · penalty along W + t·direction.
        difference: ``(W, h, is_central) -> (C, D)``, the difference quotient along each weight for
            the step h, exactly.
        conjugate: ``(norm, reg, radius) -> scalar``, the maximum over ‖W‖ ≤ radius of
            ⟨V, W⟩ − reg · penalty(W) for any V of length ``norm``; None where no bound is known.
    """

    value: Callable[[Weights], Scalar]
    gradient: Callable[[Weights], Weights]
    half_jump: Callable[[Weights], Weights]
    along: Callable[[ScalarLike, Weights, Direction], AlongLine]
    difference: Callable[[Weights, Array, bool], Weights]
    conjugate: Callable[[Array, Array, ScalarLike], Array] | None = None

    def __call__(self, W: Weights) -> Scalar:
        """Return the penalty, a scalar.

        Raises:
            ValueError: W is no plain array of floats.
        """
        check_floating("W", W)
        return self.value(W)


def hinge_difference(start: Array, step: Array) -> Array:
    """Return max(0, start + step) − max(0, start) without subtracting the two.

    One of 0, ``step``, ``start + step`` and ``−start``: where no kink is crossed it is exact, and
    where one is, its error is a rounding of ``step``, never of ``start``.
    """
    return jnp.maximum(jnp.minimum(step, start + step), jnp.minimum(-start, 0))


def _penalty(**parts: Any) -> Callable[[Callable[[Weights], Scalar]], Penalty]:
    """Make a record of a function and of what goes with it; it keeps the name and the docstring."""

    def make(value: Callable[[Weights], Scalar]) -> Penalty:
        penalty = Penalty(value, **parts)
        penalty.__dict__.update(__name__=value.__name__, __doc__=value.__doc__)
        return penalty

    return make


def _l2_along(reg: ScalarLike, W: Weights, direction: Direction) -> AlongLine:
    both = ((W, W), (W, direction), (direction, direction))
    ww, wd, dd = (reg * jnp.sum(a * b) for a, b in both)
    return (), jnp.stack([ww, 2 * wd, dd])


def _l2_conjugate(norm: Array, reg: Array, radius: ScalarLike) -> Array:
    free = jnp.where(reg > 0, norm / (2 * reg), jnp.inf)
    r = jnp.minimum(free, jnp.asarray(radius, norm.dtype))
    # Not norm > 0, which would make 0 of a NaN.
    return jnp.where(norm <= 0, 0, norm * r - reg * jnp.where(jnp.isinf(r), 0, r) ** 2)


def _l1_along(reg: ScalarLike, W: Weights, direction: Direction) -> AlongLine:
    # |a| = max(0, a) + max(0, −a)
    offsets, slopes = jnp.stack([W, -W]), jnp.stack([direction, -direction])
    return (Hinges(offsets, slopes, reg),), jnp.zeros(3, W.dtype)


def _l1_difference(W: Weights, h: Array, is_central: bool) -> Weights:
    # |w| = 2·max(0, w) − w
    if is_central:
        return hinge_difference(W / h - 1, jnp.full_like(W, 2)) - 1
    return 2 * hinge_difference(W / h, jnp.ones_like(W)) - 1


@_penalty(
    gradient=lambda W: 2 * W,
    half_jump=jnp.zeros_like,
    along=_l2_along,
    difference=lambda W, h, is_central: 2 * W if is_central else 2 * W + h,
    conjugate=_l2_conjugate,
)
def l2_penalty(W: Weights) -> Scalar:
    """Return the sum of the weights' squares, with no ½: its gradient is 2W.

        R(W) = Σ_c Σ_d W[c, d]²

    Source: CS231n notes, "Linear classification", R(W).

    >>> l2_penalty(jnp.array([[1.0, 2.0]]))
    Array(5., dtype=float32)
    """
    return jnp.sum(W * W)


@_penalty(
    gradient=jnp.sign,
    half_jump=lambda W: (W == 0).astype(W.dtype),
    along=_l1_along,
    difference=_l1_difference,
)
def l1_penalty(W: Weights) -> Scalar:
    """Return the sum of the weights' magnitudes; its subgradient at 0 is 0.

        R(W) = Σ_c Σ_d |W[c, d]|

    >>> l1_penalty(jnp.array([[1.0, -2.0]]))
    Array(3., dtype=float32)
    """
    # jax.grad of jnp.abs is 1 at 0; the sign is 0 there, and its own derivative is 0.
    return jnp.sum(W * jnp.sign(W))


# doctest looks into functions and classes; these are instances.
__test__ = {"l2_penalty": l2_penalty.__doc__, "l1_penalty": l1_penalty.__doc__}
