"""Both pruned searches against the searches themselves: the same answer, with fewer looks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import (
    Data,
    Objective,
    advance,
    local_search,
    pruned_local_search,
    pruned_random_search,
    random_search,
    run,
)
from jaxsvm.core import blocks
from tests import reference
from tests.problems import byte_problem, float_dtype, problem

# Decisions are held to the listing in float64 by tests that ask for it.
pytestmark = pytest.mark.any_precision

KEY = jax.random.key(5)
jitted_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))


def compiled_run(*arguments, num_steps):
    """As NumPy's arrays: to look at them nothing is compiled."""
    return jax.device_get(jitted_run(*arguments, num_steps=num_steps))


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
    np.testing.assert_array_equal(info.share, looked)
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
    with pytest.raises(ValueError, match=r"step_size = .*finite number > 0"):
        pruned_local_search(Objective(), step_size=0.0)
    with pytest.raises(ValueError, match=r"block_size = .*integer >= 1"):
        pruned_local_search(Objective(), block_size=0)


def test_a_loss_not_known_to_be_convex_is_an_error():
    def wild(scores, y, *, delta):
        return jnp.sin(scores[:, 0])

    for search in (pruned_random_search, pruned_local_search):
        with pytest.raises(ValueError, match=r"objective\.loss is wild.*convex"):
            search(Objective(loss=wild))


# --- local search: 1,700 rows are two parts of 640 and a shorter one ---

PARTS = 3


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(blocks, "CPU", blocks.CPU._replace(part=640))


LOCAL_CASES = [(loss, "l2_penalty", problem) for loss in sorted(reference.LOSSES)] + [
    ("hinge_loss", "l1_penalty", byte_problem)
]


@pytest.mark.parametrize(("loss", "penalty", "form"), LOCAL_CASES)
def test_the_answer_is_local_search_s(loss, penalty, form):
    W, data = form(2, (1700, 6, 4))
    objective = Objective(
        loss=getattr(jaxsvm, loss), penalty=getattr(jaxsvm, penalty), reg=0.05, delta=0.7
    )
    num_steps = 93  # whole blocks of nine and a rest
    pruned = pruned_local_search(objective, step_size=0.2, block_size=9)
    plain = local_search(objective, step_size=0.2, block_size=9)
    state, info = compiled_run(pruned, KEY, W, data, num_steps=num_steps)
    expected, expected_info = compiled_run(plain, KEY, W, data, num_steps=num_steps)
    rtol = 1e-12 if float_dtype() == jnp.float64 else 4e-6
    np.testing.assert_array_equal(info.accepted, expected_info.accepted)
    np.testing.assert_allclose(state.params, expected.params, rtol=0, atol=rtol)
    np.testing.assert_allclose(info.best_loss, expected_info.best_loss, rtol=rtol)
    # A trial that was seen whole has its loss, and of the others no more is said than is true.
    share, lower = np.asarray(info.share), np.asarray(info.lower_bound)
    np.testing.assert_array_equal(np.isnan(info.loss), share < 1)
    np.testing.assert_allclose(info.loss[share == 1], expected_info.loss[share == 1], rtol=rtol)
    assert (lower <= expected_info.loss * (1 + rtol)).all()
    before = np.append(objective(W, data), expected_info.best_loss[:-1])
    assert (lower[share < 1] >= before[share < 1] * (1 - rtol)).all()
    # Some are refused unseen, some after a part, some by the last one; the accepted are seen whole.
    assert 2 < info.accepted.sum() < (share > 0).sum() < num_steps
    assert set(np.rint(share * PARTS)) == set(range(PARTS + 1))
    assert (share[np.asarray(info.accepted)] == 1).all()
    # What is counted: looks and moves, and what each of the eleven blocks starts from.
    first = (np.arange(num_steps) % 9 == 0).astype(int)
    np.testing.assert_array_equal(info.loss_evaluations, (share > 0) + first)
    np.testing.assert_array_equal(info.gradient_evaluations, np.asarray(info.accepted) + first)


def test_a_plane_refuses_what_does_not_lead_downhill_unseen():
    # A step so short that no row changes sides: the loss is its tangent plane there.
    with jax.enable_x64(True):
        W, data = problem(2, (1700, 6, 4))
        optimizer = pruned_local_search(Objective(), step_size=1e-9, block_size=50)
        _, info = compiled_run(optimizer, KEY, W, data, num_steps=50)
    np.testing.assert_array_equal(info.share, info.accepted)
    assert 10 < info.accepted.sum() < 40


def test_a_local_search_that_is_cut_has_the_same_bits():
    W, data = byte_problem(2, (1700, 6, 4))
    optimizer = pruned_local_search(Objective(reg=0.1), step_size=0.1, block_size=9)
    whole, info = compiled_run(optimizer, KEY, W, data, num_steps=30)
    part = jax.jit(lambda state, start: advance(optimizer, KEY, state, data, start, num_steps=10))
    state, infos = jax.jit(optimizer.init)(W, data), []
    for start in (0, 10, 20):
        state, of_part = part(state, start)
        infos.append(of_part)
    assert 0 < info.accepted.sum() < 30
    chex.assert_trees_all_equal(state, whole)
    chex.assert_trees_all_equal(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *infos), info)


def test_nan_is_never_accepted():
    W, data = problem(2, (1700, 6, 4))
    optimizer = pruned_local_search(Objective(), step_size=0.1, block_size=9)
    for start, X in ((jnp.full_like(W, jnp.nan), data.X), (W, data.X.at[0, 0].set(jnp.nan))):
        state, info = compiled_run(optimizer, KEY, start, Data(X, data.y), num_steps=9)
        assert not info.accepted.any()
        np.testing.assert_array_equal(state.params, start)


def test_a_tie_is_refused_unseen():
    # Without features and without reg every trial has the start's loss: none is below it.
    W, data = problem(2, (1700, 6, 4))
    optimizer = pruned_local_search(Objective(), step_size=0.1, block_size=9)
    state, info = compiled_run(optimizer, KEY, W, Data(0 * data.X, data.y), num_steps=9)
    assert (info.share == 0).all()
    np.testing.assert_array_equal(state.params, W)


@pytest.mark.parametrize("shape", [(7, 3, 1), (1, 3, 2)])
def test_one_class_and_one_example(shape):
    W, data = problem(0, shape)
    pruned = pruned_local_search(Objective(reg=0.1), step_size=0.1, block_size=9)
    plain = local_search(Objective(reg=0.1), step_size=0.1, block_size=9)
    state, info = compiled_run(pruned, KEY, W, data, num_steps=9)
    _, expected = compiled_run(plain, KEY, W, data, num_steps=9)
    np.testing.assert_array_equal(info.accepted, expected.accepted)
    found = Objective(reg=0.1)(jnp.asarray(state.params), data)
    np.testing.assert_allclose(found, state.best_loss, rtol=1e-5)


def test_rows_of_several_devices_are_an_error():
    W, data = byte_problem(2, (1700, 6, 4))
    optimizer = pruned_local_search(Objective(), step_size=0.1, block_size=9)
    sharded = jaxsvm.shard(data, jax.make_mesh((1,), ("rows",)))
    with pytest.raises(ValueError, match=r"data\.X is .*one device; local_search takes any"):
        run(optimizer, KEY, W, sharded, num_steps=9)
