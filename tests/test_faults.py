"""The small run of tests/faults.py: every fault is survived, and every kind was injected."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import faults

pytestmark = pytest.mark.any_precision
HERE = Path(__file__).parent


def test_the_faults_of_a_small_run_are_survived(tmp_path):
    out = tmp_path / "faults.csv"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--small", "--out", str(out)],
        capture_output=True, text=True, cwd=HERE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    injected, survived = map(int, re.findall(r"^faults (\d+) survived (\d+)$", last)[0])
    assert injected == survived >= 100
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == injected
    kinds = {row["kind"] for row in rows}
    for kind in (
        "kill -9 inside", "kill -9 of a run", "two runs at once", "RLIMIT", "checkpoint swapped",
        "two processes prepare", "decoded images", "record", "metrics.json", "report",
    ):  # fmt: skip
        assert any(kind in found for found in kinds), kind


def test_every_fault_has_the_tests_that_its_row_names():
    table = (HERE / "reliability.md").read_text().partition("|---|---|---|")[2]
    named = re.findall(r"`([a-z_0-9.:]+)`", table)
    assert len(named) > 90
    for name in named:
        file, _, test = name.rpartition("::")
        found = f"\ndef {test}(" in (HERE / file).read_text() if file else hasattr(faults, name)
        assert found, name
    kinds = {kind.__name__ for kind, *_ in faults.KINDS}
    assert kinds <= set(named)
