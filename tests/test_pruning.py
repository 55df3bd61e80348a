"""The pruned random search against random search itself: the same answer, with fewer looks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, pruned_random_search, random_search, run
from tests import reference
from tests.problems import byte_problem, float_dtype, problem

# Decisions are held to the listing in float64 by tests that ask for it.
pytestmark = pytest.mark.any_precision

KEY = jax.random.key(5)
compiled_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))

# Scales at which some draws are refused, and some are looked at and not kept.
CASES = [(loss, "l2_penalty", problem, 0.4) for loss in sorted(reference.LOSSES)] + [
    ("hinge_loss", "l1_penalty", problem, 0.4),
    ("hinge_loss", "l2_penalty", byte_problem, 0.6),
]


@pytest.mark.parametrize(("loss", "penalty", "form", "scale"), CASES)
def test_the_answer_is_random_search_s(loss, penalty, form, scale):
    W, data = form(1, (40, 6, 4))
    objective = Objective(
        loss=getattr(jaxsvm, loss), penalty=getattr(jaxsvm, penalty), reg=0.05, delta=0.7
    )
    num_steps = 93  # whole blocks of seven and a rest
    pruned = pruned_random_search(objective, scale=scale, block_size=7)
    plain = random_search(objective, scale=scale, block_size=7)
    state, info = compiled_run(pruned, KEY, W, data, num_steps=num_steps)
    expected, expected_info = compiled_run(plain, KEY, W, data, num_steps=num_steps)
    rtol = 1e-12 if float_dtype() == jnp.float64 else 2e-6
    np.testing.assert_array_equal(state.params, expected.params)
    np.testing.assert_array_equal(info.accepted, expected_info.accepted)
    np.testing.assert_allclose(info.best_loss, expected_info.best_loss, rtol=rtol)
    np.testing.assert_allclose(state.best_loss, info.best_loss[-1])
    # A bound is one, and a refused draw was no better than the best at its time.
    looked = np.asarray(info.loss_evaluations, bool)
    assert info.accepted.sum() < looked.sum() < num_steps
    assert (info.lower_bound <= expected_info.loss * (1 + rtol)).all()
    np.testing.assert_array_equal(np.isnan(info.loss), ~looked)
    np.testing.assert_allclose(info.loss[looked], expected_info.loss[looked], rtol=rtol)
    before = np.append(np.inf, expected_info.best_loss[:-1])
    assert (expected_info.loss[~looked] >= before[~looked] * (1 - rtol)).all()


@pytest.mark.parametrize("form", [problem, byte_problem])
def test_blocks_equal_the_plain_step(form):
    W, data = form(3, (300, 9, 10))
    optimizer = pruned_random_search(Objective(reg=0.1), scale=0.05, block_size=7)
    state, info = compiled_run(optimizer, KEY, W, data, num_steps=30)
    alone = optimizer._replace(block_step=None)
    expected, expected_info = compiled_run(alone, KEY, W, data, num_steps=30)
    np.testing.assert_array_equal(state.params, expected.params)
    np.testing.assert_array_equal(info.loss_evaluations, expected_info.loss_evaluations)
    rtol = 1e-12 if float_dtype() == jnp.float64 else 2e-6
    np.testing.assert_allclose(info.loss, expected_info.loss, rtol=rtol)
    np.testing.assert_allclose(info.lower_bound, expected_info.lower_bound, rtol=rtol)


@pytest.mark.parametrize("reg", [0.0, 1e6])
def test_draws_near_zero_are_nearly_all_refused(reg):
    # The loss is linear as far as these draws go, and the penalty is part of the bound: only a new
    # best is looked at, about ln 1000 of 1000 draws. In float64, where draws do not tie.
    with jax.enable_x64(True):
        W, data = problem(0, (40, 6, 4))
        optimizer = pruned_random_search(Objective(reg=reg), scale=1e-6)
        _, info = compiled_run(optimizer, KEY, W, data, num_steps=1000)
        assert info.loss_evaluations.sum() == info.accepted.sum()
        assert 2 < info.accepted.sum() < 20


def test_nan_is_never_kept():
    W, data = problem(0)
    optimizer = pruned_random_search(Objective(), scale=0.1, block_size=4)
    nowhere = jnp.full_like(W, jnp.nan)
    state, info = compiled_run(optimizer, KEY, nowhere, data, num_steps=9)
    assert info.accepted[0]
    assert jnp.isfinite(state.params).all()
    broken = Data(data.X.at[0, 0].set(jnp.nan), data.y)
    state, info = compiled_run(optimizer, KEY, W, broken, num_steps=9)
    assert not info.accepted.any()
    np.testing.assert_array_equal(state.params, W)


def test_bad_input_is_an_error():
    with pytest.raises(ValueError, match=r"scale = .*finite number > 0"):
        pruned_random_search(Objective(), scale=-1.0)
    with pytest.raises(ValueError, match=r"block_size = .*integer >= 1"):
        pruned_random_search(Objective(), block_size=0)


def test_a_loss_not_known_to_be_convex_is_an_error():
    def wild(scores, y, *, delta):
        return jnp.sin(scores[:, 0])

    with pytest.raises(ValueError, match=r"objective\.loss is wild.*convex"):
        pruned_random_search(Objective(loss=wild))
