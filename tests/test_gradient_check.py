"""The gradient check: no false alarm on a correct gradient, no mutant missed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, StandardizedFeatures
from jaxsvm.gradients import Verdict
from jaxsvm.gradients.check import _crossing
from jaxsvm.gradients.evidence import _sums_are_exact
from tests import reference
from tests.problems import byte_problem, problem

# Where the precision matters a test takes one or both by itself.
pytestmark = pytest.mark.any_precision

LOSSES = sorted(reference.LOSSES)
# Each loss has one penalty in all tests, and nearly all problems one size: programs are shared.
PENALTIES = dict(zip(LOSSES, ["l1_penalty", "l2_penalty"] * 2, strict=True))
assert PENALTIES["hinge_loss"] == "l2_penalty"  # as `Objective` has by default
N = 240
SIZE = (N, 65, 10)

closed_form = jax.jit(jaxsvm.analytic_gradient)
autodiff = jax.jit(lambda objective, W, data: jax.grad(objective)(W, data))
termwise = jax.jit(jaxsvm.termwise_numerical_gradient)
error_budget = jax.jit(jaxsvm.gradients.error_budget)


def objective_of(loss, reg=0.3):
    return Objective(getattr(jaxsvm, loss), getattr(jaxsvm, PENALTIES[loss]), reg)


@functools.lru_cache
def pixels():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data[:N], digits.target[:N].astype(np.int32)


def digits(kind):
    """Digits as the notes would have them: "raw", "centred" or "scaled" pixels, or "bytes"."""
    X, y = pixels()
    mean, scale = X.mean(axis=0), 1 / 8 if kind == "scaled" else 1.0
    if kind == "bytes":
        columns = [X, np.ones((N, 1)), np.zeros((N, 3))]  # padded as those of `byte_problem`
        values = np.concatenate(columns, axis=1).astype(np.uint8)
        folded = jnp.asarray(np.append(mean, 0)), jnp.asarray(np.ones(65))
        return Data(StandardizedFeatures(jnp.asarray(values), *folded), jnp.asarray(y))
    if kind != "raw":
        X = (X - mean) * scale
    return Data(jnp.asarray(np.append(X, np.ones((N, 1)), axis=1)), jnp.asarray(y))


def weights(kind, objective, data):
    W: np.ndarray = np.zeros((10, data.X.shape[1]))
    if kind == "tied":  # s_0 = 1, all others 0: every wrong class of an example of class 0 is tied
        W[0, -1] = 1
    if kind in ("random", "trained"):
        W = 0.05 * np.random.default_rng(0).standard_normal(W.shape)
    W = W.astype(data.X.dtype)
    if kind == "trained":
        step_size = 0.02 / np.mean(np.sum(np.asarray(data.X) ** 2, axis=1))
        for _ in range(40):
            W = W - step_size.astype(W.dtype) * np.asarray(closed_form(objective, W, data))
    return jnp.asarray(W)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_correct_gradient_raises_no_alarm(loss, x64):
    objective = objective_of(loss)
    with jax.enable_x64(x64):
        for features in ("raw", "centred", "scaled"):
            data = digits(features)
            for kind in ("zero", "tied", "random", "trained"):
                W = weights(kind, objective, data)
                gradient = autodiff if features == "centred" else closed_form
                check = jaxsvm.check_gradient(
                    objective, W, data, gradient=gradient(objective, W, data), h=1e-3
                )
                assert check.num_wrong == 0, (features, kind, str(check))
                assert check.num_rounding == 0
                assert check.num_smooth + check.num_kink == W.size


def numpy_gradient(W, data, *, reg=0.3, ties=False, count=True, mean=True, factor=2.0):
    """The notes' gradient with products, and its mistakes on request."""
    W, X, y = np.asarray(W), np.asarray(data.X), np.asarray(data.y)
    scores = X @ W.T
    margins = scores - scores[np.arange(len(y)), y][:, None] + 1
    G = (margins >= 0 if ties else margins > 0).astype(W.dtype)
    G[np.arange(len(y)), y] = 0
    if count:
        G[np.arange(len(y)), y] = -G.sum(axis=1)
    return G.T @ X / (len(y) if mean else 1) + factor * reg * W


def without_example(data, i):
    X, y = (np.delete(np.asarray(a), i, axis=0) for a in data)
    return Data(jnp.asarray(X), jnp.asarray(y))


def one_label_off(data):
    y = np.array(data.y)
    y[17] = (y[17] + 1) % 10
    return Data(data.X, jnp.asarray(y))


MUTANTS = {
    "wrong sign": lambda W, data: -numpy_gradient(W, data),
    "a row shifted by one": lambda W, data: np.roll(numpy_gradient(W, data), 1, axis=0),
    "a column shifted by one": lambda W, data: np.roll(numpy_gradient(W, data), 1, axis=1),
    "the −count row missing": lambda W, data: numpy_gradient(W, data, count=False),
    "2·reg for reg": lambda W, data: numpy_gradient(W, data, factor=4.0),
    "reg for 2·reg": lambda W, data: numpy_gradient(W, data, factor=1.0),
    "no penalty": lambda W, data: numpy_gradient(W, data, factor=0.0),
    "1/N missing": lambda W, data: numpy_gradient(W, data, mean=False),
    "an example dropped": lambda W, data: (
        numpy_gradient(W, without_example(data, 5)) * (N - 1) / N + 2 * 0.3 * np.asarray(W) / N
    ),
    "a label off": lambda W, data: numpy_gradient(W, one_label_off(data)),
    "one entry off by 1e-9": lambda W, data: (
        numpy_gradient(W, data) + 1e-9 * (np.arange(W.size) == 77).reshape(W.shape)
    ),
}


@pytest.mark.parametrize("name", [*MUTANTS])
def test_every_mutant_is_wrong_and_the_original_is_not(name):
    with jax.enable_x64(True):
        data, objective = digits("centred"), Objective(reg=0.3)
        W = weights("random", objective, data)
        assert jaxsvm.check_gradient(objective, W, data, gradient=numpy_gradient).num_wrong == 0
        check = jaxsvm.check_gradient(objective, W, data, gradient=MUTANTS[name])
        if name == "one entry off by 1e-9":  # as small as float32's rounding, in one place
            assert (check.num_rounding, check.num_wrong) == (1, 0)
        else:
            assert check.num_wrong > 0


@pytest.mark.parametrize("features", ["raw", "centred"])
def test_the_wrong_subgradient_at_a_tie_is_found(features):
    with jax.enable_x64(True):
        data, objective = digits(features), Objective(reg=0.3)
        W = weights("tied", objective, data)

        def greater_or_equal(W, data):
            return numpy_gradient(W, data, ties=True)

        def half(W, data):  # what jax.grad of jnp.maximum gives
            return (numpy_gradient(W, data) + greater_or_equal(W, data)) / 2

        assert jaxsvm.check_gradient(objective, W, data, gradient=numpy_gradient).num_wrong == 0
        for other in (greater_or_equal, half):
            check = jaxsvm.check_gradient(objective, W, data, gradient=other)
            assert check.num_wrong > 100
            # It lies between the one-sided slopes all the same, and may be accepted as that.
            any_tie = jaxsvm.check_gradient(objective, W, data, gradient=other, ties="any")
            assert any_tie.num_wrong == 0
            # A central difference astride a tie is the half itself.
            assert (any_tie.num_kink > 100) == (other is greater_or_equal)
        mutant = jaxsvm.check_gradient(
            objective, W, data, gradient=MUTANTS["wrong sign"], ties="any"
        )
        assert mutant.num_wrong > 100


def test_the_sign_of_a_zero_weight_is_a_tie_of_the_penalty():
    with jax.enable_x64(True):
        # One-vs-rest has no tie of its own at 0, where all its margins are 1.
        data, objective = digits("raw"), objective_of("one_vs_rest_loss", 0.5)
        W = weights("zero", objective, data)
        g = np.asarray(closed_form(objective, W, data))
        for ties, wrong in (("zero", 650), ("any", 0)):
            check = jaxsvm.check_gradient(objective, W, data, gradient=g + 0.5, ties=ties)
            assert check.num_wrong == wrong
        np.testing.assert_allclose(check.right - check.left, 1.0)


def test_a_tie_to_rounding_only_is_either_sides():
    with jax.enable_x64(True):
        W, data = problem(3, SIZE)
        scores = np.asarray(data.X) @ np.asarray(W).T
        y = np.asarray(data.y)
        # delta puts a margin of example 0 at 0 to the last bit; summed otherwise, it may not be.
        delta = float(scores[0, y[0]] - scores[0, y[0] - 1])
        for nudge in (1.0, 1 + 1e-15, 1 - 1e-15):
            near = Objective(delta=delta * nudge)
            check = jaxsvm.check_gradient(
                Objective(delta=delta), W, data, gradient=closed_form(near, W, data)
            )
            assert check.num_wrong == 0
            assert check.num_kink > 0


def test_float32_accumulation_is_rounding_and_not_wrong():
    with jax.enable_x64(True):
        for loss in LOSSES:
            objective, data = objective_of(loss), digits("centred")
            W = weights("random", objective, data)
            W32, X32 = (jnp.asarray(np.asarray(a), jnp.float32) for a in (W, data.X))
            single = closed_form(objective, W32, Data(X32, data.y))
            # A float32 array claims no more than it has; widened, it claims float64.
            assert jaxsvm.check_gradient(objective, W, data, gradient=single).num_rounding == 0
            wide = np.asarray(single, np.float64)
            check = jaxsvm.check_gradient(objective, W, data, gradient=wide)
            assert check.num_rounding > 300
            assert check.num_wrong == 0
            assert "float32 rounding only" in str(check)


@pytest.mark.parametrize("loss", LOSSES)
def test_its_numerical_gradient_is_the_termwise_one(loss):
    objective = objective_of(loss)
    with jax.enable_x64(True):
        data = digits("centred")
        W = weights("random", objective, data)
        for h in (1e-4, 1e-2, 10.0):  # few, many and all examples near a kink
            check = jaxsvm.check_gradient(objective, W, data, h=h)
            expected = termwise(objective, W, data, h=h)
            np.testing.assert_allclose(check.numerical, expected, rtol=1e-12, atol=1e-12)
            smooth = check.verdict == Verdict.SMOOTH
            assert np.all(np.abs(check.gradient - check.numerical)[smooth] < 1e-11)


def test_bytes_raise_no_alarm_and_hide_no_mutant():
    for x64 in (False, True):
        with jax.enable_x64(x64):
            data, objective = digits("bytes"), Objective(reg=0.3)
            W = weights("random", objective, data)
            g = np.asarray(closed_form(objective, W, data))
            assert jaxsvm.check_gradient(objective, W, data, gradient=g, h=1e-3).num_wrong == 0
            rolled = np.roll(g, 1, axis=1)
            check = jaxsvm.check_gradient(objective, W, data, gradient=rolled, h=1e-3)
            assert check.num_wrong > 500


def test_the_report_names_the_hinge_that_is_crossed():
    # Margins 0.5 and 3, moved by 1 and 4: both are crossed, the second by more.
    W = jnp.asarray(np.array([[0.5, 0.0], [0.0, 0.0]], np.float32))
    X = jnp.asarray(np.array([[1.0, 0.0], [-4.0, 0.0]], np.float32))
    data = Data(X, jnp.asarray(np.zeros(2, np.int32)))
    check = jaxsvm.check_gradient(Objective(), W, data, h=1.0)
    first = check.worst[0]
    assert (first.class_index, first.feature, first.verdict) == (0, 0, Verdict.KINK)
    assert (first.example, first.crossed_class) == (1, 1)
    np.testing.assert_allclose((first.left, first.right), 1.5)  # (4 − 1) / 2
    np.testing.assert_allclose(first.numerical, (7 / 2 - 1.5 / 2) / 2)
    assert "kink" in str(check)
    with pytest.raises(AssertionError, match=r"WRONG(.|\n)*weights(.|\n)*bias column"):
        jaxsvm.assert_gradient(Objective(), W, data, gradient=np.ones((2, 2), np.float32))
    jaxsvm.assert_gradient(Objective(), W, data, gradient=functools.partial(autodiff, Objective()))


def test_nan_is_wrong_and_wrong_input_is_said():
    W, data = byte_problem(0, SIZE)
    nan = np.full(W.shape, np.nan, W.dtype)
    nan = jaxsvm.check_gradient(Objective(), W, data, gradient=nan, h=1e-3)
    assert nan.num_wrong == W.size
    assert len(nan.worst) > 0
    with pytest.raises(ValueError, match="gradient has shape"):
        jaxsvm.check_gradient(Objective(), W, data, gradient=W[:, :-1])
    with pytest.raises(ValueError, match="h = 0"):
        jaxsvm.check_gradient(Objective(), W, data, h=0.0)
    with pytest.raises(ValueError, match="ties = 'some'"):
        jaxsvm.check_gradient(Objective(), W, data, ties="some")


def test_which_sums_are_exact():
    integers, _ = problem(0, (5, 4, 3), integers=True)
    W = np.asarray(integers, np.float64)
    with jax.enable_x64(True):
        rows = jnp.asarray([[1.0, -2.0, 3.0, 1.0], [0.1, 1.0, 1.0, 1.0], [2.0**60, 1, 1, 1]])
        # 0.1 has 52 digits of its own, and 2^60 leaves none for 1.
        exact = _sums_are_exact(rows, W, Objective())
        np.testing.assert_array_equal(exact, [True, False, False])
        # The last integers of which four have 53 digits, and the first beyond.
        rows = jnp.asarray([[2.0**51 - 1], [2.0**51 + 2]])
        exact = _sums_are_exact(rows, np.ones((1, 1)), Objective())
        np.testing.assert_array_equal(exact, [True, False])


@pytest.mark.parametrize("x64", [False, True])
def test_the_error_budget_and_its_step(x64):
    with jax.enable_x64(x64):
        data, objective = digits("centred"), Objective(reg=0.01)
        W = weights("random", objective, data)
        exact = closed_form(objective, W, data)
        measure = jax.jit(
            lambda W, h: jaxsvm.numerical_gradient(lambda W: objective(W, data), W, h=h)
        )

        def rms(a, b):
            return float(np.sqrt(np.mean((np.asarray(a) - np.asarray(b)) ** 2)))

        best = jaxsvm.gradients.suggest_h(objective, W, data)
        errors = {f: rms(measure(W, best * f), exact) for f in (1e-2, 1e-1, 1, 10, 100)}
        assert errors[1] < 4 * min(errors.values())  # and the two ends of the U are far above it
        assert min(errors[1e-2], errors[100]) > 5 * errors[1]

        # Each part alone, where it is nearly all of the error.
        h = jnp.asarray(np.array([best / 100, best * 100], W.dtype))
        budget = jax.tree.map(np.asarray, error_budget(objective, W, data, h))
        found = termwise(objective, W, data, h=float(best * 100))
        assert 0.2 < budget.crossing[1] / rms(found, exact) < 5
        assert 0.1 < budget.rounding[0] / errors[1e-2] < 10


@pytest.mark.parametrize("name", reference.LOSSES)
def test_the_crossing_named_moves_the_slope_most(name):
    W, data = problem(3, (40, 9, 10))
    loss, h, y = getattr(jaxsvm, name), 0.5, np.asarray(data.y)
    hinges = loss.along_scores(jaxsvm.score(W, data.X), data.y)
    for k, d in ((0, 0), (3, 2), (9, 8)):
        x = np.asarray(data.X)[:, d]
        excess = {}
        for part in hinges:
            offsets = np.asarray(part.offsets)
            for i, j in np.ndindex(40, 10):
                rate = part.own[int(j == y[i])] if j == k else 0.0
                shares = part.shared and (y[i] == k if part.only_label else j != k)
                if shares:
                    rate = part.shared[int(j == y[i])]
                excess[i, j] = abs(rate * x[i]) * h - abs(offsets[i, j])
        expected = max(excess, key=lambda pair: excess[pair])
        assert excess[expected] > 0
        assert _crossing(k, x, y, hinges, h) == expected


def test_the_report_counts_weights_and_the_bias_apart():
    W, data = byte_problem(0, SIZE)
    g = np.array(closed_form(Objective(), W, data))
    g[2, :3] += 100
    g[1, -1] += 100
    check = jaxsvm.check_gradient(Objective(), W, data, gradient=g, h=1e-3)
    rows = {line.split()[0]: line.split() for line in str(check).splitlines()[2:4]}
    assert rows["weights"][4] == "3"
    assert rows["bias"][5] == "1"
    assert sum(map(int, rows["weights"][1:5])) == W[:, :-1].size
    assert sum(map(int, rows["bias"][2:6])) == len(W)


@pytest.mark.parametrize("name", ["hinge_loss", "squared_hinge_loss"])
def test_the_error_budget_is_its_formula(name):
    W, data = problem(1, (12, 6, 5))
    X, h, C = np.asarray(data.X, float), 0.4, 5
    budget = error_budget(
        Objective(loss=getattr(jaxsvm, name)), W, data, jnp.asarray(np.array([h]))
    )
    total = 0.0
    for x, s, label in zip(X, X @ np.asarray(W, float).T, np.asarray(data.y), strict=True):
        reach = h * np.abs(x).max()
        # A hinge's slope jumps by 1, a squared one's is off by the bend, 2, over half the reach.
        jump = 1.0 if name == "hinge_loss" else reach
        for j in range(C):
            if j != label:
                share = max(1 - abs(s[j] - s[label] + 1) / reach, 0)
                total += 2 * np.mean(x**2) * (jump / 2 * share) ** 2
    np.testing.assert_allclose(budget.crossing, np.sqrt(total / C) / len(X), rtol=1e-5)


def test_the_worst_is_the_furthest_out_in_units_of_its_tolerance():
    W, data = problem(0, SIZE)
    # What a large feature rounds by hides more: 10 of its slope are less than 0.5 of another's.
    X = np.array(data.X)
    X[:, 0] *= 1e5
    data = data._replace(X=jnp.asarray(X))
    g = np.array(closed_form(Objective(), W, data))
    g[3, 0] += 10
    g[4, 1] += 0.5
    check = jaxsvm.check_gradient(Objective(), W, data, gradient=g, h=1e-3)
    assert [(c.class_index, c.feature) for c in check.worst[:2]] == [(4, 1), (3, 0)]
