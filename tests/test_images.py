"""tfds datasets on disk: prepared from a local server without TensorFlow, read, kept, damaged."""

import hashlib
import http.server
import io
import json
import shutil
import sys
import tarfile
import tempfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.image_classification import cifar

import jaxsvm
from jaxsvm import DatasetError
from jaxsvm.datasets import prepare
from jaxsvm.datasets import tfds as images
from jaxsvm.datasets.tfds import load_images

pytestmark = pytest.mark.any_precision

PER_FILE = 12  # images in each file of the tiny archives


def raw_batches(name):
    """{file: (PER_FILE, labels + 3072) bytes}, in the layout of the original binary archives."""
    rng = np.random.default_rng(0)
    columns = {"cifar10": [10], "cifar100": [20, 100]}[name]
    facts = vars(cifar)[name.capitalize()](data_dir="unused")._cifar_info
    batches = {}
    for file in [*facts.train_files, *facts.test_files]:
        labels = [rng.integers(0, n, (PER_FILE, 1), np.uint8) for n in columns]
        # Smooth along a row of a plane, so that a wrong order of the planes cannot go unseen.
        pixels = np.cumsum(rng.integers(0, 3, (PER_FILE, 3072), np.uint8), axis=1, dtype=np.uint8)
        batches[file] = np.concatenate([*labels, pixels], axis=1)
    names = {
        file: "".join(f"{file[0]}{i}\n" for i in range(n)) + "\n"
        for file, n in zip(facts.label_files, columns, strict=True)
    }
    return facts, batches, names


def archive(facts, batches, names):
    """The tar.gz as bytes."""
    files = {file: batch.tobytes() for file, batch in batches.items()}
    files |= {file: text.encode() for file, text in names.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(facts.prefix + file)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def serve(monkeypatch):
    """serve(name, content, sha256=None): tfds downloads that dataset's archive from 127.0.0.1."""
    servers = []

    def start(name, content, sha256=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()

            def do_GET(self):
                self.do_HEAD()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        stock = tfds.builder_cls(name)
        url = f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
        facts = stock._cifar_info.fget
        info = checksums.UrlInfo(
            size=len(content),
            checksum=sha256 or hashlib.sha256(content).hexdigest(),
            filename="archive.tar.gz",
        )
        monkeypatch.setattr(
            stock, "_cifar_info", property(lambda self: facts(self)._replace(url=url))
        )
        monkeypatch.setattr(stock, "url_infos", {url: info})
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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
        load_images("cifar10", once)
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
    ["flip images", "flip labels", "flip header", "cut", "empty", "remove", "manifest", "list"],
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
        (folder / "manifest.json").write_text("{" if damage == "manifest" else "[]")
    again = load_images("cifar10", prepared)
    for array, wanted in zip((*again.train, *again.test), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "test_images.npy",
        "test_labels.npy",
        "train_images.npy",
        "train_labels.npy",
    ]


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


@pytest.mark.parametrize("damage", ["missing", "empty", "json", "features", "splits"])
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
    else:
        content = json.loads(info.read_text())
        content["splits"] = [s for s in content["splits"] if s["name"] == "train"]
        info.write_text(json.dumps(content))
    expected = "expected train and test" if damage == "splits" else "damaged or incomplete"
    with pytest.raises(DatasetError, match=expected):
        load_images("cifar10", prepared)


def test_tfrecord_files_are_refused_by_name(prepared):
    info = prepared / "cifar10/3.0.2/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(DatasetError, match="tfrecord files, which cannot be read without TensorF"):
        load_images("cifar10", prepared)


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
        ("../cifar10", "expected a dataset's name"),
        ("cifar10/../cifar10", "expected a dataset's name"),
        ("CIFAR10", "expected a dataset's name"),
        ("", "expected a dataset's name"),
    ],
)
def test_an_unknown_name_is_never_another_dataset(name, message, prepared):
    with pytest.raises(DatasetError, match=message):
        jaxsvm.load_dataset(name, data_dir=prepared)


def test_configurations_are_named(prepared):
    (prepared / "cifar10").rename(prepared / "config")
    (prepared / "cifar10").mkdir()
    (prepared / "config").rename(prepared / "cifar10/config")
    with pytest.raises(DatasetError, match="name one of 'cifar10/config'"):
        load_images("cifar10", prepared)


def test_without_a_network_the_error_says_what_to_run(tmp_path, serve):
    (tmp_path / "cifar10" / "3.0.2.incompleteABC").mkdir(parents=True)
    server = serve("cifar10", b"")
    server.shutdown()
    server.server_close()
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
