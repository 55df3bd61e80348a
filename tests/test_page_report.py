"""The report of a job: its numbers are those of metrics.json, and a real browser can show it."""

import html.parser
import importlib
import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import experiments.__main__ as notes
from experiments import race
from experiments.shared import options, runner
from experiments.shared.text import plain_text
from tests.page_browser import chromium
from tests.test_experiments_report import FACTS

pytestmark = [pytest.mark.experiments, pytest.mark.any_precision]
# A number as a report writes it: 1,348 or -0.101 or 2.85e+03.
DRAWN = ("race", "step_size")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.(\d+))?(?:e([-+]\d+))?")


def made_up():
    """Results of six sections that no two numbers of are alike, so that a mix-up is seen."""
    rng = np.random.default_rng(0)

    def some(*shape):
        return rng.uniform(0.1, 9.9, shape).astype(np.float32)

    def shares(*shape):
        return rng.uniform(0.1, 0.9, shape).astype(np.float32)

    steps, num, t = np.arange(0, 12, 2), 3, np.linspace(-0.1, 1.1, 13)
    names = ["<one>", *"bcdefg"]
    paths = {
        name: {"coordinates": rng.uniform(-1, 1, (6 - i % 2, 2)), "off_plane": some(6 - i % 2),
               "loss": 1 + some(6 - i % 2), "plane_loss": some(6 - i % 2)}
        for i, name in enumerate(names)
    }  # fmt: skip
    plane = {"t": np.linspace(-2, 2, 9), "loss": some(9, 9), "accuracy": shares(9, 9)}
    bottom = {"coordinates": some(2), "off_plane": some()[()], "between": np.array([0.5, 0.75]),
              "radius": 0.1}  # fmt: skip
    live = plane | {"pieces": rng.normal(size=(1350, 3)), "penalty": some(6), "examples": 9}
    live |= {"all_examples": 1234, "steps": steps, "names": names, "paths": paths, "bottom": bottom}
    between = {"t": t, "loss": some(13), "accuracy": shares(13)}
    zooms = {"zoom": np.array([1, 10, 1000, 10**5]), "num_kinks": np.array([4321, 321, 21, 1])}
    ends = {name: some(7) for name in ("last_loss", "drawn_loss", "residual", "distance")}
    found = {"names": names, "share": np.array([0.7, 0.2]), "between": between, "live": live}
    measured = {
        "loss_evaluations": np.cumsum(some(num, 4), axis=1),
        "gradient_evaluations": np.cumsum(some(num, 4), axis=1),
        "seconds": np.cumsum(some(num, 4), axis=1),
    }
    runs = {
        name: measured | {"objective": 1 + some(num, 4), "test_accuracy": shares(num),
                          "diverged": np.zeros(num, bool)}
        for name in race.STRATEGIES[:3]
    }  # fmt: skip
    forms = {
        form: {"losses": drawn, "lowest": np.minimum.accumulate(drawn, axis=1),
               "test_accuracy": shares(num)}
        for form, drawn in {"raw": some(num, 40), "scaled": some(num, 40)}.items()
    }  # fmt: skip
    losses, curve = some(2, num, 40), {"step_size": 10.0 ** np.arange(-4, 1), "loss": some(5)}
    results: dict[str, Any] = {
        "landscape": {"scale": 0.1, "grid": 9, "all": {"examples": 1234}, "animate": False,
                      "zooms": zooms, "paths": ends | found},
        "random_search": {
            "losses": losses, "scales": np.array([1e-2, 1e-3]), "best_loss": losses.min(axis=2),
            "mean_loss": some(2), "standard_error": some(2), "expected_loss": some(2),
            "lowest": np.minimum.accumulate(losses, axis=2), "forms": forms,
            "chance": 0.3, "test_accuracy": shares(2, num),
            "long": {"lowest": some(num, 60), "test_accuracy": shares(num),
                     "evaluations": np.array([3, 4, 6])},
        },
        "local_search": {
            "start_loss": some(num), "best_loss": some(num, 40), "accepted": np.ones((num, 40)),
            "num_accepted": np.array([10, 17, 23]), "start_accuracy": shares(num),
            "test_accuracy": shares(num),
        },
        "step_size": {
            "step_sizes": curve["step_size"], "losses": some(5), "loss_before": 7.5,
            "num_classes": 10, "gradient_norm_squared": 500.0, "slope_at_start": -500.0,
            "first_kink": 1e-3, "num_kinks": 9, "kinks_before_best": 8, "best_step": 8e-3,
            "best_step_high": 8e-3, "best_loss": 0.6, "break_even": 0.3, "last_kink": 4.0,
            "tail_slope": 28.0, "tail_intercept": 4.0, "curve": curve, "near": curve,
            "plane": plane,
        },
        "templates": {"norm": some(3), "bias": some(3) - 5, "class_names": ["a", "<b>", "c"],
                      "test_accuracy": 0.625},
        "race": {"strategies": runs, "reg": 0.5,
                 "bottom": {"dual": 0.125, "primal": 0.25, "passes": 7}},
    }  # fmt: skip
    return {name: {"dataset": FACTS} | arrays for name, arrays in results.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a job of six sections, as a command leaves it; nothing is compiled."""
    out = tmp_path_factory.mktemp("report")
    sections = []
    for name, arrays in made_up().items():
        module = importlib.import_module(f"experiments.{name}")
        parts: dict[str, Any] = vars(module) | {"run": lambda _, arrays=arrays: arrays}
        if name not in DRAWN:
            parts["plot"] = lambda arrays: {}
        given = {"num_steps": 40} if "search" in name else {}
        sections.append((SimpleNamespace(**parts), module.Config(seeds=3, **given)))
    config = options.Config(out=out, name="small")
    assert runner.execute("notes", sections, config, front=notes.FRONT) == 0
    return out / "small"


@pytest.fixture(scope="module")
def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


class Parts(html.parser.HTMLParser):
    """Of each section of a page, by its id: what it found, and its tables as rows of cells."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.found, self.into = {}, {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "section":
            self.section = given["aria-labelledby"]
            self.tables[self.section], self.found[self.section] = [], []
        elif given.get("class") == "found":
            self.into = self.found[self.section]
        elif tag == "table":
            self.tables[self.section].append([])
        elif tag == "tr":
            self.tables[self.section][-1].append([])
        elif tag in ("td", "th"):
            self.into = [""]
            self.tables[self.section][-1][-1].append(self.into)

    def handle_endtag(self, tag):
        if tag in ("td", "th", "div"):
            self.into = None

    def handle_data(self, data):
        if self.into is not None:
            self.into.append(data)


@pytest.fixture(scope="module")
def parts(folder):
    found = Parts((folder / "report.html").read_text())
    tables = {
        name: [[["".join(cell) for cell in row] for row in rows] for rows in tables]
        for name, tables in found.tables.items()
    }
    return tables, {name: "".join(said) for name, said in found.found.items()}


def agrees(text, expected):
    """Whether a text shows these numbers, each to the digits that it is written with."""
    shown = list(NUMBER.finditer(text))
    assert len(shown) == len(expected), (text, expected)
    for match, value in zip(shown, expected, strict=True):
        digits = len(match[1] or "") - int(match[2] or 0)
        # Half of the last digit, and what a tie or float32 may add.
        room = 0.5 * 10.0**-digits * 1.001 + 1e-6 * abs(value)
        assert abs(float(match[0].replace(",", "")) - value) <= room, (text, expected)
    return True


def spread(values, factor=1.0):
    values = factor * np.asarray(values)
    return np.median(values), values.min(), values.max()


def quartiles(values, factor=1.0):
    return factor * np.percentile(values, [50, 25, 75])


# What a section's record holds, as the tables and the sentence of what was found have to show it:
# of each table the place of its first number and its rows.


def landscape_shows(r, config):
    ends = r["paths"], r["paths"]["between"]
    t, loss, right = (np.asarray(ends[1][name]) for name in ("t", "loss", "accuracy"))
    three = [np.argmin(abs(t)), np.argmin(abs(t - 1)), np.argmin(loss)]
    names = "last_loss", "drawn_loss", "residual", "distance"
    tables = [
        (
            0,
            [
                [[z], [1 / z], [n]]
                for z, n in zip(*(r["zooms"][n] for n in ("zoom", "num_kinks")), strict=True)
            ],
        ),
        (1, [[[value] for value in row] for row in zip(*(ends[0][n] for n in names), strict=True)]),
        (1, [[[t[i]], [loss[i]], [100 * right[i]]] for i in three]),
    ]
    return tables, [r["all"]["examples"], r["zooms"]["num_kinks"][0]]


def random_search_shows(r, config):
    names = "scales", "best_loss", "test_accuracy", "mean_loss", "standard_error", "expected_loss"
    rows = [
        [[scale], spread(lowest), spread(right, 100), [mean, error], [known]]
        for scale, lowest, right, mean, error, known in zip(*(r[n] for n in names), strict=True)
    ]
    best = spread(r["test_accuracy"][0], 100)
    return [(0, rows)], [config["num_steps"], *best, config["seeds"], 100 * r["chance"]]


def local_search_shows(r, config):
    starts, ends = spread(r["start_accuracy"], 100), spread(r["test_accuracy"], 100)
    last, kept = [losses[-1] for losses in r["best_loss"]], r["num_accepted"]
    rows = [spread(r["start_loss"]), spread(last), spread(kept), starts, ends]
    num = config["num_steps"]
    found = [num, *starts, *ends, config["seeds"], 100 * np.median(kept) / num]
    return [(1, [[row] for row in rows])], found


def step_size_shows(r, config):
    steps, losses = [0.0, *r["step_sizes"]], [r["loss_before"], *r["losses"]]
    slopes = np.diff(losses) / np.diff(steps)
    rows = [[[step], [loss]] for step, loss in zip(steps, losses, strict=True)]
    for row, slope in zip(rows[1:], slopes, strict=True):
        row.append([slope])
    rows[0].append([])
    found = [r["best_step"], r["loss_before"], r["best_loss"], r["break_even"]]
    return [(0, rows)], found


def templates_shows(r, config):
    rows = [[[norm], [bias]] for norm, bias in zip(r["norm"], r["bias"], strict=True)]
    return [(1, rows)], [100 * r["test_accuracy"], 0]


def race_shows(r, config):
    low, rows, ends = r["bottom"]["dual"], [], []
    for run in r["strategies"].values():
        last = {name: [seed[-1] for seed in run[name]] for name in race.MEASURED}
        spent = [
            np.median(last[n]) for n in ("loss_evaluations", "gradient_evaluations", "seconds")
        ]
        ends.append(np.median(last["objective"]))
        over = quartiles(last["objective"]), quartiles(run["test_accuracy"], 100)
        rows.append([*([value] for value in spent), [ends[-1] - low], *over])
    return [(1, rows)], [min(ends) - low, low, config["seeds"], max(ends) - low]


SHOWN = {
    "landscape": landscape_shows,
    "random_search": random_search_shows,
    "local_search": local_search_shows,
    "step_size": step_size_shows,
    "templates": templates_shows,
    "race": race_shows,
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_numbers_of_the_page_are_those_of_metrics_json(parts, metrics, name):
    tables, found = parts
    record = metrics["sections"][name]
    expected, sentence = SHOWN[name](record["results"], record["config"])
    assert agrees(found[name.replace("_", "-")], sentence)
    shown = tables[name.replace("_", "-")]
    assert len(shown) >= len(expected)
    for (first, rows), (_, *body) in zip(expected, shown, strict=False):
        assert len(body) == len(rows)
        for cells, row in zip(body, rows, strict=True):
            assert all(map(agrees, cells[first:], row)), name


def test_the_claims_of_the_page_are_those_of_metrics_json(parts, metrics):
    (rows,) = parts[0]["the-claims"]
    shown = {(source, verdict, measured) for source, verdict, measured, _ in rows[1:]}
    claims = [claim for part in metrics["verdicts"].values() for claim in part]
    texts = [tuple(map(plain_text, (claim[0], claim[2], claim[1]))) for claim in claims]
    assert len(rows) - 1 == len(texts) > 1
    assert shown == set(texts)


def test_the_live_landscape_shows_what_metrics_json_has(browser, folder, metrics):
    browser.open(folder / "report.html")
    live = metrics["sections"]["landscape"]["results"]["paths"]["live"]
    low, high = live["bottom"]["between"]
    place = "arguments[0]", "document.querySelector('.landscape [data-role=step]')"
    for step in (len(live["steps"]) - 1, 3):
        browser.js(
            f"{place[1]}.value = {place[0]}; {place[1]}.dispatchEvent(new Event('input'))", step
        )
        browser.frames(2)
        rows = browser.js(
            "return [...document.querySelectorAll('.landscape [data-role=paths] tr')].map((row) =>"
            " [...row.children].map((cell) => cell.textContent))"
        )
        assert [row[0] for row in rows] == live["names"]
        for name, *cells in rows:
            path = live["paths"][name]
            here = {key: values[min(step, len(values) - 1)] for key, values in path.items()}
            assert agrees(cells[0], [here["loss"]])
            assert agrees(cells[1], [here["plane_loss"]])
            assert agrees(cells[2], [here["off_plane"]])
            assert agrees(cells[3], [here["loss"] - low])
    said = browser.js("return document.querySelector('[data-role=above-says]').textContent")
    assert agrees(said.partition("lies between")[2].partition(", and the")[0], [low, high])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_asks_for_nothing_and_fits(browser, folder, width, dark):
    path = folder / "report.html"
    browser.open(path, width=width, dark=dark)
    # What the processor did until it was there, and not the clock, which others move too.
    assert browser.seconds_of_work() < 1
    assert browser.js("return performance.getEntriesByName('first-paint').length") == 1
    assert browser.js("return document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
    asked = {url for url in browser.requests() if not url.startswith("data:")}
    assert asked <= {path.as_uri(), "about:blank"}
    assert browser.violations() == []


def test_every_control_of_the_landscape_is_reached_by_the_tab_key(browser, folder):
    browser.open(folder / "report.html")
    assert browser.unreached(".landscape") == []


def test_the_landscape_is_dragged_in_its_dearest_view(browser, folder):
    browser.open(folder / "report.html", width=1400)
    script = """const [done] = arguments, root = document.querySelector(".landscape"); let n = 0;
        const part = (name) => root.querySelector(`[data-role=${name}]`), map = part("map");
        part("show").value = "exact";
        part("kinks").checked = true;
        map.scrollIntoView();
        (function next() {
          const key = n % 2 ? "a" : "d";
          map.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
          if (n++ < 40) requestAnimationFrame(next);
          else done(part("above-says").textContent);
        })();"""
    before = browser.seconds_of_work()
    said = browser.browser.execute_async_script(script)
    # 30 frames a second on a processor that has nothing else to do.
    assert browser.seconds_of_work() - before < 40 / 30
    assert int(re.findall(r"(\d+) kink lines", said)[0]) > 1000
