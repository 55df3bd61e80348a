"""The two products for every form of X: against plain matrices, blocks, derivatives and memory."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, StandardizedFeatures
from jaxsvm.core import features, rows
from jaxsvm.core.blocks import block_sizes
from tests.problems import byte_problem, float_dtype, problem

B = block_sizes().product
# Few rows, and below, at and above one block: one that a size near B divides, and a prime that none
# does.
ROWS = [1, block_sizes().few, 40, B, 2 * B + 76, 1021]
LOSSES = ["hinge_loss", "squared_hinge_loss", "crammer_singer_loss", "one_vs_rest_loss"]


dot = jax.jit(features.dot)
dot_transpose = jax.jit(features.dot_transpose)


def forms(N, C=10, D=9):
    """Return (W, {name: Data}) of one problem: bytes, padded floats, a plain array."""
    W, data = byte_problem(N + C, (N, D, C))
    X = data.X
    assert isinstance(X, StandardizedFeatures)
    values = np.asarray(X.values).astype(X.dtype)
    floats = StandardizedFeatures(jnp.asarray(values), X.shift, X.scale)
    plain = jnp.asarray((values[:, :D] - np.asarray(X.shift)) * np.asarray(X.scale))
    return W, {"b": data, "f": Data(floats, data.y), "p": Data(plain, data.y)}


def unit():
    return float(jnp.finfo(float_dtype()).eps)


def error_bound(W, X):
    """|computed − exact| of a score: the dot product's bound, D u |x|·|w|, on the folded terms.

    With bytes b, shift s and scale c, x·w = Σ b (c w) − Σ s (c w), each sum rounded on its own.
    """
    if isinstance(X, StandardizedFeatures):
        weights = np.abs(np.asarray(W, float)) * np.asarray(X.scale, float)
        values = np.asarray(X.values, float)[:, : X.shape[1]]
        size = values @ weights.T + weights @ np.asarray(X.shift, float)
    else:
        size = np.abs(np.asarray(X, float)) @ np.abs(np.asarray(W, float)).T
    return (W.shape[1] + 4) * unit() * size


@pytest.mark.parametrize("C", [1, 3, 5, 8, 10, 13, 17])
def test_dot_is_within_its_bound_for_every_number_of_classes(C):
    W, data = forms(40, C)
    for form in data.values():
        if isinstance(form.X, StandardizedFeatures):
            values = np.asarray(form.X.values, float)[:, : W.shape[1]]
            X = (values - np.asarray(form.X.shift, float)) * np.asarray(form.X.scale, float)
        else:
            X = np.asarray(form.X, float)
        exact = np.einsum("nd,cd->nc", X, np.asarray(W, float))
        got = np.asarray(dot(form.X, W), float)
        assert np.all(np.abs(got - exact) <= error_bound(W, form.X))


@pytest.mark.parametrize("N", ROWS)
def test_the_products_agree_for_every_number_of_rows(N):
    W, data = forms(N)
    G = jnp.asarray(np.random.default_rng(N).standard_normal((N, 10)), W.dtype)
    dense = np.asarray(data["p"].X, float)
    for form in data.values():
        scores, pulled = dot(form.X, W), dot_transpose(G, form.X)
        scale = 300 * unit()
        np.testing.assert_allclose(scores, dense @ np.asarray(W, float).T, rtol=0, atol=scale)
        np.testing.assert_allclose(
            pulled, np.asarray(G, float).T @ dense, rtol=0, atol=N * scale / 10 + scale
        )


@pytest.mark.parametrize("N", ROWS)
def test_one_pass_is_two_products(N):
    W, data = forms(N)

    def f(scores, y):
        return (scores[:, 0], y), jnp.sin(scores) * y[:, None].astype(scores.dtype)

    for form in data.values():
        (first, y), pulled = jax.jit(features.dot_and_transpose, static_argnums=0)(
            f, form.X, W, form.y
        )
        scores = np.asarray(dot(form.X, W))
        np.testing.assert_allclose(first, scores[:, 0], rtol=0, atol=100 * unit())
        np.testing.assert_array_equal(y, form.y)
        slopes = np.sin(scores) * np.asarray(form.y, scores.dtype)[:, None]
        expected = dot_transpose(jnp.asarray(slopes), form.X)
        np.testing.assert_allclose(pulled, expected, rtol=0, atol=2000 * N * unit() / 10)


def plain_objective(objective, W, data):
    """The plain formula with plain autodiff: no pass, no blocks."""
    scores = features.dense(data.X) @ W.T
    losses = objective.loss(scores, data.y, delta=objective.delta)
    return jnp.mean(losses) + objective.reg * objective.penalty(W)


def derivatives(f, W, V, data):
    return {
        "value and gradient": jax.value_and_grad(f)(W, data),
        "forward": jax.jvp(lambda W: f(W, data), (W,), (V,)),
        "seeds": jax.vmap(jax.grad(f), in_axes=(0, None))(jnp.stack([V, 2 * W]), data),
        "second": jax.jvp(lambda W: jax.grad(f)(W, data), (W,), (V,))[1],
    }


@pytest.mark.parametrize("name", LOSSES)
def test_every_derivative_equals_the_plain_formula(name):
    W, data = forms(B + 9)  # 521, a prime: one block and a shorter one.
    objective = Objective(loss=getattr(jaxsvm, name), reg=0.1)
    V = jnp.asarray(np.cos(np.arange(W.size)).reshape(W.shape), W.dtype)

    def plain(W, data):
        return plain_objective(objective, W, data)

    ours = jax.jit(lambda *a: derivatives(objective, *a))
    expected = jax.jit(lambda *a: derivatives(plain, *a))(W, V, data["p"])
    for form in "pb" if name == "hinge_loss" else "b":
        got = ours(W, V, data[form])
        chex.assert_trees_all_close(got, expected, rtol=1e4 * unit(), atol=1e4 * unit())


def test_what_else_moves_has_its_derivative_too():
    W, data = problem(0)

    def moved(objective_of, W, X, delta):
        return objective_of(W, Data(X, data.y), delta)

    def ours(W, data, delta):
        return Objective(reg=0.1, delta=delta)(W, data)

    def plain(W, data, delta):
        return plain_objective(Objective(reg=0.1, delta=delta), W, data)

    delta = jnp.asarray(0.7, W.dtype)
    for argnums in ((0, 1, 2), (2,)):
        got, expected = (
            jax.jit(jax.grad(lambda W, X, d, f=f: moved(f, W, X, d), argnums))(W, data.X, delta)
            for f in (ours, plain)
        )
        chex.assert_trees_all_close(got, expected, rtol=100 * unit(), atol=100 * unit())
    # Bytes do not move, but the shift may.
    W, rows = byte_problem(1)

    def of_shift(shift, f):
        return f(W, Data(StandardizedFeatures(rows.X.values, shift, rows.X.scale), rows.y), delta)

    got, expected = (
        jax.jit(jax.grad(lambda s, f=f: of_shift(s, f)))(rows.X.shift) for f in (ours, plain)
    )
    chex.assert_trees_all_close(got, expected, rtol=1e3 * unit(), atol=1e3 * unit())


@pytest.mark.parametrize("derivative", ["objective", "dot"])
def test_no_float_copy_of_the_bytes_is_ever_made(derivative):
    N, P, C = 8 * B, 512, 10
    dtype = float_dtype()
    form = functools.partial(jax.ShapeDtypeStruct, dtype=dtype)
    pixels: Any = jax.ShapeDtypeStruct((N, P), jnp.uint8)
    labels: Any = jax.ShapeDtypeStruct((N,), jnp.int32)
    data: Any = Data(StandardizedFeatures(pixels, form((P,)), form((P,))), labels)
    W = form((C, P))
    if derivative == "objective":
        f = jax.value_and_grad(Objective(reg=0.1))
    else:
        f = jax.grad(lambda W, data: jnp.sum(jnp.sin(features.dot(data.X, W))))
    analysis = jax.jit(f).lower(W, data).compile().memory_analysis()
    assert analysis is not None
    copy = N * P * jnp.dtype(dtype).itemsize
    assert analysis.temp_size_in_bytes < copy / 2


def test_a_gradient_costs_two_products():
    N, P, C = 256, 512, 8
    W, y = jnp.zeros((C, P)), jnp.zeros(N, jnp.int32)
    data = Data(jnp.zeros((N, P)), y)
    cost = jax.jit(jax.value_and_grad(Objective())).lower(W, data).compile().cost_analysis()
    assert cost is not None
    assert cost["flops"] < 1.1 * 4 * N * P * C


def test_a_pytree_of_rows_may_hold_axes():
    W, data = forms(40)
    X = data["b"].X
    assert isinstance(X, StandardizedFeatures)
    values = jnp.asarray(np.stack([X.values, X.values]))
    stacked = StandardizedFeatures(values, X.shift, X.scale)
    scores = jax.vmap(features.dot, in_axes=(StandardizedFeatures(0, None, None), None))(stacked, W)
    assert scores.shape == (2, 40, 10)


def test_rows_are_indexed_and_multiplied_like_an_array():
    W, data = byte_problem(3)
    plain = jnp.asarray(np.asarray(data.X))
    np.testing.assert_allclose(np.asarray(data.X[2:7]), plain[2:7], rtol=1e-6)
    np.testing.assert_array_equal(data.X @ W.T, jaxsvm.score(W, data.X))
    np.testing.assert_allclose(data.X @ W.T, plain @ W.T, rtol=1e-4, atol=1e-4)


def test_what_is_said_of_each_row():
    _, data = forms(40, 3)
    said = jax.jit(lambda X: (features.largest_feature(X), features.absolute(X)))
    for form in data.values():
        X = np.asarray(form.X, float)
        largest, size = said(form.X)
        np.testing.assert_allclose(largest, np.abs(X).max(axis=1))
        assert np.all(np.asarray(size, float) >= np.abs(X) * (1 - 4 * unit()))
    np.testing.assert_array_equal(said(data["p"].X)[1], np.abs(data["p"].X))


@pytest.mark.parametrize(("N", "D"), [(40, 9), (2 * B + 76, 20)])
def test_second_moments_are_the_product(N, D, monkeypatch):
    monkeypatch.setattr(features, "NARROWEST", 1)  # many panels
    _, data = forms(N, 3, D)
    # A function of its own: what was compiled before has other panels.
    second_moments = jax.jit(lambda X, weights: features.second_moments(X, weights))
    for form in data.values():
        X = np.asarray(form.X, float)
        weights = np.linspace(0.0, 2.0, N)
        got = np.asarray(second_moments(form.X, jnp.asarray(weights, form.X.dtype)))
        expected = X.T @ (weights[:, None] * X) / N
        np.testing.assert_allclose(got, expected, atol=400 * unit() * np.abs(X).max() ** 2)
        np.testing.assert_array_equal(got, got.T)


def test_an_index_of_columns_is_refused():
    X = forms(3)[1]["b"].X
    with pytest.raises(ValueError, match=r"2 parts: expected one, of rows"):
        X[:, :2]
    assert X[(slice(0, 2),)].shape == (2, 9)


@pytest.mark.parametrize("D", [1022, 1023, 1024, 1025, 1026, 2048])
def test_rows_that_collide_in_the_cache_are_padded_and_sum_to_the_same(D):
    rng = np.random.default_rng(D)
    whole = rng.integers(-3, 4, (140, D)).astype(np.float32)
    # The last row again and again: after it there is nothing to read.
    index = np.append(rng.integers(0, 140, 138), [139, 139, 0, 139]).astype(np.int32)
    X, taken = jnp.asarray(whole), features.take(jnp.asarray(whole), jnp.asarray(index))
    G = rng.integers(-2, 3, (142, 3)).astype(np.float32)
    W = rng.integers(-2, 3, (3, D)).astype(np.float32)

    def products(X, W, G):
        both = features.dot_and_transpose(lambda scores, g: (scores, g), X, W, G)
        return *both, features.dot_transpose(G, X)

    collides = min(D % 1024, 1024 - D % 1024) <= 1
    for form, part, g in ((X, whole, G[:140]), (taken, whole[index], G)):
        assert features._width(features.values_of(form)) == (
            D // 1000 * 1024 + 16 if collides else D
        )
        scores, pulled, alone = jax.jit(products)(form, jnp.asarray(W), jnp.asarray(g))
        # Sums of small integers do not round.
        np.testing.assert_array_equal(scores, part @ W.T)
        np.testing.assert_array_equal(pulled, g.T @ part)
        np.testing.assert_array_equal(alone, g.T @ part)


def test_a_padded_row_has_nothing_of_the_next():
    # A row of NaN is read on into from the one before it, and none of that may stay.
    X = np.ones((140, 1025), np.float32)
    X[70] = np.nan
    index = np.delete(np.arange(140, dtype=np.int32), 70)
    taken = features.take(jnp.asarray(X), jnp.asarray(index))
    W = jnp.asarray(np.ones((2, 1025), np.float32))
    scores, pulled = jax.jit(
        lambda X: features.dot_and_transpose(lambda scores: (scores, scores), X, W)
    )(taken)
    np.testing.assert_array_equal(scores, 1025)
    np.testing.assert_array_equal(pulled, 1025 * 139)


@pytest.mark.any_precision
def test_rows_are_padded_also_where_no_int32_says_where_one_starts(monkeypatch):
    X = np.random.default_rng(0).normal(size=(50, 1025)).astype(np.float32)
    index = np.array([0, 49, 3, 49, 7], np.int32)
    for most in (rows.MOST_INT32, 10):
        monkeypatch.setattr(rows, "MOST_INT32", most)
        found = jax.jit(lambda X, index: rows._wide_rows(X, index, 1040))(X, index)
        np.testing.assert_array_equal(found, np.pad(X[index], ((0, 0), (0, 15))))


@pytest.mark.parametrize("form", ["b", "f", "p"])
def test_taken_rows_are_copied_rows_to_the_bit(form):
    W, data = forms(2 * B + 76)
    X, y = data[form]
    index = jnp.asarray(np.random.default_rng(0).integers(0, len(X), B + 40).astype(np.int32))
    loss = jax.jit(jax.value_and_grad(Objective(jaxsvm.softmax_loss, reg=0.1)))
    labels = jnp.asarray(np.asarray(y)[np.asarray(index)])
    taken = loss(W, Data(features.take(X, index), labels))
    chex.assert_trees_all_equal(taken, loss(W, Data(X[index], labels)))
    assert isinstance(features.take(X, index[:3]), type(X))  # few are copied at once
