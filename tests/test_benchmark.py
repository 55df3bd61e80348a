"""The benchmark runs at its tiny size, and its arithmetic on times is right."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import common
from jaxsvm import Rows


@pytest.mark.experiments
def test_every_part_runs_at_the_tiny_size(tmp_path):
    # Timing the same work again and again is using a key again and again.
    with jax.debug_key_reuse(False):
        rows = benchmark.main(["all", "--size", "tiny", "--repeats", "1", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "all.json").read_text())
    assert len(record["rows"]) == len(rows)
    assert record["machine"]["versions"]["jax"]
    assert all(row.lower <= row.median <= row.upper for row in rows)
    assert [p.name for p in tmp_path.glob(".*")] == []  # no temporary left


def test_peers_take_turns_and_are_warmed_up():
    calls = []
    peers = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    rows = common.compare("p", "w", peers, common.Config(repeats=3))
    assert calls[:3] == ["a", "b", "c"]
    assert calls[3:] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [row.peer for row in rows] == ["a", "b", "c"]
    assert {row.rounds for row in rows} == {3}


def test_repeated_work_is_divided_out():
    config = common.Config(repeats=3)
    once, many = (
        common.compare("p", "w", {"a": lambda: time.sleep(0.01)}, config, calls=calls)[0]
        for calls in (1, 10)
    )
    assert once.lower >= 0.01
    assert many.lower >= 0.001
    assert many.median < once.median / 2


def test_a_slow_comparison_stops_after_three_rounds():
    rows = common.compare("p", "w", {"a": lambda: None}, common.Config(repeats=9, seconds=1e-12))
    assert rows[0].rounds == 3


def test_table_states_ratios_and_the_share_of_the_limit():
    rows = [
        common.Row("p", "w", "ours", 2e-3, 1e-3, 3e-3, 5, flops=1e6, bytes=1e6),
        common.Row("p", "w", "peer", 5e-3, 4e-3, 6e-3, 5, flops=1e6, bytes=1e6),
    ]
    text = common.table(rows, common.Limits(flops=1e9, bytes=1e10)).splitlines()
    assert text[2].endswith("| 2 ms | 1 ms .. 3 ms | 1.00 | 50 % |")
    assert text[3].endswith("| 5 ms | 4 ms .. 6 ms | 2.50 | 20 % |")


def test_the_roofline_is_drawn_where_work_is_counted(tmp_path):
    limits = common.Limits(flops=1e9, bytes=1e10)
    row = common.Row("p", "w", "ours", 2e-3, 1e-3, 3e-3, 5, flops=1e6, bytes=1e6)
    assert common.roofline([row._replace(bytes=None)], limits, tmp_path / "a.png") is None
    peers = [row, row._replace(peer="peer", bytes=1e4, median=1e-2)]
    path = common.roofline(peers, limits, tmp_path / "a.png")
    assert path is not None
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_two_forms_of_the_problem_are_one_matrix():
    _, rows, plain = common.problem(common.Config(size="tiny"))
    np.testing.assert_allclose(np.asarray(rows.X), plain.X, rtol=1e-6)
    assert isinstance(rows.X, Rows)
    assert rows.X.values.shape[1] % 16 == 0


def allocate(megabytes):
    """Called in a child process by the test below."""
    return jnp.ones(int(megabytes) * 2**18, jnp.float32)


def test_peak_memory_sees_an_allocation():
    got = common.peak_memory("tests.test_benchmark:allocate", "64")
    assert 64e6 < got < 110e6


@pytest.mark.parametrize("bad", [{"repeats": 0}, {"seconds": 0.0}])
def test_bad_settings_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        common.Config(**bad)
