"""Patch features: against loops over windows, and mirror images that cost no rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, patches
from jaxsvm.patches import encode, mirrored, patch_encoder

P, K, POOL = 3, 6, 2


def some_images(seed=0, shape=(7, 8, 9, 2)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder():
    key = jax.random.key(3)
    return patch_encoder(
        key, jnp.asarray(some_images()), num_filters=K, patch_size=P, pool=POOL, num_patches=500
    )


def windows_of(image):
    """Every window of an image as a vector, by its place, normalized."""
    found = {}
    for row in range(image.shape[0] - P + 1):
        for column in range(image.shape[1] - P + 1):
            window = image[row : row + P, column : column + P].astype(np.float64).ravel()
            found[row, column] = (window - window.mean()) / np.sqrt(window.var() + 10.0)
    return found


def encoded_by_loops(encoder, image):
    """The definition, one window and one filter after the other."""
    weights, offset = np.asarray(encoder.weights, float), np.asarray(encoder.offset, float)
    alpha = float(encoder.alpha)
    features = np.zeros((POOL, POOL, 2, K))
    height, width = image.shape[0] - P + 1, image.shape[1] - P + 1
    for (row, column), window in windows_of(image).items():
        cell = row // -(-height // POOL), column // -(-width // POOL)
        for k in range(K):
            z = weights[k] @ window - offset[k]
            features[cell][0, k] += max(0.0, z - alpha)
            features[cell][1, k] += max(0.0, -z - alpha)
    return features.ravel()


def test_features_are_sums_over_windows(encoder):
    images = some_images(seed=1)
    found = jax.jit(encode)(encoder, jnp.asarray(images))
    expected = np.stack([encoded_by_loops(encoder, image) for image in images])
    assert found.shape == (len(images), encoder.num_features())
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert expected.max() > 1  # not all of them below the threshold


def test_groups_of_filters_change_nothing(encoder, monkeypatch):
    images = jnp.asarray(some_images(seed=1, shape=(3, 8, 9, 2)))
    whole = encode(encoder, images)
    blocks = jaxsvm.core.blocks.CPU._replace(filters=4, images=2)  # groups of 2 filters
    monkeypatch.setattr("jaxsvm.patches.block_sizes", lambda: blocks)
    np.testing.assert_allclose(encode(encoder, images), whole, rtol=1e-5, atol=1e-5)


def test_filters_are_whitened_windows_of_length_one():
    images = some_images()
    encoder = patch_encoder(
        jax.random.key(0), jnp.asarray(images),
        num_filters=5, patch_size=P, num_patches=20_000, whitening=1e-6, contrast=10.0,
    )  # fmt: skip
    # Where the windows vary, f·Z on normalized windows has mean 0 and variance |f|² = 1.
    windows = np.stack([w for image in images for w in windows_of(image).values()])
    z = windows @ np.asarray(encoder.weights, float).T - np.asarray(encoder.offset, float)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.15)


def test_encoders_of_one_key_are_nested(encoder):
    fewer = patch_encoder(
        jax.random.key(3), jnp.asarray(some_images()),
        num_filters=2, patch_size=P, pool=POOL, num_patches=500,
    )  # fmt: skip
    np.testing.assert_allclose(fewer.weights, encoder.weights[:2], rtol=1e-4, atol=1e-5)


def test_kmeans_gathers_windows(monkeypatch):
    monkeypatch.setattr(patches, "ROWS_AT_ONCE", 8)  # the last block is filled up with zeros
    windows = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    filters = windows[:4] / np.linalg.norm(windows[:4], axis=1, keepdims=True)
    found = patches._moved(jnp.asarray(filters), jnp.asarray(windows), 2)
    for _ in range(2):
        total = filters.astype(float)
        for w in windows:
            k = int(np.argmax(np.abs(filters @ w)))
            total[k] += (filters[k] @ w) * w
        filters = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(found, filters, rtol=1e-4, atol=1e-5)


def test_kmeans_rounds_explain_more_of_the_windows():
    images = some_images()
    explained = []
    for rounds in (0, 1, 10):
        encoder = patch_encoder(
            jax.random.key(0), jnp.asarray(images),
            num_filters=8, patch_size=P, num_patches=3000, kmeans_rounds=rounds,
        )  # fmt: skip
        windows = np.stack([w for image in images for w in windows_of(image).values()])
        z = windows @ np.asarray(encoder.weights, float).T - np.asarray(encoder.offset, float)
        explained.append(np.mean(np.max(z**2, axis=1)))
    assert explained[0] < explained[1] < explained[2]


def test_mirrored_features_do_not_know_left_from_right(encoder):
    images = jnp.asarray(some_images(seed=2))
    flipped = images[:, :, ::-1]
    both = mirrored(encoder, images)
    sum_of_two = encode(encoder, images) + encode(encoder, flipped)
    np.testing.assert_allclose(both, sum_of_two, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(mirrored(encoder, flipped), both, rtol=1e-4, atol=1e-3)
    assert float(jnp.max(jnp.abs(encode(encoder, images) - encode(encoder, flipped)))) > 0.1


@pytest.mark.any_precision
@pytest.mark.parametrize("power", [1, 2])
def test_the_svm_on_sums_is_the_svm_on_all_mirror_images(power):
    """The two certified intervals of the minimum overlap, and its W has two equal halves."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 24, 5)).astype(np.float32)  # features of images, of their mirrors
    y = jnp.asarray(rng.integers(0, 3, 24), jnp.int32)
    loss = jaxsvm.Hinge(power=power)
    both = Data(jnp.asarray(np.concatenate([np.hstack([a, b]), np.hstack([b, a])])), jnp.tile(y, 2))
    sums = Data(jnp.asarray(a + b), y)
    large = jaxsvm.solve(Objective(loss, reg=0.05), both, gap_tolerance=1e-5)
    small = jaxsvm.solve(Objective(loss, reg=0.1), sums, gap_tolerance=1e-5)
    assert large.dual <= small.primal
    assert small.dual <= large.primal
    halves = jnp.hstack([small.W, small.W])
    np.testing.assert_allclose(Objective(loss, reg=0.05)(halves, both), small.primal, rtol=1e-5)


def bad_encoders():
    images = some_images()
    good = {"num_filters": 2, "patch_size": P, "num_patches": 10}
    return [
        (images[0], good, r"images have shape \(8, 9, 2\): expected \(N, H, W, channels\)"),
        (images, good | {"patch_size": 9}, "patch_size = 9 and pool = 2 do not fit images of 8×9"),
        (images, good | {"patch_size": 0}, "patch_size = 0"),
        (images, good | {"pool": 0}, "pool = 0: expected an integer >= 1"),
        (images, good | {"num_filters": 0}, "num_filters = 0: expected an integer >= 1"),
        (images, good | {"num_filters": 11}, "num_patches = 10: expected an integer >= 11"),
        (images, good | {"kmeans_rounds": -1}, "kmeans_rounds = -1: expected an integer >= 0"),
        (images, good | {"alpha": -1.0}, "alpha = -1.0: expected a finite number >= 0"),
        (images, good | {"contrast": 0.0}, "contrast = 0.0: expected a finite number > 0"),
        (images, good | {"whitening": np.inf}, "whitening = inf: expected a finite number > 0"),
    ]


@pytest.mark.parametrize(("images", "options", "message"), bad_encoders())
def test_a_bad_argument_is_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        patch_encoder(jax.random.key(0), jnp.asarray(images), **options)


def test_images_of_other_channels_are_refused(encoder):
    with pytest.raises(ValueError, match="windows have 9 numbers: expected 18"):
        encode(encoder, jnp.asarray(some_images(shape=(2, 8, 9, 1))))
