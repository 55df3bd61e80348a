"""What the live landscape holds: a plane's grid, its exact pieces, paths over it, and the bottom.

The objective over the plane origin + p·a + q·b is a sum of hinges ``max(0, u + p·v_a + q·v_b)`` and
a parabola in p and q. A page that holds these numbers for some of the examples knows their mean
loss, and where each of their hinges switches, at any zoom.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.shared import compiled
from jaxsvm import Data, Objective, Solution, l2_penalty
from jaxsvm.lines import Slice
from jaxsvm.lines.landscape import PathOnPlane

# Of these examples a page holds the pieces: some thousands of hinges, evaluated in a frame.
EXACT_EXAMPLES = 150


def live_plane(
    objective: Objective,
    data: Data,
    plane: tuple[Any, Any, Any],
    surface: Slice,
    steps: Any,
    shadows: Mapping[str, PathOnPlane],
    solution: Solution | None = None,
) -> dict[str, Any]:
    """Return the arrays that `experiments.shared.page.landscape` shows.

    Args:
        objective: with the hinge loss and an l2 penalty.
        data: the N examples of the surface.
        plane: the origin and two directions at right angles and of equal length, (C, D) each.
        surface: `jaxsvm.slice_2d` of the plane.
        steps: (T,) after how many steps the paths were taken.
        shadows: each strategy's path on the plane.
        solution: a certified optimum, where there is one.

    Returns:
        t (num,), loss and accuracy (num, num); steps (T,), the strategies' names, and the paths by
        name: coordinates (T, 2), and off_plane, loss and plane_loss (T,). pieces (K, 3) and the
        penalty's coefficients of 1, p, q, p², pq and q² (6,), how many examples have them and how
        many there are. Of the bottom its coordinates, its distance off the plane, the two numbers
        between which the lowest value lies, and, in units of the directions, the radius about it in
        which the shadow of the lowest W is.
    """
    origin, a, b = plane
    some = Data(data.X[:EXACT_EXAMPLES], data.y[:EXACT_EXAMPLES])
    parts = compiled.spanned(objective, origin, a, b, some)
    pieces = np.stack([parts.offset, parts.slope_a, parts.slope_b], axis=-1)
    # The own class has no term.
    pieces = pieces.transpose(1, 0, 2)[np.arange(pieces.shape[0]) != np.asarray(some.y)[:, None]]
    found = {
        "t": surface.t,
        "loss": surface.loss,
        "accuracy": surface.accuracy,
        "pieces": pieces,
        "penalty": objective.reg * parabola(origin, a, b),
        "examples": len(some.y),
        "all_examples": len(data.y),
        "steps": np.asarray(steps, np.int32),
        "names": list(shadows),
        "paths": {
            name: {
                "coordinates": shadow.coordinates,
                "off_plane": shadow.residual,
                "loss": shadow.loss,
                "plane_loss": shadow.plane_loss,
            }
            for name, shadow in shadows.items()
        },
    }
    if solution is not None:
        found["bottom"] = _bottom(objective, solution, origin, a, b)
    return jax.tree.map(lambda x: x if isinstance(x, str | int) else np.asarray(x), found)


def parabola(origin: Any, a: Any, b: Any) -> np.ndarray:
    """Return ‖origin + p·a + q·b‖² as coefficients of 1, p, q, p², pq and q²."""
    o, a, b = (np.asarray(x, float).ravel() for x in (origin, a, b))
    return np.array([o @ o, 2 * o @ a, 2 * o @ b, a @ a, 2 * a @ b, b @ b])


def _bottom(
    objective: Objective, solution: Solution, origin: Any, a: Any, b: Any
) -> dict[str, Any]:
    away, *basis = (np.asarray(x, float).ravel() for x in (solution.W - origin, a, b))
    coordinates = np.linalg.lstsq(np.stack(basis, axis=1), away)[0]
    # ‖W − W*‖² ≤ gap / reg: the objective is strongly convex.
    assert objective.penalty is l2_penalty
    radius = np.sqrt(max(float(solution.gap), 0.0) / float(objective.reg))
    return {
        "coordinates": coordinates,
        "off_plane": np.linalg.norm(away - coordinates @ basis),
        "between": np.array([float(solution.dual), float(solution.primal)]),
        "radius": radius / np.linalg.norm(basis[0]),
    }
