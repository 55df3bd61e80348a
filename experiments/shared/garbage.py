"""Python looks for garbage less often while a command runs.

To trace and lower programs makes many objects that live as long as the program, and few cycles.
Python's collector goes through all of them again and again, and frees next to nothing.
"""

import gc

# New objects before a collection, and collections of one generation before one of the next.
THRESHOLDS = 100_000, 20, 100


def collect_rarely() -> None:
    """Collect cycles rarely in this process from now on, and never those of what is imported."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
