"""Devices and processes by the command line: the bits of one device, and what a kill leaves."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.shared import options
from experiments.shared.record import reproducible
from tests.children import free_address, said, said_by, started

pytestmark = [pytest.mark.any_precision, pytest.mark.timeout(900)]
SEARCH = ["--seeds", "2", "--num-steps", "500"]  # each block of them is saved


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Examples of which 13,000 are to learn from, four segments of rows."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(17_000, 6)).astype(np.float32)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", np.argmax(X[:, :3] + rng.normal(size=(17_000, 3)), axis=1))
    return ["--X", str(folder / "X.npy"), "--y", str(folder / "y.npy"), "--out", str(folder / "r")]


def together(count, *arguments):
    """Start so many processes of one run."""
    place = ["--coordinator", free_address(), "--num-processes", count]
    return [started(*arguments, *place, "--process-id", i) for i in range(count)]


def records(files, name):
    """Return a run's rows, and what of its record does not depend on clock and host."""
    folder = Path(files[-1]) / name
    metrics = reproducible(json.loads((folder / "metrics.json").read_text()))
    return (folder / "metrics.jsonl").read_text(), metrics


@pytest.fixture(scope="module")
def whole(files):
    """The records of a search on one device that nothing interrupted."""
    status, _, err = said(started("-m", "tests.team_child", *files, *SEARCH, "--name", "whole"))
    assert status == 0, err
    return records(files, "whole")


def test_fit_on_four_devices_is_fit_on_one(files):
    for name, devices in (("one", 1), ("four", 4)):
        status, _, err = said(
            started(
                "-m", "experiments.fit", *files, "--regs", "0.01", "1e-4", "--name", name,
                "--devices", devices,
            )
        )  # fmt: skip
        assert status == 0, err
    assert records(files, "one") == records(files, "four")
    one, four = (Path(files[-1], name, "model.npz").read_bytes() for name in ("one", "four"))
    assert one == four


@pytest.mark.parametrize(("count", "victim", "goes_on"), [(2, 0, 4), (4, 2, 1)])
def test_the_others_name_a_killed_process_and_the_run_goes_on(files, whole, count, victim, goes_on):
    name = f"killed-{count}"
    command = ["-m", "tests.team_child", *files, *SEARCH, "--name", name]
    processes = together(count, *command)
    while not list(Path(files[-1], name).glob("**/unfinished/**/step-*")):
        assert processes[0].poll() is None, said(processes[0])
        time.sleep(0.02)
    began = time.monotonic()
    processes[victim].send_signal(signal.SIGKILL)
    for i, process in enumerate(processes):
        status, _, err = said(process)
        if i != victim:
            assert status == 3, err
            who = "the first process, number 0," if victim == 0 else f"process {victim} of {count}"
            assert f"error: {who}" in err
    assert time.monotonic() - began < 60
    status, _, err = said(started(*command, "--devices", goes_on))
    assert status == 0, err
    assert "begins again" not in err
    assert records(files, name) == whole


FAKE = """if True:
    import sys
    from pathlib import Path
    from tests import fake_section as fake
    from experiments.shared.runner import execute
    out, event, address, count, number = sys.argv[1:]
    place = {"coordinator": address, "num_processes": int(count), "process_id": int(number)}
    config = fake.Config(out=Path(out), name="run", event=event, **place)
    sys.exit(execute("fakes", [(fake, config)], config))
"""


@pytest.mark.parametrize(
    ("event", "status", "said_by_all"),
    [
        ("full", 5, "[Errno 28] No space left on device"),
        ("diverged", 3, "fake_section: too fast diverged; see "),
    ],
)
def test_what_goes_wrong_in_the_first_process_is_the_others_end_too(
    event, status, said_by_all, tmp_path
):
    address = free_address()
    processes = [started("-c", FAKE, tmp_path, event, address, 2, i) for i in range(2)]
    for process in processes:
        found, _, err = said(process)
        assert found == status, err
        assert f"error: {said_by_all}" in err


def test_processes_read_their_rows_and_find_the_same(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12_500, 128)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    y = np.argmax(X[:, :3] + 0.5 * rng.normal(size=(12_500, 3)), axis=1)
    np.save(tmp_path / "y.npy", y.astype(np.int32))
    found = set()
    for count in (1, 2):
        for line in said_by(count, "-m", "tests.processes_child", tmp_path / str(count)):
            share, digest = line.split()
            found.add(digest)
            # The system reads some pages ahead.
            assert 1 / count <= float(share) <= 1 / count + 0.2
    assert len(found) == 1


@pytest.mark.usefixtures("cifar10")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_process_has_its_own_rows_of_cifar10_in_memory():
    alone, *of_two = (
        line.split() for count in (1, 2) for line in said_by(count, "-m", "tests.memory_child")
    )
    for added, digest in of_two:
        # Half of the training part, and all of the others: half plus at most 20 %.
        assert int(added) <= 0.7 * int(alone[0])
        assert digest == alone[1]


def test_what_cannot_be_shared_is_refused_in_one_line(files):
    status, out, err = said(started("-m", "experiments", "--devices", 2, *files[-2:]))
    assert (status, out) == (2, "")
    assert err.startswith("error: devices = 2 in all: the 1,348 examples to learn from cannot be")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"devices": 3}, "devices = 3: expected a power of two"),
        ({"coordinator": "here"}, "coordinator = 'here': expected host:port"),
        ({"coordinator": "a:1"}, "process_id = None with coordinator = a:1"),
        ({"process_id": 0}, "process_id = 0 with coordinator = None"),
        (
            {"coordinator": "a:1", "process_id": 2, "num_processes": 2},
            "process_id = 2 with num_processes = 2: expected 0 to 1",
        ),
        ({"coordinator": "auto", "num_processes": 2}, "num_processes = 2 with coordinator = auto"),
    ],
)
def test_bad_hardware_is_refused(given, refused):
    with pytest.raises(ValueError, match="^" + refused):
        options.Config(**given)


def test_a_section_for_one_process_says_why(files):
    status, _, err = said(
        started(
            "-m", "experiments.features", *files, "--coordinator", free_address(),
            "--num-processes", 2, "--process-id", 1,
        )
    )  # fmt: skip
    assert status == 2
    assert "features cannot be run by several processes: it writes the features to one file" in err
