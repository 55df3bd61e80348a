"""Descent against the notes' loops and against optax; batches; optax's own optimizers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsvm
from jaxsvm import (
    Data,
    Objective,
    from_optax,
    gradient_descent,
    minibatch,
    minibatch_gradient_descent,
    run,
)
from jaxsvm.core import features
from jaxsvm.optimizers import best_so_far, record_every
from jaxsvm.optimizers.contract import Optimizer
from jaxsvm.optimizers.optax import OptaxState
from tests import reference
from tests.problems import byte_problem, float_dtype, problem

OBJECTIVE = Objective(reg=0.1)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
}
KEY = jax.random.key(3)

compiled_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))
value_and_grad = jax.jit(lambda objective, W, data: jax.value_and_grad(objective)(W, data))
evaluate = jax.jit(lambda objective, W, data: objective(W, data))


def parabola(params, data):
    """A pytree of parameters, and a loss that is no Objective."""
    return 0.5 * jnp.sum((params["a"] - data.X[0, 0]) ** 2) + jnp.sum(params["b"] ** 2)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_descent_is_the_notes_loop(x64, kind):
    W, data = problem(0)
    X, y = np.asarray(data.X), np.asarray(data.y)
    path = reference.gradient_descent(
        lambda V: reference.hinge_gradient(V, X, y, reg=0.1), W, [0.05] * 12, **KINDS[kind]
    )
    optimizer = record_every(gradient_descent(OBJECTIVE, step_size=0.05, **KINDS[kind]), 1)
    _, record = compiled_run(optimizer, KEY, W, data, num_steps=12)
    np.testing.assert_allclose(record.params, path, rtol=1e-12, atol=1e-13)
    start = reference.objective(W, X, y, reg=0.1)
    np.testing.assert_allclose(record.info.loss[0], start, rtol=1e-12)


def test_batches_drawn_together_are_those_of_one_step_at_a_time():
    W, data = problem(0)
    # An optimizer whose info is its batch and its key: what is handed on is what counts.
    watch = Optimizer(
        init=lambda params, data: OptaxState(params, None),
        step=lambda key, state, data: (state, (data, jax.random.uniform(key))),
        batchable=True,
    )
    together = minibatch(watch, batch_size=4)
    num_steps = 2 * together.block_size + 3
    _, seen = compiled_run(together, KEY, W, data, num_steps=num_steps)
    alone = together._replace(block_step=None)
    _, expected = compiled_run(alone, KEY, W, data, num_steps=num_steps)
    jax.tree.map(np.testing.assert_array_equal, seen, expected)
    assert len(np.unique(seen[1])) == num_steps


@pytest.mark.parametrize("form", [problem, byte_problem])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_fifty_steps_equal_optax_s_sgd(kind, form):
    W, data = form(1, (40, 9, 10))
    ours = record_every(gradient_descent(OBJECTIVE, step_size=0.02, **KINDS[kind]), 1)
    momentum = KINDS[kind].get("momentum")
    sgd = optax.sgd(0.02, momentum=momentum, nesterov=kind == "nesterov")
    theirs = record_every(from_optax(sgd, OBJECTIVE), 1)
    _, a = compiled_run(ours, KEY, W, data, num_steps=50)
    _, b = compiled_run(theirs, KEY, W, data, num_steps=50)
    # One multiplication and one addition an update, which a compiler may or may not fuse into one
    # rounding: 50 updates differ by at most 50 roundings of the largest number met.
    unit = float(jnp.finfo(float_dtype()).eps) / 2
    atol = 50 * unit * max(1.0, float(np.abs(a.params).max()))
    np.testing.assert_allclose(a.params, b.params, rtol=0, atol=atol)
    np.testing.assert_allclose(a.info.loss, b.info.loss, rtol=100 * unit)


def test_a_pytree_and_a_schedule():
    _, data = problem(0)
    dtype = float_dtype()
    params = {"a": jnp.asarray(np.full(3, 5.0), dtype), "b": jnp.asarray(np.ones((2, 2)), dtype)}
    schedule = optax.linear_schedule(0.4, 0.0, 80)
    state, info = compiled_run(
        gradient_descent(parabola, step_size=schedule, momentum=0.5),
        KEY,
        params,
        data,
        num_steps=90,
    )
    np.testing.assert_allclose(
        info.step_size, [0.4 * max(0, 1 - t / 80) for t in range(90)], rtol=1e-5
    )
    np.testing.assert_allclose(state.params["a"], np.asarray(data.X)[0, 0], rtol=1e-3)
    np.testing.assert_allclose(state.params["b"], 0.0, atol=1e-3)


# (size -> schedule, formula): the notes' annealings and a straight line, as optax writes them.
SCHEDULES: dict[str, tuple[Any, Any]] = {
    "number": (lambda size: size, lambda t: 0.3),
    "step decay": (
        lambda size: optax.exponential_decay(size, 4, 0.1, staircase=True),
        lambda t: 0.3 * 0.1 ** (t // 4),
    ),
    "exponential": (
        lambda size: optax.exponential_decay(size, 5, 0.5),
        lambda t: 0.3 * 0.5 ** (t / 5),
    ),
    "1/t": (lambda size: lambda t: size / (1 + 0.2 * t), lambda t: 0.3 / (1 + 0.2 * t)),
    "linear": (
        lambda size: optax.linear_schedule(size, 0.0, 8),
        lambda t: 0.3 * max(0.0, 1 - t / 8),
    ),
    "cosine": (
        lambda size: optax.cosine_decay_schedule(size, 10),
        lambda t: 0.15 * (1 + np.cos(np.pi * min(t, 10) / 10)),
    ),
}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedules(name):
    make, formula = SCHEDULES[name]
    W, data = problem(0)
    expected = np.array([formula(t) for t in range(12)])

    def sizes(size):
        descent = gradient_descent(OBJECTIVE, step_size=make(size))
        state, info = run(descent, KEY, W, data, num_steps=12)
        assert state.params.dtype == W.dtype
        return info.step_size

    # A number of Python's, and two that are traced.
    both = jax.jit(lambda several: (sizes(0.3), jax.vmap(sizes)(several)))
    got, traced = both(jnp.asarray(np.array([0.3, 0.6]), float_dtype()))
    assert got.dtype == float_dtype()
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(traced, [expected, 2 * expected], rtol=1e-5)


def test_descent_on_the_numerical_gradient(x64):
    W, data = problem(2, (12, 4, 3))

    def numerical(V, data):
        return jaxsvm.numerical_gradient(lambda U: OBJECTIVE(U, data), V, h=1e-6)

    exact = gradient_descent(OBJECTIVE, step_size=0.05)
    approximate = gradient_descent(OBJECTIVE, step_size=0.05, gradient_fn=numerical)
    a, _ = compiled_run(exact, KEY, W, data, num_steps=10)
    b, info = compiled_run(approximate, KEY, W, data, num_steps=10)
    assert 0 < np.abs(np.asarray(a.params) - np.asarray(b.params)).max() < 1e-8
    np.testing.assert_array_equal(info.gradient_evaluations, 1)


@pytest.mark.parametrize(("N", "copies", "atol"), [(8, 1024, 0), (10, 1200, 1e-13)])
def test_duplicated_data_has_the_same_loss_and_gradient(x64, N, copies, atol):
    # The notes' 1.2 million images that are 1200 copies of 1000, scaled down. With integers and
    # powers of two every sum is exact, and "the same" is the same bits.
    W, data = problem(0, (N, 4, 3), integers=True)
    X, y = (np.concatenate([a] * copies) for a in data)
    copied = Data(jnp.asarray(X), jnp.asarray(y))
    loss, gradient = value_and_grad(Objective(), W, data)
    copied_loss, copied_gradient = value_and_grad(Objective(), W, copied)
    np.testing.assert_allclose(copied_loss, loss, rtol=0, atol=atol)
    np.testing.assert_allclose(copied_gradient, gradient, rtol=0, atol=atol)


def spy():
    """An optimizer that does nothing but report the batch it was handed."""

    def step(key, state, data):
        return state, data

    return Optimizer(lambda params, data: params, step, batchable=True)


def numbers(N):
    """Labels by which each example is known."""
    return jnp.asarray(np.arange(N))


@pytest.mark.parametrize("form", [problem, byte_problem])
def test_epochs_visit_every_example_once(form):
    W, data = form(0, (40, 9, 10))
    optimizer = minibatch(spy(), batch_size=10, replacement=False)
    _, batches = compiled_run(optimizer, KEY, W, Data(data.X, numbers(40)), num_steps=12)
    epochs = np.asarray(batches.y).reshape(3, 40)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(40), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert not (epochs == np.arange(40)).all(axis=1).any()
    # The rows are those of the labels.
    rows = jax.vmap(features.dense)(batches.X) if form is byte_problem else batches.X
    np.testing.assert_array_equal(
        np.asarray(rows).reshape(120, -1), np.asarray(data.X)[epochs.ravel()]
    )
    _, batches = compiled_run(
        optimizer, jax.random.key(4), W, Data(data.X, numbers(40)), num_steps=12
    )
    assert (np.asarray(batches.y).reshape(3, 40) != epochs).any()


def test_a_remainder_sits_out_its_epoch():
    W, data = problem(0, (12, 6, 5))
    optimizer = minibatch(spy(), batch_size=5, replacement=False)
    _, batches = compiled_run(optimizer, KEY, W, Data(data.X, numbers(12)), num_steps=20)
    epochs = np.asarray(batches.y).reshape(10, 10)
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert set(epochs.ravel()) == set(range(12))


def test_draws_with_replacement_are_uniform_and_independent():
    W, data = problem(0, (12, 6, 5))
    optimizer = minibatch(spy(), batch_size=30)
    _, batches = jax.jit(lambda k: run(optimizer, k, W, Data(data.X, numbers(12)), num_steps=400))(
        KEY
    )
    y = np.asarray(batches.y)
    counts = np.bincount(y.ravel(), minlength=12)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 31.3  # 11 degrees of freedom, 0.1 %
    assert len(set(map(tuple, y))) == 400


def test_sgd_is_the_notes_loop_over_a_shuffled_epoch(x64):
    W, data = problem(0, (8, 4, 3))
    sgd = minibatch_gradient_descent(OBJECTIVE, step_size=1.0, batch_size=1, replacement=False)
    one_step = record_every(sgd, 1)
    state, record = compiled_run(one_step, KEY, W, data, num_steps=8)
    starts = np.stack([W, *np.asarray(record.params)[:-1]])
    order, (X, y) = np.asarray(state.order), map(np.asarray, data)
    for t in range(8):
        i = int(order[t])
        gradient = reference.hinge_gradient(starts[t], X[i : i + 1], y[i : i + 1], reg=0.1)
        found = np.asarray(record.params)[t]
        np.testing.assert_allclose(found, starts[t] - gradient, atol=1e-12)
    assert sorted(order.tolist()) == list(range(8))


def test_a_batch_is_handed_as_an_array_to_whatever_is_no_objective():
    W, data = problem(0, (150, 6, 5))

    class Clipped(Objective):
        def __call__(self, W, data):
            return super().__call__(W, Data(jnp.clip(data.X, -1, 1), data.y))

    def loss_fn(W, data):
        return Clipped()(W, data)

    steps = [
        compiled_run(
            minibatch_gradient_descent(f, step_size=0.1, batch_size=140), KEY, W, data, num_steps=2
        )
        for f in (Clipped(), loss_fn)
    ]
    np.testing.assert_array_equal(*(state.params for state, _ in steps))


def test_the_whole_data_as_one_batch_is_gradient_descent():
    W, data = problem(0)
    a, _ = compiled_run(gradient_descent(OBJECTIVE, step_size=0.1), KEY, W, data, num_steps=5)
    whole = minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=12, replacement=False)
    b, _ = compiled_run(whole, KEY, W, data, num_steps=5)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-5, atol=1e-6)


def test_divergence_is_visible():
    W, data = problem(0)
    optimizer = gradient_descent(Objective(reg=1.0), step_size=1e3)
    _, info = compiled_run(optimizer, KEY, W, data, num_steps=200)
    finite = np.isfinite(info.loss)
    assert finite[0]
    assert not finite[-1]
    assert (np.diff(finite.astype(int)) <= 0).all()  # it never comes back


OPTAX = {
    "adam": optax.adam(0.05),
    "adamw": optax.adamw(0.05),
    "rmsprop": optax.rmsprop(0.02),
    "adagrad": optax.adagrad(0.5),
    "lion": optax.lion(0.02),
    "lbfgs": optax.lbfgs(),
    "polyak_sgd": optax.polyak_sgd(max_learning_rate=0.1),
    "backtracking": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)
    ),
    "schedule_free": optax.contrib.schedule_free_sgd(0.2),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
}


@pytest.mark.any_precision
@pytest.mark.parametrize("name", sorted(OPTAX))
def test_any_optax_transformation_runs(name):
    W, data = problem(0, (40, 9, 10))
    optimizer = from_optax(OPTAX[name], OBJECTIVE)
    state, info = compiled_run(optimizer, KEY, W, data, num_steps=40)
    params = state.params
    if name == "schedule_free":
        with jax.numpy_dtype_promotion("standard"):
            params = optax.contrib.schedule_free_eval_params(state.opt_state, params)
    assert float(evaluate(OBJECTIVE, params, data)) < 0.7 * float(evaluate(OBJECTIVE, W, data))
    assert params.dtype == W.dtype
    searches = name in ("lbfgs", "backtracking")
    assert (np.sum(info.loss_evaluations) > 40) == searches
    assert (np.sum(info.gradient_evaluations) > 40) == (name == "lbfgs")


@pytest.mark.parametrize("name", ["adam", "lbfgs", "backtracking"])
def test_counts_are_what_was_really_evaluated(name):
    W, data = problem(0, (40, 9, 10))
    calls = {"loss": 0, "gradient": 0}

    @jax.custom_vjp
    def counted(W, data):
        jax.debug.callback(lambda: calls.update(loss=calls["loss"] + 1))
        return OBJECTIVE(W, data)

    def forward(W, data):
        jax.debug.callback(lambda: calls.update(loss=calls["loss"] + 1))
        return OBJECTIVE(W, data), (W, data)

    def backward(saved, cotangent):
        jax.debug.callback(lambda: calls.update(gradient=calls["gradient"] + 1))
        W, data = saved
        return cotangent * jax.grad(OBJECTIVE)(W, data), None

    counted.defvjp(forward, backward)
    _, info = compiled_run(from_optax(OPTAX[name], counted), KEY, W, data, num_steps=6)
    jax.effects_barrier()
    assert np.sum(info.loss_evaluations) == calls["loss"]
    assert np.sum(info.gradient_evaluations) == calls["gradient"]


def test_best_so_far_looks_at_the_last_point_and_at_the_first():
    W, data = problem(0)
    falling = best_so_far(gradient_descent(OBJECTIVE, step_size=0.01), OBJECTIVE)
    state, info = compiled_run(falling, KEY, W, data, num_steps=3)
    np.testing.assert_array_equal(state.params, state.inner.params)  # the last is the best
    assert float(state.best_loss) < np.asarray(info.loss)[-1]
    np.testing.assert_array_equal(info.loss_evaluations, 2)
    wild = best_so_far(gradient_descent(Objective(reg=1.0), step_size=1e3), Objective(reg=1.0))
    state, _ = compiled_run(wild, KEY, W, data, num_steps=200)  # on to NaN
    np.testing.assert_array_equal(state.params, W)
    start = evaluate(Objective(reg=1.0), W, data)
    np.testing.assert_allclose(state.best_loss, start, rtol=1e-6)


def test_best_so_far_can_look_less_often():
    W, data = problem(0)
    sgd = minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=2)
    state, record = compiled_run(
        best_so_far(record_every(sgd, 5), OBJECTIVE), KEY, W, data, num_steps=8
    )
    path = np.stack([W, *np.asarray(record.params)])
    losses = [float(evaluate(OBJECTIVE, V, data)) for V in map(jnp.asarray, path)]
    np.testing.assert_allclose(state.best_loss, min(losses), rtol=1e-5)
    np.testing.assert_array_equal(record.loss_evaluations, 6)
    np.testing.assert_array_equal(record.gradient_evaluations, 5)


@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_step_sizes_are_errors(bad):
    for make in (gradient_descent, minibatch_gradient_descent):
        with pytest.raises(ValueError, match=r"step_size = .*finite number > 0"):
            make(OBJECTIVE, step_size=bad)


@pytest.mark.parametrize("bad", [-0.1, 1.0, float("nan")])
def test_bad_momentum_is_an_error(bad):
    with pytest.raises(ValueError, match=r"momentum = .*\[0, 1\)"):
        gradient_descent(OBJECTIVE, step_size=0.1, momentum=bad)


def test_bad_batch_sizes_are_errors():
    W, data = problem(0)
    for bad in (0, -1):
        with pytest.raises(ValueError, match=r"batch_size = .*integer >= 1"):
            minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=bad)
        with pytest.raises(ValueError, match=r"batch_size = .*integer >= 1"):
            from_optax(optax.sgd(0.1), OBJECTIVE, batch_size=bad)
    large = minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=13, replacement=False)
    with pytest.raises(ValueError, match=r"batch_size = 13 and the data has 12 examples"):
        run(large, KEY, W, data, num_steps=1)
    replaced = minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=13)
    compiled_run(replaced, KEY, W, data, num_steps=1)  # with replacement any size is right


def test_bad_counts_are_errors():
    with pytest.raises(ValueError, match=r"expected an integer >= 1"):
        record_every(gradient_descent(OBJECTIVE, step_size=0.1), 0)


def test_a_record_holds_the_last_of_its_steps():
    W, data = problem(0)
    descent = gradient_descent(OBJECTIVE, step_size=0.1)
    _, plain = compiled_run(descent, KEY, W, data, num_steps=8)
    _, record = compiled_run(record_every(descent, 4), KEY, W, data, num_steps=2)
    np.testing.assert_allclose(record.loss, np.asarray(plain.loss)[3::4], rtol=1e-6)


def test_the_steps_within_a_recorded_one_have_the_keys_that_are_said():
    W, data = problem(0)
    sgd = minibatch_gradient_descent(OBJECTIVE, step_size=0.1, batch_size=3)
    state, _ = compiled_run(record_every(sgd, 3), KEY, W, data, num_steps=2)
    expected, step = sgd.init(W, data), jax.jit(sgd.step)
    for i in range(2):
        for j in range(3):
            key = jax.random.fold_in(jax.random.fold_in(KEY, i), j)
            expected, _ = step(key, expected, data)
    np.testing.assert_allclose(state.params, expected.params, rtol=1e-6)
