"""Directions in the space of the weights: what a landscape is drawn along.

Each takes any pytree of floating arrays; W (C, D) is one.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from jaxsvm.core.arguments import (
    check_count,
    check_floats,
    check_key,
    check_params,
    check_word,
)

NORMALIZATIONS = ("none", "unit", "rows")


def random_direction(key: Array, params: Any, *, normalize: str = "none") -> Any:
    """Draw a Gaussian direction of the shape of ``params``.

        rows:   direction_c ← direction_c · ‖W_c‖ / ‖direction_c‖

    Args:
        key: a typed key (`jax.random.key`).
        params: W (C, D), or any pytree of floating arrays.
        normalize: ``"none"``, independent standard normals; ``"unit"``, of length 1 over all
            leaves; ``"rows"``, each row (each ``leaf[c]`` of a leaf of two or more dimensions) of
            the length of the row of ``params``, and 0 for vectors and scalars: the filter
            normalization, biases left out, of Li et al.

    Returns:
        A pytree like ``params``.

    Raises:
        ValueError: ``normalize`` is another word, ``key`` is no typed key, or a leaf is not of
            floats.

    Source: CS231n notes, "Optimization", the random direction W₁; Li, Xu, Taylor, Studer &
    Goldstein, "Visualizing the loss landscape of neural nets" (2018).

    >>> W = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    >>> rows = random_direction(jax.random.key(0), W, normalize="rows")
    >>> [round(float(length), 5) for length in jnp.linalg.norm(rows, axis=1)]
    [5.0, 0.0]
    """
    check_key(key)
    check_params(params)
    check_word("normalize", normalize, NORMALIZATIONS)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)
    ]
    if normalize == "unit":
        length = jnp.sqrt(sum((jnp.sum(leaf * leaf) for leaf in drawn), start=jnp.zeros(())))
        drawn = [leaf / length.astype(leaf.dtype) for leaf in drawn]
    if normalize == "rows":
        drawn = [_like_rows(leaf, like) for leaf, like in zip(drawn, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)


def _like_rows(leaf: Array, like: Array) -> Array:
    if leaf.ndim < 2:
        return jnp.zeros_like(leaf)
    axes = tuple(range(1, leaf.ndim))
    length = jnp.sqrt(jnp.sum(leaf * leaf, axis=axes, keepdims=True))
    return leaf / length * jnp.sqrt(jnp.sum(like * like, axis=axes, keepdims=True))


def direction_between(W: Any, other: Any) -> Any:
    """Return the direction from one solution to another: ``other − W``.

    Along it t = 0 is ``W``, t = 1 is ``other`` up to rounding, and between them are their mixtures
    (1 − t)·W + t·other, where a convex objective is nowhere above its chord. Equal ones give the
    zero direction, along which everything is constant.

    Args:
        W: (C, D) weights, or any pytree of floating arrays.
        other: like W.

    Returns:
        A pytree like ``W``.

    Raises:
        ValueError: ``other`` differs from W in shape or structure.

    Source: Goodfellow, Vinyals & Saxe, "Qualitatively characterizing neural network optimization
    problems" (2015).

    >>> from jaxsvm import Data, Objective, slice_1d
    >>> data = Data(jnp.array([[1.0, 1.0]]), jnp.array([0]))
    >>> W, other = jnp.array([[0.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 0.0], [0.0, 0.0]])
    >>> along_it = direction_between(W, other)
    >>> slice_1d(Objective(), W, along_it, data, start=0.0, stop=1.0, num=3).loss
    Array([2., 1., 0.], dtype=float32)
    """
    check_like(W, other, "other")
    return jax.tree.map(lambda here, there: there - here, W, other)


def principal_directions(path: Any, *, num: int = 2) -> tuple[Any, Float[Array, " num"]]:
    """Return the directions in which a path spreads most about its mean.

    Args:
        path: (T, C, D) weights, or a pytree whose leaves have a leading axis T.
        num: how many directions, ≤ T.

    Returns:
        A pytree with a leading axis ``num``, of unit directions orthogonal to each other (0 where
        the path has fewer dimensions), the sign such that the path ends on the positive side of its
        mean; and the share of the path's variance along each. Cost: a (T, T) eigenproblem.

    Raises:
        ValueError: ``num`` is not between 1 and T.

    Source: Lorch, "Visualizing deep network training trajectories with PCA" (2016).

    >>> directions, share = principal_directions(jnp.array([[[0.0, 0.0]], [[3.0, 4.0]]]), num=1)
    >>> [round(float(x), 3) for x in (*directions[0, 0], share[0])]
    [0.6, 0.8, 1.0]
    """
    check_params(path, "path")
    for leaf in jax.tree.leaves(path):
        check_floats("path", leaf)  # of half precision there are no eigenvectors
    if any(leaf.ndim == 0 or leaf.size == 0 for leaf in jax.tree.leaves(path)):
        shapes = jax.tree.map(jnp.shape, path)
        raise ValueError(f"path has shapes {shapes}: expected (T, ...) with T >= 1 points")
    num = check_count("num", num)
    flat, unravel = flatten_path(path)
    if num > len(flat):
        raise ValueError(
            f"num = {num}: expected 1 to {len(flat)}, the number of points on the path"
        )
    centred = flat - jnp.mean(flat, axis=0)[None, :]
    gram = jnp.matmul(centred, centred.T, precision=lax.Precision.HIGHEST)
    values, vectors = jnp.linalg.eigh(gram)  # ascending
    values, vectors = jnp.maximum(values[::-1][:num], 0), vectors[:, ::-1][:, :num]
    directions = jnp.matmul(vectors.T, centred, precision=lax.Precision.HIGHEST)
    length = jnp.linalg.norm(directions, axis=1)
    # An eigenvalue below rounding is a direction that the path does not have.
    real = values > len(flat) * jnp.finfo(flat.dtype).eps * values[0]
    sign = jnp.where(vectors[-1] < 0, -1, 1)
    scale = jnp.where(real, sign / jnp.where(length > 0, length, 1), 0)
    total = jnp.trace(gram)
    share = jnp.where(total > 0, values / jnp.where(total > 0, total, 1), 0)
    return jax.vmap(unravel)(directions * scale[:, None]), share


def flatten_path(path: Any) -> tuple[Array, Any]:
    """Return a path as (T, P), and what turns one point back."""
    _, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], path))
    return jax.vmap(lambda point: ravel_pytree(point)[0])(path), unravel


def check_like(params: Any, direction: Any, name: str) -> None:
    """Raise ValueError, naming the argument, unless a direction has W's structure and shapes.

    Raises:
        ValueError: it has not; or it, or W, is not of floats.
    """
    check_params(params, "W")
    check_params(direction, name)
    shapes, others = (
        jax.tree.map(lambda leaf: jnp.shape(leaf), tree) for tree in (params, direction)
    )
    if shapes != others:
        raise ValueError(
            f"{name} has shapes {others} and W has {shapes}: expected the same structure and shapes"
        )
