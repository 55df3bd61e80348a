"""Loss, gradient and mini-batch steps beside NumPy, PyTorch and optax's own loop.

Peers hold X as float32 in the layout they are fastest in, and use all cores. What the notes claim
of batch sizes is timed by `experiments.minibatch`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmark import harness, listings
from experiments.benchmark.harness import Config, Row, compare, problem, run_steps
from jaxsvm import Objective, gradient_descent, minibatch_gradient_descent

OBJECTIVE = Objective(reg=listings.REG)
STEP_SIZE = 1e-5
PART = "descent"


def run(config: Config) -> list[Row]:
    rows = full_batch(config)
    for batch_size in (1, 32, 256, 1024) if config.full else (4,):
        rows += minibatch(config, batch_size)
    for form in ("bytes", "floats") if config.full else ("bytes",):
        work = f"peak memory of training from {form}, X included"
        rows += harness.memory_rows(PART, work, f"{__name__}:train", form, config.size)
    return rows


def full_batch(config: Config) -> list[Row]:
    """The loss on all data, and the loss with its gradient."""
    inputs = problem(config)
    W, X, y = host = inputs.host()
    N, D, C = config.shape
    by_columns = np.ascontiguousarray(X.T)
    losses = inputs.peers(partial(jax.jit(OBJECTIVE), inputs.W)) | {
        "numpy": partial(listings.numpy_loss, *host),
        "numpy, X by columns": lambda: listings.numpy_penalized(
            listings.numpy_terms((W @ by_columns).T, y), W
        ),
    }
    gradients = inputs.peers(partial(jax.jit(jax.value_and_grad(OBJECTIVE)), inputs.W))
    gradients["numpy"] = partial(listings.numpy_gradient, *host)
    if tensors := listings.in_torch(*host):
        losses["torch"] = partial(listings.torch_loss, *tensors)
        gradients["torch"] = partial(listings.torch_gradient, *tensors)
    moved = dict.fromkeys(losses, 4.0 * N * D) | {"jaxsvm, bytes": 1.0 * N * D}
    calls = harness.in_a_row(config)
    rows = []
    for work, peers, products in (("loss", losses, 1), ("loss and gradient", gradients, 2)):
        rows += compare(
            PART, f"{work}, all data", harness.repeated(peers, calls), config, calls=calls,
            flops=2.0 * N * D * C * products, bytes=moved,
        )  # fmt: skip
    return rows


def minibatch(config: Config, batch_size: int) -> list[Row]:
    """One step of mini-batch gradient descent on random rows, in a loop of many."""
    inputs = problem(config)
    W, X, y = host = inputs.host()
    N, D, C = config.shape
    steps = max(50, 102_400 // max(batch_size, 16)) if config.full else 3
    ours = minibatch_gradient_descent(OBJECTIVE, step_size=STEP_SIZE, batch_size=batch_size)
    start = ours, jax.random.key(config.seed), inputs.W

    def with_numpy() -> np.ndarray:
        rng, W_now = np.random.default_rng(config.seed), W.copy()
        for _ in range(steps):
            index = rng.integers(0, N, batch_size)
            W_now -= np.float32(STEP_SIZE) * listings.numpy_gradient(W_now, X[index], y[index])[1]
        return W_now

    transform = optax.sgd(STEP_SIZE)

    @jax.jit
    def optax_step(W: Any, state: Any, X: Any, y: Any, index: Any) -> Any:
        gradient = jax.grad(listings.plain_objective)(W, X[index], y[index])
        updates, state = transform.update(gradient, state)
        return optax.apply_updates(W, updates), state

    def with_optax() -> Any:
        rng, W_now = np.random.default_rng(config.seed), inputs.W
        state = transform.init(W_now)
        for _ in range(steps):
            index = rng.integers(0, N, batch_size, dtype=np.int32)
            W_now, state = optax_step(W_now, state, *inputs.plain, index)
        return W_now

    peers = inputs.peers(lambda data: run_steps(*start, data, num_steps=steps))
    peers |= {"numpy": with_numpy, "optax's loop": with_optax}
    if tensors := listings.in_torch(*host):
        peers["torch"] = partial(torch_steps, tensors, config.seed, batch_size, steps)
    return compare(
        PART, f"mini-batch step, {batch_size} random rows", peers, config, calls=steps,
        flops=4.0 * batch_size * D * C, bytes=4.0 * batch_size * D + 8.0 * C * D,
    )  # fmt: skip


def torch_steps(tensors: tuple[Any, ...], seed: int, batch_size: int, steps: int) -> Any:
    import torch

    W, X, y = tensors
    generator = torch.Generator(device=W.device).manual_seed(seed)
    W = W.clone()
    for _ in range(steps):
        index = torch.randint(0, len(y), (batch_size,), generator=generator, device=W.device)
        W -= STEP_SIZE * listings.torch_gradient(W, X[index], y[index])[1]
    return W


def train(form: str, size: str) -> Callable[[], Any]:
    """Return a training, to be called in a process of its own: it makes X, and all it needs.

    Gradient descent on all data, then mini-batches.
    """

    def call() -> Any:
        W, data = harness.random_data(size, form)
        on_all = gradient_descent(OBJECTIVE, step_size=STEP_SIZE)
        key = jax.random.key(0)
        state, _ = run_steps(on_all, key, jnp.zeros_like(W), data, num_steps=3)
        batches = minibatch_gradient_descent(OBJECTIVE, step_size=STEP_SIZE)
        return run_steps(batches, key, state.params, data, num_steps=100)

    return call
