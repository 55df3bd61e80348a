"""A sum of hinges on a grid of any size, in time that hardly depends on the size.

Each term is sorted into the cell of the grid in which it switches on; two or three running sums
over the cells then give the values at all nodes.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from jaxsvm.core.arguments import check_count, check_number
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.hinges import Height, Hinges
from jaxsvm.core.rows import block_length
from jaxsvm.core.types import ScalarLike

# Up to this many nodes a grid is swept node by node: that costs less than sorting terms into cells.
DIRECT_NUM = 16

# Into how many bins a sum of many terms is split before they are added pairwise.
SPREAD = 64


def nodes(start: ScalarLike, stop: ScalarLike, num: int, dtype: jnp.dtype) -> Float[Array, " num"]:
    """Return ``num`` equally spaced t, from ``start`` to ``stop`` inclusive.

    Raises:
        ValueError: ``num`` is no integer ≥ 1, or an infinite or NaN ``start`` or ``stop`` (traced
            ones are not checked).
    """
    check_count("num", num)
    for name, end in (("start", start), ("stop", stop)):
        check_number(name, end, "a finite number, a grid has both ends")
    return jnp.linspace(start, stop, num, dtype=dtype)


def hinges_on_grid(
    hinges: Hinges, *, start: ScalarLike, stop: ScalarLike, num: int
) -> Float[Array, " num"]:
    """Return one sum of hinges on the grid: (num,) values.

    Seen from the end of the grid where it is low, a term is 0 up to some node k, has h = r ≥ 0
    there, and h rises by w ≥ 0 at each node after. So it is two numbers put in bin k, its height at
    r and what that grows by, and two running sums over the bins give all values; a height with a
    square in it takes a third. Rising terms are put in bins counted from ``start``, falling ones in
    bins counted from ``stop``.

    Rounding: only non-negative numbers are added, and few at a time, so nothing cancels and nothing
    piles up: a test holds float32 to a relative 6e-7 over 200,000 terms and 4,097 nodes.

    Cost O(M + num) for M terms, whatever ``num`` is. A reversed range is walked backwards;
    ``start = stop`` gives ``num`` equal values, ``num = 1`` the one at ``start``.

    Raises:
        ValueError: as `nodes`.
    """
    t = nodes(start, stop, num, hinges.offsets.dtype)
    u, v = hinges.offsets.reshape(-1), hinges.slopes.reshape(-1)
    height = hinges.height.map(lambda leaf: leaf.reshape(-1))
    constant = 0 if hinges.constant is None else hinges.constant
    if num <= DIRECT_NUM:
        return hinges.weight * _direct(u, v, height, t) + constant

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
    (on, start_height), (on_rise, rise) = bins(height.at(r)), bins(height.derivative(r) * w)
    if height.curvature is None:
        values = on + d * on_rise + jnp.cumsum(start_height + before(rise), axis=1)
    else:
        on_bend, bend = bins(height.curvature * w * w)
        # w²d² grows by w²(2d + 1) from node to node: twice what has come before, and once w².
        growth = before(rise + bend) + 2 * before(before(bend))
        values = on + d * (on_rise + d * on_bend) + jnp.cumsum(start_height + growth, axis=1)
    return hinges.weight * (values[0] + values[1, ::-1]) + constant


def _direct(
    u: Float[Array, " M"], v: Float[Array, " M"], height: Height, t: Float[Array, " num"]
) -> Float[Array, " num"]:
    """Return the sums at a few nodes, the terms read once for all of them."""
    M = u.size
    width = block_length(M, block_sizes().terms)
    whole = M // width * width

    def heights(start: int | Array, size: int) -> Float[Array, "num K"]:
        # Sliced inside the loop: slicing off the last terms before it would copy the others.
        terms = u, v, height
        a, b, h = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), terms)
        return jax.vmap(lambda t: h.at(jnp.maximum(a + t * b, 0)))(t)

    def add(totals: Array, start: Array) -> tuple[Array, None]:
        return totals + heights(start, width), None

    totals = jnp.zeros((t.size, width), u.dtype)
    totals, _ = lax.scan(add, totals, jnp.arange(0, whole, width))
    sums = jnp.sum(totals, axis=1)
    return sums + jnp.sum(heights(whole, M - whole), axis=1) if whole < M else sums
