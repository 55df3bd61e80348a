"""Users' own files and folders, in every form and with every mistake, against what is in them."""

import csv
import os
import pickle
import sys
import warnings

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import sklearn.datasets
from PIL import Image

from experiments.shared import settings
from experiments.shared.options import Source
from jaxsvm import DatasetError, StandardizedFeatures, load_dataset
from jaxsvm.datasets import load
from jaxsvm.datasets.own import load_own
from jaxsvm.datasets.rows import inverse_deviation
from jaxsvm.datasets.split import divide, hold_out, mixed_order

pytestmark = pytest.mark.any_precision

NAMES = np.array(["owl", "cat", "newt"])


def table(N=60, F=3, seed=0):
    """A table that is sorted by class, and the classes' numbers."""
    X = np.random.default_rng(seed).standard_normal((N, F)) * 10 + 100
    return X, np.sort(np.arange(N) % 3)


def write_csv(path, X, labels, column="label", columns=None):
    columns = columns or [f"x{j}" for j in range(X.shape[1])]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, column])
        writer.writerows([*map(repr, row.tolist()), label] for row, label in zip(X, labels))  # noqa: B905
    return path


def write_parquet(path, X, labels, column="label"):
    arrays = {f"x{j}": X[:, j] for j in range(X.shape[1])} | {column: labels}
    pyarrow.parquet.write_table(pa.table(arrays), path)
    return path


def write(folder, suffix, X, labels):
    """Write a table in one of the forms; return the arguments that name it."""
    path = folder / f"mine{suffix}"
    if suffix == ".npy":
        np.save(path, X)
        np.save(folder / "y.npy", labels)
        return {"name": path, "labels": str(folder / "y.npy")}
    if suffix == ".npz":
        np.savez(path, X=X, y=labels)
    else:
        {".csv": write_csv, ".parquet": write_parquet}[suffix](path, X, labels)
    return {"name": path}


def rows_of(X, labels):
    """{row: label}, so that parts are compared whatever their order."""
    found = {tuple(row): str(label) for row, label in zip(X.tolist(), labels, strict=True)}
    assert len(found) == len(X)
    return found


# --- every form ---


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["names", "numbers"])
def test_a_table_comes_out_whole_from_every_form(suffix, kind, tmp_path):
    X, y = table()
    labels = NAMES[y] if kind == "names" else y * 7 + 2
    dataset = load_dataset(**write(tmp_path, suffix, X, labels), validation=9)
    assert dataset.class_names == (("cat", "newt", "owl") if kind == "names" else ("2", "9", "16"))
    assert dataset.feature_names == (("x0", "x1", "x2") if suffix in (".csv", ".parquet") else ())
    assert (dataset.name, dataset.image_shape, dataset.mean_image.shape) == ("mine", (3,), (3,))
    assert [len(part.y) for part in dataset[:3]] == [39, 9, 12]
    found: dict[tuple[float, ...], str] = {}
    for part in dataset[:3]:
        x = np.asarray(part.X)
        np.testing.assert_array_equal(x[:, -1], 1)
        raw = np.float32(x[:, :-1].astype(np.float64) / dataset.scale + dataset.shift)
        found |= rows_of(raw.round(3), np.array(dataset.class_names)[np.asarray(part.y)])
        # Sorted by class in the file, but in every part a third each.
        np.testing.assert_array_equal(np.bincount(part.y), len(part.y) // 3)
    assert found == rows_of(X.astype(np.float32).round(3), labels)


def test_all_forms_are_split_alike(tmp_path):
    X, y = table()
    forms = [load_own(**named(write(tmp_path, s, X, NAMES[y]))) for s in (".npy", ".npz", ".csv")]
    forms.append(load_own(**named(write(tmp_path, ".parquet", X, NAMES[y]))))
    for form in forms[1:]:
        for a, b in zip([*forms[0].train, *forms[0].test], [*form.train, *form.test], strict=True):
            np.testing.assert_array_equal(a, b)


def named(arguments):
    return {"path": arguments.pop("name"), **arguments}


def test_a_csv_file_is_read_as_it_is_meant(tmp_path):
    path = tmp_path / "Mixed.CSV"
    text = (
        '\ufeff"a, b", class ,c\r\n1.5,"x, y",2e3\r\n\r\n"-7", z,+.25\r\n3,"x, y",1\r\n4,z,nope\r\n'
    )
    path.write_bytes(text.replace("nope", "-0.0").encode())
    examples = load_own(path)
    assert examples.feature_names == ("a, b", "c")
    assert examples.class_names == ("x, y", "z")
    found = [row for part in (examples.train, examples.test) for row in part[0].tolist()]
    assert sorted(found) == [[-7, 0.25], [1.5, 2000], [3, 1], [4, 0]]
    path.write_bytes(text.encode())
    with pytest.raises(
        DatasetError, match=r"Mixed.CSV, line 6, column 'c' is 'nope': expected a f"
    ):
        load_own(path)


def test_the_label_column_is_named_or_usual(tmp_path):
    X, y = table(12)
    path = write_csv(tmp_path / "a.csv", X, y, columns=["y", "x", "z"], column="kind")
    assert load_own(path, "kind").feature_names == ("y", "x", "z")
    with pytest.raises(DatasetError, match="labels= names one of its columns, 'y', 'x', 'z', 'kin"):
        load_own(path, "sort")
    with pytest.raises(DatasetError, match=r"column 'y' is 1\d+\.\d+: expected classes"):
        load_own(path)
    for columns in (["y", "x", "target"], ["u", "v", "w"]):
        column = "label" if "y" in columns else "kind"
        path = write_csv(tmp_path / "a.csv", X, y, columns=columns, column=column)
        with pytest.raises(DatasetError, match=r"name the one of the labels.*exactly one must be"):
            load_own(path)


def parquet_of(**columns):
    return lambda path: pyarrow.parquet.write_table(pa.table(columns), path)


def test_parquet_columns_of_every_type_of_number(tmp_path):
    path = tmp_path / "a.parquet"
    parquet_of(
        a=pa.array([1, 2, 3, 4], pa.int8()),
        b=pa.array([True, False, True, False]),
        c=pa.array([0.5, 1.5, 2.5, 3.5], pa.float32()),
        target=pa.array(["u", "v", "u", "v"]).dictionary_encode(),
    )(path)
    examples = load_own(path)
    rows = rows_of(np.concatenate([examples.train[0], examples.test[0]]), np.zeros(4))
    assert set(rows) == {(1, 1, 0.5), (2, 0, 1.5), (3, 1, 2.5), (4, 0, 3.5)}
    assert examples.class_names == ("u", "v")


@pytest.mark.parametrize("shape", [(20, 4, 5), (20, 4, 5, 3)])
def test_bytes_with_more_axes_are_images(shape, tmp_path):
    X = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    dataset = load_dataset(**write(tmp_path, ".npz", X, np.arange(20) % 2), center=False)
    assert isinstance(dataset.train.X, StandardizedFeatures)
    assert dataset.image_shape == (*shape[1:], *[1][: 4 - len(shape)])
    pixels = np.concatenate([np.asarray(part.X)[:, :-1] for part in dataset[:3]])
    assert set(map(tuple, pixels.tolist())) == set(map(tuple, X.reshape(20, -1).tolist()))
    parts = np.asarray(dataset.train.X)[:, :-1]
    np.testing.assert_allclose(dataset.mean_image.ravel(), parts.mean(axis=0), rtol=1e-6)


def test_other_numbers_are_a_table_that_keeps_its_shape(tmp_path):
    rng = np.random.default_rng(0)
    for X in (
        rng.integers(0, 2, (20, 6)).astype(bool),
        rng.standard_normal((20, 3, 2)).astype(">f4"),
        rng.integers(-9, 9, (20, 3, 2)).astype(np.int16),
        rng.standard_normal((20, 6)).astype(np.float16),
    ):
        arguments = write(tmp_path, ".npz", X, np.arange(20) % 2)
        dataset = load_dataset(**arguments, center=False, validation=0)
        assert isinstance(dataset.train.X, jax.Array)
        assert dataset.image_shape == dataset.mean_image.shape == X.shape[1:]
        found = np.concatenate([np.asarray(part.X)[:, :-1] for part in dataset[::2][:2]])
        expected = X.reshape(20, 6).astype(np.float32)
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))


# --- the numbers ---


@pytest.mark.parametrize("scale", [1.0, 0.25, "columns"])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_is_centred_in_float64(dtype, scale, center, tmp_path):
    X, y = table()
    # A column with a little spread on a large mean, and a constant.
    X = (X * [1, 0.1, 0] + [0, 1e6, 0.1]).astype(dtype)
    dataset = load_dataset(**write(tmp_path, ".npz", X, y), scale=scale, center=center)
    raw = load_own(**named(write(tmp_path, ".npz", X, y))).train[0][: len(dataset.train.y)]
    columns = raw.astype(np.float64)
    np.testing.assert_allclose(dataset.mean_image, columns.mean(axis=0), rtol=1e-7)
    np.testing.assert_array_equal(dataset.shift, dataset.mean_image * center)
    deviation = np.array([*columns[:, :2].std(axis=0), 1])
    expected = 1 / deviation if scale == "columns" else [scale] * 3
    np.testing.assert_allclose(dataset.scale, expected, rtol=1e-5)
    # What is stored for a model reproduces X, to one rounding.
    again = (raw - np.float64(dataset.shift)) * np.float64(dataset.scale)
    np.testing.assert_array_equal(np.asarray(dataset.train.X)[:, :-1], again.astype(np.float32))
    assert dataset.shift.dtype == dataset.scale.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_columns_of_images_are_divided_by_their_deviation(dtype):
    raw = load_dataset("digits", center=False).train.X
    dataset = load_dataset("digits", scale="columns", dtype=dtype)
    pixels = np.asarray(raw, np.float64)[:, :-1]
    deviation = pixels.std(axis=0)
    assert (deviation == 0).any()
    expected = (pixels - pixels.mean(axis=0)) / np.where(deviation == 0, 1, deviation)
    np.testing.assert_allclose(np.asarray(dataset.train.X)[:, :-1], expected, atol=1e-5)
    x = (pixels - dataset.shift) * dataset.scale
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_a_table_of_bytes_stays_bytes(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, [2, 100, 256], (60, 3)).astype(np.uint8), np.arange(60) % 3
    given = write(tmp_path, ".npz", X, y)
    bytes_, floats = (load_dataset(**given, scale="columns", dtype=d) for d in ("uint8", "float32"))
    assert isinstance(bytes_.train.X, StandardizedFeatures)
    assert bytes_.train.X.values.dtype == np.uint8
    assert bytes_.image_shape == (3,)
    np.testing.assert_allclose(bytes_.train.X, floats.train.X, rtol=1e-5, atol=1e-6)
    # The experiments scale it column by column, as any table.
    columns = settings.load(Source(str(given["name"])), "scaled")
    np.testing.assert_allclose(columns.train.X, floats.train.X, rtol=1e-5, atol=1e-6)
    assert "column" in settings.scaling(columns)


def test_a_constant_column_is_one_whatever_its_mean_rounds_to():
    constants = np.full((49, 200), np.linspace(0.01, 1e6, 200))
    assert (constants.mean(axis=0) != constants[0]).any()
    np.testing.assert_array_equal(inverse_deviation(constants), 1)


def test_a_column_that_hardly_varies_is_no_infinity(tmp_path):
    X, y = table()
    X[:, 1] = np.arange(60) * 1e-42
    dataset = load_dataset(**write(tmp_path, ".npz", X, y), scale="columns")
    assert dataset.scale[1] == 1


def test_another_word_than_columns_is_no_scale():
    # Not load_dataset, whose annotation answers first in the tests.
    with pytest.raises(ValueError, match=r"scale = 'rows': expected a finite number .* 'columns'"):
        load._check_scale("rows")


# --- the split ---


def test_every_class_is_in_the_test_part_in_proportion():
    counts = np.array([50, 31, 20, 4, 2, 1])
    y = np.repeat(np.arange(6), counts)
    held = np.bincount(y[hold_out(y)], minlength=6)
    assert held[5] == 0
    assert (held[:5] >= 1).all()
    assert (np.abs(held - counts / 5) <= 1).all()
    y = np.repeat(np.arange(3), [20_000, 20_003, 20_005])
    held = np.bincount(y[hold_out(y)])
    assert held.sum() == 10_000
    assert np.ptp(held) <= 2
    assert not hold_out(np.arange(7)).any()


def test_every_stretch_of_the_mixed_order_is_stratified():
    counts = np.array([300, 60, 17, 1])
    y = np.repeat(np.arange(4), counts)
    mixed = y[mixed_order(y)]
    np.testing.assert_array_equal(np.bincount(mixed), counts)
    assert mixed[0] == 3
    seen = np.cumsum(mixed[:, None] == np.arange(3), axis=0)
    share = np.arange(1, len(y) + 1)[:, None] / len(y) * counts[:3]
    assert np.abs(seen - share).max() < 2.5
    # Not class after class in a fixed pattern, and not the file's order within a class.
    order = mixed_order(np.zeros(100, np.int32))
    assert np.abs(np.corrcoef(order, np.arange(100))[0, 1]) < 0.5


def test_parts_share_no_example_and_lose_none():
    y = np.repeat(np.arange(5), [9, 7, 5, 3, 1])
    (X, labels), (X_test, test_labels) = divide((np.arange(25), y))
    assert sorted([*X, *X_test]) == list(range(25))
    np.testing.assert_array_equal(labels, y[X])
    np.testing.assert_array_equal(test_labels, y[X_test])


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_scikit_learns_tables(name):
    source = getattr(sklearn.datasets, f"load_{name}")()
    dataset = load_dataset(name, center=False, validation=0)
    X = np.concatenate([np.asarray(dataset.train.X), np.asarray(dataset.test.X)])
    y = np.concatenate([np.asarray(dataset.train.y), np.asarray(dataset.test.y)])
    found, expected = (
        np.column_stack([X[:, : source.data.shape[1]], y])
        for X, y in ((X, y), (source.data.astype(np.float32), source.target))
    )
    found, expected = (a[np.lexsort(a.T)] for a in (found, expected))
    np.testing.assert_array_equal(found, expected)
    assert len(dataset.test.y) == len(source.target) // 5
    assert dataset.class_names == tuple(source.target_names)
    assert dataset.feature_names == tuple(source.feature_names)


# --- a test part that is given ---


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_a_given_test_part_keeps_its_order(suffix, tmp_path):
    (X, y), (X_test, y_test) = table(), table(7, seed=1)
    other = tmp_path / "other"
    other.mkdir()
    test = write(other, suffix, X_test, NAMES[y_test])
    given = {"test": test["name"], "test_labels": test.get("labels")}
    examples = load_own(**named(write(tmp_path, suffix, X, NAMES[y])), **given)
    assert len(examples.train[1]) == 60
    np.testing.assert_array_equal(examples.test[0], X_test)
    np.testing.assert_array_equal(np.array(examples.class_names)[examples.test[1]], NAMES[y_test])


def test_an_npz_may_hold_its_test_part(tmp_path):
    (X, y), (X_test, y_test) = table(), table(7, seed=1)
    np.savez(tmp_path / "a.npz", X=X, y=y, X_test=X_test, y_test=y_test)
    np.testing.assert_array_equal(load_own(tmp_path / "a.npz").test[0], X_test)
    np.savez(tmp_path / "b.npz", X=X, y=y)
    for path, test in (("a", "b"), ("b", "a")):
        with pytest.raises(DatasetError, match=r"a.npz holds a test part of its own"):
            load_own(tmp_path / f"{path}.npz", test=tmp_path / f"{test}.npz")


def test_a_test_part_of_another_form_is_refused(tmp_path):
    X, y = table(12)
    train = write_csv(tmp_path / "train.csv", X, NAMES[y])
    test = tmp_path / "test.csv"

    def refused(message, *arguments, **options):
        write_csv(test, *arguments, **options)
        with pytest.raises(DatasetError, match=message):
            load_own(train, test=test)

    labels = NAMES[y].astype(object)
    labels[5] = "eel"
    refused(r"label 'eel' \(example 5.*expected one of 'cat', 'newt', 'owl'", X, labels)
    refused("label '0'.*no training example has", X, y)
    refused(
        r"test.csv has examples of float64 \(2,\) and .*train.csv of float64 \(3,\)", X[:, 1:], y
    )
    swapped = ["x1", "x0", "x2"]
    refused("test.csv has 'x1' where .*train.csv has 'x0', in col", X, NAMES[y], columns=swapped)
    refused("test.csv has no column 'label'", X, y, column="y")
    with pytest.raises(DatasetError, match=r"nowhere.csv does not exist: expected a folder"):
        load_own(train, test=tmp_path / "nowhere.csv")
    with pytest.raises(DatasetError, match="test_labels = 'y' without test="):
        load_own(train, test_labels="y")


# --- names and paths ---


def test_a_name_is_a_path_by_its_form_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").write_text("a file of that name")
    assert load_dataset("iris").description.startswith("scikit-learn")
    X, y = table()
    write_csv(tmp_path / "mine.csv", X, y)
    assert load_dataset("mine.csv").name == load_dataset("./mine.csv").name == "mine"
    (tmp_path / "mine.csv").rename(tmp_path / "mine.xlsx")
    known = r"expected a folder of class folders.*\.npy, \.npz, \.csv, \.parquet"
    with pytest.raises(DatasetError, match=rf"mine.xlsx has the suffix '.xlsx': {known}"):
        load_dataset("mine.xlsx")
    with pytest.raises(DatasetError, match=rf"a/mine.csv does not exist: {known}"):
        load_dataset("a/mine.csv")


@pytest.mark.parametrize("argument", ["labels", "test", "test_labels"])
def test_arguments_for_files_are_refused_with_a_name(argument):
    with pytest.raises(ValueError, match=f"{argument} = 'y': expected none, because 'digits' is"):
        load_dataset("digits", **{argument: "y"})  # type: ignore[arg-type]


def test_data_dir_is_refused_with_a_path(tmp_path):
    with pytest.raises(ValueError, match=r"data_dir = .*: expected none with a path"):
        load_dataset("./a.csv", data_dir=tmp_path)


# --- labels ---


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([10, 9, -1], np.int8), ("-1", "9", "10")),
        (np.array([10, 9, 2**40], np.uint64), ("9", "10", str(2**40))),
        (np.array([1.0, 0.0, 30.0]), ("0", "1", "30")),
        (np.array([True, False, True]), ("False", "True")),
        (np.array(["b", " a", "b "]), ("a", "b")),
        (np.array(["10", "9", "9.0"]), ("9", "10")),
        (np.array(["10", "9", "x"]), ("10", "9", "x")),
        (np.array(["01", "1", "2"]), ("01", "1", "2")),
        (np.array(["1_2", "12", "3"]), ("12", "1_2", "3")),
        (np.array(["1" * 30, "2", "3"]), ("1" * 30, "2", "3")),
        (np.array(["é", "z", "ä"]).astype("U") , ("z", "ä", "é")),
        (np.array([b"b", "é".encode(), b"b"]), ("b", "é")),
    ],
)  # fmt: skip
def test_classes_are_the_sorted_labels(labels, names, tmp_path):
    labels = np.tile(labels, 5)
    arguments = write(tmp_path, ".npy", np.arange(15.0)[:, None], labels)
    examples = load_own(**named(arguments))
    assert examples.class_names == names
    index = examples.train[0][:, 0].astype(int)
    by_label: dict[object, set[int]] = {}
    for label, y in zip(labels[index].tolist(), examples.train[1].tolist(), strict=True):
        by_label.setdefault(label, set()).add(y)
    assert all(len(numbers) == 1 for numbers in by_label.values())
    assert examples.train[1].dtype == np.int32


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "", "b"], r"y\[1\] is missing: expected a label"),
        (["a", "nan", "b"], r"y\[1\] is missing"),
        ([1.0, 2.0, np.nan], r"y\[2\] is missing"),
        ([1.0, 2.5, 3.0], r"y\[1\] is 2.5: expected classes, whole numbers or names"),
        (["1", "2", "2.5"], r"y\[2\] is 2.5: expected classes"),
        ([1.0, np.inf, 3.0], r"y\[1\] is inf"),
        ([7, 7, 7], "has one class only, '7': expected two"),
        ([1, 2, 3], r"has no class of two examples.*name one, test="),
        ([1, 2], r"y has shape \(2,\) and .*X has shape \(3, 1\): expected \(3,\)"),
        ([[1], [2], [3]], r"y has shape \(3, 1\)"),
        ([1j, 2, 3], "y has type complex128: expected whole numbers or names"),
        (np.array([1, 2, 3], "M8[s]"), "y has type datetime64"),
    ],
)
def test_bad_labels_are_named(labels, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        load_own(**named(write(tmp_path, ".npy", np.arange(3.0)[:, None], np.array(labels))))


# --- bad files ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: expected a header row"),
        ("a,label\n", "has a header and no rows"),
        ("1.5,2\n3,4\n", "begins with '1.5', '2': expected a header row"),
        ("a,b\n1,2\n", "has the columns 'a', 'b': name the one of the labels"),
        ("label\n1\n2\n", "has the column 'label' alone"),
        ("a,a,label\n1,2,3\n", "columns 'a', 'a', 'label': expected each name once"),
        (",a,label\n0,1,2\n1,2,3\n", r"a column without a name.*index=False"),
        ("a,label\n1,x\n2\n", "line 3 has 1 cells: expected 2, as the header"),
        ("a,label\n1,x\n2,y,z\n", "line 3 has 3 cells: expected 2"),
        ("a,label\n1,x,7\n2,y,7\n", "line 2 has 3 cells: expected 2"),
        ("a,label\n1\n2\n", "line 2 has 1 cells: expected 2"),
        ("a,label\n1,x\n,y\n", "line 3, column 'a' is '': expected a finite number"),
        ("a,label\n1,x\n\nlow,y\n", "line 4, column 'a' is 'low'"),
        ('a,label\n1,"x\ny"\nlow,z\n', "line 4, column 'a' is 'low'"),
        ("a,label\nNaN,x\n1,y\n", "line 2, column 'a' is 'NaN'"),
        ("a,label\n1,x\n-inf,y\n", "line 3, column 'a' is '-inf'"),
        ("a,label\n1,x\n1e300,y\n", "line 3, column 'a' is '1e300'"),
        ("a,label\n1,x\n2, \n", "line 3, column 'label' is missing"),
        ("a,label\n1,x\n2,nan\n", "line 3, column 'label' is missing"),
        ("a,label\n1,0.5\n2,1\n", r"row 0 \(the first is 0\), column 'label' is 0.5: expected cl"),
        ("a,label\n1,\x00\n", "no CSV file in UTF-8|column|one class"),
        ("a;label\n1;2\n", "has the columns 'a;label'"),
        ("a,label\n1_0,x\n2,y\n", "could not convert string '1_0'"),
    ],
)
def test_a_bad_csv_file_is_an_error_that_says_where(text, message, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        load_own(path)
    assert "a.csv" in str(caught.value)


def test_a_csv_file_in_another_encoding_is_refused(tmp_path):
    for text in ("ä,label\n1,2\n", "a,label\n1,x\n2,ö\n"):
        (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(DatasetError, match=r"a.csv is no CSV file in UTF-8"):
            load_own(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1.0, None], "y": [1, 2]}, r"row 1 \(the first is 0\), column 'a' is missing"),
        ({"a": [1.0, np.inf], "y": [1, 2]}, r"row 1 \(the first is 0\), column 'a' is inf"),
        ({"a": [1.0, 2.0], "y": ["u", None]}, r"row 1 \(the first is 0\), column 'y' is missing"),
        ({"a": [1.0, 2.0], "y": [1.0, 2.5]}, r"row 1 \(the first is 0\), column 'y' is 2.5"),
        ({"a": ["1", "2"], "y": [1, 2]}, "column 'a' has type string: expected numbers"),
        ({"a": [1.0, 2.0], "y": [[1], [2]]}, "column 'y' has type list.*expected whole numbers or"),
        ({"a": [[1.0], [2.0]], "y": [1, 2]}, "column 'a' has type list.*expected numbers"),
        ({"a": [1.0, 2.0], "y": pa.array([1, 2], pa.date32())}, "column 'y' has type object"),
        ({"a": pa.array([], pa.float64()), "y": pa.array([], pa.int8())}, "has no rows"),
        ({"a": [1], "b": [2]}, "has the columns 'a', 'b': name the one"),
        ({"__index_level_0__": [1], "a": [1], "y": [2]}, "a column without a name"),
    ],
)
def test_a_bad_parquet_file_is_an_error_that_says_where(columns, message, tmp_path):
    parquet_of(**columns)(tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=message):
        load_own(tmp_path / "a.parquet")


def test_without_pyarrow_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    parquet_of(a=[1, 2], y=[1, 2])(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DatasetError, match=r"not installed: pip install 'jaxsvm\[parquet\]'$"):
        load_own(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((3, 2), complex), "X has type complex128: expected real numbers"),
        (np.full((3, 2), "1"), "X has type <U1: expected real numbers"),
        (np.zeros(3), r"X has shape \(3,\): expected \(N, F\), or \(N, H, W, channels\)"),
        (np.zeros((0, 2)), r"X has shape \(0, 2\)"),
        (np.zeros((3, 0)), r"X has shape \(3, 0\)"),
        (np.array([[1.0, 2], [3, np.nan], [5, 6]]), r"X\[1, 1\] is nan: expected a finite number"),
        (np.array([[[1, 2]], [[3, -np.inf]]], np.float16), r"X\[1, 0, 1\] is -inf"),
        (np.array([[1.0], [1e40]]), r"X\[1, 0\] is 1e\+40.*at most 1e\+37"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_bad_array_is_named(X, message, suffix, tmp_path):
    with pytest.raises(DatasetError, match=rf"mine\{suffix}: {message}"):
        load_own(**named(write(tmp_path, suffix, X, np.arange(len(X)))))


def test_files_of_arrays_must_have_what_is_expected(tmp_path):
    X, y = table()
    np.save(tmp_path / "X.npy", X)
    np.savez(tmp_path / "a.npz", X=X, labels=y)
    np.savez(tmp_path / "b.npz", X=X, y=y, X_test=X)
    np.savez(tmp_path / "c.npz", X=X, y=y)
    (tmp_path / "c.npz").rename(tmp_path / "c.npy")
    cases = [
        ("X.npy", None, "holds X alone: name the file of its labels"),
        ("X.npy", "y.npy", "y.npy does not exist"),
        ("a.npz", None, r"arrays \['X', 'labels'\]: expected X and y"),
        ("b.npz", None, r"arrays \['X', 'X_test', 'y'\]: expected"),
        ("b.npz", "y", "holds its own labels"),
        ("c.npy", "X.npy", "c.npy: X has several arrays: expected real numbers"),
        ("X.npy", "c.npy", "c.npy: y has several arrays"),
    ]
    for path, labels, message in cases:
        with pytest.raises(DatasetError, match=message):
            load_own(tmp_path / path, labels and str(tmp_path / labels))


class Trap:
    """What a pickle can do."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_nothing_is_unpickled(tmp_path):
    trap = tmp_path / "sprung"
    objects = np.array([Trap(trap), 1], object)
    np.save(tmp_path / "X.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", X=objects, y=np.arange(2), allow_pickle=True)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap(trap)))
    np.save(tmp_path / "y.npy", np.arange(2))
    for name, labels in (("X.npy", "y.npy"), ("y.npy", "X.npy"), ("a.npz", None), ("b.npz", None)):
        with pytest.raises(DatasetError, match=r"cannot be read .*as numpy.save and numpy.savez"):
            load_own(tmp_path / name, labels and tmp_path / labels)
    assert not trap.exists()
    np.load(tmp_path / "X.npy", allow_pickle=True)
    assert trap.exists()  # the trap works


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ""])
def test_a_damaged_file_is_an_error_or_data(suffix, tmp_path):
    rng = np.random.default_rng(0)
    if suffix:
        arguments = named(write(tmp_path, suffix, *table(12)))
        file = arguments["path"]
    else:
        arguments, file = {"path": tmp_path}, tmp_path / "a/0.png"
        write_images(tmp_path, {"a": 3, "b": 3})
    content = file.read_bytes()
    raised = 0
    for i in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged if i % 3 else content[: rng.integers(len(content))])
        try:
            load_own(**arguments)
        except DatasetError:
            raised += 1
    assert raised >= 15


# --- folders of images ---


def write_images(root, counts, mode="RGB", size=(4, 3), suffix="png", seed=0):
    """Write images of (3, 4) pixels into class folders; return {pixels: class}."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            channels = {"RGB": (3,), "L": ()}[mode]
            pixels = rng.integers(0, 256, (size[1], size[0], *channels), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.{suffix}")
            found[pixels.tobytes()] = name
    return found


def images_of(part, names):
    return {x.tobytes(): names[y] for x, y in zip(*part, strict=True)}


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_folders_are_classes(mode, channels, tmp_path):
    root = tmp_path / "pets"
    expected = write_images(root, {"dogs": 5, "cats": 10}, mode)
    (root / ".hidden").mkdir()
    (root / "cats/.DS_Store").write_text("")
    (root / "README.txt").write_text("passed over: not in a class")
    dataset = load_dataset(root)
    assert (dataset.name, dataset.image_shape) == ("pets", (3, 4, channels))
    assert dataset.class_names == ("cats", "dogs")
    assert [len(part.y) for part in dataset[:3]] == [11, 1, 3]
    assert isinstance(dataset.train.X, StandardizedFeatures)
    examples = load_own(root)
    found = images_of(examples.train, examples.class_names)
    assert found | images_of(examples.test, examples.class_names) == expected


def test_train_and_test_above_the_classes(tmp_path):
    train = write_images(tmp_path / "train", {"2": 3, "10": 3}, "L")
    test = write_images(tmp_path / "test", {"10": 1, "2": 1}, "L", seed=1)
    examples = load_own(tmp_path)
    assert examples.class_names == ("2", "10")
    assert images_of(examples.train, ("2", "10")) == train
    assert images_of(examples.test, ("2", "10")) == test
    elsewhere = load_own(tmp_path / "train", test=tmp_path / "test")
    np.testing.assert_array_equal(elsewhere.test[0], examples.test[0])
    # One image in colour, and all of both parts are.
    write_images(tmp_path / "test", {"2": 1}, "RGB")
    assert load_own(tmp_path).train[0].shape == (6, 3, 4, 3)
    with pytest.raises(DatasetError, match=r"uint8 \(3, 4, 3\) and .*train of uint8 \(3, 4, 1\)"):
        load_own(tmp_path / "train", test=tmp_path / "test")
    (tmp_path / "val").mkdir()
    with pytest.raises(DatasetError, match=r"val is beside .*train: expected train and test only"):
        load_own(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "gif", "webp"])
def test_every_kind_of_image_file(suffix, tmp_path):
    for name, value in (("a", 40), ("b", 200)):
        (tmp_path / name).mkdir()
        for i in range(2):
            pixels = np.full((8, 8, 3), value + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.{suffix}")
    examples = load_own(tmp_path)
    found = np.concatenate([examples.train[0], examples.test[0]])[:, 0, 0, 0]
    np.testing.assert_allclose(np.sort(found), [40, 41, 200, 201], atol=3)


def test_a_bad_folder_is_an_error_that_names_the_file(tmp_path):
    def refused(message, labels=None):
        with pytest.raises(DatasetError, match=message):
            load_own(tmp_path, labels)

    refused("holds no folders of images")
    write_images(tmp_path, {"a": 2, "b": 2})
    refused("expected no labels=", "y.npy")
    Image.new("I;16", (4, 3)).save(tmp_path / "b/2.png")
    refused("b/2.png has pixels of mode I;16: expected 8 bits")
    Image.new("RGB", (3, 4)).save(tmp_path / "b/2.png")
    refused("b/2.png has 3x4 pixels and .*a/0.png has 4x3: expected images of one size")
    (tmp_path / "b/2.png").write_bytes(b"no image")
    refused("b/2.png cannot be read as an image")
    Image.new("RGB", (4, 3)).save(tmp_path / "b/2.png")
    content = (tmp_path / "b/2.png").read_bytes()
    (tmp_path / "b/2.png").write_bytes(content[:-30])  # its header is whole
    refused("b/2.png cannot be read as an image")
    (tmp_path / "b/2.png").rename(tmp_path / "b/2.tiff")
    refused("b/2.tiff is no image: expected .png, .jpg")
    (tmp_path / "b/2.tiff").unlink()
    (tmp_path / "c").mkdir()
    refused("c is empty: expected the images of a class")
    (tmp_path / "c").rmdir()
    (tmp_path / "a/0.png").rename(tmp_path / "0.png")
    refused("0.png is in no class")


def test_palettes_and_transparency_become_colour(tmp_path):
    for name, mode in (("a", "P"), ("b", "RGBA")):
        (tmp_path / name).mkdir()
        for i in range(2):
            image = Image.new("RGB", (2, 2), (200, 10 * i, 0)).convert(mode)
            image.save(tmp_path / name / f"{i}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_own(tmp_path).train[0].shape[1:] == (2, 2, 3)
