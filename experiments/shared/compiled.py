"""Functions of the library under `jax.jit`, each of them compiled once."""

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
