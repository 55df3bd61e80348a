"""Compile a function of data, whether the data are in memory or a stream.

`jax.jit` cannot compile what reads files. `compiled` traces a function as `jax.jit` does and, where
there is a pass over a stream in it, compiles the parts between its passes. Loops and conditionals
that have a pass in them are taken on the host, round by round. A function of data in memory is
jitted, and that is all.

This file works on the host: it turns a loop's conditions into Python's.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxsvm.core.interpreter import Step, bind, interpret, read
from jaxsvm.core.passes import READING
from jaxsvm.core.streamed import StreamedRows

MOST_PLANS = 256  # kept compiled
P = ParamSpec("P")
T = TypeVar("T")


def is_streamed(tree: Any) -> bool:
    """Return whether there are `StreamedRows` in a pytree.

    >>> is_streamed({"X": jnp.ones((3, 2))})
    False
    """

    def is_stream(node: Any) -> bool:
        return isinstance(node, StreamedRows)

    return any(map(is_stream, jax.tree.leaves(tree, is_leaf=is_stream)))


def is_read_here(*arguments: Any) -> bool:
    """Return whether arguments hold a stream, and the call is not one that is being traced.

    What has a loop with a pass in it calls itself `compiled` then.
    """
    return is_streamed(arguments) and not _is_traced(arguments)


def compiled(
    f: Callable[P, T],
    *,
    static_argnames: tuple[str, ...] = (),
    donate_argnames: tuple[str, ...] = (),
) -> Callable[P, T]:
    """Return f compiled, as `jax.jit` does; of a stream, all but its passes.

    A stream is read once for each pass: each evaluation of an objective or a gradient, or of the
    scores of a block of trials. Equal to the bit: what ``compiled(f)`` returns of a stream, and
    ``jax.jit(f)`` of the same data in memory. Equal to rounding only: calls that are not compiled,
    in which JAX derives from loops in memory otherwise; several points of a function of your own
    that share a pass; and, of so few rows that they are one block, several results of one f.

    Args:
        f: a function of pytrees of arrays, and of streams in place of X.
        static_argnames: names of arguments that are no arrays; hashable.
        donate_argnames: names of arguments whose memory the outputs may take, with data in memory.

    Raises:
        ValueError: f is no function.

    Returns:
        A function of the same arguments. Inside `jax.jit`, or another compiled function, it is
        `jax.jit`'s.

    >>> double = compiled(lambda x, times: times * x, static_argnames=("times",))
    >>> float(double(2.0, times=3))
    6.0
    """
    if not callable(f):
        raise ValueError(f"f is a {type(f).__name__}: expected a function")
    jitted = jax.jit(f, static_argnames=static_argnames, donate_argnames=donate_argnames)
    names = list(inspect.signature(f).parameters) if static_argnames else []

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if not is_read_here(args, kwargs):
            return jitted(*args, **kwargs)
        traced = jitted.trace(*args, **kwargs)
        positional = itertools.zip_longest(names[: len(args)], args)
        arrays = [value for name, value in positional if name not in static_argnames]
        by_name = {name: kwargs[name] for name in kwargs if name not in static_argnames}
        outputs = _evaluate(traced.jaxpr, jax.tree.leaves((arrays, by_name)))
        return jax.tree.unflatten(traced.out_tree, outputs)

    functools.update_wrapper(call, f)
    vars(call).pop("__wrapped__")  # of which doctest would run the examples once more
    return call


def evaluate(f: Callable[..., T], *arguments: Any) -> T:
    """Return ``f(*arguments)``, `compiled` where a stream is read: f has a pass in a loop.

    >>> evaluate(jnp.negative, 2.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    return compiled(f)(*arguments) if is_read_here(*arguments) else f(*arguments)


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


# --- a program as steps ---


class _Step(NamedTuple):
    """A part of a program: equations without a pass, which are compiled, or one with a pass.

    Attributes:
        run: from the values of ``inputs`` to those of ``outputs``.
        inputs: variables and literals.
        outputs: variables.
        done: variables that nothing needs from then on.
    """

    run: Callable[[list[Any]], Sequence[Any]]
    inputs: list[Any]
    outputs: list[Any]
    done: list[Any]


def _evaluate(program: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Return a program's outputs. What is needed no more is let go of."""
    program, steps = _plan(program)
    values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values.update(zip(program.jaxpr.invars, arguments, strict=True))
    for step in steps:
        outputs = step.run(read(values, step.inputs))
        values.update(zip(step.outputs, outputs, strict=True))
        for variable in step.done:
            values.pop(variable, None)
    return read(values, program.jaxpr.outvars)


@functools.lru_cache(maxsize=MOST_PLANS)
def _plan(program: ClosedJaxpr) -> tuple[ClosedJaxpr, list[_Step]]:
    """Return a program without calls that have a pass in them, and its steps."""
    program = _without_calls(program)
    groups = _groups(program.jaxpr)
    needed = set(_variables(program.jaxpr.outvars))
    steps: list[_Step] = []
    for group in reversed(groups):
        made = list(dict.fromkeys(v for equation in group for v in equation.outvars))
        used = dict.fromkeys(v for equation in group for v in _variables(equation.invars))
        done = [v for v in (*used, *made) if v not in needed]
        run: Callable[[list[Any]], Sequence[Any]]
        if _reads(group[0]):
            (equation,) = group
            run = functools.partial(HOSTED.get(equation.primitive.name, bind), equation)
            step = _Step(run, list(equation.invars), made, done)
        else:
            inputs = [v for v in used if v not in set(made)]
            outputs = [v for v in made if v in needed]
            part = program.jaxpr.replace(constvars=inputs, invars=[], outvars=outputs, eqns=group)
            run = jax.jit(functools.partial(_part, part))
            step = _Step(run, inputs, outputs, done)
        steps.append(step)
        needed.update(used)
    return program, steps[::-1]


def _part(jaxpr: Jaxpr, inputs: list[Any]) -> list[Any]:
    return interpret(jaxpr, inputs, (), bind)


def _groups(jaxpr: Any) -> list[list[JaxprEqn]]:
    """Return the equations that are needed: each with a pass alone, the others between passes.

    What does not need a pass is computed as late as it can be, next to what needs it, where the
    compiler may fuse the two, as it does in memory.
    """
    number = sum(map(_reads, jaxpr.eqns))
    groups: list[list[JaxprEqn]] = [[] for _ in range(2 * number + 1)]
    # In which group a variable is needed first. Passes have the odd numbers.
    first = dict.fromkeys(_variables(jaxpr.outvars), 2 * number)
    for equation in reversed(jaxpr.eqns):
        if _reads(equation):
            number -= 1
            group = 2 * number + 1
        else:
            wanted = [first[out] for out in equation.outvars if out in first]
            if not wanted:
                if equation.effects:
                    raise ValueError(
                        f"{equation.primitive} has a side effect, and is between passes over a "
                        "stream: expected a function without, since only what results need is "
                        "computed there; take it out"
                    )
                continue
            group = min(wanted) // 2 * 2
        groups[group].append(equation)
        for variable in _variables(equation.invars):
            first[variable] = min(first.get(variable, group), group)
    return [group[::-1] for group in groups if group]


def _without_calls(program: ClosedJaxpr) -> ClosedJaxpr:
    """Return a program in which calls that have a pass in them are written out."""

    def step(equation: JaxprEqn, inputs: Sequence[Any]) -> Sequence[Any]:
        if not _is_call(equation):
            return bind(equation, inputs)
        (held,) = _programs(equation)
        return interpret(held.jaxpr, held.consts, inputs, step)

    if not any(map(_is_call, program.jaxpr.eqns)):
        return program
    forms = [
        jax.ShapeDtypeStruct(form.shape, form.dtype, weak_type=form.weak_type)
        for form in program.in_avals
    ]
    return jax.make_jaxpr(lambda *args: interpret(program.jaxpr, program.consts, args, step))(
        *forms
    )


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def _programs(equation: JaxprEqn) -> list[ClosedJaxpr]:
    """Return the programs that an equation holds."""
    held = jax.tree.leaves(list(equation.params.values()))
    open_ones = [ClosedJaxpr(one, ()) for one in held if isinstance(one, Jaxpr)]
    return [*(one for one in held if isinstance(one, ClosedJaxpr)), *open_ones]


def _reads(equation: JaxprEqn) -> bool:
    """Return whether there is a pass in an equation."""
    return equation.primitive in READING or any(
        _reads(inner) for program in _programs(equation) for inner in program.jaxpr.eqns
    )


def _is_call(equation: JaxprEqn) -> bool:
    """Return whether an equation does no more than evaluate a program, which has a pass in it."""
    return (
        _reads(equation)
        and equation.primitive not in READING
        and equation.primitive.name not in HOSTED
    )


# --- loops and conditionals that have a pass in them ---


@jax.jit
def _at(leaves: list[Array], number: Array) -> list[Array]:
    return [lax.dynamic_index_in_dim(leaf, number, keepdims=False) for leaf in leaves]


def _scan(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    params = equation.params
    a = params["num_consts"]
    b = a + params["num_carry"]
    consts, carry, columns = inputs[:a], inputs[a:b], inputs[b:]
    length = params["length"]
    outs: list[list[Any]] = []
    for i in range(length):
        number = length - 1 - i if params["reverse"] else i
        found = _evaluate(params["jaxpr"], [*consts, *carry, *_at(columns, jnp.int32(number))])
        carry, out = found[: b - a], found[b - a :]
        outs.append(out)
    outs = outs[::-1] if params["reverse"] else outs
    if length:
        return [*carry, *(jnp.stack(parts) for parts in zip(*outs, strict=True))]
    return [*carry, *map(_zeros, equation.outvars[b - a :])]


def _zeros(variable: Any) -> Array:
    return jnp.zeros(variable.aval.shape, variable.aval.dtype)


def _while(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    params = equation.params
    a = params["cond_nconsts"]
    b = a + params["body_nconsts"]
    asked, done, carry = inputs[:a], inputs[a:b], inputs[b:]
    while bool(_evaluate(params["cond_jaxpr"], [*asked, *carry])[0]):
        carry = _evaluate(params["body_jaxpr"], [*done, *carry])
    return carry


def _cond(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    index, *operands = inputs
    return _evaluate(equation.params["branches"][int(index)], operands)


HOSTED: dict[str, Step] = {"scan": _scan, "while": _while, "cond": _cond}
