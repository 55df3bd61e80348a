"""Loading, splitting, centring and checking data, against what is on disk and by hand."""

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

import jaxsvm
from jaxsvm import Data, StandardizedFeatures, data_from_arrays, validate
from jaxsvm.datasets import embedded
from tests.problems import byte_problem, problem

pytestmark = pytest.mark.any_precision


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


def test_digits_are_found_wherever_scikit_learn_keeps_them(monkeypatch):
    file = embedded._digits_table()
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    np.testing.assert_array_equal(embedded._digits_table(), file)


def test_digits_keep_their_bits():
    # Results that were written down with digits hold for the same split in the same order only.
    dataset = jaxsvm.load_dataset("digits", scale=1 / 16)
    parts: Any = dataset[:3]
    found = [
        [zlib.crc32(np.asarray(array).tobytes()) for array in (X.values, X.shift, y)]
        for X, y in parts
    ]
    assert found == [
        [1770976111, 126342692, 720635797],
        [3959724477, 126342692, 3207254748],
        [2093369702, 126342692, 1049099768],
    ]


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


@pytest.mark.cifar10
def test_cifar10_needs_little_memory(cifar10):
    # In a process of its own; it reads the images that the fixture has just had decoded.
    code = (
        "import resource, jax, jaxsvm\n"
        "jax.block_until_ready(jaxsvm.load_dataset('cifar10')[:3])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) / 2**20 < 2.5  # GiB


@pytest.mark.parametrize("validation", [-1, 1497, 10**9, True])
def test_a_split_larger_than_the_data_is_an_error(validation):
    with pytest.raises(ValueError, match="validation = "):
        jaxsvm.load_dataset("digits", validation=validation)


def test_the_whole_training_part_may_be_kept():
    dataset = jaxsvm.load_dataset("digits", validation=0)
    assert dataset.train.X.shape == (1497, 65)
    assert dataset.validation.X.shape == (0, 65)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_an_error(scale):
    with pytest.raises(ValueError, match=r"scale = .*: expected a finite number > 0"):
        jaxsvm.load_dataset("digits", scale=scale)


def good(N=50, D=4, C=10):
    """Arrays that validate accepts, with every class in them."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, D)).astype(np.float32), np.arange(N) % C


def test_validate_takes_good_data_of_every_form():
    X, y = good()
    validate((X, y), 10, min_classes=10)
    validate((X.astype(np.float64), y.astype(np.uint8)))
    validate(Data(jnp.asarray(X), jnp.asarray(y, jnp.int32)), 10)
    validate(problem(0)[1])
    validate(byte_problem(0)[1], 10)
    validate((X[:1], y[:1]), 2)  # one example of two classes


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (10, r"y\[17\] = 10: labels must be integers in \[0, 10\)"),
        (100, r"y\[17\] = 100"),
        (-1, r"y\[17\] = -1"),
        (np.iinfo(np.int64).min, r"y\[17\] = -9223372036854775808"),
        (2**32 + 3, r"y\[17\] = 4294967299"),
        (0.5, r"y\[17\] = 0.5: labels must be integers"),
        (np.nan, r"y\[17\] = nan"),
        (np.inf, r"y\[17\] = inf"),
        (3.0, r"y has dtype float64: labels must be integers.*astype"),
    ],
)
@pytest.mark.parametrize("num_classes", [10, None])
def test_a_bad_label_is_named(label, message, num_classes):
    X, y = good()
    y = y.astype(np.result_type(y, type(label)))
    y[17] = label
    if num_classes is None:
        if label in (10, 100):
            return validate((X, y))  # right for all that is known
        message = message.replace(r"in \[0, 10\)", ">= 0")
    for check in (validate, lambda data, C: data_from_arrays(*data, num_classes=C)):
        with pytest.raises(ValueError, match=message):
            check((X, y), num_classes)
    return None


@pytest.mark.parametrize("dtype", [bool, str, object, complex])
def test_labels_of_other_kinds_are_refused(dtype):
    X, y = good()
    with pytest.raises(ValueError, match=r"y has dtype .*: labels must be integers"):
        validate((X, y.astype(dtype)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bad_feature_is_named(value, dtype):
    X, y = good(N=5000)  # more than is looked at together
    X = X.astype(dtype)
    X[4321, 2] = value
    with pytest.raises(ValueError, match=rf"X\[4321, 2\] = {value}: expected finite"):
        validate((X, y))


def test_a_bad_shift_of_rows_is_named():
    _, data = byte_problem(0)
    assert isinstance(data.X, StandardizedFeatures)
    shift = data.X.shift.at[3].set(jnp.nan)
    X = StandardizedFeatures(data.X.values, shift, data.X.scale)
    with pytest.raises(ValueError, match=r"X.shift\[3\] = nan"):
        validate(Data(X, data.y))


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "i4", "i8", "f2", jnp.bfloat16, "c8", "?", object, "U8"]
)
def test_features_of_other_dtypes_are_refused(dtype):
    X, y = good()
    with pytest.raises(ValueError, match=r"X has dtype .*: expected float32 or float64"):
        validate((X.astype(dtype), y))


def test_foreign_byte_order_is_refused_after_a_warm_up_too():
    X, y = good()
    for _ in range(2):
        data_from_arrays(X, y)
        with pytest.raises(ValueError, match="X has dtype >f4 of foreign byte order"):
            data_from_arrays(X.astype(">f4"), y)
        with pytest.raises(ValueError, match="y has dtype >i4 of foreign byte order"):
            data_from_arrays(X, y.astype(">i4"))


@pytest.mark.parametrize("wrong", [np.ma.masked_invalid, list, lambda _: None])
def test_what_is_no_array_is_refused(wrong):
    X, y = good()
    for name, data in (("X", (wrong(X), y)), ("y", (X, wrong(y)))):
        with pytest.raises(ValueError, match=f"{name} is a .*: expected a plain NumPy or JAX"):
            validate(data)


@pytest.mark.parametrize("length", [0, 1, 49, 51])
def test_lengths_must_agree(length):
    X, _ = good()
    with pytest.raises(ValueError, match=r"expected y of shape \(50,\), one label for each row"):
        validate((X, np.zeros(length, np.int32)))


def test_wrong_shapes_are_refused():
    X, y = good()
    cases = [
        ((X[:0], y[:0]), "no examples"),
        ((X[:, :0], y), "no columns"),
        ((X, y[:, None]), "one label for each row"),
        ((X[0], y[:4]), "one example a row"),
        ((X[None], y[:1]), "one example a row"),
    ]
    for data, message in cases:
        with pytest.raises(ValueError, match=message):
            validate(data)
    with pytest.raises(ValueError, match="num_classes = 1: expected an integer >= 2"):
        validate((X, y), 1)


def test_one_class_only_is_refused_where_two_are_asked_for():
    X, y = good()
    validate((X, 0 * y + 3), 10)
    with pytest.raises(ValueError, match=r"y holds 1 class\(es\), \[3\]: expected at least 2"):
        validate((X, 0 * y + 3), 10, min_classes=2)


def layouts(X):
    """The same values in every layout that NumPy has."""
    yield "fortran", np.asfortranarray(X)
    yield "sliced", np.repeat(X, 2, axis=0)[::2]
    yield "negative stride", X[::-1].copy()[::-1]
    yield "transposed", X.T.copy().T
    read_only = X.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    shifted = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    shifted[:] = X
    assert not shifted.flags.aligned
    yield "unaligned", shifted


def test_the_layout_in_memory_does_not_matter(tmp_path):
    X, y = good()
    expected = data_from_arrays(X, y)
    np.testing.assert_array_equal(expected.X, np.column_stack([X, np.ones(50)]))
    assert expected.y.dtype == jnp.int32
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for name, other in [*layouts(X), ("mapped", mapped)]:
        before = other.copy()
        np.testing.assert_array_equal(data_from_arrays(other, y).X, expected.X, err_msg=name)
        np.testing.assert_array_equal(other, before, err_msg=name)
    same = np.broadcast_to(X[0], X.shape)
    np.testing.assert_array_equal(np.asarray(data_from_arrays(same, y).X)[:, :-1], same)


def test_float64_is_kept_where_jax_has_it():
    X, y = good()
    got = data_from_arrays(X.astype(np.float64), y).X.dtype
    assert got == (jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32)
