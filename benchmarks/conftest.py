"""What is to be timed is compiled as users compile it; what only has to work, cheaply."""

import jax
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Choose the compiler's effort, after what tests/conftest.py chose for the tests."""
    jax.config.update("jax_disable_most_optimizations", not config.getoption("benchmark_enable"))
