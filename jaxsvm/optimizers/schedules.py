"""Step sizes as functions of the step, ``schedule(t) -> step_size`` with t = 0, 1, 2, ...

A schedule is given wherever a step size is. All are the notes' own (annealing the learning rate),
plus the straight line to zero. ``step_size`` is a schedule's value at t = 0.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import Float, Int

from jaxsvm.core.types import ScalarLike

Schedule: TypeAlias = Callable[[Int[Array, ""]], Float[Array, ""]]


def constant(step_size: ScalarLike) -> Schedule:
    """Return the schedule ``step_size`` at every step; what a plain number stands for.

    Raises:
        ValueError: ``step_size`` is not a finite number > 0 (a traced one is not checked).

    >>> float(constant(0.5)(jnp.int32(7)))
    0.5
    """
    check_positive("step_size", step_size)
    return lambda t: jnp.asarray(step_size, float)


def step_decay(step_size: ScalarLike, *, factor: ScalarLike = 0.5, every: int) -> Schedule:
    """Return ``step_size · factor^⌊t / every⌋``.

    Args:
        step_size: > 0.
        factor: > 0; what the step size is multiplied by.
        every: after how many steps, ≥ 1.

    Raises:
        ValueError: an argument out of its range (a traced one is not checked).

    Source: CS231n notes, "Neural networks 3", step decay.

    >>> float(step_decay(1.0, factor=0.5, every=10)(jnp.int32(25)))
    0.25
    """
    check_positive("step_size", step_size)
    check_positive("factor", factor)
    check_count("every", every)
    return lambda t: _real(step_size) * _real(factor) ** _real(t // every)


def exponential_decay(step_size: ScalarLike, *, rate: ScalarLike) -> Schedule:
    """Return ``step_size · e^(−rate·t)``.

    Raises:
        ValueError: ``step_size`` or ``rate`` is not a finite number > 0 (traced: not checked).

    Source: CS231n notes, "Neural networks 3", exponential decay.

    >>> round(float(exponential_decay(1.0, rate=0.1)(jnp.int32(10))), 4)
    0.3679
    """
    check_positive("step_size", step_size)
    check_positive("rate", rate)
    return lambda t: _real(step_size) * jnp.exp(-_real(rate) * _real(t))


def inverse_decay(step_size: ScalarLike, *, rate: ScalarLike) -> Schedule:
    """Return ``step_size / (1 + rate·t)``.

    Raises:
        ValueError: ``step_size`` or ``rate`` is not a finite number > 0 (traced: not checked).

    Source: CS231n notes, "Neural networks 3", 1/t decay.

    >>> float(inverse_decay(1.0, rate=0.5)(jnp.int32(2)))
    0.5
    """
    check_positive("step_size", step_size)
    check_positive("rate", rate)
    return lambda t: _real(step_size) / (1 + _real(rate) * _real(t))


def linear_decay(step_size: ScalarLike, *, num_steps: int) -> Schedule:
    """Return ``step_size · max(0, 1 − t / num_steps)``: a straight line to zero.

    Raises:
        ValueError: ``step_size`` is not a finite number > 0 (traced: not checked), or
            ``num_steps`` is not an integer ≥ 1.

    >>> float(linear_decay(1.0, num_steps=100)(jnp.int32(75)))
    0.25
    """
    check_positive("step_size", step_size)
    check_count("num_steps", num_steps)
    return lambda t: _real(step_size) * jnp.clip(1 - _real(t) / num_steps, 0)


def as_schedule(step_size: ScalarLike | Schedule) -> Schedule:
    """Return a schedule as it is and a number as a `constant` one."""
    return step_size if callable(step_size) else constant(step_size)


def check_positive(name: str, value: ScalarLike) -> None:
    """Raise ValueError unless ``value`` is a finite number > 0; a traced value is not checked."""
    if not isinstance(value, Tracer) and not (0 < float(value) < float("inf")):
        raise ValueError(f"{name} = {value}: expected a finite number > 0")


def check_count(name: str, value: int) -> None:
    """Raise ValueError unless ``value`` is an integer ≥ 1."""
    if value != int(value) or value < 1:
        raise ValueError(f"{name} = {value}: expected an integer >= 1")


def _real(value: ScalarLike | Int[Array, ""]) -> Float[Array, ""]:
    """Return value as a scalar of the default float type, float64 where x64 is on."""
    return jnp.asarray(value, float)
