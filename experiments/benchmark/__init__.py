"""How fast each part is, beside its peers and beside what the machine can do.

`python -m experiments.benchmark [PART] [--size tiny|full]`; see `experiments.benchmark.harness`.
"""
