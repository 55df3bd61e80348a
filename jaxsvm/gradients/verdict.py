"""What a check says of one coordinate of a gradient."""

import enum


class Verdict(enum.IntEnum):
    """What `jaxsvm.check_gradient` says of a coordinate.

    Attributes:
        SMOOTH: right, and it agrees with the numerical gradient.
        KINK: right, and a crossed or tied kink explains why the numerical gradient differs.
        ROUNDING: right to float32 only, in a gradient of an `Objective` that claims float64.
        WRONG: outside the one-sided slopes by more than rounding can do; NaN is.
        UNRESOLVED: of a function that is no `Objective`: no piece around the point is large enough
            to measure a slope on.
    """

    SMOOTH = 0
    KINK = 1
    ROUNDING = 2
    WRONG = 3
    UNRESOLVED = 4
