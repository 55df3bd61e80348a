"""What the step-size and landscape experiments claim, on small problems and on the notes' table."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import landscape, step_size
from experiments.shared.recipes import in_float64
from jaxsvm import Objective, along, analytic_gradient
from tests.problems import problem

# The notes' printed table: a loss for each step size, 1e-10 to 1e-1.
NOTES: dict[str, Any] = {
    "loss_before": 2.200718,
    "step_sizes": 10.0 ** np.arange(-10, 0),
    "losses": np.array(
        [
            2.200652, 2.200057, 2.194116, 2.135493, 1.647802,
            2.844355, 25.558142, 254.086573, 2539.370888, 25392.214036,
        ]
    ),
}  # fmt: skip


def test_the_notes_table_is_convex_and_ends_straight():
    slopes = step_size.secants(NOTES)
    # Printed to 1e-6, so a secant over a step η is known to about 1e-6/η.
    slack = 2e-6 / np.diff(np.append(0.0, NOTES["step_sizes"]))
    assert (np.diff(slopes) > -(slack[1:] + slack[:-1])).all()
    assert np.argmin(NOTES["losses"]) == 4
    assert NOTES["losses"][5] > NOTES["loss_before"]
    np.testing.assert_allclose(slopes[-3:], slopes[-1], rtol=1e-8)


@pytest.fixture(scope="module")
def curve():
    W, data = problem(0, (40, 9, 10))
    gradient = analytic_gradient(Objective(), W, data)
    ahead = along(Objective(), W, -gradient, data)
    with jax.enable_x64(True):
        found = step_size.exact_curve(in_float64(ahead), -5, 10)
    return found, float(jnp.sum(gradient * gradient))


def test_the_exact_curve_has_the_invariants(curve):
    found, squared = curve
    slopes = step_size.secants(found)
    before = found["step_sizes"] < found["first_kink"]
    assert before.any()
    np.testing.assert_allclose(slopes[before], found["slope_at_start"], rtol=1e-7)
    np.testing.assert_allclose(found["slope_at_start"], -squared, rtol=1e-4)
    assert (np.diff(slopes) >= -1e-7 * abs(slopes).max()).all()
    beyond = found["step_sizes"] > found["last_kink"]
    assert beyond.sum() >= 2
    tail = found["tail_intercept"] + found["tail_slope"] * found["step_sizes"][beyond]
    np.testing.assert_allclose(found["losses"][beyond], tail, rtol=1e-12)


def test_the_exact_curve_is_lowest_at_its_best_and_level_at_break_even(curve):
    found, _ = curve
    for part in ("curve", "near"):
        assert (found[part]["loss"] >= found["best_loss"] * (1 - 1e-12)).all()
    assert found["best_loss"] < found["loss_before"]
    order = found["first_kink"], found["best_step"], found["break_even"]
    assert list(order) == sorted(order)
    near = found["near"]
    np.testing.assert_allclose(near["loss"][0], found["loss_before"], rtol=1e-12)
    # Between the curve's two points about it, the loss crosses the start's.
    steps, losses = found["curve"]["step_size"], found["curve"]["loss"]
    assert (losses[steps > found["break_even"]] > found["loss_before"]).all()
    inside = (steps > found["best_step"]) & (steps < found["break_even"])
    assert (losses[inside] < found["loss_before"]).all()


def test_lines_are_clipped_to_the_square():
    lines = np.array(
        [
            [0.0, 1.0, 0.0],  # a = 0: from bottom to top
            [1.0, 0.0, -2.0],  # b = 1/2
            [0.0, 1.0, -1.0],  # the diagonal, through two corners
            [5.0, 1.0, 1.0],  # misses
        ]
    )
    found = landscape.clip(lines, 2.0)
    expected = np.array([[(0, -2), (0, 2)], [(-2, 0.5), (2, 0.5)], [(-2, -2), (2, 2)]])
    np.testing.assert_allclose(found, expected)
    assert landscape.clip(lines[3:], 2.0).shape == (0, 2, 2)
