"""Tests of jaxsvm; `reference` is the oracle."""
