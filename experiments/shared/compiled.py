"""Functions of the library under `jax.jit`, each of them compiled once."""

import jax

import jaxsvm
from jaxsvm.lines import spanned as _spanned
from jaxsvm.lines.line import Line

run_steps = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))
analytic_gradient = jax.jit(jaxsvm.analytic_gradient)
termwise_numerical_gradient = jax.jit(jaxsvm.termwise_numerical_gradient)
along = jax.jit(jaxsvm.along)
slice_1d = jax.jit(jaxsvm.slice_1d, static_argnames="num")
slice_2d = jax.jit(jaxsvm.slice_2d, static_argnames="num")
relative_error = jax.jit(jaxsvm.gradients.relative_error)
random_direction = jax.jit(jaxsvm.random_direction, static_argnames="normalize")
spanned = jax.jit(_spanned)
value = jax.jit(Line.value)
value_at_each = jax.jit(jax.vmap(Line.value, in_axes=(None, 0)))
values = jax.jit(Line.values, static_argnames="num")
minimum = jax.jit(Line.minimum)
kinks = jax.jit(Line.kinks)
