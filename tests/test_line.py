"""The line against the objective itself, its minimum against every kink, its edges and rounding."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsvm
from jaxsvm import Data, Objective, along
from jaxsvm.core.hinges import Height, Hinges
from jaxsvm.lines import floats
from jaxsvm.lines.grid import DIRECT_NUM, hinges_on_grid
from jaxsvm.lines.line import Line
from tests import reference
from tests.problems import byte_problem, float_dtype, problem, seeds

LOSSES = ["hinge_loss", "squared_hinge_loss", "one_vs_rest_loss"]
PENALTIES = ["l2_penalty", "l1_penalty"]
NUM = 33

values = jax.jit(jax.vmap(Line.value, in_axes=(None, 0)))
values_on_grid = jax.jit(Line.values, static_argnames="num")
minimum = jax.jit(Line.minimum)
slopes = jax.jit(Line.slopes)
kinks = jax.jit(Line.kinks)
at = jax.jit(Line.value)
along_jit = jax.jit(along)


def tolerance():
    return 1e-12 if float_dtype() == jnp.float64 else 2e-5


def make(seed, *, loss="hinge_loss", penalty="l2_penalty", reg=0.1, integers=False, shape=None):
    """A line on a random problem; with integers, margins tie and kinks fall on grid nodes."""
    shape = shape or (12, 6, 5)
    W, data = problem(seed, shape, integers=integers)
    direction, _ = problem(seed + 1, shape, integers=integers)
    objective = Objective(
        loss=getattr(jaxsvm, loss), penalty=getattr(jaxsvm, penalty), reg=reg, delta=1.0
    )
    return objective, W, direction, data, along_jit(objective, W, direction, data)


def oracle(objective, W, direction, data, t):
    return reference.objective(
        np.asarray(W, float) + t * np.asarray(direction, float),
        data.X,
        data.y,
        loss=objective.loss.__name__,
        penalty_name=objective.penalty.__name__,
        reg=float(objective.reg),
        delta=float(objective.delta),
    )


@pytest.mark.compiled
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
@hypothesis.given(seed=seeds, integers=st.booleans())
@hypothesis.settings(max_examples=8)
def test_values_and_grid_match_the_oracle(loss, penalty, seed, integers):
    objective, W, direction, data, found = make(seed, loss=loss, penalty=penalty, integers=integers)
    t = np.linspace(-2, 2, NUM)
    expected = np.array([oracle(objective, W, direction, data, s) for s in t[::4]])
    rtol = tolerance()
    np.testing.assert_allclose(values(found, jnp.asarray(t))[::4], expected, rtol=rtol)
    grid = values_on_grid(found, start=-2.0, stop=2.0, num=NUM)
    np.testing.assert_allclose(grid[::4], expected, rtol=rtol)
    backwards = values_on_grid(found, start=2.0, stop=-2.0, num=NUM)
    np.testing.assert_allclose(backwards[::-1], grid, rtol=rtol)


@pytest.mark.compiled
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
@hypothesis.given(seed=seeds, integers=st.booleans(), reg=st.sampled_from([0.0, 0.1]))
@hypothesis.settings(max_examples=15)
def test_the_minimum_is_below_every_kink_and_every_vertex(loss, penalty, seed, integers, reg):
    *_, found = make(seed, loss=loss, penalty=penalty, integers=integers, reg=reg)
    best = minimum(found)
    every = np.asarray(kinks(found), float)
    every = np.append(every[np.isfinite(every)], [-3.0, 0.0, 3.0])
    # The brute force: the parabola through each piece's two ends and its middle has its vertex
    # somewhere, and the least of the kinks and the vertices inside their pieces is the minimum.
    ends = np.concatenate([[every.min() - 10], np.unique(every), [every.max() + 10]])
    a, c = ends[:-1], ends[1:]
    b = (a + c) / 2
    fa, fb, fc = (
        np.asarray(values(found, jnp.asarray(_padded(x), float_dtype())), float)[: len(x)]
        for x in (a, b, c)
    )
    curvature, tilt = fa - 2 * fb + fc, fc - fa
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = b - (c - a) * tilt / (4 * curvature)
    inside = vertex[(curvature > 1e-9 * fb) & (vertex > a) & (vertex < c)]
    candidates = np.concatenate([ends, inside])
    lowest = np.min(np.asarray(values(found, jnp.asarray(_padded(candidates), float_dtype()))))
    assert best.value <= lowest * (1 + tolerance()) + tolerance()
    # ... and it is reached: the value is the line's own at both ends.
    for end in (best.t_low, best.t_high):
        if np.isfinite(end):
            np.testing.assert_allclose(at(found, end), best.value, rtol=tolerance())
    assert best.t_low <= best.t_high


def _padded(x, size=256):
    """One compiled shape for any number of kinks."""
    assert len(x) <= size
    return np.concatenate([x, np.full(size - len(x), x[0])])


@pytest.mark.compiled
@hypothesis.given(seed=seeds, integers=st.booleans())
@hypothesis.settings(max_examples=20)
def test_slopes_at_and_between_kinks(seed, integers):
    *_, found = make(seed, integers=integers, reg=0.0)
    distinct, count = found.kinks_between(-2.0, 2.0)
    u, v = (np.asarray(part) for part in (found.loss.offsets, found.loss.slopes))
    with np.errstate(divide="ignore", invalid="ignore"):
        places = -u / v
    u, v = u.astype(float), v.astype(float)
    for t, n in list(zip(distinct, count, strict=True))[:4]:
        left, right = (float(slope) for slope in slopes(found, jnp.asarray(t)))
        meeting = (places == t) & (v != 0)
        assert n == meeting.sum()
        # The slope jumps by the absolute slopes of the terms that meet there, and by no other.
        np.testing.assert_allclose(right - left, np.abs(v[meeting]).sum() / 12, rtol=1e-4)
    t = 0.123456789
    active = u + t * v > 0
    expected = v[active].sum() / 12
    for slope in slopes(found, t):
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)


def test_the_slope_jumps_add_up_to_the_difference_of_the_tails():
    *_, found = make(4, reg=0.0)
    far = 1e6
    jump = slopes(found, far)[1] - slopes(found, -far)[0]
    np.testing.assert_allclose(jump, np.abs(found.loss.slopes).sum() / 12, rtol=1e-5)


def test_the_notes_bowl():
    # One weight a class, three examples: the notes' one-dimensional picture along w_0.
    data = Data(jnp.array([[1.0], [-0.5], [2.0]]), jnp.array([0, 1, 2], jnp.int32))
    W, direction = jnp.zeros((3, 1)), jnp.array([[1.0], [0.0], [0.0]])
    found = along_jit(Objective(), W, direction, data)
    # L_0 = 2 max(0, 1 − t), L_1 = max(0, 1 − t/2) + 1, L_2 = max(0, 1 + 2t) + 1; L = mean.
    for t in (-2.0, -0.5, 0.0, 0.7, 1.0, 1.5, 2.0, 3.0):
        parts = 2 * max(0, 1 - t), max(0, 1 - t / 2) + 1, max(0, 1 + 2 * t) + 1
        assert at(found, t) == pytest.approx(sum(parts) / 3, rel=1e-6)
    np.testing.assert_array_equal(found.kinks_between(-9.0, 9.0)[0], [-0.5, 1.0, 2.0])
    np.testing.assert_array_equal(found.kinks_between(-9.0, 9.0)[1], [1, 2, 1])
    assert [float(x) for x in minimum(found)[:2]] == [1.0, 1.0]


def test_flat_floors_and_flat_tails():
    def one(offsets, slopes_):
        terms = Hinges(jnp.array(offsets), jnp.array(slopes_), 1.0)
        return minimum(Line(terms, (), jnp.zeros(3)))

    assert [float(x) for x in one([1.0, -3.0], [-1.0, 1.0])] == [1.0, 3.0, 0.0]
    assert [float(x) for x in one([1.0, 0.5], [-1.0, -1.0])] == [1.0, np.inf, 0.0]
    assert [float(x) for x in one([1.0, 0.5], [1.0, 1.0])] == [-np.inf, -1.0, 0.0]
    assert [float(x) for x in one([0.0, 0.0], [1.0, -1.0])] == [0.0, 0.0, 0.0]
    assert [float(x) for x in one([2.0, -1.0], [0.0, 0.0])] == [-np.inf, np.inf, 2.0]


def test_a_zero_direction_is_flat_and_a_nan_is_kept():
    objective, W, direction, data, _ = make(0)
    flat = along_jit(objective, W, jnp.asarray(np.zeros_like(direction)), data)
    assert [float(x) for x in minimum(flat)[:2]] == [-np.inf, np.inf]
    here = values_on_grid(flat, start=-1.0, stop=1.0, num=NUM)
    expected = oracle(objective, W, direction, data, 0.0)
    np.testing.assert_allclose(here, expected, rtol=tolerance())
    assert len(flat.kinks_between(-1e9, 1e9)[0]) == 0
    spoiled = np.array(W)
    spoiled[0, 0] = np.nan
    nan = jnp.asarray(spoiled)
    for bad in (along_jit(objective, nan, direction, data), along_jit(objective, W, nan, data)):
        assert np.isnan(values_on_grid(bad, start=-1.0, stop=1.0, num=NUM)).all()
        assert np.isnan(minimum(bad)).all()
        assert np.isnan(at(bad, 0.3))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("num", [1, 2, DIRECT_NUM, DIRECT_NUM + 1, 400])
def test_grids_of_any_size(loss, num):
    *_, found = make(2, loss=loss)
    for start, stop in ((-1.0, 1.0), (0.3, 0.3), (1e-4, -1e-4)):
        got = values_on_grid(found, start=start, stop=stop, num=num)
        t = np.linspace(start, stop, num, dtype=float_dtype())
        expected = np.asarray(values(found, jnp.asarray(_padded(t, 400))))[:num]
        np.testing.assert_allclose(got, expected, rtol=tolerance())


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("num", [5, 9, 17])
def test_terms_without_slope_and_kinks_on_nodes_are_exact(power, num):
    # Whole offsets, halves as slopes, power-of-two steps: every number here is exact in float32.
    u, v = np.meshgrid(np.arange(-4.0, 5.0), np.arange(-2.0, 2.5, 0.5))
    terms = Hinges(jnp.asarray(u, float_dtype()), jnp.asarray(v, float_dtype()), 1.0, Height(power))
    found = Line(terms, (), jnp.zeros(3, float_dtype()))
    for start, stop in ((-4.0, 4.0), (4.0, -4.0), (0.0, 4.0), (2.0, 2.0)):
        t = np.linspace(start, stop, num)
        assert (v == 0).any()
        with np.errstate(divide="ignore", invalid="ignore"):
            assert np.isin(-u / v, t).any()
        expected = [(np.maximum(u + s * v, 0) ** power).sum() for s in t]
        got = values_on_grid(found, start=start, stop=stop, num=num)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("num", [3, DIRECT_NUM + 1])
def test_more_terms_than_are_added_side_by_side(num):
    # A prime number of them: some are left over.
    low = [[-1.0], [-1.0], [0.0], [0.0]]
    u, v, a, b = numbers = np.random.default_rng(0).uniform(low, 1.0, (4, 4999))
    offsets, slopes, linear, square = (jnp.asarray(row, float_dtype()) for row in numbers)
    terms = Hinges(offsets, slopes, 1.0, Height(2, linear, square))
    h = np.maximum(u + np.linspace(-1, 2, num)[:, None] * v, 0)
    expected = (a * h + b * h**2).sum(axis=1)
    on_grid = jax.jit(hinges_on_grid, static_argnames="num")
    got = on_grid(terms, start=-1.0, stop=2.0, num=num)
    np.testing.assert_allclose(got, expected, rtol=tolerance())


def test_windows_that_are_empty_one_point_or_the_whole_line():
    *_, found = make(4, integers=True)
    every = np.asarray(kinks(found))
    every = every[np.isfinite(every)]
    distinct, count = found.kinks_between(-np.inf, np.inf)
    np.testing.assert_array_equal(np.repeat(distinct, count), every)
    middle = float(distinct[len(distinct) // 2])
    one, meeting = found.kinks_between(middle, middle)
    assert one.tolist() == [middle]
    assert meeting.tolist() == [(every == middle).sum()]
    for low, high in ((1.0, -1.0), (float(every[-1]) + 1, np.inf)):
        assert [len(part) for part in found.kinks_between(low, high)] == [0, 0]
    with pytest.raises(ValueError, match="high = nan"):
        found.kinks_between(0.0, np.nan)


def test_bytes_and_the_plain_matrix_agree():
    W, data = byte_problem(0)
    direction = byte_problem(1)[0]
    plain = Data(jnp.asarray(np.asarray(data.X)), data.y)
    got, expected = (
        values_on_grid(
            along_jit(Objective(reg=0.1), W, direction, d), start=-1.0, stop=1.0, num=NUM
        )
        for d in (data, plain)
    )
    np.testing.assert_allclose(got, expected, rtol=20 * tolerance())


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("width", "num", "rtol"), [(1.0, 257, 4e-7), (1e-4, 4097, 3e-7)])
def test_float32_running_sums_stay_near_float64(power, width, num, rtol):
    # 200,000 terms: spread over the grid, and (a zoom) nearly all on or off across the whole of it.
    rng = np.random.default_rng(0)
    u, v = (rng.normal(size=200_000).astype(np.float32) for _ in range(2))
    terms = Hinges(jnp.asarray(u), jnp.asarray(v), 1e-5, Height(power))
    found = Line(terms, (), jnp.zeros(3, jnp.float32))
    got = np.asarray(values_on_grid(found, start=-width, stop=width, num=num))[:: num // 16]
    u, v = u.astype(float), v.astype(float)
    t = np.linspace(-width, width, num, dtype=np.float32).astype(float)[:: num // 16]
    exact = np.array([1e-5 * (np.maximum(u + s * v, 0) ** power).sum() for s in t])
    np.testing.assert_allclose(got, exact, rtol=rtol)


def test_errors_say_what_to_do():
    objective, W, direction, data, found = make(0)
    wide = jnp.zeros((W.shape[0], W.shape[1] + 1), W.dtype)
    with pytest.raises(ValueError, match=rf"W has shape \({W.shape[0]}, {W.shape[1] + 1}\)"):
        along(Objective(), wide, wide, data)
    with pytest.raises(ValueError, match="direction has shape"):
        along(objective, W, direction[:-1], data)
    with pytest.raises(ValueError, match="no examples"):
        along(objective, W, direction, Data(data.X[:0], data.y[:0]))
    with pytest.raises(ValueError, match="softmax_loss, which has no hinges"):
        along(Objective(loss=jaxsvm.softmax_loss), W, direction, data)
    with pytest.raises(ValueError, match="l2_penalty or l1_penalty"):
        along(Objective(penalty=jnp.max), W, direction, data)
    with pytest.raises(ValueError, match="num = 0: expected an integer >= 1"):
        found.values(start=0.0, stop=1.0, num=0)
    for start, stop in ((-np.inf, 1.0), (0.0, np.nan)):
        with pytest.raises(ValueError, match="finite number"):
            found.values(start=start, stop=stop, num=3)


def test_lines_are_vmappable():
    objective, W, direction, data, found = make(0)
    both = jax.vmap(along_jit, in_axes=(None, None, 0, None))(
        objective, W, jnp.asarray(np.stack([direction, -np.asarray(direction)])), data
    )
    lows = jax.vmap(minimum)(both)
    np.testing.assert_allclose(lows.t_low[1], -lows.t_high[0], rtol=1e-5)
    np.testing.assert_allclose(lows.value[0], minimum(found).value, rtol=1e-6)


def test_the_smallest_normal_float_is_kept_and_smaller_ones_are_zero():
    for dtype in (jnp.float32, float_dtype()):
        tiny = np.finfo(dtype).tiny
        place = floats.place_of(jnp.asarray(tiny, dtype), dtype)
        assert floats.float_at(place, dtype) == tiny
        assert floats.float_at(place - 1, dtype) == 0
