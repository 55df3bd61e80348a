"""A product that is computed in a way of its own, and to everything else is a product.

    A rows   over one axis of rows,   A (*C, n) floats, rows (n, P) or (P, n) bytes

How `jaxsvm.core.products` and `jaxsvm.core.digits` multiply bytes takes floats apart and rounds the
parts. To JAX each is one operation, smooth, with the derivatives of the plain product; so it is to
a gradient check, which looks for branches. `jax.custom_jvp` is not enough: JAX drops its rule where
it derives a gradient in a loop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import ShapedArray
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

    def every(*operands: Array, axis: int, batch: int) -> Array:
        one: Any = lambda *operands: compute(*operands, axis=axis)  # noqa: E731
        for _ in range(batch):
            one = jax.vmap(one)
        result: Array = one(*operands)
        return result

    def form(A: Any, *others: Any, axis: int, batch: int) -> ShapedArray:
        return ShapedArray((*A.shape[:-1], others[-1].shape[batch + 1 - axis]), A.dtype)

    def rule(
        operands: Sequence[Array], tangents: Sequence[Any], *, axis: int, batch: int
    ) -> tuple[Array, Array]:
        @jax.checkpoint  # or the backward pass would keep the rows as floats
        def one(A: Array, rows: Array) -> Array:
            flat, wide = A.reshape(-1, A.shape[-1]), rows.astype(A.dtype)
            return contract(flat, wide, axis, precision=PRECISION).reshape(*A.shape[:-1], -1)

        for _ in range(batch):
            one = jax.vmap(one)
        moved = one(ad.instantiate_zeros(tangents[0]), operands[-1])
        return primitive.bind(*operands, axis=axis, batch=batch), moved

    def batched(
        operands: Sequence[Array], axes: Sequence[int | None], *, axis: int, batch: int
    ) -> tuple[Array, int]:
        # To rows that several weights share, another axis of weights is one more of *C.
        shared = axes[-1] is None
        size = next(x.shape[n] for x, n in zip(operands, axes, strict=True) if n is not None)
        to = batch if shared else 0

        def placed(x: Array, n: int | None) -> Array:
            if n is None:
                return jnp.broadcast_to(
                    jnp.expand_dims(x, to), (*x.shape[:to], size, *x.shape[to:])
                )
            return jnp.moveaxis(x, n, to)

        *first, rows = operands
        placed_first = [placed(x, n) for x, n in zip(first, axes[:-1], strict=True)]
        rows = rows if shared else placed(rows, axes[-1])
        out = primitive.bind(*placed_first, rows, axis=axis, batch=batch if shared else batch + 1)
        return out, to

    primitive = Primitive(name)
    primitive.def_impl(jax.jit(every, static_argnames=("axis", "batch")))
    primitive.def_abstract_eval(form)
    mlir.register_lowering(primitive, mlir.lower_fun(every, multiple_results=False))
    ad.primitive_jvps[primitive] = rule
    batching.primitive_batchers[primitive] = batched
    return lambda *operands, axis: primitive.bind(*operands, axis=axis, batch=0)
