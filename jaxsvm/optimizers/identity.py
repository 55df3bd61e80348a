"""What a run is, in words that another process can compare: does a folder hold this run's past?

An optimizer is closures, which have no equality that outlives a process. What it computes has one:
the program that JAX traces from it, printed, with the constants that it closed over. Equal programs
on equal arrays in an equal environment give equal bits.
"""

import hashlib
import importlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxsvm.core.trees import described, digests, on_one_device
from jaxsvm.core.types import Data


def identity(
    key: Array, params: Any, data: Data, state: Any, block_size: int, config: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return what must not change from one part of a run to the next, whatever runs it.

    Args:
        key: the run's.
        params: the run's start.
        data: the run's.
        state: of the optimizer, or its shapes.
        block_size: of the optimizer.
        config: what the caller says of the run.

    Raises:
        ValueError: ``config`` is not what JSON can say.

    >>> W, data = np.zeros((3, 3)), Data(jax.numpy.eye(3), jax.numpy.arange(3))
    >>> found = identity(jax.random.key(7), W, data, W, 1, {"step_size": 0.1})
    >>> found["key"], found["state"], found["config"]
    ({'words': '[0, 7] of key<fry>'}, {'0': 'float64[3, 3]'}, {'step_size': 0.1})
    """
    try:
        settings = json.loads(json.dumps(dict(config), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"config is {config!r}: expected a mapping of what JSON can say ({error})"
        ) from error
    return {
        "key": {"words": words_of(key)},
        "params": digests(params),
        "data": digests(data),
        "state": described(state),
        "optimizer": {"block_size": block_size},
        "config": settings,
    }


def words_of(key: Array) -> str:
    """Return a typed key's words and kind, as text."""
    return f"{jax.random.key_data(key).tolist()} of {key.dtype}"


def computation(function: Callable[..., Any], *arguments: Any) -> str:
    """Return a digest of what a function computes of some arguments: the program that JAX traces.

    Equal in all processes of one version, device and precision, on any number of devices; of an
    optimizer another step size, schedule or loss is another.

    Args:
        function: of arrays; what it closes over counts.
        arguments: of which only shapes and dtypes count.
    """
    traced = jax.make_jaxpr(function)(*on_one_device(arguments))
    constants = json.dumps(digests(traced.consts))
    return hashlib.sha256(f"{traced.jaxpr}\n{constants}".encode()).hexdigest()


def environment(computation: str) -> dict[str, Any]:
    """Return what decides the bits of a run next to its arrays.

    A computation in JAX's words, and what compiles and runs it: versions, device, precision,
    threads.
    """
    device = jax.devices()[0]
    return {
        "computation": computation,
        # Looked up when called, because the top level imports this file.
        "jaxsvm": importlib.import_module("jaxsvm").__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "device": f"{device.platform}: {device.device_kind}",
        "x64": bool(jax.config.read("jax_enable_x64")),
        "quick compilation": bool(jax.config.read("jax_disable_most_optimizations")),
        "cores": int(os.environ.get("NPROC") or cores() or 1),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def check_computation(
    folder: Path, environments: list[dict[str, Any]], now: dict[str, Any], what: str
) -> None:
    """Raise ValueError if a process in an environment equal to this one computed something else.

    Args:
        folder: of the run, for the message.
        environments: of those that took part.
        now: this process's.
        what: decides what is computed, and is the caller's choice: "optimizer", say.
    """
    for was in environments:
        if was != now and was | {"computation": now["computation"]} == now:
            raise ValueError(
                f"{folder} holds a run of another {what}: what it computes was "
                f"{was['computation'][:16]}, is {now['computation'][:16]}. Expected the same one "
                "with the same settings (step size, schedule, loss, reg, ...), or another folder"
            )


def warn_elsewhere(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Warn that a run goes on in another environment than it began in."""
    warnings.warn(
        f"the run in {folder} goes on elsewhere, so it may differ from an unbroken one in the "
        f"last bits: {'; '.join(differences(was, now))}",
        stacklevel=4,
    )


def cores() -> int | None:
    """Return how many cores this process may use, or how many there are where that is unknown."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two mappings of one level or two, in words.

    >>> differences({"x64": False, "config": {"reg": 1}}, {"x64": True, "config": {"reg": 1}})
    ['x64 was False, is True']
    """
    found = []
    for name in {**was, **now}:
        a, b = was.get(name, "not there"), now.get(name, "not there")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += [f"{name} {what}" for what in differences(a, b)]
        elif a != b:
            found.append(f"{name} was {a}, is {b}")
    return found
