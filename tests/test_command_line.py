"""Every refusal of a command line is one line that names the option; nothing is run."""

import dataclasses
import importlib
import typing

import pytest

from experiments import __main__ as notes
from experiments import predict
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import compare
from experiments.shared import command_line

pytestmark = pytest.mark.any_precision

KINDS = {
    name: importlib.import_module(f"experiments.{name}").Config
    for name in [*notes.SECTIONS, *notes.FURTHER, "fit"]
}
KINDS |= {
    "notes": notes.Config, "predict": predict.Config, "benchmark": benchmark.Arguments,
    "compare": compare.Config,
}  # fmt: skip
FILES = {"predict": ["model.npz", "X.npy"], "compare": ["before.json", "after.json"]}
# Of all numeric options these take more than numbers greater than 0.
TAKE_ZERO = {
    "gradient_descent reg", "minibatch reg", "race reg", "optax_comparison reg",
    "features alphas", "features kmeans_rounds", "fit folds", "benchmark seed", "compare percent",
    "minibatch batch_sizes",  # all examples
    "step_size lowest",  # an exponent
}  # fmt: skip
TAKE_NEGATIVE = {"step_size lowest"}


def refusal(capsys, name, *arguments):
    """What is said of arguments, once it is known to be one line with status 2."""
    with pytest.raises(SystemExit) as end:
        command_line.read(KINDS[name], "about", [*FILES.get(name, ()), *arguments])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert not set("│╭╰─") & set(err)
    return err


def numbers(hint):
    """The types of numbers in the type of an option."""
    parts = [numbers(part) for part in typing.get_args(hint)]
    return {hint} & {int, float} | set().union(*parts)


@pytest.mark.parametrize("name", KINDS)
def test_numbers_that_make_no_sense_are_refused(name, capsys):
    hints = typing.get_type_hints(KINDS[name], include_extras=True)
    for field in dataclasses.fields(KINDS[name]):
        if not numbers(hints[field.name]):
            continue
        option = f"--{field.name.replace('_', '-')}"
        for value in ("nan", "inf", "0", "-1", "text", "1e400"):
            taken = {"0": TAKE_ZERO, "-1": TAKE_NEGATIVE}.get(value, set())
            if f"{name} {field.name}" in taken:
                command_line.read(KINDS[name], "about", [*FILES.get(name, ()), option, value])
                continue
            said = refusal(capsys, name, option, value)
            assert option in said or f"{field.name} = " in said, said
            assert value in said or value == "1e400", said
            assert "expected" in said, said


@pytest.mark.parametrize("name", KINDS)
def test_words_that_are_no_options_are_named(name, capsys):
    assert "--sedes" in refusal(capsys, name, "--sedes", "3")
    option = "--percent" if name == "compare" else "--out"
    assert option in refusal(capsys, name, option)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("notes", ["--sections", "rase"], ["sections", "'rase'", "random_search"]),
        ("notes", ["--sections"], ["sections", "empty", "expected"]),
        ("notes", ["--sections", "race", "race"], ["sections", "'race'", "expected each once"]),
        ("notes", ["race"], ["Unrecognized", "race"]),
        ("notes", ["--name", "../up"], ["name = '../up'", "expected"]),
        ("notes", ["--name", "/up"], ["name = '/up'", "expected"]),
        ("notes", ["--name", "two\nlines"], ["name = 'two\\nlines'", "expected"]),
        ("notes", ["--again=3"], ["3"]),
        ("fit", ["--y", "label"], ["y = label", "expected --X"]),
        ("benchmark", ["everything"], ["part", "'everything'", "'gradient'"]),
        ("benchmark", ["--size", "huge"], ["--size", "'huge'", "'tiny', 'full'"]),
        ("predict", ["and one more"], ["Unrecognized", "and one more"]),
        ("race", ["--seeds", "5", "--learning-rate", "0.1"], ["--learning-rate", "--help"]),
        ("race", ["--seeds", "1.5"], ["--seeds", "'1.5'", "expected: --seeds INT"]),
    ],
)
def test_what_was_expected_and_what_came_is_said(name, arguments, words, capsys):
    said = refusal(capsys, name, *arguments)
    assert [word for word in words if word not in said] == [], said


def test_files_that_are_missing_are_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["predict", "model.npz"])
    with pytest.raises(SystemExit) as end:
        predict.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "The inputs: .npy, .npz, .csv, or a folder of images. (required)" in said


def test_results_that_cannot_be_compared_are_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "a.json").write_text("[]")
    for path in (tmp_path / "a.json", tmp_path / "none.json"):
        monkeypatch.setattr("sys.argv", ["compare", str(path), str(path)])
        with pytest.raises(SystemExit) as end:
            compare.main()
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(path) in said


BOX = """
╭─ Value error ────────────────────╮
│ Error parsing --seeds: invalid   │
│ literal                          │
│ ──────────────────────────────── │
│ Argument helptext:               │
│     --seeds INT                  │
│ ──────────────────────────────── │
│ For full helptext, see a --help  │
╰──────────────────────────────────╯
"""


def test_a_box_is_reduced_with_a_frame_and_without():
    box = BOX.strip()
    bare = box.translate(str.maketrans("│╭╮╰╯─", "     -"))
    said = "Error parsing --seeds: invalid literal; expected: --seeds INT; --help lists"
    assert command_line.reduced(box) == command_line.reduced(bare) == f"{said} what there is"


def test_help_is_as_tyro_writes_it(capsys):
    with pytest.raises(SystemExit) as end:
        command_line.read(KINDS["race"], "about", ["--help"])
    assert end.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("usage: ")
    assert "How many seeds: 0, 1, ... seeds" in out
