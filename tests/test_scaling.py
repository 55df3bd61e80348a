"""The scaling section: its model finds known rates, and its counts are the compiler's."""

import csv
import json
import math
import os
import signal
from itertools import pairwise

import numpy as np
import pytest

from experiments import scaling
from experiments.shared import failures
from experiments.shared.cost_model import (
    PARTS,
    UNITS,
    Measured,
    Work,
    fits,
    fitted,
    modelled,
    parts,
    units,
)
from experiments.shared.device_crew import answer, crew
from experiments.shared.device_times import STEPS, Size
from experiments.shared.forecast import end_of_scaling, predict
from experiments.shared.rented import FUNCTIONS, STRATEGIES, SUMS, TODAY, Problem
from experiments.shared.workers import Worker
from tests.test_experiments import check_report

pytestmark = [pytest.mark.experiments, pytest.mark.any_precision]

MACHINE = scaling.Config().machine
PROBLEM = Problem(N=1_200_000, C=1000, D=3073, batch=256, trials=50)


@pytest.fixture
def cheap_children(monkeypatch):
    """Compile in other processes as in this one, by XLA's cheap passes."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def measured(rates, size, devices):
    """Calls of every step whose core seconds follow the rates exactly."""
    works = [step.work(size, devices) for step in STEPS.values()]
    return [
        Measured(work, devices, float(units(Measured(work, devices, 1.0)) @ rates))
        for work in works
    ]


def test_units_are_added_over_devices_and_levels():
    work = Work(1, 5.0, 7.0, losses=3.0, messages=2, reduced=10.0, gathered=8.0)
    # Four devices: two levels, and each receives three quarters of what all have.
    assert units(Measured(work, 4, 1.0)).tolist() == [20.0, 12.0, 28.0, 16.0, 4 * 26.0, 4.0]
    assert units(Measured(work, 1, 1.0)).tolist() == [5.0, 3.0, 7.0, 0.0, 0.0, 1.0]


def test_the_fit_finds_the_rates_that_made_the_times():
    rates = np.array([3e-11, 7e-9, 2e-10, 1e-4, 4e-10, 1e-3])
    calls = [
        call
        for devices in (1, 2, 4, 8)
        for rows in (3072 * devices, 24_576)
        for call in measured(rates, Size(rows, 10, 3073), devices)
    ]
    found = fitted(calls)
    np.testing.assert_allclose([found[name] for name in UNITS], rates, rtol=1e-6)
    held_out = measured(rates, Size(49_152, 10, 3073), 8)
    assert [modelled(found, call) for call in held_out] == pytest.approx(
        [call.core_seconds for call in held_out]
    )
    # Only messages, which one device does not send: what does not help is 0, never below.
    dear = fitted([call._replace(core_seconds=1.0 + call.devices) for call in calls])
    assert min(dear.values()) >= 0


def test_the_parts_of_a_step_are_quotients_of_its_work():
    machine = MACHINE._replace(
        flops=10.0, memory=5.0, capacity=100.0, host=4, link_bytes=8.0, link_latency=0.5,
        network_bytes=2.0, network_latency=3.0, storage=4.0, call=0.25,
    )  # fmt: skip
    work = Work(
        1, 12.0, 10.0, losses=1.0, repeated=5.0, messages=2, reduced=16.0, gathered=32.0,
        rows=12.0, held_rows=60.0, held=40.0,
    )  # fmt: skip
    # 16 devices: two levels within a host, and two between hosts.
    expected = (
        2.0,
        0.5,
        2.0,
        0.0,
        2 * (2 * 0.5 + 2 * 3.0),
        16 * (2 / 8 + 2 / 2) + 32 * 15 / 16 / 2,
    )
    assert parts(work, machine, 16) == pytest.approx(
        dict(zip(PARTS, [*expected, 0.25], strict=True))
    )
    alone = parts(work._replace(held=41.0), machine, 1)
    assert alone["reading storage"] == 3.0
    assert alone["exchange latency"] == alone["exchange bandwidth"] == 0.0
    assert fits(work, machine)
    assert not fits(work._replace(held=101.0), machine)


def test_gains_are_over_one_device_with_as_many_rows_in_all_or_each():
    def timed(devices, rows, seconds, core_seconds):
        return {"name": "a", "devices": devices, "rows": rows, "examples": rows,
                "seconds": seconds, "core_seconds": core_seconds}  # fmt: skip

    timings = [timed(1, 10, 2.0, 2.0), timed(1, 40, 8.0, 12.0), timed(2, 20, 2.5, 5.0),
               timed(2, 40, 5.0, 16.0)]  # fmt: skip
    scaling.with_gains(timings)
    assert [row["speedup"] for row in timings] == pytest.approx([1.0, 1.0, 1.6, 1.6])
    assert [row["efficiency"] for row in timings] == pytest.approx([1.0, 1.0, 0.8, 0.75])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_devices_share_what_a_strategy_does(name):
    today, sums = (STRATEGIES[how][name] for how in (TODAY, SUMS))
    # One device has nothing to share, however it would.
    one = today(PROBLEM, 1, MACHINE)
    alone = sums(PROBLEM, 1, MACHINE)
    assert one._replace(gathered=0, reduced=0, messages=0) == alone._replace(
        gathered=0, reduced=0, messages=0
    )
    many = PROBLEM._replace(trials=1)
    of_one, of_64 = (sums(many, devices, MACHINE) for devices in (1, 64))
    assert of_64.flops / of_64.examples * 64 == pytest.approx(of_one.flops / of_one.examples)
    assert of_64.gathered == 0
    assert today(many, 64, MACHINE).held >= of_64.held


def test_the_products_are_those_of_the_strategies():
    N, C, D, B, T = PROBLEM
    flops = {
        name: function(PROBLEM, 8, MACHINE, False).flops for name, function in FUNCTIONS.items()
    }
    product = 2 * N / 8 * C * D
    assert flops["full-batch gradient"] == pytest.approx(2 * product)
    assert flops["mini-batch"] == 4 * B * C * D
    assert flops["random search"] == pytest.approx(T * product)
    assert flops["local search"] == pytest.approx((T + 1) * product)
    assert flops["a pass of solve"] == pytest.approx(2 * product)
    # A block has the trials whose scores a device holds.
    few = FUNCTIONS["local search"](PROBLEM, 1, MACHINE, True)
    trials = few.examples / N
    assert 1 < trials < T
    held = few.held + few.held_rows
    assert held <= MACHINE.capacity < held + 4 * N * C
    huge = PROBLEM._replace(N=10**9)
    assert not fits(FUNCTIONS["local search"](huge, 8192, MACHINE, True), MACHINE)
    by_itself = FUNCTIONS["local search"](huge, 1, MACHINE, False)
    assert (by_itself.examples, by_itself.messages) == (T * 10**9, T)
    assert by_itself.flops == 2 * T * huge.N * C * D


def test_scaling_stops_where_devices_bring_too_little():
    rows = predict([PROBLEM, PROBLEM._replace(N=10**9)], MACHINE, 8192)
    assert len(rows) == 2 * 2 * len(FUNCTIONS) * 14
    found = scaling.chosen(rows, N=PROBLEM.N, how=TODAY, name="full-batch gradient")
    rates = [row["examples_a_second"] for row in found]
    end = end_of_scaling(found)
    assert end is not None
    k = [row["devices"] for row in found].index(end["devices"])
    assert rates[k] < 1.4 * rates[k - 1]
    assert all(b >= 1.4 * a for a, b in pairwise(rates[:k]))
    assert end["cause"] == "exchange bandwidth"
    assert found[0]["efficiency"] == 1.0
    assert found[-1]["efficiency"] == pytest.approx(rates[-1] / rates[0] / 8192)
    repeated = scaling.chosen(rows, N=PROBLEM.N, how=TODAY, name="termwise gradient")
    assert end_of_scaling(repeated) == repeated[1] | {"cause": "repeated compute"}
    full = scaling.chosen(rows, N=10**9, how=TODAY, name="a pass of solve")
    assert all(math.isnan(row["seconds"]) for row in full)
    assert end_of_scaling(full) is None


def test_a_small_measurement_is_fitted_reported_and_kept(tmp_path, cheap_children, monkeypatch):
    name = "gradient"
    monkeypatch.setattr(scaling, "STEPS", {name: STEPS[name]})
    config = scaling.Config(rows=6144, features=17, num_devices=(1, 2), repeats=1, largest=64)
    arrays = scaling.run(config)
    timings = arrays["timings"]
    assert {(row["devices"], row["rows"]) for row in timings} == {
        (1, 3072), (1, 6144), (1, 12_288), (2, 6144), (2, 12_288)
    }  # fmt: skip
    assert all(row["seconds"] > 0 and row["core_seconds"] > 0 for row in timings)
    assert [row["held_out"] for row in timings] == [row["rows"] == 12_288 for row in timings]
    alone = [row[gain] for row in timings[:3] for gain in ("speedup", "efficiency")]
    assert alone == pytest.approx([1.0] * 6)
    text = check_report(scaling, arrays, tmp_path)
    assert "does not begin" in text
    assert "stops scaling at" in text
    for name, write in scaling.files(arrays).items():
        write(tmp_path / name)
    with (tmp_path / "scaling_measured.csv").open() as file:
        kept = list(csv.DictReader(file))
    assert [float(row["seconds"]) for row in kept] == [row["seconds"] for row in timings]
    assert json.loads(json.dumps(arrays["fitted_seconds"])).keys() == set(UNITS)


def test_the_arithmetic_is_what_the_compiler_counts_of_one_block(cheap_children):
    size = Size(512, 10, 129)
    with crew([1]) as workers:
        for name, step in STEPS.items():
            workers[1].ask(("count", name, size))
            work = step.work(size, 1)
            # It counts the body of a loop once: a step's, and of the trials' hinges one's.
            assert answer(workers, 1)["flops"] == pytest.approx(work.flops / step.steps, rel=0.3)


def test_a_process_that_dies_is_named_by_its_devices():
    with crew([1, 2]) as workers:
        os.kill(workers[2].process.pid, signal.SIGKILL)
        workers[2].ask(("count", "gradient", Size(512, 10, 17)))
        with pytest.raises(ChildProcessError, match=r"on 2 devices: .* \(SIGKILL") as caught:
            answer(workers, 2)
    assert not any(worker.process.is_alive() for worker in workers.values())
    assert failures.failure_of(caught.value).status == failures.NOT_WHOLE


def start_a_crew(pipe):
    with crew([1]):
        pipe.send("started")


def test_a_worker_of_the_main_job_may_start_a_crew():
    worker = Worker.started(start_a_crew)
    assert worker.answer() == "started"
    worker.end()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_devices": (1, 3)}, "num_devices = 3: expected a power of two"),
        ({"num_devices": (2, 4)}, "expected 1 among them"),
        ({"host": 6}, "host = 6: expected a power of two"),
    ],
)
def test_impossible_numbers_of_devices_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        scaling.Config(**options)


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="rows = 100: 24 of them cannot be laid over 2 devices"):
        scaling.cases(scaling.Config(rows=100))
