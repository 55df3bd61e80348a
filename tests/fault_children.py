"""The processes that tests/faults.py kills, starves and deceives; each says on stdout what it does.

    python tests/fault_children.py NAME FOLDER [NUMBER ...]

Those that save or read files need no JAX, and start in a third of a second, or in a whole one with
tfds.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def say(*words):
    """Write a line whole or not at all, wherever this process is killed or starved."""
    os.write(sys.stdout.fileno(), f"{' '.join(map(str, words))}\n".encode())


def without_jax():
    """Let files of `jaxsvm` that need no JAX be imported without the packages' tops, which do."""
    for name in ("jaxsvm", "jaxsvm.datasets"):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
            sys.modules[name] = package


def content(step, size=2000):
    """The arrays of a step, from which a reader can tell that they are right."""
    return {"W": np.arange(size, dtype=np.float64) * step, "size": np.array(size)}


def step_of(checkpoint):
    """Return the step of a checkpoint, or raise: it does not hold what was written."""
    wanted = content(checkpoint.step, int(checkpoint.arrays["size"]))
    assert all((checkpoint.arrays[name] == array).all() for name, array in wanted.items())
    return checkpoint.step


def saves(folder, growth=1.0, limit="", room=0, size=2000):
    """Own a folder and save step after step until something ends it; say each begin and end."""
    without_jax()
    from jaxsvm.checkpoint import Checkpoint, newest, owned, save

    step, size, growth = 0, float(size), float(growth)
    try:
        with owned(folder):
            step = newest(folder, step_of) or 0
            restrict(limit, int(room))
            while True:
                say("begin", step + 1)
                checkpoint = Checkpoint(step + 1, {}, content(step + 1, int(size)))
                save(folder, checkpoint, previous=step or None)
                step, size = step + 1, size * growth
                say("end", step)
    except (OSError, MemoryError) as error:
        say("failed", type(error).__name__, " ".join(str(error).split()))


def restrict(limit, room):
    """Leave this process little more than it has."""
    if limit == "bytes of memory":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + room, now + room))
    elif limit == "bytes of a file":
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    elif limit == "open files":
        most = max(map(int, os.listdir("/proc/self/fd"))) + room
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    elif limit == "time":
        clock = iter(range(10**9, 0, -3600))
        time.time = lambda: float(next(clock))
        time.time_ns = lambda: 10**9 * next(clock)
        time.monotonic = time.time


def owns(folder, go):
    """Own a folder as soon as the file ``go`` is there, until killed."""
    without_jax()
    from jaxsvm.checkpoint import owned

    say("ready")
    while not Path(go).exists():
        pass
    try:
        with owned(folder):
            say("owned")
            signal.pause()
    except BlockingIOError as error:
        say("failed", type(error).__name__, error)


def damaged(rng, data, other):
    """Return bytes with a piece missing, a bit turned, or another file's; and what was done."""
    kind = rng.choice(["cut", "flipped", "swapped"])
    if kind == "cut":
        return kind, data[: rng.randrange(len(data))]
    if kind == "swapped":
        return kind, other
    turned = bytearray(data)
    turned[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return kind, bytes(turned)


def damages(folder, count, seed):
    """Damage checkpoints, and look whether the one before is what is found, with a warning."""
    without_jax()
    from jaxsvm.checkpoint import Checkpoint, newest, save

    rng = random.Random(int(seed))
    for step in (10, 20):
        save(folder, Checkpoint(step, {}, content(step)), previous=step - 10 or None)
    first, second = sorted(Path(folder).glob("*.npz"))
    whole = first.read_bytes(), second.read_bytes()
    for _ in range(int(count)):
        kind, data = damaged(rng, whole[1], whole[0])
        second.write_bytes(data)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = newest(folder, step_of)
        named = len(said) == 1 and second.name in str(said[0].message)
        say("fault", json.dumps([f"a checkpoint {kind}", found == 10 and named, found == 10]))


def strategies():
    """Return by name an optimizer, how many steps it takes, and from checkpoint to checkpoint."""
    import optax

    import jaxsvm

    objective = jaxsvm.Objective(reg=0.1)
    momentum = jaxsvm.gradient_descent(objective, step_size=0.05, momentum=0.9)
    adam = jaxsvm.from_optax(optax.adam(0.01), objective)
    batches = jaxsvm.minibatch_gradient_descent(objective, step_size=0.05, batch_size=32)
    return {
        "gradient descent": (momentum, 200, 5),
        "mini-batch": (batches, 400, 10),
        "random search": (jaxsvm.random_search(objective, scale=0.1, block_size=8), 320, 8),
        "local search": (jaxsvm.local_search(objective, step_size=0.1, block_size=8), 320, 8),
        "exact line search": (jaxsvm.line_search_descent(objective), 60, 2),
        "Adam (optax)": (adam, 200, 5),
    }  # fmt: skip


def problem():
    """Return a start and examples."""
    import jax.numpy as jnp

    import jaxsvm

    rng = np.random.default_rng(0)
    X = jnp.asarray(rng.standard_normal((300, 20)), jnp.float32).at[:, -1].set(1)
    W = jnp.asarray(0.01 * rng.standard_normal((5, 20)), jnp.float32)
    return W, jaxsvm.Data(X, jnp.asarray(rng.integers(0, 5, 300), jnp.int32))


def digest(result):
    from jaxsvm.core.trees import digests

    return hashlib.sha256(json.dumps(digests(result)).encode()).hexdigest()


def quick_compilation(folder):
    """Keep compiled programs in a folder, so that the next process need not compile them."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def unbroken(folder, cache):
    """Run every strategy in one call of a compiled `run`, and say the digests of the results."""
    import jax

    import jaxsvm

    quick_compilation(cache)
    compiled = jax.jit(jaxsvm.run, static_argnames=("optimizer", "num_steps"))
    W, data = problem()
    for name, (optimizer, num_steps, _) in strategies().items():
        result = compiled(optimizer, jax.random.key(1), W, data, num_steps=num_steps)
        say("result", json.dumps([name, digest(result)]))


def solves(folder, cache):
    """Solve from what the folder holds, saved as often as can be, and say the digest.

    float32 does not get there, so the steps go on in float64.
    """
    import jaxsvm
    from jaxsvm.certificate import kept
    from jaxsvm.checkpoint import save

    def told(*arguments, **names):
        say("begin")
        save(*arguments, **names)
        say("end")

    quick_compilation(cache)
    vars(kept).update(SECONDS=0.0, save=told)
    _, data = problem()
    solution = jaxsvm.solve(jaxsvm.Objective(reg=1e-4), data, gap_tolerance=1e-6, folder=folder)
    seen = solution.history._replace(seconds=np.zeros(()))
    say("result", json.dumps(["solve", digest(solution._replace(history=seen))]))


def runs(folder, cache, first, limit="", room=0):
    """Run every strategy from what its folder holds, beginning with one, and say the digests."""
    import jax

    import jaxsvm

    quick_compilation(cache)
    W, data = problem()
    chosen = list(strategies().items())
    first = int(first) % len(chosen)
    say("ready")
    restrict(limit, int(room))
    for name, (optimizer, num_steps, every) in chosen[first:] + chosen[:first]:
        result = jaxsvm.run_resumable(
            optimizer, jax.random.key(1), W, data,
            num_steps=num_steps, folder=Path(folder) / name, every=every,
        )  # fmt: skip
        say("result", json.dumps([name, digest(result)]))


def damaged_runs(folder, cache, count, seed):
    """Damage the files of finished runs, and look whether the runs end as they did or say why not.

    Damage to the newest checkpoint or the info before it is mended. Damage to earlier info cannot
    be: it has to be an error.
    """
    import jax

    import jaxsvm

    quick_compilation(cache)
    rng, folder = random.Random(int(seed)), Path(folder)
    W, data = problem()
    chosen, wholes = strategies(), {}

    def resume(name):
        optimizer, _, every = chosen[name]
        result = jaxsvm.run_resumable(
            optimizer, jax.random.key(1), W, data,
            num_steps=4 * every, folder=folder / name, every=every,
        )  # fmt: skip
        return digest(result)

    for i in range(int(count)):
        name = list(chosen)[i % len(chosen)]
        place, copy = folder / name, folder / f"{name} copy"
        if name not in wholes:
            wholes[name] = resume(name)
            shutil.copytree(place, copy)
        shutil.rmtree(place)
        shutil.copytree(copy, place)
        files = sorted(place.glob("*.npz"))
        path = rng.choice([files[-1], files[-3], *files])
        other = next(file for file in files if file != path)
        kind, changed = damaged(rng, path.read_bytes(), other.read_bytes())
        path.write_bytes(changed)
        early = path in files[:-3]  # the last three are the last chunk's info and two checkpoints
        found, said = None, ""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found = resume(name)
            except ValueError as error:
                said = str(error)
        said += " ".join(str(warning.message) for warning in warned)
        same = found == wholes[name]
        # The older checkpoint is not read, and need not be, as long as the newest is good.
        unread = path == files[-2]
        survived = path.name in said if early else same and (unread or path.name in said)
        what = "checkpoint" if path.name.startswith("step") else "info of a chunk"
        say("fault", json.dumps([f"a run's {what} {kind}", survived, None if early else same]))


def images_digest(images):
    """Return the digest of the examples and the names of their classes."""
    found = hashlib.sha256(json.dumps(images.class_names).encode())
    for array in (*images.train, *images.test):
        found.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return found.hexdigest()


def from_archive(folder, url, archive):
    """Let the tiny CIFAR-10 be downloaded, and all that is kept of it be in a folder."""
    import tensorflow_datasets as tfds

    from tests import tiny_images

    os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
    tempfile.tempdir = folder  # tfds leaves something there
    content = Path(archive).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    facts, infos = tiny_images.downloads("cifar10", url, len(content), sha256)
    builder = tfds.builder_cls("cifar10")
    builder._cifar_info, builder.url_infos = facts, infos


def prepares(folder, url, archive, go):
    """Load the tiny CIFAR-10, prepared first where it is not, once the file ``go`` is there."""
    without_jax()
    from jaxsvm.datasets.tfds import load_images

    from_archive(folder, url, archive)
    say("ready")
    while not Path(go).exists():
        time.sleep(0.001)
    say("result", json.dumps(["images", images_digest(load_images("cifar10", folder))]))


def damaged_images(folder, url, archive, form, count, seed):
    """Damage record files, which has to be said, and decoded images, which are made again."""
    without_jax()
    from jaxsvm.datasets.examples import DatasetError
    from jaxsvm.datasets.tfds import load_images
    from tests import tiny_images

    from_archive(folder, url, archive)
    rng, folder = random.Random(int(seed)), Path(folder)
    load_images("cifar10", folder)
    (version,) = (folder / "cifar10").iterdir()
    if form == "tfrecord":
        tiny_images.reframe(version)
    whole = images_digest(load_images("cifar10", folder))
    (kept,) = (folder / "cache" / "jaxsvm").iterdir()
    groups = {"decoded images": sorted(kept.iterdir()), form: sorted(version.glob(f"*.{form}*"))}
    contents = {path: path.read_bytes() for paths in groups.values() for path in paths}
    for _ in range(int(count)):
        what, paths = rng.choice(list(groups.items()))
        path, other = rng.sample(paths, 2)
        kind, changed = damaged(rng, contents[path], contents[other])
        path.write_bytes(changed)
        found, said = None, ""
        try:
            found = images_digest(load_images("cifar10", folder))
        except DatasetError as error:
            said = str(error)
        told = what == form and str(version) in said and "damaged or incomplete" in said
        same = None if told else found == whole
        detail = f"{path.name}: {said}"
        say("fault", json.dumps([f"{what} {kind}", told or same, same, detail]))
        for path, content in contents.items():
            path.write_bytes(content)


def damaged_records(folder, count, seed):
    """Damage what a finished job wrote for its readers, and give its command again."""
    from experiments.shared import run
    from experiments.shared.environment import environment
    from experiments.shared.runner import execute
    from tests import fake_section

    # What is written again names the commit of now, which may change meanwhile.
    vars(run).update(environment=functools.cache(environment))
    rng, folder = random.Random(int(seed)), Path(folder)
    config = fake_section.Config(out=folder, name="job")
    sections = [(fake_section.called(name), config) for name in ("first", "second")]

    def again():
        with contextlib.redirect_stderr(io.StringIO()) as err:
            status = execute("fakes", sections, config)
        return status, err.getvalue()

    def contents():
        return {path: path.read_bytes() for path in (folder / "job").rglob("*") if path.is_file()}

    assert again() == (0, "")
    whole = contents()
    paths = [path for path in whole if path.name not in ("arrays.npz", "options.json")]
    for _ in range(int(count)):
        path, other = rng.sample(paths, 2)
        kind, changed = damaged(rng, whole[path], whole[other])
        path.write_bytes(changed)
        status, said = again()
        same = contents() == whole
        told = str(path) in said or changed == whole[path]  # its sections draw the same figure
        what = "figure" if path.suffix in (".png", ".svg") else path.name
        say(
            "fault",
            json.dumps([f"a job's {what} {kind}", status == 0 and told and same, same, said]),
        )


CHILDREN = {
    f.__name__: f
    for f in (
        saves, owns, damages, unbroken, runs, solves, damaged_runs, prepares, damaged_images,
        damaged_records,
    )
}  # fmt: skip

if __name__ == "__main__":
    CHILDREN[sys.argv[1]](*sys.argv[2:])
