"""The old name of `experiments.benchmark.harness`, for the experiments that still import it."""

from experiments.benchmark.harness import Config as Config
from experiments.benchmark.harness import Row as Row
from experiments.benchmark.harness import compare as compare
