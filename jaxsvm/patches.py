"""Patch features of images: what a linear SVM needs to see more than the colours of pixels.

Every p×p window of an image is compared with K filters, and the responses are summed over the
cells of a grid:

    u = (window − its mean) / sqrt(its variance + contrast)
    w = Z (u − m)                      ZCA-whitened: m and Z from many windows drawn at random
    z_k = f_k · w                      the filters f are such windows themselves, of length 1
    features = Σ over a cell of max(0, z_k − alpha),  and of max(0, −z_k − alpha)

Nothing is trained but, if asked for, the filters themselves: spherical k-means moves them to where
many windows point. ``f_k · Z`` is one row of `PatchEncoder.weights`, so all responses of an image
are one product, (places × p²·channels) by (p²·channels × K).

Mirror images need no encoding of their own and no rows of their own. Let φ(x) be the features and
x̄ the mirror image, and train W on (φ(x), φ(x̄)) and on its mirror, (φ(x̄), φ(x)), of every image. The
objective does not change when the halves of W change places, and it is convex, so an optimal W has
two equal halves V and scores V·(φ(x) + φ(x̄)): it is the SVM on the N sums `mirrored` returns, with
half of the columns and, since both halves are penalized, twice the reg.

Source: Coates, Ng & Lee, AISTATS 2011; Coates & Ng, ICML 2011. Spherical k-means: Coates & Ng,
Learning feature representations with k-means, 2012.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Shaped

from jaxsvm.core.arguments import (
    check_array,
    check_count,
    check_key,
    check_number,
    check_positive,
)
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.contraction import PRECISION

ROWS_AT_ONCE = 4096  # windows whose responses k-means holds at a time
# Bytes or floats; the shape is checked by a ValueError that says more.
ImageBatch = Shaped[Array, "_N ..."]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights", "offset", "alpha", "contrast"],
    meta_fields=["patch_size", "pool"],
)
@dataclass(frozen=True)
class PatchEncoder:
    """Filters and how their responses become features; `patch_encoder` makes one.

    Attributes:
        weights: (K, p²·channels) filters times whitening, ``f_k · Z``.
        offset: (K,) ``f_k · Z m``, which is subtracted from the responses.
        alpha: scalar ≥ 0, the soft threshold.
        contrast: scalar > 0, added to the variance of a window, in squared units of a pixel.
        patch_size: p, the height and the width of a window.
        pool: cells on each axis of the grid.
    """

    weights: Array
    offset: Array
    alpha: Array
    contrast: Array
    patch_size: int
    pool: int

    def num_features(self) -> int:
        """Return how many features an image has: 2·K·pool²."""
        return 2 * len(self.weights) * self.pool**2


def patch_encoder(
    key: Array,
    images: ImageBatch,
    *,
    num_filters: int,
    patch_size: int = 6,
    pool: int = 2,
    alpha: float = 0.25,
    contrast: float = 10.0,
    whitening: float = 0.3,
    num_patches: int = 100_000,
    kmeans_rounds: int = 0,
) -> PatchEncoder:
    """Draw windows of the images, whiten them, and make the first of them filters.

    Encoders of one key are nested unless filters are moved: the first filters of a large one are
    those of a small one.

    Args:
        key: of the draws.
        images: (N, H, W, channels) bytes, or floats in 0 to 255.
        num_filters: K.
        patch_size: p, at most H and W.
        pool: cells on each axis of the grid, at most H − p + 1 and W − p + 1.
        alpha: the soft threshold, ≥ 0; a response has variance 1, about.
        contrast: added to the variance of a window, > 0, in squared units of a pixel.
        whitening: added to the eigenvalues of the windows' covariance, > 0.
        num_patches: windows drawn to whiten by, at least K.
        kmeans_rounds: rounds of spherical k-means over these windows that move the filters, ≥ 0;
            ten are enough, each as dear as encoding the windows.

    Raises:
        ValueError: images that are not (N, H, W, channels), or a number out of its range.

    >>> images = jax.random.randint(jax.random.key(0), (5, 8, 8, 1), 0, 256)
    >>> patch_encoder(jax.random.key(1), images, num_filters=4, patch_size=3).num_features()
    32
    """
    check_key(key)
    num_filters = check_count("num_filters", num_filters)
    num_patches = check_count("num_patches", num_patches, least=num_filters)
    patch_size, pool = check_count("patch_size", patch_size), check_count("pool", pool)
    kmeans_rounds = check_count("kmeans_rounds", kmeans_rounds, least=0)
    check_positive("contrast", contrast)
    check_positive("whitening", whitening)
    check_number("alpha", alpha, "a finite number >= 0", lambda x: 0 <= x < math.inf)
    _check_images(images, patch_size, pool)
    if len(images) == 0:
        raise ValueError(f"images have shape {images.shape}: expected at least one image")
    energy, ridge = (jnp.asarray(number, _float()) for number in (contrast, whitening))
    windows = _normalized(_drawn(key, images, patch_size, num_patches), energy)
    mean = jnp.mean(windows, axis=0)
    centred = windows - mean[None, :]
    values, vectors = jnp.linalg.eigh(_product(centred.T, centred) / num_patches)
    Z = _product(vectors / jnp.sqrt(values + ridge)[None, :], vectors.T)
    filters = _product(centred[:num_filters], Z)
    filters /= jnp.linalg.norm(filters, axis=1, keepdims=True)
    if kmeans_rounds:
        filters = _moved(filters, _product(centred, Z), kmeans_rounds)
    weights = _product(filters, Z)
    return PatchEncoder(
        weights=weights,
        offset=_product(weights, mean),
        alpha=jnp.asarray(alpha, weights.dtype),
        contrast=energy.astype(weights.dtype),
        patch_size=patch_size,
        pool=pool,
    )


def encode(encoder: PatchEncoder, images: ImageBatch) -> Float[Array, "N F"]:
    """Return the features of images, ≥ 0, neither centred nor scaled.

    Args:
        encoder: of `patch_encoder`.
        images: (N, H, W, channels), with the channels the encoder was made for.

    Returns:
        (N, 2·K·pool²): the cells row by row; in a cell all filters' positive sides, then all their
        negative sides. Cost: 2·N·places·p²·channels·K operations, all in products.

    Raises:
        ValueError: images of another shape than the encoder's.
    """
    return _encoded(encoder, images, mirror=False)


def mirrored(encoder: PatchEncoder, images: ImageBatch) -> Float[Array, "N F"]:
    """Return the features of images plus those of their mirror images, left to right.

    The SVM on them is the one on all images and all their mirror images; see the head of this file.

    Args:
        encoder: of `patch_encoder`.
        images: as for `encode`.

    Returns:
        (N, 2·K·pool²) in the order of `encode`. Cost: twice `encode`'s.

    Raises:
        ValueError: as `encode`.
    """
    return _encoded(encoder, images, mirror=True)


def _encoded(encoder: PatchEncoder, images: ImageBatch, *, mirror: bool) -> Array:
    """Return the features of images, those of the mirror images added if asked for."""
    p = encoder.patch_size
    _check_images(images, p, encoder.pool)
    channels = images.shape[3]
    if encoder.weights.shape[1] != p * p * channels:
        raise ValueError(
            f"images have shape {images.shape}, so windows have {p * p * channels} numbers: "
            f"expected {encoder.weights.shape[1]}, those of the images that the encoder was made of"
        )
    K, most = len(encoder.weights), block_sizes().filters
    group = K if most >= K else math.gcd(K, most)
    weights = encoder.weights.reshape(-1, group, p, p, channels)
    cells = jnp.asarray(_cells(*_places(images, p), encoder.pool), encoder.weights.dtype)
    # A filter meets the mirror image where its own mirror image meets the image.
    views = [weights, weights[:, :, :, ::-1]][: 1 + mirror]
    grids = [cells, cells[:, :, ::-1]][: 1 + mirror]
    groups = [view.reshape(-1, group, p * p * channels) for view in views]
    offsets = encoder.offset.reshape(-1, group)

    def encode_one(image: Array) -> Array:
        windows = _normalized(_windows(image, p), encoder.contrast)

        def encode_group(filters: tuple[list[Array], Array]) -> Array:
            weights, offset = filters
            pooled = [
                _pooled(_product(windows, view.T) - offset[None, :], grid, encoder.alpha)
                for view, grid in zip(weights, grids, strict=True)
            ]
            return jnp.sum(jnp.stack(pooled), axis=0)

        # (groups, cells, sides, filters of a group), whose order must not depend on the groups.
        return jnp.moveaxis(lax.map(encode_group, (groups, offsets)), 0, 2).ravel()

    return lax.map(encode_one, images, batch_size=block_sizes().images)


def _pooled(z: Array, cells: Array, alpha: Array) -> Array:
    """Return both sides of the responses (places, k) summed over each cell, (cells, 2, k)."""
    cells = cells.reshape(len(cells), -1)
    sides = jnp.maximum(z - alpha, 0), jnp.maximum(-z - alpha, 0)
    # A product with zeros and ones: XLA's sums over places would read the responses column by
    # column on a CPU.
    return jnp.stack([_product(cells, side) for side in sides], axis=1)


def _cells(H: int, W: int, pool: int) -> np.ndarray:
    """Return which of H by W places are in which cell, (pool², H, W) of zeros and ones.

    The sizes of the cells differ by one at most on each axis.

    >>> _cells(2, 3, 2)[1]
    array([[0., 0., 1.],
           [0., 0., 0.]])
    """
    rows, columns = (
        np.arange(length) * pool // length == np.arange(pool)[:, None] for length in (H, W)
    )
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, H, W).astype(float)


def _places(images: Array, p: int) -> tuple[int, int]:
    """Return how many windows lie below and beside each other in an image."""
    return images.shape[1] - p + 1, images.shape[2] - p + 1


def _windows(image: Array, p: int) -> Array:
    """Return every window of an image as a row, (places, p²·channels)."""
    H, W = _places(image[None], p)
    x = image.astype(_float())
    shifted = [x[row : row + H, column : column + W] for row in range(p) for column in range(p)]
    return jnp.stack(shifted, axis=2).reshape(H * W, -1)


def _drawn(key: Array, images: Array, p: int, count: int) -> Array:
    """Return windows drawn uniformly, (count, p²·channels)."""
    keys = jax.random.split(key, 3)
    which, row, column = (
        jax.random.randint(key, (count,), 0, most)
        for key, most in zip(keys, (len(images), *_places(images, p)), strict=True)
    )
    along = jnp.arange(p)
    rows, columns = row[:, None] + along[None, :], column[:, None] + along[None, :]
    drawn = images[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return drawn.reshape(count, -1).astype(_float())


@partial(jax.jit, static_argnames="rounds")
def _moved(filters: Array, windows: Array, rounds: int) -> Array:
    """Return the filters after rounds of spherical k-means over the whitened windows.

    Each window w goes to the filter f of the largest |f · w|, and a filter becomes the direction of
    itself plus the sum of (f · w) w over its windows.
    """
    block = min(len(windows), ROWS_AT_ONCE)
    padding = -len(windows) % block
    # A window of zeros adds nothing to any filter.
    blocks = jnp.pad(windows, ((0, padding), (0, 0))).reshape(-1, block, windows.shape[1])

    def move(filters: Array, _: None) -> tuple[Array, None]:
        def add(total: Array, windows: Array) -> tuple[Array, None]:
            z = _product(windows, filters.T)
            nearest = jnp.argmax(jnp.abs(z), axis=1)
            own = jnp.take_along_axis(z, nearest[:, None], axis=1)
            return total.at[nearest].add(own * windows), None

        total = lax.scan(add, filters, blocks)[0]
        return total / jnp.linalg.norm(total, axis=1, keepdims=True), None

    return lax.scan(move, filters, None, length=rounds)[0]


def _normalized(windows: Array, contrast: Array) -> Array:
    """Return windows less their means, over the root of their variances plus the contrast."""
    centred = windows - jnp.mean(windows, axis=1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=1, keepdims=True)
    return centred / jnp.sqrt(variance + contrast)


def _product(A: Array, B: Array) -> Array:
    return jnp.matmul(A, B, precision=PRECISION)


def _float() -> jnp.dtype:
    """Return the dtype of floats: float64 where that is enabled."""
    return jnp.zeros(()).dtype


def _check_images(images: ImageBatch, patch_size: int, pool: int) -> None:
    """Raise ValueError unless images are (N, H, W, channels) with a window for each cell."""
    check_array("images", images)
    if images.dtype.kind not in "iu" and images.dtype not in (np.float32, np.float64):
        raise ValueError(f"images have dtype {images.dtype}: expected bytes, float32 or float64")
    if images.ndim != 4:
        raise ValueError(f"images have shape {images.shape}: expected (N, H, W, channels)")
    if min(images.shape[3], min(_places(images, patch_size)) - pool + 1) < 1:
        raise ValueError(
            f"patch_size = {patch_size} and pool = {pool} do not fit images of "
            f"{images.shape[1]}×{images.shape[2]}×{images.shape[3]}: expected at least one window "
            "in each cell"
        )
