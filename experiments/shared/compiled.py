"""Functions of the library under `jax.jit`, each of them compiled once, and how fast that goes."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

import jaxsvm
from jaxsvm.lines.line import Line

run_steps = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))
analytic_gradient = jax.jit(jaxsvm.analytic_gradient)
termwise_numerical_gradient = jax.jit(jaxsvm.termwise_numerical_gradient)
along = jax.jit(jaxsvm.along)
slice_1d = jax.jit(jaxsvm.slice_1d, static_argnames="num")
slice_2d = jax.jit(jaxsvm.slice_2d, static_argnames="num")
value = jax.jit(Line.value)
values = jax.jit(Line.values, static_argnames="num")
minimum = jax.jit(Line.minimum)
kinks = jax.jit(Line.kinks)

_QUICK = "jax_disable_most_optimizations"


def compile_quickly(quick: bool) -> None:
    """Leave out XLA's expensive passes from now on, or have them.

    On small data most of the work is compilation, and the passes pay off only where seconds are
    what is measured.
    """
    if jax.config.read(_QUICK) != quick:
        # A program that was compiled the other way has another speed and another rounding.
        jax.clear_caches()
        jax.config.update(_QUICK, quick)


@contextmanager
def compiled_quickly(quick: bool) -> Iterator[None]:
    """Do the same within the block."""
    before = jax.config.read(_QUICK)
    compile_quickly(quick)
    try:
        yield
    finally:
        compile_quickly(before)
