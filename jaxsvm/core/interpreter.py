"""A program as JAX traces it, evaluated one equation after another.

What is done with an equation is up to a ``step``: `bind` does what the equation says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from jax.extend.core import Jaxpr, JaxprEqn, Literal

# From an equation and the values of its inputs to those of its outputs.
Step: TypeAlias = Callable[[JaxprEqn, list[Any]], Sequence[Any]]


def interpret(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], step: Step) -> list[Any]:
    """Return the outputs of a program: step by step, at these arguments."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        outputs = step(equation, read(values, equation.invars))
        values.update(zip(equation.outvars, outputs, strict=True))
    return read(values, jaxpr.outvars)


def bind(equation: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """Return an equation's outputs: computed or, where JAX traces, traced."""
    parameters = equation.primitive.get_bind_params(equation.params)
    outputs = equation.primitive.bind(*inputs, **parameters)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def read(values: Mapping[Any, Any], atoms: Sequence[Any]) -> list[Any]:
    """Return the values of atoms: variables that have one, and literals."""
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in atoms]
