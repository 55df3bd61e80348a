"""Autodiff's slopes along the lines of a check, and how far rounding may move them.

The gradient is taken at the point and at its neighbouring floats; what it changes by between them,
where they lie on the point's own piece, is rounding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsvm.gradients.branches import hoisted
from jaxsvm.gradients.measure import SAFETY, Evidence
from jaxsvm.gradients.question import Question

# In units of eps·(the largest entry): a gradient is a sum of terms, some as large as that.
GRADIENT_ROUNDING = 16.0


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
