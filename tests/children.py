"""Pythons that tests start on this machine: one, or several that find each other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# XLA's, which halve the time to compile small programs (tests/conftest.py says how).
CHEAP_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def started(*arguments):
    """Start one with these arguments, which compiles as the tests do (tests/conftest.py)."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    if environment.get("JAX_DISABLE_MOST_OPTIMIZATIONS"):
        environment["XLA_FLAGS"] = CHEAP_FLAGS
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def said(process):
    """Wait for its end; return its status, and what it wrote to stdout and stderr."""
    out, err = process.communicate()
    return process.returncode, out, err


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def said_by(count, *arguments):
    """Return the last line of each of so many, told their address, the count and their number."""
    address = free_address()
    processes = [started(*arguments, address, count, i) for i in range(count)]
    ended = [said(process) for process in processes]
    for status, _, err in ended:
        assert status == 0, err
    return [out.splitlines()[-1] for _, out, _ in ended]
