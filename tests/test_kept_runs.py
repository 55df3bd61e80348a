"""Runs of a section that was cut: what was kept of them, and the bits of an unbroken one."""

import contextlib

import jax
import numpy as np
import optax
import pytest

import jaxsvm
from experiments.shared import kept_runs, progress
from experiments.shared.kept_runs import kept_in
from experiments.shared.progress import progress_run
from experiments.shared.timing import timed
from jaxsvm import Objective
from tests.problems import problem

pytestmark = [pytest.mark.any_precision, pytest.mark.experiments]


def a_run(optimizer, num_steps=30):
    W, data = problem(0)
    return progress_run(optimizer, jax.random.key(1), W, data, num_steps, num_chunks=10)


OBJECTIVE = Objective(reg=0.1)
OPTIMIZERS = {
    "local search": jaxsvm.local_search(OBJECTIVE, step_size=0.1, block_size=3),
    "Adam, mini-batch": jaxsvm.from_optax(optax.adam(0.1), OBJECTIVE, batch_size=5),
}


def assert_same_bits(got, expected):
    for name in ("state", "info", "path_steps", "path", "divergence"):
        jax.tree.map(np.testing.assert_array_equal, getattr(got, name), getattr(expected, name))


class Cut:
    """`timed`, which fails once, at some call, and counts its calls."""

    def __init__(self, at, error):
        self.at, self.error, self.calls = at, error, 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return timed(*arguments)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("error", "seconds"), [(KeyboardInterrupt(), 1e9), (SystemExit(), 0.0)], ids=["ctrl-c", "kill"]
)
def test_a_run_that_was_cut_goes_on(name, error, seconds, tmp_path, monkeypatch):
    expected = a_run(OPTIMIZERS[name])
    monkeypatch.setattr(kept_runs, "SECONDS", seconds)
    monkeypatch.setattr(progress, "WORTH_KEEPING_SECONDS", 0.0)
    chunks = Cut(at=3, error=error)
    monkeypatch.setattr(progress, "timed", chunks)
    with pytest.raises(type(error)), kept_in(tmp_path / "runs"):
        a_run(OPTIMIZERS[name])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["000"]
    chunks.calls = 3
    whole = len(expected.path_steps) - 1
    with contextlib.suppress(RuntimeError), kept_in(tmp_path / "runs"):
        assert_same_bits(a_run(OPTIMIZERS[name]), expected)
        assert chunks.calls == 3 + whole - 2  # the two chunks before the cut are not run again
        # The next one of the section has a place of its own.
        a_run(OPTIMIZERS[name], num_steps=9)
        assert (tmp_path / "runs" / "001").is_dir()
        chunks.calls, chunks.at = 0, 1  # no chunk after this
        raise RuntimeError
    with kept_in(tmp_path / "runs"):
        assert_same_bits(a_run(OPTIMIZERS[name]), expected)


def test_what_was_kept_of_another_run_does_not_count(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "WORTH_KEEPING_SECONDS", 0.0)
    search = OPTIMIZERS["local search"]
    with contextlib.suppress(RuntimeError), kept_in(tmp_path):
        a_run(search, num_steps=10)
        raise RuntimeError
    expected = a_run(search)
    with kept_in(tmp_path):
        assert_same_bits(a_run(search), expected)
    assert "begins again: it is of another run" in capsys.readouterr().err


def test_what_does_not_fit_the_run_does_not_count(tmp_path, monkeypatch, capsys):
    # As after a change of the code: the same run in name, and another state.
    monkeypatch.setattr(progress, "WORTH_KEEPING_SECONDS", 0.0)
    search, adam = OPTIMIZERS.values()
    with contextlib.suppress(RuntimeError), kept_in(tmp_path):
        a_run(search)
        raise RuntimeError
    expected = a_run(adam)
    with kept_in(tmp_path):
        assert_same_bits(a_run(adam), expected)
    assert "begins again: array" in capsys.readouterr().err


def test_damage_is_said_and_the_run_begins_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "WORTH_KEEPING_SECONDS", 0.0)
    monkeypatch.setattr(kept_runs, "SECONDS", np.inf)  # nothing is kept on the way, however slow
    search = OPTIMIZERS["local search"]
    with contextlib.suppress(RuntimeError), kept_in(tmp_path):
        expected = a_run(search)
        raise RuntimeError
    (file,) = tmp_path.glob("000/*.npz")
    file.write_bytes(file.read_bytes()[:-100])
    with kept_in(tmp_path):
        assert_same_bits(a_run(search), expected)
    assert file.name in capsys.readouterr().err


def test_nothing_is_kept_outside_of_a_section(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_runs, "SECONDS", 0.0)
    monkeypatch.setattr(progress, "WORTH_KEEPING_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    a_run(OPTIMIZERS["local search"])
    assert not list(tmp_path.iterdir())
