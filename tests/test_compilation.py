"""Compiled programs that the next process finds, where the user keeps such things."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.shared import compilation

pytestmark = [pytest.mark.any_precision, pytest.mark.experiments]

NAMES = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of a user who has set nothing up, in which nothing stays set up."""
    before = {name: jax.config.values[name] for name in NAMES}
    jax.config.update("jax_compilation_cache_dir", None)
    for name in NAMES:
        monkeypatch.setenv(name.upper(), "")  # so that what is set now is undone
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_next_process_finds_what_this_one_compiled(cache):
    compilation.keep_programs()
    (folder,) = cache.glob("jaxsvm/programs-*")
    assert folder.stat().st_mode & 0o077 == 0  # what is in it is run
    code = """if True:
        import jax
        from jax import monitoring
        monitoring.register_event_listener(lambda name, **_: print(name))
        jax.jit(lambda x: x * 2 + 1)(3.0).block_until_ready()
    """
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert "/jax/compilation_cache/cache_misses" in first.stdout
    assert "/jax/compilation_cache/cache_misses" not in second.stdout
    assert "/jax/compilation_cache/cache_hits" in second.stdout
    assert any(folder.iterdir())


def test_a_folder_that_is_set_up_is_left_alone(cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    compilation.keep_programs()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "mine")
    assert not list(cache.glob("jaxsvm*"))


def test_a_folder_that_has_grown_too_large_is_emptied(cache, monkeypatch):
    compilation.keep_programs()
    file = compilation.programs_folder() / "old"
    for most, stays in ((10, True), (9, False)):
        file.write_bytes(bytes(10))
        monkeypatch.setattr(compilation, "MOST_BYTES", most)
        jax.config.update("jax_compilation_cache_dir", None)
        compilation.keep_programs()
        assert file.exists() == stays
        assert file.parent.is_dir()


def test_without_a_place_for_it_there_is_no_cache(cache, monkeypatch):
    (cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    compilation.keep_programs()
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_no_program_is_used_again_that_was_compiled_the_other_way(programs):
    def shifted(x):
        return x + 1

    f, x = jax.jit(shifted), np.zeros(3, np.float32)
    before = jax.config.read("jax_disable_most_optimizations")
    try:
        compilation.compile_cheaply(not compilation.CHEAP)
        f(x)
        with compilation.compiled_as_started():
            f(x)
            f(x)
        f(x)
    finally:
        compilation.compile_cheaply(before)
    assert len([name for name in programs if "shifted" in name]) == 3
