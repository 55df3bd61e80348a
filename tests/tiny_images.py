"""CIFAR-10 and CIFAR-100 of a few images each, as an archive that tfds downloads and as files.

The archive has the layout of the original ones and is served from 127.0.0.1, so that all of the way
from a download to the decoded images is gone through.
"""

import contextlib
import http.server
import io
import json
import struct
import tarfile
import threading

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from tensorflow_datasets.core.download import checksums
from tensorflow_datasets.image_classification import cifar

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


@contextlib.contextmanager
def served(content):
    """Serve an archive while the block runs; yield its address."""

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
    try:
        yield f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
    finally:
        server.shutdown()
        server.server_close()


def downloads(name, url, size, sha256):
    """Return ``_cifar_info`` and ``url_infos`` of a builder that downloads from there."""
    info = checksums.UrlInfo(size=size, checksum=sha256, filename="archive.tar.gz")
    facts = vars(cifar)[name.capitalize()]._cifar_info.fget
    return property(lambda self: facts(self)._replace(url=url)), {url: info}


def masked_crc(data):
    """The checksum of a frame, bit by bit as RFC 3720 has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def frame(record):
    length = struct.pack("<Q", len(record))
    return length + masked_crc(length) + record + masked_crc(record)


def reframe(folder):
    """Make TFRECORD files of a prepared cifar10's, the training part in two of them."""
    for file in folder.glob("*.array_record*"):
        records = ArrayRecordReader(str(file)).read_all()
        cuts = [0, 25, 60] if "train" in file.name else [0, len(records)]
        for i, start in enumerate(cuts[:-1]):
            name = file.name.replace("array_record-00000-of-00001", f"tfrecord-{i:05d}-of-")
            frames = b"".join(map(frame, records[start : cuts[i + 1]]))
            (folder / f"{name}{len(cuts) - 1:05d}").write_bytes(frames)
        file.unlink()
    content = json.loads((folder / "dataset_info.json").read_text())
    content["fileFormat"] = "tfrecord"
    for split in content["splits"]:
        template = split["filepathTemplate"]
        split["filepathTemplate"] = template.replace("array_record", "tfrecord")
        if split["name"] == "train":
            split["shardLengths"] = ["25", "35"]
    (folder / "dataset_info.json").write_text(json.dumps(content))
