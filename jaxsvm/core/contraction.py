"""A product that is computed in a way of its own, and to everything else is a product.

    A rows   over one axis of rows,   A (*C, n) floats, rows (n, P) or (P, n) bytes

How `jaxsvm.core.products` and `jaxsvm.core.digits` multiply bytes takes floats apart and rounds the
parts. To JAX each is one operation, smooth, with the derivatives of the plain product; so it is to
a gradient check, which looks for branches. `jax.custom_jvp` is not enough: JAX drops its rule where
it derives a gradient in a loop.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

# An accelerator's default product rounds float32 to fewer bits, enough to flip an accepted trial.
PRECISION = lax.Precision.HIGHEST


def contract(A: Array, rows: Array, axis: int, **options: Any) -> Array:
    """Return the product of A (K, n) and rows over one of their axes, which has n of them."""
    return lax.dot_general(A, rows, (((1,), (axis,)), ((), ())), **options)


def as_contraction(name: str, compute: Callable[..., Array]) -> Callable[..., Array]:
    """Return ``compute(A, *prepared, rows, axis=)`` as an operation of JAX's.

    Args:
        name: of the primitive.
        compute: takes A (*C, n), whatever was made of it, each with leading axes *C, and rows, and
            returns (*C, P) in A's dtype. The operation has the derivative in A of the product, and
            none in its other arguments.
    """

    # All operands have ``batch`` leading axes of problems side by side, each with rows of its own.
    def computed(*operands: Array, axis: int, batch: int) -> Array:
        return _side_by_side(partial(compute, axis=axis), batch)(*operands)

    def plain(A: Array, rows: Array, *, axis: int) -> Array:
        flat, wide = A.reshape(math.prod(A.shape[:-1]), A.shape[-1]), rows.astype(A.dtype)
        product = contract(flat, wide, axis, precision=PRECISION)
        return product.reshape(*A.shape[:-1], rows.shape[1 - axis])

    # The plain product's, which knows of axes of devices too.
    def form(*operands: Any, axis: int, batch: int) -> Any:
        product = _side_by_side(partial(plain, axis=axis), batch)
        return jax.make_jaxpr(product)(operands[0], operands[-1]).out_avals[0]

    def rule(
        operands: Sequence[Array], tangents: Sequence[Any], *, axis: int, batch: int
    ) -> tuple[Array, Array]:
        # Checkpointed, or the backward pass would keep the rows as floats.
        product = _side_by_side(jax.checkpoint(partial(plain, axis=axis)), batch)
        moved = product(ad.instantiate_zeros(tangents[0]), operands[-1])
        return primitive.bind(*operands, axis=axis, batch=batch), moved

    def batched(
        operands: Sequence[Array], axes: Sequence[int | None], *, axis: int, batch: int
    ) -> tuple[Array, int]:
        size = next(x.shape[n] for x, n in zip(operands, axes, strict=True) if n is not None)

        def placed(x: Array, n: int | None, to: int) -> Array:
            if n is not None:
                return jnp.moveaxis(x, n, to)
            return jnp.broadcast_to(jnp.expand_dims(x, to), (*x.shape[:to], size, *x.shape[to:]))

        if axes[-1] is None:  # weights that share the rows: one more of their axes *C
            *weights, rows = operands
            weights = [placed(x, n, batch) for x, n in zip(weights, axes[:-1], strict=True)]
            return primitive.bind(*weights, rows, axis=axis, batch=batch), batch
        every = [placed(x, n, 0) for x, n in zip(operands, axes, strict=True)]
        return primitive.bind(*every, axis=axis, batch=batch + 1), 0

    primitive = Primitive(name)
    primitive.def_impl(jax.jit(computed, static_argnames=("axis", "batch")))
    primitive.def_abstract_eval(form)
    mlir.register_lowering(primitive, mlir.lower_fun(computed, multiple_results=False))
    ad.primitive_jvps[primitive] = rule
    batching.primitive_batchers[primitive] = batched
    return partial(primitive.bind, batch=0)


def _side_by_side(f: Callable[..., Array], batch: int) -> Callable[..., Array]:
    """Return f of operands that all have as many leading axes in front of their own."""
    return f if batch == 0 else _side_by_side(jax.vmap(f), batch - 1)
