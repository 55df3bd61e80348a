"""The guide (guide.md), and the reference that `python -m experiments.docs` writes."""
