"""The section on patch features: its bytes, a run that goes on, and what it reports."""

import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import features
from experiments.shared import encoded
from experiments.shared.options import Source
from experiments.shared.record import write_json
from experiments.shared.settings import load
from jaxsvm import patches
from tests.test_experiments import check_report

pytestmark = pytest.mark.experiments


@pytest.fixture(scope="module")
def images():
    return encoded.training_images(load(Source("digits"), "raw"))[0][:60]


@pytest.fixture(scope="module")
def made(images):
    encoder = patches.patch_encoder(
        jax.random.key(0), jnp.asarray(images), num_filters=4, patch_size=3, num_patches=200
    )
    return encoded.recipe(encoder, images, mirrored=True)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(encoded, "ROWS", 25)  # the last block is a shorter one


def test_a_byte_is_a_step_of_its_feature(images, made, tmp_path, small_blocks):
    found = encoded.encode_to_file(made, images, tmp_path, "test")
    exact = np.asarray(patches.mirrored(made.encoder, jnp.asarray(images)))
    assert np.max(np.abs(found.rows * made.step - exact) / made.step) <= 0.5 + 1e-3
    (X,) = encoded.standardized(made, found.rows)
    scaled = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + encoded.DEVIATION_FLOOR)
    variance = np.var(found.rows * made.step.astype(float), axis=0)
    expected = made.step / np.sqrt(variance + encoded.DEVIATION_FLOOR)
    np.testing.assert_allclose(np.asarray(X.scale)[:-1], expected, rtol=1e-5)
    assert X.shape == (60, made.encoder.num_features() + 1)
    np.testing.assert_array_equal(np.asarray(X)[:, -1], 1)
    np.testing.assert_allclose(np.asarray(X)[:, :-1], scaled, atol=0.03)
    np.testing.assert_array_equal(np.load(found.path, allow_pickle=False), found.rows)


def test_floats_are_not_rounded(images, made, tmp_path, small_blocks):
    floats = encoded.recipe(made.encoder, images, mirrored=True, kept="floats")
    found = encoded.encode_to_file(floats, images, tmp_path, "test")
    exact = np.asarray(patches.mirrored(made.encoder, jnp.asarray(images)))
    np.testing.assert_allclose(found.rows * floats.step, exact, rtol=1e-5, atol=1e-5)
    bytes_ = encoded.encode_to_file(made, images, tmp_path, "test")
    assert bytes_.path != found.path
    (X,), (close,) = (
        encoded.standardized(floats, found.rows),
        encoded.standardized(made, bytes_.rows),
    )
    np.testing.assert_allclose(X, close, atol=0.03)


def test_an_interrupted_encoding_goes_on(images, made, tmp_path, small_blocks, monkeypatch):
    whole = encoded.encode_to_file(made, images, tmp_path / "whole", "test").rows
    calls = []

    def interrupted(path, value):
        write_json(path, value)
        calls.append(value["rows"])
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(encoded, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoded.encode_to_file(made, images, tmp_path, "test")
    found = encoded.encode_to_file(made, images, tmp_path, "test")
    assert calls == [25, 50, 60]
    np.testing.assert_array_equal(found.rows, whole)
    # What is there is not made again, and other images are not taken for it.
    encoded.encode_to_file(made, images, tmp_path, "test")
    assert len(calls) == 3
    other = encoded.encode_to_file(made, images[::-1], tmp_path, "test")
    np.testing.assert_array_equal(other.rows, whole[::-1])
    # A state that is no JSON counts for nothing, nor does a file of which a bit was changed.
    found.path.with_suffix(".json").write_text("{")
    encoded.encode_to_file(made, images, tmp_path, "test")
    assert calls[-3:] == [25, 50, 60]
    assert json.loads(found.path.with_suffix(".json").read_text())["rows"] == 60
    content = bytearray(found.path.read_bytes())
    content[-9] ^= 1
    found.path.write_bytes(content)
    again = encoded.encode_to_file(made, images, tmp_path, "test")
    np.testing.assert_array_equal(again.rows, whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_the_rows_before_are_kept(
    images, made, tmp_path, small_blocks, monkeypatch
):
    """A memory map on a full disk would end the process instead."""
    whole = encoded.encode_to_file(made, images, tmp_path / "whole", "test").rows
    written = []

    class Full(io.BytesIO):
        def write(self, block):
            written.append(block)
            with open("/dev/full", "wb") as full:
                full.write(block)

    with monkeypatch.context() as patch:
        patch.setattr(encoded, "open", lambda *_: Full(), raising=False)
        with pytest.raises(OSError, match="No space left on device"):
            encoded.encode_to_file(made, images, tmp_path, "test")
    assert len(written) == 1
    found = encoded.encode_to_file(made, images, tmp_path, "test")
    np.testing.assert_array_equal(found.rows, whole)


def test_a_table_has_no_images():
    with pytest.raises(ValueError, match="iris has no images"):
        encoded.training_images(load(Source("iris"), "raw"))


def test_the_section_chooses_and_proves(tmp_path):
    config = features.Config(
        num_filters=(20,), seeds=2, alphas=(0.25,), whitenings=(0.3,), kmeans_rounds=(2, 0),
        kept=("bytes", "floats"), regs=(0.1, 0.01), num_patches=1000, out=tmp_path,
        losses=("squared one-vs-rest", "Weston-Watkins"),
    )  # fmt: skip
    arrays = features.run(config)
    # A mirrored digit is no digit: held-out images say so.
    assert not arrays["chosen"]["mirrored"]
    tried = arrays["tried"]
    assert {(row["kmeans_rounds"] > 0, row["mirrored"], row["kept"]) for row in tried} >= {
        (True, True, "bytes"), (False, True, "bytes"),
    }  # fmt: skip
    assert {row["kept"] for row in tried} == {"bytes", "floats"}
    assert len(tried) == 4
    medians = [np.median(row["accuracy"]) for row in tried]
    how = {name: tried[int(np.argmax(medians))][name] for name in arrays["chosen"]}
    assert how == arrays["chosen"]
    rows = arrays["rows"]
    assert rows["loss"].tolist() == [*config.losses] * 2
    assert (rows["gap"] <= config.gap_tolerance).all()
    assert (rows["test_accuracy"] > 0.9).all()
    # reg is chosen once for each loss.
    for loss in config.losses:
        path = features.groups(arrays["paths"])[20, loss]
        best = path["reg"][np.argmax(path["accuracy"])]
        assert (rows["reg"][rows["loss"] == loss] == best).all()
    text = check_report(features, arrays, tmp_path)
    assert "2 seed(s) of the patches" in text
    assert np.load(arrays["files"][1], allow_pickle=False).shape == (300, 160)
    for name, write in features.files(arrays).items():
        write(tmp_path / name)
    assert np.load(tmp_path / "y-test.npy", allow_pickle=False).shape == (300,)
