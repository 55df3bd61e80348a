"""tfds datasets on disk: prepared from a local server without TensorFlow, read, kept, damaged."""

import contextlib
import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import struct
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

import jaxsvm
from jaxsvm import DatasetError
from jaxsvm.datasets import prepare, tfrecord
from jaxsvm.datasets import tfds as images
from jaxsvm.datasets.tfds import load_images
from jaxsvm.streams import stream_from_tfds
from tests import tiny_images
from tests.tiny_images import PER_FILE, archive, frame, masked_crc, raw_batches

pytestmark = pytest.mark.any_precision


@pytest.fixture
def serve(monkeypatch):
    """serve(name, content, sha256=None): tfds downloads that dataset's archive from 127.0.0.1."""
    with contextlib.ExitStack() as stack:

        def start(name, content, sha256=None):
            url = stack.enter_context(tiny_images.served(content))
            sha256 = sha256 or hashlib.sha256(content).hexdigest()
            facts, infos = tiny_images.downloads(name, url, len(content), sha256)
            monkeypatch.setattr(tfds.builder_cls(name), "_cifar_info", facts)
            monkeypatch.setattr(tfds.builder_cls(name), "url_infos", infos)
            return stack  # whose `close` ends the server

        yield start


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test of this file touches the user's cache or datasets."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # tfds leaves a folder in the temporary directory whenever it makes a builder.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def prepared(tmp_path_factory, request, serve):
    """A fresh copy of a data_dir that holds the tiny cifar10, prepared once."""
    once = tmp_path_factory.getbasetemp() / "prepared"
    if not once.exists():
        once.mkdir()
        serve("cifar10", archive(*raw_batches("cifar10")))
        prepare.prepare("cifar10", once)
    root = tmp_path_factory.mktemp("data")
    shutil.copytree(once / "cifar10", root / "cifar10")
    return root


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip([*a.train, *a.test], [*b.train, *b.test], strict=True)
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_prepared_through_tfds_without_tensorflow(name, tmp_path, serve):
    facts, batches, names = raw_batches(name)
    serve(name, archive(facts, batches, names))
    loaded = load_images(name, tmp_path)
    assert "tensorflow" not in sys.modules
    label_file = facts.label_files[facts.label_keys.index("label")]
    assert list(loaded.class_names) == names[label_file].split()

    def by_hand(files):
        rows = {}
        for file in files:
            for record in batches[file]:
                image = np.zeros((32, 32, 3), np.uint8)
                for channel in range(3):
                    start = len(facts.label_keys) + 1024 * channel
                    image[:, :, channel] = record[start : start + 1024].reshape(32, 32)
                label = record[facts.label_keys.index("label")]
                rows[image.tobytes()] = int(label)
        return rows

    # tfds shuffles by key when it writes, so the order is its own: compare as maps.
    for (pixels, labels), files in (
        (loaded.train, facts.train_files),
        (loaded.test, facts.test_files),
    ):
        got = {image.tobytes(): int(label) for image, label in zip(pixels, labels, strict=True)}
        assert len(got) == len(pixels) == PER_FILE * len(files)
        assert got == by_hand(files)
    # What was written is an ordinary dataset, which stock tfds reads.
    source = tfds.data_source(name, data_dir=tmp_path, split="train")
    np.testing.assert_array_equal(source[0]["image"], loaded.train[0][0])


def test_a_stream_decodes_what_is_loaded(prepared):
    pixels, labels = load_images("cifar10", prepared).train
    expected = jaxsvm.datasets.rows_from_pixels(
        pixels, shift=pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
    )
    rows = np.array([59, 3, 3, 40, 0])
    for workers in (1, 2):
        X: Any
        X, y = stream_from_tfds("cifar10", data_dir=prepared, workers=workers)
        source = X.values.source
        np.testing.assert_array_equal(y, labels)
        np.testing.assert_array_equal(X.shift, expected.shift)
        np.testing.assert_array_equal(source.take(rows), np.asarray(expected.values)[rows])
        np.testing.assert_array_equal(source.read(7, 60), np.asarray(expected.values)[7:])
    decoding = multiprocessing.active_children()
    assert len(decoding) == 2
    del X, source
    until = time.monotonic() + 60
    while any(process.is_alive() for process in decoding):
        assert time.monotonic() < until
        gc.collect()  # again and again: the pool's own thread may hold it for a moment
        time.sleep(0.05)


def test_a_decoding_process_that_ends_is_named(prepared):
    X: Any
    X, _ = stream_from_tfds("cifar10", data_dir=prepared, workers=2, shift=0.0)
    X.values.source.examples._pool.submit(os._exit, 9)
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"a process that decodes .*cifar10.* has ended"):
            X.values.source.read(0, 60)


def test_what_a_stream_of_images_refuses(prepared):
    with pytest.raises(ValueError, match=r"split = 'half': expected '.*' or"):
        stream_from_tfds("cifar10", "half", data_dir=prepared)
    with pytest.raises(ValueError, match="workers = 0: expected an integer >= 1"):
        stream_from_tfds("cifar10", data_dir=prepared, workers=0)
    (file,) = (prepared / "cifar10").rglob("*train.array_record*")
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes(4800) + content[5000:])
    with pytest.raises(DatasetError, match="cannot be read, so it is damaged"):
        stream_from_tfds("cifar10", data_dir=prepared)
    file.write_bytes(content)
    tiny_images.reframe(file.parent)
    with pytest.raises(DatasetError, match=r"holds tfrecord files.*load_dataset decodes them once"):
        stream_from_tfds("cifar10", data_dir=prepared)


def test_a_loaded_dataset_is_split_in_order(prepared):
    raw = load_images("cifar10", prepared)
    dataset = jaxsvm.load_dataset("cifar10", data_dir=prepared, center=False, validation=7)
    assert dataset.train.X.shape == (5 * PER_FILE - 7, 3073)
    np.testing.assert_array_equal(
        np.asarray(dataset.validation.X)[:, :-1], raw.train[0][-7:].reshape(7, -1)
    )
    np.testing.assert_array_equal(dataset.test.y, raw.test[1])
    with pytest.raises(ValueError, match="validation = 60: expected 0 to 59"):
        jaxsvm.load_dataset("cifar10", data_dir=prepared, validation=60)


def test_tfds_data_dir_is_used(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert same(load_images("cifar10"), load_images("cifar10", prepared))


def test_the_second_load_decodes_nothing(prepared, monkeypatch):
    first = load_images("cifar10", prepared)
    monkeypatch.setattr(images, "_decode", None)
    again = load_images("cifar10", prepared)
    assert same(first, again)
    assert again[2:] == first[2:]
    assert isinstance(again.train[0], np.memmap)
    assert not again.train[0].flags.writeable


def kept_folder(tmp_path):
    (folder,) = (tmp_path / "cache" / "jaxsvm").iterdir()
    return folder


@pytest.mark.parametrize(
    "damage",
    ["flip images", "flip labels", "flip header", "cut", "empty", "remove", "name", "manifest"],
)
def test_a_damaged_cache_is_rebuilt(damage, prepared, tmp_path):
    first = load_images("cifar10", prepared)
    folder = kept_folder(tmp_path)
    file = folder / ("train_labels.npy" if damage == "flip labels" else "train_images.npy")
    content = bytearray(file.read_bytes())
    expected = [array.copy() for array in (*first.train, *first.test)]
    if damage.startswith("flip"):
        content[30 if damage == "flip header" else -5] ^= 16
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "remove":
        file.unlink()
    else:
        manifest = folder / "manifest.npz"
        whole = manifest.read_bytes()
        assert b'"b3"' in whole
        manifest.write_bytes(whole.replace(b'"b3"', b'"b4"') if damage == "name" else b"")
    again = load_images("cifar10", prepared)
    for array, wanted in zip((*again.train, *again.test), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert again.class_names == first.class_names
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.npz",
        "test_images.npy",
        "test_labels.npy",
        "train_images.npy",
        "train_labels.npy",
    ]


def test_what_another_process_left_half_decoded_is_deleted_after_a_day(prepared, tmp_path):
    load_images("cifar10", prepared)
    folder = kept_folder(tmp_path)
    for name in ("tmpold", "tmpnew"):
        (folder / name).mkdir()
        (folder / name / "train_images.npy").touch()
    os.utime(folder / "tmpold", (time.time() - 1e5,) * 2)
    (folder / "manifest.npz").unlink()
    load_images("cifar10", prepared)
    assert [path.name for path in folder.glob("tmp*")] == ["tmpnew"]


def test_a_dataset_that_another_process_has_prepared_meanwhile_is_used(
    prepared, tmp_path, monkeypatch
):
    """tfds lets the second of two processes fail."""

    def prepare(name, root):
        shutil.copytree(prepared / name, root / name)
        raise DatasetError("Destination already exists")

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(images, "prepare", prepare)
    assert same(load_images("cifar10", tmp_path / "data"), load_images("cifar10", prepared))


def test_a_pickle_in_the_cache_is_not_run(prepared, tmp_path):
    first = load_images("cifar10", prepared)
    file = kept_folder(tmp_path) / "train_images.npy"
    file.unlink()  # another file in its place: cutting the one that is mapped would end the process
    np.save(file, np.array([print], object))
    assert same(load_images("cifar10", prepared), first)


def test_another_source_in_the_same_place_is_decoded_anew(prepared, serve, tmp_path):
    first = load_images("cifar10", prepared)
    before = [array.copy() for array in first.train]
    shutil.rmtree(prepared / "cifar10")
    facts, batches, names = raw_batches("cifar10")
    serve("cifar10", archive(facts, {f: b ^ 1 for f, b in batches.items()}, names))
    again = load_images("cifar10", prepared)
    assert not np.array_equal(again.train[1], before[1])


def test_a_cache_that_cannot_be_written_is_an_error(prepared, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(DatasetError, match="point XDG_CACHE_HOME at a folder"):
        load_images("cifar10", prepared)


def record_file(root):
    return root / "cifar10/3.0.2/cifar10-train.array_record-00000-of-00001"


def test_damaged_records_are_an_error_or_change_nothing(prepared):
    whole = load_images("cifar10", prepared)
    file = record_file(prepared)
    content = file.read_bytes()
    used = np.flatnonzero(np.frombuffer(content, np.uint8))  # the rest is padding
    rng = np.random.default_rng(0)
    raised = 0
    for i in range(12):
        damaged = bytearray(content)
        at = rng.choice(used)
        damaged[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged if i < 8 else content[:at])
        try:
            assert same(load_images("cifar10", prepared), whole)
        except DatasetError as error:
            assert "damaged or incomplete: copy it again, or remove it" in str(error)  # noqa: PT017
            raised += 1
    assert raised >= 11


def test_a_file_of_too_many_records_is_an_error(prepared):
    file = record_file(prepared)
    shutil.copy(file, file.with_name(file.name.replace("train", "test")))
    with pytest.raises(DatasetError, match=r"cifar10-test.*has 60 records: expected 12"):
        stream_from_tfds("cifar10", "test", data_dir=prepared)
    with pytest.raises(DatasetError, match=r"cifar10-test.*has 60 records: expected 12"):
        load_images("cifar10", prepared)


@pytest.mark.parametrize(
    "damage",
    ["missing", "empty", "json", "features", "splits", "shards", "few names", "same names"],
)
def test_a_damaged_folder_is_an_error(damage, prepared):
    file = record_file(prepared)
    info = file.parent / "dataset_info.json"
    if damage == "missing":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "json":
        info.write_text(info.read_text()[:-10])
    elif damage == "features":
        (file.parent / "features.json").unlink()
    elif damage == "shards":
        info.write_text(info.read_text().replace('"60"', '"-1"'))
    elif damage.endswith("names"):
        names = "b0\nb1\n" if damage == "few names" else "b0\n" * 10
        (file.parent / "label.labels.txt").write_text(names)
    else:
        content = json.loads(info.read_text())
        content["splits"] = [s for s in content["splits"] if s["name"] == "train"]
        info.write_text(json.dumps(content))
    expected = "expected train and test" if damage == "splits" else "damaged or incomplete"
    with pytest.raises(DatasetError, match=expected):
        load_images("cifar10", prepared)


def test_files_of_another_format_are_refused_by_name(prepared):
    info = prepared / "cifar10/3.0.2/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "riegeli"))
    with pytest.raises(DatasetError, match="riegeli files: expected array_record or tfrecord"):
        load_images("cifar10", prepared)


@pytest.fixture
def reframed(prepared, tmp_path_factory):
    """The tiny cifar10 as TFRECORD files, the training part in two of them."""
    once = tmp_path_factory.getbasetemp() / "reframed"
    folder = prepared / "cifar10/3.0.2"
    if not once.exists():
        shutil.copytree(folder, once)
        tiny_images.reframe(once)
    shutil.rmtree(folder)
    shutil.copytree(once, folder)
    return prepared


def test_tfrecord_files_hold_what_array_record_files_do(prepared, reframed, tmp_path_factory):
    again = tmp_path_factory.getbasetemp() / "prepared"
    assert same(load_images("cifar10", reframed), load_images("cifar10", again))
    assert "tensorflow" not in sys.modules


def test_every_damaged_byte_of_a_tfrecord_file_is_found(tmp_path):
    file = tmp_path / "a.tfrecord-00000-of-00001"
    records = [b"", b"x", bytes(50), b"last one"]
    ends = np.cumsum([16 + len(record) for record in records])
    content = b"".join(map(frame, records))
    file.write_bytes(content)
    assert list(tfrecord.read_records(file)) == records
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        record = int(np.searchsorted(ends, at, "right"))
        with pytest.raises(ValueError, match=rf"^{file.name}, record {record}: "):
            list(tfrecord.read_records(file))
        file.write_bytes(content[:at])
        if at in (0, *ends):
            assert list(tfrecord.read_records(file)) == records[:record]
        else:
            with pytest.raises(ValueError, match=rf"record {record}: the file ends before the"):
                list(tfrecord.read_records(file))


def test_damaged_tfrecord_files_are_an_error(reframed):
    file = reframed / "cifar10/3.0.2/cifar10-train.tfrecord-00001-of-00002"
    content = file.read_bytes()
    damaged = bytearray(content)
    damaged[-20] ^= 1
    second = 16 + struct.unpack_from("<Q", content)[0]
    for wrong, message in (
        (damaged, rf"damaged or incomplete.*{file.name}, record 34: its checksum"),
        (content[:-5], rf"damaged or incomplete.*{file.name}, record 34: the file ends"),
        (content + frame(b"no example"), "damaged or incomplete"),
        (b"", "damaged or incomplete"),
        (frame(b"no example") + content[second:], "damaged or incomplete"),
    ):
        file.write_bytes(wrong)
        with pytest.raises(DatasetError, match=message):
            load_images("cifar10", reframed)
    file.unlink()
    with pytest.raises(DatasetError, match="damaged or incomplete"):
        load_images("cifar10", reframed)


def test_checksums_of_records_of_every_length(monkeypatch):
    content = np.random.default_rng(0).integers(0, 256, 300, np.uint8)
    lengths = np.array([*range(70), 127, 128, 129, 200, 0])
    starts = np.arange(len(lengths))
    sums = tfrecord.crc32c(content, starts, lengths)
    masked = ((sums >> 15) | (sums << 17)) + np.uint32(0xA282EAD8)
    stretches = [content[s : s + n].tobytes() for s, n in zip(starts, lengths, strict=True)]
    assert masked.tobytes() == b"".join(map(masked_crc, stretches))
    # In batches of any size, whatever the order of the lengths.
    for most in (1, 100, 1000):
        monkeypatch.setattr(tfrecord, "BATCH_BYTES", most)
        parts = [
            tfrecord.crc32c(content, starts[b], lengths[b]) for b in tfrecord._batches(lengths)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), sums)
        assert all(
            len(lengths[b]) * max(lengths[b]) <= most or len(lengths[b]) == 1
            for b in tfrecord._batches(lengths)
        )


def test_a_wrong_data_dir_says_what_is_wrong(prepared, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match=r"data_dir = .*nowhere does not exist"):
        load_images("cifar10", tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"TFDS_DATA_DIR = .*file is not a folder"):
        load_images("cifar10")
    for inside in ("cifar10", "cifar10/3.0.2"):
        with pytest.raises(DatasetError, match=f"expected the folder above.*{prepared}'$"):
            load_images("cifar10", prepared / inside)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar11", "near names: 'cifar10_1', 'cifar10', 'cifar100'"),
        ("digit", "near names: 'digits'"),
        ("zzzzzz", "nor a dataset of tfds$"),
        ("pets/cats", r"nor a dataset of tfds \(a folder of your own would be './pets/cats'\)"),
        ("../cifar10", "../cifar10 does not exist"),
        ("cifar10/../cifar10", "does not exist"),
        ("CIFAR10", "expected a dataset's name"),
    ],
)
def test_an_unknown_name_is_never_another_dataset(name, message, prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    with pytest.raises(DatasetError, match=message):
        jaxsvm.load_dataset(name)


def test_no_name_is_no_name():
    with pytest.raises(ValueError, match="name = '': expected a path, as text"):
        jaxsvm.load_dataset("")


def test_configurations_are_named(prepared):
    (prepared / "cifar10").rename(prepared / "config")
    (prepared / "cifar10").mkdir()
    (prepared / "config").rename(prepared / "cifar10/config")
    with pytest.raises(DatasetError, match="name one of 'cifar10/config'"):
        load_images("cifar10", prepared)


def test_without_a_network_the_error_says_what_to_run(tmp_path, serve):
    (tmp_path / "cifar10" / "3.0.2.incompleteABC").mkdir(parents=True)
    serve("cifar10", b"").close()
    with pytest.raises(DatasetError, match=r"holds cifar10.*load_dataset\('cifar10'\) once with a"):
        load_images("cifar10", tmp_path)


def test_a_wrong_download_is_refused(tmp_path, serve):
    content = archive(*raw_batches("cifar10"))
    serve("cifar10", content, sha256=hashlib.sha256(b"another").hexdigest())
    with pytest.raises(DatasetError, match=r"not what tfds expects: remove .*downloads"):
        load_images("cifar10", tmp_path)
    assert not list(tmp_path.glob("cifar10/3*"))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_original_archive_is_asked_for_with_its_checksum(name, tmp_path):
    builder = prepare._builder(name, tmp_path)
    facts = builder.url_infos[builder._cifar_info.url]
    assert builder.name == name
    assert facts.size > 100_000_000
    assert len(facts.checksum) == 64


def test_a_cut_batch_is_refused(tmp_path, serve):
    facts, batches, names = raw_batches("cifar10")
    batches["data_batch_3.bin"] = batches["data_batch_3.bin"].ravel()[:-1]
    serve("cifar10", archive(facts, batches, names))
    with pytest.raises(DatasetError, match="expected a multiple of 3073"):
        load_images("cifar10", tmp_path)
    assert not list(tmp_path.glob("cifar10/3.0.2"))
