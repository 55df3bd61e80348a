"""Compiled programs are kept, so that the next command need not compile them again.

JAX can keep them in a folder, its persistent compilation cache. On small data compiling is most of
a command's time, so the experiments turn that on; `import jaxsvm` does not. Where it is already set
up, by ``JAX_COMPILATION_CACHE_DIR`` say, it is left as it is. ``JAX_ENABLE_COMPILATION_CACHE=0``
turns it off.

On small data the compiler is also told to do less, `compile_quickly`.

The folder is in the user's own cache folder, since what is in it is run. Each kind of processor has
one of its own, since programs are compiled for its instructions.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.shared.options import Source
from experiments.shared.settings import looks_small

# XLA's older emitters of fused loops, the first of LLVM's levels and a program in one piece, not
# split for several cores: small programs are there in half the time and run as fast.
QUICKLY = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1 "
    "--xla_cpu_parallel_codegen_split_count=1"
)
MOST_BYTES = 2**30  # beyond which the folder is emptied: it only grows, and programs go out of use


def keep_programs() -> None:
    """Turn JAX's persistent compilation cache on, for this process and those that it starts."""
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = programs_folder()
    try:
        if sum(file.stat().st_size for file in folder.glob("*")) > MOST_BYTES:
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # no such place, or another process empties it: compiling works without
        return
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,  # also what was compiled fast
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


def compile_quickly(source: Source) -> None:
    """Tell XLA to compile quickly where the data look small, for this process and its children.

    XLA reads its flags when JAX starts: call this before. Flags of the user's own count more.
    """
    if looks_small(source):
        os.environ["XLA_FLAGS"] = f"{QUICKLY} {os.environ.get('XLA_FLAGS', '')}".strip()


# Whether programs are compiled for speed or quickly: as whoever started this process wants it.
CHEAP = jax.config.read("jax_disable_most_optimizations")


def compile_cheaply(cheap: bool) -> None:
    """Have programs compiled quickly from now on, or for speed.

    One that was compiled the other way has another speed and another rounding, and JAX would go on
    using it: all are forgotten.
    """
    if jax.config.read("jax_disable_most_optimizations") != cheap:
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", cheap)


@contextlib.contextmanager
def compiled_as_started() -> Iterator[None]:
    """Compile as this process was started to, also in a section that has all compiled quickly."""
    before = jax.config.read("jax_disable_most_optimizations")
    compile_cheaply(CHEAP)
    try:
        yield
    finally:
        compile_cheaply(before)


def programs_folder() -> Path:
    """Return the folder of compiled programs for this kind of processor."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache) / "jaxsvm" / f"programs-{_processor_digest()}"


def _processor_digest() -> str:
    """Return a short digest of what this processor is and which instructions it has."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        about = f"{platform.machine()} {platform.processor()}"
    # Of several equal cores; the clock rate of the moment is left out.
    known = sorted(set(re.findall(r"^(?:model name|flags|Features)\s*:.*$", about, re.M)))
    return hashlib.sha256("\n".join(known or [about]).encode()).hexdigest()[:12]
