"""Bad and odd arguments: the fuzzer finds nothing, and what it once found stays mended."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, certificate, gradients
from tests.problems import byte_problem, float_dtype, problem
from tests.public_functions import RECORDS, public_names, uncovered

ROOT = Path(__file__).parents[1]


@pytest.mark.any_precision
def test_every_public_function_is_called():
    assert uncovered() == set()
    assert public_names() >= RECORDS


@pytest.mark.any_precision
def test_500_bad_or_odd_calls_are_right_or_refused():
    # A program of its own: here the checks of annotations would answer first.
    program = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--cases", "500"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "cases 500 findings 0"


def test_a_dtype_of_labels_holds_all_classes():
    scores, y = jnp.zeros((2, 300), float_dtype()), jnp.array([0, 44], jnp.int8)
    for call in (jaxsvm.hinge_loss, jax.jit(jaxsvm.hinge_loss)):
        with pytest.raises(ValueError, match=r"y has dtype int8.* 300 classes"):
            call(scores, y)


def test_no_class_is_the_best_of_nan():
    W, data = problem(0)
    bad = Data(data.X.at[3, 1].set(jnp.nan), data.y)
    for call in (lambda: jaxsvm.predict(W, bad.X), lambda: jaxsvm.accuracy(W, bad)):
        with pytest.raises(ValueError, match=r"\[3, 0\] = nan: expected finite"):
            call()
    assert jax.jit(jaxsvm.predict)(W, bad.X).shape == data.y.shape  # documented: not seen there


def test_nan_stays_nan():
    W, data = problem(0)
    bad = Data(data.X.at[3, 1].set(jnp.nan), data.y)
    scores = jnp.zeros((12, 5)).at[3, 1].set(jnp.nan)

    @jax.jit
    def found(objective, W, bad, scores):
        slopes = jnp.full((12, 5), 0.5)
        return (
            certificate.dual_value(objective, slopes, bad),
            jaxsvm.lower_bound(objective, W, bad),
            gradients.score_gradient(objective, scores, bad.y)[3, 1],
        )

    np.testing.assert_array_equal(found(Objective(reg=0.1), W, bad, scores), np.nan)


@pytest.mark.any_precision
def test_what_float32_cannot_hold_is_not_finite():
    X = np.array([[1.0], [1e300]])
    with pytest.raises(ValueError, match=r"X\[1, 0\] = 1e\+300: .* at most 3.403e\+38"):
        jaxsvm.data_from_arrays(X, np.array([0, 1]))


@pytest.mark.any_precision
def test_local_searches_look_at_their_data():
    W, data = byte_problem(0)
    whole = dataclasses.replace(data.X, shift=jnp.zeros(len(data.X.shift), jnp.int32))
    with pytest.raises(ValueError, match=r"X\.shift"):
        jaxsvm.local_searches(Objective(), step_size=0.1).init(W[None], Data(whole, data.y))


@pytest.mark.any_precision
def test_an_order_and_a_mode_are_looked_at_before_the_gradient_is():
    W = jnp.ones(3, float_dtype())
    with pytest.raises(ValueError, match=r"^order .*expected"):
        jaxsvm.check_gradient(jnp.sum, W, gradient=W, order=3)
    with pytest.raises(ValueError, match=r"^mode .*expected"):
        jaxsvm.check_gradient(jnp.sum, W, gradient=W, mode="another")
    with pytest.raises(ValueError, match=r"gradient is given: expected order = 1"):
        jaxsvm.check_gradient(jnp.sum, W, gradient=W, order=2)


def test_a_path_looks_at_the_held_out_data_first():
    _, data = problem(0)
    for bad in (Data(data.X, data.y + 5), Data(data.X.at[2, 0].set(jnp.nan), data.y)):
        with pytest.raises(ValueError, match="held_out: "):
            jaxsvm.regularization_path(Objective(), data, bad, regs=[1.0])


def test_a_gradient_has_the_shape_of_the_params():
    params = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match="gradient has shapes"):
        gradients.check_gradient(lambda p: jnp.sum(p**2), params, gradient=params.ravel())
