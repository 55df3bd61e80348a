"""The time of each part, beside its peers' and the machine's limits.

`python -m experiments.benchmark [PART] [--size tiny|full]`; see `experiments.benchmark.harness`.
"""
