"""What a user meets at the edges: bad inputs, messages, defaults, reprs and help."""

import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsvm
from jaxsvm import Data, Objective
from jaxsvm.optimizers.contract import _check_run
from tests.problems import float_dtype, problem

ROOT = Path(__file__).parents[1]
analytic_gradient = jax.jit(jaxsvm.analytic_gradient)


@pytest.mark.any_precision
def test_every_bad_input_gets_one_clear_error():
    # A program of its own: here the checks of annotations would answer first.
    program = [sys.executable, "-m", "tests.bad_inputs"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    table = [line for line in done.stdout.splitlines() if line.startswith("| eager")]
    assert int(table[0].split("|")[2]) > 1000


@pytest.mark.compiled
@pytest.mark.parametrize("D", [1, 2])
def test_jitted_slices_count_what_is_right(D):
    # With one column the product is fused into what follows, and own − own may leave a residue.
    line, plane = (jax.jit(f, static_argnames="num") for f in (jaxsvm.slice_1d, jaxsvm.slice_2d))
    for seed in range(5):
        draw = np.random.default_rng(seed).standard_normal
        X, W, a = (jnp.asarray(draw((n, D)), float_dtype()) for n in (200, 3, 3))
        data = Data(X, jnp.arange(200) % 3)
        along_it = line(Objective(), W, a, data, num=5)
        expected = [right(W + t * a, data) for t in along_it.t]
        np.testing.assert_allclose(along_it.accuracy, expected, atol=0.006)  # a tie to rounding
        over_it = plane(Objective(), W, W, a, data, num=3)
        assert over_it.accuracy[1, 1] == pytest.approx(right(W, data), abs=0.006)


def right(W, data):
    scores = np.asarray(data.X, float) @ np.asarray(W, float).T
    return np.mean(np.argmax(scores, axis=1) == np.asarray(data.y))


def test_regs_of_all_kinds_compile_once():
    traces = []

    @jax.jit
    def value(objective, W, data):
        traces.append(objective)
        return objective(W, data)

    W, data = problem(0)
    for reg in (1, 1.0, np.float32(1), np.int64(1), np.float64(1)):
        value(Objective(reg=reg, delta=1), W, data)
    assert len(traces) == 1
    with pytest.raises(ValueError, match="which takes no delta"):
        Objective(lambda scores, y: scores[:, 0])


def test_the_numerical_gradients_step_follows_the_dtype():
    W, data = problem(1, (40, 9, 10))
    smooth = Objective(jaxsvm.squared_hinge_loss, reg=0.1)
    exact = np.asarray(analytic_gradient(smooth, W, data))

    def error(**step):
        # Not one operation after the other, each of which would be a program of its own.
        numerical = functools.partial(jaxsvm.numerical_gradient, lambda W: smooth(W, data), **step)
        got = np.asarray(jax.jit(numerical)(W))
        return np.max(np.abs(got - exact)) / np.max(np.abs(exact))

    default = error()
    assert default < (1e-3 if float_dtype() == jnp.float32 else 1e-6)
    if float_dtype() == jnp.float32:
        assert error(h=1e-5) > 10 * default


def test_a_half_precision_gradient_is_right_to_half_precision_only():
    W, data = problem(2)
    objective = Objective(reg=0.1)
    half = jnp.asarray(np.asarray(analytic_gradient(objective, W, data)).astype(np.float16))
    assert "right to float16 rounding" in str(
        jaxsvm.check_gradient(objective, W, data, gradient=half)
    )
    assert ": right\n" in str(jaxsvm.check_gradient(objective, W, data))


TAKEN = [
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
    "amsgrad", "fromage", "lamb", "lars", "lbfgs", "lion", "nadam", "nadamw", "noisy_sgd",
    "novograd", "optimistic_gradient_descent", "polyak_sgd", "radam", "rmsprop", "rprop", "sgd",
    "sign_sgd", "sm3", "yogi",
]  # fmt: skip


@pytest.mark.any_precision
@pytest.mark.parametrize("name", TAKEN)
def test_from_optax_takes(name):
    make = getattr(optax, name)
    options = {"lbfgs": {}, "polyak_sgd": {}, "noisy_sgd": {"learning_rate": 0.01, "key": 0}}
    transformation = make(**options.get(name, {"learning_rate": 0.01}))
    W, data = problem(3)
    objective = Objective(reg=0.1)
    optimizer = jaxsvm.from_optax(transformation, objective)
    # Op by op: the operations of one are mostly those of another, and compiled already.
    state, info = optimizer.step(jax.random.key(0), optimizer.init(W, data), data)
    assert np.isfinite(np.asarray(state.params)).all()
    assert float(info.loss) == pytest.approx(float(objective(W, data)), rel=1e-5)


def test_transparent_sam_is_taken():
    sam = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.05))
    W, data = problem(3)
    state, _ = jaxsvm.run(
        jaxsvm.from_optax(sam, Objective(reg=0.1)), jax.random.key(0), W, data, num_steps=2
    )
    assert (np.asarray(state.params) != np.asarray(W)).any()


def test_reprs_are_short():
    _, data = problem(0)
    kind = np.dtype(float_dtype()).name
    assert repr(data) == f"Data(X={kind}[12, 6], y=int32[12])"
    solution = jaxsvm.solve(Objective(reg=1.0), data, num_classes=5)
    assert len(repr(solution)) < 200
    assert "gap" in repr(solution)
    (point,) = jaxsvm.regularization_path(Objective(), data, data, regs=[1.0])
    assert point.gap == point.solution.gap
    assert len(repr(point)) < 250
    digits = jaxsvm.load_dataset("digits")
    assert "StandardizedFeatures float32[1348, 65]" in repr(digits.train)
    assert len(repr(digits.train)) < 100
    assert "stored as uint8" in repr(digits.train.X)


@pytest.mark.any_precision
def test_help_lists_the_names_and_no_modules():
    assert len(jaxsvm.__all__) == len(set(jaxsvm.__all__)) > 40
    assert set(jaxsvm.__all__) <= set(re.findall(r"`(\w+)`", jaxsvm.__doc__))
    assert not {"core", "lines", "plot", "files"} & set(jaxsvm.__all__)


def test_labels_are_an_edge_where_they_have_values():
    W, data = problem(0)
    y = np.array(data.y)
    y[3] = 5
    bad = Data(data.X, jnp.asarray(y))
    for call in (
        lambda: Objective()(W, bad),
        lambda: jaxsvm.accuracy(W, bad),
        lambda: jaxsvm.run(
            jaxsvm.minibatch_gradient_descent(Objective(), step_size=0.1, batch_size=2),
            jax.random.key(0), W, bad, num_steps=1,
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"y\[3\] = 5: labels must be integers in \[0, 5\)"):
            call()
    assert np.isnan(jax.jit(Objective())(W, bad))  # documented: not seen inside jax.jit


def test_an_optimizer_has_two_functions():
    class Half:
        def init(self, params, data):
            return params

    with pytest.raises(ValueError, match="optimizer is a Half: expected an Optimizer"):
        _check_run(Half(), jax.random.key(0))

    class OtherHalf:
        def update(self, updates, state, params=None):
            return updates, state

    with pytest.raises(ValueError, match="transformation is a OtherHalf"):
        inspect.unwrap(jaxsvm.from_optax)(OtherHalf(), Objective())


@pytest.mark.parametrize("momentum", ["heavy", -0.5, float("inf"), None])
def test_a_momentum_is_a_number_or_the_one_word(momentum):
    with pytest.raises(ValueError, match=r"momentum = .*: expected a number >= 0"):
        # Without the tests' check of types, as a user calls it.
        inspect.unwrap(jaxsvm.line_search_descent)(Objective(), momentum=momentum)


def test_one_label_is_not_all_labels():
    slopes, label = (jnp.asarray(x) for x in (np.ones((3, 2)), np.zeros(1, np.int32)))
    for use in (jaxsvm.hinge_loss.pull_back, jaxsvm.hinge_loss.mask):
        with pytest.raises(ValueError, match="y has shape"):
            use(slopes, label)


def test_one_traced_argument_is_enough():
    W, data = problem(0)
    with pytest.raises(ValueError, match=r"inside jax\.jit"):
        jax.jit(lambda W: jaxsvm.check_gradient(Objective(), W, data).gradient)(W)
