"""What the sections of a run share: measurements, products and compiled programs."""

import importlib
import os
import threading
from typing import Any

import jax
import numpy as np
import pytest

import jaxsvm
from experiments.shared import batches, bottom, compilation, runner, searches, settings, views
from experiments.shared.once import once, shared_in
from experiments.shared.options import Source
from jaxsvm import Objective, Solution, load_dataset
from jaxsvm.core import features
from tests import fake_section

pytestmark = pytest.mark.experiments
DIGITS = Source("digits")


def test_what_two_sections_need_is_measured_once(tmp_path):
    made: list[str] = []

    def measure():
        made.append("made")
        return {"x": np.arange(3.0), "how": "new"}

    assert once({"what": "a"}, measure)["how"] == "new"
    assert len(made) == 1  # outside of a run each call measures
    with shared_in(tmp_path / "unfinished"):
        first, again = (once({"what": "a"}, measure) for _ in range(2))
        assert len(made) == 2
        np.testing.assert_array_equal(again["x"], first["x"])
        once({"what": "b"}, measure)
        assert len(made) == 3
    (tmp_path / "unfinished").rename(tmp_path / "kept")
    with shared_in(tmp_path / "kept"):
        assert once({"what": "a"}, measure)["how"] == "new"
        assert len(made) == 3


def test_what_is_damaged_is_measured_again(tmp_path, capsys):
    with shared_in(tmp_path):
        once({"what": "a"}, lambda: {"x": 1})
        (path,) = tmp_path.glob("*.npz")
        path.write_bytes(path.read_bytes()[:-9])
        assert once({"what": "a"}, lambda: {"x": 2}) == {"x": 2}
    assert "it is measured again" in capsys.readouterr().err


def test_a_run_that_is_finished_has_forgotten_what_its_sections_shared(tmp_path, capsys):
    config = fake_section.Config(out=tmp_path, name="run")
    shared = tmp_path / "run" / "unfinished"
    for _ in range(2):  # the second time the run is there, and a kill had left the folder
        assert runner.execute("fake", [(fake_section, config)], config) == 0
        assert not shared.exists()
        shared.mkdir()
    again = fake_section.Config(out=tmp_path, name="run", again=True)
    (shared / "old.npz").write_bytes(b"")
    assert runner.execute("fake", [(fake_section, again)], again) == 0
    assert not shared.exists()


def test_who_needs_it_meanwhile_waits(tmp_path):
    began, made = threading.Event(), []

    def slowly():
        began.set()
        made.append(1)
        waiting.join(0.3)  # the other one is there by then, and does not get any further
        assert waiting.is_alive()
        return {"by": "first"}

    def other():
        began.wait(30)
        with shared_in(tmp_path):
            made.append(once({"what": "a"}, lambda: {"by": "second"})["by"])

    waiting = threading.Thread(target=other)
    waiting.start()
    with shared_in(tmp_path):
        once({"what": "a"}, slowly)
    waiting.join(30)
    assert made == [1, "first"]


def test_sections_that_are_compiled_otherwise_share_nothing(tmp_path):
    cheap = jax.config.read("jax_disable_most_optimizations")
    with shared_in(tmp_path):
        once({"what": "a"}, lambda: {"x": 1})
        try:
            jax.config.update("jax_disable_most_optimizations", not cheap)
            assert once({"what": "a"}, lambda: {"x": 2}) == {"x": 2}
        finally:
            jax.config.update("jax_disable_most_optimizations", cheap)


def test_the_proof_of_the_bottom_is_one_for_sections_that_are_compiled_otherwise(
    tmp_path, monkeypatch
):
    asked: list[bool] = []
    parts: Any = np.ones((2, 3)), np.ones((4, 2)), 2.0, 1.0, 1.0, 7, ()

    def kept_solve(*_, **__):
        asked.append(jax.config.read("jax_disable_most_optimizations"))
        return Solution(*parts)

    monkeypatch.setattr(bottom, "kept_solve", kept_solve)
    dataset, objective = load_dataset("digits"), Objective(reg=0.5)
    cheap = jax.config.read("jax_disable_most_optimizations")
    with shared_in(tmp_path):
        try:
            jax.config.update("jax_disable_most_optimizations", not cheap)
            first = bottom.proved_solution(objective, dataset)
            assert jax.config.read("jax_disable_most_optimizations") != cheap
        finally:
            jax.config.update("jax_disable_most_optimizations", cheap)
        assert bottom.proved_bottom(objective, dataset) == {"dual": 1, "primal": 2, "passes": 7}
    assert asked == [cheap]
    np.testing.assert_array_equal(first.W, 1)


def test_all_views_of_a_random_search_come_of_one_product(monkeypatch):
    """They are what `jaxsvm.random_search` finds in each form."""
    products: list[int] = []
    dot = features.dot

    def counted(X, W):
        products.append(len(W))
        return dot(X, W)

    monkeypatch.setattr(features, "dot", counted)
    forms = searches.notes_forms((1e-2, 1e-3))
    searches.search_at_random(DIGITS, forms[:1], 60, 2)
    for_one = products.copy()
    products.clear()
    found = searches.search_at_random(DIGITS, forms, 60, 2)
    assert [k for k in products if k > 10] == [k for k in for_one if k > 10] != []
    for (pixels, scale), part in zip(forms, found, strict=True):
        dataset = settings.load(DIGITS, pixels)
        alone = searches.search_one_form(
            dataset, jaxsvm.random_search(Objective(), scale=scale), scale, 60, 2
        )
        np.testing.assert_allclose(part["losses"], alone["losses"], rtol=2e-6)
        np.testing.assert_allclose(part["lowest"], alone["lowest"], rtol=2e-6)
        np.testing.assert_array_equal(part["test_accuracy"], alone["test_accuracy"])
    # The draws are the same, and so the forms differ by what they are, not by luck.
    assert len({part["losses"][0, 0] for part in found}) == len(forms)


def test_columns_of_their_own_scales_are_no_view():
    centred, scaled = (settings.load(Source("iris"), p).train for p in ("centred", "scaled"))
    assert views.view_of(centred.X, scaled.X, 1.0) is None
    with jax.enable_x64(False):
        (raw,) = searches.search_at_random(Source("iris"), [("scaled", 1e-2)], 5, 1)
    assert raw["losses"].shape == (1, 5)


@pytest.mark.parametrize("name", ["race", "minibatch"])
def test_nothing_is_compiled_while_seconds_are_measured(name, programs, monkeypatch):
    monkeypatch.setattr(batches, "POWERS", (32,))
    section = importlib.import_module(f"experiments.{name}")
    small = {
        "race": {"strategies": ("local search", "L-BFGS (optax)"), "search_steps": 60,
                 "full_steps": 11, "reg": 0.0},
        "minibatch": {"num_steps": 30, "epochs": 1, "batch_sizes": (256,), "repeats": 1,
                      "copies": 2},
    }  # fmt: skip
    measure = section.prepare(section.Config(seeds=1, **small[name]))
    before = len(programs)
    measure()
    assert not programs[before:]


def test_small_data_are_compiled_quickly_and_other_flags_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine=1")
    for source in (Source("cifar10"), Source(str(tmp_path / "absent.csv"))):
        compilation.compile_quickly(source)
        assert os.environ["XLA_FLAGS"] == "--mine=1"
    file = tmp_path / "mine.csv"
    for size, quickly in ((8 * settings.SMALL_SIZE + 1, False), (8 * settings.SMALL_SIZE, True)):
        with open(file, "wb") as opened:
            opened.truncate(size)
        compilation.compile_quickly(Source(str(file)))
        # The user's own come last, so that they count.
        flags = f"{compilation.QUICKLY} --mine=1" if quickly else "--mine=1"
        assert os.environ["XLA_FLAGS"] == flags
