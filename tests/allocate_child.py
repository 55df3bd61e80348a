"""The call whose peak memory tests/test_benchmark.py measures; its child imports little else."""

import jax.numpy as jnp
import numpy as np


def allocate(before, during):
    """Hold 16 MiB, having held ``before`` MiB for a moment; the call adds ``during`` MiB."""
    held = jnp.ones(2**22, jnp.float32)
    (held[:1] + np.ones(int(before) * 2**18, np.float32).sum()).block_until_ready()
    return lambda: (held, jnp.ones(int(during) * 2**18, jnp.float32))
