"""What the check of a function measures: values with signatures along lines, and their rounding.

A line is a coordinate of the flat params, which moves alone, or a random direction, in which all of
them move. The function is evaluated at a ladder of distances on both sides of the point, and at
neighbouring floats of the point. Their second differences are rounding, and so are differences of
the gradient between them; a primitive that flips between them is a kink that the point lies on,
as far as floats can tell.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jaxsvm.gradients.branches import WORDS, Branches, Site, branches, hoisted
from jaxsvm.gradients.slopes import RATIO

NUM_DIRECTIONS = 16  # where not all coordinates are checked
# The ladder: from 1/8 of the size of a parameter to where its last bits are 1/8 of the distance.
LARGEST, MOST_RUNGS = 2.0**-3, 18
# How many floats away neighbours of the point lie, and how many of their largest error are allowed.
NEIGHBOURS = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0)
SAFETY = 4.0
# In units of eps·(the largest entry): a gradient is a sum of terms, some as large as that.
GRADIENT_ROUNDING = 16.0
TOGETHER = 2**20  # numbers moved at once: bounds the memory
MOST_TOGETHER = 128


@dataclass(frozen=True)
class Question:
    """A function of flat params, and the lines along which it is looked at.

    Attributes:
        f: from the flat params to a scalar.
        flat: (P,) the point.
        params: the same as a pytree.
        program: f with its branches.
        places: the coordinates, as numbers of flat entries.
        directions: (d, P) unit vectors.
        rows: (d + m, P) what directions and neighbours add to the point.
        largest: the largest distance of each line.
        num_rungs: of the ladder.
        eps: of the coarsest floats at work.
    """

    f: Callable[[Array], Array]
    flat: Array
    params: Any
    program: Branches
    places: np.ndarray
    directions: np.ndarray
    rows: np.ndarray
    largest: np.ndarray
    num_rungs: int
    eps: float

    @property
    def num_points(self) -> int:
        """How many evaluations the ladders and the neighbours take."""
        return 1 + 2 * self.num_rungs * len(self.largest) + 2 * len(NEIGHBOURS)

    def along(self, gradient: np.ndarray) -> np.ndarray:
        """Return a gradient's slopes along the lines."""
        return np.concatenate([gradient[self.places], self.directions @ gradient])

    def tangent(self, line: int) -> Array:
        """Return the unit vector along a line."""
        if line >= len(self.places):
            return jnp.asarray(self.directions[line - len(self.places)], self.flat.dtype)
        return jnp.zeros_like(self.flat).at[self.places[line]].set(1)

    def forward(self, flat: Array, tangent: Array) -> Array:
        """Return the derivative along a tangent, in forward mode."""
        return jax.jvp(self.f, (flat,), (tangent,))[1]

    def name(self, line: int) -> str:
        """Return where a line lies in the params."""
        if line >= len(self.places):
            return f"direction {line - len(self.places)}"
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.params)
        place = int(self.places[line])
        for path, leaf in leaves:
            if place < leaf.size:
                index = ", ".join(str(i) for i in np.unravel_index(place, leaf.shape))
                return f"params{jax.tree_util.keystr(path)}" + (f"[{index}]" if index else "")
            place -= leaf.size
        raise IndexError(line)

    def leaf_of(self) -> np.ndarray:
        """Return for every coordinate the number of its array."""
        ends = np.cumsum([np.size(leaf) for leaf in jax.tree.leaves(self.params)])
        return np.searchsorted(ends, self.places, side="right")


class Evidence(NamedTuple):
    """What was measured along n lines with L rungs, of a function with S sites: F = S·WORDS.

    The second axis is the side, right and left; the last rung is the nearest.

    Attributes:
        center: the value at the point.
        values: (n, 2, L).
        distance: (n, 2, L), of the rungs from the point, negative to the left.
        noise: (n, 2, L), what rounding does to a value.
        differs: (n, 2, L, F), which words of the signature differ from the point's.
        same: (n, 2, L - 1), whether a rung has the signature of the next.
        on_own_piece: (n, 2, L), whether a rung and all nearer ones have the point's signature.
        unstable_only: (n, 2, L), whether up to there only words differ that do so at a kink of the
            point, exactly or to rounding.
        neighbours: (m,), whether the point's neighbours have its signature.
    """

    center: float
    values: np.ndarray
    distance: np.ndarray
    noise: np.ndarray
    differs: np.ndarray
    same: np.ndarray
    on_own_piece: np.ndarray
    unstable_only: np.ndarray
    neighbours: np.ndarray

    def step(self, rung: np.ndarray) -> np.ndarray:
        """Return the distances of rungs, one for each line."""
        return np.abs(self.distance[np.arange(len(self.values)), 0, rung])

    def nearest_kink(self, line: int, sites: tuple[Site, ...]) -> Site | None:
        """Return the site that differs first on the way out."""
        for rung in reversed(range(self.differs.shape[2])):
            flipped = np.flatnonzero(self.differs[line, :, rung].any(axis=0))
            if flipped.size:
                return sites[int(flipped[0]) // WORDS]
        return None


def question(
    f: Callable[[Any], Any],
    params: Any,
    order: int,
    mode: str,
    num_coordinates: int,
    h: float | None,
    key: Array,
) -> Question:
    """Trace a function, and choose lines and distances.

    Args:
        f: from the params to floats.
        params: a pytree of floating arrays.
        order: 1 for f, 2 for its derivative along a random vector.
        mode: of that derivative.
        num_coordinates: how many at most.
        h: the largest distance; by default it follows each parameter's size.
        key: of what is random.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, params))
    if flat.size == 0:
        raise ValueError("params hold no numbers: expected at least one")
    scalar = _projected(f, params, rng)
    function = _of_order(lambda flat: scalar(unravel(flat)), flat, order, mode, rng)
    program = branches(function, flat)
    eps = max(program.eps, float(jnp.finfo(flat.dtype).eps))
    unit, P = _units(params), flat.size
    places = np.arange(P)
    directions = np.zeros((0, P))
    if num_coordinates < P:
        places = np.sort(rng.choice(P, num_coordinates, replace=False))
        directions = rng.choice([-1.0, 1.0], (NUM_DIRECTIONS, P)) * unit
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sizes = np.concatenate([unit[places], np.full(len(directions), np.sqrt(np.mean(unit**2)))])
    bits = -np.log2(float(jnp.finfo(flat.dtype).eps))
    neighbours = np.array(NEIGHBOURS)[:, None] * eps * unit * _random((len(NEIGHBOURS), P), rng)
    return Question(
        f=function,
        flat=flat,
        params=params,
        program=program,
        places=places,
        directions=directions,
        rows=np.concatenate([directions, neighbours]),
        largest=np.full_like(sizes, h) if h is not None else LARGEST * sizes,
        num_rungs=int(np.clip((bits - 5) // 2 + 1, 4, MOST_RUNGS)),
        eps=eps,
    )


def gather(asked: Question) -> Evidence:
    """Evaluate the function with its signature at all distances of all lines."""
    c, n, L = len(asked.places), len(asked.largest), asked.num_rungs
    dtype = np.dtype(asked.flat.dtype)
    steps = asked.largest[:, None, None] * RATIO ** -np.arange(L)
    steps = (steps * np.array([1.0, -1.0])[None, :, None]).astype(dtype)
    start = np.asarray(asked.flat)[asked.places][:, None, None]
    moved = (start + steps[:c]).astype(dtype)
    distance = np.concatenate([moved.astype(float) - start.astype(float), steps[c:].astype(float)])

    each, d, m = 2 * L, n - c, len(NEIGHBOURS)
    first = np.asarray(asked.flat)[0]
    place = np.concatenate([np.repeat(asked.places, each), np.zeros(d * each + 2 * m + 1, int)])
    value = np.concatenate([moved.ravel(), np.full(d * each + 2 * m + 1, first, dtype)])
    row = np.concatenate(
        [np.zeros(c * each, int), np.repeat(np.arange(d + m), [each] * d + [2] * m), [0]]
    )
    t = np.concatenate([np.zeros(c * each), steps[c:].ravel(), np.tile([1.0, -1.0], m), [0.0]])
    points = (place.astype(np.int32), value, row.astype(np.int32), t.astype(dtype))
    values, signatures = _evaluate(asked, points)

    ends = (n * each, n * each + 2 * m)
    center, around = float(values[-1]), values[ends[0] : ends[1]].reshape(m, 2)
    signatures = signatures.reshape(len(signatures), -1)
    differs = signatures != signatures[-1]
    near = differs[ends[0] : ends[1]]
    along = differs[: ends[0]].reshape(n, 2, L, -1)
    shaped = signatures[: ends[0]].reshape(n, 2, L, -1)
    # Where a primitive flips next to the point on both sides, the point lies on its kink exactly.
    next_to = along[:, :, -1].reshape(n, 2, -1, WORDS)
    exactly = next_to.any(axis=3, keepdims=True).all(axis=1) & next_to.any(axis=1)
    unstable = near.any(axis=0) | exactly.reshape(n, -1)
    only = ~np.any(along & ~unstable[:, None, None, :], axis=3)
    lines = values[: ends[0]].reshape(n, 2, L)
    lines = np.where(np.isfinite(lines), lines, np.nan)
    return Evidence(
        center=center,
        values=lines,
        distance=distance,
        noise=_noise(asked, center, around, ~near.any(axis=1), lines),
        differs=along,
        same=np.all(shaped[:, :, :-1] == shaped[:, :, 1:], axis=3),
        on_own_piece=_from_the_point_on(~along.any(axis=3)),
        unstable_only=_from_the_point_on(only),
        neighbours=~near.any(axis=1),
    )


def _from_the_point_on(holds: np.ndarray) -> np.ndarray:
    """Return where something holds at a rung and at all nearer ones."""
    return np.logical_and.accumulate(holds[..., ::-1], axis=-1)[..., ::-1]


def _noise(
    asked: Question, center: float, around: np.ndarray, neighbours: np.ndarray, lines: np.ndarray
) -> np.ndarray:
    """Return what rounding does to a value: measured, and at least that of the value itself."""
    fit = np.isfinite(around).all(axis=1)
    # Where a pair of neighbours lies on the point's own piece, not even a jump is taken for it.
    own = fit & neighbours.reshape(-1, 2).all(axis=1)
    pairs = around[own if own.any() else fit]
    second = np.max(np.abs(pairs.sum(axis=1) - 2 * center), initial=0.0) / 2
    # A direction moves all parameters, and the rounding of each moves the function.
    first = np.max(np.abs(pairs[:, 0] - pairs[:, 1]), initial=0.0) / 2
    size = asked.eps * np.maximum(np.nan_to_num(np.abs(lines)), abs(center))
    base = np.full(len(lines), second)
    base[len(asked.places) :] += first
    return SAFETY * (base[:, None, None] + size)


def _evaluate(asked: Question, points: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return values (float64) and signatures at points ``flat[place] = value, + t·rows[row]``."""
    count = len(points[0])
    batch = int(np.clip(TOGETHER // max(asked.flat.size, 1), 1, MOST_TOGETHER))
    padded = [np.resize(a, -(-count // batch) * batch) for a in points]

    @jax.jit
    def every(consts: Any, flat: Array, rows: Array, points: Any) -> Any:
        def at(point: Any) -> Any:
            place, value, row, t = point
            (out,), signature = asked.program.evaluate(
                consts, flat.at[place].set(value) + t * rows[row]
            )
            # lax.map splits no array without entries, which that of a smooth function would be.
            return out, jnp.concatenate([signature, jnp.zeros_like(signature, shape=(1, WORDS))])

        return lax.map(at, points, batch_size=batch)

    rows = jnp.asarray(asked.rows, asked.flat.dtype)
    values, signatures = every(asked.program.consts, asked.flat, rows, tuple(padded))
    return np.asarray(values, float)[:count], np.asarray(signatures)[:count, :-1]


def claims(asked: Question, evidence: Evidence, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Return autodiff's slopes along the lines, and how far rounding may move them."""
    slopes = _reverse(asked) if mode == "reverse" else _forward(asked)
    at, around = slopes[0], slopes[1:][evidence.neighbours]
    finite = np.isfinite(around) & np.isfinite(at)[None]
    moved = np.abs(np.where(finite, around, 0.0) - np.where(finite, at[None], 0.0))
    size = np.where(np.isfinite(at), np.abs(at), 0.0)
    leaf, scale = asked.leaf_of(), np.full(len(at), np.max(size, initial=0.0))
    for number in np.unique(leaf):
        inside = np.flatnonzero(leaf == number)
        scale[inside] = np.max(size[inside])
    rounding = SAFETY * np.max(moved, axis=0, initial=0.0) + GRADIENT_ROUNDING * asked.eps * scale
    return at, rounding


def _reverse(asked: Question) -> np.ndarray:
    evaluate, consts = hoisted(jax.grad(asked.f), asked.flat)
    points = _around(asked)
    (gradients,) = jax.jit(lambda c, xs: lax.map(lambda x: evaluate(c, x), xs))(consts, points)
    return np.stack([asked.along(g) for g in np.asarray(gradients, float)])


def _forward(asked: Question) -> np.ndarray:
    evaluate, consts = hoisted(asked.forward, asked.flat, asked.flat)
    c, d = len(asked.places), len(asked.directions)
    # Tangents are made where they are used: together they would be (n, P).
    place = np.concatenate([asked.places, np.zeros(d, int)]).astype(np.int32)
    row = np.concatenate([np.zeros(c, int), np.arange(d)]).astype(np.int32)
    alone = np.repeat([1.0, 0.0], [c, d]).astype(asked.flat.dtype)

    @jax.jit
    def every(consts: Any, points: Array, rows: Array, lines: Any) -> Array:
        def along(x: Array, line: Any) -> Any:
            place, row, alone = line
            tangent = jnp.zeros_like(x).at[place].set(alone) + (1 - alone) * rows[row]
            return evaluate(consts, x, tangent)[0]

        return lax.map(lambda x: lax.map(lambda line: along(x, line), lines), points)

    rows = jnp.asarray(asked.rows, asked.flat.dtype)
    return np.asarray(every(consts, _around(asked), rows, (place, row, alone)), float)


def _around(asked: Question) -> Array:
    """Return the point, and its neighbours in the order in which they were evaluated."""
    rows = asked.rows[len(asked.directions) :]
    both = np.stack([rows, -rows], axis=1).reshape(-1, rows.shape[1])
    flat = asked.flat
    return flat[None] + jnp.asarray(np.concatenate([np.zeros((1, flat.size)), both]), flat.dtype)


def _projected(
    f: Callable[[Any], Any], params: Any, rng: np.random.Generator
) -> Callable[[Any], Array]:
    """Return f, or where it is no scalar the sum of its outputs with random factors."""
    if not callable(f):
        raise ValueError(
            f"loss_fn is a {type(f).__name__}: expected an Objective, or a function of the params, "
            "or of params and data, to real floats"
        )
    outputs = jax.tree.leaves(jax.eval_shape(f, params))
    if not outputs or not all(jnp.issubdtype(out.dtype, np.floating) for out in outputs):
        kinds = ", ".join(str(out.dtype) for out in outputs) or "nothing"
        raise ValueError(f"loss_fn returns {kinds}: expected arrays of real floats")
    if len(outputs) == 1 and outputs[0].shape == ():
        return lambda params: jax.tree.leaves(f(params))[0]
    vectors = [_random(out.shape, rng) for out in outputs]
    dtype = jnp.result_type(*(out.dtype for out in outputs))

    def scalar(params: Any) -> Array:
        parts = zip(vectors, jax.tree.leaves(f(params)), strict=True)
        return sum(
            (jnp.sum(jnp.asarray(v, dtype) * out.astype(dtype)) for v, out in parts),
            start=jnp.zeros((), dtype),
        )

    return scalar


def _of_order(
    f: Callable[[Array], Array], flat: Array, order: int, mode: str, rng: np.random.Generator
) -> Callable[[Array], Array]:
    """Return f, or for order 2 its derivative along a random vector."""
    if order == 1:
        return f
    v = jnp.asarray(_random(flat.shape, rng), flat.dtype)
    if mode == "forward":
        return lambda flat: jax.jvp(f, (flat,), (v,))[1]
    return lambda flat: jnp.vdot(jax.grad(f)(flat), v)


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return random numbers of both signs, none of them near 0."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def _units(params: Any) -> np.ndarray:
    """Return the size of every parameter, a power of two: its own, or its array's if larger."""
    sizes = []
    for leaf in jax.tree.leaves(params):
        values = np.abs(np.asarray(leaf, float)).ravel()
        typical = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
        sizes.append(np.maximum(values, typical if typical > 0 else 1.0))
    return np.exp2(np.floor(np.log2(np.concatenate(sizes))))
