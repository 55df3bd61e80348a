"""Runs that are ended and go on: nothing finished is lost, and what failed is said."""

import errno
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import experiments.__main__ as notes
from experiments import predict, race, random_search
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import descent, harness
from experiments.shared import (
    failures,
    options,
    progress,
    searches,
    signals,
    strategies,
    workers,
)
from experiments.shared import folder as folders
from experiments.shared.environment import environment
from experiments.shared.options import Source
from experiments.shared.record import reproducible, trace
from experiments.shared.results import read_result, write_result
from experiments.shared.runner import execute
from experiments.shared.text import MARKDOWN, verbatim
from jaxsvm import Model, Objective, gradient_descent, load_dataset
from jaxsvm.optimizers.divergence import find_divergence
from tests import fake_section
from tests.test_experiments import Page, check_report

pytestmark = pytest.mark.experiments

ROOT = Path(__file__).parents[1]


# --- what is kept of a section ---


class Point(NamedTuple):
    x: float
    y: Any


def test_a_result_comes_back_to_the_bit_and_to_the_type(tmp_path):
    strange = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]  # a NaN with a sign
    result: dict[Any, Any] = {
        "array": np.array([1.0, -0.0, np.nan, np.inf], np.float32),
        "empty": np.zeros((0, 3), np.int8),
        "scalar": np.float32(0.1),
        "flag": np.bool_(True),
        "zero": np.array(7),
        "names": np.array(["a", "ß"]),
        "big endian": np.arange(3, dtype=">i4"),
        "jax": jnp.arange(3),
        "floats": [0.1, -0.0, 1e-320, float("inf"), strange],
        "rest": (None, True, 2**70, "text", [], (), {}),
        "point": Point(0.5, [Point(1.5, None)]),
        "a.b": np.zeros(1),
        "a": {"b": np.ones(1)},
        "header": np.full(1, 3),
        1: {"x/y": np.full(2, 4), 2.5: "keys"},
    }
    path = tmp_path / "arrays.npz"
    write_result(path, result, {"seconds": 0.1})
    found, about = read_result(path)
    assert about == {"seconds": 0.1}
    assert list(found) == list(result)
    for key, value in result.items():
        if isinstance(value, np.ndarray | np.generic):
            assert type(found[key]) is type(value)
            assert found[key].dtype == value.dtype
            assert found[key].shape == value.shape
            assert found[key].tobytes() == value.tobytes()
    bits = [struct.pack(">d", value).hex() for value in found["floats"]]
    assert bits == [struct.pack(">d", value).hex() for value in result["floats"]]
    assert found["rest"] == result["rest"]
    assert (found["point"].x, found["point"].y[0].x) == (0.5, 1.5)
    assert (found["a.b"][0], found["a"]["b"][0], found["header"][0]) == (0, 1, 3)
    assert found[1][2.5] == "keys"
    np.testing.assert_array_equal(found[1]["x/y"], 4)
    np.testing.assert_array_equal(found["jax"], [0, 1, 2])
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["jax"], [0, 1, 2])
    with pytest.raises(TypeError, match=r"a\.0 is a object: expected arrays"):
        write_result(path, {"a": [object()]}, {})
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        read_result(path)


# --- runs that go on ---


class Runs:
    """Runs of fake sections in one folder."""

    def __init__(self, out):
        self.out, self.folder = out, out / "run"

    def __call__(self, seeds=5, again=False, at_a_time=None, **events):
        """Run sections, given as ``name="event"``, and return the exit status."""
        settings: dict[str, Any] = {"seeds": seeds, "again": again, "out": self.out, "name": "run"}
        configs = [fake_section.Config(event=event, **settings) for event in events.values()]
        sections = list(zip(map(fake_section.called, events), configs, strict=True))
        return execute("fakes", sections, configs[0], at_a_time)

    def calls(self):
        """Return which events happened so far."""
        return [line.split()[0] for line in (self.out / "calls").read_text().splitlines()]


@pytest.fixture
def run(tmp_path):
    return Runs(tmp_path)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_was_ended_goes_on_and_has_the_same_bits(run, capsys):
    (run.out / "mended").touch()  # whatever the event: an unbroken run
    assert run(first="found", second="interrupt", third="found") == 0
    unbroken = files_of(run.folder)
    shutil.rmtree(run.folder)
    (run.out / "mended").unlink()
    (run.out / "calls").unlink()

    assert run(first="found", second="interrupt", third="found") == 130
    err = capsys.readouterr().err
    assert err.startswith("error: interrupted: 1 of 3 sections are kept in ")
    assert "Traceback" not in err
    (run.folder / ".metrics.json.abcd_123").write_text("half")  # as a kill leaves it
    shutil.copytree(run.folder, run.out / "copy")
    (run.out / "mended").touch()
    assert run(first="found", second="interrupt", third="found") == 0
    assert run.calls() == ["found", "interrupt", "interrupt", "found"]
    went_on = files_of(run.folder)
    assert went_on.keys() == unbroken.keys()
    for name in ("metrics.jsonl", "report.html", "report.md", "a_line.svg", "options.json"):
        assert went_on[name] == unbroken[name], name
    records = [json.loads(files["metrics.json"]) for files in (went_on, unbroken)]
    assert records[0] != records[1]  # a clock is among the results
    assert reproducible(records[0]) == reproducible(records[1])
    assert "losses" in reproducible(records[0])["sections"]["third"]["results"]

    # A finished run is left as it is, and said to be; a damaged result is measured again.
    assert run(first="found", second="interrupt", third="found") == 0
    assert "nothing was left to compute" in capsys.readouterr().out
    assert files_of(run.folder) == went_on
    path = run.folder / "third" / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-100])
    assert run(first="found", second="interrupt", third="found") == 0
    assert run.calls()[4:] == ["found"]
    assert "third is run again" in capsys.readouterr().err


def test_a_finished_run_finds_what_was_changed_and_writes_it_again(run, capsys):
    """Numbers too that leave a file of the right form."""
    assert run(first="found") == 0
    whole = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["sections"]["first"]["results"]["value"] == pytest.approx(0.1)
    for name, old, new in (
        ("metrics.json", b"0.10000000149011612", b"0.20000000149011612"),
        ("metrics.json", b'"cores": ', b'"cores": 1'),
        ("metrics.json", b"\n ", b"\r "),
        ("metrics.jsonl", b'"step": 1', b'"step": 3'),
        ("report.md", b"0.1", b"0.2"),
        ("report.html", b"0.1", b"0.2"),
        ("first/a_line.svg", b"stroke", b"strike"),
    ):
        path = run.folder / name
        assert old in whole[path]
        path.write_bytes(whole[path].replace(old, new, 1))
        assert run(first="found") == 0
        assert f"{path} is incomplete, damaged or" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in whole} == whole, name
    for path in whole:
        if path.name not in ("arrays.npz", "options.json"):
            path.unlink()
            assert run(first="found") == 0
            assert path.read_bytes() == whole[path]
    capsys.readouterr()
    assert run(first="found") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "nothing was left to compute" in said.out
    assert run.calls() == ["found"]


def test_other_options_are_refused_and_again_computes_anew(run, capsys):
    assert run(first="found") == 0
    before = files_of(run.folder)
    assert run(first="found", seeds=3) == failures.BAD_INPUT
    err = capsys.readouterr().err
    assert "(seeds was 5, is 3)" in err
    assert "--again" in err
    assert err.count("\n") == 1
    assert run(first="found", second="found") == failures.BAD_INPUT
    assert "sections was ['first'], is ['first', 'second']" in capsys.readouterr().err
    assert files_of(run.folder) == before
    assert run.calls() == ["found"]
    assert run(first="found", again=True, seeds=3) == 0
    assert run.calls() == ["found", "found"]
    assert run(first="found", seeds=3) == 0
    assert run.calls() == ["found", "found"]


def test_a_sections_runs_are_kept_until_its_result_is(run, monkeypatch, capsys):
    """A disk that is full when an hour's section ends must not cost the hour."""

    def full(path, result, about):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    unfinished = run.folder / "first" / "unfinished"
    with monkeypatch.context() as patch:
        patch.setattr(folders, "write_result", full)
        assert run(first="saves") == failures.CANNOT_WRITE
    assert f"'{unfinished.parent / 'arrays.npz'}'" in capsys.readouterr().err
    assert [path.name for path in unfinished.glob("*/*.npz")] == ["step-000000000001.npz"]
    assert run(first="saves") == 0
    assert not unfinished.exists()
    unfinished.mkdir()  # as a kill between the two leaves it
    assert run(first="saves") == 0
    assert not unfinished.exists()


def test_a_disk_that_is_full_at_any_file_of_a_run_loses_nothing(run, monkeypatch, capsys):
    mkstemp = tempfile.mkstemp
    assert run(first="found") == 0
    unbroken = files_of(run.folder)
    named = []
    for fails in itertools.count(1):
        shutil.rmtree(run.folder)
        calls = itertools.count(1)

        def limited(dir, prefix, calls=calls, fails=fails):
            if next(calls) == fails:
                named.append(prefix.strip("."))
                raise OSError(errno.ENOSPC, "No space left on device", str(Path(dir, prefix)))
            return mkstemp(dir=dir, prefix=prefix)

        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "mkstemp", limited)
            status = run(first="found")
        err = capsys.readouterr().err
        if len(named) < fails:
            break
        assert status == failures.CANNOT_WRITE
        assert "No space left on device" in err
        assert f".{named[-1]}." in err
        assert err.count("\n") == 1
        assert run(first="found") == 0
        found = files_of(run.folder)
        assert found.keys() == unbroken.keys()
        for name in ("metrics.jsonl", "report.md", "a_line.svg", "options.json"):
            assert found[name] == unbroken[name], name
        capsys.readouterr()
    assert named == [
        "options.json", "arrays.npz", "a_line.svg", "report.md", "report.html", "metrics.jsonl",
        "metrics.json",
    ]  # fmt: skip
    # The first and the last run measured, and those in between once, but for the one whose arrays
    # could not be kept.
    assert len(run.calls()) == 2 + len(named) + 1


def test_a_link_in_the_runs_place_is_not_followed(run, capsys):
    (run.out / "elsewhere").mkdir()
    for target in ("elsewhere", "nowhere"):
        run.folder.symlink_to(target)
        assert run(first="found") == failures.CANNOT_WRITE
        err = capsys.readouterr().err
        assert err == (
            f"error: {run.folder} is a link to {target}: choose another --name (--out may be one)\n"
        )
        run.folder.unlink()
    assert list(run.out.iterdir()) == [run.out / "elsewhere"]
    assert not list((run.out / "elsewhere").iterdir())


def test_options_of_another_form_are_damaged(run, capsys):
    assert run(first="found") == 0
    for text in ("null", "[]", '{"sections": null}', '{"sections": ["first"]}', '{"data": 1}'):
        (run.folder / "options.json").write_text(text)
        is_form = text == "[]"  # of no sections
        status = failures.BAD_INPUT if is_form else failures.CANNOT_WRITE
        assert run(first="found") == status
        err = capsys.readouterr().err
        assert ("sections was [], is ['first']" if is_form else "is damaged") in err
        assert err.count("\n") == 1
    assert run.calls() == ["found"]


def test_another_file_of_data_is_another_run(tmp_path):
    file = tmp_path / "X.csv"
    file.write_text("1")
    config = options.Config(X=file)
    then = folders.asked_for("t", {"a": config})
    assert folders.changes(then, folders.asked_for("t", {"a": config})) == []
    file.write_text("2")
    (change,) = folders.changes(then, folders.asked_for("t", {"a": config}))
    assert change.startswith(f"{file} was ")
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    before = folders.digest(tmp_path / "photos")
    (tmp_path / "photos" / "cats" / "a.png").write_text("")
    assert folders.digest(tmp_path / "photos") != before


def test_a_result_of_another_version_is_said_to_be_one(run, monkeypatch):
    assert run(first="found", second="mistake") == failures.MISTAKE
    (run.out / "mended").touch()
    now = environment() | {"cores": 77}
    monkeypatch.setattr("experiments.shared.run.environment", lambda: now)
    assert run(first="found", second="mistake") == 0
    text = (run.folder / "report.md").read_text()
    assert "`first`, measured by an earlier run: `cores" in text
    assert "is 77`" in text
    assert "`second`, measured" not in text


# --- sections that fail ---


def test_a_mistake_is_shown_and_the_others_run(run, capsys):
    events = {"first": "shown", "second": "found", "third": "mistake", "fourth": "object"}
    assert run(**events) == failures.MISTAKE
    err = capsys.readouterr().err
    assert "RuntimeError: ``` <script>alert(1)</script>" in err
    assert "in mistake" in err
    errors = (run.folder / "error.txt").read_text()
    assert errors.count("Traceback") == 3
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert list(metrics["sections"]) == ["second"]
    assert list(metrics["failed"]) == ["first", "third", "fourth"]
    text = (run.folder / "report.html").read_text()
    assert "script" not in Page(text).seen
    assert "Sections that failed" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; **bold**" in text
    (run.out / "mended").touch()
    assert run(**events) == 0
    assert run.calls()[4:] == ["shown", "mistake", "object"]
    assert not (run.folder / "error.txt").exists()
    assert "Sections that failed" not in (run.folder / "report.html").read_text()


def test_verbatim_text_ends_where_it_ends():
    for text in ("```", "````", "**a**"):
        assert MARKDOWN.render(verbatim(text)).count(text) == 1
        assert "<strong>" not in MARKDOWN.render(verbatim(text))


def test_what_our_checks_refuse_is_one_line(run, capsys):
    assert run(first="refuse", second="found") == failures.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("error: first: reg = -1.0: expected a finite number > 0")
    assert err.count("\n") == 1
    assert not (run.folder / "error.txt").exists()
    assert "reg = -1.0" in (run.folder / "report.html").read_text()


def test_without_data_nothing_is_run(run, capsys):
    assert run(first="no data", second="found") == failures.BAD_DATA
    err = capsys.readouterr().err
    assert "absent.csv" in err
    assert err.count("\n") == 1
    assert run.calls() == ["no"]
    assert not run.folder.exists()


def raised(call):
    with pytest.raises((Exception, KeyboardInterrupt)) as caught:
        call()
    return caught.value


def test_exit_statuses_follow_what_was_raised(tmp_path):
    cases: list[tuple[int, Any]] = [
        (failures.BAD_INPUT, lambda: options.Config(seeds=0)),
        (failures.BAD_DATA, lambda: load_dataset(tmp_path / "absent.npz")),
        (failures.CANNOT_WRITE, lambda: (tmp_path / "absent" / "a").write_text("")),
        (failures.MISTAKE, lambda: json.loads("")),  # raised by a `raise`, which is not ours
        (
            failures.MISTAKE,
            lambda: trace(("a",), x=np.zeros((2, 2))),
        ),  # by Python, in a line of ours
    ]
    for status, call in cases:
        assert failures.failure_of(raised(call)).status == status
    refused = failures.failure_of(raised(lambda: load_dataset("No Such Name")))
    assert (refused.status, refused.is_final) == (failures.BAD_INPUT, True)
    found = [failures.Failure(status, "") for status in (2, 5, 3)]
    assert failures.worst(found) == 3
    assert failures.worst([*found, failures.Failure(1, "")]) == 1
    assert failures.worst([]) == 0


def test_options_that_cannot_mean_anything_are_refused():
    for sections, message in (
        ((), "sections is empty"),
        (("race", "race"), "'race' is there twice"),
    ):
        with pytest.raises(ValueError, match=message):
            notes.Config(sections=sections)
    for name in ("..", ".lock", "a/b", "a\nb", "a b", "x" * 65):
        with pytest.raises(ValueError, match="expected one folder name"):
            options.Config(name=name)
    for scale in (0.0, 1e-300, 1e38, float("nan")):
        with pytest.raises(ValueError, match="expected a finite number > 0"):
            random_search.Config(scales=(scale,))


@pytest.mark.parametrize("scales", [(1e38,), (1e-4, 1e38)])
def test_a_scale_at_which_scores_overflow_is_refused(scales):
    """Of several side by side, too."""
    forms: list[searches.Form] = [("centred", scale) for scale in scales]
    with pytest.raises(
        ValueError, match=r"scale = 1e\+38: the loss at try 0 is .*: expected a sma"
    ):
        searches.search_at_random(Source("digits"), forms, 1, 1)


def test_one_of_searches_side_by_side_may_diverge():
    loss = np.array([[1.0, 2.0], [1.0, np.inf], [np.nan, np.inf]])
    sizes = np.arange(6.0).reshape(3, 2)
    info = SimpleNamespace(best_loss=loss, loss=loss, step_size=sizes)
    found = find_divergence(info, 10, [info])
    assert found is not None
    assert (found.step, found.loss, found.step_size) == (11, np.inf, 1.0)
    assert find_divergence(SimpleNamespace(loss=loss[:1]), 10, [info]) is None


def test_the_benchmark_looks_first(tmp_path, monkeypatch, capsys):
    def limits(config):
        raise AssertionError("measured first")

    monkeypatch.setattr("experiments.benchmark.harness.limits", limits)
    (tmp_path / "file").write_text("")
    cases: dict[tuple[str, Any], int] = {
        ("--out", tmp_path / "file"): failures.CANNOT_WRITE,
        ("--landscapes-python", tmp_path / "absent"): failures.BAD_INPUT,
        ("--landscapes-python", shutil.which("true")): failures.BAD_INPUT,
    }
    for (option, value), status in cases.items():
        with pytest.raises(SystemExit) as end:
            benchmark.main(["--size", "tiny", "--out", str(tmp_path), option, str(value)])
        assert end.value.code == status
        err = capsys.readouterr().err
        assert err.startswith(f"error: {option.strip('-').replace('-', '_')} = ")
        assert err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_benchmark_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(harness, "limits", lambda config: harness.Limits(1.0, 1.0))
    monkeypatch.setattr(descent, "run", lambda config: [])
    command = ["descent", "--size", "tiny", "--out", str(tmp_path)]
    with open("/dev/full", "w") as no_room, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", no_room)
        with pytest.raises(SystemExit) as end:
            benchmark.main(command)
    assert end.value.code == failures.CANNOT_WRITE
    assert json.loads((tmp_path / "descent.json").read_text())["rows"] == []
    monkeypatch.setattr("experiments.shared.record.write_text", full)
    with pytest.raises(SystemExit) as end:
        benchmark.main(command)
    assert end.value.code == failures.CANNOT_WRITE
    assert capsys.readouterr().err.splitlines() == [
        "error: standard output cannot be written: No space left on device",
        f"error: [Errno 28] No space left on device: '{tmp_path / 'descent.json'}'",
    ]


def test_predict_tells_bad_input_from_a_mistake(monkeypatch, tmp_path):
    model = Model(np.eye(2, 3), np.zeros(2), np.ones(2), ("a", "b"), (2,))
    monkeypatch.setattr("jaxsvm.load", lambda path: model)
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe,1\n")
    config = predict.Config(tmp_path / "model.npz", tmp_path / "a.csv")
    assert predict.execute(config) == failures.BAD_INPUT
    (tmp_path / "a.csv").write_text("1,2\n")
    monkeypatch.setattr(predict, "answers", lambda *_: np.zeros(2).reshape(3))
    with pytest.raises(ValueError, match="cannot reshape"):
        predict.execute(config)
    monkeypatch.setattr(predict, "answers", fake_section.interrupt)
    monkeypatch.setattr(predict, "read", lambda *_: ())
    assert predict.execute(config) == 130


def test_a_worker_that_is_killed_is_named_and_the_others_run(run, capsys):
    status = run(first="kill", second="found", third="mistake", at_a_time=1)
    assert status == failures.MISTAKE
    assert "error: first: its process was killed (SIGKILL" in capsys.readouterr().err
    assert (run.folder / "second" / "arrays.npz").exists()
    pids = [line.split()[1] for line in (run.out / "calls").read_text().splitlines()]
    assert pids[0] != pids[1] == pids[2]
    assert "TQDM_DISABLE" not in os.environ
    (run.out / "mended").touch()
    assert run(first="kill", second="found", third="mistake") == 0


def test_no_death_is_taken_for_an_answer():
    assert "by itself, with status 0" in workers.Death(0).describe()
    assert "SIGTERM" in workers.Death(-15).describe()


# --- signals ---


def test_a_signal_waits_for_what_is_being_saved(monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before, done = signal.getsignal(signal.SIGTERM), []

    def save():
        with signals.watched() as saving:
            with saving():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("saved")
                assert ended == []
                os.kill(os.getpid(), signal.SIGINT)
                assert ended == [130]  # the second ends the process at once
            done.append("too far")

    def wait():
        with signals.watched():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("too far")

    assert signals.status(raised(save)) == 143
    assert signals.status(raised(wait)) == 130
    assert done == ["saved"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_is_not_lost_where_python_drops_exceptions(capsys):
    class Deleted:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def wait():
        with signals.watched():
            Deleted()
            time.sleep(10)

    began, usual = time.monotonic(), sys.unraisablehook
    assert signals.status(raised(wait)) == 143
    assert time.monotonic() - began < 9
    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is usual


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@linux
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1)])
def test_workers_end_with_their_parent(number, workers, tmp_path):
    script = (
        "import sys; from pathlib import Path; from tests import fake_section as fake\n"
        "from experiments.shared.runner import execute\n"
        f"config = fake.Config(out=Path({str(tmp_path)!r}), name='run')\n"
        "waits = fake.Config(out=config.out, name='run', event='wait')\n"
        "sections = [(fake.called('first'), config), (fake.called('second'), waits)]\n"
        f"sys.exit(execute('fakes', sections, config, {workers}))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    calls, kept = tmp_path / "calls", tmp_path / "run" / "first" / "arrays.npz"
    until(lambda: calls.exists() and "wait" in calls.read_text() and kept.exists())
    pids = [int(line.split()[1]) for line in calls.read_text().splitlines()]
    assert all(map(is_alive, pids))
    parent.send_signal(number)
    _, err = parent.communicate(timeout=30)
    until(lambda: not any(map(is_alive, pids)), 10)
    assert kept.exists()
    if number == signal.SIGTERM:
        assert parent.returncode == 143
        assert "1 of 2 sections are kept" in err
        assert err.count("\n") == 1


def test_a_signal_at_the_very_end_changes_nothing():
    """All is written by then; the object is deleted where Python has its own handlers back."""
    code = """if True:
        import os, signal
        from experiments.shared import signals
        class Last:
            def __del__(self, kill=os.kill, pid=os.getpid()):
                kill(pid, signal.SIGINT)
        signals.install()
        with signals.watched():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        import builtins
        builtins.last = Last()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@linux
@pytest.mark.parametrize("module", ["experiments", "experiments.race", "experiments.predict"])
def test_ctrl_c_in_the_first_moments_is_one_line(module, tmp_path):
    # The real one may be there before it is looked for.
    (tmp_path / "jax.py").write_text("import time\ntime.sleep(60)\n")
    child = subprocess.Popen(
        [sys.executable, "-m", module], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    status = Path(f"/proc/{child.pid}/status")
    bit = 1 << (signal.SIGTERM - 1)
    until(lambda: int(status.read_text().split("SigCgt:")[1].split()[0], 16) & bit)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err == "error: interrupted; nothing was written\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_line(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert failures.say("text") == failures.CANNOT_WRITE
    assert capsys.readouterr().err.startswith("error: standard output cannot be written: ")


# --- a strategy that diverges ---


def test_the_race_leaves_out_what_diverges(monkeypatch, tmp_path):
    near_zero, every = strategies.near_zero, strategies.strategies

    def start(dataset, seed):
        W, key = near_zero(dataset, seed)
        return (W * jnp.nan if seed == 1 else W), key

    def known(dataset, config):
        found = every(dataset, config)
        too_large = gradient_descent(Objective(reg=10.0), step_size=1e9)
        return found | {"Nesterov": found["Nesterov"]._replace(optimizer=too_large)}

    monkeypatch.setattr(strategies, "near_zero", start)
    monkeypatch.setattr(strategies, "strategies", known)
    arrays = race.run(
        race.Config(seeds=3, full_steps=10, strategies=("gradient descent", "Nesterov"))
    )
    found, lost = arrays["strategies"].values()
    np.testing.assert_array_equal(found["diverged"], [False, True, False])
    assert lost["diverged"].all()
    assert np.isnan(found["objective"][1, -1])
    text = check_report(race, arrays, tmp_path)
    assert (
        "Left out: gradient descent diverged in 1 of 3 seeds, Nesterov diverged in 3 of 3" in text
    )
    assert race.diverged(arrays) == ["Nesterov diverged from every seed"]
    only = {**arrays, "strategies": {"Nesterov": lost}}
    assert "Left out: Nesterov" in check_report(race, only, tmp_path)


def test_what_has_no_answer_is_status_3_each_time(tmp_path, capsys):
    config = fake_section.Config(out=tmp_path, name="run")
    section = fake_section.__dict__ | {"diverged": lambda arrays: ["too fast diverged"]}
    for _ in range(2):
        assert execute("fake", [(SimpleNamespace(**section), config)], config) == 3
        out, err = capsys.readouterr()
        report = tmp_path / "run" / "report.html"
        assert err == f"error: fake_section: too fast diverged; see {report}\n"
        assert str(report) in out
        assert report.exists()


@pytest.mark.parametrize("rate", [0.9, 2.0, 3.0, 10.0, 1e3, 1e30])
@pytest.mark.parametrize("growth", [1.0, 0.5])
def test_where_a_run_diverges_is_its_first_bad_loss(rate, growth):
    with np.errstate(over="ignore", invalid="ignore"):
        loss = np.float32(9.0) * np.float32(rate) ** (growth * np.arange(400, dtype=np.float32))
        loss = loss - loss * (loss > 1e38)  # NaN at last
    expected = None
    for step, value in enumerate(loss.tolist()):
        if not value <= 9e4:
            expected = step
            break
    sizes = np.arange(400.0)
    for start in (0, 7):
        info = SimpleNamespace(loss=loss[start:], step_size=sizes[start:])
        before = SimpleNamespace(loss=loss[:start], step_size=sizes[:start])
        where = find_divergence(info, start, [before] if start else [])
        if expected is None:
            assert where is None
        else:
            assert where is not None
            assert where.step == max(expected, start)
            assert where.step_size == max(where.step - 1, 0)
            assert f"step {where.step} with step size" in where.describe()
    assert (expected is None) == (rate < 1)


def test_rows_of_runs_that_diverged_are_filled_up():
    rows = progress.stacked([np.array([1, 2]), np.array([3])])
    np.testing.assert_array_equal(rows, [[1, 2], [3, np.nan]])
    whole = progress.stacked([np.array([1, 2]), np.array([3, 4])])
    assert whole.dtype == np.array([1]).dtype
    assert progress.divergences([False]) == ""
