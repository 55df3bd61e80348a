"""Products of bytes by int8 digits: within the promised bound, and to the same decisions."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.core import blocks, digits, features
from jaxsvm.gradients.evidence import _digits_suffice
from tests.problems import byte_problem

pytestmark = pytest.mark.any_precision  # only float32 is multiplied so

HINGE = Objective(reg=0.1)
UNIT = float(np.finfo(np.float32).eps) / 2


@pytest.fixture
def by_digits(monkeypatch):
    """Have a processor multiply int8, or not, by blocks of few rows."""

    def choose(choice):
        sizes = blocks.CPU._replace(digits=choice, product=32, part=48, few=4)
        monkeypatch.setattr(blocks, "CPU", sizes)
        jax.clear_caches()  # of what is compiled for the other choice

    return choose


product = jax.jit(digits.digit_product, static_argnames="axis")


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.uint8, np.int8]),
    st.sampled_from([(1, 1), (7, 3), (64, 5), (3080, 2)]),
    st.floats(-30, 30),
    st.sampled_from([0, 1]),
)
def test_products_are_within_the_promised_bound(seed, dtype, shape, size, axis):
    (P, C), rng, info = shape, np.random.default_rng(seed), np.iinfo(dtype)
    rows = rng.integers(info.min, info.max, (16, P), dtype, endpoint=True)
    W = np.float32(10.0**size * rng.standard_normal((C, P)) * 10 ** rng.uniform(-6, 0, (C, P)))
    got = np.asarray(product(W, rows if axis else np.ascontiguousarray(rows.T), axis=axis))
    exact = W.astype(float) @ rows.T.astype(float)
    size, largest = np.abs(W).astype(float), np.abs(W).max(axis=1, keepdims=True).astype(float)
    x = np.abs(rows.T.astype(float))
    bound = UNIT * (8 * size @ x + largest * x.sum(axis=0) / 64)
    assert np.all(np.abs(got - exact) <= bound)


def test_digits_are_those_of_the_weight():
    W = jnp.array([[1.0, -0.3, 0.0, 1e-4], [0.0, 0.0, 0.0, 0.0]])
    found = digits.in_digits(W)
    assert found.digits.shape == (2, 4, 4)
    np.testing.assert_array_equal(found.digits[0, :, 0], [32, 0, 0, 0])
    assert float(found.unit[0]) == 1 / 32
    places = 256.0 ** -np.arange(4.0)
    back = np.einsum("ckp,k->cp", np.asarray(found.digits, float), places)
    np.testing.assert_allclose(back * np.asarray(found.unit)[:, None], W, rtol=0, atol=2.0**-30)
    np.testing.assert_array_equal(found.total, np.asarray(found.digits, int).sum(axis=-1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_scores_of_weights_that_are_not_finite_are_nan(bad):
    W = jnp.array([[1.0, bad], [1.0, 2.0]])
    scores = product(W, jnp.array([[3, 0]], jnp.uint8), axis=1)
    np.testing.assert_array_equal(np.isnan(scores), [[True], [False]])


def test_the_longest_row_does_not_overflow():
    P = digits.MOST
    W = np.full((1, P), 0.5, np.float32)
    W[0, 0] = 63  # the unit is 1, and 0.5 has a digit of −128
    rows = np.full((P, 1), 255, np.uint8)
    for axis in (0, 1):
        pulled = product(W, rows if axis == 0 else rows.T, axis=axis)
        np.testing.assert_allclose(pulled, [[255.0 * W.astype(float).sum()]], rtol=1e-6)
    assert 255 * digits.HALF * (P + 1) > 2**31 - 1


def test_the_largest_weights_have_digits():
    W = jnp.array([[2e38, 0.0], [-3e38, 1.0]])
    rows = np.array([[1, 0]], np.uint8)
    np.testing.assert_allclose(product(W, rows, axis=1), W[:, :1], rtol=1e-6)


def test_no_problem_side_by_side_has_no_products(by_digits):
    by_digits(True)
    W, data = byte_problem(0, (20, 4, 3))
    several = jnp.zeros((0, *W.shape))
    both = jax.jit(jax.vmap(jax.value_and_grad(HINGE), (0, None)))(several, data)
    assert [found.shape for found in both] == [(0,), (0, *W.shape)]


def test_the_backward_pass_keeps_bytes():
    A, rows = jnp.ones((2, 5)), jnp.ones((7, 5), jnp.uint8)
    kept = jax.eval_shape(
        lambda A: jax.vjp(lambda A: digits.digit_product(A, rows, axis=1), A)[1], A
    )
    assert all(
        leaf.shape != rows.shape or leaf.dtype == jnp.uint8 for leaf in jax.tree.leaves(kept)
    )


def test_rows_of_devices_have_the_gradient_of_all(by_digits):
    W, data = byte_problem(0, (20, 10, 3))
    by_digits(True)
    mesh, rows = jax.sharding.Mesh(jax.devices()[:1], ("i",)), jax.sharding.PartitionSpec("i")
    everywhere = jax.sharding.PartitionSpec()

    def of_all(values, y, W):
        mine = Data(replace(data.X, values=values), y)
        return jax.lax.pmean(HINGE(W, mine), "i")

    # JAX keeps count of what differs from device to device, and refuses what loses count.
    of_devices = jax.shard_map(
        of_all, mesh=mesh, in_specs=(rows, rows, everywhere), out_specs=everywhere
    )
    gradient = jax.jit(jax.grad(of_devices, argnums=2))(data.X.values, data.y, W)
    np.testing.assert_allclose(gradient, jax.jit(jax.grad(HINGE))(W, data), rtol=1e-6)
    with pytest.raises(Exception, match="out_specs"):
        jax.eval_shape(
            jax.shard_map(
                lambda values, W: digits.digit_product(W, values, axis=1)[:, 0],
                mesh=mesh, in_specs=(rows, everywhere), out_specs=everywhere,
            ), data.X.values, jnp.ones((3, data.X.values.shape[1])),
        )  # fmt: skip


def test_only_bytes_and_float32_are_multiplied_as_digits(by_digits):
    by_digits(True)

    def has_any(dtype, stored, N=5):
        X = jaxsvm.StandardizedFeatures(
            jnp.ones((N, 8), stored), jnp.zeros(8, dtype), jnp.ones(8, dtype)
        )
        program = jax.make_jaxpr(lambda W: features.scores_by_row(X, W))(jnp.ones((3, 8), dtype))
        return "product_by_digits" in str(program)

    assert has_any(jnp.float32, jnp.uint8)
    assert not has_any(jnp.float32, jnp.uint8, N=4)  # a few rows: digits take longer
    assert has_any(jnp.float32, jnp.int8)
    assert not has_any(jnp.float32, jnp.float32)
    with jax.enable_x64(True):
        assert not has_any(jnp.float64, jnp.uint8)

    def is_prepared(columns, stored):
        stored = jax.ShapeDtypeStruct((5, columns), stored)
        return isinstance(digits.prepared(jnp.ones((2, 3), jnp.float32), stored), digits.Digits)

    most = digits.MOST
    assert is_prepared(most, jnp.uint8)
    assert not is_prepared(most + 1, jnp.uint8)
    assert not is_prepared(most, jnp.float32)


@pytest.mark.parametrize("N", [1, 31, 32, 33, 120])
def test_scores_by_row_are_the_scores(by_digits, N):
    W, data = byte_problem(0, (N, 10, 3))
    expected = np.asarray(features.dense(data.X), float) @ np.asarray(W.T, float)
    for choice in (False, True):
        by_digits(choice)

        @jax.jit
        def found(W, X):
            return features.scores_by_row(X, W), features.scorer(X, W)(X[: N // 2 + 1])

        got, rows = found(W, data.X)
        np.testing.assert_allclose(got.T, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(rows, expected[: N // 2 + 1], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="W has shape"):
        features.scores_by_row(data.X, W.T)


@pytest.mark.parametrize("loss", ["hinge_loss", "softmax_loss", "one_vs_rest_loss"])
def test_an_objective_and_its_derivatives_are_those_of_floats(by_digits, loss):
    objective = Objective(getattr(jaxsvm, loss), reg=0.1)
    W, data = byte_problem(0, (200, 10, 3))
    several = jnp.stack([W, -W, 2 * W])

    def found(choice):
        by_digits(choice)

        @jax.jit
        def all_of(W, several, data):
            values = jax.vmap(objective, (0, None))(several, data)
            gradients = jax.vmap(jax.grad(objective), (0, None))(several, data)
            along = lambda W: jnp.vdot(jax.grad(objective)(W, data), several[1])  # noqa: E731
            second = jax.hessian(objective)(W, data), jax.grad(along)(W)
            return values, gradients, jaxsvm.score(W, data.X), second

        return all_of(W, several, data)

    floats, ints = found(False), found(True)
    chex.assert_trees_all_close(ints, floats, rtol=2e-6, atol=2e-7)
    assert "product_by_digits[axis=1" in str(jax.make_jaxpr(objective)(W, data))
    for axis in (0, 1):
        assert f"product_by_digits[axis={axis}" in str(jax.make_jaxpr(jax.grad(objective))(W, data))


def test_a_gradient_check_takes_no_digit_for_a_kink(by_digits):
    W, data = byte_problem(0, (20, 4, 3))
    by_digits(True)

    def loss_fn(W):
        return Objective(jaxsvm.softmax_loss, reg=0.1)(W, data)

    assert "product_by_digits" in str(jax.make_jaxpr(loss_fn)(W))
    check = jaxsvm.check_gradient(loss_fn, W)
    assert check.num_smooth == W.size
    assert not check.unknown


# Of a column that is zero but for a few rows the weights are the largest.
@pytest.mark.parametrize("loss", ["hinge_loss", "squared_hinge_loss", "crammer_singer_loss"])
def test_a_gradient_check_allows_for_what_the_last_digit_loses(by_digits, loss):
    by_digits(True)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (2000, 50), np.uint8)
    values[3:, 0] = 0
    weights = rng.standard_normal((3, 50)) * 1e-3
    X = jaxsvm.StandardizedFeatures(jnp.asarray(values), jnp.zeros(50), jnp.ones(50))
    data = Data(X, jnp.asarray(rng.integers(0, 3, 2000), jnp.int32))
    objective = Objective(getattr(jaxsvm, loss), reg=0.0)
    for ratio in (3e5, 1e7):
        W = jnp.asarray(weights * np.where(np.arange(50) == 0, ratio, 1), jnp.float32)
        right = jaxsvm.check_gradient(objective, W, data)
        assert right.num_wrong == 0
        wrong = np.array(right.gradient)
        wrong[1, 0] *= 1.01
        assert jaxsvm.check_gradient(objective, W, data, gradient=wrong).num_wrong > 0


@pytest.mark.parametrize(("largest", "is_exact"), [(2.0**20, True), (2.0**31, False)])
def test_a_tie_is_beyond_doubt_where_the_digits_reach(by_digits, largest, is_exact):
    W = jnp.array([[1.0, 2.0, largest]])
    X = jaxsvm.StandardizedFeatures(jnp.array([[3, 1, 0]], jnp.uint8), jnp.zeros(3), jnp.ones(3))
    for choice in (True, False):
        by_digits(choice)
        assert _digits_suffice(X, W) == (is_exact or not choice)


def test_a_gradient_check_allows_for_what_a_large_slope_hides(by_digits):
    by_digits(True)
    rng = np.random.default_rng(0)
    values = np.zeros((32, 3000), np.uint8)
    values[0, :-20] = 255
    values[1:, -20:] = rng.integers(0, 256, (31, 20))
    W = np.zeros((3, 3000), np.float32)
    W[:, :-20] = [[1], [2], [3]]
    W[:, -20:] = 1e-4 * rng.standard_normal((3, 20))
    X = jaxsvm.StandardizedFeatures(jnp.asarray(values), jnp.zeros(3000), jnp.ones(3000))
    data = Data(X, jnp.asarray(rng.integers(0, 3, 32), jnp.int32))
    objective = Objective(jaxsvm.squared_hinge_loss, reg=0.0)
    assert jaxsvm.check_gradient(objective, jnp.asarray(W), data).num_wrong == 0


# Of the weights and of the rows, from the inside out.
AXES = {
    "weights": [(0, None)],
    "rows": [(None, 0)],
    "both": [(1, 2)],
    "weights of rows": [(None, 1), (0, None)],
    "rows of weights": [(2, None), (None, 1)],
    "all": [(0, 1), (2, None), (1, 0)],
}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_products_side_by_side_are_those_one_by_one(axes):
    rng = np.random.default_rng(0)
    A, rows = rng.normal(size=(2, 5)).astype(np.float32), rng.integers(0, 256, (5, 5), np.uint8)

    def plain(A, rows):
        return A @ rows.astype(jnp.float32).T, A @ rows.astype(jnp.float32)

    def ours(A, rows):
        return (
            digits.digit_product(digits.in_digits(A), rows, axis=1),
            digits.digit_product(A, rows, axis=0),
        )

    for n, (of_A, of_rows) in enumerate(axes):
        plain, ours = (jax.vmap(f, (of_A, of_rows)) for f in (plain, ours))
        if of_A is not None:
            A = np.stack([np.float32(1 + k) * A for k in range(2 + n)], of_A)
        if of_rows is not None:
            rows = np.stack([rows // (1 + k) for k in range(2 + n)], of_rows)

    @jax.jit
    def found(A, rows):
        def everything(f):
            total = lambda A: sum(jnp.sum(jnp.sin(x / 100)) for x in f(A, rows))  # noqa: E731
            return f(A, rows), jax.jvp(lambda A: f(A, rows), (A,), (A,)), jax.grad(total)(A)

        return everything(ours), everything(plain)

    got, expected = found(A, rows)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("is_sharded", [False, True])
def test_scores_have_the_derivatives_of_floats(by_digits, is_sharded):
    W, data = byte_problem(0, (200, 10, 3))
    if is_sharded:
        data = jaxsvm.shard(data, jax.make_mesh((1,), ("rows",)))
    by_digits(True)

    def derivatives(scores):
        def total(W, X):
            return jnp.sum(jnp.sin(scores(W, X)))

        @jax.jit
        def found(W, X):
            def scaled(scale):
                return total(W, replace(X, scale=scale))

            first = jax.grad(total)(W, X), jax.grad(scaled)(X.scale)
            forward = lambda W: jax.jvp(lambda W: total(W, X), (W,), (W,))[1]  # noqa: E731
            return first, jax.jvp(forward, (W,), (jnp.ones_like(W),))

        return found(W, data.X)

    got = derivatives(lambda W, X: features.scores_by_row(X, W))
    expected = derivatives(lambda W, X: features.dot(X, W).T)
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-3)


def test_runs_have_the_derivatives_of_floats(by_digits):
    W, data = byte_problem(0, (200, 10, 3))

    def best(make, start, num_steps):
        state, _ = jaxsvm.run(make, jax.random.key(0), start, data, num_steps=num_steps)
        return HINGE(state.params, data)

    def found(choice):
        by_digits(choice)
        line_search = jaxsvm.line_search_descent(HINGE)
        return jax.jit(
            lambda W, scale: (
                jax.jvp(lambda W: best(line_search, W, 1), (W,), (W,)),
                jax.grad(
                    lambda scale: jaxsvm.run(
                        jaxsvm.random_search(HINGE, scale=scale), jax.random.key(0), W, data,
                        num_steps=20,
                    )[0].best_loss
                )(scale),
            )
        )(W, 0.1)  # fmt: skip

    chex.assert_trees_all_close(found(True), found(False), rtol=1e-4)


def test_a_line_search_and_a_proof_are_those_of_floats(by_digits):
    W, data = byte_problem(0, (200, 10, 3))

    def found(choice):
        by_digits(choice)
        search = jaxsvm.line_search_descent(HINGE)
        # A few steps: at kinks, where they end, the next ones part by what they round.
        _, info = jaxsvm.run(search, jax.random.key(0), W, data, num_steps=2)
        weak = Objective(reg=1e-4)  # for which ascent gives way to steps in a metric
        return info.loss, jaxsvm.solve(weak, data, gap_tolerance=1e-3, max_passes=300)

    (floats, solved), (ints, proved) = found(False), found(True)
    np.testing.assert_allclose(ints, floats, rtol=1e-5)
    assert proved.gap <= 1e-3 * proved.primal
    assert proved.dual <= solved.primal
    assert solved.dual <= proved.primal


SEARCHES = {
    "random_search": lambda: jaxsvm.random_search(HINGE, scale=0.1, block_size=8),
    "local_search": lambda: jaxsvm.local_search(HINGE, step_size=1e-2, block_size=8),
    "local_searches": lambda: jaxsvm.local_searches(HINGE, step_size=1e-2, block_size=8),
    "pruned_local_search": lambda: jaxsvm.pruned_local_search(HINGE, step_size=1e-2, block_size=8),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_decides_as_it_does_by_floats(by_digits, name):
    W, data = byte_problem(0, (120, 10, 3))
    if name == "local_searches":
        W = jnp.stack([W, 2 * W, -W])

    def search(choice: bool, data: Data):
        by_digits(choice)
        optimizer = SEARCHES[name]()
        return jax.jit(
            lambda key, W, data: jaxsvm.run(optimizer, key, W, data, num_steps=40)
        )(jax.random.key(1), W, data)  # fmt: skip

    (floats, seen), (ints, info) = search(False, data), search(True, data)
    assert info.accepted.any()
    np.testing.assert_array_equal(info.accepted, seen.accepted)
    chex.assert_trees_all_close(ints.params, floats.params, rtol=1e-6)
    chex.assert_trees_all_close(info.best_loss, seen.best_loss, rtol=1e-5)
