"""What a report says and shows, of results that are made up: nothing is compiled here."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import certificate, gradient_check, landscape, race, step_size
from experiments.shared import command_line, made, pictures, report
from experiments.shared.figures import Picture, save_figures
from experiments.shared.record import trace_rows
from experiments.shared.text import MARKDOWN
from jaxsvm import plot as draw
from tests.test_experiments import Page, check_report

pytestmark = [pytest.mark.experiments, pytest.mark.any_precision]

FACTS = {"name": "d", "classes": 3, "features": 2, "train": 9, "validation": 3, "test": 3}


def test_a_report_puts_figures_in_their_places_and_formulas_into_stories_only(tmp_path):
    x = np.arange(50_000.0)
    drawn = {
        "few": draw.lines({"": (x[:9], x[:9])}, xlabel="", ylabel=""),
        "many": draw.lines({"": (x, np.sin(x))}, xlabel="", ylabel=""),
        "image": draw.heat_map(np.eye(2), "ab", "ab", xlabel="", ylabel="", label=""),
    }
    shown = save_figures(
        {name: Picture(f, f"{name}.", name) for name, f in drawn.items()}, tmp_path
    )
    assert [figure.path.name for figure in shown.values()] == ["few.svg", "many.png", "image.png"]
    assert [figure.is_drawing for figure in shown.values()] == [True, True, False]
    assert len(list(tmp_path.iterdir())) == 3
    first = (tmp_path / "few.svg").read_bytes()
    save_figures({"few": Picture(drawn["few"], "", "")}, tmp_path)
    assert (tmp_path / "few.svg").read_bytes() == first
    body = "Found $x$.\n\none\n\n[[image]]\n\ntwo [[few]] two\n\n[[other]]\n\n[[few]]"
    chapter = report.Chapter("a", body, shown, story=report.Story("Is it $x$?", "$x$", "$$y$$"))
    assert chapter.found == "Found $x$."
    kinds = [piece if isinstance(piece, str) else piece.path.stem for piece in chapter.pieces]
    assert kinds == ["one", "image", "two [[few]] two", "few", "many"]
    report.write_report(tmp_path, report.Top(chapter.story, picture=shown["few"]), [chapter])
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.seen.count("math") == 3  # the page's introduction, and the chapter's two parts
    assert page.seen.count("img") == 4
    assert text.count("Found $x$.") == 2


def test_a_row_of_a_trace_is_a_line_of_json_whatever_is_in_it():
    columns: dict[str, Any] = {
        "step": np.arange(3),
        'a %s, "b"': np.array([0.1, np.nan, -np.inf], np.float32),
        "run": np.array(["line\nbreak", 'quo"te', "a, b: {c}"]),
        "kept": [True, False, True],
    }
    rows = trace_rows("s", columns)
    numbers = [float(np.float32(0.1)), None, None]
    values = zip(range(3), numbers, columns["run"].tolist(), columns["kept"], strict=True)
    assert rows == [
        json.dumps({"section": "s", **dict(zip(columns, row, strict=True))}) for row in values
    ]
    assert trace_rows("s", {}) == trace_rows("s", {"step": np.zeros(0)}) == []


@pytest.mark.parametrize(
    ("top", "expected"), [(1e4, {"10⁻²", "10⁰", "10¹"}), (0.5, {"0.01", "0.02", "0.05", "0.5"})]
)
def test_a_logarithmic_axis_names_its_decades_or_what_is_between_few(top, expected, tmp_path):
    x = np.geomspace(0.01, top, 9)
    figure = draw.lines({"": (x, x)}, xlabel="", ylabel="", xscale="log")
    draw.save_figure(figure, tmp_path / "a.png")
    shown = {label.get_text() for label in figure.axes[0].get_xticklabels()}
    assert expected <= shown


def test_claims_that_the_data_cannot_judge_come_last():
    claims = [report.Claim(name, "m", "v", judged) for name, judged in (("a", False), ("b", True))]
    rows = report.Top(report.Story(""), claims={"x": claims, "y": claims[1:]}).verdicts.split("\n")
    assert [row[2] for row in rows[2:]] == ["b", "b", "a"]
    assert report.Top(report.Story("")).verdicts == ""


@pytest.mark.parametrize(
    "config",
    [
        race.Config(seeds=2, strategies=("random search", "mini-batch"), reg=0.5, out=Path("x")),
        gradient_check.Config(X=Path("my `data`/X.npy"), y="the label", library=True),
    ],
)
def test_the_printed_command_gives_the_same_options(config, monkeypatch):
    said = made.command("experiments.some", config)
    words = shlex.split(said.strip("`"))
    assert words[:3] == ["python", "-m", "experiments.some"]
    monkeypatch.setattr(sys, "argv", words[2:])
    again: Any = command_line.read(type(config), "")
    assert dataclasses.replace(again, out=config.out) == config
    assert MARKDOWN.renderInline(said).count("<code>") == 1


# --- sections whose results take long ---


def walks():
    """Seven paths from one start, of different numbers of points."""
    rng = np.random.default_rng(0)
    steps = {name: rng.normal(size=(4 + i, 2)) for i, name in enumerate("abcdefg")}
    return {name: np.cumsum(step * (step[:1] * 0 + i), axis=0) * (np.arange(len(step)) > 0)[:, None]
            for i, (name, step) in enumerate(steps.items(), 1)}  # fmt: skip


def landscape_results():
    t, x = np.linspace(-1, 1, 9), np.linspace(-1, 2, 31)
    plane = {"t": t, "loss": 1 + t[:, None] ** 2 + t**2, "accuracy": np.full((9, 9), 0.5)}
    line = {"t": x, "loss": x**2, "accuracy": np.full(31, 0.5)}
    ends = {key: np.ones(7) for key in ("residual", "last_loss", "drawn_loss", "distance")}
    return {
        "dataset": FACTS, "animate": True, "scale": 0.1, "grid": 9,
        "one_line": {**line, "kinks": x[:2], "kink_losses": x[:2]},
        "one_plane": {**plane, "segments": np.array([[(-1, 0), (1, 0)], [(0, -1), (0, 1)]])},
        "hundred": {**plane, "examples": 100},
        "all": {**plane, "examples": 1000, "seconds": 1.0},
        "bowl": {"w": x, "examples": np.stack([x, x, x]), "mean": x},
        "zooms": {"zoom": 10 ** np.arange(4), "t": np.stack([x] * 4), "rise": np.stack([x**2] * 4),
                  "num_kinks": np.array([4000, 300, 20, 1])},
        "paths": {**plane, **ends, "share": np.array([0.7, 0.2]), "names": list("abcdefg"),
                  "coordinates": walks(), "between": line},
    }  # fmt: skip


def test_the_report_of_the_landscape_and_its_walk(tmp_path):
    arrays = landscape_results()
    text = check_report(landscape, arrays, tmp_path)
    assert "there are 4,000 kinks" in text
    assert landscape.files({**arrays, "animate": False}) == {}
    ((name, write),) = landscape.files(arrays).items()
    write(tmp_path / name)
    with Image.open(tmp_path / "hiker.gif") as film:
        # Frames in which nothing moves are kept as one.
        assert 2 <= film.n_frames <= landscape.FRAMES  # type: ignore[attr-defined]


def test_a_walk_ends_with_its_mark_at_its_last_point(tmp_path):
    t = np.linspace(-1, 1, 5)
    plane = draw.plane(t, t, np.ones((5, 5)), xlabel="", ylabel="", label="", levels=0)
    walk = np.array([[-0.9, 0.0], [0.0, 0.0], [0.9, 0.0]])
    with Image.open(draw.save_walks(plane, {"a": walk}, tmp_path / "a.gif")) as film:
        first = np.asarray(film.convert("RGB")).astype(int)
        film.seek(2)
        last = np.asarray(film.convert("RGB"))
    changed = np.abs(last - first).sum(axis=-1) > 100
    columns = np.flatnonzero(changed.any(axis=0))
    # A trail of some pixels, from a mark that is gone to one that is there: both much higher.
    heights = changed.sum(axis=0)[columns]
    assert heights[len(heights) // 2] < 6
    assert heights[:20].max() > 12
    assert heights[-20:].max() > 12


def test_the_part_about_the_start_holds_the_paths_that_stay_near():
    paths = walks()
    left, right, bottom, top = landscape.near_the_start(paths)
    inside = [
        ((left, bottom) < path).all() and (path < (right, top)).all() for path in paths.values()
    ]
    reach = [np.abs(path).max() for path in paths.values()]
    nearest = np.argsort(reach)[:4]
    assert all(inside[i] for i in nearest)
    assert not inside[np.argmax(reach)]


def test_the_report_of_the_gradient_check(tmp_path):
    h = np.logspace(-7, -1, 5)
    names = "measured", "crossing", "rounding", "predicted_crossing", "predicted_rounding"
    curve = {name: np.array([3.0, 2, 1, 2, 3]) for name in names}
    curve |= {"crossing": np.array([0.0, 0, 1, 2, 3]), "h": h, "suggested": h[2]}
    counts = ("smooth", "kink", "wrong", "naive_wrong", "naive_doubtful")
    found = {name: np.arange(5) * (name != "wrong") for name in counts}
    arrays = {
        "dataset": FACTS, "coordinates": 9, "examples": 9, "verdict_steps": h,
        "curves": {"float32": curve, "float64": curve},
        "verdicts": {"raw": found, "centred": found}, "library": {},
        "checkers": {"columns": ["correct"], "names": ["ours"], "trials": np.array([2]),
                     "alarms": np.array([[0]])},
    }  # fmt: skip
    text = check_report(gradient_check, arrays, tmp_path)
    assert "calls none wrong at any h, where the naive check calls up to 4 wrong" in text
    (claim,) = gradient_check.claims(arrays)
    assert claim.verdict == "reproduced"
    # Zeros, for which the axis has no place, are marked at its foot.
    axes = gradient_check.plot(arrays)["u_curve_float64"].figure.axes[0]
    (zeros,) = (line for line in axes.lines if str(line.get_label()).startswith("no kink"))
    np.testing.assert_array_equal(zeros.get_xdata(), h[:2])
    assert (np.asarray(zeros.get_ydata()) == 0.1).all()


def test_the_report_of_the_step_size(tmp_path):
    steps = 10.0 ** np.arange(-7, 3)
    losses = np.where(steps < 0.01, 9 - 500 * steps, 4 + 28 * steps)
    arrays = {
        "dataset": FACTS, "num_classes": 10, "gradient_norm_squared": 500.0, "loss_before": 9.0,
        "plane": {"t": np.linspace(-2, 2, 5), "loss": np.ones((5, 5))}, "step_sizes": steps,
        "losses": losses, "slope_at_start": -500.0, "first_kink": 1e-3, "num_kinks": 9,
        "kinks_before_best": 8, "best_step": 8e-3, "best_step_high": 8e-3, "best_loss": 0.6,
        "break_even": 0.3, "last_kink": 4.0, "tail_slope": 28.0, "tail_intercept": 4.0,
        "curve": {"step_size": steps, "loss": losses}, "near": {"step_size": steps, "loss": losses},
    }  # fmt: skip
    assert "a step beyond 0.3 is worse than none" in check_report(step_size, arrays, tmp_path)
    assert step_size.claims(arrays)[0].verdict == "reproduced, with other digits"
    falling = {**arrays, "losses": 1 + 8 / (1 + steps)}
    assert step_size.claims(falling)[0].verdict == "not reproduced"


def test_the_report_of_the_certificate(tmp_path):
    passes, objective = np.array([0.0, 1, 2]), np.array([9.0, 3, 2])
    course = {"passes": passes, "objective": objective}
    hardest: dict[str, Any] = {"hardest_rows": np.arange(2), "hardest_classes": ["8", "8"]}
    hardest |= {"hardest_seen_as": ["8", "3"], "hardest": np.ones((2, 3, 3)), "support": 0.5}
    accuracy = np.array([0.5, 0.75])
    arrays = {
        "dataset": FACTS, "gap_tolerance": 0.01, "path_gap_tolerance": 0.02, "reg": 0.01,
        "strategies": dict.fromkeys(("gradient descent", "mini-batch"), course), "dual": 1.0,
        "primal": 1.5, "passes": 7, "solver": {"passes": passes, "primal": objective},
        "test_accuracy": 0.5, "path_reg": np.array([1.0, 0.1]), "path_accuracy": accuracy,
        "path_test_accuracy": accuracy, "path_gap": np.array([0.018, 0.01]), **hardest,
        "plane_t": np.linspace(-1, 1, 5), "plane": 2 + np.ones((5, 5)),
        "paths": {"gradient descent": walks()["a"], "mini-batch": walks()["b"]},
    }  # fmt: skip
    text = check_report(certificate, arrays, tmp_path)
    assert "to a relative gap of 0.02" in text
    axes = pictures.hardest_figures(arrays)["hardest_examples"].figure.axes
    assert [ax.get_title() for ax in axes[:2]] == ["8\nright, just", "8\nseen as 3"]
    # Without pictures there is no such figure, and nothing in its place.
    del arrays["hardest"]
    body = certificate.report(arrays | {"hardest_values": {}})
    assert "[[hardest_examples]]" in body
    shown = report.Chapter("", body).pieces
    assert not any("[[" in piece for piece in shown if isinstance(piece, str))
