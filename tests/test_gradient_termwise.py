"""The finite differences summed hinge by hinge, against the notes' listing and its own limits."""

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, StandardizedFeatures
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.penalties import hinge_difference
from tests import reference
from tests.problems import byte_problem, float_dtype, problem, seeds

LOSSES = sorted(reference.LOSSES)
PENALTIES = ["l2_penalty", "l1_penalty"]

termwise = jax.jit(jaxsvm.termwise_numerical_gradient, static_argnames="method")
closed_form = jax.jit(jaxsvm.analytic_gradient)


def objective_of(loss, penalty="l2_penalty", reg=0.3, delta=1.0):
    return Objective(getattr(jaxsvm, loss), getattr(jaxsvm, penalty), reg, delta)


@pytest.mark.any_precision
@pytest.mark.compiled
@pytest.mark.parametrize("method", ["forward", "central"])
@pytest.mark.parametrize(("loss", "penalty"), [*zip(LOSSES, PENALTIES * 2, strict=True)])
@hypothesis.given(seed=seeds, h=st.floats(1e-4, 2.0), integers=st.booleans())
@hypothesis.settings(max_examples=12)
def test_it_is_the_notes_listing(loss, penalty, method, seed, h, integers):
    with jax.enable_x64(True):
        W, data = problem(seed, (5, 4, 3), integers=integers)
        got = termwise(objective_of(loss, penalty), W, data, h=h, method=method)
    expected = reference.eval_numerical_gradient(
        lambda W: reference.objective(W, data.X, data.y, loss=loss, penalty_name=penalty, reg=0.3),
        W,
        h,
        method,
    )
    # The listing's rounding: eps · f / h, with f ≤ 500 here.
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13 * (1 + 1 / h))


@pytest.mark.parametrize(
    ("loss", "N"),
    [
        ("hinge_loss", 1),
        ("crammer_singer_loss", block_sizes().label - 1),
        ("hinge_loss", 3 * block_sizes().label + 5),
    ],
)
def test_every_count_of_rows_and_both_forms_of_x(loss, N):
    W, data = byte_problem(2, (N, 9, 10))
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    objective = objective_of(loss)
    got = termwise(objective, W, data, h=0.1)
    assert got.dtype == W.dtype
    chex.assert_trees_all_close(got, termwise(objective, W, plain, h=0.1), rtol=1e-4, atol=1e-4)
    numerical = jax.jit(
        lambda W: jaxsvm.numerical_gradient(lambda W: objective(W, plain), W, h=0.1)
    )(W)
    rounding = 30 * float(jnp.finfo(W.dtype).eps) * float(objective(W, plain)) / 0.1
    np.testing.assert_allclose(got, numerical, rtol=0, atol=rounding)


def test_labels_in_any_order_and_absent():
    W, data = problem(0, (150, 4, 7))
    listing = jax.jit(
        lambda W, some: jaxsvm.numerical_gradient(lambda W: Objective(reg=0.1)(W, some), W, h=0.05)
    )
    labels = np.asarray(data.y)
    for y in (labels, np.sort(labels), np.full_like(labels, 6), np.zeros_like(labels)):
        some = Data(data.X, jnp.asarray(y))
        got, numerical = termwise(Objective(reg=0.1), W, some, h=0.05), listing(W, some)
        np.testing.assert_allclose(got, numerical, atol=2e4 * float(jnp.finfo(W.dtype).eps))


def test_no_crossing_no_difference_from_the_closed_form():
    # Below h = min |m| / max |x| no hinge is crossed and the hinge's difference is its slope.
    for integers in (False, True):
        W, data = problem(4, integers=integers)
        W = W + (0.25 if integers else 0) * jnp.arange(5, dtype=W.dtype)[:, None]
        m = jaxsvm.margins(jaxsvm.score(W, data.X), data.y)
        wrong = jnp.arange(5, dtype=data.y.dtype)[None, :] != data.y[:, None]
        nearest = jnp.min(jnp.where(wrong, jnp.abs(m), jnp.inf)) / jnp.max(jnp.abs(data.X))
        below, above = 0.9 * float(nearest), 1e3 * float(nearest)
        exact = closed_form(Objective(), W, data)
        tolerance = 50 * float(jnp.finfo(W.dtype).eps)
        np.testing.assert_allclose(termwise(Objective(), W, data, h=below), exact, atol=tolerance)
        assert jnp.max(jnp.abs(termwise(Objective(), W, data, h=above) - exact)) > 1e-3


@pytest.mark.any_precision
def test_rounding_does_not_grow_as_h_falls():
    # The black box in float32 is off by 1e-2 at h = 1e-6 and by 1e-5 here.
    W, data = problem(1, (200, 6, 5))
    W, data = W.astype(jnp.float32), Data(data.X.astype(jnp.float32), data.y)
    exact = closed_form(Objective(), W, data)
    for h in (1e-6, 1e-9, 1e-20):
        np.testing.assert_allclose(termwise(Objective(), W, data, h=h), exact, atol=1e-5)


@pytest.mark.any_precision
@hypothesis.given(start=st.floats(-1e6, 1e6, width=32), step=st.floats(-1e6, 1e6, width=32))
def test_hinge_difference_is_the_difference(start, step):
    with jax.enable_x64(True):
        got = float(hinge_difference(jnp.float64(start), jnp.float64(step)))
    exact = max(0.0, start + step) - max(0.0, start)
    assert got == pytest.approx(exact, abs=1e-9)
    assert min(0.0, step) <= got <= max(0.0, step)


def test_hinge_difference_keeps_a_step_that_the_start_would_swallow():
    start, step = jnp.float32(1e8), jnp.float32(0.1)
    assert hinge_difference(start, step) == step
    assert hinge_difference(-start, step) == 0
    assert jnp.maximum(start + step, 0) - jnp.maximum(start, 0) == 0  # what it replaces


def test_memory_is_a_block_of_rows():
    N, D, C = 5000, 400, 10
    W = jnp.zeros((C, D), float_dtype())

    def difference(W, values, y):
        data = Data(StandardizedFeatures(values, jnp.zeros_like(W[0]), jnp.ones_like(W[0])), y)
        return jaxsvm.termwise_numerical_gradient(Objective(), W, data)

    values, y = jnp.zeros((N, D), jnp.uint8), jnp.zeros((N,), jnp.int32)
    memory = jax.jit(difference).lower(W, values, y).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 2 * N * D  # X as floats would be 4 or 8 bytes an entry


def test_wrong_input_is_said():
    W, data = problem(0)
    with pytest.raises(ValueError, match="method = 'both'"):
        jaxsvm.termwise_numerical_gradient(Objective(), W, data, method="both")
    with pytest.raises(ValueError, match="numerical_gradient takes any function"):
        jaxsvm.termwise_numerical_gradient(Objective(penalty=jnp.sum), W, data)
    with pytest.raises(ValueError, match="has no hinges"):
        jaxsvm.termwise_numerical_gradient(Objective(loss=lambda s, y, *, delta: s[:, 0]), W, data)
    with pytest.raises(ValueError, match="no examples"):
        jaxsvm.termwise_numerical_gradient(Objective(), W, Data(data.X[:0], data.y[:0]))


@pytest.mark.compiled
@pytest.mark.cifar10
def test_sampled_coordinates_of_all_images_are_the_listings(cifar10):
    """The notes' listing at full size: perturb, evaluate all of the data, restore, in float64."""
    train, h = cifar10.train, 1e-3
    W = 1e-4 * np.random.default_rng(0).standard_normal((10, 3073))
    with jax.enable_x64(True):
        data = Data(jaxsvm.core.features.astype(train.X, jnp.float64), train.y)
        got = np.asarray(termwise(Objective(reg=0.3), jnp.asarray(W), data, h=h))
    values, y = np.asarray(train.X.values)[:, :3073], np.asarray(train.y)
    shift, rows = np.asarray(train.X.shift, float), np.arange(len(y))

    def loss(W, scores):
        hinges = np.maximum(0, scores - scores[rows, y][:, None] + 1)
        hinges[rows, y] = 0
        return hinges.sum() / len(y) + 0.3 * (W * W).sum()

    places = [(0, 0), (4, 1600), (9, 3072)]
    trials = np.stack([W] * 6)
    for i, (k, d) in enumerate(places):
        trials[2 * i, k, d] += h
        trials[2 * i + 1, k, d] -= h
    # The images are widened once for all of them.
    every = trials.reshape(60, 3073).T
    scores = np.concatenate([(block - shift) @ every for block in np.array_split(values, 20)])
    losses = list(map(loss, trials, np.split(scores, 6, axis=1)))
    for (k, d), above, below in zip(places, losses[::2], losses[1::2], strict=True):
        listing = (above - below) / (2 * h)
        # Two losses of about 10, rounded to 53 bits and summed over 441,000 terms.
        np.testing.assert_allclose(got[k, d], listing, rtol=1e-9, atol=1e-9)
