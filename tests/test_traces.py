"""Each entry is traced once: another seed, value, step size, reg or delta compiles nothing.

A function of optimizers is a new one for each optimizer object. To vary a setting without
recompiling, pass it to the jitted function and make the optimizer inside.
"""

import inspect
import re

import chex
import jax
import pytest

import jaxsvm
from experiments.benchmark import registry
from experiments.benchmark.registry import ENTRIES, Entry, OptimizerEntry, Problem, steps
from jaxsvm import Objective, Optimizer, run
from tests.problems import byte_problem, problem

pytestmark = [pytest.mark.any_precision, pytest.mark.keys]

SHAPE = (12, 5, 4)

# Settings other than the size, which no entry of the registry traces.
VARIED = {
    "momentum": steps(
        OptimizerEntry(
            lambda objective, size, _: jaxsvm.gradient_descent(
                objective, step_size=size, momentum=size
            )
        ),
        speed=0,
    ),
    "start": Entry(lambda p, n: p.objective(p.size * p.W, p.data)),
    "direction": Entry(
        lambda p, n: jaxsvm.along(
            p.objective, p.W, p.size * jaxsvm.random_direction(p.key, p.W), p.data
        ).minimum()
    ),
}
CASES = [
    pytest.param(entry, id=name.format(n=entry.counts.trace))
    for name, entry in (ENTRIES | VARIED).items()
    if entry.jittable
]


@pytest.mark.parametrize("entry", CASES)
def test_an_entry_is_traced_once(entry, request):

    def call(p):
        return entry.call(p, entry.counts.trace)

    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(call, n=1))
    for seed, size in enumerate((0.01, 0.02, 0.3)):
        objective = Objective(reg=0.1 * size, delta=1 + size)
        key = jax.random.key(seed)
        one = jax.device_put(Problem(objective, key, size, *problem(seed, SHAPE)))
        # Once it is compiled, nothing goes to the device or comes from it unasked.
        with jax.transfer_guard("disallow" if seed else "allow"):
            out = traced(one)
    assert "callback" not in str(traced.trace(one).jaxpr)
    if "pruned" in request.node.name:
        out, _ = out  # of its info, a refused draw's loss is NaN
    chex.assert_tree_all_finite(out)


def test_the_registry_makes_every_optimizer():
    makers = {
        name
        for name, value in vars(jaxsvm).items()
        if inspect.isfunction(value) and value.__annotations__.get("return") is Optimizer
    }
    text = inspect.getsource(registry)
    missing = {name for name in makers if not re.search(rf"jaxsvm\.{name}\b", text)}
    assert missing <= {"minibatch"}  # part of minibatch_gradient_descent
    assert "random_search" in makers


def test_an_optimizer_made_anew_is_a_function_of_its_own():
    chex.clear_trace_counter()
    search = jax.jit(chex.assert_max_traces(run, n=1), static_argnames=("optimizer", "num_steps"))
    first, second = (jaxsvm.random_search(Objective(), scale=s, block_size=3) for s in (1.0, 2.0))
    for seed in range(2):
        search(first, jax.random.key(seed), *problem(seed, SHAPE), num_steps=3)
    with pytest.raises(AssertionError, match="traced"):
        search(second, jax.random.key(0), *problem(0, SHAPE), num_steps=3)


@pytest.mark.parametrize("form", [problem, byte_problem])
def test_a_second_gradient_check_compiles_nothing(form, programs):
    kinks = []
    for seed, h in enumerate((0.03, 0.05, 0.08)):
        W, data = form(seed, (43, 11, 7))  # a shape of its own, not yet compiled
        programs.clear()
        objective = Objective(reg=0.1 * seed, delta=1.1 + 0.1 * seed)
        # On the host, which picks the examples with a kink in reach: as many as there are.
        kinks.append(jaxsvm.check_gradient(objective, W, data, h=h).num_kink)
        assert (programs == []) == (seed > 0)
    assert min(kinks) > 0
