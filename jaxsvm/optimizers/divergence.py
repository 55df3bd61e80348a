"""Where a run diverges: its loss is no number any more, or far above where it began.

What each step reports as its loss is looked at. A search may well try a bad point, so of a search
it is the best loss so far.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Times the first loss, or 1 where that is less. A run whose steps are too long may stay finite for
# hundreds of steps after that, but it does not come back.
TOO_HIGH = 1e4


class Divergence(NamedTuple):
    """Where a run stopped making sense.

    Attributes:
        step: the first whose loss was not finite, or more than ``TOO_HIGH`` times the first one.
        loss: there.
        step_size: that led there; NaN where the optimizer tells none.
    """

    step: int
    loss: float
    step_size: float

    def describe(self) -> str:
        """Return what a message or a report says about it."""
        size = f" with step size {self.step_size:g}" if np.isfinite(self.step_size) else ""
        return f"diverged at step {self.step}{size} (loss {self.loss:g})"


class DivergedError(ArithmeticError):
    """A run diverged, so that more steps would be of no use.

    Attributes:
        divergence: where.
    """

    def __init__(self, message: str, divergence: Divergence) -> None:
        super().__init__(message)
        self.divergence = divergence

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how it is made again: it may come from another process."""
        return type(self), (str(self), self.divergence)


def find_divergence(info: Any, start: int, earlier: Sequence[Any]) -> Divergence | None:
    """Return where steps diverge, if they do and tell a loss; of runs side by side one is enough.

    Args:
        info: of the steps from ``start`` on, as `run` stacks it.
        start: the number of the first of them.
        earlier: info of steps before ``start``, of the run's first ones first, of its last ones
            last; empty where there are none.
    """
    if (loss := _watched(info)) is None:
        return None
    first = _watched(earlier[0] if earlier else info)[0]
    # A first loss that is no number is itself a divergence, at step 0.
    good = np.isfinite(loss) & (loss <= TOO_HIGH * np.fmax(first, 1.0))
    good, loss = good.reshape(len(loss), -1), loss.reshape(len(loss), -1)
    if good.all():
        return None
    bad = int(np.argmin(good.all(axis=1)))
    worst, led_there = int(np.argmin(good[bad])), np.nan
    led = info if bad or not earlier else earlier[-1]
    if hasattr(led, "step_size"):
        sizes = np.asarray(led.step_size)
        sizes = sizes.reshape(len(sizes), -1)
        led_there = sizes[max(bad - 1, 0) if led is info else -1, min(worst, sizes.shape[1] - 1)]
    return Divergence(start + bad, float(loss[bad, worst]), float(led_there))


def _watched(info: Any) -> Any:
    """Return the losses that are looked at, (steps,) or (steps, K) of K runs; None without any."""
    loss = getattr(info, "best_loss", getattr(info, "loss", None))
    return None if loss is None else np.asarray(loss).astype(float)
