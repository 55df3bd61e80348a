"""The check of any function: pieces are read off its jaxpr, no kink alarms, no mistake passes."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxsvm
from experiments.shared import programs
from jaxsvm.gradients import Verdict, assert_numerical_grads
from jaxsvm.gradients.branches import branches
from jaxsvm.gradients.primitives import BRANCHES, NESTED, OPAQUE, SMOOTH
from tests.problems import float_dtype
from tests.programs import RIGHT, gathered, is_large


def array(*numbers):
    return jnp.asarray(np.array(numbers, float_dtype()))


def gradient_of(f, point):
    """Autodiff's gradient of f at a point, in NumPy and in one program."""
    return jax.tree.map(np.array, jax.jit(jax.grad(f))(point))


def changed(gradient, index, number):
    """A copy of a gradient with another number in one place."""
    other = np.array(gradient)
    other[index] = number
    return other


# --- the table ---


# In a process of its own: what other tests have imported defines more (sparse arrays, kernels).
PRIMITIVES = """
import sys
import jaxsvm, optax
import jax.experimental.multihost_utils
from jax.extend.core import Primitive
modules = [module for name, module in [*sys.modules.items()] if name.startswith("jax.")]
values = [value for module in modules for value in [*vars(module).values()]]
print(*{value.name for value in values if isinstance(value, Primitive)})
"""


@pytest.mark.any_precision
def test_every_primitive_of_jax_is_on_one_list():
    program = [sys.executable, "-c", PRIMITIVES]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    found = frozenset(done.stdout.split())
    assert len(found) > 200
    lists = [SMOOTH, frozenset(BRANCHES), OPAQUE, NESTED]
    assert sorted(found - frozenset.union(*lists)) == []
    assert sum(map(len, lists)) == len(frozenset.union(*lists))


# --- the interpreter ---


def halved(x):
    return lax.while_loop(lambda x: x[0] > 1, lambda x: x * 0.5, x)


def running(x):
    def step(carry, one):
        carry = jnp.maximum(carry, one)
        return carry, carry

    return lax.scan(step, x[0], x, reverse=True)[1]


def switched(x):
    return lax.cond(x[0] > 0, lambda x: jnp.abs(x), lambda x: jnp.minimum(x, 0.5), x)


def pooled(x, pool=lax.max, start=-jnp.inf):
    return lax.reduce_window(x, start, pool, (2,), (1,), "SAME")


def unpooled(x):
    return jax.grad(lambda x: jnp.sum(pooled(x) ** 2))(x)


# A function, a point, one of the same piece, and points of other pieces.
PIECES: dict[str, Any] = {
    "relu": (jax.nn.relu, (1, -1, 2), (2, -3, 1), [(-1, -1, 2), (0, -1, 2)]),
    "abs": (jnp.abs, (1, -1, 2), (2, -3, 1), [(1, 1, 2)]),
    "clip": (lambda x: jnp.clip(x, -1, 1), (0.5, 3, 0), (0.1, 2, 0.5), [(1.5, 3, 0), (0.5, 1, 0)]),
    "sort": (jnp.sort, (1, 2, 3), (1, 2.5, 9), [(2, 1, 3), (1, 1, 3)]),
    "top_k": (lambda x: lax.top_k(x, 2)[0], (1, 2, 3), (2, 2.5, 3), [(4, 2, 3), (2, 2, 3)]),
    "argmax": (lambda x: x[jnp.argmax(x)], (1, 2, 3), (2, 1, 3), [(4, 2, 3)]),
    "ties of top_k": (lambda x: lax.top_k(x, 3)[0], (2, 2, 1), (3, 3, 0), [(3, 2, 1), (2, 2, 2)]),
    "largest": (jnp.max, (1, 2, 3), (2, 1, 3), [(4, 2, 3), (3, 2, 3)]),
    "cummin": (lax.cummin, (3, 2, 5), (9, 4, 5), [(3, 2, 1), (3, 2, 2)]),
    "ties of cummax": (lax.cummax, (1, 1, 1), (2, 2, 2), [(0, 1, 1), (2, 1, 1), (1, 2, 2)]),
    "cummax from the end": (
        lambda x: lax.cummax(x, reverse=True), (3, 2, 2), (4, 1, 1), [(3, 2, 1), (3, 1, 2)],
    ),
    "where": (lambda x: jnp.where(x > 1, x, x**2), (2, 0, 0), (3, 0, -1), [(1, 0, 0), (0, 0, 0)]),
    "floor": (jnp.floor, (0.5, 1.5, 2.5), (0.9, 1, 2), [(1, 1.5, 2.5)]),
    "rem": (lambda x: x % 1, (0.5, 1.5, 2.5), (0.9, 1.1, 2.2), [(1.1, 1.5, 2.5)]),
    "integers": (lambda x: x.astype(jnp.int32), (0.5, 1.5, 2.5), (0.9, 1, 2), [(1, 1.5, 2.5)]),
    "pole": (lambda x: 1 / x, (1, -1, 2), (2, -3, 1), [(1, 1, 2)]),
    "power": (lambda x: x**-2, (1, -1, 2), (2, -3, 1), [(1, 1, 2)]),
    "angle": (lambda x: jnp.arctan2(x[0], x[1]), (1, -1, 2), (3, -2, 2), [(-1, -1, 2)]),
    "gamma": (lax.lgamma, (0.5, -0.5, 2), (1, -0.1, 2), [(0.5, -1.5, 2)]),
    "pool": (pooled, (1, 2, 3), (1, 2.5, 3), [(3, 2, 3), (2, 2, 3)]),
    "pool min": (lambda x: pooled(x, lax.min, jnp.inf), (1, 2, 3), (1, 2.5, 3), [(3, 2, 3)]),
    "transposed": (unpooled, (1, 2, 3), (1, 2.5, 3), [(3, 2, 3)]),
    "scattered": (lambda x: x.at[0].max(x[1]), (1, 2, 3), (1, 2.5, 3), [(3, 2, 3)]),
    "while": (halved, (5, 1, 1), (6, 1, 1), [(9, 1, 1), (1, 1, 1), (4, 1, 1)]),
    "scan": (running, (1, 2, 3), (1, 2.5, 3), [(3, 2, 3), (4, 2, 3), (1, 3, 3)]),
    "cond": (switched, (1, -2, 3), (2, -1, 9), [(-1, -2, 3), (1, 2, 3)]),
    "jit": (jax.jit(lambda x: jnp.where(x > 0, x, 0)), (1, -2, 3), (2, -1, 9), [(-1, -2, 3)]),
    "remat": (jax.checkpoint(jnp.abs), (1, -2, 3), (2, -1, 9), [(-1, -2, 3)]),
    "order in a loop": (
        lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.abs(c - x[i]), x[0]),
        (1, 2, 0.5), (1, 2.1, 0.5), [(1, 0.5, 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*PIECES])
def test_a_signature_is_a_piece(name):
    f, point, same, others = PIECES[name]
    points = array(point, same, *others)
    traced = branches(f, array(*point))
    assert traced.sites
    assert not traced.unknown
    evaluate = jax.jit(jax.vmap(lambda x: (traced.evaluate(traced.consts, x), f(x))))
    ((value,), signatures), expected = evaluate(points)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    found = np.asarray(signatures)
    np.testing.assert_array_equal(found[0], found[1])
    for other in found[2:]:
        assert np.any(other != found[0])


def test_a_site_names_the_users_line_also_within_functions_of_jax():
    traced = branches(lambda x: jax.nn.relu(x) + jnp.median(x), array(1, 2, 3))
    assert {"max", "sort"} <= {site.primitive for site in traced.sites}
    assert all("test_gradient_branches.py" in site.source for site in traced.sites)


def test_what_cannot_be_read_is_said():
    def f(x):
        return jnp.sum(jnp.linalg.eigvalsh(jnp.outer(x, x) + jnp.diag(x)) * array(1, 2, 3))

    check = jaxsvm.check_gradient(f, array(1, 2, 3))
    assert {site.primitive for site in check.unknown} == {"eigh"}
    assert "may hide a kink: eigh at" in str(check)
    assert check.num_smooth == 3  # evaluated all the same
    assert not jaxsvm.check_gradient(jnp.sum, array(1, 2)).unknown


# --- verdicts ---


def test_kinks_and_pieces_at_and_near_the_point():
    def f(p):
        return jnp.sum(jnp.abs(p) + jax.nn.relu(p) ** 2)

    point = array(0.3, -2.0, 0.0, 1e-3, 1e-6)
    check = jaxsvm.check_gradient(f, point)
    assert (check.num_smooth, check.num_kink, check.num_wrong) == (4, 1, 0)
    assert check.verdict[2] == Verdict.KINK
    np.testing.assert_allclose([check.left[2], check.right[2]], [-1, 1], atol=1e-3)
    # Every number between the slopes is a subgradient, no other is one.
    right = gradient_of(f, point)
    for number, verdict in ((0.9, Verdict.KINK), (-0.9, Verdict.KINK), (1.1, Verdict.WRONG)):
        gradient = changed(right, 2, number)
        assert jaxsvm.check_gradient(f, point, gradient=gradient).verdict[2] == verdict
    # A kink near the point is none at the point: its own piece decides.
    wrong = changed(right, 3, 0.5)
    assert jaxsvm.check_gradient(f, point, gradient=wrong).verdict[3] == Verdict.WRONG
    nested = {"a": [point]}
    report = str(jaxsvm.check_gradient(lambda p: f(p["a"][0]), nested, gradient={"a": [wrong]}))
    assert "params['a'][0][3] WRONG: gradient 0.5" in report
    assert "nearest kink: abs at" in report


def test_it_finds_where_autodiff_is_wrong():
    check = jaxsvm.check_gradient(lambda p: jnp.sum(jax.nn.relu(p) - jax.nn.relu(-p)), array(0, 1))
    assert list(check.verdict) == [Verdict.WRONG, Verdict.SMOOTH]
    np.testing.assert_allclose([check.left[0], check.right[0], check.gradient[0]], [1, 1, 0], 1e-3)
    functions: dict[str, Any] = {
        "div": (jnp.linalg.norm, array(0, 0)),
        "sqrt": (lambda p: jnp.sum(jnp.where(p > 0, jnp.sqrt(p), 0.0)), array(-1, 2)),
    }
    for primitive, (f, point) in functions.items():
        check = jaxsvm.check_gradient(f, point)
        assert check.num_wrong > 0
        assert check.nonfinite is not None
        assert check.nonfinite.primitive == primitive
        assert "not finite" in str(check)
    # The norm's kink is none of a primitive's, and 0 lies between its slopes.
    zero = jaxsvm.check_gradient(jnp.linalg.norm, array(0, 0), gradient=array(0, 0))
    assert zero.num_kink == 2


def test_where_three_pieces_meet_the_one_between_counts_too():
    w, point = array(0.1, 0.3, -0.5), array(1, 1, 1)

    def f(p):
        return jnp.sum(lax.top_k(p, 3)[0] * w) + p[0] ** 2

    # Of equal numbers the first stays first: along its line the second becomes the first or last.
    check = jaxsvm.check_gradient(f, point)
    assert list(check.verdict) == [Verdict.KINK] * 3
    assert max(check.left[1], check.right[1]) + check.tolerance[1] < check.gradient[1]
    np.testing.assert_allclose(check.gradient, [2.1, 0.3, -0.5], rtol=1e-6)
    other = jaxsvm.check_gradient(f, point, gradient=array(2.29, 0.31, -0.51), h=1e-2)
    assert list(other.verdict) == [Verdict.KINK, Verdict.WRONG, Verdict.WRONG]
    # Conventions that do not fit together: 1/3 of the largest and all of the median is no piece's.
    check = jaxsvm.check_gradient(lambda p: jnp.max(p) + 2 * jnp.median(p), point)
    assert list(check.verdict) == [Verdict.KINK, Verdict.WRONG, Verdict.KINK]


@pytest.mark.any_precision
def test_of_very_many_pieces_not_all_are_seen():
    with jax.enable_x64(True):
        p, w = jnp.asarray(np.ones(40)), jnp.asarray(np.linspace(-1, 1, 40))
        g = changed(changed(w, 0, -1.5), 1, 9)
        check = jaxsvm.check_gradient(lambda p: jnp.sum(jnp.sort(p) * w), p, gradient=g)
    # Autodiff's is: the params in their own order. What no piece can have is wrong all the same.
    assert list(check.verdict) == [Verdict.UNRESOLVED, Verdict.WRONG] + [Verdict.KINK] * 38


def test_a_jump_is_told_from_a_kink_and_hides_no_mistake():
    def f(p):
        return jnp.sum(jnp.floor(p) + p**2 + jnp.abs(p - 1))

    point = array(1, -2, 0.5, 3)
    gradient = gradient_of(f, point)
    gradient[3] += 0.1
    check = jaxsvm.check_gradient(f, point, gradient=gradient)
    verdicts = [Verdict.JUMP, Verdict.JUMP, Verdict.SMOOTH, Verdict.WRONG]
    assert list(check.verdict) == verdicts
    assert "jump 2" in str(check)
    np.testing.assert_allclose(check.left, [1, -5, 0, 7], atol=0.01)
    np.testing.assert_allclose(check.right, [3, -5, 0, 7], atol=0.01)
    assert np.max(check.tolerance) < 0.02
    jaxsvm.assert_gradient(jnp.round, array(0.5, 1.5))


def test_params_and_values_too_small_for_floats_raise_no_alarm():
    tiny = float(jnp.finfo(float_dtype()).tiny)

    def f(p):
        return jnp.sum(3 * p["subnormal"]) + jnp.sum(p["root"] ** 2)

    params = {"root": array(np.sqrt(tiny) / 64), "subnormal": array(tiny / 4, 0)}
    gradient = gradient_of(f, params)
    check = jaxsvm.check_gradient(f, params, gradient=gradient)
    assert check.num_smooth == 3
    gradient["subnormal"] *= 1.01
    assert jaxsvm.check_gradient(f, params, gradient=gradient).num_wrong == 2


def test_what_is_not_finite_or_has_no_piece_is_not_right():
    steps = 1e7 if float_dtype() == jnp.float32 else 1e12
    for f in (lambda p: jnp.sum(jnp.log(p)), lambda p: jnp.sum(jnp.round(p * steps))):
        check = jaxsvm.check_gradient(f, array(-1, 2))
        assert check.num_unresolved == 2
        with pytest.raises(AssertionError, match="not resolved"):
            jaxsvm.assert_gradient(f, array(-1, 2))


def stale(x):
    """The square, with a residual of another point."""
    f = jax.custom_vjp(lambda x: x**2)
    f.defvjp(lambda x: (x**2, x + 0.01), lambda kept, g: (2 * kept * g,))
    return f(x)


def wrong_forward(x):
    """The square, whose derivative is right, but not the derivative's."""
    f = jax.custom_jvp(lambda x: x**2)
    f.defjvp(lambda x, t: (f(x[0]), 2 * lax.stop_gradient(x[0]) * t[0]))
    return f(x)


def test_mistakes_of_programs():
    A = array(*np.arange(9).reshape(3, 3) / 4)
    transposed = jax.custom_jvp(lambda x: A @ x)
    transposed.defjvp(lambda x, t: (A @ x[0], A.T @ t[0]))
    point = array(1.5, -0.5, 0.25)
    stopped = lambda x: jnp.where(x > 0, lax.stop_gradient(x) * x, 3 * x)  # noqa: E731
    for f, mode in ((stale, "reverse"), (transposed, "forward"), (stopped, "both")):
        check = jaxsvm.check_gradient(f, point, mode=mode)
        assert check.num_wrong > 0, f
        with pytest.raises(AssertionError, match="WRONG"):
            jaxsvm.assert_gradient(f, point, mode=mode)
    assert "a gradient is stopped by stop_gradient at" in str(check)
    assert_numerical_grads(wrong_forward, (point,), 1)
    with pytest.raises(AssertionError, match="derivatives of order 2"):
        assert_numerical_grads(wrong_forward, (point,), 2)
    with pytest.raises(ValueError, match="modes = "):
        assert_numerical_grads(wrong_forward, (point,), 1, modes=("backward",))


def test_both_modes_and_second_derivatives_of_arrays_with_kinks():
    def f(x, y):
        return {"sorted": jnp.sort(x) * y, "hinge": jax.nn.relu(1 - x) ** 2}

    x, y = array(0.5, 0.25, 1.0), array(-1, 0, 2)
    assert_numerical_grads(f, (x, y), 2)
    check = jaxsvm.check_gradient(lambda p: f(*p), (x, y), order=2)
    # On the kinks of the first derivative the second has two values.
    assert check.num_kink > 0
    assert check.num_wrong == 0


def test_data_and_a_gradient_of_ones_own():
    def loss(params, data):
        return jnp.mean(jax.nn.relu(data @ params["w"] - params["b"]))

    params = {"w": array(1, -2), "b": jnp.asarray(0.5, float_dtype())}
    data = array((1, 2), (3, 4), (5, 6))
    assert (
        jaxsvm.check_gradient(loss, params, data, gradient=jax.jit(jax.grad(loss))).num_smooth == 3
    )
    doubled = jax.jit(lambda *args: jax.tree.map(lambda g: 2 * g - 1, jax.grad(loss)(*args)))
    assert jaxsvm.check_gradient(loss, params, data, gradient=doubled).num_wrong == 3


def test_of_many_coordinates_some_and_directions():
    def f(p):
        return jnp.sum(jnp.abs(p[:50] @ p[50:].reshape(50, 3)))

    point = jnp.asarray(np.random.default_rng(0).standard_normal(200), float_dtype())
    check = jaxsvm.check_gradient(f, point, num_coordinates=10)
    assert check.verdict.shape == (26,)
    assert check.num_wrong == 0
    assert check.num_smooth == 26
    large = 1.02 * gradient_of(f, point)
    wrong = jaxsvm.check_gradient(f, point, gradient=large, num_coordinates=10)
    assert wrong.num_wrong >= 20
    for key in jax.random.split(jax.random.key(1), 2):  # another choice
        other = jaxsvm.check_gradient(f, point, num_coordinates=10, key=key)
        assert np.any(other.gradient != check.gradient)


# --- random programs ---


# 5066: numbers are tied, and autodiff's derivative is that of a piece that no line enters.
@pytest.mark.any_precision
@pytest.mark.parametrize("seed", [5066, 5, 7, 10])
def test_no_false_alarm_and_no_mutant_missed(seed):
    point, dtype = programs.POINTS[seed % 3], (jnp.float32, jnp.float64)[seed // 3 % 2]
    with jax.enable_x64(dtype == jnp.float64):
        judge, g = gathered(programs.program(seed, point, dtype))
    right = judge(g)
    assert np.isin(right.verdict, RIGHT).all()
    for name, mutant in programs.mutants(g, np.random.default_rng(seed)).items():
        large = is_large(mutant, right)
        assert np.all(judge(mutant).verdict[large] == Verdict.WRONG), name
    # The stated resolution is one: twice of it is found, everywhere.
    for end, sign in ((right.high, 1), (right.low, -1)):
        off = end + sign * 1.01 * right.tolerance
        assert np.all(judge(off).verdict == Verdict.WRONG)
        # And it is fine: within 1 % of the largest entry, in float32 as well.
    assert np.median(right.tolerance) < 0.01 * np.max(np.abs(g))
