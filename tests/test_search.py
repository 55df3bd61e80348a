"""Both searches against the notes' loops, whatever the block size; NaN, ties and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, advance, local_search, random_search, run
from tests import reference
from tests.problems import byte_problem, float_dtype, problem

# Decisions are held to the listing in float64 by tests that ask for it.
pytestmark = pytest.mark.any_precision

KEY = 5
BLOCK_SIZES = [1, 2, 3, 7, 64]  # 42 steps: whole blocks of all but the last

compiled_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))
SEARCHES = {
    "random_search": lambda objective, size: random_search(objective, scale=0.5, block_size=size),
    "local_search": lambda objective, size: local_search(objective, step_size=0.1, block_size=size),
}


def draws(num_steps, like, scale):
    """What the step i draws: scale · normal(fold_in(key, i))."""
    keys = [jax.random.fold_in(jax.random.key(KEY), i) for i in range(num_steps)]
    return [np.asarray(scale * jax.random.normal(k, like.shape, like.dtype)) for k in keys]


# The notes' own loss at every block size; the others, and l1, once: the loss enters local search
# as it stands, random search through its own sum over blocks of rows.
CASES = [
    (search, "hinge_loss", "l2_penalty", size) for search in SEARCHES for size in BLOCK_SIZES
] + [("random_search", loss, "l1_penalty", 7) for loss in reference.LOSSES if loss != "hinge_loss"]


@pytest.mark.compiled
@pytest.mark.parametrize(("search", "loss", "penalty", "size"), CASES)
def test_decisions_are_the_listing_s(x64, search, loss, penalty, size):
    W, data = problem(1, (9, 4, 3), scale=0.3)
    objective = Objective(
        loss=getattr(jaxsvm, loss), penalty=getattr(jaxsvm, penalty), reg=0.05, delta=0.7
    )
    trials = draws(42, W, 0.5 if search == "random_search" else 0.1)

    def f(V):
        return reference.objective(
            V, data.X, data.y, loss=loss, penalty_name=penalty, reg=0.05, delta=0.7
        )

    best, best_loss, losses, kept = getattr(reference, search)(f, trials, np.asarray(W))
    assert 1 < sum(kept) < 41
    optimizer = SEARCHES[search](objective, size)
    state, info = compiled_run(optimizer, jax.random.key(KEY), W, data, num_steps=42)
    np.testing.assert_array_equal(info.accepted, kept)
    np.testing.assert_allclose(info.loss, losses, rtol=1e-12)
    np.testing.assert_allclose(state.params, best, rtol=1e-12)
    np.testing.assert_allclose([state.best_loss, info.best_loss[-1]], best_loss, rtol=1e-12)


@pytest.mark.parametrize(
    ("search", "form"),
    [
        ("random_search", problem),
        ("random_search", byte_problem),
        ("local_search", byte_problem),
    ],
)
def test_blocks_equal_the_plain_step(search, form):
    # 1100 rows: several blocks of rows.
    W, data = form(3, (1100, 9, 10))
    plain = SEARCHES[search](Objective(reg=0.1), 1)._replace(block_step=None)
    expected, expected_info = compiled_run(plain, jax.random.key(KEY), W, data, num_steps=30)
    assert 0 < expected_info.accepted.sum() < 30
    rtol = 1e-12 if float_dtype() == jnp.float64 else 2e-6
    optimizer = SEARCHES[search](Objective(reg=0.1), 7)
    state, info = compiled_run(optimizer, jax.random.key(KEY), W, data, num_steps=30)
    np.testing.assert_array_equal(info.accepted, expected_info.accepted)
    np.testing.assert_allclose(info.loss, expected_info.loss, rtol=rtol)
    if search == "random_search":  # the very draw, to the bit
        np.testing.assert_array_equal(state.params, expected.params)
    np.testing.assert_allclose(state.params, expected.params, rtol=0, atol=2 * rtol)


@pytest.mark.compiled
@pytest.mark.parametrize("search", sorted(SEARCHES))
def test_ties_keep_the_first(search):
    # Without features and without reg every trial has the start's loss: none is below it.
    W, data = problem(0, (5, 4, 3))
    flat = Data(0 * data.X, data.y)
    optimizer = SEARCHES[search](Objective(), 7)
    state, info = compiled_run(optimizer, jax.random.key(0), W, flat, num_steps=9)
    assert not info.accepted.any()
    np.testing.assert_array_equal(state.params, W)
    # From a NaN start, as from the notes' infinite loss, the first trial is kept and no later one.
    # (In local search every trial is then NaN.)
    nowhere = jnp.full_like(W, jnp.nan)
    state, info = compiled_run(optimizer, jax.random.key(0), nowhere, flat, num_steps=9)
    expected = [search == "random_search"] + 8 * [False]
    np.testing.assert_array_equal(info.accepted, expected)


@pytest.mark.compiled
@pytest.mark.parametrize("search", sorted(SEARCHES))
def test_nan_trials_are_rejected(search):
    def loss(scores, y, *, delta):
        plain = jaxsvm.hinge_loss(scores, y, delta=delta)
        often = jnp.sin(1e3 * scores[0, 0]) > 0  # about every second trial
        return jnp.where(often, jnp.nan, plain)

    W, data = problem(2, (5, 4, 3), scale=0.0)
    objective = Objective(loss=loss)
    state, info = compiled_run(
        SEARCHES[search](objective, 7), jax.random.key(1), W, data, num_steps=40
    )
    bad = np.isnan(info.loss)
    assert 5 < bad.sum() < 35
    assert not (info.accepted & bad).any()
    assert info.accepted.any()
    assert not np.isnan(info.best_loss).any()
    np.testing.assert_allclose(objective(state.params, data), state.best_loss, rtol=1e-5)


@pytest.mark.parametrize("search", sorted(SEARCHES))
def test_one_class(search):
    W, data = problem(0, (7, 3, 1))
    state, info = compiled_run(
        SEARCHES[search](Objective(reg=0.1), 4), jax.random.key(0), W, data, num_steps=9
    )
    np.testing.assert_allclose(Objective(reg=0.1)(state.params, data), state.best_loss, rtol=1e-5)
    np.testing.assert_array_equal(info.best_loss, np.minimum.accumulate(info.best_loss))


def test_draws_are_the_key_s_whatever_the_block():
    W, data = problem(0, (5, 4, 3), scale=100.0)
    trial = draws(1, W, 0.5)[0]
    for size in (1, 64):
        optimizer = SEARCHES["random_search"](Objective(reg=1.0), size)
        state, _ = compiled_run(optimizer, jax.random.key(KEY), W, data, num_steps=1)
        np.testing.assert_array_equal(state.params, trial)


def test_drift_of_carried_scores_is_within_its_bound():
    # Large steps of alternating sign and no trial rejected: the worst a block can do to float32.
    with jax.enable_x64(False):
        W, data = problem(4, (50, 30, 5), scale=10.0)
        size = 64
        always = Objective(
            loss=lambda scores, y, *, delta: -jnp.abs(scores[:, 0]).astype(scores.dtype)
        )
        optimizer = local_search(always, step_size=10.0, block_size=size)
        state, info = advance(
            optimizer, jax.random.key(0), optimizer.init(W, data), data, 0, num_steps=size
        )
        last = int(np.flatnonzero(info.accepted)[-1])
        deltas = jax.vmap(
            lambda i: 10 * jax.random.normal(jax.random.fold_in(jax.random.key(0), i), W.shape)
        )(jnp.arange(size))
    assert info.accepted.sum() > 3
    X, exact_W = np.asarray(data.X, float), np.asarray(state.params, float)
    exact = -np.abs(X @ exact_W[0]).mean()
    u, n = 2.0**-24, X.shape[1] + size + 1
    absolute = np.abs(W)[0].astype(float) + np.abs(deltas[:, 0]).astype(float).sum(axis=0)
    bound = n * u / (1 - n * u) * (np.abs(X) @ absolute).mean()
    error = abs(float(info.loss[last]) - exact)
    assert 0 < error <= bound + abs(exact) * X.shape[0] * u


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_scales_are_errors(bad):
    with pytest.raises(ValueError, match=r"scale = .*finite number > 0"):
        random_search(Objective(), scale=bad)
    with pytest.raises(ValueError, match=r"step_size = .*finite number > 0"):
        local_search(Objective(), step_size=bad)


@pytest.mark.parametrize("bad", [0, -3])
def test_bad_block_sizes_are_errors(bad):
    for search in (random_search, local_search):
        with pytest.raises(ValueError, match=r"block_size = .*integer >= 1"):
            search(Objective(), block_size=bad)


def test_random_search_never_holds_the_scores_of_all_the_data():
    N, C, B = 20_000, 10, 64
    W, data = problem(0, (N, 5, C))
    optimizer = random_search(Objective(), scale=1.0, block_size=B)
    compiled = jax.jit(lambda k, W, d: run(optimizer, k, W, d, num_steps=B)).lower(
        jax.random.key(0), W, data
    )
    memory = compiled.compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < N * C * B * W.dtype.itemsize / 8
