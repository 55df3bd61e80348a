"""Strict settings for every test; JAX_ENABLE_X64=1 in the environment runs the suite in float64."""

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci")


@pytest.fixture
def x64():
    """Run one test in float64."""
    with jax.enable_x64(True):
        yield
