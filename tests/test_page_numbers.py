"""The page's arithmetic, in node, against jaxsvm in float64: every loss, with kinks and ties."""

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from experiments.shared import page
from jaxsvm import Data, Hinge, Objective, softmax_loss
from jaxsvm.certificate import dual_value
from jaxsvm.core.losses import FAMILY
from jaxsvm.gradients.verdict import Verdict
from tests.problems import FEW

pytestmark = [
    pytest.mark.any_precision,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run the page's script"),
]
TOLERANCE = 1e-10
NAMELESS = {
    "absolute, wrong": Hinge("absolute"),
    "absolute, wrong, max": Hinge("absolute", join="max"),
    "absolute, all, max": Hinge("absolute", "all", "max"),
    "absolute, own": Hinge("absolute", "own"),
}
LOSSES = FAMILY | NAMELESS
# A sum, a square of a maximum, and weights; each is a program to compile.
COMPILED = ["Weston-Watkins", "squared Crammer-Singer", "reinforced"]
# Of each loss; half of them of small whole numbers, where kinks and ties abound.
PROBLEMS, SHAPE = 50, (6, 3, 4)
T = np.array([-1.5, -1.0, 0.0, 0.5, 2.0])


def in_node(problems):
    """Return the page's answers."""
    command = ["node", str(Path(__file__).with_name("page_numbers.mjs")), str(page.FOLDER)]
    ran = subprocess.run(command, input=json.dumps(problems), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def draw(seed, shape=SHAPE, num=PROBLEMS):
    """Return stacked arrays of problems."""
    N, D, C = shape
    rng = np.random.default_rng(seed)

    def mixed(*size):
        whole = rng.integers(-2, 3, (num // 2, *size)).astype(float)
        return np.concatenate([whole, rng.standard_normal((num - num // 2, *size))])

    X = mixed(N, D)
    X[:, :, -1] = 1.0
    delta = np.where(np.arange(num) < num // 2, rng.integers(0, 3, num), rng.uniform(0, 3, num))
    reg = np.where(np.arange(num) % 5 == 0, 0.0, 2.0 ** rng.integers(-4, 2, num))
    y = rng.integers(0, C, (num, N)).astype(np.int32)
    return {"W": mixed(C, D), "D": mixed(C, D), "X": X, "y": y, "delta": delta, "reg": reg}


def as_problems(loss, arrays, **more):
    """Return what node is given, a dict for each problem."""
    parts = {name: value.tolist() for name, value in arrays.items()}
    rows = [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    return [row | {"loss": loss, "t": T.tolist(), **more} for row in rows]


def simple_answers(loss, problem):
    """Return what needs no compilation of its own."""
    objective = Objective(loss, reg=problem["reg"], delta=problem["delta"])
    W, data = problem["W"], Data(problem["X"], problem["y"])
    scores = jaxsvm.score(W, data.X)
    found = {
        "scores": scores,
        "losses": loss(scores, data.y, delta=objective.delta),
        "value": objective(W, data),
        "accuracy": jaxsvm.accuracy(W, data),
    }
    if not isinstance(loss, Hinge):
        return found | {"gradient": jax.grad(objective)(W, data)}
    return found | {
        "margins": loss.all_margins(scores, data.y, delta=objective.delta),
        "gradient": jaxsvm.analytic_gradient(objective, W, data),
    }


def line_answers(loss, problem):
    """Return what holds along a line."""
    objective = Objective(loss, reg=problem["reg"], delta=problem["delta"])
    W, data = problem["W"], Data(problem["X"], problem["y"])
    ahead, at = jaxsvm.along(objective, W, problem["D"], data), jnp.asarray(T)
    return {
        "line_values": jax.vmap(ahead.value)(at),
        "line_slopes": jnp.stack(jax.vmap(ahead.slopes)(at), axis=1),
        "minimum": jnp.stack(ahead.minimum()),
        "kinks": ahead.kinks(),
    }


def compare(name, expected, told):
    """Raise AssertionError where the page and jaxsvm differ."""
    for key, value in expected.items():
        for i, (found, theirs) in enumerate(zip(told, np.asarray(value), strict=True)):
            # A term that never switches has no kink on the page, and one at infinity in jaxsvm.
            theirs = theirs[np.isfinite(theirs)] if key == "kinks" else theirs
            mine, message = np.array(found[key], dtype=float), f"{name}: {key} of problem {i}"
            np.testing.assert_allclose(mine, theirs, TOLERANCE, TOLERANCE, err_msg=message)


@pytest.fixture(scope="module")
def asked():
    """Problems for every loss, by its name."""
    return {name: draw(seed) for seed, name in enumerate([*LOSSES, "softmax"])}


@pytest.fixture(scope="module")
def told(asked):
    """The page's answers, by the loss's name."""
    problems = [problem for name, arrays in asked.items() for problem in as_problems(name, arrays)]
    answers = in_node(problems)
    return {name: [answers.pop(0) for _ in range(PROBLEMS)] for name in asked}


@pytest.mark.parametrize("name", [*LOSSES, "softmax"])
def test_losses_margins_and_gradients_are_jaxsvms(x64, asked, told, name):
    loss = LOSSES.get(name, softmax_loss)
    answers = jax.jit(jax.vmap(partial(simple_answers, loss)))
    compare(name, answers(asked[name]), told[name])


@pytest.mark.parametrize("name", COMPILED)
def test_lines_are_jaxsvms(x64, asked, told, name):
    answers = jax.jit(jax.vmap(partial(line_answers, LOSSES[name])))
    compare(name, answers(asked[name]), told[name])


@pytest.mark.parametrize("name", FEW)
def test_the_bottom_lies_between_two_numbers_that_jaxsvm_finds_too(x64, name):
    arrays = draw(100, num=10)
    arrays["reg"], loss = 2.0 ** np.arange(-7.0, 3.0), LOSSES[name]
    told = in_node(as_problems(name, arrays, climb=4000))
    below, value = jax.jit(dual_value), jax.jit(lambda objective, W, data: objective(W, data))
    for i, answer in enumerate(told):
        found = answer["bottom"]
        objective = Objective(loss, reg=arrays["reg"][i], delta=arrays["delta"][i])
        data = Data(jnp.asarray(arrays["X"][i]), jnp.asarray(arrays["y"][i]))
        lower = below(objective, jnp.array(found["slopes"], float), data)
        np.testing.assert_allclose(found["lower"], lower, rtol=TOLERANCE, atol=TOLERANCE)
        upper = value(objective, jnp.array(found["W"], float), data)
        np.testing.assert_allclose(found["upper"], upper, rtol=TOLERANCE, atol=TOLERANCE)
        assert found["lower"] <= found["upper"] <= found["lower"] + 1e-6 * max(1.0, found["upper"])


def test_the_gradient_check_says_what_jaxsvms_says(x64):
    name, h = "Weston-Watkins", 0.05
    arrays, loss = draw(200, num=16), LOSSES[name]
    rng = np.random.default_rng(0)
    problems = as_problems(name, arrays, h=h)
    expected = []
    for i, problem in enumerate(problems):
        objective = Objective(loss, reg=arrays["reg"][i], delta=arrays["delta"][i])
        W = jnp.asarray(arrays["W"][i])
        data = Data(jnp.asarray(arrays["X"][i]), jnp.asarray(arrays["y"][i]))
        gradient = np.array(jaxsvm.analytic_gradient(objective, W, data))
        # Some of them are wrong.
        gradient *= rng.choice([1.0, 1.0, 1.0, 1.01], gradient.shape)
        problem["given"] = gradient.tolist()
        check = jaxsvm.check_gradient(objective, W, data, gradient=gradient, h=h, ties="any")
        expected.append(check)
    seen, named = set(), 0
    for n, (check, answer) in enumerate(zip(expected, in_node(problems), strict=True)):
        for k, row in enumerate(answer["check"]):
            for d, found in enumerate(row):
                verdict = Verdict(int(check.verdict[k, d])).name.lower()
                assert found["verdict"] == ("wrong" if verdict == "rounding" else verdict)
                seen.add(verdict)
                for key in ("left", "right", "numerical"):
                    theirs = getattr(check, key)[k, d]
                    np.testing.assert_allclose(found[key], theirs, rtol=1e-10, atol=1e-10)
        # Of whole numbers many hinges are as far in the way as each other.
        for c in check.worst if n >= len(expected) // 2 else ():
            crossed = answer["check"][c.class_index][c.feature]["crossed"]
            theirs = (c.example, c.crossed_class)
            assert (crossed and crossed["i"], crossed and crossed["j"]) == theirs
            named += c.example is not None
    assert seen >= {"smooth", "kink", "wrong"}
    assert named
