"""What tests/test_devices.py asks of 8 virtual devices; they need a process of their own.

    python -m tests.devices_child

Prints one object of JSON: for each result and number of devices whether it has the bits of one
device, and for each refused call the message. Each program takes seconds to compile, so only
`sums` are on 2, 4 and 8 devices.
"""

import json
import os
import tempfile
import warnings
from functools import partial
from typing import Any

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
)

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.benchmark.registry import OPTIMIZERS
from jaxsvm import Data, Objective, StandardizedFeatures, run, shard

N, D, C = 24_007, 6, 3  # 8 segments, and a rest of 7 rows
# Of finite differences; NumPy's, since who finds other processes may not have asked JAX before.
STEPS = np.array([1e-5, 0.1, 0.3, 0.55, 0.7, 10.0], np.float32)
SMOOTH = Objective(jaxsvm.softmax_loss, reg=0.01)


def problem():
    """Bytes whose rows differ in what they are good for, and weights."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (N, D + 2), np.uint8)
    pixels[:, D:] = 0
    y = jnp.asarray(np.argmax(pixels[:, :C], axis=1), jnp.int32)
    X = StandardizedFeatures(
        values=jnp.asarray(pixels), shift=jnp.full(D, 127.3), scale=jnp.full(D, 0.011)
    )
    W = jnp.asarray(rng.normal(size=(C, D)), jnp.float32).astype(X.dtype)
    return W, Data(X, y)


def mesh(count):
    """The first devices, along two axes: axes do not count."""
    devices = np.array(jax.devices()[:count])
    return jax.sharding.Mesh(devices.reshape(-1, 2), ("a", "b"))


def sums(W, data):
    # A hinge's gradient on bytes is sums of integers, which do not round.
    return {"value and gradient": jax.value_and_grad(SMOOTH)(W, data)}


def functions(W, data):
    objective, V = Objective(reg=0.01), W[::-1]
    return {
        "value": objective(W, data),
        "accuracy": jaxsvm.accuracy(W, data),
        "slice_1d": jaxsvm.slice_1d(objective, W, V, data),
        "lower_bound": jaxsvm.lower_bound(objective, W, data),
        "rows": data.X[jnp.array([0, N - 1, -2, 12_003])].values,
        "a function of one's own": jnp.mean(jnp.square(data.X @ W.T)),
    }


def functions_of_floats(W, data):
    objective = Objective(reg=0.01)

    def differences(h):
        return jaxsvm.termwise_numerical_gradient(objective, W, data, h=h)

    return {
        "value of floats": objective(W, data),
        "analytic_gradient": jaxsvm.analytic_gradient(objective, W, data),
        "termwise_numerical_gradient": jax.lax.map(differences, STEPS.astype(W.dtype)),
        "slice_2d": jaxsvm.slice_2d(objective, W, W[::-1], jnp.roll(W, 1), data, num=9),
    }


def batches_of_rows_that_collide(W, data):
    """Of 1,025 columns, which a gradient's products take padded."""
    places = jnp.arange(1025) % D
    wide = jnp.roll(W, 1)[:, places] / 100
    sgd = jaxsvm.minibatch_gradient_descent(SMOOTH, step_size=0.5, batch_size=1000)
    return {"batches of wide floats": run(sgd, jax.random.key(0), wide, data, num_steps=2)}


# Devices can change what comes of the rows, and these look at them as another one does:
# `best_so_far` as gradient descent, nesterov and `record_every`, and adam as mini-batches.
ALIKE = {"gradient_descent", "nesterov", "record_every", "minibatch"}
# Refuses rows on several devices, and says so.
ONE_DEVICE = {"pruned_local_search"}


def optimizers():
    """The registry's, and one whose gradient is no sum of integers."""
    made = {
        name: entry.make(Objective(reg=0.01), 0.1, 4)
        for name, entry in OPTIMIZERS.items()
        if name not in ALIKE | ONE_DEVICE
    }
    return made | {"smooth": jaxsvm.gradient_descent(SMOOTH, step_size=0.5, momentum=0.9)}


def runs(W, data):
    """Each compiled by itself: `jaxsvm.shard` says why."""
    return {
        name: jitted_run(optimizer, name == "local_searches", W, data)
        for name, optimizer in optimizers().items()
    }


@partial(jax.jit, static_argnums=(0, 1))
def jitted_run(optimizer, several, W, data):
    start = jnp.stack([W, -W]) if several else W
    return run(optimizer, jax.random.key(0), start, data, num_steps=4)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def compared(W, data):
    """For each result and number of devices, whether it is one device's to the bit."""
    found = {}
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    for f, counts, of in (
        (sums, (2, 4, 8), data),
        (functions, (8,), data),
        (functions_of_floats, (8,), plain),
        (batches_of_rows_that_collide, (8,), Data(plain.X[:, np.arange(1025) % D], data.y)),
        (runs, (8,), data),
    ):
        f = f if f is runs else jax.jit(f)
        expected = f(W, of)
        for count in counts:
            got = f(W, shard(of, mesh(count)))
            for name in expected:
                equal = bits(got[name]) == bits(expected[name])
                found[f"{name} on {count}"] = equal
    return found


def resumed(W, data):
    """Whether a run that goes from 8 devices to one and back is a run on one, to the bit."""
    optimizer, key = optimizers()["smooth"], jax.random.key(0)

    def taken(folder, *parts):
        for number, part in enumerate(parts, 1):
            steps = 12 * number // len(parts)
            result = jaxsvm.run_resumable(
                optimizer, key, W, part, num_steps=steps, folder=folder, every=4
            )
        return bits(result)

    wide = shard(data, mesh(8))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        return taken(one, data) == taken(other, wide, data, wide)


def solutions(data, laid):
    """What `solve` returns for two penalties: by ascent, and by steps in a metric.

    So few passes are ascent alone; steps on floats are in tests/processes_child.py.
    """
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    found = {}
    for reg, of, max_passes in ((0.01, plain, 10), (1e-4, data, 20)):
        limits: Any = {"gap_tolerance": 1e-7, "max_passes": max_passes, "num_classes": C}
        with warnings.catch_warnings(action="ignore"):  # the gap is not reached
            solution = jaxsvm.solve(Objective(reg=reg), laid(of), **limits)
        history = solution.history._replace(seconds=np.zeros(0))
        found[f"solve at {reg}"] = solution._replace(history=history)
    return found


def solved(data):
    """For each penalty whether `solve` has the same bits."""
    expected = solutions(data, lambda data: data)
    got = solutions(data, lambda data: shard(data, mesh(8)))
    return {name: bits(got[name]) == bits(expected[name]) for name in expected}


def checked(W, data):
    """Whether the check of a gradient says the same."""
    objective = Objective(reg=0.01)
    one, many = (jaxsvm.check_gradient(objective, W, part) for part in (data, shard(data, mesh(8))))
    return bits((one.numerical, one.verdict)) == bits((many.numerical, many.verdict))


def refused(data):
    few = Data(data.X[:10_000], data.y[:10_000])
    calls = {
        "three devices": lambda: shard(data, jax.sharding.Mesh(jax.devices()[:3], ("a",))),
        "few examples": lambda: shard(few, mesh(8)),
        "devices": lambda: shard(data, jax.devices()),  # type: ignore[arg-type]
        "an array": lambda: shard(np.ones((3, 2)), mesh(2)),  # type: ignore[arg-type]
        "jit": lambda: jax.jit(lambda data: shard(data, mesh(2)).y)(data),
    }
    messages: dict[str, str | None] = {}
    for name, call in calls.items():
        try:
            call()
            messages[name] = None
        except ValueError as error:
            messages[name] = str(error)
    return messages


def main():
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    cheap = not os.environ.get("JAXSVM_DEFAULT_COMPILATION")
    jax.config.update("jax_disable_most_optimizations", cheap)
    W, data = problem()
    print(
        json.dumps(
            {
                "compared": compared(W, data) | solved(data),
                "resumed": resumed(W, data),
                "checked": checked(W, data),
                "refused": refused(data),
            }
        )
    )


if __name__ == "__main__":
    main()
