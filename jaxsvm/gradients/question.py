"""What the check of a function asks: of which scalar, along which lines, at which distances.

A line is a coordinate of the flat params, which moves alone, or a random direction, in which all of
them move. The function is made one from flat params to a scalar, and its program is read once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from jaxsvm.gradients.branches import WORDS, Branches, branches

NUM_DIRECTIONS = 16  # where not all coordinates are checked
# The ladder: from 1/8 of the size of a parameter to where its last bits are 1/8 of the distance.
LARGEST, MOST_RUNGS = 2.0**-3, 18
# How many floats away neighbours of the point lie.
NEIGHBOURS = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0)
TOGETHER = 2**20  # numbers moved at once: bounds the memory
MOST_TOGETHER = 128

Points: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Evaluate: TypeAlias = Callable[[np.ndarray, Points], tuple[np.ndarray, np.ndarray]]


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
        tiny: the least float that is no zero: a value may be 0 for less.
        reach: (P,) the largest distance of every parameter.
        seed: of what is random later on.
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
    tiny: float
    reach: np.ndarray
    seed: int

    @cached_property
    def evaluate(self) -> Evaluate:
        """How to evaluate ``flat + t·rows[row]`` with ``value`` at ``place``, if that is below P.

        From rows, and the four of many points, to values in float64 and signatures. It is compiled
        once for each number of rows and points.
        """
        batch = int(np.clip(TOGETHER // self.flat.size, 1, MOST_TOGETHER))

        @jax.jit
        def every(consts: Any, flat: Array, rows: Array, points: Any) -> Any:
            def at(point: Any) -> Any:
                place, value, row, t = point
                moved = (flat + t * rows[row]).at[place].set(value, mode="drop")
                (out,), signature = self.program.evaluate(consts, moved)
                # lax.map splits no array without entries, as that of a smooth function would be.
                none = jnp.zeros_like(signature, shape=(1, WORDS))
                return out, jnp.concatenate([signature, none])

            return lax.map(at, points, batch_size=batch)

        def evaluate(rows: np.ndarray, points: Points) -> tuple[np.ndarray, np.ndarray]:
            place, value, row, t = points
            dtype, count = self.flat.dtype, len(place)
            typed = (place.astype(np.int32), value.astype(dtype), row.astype(np.int32))
            padded = [np.resize(a, -(-count // batch) * batch) for a in (*typed, t.astype(dtype))]
            arrays = self.flat, jnp.asarray(rows, dtype), tuple(padded)
            values, signatures = every(self.program.consts, *arrays)
            flips = np.asarray(signatures)[:count, :-1]
            return np.asarray(values, float)[:count], flips.reshape(count, -1)

        return evaluate

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
    own = jnp.finfo(flat.dtype)
    eps = max(program.eps, float(own.eps))
    unit, P = _units(params), flat.size
    places = np.arange(P)
    directions = np.zeros((0, P))
    if num_coordinates < P:
        places = np.sort(rng.choice(P, num_coordinates, replace=False))
        directions = rng.choice([-1.0, 1.0], (NUM_DIRECTIONS, P)) * unit
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = LARGEST * unit if h is None else np.full(P, float(h))
    along = np.full(len(directions), np.sqrt(np.mean(reach**2)))
    bits = -np.log2(float(own.eps))
    neighbours = np.array(NEIGHBOURS)[:, None] * eps * unit * random((len(NEIGHBOURS), P), rng)
    return Question(
        f=function,
        flat=flat,
        params=params,
        program=program,
        places=places,
        directions=directions,
        rows=np.concatenate([directions, neighbours]),
        largest=np.concatenate([reach[places], along]),
        num_rungs=int(np.clip((bits - 5) // 2 + 1, 4, MOST_RUNGS)),
        eps=eps,
        tiny=float(own.tiny),
        reach=reach,
        seed=int(rng.integers(2**32)),
    )


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
    vectors = [random(out.shape, rng) for out in outputs]
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
    v = jnp.asarray(random(flat.shape, rng), flat.dtype)
    if mode == "forward":
        return lambda flat: jax.jvp(f, (flat,), (v,))[1]
    return lambda flat: jnp.vdot(jax.grad(f)(flat), v)


def random(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return random numbers of both signs, none of them near 0."""
    return rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)


def _units(params: Any) -> np.ndarray:
    """Return the size of every parameter, a power of two: its own, or its array's if larger.

    Where all are 0, or so small that steps of theirs would be, it is 1.
    """
    sizes = []
    for leaf in jax.tree.leaves(params):
        values = np.abs(np.asarray(leaf, float)).ravel()
        typical = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
        floats = jnp.finfo(jnp.asarray(leaf).dtype)
        is_small = typical < float(floats.tiny) / float(floats.eps)
        sizes.append(np.maximum(values, 1.0 if is_small else typical))
    return np.exp2(np.floor(np.log2(np.concatenate(sizes))))
