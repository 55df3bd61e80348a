"""Loss, gradient and mini-batch steps beside NumPy, PyTorch and optax's own loop.

Peers hold X as float32 in the layout they are fastest in, and use all cores. What the notes claim
of batch sizes is timed by `experiments.minibatch`.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark.common import Config, Row, compare, memory_rows, problem, random_data
from jaxsvm import (
    Data,
    Objective,
    StandardizedFeatures,
    gradient_descent,
    minibatch_gradient_descent,
)
from jaxsvm import run as run_steps

OBJECTIVE = Objective(reg=1e-4)
STEP_SIZE = 1e-5
PART = "descent"


def run(config: Config) -> list[Row]:
    rows = full_batch(config)
    for batch_size in (1, 32, 256, 1024) if config.size == "full" else (4,):
        rows += minibatch(config, batch_size)
    return rows + memory(config)


def full_batch(config: Config) -> list[Row]:
    """The loss on all data, and the loss with its gradient."""
    W, as_bytes, as_floats = problem(config)
    N, D, C = config.shape
    assert not isinstance(as_floats.X, StandardizedFeatures)
    host = np.asarray(as_floats.X), np.asarray(as_floats.y)
    by_columns = np.ascontiguousarray(host[0].T)
    loss, both = jax.jit(OBJECTIVE), jax.jit(jax.value_and_grad(OBJECTIVE))
    start = jnp.asarray(W)
    losses: dict[str, Callable[[], Any]] = {
        "jaxsvm, bytes": lambda: loss(start, as_bytes),
        "jaxsvm, float32": lambda: loss(start, as_floats),
        "numpy": lambda: numpy_loss(W, *host),
        "numpy, X by columns": lambda: mean_hinge((W @ by_columns).T, host[1]) + penalty(W),
    }
    gradients: dict[str, Callable[[], Any]] = {
        "jaxsvm, bytes": lambda: both(start, as_bytes),
        "jaxsvm, float32": lambda: both(start, as_floats),
        "numpy": lambda: numpy_gradient(W, *host),
    }
    if importlib.util.find_spec("torch"):
        import torch

        tensors = torch.tensor(W), torch.tensor(host[0]), torch.tensor(host[1]).long()
        losses["torch"] = lambda: torch_loss(*tensors)
        gradients["torch"] = lambda: torch_gradient(*tensors)
    product, moved = 2.0 * N * D * C, dict.fromkeys((*losses, *gradients), 4.0 * N * D)
    moved["jaxsvm, bytes"] = 1.0 * N * D
    work = "loss and gradient, all data"
    return compare(PART, "loss, all data", losses, config, flops=product, bytes=moved) + compare(
        PART, work, gradients, config, flops=2 * product, bytes=moved
    )


def minibatch(config: Config, batch_size: int) -> list[Row]:
    """One step of mini-batch gradient descent on random rows, in a loop of many."""
    W, as_bytes, as_floats = problem(config)
    N, D, C = config.shape
    steps = 3 if config.size == "tiny" else max(50, 102_400 // max(batch_size, 16))
    optimizer = minibatch_gradient_descent(OBJECTIVE, step_size=STEP_SIZE, batch_size=batch_size)
    descend = jax.jit(run_steps, static_argnames=("optimizer", "num_steps"))
    start, key = jnp.asarray(W), jax.random.key(config.seed)
    assert not isinstance(as_floats.X, StandardizedFeatures)
    X, y = np.asarray(as_floats.X), np.asarray(as_floats.y)

    def ours(data: Data) -> Any:
        return descend(optimizer, key, start, data, num_steps=steps)

    def with_numpy() -> np.ndarray:
        rng, W_now = np.random.default_rng(config.seed), W.copy()
        for _ in range(steps):
            index = rng.integers(0, N, batch_size)
            W_now -= np.float32(STEP_SIZE) * numpy_gradient(W_now, X[index], y[index])[1]
        return W_now

    transform = optax.sgd(STEP_SIZE)

    @jax.jit
    def optax_step(W: Any, state: Any, X: Any, y: Any, index: Any) -> Any:
        gradient = jax.grad(plain_objective)(W, X[index], y[index])
        updates, state = transform.update(gradient, state)
        return optax.apply_updates(W, updates), state

    def with_optax() -> Any:
        rng, W_now = np.random.default_rng(config.seed), start
        state = transform.init(W_now)
        for _ in range(steps):
            index = rng.integers(0, N, batch_size, dtype=np.int32)
            W_now, state = optax_step(W_now, state, as_floats.X, as_floats.y, index)
        return W_now

    peers: dict[str, Callable[[], Any]] = {
        "jaxsvm, bytes": lambda: ours(as_bytes),
        "jaxsvm, float32": lambda: ours(as_floats),
        "numpy": with_numpy,
        "optax's loop": with_optax,
    }
    if importlib.util.find_spec("torch"):
        import torch

        X_torch, y_torch, W_torch = torch.tensor(X), torch.tensor(y).long(), torch.tensor(W)

        def with_torch() -> Any:
            generator = torch.Generator().manual_seed(config.seed)
            W_now = W_torch.clone()
            for _ in range(steps):
                index = torch.randint(0, N, (batch_size,), generator=generator)
                W_now -= STEP_SIZE * torch_gradient(W_now, X_torch[index], y_torch[index])[1]
            return W_now

        peers["torch"] = with_torch
    return compare(
        PART, f"mini-batch step, {batch_size} random rows", peers, config, calls=steps,
        flops=4.0 * batch_size * D * C, bytes=4.0 * batch_size * D + 8.0 * C * D,
    )  # fmt: skip


def memory(config: Config) -> list[Row]:
    rows = []
    for form in ("bytes", "floats") if config.size == "full" else ("bytes",):
        work = f"peak memory of training from {form}, X included"
        rows += memory_rows(PART, work, f"{__name__}:train", form, config.size)
    return rows


def train(form: str, size: str) -> Callable[[], Any]:
    """Return a training, to be called in a process of its own: it makes X, and all it needs.

    Gradient descent on all data, then mini-batches.
    """

    def call() -> Any:
        W, data = random_data(Config(size="tiny" if size == "tiny" else "full"), form)
        descend = jax.jit(run_steps, static_argnames=("optimizer", "num_steps"))
        on_all = gradient_descent(OBJECTIVE, step_size=STEP_SIZE)
        key = jax.random.key(0)
        state, _ = descend(on_all, key, jnp.zeros_like(W), data, num_steps=3)
        steps = minibatch_gradient_descent(OBJECTIVE, step_size=STEP_SIZE)
        return descend(steps, key, state.params, data, num_steps=100)

    return call


def plain_objective(W: Any, X: Any, y: Any) -> Any:
    """The formula as one would write it: no padding, no blocks, autodiff."""
    scores = X @ W.T
    correct = jnp.take_along_axis(scores, y[:, None], axis=1)
    terms = jax.nn.relu(scores - correct + 1)
    return jnp.mean(jnp.sum(terms, axis=1) - 1) + OBJECTIVE.reg * jnp.sum(W * W)


def penalty(W: Any) -> Any:
    return np.float32(OBJECTIVE.reg) * (W * W).sum()


def mean_hinge(scores: np.ndarray, y: np.ndarray) -> np.floating:
    rows = np.arange(len(y))
    terms = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    terms[rows, y] = 0
    return terms.sum() / np.float32(len(y))


def numpy_loss(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> Any:
    return mean_hinge(X @ W.T, y) + penalty(W)


def numpy_gradient(W: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """The notes' closed form: loss and gradient."""
    rows, N = np.arange(len(y)), np.float32(len(y))
    scores = X @ W.T
    terms = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    terms[rows, y] = 0
    G = (terms > 0).astype(np.float32)
    G[rows, y] = -G.sum(axis=1)
    gradient = G.T @ X / N + np.float32(2 * float(OBJECTIVE.reg)) * W
    return terms.sum() / N + penalty(W), gradient


def torch_loss(W: Any, X: Any, y: Any) -> Any:
    scores = X @ W.T
    terms = (scores - scores.gather(1, y[:, None]) + 1).clamp(min=0)
    return terms.sum() / len(y) - 1 + OBJECTIVE.reg * (W * W).sum()


def torch_gradient(W: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """The same closed form."""
    scores = X @ W.T
    terms = (scores - scores.gather(1, y[:, None]) + 1).clamp(min=0)
    G = (terms > 0).to(X.dtype)
    G.scatter_(1, y[:, None], 0)
    G.scatter_(1, y[:, None], -G.sum(1, keepdim=True))
    loss = terms.sum() / len(y) - 1 + OBJECTIVE.reg * (W * W).sum()
    return loss, G.T @ X / len(y) + 2 * OBJECTIVE.reg * W
