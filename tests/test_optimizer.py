"""The contract, held over every optimizer of the registry: an entry added there is held to it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark.registry import OPTIMIZERS as ENTRIES
from jaxsvm import Data, Objective, Optimizer, advance, local_search, minibatch, run
from tests.problems import byte_problem, float_dtype, problem

LOSS = Objective(reg=0.1)
STEP, SHAPE, NUM_STEPS, BLOCK = 0.05, (40, 9, 10), 12, 4
# Made once: an optimizer is compiled once for each object.
OPTIMIZERS = {name: entry.make(LOSS, STEP, BLOCK) for name, entry in ENTRIES.items()}
EVERY = pytest.mark.parametrize("name", sorted(OPTIMIZERS))

# An optimizer's start, compiled as one program: by itself it is a dozen.
compiled_init = jax.jit(lambda optimizer, W, data: optimizer.init(W, data), static_argnums=0)
compiled_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))
compiled_advance = jax.jit(advance, static_argnames=("optimizer", "num_steps"))


def start_of(name, W):
    """W, or as many starts as the optimizer takes."""
    starts = ENTRIES[name].starts
    return W if starts == 1 else jnp.stack([W * (1 + s) for s in range(starts)])


def go(name, key, W, data, num_steps=NUM_STEPS):
    """`run`, with a start that is compiled apart, as in a run made of chunks."""
    optimizer, key = OPTIMIZERS[name], jax.random.key(key)
    state = compiled_init(optimizer, start_of(name, W), data)
    return compiled_advance(optimizer, key, state, data, 0, num_steps=num_steps)


def tolerance():
    return 1e-10 if float_dtype() == jnp.float64 else 1e-4


@EVERY
def test_state_and_params_keep_structure_shape_and_dtype(name):
    W, data = problem(0, SHAPE)
    state, info = go(name, 0, W, data)
    W = start_of(name, W)
    start = jax.eval_shape(OPTIMIZERS[name].init, W, data)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, start)
    assert state.params.dtype == W.dtype
    chex.assert_tree_all_finite(state.params)
    assert (state.params != W).any()
    assert info.loss.dtype == W.dtype
    for leaf in jax.tree.leaves(info):
        assert leaf.shape[0] == NUM_STEPS
    for count in (info.loss_evaluations, info.gradient_evaluations):
        assert count.dtype == jnp.int32
        assert (count >= 0).all()
    # A refused trial has no loss, and has cost none, or of a pruned local search a part of one.
    has_loss, looked = ~np.isnan(info.loss), info.loss_evaluations > 0
    assert looked[has_loss].all()
    if name != "pruned_local_search":
        np.testing.assert_array_equal(looked, has_loss)


@pytest.mark.any_precision
@EVERY
def test_both_forms_of_the_data_give_the_same_run(name):
    W, data = byte_problem(0, SHAPE)
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    # An exact step ends at a kink, which magnifies rounding from step to step: fewer of them.
    num_steps = 3 if name == "line_search_descent" else NUM_STEPS
    a, _ = go(name, 1, W, data, num_steps)
    b, _ = go(name, 1, W, plain, num_steps)
    chex.assert_trees_all_close(a.params, b.params, rtol=tolerance(), atol=tolerance())


@pytest.mark.any_precision
@pytest.mark.compiled
@EVERY
def test_a_run_in_chunks_is_the_same_run_to_the_bit(name):
    optimizer, key = OPTIMIZERS[name], jax.random.key(2)
    W, data = problem(0, SHAPE)
    W = start_of(name, W)
    whole, info = compiled_run(optimizer, key, W, data, num_steps=NUM_STEPS)
    # At a block's end (8), inside blocks, and across a whole block: two programs serve all cuts.
    # Where there are no blocks, a chunk's length is only how long its loop is: one program does.
    for cuts in [(6, 6), (2, 6, 2, 2)] if optimizer.block_step else [(6, 6)]:
        state, infos, start = compiled_init(optimizer, W, data), [], 0
        for num_steps in cuts:
            state, part = compiled_advance(optimizer, key, state, data, start, num_steps=num_steps)
            infos.append(part)
            start += num_steps
        chex.assert_trees_all_equal(state, whole)
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *infos)
        chex.assert_trees_all_equal(joined, info)


@pytest.mark.any_precision
@EVERY
def test_a_run_depends_on_its_key_and_on_nothing_else(name):
    W, data = problem(0, SHAPE)
    a, b, c = (go(name, key, W, data)[0] for key in (2, 2, 3))
    chex.assert_trees_all_equal(a, b)
    assert (a.params == c.params).all() == (not ENTRIES[name].random)


@pytest.mark.any_precision
@EVERY
def test_one_program_serves_seeds_step_sizes_data_and_starts_and_vmap_is_its_loop(name):
    """Two checks of one program: to compile it is nearly all that either costs."""
    chex.clear_trace_counter()
    W, data = problem(0, SHAPE)
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = jnp.asarray(np.array([0.02, 0.05, 0.1], float_dtype()))

    def train(key, size, W, data):
        optimizer = ENTRIES[name].make(LOSS, size, BLOCK)
        return run(optimizer, key, start_of(name, W), data, num_steps=8)[0].params

    together = jax.jit(jax.vmap(train, in_axes=(0, 0, None, None)))(keys, sizes, W, data)
    one = jax.jit(chex.assert_max_traces(train, n=1))
    for key, size, params in zip(keys, sizes, together, strict=True):
        np.testing.assert_allclose(
            params, one(key, size, W, data), rtol=tolerance(), atol=tolerance()
        )
    for seed, size in enumerate(sizes):
        one(jax.random.key(seed), size, *problem(seed, SHAPE))
    with pytest.raises(AssertionError, match="traced"):  # what a recompile would look like
        one(jax.random.key(0), sizes[0], *problem(0, (12, 6, 5)))


@pytest.mark.any_precision
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


@pytest.mark.any_precision
def test_a_static_start_inside_a_block_is_the_same_run_to_the_bit():
    optimizer, key = OPTIMIZERS["local_search"], jax.random.key(2)
    W, data = problem(0, SHAPE)
    whole, info = compiled_run(optimizer, key, W, data, num_steps=NUM_STEPS)
    static = jax.jit(advance, static_argnames=("optimizer", "start", "num_steps"))
    state = jax.jit(optimizer.init)(W, data)
    state, _ = static(optimizer, key, state, data, start=0, num_steps=6)
    state, part = static(optimizer, key, state, data, start=6, num_steps=6)
    chex.assert_trees_all_equal(state, whole)
    chex.assert_trees_all_equal(part, jax.tree.map(lambda leaf: leaf[6:], info))


@pytest.mark.parametrize("num_chunks", [1, 3])
def test_chunks_of_whole_blocks_compute_no_block_twice(num_chunks):
    # Counted where they run: the extra block that a traced start may need is not computed.
    calls: list[None] = []

    def block_step(keys, state, data, first, stop):
        jax.debug.callback(lambda: calls.append(None))
        return state + stop - first, jnp.zeros(keys.shape)

    counter = Optimizer(
        init=lambda params, data: params,
        step=lambda key, state, data: (state, jnp.zeros(())),
        block_step=block_step,
        block_size=BLOCK,
    )
    _, data = problem(0)
    size = NUM_STEPS // num_chunks
    state = jnp.int32(0)
    for start in range(0, NUM_STEPS, size):
        state, _ = compiled_advance(
            counter, jax.random.key(0), state, data, jnp.int32(start), num_steps=size
        )
    jax.effects_barrier()
    assert len(calls) == NUM_STEPS // BLOCK
    assert state == NUM_STEPS


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name", ["random_search", "pruned_random_search", "local_search", "pruned_local_search"]
)
def test_block_size_changes_no_decision(name):
    W, data = problem(0, SHAPE)
    W, key = 0.1 * W, jax.random.key(5)
    states, infos = zip(
        *(
            compiled_run(ENTRIES[name].make(LOSS, STEP, size), key, W, data, num_steps=30)
            for size in (1, 7)  # other sizes: test_search, against the listing
        ),
        strict=True,
    )
    assert 0 < infos[0].accepted.sum() < 30
    for state, info in zip(states[1:], infos[1:], strict=True):
        np.testing.assert_array_equal(info.accepted, infos[0].accepted)
        np.testing.assert_allclose(info.loss, infos[0].loss, rtol=tolerance())
        np.testing.assert_allclose(state.params, states[0].params, atol=tolerance())


BATCHABLE = {"gradient_descent", "nesterov", "lbfgs"}


@pytest.mark.any_precision
@EVERY
def test_minibatch_takes_what_is_batchable_and_refuses_the_rest(name):
    optimizer = OPTIMIZERS[name]
    assert optimizer.batchable == (name in BATCHABLE or name == "record_every")
    if not optimizer.batchable:
        with pytest.raises(ValueError, match=r"batchable is False.*such as gradient_descent"):
            minibatch(optimizer, batch_size=8)
        return
    W, data = problem(0, SHAPE)
    state, info = compiled_run(
        minibatch(optimizer, batch_size=8), jax.random.key(0), W, data, num_steps=3
    )
    chex.assert_tree_all_finite(state.params)
    assert info.loss_evaluations.shape == (3,)


@pytest.mark.any_precision
def test_a_cut_inside_a_block_before_whole_blocks_worth_of_steps():
    """The start is known when the program is made, and the number of steps is a block's."""
    W, data = problem(0, SHAPE)
    search = local_search(Objective(), step_size=0.1, block_size=8)
    whole, _ = run(search, jax.random.key(2), W, data, num_steps=12)
    state, _ = run(search, jax.random.key(2), W, data, num_steps=4)
    state, _ = advance(search, jax.random.key(2), state, data, 4, num_steps=8)
    chex.assert_trees_all_equal(state, whole)
