"""The README's table of conversions to other libraries' losses, computed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.svm import LinearSVC

import jaxsvm
from jaxsvm import Hinge, Objective
from tests.problems import float_dtype, problem


def test_optax_multiclass_hinge_is_crammer_singer():
    W, data = problem(0, (40, 9, 10))
    scores = jaxsvm.score(W, data.X)
    theirs = optax.losses.multiclass_hinge_loss(scores, data.y)
    np.testing.assert_allclose(
        jaxsvm.crammer_singer_loss(scores, data.y), theirs, rtol=1e-5, atol=1e-6
    )
    assert not np.allclose(jaxsvm.hinge_loss(scores, data.y), theirs)


def test_torch_multi_margin_is_ours_over_the_number_of_classes():
    torch = pytest.importorskip("torch", reason="PyTorch is a peer of the benchmarks only")
    W, data = problem(0, (40, 9, 10))
    scores = jaxsvm.score(W, data.X)
    theirs = torch.nn.functional.multi_margin_loss(
        torch.tensor(np.asarray(scores)), torch.tensor(np.asarray(data.y, np.int64))
    )
    ours = jnp.mean(jaxsvm.hinge_loss(scores, data.y)) / W.shape[0]
    np.testing.assert_allclose(ours, float(theirs), rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (jaxsvm.one_vs_rest_loss, {"loss": "hinge"}),
        (jaxsvm.crammer_singer_loss, {"multi_class": "crammer_singer"}),
    ],
)
def test_liblinear_c_is_one_over_two_n_reg(loss, options):
    N, cost = 80, 0.3
    truth, data = problem(4, (N, 5, 4))
    data = data._replace(y=jaxsvm.predict(truth, data.X))  # labels worth learning
    model = LinearSVC(C=cost, tol=1e-8, max_iter=200_000, fit_intercept=False, **options)
    model.fit(np.asarray(data.X), np.asarray(data.y))
    assert model.coef_.shape == truth.shape
    # At the optimum no scaling of W helps, and with any other reg one would.
    W = jnp.asarray(model.coef_, float_dtype())

    def slopes(reg):
        scaled = [Objective(loss=loss, reg=reg)(t * W, data) for t in (0.98, 1.0, 1.02)]
        return scaled[0] - scaled[1], scaled[2] - scaled[1]

    assert min(slopes(1 / (2 * N * cost))) > 0
    assert min(slopes(2 / (2 * N * cost))) < 0
    assert min(slopes(0.5 / (2 * N * cost))) < 0


@pytest.mark.parametrize(
    ("loss", "at_zero"),
    [
        (jaxsvm.hinge_loss, 9.0),
        (jaxsvm.squared_hinge_loss, 9.0),
        (jaxsvm.crammer_singer_loss, 1.0),
        (jaxsvm.one_vs_rest_loss, 10.0),
        (Hinge("absolute", "all", power=2), 10.0),
        (Hinge("centred", "wrong"), 9.0),
        (Hinge("centred", "wrong", "max"), 1.0),
        (Hinge("centred", "all", "max"), 1.0),
        (Hinge("centred", "all"), 10.0),
        (Hinge("centred", "own"), 1.0),
        (Hinge("centred", "all", own_weight=0.25), 9.0),
    ],
)
def test_values_at_zero_weights_for_ten_classes(loss, at_zero):
    W, data = problem(0, (40, 9, 10), scale=0.0)
    assert Objective(loss=loss)(W, data) == at_zero


def test_optax_weight_decay_is_twice_reg():
    W, data = problem(0, (12, 6, 5))
    reg, step_size = 0.1, 0.05
    decayed = optax.chain(optax.add_decayed_weights(2 * reg), optax.sgd(step_size))
    updates, _ = decayed.update(jax.grad(Objective())(W, data), decayed.init(W), W)
    ours = W - step_size * jax.grad(Objective(reg=reg))(W, data)
    np.testing.assert_allclose(optax.apply_updates(W, updates), ours, rtol=1e-5, atol=1e-6)
