"""Strict settings for every test.

In the environment, JAX_ENABLE_X64=1 runs the suite in float64, and JAXSVM_DEFAULT_COMPILATION=1
with XLA's default passes, as users do (CI runs the tests marked ``compiled`` only so in float32).
"""

import gc
import os
from pathlib import Path

import hypothesis
import jax
import pytest

from tests.children import CHEAP_FLAGS

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Most of the suite's time is spent in compilers. XLA's cheap passes take half of it, and so do its
# older emitters of fused loops; tests' child processes compile so as well. A program of one piece
# costs less than one that is split for several cores, which other tests keep busy. What they do not
# do, fusing products into sums say, can change a result, so CI runs some tests without.
CHEAP = not os.environ.get("JAXSVM_DEFAULT_COMPILATION")
jax.config.update("jax_disable_most_optimizations", CHEAP)
if CHEAP:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    # Read when the first program is compiled.
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{given} {CHEAP_FLAGS}".strip()

# What is traced makes millions of objects that live on; to look through them again and again takes
# a tenth of the suite's time.
gc.set_threshold(200_000, 20, 100)

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
# For tests/mutants.py: the first example that fails is enough, a smaller one is not looked for.
hypothesis.settings.register_profile(
    "mutants",
    hypothesis.settings.get_profile("ci"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("ci")


def pytest_collection_modifyitems(config, items):
    """Leave out of a float64 run what the other run has: float64 by itself, or no precision."""
    if jax.config.read("jax_enable_x64"):
        twice = [
            item
            for item in items
            if "x64" in getattr(item, "fixturenames", ())
            or item.get_closest_marker("any_precision")
        ]
        config.hook.pytest_deselected(items=twice)
        items[:] = [item for item in items if item not in twice]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Have JAX look whether a key is used twice, where tests/test_keys.py says."""
    looks = isinstance(item, pytest.DoctestItem) or any(
        map(item.get_closest_marker, ("experiments", "keys"))
    )
    # Whether one is does not depend on the precision.
    with jax.debug_key_reuse(looks and not jax.config.read("jax_enable_x64")):
        return (yield)


# A program in JAX's caches keeps about ten mappings of memory. Linux lets a process have 65,530,
# after which LLVM ends it; and long before, the more a process has, the longer the next program
# takes to compile. What two files share is soon compiled again.
MANY_MAPPINGS = 6_000


def pytest_runtest_teardown(item, nextitem):
    """Have JAX forget its programs between two files when they hold many mappings of memory."""
    mappings = Path("/proc/self/maps")
    if nextitem is None or nextitem.path == item.path or not mappings.exists():
        return
    if mappings.read_bytes().count(b"\n") > MANY_MAPPINGS:
        jax.clear_caches()
        gc.collect()


def pytest_sessionfinish():
    """Look through the objects once more, for what was left open; then the process may just end.

    Pytest and Python would look through them several times, for seconds.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """Run one test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def programs():
    """The names of what has been compiled in this test so far."""
    names = []

    def listen(event: str, duration_secs: float, **info: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(info["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="session")
def cifar10():
    """CIFAR-10, centred; skips where it is not prepared: no test downloads it."""
    root = os.environ.get("TFDS_DATA_DIR")
    if not root or not (Path(root) / "cifar10").is_dir():
        pytest.skip("needs the prepared CIFAR-10: TFDS_DATA_DIR names no folder that holds it")
    import jaxsvm  # not above: jaxtyping's hook must be there before jaxsvm is imported

    return jaxsvm.load_dataset("cifar10")
