"""A loss that the library does not have: one that costs, of a few lines, and one without hinges.

`CostSensitive` overrides one method of the record. Everything that the library does with a member
of the family it must do with this one, and is held to the oracle's loops for it.
"""

import functools
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Objective
from jaxsvm.certificate import dual_value
from tests import reference
from tests.problems import float_dtype, problem


@dataclass(frozen=True)
class CostSensitive(jaxsvm.Hinge):
    """A margin of ``delta · costs[y][j]``: to take y for j is worse, the larger its cost."""

    costs: tuple[tuple[float, ...], ...] = ()

    def targets(self, y, num_classes, delta):
        """(N, C) what is added to the linear part of each margin."""
        return delta * jnp.asarray(self.costs, float_dtype())[y]


# Halves and quarters: margins of whole numbers tie exactly.
COSTS = ((1.0, 0.5, 2.0, 1.25), (0.5, 1.5, 1.0, 3.0), (2.0, 1.0, 0.25, 1.0), (0.75, 1.0, 1.0, 0.5))
BASES = ["Weston-Watkins", "Crammer-Singer", "squared Lee-Lin-Wahba"]
SHAPE = (12, 5, 4)
REG, DELTA = 0.1, 0.7

along = jax.jit(jaxsvm.along)
slice_1d = jax.jit(jaxsvm.slice_1d, static_argnames="num")
slice_2d = jax.jit(jaxsvm.slice_2d, static_argnames="num")
evaluate = jax.jit(lambda objective, W, data: objective(W, data))
termwise = jax.jit(jaxsvm.termwise_numerical_gradient)
T = np.linspace(-2, 2, 17)


@jax.jit
def seen_on(line):
    """What is known of a line: its values at T and at 0.3, its kinks and its minimum."""
    values = line.values(start=T[0], stop=T[-1], num=len(T))
    return values, line.value(0.3), line.kinks(), line.minimum()


@jax.jit
def bounds(objective, W, slopes, data):
    """Both bounds: one program is compiled in less time than two."""
    return jaxsvm.lower_bound(objective, W, data), dual_value(objective, slopes, data)


run = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))
closed_form = jax.jit(jaxsvm.analytic_gradient)
value_and_grad = jax.jit(lambda objective, W, data: jax.value_and_grad(objective)(W, data))


def machine_of(base, costs=COSTS):
    return reference.FAMILY[base]._replace(costs=costs)


def objective_of(base, costs=COSTS, delta=DELTA):
    names = ("margins", "terms", "join", "power")
    choices: dict[str, Any] = dict(zip(names, reference.FAMILY[base], strict=False))
    return Objective(CostSensitive(**choices, costs=costs), reg=REG, delta=delta)


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 2e-5


def oracle(base, delta=DELTA):
    """The objective as a function of W and data, by loops."""

    def f(W, data):
        return reference.family_objective(machine_of(base), W, data.X, data.y, reg=REG, delta=delta)

    return f


def test_it_is_a_record_like_the_others():
    loss = CostSensitive(costs=COSTS)
    assert len({loss, CostSensitive(costs=COSTS), CostSensitive(join="max", costs=COSTS)}) == 2
    assert loss != jaxsvm.hinge_loss
    scores, y = jnp.asarray([[0.0, 0.0, 0.0, 0.0]], float_dtype()), jnp.asarray([0], jnp.int32)
    assert loss(scores, y) == 0.5 + 2.0 + 1.25
    assert loss(scores, y, delta=2.0) == 2 * (0.5 + 2.0 + 1.25)
    with pytest.raises(ValueError, match="own"):
        CostSensitive(terms="own", costs=COSTS)


def test_equal_costs_are_the_loss_it_came_from():
    W, data = problem(1, SHAPE)
    ones = ((1.0,) * 4,) * 4
    for base in ("Weston-Watkins", "squared ATS"):
        plain = jaxsvm.core.losses.FAMILY[base]
        objective = objective_of(base, ones)
        expected = evaluate(Objective(plain, reg=REG, delta=DELTA), W, data)
        np.testing.assert_allclose(evaluate(objective, W, data), expected, rtol=tolerance())


@pytest.mark.parametrize("base", BASES)
def test_values_and_gradients_at_ties_too(base):
    for integers, delta in ((False, DELTA), (True, 1.0)):
        W, data = problem(4, SHAPE, integers=integers)
        objective, machine = objective_of(base, delta=delta), machine_of(base)
        scores = jaxsvm.score(W, data.X)
        expected = reference.family_losses(machine, scores, data.y, delta)
        got = objective.loss(scores, data.y, delta=delta)
        np.testing.assert_allclose(got, expected, rtol=tolerance(), atol=tolerance())
        value, automatic = value_and_grad(objective, W, data)
        np.testing.assert_allclose(value, oracle(base, delta)(W, data), rtol=tolerance())
        gradient = reference.family_gradient(machine, W, data.X, data.y, reg=REG, delta=delta)
        for found in (automatic, closed_form(objective, W, data)):
            np.testing.assert_allclose(found, gradient, rtol=2 * tolerance(), atol=2 * tolerance())


@pytest.mark.parametrize("base", BASES)
def test_lines_and_planes(base, x64):
    W, data = problem(1, SHAPE)
    directions = [problem(seed, SHAPE)[0] for seed in (2, 3)]
    objective, f = objective_of(base), oracle(base)
    values, value, kinks, minimum = seen_on(along(objective, W, directions[0], data))
    plane = slice_2d(objective, W, *directions, data, num=9)
    W, a, b = (np.asarray(v) for v in (W, *directions))
    expected = [f(W + s * a, data) for s in T]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    np.testing.assert_allclose(value, f(W + 0.3 * a, data), rtol=1e-12)
    kinks = np.asarray(kinks)
    every = reference.family_kinks(machine_of(base), W, a, data.X, data.y, delta=DELTA)
    kinks = kinks[np.isfinite(kinks)]
    for some, others in ((kinks, every), (every, kinks)):  # several hinges may share one
        distance = np.min(np.abs(some[:, None] - others[None, :]), axis=1)
        assert np.all(distance <= 1e-9 * (1 + np.abs(some)))
    t_low, _, lowest = (float(x) for x in minimum)
    np.testing.assert_allclose(f(W + t_low * a, data), lowest, rtol=1e-11)
    assert lowest <= min(expected)
    sides = [
        reference.family_one_sided(
            machine_of(base), W + s * a, a, data.X, data.y, reg=REG, delta=DELTA
        )
        for s in (t_low - 1e-6, t_low + 1e-6)
    ]
    assert sides[0][1] < 0 < sides[1][0]
    nodes = np.asarray(plane.t)
    for i, j in ((0, 0), (2, 7), (8, 3)):
        here = W + nodes[i] * a + nodes[j] * b
        np.testing.assert_allclose(plane.loss[i, j], f(here, data), rtol=1e-11)


@pytest.mark.parametrize("base", BASES)
def test_differences_and_the_check(base, x64):
    W, data = problem(2, SHAPE)
    objective, f = objective_of(base), oracle(base)
    listing = reference.eval_numerical_gradient(lambda W: f(W, data), W, 0.3, "central")
    np.testing.assert_allclose(termwise(objective, W, data, h=0.3), listing, rtol=1e-9, atol=1e-13)
    right = reference.family_gradient(machine_of(base), W, data.X, data.y, reg=REG, delta=DELTA)
    plain = reference.family_gradient(
        reference.FAMILY[base], W, data.X, data.y, reg=REG, delta=DELTA
    )
    transposed = reference.family_gradient(
        machine_of(base, tuple(zip(*COSTS, strict=True))), W, data.X, data.y, reg=REG, delta=DELTA
    )
    for h in (1e-3, 0.3):
        check = functools.partial(jaxsvm.check_gradient, objective, W, data, h=h)
        assert check(gradient=right).num_wrong == 0
        # The costs are not seen in a gradient unless they are the right ones.
        for wrong in (plain, transposed, 1.03 * right):
            assert check(gradient=wrong).num_wrong > 0
    tied_W, tied = problem(4, SHAPE, integers=True)
    tied_objective = objective_of(base, delta=1.0)
    g = closed_form(tied_objective, tied_W, tied)
    check = functools.partial(jaxsvm.check_gradient, tied_objective, tied_W, tied)
    assert check(gradient=g, h=1e-3).num_wrong == 0


@pytest.mark.parametrize("base", BASES)
def test_bounds_and_the_certified_optimum(base, x64):
    W, data = problem(1, SHAPE)
    objective, machine = objective_of(base), machine_of(base)
    best = reference.family_optimum(machine, data.X, data.y, 4, reg=REG, delta=DELTA).value
    below = reference.family_dual_optimum(machine, data.X, data.y, 4, reg=REG, delta=DELTA)
    np.testing.assert_allclose(below, best, rtol=2e-8)
    rng = np.random.default_rng(0)

    def both(slopes):
        near = jnp.asarray(0.1 * np.asarray(W))
        return (float(b) for b in bounds(objective, near, jnp.asarray(slopes), data))

    for dual in (rng.uniform(-1, 2, (12, 4)), rng.uniform(0, 0.5, (12, 4))):
        assert max(both(dual)) <= best * (1 + 1e-9)
    slopes = 0.1 * reference.family_random_slopes(rng, machine, data.y, 4)
    exact = reference.family_dual_value(machine, slopes, data.X, data.y, reg=REG, delta=DELTA)
    assert exact > 0.01
    at_W, got = both(slopes)
    assert exact - 1e-9 * (1 + abs(exact)) <= got <= exact
    assert 0 < at_W <= best * (1 + 1e-9)
    solution = jaxsvm.solve(objective, data, gap_tolerance=5e-7, num_classes=4, max_passes=20_000)
    np.testing.assert_allclose(solution.primal, best, rtol=1e-6)
    assert solution.dual <= best * (1 + 1e-8)
    value = oracle(base)(solution.W, data)
    np.testing.assert_allclose(solution.primal, value, rtol=1e-12)


def test_a_search_and_a_descent_take_it():
    W, data = problem(1, SHAPE)
    objective = objective_of("Weston-Watkins")
    search = jaxsvm.random_search(objective, scale=0.5, block_size=4)
    state, info = run(search, jax.random.key(0), W, data, num_steps=8)
    expected = oracle("Weston-Watkins")(state.params, data)
    np.testing.assert_allclose(state.best_loss, expected, rtol=10 * tolerance())
    assert info.best_loss[-1] < objective(W, data)
    descent = jaxsvm.line_search_descent(objective)
    state, _ = run(descent, jax.random.key(0), W, data, num_steps=3)
    assert objective(state.params, data) < objective(W, data)


# --- cross-entropy -----------------------------------------------------------------------------


def cross_entropy(W, data):
    """(1/N) Σ_i log Σ_j exp(s_j − s_y) + reg · ΣΣ W², by loops."""
    total = 0.0
    for s, k in zip(reference.score(W, data.X), np.asarray(data.y), strict=True):
        total += np.log(sum(np.exp(s[j] - s[k]) for j in range(len(s))))
    return total / len(data.y) + REG * reference.penalty("l2_penalty", W)


def softmax_objective():
    return Objective(loss=jaxsvm.softmax_loss, reg=REG)


def test_softmax_is_cross_entropy():
    W, data = problem(1, SHAPE)
    value, gradient = value_and_grad(softmax_objective(), W, data)
    np.testing.assert_allclose(value, cross_entropy(W, data), rtol=tolerance())
    difference = reference.eval_numerical_gradient(
        lambda W: cross_entropy(W, data), W, 1e-5, "central"
    )
    np.testing.assert_allclose(gradient, difference, rtol=1e-5, atol=1e-6)
    # Large scores neither overflow nor lose the loss.
    far = jnp.asarray([[1e4, 0.0, 0.0]], float_dtype())
    y = jnp.asarray([1], jnp.int32)
    np.testing.assert_allclose(jaxsvm.softmax_loss(far, y), 1e4, rtol=1e-6)
    np.testing.assert_allclose(jaxsvm.softmax_loss(far, y * 0), 0.0, atol=1e-6)
    assert jaxsvm.softmax_loss(far, y).dtype == far.dtype


def test_softmax_is_drawn_searched_and_descended():
    W, data = problem(1, SHAPE)
    a, b = (problem(seed, SHAPE)[0] for seed in (2, 3))
    objective = softmax_objective()
    line = slice_1d(objective, W, a, data, num=5)
    plane = slice_2d(objective, W, a, b, data, num=3)
    start, first, second = (np.asarray(v) for v in (W, a, b))
    for t, found in zip(*map(np.asarray, line[:2]), strict=True):
        expected = cross_entropy(np.asarray(start + t * first, float), data)
        np.testing.assert_allclose(found, expected, rtol=10 * tolerance())
    nodes, drawn = np.asarray(plane.t), np.asarray(plane.loss)
    for i, j in np.ndindex(3, 3):
        here = np.asarray(start + nodes[i] * first + nodes[j] * second, float)
        np.testing.assert_allclose(drawn[i, j], cross_entropy(here, data), rtol=1e-5)
    for optimizer in (
        jaxsvm.random_search(objective, scale=0.5, block_size=4),
        jaxsvm.local_search(objective, step_size=0.1, block_size=4),
        jaxsvm.gradient_descent(objective, step_size=0.1),
    ):
        state, _ = run(optimizer, jax.random.key(0), W, data, num_steps=8)
        lower = cross_entropy(np.asarray(state.params, float), data)
        assert lower < cross_entropy(np.asarray(W, float), data)


@pytest.mark.parametrize(
    "use",
    [
        lambda objective, W, data: jaxsvm.analytic_gradient(objective, W, data),
        lambda objective, W, data: jaxsvm.along(objective, W, W, data),
        lambda objective, W, data: jaxsvm.termwise_numerical_gradient(objective, W, data),
        lambda objective, W, data: jaxsvm.check_gradient(objective, W, data),
        lambda objective, W, data: jaxsvm.lower_bound(objective, W, data),
        lambda objective, W, data: jaxsvm.solve(objective, data),
    ],
    ids=["analytic_gradient", "along", "termwise", "check_gradient", "lower_bound", "solve"],
)
def test_what_needs_hinges_says_so(use):
    W, data = problem(1, SHAPE)
    for loss in (jaxsvm.softmax_loss, lambda scores, y, *, delta=1.0: -scores[:, 0]):
        with pytest.raises(ValueError, match="hinge"):
            use(Objective(loss=loss, reg=REG), W, data)


def test_data_is_still_an_argument():
    """The record is static and the numbers are not: two problems share one trace."""
    calls = jax.jit(chex.assert_max_traces(lambda o, W, d: o(W, d), n=1))
    chex.clear_trace_counter()
    found = []
    for seed, delta in ((6, 1.0), (7, 0.5)):
        W, data = problem(seed, SHAPE)
        found.append(float(calls(objective_of("Weston-Watkins", delta=delta), W, data)))
    assert found[0] != found[1]


def test_a_penalty_of_ones_own_is_drawn():
    W, data = problem(2, SHAPE)
    direction, _ = problem(3, SHAPE)
    objective = Objective(penalty=lambda W: jnp.sum(W**4), reg=REG)
    line = slice_1d(objective, W, direction, data, num=5)
    plane = slice_2d(objective, W, direction, W, data, num=3)
    start, step = np.asarray(W), np.asarray(direction)

    def value(here):
        return evaluate(objective, jnp.asarray(here, W.dtype), data)

    for t, found in zip(*map(np.asarray, line[:2]), strict=True):
        np.testing.assert_allclose(found, value(start + t * step), rtol=1e-5)
    nodes, drawn = np.asarray(plane.t), np.asarray(plane.loss)
    for i, j in np.ndindex(3, 3):
        here = start + nodes[i] * step + nodes[j] * start
        np.testing.assert_allclose(drawn[i, j], value(here), rtol=1e-5)
