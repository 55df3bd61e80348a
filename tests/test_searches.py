"""Many local searches at once: each is the notes' loop, with steps as normal as it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsvm import Objective, l2_penalty, local_searches, run
from tests import reference
from tests.problems import byte_problem, float_dtype, problem

# Decisions are held to the listing in float64 by tests that ask for it.
pytestmark = pytest.mark.any_precision

compiled_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))
evaluate = jax.jit(lambda objective, W, data: objective(W, data))
KEY = jax.random.key(5)
S = 3


def starts(W, num=S):
    return jnp.asarray(np.stack([np.asarray(W) * (1 + s) for s in range(num)]))


def steps_of(s, num_steps, like, step_size):
    """What search s tries, row by row as the docstring says it."""
    trials = []
    for i in range(num_steps):
        key, turn_key = jax.random.split(jax.random.fold_in(KEY, i))
        delta = np.asarray(jax.random.normal(key, like.shape, like.dtype))
        order_key, sign_key = jax.random.split(jax.random.fold_in(turn_key, s))
        order = np.asarray(jax.random.permutation(order_key, len(delta)))
        sign = np.asarray(jax.random.rademacher(sign_key, (len(delta),), like.dtype))
        trials.append(np.array([step_size * sign[j] * delta[order[j]] for j in range(len(delta))]))
    return trials


@pytest.mark.parametrize("size", [1, 7, 64])
def test_each_search_is_the_listing_s(x64, size):
    W, data = problem(1, (9, 4, 3), scale=0.3)
    optimizer = local_searches(Objective(reg=0.05), step_size=0.1, block_size=size)
    state, info = compiled_run(optimizer, KEY, starts(W), data, num_steps=42)
    assert info.loss_evaluations.sum() == 42 * S
    for s in range(S):
        best, best_loss, losses, kept = reference.local_search(
            lambda V: reference.objective(V, data.X, data.y, reg=0.05),
            steps_of(s, 42, W, 0.1),
            np.asarray(starts(W)[s]),
        )
        assert 1 < sum(kept) < 41
        np.testing.assert_array_equal(info.accepted[:, s], kept)
        np.testing.assert_allclose(info.loss[:, s], losses, rtol=1e-12)
        np.testing.assert_allclose(state.params[s], best, rtol=1e-12)
        np.testing.assert_allclose(state.best_loss[s], best_loss, rtol=1e-12)


@pytest.mark.parametrize("form", [problem, byte_problem])
def test_blocks_equal_the_plain_step(form):
    W, data = form(3, (1100, 9, 10))
    objective = Objective(reg=0.1)
    optimizer = local_searches(objective, step_size=0.1, block_size=7)
    plain = optimizer._replace(block_step=None)
    expected, expected_info = compiled_run(plain, KEY, starts(W), data, num_steps=30)
    assert 0 < expected_info.accepted.sum() < 30 * S
    state, info = compiled_run(optimizer, KEY, starts(W), data, num_steps=30)
    rtol = 1e-12 if float_dtype() == jnp.float64 else 2e-6
    np.testing.assert_array_equal(info.accepted, expected_info.accepted)
    np.testing.assert_allclose(info.loss, expected_info.loss, rtol=rtol)
    np.testing.assert_allclose(state.params, expected.params, rtol=0, atol=2 * rtol)
    # The starts share a product too.
    several = np.array(starts(W))
    losses = [np.inf, *(float(evaluate(objective, V, data)) for V in several[1:])]
    several[0] = np.nan
    first = jax.jit(optimizer.init)(jnp.asarray(several), data).best_loss
    np.testing.assert_allclose(first, losses, rtol=rtol)


def test_a_search_does_not_know_how_many_there_are():
    W, data = problem(1)
    optimizer = local_searches(Objective(), step_size=0.1, block_size=7)
    few, _ = compiled_run(optimizer, KEY, starts(W, 2), data, num_steps=20)
    many, _ = compiled_run(optimizer, KEY, starts(W, 5), data, num_steps=20)
    np.testing.assert_allclose(few.params, many.params[:2], rtol=1e-5)


def test_steps_are_normal_and_uncorrelated_between_searches():
    # Farther from 0 is lower, so that the first step from 0 is taken, and params are that step.
    outward = Objective(
        loss=lambda scores, y, *, delta: 0 * scores[:, 0], penalty=lambda W: -l2_penalty(W), reg=1.0
    )
    W, data = problem(0, (2, 2, 3), scale=0.0)
    optimizer = local_searches(outward, step_size=2.0)
    K = 4000
    step = jax.jit(
        jax.vmap(lambda key: run(optimizer, key, starts(W), data, num_steps=1)[0].params)
    )
    steps = np.asarray(step(jax.random.split(KEY, K))).reshape(K, -1) / 2
    # 18 means and 171 covariances, each normal to a good approximation: 5 standard errors.
    assert np.abs(steps.mean(axis=0)).max() < 5 / np.sqrt(K)
    covariance = steps.T @ steps / K
    np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=5 * np.sqrt(2 / K))
    np.testing.assert_allclose((steps**4).mean(axis=0), 3, atol=5 * np.sqrt(96 / K))
    # Dependent all the same: one step's numbers up to sign and place.
    sizes = np.sort(np.abs(steps).reshape(K, S, -1), axis=2)
    np.testing.assert_array_equal(sizes, np.broadcast_to(sizes[:, :1], sizes.shape))


def test_bad_input_is_an_error():
    W, data = problem(0)
    with pytest.raises(ValueError, match=r"step_size = .*finite number > 0"):
        local_searches(Objective(), step_size=0.0)
    with pytest.raises(ValueError, match=r"block_size = .*integer >= 1"):
        local_searches(Objective(), block_size=0)
    with pytest.raises(ValueError, match=r"expected \(S, C, D\)"):
        run(local_searches(Objective()), KEY, W, data, num_steps=1)
