"""The small run of tests/faults.py: every fault is survived, and every kind was injected."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_precision


def test_the_faults_of_a_small_run_are_survived(tmp_path):
    out = tmp_path / "faults.csv"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--small", "--out", str(out)],
        capture_output=True, text=True, cwd=Path(__file__).parents[1],
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
