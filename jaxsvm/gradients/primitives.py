"""Where a JAX function is smooth and where it branches, one primitive at a time.

Between two points a function is smooth if every primitive on the way takes the same side at both:
the same entry is the maximum, the same comparison holds, the same integer comes out of `floor`.
This table says of each primitive how its side is read off:

    SMOOTH     it has none. Its kinds: differentiable; moving numbers about; and on integers,
               which are the same wherever what they were made of is.
    BRANCHES   a function of the parameters, inputs and outputs to arrays of integers, which
               change exactly where the primitive's formula does
    OPAQUE     it cannot be read here: callbacks, hardware, other devices, and decompositions that
               order what they find. It is evaluated, and the report says so.
    NESTED     it holds further programs, which are walked through: where they lie

Nothing else is taken for smooth: what is on no list is as opaque as what is on the third. Whatever
is no float and made of floats, the result of a comparison say, is a side as well, of any primitive.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Outcome = Callable[[dict[str, Any], list[Any], list[Any]], list[Array]]

DIFFERENTIABLE = """
    acos acosh add add_any asin asinh atan atanh bessel_i0e bessel_i1e cbrt cholesky
    cholesky_update complex conj conv_general_dilated cos cosh cumlogsumexp cumprod cumsum
    custom_linear_solve dot_general dot_product_attention_bwd
    dot_product_attention_bwd_wrapper dot_product_attention_fwd dot_product_attention_fwd_wrapper
    erf erf_inv erfc exp exp2 expm1 fft householder_product igamma igamma_grad_a igammac imag
    log log1p logistic mul mulhi neg product_by_digits product_in_thirds ragged_dot_general real
    reduce_prod reduce_sum reduce_window_sum regularized_incomplete_beta rsqrt scaled_dot scatter
    scatter-add scatter-mul scatter-sub select_n sin sinh sqrt square sub symmetric_product tan
    tanh triangular_solve tridiagonal_solve
"""
# Rounding to fewer digits is here too: to a difference it is rounding, and measured as such.
MOVING = """
    add_dependency after_all bitcast broadcast_in_dim broadcast_to concatenate
    convert_element_type copy device_put dynamic_slice dynamic_update_slice empty empty2
    from_edtype gather iota layout_constraint name optimization_barrier pad pbroadcast pvary
    reduce_precision reduced_vary_cast_p reshape reshard rev roll sharding_constraint slice split
    squeeze stack stage stop_gradient tie tile to_edtype transpose unreduced_sum unstack
    vary_unreduced_cast_p zeros_like copy_p xla_metadata_value shard_alike create_token
    with_memory_space_constraint preduced
"""
INTEGERS = """
    and axis_index clz debug_print dim_as_value dimension_size iota_2x32_shape
    lu_pivots_to_permutation not num_programs or philox2x32 philox4x32 platform_index
    population_count prng_join prng_random_bits prng_seed prng_split program_id random_bits
    random_clone random_fold_in random_seed random_split random_unwrap random_wrap reduce_and
    reduce_or reduce_xor rng_bit_generator rng_uniform shape_assertion shift_left
    shift_right_arithmetic shift_right_logical threefry2x32 threefry4x32 xor is_finite
    argmax argmin bitcast_convert_type
"""
SMOOTH = frozenset((DIFFERENTIABLE + MOVING + INTEGERS).split())

EXTERNAL = """
    accum_grad_in_ref addupdate all_gather all_gather_done all_gather_invariant
    all_gather_reduced all_gather_reduced_start all_gather_start all_to_all all_to_all_done
    all_to_all_start approx_top_k box_get box_set buffer_callback call_exported call_hi_primitive
    call_hi_primitive_linearized check compute_on core_map create_linear cudnn_fusion
    custom_fusion custom_lin custom_partitioning dce_sink debug_callback delay dma_start dma_wait
    dot_product_attention_fp8_bwd dot_product_attention_fp8_bwd_wrapper
    dot_product_attention_fp8_fwd dot_product_attention_fp8_fwd_wrapper eig eigh empty_ref
    eval_jaxpr ffi_call free_ref freeze fusible geqp3 geqrf get get_barrier_semaphore get_global
    hessenberg inspect_sharding io_callback jaxpr_call linear_call log_extend log_read lu
    masked_load masked_swap matmul_acc_lhs matmul_pop matmul_push_rhs mpmd_map multiple_of new_box
    new_log new_ref ormqr pack_dtype pack_elementwise pallas_call pbroadcast_done
    pbroadcast_start pin pmax pmin ppermute ppermute_done ppermute_start precv psend psum
    psum_done psum_invariant psum_invariant_start psum_start pure_callback qr ragged_all_to_all
    random_gamma reduce reduce_scatter reduce_scatter_done reduce_scatter_start reduce_window
    remat_opt run_scoped run_state scaled_matmul scaled_matmul_wrapper schur select_and_scatter
    semaphore_read semaphore_signal semaphore_wait shard_map stochastic_round svd swap
    tpu_custom_call trace_value tridiagonal unpack_dtype unpack_elementwise unpin unreachable
    unreduced_psum unreduced_psum_start unreduced_reduce_scatter unreduced_reduce_scatter_start
    custom_jvp_call_jaxpr assert_consumed_value consume global_array_to_host_local_array
    host_local_array_to_global_array
"""
OPAQUE = frozenset(EXTERNAL.split())

# Programs within an equation's parameters that are called once, with its inputs.
CALLS = {
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "closed_call": "call_jaxpr",
    "call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "composite": "jaxpr",
}
NESTED = frozenset(CALLS) | {"scan", "while", "cond"}


def _side(a: Any, b: Any) -> Array:
    """Return 1, 0, −1 where a is larger, equal, smaller."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.shape != b.shape:
        a, b = jnp.broadcast_arrays(a, b)
    if jnp.iscomplexobj(a):  # no order, but 0 is a kink of the absolute value
        return (a == b).astype(jnp.int32)
    return (a > b).astype(jnp.int32) - (a < b).astype(jnp.int32)


def _sign(x: Any) -> Array:
    return _side(x, jnp.zeros_like(x))


def _pair(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    return [_side(*inputs)]


def _sign_of(position: int) -> Outcome:
    return lambda params, inputs, outputs: [_sign(inputs[position])]


def _whole(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    return [_bits(outputs[0])]


def _bits(x: Array) -> Array:
    """Return a whole number's bits: it may be beyond the integers."""
    unsigned = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[x.dtype.itemsize]
    return lax.bitcast_convert_type(jnp.where(x == 0, jnp.zeros_like(x), x), unsigned)


def _clamp(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    low, x, high = inputs
    return [_side(x, low), _side(x, high)]


def _attained(axes: str) -> Outcome:
    """Return which entries equal the extremum along ``params[axes]``."""

    def outcome(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
        reduced = outputs[0]
        return [(inputs[0] == jnp.expand_dims(reduced, params[axes])).astype(jnp.int32)]

    return outcome


def _running(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    """Return on which side of the extremum of those before it each number is."""
    axis, size = params["axis"], inputs[0].shape[params["axis"]]
    x, so_far = (lax.rev(a, [axis]) if params["reverse"] else a for a in (inputs[0], outputs[0]))
    before = lax.slice_in_dim(so_far, 0, max(size - 1, 0), axis=axis)
    return [_side(lax.slice_in_dim(x, min(1, size), size, axis=axis), before)]


def _order(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    """Return a sort's permutation, and which neighbours are tied."""
    axis = params["dimension"]
    place = lax.broadcasted_iota(jnp.int32, inputs[0].shape, axis)
    keys = inputs[: params["num_keys"]]
    *ordered, permutation = lax.sort([*keys, place], dimension=axis, num_keys=len(keys))
    return [permutation, *(_equal_neighbours(key, axis) for key in ordered)]


def _equal_neighbours(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    first = lax.slice_in_dim(x, 0, max(size - 1, 0), axis=axis)
    return (first == lax.slice_in_dim(x, min(1, size), size, axis=axis)).astype(jnp.int32)


def _best(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    """Return the indices that top_k chose, and which are tied, also with the last of them."""
    axis = params["axis"]
    values, indices = outputs
    if not values.size:
        return [indices]
    last = lax.slice_in_dim(values, values.shape[axis] - 1, values.shape[axis], axis=axis)
    return [indices, _equal_neighbours(values, axis), (inputs[0] == last).astype(jnp.int32)]


def _every_order(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    """Return the order of all numbers that a scatter may choose from: finer than it needs."""
    operand, indices, updates = inputs
    return [jnp.argsort(jnp.concatenate([operand.ravel(), updates.ravel()])), indices]


def _windows(operand: int, largest: bool | None) -> Outcome:
    """Return the first and the last place in each window that attain its extremum."""

    def outcome(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
        x = inputs[operand]
        is_max = params["select_prim"].name == "ge" if largest is None else largest
        rank = len(x.shape)
        ones = (1,) * rank
        place = lax.iota(jnp.int32, x.size).reshape(x.shape)
        nothing = jnp.asarray(-np.inf if is_max else np.inf, x.dtype)

        def chosen(last: bool) -> Array:
            def better(a: Any, b: Any) -> Any:
                (u, i), (v, j) = a, b
                tie = (u == v) & ((j > i) if last else (j < i))
                take = ((v > u) if is_max else (v < u)) | tie | (i < 0)
                take = take & (j >= 0)
                return lax.select(take, v, u), lax.select(take, j, i)

            return lax.reduce_window(
                (x, place),
                (nothing, jnp.int32(-1)),
                better,
                params["window_dimensions"],
                params["window_strides"],
                params["padding"],
                params.get("base_dilation", ones),
                params.get("window_dilation", ones),
            )[1]

        return [chosen(False), chosen(True)]

    return outcome


def _integer_pow(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    """Return the side of the pole, where there is one."""
    return [_sign(inputs[0])] if params["y"] < 0 else []


def _remainder(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    return [_bits(jnp.trunc(inputs[0] / inputs[1])), _sign(outputs[0])]


def _below_zero(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    """Return between which poles an argument lies; they are at 0, −1, −2, …"""
    return [_bits(jnp.floor(jnp.minimum(inputs[-1], jnp.zeros_like(inputs[-1]))))]


def _angle(params: dict[str, Any], inputs: list[Any], outputs: list[Any]) -> list[Array]:
    y, x = inputs
    return [jnp.where(x <= 0, _sign(y), 2)]


BRANCHES: dict[str, Outcome] = {
    "eq": _pair, "ne": _pair, "lt": _pair, "le": _pair, "gt": _pair, "ge": _pair,
    "eq_to": _pair, "le_to": _pair, "lt_to": _pair,
    "max": _pair, "min": _pair, "nextafter": _pair,
    "abs": _sign_of(0), "sign": _sign_of(0), "div": _sign_of(1), "reciprocal": _sign_of(0),
    "pow": _sign_of(0),
    "integer_pow": _integer_pow, "rem": _remainder, "atan2": _angle,
    "floor": _whole, "ceil": _whole, "round": _whole,
    "lgamma": _below_zero, "digamma": _below_zero, "polygamma": _below_zero, "zeta": _below_zero,
    "clamp": _clamp, "sort": _order, "top_k": _best,
    "reduce_max": _attained("axes"), "reduce_min": _attained("axes"),
    "cummax": _running, "cummin": _running,
    "reduce_window_max": _windows(0, True), "reduce_window_min": _windows(0, False),
    "select_and_scatter_add": _windows(1, None), "select_and_gather_add": _windows(1, None),
    "scatter-max": _every_order, "scatter-min": _every_order,
}  # fmt: skip
