"""One pass over a stream: blocks of rows summed and mapped as in memory, and by the same program.

In memory a pass is a compiled loop over blocks (`jaxsvm.core.rows.scan_blocks`). Of a stream the
loop is cut into pieces, each read ahead on a thread; the total so far goes from piece to piece. The
loop's body is the same, it is compiled as the body of a loop here too, and a loop is where the
compiler's fusion ends, so the bits are the same.

A pass is a primitive of JAX's, computed on the host. So a function that has one can be traced, and
compiled but for its passes (`jaxsvm.core.compilation`). This file reads and compiles on the host.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Literal, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir, partial_eval

from jaxsvm.core.interpreter import bind, read
from jaxsvm.core.sources import (
    RowSource,
    held_dtype,
    read_pieces,
    refuse_compilation,
    refuse_derivative,
    take_rows,
)

PIECE_BYTES = 2**25  # read together; of these there are three at once
MOST_PROGRAMS = 512  # kept compiled


def pass_over(
    f: Callable[..., tuple[Any, Any]],
    zero: Any,
    source: RowSource,
    columns: tuple[Array, ...],
    cut: tuple[int, int, int],
) -> tuple[Any, Any]:
    """Do ``total, out = f(total, rows, *rows of columns)`` for all blocks, each segment from zero.

    Args:
        f: as in `jaxsvm.core.rows.scan_blocks`; it may close over arrays.
        zero: the total of no rows.
        source: of N rows.
        columns: arrays (N, ...).
        cut: the number of segments, of a segment's blocks, and of a block's rows: N or fewer in all
            (`jaxsvm.core.rows.Layout`).

    Returns:
        The segments' totals, with a leading axis, and ``out`` with one of all the blocks' rows.
    """
    *_, size = cut

    def form(column: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size, *column.shape[1:]), column.dtype)

    stored = jax.ShapeDtypeStruct((size, int(source.shape[1])), held_dtype(source))
    program, forms = jax.make_jaxpr(f, return_shape=True)(zero, stored, *map(form, columns))
    totals, of_forms = jax.tree.flatten(forms)
    consts, start = program.consts, jax.tree.leaves(zero)
    found = _pass.bind(
        *consts,
        *start,
        *columns,
        source=source,
        cut=tuple(cut),
        program=program.jaxpr,
        num_consts=len(consts),
        num_totals=len(start),
    )
    assert len(totals) == len(found)
    return jax.tree.unflatten(of_forms, found)


def _forms(
    *_: Any, cut: tuple[int, int, int], program: Any, num_totals: int, **__: Any
) -> list[ShapedArray]:
    """Return the shapes and dtypes of a pass's totals and outputs."""
    segments, blocks, size = cut
    forms = [atom.aval for atom in program.outvars]
    return [
        *(ShapedArray((segments, *form.shape), form.dtype) for form in forms[:num_totals]),
        *(
            ShapedArray((segments * blocks * size, *form.shape[1:]), form.dtype)
            for form in forms[num_totals:]
        ),
    ]


def _run(
    *operands: Any,
    source: RowSource,
    cut: tuple[int, int, int],
    program: Any,
    num_consts: int,
    num_totals: int,
) -> list[Array]:
    """Read all rows and compute the pass."""
    segments, blocks, size = cut
    forms = _forms(cut=cut, program=program, num_totals=num_totals)
    arrays = [jnp.asarray(operand) for operand in operands]
    consts, zero = arrays[:num_consts], arrays[num_consts : num_consts + num_totals]
    columns = arrays[num_consts + num_totals :]
    # As `lax.scan` stacks them: written elsewhere, they may be computed in another way.
    outs = [
        jnp.zeros((segments * blocks, size, *form.shape[1:]), form.dtype)
        for form in forms[num_totals:]
    ]
    length = _length(blocks, size * source.shape[1] * np.dtype(source.dtype).itemsize)
    ranges = [
        (segment * blocks + first, segment * blocks + min(first + length, blocks))
        for segment in range(segments)
        for first in range(0, blocks, length)
    ]
    in_rows = [(first * size, stop * size) for first, stop in ranges]
    take, totals, total = None, [], zero
    pieces = read_pieces(source, in_rows, room=length * size)
    for (first, stop), piece in zip(ranges, pieces, strict=True):
        rows = jax.device_put(piece)
        # Or the host would run ahead, with all pieces in memory.
        jax.block_until_ready((total, outs))
        arguments = (
            consts,
            total,
            outs,
            columns,
            rows,
            np.int32(first * size),
            np.int32(stop - first),
        )
        take = take or _compiled(program, size, *_forms_of(arguments))
        total, outs = take(*arguments)
        if stop % blocks == 0:
            totals.append(total)
            total = zero
    outs = [out.reshape(form.shape) for out, form in zip(outs, forms[num_totals:], strict=True)]
    return [*(jnp.stack(parts) for parts in zip(*totals, strict=True)), *outs]


def _length(blocks: int, block_bytes: int) -> int:
    """Return how many blocks of a segment are read together: as many each time, or nearly."""
    most = max(1, PIECE_BYTES // block_bytes)
    return -(-blocks // -(-blocks // most))


_Piece: TypeAlias = Any  # jitted


def _piece(program: Any, size: int) -> _Piece:
    """Return the compiled loop over a piece's blocks.

    How many there are is an argument. Else a loop of one block would be none to the compiler.
    """

    def piece(
        consts: list[Array],
        total: list[Array],
        outs: list[Array],
        columns: list[Array],
        rows: Array,
        first: Array,
        blocks: Array,
    ) -> tuple[list[Array], list[Array]]:
        def block(number: Array, carry: tuple[list[Array], list[Array]]) -> Any:
            total, outs = carry
            start = number * size
            here = lax.dynamic_slice_in_dim(rows, start, size)
            of_columns = [
                lax.dynamic_slice_in_dim(column, first + start, size) for column in columns
            ]
            found = jaxpr_as_fun(ClosedJaxpr(program, consts))(*total, here, *of_columns)
            place = first // size + number
            outs = [
                lax.dynamic_update_index_in_dim(every, out, place, 0)
                for every, out in zip(outs, found[len(total) :], strict=True)
            ]
            return found[: len(total)], outs

        return lax.fori_loop(0, blocks, block, (total, outs))

    return jax.jit(piece, donate_argnames="outs")


def _forms_of(arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the structure of a pytree of arrays, and their shapes and dtypes."""
    leaves, tree = jax.tree.flatten(arguments)
    return tree, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)


@functools.lru_cache(maxsize=MOST_PROGRAMS)
def _compiled(program: Any, size: int, tree: Any, forms: tuple[Any, ...]) -> _Piece:
    """Return the loop for a program, the same one for all that say the same.

    What is called op by op is traced at each call, and has another program of the same text.
    """
    piece = _piece(program, size)
    text = piece.lower(*jax.tree.unflatten(tree, forms)).as_text()
    if "callback" in text:  # a callback is only numbered there
        return piece
    return _first_of(text).setdefault(text, piece)


@functools.lru_cache(maxsize=MOST_PROGRAMS)
def _first_of(text: str) -> dict[str, _Piece]:
    """Return what holds the loop of a text, once there is one."""
    return {}


_pass = Primitive("pass_over_streamed_rows")
_pass.multiple_results = True
_pass.def_impl(_run)
_pass.def_abstract_eval(_forms)
mlir.register_lowering(_pass, refuse_compilation)


def _batched(
    operands: Any,
    axes: Any,
    *,
    source: RowSource,
    cut: tuple[int, int, int],
    program: Any,
    num_consts: int,
    num_totals: int,
) -> tuple[list[Array], list[int]]:
    """Return what several passes over the same rows return, from one."""
    number = _sizes(operands, axes)[0]
    a, b = num_consts, num_consts + num_totals
    # Every total has the axis in front, every column after its rows.
    zero = [
        jnp.broadcast_to(x, (number, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands[a:b], axes[a:b], strict=True)
    ]
    columns = [
        x if axis is None else jnp.moveaxis(x, axis, 1)
        for x, axis in zip(operands[b:], axes[b:], strict=True)
    ]
    of_columns = [None if axis is None else 1 for axis in axes[b:]]

    def one(consts: Any, total: Any, rows: Array, *columns: Array) -> tuple[Any, Any]:
        found = jaxpr_as_fun(ClosedJaxpr(program, consts))(*total, rows, *columns)
        return found[:num_totals], found[num_totals:]

    def every(total: Any, rows: Array, *columns: Array) -> tuple[Any, Any]:
        in_axes = (list(axes[:a]), 0, None, *of_columns)
        return jax.vmap(one, in_axes, (0, 1))(list(operands[:a]), total, rows, *columns)

    totals, outs = pass_over(every, zero, source, tuple(columns), cut)
    return [*totals, *outs], [1] * len([*totals, *outs])


def _with_known_parts(
    trace: Any, *tracers: Any, program: Any, num_consts: int, **params: Any
) -> Any:
    """Compute what a loop's body makes of constants alone before the loop, when JAX derives.

    So it does with the loops that it knows, and the body's rounding may depend on it.
    """
    values = [tracer.pval.get_known() for tracer in tracers]
    if any(value is None for value in values):
        return trace.default_process_primitive(
            _pass, tracers, dict(params, program=program, num_consts=num_consts)
        )
    known = dict(zip(program.constvars, values[:num_consts], strict=True))
    left = []
    for equation in program.eqns:
        if all(isinstance(atom, Literal) or atom in known for atom in equation.invars):
            found = bind(equation, read(known, equation.invars))
            known.update(zip(equation.outvars, found, strict=True))
        else:
            left.append(equation)
    used = dict.fromkeys(
        atom
        for atoms in (*(equation.invars for equation in left), program.outvars)
        for atom in atoms
        if not isinstance(atom, Literal) and atom in known
    )
    rest = program.replace(constvars=list(used), eqns=left)
    operands = [known[atom] for atom in used]
    return _pass.bind(
        *operands, *values[num_consts:], program=rest, num_consts=len(operands), **params
    )


def _sizes(operands: Any, axes: Any) -> list[int]:
    return [x.shape[n] for x, n in zip(operands, axes, strict=True) if n is not None]


batching.primitive_batchers[_pass] = _batched
partial_eval.custom_partial_eval_rules[_pass] = _with_known_parts
ad.primitive_jvps[_pass] = refuse_derivative
READING = (_pass, take_rows)  # what compiled code cannot do
