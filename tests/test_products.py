"""The two products as an accelerator takes them: bytes as bfloat16, several sums side by side."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxsvm
from jaxsvm import Data, Objective, datasets
from jaxsvm.core import blocks, features, products
from tests.problems import byte_problem

HINGE = Objective(reg=0.1)


@pytest.fixture
def accelerator(monkeypatch):
    """The sizes of an accelerator, with sums of few rows."""
    monkeypatch.setattr(blocks, "CPU", blocks.ACCELERATOR._replace(summed=40, few=4))


def operands(seed, dtype, B=120, P=64, C=3):
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    rows = rng.integers(info.min, info.max, (B, P), dtype, endpoint=True)
    W, G = (10.0 ** rng.uniform(-6, 6, (K, n)) * rng.choice([-1, 1], (K, n)) for K, n in
            ((C, P), (B, C)))  # fmt: skip
    return rows, np.float32(W), np.float32(G)


@pytest.mark.usefixtures("accelerator")
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.int8]))
def test_products_of_bytes_are_those_of_float32(seed, dtype):
    rows, W, G = operands(seed, dtype)
    exact = rows.astype(float), W.astype(float), G.astype(float)
    scores = products.score_rows(jnp.asarray(W), jnp.asarray(rows))
    pulled = products.pull_back(jnp.asarray(G), jnp.asarray(rows))
    assert scores.dtype == pulled.dtype == jnp.float32
    unit = float(np.finfo(np.float32).eps)
    for got, a, b in ((scores, exact[0], exact[1].T), (pulled, exact[2].T, exact[0])):
        bound = (a.shape[1] + 8) * unit * (np.abs(a) @ np.abs(b))
        assert np.all(np.abs(np.asarray(got, float) - a @ b) <= bound)


@pytest.mark.usefixtures("accelerator")
def test_a_byte_and_a_weight_multiply_to_the_last_digit():
    """Of one column, where nothing is summed but the three parts of a weight."""
    rows, W, _ = operands(0, np.uint8, P=1, C=50)
    got = products.score_rows(jnp.asarray(W), jnp.asarray(rows))
    np.testing.assert_allclose(got, rows * W.T, rtol=2e-7)


@pytest.mark.usefixtures("accelerator")
def test_only_bytes_and_float32_are_multiplied_as_bfloat16():
    def narrow(dtype, rows_dtype):
        W, G, rows = (jnp.ones(shape, dtype) for shape in ((3, 64), (120, 3), (120, 64)))
        both = lambda W, G, rows: (products.score_rows(W, rows), products.pull_back(G, rows))  # noqa: E731
        return "product_in_thirds" in str(jax.make_jaxpr(both)(W, G, rows.astype(rows_dtype)))

    assert narrow(jnp.float32, jnp.uint8)
    assert narrow(jnp.float32, jnp.int8)
    assert not narrow(jnp.float32, jnp.float32)
    with jax.enable_x64(True):
        assert not narrow(jnp.float64, jnp.uint8)


@pytest.mark.usefixtures("accelerator")
def test_products_of_bytes_have_every_derivative():
    rows, W, G = (jnp.asarray(a) for a in operands(1, np.int8))
    W, G = W / 1e6, G / 1e6

    def quantities(score_rows, pull_back):
        f = lambda W: jnp.sum(jnp.sin(1e-3 * score_rows(W, rows)))  # noqa: E731
        g = lambda G: jnp.sum(jnp.sin(1e-3 * pull_back(G, rows)))  # noqa: E731
        return {
            "reverse": (jax.grad(f)(W), jax.grad(g)(G)),
            "forward": (jax.jvp(f, (W,), (W,)), jax.jvp(g, (G,), (G,))),
            "second": jax.jvp(jax.grad(f), (W,), (W,)),
            "seeds": jax.vmap(jax.grad(f))(jnp.stack([W, 2 * W])),
        }

    wide = rows.astype(jnp.float32)
    expected = quantities(lambda W, _: wide @ W.T, lambda G, _: G.T @ wide)
    got = quantities(products.score_rows, products.pull_back)
    chex.assert_trees_all_close(got, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.usefixtures("accelerator")
def test_a_gradient_of_a_gradient_in_a_loop_is_that_of_products(monkeypatch):
    W, data = byte_problem(0, (120, 10, 3))
    objective = Objective(jaxsvm.softmax_loss)

    def along(W):
        return jnp.vdot(jax.grad(objective)(W, data), jnp.cos(W))

    monkeypatch.setattr(blocks, "CPU", blocks.CPU._replace(product=32))
    got = jax.jit(jax.grad(along))(W)
    monkeypatch.setattr(blocks, "CPU", blocks.CPU._replace(narrow=False))
    expected = jax.jit(lambda W: jax.grad(along)(W))(W)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("accelerator")
def test_a_gradient_check_knows_the_product_in_thirds():
    W, data = byte_problem(0, (20, 4, 3))
    check = jaxsvm.check_gradient(lambda W: Objective(jaxsvm.softmax_loss)(W, data), W)
    assert check.num_smooth == W.size
    assert not check.unknown


def quantities(W: Any, data: Data) -> dict[str, Any]:
    search = jaxsvm.local_search(HINGE, step_size=1e-3)
    pruned = jaxsvm.pruned_local_search(HINGE, step_size=1e-3)
    searches = jaxsvm.local_searches(HINGE, step_size=1e-3)
    starts = jnp.stack([W, 2 * W, -W])
    batches = jaxsvm.minibatch_gradient_descent(HINGE, step_size=1e-3, batch_size=20)
    key = jax.random.key(0)
    return {
        "gradient": jax.value_and_grad(HINGE)(W, data),
        "closed form": jaxsvm.analytic_gradient(HINGE, W, data),
        "numerical": jaxsvm.termwise_numerical_gradient(HINGE, W, data, h=1e-2),
        "bound": jaxsvm.lower_bound(HINGE, W, data),
        "search": jaxsvm.run(search, key, W, data, num_steps=30)[0].params,
        "searches": jaxsvm.run(searches, key, starts, data, num_steps=30)[0].params,
        "pruned": jaxsvm.run(pruned, key, W, data, num_steps=30)[0].params,
        "batches": jaxsvm.run(batches, key, W, data, num_steps=5)[0].params,
        "accuracy": jaxsvm.accuracy(W, data),
        "sizes": features.largest_feature(features.absolute(data.X)),
    }


def test_an_accelerator_finds_what_a_cpu_finds(monkeypatch):
    W, data = byte_problem(0, (120, 10, 3))
    expected = jax.jit(quantities)(W, data)
    monkeypatch.setattr(blocks, "CPU", blocks.ACCELERATOR._replace(summed=40, few=4, part=30))
    signed = data._replace(X=features.for_backend(data.X))
    assert signed.X.values.dtype == jnp.int8
    jaxsvm.validate(signed, num_classes=3)
    np.testing.assert_array_equal(np.asarray(signed.X), np.asarray(data.X))
    got = jax.jit(lambda *a: quantities(*a))(W, signed)  # traced anew
    # |values| + |shift| of int8 is not that of uint8; both bound |X|.
    assert np.all(got.pop("sizes") >= features.largest_feature(data.X))
    expected.pop("sizes")
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("accelerator")
def test_pixels_are_kept_as_int8_and_mean_the_same():
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    shift, scale = np.linspace(0, 200, 32, dtype=np.float32), np.float32(1 / 128)
    X = datasets.rows_from_pixels(pixels, shift=shift, scale=float(scale))
    assert X.values.dtype == jnp.int8
    expected = np.column_stack([(pixels - shift) * scale, np.ones(8, np.float32)])
    np.testing.assert_allclose(np.asarray(X), expected, rtol=0, atol=1e-6)
    assert not np.any(X.values[:, 33:])


@pytest.mark.usefixtures("accelerator")
def test_the_magnitude_of_every_int8_is_held():
    values = jnp.arange(-128, 128, dtype=jnp.int8)[:, None]
    X = jaxsvm.StandardizedFeatures(values, jnp.zeros(1), jnp.ones(1))
    size = np.asarray(features.absolute(X))[:, 0]
    np.testing.assert_array_equal(size, np.abs(np.arange(-128, 128)))
