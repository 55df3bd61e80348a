"""The certified solver on every member of the family, against quadratic programs of its own kind.

The oracle solves the primal with an interior point method. That its optimum is the optimum is
shown by the dual program, which shares no constraint and no variable with it.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import LinearSVC

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.core import losses
from tests import reference
from tests.problems import FEW
from tests.quadratic_program import quadratic_program

pytestmark = pytest.mark.any_precision

MEMBERS = list(reference.FAMILY)
N, D, C = 30, 4, 3
REG, DELTA = 0.05, 0.7
STRONG = 2.5  # reg·N/‖x‖² above 10: coordinate ascent, whose steps are exact for one example


def small_problem():
    """(X, y) in NumPy: three overlapping clouds, the bias column last."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, C, N)
    X = rng.standard_normal((N, D)) + 1.5 * np.eye(C, D)[y]
    X[:, -1] = 1
    return X, y


def data_of(X, y):
    return Data(jnp.asarray(X), jnp.asarray(y, jnp.int32))


@functools.cache
def optimum(name, reg=REG, delta=DELTA):
    X, y = small_problem()
    return reference.family_optimum(reference.FAMILY[name], X, y, C, reg=reg, delta=delta)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_oracles_two_programs_meet(name):
    X, y = small_problem()
    machine, options = reference.FAMILY[name], {"reg": REG, "delta": DELTA}
    below = reference.family_dual_optimum(machine, X, y, C, **options)
    np.testing.assert_allclose(optimum(name).value, below, rtol=2e-8)
    # The literature's form of a centred machine: absolute margins, weights that sum to zero.
    if machine.margins == "centred":
        absolute = machine._replace(margins="absolute")
        same = reference.family_optimum(absolute, X, y, C, sum_to_zero=True, **options)
        np.testing.assert_allclose(optimum(name).value, same.value, rtol=2e-8)
        np.testing.assert_allclose(np.sum(optimum(name).W, axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("name", MEMBERS)
def test_no_feasible_slopes_are_above_the_optimum(name):
    X, y = small_problem()
    machine, rng = reference.FAMILY[name], np.random.default_rng(0)
    for scale in (1.0, 0.5, 0.1):
        slopes = scale * reference.family_random_slopes(rng, machine, y, C)
        value = reference.family_dual_value(machine, slopes, X, y, reg=REG, delta=DELTA)
        assert value <= optimum(name).value


@pytest.mark.parametrize("name", MEMBERS)
def test_solve_reaches_the_quadratic_programs_optimum(name, x64):
    # A strong penalty takes ascent first, which is other programs.
    for reg in (REG, STRONG) if name in FEW else (REG,):
        solve_reaches_the_optimum(name, reg)


def solve_reaches_the_optimum(name, reg):
    X, y = small_problem()
    machine, best = reference.FAMILY[name], optimum(name, reg)
    objective = Objective(loss=losses.FAMILY[name], reg=reg, delta=DELTA)
    solution = jaxsvm.solve(objective, data_of(X, y), gap_tolerance=5e-7, max_passes=20_000)
    np.testing.assert_allclose(solution.primal, best.value, rtol=1e-6)
    # Valid to the accuracy of the program's own optimum.
    assert solution.dual <= best.value * (1 + 1e-8)
    assert best.value <= solution.primal * (1 + 1e-8)
    assert solution.gap == solution.primal - solution.dual
    assert 0 <= solution.gap <= 5e-7 * solution.primal
    assert 0 < solution.passes <= 20_000
    assert 0 < solution.history.seconds[0] <= solution.history.seconds[-1] < 300
    # What it says of its W and of its slopes is true.
    options = {"reg": reg, "delta": DELTA}
    value = reference.family_objective(machine, solution.W, X, y, **options)
    np.testing.assert_allclose(solution.primal, value, rtol=1e-12)
    slopes = np.asarray(solution.dual_variables)
    assert reference.family_is_feasible(machine, slopes, y, tolerance=1e-15)
    bound = reference.family_dual_value(machine, slopes, X, y, **options)
    assert bound - 1e-9 * abs(bound) <= solution.dual <= bound * (1 + 1e-12)
    # Strong convexity: the weights are within the gap's radius of the best ones.
    distance = np.sum((np.asarray(solution.W) - best.W) ** 2)
    assert distance <= 1.5 * (solution.gap + 1e-8 * best.value) / reg


@pytest.mark.parametrize("name", sorted(reference.LOSSES))
def test_the_optimum_is_an_independent_quadratic_programs(name, x64):
    X, y = small_problem()
    loss = getattr(jaxsvm, name)
    data, objective = data_of(X, y), Objective(loss=loss, reg=0.2)
    solution = jaxsvm.solve(objective, data, gap_tolerance=1e-8, num_classes=C, max_passes=5000)
    optimum = quadratic_program(name, data, C, 0.2)
    assert solution.dual <= optimum * (1 + 1e-7)
    np.testing.assert_allclose(solution.primal, optimum, rtol=1e-6)
    assert solution.gap == solution.primal - solution.dual
    exact = reference.objective(solution.W, data.X, data.y, loss=name, reg=0.2)
    np.testing.assert_allclose(solution.primal, exact, rtol=1e-12)
    # Complementary slackness, example by example: a slope is 1 above the kink and 0 below it.
    scores = jnp.asarray(X @ np.asarray(solution.W).T)
    margin = np.asarray(loss.all_margins(scores, data.y, delta=objective.delta))
    dual = np.asarray(solution.dual_variables)
    if name in ("hinge_loss", "one_vs_rest_loss"):
        counted = margin != 0
        assert np.all(dual[counted & (margin > 1e-2)] > 0.9)
        assert np.all(dual[counted & (margin < -1e-2)] < 0.1)
    if name == "squared_hinge_loss":
        np.testing.assert_allclose(dual, 2 * np.maximum(margin, 0), atol=1e-2)
    if name == "crammer_singer_loss":
        assert np.all(dual.sum(axis=1) <= 1)
        assert np.all(dual.sum(axis=1)[margin.max(axis=1) > 1e-2] > 0.9)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one-vs-rest", {"loss": "hinge"}),
        ("squared one-vs-rest", {"loss": "squared_hinge"}),
        ("Crammer-Singer", {"multi_class": "crammer_singer"}),
    ],
)
def test_liblinear_finds_the_same_optimum(name, options, x64):
    X, y = small_problem()
    model = LinearSVC(
        C=1 / (2 * N * REG),
        tol=1e-10,
        max_iter=1_000_000,
        fit_intercept=False,
        dual="auto",
        random_state=0,
        **options,
    )
    model.fit(X, y)
    theirs = reference.family_objective(reference.FAMILY[name], model.coef_, X, y, reg=REG)
    np.testing.assert_allclose(theirs, optimum(name, delta=1.0).value, rtol=1e-5)
    objective = Objective(loss=losses.FAMILY[name], reg=REG)
    ours = jaxsvm.solve(objective, data_of(X, y), gap_tolerance=1e-6, max_passes=20_000)
    np.testing.assert_allclose(ours.primal, theirs, rtol=1e-5)
    np.testing.assert_allclose(ours.W, model.coef_, atol=2e-2)
