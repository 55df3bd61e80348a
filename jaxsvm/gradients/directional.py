"""A gradient check for any function: slopes on both sides, along random directions.

Nothing is known of the function but its values, so a kink shows itself only by what it does: the
slopes to the left and to the right differ. Along each direction both are measured at two distances,
h and h/2, for every h of a range; the h with the least rounding and bending is kept, before the
gradient is looked at. Then the gradient's slope is

    SMOOTH   equal to both sides' slopes, which agree
    KINK     between the two sides' slopes, which differ
    WRONG    outside of them by more than rounding and curvature explain

What it cannot tell. An error smaller than the gap (or than ``resolution``) passes as KINK. A kink
nearer than the smallest h that rounding allows cannot be told from a kink at the point. Where the
function is not convex, two kinks within that h may hide a slope outside the measured ones. An error
in one of P entries changes a random unit direction's slope by 1/√P of itself only. For the SVM
objective none of this is so: use `check_gradient`.

Autodiff itself can be WRONG where kinks of a function that is not convex meet at the point: of
relu(x) − relu(−x) = x it says 0 at 0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jaxsvm.core.arguments import (
    check_count,
    check_key,
    check_params,
    check_scalar,
    check_steps,
    check_values,
)
from jaxsvm.gradients.check import Verdict
from jaxsvm.lines.directions import check_like

STEPS = tuple(10.0**-k for k in range(1, 8))
# An evaluation is off by an eps·|f| or two, and ten of them enter a slope extrapolated to 0.
ROUNDING = 16.0


class DirectionalCheck(NamedTuple):
    """One entry for each direction; NumPy arrays.

    Attributes:
        verdict: int8 numbers of `Verdict`; ROUNDING does not occur.
        slope: the gradient's, ⟨gradient, direction⟩.
        left: the function's slope from the left, at the kept h.
        right: from the right.
        resolution: the error that would pass.
        h: the step that was kept.
    """

    verdict: np.ndarray
    slope: np.ndarray
    left: np.ndarray
    right: np.ndarray
    resolution: np.ndarray
    h: np.ndarray

    @property
    def num_smooth(self) -> int:
        """How many directions agree on both sides."""
        return int(np.sum(self.verdict == Verdict.SMOOTH))

    @property
    def num_kink(self) -> int:
        """How many lie between two different slopes."""
        return int(np.sum(self.verdict == Verdict.KINK))

    @property
    def num_wrong(self) -> int:
        """How many lie outside."""
        return int(np.sum(self.verdict == Verdict.WRONG))


def check_directions(
    f: Callable[[Any], Array],
    params: Any,
    gradient: Any = None,
    *,
    key: Array,
    num_directions: int = 16,
    steps: tuple[float, ...] = STEPS,
) -> DirectionalCheck:
    """Check a gradient of any scalar function of any pytree along random directions.

    Args:
        f: ``f(params) -> scalar``, pure.
        params: a pytree of floating arrays of one dtype.
        gradient: a pytree like params; ``jax.grad(f)(params)`` by default.
        key: of the directions, entries ±1/√P.
        num_directions: how many, ≥ 1.
        steps: the h to choose from, in units of the parameters along a unit direction.

    Returns:
        The verdicts. Cost: 4·len(steps)·num_directions + 1 evaluations of f.

    Raises:
        ValueError: no directions, gradient and params differ in shape or structure or are not of
            floats, f returns no floating scalar, or a step is not > 0.

    >>> def f(p):
    ...     return jnp.sum(jnp.abs(p))
    >>> check_directions(f, jnp.zeros(3), jnp.zeros(3), key=jax.random.key(0)).num_kink
    16
    """
    num_directions = check_count("num_directions", num_directions)
    check_key(key)
    check_params(params)
    check_values("check_directions", params, gradient)
    check_scalar("f(params)", f, params)
    if gradient is not None:
        check_like(params, gradient, "gradient")
    check_steps(jnp.asarray(steps), "steps")
    flat, _ = ravel_pytree(params)
    g, _ = ravel_pytree(jax.grad(f)(params) if gradient is None else gradient)
    signs = jax.random.rademacher(key, (num_directions, flat.size)).astype(flat.dtype)
    directions = signs / np.sqrt(flat.size).astype(flat.dtype)
    hs = jnp.asarray(steps, flat.dtype)
    center, values = _evaluate(f, params, directions, hs)

    # (directions, steps, 4): the values at h, h/2, −h/2, −h.
    eps = float(jnp.finfo(flat.dtype).eps)
    h, v, f0 = np.asarray(hs, float), np.asarray(values, float), float(center)
    far_right, right = (v[..., 0] - f0) / h, (v[..., 1] - f0) / (h / 2)
    left, far_left = (f0 - v[..., 2]) / (h / 2), (f0 - v[..., 3]) / h
    rounding = ROUNDING * eps * np.max(np.abs(v), axis=2, initial=abs(f0)) / h
    # Each side's slope at distance 0, were it a parabola there: curvature alone opens no gap.
    left_limit, right_limit = 2 * left - far_left, 2 * right - far_right
    bend = np.abs((far_right + far_left) - (right + left)) / 2
    error = rounding + bend
    gap = np.abs(right_limit - left_limit) > 2 * error
    # Across a gap the kink may as well lie within the step, and the limits beyond it mean little.
    limits = np.stack([left_limit, right_limit])
    sides = np.stack([left_limit, right_limit, left, right, far_left, far_right])
    low = np.where(gap, np.min(sides, axis=0), np.min(limits, axis=0))
    high = np.where(gap, np.max(sides, axis=0), np.max(limits, axis=0))
    best = np.argmin(error, axis=1)
    low, high, error, left, right = (
        np.take_along_axis(a, best[:, None], axis=1)[:, 0] for a in (low, high, error, left, right)
    )
    slope = np.asarray(directions, float) @ np.asarray(g, float)
    inside = (low - error <= slope) & (slope <= high + error)
    agree = high - low <= 2 * error
    verdict = np.where(inside, np.where(agree, Verdict.SMOOTH, Verdict.KINK), Verdict.WRONG)
    return DirectionalCheck(
        verdict.astype(np.int8), slope, left, right, high - low + error, h[best]
    )


@partial(jax.jit, static_argnums=0)
def _evaluate(
    f: Callable[[Any], Array], params: Any, directions: Array, hs: Array
) -> tuple[Array, Array]:
    """Return f at the point, and at h, h/2, −h/2 and −h along every direction for every h."""
    flat, unravel = ravel_pytree(params)
    offsets = (hs[:, None] * jnp.asarray([1.0, 0.5, -0.5, -1.0], hs.dtype)[None, :]).ravel()

    def at(direction: Array) -> Array:
        return lax.map(lambda t: f(unravel(flat + t * direction)), offsets, batch_size=4)

    values = lax.map(at, directions)
    return f(params), values.reshape(len(directions), len(hs), 4)
