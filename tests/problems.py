"""Small problems for the tests: random, tied and degenerate ones, and hypothesis strategies."""

import os

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from jaxsvm import Data, StandardizedFeatures

# A few fixed shapes (N, D, C): free shapes would recompile at every example. With one column a
# compiler makes an elementwise product of X Wᵀ and may fuse it into what follows.
SHAPES = [(1, 1, 2), (1, 3, 4), (5, 4, 3), (12, 6, 5), (40, 9, 10), (7, 3, 1)]
if os.environ.get("JAXSVM_DEFAULT_COMPILATION"):
    SHAPES = [(200, 1, 3), (40, 9, 10)]
# Members of the family, one of each kind, for what costs seconds of compilation and hardly depends
# on the member.
FEW = ["Weston-Watkins", "squared one-vs-rest", "ATM", "squared Crammer-Singer", "reinforced"]


def float_dtype():
    """float64 where x64 is on, else float32."""
    return jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32


def problem(seed, shape=(12, 6, 5), *, integers=False, scale=1.0):
    """Return (W, Data) as jax arrays, the bias column last.

    With ``integers`` every entry is a small integer, so scores are exact and ties are common.
    """
    N, D, C = shape
    rng = np.random.default_rng(seed)
    draw = (lambda s: rng.integers(-2, 3, s).astype(float)) if integers else rng.standard_normal
    X, W = draw((N, D)), scale * draw((C, D))
    X[:, -1] = 1.0
    dtype = float_dtype()
    y = jnp.asarray(rng.integers(0, C, N), jnp.int32)
    return jnp.asarray(W, dtype), Data(jnp.asarray(X, dtype), y)


def byte_problem(seed, shape=(40, 9, 10), padding=3):
    """Return (W, Data) whose X is `StandardizedFeatures`: uint8 pixels, centred, padded."""
    N, D, C = shape
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (N, D + padding), dtype=np.uint8)
    values[:, D - 1], values[:, D:] = 1, 0
    dtype = float_dtype()
    shift = np.append(values[:, : D - 1].mean(axis=0), 0.0)
    scale = np.append(np.full(D - 1, 1 / 128), 1.0)
    X = StandardizedFeatures(
        jnp.asarray(values), jnp.asarray(shift, dtype), jnp.asarray(scale, dtype)
    )
    W = jnp.asarray(rng.standard_normal((C, D)), dtype)
    return W, Data(X, jnp.asarray(rng.integers(0, C, N), jnp.int32))


seeds = st.integers(0, 2**31 - 1)
shapes = st.sampled_from(SHAPES)
