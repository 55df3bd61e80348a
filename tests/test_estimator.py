"""The scikit-learn estimator: scikit-learn's own checks, its own LinearSVC, its own tools."""

import pickle

import jax
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC as LiblinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxsvm import Hinge, estimator
from jaxsvm.core.losses import FAMILY
from jaxsvm.estimator import LOSSES, LinearSVC, _margin_of_one
from tests import reference

pytestmark = pytest.mark.any_precision

# Shapes, of the folds too, that scikit-learn's checks have: one compilation serves both.
N, F = 30, 3
# The estimator's names, and the same machines' of the oracle.
MACHINES = {
    "hinge": "Weston-Watkins",
    "squared_hinge": "squared Weston-Watkins",
    "crammer_singer": "Crammer-Singer",
    "one_vs_rest": "one-vs-rest",
    "squared_one_vs_rest": "squared one-vs-rest",
}
LIBLINEAR = {
    "crammer_singer": {"multi_class": "crammer_singer"},
    "one_vs_rest": {"loss": "hinge"},
    "squared_one_vs_rest": {"loss": "squared_hinge"},
}


def clouds(num_classes=3):
    """Return (X, y) of overlapping clouds, the labels no numbers from 0."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, num_classes, N)
    X = rng.standard_normal((N, F)) + 1.5 * np.eye(num_classes, F)[y] + 0.5
    return X, np.array(["ash", "birch", "cedar"])[y]


def objective(loss, W, X, y, *, C):
    """The oracle's, the bias column appended."""
    labels = np.unique(y, return_inverse=True)[1]
    X = np.column_stack([X, np.ones(N)])
    machine = reference.FAMILY[MACHINES[loss]]
    return reference.family_objective(machine, W, X, labels, reg=1 / (2 * N * C))


@parametrize_with_checks([LinearSVC()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_every_name_is_the_machine_it_says():
    assert {name: reference.FAMILY[MACHINES[name]] for name in LOSSES} == {
        name: (loss.margins, loss.terms, loss.join, loss.power, None, None)
        for name, loss in LOSSES.items()
    }


@pytest.mark.parametrize(
    ("loss", "num_classes"),
    [("one_vs_rest", 2), ("one_vs_rest", 3), ("crammer_singer", 3), ("squared_one_vs_rest", 3)],
)
def test_decisions_are_liblinears(loss, num_classes):
    X, y = clouds(num_classes)
    C = 0.2
    model = LinearSVC(loss, C=C, gap_tolerance=1e-5).fit(X, y)
    peer = LiblinearSVC(
        C=C, tol=1e-10, max_iter=1_000_000, dual=True, random_state=0, **LIBLINEAR[loss]
    ).fit(X, y)
    assert model.coef_.shape == peer.coef_.shape
    assert model.intercept_.shape == peer.intercept_.shape
    # Strong convexity: ‖W − W*‖² ≤ gap/reg; of two classes the rows' difference is compared.
    radius = np.sqrt(2 * 2 * N * C * model.certificate_.gap)
    allowed = radius * np.sqrt(1 + np.sum(X**2, axis=1)) + 1e-5
    ours, theirs = model.decision_function(X), peer.decision_function(X)
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).T
    assert np.all(difference <= allowed)
    assert radius < 0.05
    assert np.mean(model.predict(X) == peer.predict(X)) > 0.95
    # Their optimum is between our bound and our objective, as near as they went.
    rows = np.column_stack([peer.coef_, peer.intercept_])
    value = objective(loss, rows if num_classes > 2 else np.vstack([-rows, rows]), X, y, C=C)
    assert model.certificate_.dual <= value <= (1 + 1e-6) * model.certificate_.primal


@pytest.mark.parametrize("options", [{"multi_class": "crammer_singer", "C": 0.2}, {"C": 0.4}])
def test_of_two_classes_the_hinge_is_both_of_liblinears(options):
    X, y = clouds(2)
    model = LinearSVC("hinge", C=0.2, gap_tolerance=1e-5).fit(X, y)
    peer = LiblinearSVC(loss="hinge", tol=1e-10, max_iter=1_000_000, random_state=0, **options)
    np.testing.assert_allclose(
        model.decision_function(X), peer.fit(X, y).decision_function(X), atol=0.02
    )


DIFFERENCES = (np.arange(10) / 2).astype(np.float32)


@pytest.fixture(scope="module")
def losses_of_two():
    """Each loss of examples of class 1, by the difference of their two scores: one program."""
    scores = np.stack([-DIFFERENCES / 2, DIFFERENCES / 2], axis=1)
    y = np.ones(len(scores), np.int32)
    return jax.jit(lambda scores, y: {name: loss(scores, y) for name, loss in FAMILY.items()})(
        scores, y
    )


@pytest.mark.parametrize("name", FAMILY)
def test_of_two_classes_a_margin_ends_at_a_decision_of_one(name, losses_of_two):
    # Where an example begins to have no loss.
    first = DIFFERENCES[np.argmax(np.asarray(losses_of_two[name]) == 0)]
    assert _margin_of_one(FAMILY[name]) * first == 1


@pytest.mark.parametrize("loss", ["hinge", "squared_one_vs_rest"])
def test_the_certificate_is_of_the_coefficients(loss):
    X, y = clouds()
    model = LinearSVC(loss, reg=0.05).fit(X.astype(np.float32), y)
    primal, dual, gap, passes = model.certificate_
    rows = np.column_stack([model.coef_, model.intercept_])
    value = objective(loss, rows, X.astype(np.float32), y, C=1 / (2 * N * 0.05))
    np.testing.assert_allclose(primal, value, rtol=1e-9)
    assert gap == primal - dual
    assert model.gap_ == gap / primal
    assert 0 < model.gap_ <= 1e-3
    assert model.n_iter_ == passes > 0


def test_a_record_is_taken_for_its_name_and_reg_for_its_cost():
    X, y = clouds()
    named = LinearSVC("hinge", C=0.5).fit(X, y)
    record = LinearSVC(Hinge(), reg=1 / (2 * N * 0.5)).fit(X, y)
    np.testing.assert_array_equal(named.coef_, record.coef_)
    one = LinearSVC().fit(X, y)
    np.testing.assert_array_equal(one.coef_, LinearSVC(C=1).fit(X, y).coef_)
    assert np.any(one.coef_ != named.coef_)


def test_numbers_are_float32_where_jax_has_no_float64():
    X, y = clouds()
    for dtype in (np.float32, np.float64):
        model = LinearSVC().fit(X.astype(dtype), y)
        assert model.coef_.dtype == model.intercept_.dtype == np.float32
        assert model.decision_function(X.astype(dtype)).dtype == dtype
    quiet = np.errstate(over="ignore", invalid="ignore")
    with quiet, pytest.raises(ValueError, match="too large for dtype"):
        LinearSVC().fit(X * 1e300, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_as_they_come_where_jax_has_float64(dtype, x64, monkeypatch):
    def no_solve(objective, data, **options):
        raise StopIteration(data.X.dtype)

    monkeypatch.setattr(estimator, "solve", no_solve)
    X, y = clouds()
    with pytest.raises(StopIteration, match=np.dtype(dtype).name):
        LinearSVC().fit(X.astype(dtype), y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "ovr"}, r"loss = 'ovr': expected a jaxsvm.Hinge or one of \['hinge'"),
        ({"loss": ["hinge"]}, r"loss = \['hinge'\]: expected a jaxsvm.Hinge or one"),
        ({"C": 0.0}, "C = 0.0: expected a finite number > 0"),
        ({"C": "1"}, "C = '1': expected a finite number > 0"),
        ({"reg": np.inf}, "reg = inf: expected a finite number > 0"),
        ({"reg": 1.0, "C": 1.0}, "reg = 1.0 and C = 1.0: expected one of them"),
        ({"gap_tolerance": -1e-3}, "gap_tolerance = -0.001: expected a finite number > 0"),
        ({"max_passes": 0}, "max_passes = 0: expected an integer >= 1"),
    ],
)
def test_a_bad_parameter_is_named_by_fit(parameters, message):
    model = LinearSVC(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(*clouds())


def test_what_is_not_supported_is_refused():
    X, y = clouds()
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        LinearSVC().fit(sparse.csr_array(X), y)
    with pytest.raises(TypeError, match="sample_weight"):
        LinearSVC().fit(X, y, sample_weight=np.ones(N))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"y has 1 class, .*'ash'.*: expected at least 2"):
        LinearSVC().fit(X, ["ash"] * N)
    with pytest.raises(NotFittedError):
        LinearSVC().predict(X)


def test_a_fit_that_runs_out_of_passes_says_so():
    with pytest.warns(UserWarning, match="raise max_passes"):
        model = LinearSVC(gap_tolerance=1e-6, max_passes=10).fit(*clouds())
    assert model.gap_ > 1e-6


def test_scikit_learns_tools_take_it():
    X, y = clouds()
    pipeline = make_pipeline(StandardScaler(), LinearSVC())
    search = GridSearchCV(pipeline, {"linearsvc__C": [0.1, 0.3]}, cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == max(scores) > 0.6
    best = search.best_estimator_
    assert best.score(X, y) > 0.6
    again = clone(best)
    assert search.best_params_ == {"linearsvc__C": again[-1].C}
    assert not hasattr(again[-1], "coef_")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(best)).predict(X), best.predict(X))
    calibrated = CalibratedClassifierCV(again, cv=3).fit(X, y)
    chances = calibrated.predict_proba(X)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert np.mean(chances[np.arange(N), np.unique(y, return_inverse=True)[1]]) > 0.5
