"""Data of one's own through the experiments: options, forms, the practical fit and its answers."""

import html
import io
import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from markdown_it import MarkdownIt
from sklearn.datasets import load_iris

import jaxsvm
from experiments import fit, predict, step_size, templates
from experiments.shared import options, pictures, report, runner, settings
from experiments.shared.failures import BAD_DATA, BAD_INPUT, CANNOT_WRITE
from experiments.shared.figures import save_figures
from experiments.shared.options import Source
from experiments.shared.recipes import in_float64
from experiments.shared.results import read_result
from jaxsvm import Data, Model, Objective
from jaxsvm import plot as draw
from jaxsvm.datasets.rows import inverse_deviation

pytestmark = pytest.mark.experiments


# --- options and forms ---


def test_options_say_where_the_data_are(tmp_path):
    assert options.Config().source == Source("digits")
    assert options.Config(dataset="cifar10").data_name == "cifar10"
    config = options.Config(X=tmp_path / "a b.csv", y="species", X_test=tmp_path / "t.csv")
    name = str(tmp_path / "a b.csv")
    assert config.source == Source(name, "species", str(tmp_path / "t.csv"), None)
    assert config.data_name == "a b"
    with pytest.raises(ValueError, match=r"y = y\.npy without X: expected --X too"):
        options.Config(y="y.npy")
    with pytest.raises(ValueError, match=r"dataset = 'iris' and X = .*: expected one of them"):
        options.Config(dataset="iris", X=tmp_path)


def test_a_table_has_three_forms():
    table = load_iris().data
    raw, centred, scaled = (settings.load(Source("iris"), pixels) for pixels in settings.PIXELS)
    every = np.concatenate([np.asarray(part.X) for part in raw[:3]])
    by_row = lambda a: a[np.lexsort(a.T)]  # noqa: E731
    np.testing.assert_allclose(by_row(every[:, :-1]), by_row(table), rtol=1e-6)
    np.testing.assert_array_equal(every[:, -1], 1)
    X = np.asarray(centred.train.X)[:, :-1]
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)
    own = jaxsvm.load_dataset("iris", scale="columns")
    np.testing.assert_allclose(scaled.test.X, own.test.X, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaled.scale, own.scale, rtol=1e-6)
    for form in (raw, centred, scaled):
        back = np.asarray(form.test.X)[:, :-1] / form.scale + form.shift
        np.testing.assert_allclose(back, np.asarray(raw.test.X)[:, :-1], rtol=1e-5)
    constant = inverse_deviation(np.array([[0.1, 1.0], [0.1, 3.0]], np.float32))
    np.testing.assert_array_equal(constant, [1, 1])


def test_step_sizes_are_tuned_by_name_and_follow_the_lengths_elsewhere():
    digits = settings.load(Source("digits"), "scaled")
    assert settings.suiting(digits) == settings.SMALL
    # The rule would have come near what was tuned, up to a factor of three.
    ruled = settings.suiting(digits._replace(name="own"))
    for name in ("descent_step_size", "batch_step_size", "race_step_size", "adam_step_size"):
        ratio = getattr(ruled, name) / getattr(settings.SMALL, name)
        assert 1 / 3 < ratio < 3, name
    centred = settings.suiting(settings.load(Source("digits"), "centred")._replace(name="own"))
    assert abs(centred.first_power - settings.SMALL.first_power) <= 1
    rows = np.full((3000, 5), 2.0, np.float32)  # ‖x‖² = 20, from every third row
    train: Any = SimpleNamespace(X=rows)
    longer: Any = SimpleNamespace(X=10 * rows)
    sizes = [settings.suiting(digits._replace(name="own", train=t)) for t in (train, longer)]
    assert sizes[0].batch_step_size == pytest.approx(2.0 / 20)
    assert sizes[0].batch_step_size == pytest.approx(100 * sizes[1].batch_step_size)
    assert sizes[0].adam_step_size == pytest.approx(10 * sizes[1].adam_step_size)
    assert sizes[0].first_power == sizes[1].first_power + 2
    assert sizes[0].epochs == settings.SMALL.epochs


# --- what a table looks like ---


def fake_solution(W, N):
    slopes = np.zeros((N, len(W)), np.float32)
    slopes[7, 0], slopes[3] = 0.5, 1.0
    return SimpleNamespace(W=W, dual_variables=slopes)


def test_the_hardest_rows_of_a_table_are_named_with_their_values(tmp_path):
    dataset = settings.load(Source("iris"), "scaled")
    W = jnp.zeros((3, 5)).at[1, -1].set(1.0)  # everything is seen as the second class
    solution: Any = fake_solution(W, len(dataset.train.y))
    found = pictures.hardest(dataset, solution, count=2)
    assert found["hardest_rows"].tolist() == [3, 7]
    assert found["support"] == 2 / len(dataset.train.y)
    assert found["hardest_classes"][0] == dataset.class_names[dataset.train.y[3]]
    assert found["hardest_seen_as"] == [dataset.class_names[1]] * 2
    raw = np.asarray(settings.load(Source("iris"), "raw").train.X)
    values = np.column_stack(list(found["hardest_values"].values()))
    np.testing.assert_allclose(values, raw[[3, 7], :4], rtol=1e-5)
    text = pictures.hardest_table(found)
    assert "| row of the training part | class | seen as | sepal length (cm) |" in text
    assert pictures.hardest_figures(found) == {}
    odd = {"hardest_values": {"a | b": values[:, 0]}}
    assert r"| a \| b |" in pictures.hardest_table(found | odd)


def test_the_hardest_pictures_are_drawn_as_they_are():
    dataset = settings.load(Source("digits"), "scaled")
    W = jnp.zeros((10, 65))
    solution: Any = fake_solution(W, len(dataset.train.y))
    found = pictures.hardest(dataset, solution, count=2)
    raw = np.asarray(settings.load(Source("digits"), "raw").train.X)[[3, 7], :-1]
    expected = raw.reshape(2, 8, 8) / raw.max()
    np.testing.assert_allclose(found["hardest"], expected, atol=1e-6)
    assert list(pictures.hardest_figures(found)) == ["hardest_examples"]
    assert pictures.hardest_table(found) == ""


def test_weights_are_drawn_as_what_they_are(tmp_path):
    rng = np.random.default_rng(0)
    for shape in ((8, 8), (8, 8, 1), (4, 4, 3), (4, 4, 2), (60,), (3,)):
        figure = pictures.templates(
            rng.normal(size=(2, *shape)), ["a", "$^$"], [f"${d}$" for d in range(np.prod(shape))]
        ).figure
        draw.save_figure(figure, tmp_path / "a.png")  # a name is no formula
        assert len(figure.axes[0].images) == 1
    texts = draw.heat_map(
        [[0, 10], [90, 0]], ["a", "b"], ["c", "d"], xlabel="x", ylabel="y", label="z",
        cells=[["0", "1"], ["9", "0"]],
    ).axes[0].texts  # fmt: skip
    assert [text.get_text() for text in texts] == ["0", "1", "9", "0"]
    assert [text.get_color() for text in texts] == ["white", "white", "black", "white"]


def test_templates_of_a_table_have_its_columns(tmp_path):
    arrays = templates.run(templates.Config(dataset="iris", num_steps=200))
    assert arrays["templates"].shape == (3, 4)
    assert arrays["feature_names"][0] == "sepal length (cm)"
    assert arrays["test_accuracy"] > 0.8
    assert save_figures(templates.plot(arrays), tmp_path)
    assert "setosa" in templates.report(arrays)


def test_a_line_that_parts_the_classes_has_no_break_even_step(tmp_path):
    # Two classes on either side of 0: along the gradient the loss falls to 0 and stays there.
    X = np.array([[-2.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [2.0, 1.0]], np.float32)
    data, W = Data(jnp.asarray(X), jnp.array([0, 0, 1, 1], jnp.int32)), jnp.zeros((2, 2))
    gradient = jaxsvm.analytic_gradient(Objective(), W, data)
    with jax.enable_x64(True):
        ahead = in_float64(jaxsvm.along(Objective(), W, -gradient, data))
        found = step_size.exact_curve(ahead, -5, 10)
    assert found["tail_slope"] == found["best_loss"] == 0
    assert found["break_even"] == np.inf
    t = np.linspace(-2, 2, 5)
    plane = {"t": t, "loss": np.zeros((5, 5))}
    arrays = {**found, "plane": plane, "gradient_norm_squared": 1.0, "num_classes": 2}
    assert save_figures(step_size.plot(arrays), tmp_path)
    text = step_size.report(arrays)
    assert "none: the tail is flat" in text
    assert "nan" not in text
    assert "with 2 classes, it starts at 1.0" in text


# --- the fit ---


def made(N=60, seed=0):
    """Three classes of strings in three columns whose means and units differ."""
    rng = np.random.default_rng(seed)
    y = np.repeat(["ant", "bee", "crow"], N // 3)
    centres = {"ant": (0, 0, 0), "bee": (3, 0, 1), "crow": (0, 3, -1)}
    X = np.array([centres[name] for name in y]) + rng.normal(size=(N, 3))
    return X * [1000.0, 1.0, 0.01] + [1e6, 0.0, 5.0], y


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The folder of a run on a CSV file, and the raw table."""
    folder = tmp_path_factory.mktemp("fit")
    X, y = made()
    rows = [",".join([*map(repr, row.tolist()), name]) for row, name in zip(X, y, strict=True)]
    path = folder / "birds.csv"
    path.write_text("\n".join(["mass,length,wing,kind", *rows]) + "\n")
    config = fit.Config(
        X=path, y="kind", regs=(1.0, 0.03), folds=2, out=folder / "runs", name="run"
    )
    assert runner.execute("fit", [(fit, config)], config) == 0
    return folder / "runs" / "run", X, y


def test_a_fit_leaves_a_proved_model_that_takes_raw_inputs(fitted):
    folder, X, y = fitted
    model = jaxsvm.load(folder / "model.npz")
    assert model.classes == ("ant", "bee", "crow")
    assert model.feature_names == ("mass", "length", "wing")
    assert model.fitted_on is not None
    assert model.fitted_on.num_examples == 48
    assert np.mean(model.predict(X) == y) > 0.85
    assert model.certificate is not None
    assert model.certificate.gap <= 1e-3 * model.certificate.primal
    assert model.rebuild_objective().reg in (1.0, 0.03)
    results = json.loads((folder / "metrics.json").read_text())["sections"]["fit"]["results"]
    confusion = np.array(results["confusion"])
    assert confusion.sum() == 12
    assert results["path"]["num_held_out"] == 48
    # What the report says of the training examples is what the model file answers of all of them.
    right = results["train_accuracy"] * 48 + np.trace(confusion)
    assert np.sum(model.predict(X) == y) == pytest.approx(right)


def test_the_report_of_a_fit_is_one_page(fitted):
    folder, _, _ = fitted
    text = (folder / "report.md").read_text()
    for part in (
        "% of the test part is right**", "no W has one below", "### What to try next", "| crow |",
        "| row of the training part | class | seen as | mass | length | wing |", "On 48 held-out",
    ):  # fmt: skip
        assert part in text, part
    assert "nan" not in text.split()
    figures = {path.stem for path in folder.rglob("*.png")}
    figures |= {path.stem for path in folder.rglob("*.svg")}
    assert figures == {"confusion", "accuracy_against_reg", "templates"}
    with np.load(folder / "fit" / "arrays.npz") as arrays:
        model = jaxsvm.load(folder / "model.npz")
        np.testing.assert_array_equal(arrays["model.W"], model.W)


HOSTILE = (
    "<script>x</script>", "<img src=x onerror=y>",
    "a|b | `c` *d* _e_ [f](g) ![h](i) &lt; \\frac$j$ {:k}",
)  # fmt: skip


def test_names_from_outside_stay_text_in_both_reports(fitted, tmp_path):
    folder, _, _ = fitted
    arrays, _ = read_result(folder / "fit" / "arrays.npz")
    arrays["model"]["classes"] = list(HOSTILE)
    seen = dict(zip(("ant", "bee", "crow"), HOSTILE, strict=True))
    for key in ("hardest_classes", "hardest_seen_as"):
        arrays[key] = [seen[name] for name in arrays[key]]
    values = zip(HOSTILE, arrays["hardest_values"].values(), strict=True)
    arrays["hardest_values"] = dict(values)
    body = fit.report(arrays)
    report.write_report(tmp_path, report.Top(report.Story("fit")), [report.Chapter("fit", body)])
    # What an editor shows may hold any HTML; what is ours holds none.
    editor = MarkdownIt("commonmark").enable("table").render(body)
    for page in ((tmp_path / "report.html").read_text(), editor):
        tags = set(re.findall(r"<(\w+)", page))
        assert not {"script", "img", "em"} & tags
        assert set(re.findall(r'href="(.*?)"', page)) <= {"#text", "#fit"}
        cells = re.findall(r"<t[hd].*?>(.*?)</t[hd]>", page)
        for name in HOSTILE:
            # A column of values, a row of the table of classes, and examples among the hardest.
            assert [html.unescape(cell) for cell in cells].count(name) > 2, name


@pytest.mark.parametrize("name", ["$x", "a$b$c", "\\frac", "$\\frac", "\\$", "$$", "a^{b$"])
def test_figures_draw_names_as_they_are(name):
    names = [name, "plain"]
    for figure in (
        draw.heat_map(np.eye(2), names, names, xlabel="", ylabel="", label=""),
        draw.images(np.ones((2, 2, 2)), names),
        draw.bars(names, [1.0, 2.0], xlabel=""),
    ):
        page = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            figure.savefig(page, format="svg")
        assert f">{name}</text>" in html.unescape(page.getvalue())


def ask(monkeypatch, capsys, *arguments):
    """Run the command that predicts; return its status, its output and its error."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        predict.main()
    return end.value.code, *capsys.readouterr()


def test_predictions_are_a_table(fitted, tmp_path, monkeypatch, capsys):
    folder, X, _ = fitted
    path, model = folder / "model.npz", jaxsvm.load(folder / "model.npz")
    expected = model.predict(X).tolist()

    def classes(text):
        lines = text.splitlines()
        assert lines[0] == "row,class,score"
        assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in range(len(X))]
        return [line.split(",")[1] for line in lines[1:]]

    np.save(tmp_path / "X.npy", X)
    status, out, _ = ask(monkeypatch, capsys, path, tmp_path / "X.npy")
    assert status == 0
    assert classes(out) == expected
    assert float(out.splitlines()[1].split(",")[2]) == pytest.approx(
        model.scores(X[:1]).max(), rel=1e-5
    )
    np.savez(tmp_path / "X.npz", X=X)
    status, _, _ = ask(
        monkeypatch, capsys, path, tmp_path / "X.npz", "--out", tmp_path / "answers.csv"
    )
    assert status == 0
    assert classes((tmp_path / "answers.csv").read_text()) == expected
    # The file that the model was fitted on, labels and all, with its columns in another order.
    lines = (folder.parents[1] / "birds.csv").read_text().splitlines()
    turned = [",".join(reversed(line.split(","))) for line in lines]
    (tmp_path / "turned.csv").write_text("\n".join(turned))
    status, out, _ = ask(monkeypatch, capsys, path, tmp_path / "turned.csv")
    assert classes(out) == expected


def test_bad_inputs_of_predict_exit_2_in_one_line(fitted, tmp_path, monkeypatch, capsys):
    folder, X, _ = fitted
    path = folder / "model.npz"
    np.save(tmp_path / "narrow.npy", X[:, :2])
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    np.savez(tmp_path / "other.npz", Z=X)
    (tmp_path / "b.csv").write_text("mass,length\n1,2\n")
    (tmp_path / "c.csv").write_text("mass,length,wing\n1,2,x\n")
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "photos").mkdir()
    cases = {
        (path, tmp_path / "narrow.npy"): "expected (N, 3)",
        (path, tmp_path / "objects.npy"): "cannot be read",
        (path, tmp_path / "other.npz"): "one called X",
        (path, tmp_path / "b.csv"): "has no column 'wing'",
        (path, tmp_path / "c.csv"): "expected numbers below the header",
        (path, tmp_path / "a.txt"): "has the suffix '.txt'",
        (path, tmp_path / "photos"): "a folder of images, and the model takes",
        (path, tmp_path / "absent.npy"): "No such file",
        (tmp_path / "narrow.npy", tmp_path / "narrow.npy"): "is no file of jaxsvm's",
    }
    for arguments, message in cases.items():
        status, out, err = ask(monkeypatch, capsys, *arguments)
        assert status == BAD_INPUT, message
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert out == ""
    nowhere = tmp_path / "a.txt" / "answers.csv"
    status, _, err = ask(
        monkeypatch, capsys, path, folder.parents[1] / "birds.csv", "--out", nowhere
    )
    assert status == CANNOT_WRITE
    assert err.count("\n") == 1


def test_images_are_read_by_their_names(tmp_path):
    from PIL import Image

    model = Model(np.eye(2, 13, 12), np.zeros(12), np.ones(12), ("a", "b"), (2, 2, 3))
    for name, level in (("z.png", 200), ("a.png", 10)):
        Image.new("L", (2, 2), level).save(tmp_path / name)
    names, X = predict.read(tmp_path, model)
    assert names == ["a.png", "z.png"]
    np.testing.assert_array_equal(X, np.array([10, 200])[:, None, None, None] * np.ones((2, 2, 3)))
    Image.new("RGB", (3, 2)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"wide\.png has 3x2 pixels: expected 2x2"):
        predict.read(tmp_path, model)


def test_a_csv_without_names_is_taken_as_it_is(tmp_path):
    model = Model(np.eye(2, 3), np.zeros(2), np.ones(2), ("a", "b"), (2,))
    for text in ("1,2\n3,4\n", "x,y\n1,2\n3,4\n"):
        (tmp_path / "a.csv").write_text(text)
        _, X = predict.read(tmp_path / "a.csv", model)
        np.testing.assert_array_equal(X, [[1, 2], [3, 4]])


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_folds_are_stratified_and_of_one_size(name):
    dataset = jaxsvm.load_dataset(name, scale="columns")
    everything = fit.joined(dataset.train, dataset.validation)
    N, C = len(everything.y), len(dataset.class_names)
    X = np.concatenate([np.asarray(dataset.train.X), np.asarray(dataset.validation.X)])
    np.testing.assert_array_equal(np.asarray(everything.X), X)
    found = list(fit.divided(dataset, everything, 5))
    assert {(part.X.shape[0], held.X.shape[0]) for part, held in found} == {(N, N // 5)}
    seen = np.concatenate([np.asarray(held.X) for _, held in found])
    assert len(np.unique(seen, axis=0)) >= len(np.unique(X, axis=0)) - 4
    for part, held in found:
        own, others = ({row.tobytes() for row in np.asarray(p.X)} for p in (held, part))
        # Rows that stand twice in the data may be on either side.
        assert len(own & others) <= len(X) - len(np.unique(X, axis=0))
        share = np.bincount(held.y, minlength=C) / np.bincount(everything.y, minlength=C)
        assert np.ptp(share) < 0.05
    ((part, held),) = fit.divided(dataset, everything, 0)
    assert held is dataset.validation
    M = len(dataset.train.y)
    np.testing.assert_array_equal(part.X[:M], dataset.train.X)
    np.testing.assert_array_equal(part.X[M:], dataset.train.X[: N - M])
    with pytest.raises(ValueError, match=f"folds = {N + 1} with {N} examples"):
        next(fit.divided(dataset, everything, N + 1))
    with pytest.raises(ValueError, match="folds = 1: expected 0, for the validation part, or 2"):
        fit.Config(folds=1)


def measured(**changes):
    """What a run that went well measured."""
    found = {
        "path": {
            "regs": np.array([1.0, 0.1, 0.01]), "accuracy": np.array([0.8, 0.9, 0.8]),
            "num_held_out": 1000, "folds": 0,
        },
        "confusion": np.array([[95, 5], [5, 95]]),
        "train_accuracy": 0.96,
        "gap_tolerance": 1e-3,
        "is_images": False,
        "model": {
            "classes": ("a", "b"), "certificate": jaxsvm.model.Certificate(1.0, 0.9995, 5e-4, 9)
        },
    }  # fmt: skip
    return found | changes


def test_of_equally_good_regs_the_middle_is_taken():
    for accuracy, best in (([0.8, 0.9, 0.7], 1), ([0.9, 0.9, 0.9], 1), ([0.9, 0.9, 0.8], 1)):
        assert fit.best_of({"accuracy": np.array(accuracy)}) == best


def test_advice_follows_the_numbers():
    assert fit.advice(measured())[0].startswith("Nothing stands out")
    path = measured()["path"]
    stopped = {"classes": ("a", "b"), "certificate": jaxsvm.model.Certificate(1.0, 0.9, 0.1, 9)}
    low = {"train_accuracy": 0.75, "confusion": np.array([[75, 25], [25, 75]])}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"path": path | {"accuracy": np.array([0.9, 0.8, 0.8])}}, "1, is the largest"),
        ({"path": path | {"accuracy": np.array([0.7, 0.8, 0.9])}}, "0.01, is the smallest"),
        ({"path": path | {"num_held_out": 20}}, "chosen on 20 examples, which is few"),
        ({"confusion": np.array([[80, 20], [20, 80]])}, "more examples, fewer features"),
        ({"model": stopped}, "The proof stopped at a gap of 1.0e-01"),
        ({"confusion": np.array([[190, 0], [9, 1]])}, "Always answering “a” would be right in 95"),
        (low, "add columns"),
        (low | {"is_images": True}, "python -m experiments.features"),
        ({"confusion": np.array([[1900, 0], [60, 40]])}, "“b” is right in 40 % of its 100"),
    ]
    for changes, words in cases:
        found = fit.advice(measured(**changes))
        assert any(words in line for line in found), (words, found)


def test_bad_data_are_one_line_and_leave_nothing(tmp_path, capsys):
    (tmp_path / "bad.csv").write_text("a,label\n1,x\nfive,y\n")
    config = fit.Config(X=tmp_path / "bad.csv", out=tmp_path / "runs")
    assert runner.execute("fit", [(fit, config)], config) == BAD_DATA
    err = capsys.readouterr().err
    assert "line 3" in err
    assert err.count("\n") == 1
    assert list((tmp_path / "runs").iterdir()) == []
