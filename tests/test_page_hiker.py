"""The hiker in a real browser: what it loads, what it prints, and every control by keyboard."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from experiments.shared import page
from jaxsvm import Data, Objective
from tests.page_browser import chromium
from tests.test_page_numbers import LOSSES

pytestmark = pytest.mark.any_precision
POINTS = [(0.5, 0.4, 0), (-0.25, 1.0, 1), (0.3, -0.7, 2), (0.8, 0.3, 1), (-1.0, -0.5, 0)]
START = [[0.5, -1.0, 0.25], [1.0, 0.75, 0.0], [-0.5, 0.25, -0.25]]
LEFT, RIGHT, UP, DELETE = "\ue012", "\ue014", "\ue013", "\ue017"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "hiker.html"
    path.write_text(page.document("The hiker", page.hiker()))
    return path


@pytest.fixture
def hiker(browser, path):
    """The page, afresh; at the end of a test nothing was asked for and nothing complained."""
    browser.open(path)
    yield browser
    assert browser.complaints() == []
    asked = {url.split("#")[0] for url in browser.requests() if not url.startswith("blob:")}
    assert asked <= {path.as_uri(), "about:blank"}


def address(**settings):
    points = "_".join(" ".join(map(str, point)) for point in POINTS)
    start = "_".join(str(w) for row in START for w in row)
    words = {"points": points, "start": start, **settings}
    return "#hiker?" + "&".join(f"{name}={value}" for name, value in words.items())


def dots(hiker):
    return hiker.browser.find_elements("css selector", ".hiker .dot")


def numbers(hiker, role):
    """The numbers in a table's cells, row by row; NaN where there is none."""
    rows = hiker.js(
        "return [...document.querySelectorAll(`[data-role=${arguments[0]}] tr`)].map((row) =>"
        " [...row.querySelectorAll('td')].map((cell) => cell.innerText))",
        role,
    )
    found = [[re.findall(r"-?\d+\.\d+", cell.replace("−", "-")) for cell in row] for row in rows]
    return [[list(map(float, cell)) for cell in row] for row in found]


@pytest.mark.parametrize("loss", ["squared ATM", "softmax"])
def test_the_numbers_are_those_that_python_computes(hiker, path, x64, loss):
    hiker.open(path, address(loss=loss, reg=0.1, delta=1.5))
    record = LOSSES.get(loss, jaxsvm.softmax_loss)
    objective = Objective(record, reg=0.1, delta=1.5)
    W, X = jnp.array(START), jnp.array([[a, b, 1.0] for a, b, _ in POINTS])
    data = Data(X, jnp.array([k for *_, k in POINTS], jnp.int32))

    @jax.jit
    def numbers_of(W, data):
        scores = jaxsvm.score(W, data.X)
        each = record(scores, data.y, delta=1.5)
        parts = jax.value_and_grad(objective)(W, data)
        return *parts, scores, each, jaxsvm.accuracy(W, data)

    value, gradient, scores, losses, accuracy = map(np.asarray, numbers_of(W, data))
    assert hiker.text("objective") == f"{value:.4f}"
    assert hiker.text("accuracy") == f"{100 * accuracy:.0f} %"
    shown = numbers(hiker, "weights")
    for k, d in np.ndindex(3, 3):
        weight, slope = shown[k][d]
        assert abs(weight - START[k][d]) < 6e-3
        assert abs(slope - gradient[k, d]) < 6e-4
    for i, cells in enumerate(numbers(hiker, "examples")):
        found = [cell[0] for cell in cells[1:6]]
        np.testing.assert_allclose(found, [*POINTS[i][:2], *scores[i]], rtol=0, atol=6e-3)
        assert abs(cells[9][0] - losses[i]) < 6e-4


def test_every_control_is_reached_by_the_tab_key(hiker):
    hiker.js("document.querySelector('.hiker details').open = true")
    assert hiker.unreached(".hiker") == []


def test_the_keys_walk(hiker):
    plane = hiker.role("map")
    hiker.press(".", ".", on=plane)
    assert hiker.text("steps") == "2"
    assert hiker.text("status").startswith("Step 2: objective")
    before = hiker.js("return [...document.querySelectorAll('.weights b')].map((b) => b.innerText)")
    hiker.press(RIGHT, on=plane)
    after = hiker.js("return [...document.querySelectorAll('.weights b')].map((b) => b.innerText)")
    number = [float(text.replace("−", "-")) for text in (before[0], after[0])]
    assert number[1] - number[0] == pytest.approx(0.1, abs=0.011)
    assert before[1:] == after[1:]
    hiker.press(" ", on=plane)
    assert hiker.text("play") == "Pause"
    hiker.frames(20)
    hiker.press(" ", on=plane)
    assert hiker.text("play") == "Play"
    assert int(hiker.text("steps")) > 2


def test_the_keys_move_points(hiker):
    first = dots(hiker)[0]
    hiker.press(RIGHT, UP, on=first)
    assert first.get_attribute("aria-label").startswith("point 1, blue, at 0.55, 0.45")
    hiker.press("3")
    assert first.get_attribute("aria-label").startswith("point 1, green")
    hiker.press(DELETE)
    assert len(dots(hiker)) == 8
    hiker.click("add")
    assert len(dots(hiker)) == 9


def test_keys_that_come_faster_than_frames_all_count(hiker):
    twice = """for (const key of arguments[1]) {
        arguments[0].dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
    }"""
    first = dots(hiker)[0]
    hiker.js(twice, first, ["ArrowRight", "ArrowUp"])
    weight = "return document.querySelector('.weights b').innerText"
    before = float(hiker.js(weight).replace("−", "-"))
    hiker.js(twice, hiker.role("map"), ["ArrowRight", "ArrowRight"])
    hiker.frames(2)
    assert first.get_attribute("aria-label").startswith("point 1, blue, at 0.55, 0.45")
    after = float(hiker.js(weight).replace("−", "-"))
    assert after - before == pytest.approx(0.2, abs=0.011)


def test_a_preset_that_is_changed_can_be_chosen_again(hiker):
    hiker.choose("preset", "An outlier")
    said = hiker.text("preset-says")
    hiker.choose("loss", "squared ATM")
    assert hiker.text("preset-says") != said
    hiker.choose("preset", "An outlier")
    assert hiker.text("preset-says") == said
    assert hiker.js("return document.querySelector('[data-role=loss]').value") != "squared ATM"


def test_a_rewound_walk_is_the_same_and_a_reseeded_one_is_not(hiker):
    hiker.choose("strategy", "local search")
    seen = []
    for again in ("rewind", "rewind", "reseed"):
        hiker.click(again)
        for _ in range(5):
            hiker.click("step")
        seen.append(hiker.text("objective"))
    assert seen[0] == seen[1] != seen[2]


def test_the_address_holds_the_settings(hiker, path):
    hiker.choose("preset", "An outlier")
    hiker.choose("loss", "squared ATM")
    objective = hiker.text("objective")
    for _ in range(100):  # it is written when nothing has changed for a while
        hiker.frames(10)
        kept = hiker.browser.current_url.partition("#")[2]
        if "ATM" in kept:
            break
    hiker.open(path, f"#{kept}")
    assert hiker.text("objective") == objective
    assert hiker.role("loss").get_property("value") == "squared ATM"
    # What an address has wrong is as by default.
    hiker.open(path, "#hiker?loss=nothing&reg=-1&stepSize=0&points=a%20b&start=1")
    assert len(dots(hiker)) == 9
    assert hiker.text("reg-value") == "0.01"


def test_the_gradient_check_names_the_hinges_in_the_way(hiker):
    hiker.choose("preset", "Standing on kinks")
    hiker.click("check")
    says = hiker.text("check-says")
    assert " 0 wrong" in says
    assert " at a kink" in says
    assert "In the way: the hinges of point" in says
    assert "kink" in hiker.role("weights").text


def test_points_of_ones_own(hiker):
    hiker.js("document.querySelector('.hiker details').open = true")
    hiker.role("csv").send_keys("a,b,kind\n0.1,0.2,cat\n3,4,dog\n")
    hiker.click("take")
    assert hiker.text("import-says") == "2 points taken over."
    assert len(dots(hiker)) == 2
    hiker.role("csv").send_keys("1,x,cat\n")
    hiker.click("take")
    assert hiker.text("import-says") == 'line 4, "1,x,cat": expected two numbers and a class'
    assert len(dots(hiker)) == 2


def test_what_is_saved_is_what_is_shown(hiker):
    hiker.js(
        "document.querySelector('.hiker details').open = true; window.saved = [];"
        "const make = URL.createObjectURL; URL.createObjectURL = (blob) => {"
        " blob.text().then((text) => window.saved.push(text)); return make.call(URL, blob); }"
    )
    hiker.click("step")
    hiker.click("save-points")
    hiker.click("save-walk")
    points, walk = hiker.js("return window.saved")
    assert points.splitlines()[:2] == ["x1,x2,class", "0.5,0.4,blue"]
    assert len(points.splitlines()) == 10
    found = json.loads(walk)
    assert f"{found['objective']:.4f}" == hiker.text("objective")
    W, X = jnp.array(found["W"]), jnp.array([[a, b, 1.0] for a, b, _ in found["points"]])
    data = Data(X, jnp.array([k for *_, k in found["points"]], jnp.int32))
    value = Objective(reg=found["reg"], delta=float(found["delta"]))(W, data)
    assert float(value) == pytest.approx(found["objective"], rel=1e-5)
    assert len(found["path"]) == 2
    # The saved points are taken back as they are.
    hiker.role("csv").send_keys(points)
    hiker.click("take")
    assert hiker.text("import-says") == "9 points taken over."
    assert f"{found['objective']:.4f}" == hiker.text("objective")


def test_every_preset_walks_without_a_complaint(hiker):
    names = hiker.js(
        "return [...document.querySelector('[data-role=preset]').options].map((o) => o.value)"
    )
    for name in filter(None, names):
        hiker.choose("preset", name)
        hiker.press(*"...", on=hiker.role("map"))
        assert np.isfinite(float(hiker.text("objective"))), name
        assert "NaN" not in hiker.js("return document.querySelector('.pictures').outerHTML"), name


def test_a_walk_that_leaves_the_numbers_stops(hiker):
    hiker.choose("preset", "Penalty that throws out")
    hiker.choose("speed", "10/0")
    hiker.click("play")
    for _ in range(100):
        if hiker.text("play") == "Play":
            break
        hiker.frames(10)
    assert hiker.text("status").startswith("Stopped: ")
    steps = hiker.text("steps")
    hiker.click("step")
    assert hiker.text("steps") == steps


def test_a_point_is_dragged(hiker):
    from selenium.webdriver.common.action_chains import ActionChains

    first = dots(hiker)[0]
    hiker.js("arguments[0].scrollIntoView({block: 'center'})", first)
    ActionChains(hiker.browser).click_and_hold(first).perform()
    box = first.rect
    script = """const [dot, x, y, done] = arguments; let n = 0;
        (function next() {
          const at = { pointerId: 1, clientX: x + n, clientY: y, bubbles: true };
          dot.dispatchEvent(new PointerEvent("pointermove", at));
          if (n++ < 40) requestAnimationFrame(next);
          else done();
        })();"""
    place = hiker.js(
        "const r = arguments[0].getBoundingClientRect(); return [r.x + r.width / 2, r.y]", first
    )
    before = hiker.seconds_of_work()
    hiker.browser.execute_async_script(script, first, *place)
    # 30 frames a second on a processor that has nothing else to do.
    assert hiker.seconds_of_work() - before < 40 / 30
    ActionChains(hiker.browser).release().perform()
    assert first.rect["x"] > box["x"] + 10
    assert "at 0.50" not in first.get_attribute("aria-label")


def test_less_motion_is_respected(hiker, path):
    hiker.open(path, calm=True)
    hiker.press(" ", on=hiker.role("map"))
    hiker.frames(15)
    assert int(hiker.text("steps")) <= 2
    hiker.press(" ", on=hiker.role("map"))


@pytest.mark.parametrize(("width", "dark"), [(360, True), (800, True), (1400, False)])
def test_the_page_is_soon_there_fits_and_is_accessible(hiker, path, width, dark):
    hiker.open(path, width=width, dark=dark)
    assert hiker.seconds_of_work() < 1
    assert hiker.js("return document.documentElement.scrollWidth") <= width
    assert hiker.violations() == []
