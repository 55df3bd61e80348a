"""The objective as one would write it in plain JAX, NumPy and PyTorch: the peers' side.

There are neither blocks nor padding here; X is float32 and the penalty's weight is `REG`.
"""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

REG = 1e-4


def plain_objective(W: Any, X: Any, y: Any) -> Any:
    """The objective in JAX, for autodiff and `jax.vmap`."""
    scores = X @ W.T
    correct = jnp.take_along_axis(scores, y[:, None], axis=1)
    terms = jax.nn.relu(scores - correct + 1)
    return jnp.mean(jnp.sum(terms, axis=1) - 1) + REG * jnp.sum(W * W)


def numpy_terms(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The hinges (N, C), 0 at the label."""
    rows = np.arange(len(y))
    terms = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    terms[rows, y] = 0
    return terms


def numpy_penalized(terms: np.ndarray, W: np.ndarray, reg: Any = REG) -> Any:
    return terms.sum() / np.float32(len(terms)) + np.float32(reg) * (W * W).sum()


def numpy_loss(W: np.ndarray, X: np.ndarray, y: np.ndarray, reg: Any = REG) -> Any:
    return numpy_penalized(numpy_terms(X @ W.T, y), W, reg)


def numpy_gradient(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """The notes' closed form: loss and gradient."""
    terms = numpy_terms(X @ W.T, y)
    G = (terms > 0).astype(np.float32)
    G[np.arange(len(y)), y] = -G.sum(axis=1)
    return numpy_penalized(terms, W), G.T @ X / np.float32(len(y)) + np.float32(2 * REG) * W


def in_torch(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[Any, ...]:
    """The arrays as tensors where JAX computes; nothing where PyTorch is not installed."""
    if not importlib.util.find_spec("torch"):
        return ()
    import torch

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    return (
        *(torch.tensor(A, device=device) for A in (W, X)),
        torch.tensor(y, device=device).long(),
    )


def torch_terms(W: Any, X: Any, y: Any) -> Any:
    """The hinges (N, C), 1 at the label."""
    scores = X @ W.T
    return (scores - scores.gather(1, y[:, None]) + 1).clamp(min=0)


def torch_penalized(terms: Any, W: Any) -> Any:
    return terms.sum() / len(terms) - 1 + REG * (W * W).sum()


def torch_loss(W: Any, X: Any, y: Any) -> Any:
    return torch_penalized(torch_terms(W, X, y), W)


def torch_gradient(W: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """The same closed form: loss and gradient."""
    terms = torch_terms(W, X, y)
    G = (terms > 0).to(X.dtype)
    G.scatter_(1, y[:, None], 0)
    G.scatter_(1, y[:, None], -G.sum(1, keepdim=True))
    return torch_penalized(terms, W), G.T @ X / len(y) + 2 * REG * W
