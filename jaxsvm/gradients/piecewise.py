"""A gradient check for any function of any pytree, which reads the function's kinks off its jaxpr.

A finite difference judges a derivative where both of its ends lie on the smooth piece of the point.
`jaxsvm.gradients.branches` says where they do. Along each coordinate the function is evaluated with
its branch signature at a ladder of distances, and

    SMOOTH       the gradient is the slope of the point's own piece, measured on one or both sides,
                 or of all pieces that meet there
    KINK         the point lies on a kink, exactly or to rounding, and the gradient lies between the
                 slopes of those pieces, or of others that meet there beside the line
    JUMP         the same, and the value jumps there, which no derivative shows
    WRONG        neither
    UNRESOLVED   no piece next to the point is wide enough to measure a slope on, or neither, but
                 more pieces meet there than were seen

What counts as equal is measured. Rounding: second differences of the function, and differences of
its gradient, between floats next to the point. Curvature: each slope against that of a quarter of
the distance. A kink that some of those neighbouring floats lie beyond is at the point to rounding:
another program for the same function may come out on its other side.

An error below ``tolerance`` is not found, and between two slopes that differ every number passes:
where left ≤ right the function is convex along the line, and each of them is a subgradient; pieces
beside the line are asked only where its own refuse a gradient. Two kinks that a line crosses on its
way between two rungs, and whose effects on the slopes cancel, are not seen. For the host: it
compiles two or three programs and works with their values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from jaxsvm.core.arguments import (
    check_count,
    check_key,
    check_number,
    check_params,
    check_positive,
    check_values,
    check_word,
)
from jaxsvm.gradients.beside import Beside, num_evaluations, pieces_beside
from jaxsvm.gradients.branches import Site, first_nonfinite
from jaxsvm.gradients.claims import claims
from jaxsvm.gradients.function_check import FunctionCheck, worst
from jaxsvm.gradients.judgement import Judged, at_kink, judge
from jaxsvm.gradients.measure import Evidence, gather
from jaxsvm.gradients.question import Question, question
from jaxsvm.gradients.verdict import Verdict
from jaxsvm.lines.directions import check_like

MODES = ("reverse", "forward", "both")


def check_function(
    f: Callable[[Any], Any],
    params: Any,
    *,
    gradient: Any = None,
    mode: str = "reverse",
    order: int = 1,
    **settings: Any,
) -> FunctionCheck:
    """Check a derivative of any function: see `jaxsvm.check_gradient`, which calls this.

    Args:
        f: ``f(params)`` returns floats: a scalar, or a pytree of arrays, of which a random
            combination is checked.
        params: a pytree of floating arrays.
        gradient: as in `jaxsvm.check_gradient`, a function of the params alone.
        mode: which derivative.
        order: of which order.
        settings: the others of `inspected`.

    Returns:
        The verdicts.

    Raises:
        ValueError: as `jaxsvm.check_gradient`.
    """
    check_values("check_gradient", gradient)
    found = inspected(f, params, mode=mode, order=order, **settings)
    if gradient is not None and (order != 1 or mode != "reverse"):
        raise ValueError("gradient is given: expected order = 1 and mode = 'reverse', its own")
    if gradient is not None:
        gradient = gradient(params) if is_function(gradient, params) else gradient
    return found.check(gradient)


def inspected(
    f: Callable[[Any], Any],
    params: Any,
    *,
    h: float | None = None,
    mode: str = "reverse",
    order: int = 1,
    num_coordinates: int = 1024,
    key: Array | None = None,
    atol: float = 0.0,
) -> "Inspected":
    """Return what is to be known of a function about its params, to judge gradients by.

    Args:
        f: as in `check_function`, like params, mode and order.
        params: the point.
        h: as in `jaxsvm.check_gradient`.
        mode: which derivative.
        order: of which order.
        num_coordinates: how many to check at most.
        key: of what is random.
        atol: an error that is accepted beside what rounding explains.

    Raises:
        ValueError: as `jaxsvm.check_gradient`.
    """
    check_params(params)
    check_word("mode", mode, MODES)
    order = check_count("order", order)
    num_coordinates = check_count("num_coordinates", num_coordinates)
    if order > 2:
        raise ValueError(f"order = {order}: expected 1, the gradient, or 2, its derivative")
    if h is not None:
        check_positive("h", h)
    check_number("atol", atol)
    key = jax.random.key(0) if key is None else key
    check_key(key)
    check_values("check_gradient", params, key)
    for path, leaf in jax.tree.leaves_with_path(params):
        bad = np.argwhere(~np.isfinite(np.asarray(leaf, float)))
        if len(bad):
            name, index = jax.tree_util.keystr(path), tuple(bad[0].tolist())
            raise ValueError(
                f"params{name} has {np.asarray(leaf)[index]} at {index}: expected finite numbers"
            )
    return Inspected(question(f, params, order, mode, num_coordinates, h, key), mode, atol)


@dataclass(frozen=True)
class Inspected:
    """A function that was measured about a point, on which any number of gradients are judged.

    Attributes:
        asked: of which scalar, along which lines.
        mode: which of autodiff's derivatives.
        atol: an error that is accepted beside what rounding explains.
    """

    asked: Question
    mode: str = "reverse"
    atol: float = 0.0
    # Of the lines in doubt until now, the slopes of pieces beside them.
    _pieces: dict[int, Beside] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def evidence(self) -> Evidence:
        """What was measured along the lines."""
        return gather(self.asked)

    @cached_property
    def autodiff(self) -> tuple[np.ndarray, np.ndarray]:
        """Autodiff's slopes along the lines, and how far rounding may move a gradient's."""
        mode = "forward" if self.mode == "forward" else "reverse"
        return claims(self.asked, self.evidence, mode)

    def check(self, gradient: Any = None) -> FunctionCheck:
        """Return the verdicts on a gradient like the params; by default on autodiff's.

        Raises:
            ValueError: it is not like the params.
        """
        asked, evidence = self.asked, self.evidence
        slopes, rounding = self.autodiff
        if gradient is not None:
            check_like(asked.params, gradient, "gradient")
            slopes = asked.along(np.asarray(ravel_pytree(gradient)[0], float))
        beside: dict[int, Beside] = {}
        judged = self._judged(slopes, rounding, beside)
        if self.mode == "both":
            other = self._judged(*claims(asked, evidence, "forward"), beside)
            worse = other.verdict == Verdict.WRONG
            pairs = ((getattr(judged, f.name), getattr(other, f.name)) for f in fields(Judged))
            judged = Judged(*(np.where(worse, b, a) for a, b in pairs))
        return FunctionCheck(
            **vars(judged),
            worst=worst(judged, asked, evidence),
            unknown=asked.program.unknown,
            nonfinite=_nonfinite(asked, evidence, judged, gradient is None, self.mode),
            stopped=asked.program.stopped,
            evaluations=evidence.evaluations + len(beside) * num_evaluations(asked),
        )

    def _judged(
        self, slopes: np.ndarray, rounding: np.ndarray, beside: dict[int, Beside]
    ) -> Judged:
        """Return the verdicts; where a line's own pieces refuse a slope, those beside it count."""
        evidence, rounding = self.evidence, rounding + self.atol
        first = judge(slopes, rounding, evidence, beside)
        doubted = (first.verdict == Verdict.WRONG) & at_kink(evidence) & np.isfinite(slopes)
        new = [int(n) for n in np.flatnonzero(doubted) if int(n) not in beside]
        if not new:
            return first
        unseen = [line for line in new if line not in self._pieces]
        self._pieces.update(pieces_beside(self.asked, evidence, unseen))
        beside.update({line: self._pieces[line] for line in new})
        return judge(slopes, rounding, evidence, beside)


def is_function(gradient: Any, params: Any) -> bool:
    """Return whether a gradient is a function: a network that is a pytree may be called as well."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (gradient, params)]
    is_like = bool(structures[0] == structures[1])
    return callable(gradient) and (jax.tree_util.all_leaves([gradient]) or not is_like)


def _nonfinite(
    asked: Question, evidence: Evidence, judged: Judged, by_autodiff: bool, mode: str
) -> Site | None:
    """Return what first made the value, or autodiff's gradient, not finite."""
    if not np.isfinite(evidence.center):
        return first_nonfinite(asked.f, asked.flat)
    if np.all(np.isfinite(judged.gradient)) or not by_autodiff:
        return None
    if mode != "forward":
        return first_nonfinite(jax.grad(asked.f), asked.flat)
    line = int(np.flatnonzero(~np.isfinite(judged.gradient))[0])
    return first_nonfinite(asked.forward, asked.flat, asked.tangent(line))
