"""The exact step: monotone, unbeaten by any fixed step, carried scores true, honest when stuck."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Objective, line_search_descent, run
from jaxsvm.optimizers.exact_line import REFRESH_STEPS
from tests.problems import byte_problem, float_dtype, problem

jit_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))
KEY = 0


def go(objective, momentum, data, W, num_steps):
    optimizer = line_search_descent(objective, momentum=momentum)
    return jit_run(optimizer, jax.random.key(KEY), W, data, num_steps=num_steps)


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 1e-5


@pytest.mark.parametrize("momentum", [0.0, 0.5, "conjugate"])
@pytest.mark.parametrize("loss", ["hinge_loss", "squared_hinge_loss"])
def test_the_loss_never_rises(momentum, loss):
    objective = Objective(loss=getattr(jaxsvm, loss), reg=0.01)
    W, data = problem(0, (40, 9, 10))
    state, info = go(objective, momentum, data, W, REFRESH_STEPS + 20)
    losses = np.append(info.loss, objective(state.params, data))
    assert (np.diff(losses) <= tolerance() * losses[:-1]).all()
    assert losses[-1] < 0.5 * losses[0]
    # The scores it carried are those of where it stands, past a refresh too.
    np.testing.assert_allclose(
        state.scores, jaxsvm.score(state.params, data.X), atol=200 * tolerance()
    )
    assert (np.asarray(info.step_size)[np.asarray(info.stuck)] == 0).all()
    np.testing.assert_array_equal(info.loss_evaluations, 1)
    np.testing.assert_array_equal(info.gradient_evaluations, 1)


@pytest.mark.parametrize(
    ("loss", "penalty", "momentum"),
    [
        ("hinge_loss", "l2_penalty", 0.0),
        ("hinge_loss", "l1_penalty", 0.5),
        ("squared_hinge_loss", "l2_penalty", "conjugate"),
        ("one_vs_rest_loss", "l1_penalty", 0.0),
    ],
)
def test_no_fixed_step_does_better(loss, penalty, momentum):
    objective = Objective(getattr(jaxsvm, loss), getattr(jaxsvm, penalty), reg=0.05)
    W, data = problem(1, (40, 9, 10))
    optimizer = line_search_descent(objective, momentum=momentum)
    step = jax.jit(optimizer.step)
    losses_along = jax.jit(lambda W, d, t: jax.vmap(lambda s: objective(W + s * d, data))(t))
    state = optimizer.init(W, data)
    ahead = np.geomspace(1e-6, 1e2, 200)
    sizes = jnp.asarray(np.concatenate([-ahead, [0.0], ahead]), float_dtype())
    for _ in range(8):
        before = state.params
        state, info = step(jax.random.key(KEY), state, data)
        best_fixed = jnp.min(losses_along(before, state.direction, sizes))
        assert objective(state.params, data) <= best_fixed * (1 + tolerance())
        np.testing.assert_allclose(info.loss, objective(before, data), rtol=10 * tolerance())
        assert not info.stuck


def test_stuck_is_said_and_stays():
    # At W = 0 with one class there is no hinge and no penalty: nothing is lower anywhere.
    W, data = problem(0, (7, 3, 1))
    state, info = go(Objective(), 0.0, data, W, 3)
    assert np.asarray(info.stuck).all()
    np.testing.assert_array_equal(state.params, W)
    # Separable data: 0 is reached, then every step stays.
    W, data = problem(0, (5, 9, 3), scale=0.0)
    state, info = go(Objective(), 0.0, data, W, 60)
    stuck = np.asarray(info.stuck)
    assert stuck[-1]
    first = int(np.argmax(stuck))
    assert stuck[first:].all()
    np.testing.assert_array_equal(info.loss[first:], info.loss[first])


def at_a_kink(second):
    """Two examples of class 0 with z = W[0] − W[1] = (0, ½): hinges 1 − z·(1, 0), 1 − z·second.

    With second[1] = 2 the other's margin is 0 there, so that it is not in the subgradient.
    """
    X = jnp.asarray([[1.0, 0.0], second], float_dtype())
    W = jnp.asarray([[0.0, 0.25], [0.0, -0.25]], float_dtype())
    return W, jaxsvm.Data(X, jnp.zeros(2, jnp.int32))


def test_stuck_at_a_kink_nothing_on_the_line_is_lower():
    # Along minus the subgradient the first falls by 1; the second, now at its kink, rises by 3.
    W, data = at_a_kink([-3.0, 2.0])
    objective = Objective()
    state, info = go(objective, 0.0, data, W, 3)
    assert np.asarray(info.stuck).all()
    np.testing.assert_array_equal(state.params, W)
    np.testing.assert_array_equal(info.loss, 0.5)
    for size in (-1.0, -1e-3, 1e-3, 1.0):
        assert objective(W - size * state.gradient, data) > 0.5
    # It is the end of steepest descent, and no minimum.
    assert objective(jnp.asarray([[0.5, 1.0], [-0.5, -1.0]], float_dtype()), data) == 0


def test_a_stuck_direction_is_forgotten_and_the_next_step_moves():
    W, data = at_a_kink([-0.5, 2.0])
    optimizer = line_search_descent(Objective(), momentum=0.5)
    step = jax.jit(optimizer.step)
    start = optimizer.init(W, data)
    down = jnp.asarray([[0.0, -1.0], [0.0, 1.0]], float_dtype())  # turns the way to rising ground
    start = start._replace(direction=down, direction_scores=jaxsvm.score(down, data.X))
    state, info = step(jax.random.key(0), start, data)
    assert info.stuck
    np.testing.assert_array_equal(state.params, W)
    np.testing.assert_array_equal(state.direction, 0)
    np.testing.assert_array_equal(state.direction_scores, 0)
    after, info = step(jax.random.key(1), state, data)
    assert not info.stuck
    assert info.step_size > 0
    assert Objective()(after.params, data) < info.loss


def test_a_step_ends_at_the_nearest_point_of_a_flat_minimum():
    """The loss is 0 where W[0, 0] − W[1, 0] is in [1, 3]; momentum sets the way and its length."""
    X = jnp.asarray([[1.0, 0.0], [-1.0, 1.0]], float_dtype())
    data = jaxsvm.Data(X, jnp.zeros(2, jnp.int32))
    optimizer = line_search_descent(Objective(), momentum=0.5)
    step = jax.jit(optimizer.step)
    unit = jnp.asarray([[0.5, 0.0], [-0.5, 0.0]], float_dtype())
    for at, before, t, end in (
        (0.0, 0.0, 1.0, 1.0),  # the minimum is ahead, t in [1, 3]
        (0.0, -4.0, -1.0, 1.0),  # behind, t in [−3, −1]
        (2.0, 4.0, 0.0, 2.0),  # on both sides, t in [−½, ½]
    ):
        W = at * unit + jnp.asarray([[0.0, 2.0], [0.0, -2.0]], float_dtype())
        start = optimizer.init(W, data)
        down = before * unit
        start = start._replace(direction=down, direction_scores=jaxsvm.score(down, data.X))
        state, info = step(jax.random.key(0), start, data)
        assert info.step_size == t
        assert state.params[0, 0] - state.params[1, 0] == end
        assert Objective()(state.params, data) == 0
        assert info.stuck == (t == 0)


def test_steepest_descent_may_end_at_a_kink_and_memory_gets_past_it():
    W, data = problem(3, (40, 9, 10))
    objective = Objective(reg=1e-3)
    ends = {
        momentum: float(objective(go(objective, momentum, data, W, 80)[0].params, data))
        for momentum in (0.0, "conjugate")
    }
    assert ends["conjugate"] < ends[0.0]


def test_bytes_and_the_plain_matrix_agree():
    W, data = byte_problem(0)
    plain = jaxsvm.Data(jnp.asarray(np.asarray(data.X)), data.y)
    objective = Objective(reg=0.1)
    got, expected = (go(objective, 0.0, d, W, 3)[1].loss for d in (data, plain))
    np.testing.assert_allclose(got, expected, rtol=100 * tolerance())


def test_a_nan_start_is_stuck():
    W, data = problem(0)
    _, info = go(Objective(), 0.0, data, W.at[0, 0].set(jnp.nan), 2)
    assert np.isnan(info.loss).all()
    assert np.asarray(info.stuck).all()


def test_errors_say_what_to_do():
    W, data = problem(0)
    for bad in (-0.1, np.inf, np.nan):
        with pytest.raises(ValueError, match="number >= 0"):
            line_search_descent(Objective(), momentum=bad)
    with pytest.raises(ValueError, match="has no hinges"):
        go(Objective(loss=jaxsvm.softmax_loss), 0.0, data, W, 1)
    with pytest.raises(ValueError, match="no examples"):
        go(Objective(), 0.0, jaxsvm.Data(data.X[:0], data.y[:0]), W, 1)
    with pytest.raises(ValueError, match="same D"):
        go(Objective(), 0.0, data, W[:, :-1], 1)
