"""Model files: the same to the bit, or a clear error; and predictions on raw inputs."""

import io
import json
import zipfile
from dataclasses import replace
from fractions import Fraction
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import jaxsvm
from jaxsvm import Hinge, Model, Objective, model_of
from jaxsvm.certificate.solve import History
from jaxsvm.core import FAMILY
from jaxsvm.files import read_sealed, write_sealed
from jaxsvm.model import Certificate, FittedOn, export_safetensors, in_words

pytestmark = pytest.mark.any_precision


def small_model(seed=0):
    """A model of three classes and four features with names that need UTF-8."""
    rng = np.random.default_rng(seed)
    return Model(
        W=rng.standard_normal((3, 5)).astype(np.float32),
        shift=rng.standard_normal(4).astype(np.float32),
        scale=rng.random(4) + 0.5,
        classes=("Zürich", "a|b", "$x"),
        image_shape=(2, 2),
        feature_names=("länge", "b", "c", "d"),
        objective=in_words(Objective(Hinge("absolute", "all", power=2), reg=0.1 + 0.2)),
        certificate=Certificate(1.5, 1.25, 0.25, 12),
        fitted_on=FittedOn("grün", 60, "by hand"),
    )


def test_other_programs_read_the_export(tmp_path):
    model = small_model()
    export_safetensors(tmp_path / "model.safetensors", model)
    found = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert set(found) == {"W", "shift", "scale"}
    X = np.random.default_rng(1).normal(size=(6, 2, 2))
    x = (X.reshape(6, 4) - found["shift"]) * found["scale"]
    scores = np.append(x, np.ones((6, 1)), axis=1) @ found["W"].T
    np.testing.assert_allclose(scores, model.scores(X), rtol=1e-6)
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["classes"]) == list(model.classes)


def same(a, b):
    """Whether two models are equal to the bit."""
    for name in ("W", "shift", "scale"):
        left, right = getattr(a, name), getattr(b, name)
        if left.dtype != right.dtype or left.tobytes() != right.tobytes():
            return False
    rest = ("classes", "image_shape", "feature_names", "objective", "certificate", "fitted_on")
    return all(getattr(a, name) == getattr(b, name) for name in (*rest, "versions"))


def test_a_model_comes_back_to_the_bit(tmp_path):
    model, path = small_model(), tmp_path / "model.npz"
    jaxsvm.save(path, model)
    back = jaxsvm.load(path)
    assert same(back, model)
    assert not same(back, small_model(1))
    assert back.versions["jaxsvm"] == jaxsvm.__version__
    assert back.rebuild_objective() == Objective(Hinge("absolute", "all", power=2), reg=0.1 + 0.2)
    with pytest.raises(ValueError, match="read-only"):
        back.W[0, 0] = 1.0
    jaxsvm.save(tmp_path / "again.npz", back)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    bare = Model(model.W, model.shift, model.scale, model.classes, (4,))
    jaxsvm.save(path, bare)  # an older file is replaced
    assert same(jaxsvm.load(path), bare)


def test_other_tools_read_the_file(tmp_path):
    path = tmp_path / "model.npz"
    jaxsvm.save(path, small_model())
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["W"], small_model().W)
        header = json.loads(arrays["header"].tobytes().decode("utf-8"))
    assert header["kind"] == "jaxsvm model"
    assert header["format"] == 1
    assert header["classes"][0] == "Zürich"
    assert header["objective"]["loss"]["margins"] == "absolute"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


# --- damage ---


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    jaxsvm.save(path, small_model())
    return path, path.read_bytes()


@hypothesis.given(data=st.data(), kind=st.sampled_from(["flip", "cut", "add", "swap"]))
@hypothesis.settings(max_examples=300)
def test_any_damage_is_found(saved, data, kind):
    path, good = saved
    place = data.draw(st.integers(0, len(good) - 1), label="place")
    if kind == "flip":
        bit = data.draw(st.integers(0, 7), label="bit")
        bad = good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :]
    elif kind == "cut":
        bad = good[:place]
    elif kind == "add":
        bad = good[:place] + data.draw(st.binary(min_size=1, max_size=9)) + good[place:]
    else:
        bad = good[place:] + good[:place] if place else good[::-1]
    damaged = path.parent / "damaged.npz"
    damaged.write_bytes(bad)
    with pytest.raises(ValueError, match=r"damaged\.npz") as error:
        jaxsvm.load(damaged)
    assert "write it again" in str(error.value)


def forge(path, members, *, compression=zipfile.ZIP_STORED):
    """Write a file with a right digest and any members, as `write_sealed` would not."""
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"sha256:" + bytes(64)
    body = buffer.getvalue()[:-64]
    path.write_bytes(body + hashlib.sha256(body).hexdigest().encode())


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_a_forged_file_runs_and_allocates_nothing(tmp_path):
    path = tmp_path / "forged.npz"
    head = {"header.npy": npy(np.frombuffer(b"{}", np.uint8))}
    huge = io.BytesIO()
    facts = {"descr": "<f8", "fortran_order": False, "shape": (9 * 10**15,)}
    np.lib.format.write_array_header_1_0(huge, facts)
    cases = {
        "OBJECT": {**head, "W.npy": npy(np.array([print], object))},
        "size": {**head, "W.npy": huge.getvalue()},
        "columns first": {**head, "W.npy": npy(np.asfortranarray(np.eye(2)))},
        "header": {"W.npy": npy(np.eye(2))},
        "JSON object": {"header.npy": npy(np.frombuffer(b"[1]", np.uint8))},
        "magic": {"header.npy": b"{}"},
    }
    for what, members in cases.items():
        forge(path, members)
        with pytest.raises(ValueError, match=r"forged\.npz has a right digest") as error:
            read_sealed(path)
        assert what in str(error.value), what
    forge(path, {**head, "W.npy": npy(np.zeros(10**6))}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="compressed"):
        read_sealed(path)


def test_a_file_that_is_no_model_says_what_it_is(tmp_path):
    path, arrays = tmp_path / "a.npz", {"W": np.eye(2)}
    np.savez(path, W=np.eye(2))
    with pytest.raises(ValueError, match=r"a.npz is no file of jaxsvm's"):
        jaxsvm.load(path)
    write_sealed(path, {"kind": "jaxsvm checkpoint", "format": 1}, arrays)
    with pytest.raises(ValueError, match="holds a 'jaxsvm checkpoint': expected a 'jaxsvm model'"):
        jaxsvm.load(path)
    newer = {"kind": "jaxsvm model", "format": 2, "versions": {"jaxsvm": "7.0"}}
    write_sealed(path, newer, arrays)
    with pytest.raises(ValueError, match=r"format 2 and was written by jaxsvm 7.0.*load it with"):
        jaxsvm.load(path)
    write_sealed(path, newer | {"format": 1}, arrays)
    with pytest.raises(ValueError, match="no whole model"):
        jaxsvm.load(path)
    with pytest.raises(FileNotFoundError):
        jaxsvm.load(tmp_path / "absent.npz")


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    jaxsvm.save(path, small_model())
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(f"os.{step}", full)
            with pytest.raises(OSError, match="No space left"):
                jaxsvm.save(path, small_model(1))
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    path = tmp_path / "a.npz"
    cases = [
        ({"gap": np.nan}, {}, "JSON"),
        ({}, {"header": np.eye(2)}, "header"),
        ({}, {"W": np.array([None])}, "[Oo]bject"),
    ]
    for header, arrays, message in cases:
        with pytest.raises(ValueError, match=message):
            write_sealed(path, header, arrays)
    assert list(tmp_path.iterdir()) == []


# --- predictions ---


def with_weights(dataset, seed=0):
    """A model of a dataset with random weights, and the weights."""
    C, D = len(dataset.class_names), len(dataset.shift) + 1
    W = jnp.asarray(np.random.default_rng(seed).standard_normal((C, D)), jnp.float32)
    slopes = jnp.zeros((len(dataset.train.y), C))
    found = jaxsvm.Solution(W, slopes, 2.0, 1.0, 1.0, 3, History(*[np.zeros(1)] * 4))
    return model_of(dataset, Objective(reg=0.5), found), W


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_raw_inputs_get_the_classes_of_the_datasets_own_features(name):
    dataset = jaxsvm.load_dataset(name, scale="columns")
    raw = np.asarray(jaxsvm.load_dataset(name, center=False).test.X)[:, :-1]
    model, W = with_weights(dataset)
    expected = np.array(dataset.class_names)[np.asarray(jaxsvm.predict(W, dataset.test.X))]
    got = model.predict(raw)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype.kind == "U"
    scores = np.asarray(jaxsvm.score(W, dataset.test.X))
    np.testing.assert_allclose(model.scores(raw), scores, rtol=2e-4, atol=2e-4)
    assert model.fitted_on == FittedOn(name, len(dataset.train.y), dataset.description)
    assert model.certificate == Certificate(2.0, 1.0, 1.0, 3)
    assert model.feature_names == dataset.feature_names


def test_every_layout_of_the_same_images_is_taken():
    model, _ = with_weights(jaxsvm.load_dataset("digits"))
    X = np.random.default_rng(0).integers(0, 17, (5, 64), dtype=np.uint8)
    expected = model.scores(X)
    for other in (
        X.reshape(5, 8, 8), X.reshape(5, 8, 8, 1), X.reshape(5, 1, 8, 8), X.astype(np.float32),
        jnp.asarray(X), np.asfortranarray(X), X.astype(">i4"), X.astype(np.float16),
    ):  # fmt: skip
        np.testing.assert_allclose(model.scores(other), expected, rtol=1e-10)
    assert model.scores(X[:0]).shape == (0, 10)
    assert model.predict(X[:0]).shape == (0,)


def test_scores_do_not_cancel_where_means_are_large():
    shift = np.array([1e9, -3e8], np.float32)
    model = Model(
        W=np.array([[1.0, 2.0, 0.25], [-1.0, 0.5, 0.0]]), shift=shift, scale=np.array([0.5, 4.0]),
        classes=("a", "b"), image_shape=(2,),
    )  # fmt: skip
    X = np.array([[1e9 + 0.125, -3e8 - 0.25], [1e9, -3e8 + 1.5]])
    X = np.tile(X, (1500, 1))  # more rows than are taken at a time
    expected = [
        [
            sum(
                Fraction(float(w)) * (Fraction(float(x)) - Fraction(float(m))) * Fraction(float(s))
                for w, x, m, s in zip(row, case, shift, model.scale, strict=False)
            )
            + Fraction(float(row[-1]))
            for row in model.W
        ]
        for case in X[:2]
    ]
    np.testing.assert_array_equal(model.scores(X), np.tile(np.array(expected, float), (1500, 1)))
    tied = replace(model, W=np.zeros((2, 3)))
    assert tied.predict(X[:1]).tolist() == ["a"]  # the first of equals


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((5, 63)), r"X has shape \(5, 63\): expected \(N, 64\), or \(N, 8, 8, 1\)"),
        (np.zeros((5, 4, 16)), "X has shape"),
        (np.zeros(64), r"X has shape \(64,\): expected"),
        (np.zeros((8, 8, 1)), r"for one input pass X\[None\]"),
        (np.zeros((2, 64), complex), "X has dtype complex128: expected integers or floats"),
        (np.zeros((2, 64), object), "X has dtype object"),
        (np.zeros((2, 64), "U3"), "X has dtype <U3"),
        (np.zeros((2, 64), bool), "X has dtype bool"),
        ([[0.0] * 64], "X is a list: expected a plain NumPy or JAX array"),
        (np.ma.masked_invalid(np.zeros((2, 64))), "X is a MaskedArray"),
        (None, "X is a NoneType"),
    ],
)
def test_bad_inputs_are_named(X, message):
    model, _ = with_weights(jaxsvm.load_dataset("digits"))
    with pytest.raises(ValueError, match=message):
        model.predict(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_number_is_named(value):
    model, _ = with_weights(jaxsvm.load_dataset("iris"))
    X = np.zeros((3000, 4))
    X[2100, 2] = value
    with pytest.raises(ValueError, match=rf"X\[2100\] has {value} at feature 2: expected finite"):
        model.predict(X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W": np.full((3, 5), np.nan)}, "W has a NaN"),
        ({"W": np.zeros((3, 5), int)}, "W has dtype int64: expected float32 or float64"),
        ({"W": np.zeros((2, 5))}, "classes has 3 names"),
        ({"W": np.zeros((3, 6))}, r"shift has shape \(4,\).*expected \(D - 1,\) = \(5,\)"),
        ({"scale": np.zeros(3)}, "scale has shape"),
        ({"image_shape": (2, 3)}, r"image_shape = \(2, 3\)"),
        ({"feature_names": ("a",)}, "feature_names has 1 names"),
    ],
)
def test_parts_that_do_not_fit_are_no_model(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(small_model(), **changes)


# --- the objective in words ---


def own_loss(scores, y, *, delta=1.0):
    return jnp.sum(scores, axis=1) * delta


class OwnHinge(Hinge):
    """A hinge of somebody's own."""


def test_an_objective_is_rebuilt_from_words():
    losses: list[Any] = [*FAMILY.values(), jaxsvm.softmax_loss]
    for loss in losses:
        for penalty in (jaxsvm.l2_penalty, jaxsvm.l1_penalty):
            objective = Objective(loss, penalty, reg=0.3, delta=2.0)
            words = json.loads(json.dumps(in_words(objective)))
            assert replace(small_model(), objective=words).rebuild_objective() == objective
    for loss, name in ((own_loss, "own_loss"), (OwnHinge(), "OwnHinge")):
        words = in_words(Objective(loss))
        assert words["loss"] == name
        with pytest.raises(ValueError, match=f"loss '{name}', which is none of this library's"):
            replace(small_model(), objective=words).rebuild_objective()
    with pytest.raises(ValueError, match="objective is empty"):
        replace(small_model(), objective={}).rebuild_objective()


def test_a_model_says_what_it_is():
    text = repr(small_model())
    assert text == "Model(3 classes of grün, inputs (2, 2), gap 0.25)"
