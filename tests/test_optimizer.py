"""The contract, held over every optimizer of the library: a name added here is held to it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsvm import (
    Data,
    Objective,
    best_so_far,
    from_optax,
    gradient_descent,
    linear_decay,
    local_search,
    minibatch_gradient_descent,
    random_search,
    record_every,
    run,
)
from jaxsvm.optimizers.contract import advance
from tests.problems import byte_problem, float_dtype, problem

LOSS = Objective(reg=0.1)

# name -> (scale or step size) -> optimizer
MAKERS = {
    "random_search": lambda s: random_search(LOSS, scale=s, block_size=4),
    "local_search": lambda s: local_search(LOSS, step_size=s, block_size=4),
    "gradient_descent": lambda s: gradient_descent(LOSS, step_size=s),
    "nesterov": lambda s: gradient_descent(
        LOSS, step_size=linear_decay(s, num_steps=20), momentum=0.9, nesterov=True
    ),
    "minibatch": lambda s: minibatch_gradient_descent(LOSS, step_size=s, batch_size=8),
    "epochs": lambda s: minibatch_gradient_descent(
        LOSS, step_size=s, batch_size=8, replacement=False, momentum=0.5
    ),
    "adam": lambda s: from_optax(optax.adam(s), LOSS, batch_size=8),
    "lbfgs": lambda s: from_optax(optax.lbfgs(s, linesearch=None), LOSS),
    "best_so_far": lambda s: best_so_far(gradient_descent(LOSS, step_size=s), LOSS),
    "record_every": lambda s: record_every(gradient_descent(LOSS, step_size=s), 2),
}
STEP, SHAPE, NUM_STEPS = 0.05, (40, 9, 10), 12
# Made once: an optimizer is compiled once for each object.
OPTIMIZERS = {name: make(STEP) for name, make in MAKERS.items()}
DETERMINISTIC = {"gradient_descent", "nesterov", "lbfgs", "best_so_far", "record_every"}
EVERY = pytest.mark.parametrize("name", sorted(OPTIMIZERS))

compiled_advance = jax.jit(advance, static_argnames=("optimizer", "num_steps"))


def go(name, key, W, data):
    """`run`, with a start that is compiled apart, as in a run made of chunks."""
    optimizer, key = OPTIMIZERS[name], jax.random.key(key)
    state = optimizer.init(W, data)
    return compiled_advance(optimizer, key, state, data, 0, num_steps=NUM_STEPS)


def tolerance():
    return 1e-10 if float_dtype() == jnp.float64 else 1e-4


@EVERY
def test_state_and_params_keep_structure_shape_and_dtype(name):
    W, data = problem(0, SHAPE)
    state, info = go(name, 0, W, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, OPTIMIZERS[name].init(W, data))
    assert state.params.dtype == W.dtype
    chex.assert_tree_all_finite(state.params)
    assert (state.params != W).any()
    for leaf in jax.tree.leaves(info):
        assert leaf.shape[0] == NUM_STEPS
    for count in (info.loss_evaluations, info.gradient_evaluations):
        assert count.dtype == jnp.int32
        assert (count >= 0).all()
    assert (info.loss_evaluations > 0).all()


@EVERY
def test_both_forms_of_the_data_give_the_same_run(name):
    W, data = byte_problem(0, SHAPE)
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    a, _ = go(name, 1, W, data)
    b, _ = go(name, 1, W, plain)
    chex.assert_trees_all_close(a.params, b.params, rtol=tolerance(), atol=tolerance())


@EVERY
def test_a_run_in_chunks_is_the_same_run_to_the_bit(name):
    # Chunks of a whole block: a block cut in two is two products, of other shapes.
    optimizer, key = OPTIMIZERS[name], jax.random.key(2)
    W, data = problem(0, SHAPE)
    whole, info = go(name, 2, W, data)
    state, infos = optimizer.init(W, data), []
    for start in range(0, NUM_STEPS, 4):
        state, part = compiled_advance(optimizer, key, state, data, start, num_steps=4)
        infos.append(part)
    chex.assert_trees_all_equal(state, whole)
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *infos)
    chex.assert_trees_all_equal(joined, info)


@EVERY
def test_a_run_depends_on_its_key_and_on_nothing_else(name):
    W, data = problem(0, SHAPE)
    a, b, c = (go(name, key, W, data)[0] for key in (2, 2, 3))
    chex.assert_trees_all_equal(a, b)
    assert (a.params == c.params).all() == (name in DETERMINISTIC)


@EVERY
def test_vmap_over_seeds_and_step_sizes_is_the_loop(name):
    W, data = problem(0, SHAPE)
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = jnp.array([0.02, 0.05, 0.1], float_dtype())

    def train(key, size, W, data):
        return run(MAKERS[name](size), key, W, data, num_steps=8)[0].params

    together = jax.jit(jax.vmap(train, in_axes=(0, 0, None, None)))(keys, sizes, W, data)
    one = jax.jit(train)
    for key, size, params in zip(keys, sizes, together, strict=True):
        np.testing.assert_allclose(
            params, one(key, size, W, data), rtol=tolerance(), atol=tolerance()
        )


@EVERY
def test_no_recompile_for_other_seeds_step_sizes_data_or_starts(name):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def start(key, size, W, data):
        return run(MAKERS[name](size), key, W, data, num_steps=NUM_STEPS)

    for seed in range(3):
        start(jax.random.key(seed), STEP / (1 + seed), *problem(seed, SHAPE))
    with pytest.raises(AssertionError, match="traced"):  # what a recompile would look like
        start(jax.random.key(0), STEP, *problem(0, (12, 6, 5)))


@EVERY
def test_one_example_of_one_class(name):
    if name == "epochs":
        pytest.skip("a batch of 8 out of one example is an error without replacement")
    state, _ = go(name, 0, *problem(0, (1, 3, 1)))
    chex.assert_tree_all_finite(state.params)


@pytest.mark.parametrize("name", ["local_search", "epochs"])
def test_no_steps_is_the_start(name):
    W, data = problem(0, SHAPE)
    state, info = run(OPTIMIZERS[name], jax.random.key(0), W, data, num_steps=0)
    np.testing.assert_array_equal(state.params, W)
    assert jax.tree.leaves(info)[0].shape[0] == 0


def test_a_negative_number_of_steps_is_an_error():
    with pytest.raises(ValueError, match="num_steps = -1"):
        run(OPTIMIZERS["minibatch"], jax.random.key(0), *problem(0), num_steps=-1)
