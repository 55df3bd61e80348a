"""The experiments: each runs small and finds what it should, and no result is overwritten."""

import ast
import contextlib
import html.parser
import importlib
import json
import os
import queue
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import experiments.__main__ as notes
import jaxsvm
from experiments import claims, gradient_check, local_search, losses, minibatch, race, random_search
from experiments import gradient_descent as descent
from experiments import templates as templates_section
from experiments.shared import (
    batches,
    bottom,
    options,
    progress,
    report,
    runner,
    settings,
    workers,
)
from experiments.shared.failures import BAD_INPUT, CANNOT_WRITE
from experiments.shared.figures import Picture, Shown, save_figures
from experiments.shared.options import Source
from experiments.shared.progress import progress_run
from experiments.shared.results import read_result, write_result
from experiments.shared.text import table
from experiments.shared.timing import Row
from jaxsvm import Objective
from jaxsvm import plot as draw
from jaxsvm.files import atomic_file
from tests.problems import byte_problem, problem

pytestmark = pytest.mark.experiments


def check_report(module, arrays, path):
    """Draw the figures and write the report of what was kept, as a run does; return its text."""
    write_result(path / "arrays.npz", arrays, {})
    arrays, _ = read_result(path / "arrays.npz")
    figures = save_figures(module.plot(arrays), path)
    text = module.report(arrays)
    chapter = report.Chapter(module.STORY.question, text, figures, "name", module.STORY)
    claims = module.claims(arrays) if hasattr(module, "claims") else ()
    assert all(isinstance(claim, report.Claim) for claim in claims)
    report.write_report(
        path, report.Top(module.STORY, claims={module.STORY.question: claims}), [chapter]
    )
    page = Page((path / "report.html").read_text())
    assert page.seen.count("img") == len(figures) > 0
    # Each figure has its place in the text, and says what it shows.
    places = [piece for piece in chapter.pieces if isinstance(piece, Shown)]
    assert [f"[[{figure.path.stem}]]" in text for figure in places] == [True] * len(figures)
    assert all(figure.alt.endswith(".") and figure.caption.endswith(".") for figure in places)
    assert "[[" not in "".join(piece for piece in chapter.pieces if isinstance(piece, str))
    assert len(chapter.found) < 400
    assert "|" not in chapter.found
    assert "nan" not in text.split()
    return text


# --- every section, small ---


def test_random_search_agrees_with_its_closed_form(tmp_path):
    config = random_search.Config(seeds=2, num_steps=100, scales=(1e-2,), long_steps=300)
    arrays = random_search.run(config)
    long = arrays["long"]  # the same draws, and more of them
    np.testing.assert_allclose(long["lowest"][:, :100], arrays["lowest"][0], rtol=1e-5)
    assert (long["evaluations"] < 300).all()
    assert arrays["losses"].shape == (1, 2, 100)
    np.testing.assert_array_equal(arrays["best_loss"], arrays["losses"].min(axis=2))
    assert abs(arrays["mean_loss"] - arrays["expected_loss"]) < 4 * arrays["standard_error"]
    assert len(arrays["trace"]["loss"]) == 200
    assert "0.01" in check_report(random_search, arrays, tmp_path)


def test_the_expected_loss_is_the_integral_over_the_margins():
    for W, data in (problem(0), byte_problem(1)):
        X = np.asarray(data.X, np.float64)
        C, scale, delta = len(W), 0.3, 0.7
        expected = 0.0
        for x in X:
            # w_j·x − w_y·x + delta of independent normal rows
            margin = scipy.stats.norm(delta, np.sqrt(2) * scale * np.sqrt((x**2).sum()))
            integral, _ = scipy.integrate.quad(lambda m, law=margin: m * law.pdf(m), 0, np.inf)
            expected += (C - 1) * integral / len(X)
        got = random_search.expected_loss(data.X, C, scale, delta)
        assert got == pytest.approx(expected, rel=1e-6)


def test_local_search_lowers_the_loss(tmp_path):
    arrays = local_search.run(local_search.Config(seeds=2, num_steps=100))
    assert (arrays["best_loss"][:, -1] < arrays["start_loss"]).all()
    every = np.column_stack([arrays["start_loss"], arrays["best_loss"]])
    decreases = (np.diff(every, axis=1) < 0).sum(axis=1)
    # The start is evaluated by one product and the first block by another: one rounding apart.
    assert (abs(arrays["num_accepted"] - decreases) <= 1).all()
    assert "steps accepted" in check_report(local_search, arrays, tmp_path)


def test_descent_fits_the_digits_and_a_divergent_run_says_so(tmp_path, monkeypatch):
    # The race's test proves the same objective's minimum, which takes long to compile.
    known = {"dual": 0.063, "primal": 0.0632, "passes": 9}
    monkeypatch.setattr(bottom, "proved_bottom", lambda *_: known)
    arrays = descent.run(descent.Config(runs=("momentum", "too large")))
    found = {row["name"]: row for row in arrays["rows"]}
    assert max(row["train_accuracy"] for row in found.values()) >= 0.99
    assert found["momentum"]["loss"] < 0.1
    assert "step size 10000" in found["too large"]["outcome"]
    assert np.isfinite(found["too large"]["loss"])
    assert descent.diverged(arrays) == []
    assert arrays["losses"]["too large"][-1] > 1e4 * arrays["losses"]["too large"][0]
    text = check_report(descent, arrays, tmp_path)
    assert "The minimum lies between 0.063 and 0.0632" in text
    assert "diverged at step" in text
    assert "The lowest end is that of “momentum”" in text
    rows = [found["too large"]]
    assert "No run finished" in check_report(descent, {**arrays, "rows": rows}, tmp_path)


def test_minibatch_recipe_timings_and_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "POWERS", (32,))
    config = minibatch.Config(seeds=1, num_steps=200, batch_sizes=(16, 0), epochs=2, repeats=2)
    arrays = minibatch.run(config)
    assert arrays["recipe"]["train"][0, 0] < 0.5
    for curve in arrays["curves"]:
        assert curve["loss"][-1] < curve["loss"][0] == pytest.approx(9.0)
    assert arrays["duplicates"]["loss"] < 1e-12
    assert arrays["duplicates"]["gradient"] < 1e-12
    assert [row["peer"] for row in arrays["timings"]] == ["31", "32", "33", "100", "100 times one"]
    assert "100 gradients of one example take" in check_report(minibatch, arrays, tmp_path)
    (power,) = arrays["powers"]
    for speedup, of_power, wanted in (
        (1.9, "no difference", [False, False, True]),
        (2.1, "faster", [True, True, True]),
    ):
        timed = {"at_once_speedup": speedup, "powers": [power | {"verdict": of_power}]}
        judged = minibatch.claims(arrays | timed)
        assert [claim.verdict == "reproduced" for claim in judged] == wanted


def test_the_verdict_on_powers_of_two_asks_for_separate_quartiles():
    def timings(at_32, band=0.0):
        seconds = {31: 31.0, 32: at_32, 33: 33.0}
        return [
            Row("", "", str(B), s, s * (1 - band), s * (1 + band), 5) for B, s in seconds.items()
        ]

    verdict = batches.power_against_neighbours(timings(16.0), 32)
    assert verdict == {"batch_size": 32, "time_ratio": 0.5, "verdict": "faster"}
    assert batches.power_against_neighbours(timings(64.0), 32)["verdict"] == "slower"
    assert batches.power_against_neighbours(timings(16.0, 0.6), 32)["verdict"] == "no difference"


def test_templates_are_the_rows_of_w(tmp_path):
    arrays = templates_section.run(templates_section.Config(num_steps=200))
    assert arrays["templates"].shape == (10, 8, 8, 1)
    assert arrays["test_accuracy"] > 0.85
    assert "bias" in check_report(templates_section, arrays, tmp_path)
    colours = {**arrays, "templates": np.random.default_rng(0).normal(size=(10, 4, 4, 3))}
    check_report(templates_section, colours, tmp_path)


def test_every_strategy_of_the_race_improves_and_is_charged_for_it(tmp_path):
    runners = ("random search", "exact line search", "gradient descent", "mini-batch")
    config = race.Config(
        seeds=1, search_steps=100, full_steps=5, batch_steps=50, strategies=runners
    )
    arrays = race.run(config)
    for name, found in arrays["strategies"].items():
        assert found["objective"][0, -1] < found["objective"][0, 0], name
        assert (np.diff(found["seconds"]) > 0).all(), name
    strategies = arrays["strategies"].items()
    last = {name: found["gradient_evaluations"][0, -1] for name, found in strategies}
    assert last["random search"] == 0
    assert last["gradient descent"] == 5
    assert last["mini-batch"] == pytest.approx(50 * 256 / 1348)
    known = arrays["bottom"]
    assert known["dual"] <= known["primal"] < 1.002 * known["dual"]
    ends = [found["objective"].min() for found in arrays["strategies"].values()]
    assert known["dual"] < min(ends)
    text = check_report(race, arrays, tmp_path)
    assert "gets furthest: its objective ends" in text
    # Without a penalty nothing but 0 is proved.
    nothing = bottom.proved_bottom(Objective(), settings.load(Source("digits"), "scaled"))
    assert nothing == {"dual": 0.0, "primal": np.inf, "passes": 0}
    text = check_report(race, {**arrays, "reg": 0.0, "bottom": nothing}, tmp_path)
    assert "only this much is proved" in text


def test_the_family_is_compared_at_its_optima(tmp_path):
    members = ("Weston-Watkins", "Lee-Lin-Wahba", "ADM")
    config = losses.Config(regs=(1.0, 0.1), num_examples=150, members=members)
    arrays = losses.run(config)
    assert arrays["gap"].shape == (3, 2)
    assert (arrays["gap"] <= config.gap_tolerance).all()
    assert arrays["test"][0].max() > 0.8
    assert arrays["trivial"][2].all()  # W = 0 is as good as any W of this machine
    text = check_report(losses, arrays, tmp_path)
    assert "W = 0 is as good" in text
    assert "Is the consistent loss the better one (hinges)?" in text
    with pytest.raises(ValueError, match="members: there is no 'SVM'"):
        losses.Config(members=("SVM",))


def test_claims_have_verdicts(tmp_path):
    arrays = claims.run(claims.Config(seeds=2, num_steps=50))
    said = {claim.source: claim for claim in claims.claims(arrays)}
    verdicts = {source: claim.verdict for source, claim in said.items()}
    assert said["the loss is convex"].measured.startswith("every midpoint lies at least ")
    assert "1,348 training and 149 held-out" in said["up to 450,000 max(0, ·) terms"].measured
    assert verdicts["the loss is convex"] == "reproduced"
    assert verdicts["20 examples can be fitted to a cost of zero"] == "reproduced"
    (walk,) = (source for source in verdicts if "21.4" in source)
    assert verdicts[walk] == claims.CIFAR_ONLY
    assert not said[walk].judged
    check_report(claims, arrays, tmp_path)
    # As if it had been CIFAR-10, with 21.4 % reached from centred pixels only.
    found = {**arrays, "is_cifar10": True}
    for name, part in found["searches"].items():
        part["local"]["test_accuracy"] = np.full(2, 0.22 if name == "centred" else 0.16)
    verdicts = {claim.source: claim.verdict for claim in claims.claims(found)}
    assert verdicts[walk].endswith("reproduced with centred pixels")
    check_report(claims, found, tmp_path)


# --- what they share ---


def test_a_section_imports_shared_code_and_never_a_section():
    """The import graph: all see `shared` and `jaxsvm` only, and `timing` stands alone."""
    root = Path(options.__file__).parents[1]
    for path in [*root.glob("*.py"), *root.glob("shared/*.py")]:
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                # `from experiments import x` names a module in its second half.
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {name for name in names if name.startswith("experiments.")}
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                found |= {name for name in names if name.split(".")[0] == "experiments"}
        assert all(name.startswith("experiments.shared.") for name in found), (path.name, found)
        if path.name == "timing.py":
            assert not found


@pytest.mark.parametrize(("pixels", "expected"), [("raw", (0, 16)), ("scaled", (-2, 2))])
def test_a_dataset_has_three_forms_of_the_same_bytes(pixels, expected):
    centred: Any = settings.load(Source("digits"), "centred")
    other: Any = settings.load(Source("digits"), pixels)
    scale = {"scale": 1 / 8} if pixels == "scaled" else {"center": False}
    X = np.asarray(jaxsvm.load_dataset("digits", **scale).test.X)
    np.testing.assert_array_equal(np.asarray(other.test.X), X)
    assert expected[0] <= X.min() < X.max() <= expected[1]
    assert other.train.X.values is centred.train.X.values


def test_settings_follow_the_size_and_the_pixel_range():
    digits = settings.load(Source("digits"), "centred")
    assert settings.suiting(digits) == settings.SMALL
    train: Any = SimpleNamespace(X=np.broadcast_to(0, (49_000, 3073)))
    large = digits._replace(train=train)
    assert settings.suiting(large) == settings.LARGE
    assert settings.unit_scale(np.array([0, 16])) == 1 / 8
    assert settings.unit_scale(np.array([0, 255])) == 1 / 128


# --- the loop with a progress bar ---


@pytest.mark.parametrize("longest", [progress.LONGEST_CHUNK_SECONDS, 0.0])
def test_progress_run_has_the_bits_of_run(longest, monkeypatch):
    # On a slow machine parts are run in pieces; what comes out must be the same.
    monkeypatch.setattr(progress, "LONGEST_CHUNK_SECONDS", longest)
    W, data = problem(0)
    optimizer = jaxsvm.local_search(Objective(), step_size=0.1, block_size=4)
    key = jax.random.key(3)
    got = progress_run(optimizer, key, W, data, 50, num_chunks=5)
    state, info = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))(
        optimizer, key, W, data, num_steps=50
    )
    np.testing.assert_array_equal(got.state.params, state.params)
    np.testing.assert_array_equal(got.info.loss, info.loss)
    np.testing.assert_array_equal(got.path_steps, [0, 12, 24, 36, 48, 50])
    np.testing.assert_array_equal(got.path[0], W)
    np.testing.assert_array_equal(got.path[-1], state.params)
    assert got.seconds.shape == (50,)
    assert (np.diff(got.path_seconds) > 0).all()
    assert got.divergence is None


@pytest.mark.parametrize("num_chunks", [1, 20])
def test_a_divergent_run_stops_and_keeps_the_last_good_w(num_chunks):
    W, data = problem(0)
    objective = Objective(reg=1.0)
    optimizer = jaxsvm.gradient_descent(objective, step_size=50.0)
    key = jax.random.key(0)
    run = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))
    _, info = run(optimizer, key, W, data, num_steps=200)
    high = 1e4 * max(float(info.loss[0]), 1.0)
    first_bad = int(np.argmin(info.loss <= high))
    assert 0 < first_bad < 199
    got = progress_run(optimizer, key, W, data, 200, num_chunks=num_chunks)
    assert got.divergence is not None
    assert got.divergence.step == first_bad
    assert got.divergence.step_size == 50.0
    assert len(got.info.loss) == len(got.seconds) == first_bad
    expected, _ = run(optimizer, key, W, data, num_steps=first_bad - 1)
    np.testing.assert_array_equal(got.state.params, expected.params)
    assert np.isfinite(objective(got.state.params, data))


def test_a_start_without_a_finite_loss_is_a_divergence_at_step_0():
    W, data = problem(0)
    optimizer = jaxsvm.gradient_descent(Objective(), step_size=0.1)
    got = progress_run(optimizer, jax.random.key(0), jnp.nan * W, data, 5)
    assert got.divergence is not None
    assert got.divergence.step == 0
    assert len(got.info.loss) == 0


# --- the command line and the run folder ---


def fake_section(tmp_path, run):
    """A section as the runner sees one, without a file of its own."""

    def plot(arrays):
        x = np.arange(3.0)
        line = draw.lines({"a": (x, x)}, xlabel="x", ylabel="y")
        return {"a_line": Picture(line, "A `line`.", 'A "line".')}

    return SimpleNamespace(
        __file__=str(tmp_path / "fake.py"),
        STORY=report.Story("What <is> it?", r"Is $x < \frac{1}{2}$?", "What next?"),
        run=run,
        plot=plot,
        report=lambda arrays: table("<b> | b|", [(1, "`x<y`"), ("**c**", 2)]),
    )


def found(config):
    return {
        "value": np.float32(0.5),
        "nothing": float("nan"),
        "big": np.ones(5000),
        "trace": {"step": np.arange(2), "loss": np.array([1.0, np.inf])},
    }


def execute(tmp_path, *runs, name="run"):
    config = options.Config(out=tmp_path / "runs", name=name)
    sections = [(fake_section(tmp_path, run), config) for run in runs]
    return runner.execute("fake <title>", sections, config)


class Page(html.parser.HTMLParser):
    """Checks that tags are balanced, links and images inside the page, and headings in order."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)
        assert self.links <= {f"#{name}" for name in self.ids}
        # One title, and no level is left out on the way down.
        levels = [int(tag[1]) for tag in self.seen if tag in ("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert max(np.diff(levels), default=0) <= 1

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert tag != "link"
        found = dict(attrs)
        if tag == "script":
            # Ours; the page's policy knows no other.
            assert found["type"] in ("module", "application/json")
        if tag == "img":
            assert found["src"].startswith("data:image/")
            assert found["alt"]
        else:
            assert "src" not in found
        if "href" in found:
            self.links.add(found["href"])
        if "aria-labelledby" in found:
            self.links.add(f"#{found['aria-labelledby']}")
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read_strict(path):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_run_leaves_a_report_and_numbers_that_others_can_read(tmp_path, capsys):
    assert execute(tmp_path, found) == 0
    folder = tmp_path / "runs" / "run"
    metrics = read_strict(folder / "metrics.json")
    assert {"versions", "commit", "device", "dtype", "sections"} <= set(metrics)
    results = metrics["sections"]["fake"]["results"]
    assert results["value"] == 0.5
    assert results["nothing"] is None
    assert results["big"] == {"shape": [5000], "dtype": "float64", "in": "arrays.npz"}
    with np.load(folder / "fake" / "arrays.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["big"], 1.0)
        np.testing.assert_array_equal(arrays["trace.step"], [0, 1])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[1] == {"section": "fake", "step": 1, "loss": None}
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert {"h2", "table", "img", "td"} <= set(page.seen)
    assert "<title>fake &lt;title&gt;</title>" in text
    assert "<th>&lt;b&gt;</th>" in text
    assert "<th>b|</th>" in text
    assert "<code>x&lt;y</code>" in text
    assert "<strong>c</strong>" in text
    assert '<h2 id="fake">What &lt;is&gt; it?</h2>' in text
    assert "<figcaption>A <code>line</code>.</figcaption>" in text
    assert 'alt="A &#34;line&#34;."' in text
    assert text.index("<mfrac>") < text.index('class="found"') < text.index("What next?")
    assert "python -m experiments.fake --dataset digits --seeds 5" in text
    assert '![A "line".](fake/a_line.svg)' in (folder / "report.md").read_text()
    assert not (folder / ".lock").exists()
    assert "report.html" in capsys.readouterr().out


def test_text_from_outside_stays_text(tmp_path):
    hostile = "<script>x</script> ![a](https://example.org/a.png) [b](https://example.org) &lt;"
    body = f"{hostile}\n\n{table('name', [(hostile,)])}"
    claim = report.Claim(hostile, hostile, hostile)
    top = report.Top(report.Story(hostile), [hostile], claims={hostile: [claim]})
    report.write_report(tmp_path, top, [report.Chapter(hostile, body)])
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert not {"script", "img"} & set(page.seen)
    assert all(link.startswith("#") for link in page.links)
    assert "Content-Security-Policy" in text
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    # Title twice, about, contents, a claim's four cells, heading, text and cell.
    assert text.count("&lt;script&gt;x&lt;/script&gt; ![a](https://example.org/a.png)") == 11


def test_results_are_never_overwritten(tmp_path, capsys):
    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run" / "thesis.txt").write_text("mine")
    assert execute(tmp_path, found) == CANNOT_WRITE
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "thesis.txt" in message
    assert "--name" in message
    assert message.count("\n") == 1
    assert [path.name for path in (tmp_path / "runs" / "run").iterdir()] == ["thesis.txt"]
    assert execute(tmp_path, found, name="") == execute(tmp_path, found, name="") == 0
    names = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len(names) == 3
    for name in names:
        options.Config(name=name)  # it can be given to go on with the run


def test_two_runs_cannot_share_a_folder(tmp_path, capsys):
    status = []

    def run_twice(config):
        status.append(execute(tmp_path, found))
        return found(config)

    assert execute(tmp_path, run_twice) == 0
    assert status == [CANNOT_WRITE]
    err = capsys.readouterr().err
    assert "in use" in err
    assert f"process {os.getpid()} " in err


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys):
    def bad(config):
        options.positive("the\nreg", -1.0)

    assert execute(tmp_path, bad) == BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("error: the reg = -1.0: expected a finite number > 0")
    assert err.count("\n") == 1
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "file").write_text("")
    config = options.Config(out=tmp_path / "file")
    assert runner.execute("fake", [], config) == CANNOT_WRITE
    assert (tmp_path / "file").read_text() == ""


def test_an_interrupted_run_keeps_its_finished_sections(tmp_path, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    assert execute(tmp_path, found, interrupted) == 130
    assert "interrupted" in capsys.readouterr().err
    assert "fake" in read_strict(tmp_path / "runs" / "run" / "metrics.json")["sections"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [*notes.SECTIONS, *notes.FURTHER, "fit"])
def test_every_section_has_help(name, monkeypatch, capsys):
    module = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        runner.main(module.__name__)
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "--dataset" in text
    assert f"python -m experiments.{name}" in text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("random_search", ["--seeds", "0"]),
        ("random_search", ["--scales", "nan"]),
        ("random_search", ["--scales"]),
        ("random_search", ["--scales", "1e38"]),
        ("random_search", ["--scales", "1e-300"]),
        ("random_search", ["--name", "../up"]),
        ("random_search", ["--name", ".lock"]),
        ("random_search", ["--name", "two\nlines"]),
        ("local_search", ["--step-size", "-1"]),
        ("gradient_descent", ["--momentum", "1"]),
        ("minibatch", ["--sedes", "3"]),
        ("race", ["--reg", "inf"]),
        ("claims", ["--dataset", "cifer10", "--out", "{out}"]),
    ],
)
def test_bad_options_exit_2_and_say_why(name, arguments, tmp_path, monkeypatch, capsys):
    module = importlib.import_module(f"experiments.{name}")
    arguments = [argument.format(out=tmp_path) for argument in arguments]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as end:
        runner.main(module.__name__)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert arguments[0].strip("-").replace("-", "_").split("_")[0] in message
    assert "Traceback" not in message


def test_the_interval_of_a_rate_is_clopper_and_pearsons():
    for count, trials in ((0, 7), (3, 7), (7, 7), (59, 60)):
        low, high = scipy.stats.binomtest(count, trials).proportion_ci(0.95, method="exact")
        said = f"{count} of {trials} ({100 * low:.0f} to {100 * high:.0f} %)"
        assert gradient_check.share(count, trials) == said


def test_sections_that_measure_seconds_come_last_and_alone(tmp_path, monkeypatch):
    """In threads, in place of processes."""
    running: list[Any] = []
    beside: dict[int, list[Any]] = {}
    both = threading.Barrier(2, timeout=60)

    def serve(pipe):
        with contextlib.suppress(EOFError):
            while True:
                _, _, section, _ = pipe.recv()
                running.append(section)
                if not section.measures_seconds:
                    both.wait()  # for the other one, which has to be running too
                time.sleep(0.2 * section.measures_seconds)  # where another one would be seen
                beside[section.value] = running.copy()
                running.remove(section)
                pipe.send(section)

    monkeypatch.setattr(workers.Worker, "started", lambda: in_a_thread(serve))
    sections = [Number(value, value in (0, 3)) for value in range(4)]
    asked = [(SimpleNamespace(__name__=""), section) for section in sections]
    found = [i for i, _ in workers.outcomes(asked, 2, tmp_path)]
    assert set(found[:2]) == {1, 2}
    assert found[2:] == [0, 3]
    assert (beside[0], beside[3]) == ([sections[0]], [sections[3]])


def test_what_is_timed_is_prepared_beside_the_others_by_who_then_times_it(tmp_path, monkeypatch):
    asked: list[Any] = []

    def serve(pipe):
        with contextlib.suppress(EOFError):
            while True:
                is_preparing, _, section, _ = pipe.recv()
                asked.append((section.value, is_preparing, threading.get_ident()))
                time.sleep(0.2)
                pipe.send(None if is_preparing else section)

    monkeypatch.setattr(workers.Worker, "started", lambda: in_a_thread(serve))
    modules = [SimpleNamespace(__name__="", prepare=int) if i in (0, 3) else
               SimpleNamespace(__name__="") for i in range(5)]  # fmt: skip
    sections = [Number(value, value in (0, 3, 4)) for value in range(5)]
    found = [i for i, _ in workers.outcomes(list(zip(modules, sections, strict=True)), 2, tmp_path)]
    assert found[2:] == [0, 3, 4]
    assert {(number, is_preparing) for number, is_preparing, _ in asked[:4]} == {
        (1, False), (2, False), (0, True), (3, True)
    }  # fmt: skip
    who = {(number, is_preparing): thread for number, is_preparing, thread in asked}
    assert who[0, True] == who[0, False] != who[3, True] == who[3, False]


def test_a_worker_goes_on_while_the_caller_draws(tmp_path, monkeypatch):
    """But nothing that measures seconds does."""
    begun: queue.Queue[int] = queue.Queue()

    def serve(pipe):
        with contextlib.suppress(EOFError):
            while True:
                _, _, section, _ = pipe.recv()
                begun.put(section.value)
                pipe.send(section)

    monkeypatch.setattr(workers.Worker, "started", lambda: in_a_thread(serve))
    sections = [Number(value, value == 2) for value in range(3)]
    found = workers.outcomes([(SimpleNamespace(__name__=""), one) for one in sections], 1, tmp_path)
    assert next(found)[0] == 0
    assert [begun.get(timeout=60) for _ in range(2)] == [0, 1]
    assert next(found)[0] == 1
    with pytest.raises(queue.Empty):
        begun.get(timeout=0.2)
    assert [i for i, _ in found] == [2]


def in_a_thread(serve):
    """A worker that is no process."""
    ours, theirs = Pipe()
    threading.Thread(target=serve, args=(theirs,), daemon=True).start()
    return workers.Worker(SimpleNamespace(kill=int, join=int), ours)


class Number(NamedTuple):
    """What `workers.outcomes` has to know of a section's options."""

    value: int
    measures_seconds: bool
    is_mostly_compilation: bool = False


def test_the_main_job_writes_one_report(tmp_path, monkeypatch, capsys):
    which = ["--sections", "random_search", "local_search"]
    options = [*which, "--seeds", "1", "--name", "all", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["experiments", *options])
    with pytest.raises(SystemExit) as end:
        notes.main()
    assert end.value.code == 0
    folder = tmp_path / "all"
    metrics = read_strict(folder / "metrics.json")
    assert list(metrics["sections"]) == ["random_search", "local_search"]
    assert metrics["sections"]["local_search"]["config"]["seeds"] == 1
    text = (folder / "report.html").read_text()
    figures = [path for path in folder.rglob("*.*") if path.suffix in (".png", ".svg")]
    assert Page(text).seen.count("img") == len(figures) == 4
    assert "How to get down a hill that you cannot see" in text
    assert "1,348 training, 149 held-out and 300 test examples" in text
    assert metrics["verdicts"]["random_search"][0][2] == "reproduced"
    # What was found, in the terminal too.
    said = capsys.readouterr().out.split("\n")
    assert said[0].startswith("random search  The best of 1,000 draws answers ")
    assert any(line.startswith("local search   1,000 tries lead from ") for line in said)
    assert max(map(len, said)) <= 100
    steps = (folder / "metrics.jsonl").read_text().splitlines()
    assert len(steps) == 2 * 1000 + 1000
    assert Path(folder / "report.md").read_text().count("\n## ") == 4
