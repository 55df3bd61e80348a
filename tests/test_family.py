"""The family of multiclass hinges, member by member, against loops over their definition.

Values, gradients and bounds are held to the oracle in the suite's precision; lines, planes,
differences and the check in float64, where the oracle's own rounding leaves nine digits.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.core import losses
from jaxsvm.lines.grid import DIRECT_NUM
from tests import reference
from tests.problems import FEW, float_dtype, problem

MEMBERS = list(reference.FAMILY)
ALL = reference.FAMILY | {
    # Those that have no name, and other weights of the own term.
    f"{margins}, {terms}, {join}, {power}": machine
    for margins, terms, join, power in itertools.product(
        ("absolute", "centred"), ("wrong", "all", "own"), ("sum", "max"), (1, 2)
    )
    if (machine := reference.Machine(margins, terms, join, power))
    not in reference.FAMILY.values()
} | {
    "reinforced, 0.75": reference.Machine("centred", "all", own_weight=0.75),
    "squared reinforced, 0.25": reference.Machine("centred", "all", "sum", 2, own_weight=0.25),
}  # fmt: skip
SHAPE = (12, 5, 4)  # four classes: a mean of whole numbers is exact, and so are ties
SMALL = [(6, 3, C) for C in (1, 2, 5)]  # shared, as every shape is compiled for
REG, DELTA = 0.1, 0.7
RESOLUTION = 2000  # 700 is enough for all but squares of a maximum of centred margins
T = np.linspace(-2, 2, 33)


def hinge_of(machine):
    return jaxsvm.Hinge(
        machine.margins, machine.terms, machine.join, machine.power, own_weight=machine.own_weight
    )


def objective_of(machine, reg=REG, delta=DELTA):
    return Objective(loss=hinge_of(machine), reg=reg, delta=delta)


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 2e-5


def random_problem(shape=SHAPE):
    """(W, data, delta), with no margin near 0."""
    return *problem(1, shape), DELTA


def tied_problem(shape=SHAPE):
    """(W, data, delta) of whole numbers; of four classes, every member has terms exactly at 0."""
    return *problem(33, shape, integers=True), 1.0


def close(got, expected, factor=1.0):
    np.testing.assert_allclose(got, expected, rtol=factor * tolerance(), atol=factor * tolerance())


# --- the record --------------------------------------------------------------------------------


def test_the_family_by_name_is_the_oracles():
    assert set(losses.FAMILY) >= set(MEMBERS)
    for name, machine in reference.FAMILY.items():
        found = losses.FAMILY[name]
        assert found == hinge_of(machine)
        assert (found.margins, found.terms, found.join, found.power) == machine[:4]
        assert found.own_weight == machine.own_weight
    assert len(set(losses.FAMILY.values())) == len(losses.FAMILY)


def test_the_four_losses_are_instances():
    assert jaxsvm.Hinge() == jaxsvm.hinge_loss == losses.FAMILY["Weston-Watkins"]
    assert jaxsvm.Hinge(power=2) == jaxsvm.squared_hinge_loss
    assert jaxsvm.Hinge(join="max") == jaxsvm.crammer_singer_loss
    assert jaxsvm.Hinge(margins="absolute", terms="all") == jaxsvm.one_vs_rest_loss
    assert len({jaxsvm.Hinge(), jaxsvm.hinge_loss, jaxsvm.crammer_singer_loss}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        jaxsvm.Hinge().power = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "options",
    [
        {"terms": "own"},
        {"terms": "all"},
        {"margins": "centred", "terms": "all", "join": "max", "own_weight": 0.5},
        {"margins": "centred", "terms": "all", "own_weight": 0.0},
        {"margins": "centred", "terms": "all", "own_weight": 1.0},
    ],
)
def test_what_has_no_meaning_is_an_error(options):
    with pytest.raises(ValueError, match=list(options)[-1]):
        jaxsvm.Hinge(**options)


@pytest.mark.parametrize(
    "options", [{"margins": "absolut"}, {"terms": "some"}, {"join": "mean"}, {"power": 3}]
)
def test_an_unknown_word_is_an_error(options):
    # The run-time check of annotations, which the tests switch on, may see it first.
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        jaxsvm.Hinge(**options)


# --- values and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_losses_are_the_definition(name):
    machine = ALL[name]
    loss = hinge_of(machine)
    for shape in SMALL:
        for W, data, delta in (random_problem(shape), tied_problem(shape)):
            scores = jaxsvm.score(W, data.X)
            expected = reference.family_losses(machine, scores, data.y, delta)
            got = loss(scores, data.y, delta=delta)
            assert got.dtype == scores.dtype
            close(got, expected)
            close(loss(scores, data.y), reference.family_losses(machine, scores, data.y))


@pytest.mark.parametrize(("N", "D", "C"), SMALL)
def test_values_at_zero_scores(N, D, C):
    y = jnp.asarray(np.linspace(0, C - 1, N).astype(np.int32))
    scores = jnp.asarray(np.zeros((N, C)), float_dtype())
    by_hand = {
        "Weston-Watkins": C - 1,
        "Crammer-Singer": min(C - 1, 1),
        "one-vs-rest": C,
        "Lee-Lin-Wahba": C - 1,
        "ADM": min(C - 1, 1),
        "ATM": 1,
        "ATS": C,
        "MMR": 1,
    }
    for name, value in by_hand.items():
        for prefix in ("", "squared "):
            got = losses.FAMILY[prefix + name](scores, y)
            np.testing.assert_array_equal(got, value)
    np.testing.assert_array_equal(losses.FAMILY["reinforced"](scores, y), C - 1)


def test_with_two_classes_they_are_one_machine():
    """Centred scores of two classes are ±(s_j − s_y)/2: half of a margin with twice the delta."""
    W, data = problem(3, SMALL[1])
    scores = jaxsvm.score(W, data.X)
    half = np.asarray(jaxsvm.hinge_loss(scores, data.y, delta=2 * DELTA)) / 2
    for name, factor in (("Lee-Lin-Wahba", 1), ("ADM", 1), ("ATM", 1), ("ATS", 2), ("MMR", 1)):
        close(losses.FAMILY[name](scores, data.y, delta=DELTA), factor * half)
        squared = losses.FAMILY["squared " + name](scores, data.y, delta=DELTA)
        close(squared, factor * half**2)
    close(losses.FAMILY["reinforced"](scores, data.y, delta=DELTA), half)


@jax.jit
def gradients(objective, W, data):
    """The objective, its gradient twice, and the gradient of the losses in the scores."""

    def in_scores(s):
        return jnp.sum(objective.loss(s, data.y, delta=objective.delta))

    scores = jaxsvm.score(W, data.X)
    value, automatic = jax.value_and_grad(objective)(W, data)
    closed_form = jaxsvm.analytic_gradient(objective, W, data)
    return value, automatic, closed_form, jax.grad(in_scores)(scores)


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_the_oracles_at_ties_too(name):
    machine = ALL[name]
    for W, data, delta in (random_problem(), tied_problem()):
        value, automatic, closed_form, in_scores = gradients(
            objective_of(machine, delta=delta), W, data
        )
        args, options = (machine, W, data.X, data.y), {"reg": REG, "delta": delta}
        close(value, reference.family_objective(*args, **options))
        expected = reference.family_gradient(*args, **options)
        close(automatic, expected, 2)
        close(closed_form, expected, 2)
        scores, y = np.asarray(jaxsvm.score(W, data.X), float), np.asarray(data.y)
        slopes = [
            reference.family_slopes_one(machine, s, k, delta)
            for s, k in zip(scores, y, strict=True)
        ]
        close(in_scores, reference.family_pulled_back(machine, slopes, y), 2)
        if machine.margins != "absolute":
            close(jnp.sum(in_scores, axis=1), 0)


@pytest.mark.parametrize("name", MEMBERS)
def test_the_tied_problem_has_ties(name):
    """Without them the tests of ties would say nothing; and a tie that counted would be seen."""
    machine = reference.FAMILY[name]
    W, data, delta = tied_problem()
    args, options = (machine, W, data.X, data.y), {"delta": delta}
    counted = reference.family_gradient(*args, ties=True, **options)
    seen = np.any(counted != reference.family_gradient(*args, **options))
    assert seen == (machine.power == 1)


@pytest.mark.parametrize("name", MEMBERS)
def test_adding_to_all_scores_of_an_example(name):
    loss = losses.FAMILY[name]
    W, data = problem(5, SHAPE)
    scores = jaxsvm.score(W, data.X)
    shift = np.linspace(-3, 3, len(data.y), dtype=scores.dtype)[:, None]
    shifted = jnp.asarray(np.asarray(scores) + shift)
    before, after = (np.asarray(loss(s, data.y)) for s in (scores, shifted))
    if loss.margins == "absolute":
        assert np.max(np.abs(after - before)) > 0.1
    else:
        close(after, before, 5)


@pytest.mark.parametrize("name", ALL)
def test_losses_are_convex_and_their_gradients_lie_below(name):
    machine = ALL[name]
    loss = hinge_of(machine)
    rng = np.random.default_rng(0)
    _, data = problem(1, SHAPE)
    y, whole = data.y, rng.integers(-2, 3, (2, 12, 4))
    a, b = whole

    def at(scores):
        return jnp.asarray(scores, float_dtype())

    at_a, at_b = (np.asarray(loss(at(s), y)) for s in (a, b))
    gradient = np.asarray(jax.grad(lambda s: jnp.sum(loss(s, y)))(at(a)))
    slack = 50 * tolerance()
    for share in (0.25, 0.5, 0.9):
        middle = np.asarray(loss(at((1 - share) * a + share * b), y))
        assert np.all(middle <= (1 - share) * at_a + share * at_b + slack)
    assert np.all(at_b >= at_a + np.sum(gradient * (b - a), axis=1) - slack)


@pytest.mark.parametrize("name", MEMBERS)
def test_nan_and_infinite_scores_are_kept(name):
    loss, (N, _, C) = losses.FAMILY[name], SMALL[-1]
    y = jnp.asarray(np.ones(N, np.int32))

    def found(*scores):
        """The losses of examples with these scores, 0 the others, and of label 1."""
        row = np.append(scores, np.zeros(C - len(scores)))
        return np.asarray(loss(jnp.asarray(np.tile(row, (N, 1)), float_dtype()), y))

    assert np.all(np.isnan(found(*[np.nan] * C)))
    if loss.margins != "centred":
        assert np.all(found(0, -np.inf, 0) == np.inf)
    if loss.margins != "centred" and loss.terms != "own":
        assert np.all(found(0, 0, np.inf) == np.inf)


@pytest.mark.any_precision
@pytest.mark.parametrize("name", ALL)
def test_the_oracles_gradient_is_its_difference(name):
    W, data = problem(1, (7, 4, 3))
    args = (np.asarray(data.X, float), np.asarray(data.y))
    difference = reference.eval_numerical_gradient(
        lambda W: reference.family_objective(ALL[name], W, *args, reg=REG, delta=DELTA),
        W,
        1e-6,
        "central",
    )
    gradient = reference.family_gradient(ALL[name], W, *args, reg=REG, delta=DELTA)
    np.testing.assert_allclose(gradient, difference, atol=1e-7)
    direction = np.random.default_rng(0).standard_normal(W.shape)
    sides = reference.family_one_sided(ALL[name], W, direction, *args, reg=REG, delta=DELTA)
    np.testing.assert_allclose(sides, np.sum(gradient * direction), rtol=1e-9)


# --- lines and planes --------------------------------------------------------------------------

along = jax.jit(jaxsvm.along)
# These see a line and not its loss: one compilation serves all members of one structure.
values = jax.jit(jax.vmap(lambda line, t: line.value(t), in_axes=(None, 0)))
grid = jax.jit(lambda line: line.values(start=T[0], stop=T[-1], num=len(T)))
kinks = jax.jit(lambda line: line.kinks())
slopes = jax.jit(jax.vmap(lambda line, t: line.slopes(t), in_axes=(None, 0)))
minimum = jax.jit(lambda line: line.minimum())


def line_of(name, *, tied=False, reg=REG):
    """A line, and the oracle's objective on it as a function of t."""
    machine = reference.FAMILY[name]
    W, data, delta = tied_problem() if tied else random_problem()
    direction, _ = problem(6, SHAPE, integers=tied)
    X, y = np.asarray(data.X), np.asarray(data.y)
    start, step = np.asarray(W), np.asarray(direction)

    def oracle(t):
        return reference.family_objective(machine, start + t * step, X, y, reg=reg, delta=delta)

    def one_sided(t):
        return reference.family_one_sided(
            machine, start + t * step, step, X, y, reg=reg, delta=delta
        )

    every = reference.family_kinks(machine, start, step, X, y, delta=delta)
    return along(objective_of(machine, reg, delta), W, direction, data), oracle, one_sided, every


def padded(t, size=64):
    """One compiled shape for any number of points."""
    assert len(t) <= size
    return jnp.asarray(np.concatenate([t, np.full(size - len(t), t[0])]))


def distinct(t):
    """Sorted numbers without those that equal the one before to rounding."""
    return t[np.diff(t, prepend=-np.inf) > 1e-9 * (1 + np.abs(t))]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_line_has_the_objectives_values(name, tied, x64):
    line, oracle, _, _ = line_of(name, tied=tied)
    expected = [oracle(t) for t in T]
    np.testing.assert_allclose(values(line, padded(T))[: len(T)], expected, rtol=1e-12)
    np.testing.assert_allclose(grid(line), expected, rtol=1e-12)


@pytest.mark.parametrize("name", MEMBERS)
def test_kinks_are_where_the_pieces_end(name, x64):
    line, oracle, _, every = line_of(name, reg=0.0)
    found = np.asarray(kinks(line))
    assert np.all(found[:-1] <= found[1:])
    found = distinct(found[np.isfinite(found)])  # several hinges may share a kink
    np.testing.assert_allclose(found, every, rtol=1e-9, atol=1e-9)
    # Between two of them the objective is one polynomial of degree `power`, in the oracle's eyes.
    power = reference.FAMILY[name].power
    weights = {1: [1, -2, 1], 2: [1, -3, 3, -1]}[power]
    ends = np.concatenate([[found[0] - 1], found, [found[-1] + 1]])
    for a, b in itertools.pairwise(ends):
        points = [oracle(t) for t in np.linspace(a, b, power + 2)]
        assert abs(np.dot(weights, points)) <= 1e-11 * max(points)


@pytest.mark.parametrize("name", MEMBERS)
def test_slopes_are_those_of_the_two_sides(name, x64):
    line, _, one_sided, every = line_of(name)
    found = np.asarray(kinks(line))
    found = found[np.isfinite(found)]
    points = np.concatenate([found, [0.0, 0.123456789]])
    left, right = (np.asarray(side)[: len(points)] for side in slopes(line, padded(points)))
    alone = [np.sum(np.abs(every - t) < 1e-5 * (1 + abs(t))) <= 1 for t in points]
    assert sum(alone) > 10
    for t, is_alone, low, high in zip(points, alone, left, right, strict=True):
        step = 1e-7 * (1 + abs(t))
        assert low <= high
        if is_alone:
            np.testing.assert_allclose(low, one_sided(t - step)[0], rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(high, one_sided(t + step)[1], rtol=2e-5, atol=2e-5)
    # A hinge and a maximum jump at every kink of theirs, and only the square of a sum never does.
    machine = reference.FAMILY[name]
    jumps = (right - left)[: len(found)] > 1e-6
    assert np.all(jumps) if machine.power == 1 else np.any(jumps) == (machine.join == "max")


@pytest.mark.parametrize("name", MEMBERS)
def test_slopes_at_exact_ties(name, x64):
    line, _, one_sided, _ = line_of(name, tied=True)
    points = np.array([-1.0, 0.0, 1.0, 2.0])
    left, right = slopes(line, padded(points))
    for i, t in enumerate(points):
        np.testing.assert_allclose((left[i], right[i]), one_sided(t), rtol=1e-12, atol=1e-12)
    if reference.FAMILY[name].power == 1:
        assert left[1] < right[1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", MEMBERS)
def test_the_minimum_is_that_of_a_scan(name, tied, x64):
    line, oracle, one_sided, _ = line_of(name, tied=tied)
    t_low, t_high, value = (float(x) for x in minimum(line))
    assert t_low <= t_high
    for end in (t_low, t_high):
        np.testing.assert_allclose(oracle(end), value, rtol=1e-11)
    assert value <= min(oracle(t) for t in np.linspace(t_low - 1, t_high + 1, 101)) + 1e-11
    golden = scipy.optimize.minimize_scalar(oracle, method="golden", bracket=(-1.0, 1.0))
    np.testing.assert_allclose(value, golden.fun, rtol=1e-7)
    assert value <= golden.fun + 1e-11
    assert t_low - 1e-5 <= golden.x <= t_high + 1e-5
    # With a penalty the minimizer is one: to its left the line falls, to its right it rises.
    np.testing.assert_allclose(t_low, t_high, rtol=1e-9, atol=1e-9)
    assert one_sided(t_low - 1e-6)[1] < 0 < one_sided(t_high + 1e-6)[0]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_floor_without_a_penalty(name, x64):
    line, oracle, _, _ = line_of(name, tied=True, reg=0.0)
    t_low, t_high, value = (float(x) for x in minimum(line))
    low, high = max(t_low, -50.0), min(t_high, 50.0)
    assert low <= high
    for t in (low, (low + high) / 2, high):
        np.testing.assert_allclose(oracle(t), value, rtol=1e-11, atol=1e-11)
    for t in (*T, low - 1e-3, high + 1e-3):
        assert oracle(t) >= value - 1e-11
        if not t_low <= t <= t_high and abs(t) < 50:
            assert oracle(t) > value


slice_1d = jax.jit(jaxsvm.slice_1d, static_argnames="num")
slice_2d = jax.jit(jaxsvm.slice_2d, static_argnames="num")


def accuracy_of(W, X, y):
    """Of equal scores the first class wins."""
    scores = reference.score(W, X)
    return np.mean([list(s).index(max(s)) == k for s, k in zip(scores, y, strict=True)])


@pytest.mark.parametrize("name", MEMBERS)
def test_slices_are_the_objective_at_every_node(name, x64):
    machine = reference.FAMILY[name]
    W, data, delta = random_problem()
    a, b = (problem(seed, SHAPE)[0] for seed in (8, 9))
    objective = objective_of(machine)
    X, y = np.asarray(data.X), np.asarray(data.y)

    start, first, second = (np.asarray(v) for v in (W, a, b))

    def direct(s, t):
        here = start + s * first + t * second
        value = reference.family_objective(machine, here, X, y, reg=REG, delta=delta)
        return value, accuracy_of(here, X, y)

    # Few nodes are summed directly, more by running sums.
    num = DIRECT_NUM + 1 if name in FEW else 4
    plane = slice_2d(objective, W, a, b, data, start=-1.0, stop=1.5, num=num)
    nodes = np.asarray(plane.t)
    expected = np.array([[direct(s, t) for t in nodes] for s in nodes])
    np.testing.assert_allclose(plane.loss, expected[..., 0], rtol=1e-11)
    np.testing.assert_allclose(plane.accuracy, expected[..., 1], rtol=1e-11)
    if name not in FEW:
        return
    line = slice_1d(objective, W, a, data, start=-1.0, stop=1.5, num=DIRECT_NUM + 1)
    expected = np.array([direct(s, 0) for s in np.asarray(line.t)])
    np.testing.assert_allclose(line.loss, expected[:, 0], rtol=1e-11)
    np.testing.assert_allclose(line.accuracy, expected[:, 1], rtol=1e-11)


# --- differences and the check -----------------------------------------------------------------

termwise = jax.jit(jaxsvm.termwise_numerical_gradient, static_argnames="method")


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, "central") for name in MEMBERS] + [(name, "forward") for name in FEW],
)
def test_termwise_differences_are_the_listings(name, method, x64):
    machine = reference.FAMILY[name]
    for W, data, delta in (random_problem(), tied_problem()):
        X, y = np.asarray(data.X), np.asarray(data.y)

        def f(W, X=X, y=y, delta=delta):
            return reference.family_objective(machine, W, X, y, reg=REG, delta=delta)

        for h in (0.01, 0.5):
            got = termwise(objective_of(machine, delta=delta), W, data, h=h, method=method)
            expected = reference.eval_numerical_gradient(f, W, h, method)
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-14 * f(W) / h)


@functools.lru_cache
def direction_of(k, d):
    step = np.zeros((SHAPE[2], SHAPE[1]))
    step[k, d] = 1
    return step


def sides(machine, W, data, delta):
    """(C, D) left and right slopes of every coordinate."""
    args = (np.asarray(data.X), np.asarray(data.y))
    both = [
        reference.family_one_sided(machine, W, direction_of(k, d), *args, reg=REG, delta=delta)
        for k, d in np.ndindex(W.shape)
    ]
    return np.reshape(both, (*W.shape, 2))


def oracle_gradient(machine, W, data, delta, **options):
    args = (machine, np.asarray(W), np.asarray(data.X), np.asarray(data.y))
    return reference.family_gradient(*args, delta=delta, **{"reg": REG, **options})


def correct_gradients_raise_no_alarm(machine, steps):
    for tied in (False, True):
        W, data, delta = tied_problem() if tied else random_problem()
        objective = objective_of(machine, delta=delta)
        g = oracle_gradient(machine, W, data, delta)
        for h, ties in (*((h, "zero") for h in steps), (0.5, "any")):
            check = jaxsvm.check_gradient(objective, W, data, gradient=g, h=h, ties=ties)
            assert check.num_wrong == 0, (tied, h, ties, str(check))
            assert check.num_smooth + check.num_kink == W.size
        expected = sides(machine, W, data, delta)
        np.testing.assert_allclose(check.left, expected[..., 0], rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(check.right, expected[..., 1], rtol=1e-11, atol=1e-11)
        assert np.any(expected[..., 0] < expected[..., 1]) >= (tied and machine.power == 1)


def margins_that_are_0_to_rounding_are_either_sides(machine):
    W, data, _ = random_problem()
    data = Data(data.X, jaxsvm.predict(W, data.X))  # their margins are 0 at some delta > 0
    candidates = []
    for s, k in zip(reference.score(W, data.X), np.asarray(data.y), strict=True):
        terms = reference.family_terms(machine, k, 4)  # with delta 1
        candidates += [min(-float(t.row @ s) / t.target for t in terms)]
    delta = min(d for d in candidates if d > 0.05)  # an example's largest term is 0 to rounding
    for nudge in (1.0, 1 + 1e-15, 1 - 1e-15):
        g = oracle_gradient(machine, W, data, delta * nudge)
        objective = objective_of(machine, delta=delta)
        check = jaxsvm.check_gradient(objective, W, data, gradient=g, h=1e-3)
        assert check.num_wrong == 0, (nudge, str(check))
        assert check.num_kink > 0 or machine.power == 2


automatic = jax.jit(lambda objective, W, data: jax.grad(objective)(W, data))


def the_largest_of_equals_to_rounding_is_either(machine):
    W, data, delta = random_problem()
    objective = objective_of(machine, delta=delta)
    for nudge in (1.0, 1 + 3e-16, 1 - 3e-16):
        twin, swapped = np.array(W), np.array(W)
        twin[2] = W[1] * nudge
        swapped[2], swapped[1] = W[1], W[1] * nudge
        for here in map(jnp.asarray, (twin, swapped)):
            both = automatic(objective, here, data), oracle_gradient(machine, here, data, delta)
            for g in both:
                check = jaxsvm.check_gradient(objective, here, data, gradient=g, h=1e-3)
                assert check.num_wrong == 0, (nudge, str(check))


def without_own_rows(machine, W, data, delta):
    """The gradient whose examples do not move their own class."""
    y, scores = np.asarray(data.y), reference.score(W, data.X)
    slopes = [
        reference.family_slopes_one(machine, s, k, delta) for s, k in zip(scores, y, strict=True)
    ]
    G = reference.family_pulled_back(machine, slopes, y)
    G[np.arange(len(y)), y] = 0
    return G.T @ np.asarray(data.X) / len(y) + 2 * REG * np.asarray(W)


def without_example(machine, W, data, delta):
    """The gradient of all examples but one that has a loss."""
    scores = reference.score(W, data.X)
    i = int(np.argmax(reference.family_losses(machine, scores, data.y, delta)))
    X, y = (np.delete(np.asarray(a), i, axis=0) for a in data)
    rest = Data(jnp.asarray(X), jnp.asarray(y))
    N = len(data.y)
    return (N - 1) / N * oracle_gradient(
        machine, W, rest, delta, reg=0.0
    ) + 2 * REG * np.asarray(W)  # fmt: skip


MUTANTS = {
    "the wrong sign": lambda *args: -oracle_gradient(*args),
    "a row shifted by one": lambda *args: np.roll(oracle_gradient(*args), 1, axis=0),
    "a column shifted by one": lambda *args: np.roll(oracle_gradient(*args), 1, axis=1),
    "3 % too large": lambda *args: 1.03 * oracle_gradient(*args),
    "no penalty": lambda *args: oracle_gradient(*args, reg=0.0),
    "the own row missing": without_own_rows,
    "an example missing": without_example,
    "1/N missing": lambda *args: len(args[2].y) * oracle_gradient(*args),
}


def every_mutant_is_wrong(machine, steps):
    W, data, delta = random_problem()
    for mutant, gradient in MUTANTS.items():
        g = gradient(machine, W, data, delta)
        for h in steps:
            check = jaxsvm.check_gradient(objective_of(machine), W, data, gradient=g, h=h)
            assert check.num_wrong > 0, mutant


def ties_that_count_are_found(machine):
    W, data, delta = tied_problem()
    check = functools.partial(
        jaxsvm.check_gradient,
        objective_of(machine, delta=delta),
        W,
        data,
        gradient=oracle_gradient(machine, W, data, delta, ties=True),
        h=1e-3,
    )
    assert check().num_wrong > 0
    assert check(ties="any").num_wrong == 0


def errors_above_rounding_are_found(machine):
    """In every entry of a gradient in float32 or float64, RESOLUTION times its rounding or more.

    That is what a float32 gradient has, against one of the same numbers in float64: its root mean
    square in eps. So no tolerance is more than that many times the rounding that occurs.
    """
    W, data, _ = random_problem()
    W, X, y = np.asarray(W, np.float32), np.asarray(data.X, np.float32), data.y
    single, (W, data) = (
        (jnp.asarray(W), Data(jnp.asarray(X), y)),
        (jnp.asarray(W, float), Data(jnp.asarray(X, float), y)),
    )
    numbers = {"reg": 0.125, "delta": 0.75}  # in float32 too
    objective = objective_of(machine, **numbers)
    exact = oracle_gradient(machine, W, data, **numbers)
    error = np.asarray(jaxsvm.analytic_gradient(objective, *single)) - exact
    rounding = np.sqrt(np.mean(error**2)) / np.finfo(np.float32).eps
    signs = np.random.default_rng(0).choice([-1, 1], W.shape)
    for dtype in (np.float32, np.float64):
        size = RESOLUTION * rounding * np.finfo(dtype).eps
        for off, found in ((0, 0), (size, W.size), (-size, W.size)):
            g = (exact + off * signs).astype(dtype)
            check = jaxsvm.check_gradient(objective, W, data, gradient=g, h=1e-3)
            assert check.num_rounding + check.num_wrong == found, (dtype, str(check))


@pytest.mark.parametrize("name", [*MEMBERS, "squared reinforced, 0.25"])
def test_the_check_alarms_at_mistakes_only(name, x64):
    """One test for each member: its programs take seconds to compile."""
    machine = ALL[name]
    steps = (None, 1e-3, 0.5) if name in FEW else (1e-3, 0.5)
    correct_gradients_raise_no_alarm(machine, steps)
    margins_that_are_0_to_rounding_are_either_sides(machine)
    every_mutant_is_wrong(machine, steps)
    errors_above_rounding_are_found(machine)
    if machine.join == "max":
        the_largest_of_equals_to_rounding_is_either(machine)
    if machine.power == 1:
        ties_that_count_are_found(machine)
    if name in FEW:
        W, data, _ = random_problem()
        assert jaxsvm.check_gradient(objective_of(machine), W, data).num_wrong == 0


# --- bounds ------------------------------------------------------------------------------------


@jax.jit
def bounds(objective, W, slopes, data):
    """Both bounds: one program is compiled in less time than two."""
    dual = jaxsvm.certificate.dual_value(objective, slopes, data)
    return jaxsvm.lower_bound(objective, W, data), dual


@pytest.mark.parametrize("name", MEMBERS)
def test_bounds_are_below_the_optimum_and_the_oracles(name):
    machine = reference.FAMILY[name]
    W, data, delta = random_problem()
    objective = objective_of(machine)
    lowest = reference.family_optimum(machine, data.X, data.y, 4, reg=REG, delta=delta).value
    exact = reference.family_objective(machine, W, data.X, data.y, reg=REG, delta=delta)
    assert lowest < exact
    at_zero = reference.family_objective(machine, 0 * W, data.X, data.y, delta=delta)
    best, nothing = 0.0, jnp.asarray(np.zeros((12, 4)), W.dtype)

    def dual_value(slopes, objective=objective):
        return float(bounds(objective, W, slopes, data)[1])

    for scale in (0.0, 0.03, 0.3, 1.0):
        here = jnp.asarray(scale * np.asarray(W), W.dtype)
        bound = float(bounds(objective, here, nothing, data)[0])
        assert 0 <= bound <= lowest * (1 + 1e-9)
        best = max(best, bound)
    assert best > 0.05 * lowest
    rng = np.random.default_rng(0)
    for low, high in ((-1, 2), (0, 1), (-0.1, 0.3), (0, 20)):
        dual = jnp.asarray(rng.uniform(low, high, (12, 4)), float_dtype())
        assert dual_value(dual) <= lowest * (1 + 1e-9)
        # With a strong penalty it is the loss at 0 that slopes out of their set would exceed.
        strong = objective_of(machine, reg=50.0)
        assert dual_value(dual, strong) <= at_zero * (1 + 1e-6)
    # Of feasible slopes the bound is the oracle's.
    rounding = 1e-9 if float_dtype() == jnp.float64 else 1e-3
    positive = 0
    for scale in (1.0, 1.0, 0.3, 0.3, 0.1, 0.1):
        # Inside the set by more than float32's rounding.
        inside = (1 - 1e-6) * scale * reference.family_random_slopes(rng, machine, data.y, 4)
        dual = jnp.asarray(inside, float_dtype())
        assert reference.family_is_feasible(machine, dual, data.y)
        exact = reference.family_dual_value(machine, dual, data.X, data.y, reg=2.0, delta=delta)
        got = dual_value(dual, objective_of(machine, reg=2.0))
        # No loss is below 0, so neither is a bound.
        assert max(exact, 0) - rounding * (1 + abs(exact)) <= got <= max(exact, 0)
        positive += exact > 0.01
    assert positive >= 2


# --- searches and descent ----------------------------------------------------------------------

run = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))


@pytest.mark.parametrize("name", ["ATM", "reinforced"])
def test_a_search_sees_the_oracles_losses(name, x64):
    machine = reference.FAMILY[name]
    W, data, delta = random_problem()
    X, y, objective = np.asarray(data.X), np.asarray(data.y), objective_of(machine)
    key = jax.random.key(5)
    search = jaxsvm.random_search(objective, scale=0.5, block_size=4)
    state, info = run(search, jax.random.clone(key), W, data, num_steps=10)
    draws = [
        np.asarray(0.5 * jax.random.normal(jax.random.fold_in(key, i), W.shape, W.dtype))
        for i in range(10)
    ]
    best, best_loss, found, kept = reference.random_search(
        lambda W: reference.family_objective(machine, W, X, y, reg=REG, delta=delta),
        draws,
        np.asarray(W),
    )
    np.testing.assert_allclose(info.loss, found, rtol=1e-12)
    np.testing.assert_array_equal(info.accepted, kept)
    np.testing.assert_allclose(state.params, best, rtol=1e-12)
    np.testing.assert_allclose(state.best_loss, best_loss, rtol=1e-12)


@pytest.mark.parametrize("name", ["ATM", "squared Crammer-Singer", "reinforced"])
def test_exact_steps_go_to_the_bottom_of_their_lines(name, x64):
    machine = reference.FAMILY[name]
    W, data, delta = random_problem()
    X, y = np.asarray(data.X), np.asarray(data.y)
    descent = jaxsvm.line_search_descent(objective_of(machine))
    state, _ = run(descent, jax.random.key(0), W, data, num_steps=1)
    gradient = reference.family_gradient(machine, W, X, y, reg=REG, delta=delta)

    def f(t):
        here = np.asarray(W) - t * gradient
        return reference.family_objective(machine, here, X, y, reg=REG, delta=delta)

    lowest = scipy.optimize.minimize_scalar(f, method="golden", bracket=(0.0, 1.0))
    reached = reference.family_objective(machine, state.params, X, y, reg=REG, delta=delta)
    np.testing.assert_allclose(reached, lowest.fun, rtol=1e-7)
    assert reached < f(0)


# --- conversions -------------------------------------------------------------------------------


def test_optax_multiclass_hinge_is_crammer_singer():
    W, data = problem(0, SHAPE)
    scores = jaxsvm.score(W, data.X)
    theirs = optax.losses.multiclass_hinge_loss(scores, data.y)
    close(losses.FAMILY["Crammer-Singer"](scores, data.y), theirs)


@pytest.mark.parametrize(("name", "p"), [("Weston-Watkins", 1), ("squared Weston-Watkins", 2)])
def test_torch_multi_margin_is_weston_watkins_over_the_number_of_classes(name, p):
    torch = pytest.importorskip("torch", reason="PyTorch is a peer of the benchmarks only")
    W, data = problem(0, SHAPE)
    scores = jaxsvm.score(W, data.X)
    theirs = torch.nn.functional.multi_margin_loss(
        torch.tensor(np.asarray(scores)),
        torch.tensor(np.asarray(data.y, np.int64)),
        p=p,
        margin=DELTA,
        reduction="none",
    )
    ours = np.asarray(losses.FAMILY[name](scores, data.y, delta=DELTA))
    np.testing.assert_allclose(ours / SHAPE[-1], theirs.numpy(), rtol=1e-5, atol=1e-6)
