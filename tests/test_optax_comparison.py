"""The comparison with optax runs small; the traces are the same and the best step is the best."""

import numpy as np
import pytest

from experiments import optax_comparison
from tests.test_experiments import check_report

pytestmark = pytest.mark.experiments


def test_the_field_is_compared_at_its_best_step_sizes(tmp_path, monkeypatch):
    sizes = np.array([1e-6, 0.3])
    monkeypatch.setattr(optax_comparison, "STEP_SIZES", sizes)
    methods = {name: optax_comparison.METHODS[name] for name in ("schedule-free", "lbfgs")}
    monkeypatch.setattr(optax_comparison, "METHODS", methods)
    arrays = optax_comparison.run(optax_comparison.Config(seeds=2, num_steps=40, num_examples=200))
    assert max(arrays["same_traces"].values()) < 1e-5
    free, lbfgs = arrays["methods"]["schedule-free"], arrays["methods"]["lbfgs"]
    assert free["step_size"] == pytest.approx(0.3)
    assert free["loss"].shape == (2, optax_comparison.CHECKPOINTS)
    np.testing.assert_array_equal(free["gradients"][:, -1], 40)
    np.testing.assert_array_equal(free["passes"][:, -1], 80)
    assert (lbfgs["gradients"][:, -1] > 40).all()  # its line search costs gradients
    assert (lbfgs["passes"] > lbfgs["gradients"]).all()
    assert (lbfgs["loss"][:, -1] < free["loss"][:, -1]).all()
    assert "line search" in check_report(optax_comparison, arrays, tmp_path)


def test_too_few_steps_are_an_error():
    with pytest.raises(ValueError, match="num_steps"):
        optax_comparison.Config(num_steps=3)
