"""The live landscape: its arrays, its arithmetic in node, and its page in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from experiments import hiker
from experiments.shared import live_plane, page
from jaxsvm import Data, Objective
from tests.page_browser import chromium
from tests.problems import problem

pytestmark = pytest.mark.any_precision
OBJECTIVE, STEPS = Objective(reg=0.1), np.array([0, 5, 10])
RIGHT, LEFT = "\ue014", "\ue012"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="needs node, to run the page's script"
)


@pytest.fixture(scope="module")
def made():
    """A small plane with two paths and the bottom, in float32 as a run has it."""
    W, data = problem(0, (40, 9, 10))
    a, b = (jnp.zeros_like(W).at[0, i].set(3.0) for i in (0, 1))
    surface = jax.jit(jaxsvm.slice_2d, static_argnames="num")(OBJECTIVE, W, a, b, data, num=9)
    project = jax.jit(jaxsvm.project_path)
    ends = {"<one>": W + 0.5 * a, "two": W.at[3, 3].add(2.0) - 0.25 * b}
    shadows = {
        name: project(OBJECTIVE, jnp.stack([W, (W + end) / 2, end]), W, a, b, data)
        for name, end in ends.items()
    }
    solution = jaxsvm.solve(OBJECTIVE, data, num_classes=10, gap_tolerance=1e-2)
    plane = W, a, b
    arrays = live_plane.live_plane(OBJECTIVE, data, plane, surface, STEPS, shadows, solution)
    return arrays, plane, data, solution


def told(html):
    """Return what the page holds."""
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


@needs_node
def test_the_pieces_are_the_objective_of_their_examples_at_any_zoom(made):
    arrays, (W, a, b), data, _ = made
    some = Data(data.X[: arrays["examples"]], data.y[: arrays["examples"]])
    points = [(0.0, 0.0), (0.3, -0.7), (1e-4, 2e-4), (1.0, -1.0)]
    view = {"p": [-0.5, 0.25], "q": [-0.1, 0.4]}
    asked = {"told": told(page.landscape(arrays)), "points": points, "view": view}
    command = ["node", str(Path(__file__).with_name("page_plane.mjs")), str(page.FOLDER)]
    ran = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    for (p, q), exact in zip(points, found["exact"], strict=True):
        np.testing.assert_allclose(exact, OBJECTIVE(W + p * a + q * b, some), rtol=2e-5)
    # At a node the grid is itself: (1, −1) is its corner.
    assert found["grid"][3] == pytest.approx(float(arrays["loss"][-1, 0]), rel=1e-6)
    # Of a view that is nearer fewer pieces are left, with the same values all over it.
    everywhere, here = found["counts"]
    assert here < everywhere == len(arrays["pieces"])
    np.testing.assert_allclose(found["near"], found["nodes"], rtol=1e-12)
    # On a kink's line a margin is 0, and the line goes from one edge of the view to another.
    pieces = arrays["pieces"]
    assert len(found["lines"]) > 5
    for line in found["lines"]:
        for p, q in line:
            margins = pieces @ np.array([1.0, p, q])
            assert np.min(np.abs(margins)) < 1e-5
            edges = [p - 0.25, p + 0.5, q + 0.1, q - 0.4]
            assert np.min(np.abs(edges)) < 1e-9


def test_the_bottom_lies_where_it_is_said_to(made):
    arrays, (W, a, b), data, solution = made
    bottom = arrays["bottom"]
    shadow = W + bottom["coordinates"][0] * a + bottom["coordinates"][1] * b
    off = float(jnp.linalg.norm(solution.W - shadow))
    assert bottom["off_plane"] == pytest.approx(off, rel=1e-4)
    low, high = bottom["between"]
    assert low <= float(OBJECTIVE(solution.W, data)) <= high * (1 + 1e-6)
    # A better solution's shadow is within the radius.
    better = jaxsvm.solve(OBJECTIVE, data, num_classes=10, gap_tolerance=1e-5)
    moved = float(jnp.linalg.norm(better.W - solution.W))
    assert moved <= 3.0 * bottom["radius"] * 1.001


def test_the_plane_s_penalty_is_that_of_its_points(made):
    arrays, (W, a, b), _, _ = made
    p, q = 0.3, -1.5
    found = arrays["penalty"] @ np.array([1, p, q, p * p, p * q, q * q])
    np.testing.assert_allclose(found, 0.1 * jaxsvm.l2_penalty(W + p * a + q * b), rtol=1e-5)


def test_the_page_shows_the_arrays(made, tmp_path):
    arrays, (W, _, _), data, _ = made
    path = tmp_path / "landscape.html"
    path.write_text(page.document("The landscape", page.landscape(arrays)))
    with chromium() as browser:
        browser.open(path)
        rows = browser.js(
            "return [...document.querySelectorAll('[data-role=paths] tr')].map((row) =>"
            " [...row.children].map((cell) => cell.textContent))"
        )
        assert [row[0] for row in rows] == ["<one>", "two"]
        for name, row in zip(arrays["paths"], rows, strict=True):
            path_arrays = arrays["paths"][name]
            assert row[1] == f"{path_arrays['loss'][-1]:.4f}"
            assert row[2] == f"{path_arrays['plane_loss'][-1]:.4f}"
        # The middle of the map is the plane's origin.
        browser.js(
            "const box = document.querySelector('[data-role=colours]').getBoundingClientRect();"
            "const clientX = box.x + box.width / 2, clientY = box.y + box.height / 2;"
            "arguments[0].dispatchEvent(new PointerEvent('pointermove', { clientX, clientY }))",
            browser.role("map"),
        )
        said = re.findall(r"\d+\.\d+", browser.text("readout").partition("objective")[2])
        some = Data(data.X[: arrays["examples"]], data.y[: arrays["examples"]])
        everything, right, exact = map(float, said)
        assert everything == pytest.approx(float(OBJECTIVE(W, data)), abs=2e-3)
        assert right == pytest.approx(100 * float(jaxsvm.accuracy(W, data)), abs=0.2)
        assert exact == pytest.approx(float(OBJECTIVE(W, some)), abs=2e-3)
        # The keys walk the steps, zoom and move the view.
        plane = browser.role("map")
        assert browser.text("step-value") == "10 of 10"
        browser.press(LEFT, LEFT, RIGHT, on=plane)
        assert browser.text("step-value") == "5 of 10"
        browser.click("kinks")
        count = re.compile(r"(\d+) kink lines")
        before = int(count.findall(browser.text("above-says"))[0])
        browser.press(*"++++wd", on=plane)
        after = int(count.findall(browser.text("above-says"))[0])
        assert 0 <= after < before <= len(arrays["pieces"])
        browser.choose("show", "exact")
        browser.choose("show", "accuracy")
        browser.click("to-bottom")
        browser.click("whole")
        browser.frames(3)
        assert browser.complaints() == []
        assert set(browser.requests()) <= {path.as_uri(), "about:blank"}


def test_the_command_writes_the_hiker_as_a_page_of_its_own(tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "page.html"
    monkeypatch.setattr("sys.argv", ["hiker", "--out", str(out)])
    with pytest.raises(SystemExit, match="0"):
        hiker.main()
    assert capsys.readouterr().out == f"Open {out} in a browser.\n"
    assert out.read_text() == page.document("The hiker", page.hiker())
    # A folder is no file to write to.
    monkeypatch.setattr("sys.argv", ["hiker", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="5"):
        hiker.main()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_page_allows_its_own_scripts_and_nothing_else():
    html = page.document("The hiker", page.hiker())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert policy[1].count("sha256-") == 1
    assert not re.search(r"\b(src|href)=[\"']", html)
    assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
