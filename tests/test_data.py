"""Loading, splitting, centring and checking data, against what is on disk and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxsvm
from jaxsvm import Data


def test_digits_are_all_of_scikit_learns_each_once():
    dataset = jaxsvm.load_dataset("digits", center=False)
    parts = [dataset.train, dataset.validation, dataset.test]
    rows = np.concatenate(
        [np.column_stack([np.asarray(part.X), np.asarray(part.y)]) for part in parts]
    )
    source = load_digits()
    expected = np.column_stack([source.data, np.ones(1797), source.target])
    in_order, expected = (a[np.lexsort(a.T)] for a in (rows, expected))
    np.testing.assert_array_equal(in_order, expected)
    assert [len(part.y) for part in parts] == [1348, 149, 300]
    assert dataset.class_names == tuple("0123456789")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("center", "scale"), [(False, 1.0), (True, 1.0), (True, 1 / 128)])
def test_preprocessing_is_the_mean_of_the_training_part_then_the_scale(dtype, center, scale):
    raw = jaxsvm.load_dataset("digits", center=False, validation=500)
    dataset = jaxsvm.load_dataset("digits", center=center, scale=scale, dtype=dtype, validation=500)
    pixels = np.asarray(raw.train.X, np.float64)[:, :-1]
    mean = pixels.mean(axis=0)
    np.testing.assert_allclose(dataset.mean_image.ravel(), mean, rtol=1e-6)
    for part, source in zip(dataset[:3], raw[:3], strict=True):
        X = np.asarray(part.X)
        expected = (np.asarray(source.X, np.float64)[:, :-1] - mean * center) * scale
        np.testing.assert_allclose(X[:, :-1], expected, atol=2e-6)
        np.testing.assert_array_equal(X[:, -1], 1.0)
        assert part.X.dtype == jnp.float32
        assert part.y.dtype == jnp.int32


@pytest.mark.cifar10
def test_cifar10_is_split_as_the_notes_do(cifar10):
    assert [part.X.shape for part in cifar10[:3]] == [(49000, 3073), (1000, 3073), (10000, 3073)]
    assert cifar10.image_shape == (32, 32, 3)
    assert cifar10.class_names[:2] == ("airplane", "automobile")
    counts = np.bincount(np.concatenate([cifar10.train.y, cifar10.validation.y]))
    np.testing.assert_array_equal(counts, 5000)
    np.testing.assert_array_equal(np.bincount(cifar10.test.y), 1000)


def test_validate_takes_good_data_of_both_forms():
    dataset = jaxsvm.load_dataset("digits")
    jaxsvm.validate(dataset.train, 10, min_classes=2)
    jaxsvm.validate(Data(jnp.ones((1, 2)), jnp.zeros(1, jnp.int32)), 2)
