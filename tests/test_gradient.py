"""The closed form and the black-box differences, against the notes' loops and autodiff."""

from functools import partial
from typing import Any

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.gradients.analytic import score_gradient
from tests import reference
from tests.problems import byte_problem, float_dtype, problem, seeds, shapes

LOSSES = sorted(reference.LOSSES)
PENALTIES = ["l2_penalty", "l1_penalty"]

closed_form = jax.jit(jaxsvm.analytic_gradient)
of_scores = jax.jit(score_gradient)
autodiff = jax.jit(lambda objective, W, data: jax.grad(objective)(W, data))


@partial(jax.jit, static_argnames="method")
def numerical(W, data, h, method):
    return jaxsvm.numerical_gradient(
        lambda W: Objective(reg=0.1)(W, data), W, h=h, method=method, batch_size=5
    )


def objective_of(loss, penalty="l2_penalty", reg=0.3, delta=1.0):
    return Objective(getattr(jaxsvm, loss), getattr(jaxsvm, penalty), reg, delta)


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 2e-5


@pytest.mark.compiled
@pytest.mark.parametrize(("loss", "penalty"), [*zip(LOSSES, PENALTIES * 2, strict=True)])
@hypothesis.given(seed=seeds, shape=st.sampled_from([(1, 3, 4), (12, 6, 5), (7, 3, 1)]))
@hypothesis.settings(max_examples=15)
def test_closed_form_equals_autodiff_at_ties_too(loss, penalty, seed, shape):
    for integers in (False, True):  # integers: many margins, and weights, of exactly 0
        W, data = problem(seed, shape, integers=integers)
        objective = objective_of(loss, penalty)
        chex.assert_trees_all_close(
            closed_form(objective, W, data),
            autodiff(objective, W, data),
            rtol=tolerance(),
            atol=tolerance(),
        )


@pytest.mark.compiled
@hypothesis.given(seed=seeds, shape=shapes)
@hypothesis.settings(max_examples=15)
def test_closed_form_is_the_notes_loop(seed, shape):
    W, data = problem(seed, shape, integers=True)
    got = closed_form(objective_of("hinge_loss", reg=0.25, delta=2.0), W, data)
    expected = reference.hinge_gradient(W, data.X, data.y, reg=0.25, delta=2.0)
    np.testing.assert_allclose(got, expected, rtol=tolerance(), atol=tolerance())


@pytest.mark.compiled
@pytest.mark.parametrize("loss", LOSSES)
def test_bytes_equal_the_plain_matrix(loss):
    W, data = byte_problem(1, (1100, 9, 10))
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    objective = objective_of(loss)
    chex.assert_trees_all_close(
        closed_form(objective, W, data),
        closed_form(objective, W, plain),
        rtol=50 * tolerance(),
        atol=50 * tolerance(),
    )


def test_an_absent_class_and_zero_weights():
    _, data = problem(0, (6, 3, 2))
    W = jnp.asarray(np.zeros((5, 3)), float_dtype())  # labels 2, 3, 4 are absent
    G = np.asarray(closed_form(Objective(), W, data))
    # At W = 0 each wrong class is violated: rows of absent classes are the mean example.
    mean = np.mean(np.asarray(data.X), axis=0)
    np.testing.assert_allclose(G[4], mean, rtol=tolerance(), atol=tolerance())
    np.testing.assert_allclose(np.sum(G, axis=0), 0, atol=tolerance())


def test_unknown_parts_are_errors_that_say_what_to_do():
    W, data = problem(0)
    with pytest.raises(ValueError, match=r"objective.loss is .*jax.grad"):
        jaxsvm.analytic_gradient(Objective(loss=lambda s, y, *, delta: s[:, 0]), W, data)
    with pytest.raises(ValueError, match=r"objective.penalty is .*jax.grad"):
        jaxsvm.analytic_gradient(Objective(penalty=lambda W: jnp.sum(W)), W, data)
    with pytest.raises(ValueError, match="no examples"):
        jaxsvm.analytic_gradient(Objective(), W, Data(data.X[:0], data.y[:0]))


def test_rows_of_the_score_gradient_cancel():
    # Adding a constant to all of an example's scores changes no margin (one against rest apart).
    W, data = problem(5)
    for loss in ("hinge_loss", "squared_hinge_loss", "crammer_singer_loss"):
        G = np.asarray(of_scores(objective_of(loss), jaxsvm.score(W, data.X), data.y))
        np.testing.assert_allclose(np.sum(G, axis=1), 0, atol=tolerance())
        assert np.any(G != 0)


@pytest.mark.any_precision
@pytest.mark.parametrize("method", ["forward", "central"])
@hypothesis.given(seed=seeds, h=st.floats(1e-6, 1e-1))
@hypothesis.settings(max_examples=10)
def test_numerical_gradient_is_the_notes_listing(method, seed, h):
    with jax.enable_x64(True):
        W, data = problem(seed, (5, 4, 3))
        got = numerical(W, data, h, method)
    expected = reference.eval_numerical_gradient(
        lambda W: reference.objective(W, data.X, data.y, reg=0.1), W, h, method
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14 / h + 1e-13)  # eps·f/h


def test_numerical_gradient_of_a_tree():
    w, b = np.arange(6.0).reshape(2, 3), [np.array(2.0), np.zeros((0,))]
    params: Any = jax.tree.map(jnp.asarray, {"w": w, "b": b})

    def f(p):
        return jnp.sum(p["w"] ** 2) + 3 * p["b"][0]

    @jax.jit
    def gradient(params):
        return jaxsvm.numerical_gradient(f, params, h=0.25, batch_size=4)

    got = gradient(params)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, params)
    np.testing.assert_array_equal(got["w"], 2 * np.asarray(params["w"]))
    assert got["b"][0] == 3.0


def meter():
    """A scalar function that counts its own evaluations, a batch at a time."""
    count = [0]

    def add(x):
        count[0] += x.size
        return np.zeros_like(x)

    def f(W):
        x = jnp.sum(W)
        out = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(add, out, x, vmap_method="broadcast_all")

    return f, count


# Compiled cheaply each array of a batch's weights is written out, which takes ten times as long.
@pytest.mark.compiled
@pytest.mark.any_precision
@pytest.mark.parametrize(("method", "evaluations"), [("forward", 30_731), ("central", 61_460)])
def test_evaluations_for_cifar10s_weights(method, evaluations):
    f, count = meter()
    W = jnp.zeros((10, 3073), float_dtype())
    jax.block_until_ready(jaxsvm.numerical_gradient(f, W, method=method, batch_size=256))
    assert count[0] == evaluations


def test_memory_is_bounded_by_the_batch():
    # 10,000 parameters: a P×P identity would be 400 MB.
    W = jnp.zeros((10_000,), float_dtype())
    compiled = (
        jax.jit(lambda W: jaxsvm.numerical_gradient(lambda W: jnp.sum(W**2), W)).lower(W).compile()
    )
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 40e6


def test_numerical_gradient_refuses_what_it_cannot_do():
    W = jnp.zeros((2, 2), float_dtype())
    with pytest.raises(ValueError, match="one floating scalar"):
        jaxsvm.numerical_gradient(lambda W: W, W)
    with pytest.raises(ValueError, match="params has dtype int32"):
        jaxsvm.numerical_gradient(lambda n: 1.0 * n, jnp.array(1, jnp.int32))
    with pytest.raises(ValueError, match="batch_size = 0"):
        jaxsvm.numerical_gradient(jnp.sum, W, batch_size=0)


def test_relative_error_is_the_notes():
    a, b = jnp.array([0.0, 1.0, -2.0, 1.0]), jnp.array([0.0, 0.0, 2.0, 1.5])
    np.testing.assert_allclose(jaxsvm.gradients.relative_error(a, b), [0, 1, 2, 1 / 3], rtol=1e-6)


def test_the_score_gradient_does_not_look_at_the_penalty():
    W, data = problem(0)
    scores = jaxsvm.score(W, data.X)
    own = Objective(penalty=lambda W: jnp.sum(W**4), reg=1.0)
    np.testing.assert_array_equal(
        of_scores(own, scores, data.y), of_scores(Objective(), scores, data.y)
    )
