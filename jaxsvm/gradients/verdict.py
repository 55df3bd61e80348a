"""What a check says of one coordinate of a gradient, and how often it says it."""

import enum
from typing import Any

import numpy as np


class Verdict(enum.IntEnum):
    """What `jaxsvm.check_gradient` says of a coordinate.

    Attributes:
        SMOOTH: right, and it agrees with the numerical gradient.
        KINK: right, and a crossed or tied kink explains why the numerical gradient differs.
        ROUNDING: right to float32 only, in a gradient of an `Objective` that claims float64.
        WRONG: outside the slopes at the point by more than rounding can do; NaN is.
        UNRESOLVED: of a function that is no `Objective`: no piece around the point is large enough
            to measure a slope on, or too many meet there to see them all.
        JUMP: of a function that is no `Objective`: its value jumps at the point, and the gradient
            lies between the slopes around the jump.
    """

    SMOOTH = 0
    KINK = 1
    ROUNDING = 2
    WRONG = 3
    UNRESOLVED = 4
    JUMP = 5


class Counted:
    """Something with an array of verdicts, which it counts."""

    verdict: np.ndarray

    def count(self, verdict: Verdict, part: Any = ...) -> int:
        """Return how many are of one kind."""
        return int(np.sum(self.verdict[part] == verdict))

    @property
    def num_smooth(self) -> int:
        """How many agree with the numerical gradient."""
        return self.count(Verdict.SMOOTH)

    @property
    def num_kink(self) -> int:
        """How many do not, and a kink explains it."""
        return self.count(Verdict.KINK)

    @property
    def num_wrong(self) -> int:
        """How many are wrong (NaN is)."""
        return self.count(Verdict.WRONG)
