"""The directional check of any function: kinks accepted, mistakes found, its limits as stated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Objective
from jaxsvm.gradients import check_directions
from tests.problems import problem


def network(params, x):
    """A small relu network; at a zero input, a unit with a zero bias sits on its kink."""
    hidden = jax.nn.relu(x @ params["first"] + params["bias"][None, :])
    return jnp.mean((hidden @ params["second"] - 1.0) ** 2)


def network_problem(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "first": jax.random.normal(keys[0], (4, 8)),
        "bias": jax.random.normal(keys[3], (8,)).at[0].set(0.0),
        "second": jax.random.normal(keys[1], (8,)),
    }
    x = jax.random.normal(keys[2], (20, 4)).at[0].set(0.0)
    return params, x


@pytest.mark.parametrize("x64", [False, True])
def test_no_false_alarm_and_no_large_mistake_missed(x64):
    with jax.enable_x64(x64):
        for seed in range(3):
            params, x = network_problem(seed)

            def f(p, x=x):
                return network(p, x)

            right = check_directions(f, params, key=jax.random.key(seed))
            assert right.num_wrong == 0
            assert right.num_kink > 0 or not x64  # the zero input; float32 cannot resolve it
            g = jax.grad(f)(params)
            mutants = (
                jax.tree.map(lambda leaf: -leaf, g),
                jax.tree.map(lambda leaf: 2 * leaf, g),
                g | {"second": jnp.roll(g["second"], 1)},
            )
            for i, mutant in enumerate(mutants):
                assert check_directions(f, params, mutant, key=jax.random.key(i)).num_wrong > 2


def test_it_finds_where_autodiff_is_wrong():
    with jax.enable_x64(True):
        check = check_directions(
            lambda p: jnp.sum(jax.nn.relu(p) - jax.nn.relu(-p)),
            jnp.zeros(1),
            key=jax.random.key(0),
        )
        assert check.num_wrong == 16
        np.testing.assert_allclose(check.slope, 0)


def test_on_the_objective():
    with jax.enable_x64(True):
        W, data = problem(0, (40, 9, 10))
        objective = Objective(reg=0.1)

        def f(W):
            return objective(W, data)

        g = jaxsvm.analytic_gradient(objective, W, data)
        assert check_directions(f, W, g, key=jax.random.key(1)).num_wrong == 0
        wrong = check_directions(f, W, g + 0.2 * W, key=jax.random.key(1))  # 2·reg for reg
        assert wrong.num_wrong == 16


def test_both_sides_of_a_kink_and_a_parabola():
    with jax.enable_x64(True):
        # Any number in [-1, 1] is a subgradient of |t| at 0, and no other.
        for i, (slope, verdict) in enumerate([(0.5, 1), (-1.0, 1), (1.1, 3)]):
            check = check_directions(
                lambda p: jnp.abs(p[0]), jnp.zeros(1), slope + jnp.zeros(1), key=jax.random.key(i)
            )
            np.testing.assert_array_equal(check.verdict, verdict)
            np.testing.assert_allclose(np.abs(check.right), 1)
            assert np.all(check.resolution >= 2)  # the jump: any slope within it passes
        # Curvature alone is no kink.
        cubic = check_directions(
            lambda p: jnp.sum(p**3 + p**2), jnp.array([0.3, -2.0]), key=jax.random.key(9)
        )
        assert cubic.num_smooth == 16


def test_what_is_smaller_than_its_resolution_passes():
    with jax.enable_x64(True):
        p = jnp.array([0.3, -2.0])
        error = check_directions(lambda p: jnp.sum(p**2), p, key=jax.random.key(0)).resolution
        # A direction (1, −1)/√2 cannot see an error that is the same in both entries.
        for factor, wrong in ((0.1, 0), (10.0, 3)):
            g = 2 * p + factor * error.max()
            check = check_directions(lambda p: jnp.sum(p**2), p, g, key=jax.random.key(1))
            assert (check.num_wrong == 0) if wrong == 0 else (check.num_wrong > wrong)


def test_wrong_input_is_said():
    with pytest.raises(ValueError, match="num_directions = 0"):
        check_directions(jnp.sum, jnp.zeros(3), key=jax.random.key(0), num_directions=0)
    with pytest.raises(ValueError, match="gradient has shapes"):
        check_directions(jnp.sum, jnp.zeros(3), jnp.zeros(2), key=jax.random.key(0))
