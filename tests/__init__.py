"""Tests of jaxsvm; `reference` is the oracle."""

from tests import annotations as annotations  # named in pyproject.toml
