"""The objective against the oracle, its values at known points, and its gradient at kinks."""

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.losses import (
    crammer_singer_loss,
    hinge_loss,
    squared_hinge_loss,
)
from tests import reference
from tests.problems import byte_problem, float_dtype, problem, seeds, shapes

SHIFT_INVARIANT = (hinge_loss, squared_hinge_loss, crammer_singer_loss)

LOSSES = sorted(reference.LOSSES)
PENALTIES = ["l2_penalty", "l1_penalty"]


hinge_gradient = jax.jit(jax.grad(Objective(reg=0.25)))
evaluate = jax.jit(lambda objective, W, data: objective(W, data))
value_and_grad = jax.jit(lambda objective, W, data: jax.value_and_grad(objective)(W, data))


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 2e-5


@pytest.mark.compiled
@pytest.mark.parametrize("name", LOSSES)
@hypothesis.given(seed=seeds, shape=shapes)
@hypothesis.settings(max_examples=30)
def test_losses_match_the_oracle(name, seed, shape):
    for integers in (False, True):
        W, data = problem(seed, shape, integers=integers)
        scores = jaxsvm.score(W, data.X)
        got = getattr(jaxsvm, name)(scores, data.y, delta=0.7)
        expected = reference.losses(name, scores, data.y, 0.7)
        np.testing.assert_allclose(got, expected, rtol=tolerance(), atol=tolerance())
        np.testing.assert_allclose(
            scores, reference.score(W, data.X), rtol=0, atol=20 * tolerance()
        )


@pytest.mark.compiled
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", LOSSES)
def test_objective_matches_the_oracle(name, penalty):
    W, data = problem(3)
    objective = Objective(
        loss=getattr(jaxsvm, name), penalty=getattr(jaxsvm, penalty), reg=0.3, delta=2.0
    )
    expected = reference.objective(
        W, data.X, data.y, loss=name, penalty_name=penalty, reg=0.3, delta=2.0
    )
    np.testing.assert_allclose(objective(W, data), expected, rtol=10 * tolerance())


def test_the_notes_worked_numbers():
    scores = jnp.array([[13.0, -7.0, 11.0]], float_dtype())
    assert jaxsvm.hinge_loss(scores, jnp.array([0], jnp.int32), delta=10.0) == 8.0
    spread, peak = (jnp.asarray(np.array([row])) for row in ([0.25] * 4, [1.0, 0.0, 0.0, 0.0]))
    assert jaxsvm.l2_penalty(peak) == 1.0
    assert jaxsvm.l2_penalty(spread) == 0.25


@pytest.mark.parametrize(
    ("name", "at_zero"),
    [
        ("hinge_loss", lambda C: C - 1),
        ("squared_hinge_loss", lambda C: C - 1),
        ("crammer_singer_loss", lambda C: min(C - 1, 1)),
        ("one_vs_rest_loss", lambda C: C),
    ],
)
@pytest.mark.parametrize("C", [1, 2, 10])
def test_value_at_zero_weights(name, at_zero, C):
    W, data = problem(0, (6, 4, C), scale=0.0)
    assert float(evaluate(Objective(loss=getattr(jaxsvm, name)), W, data)) == at_zero(C)


@pytest.mark.compiled
def test_gradient_at_a_kink_is_zero():
    # s_0 - s_1 + 1 is exactly 0 for the wrong class: no push in either direction.
    scores = jnp.array([[1.0, 2.0]], float_dtype())
    y = jnp.array([1], jnp.int32)
    for loss in (jaxsvm.hinge_loss, jaxsvm.squared_hinge_loss, jaxsvm.crammer_singer_loss):
        np.testing.assert_array_equal(jax.grad(lambda s, f=loss: f(s, y).sum())(scores), 0.0)
    one = jnp.array([[-1.0, 1.0]], float_dtype())
    np.testing.assert_array_equal(jax.grad(lambda s: jaxsvm.one_vs_rest_loss(s, y).sum())(one), 0.0)


@pytest.mark.parametrize("name", LOSSES)
def test_no_max_is_differentiated(name):
    W, data = problem(0)
    objective = Objective(loss=getattr(jaxsvm, name), reg=0.1)
    jaxpr = str(jax.make_jaxpr(jax.grad(objective))(W, data))
    assert " max" not in jaxpr
    assert "reduce_max" not in jaxpr


@pytest.mark.compiled
@hypothesis.given(seed=seeds, shape=shapes)
@hypothesis.settings(max_examples=30)
def test_hinge_gradient_is_the_notes_at_ties_too(seed, shape):
    W, data = problem(seed, shape, integers=True)
    got = hinge_gradient(W, data)
    expected = reference.hinge_gradient(W, data.X, data.y, reg=0.25)
    np.testing.assert_allclose(got, expected, rtol=tolerance(), atol=tolerance())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_counted_from_the_last_class_see_margins_only(name):
    loss = getattr(jaxsvm, name)
    _, data = problem(0)
    scores = np.round(3 * np.random.default_rng(0).standard_normal((12, 5)))
    moved, still = (
        np.asarray(loss(jnp.asarray(s, float_dtype()), data.y)) for s in (scores + 64, scores)
    )
    assert np.all(moved == still) == (loss in SHIFT_INVARIANT)


@pytest.mark.parametrize("loss", SHIFT_INVARIANT)
def test_what_all_classes_share_does_not_round(loss):
    # In float32, where products with 2²² + w would lose w: margins of w itself come out exact.
    with jax.enable_x64(False):
        W, data = problem(2, (block_sizes().few + 1, 6, 5), integers=True)
        far = jnp.asarray(np.asarray(W) + 2.0**22)
        value, gradient = value_and_grad(Objective(loss=loss), far, data)
        expected, expected_gradient = value_and_grad(Objective(loss=loss), W, data)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.compiled
def test_nan_and_infinite_scores_are_kept():
    y = jnp.array([0], jnp.int32)
    for name in LOSSES:
        loss = getattr(jaxsvm, name)
        assert jnp.isnan(loss(jnp.array([[0.0, jnp.nan]]), y))[0]
        assert loss(jnp.array([[0.0, jnp.inf]]), y)[0] == jnp.inf


@pytest.mark.compiled
def test_rows_of_bytes_equal_the_plain_matrix():
    for N in (40, 1100):  # below and above one block of rows, with a remainder
        W, data = byte_problem(1, (N, 9, 10))
        plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
        both = jax.jit(jax.value_and_grad(Objective(reg=0.1)))
        (value, gradient), (expected, expected_gradient) = both(W, data), both(W, plain)
        rtol = tolerance()
        np.testing.assert_allclose(value, expected, rtol=rtol)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=10 * rtol, atol=10 * rtol)


def test_wrong_shapes_are_errors_at_trace_time():
    W, data = problem(0)
    with pytest.raises(ValueError, match="same D"):
        Objective()(W[:, :-1], data)
    with pytest.raises(ValueError, match="one label for each row"):
        Objective()(W, Data(data.X, data.y[:-1]))
    with pytest.raises(ValueError, match="one label for each row"):
        jaxsvm.hinge_loss(jaxsvm.score(W, data.X), data.y[:1])
    with pytest.raises(ValueError, match="no examples"):
        Objective()(W, Data(data.X[:0], data.y[:0]))


def test_reg_is_traced_and_an_objective_is_hashable():
    W, data = problem(0)
    calls = jax.jit(chex.assert_max_traces(lambda o, W, d: o(W, d), n=1))
    chex.clear_trace_counter()
    assert calls(Objective(reg=0.1), W, data) < calls(Objective(reg=0.2), W, data)
    assert len({Objective(), Objective(), Objective(reg=1.0)}) == 2
