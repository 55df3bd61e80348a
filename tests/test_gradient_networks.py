"""The check takes networks of flax, equinox and haiku as they are: functions of pytrees."""

import equinox
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxsvm
from jaxsvm.gradients import Verdict
from tests.problems import float_dtype

INPUTS = np.random.default_rng(0).standard_normal((4, 3))


def of_flax(x):
    class Network(linen.Module):  # type: ignore[misc]
        @linen.compact
        def __call__(self, x):
            x = linen.relu(linen.Dense(5, param_dtype=x.dtype)(x))
            return linen.Dense(2, param_dtype=x.dtype)(x)

    network = Network()
    return network.apply, jax.jit(network.init)(jax.random.key(0), x)


def of_equinox(x):
    network = equinox.nn.MLP(3, 2, 5, 1, dtype=x.dtype, key=jax.random.key(0))
    params, rest = equinox.partition(network, equinox.is_inexact_array)
    return lambda params, x: jax.vmap(equinox.combine(params, rest))(x), params


def of_haiku(x):
    transformed = haiku.transform(lambda x: haiku.nets.MLP([5, 2])(x))
    network = haiku.without_apply_rng(transformed)
    return network.apply, jax.jit(network.init)(jax.random.key(0), x)


@pytest.mark.parametrize("network", [of_flax, of_equinox, of_haiku])
def test_a_mistake_in_a_networks_gradient_is_found_there(network):
    x = jnp.asarray(INPUTS, float_dtype())
    apply, params = network(x)

    def loss(params, x):
        return jnp.mean(jnp.max(apply(params, x), axis=1))

    right = jax.jit(jax.grad(loss))(params, x)
    leaves, tree = jax.tree.flatten(right)
    wrong = jax.tree.unflatten(tree, [*leaves[:-1], leaves[-1] + 0.01])
    check = jaxsvm.check_gradient(loss, params, x, gradient=wrong)
    assert check.verdict.size == sum(leaf.size for leaf in leaves)
    assert not check.unknown
    # An example whose hidden units are all 0 has tied scores.
    assert check.num_smooth + check.num_kink == check.verdict.size - leaves[-1].size
    assert np.all(check.verdict[-leaves[-1].size :] == Verdict.WRONG)
    path = jax.tree_util.keystr(jax.tree.leaves_with_path(params)[-1][0])
    assert f"params{path}" in str(check)
