"""Solves that save themselves: killed anywhere and called again, they end with the same bits."""

import contextlib
import importlib
import shutil
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from experiments.shared import kept_runs
from jaxsvm import Data, Objective
from jaxsvm.certificate import iterate, kept
from jaxsvm.checkpoint import owned, save
from jaxsvm.optimizers.identity import environment
from tests.problems import problem

pytestmark = pytest.mark.any_precision


def make(shape=(60, 7, 3)):
    _, data = problem(3, shape)
    return Data(data.X.astype(jnp.float32), data.y)


DATA, WIDE = make(), make((8, 20, 3))
WEAK = Objective(reg=1e-3)
# By what they go through: data, objective, tolerance, and constants.
CASES = {
    "passes of ascent, then steps": (DATA, WEAK, 1e-4, {"STRONG": 1e-3}),
    "a sample's metric, then all rows'": (
        DATA, WEAK, 1e-4, {"SAMPLE_ROWS": 5, "DEAR": 0.0, "CHEAP": 0.0, "LARGE": 0.0},
    ),
    "float32, then float64": (DATA, WEAK, 1e-8, {}),
    "wide data, rotated": (WIDE, WEAK, 1e-2, {}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_solves_are_saved(monkeypatch):
    monkeypatch.setattr(kept, "WORTH_SECONDS", 0.0)


class Killed(BaseException):
    """What nothing catches."""


def solve(case, folder=None, objective=None, **arguments):
    data, known, tolerance, _ = CASES[case]
    given = {"gap_tolerance": tolerance} | arguments
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return jaxsvm.solve(objective or known, data, folder=folder, **given)


def set_constants(monkeypatch, case, **more):
    for name, value in CASES[case][3].items():
        for module in (iterate, importlib.import_module("jaxsvm.certificate.solve")):
            monkeypatch.setattr(module, name, value, raising=module is iterate)
    for name, value in more.items():
        monkeypatch.setattr(kept, name, value)


def assert_same_bits(got, expected):
    for name in ("W", "dual_variables", "primal", "dual", "gap", "passes"):
        a, b = (np.asarray(getattr(solution, name)) for solution in (got, expected))
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    for name in ("passes", "primal", "dual"):
        a, b = (getattr(solution.history, name) for solution in (got, expected))
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert np.all(np.diff(got.history.seconds) >= 0)


class Saves:
    """`save`, killed right after every so many of its calls; notes what was saved."""

    def __init__(self, every):
        self.every, self.calls, self.moments = every, 0, []

    def __call__(self, folder, checkpoint, **names):
        save(folder, checkpoint, **names)
        self.calls += 1
        self.moments.append((checkpoint.header["moment"], bool(checkpoint.arrays["marks"][2])))
        if self.calls % self.every == 0:
            raise Killed


@pytest.mark.keys
@pytest.mark.parametrize("case", CASES)
def test_a_solve_killed_again_and_again_ends_with_the_same_bits(case, tmp_path, monkeypatch):
    set_constants(monkeypatch, case)
    expected = solve(case)
    saves = Saves(every=2)
    set_constants(monkeypatch, case, SECONDS=0.0, save=saves)
    for _ in range(400):
        with contextlib.suppress(Killed):
            found = solve(case, tmp_path / "solve")
            break
    assert saves.calls == len(expected.history.passes)
    assert_same_bits(found, expected)
    assert list(dict.fromkeys(saves.moments)) == {
        "passes of ascent, then steps": [("Ascent", False), ("Descent", False)],
        "float32, then float64": [("Descent", False), ("Descent", True)],
    }.get(case, [("Descent", False)])


def test_a_sample_gives_way_to_all_rows(monkeypatch):
    """Else the case above would not show what it says."""
    case = "a sample's metric, then all rows'"
    set_constants(monkeypatch, case)
    seen, covariance_of = [], iterate._covariance_of

    def noted(*arguments, rows):
        seen.append(rows)
        return covariance_of(*arguments, rows=rows)

    monkeypatch.setattr(iterate, "_covariance_of", noted)
    tests = len(solve(case).history.passes)
    assert (seen[0], seen[-1]) == (5, 60)
    # Two steps a test, and a covariance every ten steps at most.
    assert len(seen) <= 1 + tests / 5


class Counted:
    """A function that counts its calls, one of which Ctrl-C interrupts."""

    def __init__(self, function, interrupted_at=0):
        self.function, self.interrupted_at, self.calls = function, interrupted_at, 0

    def __call__(self, *arguments, **names):
        self.calls += 1
        if self.calls == self.interrupted_at:
            raise KeyboardInterrupt
        return self.function(*arguments, **names)


@pytest.fixture
def finished(tmp_path):
    case = "wide data, rotated"
    return case, tmp_path / "solve", solve(case, tmp_path / "solve")


def no_steps(*arguments, **names):
    raise AssertionError("a step is taken")


def test_a_finished_solve_is_what_it_was(finished, monkeypatch):
    case, folder, expected = finished
    monkeypatch.setattr(iterate, "_steps", no_steps)
    assert_same_bits(solve(case, folder), expected)
    assert len(list(folder.glob("step-*"))) == 1


def test_a_solve_of_less_than_a_second_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "WORTH_SECONDS", 1e9)
    solve("wide data, rotated", tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_a_smaller_tolerance_goes_on_from_the_end(finished):
    case, folder, loose = finished
    tight = solve(case, folder, gap_tolerance=1e-5)
    assert tight.passes > loose.passes
    assert_same_bits(tight, solve(case, gap_tolerance=1e-5))


def test_more_passes_go_on_from_the_end(tmp_path):
    case = "wide data, rotated"
    first = solve(case, tmp_path, max_passes=20)
    assert first.passes < solve(case).passes
    assert_same_bits(solve(case, tmp_path, max_passes=1000), solve(case, max_passes=1000))


def test_another_solve_is_refused_with_the_difference(finished):
    case, folder, _ = finished
    data, objective, *_ = CASES[case]
    others: dict[str, dict[str, Any]] = {
        "objective reg was 0.001, is 0.1": {"objective": Objective(reg=0.1)},
        "key words was": {"key": jax.random.key(5)},
        "start 0 was not there": {"start": jnp.ones((3, 20), jnp.float32)},
        "another loss": {"objective": Objective(jaxsvm.crammer_singer_loss, reg=1e-3)},
    }
    for words, arguments in others.items():
        with pytest.raises(ValueError, match=words):
            solve(case, folder, **arguments)
    with pytest.raises(ValueError, match=r"holds another solve: data 0\.X was float32"):
        jaxsvm.solve(objective, data._replace(X=data.X + 1), folder=folder)


def test_a_damaged_file_is_passed_over_and_two_are_an_error(tmp_path, monkeypatch):
    case, folder = "wide data, rotated", tmp_path / "solve"
    set_constants(monkeypatch, case, SECONDS=0.0)
    expected = solve(case, folder)
    before, last = sorted(folder.glob("step-*"))
    data, objective, tolerance, _ = CASES[case]
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=f"{last.name}.*Going on from {before.name}"):
        found = jaxsvm.solve(objective, data, gap_tolerance=tolerance, folder=folder)
    assert_same_bits(found, expected)
    for path in folder.glob("step-*"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="no checkpoint that can be used"):
        solve(case, folder)


def test_arrays_that_do_not_fit_are_no_moment(finished, monkeypatch):
    case, folder, _ = finished
    monkeypatch.setattr(iterate.Descent, "arrays", staticmethod(iterate.Ascent.arrays))
    with pytest.raises(ValueError, match="does not fit the solve"):
        solve(case, folder)


def test_a_solve_elsewhere_warns(finished, monkeypatch):
    case, folder, expected = finished
    data, objective, tolerance, _ = CASES[case]
    monkeypatch.setattr(kept, "environment", lambda c: environment(c) | {"jax": "0.0"})
    with pytest.warns(UserWarning, match="goes on elsewhere.*jax was"):
        found = jaxsvm.solve(objective, data, gap_tolerance=tolerance, folder=folder)
    assert_same_bits(found, expected)


def test_ctrl_c_saves_what_is_there(tmp_path, monkeypatch):
    case, folder = "float32, then float64", tmp_path / "solve"
    expected = solve(case)
    with monkeypatch.context() as patch:
        patch.setattr(iterate, "_steps", Counted(iterate._steps, interrupted_at=3))
        with pytest.raises(KeyboardInterrupt):
            solve(case, folder)
    assert [path.name for path in folder.glob("step-*")] == ["step-000000000002.npz"]
    assert_same_bits(solve(case, folder), expected)


def test_a_folder_belongs_to_one_process(tmp_path):
    with owned(tmp_path), pytest.raises(BlockingIOError, match="is running there"):
        solve("wide data, rotated", tmp_path)


def test_a_path_goes_on_at_the_reg_where_it_was_cut(tmp_path, monkeypatch):
    def path(folder=None):
        regs, tolerance = [0.1, 1e-3], 1e-4
        return list(
            jaxsvm.regularization_path(
                Objective(), WIDE, WIDE, regs=regs, gap_tolerance=tolerance, folder=folder
            )
        )

    expected = path()
    path(tmp_path)
    shutil.rmtree(tmp_path / "001")
    steps = Counted(iterate._steps)
    monkeypatch.setattr(iterate, "_steps", steps)
    found = path(tmp_path)
    assert steps.calls == len(expected[1].solution.history.passes)
    for got, wanted in zip(found, expected, strict=True):
        assert (got.reg, got.accuracy) == (wanted.reg, wanted.accuracy)
        assert_same_bits(got.solution, wanted.solution)


def test_a_paths_folder_is_of_one_path(tmp_path, monkeypatch):
    def path(regs=(0.1, 1e-3), gap_tolerance=1e-2, **limits):
        return jaxsvm.regularization_path(
            Objective(), WIDE, WIDE, regs=regs, gap_tolerance=gap_tolerance,
            folder=tmp_path / "path", **limits,
        )  # fmt: skip

    path()
    monkeypatch.setattr(iterate, "_steps", no_steps)
    path(regs=[1e-3, 0.1], gap_tolerance=np.float64(1e-2))
    why = "Each solve starts from the one before, so what is there cannot go on: ask for the same"
    for words, changed in (
        ("gap_tolerance was 0.01, is 0.0001", {"gap_tolerance": 1e-4}),
        ("max_passes was None, is 7", {"max_passes": 7}),
        (r"regs was \[0.1, 0.001\], is \[0.1\]", {"regs": [0.1]}),
    ):
        with pytest.raises(ValueError, match=f"path holds another path: {words}. {why}"):
            path(**changed)
    for text in ("[1]", "{", "null"):
        (tmp_path / "path" / "path.json").write_text(text)
        with pytest.raises(ValueError, match=r"path.json is damaged .*: choose another folder"):
            path()
    (tmp_path / "path" / "000").mkdir()
    (tmp_path / "path" / "path.json").unlink()
    with pytest.raises(ValueError, match=r"path holds solves and no path.json"):
        path()


@pytest.mark.experiments
def test_a_sections_solves_are_kept(tmp_path, monkeypatch, capsys):
    folder, limits = tmp_path / "unfinished", {"gap_tolerance": 1e-4}

    def section(objective=WEAK, ends=True):
        solution = kept_runs.kept_solve(objective, WIDE, **limits)
        points = kept_runs.kept_path(Objective(), WIDE, WIDE, regs=[0.1], **limits)
        if not ends:
            raise Killed
        return solution, points[0].solution

    expected = section()
    with pytest.raises(Killed), kept_runs.kept_in(folder):
        section(ends=False)
    assert sorted(path.name for path in folder.iterdir()) == ["000", "001"]
    with monkeypatch.context() as patch, kept_runs.kept_in(folder):
        patch.setattr(iterate, "_steps", no_steps)
        found = section()
    for got, wanted in zip(found, expected, strict=True):
        assert_same_bits(got, wanted)
    with pytest.raises(Killed), kept_runs.kept_in(folder):
        section(Objective(reg=0.1), ends=False)
    with kept_runs.kept_in(folder):
        assert_same_bits(section()[0], expected[0])
    assert "begins again: " in capsys.readouterr().err
