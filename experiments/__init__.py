"""The notes' experiments, one script a question; `python -m experiments` runs them all."""

import sys

from experiments.shared import signals

# This is what `python -m` calls itself while it looks for the module: nothing slow is imported yet.
if sys.argv[:1] == ["-m"]:
    signals.install()
