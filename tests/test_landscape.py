"""Slices against the objective at every node, directions, kink lines and projected paths."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxsvm
from jaxsvm import Data, Objective, accuracy, project_path, random_direction, slice_1d, slice_2d
from jaxsvm.lines import direction_between, principal_directions, spanned
from tests import reference
from tests.problems import byte_problem, float_dtype, problem, seeds

jit_1d = jax.jit(slice_1d, static_argnames="num")
jit_box_1d = jax.jit(slice_1d, static_argnums=0, static_argnames="num")
jit_2d = jax.jit(slice_2d, static_argnames="num")
# One grid where it may be any: a program is compiled for each number of nodes.
GRID: dict[str, Any] = {"start": -1.0, "stop": 2.0, "num": 7}


@jax.jit
def at_points(objective, points, data):
    """The objective and the accuracy at each of several W."""
    return lax.map(lambda W: (objective(W, data), accuracy(W, data)), points)


def at(objective, W, data):
    """The objective and the accuracy at W."""
    loss, share = at_points(objective, jnp.asarray(np.asarray(W)[None]), data)
    return np.asarray(loss)[0], np.asarray(share)[0]


def moved(W, *steps):
    """W + Σ t·direction, in NumPy."""
    here = np.asarray(W)
    for t, direction in steps:
        here = here + np.asarray(t, here.dtype) * np.asarray(direction)
    return here


def spoiled(a, *index):
    """A copy with NaN in a place."""
    other = np.array(a)
    other[index] = np.nan
    return jnp.asarray(other)


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 2e-5


def plane(seed, *, integers=False, shape=(12, 6, 5)):
    W, data = problem(seed, shape, integers=integers)
    a, b = (problem(seed + i, shape, integers=integers)[0] for i in (1, 2))
    return W, a, b, data


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("loss", "penalty"),
    [(loss, "l2_penalty") for loss in sorted(reference.LOSSES)] + [("hinge_loss", "l1_penalty")],
)
def test_a_plane_is_the_objective_at_every_node(loss, penalty):
    W, a, b, data = plane(0)
    objective = Objective(getattr(jaxsvm, loss), getattr(jaxsvm, penalty), reg=0.1)
    got = jax.tree.map(np.asarray, jit_2d(objective, W, a, b, data, **GRID))
    points = np.stack([moved(W, (s, a), (t, b)) for s in got.t for t in got.t])
    direct = at_points(objective, jnp.asarray(points), data)
    np.testing.assert_allclose(got.loss.ravel(), direct[0], rtol=tolerance())
    np.testing.assert_allclose(got.accuracy.ravel(), direct[1], rtol=1e-6)
    np.testing.assert_allclose(got.data_loss + got.penalty, got.loss, rtol=tolerance())
    expected = reference.penalty(penalty, points[2 * 7 + 5])
    np.testing.assert_allclose(got.penalty[2, 5], 0.1 * expected, rtol=10 * tolerance())


def test_a_line_is_a_row_of_a_plane():
    W, a, b, data = plane(0)
    objective = Objective(reg=0.1)
    got = jax.tree.map(np.asarray, jit_2d(objective, W, a, b, data, **GRID))
    row = jit_1d(objective, jnp.asarray(moved(W, (got.t[3], a))), b, data, **GRID)
    np.testing.assert_allclose(row.loss, got.loss[3], rtol=tolerance())
    np.testing.assert_array_equal(row.accuracy, got.accuracy[3])


@pytest.mark.compiled
@hypothesis.given(seed=seeds, C=st.sampled_from([1, 2, 5]))
@hypothesis.settings(max_examples=30)
def test_accuracy_counts_ties_as_predict_does(seed, C):
    # Small integers, a step of ½: scores are exact and classes tie at many nodes.
    W, direction, _, data = plane(seed, integers=True, shape=(12, 3, C))
    X, y = np.asarray(data.X, float), np.asarray(data.y)
    for start, stop in ((-2.0, 2.0), (2.0, -2.0)):
        got = jit_1d(Objective(), W, direction, data, start=start, stop=stop, num=9)
        for t, found in zip(np.linspace(start, stop, 9), np.asarray(got.accuracy), strict=True):
            scores = X @ (np.asarray(W, float) + t * np.asarray(direction, float)).T
            first_best = [list(s).index(max(s)) for s in scores]
            np.testing.assert_allclose(found, np.mean(first_best == y), rtol=1e-6)


def test_one_point_and_no_width():
    W, a, b, data = plane(3)
    objective = Objective(reg=0.1)
    half = jnp.asarray(moved(W, (0.5, a)))
    value, share = at(objective, moved(W, (0.5, a), (0.5, b)), data)
    for start, stop, num in ((0.5, 2.0, 1), (0.5, 0.5, GRID["num"])):
        on_plane = jit_2d(objective, W, a, b, data, start=start, stop=stop, num=num)
        on_line = jit_1d(objective, half, b, data, start=start, stop=stop, num=num)
        for got, shape in ((on_plane, (num, num)), (on_line, (num,))):
            assert got.loss.shape == got.accuracy.shape == shape
            np.testing.assert_allclose(got.loss, value, rtol=tolerance())
            np.testing.assert_allclose(got.accuracy, share, rtol=1e-6)


def test_a_reversed_grid_is_walked_backwards():
    W, a, b, data = plane(3)
    objective = Objective(reg=0.1)
    ends = {"start": -1.0, "stop": 2.0}, {"start": 2.0, "stop": -1.0}
    for num in (2, GRID["num"]):
        planes = [jit_2d(objective, W, a, b, data, num=num, **grid) for grid in ends]
        forth, back = jax.tree.map(np.asarray, planes)
        np.testing.assert_allclose(back.t, forth.t[::-1], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(back.loss, forth.loss[::-1, ::-1], rtol=tolerance())
        np.testing.assert_array_equal(back.accuracy, forth.accuracy[::-1, ::-1])
        lines = [jit_1d(objective, W, b, data, num=num, **grid) for grid in ends]
        forth, back = jax.tree.map(np.asarray, lines)
        np.testing.assert_allclose(back.loss, forth.loss[::-1], rtol=tolerance())
        np.testing.assert_array_equal(back.accuracy, forth.accuracy[::-1])


def test_a_zero_direction_is_flat():
    W, a, b, data = plane(0)
    objective, zero = Objective(reg=0.1), jnp.asarray(np.zeros_like(b))
    line, (value, share) = jit_1d(objective, W, zero, data, **GRID), at(objective, W, data)
    np.testing.assert_allclose(line.loss, value, rtol=tolerance())
    np.testing.assert_allclose(line.accuracy, share, rtol=1e-6)
    got = jit_2d(objective, W, a, zero, data, **GRID)
    row, num = jit_1d(objective, W, a, data, **GRID), GRID["num"]
    np.testing.assert_allclose(got.loss, np.tile(row.loss, (num, 1)).T, rtol=tolerance())
    np.testing.assert_array_equal(got.accuracy, np.tile(row.accuracy, (num, 1)).T)


@pytest.mark.parametrize("loss", sorted(reference.LOSSES))
def test_a_nan_is_kept(loss):
    W, a, b, data = plane(0)
    objective = Objective(getattr(jaxsvm, loss))
    planes = (spoiled(W, 0, 0), a, b), (W, spoiled(a, 2), b), (W, a, spoiled(b, 4, 5))
    for bad_plane in planes:
        got = jit_2d(objective, *bad_plane, data, **GRID)
        assert np.isnan(got.loss).all()
        np.testing.assert_array_equal(got.accuracy, 0)  # a NaN never leads
    for bad_line in ((spoiled(W, 3, 1), a), (W, spoiled(a, 0, 0))):
        got = jit_1d(objective, *bad_line, data, **GRID)
        assert np.isnan(got.loss).all()
        np.testing.assert_array_equal(got.accuracy, 0)


def test_bytes_and_the_plain_matrix_agree():
    W, data = byte_problem(0)
    a, b = byte_problem(1)[0], byte_problem(2)[0]
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    got, expected = (jit_2d(Objective(reg=0.1), W, a, b, d, num=5) for d in (data, plain))
    np.testing.assert_allclose(got.loss, expected.loss, rtol=20 * tolerance())
    np.testing.assert_array_equal(got.accuracy, expected.accuracy)


def network(params, data):
    """A two-layer network, the hinge on its scores: a black box to this library."""
    hidden = jnp.maximum(data.X @ params["W1"].T + params["b1"][None, :], 0)
    return jnp.mean(jaxsvm.hinge_loss(hidden @ params["W2"].T, data.y))


compiled_network = jax.jit(network)


def two_layers(seed):
    _, data = problem(seed, (12, 6, 5))
    rng = np.random.default_rng(seed)
    shapes = {"W1": (8, 6), "b1": (8,), "W2": (5, 8)}
    draw = {k: jnp.asarray(rng.standard_normal(s), float_dtype()) for k, s in shapes.items()}
    return draw, data


def test_a_network_is_drawn_point_by_point():
    params, data = two_layers(0)
    a, b = (random_direction(jax.random.key(i), params, normalize="rows") for i in range(2))
    got = jax.jit(slice_2d, static_argnums=0, static_argnames="num")(
        network, params, a, b, data, num=5
    )
    assert got.accuracy is None
    t, losses = np.asarray(got.t), np.asarray(got.loss)
    for i, j in ((0, 0), (1, 4), (2, 2)):
        here = {k: jnp.asarray(moved(params[k], (t[i], a[k]), (t[j], b[k]))) for k in params}
        np.testing.assert_allclose(losses[i, j], compiled_network(here, data), rtol=tolerance())


def test_the_last_layer_of_a_network_takes_the_exact_path():
    params, data = two_layers(1)
    X, W1, b1 = (np.asarray(v) for v in (data.X, params["W1"], params["b1"]))
    features = jnp.asarray(np.maximum(X @ W1.T + b1, 0))
    last = random_direction(jax.random.key(0), params["W2"])
    only_last = {k: jnp.asarray(np.zeros_like(v)) for k, v in params.items()} | {"W2": last}
    exact = jit_1d(Objective(), params["W2"], last, Data(features, data.y), num=21)
    black_box = jit_box_1d(network, params, only_last, data, num=21)
    np.testing.assert_allclose(exact.loss, black_box.loss, rtol=tolerance())
    assert exact.accuracy is not None


def test_a_black_box_is_evaluated_a_few_points_at_a_time():
    params, data = two_layers(0)
    direction = random_direction(jax.random.key(0), params)
    jaxpr = jax.make_jaxpr(lambda p: slice_1d(network, p, direction, data, num=4001).loss)(params)
    # No array in the program has room for a thousand copies of the hidden layer.
    largest = max(np.prod(v.aval.shape, dtype=int) for v in jaxpr.eqns[-1].outvars)
    assert largest <= 4001
    assert "4001,12" not in str(jaxpr)


def test_directions_are_keyed_and_normalized():
    params, _ = two_layers(0)
    key = jax.random.key(7)
    for normalize in ("none", "unit", "rows"):
        one, again = (
            random_direction(jax.random.clone(key), params, normalize=normalize) for _ in "ab"
        )
        jax.tree.map(np.testing.assert_array_equal, one, again)
        other = random_direction(jax.random.key(8), params, normalize=normalize)
        assert not np.array_equal(one["W1"], other["W1"])
    rows = random_direction(jax.random.clone(key), params, normalize="rows")
    np.testing.assert_allclose(
        np.linalg.norm(rows["W1"], axis=1), np.linalg.norm(params["W1"], axis=1), rtol=1e-5
    )
    np.testing.assert_array_equal(rows["b1"], 0)
    unit = random_direction(jax.random.clone(key), params, normalize="unit")
    squares = [np.sum(np.asarray(v) ** 2) for v in unit.values()]
    np.testing.assert_allclose(sum(squares), 1, rtol=1e-5)
    W = jnp.asarray(np.zeros((200, 50)), float_dtype())
    gaussian = np.asarray(random_direction(jax.random.clone(key), W))
    assert abs(gaussian.std() - 1) < 0.02  # Gaussian, not uniform
    assert abs((gaussian**4).mean() - 3) < 0.2
    with pytest.raises(
        ValueError, match="normalize = 'filter': expected 'none' or 'unit' or 'rows'"
    ):
        random_direction(key, W, normalize="filter")


def test_the_direction_between_two_solutions_ends_at_both():
    W, other, _, data = plane(0)
    objective = Objective(reg=0.1)
    whole = GRID | {"start": 0.0, "stop": 1.0}
    got = jit_1d(objective, W, direction_between(W, other), data, **whole)
    losses = np.asarray(got.loss)
    ends = np.array([at(objective, V, data)[0] for V in (W, other)])
    np.testing.assert_allclose(losses[[0, -1]], ends, rtol=10 * tolerance())
    chord = ends[0] + np.asarray(got.t) * (ends[1] - ends[0])
    assert (losses[1:-1] < chord[1:-1]).all()
    half, _ = at(objective, (np.asarray(W) + np.asarray(other)) / 2, data)
    np.testing.assert_allclose(losses[len(losses) // 2], half, rtol=10 * tolerance())

    # A network's weights, and no way at all from a point to itself.
    (here, data), (there, _) = two_layers(0), two_layers(1)
    got = jit_box_1d(network, here, direction_between(here, there), data, stop=1.0, num=3)
    for place, params in ((1, here), (2, there)):
        expected = compiled_network(params, data)
        np.testing.assert_allclose(np.asarray(got.loss)[place], expected, rtol=10 * tolerance())
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), direction_between(here, here))
    for bad in (W[:-1], {"W": W}, jnp.zeros(())):
        with pytest.raises(ValueError, match="other has shapes"):
            direction_between(W, bad)
    with pytest.raises(ValueError, match="other has shapes"):
        direction_between(here, {name: there[name] for name in ("W1", "W2")})


def test_principal_directions_of_a_flat_path():
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(rng.standard_normal((30, 2)))[0].T
    steps = rng.standard_normal((9, 2)) * [5.0, 1.0]
    path = jnp.asarray((3 + steps @ np.stack([a, b])).reshape(9, 5, 6), float_dtype())
    compiled = jax.jit(principal_directions, static_argnames="num")
    directions, share = compiled(path, num=3)
    share = np.asarray(share)
    found = np.asarray(directions).reshape(3, 30)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0], atol=1e-5)
    assert abs(found[0] @ found[1]) < 1e-5
    np.testing.assert_allclose(share.sum(), 1, rtol=1e-5)
    singular = np.linalg.svd(steps - steps.mean(0))[1] ** 2  # NumPy's SVD as the oracle
    np.testing.assert_allclose(share[:2], singular / singular.sum(), rtol=1e-4)
    end = (np.asarray(path)[-1] - np.mean(path, axis=0)).ravel()
    assert found[0] @ end > 0
    _, of_a_point = compiled(jnp.asarray(np.asarray(path)[:1]), num=1)
    assert of_a_point == 0
    with pytest.raises(ValueError, match="num = 10"):
        principal_directions(path, num=10)


def test_a_path_in_the_plane_has_no_residual_and_one_off_it_says_so():
    W, a, b, data = plane(0)
    objective = Objective(reg=0.1)
    where = np.array([[0.0, 0.0], [1.0, -2.0], [0.3, 0.7]], float_dtype())
    path = np.stack([moved(W, (p, a), (q, b)) for p, q in where])
    project = jax.jit(project_path)

    def found(path):
        return jax.tree.map(np.asarray, project(objective, jnp.asarray(path), W, a, b, data))

    got = found(path)
    np.testing.assert_allclose(got.coordinates, where, atol=20 * tolerance())
    np.testing.assert_allclose(got.residual, 0, atol=20 * tolerance())
    np.testing.assert_allclose(got.loss, got.plane_loss, rtol=20 * tolerance())
    np.testing.assert_allclose(got.loss[1], at(objective, path[1], data)[0], rtol=tolerance())

    flat = np.stack([np.asarray(a, float).ravel(), np.asarray(b, float).ravel()])
    off = np.random.default_rng(1).standard_normal(30)
    off -= flat.T @ np.linalg.lstsq(flat.T, off, rcond=None)[0]
    lifted = path.copy()
    lifted[2] += off.reshape(5, 6)
    got = found(lifted)
    np.testing.assert_allclose(got.residual[2], np.linalg.norm(off), rtol=1e-4)
    np.testing.assert_allclose(got.coordinates, where, atol=50 * tolerance())
    np.testing.assert_allclose(got.loss[2], at(objective, lifted[2], data)[0], rtol=tolerance())
    assert abs(got.loss[2] - got.plane_loss[2]) > 1e-3


def test_kink_lines_are_where_a_term_switches():
    W, a, b, data = plane(0, shape=(1, 6, 5))
    found = jax.jit(spanned)(Objective(delta=0.5), W, a, b, data)
    parts = [np.asarray(part)[:, 0] for part in (found.offset, found.slope_a, found.slope_b)]
    for j, (m, p, q) in enumerate(zip(*parts, strict=True)):
        if j == data.y[0]:
            assert (m, p, q) == (0, 0, 0)
            continue
        s = 0.8  # a point of the line: its margin is zero
        here = moved(np.asarray(W, float), (s, a), (-(m + p * s) / q, b))
        scores = reference.score(here, data.X)[0]
        assert abs(scores[j] - scores[int(data.y[0])] + 0.5) < 100 * tolerance()


def test_errors_say_what_to_do():
    W, a, b, data = plane(0)
    for call in (
        lambda: slice_1d(Objective(), W, a[:-1], data),
        lambda: slice_2d(Objective(), W, a, {"b": b}, data),
        lambda: spanned(Objective(), W, a, b.T, data),
        lambda: project_path(Objective(), W[None], W, a[:, :2], b, data),
    ):
        with pytest.raises(ValueError, match="same structure and shapes"):
            call()
    empty = Data(data.X[:0], data.y[:0])
    for call in (
        lambda: slice_1d(Objective(), W, a, empty),
        lambda: slice_2d(Objective(), W, a, b, empty),
        lambda: spanned(Objective(), W, a, b, empty),
    ):
        with pytest.raises(ValueError, match="no examples"):
            call()
    for bad, match in (({"num": 0}, "num = 0: expected an integer"), ({"stop": np.inf}, "finite")):
        with pytest.raises(ValueError, match=match):
            slice_1d(Objective(), W, a, data, **bad)
        with pytest.raises(ValueError, match=match):
            slice_2d(Objective(), W, a, b, data, **bad)
