"""How many examples a line of weights gets right, at every node of a grid, from the scores alone.

The scores are linear along a line, so each example is right on one interval of it.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from jaxsvm.core.losses import classes_first, is_label
from jaxsvm.core.types import Labels, ScalarLike, Scores
from jaxsvm.lines.grid import nodes


def leads(scores: Scores, y: Labels) -> Float[Array, "C N"]:
    """Return how far each example's own score is ahead of each class's, classes first.

    >>> leads(jnp.array([[1.0, 3.0]]), jnp.array([1]))
    Array([[2.],
           [0.]], dtype=float32)
    """
    own = jnp.take_along_axis(scores, y[:, None], axis=1)
    # Not own − own: a compiler that fuses the product into the difference leaves a residue.
    return classes_first(jnp.where(is_label(scores, y), 0, own - scores))


def right_on_grid(
    lead: Float[Array, "C N"],
    lead_slope: Float[Array, "C N"],
    y: Labels,
    *,
    start: ScalarLike,
    stop: ScalarLike,
    num: int,
) -> Int[Array, " num"]:
    """Count the examples that `predict` gets right at each node of ``lead + t·lead_slope``.

    An example is right where it leads every class (strictly, those before its own: of equals the
    first wins). Each of those is a half-line of t, so the example is right on one interval of
    nodes: +1 at its first, −1 after its last, and a running sum counts them all. A NaN never leads.

    Args:
        lead: (C, N) the `leads` of the scores at t = 0.
        lead_slope: (C, N) those of the direction's scores.
        y: (N,) labels.
        start: as `jaxsvm.lines.grid.nodes`, with its errors.
        stop: the same.
        num: the same.

    Returns:
        (num,) int32 counts. Cost O(N·C + num).

    >>> lead, slope = jnp.array([[0.0], [0.0]]), jnp.array([[0.0], [1.0]])
    >>> right_on_grid(lead, slope, jnp.array([0]), start=-1.0, stop=1.0, num=3)
    Array([0, 1, 1], dtype=int32)
    """
    t = nodes(start, stop, num, lead.dtype)
    step = (t[-1] - t[0]) / max(num - 1, 1)

    # One class at a time: a loop over examples, in which all that a class needs stays in registers.
    def narrow(interval: tuple[Array, Array], one: tuple[Array, ...]) -> tuple[Any, None]:
        first, last = interval
        j, lead, lead_slope = one
        gap, rise = lead + t[0] * lead_slope, lead_slope * step
        tie_wins = j >= y  # must be > 0, or >= 0 from class y on
        crossing = -gap / rise  # in nodes; not looked at where the lead never changes
        down, up = jnp.floor(crossing), jnp.ceil(crossing)
        leads_still = (gap > 0) | (tie_wins & (gap == 0))
        begin = jnp.where(rise > 0, jnp.where(tie_wins, up, down + 1), 0)
        begin = jnp.where((rise > 0) | (rise < 0) | leads_still, begin, num)
        end = jnp.where(rise < 0, jnp.where(tie_wins, down, up - 1), num - 1)
        return (jnp.maximum(first, begin), jnp.minimum(last, end)), None

    everywhere = jnp.zeros_like(lead[0]), jnp.full_like(lead[0], num - 1)
    classes = jnp.arange(lead.shape[0], dtype=y.dtype)
    (first, last), _ = lax.scan(narrow, everywhere, (classes, lead, lead_slope))
    ever = first <= last  # False for a NaN
    begin = jnp.where(ever, first, 0).astype(jnp.int32)
    end = jnp.where(ever, last + 1, 0).astype(jnp.int32)
    ever = ever.astype(jnp.int32)
    change = jnp.zeros(num + 1, jnp.int32).at[begin].add(ever).at[end].add(-ever)
    return jnp.cumsum(change)[:num]
