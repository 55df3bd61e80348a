"""Each entry is traced once: no other seed, data value, step size, reg or delta compiles it again.

A function of optimizers is a new one for each optimizer object. What shall vary without a
compilation is therefore an argument of the jitted function, and the optimizer is made inside.
"""

import chex
import jax
import optax
import pytest

import jaxsvm
from jaxsvm import Objective, run
from tests.problems import byte_problem, problem

SHAPE = (12, 5, 4)


def searched(make):
    return lambda objective, key, size, W, data: run(
        make(objective, size), key, W, data, num_steps=3
    )


# name -> entry(objective, key, size, W, data), written as a user would jit it
ENTRIES = {
    "objective": lambda objective, key, size, W, data: objective(size * W, data),
    "value_and_grad": lambda objective, key, size, W, data: jax.value_and_grad(objective)(W, data),
    "analytic_gradient": lambda objective, key, size, W, data: jaxsvm.analytic_gradient(
        objective, W, data
    ),
    "random_search": searched(
        lambda objective, size: jaxsvm.random_search(objective, scale=size, block_size=3)
    ),
    "pruned_random_search": lambda objective, key, size, W, data: run(
        jaxsvm.pruned_random_search(objective, scale=size, block_size=3),
        key,
        W,
        data,
        num_steps=3,
    )[0],  # of its info, a refused draw's loss is NaN
    "local_search": searched(
        lambda objective, size: jaxsvm.local_search(objective, step_size=size, block_size=3)
    ),
    "local_searches": lambda objective, key, size, W, data: run(
        jaxsvm.local_searches(objective, step_size=size, block_size=3),
        key,
        jax.numpy.stack([W, size * W]),
        data,
        num_steps=3,
    ),
    "gradient_descent": searched(
        lambda objective, size: jaxsvm.gradient_descent(objective, step_size=size, momentum=size)
    ),
    "minibatch": searched(
        lambda objective, size: jaxsvm.minibatch_gradient_descent(
            objective, step_size=jaxsvm.exponential_decay(size, rate=size), batch_size=4
        )
    ),
    "line_search_descent": searched(lambda objective, size: jaxsvm.line_search_descent(objective)),
    "from_optax": searched(lambda objective, size: jaxsvm.from_optax(optax.adam(size), objective)),
    "slice_1d": lambda objective, key, size, W, data: jaxsvm.slice_1d(
        objective, W, jaxsvm.random_direction(key, W), data, start=-size, stop=size, num=5
    ),
    "slice_2d": lambda objective, key, size, W, data: jaxsvm.slice_2d(
        objective, W, W[::-1], -W, data, start=-size, stop=size, num=5
    ),
    "along and minimum": lambda objective, key, size, W, data: jaxsvm.along(
        objective, W, size * jaxsvm.random_direction(key, W), data
    ).minimum(),
    "termwise_numerical_gradient": lambda objective, key, size, W, data: (
        jaxsvm.termwise_numerical_gradient(objective, W, data, h=size)
    ),
    "lower_bound": lambda objective, key, size, W, data: jaxsvm.lower_bound(
        objective, W, data, radius=1 / size
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_traced_once(name):
    chex.clear_trace_counter()
    entry = jax.jit(chex.assert_max_traces(ENTRIES[name], n=1))
    for seed, size in enumerate((0.01, 0.02, 0.3)):
        objective = Objective(reg=0.1 * size, delta=1 + size)
        out = entry(objective, jax.random.key(seed), size, *problem(seed, SHAPE))
    chex.assert_tree_all_finite(out)


def test_an_optimizer_made_anew_is_a_function_of_its_own():
    chex.clear_trace_counter()
    search = jax.jit(chex.assert_max_traces(run, n=1), static_argnames=("optimizer", "num_steps"))
    first, second = (jaxsvm.random_search(Objective(), scale=s, block_size=3) for s in (1.0, 2.0))
    for seed in range(2):
        search(first, jax.random.key(seed), *problem(seed, SHAPE), num_steps=3)
    with pytest.raises(AssertionError, match="traced"):
        search(second, jax.random.key(0), *problem(0, SHAPE), num_steps=3)


@pytest.fixture
def compiled():
    """The names of what has been compiled in this test so far."""
    names = []

    def listen(event: str, duration_secs: float, **info: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(info["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("form", [problem, byte_problem])
def test_a_second_gradient_check_compiles_nothing(form, compiled):
    kinks = []
    for seed, h in enumerate((0.03, 0.05, 0.08)):
        W, data = form(seed, (43, 11, 7))  # a shape of its own, not yet compiled
        compiled.clear()
        objective = Objective(reg=0.1 * seed, delta=1.1 + 0.1 * seed)
        # On the host, which picks the examples with a kink in reach: as many as there are.
        kinks.append(jaxsvm.check_gradient(objective, W, data, h=h).num_kink)
        assert (compiled == []) == (seed > 0)
    assert min(kinks) > 0
