"""What a reader needs to repeat a run or to judge its times: versions, commit, device, machine."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxsvm
from jaxsvm.optimizers.identity import cores

# Those of them that are installed are listed.
PACKAGES = (
    "jax", "jaxlib", "numpy", "optax", "matplotlib", "scikit-learn", "torch", "evosax",
    "liblinear-multicore", "snapml", "dual-fw-svm", "rehline",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Return versions, commit, device, dtype and machine of this process."""
    device = jax.devices()[0]
    return {
        "versions": {
            "python": platform.python_version(),
            "jaxsvm": jaxsvm.__version__,
            **{name: version for name in PACKAGES if (version := _version(name))},
        },
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "device": f"{device.platform}: {device.device_kind}",
        "num_devices": jax.device_count(),
        "dtype": str(jnp.zeros(()).dtype),
        "x64": bool(jax.config.read("jax_enable_x64")),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
    }


def _version(package: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _processor() -> str:
    """Return the processor's name, from Linux's own file where there is one."""
    with contextlib.suppress(OSError):
        if named := re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M):
            return named[1].strip()
    return platform.processor()


def _git(*arguments: str) -> str | None:
    """Return git's answer about this code's repository, or None where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
