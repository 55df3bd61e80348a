"""A function's value together with its branch signature: on which smooth piece a point lies.

`jax.make_jaxpr` writes a function as a list of primitives. They are evaluated one after another,
and of every one that branches its outcome is taken down, as `jaxsvm.gradients.primitives` says:
which of two numbers was larger, what the order was. Two points at which all outcomes are equal lie
on the same smooth piece, and a difference between them is a fair judge of a derivative; where they
are not, the site that differs says which primitive flipped, and in which line of the function.

The outcomes of a site are hashed to 32 words of 32 bits: word w is Σ r_i·outcome_i over every 32nd
entry, from w on, with fixed random r, and over a loop's rounds. So it can also be said whether two
points differ in the same entries. A different outcome is taken for equal with probability 2⁻³¹ for
each word that differs, a little more where outcomes are not −1, 0 and 1. All of it can be traced,
so thousands of points are evaluated in one compiled program.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.extend.source_info_util import summarize

from jaxsvm.core.interpreter import bind, interpret
from jaxsvm.gradients.primitives import BRANCHES, CALLS, NESTED, SMOOTH

WORDS = 32  # of 32 bits each, in a site's hash
MOST_KEPT = 2**16  # random numbers that a program keeps for a site


class Site(NamedTuple):
    """A primitive of a function, and the line of the user's code that called it."""

    primitive: str
    source: str

    def __str__(self) -> str:
        return f"{self.primitive} at {self.source}"


class Branches(NamedTuple):
    """A traced function that can be evaluated with its signature.

    Attributes:
        evaluate: from ``consts`` and the flat arguments to the flat outputs and (S, WORDS) uint32.
        consts: the arrays that the function closes over, so that a compiled program can take them
            as arguments.
        sites: what each of the S rows belongs to.
        unknown: primitives that can hide a branch.
        stopped: where `jax.lax.stop_gradient` is called.
        eps: of the coarsest floats that the function computes with.
    """

    evaluate: Callable[..., tuple[list[Any], Array]]
    consts: Any
    sites: tuple[Site, ...]
    unknown: tuple[Site, ...]
    stopped: tuple[Site, ...]
    eps: float


def branches(f: Callable[..., Any], *args: Any) -> Branches:
    """Trace f at arguments like these, and return how to evaluate it with its signature."""
    program = jax.make_jaxpr(f)(*args)

    def evaluate(consts: Any, *args: Any) -> tuple[list[Any], Array]:
        outputs, rows = _run(program.jaxpr, consts, args)
        return outputs, _stacked(rows)

    equations = list(_equations(program.jaxpr))

    def sites(which: Callable[[JaxprEqn], bool]) -> tuple[Site, ...]:
        return tuple(_site(e, line) for e, line in equations if which(e))

    return Branches(
        evaluate,
        program.consts,
        sites(_is_site),
        tuple(dict.fromkeys(sites(_is_unknown))),
        sites(lambda e: e.primitive.name == "stop_gradient"),
        max((float(jnp.finfo(a.dtype).eps) for e, _ in equations for a in _floats(e)), default=0.0),
    )


def hoisted(f: Callable[..., Any], *args: Any) -> tuple[Callable[..., list[Any]], Any]:
    """Return f as a function of what it closes over and its flat arguments, and those arrays."""
    program = jax.make_jaxpr(f)(*args)

    def evaluate(consts: Any, *args: Any) -> list[Any]:
        return interpret(program.jaxpr, consts, args, bind)

    return evaluate, program.consts


def first_nonfinite(f: Callable[..., Any], *args: Any) -> Site | None:
    """Return the primitive that first made a number that is not finite of finite ones.

    Calls are walked through, loops and conditionals are taken whole. None where nothing did.
    """
    program = jax.make_jaxpr(f)(*args)
    found: list[Site] = []

    def walk(jaxpr: Jaxpr, consts: Any, args: Any, caller: str) -> list[Any]:
        def step(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
            line = summarize(equation.source_info) or caller
            if equation.primitive.name in CALLS:
                (held,) = _held(equation)
                return walk(*_program(held), inputs, line)
            outputs = bind(equation, inputs)
            if not found and all(map(_finite, inputs)) and not all(map(_finite, outputs)):
                found.append(_site(equation, line))
            return outputs

        return interpret(jaxpr, consts, args, step)

    walk(program.jaxpr, program.consts, jax.tree.leaves(args), "an unknown line")
    return found[0] if found else None


def _finite(x: Any) -> bool:
    x = jnp.asarray(x)
    return not jnp.issubdtype(x.dtype, np.inexact) or bool(jnp.all(jnp.isfinite(x)))


def _run(jaxpr: Jaxpr, consts: Any, args: Any) -> tuple[list[Any], list[Array]]:
    """Evaluate a program; return its outputs, and a hash for each of its sites."""
    rows: list[Array] = []

    def step(equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
        if any(map(_num_sites, _programs(equation))):
            outputs, new = _nested(equation, inputs)
            rows.extend(new)
            return outputs
        outputs = bind(equation, inputs)
        if _is_site(equation):
            rows.append(_fingerprint(_outcomes(equation, inputs, outputs)))
        return outputs

    return interpret(jaxpr, consts, args, step), rows


def _nested(equation: JaxprEqn, inputs: list[Any]) -> tuple[list[Any], list[Array]]:
    """Evaluate an equation that holds programs with sites."""
    params, name = equation.params, equation.primitive.name
    if name == "scan":
        return _scan(params, inputs)
    if name == "while":
        return _while(params, inputs)
    if name == "cond":
        return _cond(params, inputs)
    return _run(*_program(params[CALLS[name]]), inputs)


def _scan(params: dict[str, Any], inputs: list[Any]) -> tuple[list[Any], list[Array]]:
    num_consts, num_carry = params["num_consts"], params["num_carry"]
    consts, carry, xs = np.split(np.arange(len(inputs)), [num_consts, num_consts + num_carry])
    jaxpr, own = _program(params["jaxpr"])
    total = jnp.zeros((_num_sites(jaxpr), WORDS), jnp.uint32)
    fixed = [inputs[i] for i in consts]

    def body(state: Any, x: Any) -> Any:
        number, total, carry = state
        outputs, rows = _run(jaxpr, own, [*fixed, *carry, *x])
        carry, ys = outputs[:num_carry], outputs[num_carry:]
        return (number + 1, total + _mixed(_stacked(rows), number), carry), ys

    start = (jnp.uint32(1), total, [inputs[i] for i in carry])
    (_, total, last), ys = lax.scan(
        body,
        start,
        [inputs[i] for i in xs],
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*last, *ys], list(total)


def _while(params: dict[str, Any], inputs: list[Any]) -> tuple[list[Any], list[Array]]:
    ask, ask_consts = _program(params["cond_jaxpr"])
    do, do_consts = _program(params["body_jaxpr"])
    a, b = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    asked, done, carry = inputs[:a], inputs[a:b], inputs[b:]

    def question(carry: list[Any]) -> tuple[Array, Array]:
        (answer,), rows = _run(ask, ask_consts, [*asked, *carry])
        return answer, _stacked(rows)

    def body(state: Any) -> Any:
        number, asking, doing, carry = state
        _, rows = question(carry)
        asking = asking + _mixed(rows, number)
        carry, new = _run(do, do_consts, [*done, *carry])
        return number + 1, asking, doing + _mixed(_stacked(new), number), carry

    empty = [jnp.zeros((_num_sites(part), WORDS), jnp.uint32) for part in (ask, do)]
    number, asking, doing, carry = lax.while_loop(
        lambda state: question(state[-1])[0], body, (jnp.uint32(1), *empty, carry)
    )
    asking = asking + _mixed(question(carry)[1], number)
    return carry, [*asking, *doing]


def _cond(params: dict[str, Any], inputs: list[Any]) -> tuple[list[Any], list[Array]]:
    programs = [_program(branch) for branch in params["branches"]]
    sizes = [_num_sites(jaxpr) for jaxpr, _ in programs]

    def branch(i: int) -> Callable[..., Any]:
        def run(*args: Any) -> tuple[list[Any], Array]:
            outputs, rows = _run(*programs[i], args)
            total = jnp.zeros((sum(sizes), WORDS), jnp.uint32)
            before = sum(sizes[:i])
            return outputs, total.at[before : before + sizes[i]].set(_stacked(rows))

        return run

    index, *args = inputs
    outputs, total = lax.switch(index, [branch(i) for i in range(len(programs))], *args)
    return outputs, list(total)


def _program(jaxpr: Any) -> tuple[Jaxpr, Any]:
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, ClosedJaxpr) else (jaxpr, ())


def _held(equation: JaxprEqn) -> list[Any]:
    """Return the programs that an equation holds, in the order in which their sites are listed."""
    params, name = equation.params, equation.primitive.name
    if name in CALLS:
        return [params[CALLS[name]]]
    if name == "scan":
        return [params["jaxpr"]]
    if name == "while":
        return [params["cond_jaxpr"], params["body_jaxpr"]]
    return list(params["branches"]) if name == "cond" else []


def _programs(equation: JaxprEqn) -> list[Jaxpr]:
    return [_program(program)[0] for program in _held(equation)]


def _equations(jaxpr: Jaxpr, caller: str = "an unknown line") -> Iterator[tuple[JaxprEqn, str]]:
    """Yield all equations but those that hold others, in the order of their sites, with lines.

    Within functions of JAX's own no line is the user's: there it is the line that called them.
    """
    for equation in jaxpr.eqns:
        line = summarize(equation.source_info) or caller
        if equation.primitive.name in NESTED:
            for inner in _programs(equation):
                yield from _equations(inner, line)
        else:
            yield equation, line


def _num_sites(jaxpr: Jaxpr) -> int:
    return sum(_is_site(equation) for equation, _ in _equations(jaxpr))


def _site(equation: JaxprEqn, line: str) -> Site:
    return Site(equation.primitive.name, line)


def _floats(equation: JaxprEqn) -> list[Any]:
    atoms = (*equation.invars, *equation.outvars)
    return [atom.aval for atom in atoms if _is_float(atom)]


def _is_float(atom: Any) -> bool:
    return jnp.issubdtype(getattr(atom.aval, "dtype", np.dtype(int)), np.inexact)


def _is_site(equation: JaxprEqn) -> bool:
    """Return whether an equation branches: by the table, or because floats become integers."""
    if not any(map(_is_float, equation.invars)):
        return False
    return equation.primitive.name in BRANCHES or bool(_integers(equation))


def _integers(equation: JaxprEqn) -> list[int]:
    dtypes = [getattr(atom.aval, "dtype", np.dtype(float)) for atom in equation.outvars]
    kinds = (np.integer, np.bool_)
    return [i for i, dtype in enumerate(dtypes) if any(jnp.issubdtype(dtype, k) for k in kinds)]


def _is_unknown(equation: JaxprEqn) -> bool:
    name = equation.primitive.name
    return any(map(_is_float, equation.invars)) and name not in SMOOTH and name not in BRANCHES


def _outcomes(equation: JaxprEqn, inputs: list[Any], outputs: list[Any]) -> list[Array]:
    read = BRANCHES.get(equation.primitive.name)
    if read is not None:
        return read(equation.params, inputs, outputs)
    return [outputs[i] for i in _integers(equation)]


def _fingerprint(outcomes: list[Array]) -> Array:
    """Return Σ r_i·outcome_i modulo 2³², every WORDS-th entry together."""
    words = []
    for outcome in outcomes:
        flat = jnp.ravel(outcome)
        halves = [flat] if flat.dtype.itemsize < 8 else [flat, flat >> 32]
        words += [half.astype(jnp.uint32) for half in halves]
    size = sum(part.size for part in words)
    flat = jnp.concatenate([*words, jnp.zeros(-size % WORDS, jnp.uint32)])
    return jnp.sum((flat * _series(flat.size)).reshape(-1, WORDS), axis=0, dtype=jnp.uint32)


def _series(size: int) -> Any:
    """Return odd random numbers; long ones are made where they are used."""
    if size <= MOST_KEPT:
        return np.random.default_rng(0).integers(0, 2**32, size, np.uint32) | np.uint32(1)
    return _scrambled(lax.iota(jnp.uint32, size), 0) | jnp.uint32(1)


def _scrambled(x: Array, seed: Any) -> Array:
    """Return 32 bits that look random, of every number: the finalizer of MurmurHash3."""
    x = (x + jnp.uint32(1)) * jnp.uint32(0x9E3779B1) + jnp.uint32(seed)
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _mixed(rows: Array, number: Array) -> Array:
    """Return the hashes of a loop's round, so that their sum depends on the order of rounds."""
    return rows * (_scrambled(number, 1) | jnp.uint32(1))


def _stacked(rows: list[Array]) -> Array:
    return jnp.stack(rows) if rows else jnp.zeros((0, WORDS), jnp.uint32)
