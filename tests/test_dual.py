"""Bounds below every objective, and a solver that meets them: against an independent QP."""

import functools
import itertools
import warnings
from fractions import Fraction

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.certificate import bound, iterate, primal_dual
from jaxsvm.certificate.ascent import ascend
from jaxsvm.certificate.bound import GROUP, dual_value, duality_gap, lower_bound
from jaxsvm.certificate.iterate import _covariance_of, _gram_blocks, _make_metric, _reweighted
from jaxsvm.certificate.precise import certify, objective_above
from jaxsvm.certificate.primal_dual import WEIGHTS, Metric, covariance_of, make_metric
from jaxsvm.certificate.row_step import FEW
from jaxsvm.certificate.row_step import row_step as one_step
from jaxsvm.certificate.solve import _jitted_first, _jitted_resume
from jaxsvm.core import blocks, losses
from jaxsvm.core.blocks import block_sizes
from tests import reference
from tests.problems import byte_problem, float_dtype, problem, seeds
from tests.quadratic_program import quadratic_program

LOSSES = sorted(reference.LOSSES)
shapes = st.sampled_from([(5, 4, 3), (7, 3, 1), (40, 9, 10)])  # each compiles every bound
# Not one operation after the other, each of which would be a program of its own.
bound_of = jax.jit(dual_value)
bound_at = jax.jit(lower_bound)
gap_of = jax.jit(duality_gap)
feasible = jax.jit(bound.feasible)
initial_state = jax.jit(primal_dual.initial_state)
along_ray = jax.jit(primal_dual.along_ray)
take_steps = jax.jit(primal_dual.steps, static_argnames="num_steps")
row_step = jax.jit(one_step)
pull_back = jax.jit(lambda objective, slopes, y: objective.loss.pull_back(slopes, y))
objectives = jax.jit(jax.vmap(lambda objective, W, data: objective(W, data), (None, 0, None)))


@jax.jit
def all_margins(objective, scores, y):
    return objective.loss.all_margins(scores, y, delta=objective.delta)


@jax.jit
def slopes_at(objective, W, data):
    return objective.loss.slopes(jaxsvm.score(W, data.X), data.y, delta=objective.delta)


def double():
    return float_dtype() == jnp.float64


def objective_of(name, reg=0.1, delta=1.0):
    return Objective(loss=getattr(jaxsvm, name), reg=reg, delta=delta)


def random_dual(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 2, shape), float_dtype())


@pytest.mark.parametrize("name", LOSSES)
@hypothesis.given(seed=seeds, shape=shapes)
@hypothesis.settings(max_examples=15)
def test_no_weights_are_below_any_bound(name, seed, shape):
    """In float64 on the same numbers: a float32 bound may not be above by a single ulp."""
    W, data = problem(seed, shape, integers=seed % 2 == 0, scale=0.3)
    objective = objective_of(name, reg=0.05, delta=0.7)
    exact = reference.objective(W, data.X, data.y, loss=name, reg=0.05, delta=0.7)
    dual = random_dual(seed, (shape[0], shape[2]))
    assert float(bound_of(objective, dual, data)) <= exact
    assert 0 <= float(bound_at(objective, W, data)) <= exact


@pytest.mark.parametrize("name", LOSSES)
def test_the_bound_is_the_dual_less_its_rounding(name):
    forms = problem(5, (40, 9, 10)), problem(3, (300, 9, 10)), byte_problem(2, (300, 9, 10))
    for W, data in forms:
        objective = objective_of(name, reg=2.0, delta=0.7)
        dual = feasible(objective, random_dual(1, (len(data.y), len(W))) / 8, data.y)
        X, y = np.asarray(data.X, np.float64), np.asarray(data.y)
        exact = reference.dual_value(name, dual, X, y, reg=2.0, delta=0.7)
        assert exact > 0.05
        got = float(bound_of(objective, dual, data))
        assert exact - (1e-9 if double() else 1e-3) * abs(exact) <= got <= exact


def test_rounding_is_subtracted_where_it_is_large():
    """Cancellation: V is far smaller than the sum of its terms' sizes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 7)) * 100 + 1000
    data = Data(jnp.asarray(X, float_dtype()), jnp.asarray(rng.integers(0, 3, 1000), jnp.int32))
    objective = objective_of("hinge_loss", reg=1e4)
    for seed in range(5):
        dual = feasible(objective, random_dual(seed, (1000, 3)), data.y)
        args = (np.asarray(dual, float), np.asarray(data.X, float), np.asarray(data.y))
        assert float(bound_of(objective, dual, data)) <= reference.dual_value(
            "hinge_loss", *args, reg=1e4
        )


def exact_dual_value(slopes, data, reg):
    """D of the hinge loss with delta 1, in rational numbers: nothing is rounded."""
    slopes, X, y = np.asarray(slopes, float), np.asarray(data.X, float), np.asarray(data.y)
    N, linear = len(X), Fraction(0)
    V = np.full((slopes.shape[1], X.shape[1]), Fraction(0))
    for i, j in np.argwhere(slopes):
        linear += Fraction(slopes[i, j])
        for d in np.flatnonzero(X[i]):
            push = Fraction(slopes[i, j]) * Fraction(X[i, d])
            V[j, d] += push
            V[y[i], d] -= push
    return linear / N - np.sum(V * V) / (4 * Fraction(reg) * N**2)


def adversary(kind):
    """(slopes, data, reg) of 2¹⁹ examples of class 0 whose sums round against the bound each time.

    Of numbers with p digits, 2ᵖ + 4 is so large that adding a little less than 1 leaves it as it
    is, whatever its sign; 1 is so large that adding a little more than 2⁻ᵖ makes it 1 + 2¹⁻ᵖ.
    """
    N, digits = 2**19, np.finfo(float_dtype()).nmant + 1
    large, small = 2.0**digits + 4, 1 - 2.0**-10
    x, slopes, rows = np.zeros(N), np.zeros((N, 2)), block_sizes().certified
    in_blocks = x.reshape(-1, rows)
    if kind == "opposites":
        # A large one in each block, its sign in turn, and a small one for each sum that it enters:
        # one in its group, and one for each time that pairs of groups are summed.
        in_blocks[::2, 0], in_blocks[1::2, 0] = large, -large
        in_blocks[:, [1, *(GROUP << k for k in range((rows // GROUP).bit_length() - 1))]] = small
        reg = 80 / rows
    elif kind == "block after block":
        # A large one in the first, a small one in each of the next, the large one's opposite.
        in_blocks[:, 0] = small
        in_blocks[0, 0], in_blocks[-1, 0] = large, -large
        reg = 2 / rows
    else:  # V is 0, and a tiny slope is added to 1 each time that pairs of slopes are summed
        slopes[0, 1], slopes[2 ** np.arange(19), 1] = 1, 2.0**-digits * (1 + 2.0**-10)
        reg = 1.0
    slopes[x != 0, 1] = 1
    X = jnp.asarray(x[:, None], float_dtype())
    return jnp.asarray(slopes, X.dtype), Data(X, jnp.zeros(N, jnp.int32)), reg


@pytest.mark.parametrize("kind", ["opposites", "block after block", "slopes"])
def test_a_bound_holds_where_every_sum_rounds_against_it(kind):
    """It needs the allowance for V's rounding, the compensated sum, and the one for the slopes'."""
    slopes, data, reg = adversary(kind)
    exact = exact_dual_value(slopes, data, reg)
    got = float(bound_of(Objective(reg=reg), slopes, data))
    assert got <= exact
    if kind == "opposites":
        # V is computed as 0, so ‖V‖ in the bound is the allowance: a fifth of it is needed, and in
        # float64, where a block is one group and its sums' order is not known, a seventh.
        linear = float(jnp.sum(slopes)) / len(slopes)
        needed = ((linear - float(exact)) / (linear - got)) ** 0.5
        assert (1 / 7 if double() else 1 / 5) < needed < 1
    else:
        assert got >= 0.9 * exact


@pytest.mark.any_precision
def test_a_bound_holds_where_the_compensation_itself_rounds(monkeypatch):
    """What the sum over blocks loses is itself summed, and here rounds down every time."""
    monkeypatch.setattr(blocks, "CPU", blocks.CPU._replace(certified=GROUP))
    num_blocks, large = 2**17, 2.0**24 + 4
    small, lost = np.zeros(num_blocks, np.float32), np.float32(0)
    for k in range(1, num_blocks - 1):
        # To half a unit in the last place of the sum, or a little less: it is rounded away.
        ulp = float(np.spacing(lost)) if lost > 0 else 0.0
        some = np.floor(0.5 / ulp) * ulp + ulp / 2 * (1 - 2.0**-10) if 0 < ulp < 0.9 else 0.499
        small[k] = some if lost > 0 else 0.5
        lost = np.float32(lost + small[k])
    x, slopes = np.zeros((num_blocks * GROUP, 1), np.float32), np.zeros((num_blocks * GROUP, 2))
    x[::GROUP, 0], x[0], x[-GROUP], slopes[::GROUP, 1] = small, large, -large, 1
    N, total = len(x), sum(map(Fraction, small.tolist()))
    reg = float(np.float32(2 * float(total) ** 2 / N / (4 * 0.9 * num_blocks)))
    exact = Fraction(num_blocks, N) - 2 * total**2 / (4 * Fraction(reg) * N**2)
    data = Data(jnp.asarray(x), jnp.zeros(N, jnp.int32))
    got = jax.jit(dual_value)(Objective(reg=reg), jnp.asarray(slopes, jnp.float32), data)
    assert float(got) <= exact


@pytest.mark.parametrize("name", LOSSES)
def test_lower_bound_takes_the_best_scale(name):
    W, data = problem(4, (40, 9, 10), scale=0.3)
    objective = objective_of(name, reg=0.3)
    dual = np.asarray(slopes_at(objective, W, data))
    scaled = (jnp.asarray(s * dual, dual.dtype) for s in np.linspace(0, 1, 201))
    best = max(float(bound_of(objective, slopes, data)) for slopes in scaled)
    assert float(bound_at(objective, W, data)) >= best - 1e-4 * abs(best)
    assert best > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("radius", [0.05, 0.3])
def test_without_a_penalty_the_bound_holds_in_the_ball(name, radius):
    _, data = problem(6, (12, 2, 2))
    objective = objective_of(name, reg=0.0)
    at_zero = jnp.asarray(np.zeros((2, 2)), float_dtype())
    assert float(bound_at(objective, at_zero, data, radius=np.inf)) == 0
    angles = np.random.default_rng(0).standard_normal((2000, 2, 2))
    inside = radius * angles / np.linalg.norm(angles, axis=(1, 2), keepdims=True)
    values = np.asarray(objectives(objective, jnp.asarray(inside, float_dtype()), data))
    bound = float(bound_at(objective, at_zero, data, radius=radius))
    assert 0 < bound <= values.min()


@pytest.mark.parametrize("name", LOSSES)
def test_row_step_is_the_best_of_its_neighbours(name):
    rng = np.random.default_rng(0)
    N, C = 60, 5
    objective = objective_of(name)
    y = jnp.asarray(rng.integers(0, C, N), jnp.int32)
    draw = lambda s: jnp.asarray(s * rng.standard_normal((N, C)), float_dtype())  # noqa: E731
    margin = all_margins(objective, draw(2.0), y)
    old = feasible(objective, draw(1.0), y)
    q = jnp.asarray(rng.uniform(0.1, 3, N), float_dtype())
    new = row_step(objective, margin, old, q, y)

    def gain(a):
        m, d = np.asarray(margin, float), np.asarray(a, float) - np.asarray(old, float)
        square = (d**2).sum(1) + (0 if name == "one_vs_rest_loss" else d.sum(1) ** 2)
        conjugate = (np.asarray(a, float) ** 2).sum(1) / 4 * (name == "squared_hinge_loss")
        return (m * d).sum(1) - np.asarray(q, float) / 2 * square - conjugate

    tolerance = 1e-12 if double() else 1e-5
    np.testing.assert_allclose(feasible(objective, new, y), new, atol=tolerance)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(20):
            other = feasible(objective, new + draw(size), y)
            assert np.all(gain(other) <= gain(new) + tolerance)
    # One example by itself takes another way through its kinks.
    alone = jax.jit(jax.vmap(lambda *row: row_step(objective, *(x[None] for x in row))[0]))
    np.testing.assert_allclose(alone(margin, old, q, y), new, atol=tolerance)


@jax.jit
def orders(key):
    """Return the order of 4 blocks, and of the 7 rows in each."""
    block_key, row_key = jax.random.split(key)
    return jax.random.permutation(block_key, 4), jax.random.permutation(row_key, 7)


@pytest.mark.parametrize("name", ["hinge_loss", "squared_hinge_loss", "crammer_singer_loss"])
def test_ascent_is_one_example_after_the_other(name):
    """Blocks, their Gram matrices and the order are how; this is what."""
    W, data = problem(4, (23, 6, 5))
    objective, loss = objective_of(name, reg=0.3), getattr(jaxsvm, name)
    X, y, N = np.asarray(data.X, float), np.asarray(data.y), 23
    rng = np.random.default_rng(0)
    slopes = feasible(objective, jnp.asarray(rng.uniform(0, 0.3, (N, 5)), W.dtype), data.y)
    pulled = np.asarray(pull_back(objective, slopes, data.y), float)
    W = jnp.asarray(-(pulled.T @ X) / (2 * 0.3 * N), W.dtype)
    gram = _gram_blocks(jax.random.key(1), data.X, block_size=7)  # the last one is short
    found_W, found, mean = jax.jit(ascend)(jax.random.key(2), objective, W, slopes, data, gram)
    order, inner = map(np.asarray, orders(jax.random.key(2)))
    a, V, seen = np.array(slopes, float), np.array(W, float), []

    @jax.jit
    def moved(scores, old, q, label):
        """The example's slopes after its step, and what the change pulls on its scores."""
        new = row_step(objective, loss.all_margins(scores, label), old, q, label)
        return new, loss.pull_back(new - old, label)

    for k in order:
        for i in np.asarray(gram.rows)[k][inner]:
            if i == N:
                continue
            label = jnp.asarray(y[i : i + 1])
            q = jnp.asarray([X[i] @ X[i] / (2 * 0.3 * N)], W.dtype)
            scores, old = (jnp.asarray(one, W.dtype) for one in ((V @ X[i])[None], a[i : i + 1]))
            new, change = moved(scores, old, q, label)
            a[i] = new[0]
            V -= np.outer(np.asarray(change[0], float), X[i]) / (2 * 0.3 * N)
        seen.append(V.copy())
    tolerance = 1e-10 if double() else 2e-4
    np.testing.assert_allclose(found, a, atol=tolerance)
    np.testing.assert_allclose(found_W, V, atol=tolerance)
    np.testing.assert_allclose(mean, np.mean(seen, axis=0), atol=tolerance)


@pytest.mark.parametrize("name", ["ATM", "squared ATM"])
def test_two_couplings_are_met_at_every_curvature(name):
    """No feasible move of any size betters an example's slopes."""
    rng = np.random.default_rng(1)
    N, C = 40, 4
    objective = Objective(loss=losses.FAMILY[name])
    y = jnp.asarray(rng.integers(0, C, N), jnp.int32)
    scores = jnp.asarray(3 * rng.standard_normal((N, C)), float_dtype())
    margin, zero = all_margins(objective, scores, y), jnp.asarray(np.zeros((N, C)), scores.dtype)
    for curvature in (0.05, 1.0, 40.0):
        q = jnp.asarray(np.full(N, curvature), float_dtype())
        new = row_step(objective, margin, zero, q, y)

        def gain(a, curvature=curvature):
            pulled = np.asarray(pull_back(objective, jnp.asarray(a, float_dtype()), y), float)
            conjugate = a.sum(axis=1) ** 2 / 4 * (name == "squared ATM")
            linear = (np.asarray(margin, float) * a).sum(axis=1)
            return linear - curvature / 2 * (pulled**2).sum(axis=1) - conjugate

        best = gain(np.asarray(new, float))
        for size in (1e-2, 1e-1, 1.0):
            for _ in range(20):
                step = size * rng.standard_normal((N, C)) * np.asarray(new).max()
                other = np.asarray(
                    feasible(objective, jnp.asarray(np.asarray(new) + step, new.dtype), y), float
                )
                assert np.all(gain(other) <= best + (1e-9 if double() else 1e-4) * (1 + best))


@functools.partial(jax.jit, static_argnames="rows")
def covariance_and_inverse(reg, rho, X, weights, *, rows):
    """Return a covariance of so many rows, and its metric's action on a basis."""
    N, D = X.shape
    covariance = covariance_of(jax.random.key(0), X, weights, rows=rows)
    metric = make_metric(reg, covariance, rho, rows=rows, N=N)
    return covariance, metric.solve(jnp.eye(D, dtype=X.dtype))


@pytest.mark.parametrize("size", [(40, 200), (60, 8)])
@pytest.mark.parametrize("all_rows", [False, True])
def test_a_metric_is_the_inverse_it_says(size, all_rows):
    n, D = size
    N = n if all_rows else 2 * n
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.standard_normal((N, D)), float_dtype())
    rho, reg = jnp.asarray(0.7, X.dtype), jnp.asarray(0.2, X.dtype)
    weights = jnp.asarray(rng.uniform(0.1, 2.0, N), X.dtype)
    covariance, inverse = covariance_and_inverse(reg, rho, X, weights, rows=n)
    C = np.asarray(covariance, float)
    C = C if n >= D else C.T @ C
    if all_rows:
        rows, w = np.asarray(X, float), np.asarray(weights, float)
        np.testing.assert_allclose(C, rows.T @ (w[:, None] * rows) / n, atol=1e-5)
    # 1.3 of a sample's covariance and a floor, all rows' as it is.
    matrix = np.linalg.inv(np.asarray(inverse, float))
    floor = 0.4 + (0 if all_rows else 0.7 * 0.7 * np.trace(C) / n)
    expected = 0.7 * (1.01 if all_rows else 1.3) * C + floor * np.eye(D)
    np.testing.assert_allclose(matrix, expected, atol=1e-9 if double() else 3e-3)


@pytest.mark.any_precision
def test_solve_reaches_its_tolerance_on_digits_and_starts_warm():
    data = jaxsvm.load_dataset("digits").train
    objective = Objective(reg=1.0)
    first = jaxsvm.solve(objective, data, gap_tolerance=1e-2)
    assert first.gap <= 1e-2 * first.primal
    np.testing.assert_allclose(first.primal, jax.jit(objective)(first.W, data), rtol=1e-5)
    # In float64 less is subtracted for the rounding than in the data's float32.
    in_float32 = float(gap_of(objective, first.W, first.dual_variables, data))
    assert in_float32 - 1e-3 * first.primal <= first.gap <= in_float32 + 1e-6
    again = jaxsvm.solve(objective, data, gap_tolerance=1e-2, start=first)
    assert again.passes < first.passes
    from_W = jaxsvm.solve(objective, data, gap_tolerance=1e-2, start=first.W)
    assert from_W.gap <= 1e-2 * from_W.primal
    assert from_W.passes < first.passes
    assert "gap" in str(first)
    assert list(first.history.passes) == sorted(set(first.history.passes))
    assert list(first.history.primal) == sorted(first.history.primal, reverse=True)


@pytest.mark.any_precision
def test_crammer_singer_is_liblinears():
    from sklearn.svm import LinearSVC

    data = jaxsvm.load_dataset("digits").train
    reg = 1.0
    solution = jaxsvm.solve(
        Objective(loss=jaxsvm.crammer_singer_loss, reg=reg), data, gap_tolerance=5e-3
    )
    N = len(data.y)
    peer = LinearSVC(
        multi_class="crammer_singer", C=1 / (2 * reg * N), fit_intercept=False, tol=1e-6,
        max_iter=20000, random_state=0,
    )  # fmt: skip
    peer.fit(np.asarray(data.X, np.float64), np.asarray(data.y))
    value = reference.objective(
        peer.coef_[:, :], np.asarray(data.X)[:], data.y, loss="crammer_singer_loss", reg=reg
    )
    assert solution.dual <= value
    np.testing.assert_allclose(solution.primal, value, rtol=1e-2)


@pytest.mark.any_precision
def test_running_out_of_passes_is_a_warning_with_the_numbers():
    _, data = problem(0, (40, 9, 10))
    with pytest.warns(UserWarning, match=r"its 1 passes ran out; raise max_passes.*Conditioning"):
        solution = jaxsvm.solve(Objective(reg=1e-3), data, gap_tolerance=1e-9, max_passes=1)
    assert solution.passes == 1
    assert np.isfinite(solution.gap)


def test_a_path_warms_each_reg_from_the_one_above():
    _, data = problem(3, (40, 9, 10))
    path = list(
        jaxsvm.regularization_path(Objective(), data, data, regs=[0.1, 1.0], gap_tolerance=0.05)
    )
    assert [point.reg for point in path] == [1.0, 0.1]
    for point in path:
        assert point.accuracy == float(jaxsvm.accuracy(point.solution.W, data))
        assert point.solution.gap <= 0.05 * point.solution.primal


def test_bytes_and_their_plain_matrix_solve_alike():
    _, data = byte_problem(0)
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    got = jaxsvm.solve(Objective(reg=0.5), data, gap_tolerance=1e-3, num_classes=10)
    expected = jaxsvm.solve(Objective(reg=0.5), plain, gap_tolerance=1e-3, num_classes=10)
    np.testing.assert_allclose(got.primal, expected.primal, rtol=2e-3)


def test_one_class_one_example_and_blank_rows():
    y = jnp.asarray(np.array([0, 1, 1], np.int32))
    data = Data(jnp.asarray(np.zeros((3, 2)), float_dtype()), y)
    solution = jaxsvm.solve(Objective(reg=1.0), data, gap_tolerance=1e-2)
    np.testing.assert_allclose(solution.primal, 1.0, rtol=1e-6)
    one = Data(jnp.asarray(np.ones((1, 2)), float_dtype()), jnp.asarray(np.zeros(1, np.int32)))
    solution = jaxsvm.solve(Objective(reg=1.0), one, num_classes=3)
    optimum = quadratic_program("hinge_loss", one, 3, 1.0)
    np.testing.assert_allclose(solution.primal, optimum, rtol=2e-3)


def test_bad_arguments_are_named():
    W, data = problem(0)
    with pytest.raises(ValueError, match="l1_penalty"):
        lower_bound(Objective(penalty=jaxsvm.l1_penalty, reg=1.0), W, data)
    with pytest.raises(ValueError, match=r"reg = 0\.0: expected a number"):
        jaxsvm.solve(Objective(reg=0.0), data)
    with pytest.raises(ValueError, match="gap_tolerance = 0"):
        jaxsvm.solve(Objective(reg=1.0), data, gap_tolerance=0.0)
    with pytest.raises(ValueError, match="start has W of shape"):
        jaxsvm.solve(Objective(reg=1.0), data, start=W[:, 1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = Data(jnp.asarray(np.asarray(data.X)[:1]), jnp.asarray(np.zeros(1, np.int32)))
        nothing = jnp.asarray(np.full((1, 1), np.nan), W.dtype)
        assert np.isfinite(bound_of(Objective(reg=1.0), nothing, one))


@pytest.mark.any_precision
@pytest.mark.parametrize("name", ["Weston-Watkins", "squared ADM", "reinforced"])
def test_the_certificate_is_above_and_below_exact_sums(name):
    """NumPy's loops in float64 round far less than what is added and subtracted."""
    W, data = problem(5, (7, 3, 4))
    W, data = W.astype(jnp.float32), Data(data.X.astype(jnp.float32), data.y)
    machine, reg = reference.FAMILY[name], 0.125
    objective = Objective(loss=losses.FAMILY[name], reg=reg)
    slopes = feasible(objective, jnp.asarray(np.full((7, 4), 0.02, np.float32)), data.y)
    primal, dual = certify(objective, W, slopes, data)
    exact = reference.family_objective(machine, W, data.X, data.y, reg=reg)
    below = reference.family_dual_value(machine, np.asarray(slopes), data.X, data.y, reg=reg)
    assert exact < primal < exact * (1 + 1e-12)
    assert below * (1 - 1e-11) < dual < below


@pytest.mark.any_precision
@pytest.mark.parametrize("name", ["hinge_loss", "squared_hinge_loss", "crammer_singer_loss"])
def test_the_allowance_covers_what_float32_rounds(name):
    """The same sum in float32, where its rounding is seen: never below the exact objective."""
    used = []
    for seed in range(20):
        W, data = problem(seed, (40, 9, 10), scale=10.0 ** (seed % 3))
        W, data = W.astype(jnp.float32), Data(data.X.astype(jnp.float32), data.y)
        objective = objective_of(name, reg=0.1)
        above = float(jax.jit(objective_above)(objective, W, data))
        exact = reference.objective(W, data.X, data.y, loss=name, reg=0.1)
        assert exact <= above
        used.append(above / exact - 1)
    assert max(used) < 1e-3


@pytest.mark.any_precision
def test_wide_data_are_solved_on_their_own_axes():
    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.standard_normal((12, 400)), jnp.float32)
    data = Data(X, jnp.asarray(rng.integers(0, 3, 12), jnp.int32))
    objective = Objective(reg=1e-2)
    solution = jaxsvm.solve(objective, data, num_classes=3, gap_tolerance=1e-3)
    assert solution.W.shape == (3, 400)
    assert solution.gap <= 1e-3 * solution.primal
    optimum = quadratic_program("hinge_loss", data, 3, 1e-2)
    np.testing.assert_allclose(solution.primal, optimum, rtol=2e-3)
    again = jaxsvm.solve(objective, data, start=solution, gap_tolerance=1e-3)
    assert again.passes <= solution.passes


@pytest.mark.any_precision
def test_float64_finishes_what_float32_cannot():
    data = jaxsvm.load_dataset("digits").train
    data = Data(jnp.asarray(np.asarray(data.X, np.float32)), data.y)
    solution = jaxsvm.solve(Objective(reg=1e-2), data, gap_tolerance=1e-6)
    assert solution.W.dtype == jnp.float32
    assert 0 <= solution.gap <= 1e-6 * solution.primal
    exact = reference.objective(solution.W, data.X, data.y, loss="hinge_loss", reg=1e-2)
    assert exact <= solution.primal <= exact * (1 + 1e-9)


def test_a_metric_that_is_too_small_is_found_out(monkeypatch):
    """An eighth of the covariance would have the steps diverge."""
    _, data = problem(3, (40, 9, 10))

    def too_small(*args, **options):
        return _make_metric(*(args[0], args[1] / 8, args[2]), **options)

    monkeypatch.setattr(iterate, "_make_metric", too_small)
    solution = jaxsvm.solve(Objective(reg=1e-3), data, gap_tolerance=1e-2)
    assert solution.gap <= 1e-2 * solution.primal


@pytest.mark.any_precision
def test_the_metric_has_the_covariance_of_the_rows_it_says(monkeypatch):
    """First of a sample, then of all rows, then of all rows with other weights."""
    _, data = problem(5, (40, 9, 10))
    taken, made = [], []

    def taking(key, X, weights, *, rows):
        taken.append((rows, np.asarray(weights)))
        return _covariance_of(key, X, weights, rows=rows)

    def making(reg, covariance, rho, *, rows, N):
        made.append((rows, len(taken)))
        return _make_metric(reg, covariance, rho, rows=rows, N=N)

    monkeypatch.setattr(iterate, "_covariance_of", taking)
    monkeypatch.setattr(iterate, "_make_metric", making)
    monkeypatch.setattr(iterate, "_price", lambda data, C, *, rows: 25.0 if rows == 40 else 1.0)
    monkeypatch.setattr(iterate, "SAMPLE_ROWS", 20)
    monkeypatch.setattr(iterate, "WEAK", 0.0)
    with pytest.warns(UserWarning, match="ran out"):
        jaxsvm.solve(Objective(reg=1e-4), data, gap_tolerance=1e-12, max_passes=180)
    assert [rows for rows, _ in taken] == [20, 40, 40]  # at 0, 30 and 80 steps
    assert all(rows == taken[k - 1][0] for rows, k in made)
    assert {k for _, k in made} == {1, 2, 3}
    np.testing.assert_array_equal(taken[0][1], 1)
    assert all(np.any(a[1] != b[1]) for a, b in itertools.pairwise(taken))


@pytest.mark.any_precision
@pytest.mark.parametrize("name", ["hinge_loss", "crammer_singer_loss"])
def test_free_examples_get_more_of_rho(name):
    """Free is between the bounds: for a maximum over classes a whole slope of 1 is at its bound."""
    W, data = problem(6, (4, 9, 3))
    objective = objective_of(name)
    slopes = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.99999, 0.0], [0.0, 0.3, 0.2]]
    data = data._replace(y=jnp.asarray(np.zeros(4, np.int32)))
    state = initial_state(objective, W, jnp.asarray(slopes, W.dtype), data)
    np.testing.assert_array_equal(_reweighted(objective, state, data.y), [0.5, 0.5, 0.5, 2.0])
    for _ in range(8):
        state = state._replace(weights=_reweighted(objective, state, data.y))
    np.testing.assert_array_equal(state.weights, [WEIGHTS[0]] * 3 + [WEIGHTS[1]])


@pytest.mark.parametrize("name", LOSSES)
def test_the_best_point_of_a_ray(name):
    W, data = problem(7, (40, 9, 10), scale=0.1)
    objective = objective_of(name)
    state = initial_state(objective, W, None, data)
    found = along_ray(objective, state, data.y)
    ratio = np.asarray(found.best_W) / np.asarray(W)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    value = reference.objective(found.best_W, data.X, data.y, loss=name, reg=0.1)
    np.testing.assert_allclose(found.primal, value, rtol=1e-5)
    for scale in np.concatenate(
        [np.linspace(0, 3, 31), ratio[0, 0] * (1 + np.array([-1e-3, 1e-3]))]
    ):
        other = reference.objective(scale * np.asarray(W), data.X, data.y, loss=name, reg=0.1)
        assert float(found.primal) <= other * (1 + 1e-5)
    # A point that is better already stays, and so does a W of zeros, whose ray is flat.
    better = state._replace(primal=jnp.asarray(0.0, W.dtype))
    np.testing.assert_array_equal(along_ray(objective, better, data.y).best_W, W)
    origin = initial_state(objective, 0 * W, None, data)
    stays = along_ray(objective, origin, data.y)
    np.testing.assert_array_equal(stays.best_W, 0 * W)
    np.testing.assert_array_equal(stays.primal, origin.primal)


@pytest.mark.parametrize("name", ["hinge_loss", "squared_hinge_loss"])
def test_the_dual_rises_to_the_top_between_two_slopes(name):
    W, data = problem(7, (40, 9, 10), scale=0.1)
    objective = objective_of(name)
    state = initial_state(objective, W, None, data)
    metric = Metric(None, jnp.asarray(np.eye(W.shape[1]), W.dtype), jnp.asarray(1.0, W.dtype))
    X, y, tops = np.asarray(data.X, float), np.asarray(data.y), 0
    rounding = 1e-6 * abs(float(state.dual))

    def dual(slopes):
        return reference.dual_value(name, np.asarray(slopes, float), X, y, reg=0.1)

    for _ in range(2):
        start = state.best_slopes
        state, _, _ = take_steps(objective, state, metric, data, num_steps=1)
        way, found = np.asarray(state.slopes - start, float), dual(state.best_slopes)
        values = [dual(start + t * way) for t in np.linspace(0, 1, 21)]
        np.testing.assert_allclose(state.dual, found, atol=rounding)
        assert found >= max(values) - 1e-5 * (1 + abs(max(values)))
        tops += int(0 < np.argmax(values) < 20)
    assert tops > 0


@pytest.mark.parametrize("name", ["hinge_loss", "crammer_singer_loss"])
def test_row_step_takes_any_number_of_classes(name):
    """Above FEW the sums are taken by a loop: the same slopes."""
    rng = np.random.default_rng(0)
    margin = rng.standard_normal((6, 8))
    wide = np.concatenate([margin, np.full((6, FEW), -9.0)], axis=1)
    y, dtype, objective = jnp.asarray(np.zeros(6, np.int32)), float_dtype(), objective_of(name)
    few, many = (
        np.asarray(row_step(objective, *(jnp.asarray(x, dtype) for x in (m, 0 * m, np.ones(6))), y))
        for m in (margin, wide)
    )
    tolerance = 1e-12 if double() else 1e-6
    np.testing.assert_allclose(many[:, :8], few, atol=tolerance)
    np.testing.assert_allclose(many[:, 8:], 0, atol=tolerance)


@pytest.mark.parametrize("name", ["hinge_loss", "squared_hinge_loss"])
def test_where_ascent_starts_is_the_dual_of_a_weight(name):
    """V/(2·reg) of slopes on the best point of their ray, or of slopes that were given."""
    W, data = problem(6, (40, 9, 10), scale=0.1)
    objective = objective_of(name, reg=0.5)
    slopes, start = _jitted_first(objective, W, data)
    tolerance = 1e-12 if double() else 1e-5

    def dual_weights(slopes):
        pulled = np.asarray(pull_back(objective, slopes, data.y), float)
        return -pulled.T @ np.asarray(data.X, float) / (2 * 0.5 * 40)

    np.testing.assert_allclose(start, dual_weights(slopes), atol=tolerance)
    best = float(bound_of(objective, slopes, data))
    for scale in (0.9, 1.1):
        assert float(bound_of(objective, scale * slopes, data)) <= best + tolerance
    given, resumed = _jitted_resume(objective, 2 * slopes, data)
    np.testing.assert_array_equal(given, feasible(objective, 2 * slopes, data.y))
    np.testing.assert_allclose(resumed, dual_weights(given), atol=tolerance)


@pytest.mark.any_precision
def test_a_metric_of_nan_gives_way_to_float64(monkeypatch):
    """What a Cholesky factor in float32 is of a covariance that it finds indefinite."""
    _, data = problem(3, (40, 9, 10))
    data = Data(data.X.astype(jnp.float32), data.y)

    def broken(reg, covariance, rho, **options):
        poison = jnp.nan if covariance.dtype == jnp.float32 else 0.0
        return _make_metric(reg, covariance, rho + poison, **options)

    monkeypatch.setattr(iterate, "_make_metric", broken)
    solution = jaxsvm.solve(Objective(reg=1e-3), data, gap_tolerance=1e-2, max_passes=2000)
    assert solution.gap <= 1e-2 * solution.primal
    assert solution.W.dtype == jnp.float32
    assert solution.passes < 300  # seen at the first look, and not after patience
