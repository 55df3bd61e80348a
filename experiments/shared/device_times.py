"""The steps that are timed on virtual CPU devices, their work, and how a process times them.

How many devices a process has is settled when JAX starts, so `experiments.shared.device_crew`
starts one for each number.
"""

import functools
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.shared.cost_model import Work
from experiments.shared.devices import spread, use
from experiments.shared.options import Hardware
from experiments.shared.workers import answer_requests
from jaxsvm import Data, Objective, StandardizedFeatures
from jaxsvm.core import blocks

BATCH, BATCHES, TRIALS = 256, 10, 10
OBJECTIVE = Objective(reg=1e-3)


class Size(NamedTuple):
    """A problem's size.

    Attributes:
        N: examples.
        C: classes.
        D: weights of a class.
    """

    N: int
    C: int
    D: int

    @property
    def columns(self) -> int:
        """Bytes of a row as users have them: padded to a multiple of 8."""
        return -(-self.D // 8) * 8


def gradient_work(size: Size, devices: int) -> Work:
    """Return the work of one value and gradient."""
    N, C, P = size.N / devices, size.C, size.columns
    # Of the scores only their differences are needed: C − 1 columns. Bytes are read, their floats
    # written, and read by either product; the losses are everybody's.
    return Work(
        examples=size.N, flops=2 * N * P * (2 * C - 1), read=N * (P * (1 + 3 * 4) + 12 * C),
        losses=N * C, messages=1, reduced=4 * C * P, gathered=4 * size.N,
    )  # fmt: skip


def batch_work(size: Size, devices: int) -> Work:
    """Return the work of a call of some mini-batch steps: every device gets and takes all rows."""
    C, P = size.C, size.columns
    step = Work(
        examples=BATCH, flops=2 * BATCH * P * (2 * C - 1),
        read=BATCH * P * (2 + 3 * 4) + 32 * C * P,
        losses=BATCH * C, messages=1, reduced=BATCH * P,
    )  # fmt: skip
    return Work(*(BATCHES * amount for amount in step))


def search_work(size: Size, devices: int) -> Work:
    """Return the work of a start and a block of trials: products are shared, trials are not."""
    N, C, P = size.N / devices, size.C, size.columns
    scores = 4 * size.N * C  # bytes
    return Work(
        examples=size.N * (TRIALS + 1),
        flops=2 * N * P * (C - 1 + C * (1 + TRIALS)),
        read=2 * N * P * (1 + 2 * 4) + scores * (2 + TRIALS + 4 * TRIALS),
        losses=size.N * C * (1 + TRIALS), messages=2, gathered=scores * (2 + TRIALS),
    )  # fmt: skip


class Step(NamedTuple):
    """Something that is timed.

    Attributes:
        call: ``(W, data) -> arrays``.
        work: of a call, by the problem's size and the number of devices.
        steps: of a call.
    """

    call: Callable[[Any, Data], Any]
    work: Callable[[Size, int], Work]
    steps: int = 1


def gradient(W: Any, data: Data) -> Any:
    return jax.value_and_grad(OBJECTIVE)(W, data)


def batches(W: Any, data: Data) -> Any:
    descent = jaxsvm.minibatch_gradient_descent(OBJECTIVE, step_size=1e-3, batch_size=BATCH)
    return jaxsvm.run(descent, jax.random.key(0), W, data, num_steps=BATCHES)


def trials(W: Any, data: Data) -> Any:
    search = jaxsvm.local_search(OBJECTIVE, step_size=1e-4, block_size=TRIALS)
    return jaxsvm.run(search, jax.random.key(0), W, data, num_steps=TRIALS)


STEPS = {
    "gradient": Step(gradient, gradient_work),
    f"mini-batch of {BATCH}": Step(batches, batch_work, BATCHES),
    f"local search of {TRIALS}": Step(trials, search_work),
}


@functools.lru_cache(maxsize=1)
def problem(size: Size) -> tuple[Any, Data]:
    """Return W and random bytes of a size, on all the devices of this process."""
    N, C, D = size
    rng = np.random.default_rng(0)
    pixels = np.zeros((N, size.columns), np.uint8)
    pixels[:, : D - 1] = rng.integers(0, 256, (N, D - 1), np.uint8)
    pixels[:, D - 1] = 1
    shift, scale = (
        jnp.asarray(np.append(np.full(D - 1, value), bias), jnp.float32)
        for value, bias in ((127.5, 0.0), (1 / 128, 1.0))
    )
    X = StandardizedFeatures(jnp.asarray(pixels), shift, scale)
    W = jnp.asarray(0.01 * rng.standard_normal((C, D)), jnp.float32)
    return W, spread(Data(X, jnp.asarray(rng.integers(0, C, N), jnp.int32)))


@functools.cache
def compiled(name: str, size: Size) -> tuple[Any, tuple[Any, Data]]:
    """Return a step's program and its arguments."""
    arguments = problem(size)
    return jax.jit(STEPS[name].call).lower(*arguments).compile(), arguments


def answer(do: str, name: str, size: Size) -> dict[str, float]:
    """Return what the compiler counts of a step ("count"), or the time of a call ("time")."""
    program, arguments = compiled(name, size)
    if do == "count":
        jax.block_until_ready(program(*arguments))  # the first call is a slow one
        found = program.cost_analysis()
        return {"flops": found["flops"], "read": found["bytes accessed"]}
    jax.block_until_ready(program(*arguments))  # caches and clocks are another's until then
    began, worked = time.perf_counter(), time.process_time()
    jax.block_until_ready(program(*arguments))
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    return {"seconds": seconds, "core_seconds": work}


def serve(pipe: Connection, devices: int) -> None:
    """Answer the parent's requests on so many virtual devices, until the parent ends."""
    jax.config.update("jax_platforms", "cpu")
    use(Hardware(devices))
    # The model knows one rate of arithmetic, that of float32.
    blocks.CPU = blocks.CPU._replace(digits=False)
    answer_requests(pipe, answer)
