"""Faults injected into real processes: is anything lost, or wrong in silence?

    python -m tests.faults [--small] [--seed 0] [--workers 2] [--out table.csv]

Processes that save (`tests/fault_children.py`) are killed, starved of memory, space and files,
started twice on one folder, and their files are damaged. Each fault survives if what was
acknowledged is there, to the bit, or what cannot be is said; and if the next process goes on. What
a run ends with is compared with a run that nothing happened to. The choices follow from ``--seed``,
but when a signal arrives is up to the machine.

The table by kinds is printed, and each fault is a row of ``--out``, written when its job has ended.
The last line is ``faults N survived M``, and the status is 1 unless all survived.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from tests import tiny_images
from tests.fault_children import content, damaged, step_of, without_jax

CHILDREN = Path(__file__).with_name("fault_children.py")
TIMEOUT = 900  # seconds, after which a child hangs, which is a fault that does not survive


class Outcome(NamedTuple):
    """What became of one fault.

    Attributes:
        kind: of the fault.
        survived: nothing that was acknowledged is lost, and nothing wrong went unsaid.
        identical: the result has the bits of the undisturbed one; None where there is none.
        detail: for whoever looks at a fault that did not survive.
    """

    kind: str
    survived: bool
    identical: bool | None = None
    detail: str = ""


class Child:
    """A process of `tests/fault_children.py`, and the lines that it has said so far."""

    def __init__(self, *words: Any):
        environment = {**os.environ, "PYTHONPATH": str(CHILDREN.parents[1]), "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [sys.executable, str(CHILDREN), *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.lines: list[str] = []
        self.watch = threading.Timer(TIMEOUT, self.process.kill)
        self.watch.start()

    def wait_for(self, *words: str, times: int = 1) -> None:
        """Read until one of the words has begun so many lines, or the process has ended."""
        assert self.process.stdout is not None
        while times and (line := self.process.stdout.readline()):
            self.lines.append(line.rstrip("\n"))
            times -= line.split()[0] in words

    def end(self) -> str:
        """Read what is left, and return what it said on stderr."""
        out, err = self.process.communicate()
        self.lines += out.splitlines()
        self.watch.cancel()
        return err

    def said(self, word: str) -> list[str]:
        """Return what followed a word at the beginnings of lines."""
        return [
            line.removeprefix(word).strip() for line in self.lines if line.split(" ")[0] == word
        ]

    def results(self) -> dict[str, str]:
        return dict(json.loads(said) for said in self.said("result"))


class Place(NamedTuple):
    """Where a job works, and what it compares with.

    Attributes:
        folder: its own.
        cache: of compiled programs, for all jobs.
        unbroken: returns by strategy the digest of a run that nothing happened to.
    """

    folder: Path
    cache: Path
    unbroken: Callable[[], dict[str, str]]


def checked(kind: str, folder: Path, acknowledged: int, problem: str = "") -> Outcome:
    """Look at a folder of `saves`, which holds what was acknowledged, or more, and nothing else.

    Then save once more, as the next process would.
    """
    from jaxsvm.checkpoint import Checkpoint, newest, owned, save

    try:
        assert not problem, problem
        step = newest(folder, step_of) or 0
        assert step >= acknowledged, f"{acknowledged} was acknowledged, and {step} is there"
        with owned(folder):
            save(folder, Checkpoint(step + 1, {}, content(step + 1)), previous=step or None)
        extra = [p.name for p in folder.iterdir() if not p.name.startswith("step-")]
        assert set(extra) <= {".lock", ".owner"}, f"left behind: {extra}"
    except Exception as error:
        return Outcome(kind, False, False, repr(error))
    return Outcome(kind, True, True)


def killed_saves(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """kill -9 of a process that saves all the time; the next one goes on from what it left."""
    outcomes, acknowledged = [], 0
    for _ in range(count):
        child = Child("saves", place.folder)
        child.wait_for("begin", times=rng.randint(1, 12))
        time.sleep(rng.uniform(0, 0.004))
        child.process.kill()
        child.end()
        inside = child.lines[-1].startswith("begin")
        acknowledged = max([acknowledged, *map(int, child.said("end"))])
        kind = "kill -9 inside a checkpoint's write" if inside else "kill -9 between two writes"
        outcomes.append(checked(kind, place.folder, acknowledged))
        acknowledged += 1
    return outcomes


def starved_saves(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Leave a process that saves ever more too little memory, space in a file, or open files."""
    limits = {
        "bytes of memory": ("RLIMIT_AS until it fails", (10**7, 10**8), "Memory"),
        "bytes of a file": ("RLIMIT_FSIZE (file too large)", (20_000, 500_000), "File too large"),
        "open files": ("RLIMIT_NOFILE (too many open files)", (0, 0), "Too many open files"),
    }
    outcomes = []
    for i in range(count):
        limit, (kind, room, words) = list(limits.items())[i % len(limits)]
        child = Child("saves", place.folder, 1.5, limit, rng.randint(*room))
        outcomes.append(failed(kind, child, place.folder, words))
    return outcomes


def failed(kind: str, child: Child, folder: Path, *words: str) -> Outcome:
    """Let a child run into its limit: it says so, with the path where a path is at fault."""
    err = child.end()
    said, ended = child.said("failed"), child.said("end")
    words = words if "Memory" in words else (*words, str(folder))
    told = len(said) == 1 and all(word in said[0] for word in words)
    problem = "" if told else f"expected {words}, said {said} {err[-300:]}"
    return checked(kind, folder, max([0, *map(int, ended)]), problem)


def mount(folder: Path, *options: str) -> bool:
    """Mount something at a folder; return whether that may be done."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True)
    return done.returncode == 0


def small_disk(folder: Path, size: int) -> bool:
    """Put a disk of so many KiB in the place of a folder; return whether that may be done."""
    options = "-t", "tmpfs", "-o", f"size={size}k", "tmpfs"
    return shutil.which("mount") is not None and mount(folder, *options)


def full_disks(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Fill a small disk, and make it read-only; needs the right to mount one."""
    outcomes: list[Outcome] = []
    for i in range(count):
        if not small_disk(place.folder, rng.randint(100, 400)):
            return outcomes
        try:
            if i % 2:
                saves = Child("saves", place.folder)
                saves.wait_for("end", times=3)
                saves.process.kill()
                saves.end()
                mount(place.folder, "-o", "remount,ro")
                child = Child("saves", place.folder)
                child.wait_for("failed")
                mount(place.folder, "-o", "remount,rw")
                kind, words = "a read-only disk", "Read-only file system"
            else:
                child = Child("saves", place.folder, 1.3)
                child.wait_for("failed")
                mount(place.folder, "-o", "remount,size=10m")
                kind, words = "a full disk (tmpfs)", "No space left on device"
            outcomes.append(failed(kind, child, place.folder, words))
        finally:
            subprocess.run(["umount", str(place.folder)], check=True)
    return outcomes


def deleted_folders(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Delete the folder of a process that saves: it says so, and does not make another."""
    outcomes = []
    for i in range(count):
        folder = place.folder / str(i)
        child = Child("saves", folder)
        child.wait_for("end", times=rng.randint(1, 9))
        while folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        err = child.end()
        said = child.said("failed")
        good = len(said) == 1 and str(folder) in said[0] and not folder.exists()
        outcomes.append(Outcome("a folder deleted under the run", good, None, f"{said} {err}"))
    return outcomes


def double_starts(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Start two processes on one folder together: one owns it until it is killed, one is told."""
    outcomes = []
    for i in range(count):
        folder, go = place.folder / str(i), place.folder / f"go {i}"
        two = [Child("owns", folder, go) for _ in range(2)]
        for child in two:
            child.wait_for("ready")
        go.touch()
        for child in two:
            child.wait_for("owned", "failed")
        owners = [child for child in two if child.said("owned")]
        told = [said for child in two for said in child.said("failed")]
        for child in two:
            child.process.kill()
            child.end()
        good = len(owners) == 1 and len(told) == 1 and "is running there" in told[0]
        problem = "" if good else f"{len(owners)} own it, told were {told}"
        found = checked("two runs at once on one folder", folder, 0, problem)
        outcomes.append(found._replace(identical=None))
    return outcomes


def backward_clocks(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Let a process save under a clock that runs backwards, and give its files any dates."""
    outcomes = []
    for i in range(count):
        folder = place.folder / str(i)
        child = Child("saves", folder, 1, "time")
        child.wait_for("end", times=rng.randint(3, 9))
        child.process.kill()
        child.end()
        for path in folder.glob("step-*"):
            os.utime(path, (rng.uniform(0, 2e9),) * 2)
        ended = int(child.said("end")[-1])
        outcomes.append(checked("a clock that runs backwards", folder, ended))
    return outcomes


def told_by_child(place: Place, child: Child, count: int) -> list[Outcome]:
    """Return the outcomes of faults that a child injects into files of its own."""
    err = child.end()
    outcomes = [Outcome(*json.loads(said)) for said in child.said("fault")]
    lost = count - len(outcomes)
    return outcomes + [Outcome("damage", False, False, f"no answer: {err[-500:]}")] * lost


def tiny_archive() -> bytes:
    """Return an archive of a CIFAR-10 of a few images."""
    return tiny_images.archive(*tiny_images.raw_batches("cifar10"))


def damaged_checkpoints(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Cut, flip and swap checkpoints."""
    child = Child("damages", place.folder, count, rng.randrange(10**9))
    return told_by_child(place, child, count)


def damaged_runs(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Cut, flip and swap the files of finished runs of every strategy."""
    child = Child("damaged_runs", place.folder, place.cache, count, rng.randrange(10**9))
    return told_by_child(place, child, count)


def damaged_images(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Cut, flip and swap the files of a prepared dataset and its decoded images."""
    archive, content = place.folder / "archive", tiny_archive()
    archive.write_bytes(content)
    form = rng.choice(["array_record", "tfrecord"])
    with tiny_images.served(content) as url:
        child = Child(
            "damaged_images", place.folder, url, archive, form, count, rng.randrange(10**9)
        )
        return told_by_child(place, child, count)


def damaged_records(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Cut, flip and swap the metrics, the report and the figures of a finished job."""
    child = Child("damaged_records", place.folder, count, rng.randrange(10**9))
    return told_by_child(place, child, count)


SIGNALS = {
    "kill -9 of a run": signal.SIGKILL,
    "SIGTERM of a run": signal.SIGTERM,
    "SIGINT of a run": signal.SIGINT,
}


def killed_runs(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Kill a process that runs every strategy again and again, and compare what it ends with."""
    kinds: list[str] = []
    first = rng.randrange(6)
    while len(kinds) < count:
        kind = rng.choices(list(SIGNALS), [8, 1, 1])[0]
        child = Child("runs", place.folder, place.cache, first)
        child.wait_for("ready")
        time.sleep(rng.uniform(0, 8 / count))
        child.process.send_signal(SIGNALS[kind])
        child.end()
        if child.process.returncode == 0:  # it was faster
            break
        kinds.append(kind)
    return resumed(place, kinds, first)


def killed_solves(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Kill a process that solves to a small gap again and again, and compare what it ends with."""

    def ended(folder: Path) -> tuple[dict[str, str], str]:
        child = Child("solves", folder, place.cache)
        err = child.end()
        return child.results(), err

    expected, _ = ended(place.folder / "unbroken")
    kinds: list[str] = []
    while len(kinds) < count:
        kind = rng.choices(list(SIGNALS), [8, 1, 1])[0]
        child = Child("solves", place.folder / "broken", place.cache)
        child.wait_for("begin", times=rng.randint(1, 20))
        time.sleep(rng.uniform(0, 0.02))
        child.process.send_signal(SIGNALS[kind])
        child.end()
        if child.process.returncode == 0:  # it was faster
            break
        kinds.append(kind.replace("a run", "a solve"))
    found, err = ended(place.folder / "broken")
    same = found == expected and len(found) == 1
    good = same and "Warning" not in err
    return [Outcome(kind, good, same, err[-500:]) for kind in kinds]


def starved_runs(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Leave a process that runs every strategy too little memory.

    It compiles its programs itself: out of its cache of compiled programs, JAX 0.10.2 short of
    memory has loaded some that computed wrong numbers and raised nothing.
    """
    kinds: list[str] = []
    for _ in range(count):
        room, cache = rng.randint(10**6, 6 * 10**7), place.folder / "own cache"
        child = Child("runs", place.folder, cache, 0, "bytes of memory", room)
        child.end()
        if child.process.returncode != 0:
            kinds.append("RLIMIT_AS until a run fails")
    return resumed(place, kinds, 0)


def resumed(place: Place, kinds: list[str], first: int) -> list[Outcome]:
    """Run to the end what faults of these kinds happened to, and compare."""
    child = Child("runs", place.folder, place.cache, first)
    err = child.end()
    same = child.results() == place.unbroken()
    survived = child.process.returncode == 0 and "Warning" not in err
    return [Outcome(kind, survived and same, same, err[-500:]) for kind in kinds]


# The main job's sections here: they end at different times, and the whole in seconds.
JOB = ("templates", "step_size", "local_search")


def job(folder: Path) -> subprocess.Popen[str]:
    """Start the main job of the experiments, or go on with it."""
    command = [sys.executable, "-m", "experiments", "--sections", *JOB, "--seeds", "1"]
    place = ["--out", str(folder), "--name", "job"]
    environment = {**os.environ, "PYTHONPATH": str(CHILDREN.parents[1])}
    return subprocess.Popen(
        [*command, *place], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip


def content_of_job(folder: Path) -> dict[str, Any]:
    """Return what a finished job wrote, but for what a clock decides."""
    from experiments.shared.record import reproducible

    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".png", ".svg", ".jsonl") or path.name == "options.json"
    }
    found["records"] = reproducible(json.loads((folder / "job" / "metrics.json").read_text()))
    found["left behind"] = [
        path.name for name in (".*", "unfinished") for path in folder.rglob(name)
    ]
    return found


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the ids of a job's workers. Linux only."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [
            int(pid)
            for pid in children
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
    return []


def outlives(pid: int, seconds: float = 10.0) -> bool:
    """Return whether a process is still there after some seconds."""
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.1)
    return Path(f"/proc/{pid}").exists()


def hit(process: subprocess.Popen[str], kind: str, rng: random.Random) -> bool:
    """Do to a job what the kind says; return whether it was still there."""
    if kind == "kill -9 of a worker":
        if not (workers := workers_of(process)):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
    else:
        process.send_signal(JOB_SIGNALS[kind])
    return True


JOB_SIGNALS = {
    "kill -9 of the main job": signal.SIGKILL,
    "SIGTERM of the main job": signal.SIGTERM,
    "SIGINT of the main job": signal.SIGINT,
}


def killed_jobs(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """End the main job again and again, its workers too, and compare what it ends with."""
    began = time.monotonic()
    first = job(place.folder)
    err = first.communicate()[1]
    assert first.returncode == 0, err
    lasts, expected = time.monotonic() - began, content_of_job(place.folder)
    outcomes: list[Outcome] = []
    while len(outcomes) < count:
        shutil.rmtree(place.folder / "job")
        kinds: list[str] = []
        problems: list[str] = []
        status = None
        while status != 0:
            kind = rng.choices([*JOB_SIGNALS, "kill -9 of a worker"], [6, 1, 1, 2])[0]
            process = job(place.folder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(1.0, lasts))
            workers = workers_of(process)
            if process.poll() is None and hit(process, kind, rng):
                kinds.append(kind)
            err = process.communicate()[1]
            status = process.returncode
            if status not in (0, 3, 130, 143, -signal.SIGKILL) or "Traceback" in err:
                problems.append(f"{kind}: status {status}, {err[-300:]}")
            problems += [f"{pid} is left" for pid in workers if outlives(pid)]
        same = content_of_job(place.folder) == expected
        good, detail = same and not problems, "; ".join(problems)
        outcomes += [Outcome(kind, good, same, detail) for kind in kinds]
    return outcomes


def damaged_jobs(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Cut, flip and swap what a finished job goes on from, and give its command again.

    A section's damaged result is said, and computed again; damaged records are, and written again.
    With its options in doubt the run is refused.
    """
    folder, copy = place.folder / "job", place.folder.with_name(f"{place.folder.name} copy")
    first = job(place.folder)
    err = first.communicate()[1]
    assert first.returncode == 0, err
    expected = content_of_job(place.folder)
    shutil.copytree(folder, copy)
    names = sorted(
        path.relative_to(copy)
        for path in copy.rglob("*")
        if path.name in ("arrays.npz", "options.json", "metrics.json", "metrics.jsonl")
    )
    outcomes = []
    for _ in range(count):
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        name, other = rng.sample(names, 2)
        kind, changed = damaged(rng, (copy / name).read_bytes(), (copy / other).read_bytes())
        (folder / name).write_bytes(changed)
        process = job(place.folder)
        err = process.communicate()[1]
        same = content_of_job(place.folder) == expected
        if name.name == "options.json":
            told = "options" in err and process.returncode in (2, 5)
        else:
            told = process.returncode == 0 and str(name) in err
        good = told and "Traceback" not in err and (same or name.name == "options.json")
        outcomes.append(
            Outcome(
                f"a job's {name.name} {kind}", good, None if name.name == "options.json" else same,
                f"{name}, status {process.returncode}: {err[-500:]}",
            )
        )  # fmt: skip
    return outcomes


@contextlib.contextmanager
def preparing(folder: Path) -> Iterator[tuple[Callable[..., Child], dict[str, str], float]]:
    """Serve a tiny dataset that children load, each prepared in a folder by its name.

    Yields:
        What starts such a child, the result of one that nothing happened to, and its seconds.
    """
    archive, content = folder / "archive", tiny_archive()
    archive.write_bytes(content)
    with tiny_images.served(content) as url:

        def started(name: str, go: Path = archive) -> Child:
            (folder / name).mkdir(exist_ok=True)
            return Child("prepares", folder / name, url, archive, go)

        alone = started("alone")
        alone.wait_for("ready")
        began = time.monotonic()
        err = alone.end()
        assert alone.results(), err
        yield started, alone.results(), time.monotonic() - began


def double_preparations(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Let two processes prepare and decode one dataset together; every other time, kill one."""
    outcomes = []
    with preparing(place.folder) as (started, expected, lasts):
        for i in range(count):
            go = place.folder / f"go {i}"
            two = [started(str(i), go) for _ in range(2)]
            for child in two:
                child.wait_for("ready")
            go.touch()
            kind = "two processes prepare one dataset"
            if i % 2:
                kind = "kill -9 of one of two that prepare a dataset"
                time.sleep(rng.uniform(0, lasts))
                two[0].process.kill()
                two.pop(0).end()
            two.append(started(str(i)))
            said = [child.end()[-500:] for child in two]
            good = all(child.results() == expected for child in two)
            outcomes.append(Outcome(kind, good, good, str(said)))
    return outcomes


def full_caches(place: Place, rng: random.Random, count: int) -> list[Outcome]:
    """Leave too little room for the decoded images; needs the right to mount a disk."""
    outcomes: list[Outcome] = []
    with preparing(place.folder) as (started, expected, _):
        for i in range(count):
            cache = place.folder / str(i) / "cache"
            cache.mkdir(parents=True)
            if not small_disk(cache, rng.randint(40, 180)):
                return outcomes
            try:
                full = started(str(i))
                last = full.end().strip().splitlines()[-1]
                mount(cache, "-o", "remount,size=10m")
                after = started(str(i))
                err = after.end()
                same = after.results() == expected
                left = [path.name for path in cache.glob("jaxsvm/*/tmp*")]
            finally:
                subprocess.run(["umount", str(cache)], check=True)
            told = "cannot keep the decoded images" in last and "No space left on device" in last
            good = same and told and not left and full.process.returncode == 1
            detail = f"{left} {last} {err[-500:]}"
            outcomes.append(Outcome("a disk too full for decoded images", good, same, detail))
    return outcomes


Kind = Callable[[Place, random.Random, int], list[Outcome]]
# What injects faults, how many a job, and how many jobs of a small and of a large run. The first
# take longest.
KINDS: list[tuple[Kind, int, int, int]] = [
    (killed_jobs, 10, 0, 4),
    (damaged_jobs, 10, 0, 4),
    (killed_runs, 4, 1, 50),
    (killed_solves, 10, 0, 4),
    (damaged_runs, 18, 1, 14),
    (starved_runs, 1, 0, 5),
    (killed_saves, 10, 1, 15),
    (double_starts, 3, 1, 8),
    (starved_saves, 3, 1, 10),
    (full_disks, 2, 1, 10),
    (deleted_folders, 2, 1, 10),
    (backward_clocks, 1, 1, 10),
    (double_preparations, 2, 1, 10),
    (full_caches, 1, 1, 5),
    (damaged_images, 20, 1, 10),
    (damaged_records, 10, 1, 12),
    (damaged_checkpoints, 60, 1, 6),
]


def inject(
    kinds: list[tuple[Kind, int, int, int]], seed: int, *, small: bool, workers: int = 2
) -> Iterator[Outcome]:
    """Do all jobs, some at a time, in folders of their own; yield the outcomes as jobs end."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(workers) as pool:
        cache = Path(name) / "compiled"
        unbroken = pool.submit(results_of_unbroken, cache)
        jobs = []
        for kind, count, few, many in kinds:
            for number in range(few if small else many):
                place = Path(name) / f"{kind.__name__} {number}"
                place.mkdir()
                rng = random.Random(f"{seed} {place.name}")
                jobs.append(pool.submit(kind, Place(place, cache, unbroken.result), rng, count))
        for job in tqdm(as_completed(jobs), total=len(jobs), disable=None):
            yield from job.result()


def results_of_unbroken(cache: Path) -> dict[str, str]:
    child = Child("unbroken", cache, cache)
    err = child.end()
    assert child.process.returncode == 0, err
    return child.results()


def table(outcomes: list[Outcome]) -> str:
    """Return the counts of each kind as a markdown table."""
    lines = ["| fault | injected | survived | bits identical |", "|---|---|---|---|"]
    for kind in sorted({outcome.kind for outcome in outcomes}):
        those = [outcome for outcome in outcomes if outcome.kind == kind]
        bits = [outcome.identical for outcome in those if outcome.identical is not None]
        same = f"{sum(bits)} of {len(bits)}" if bits else "-"
        survived = sum(outcome.survived for outcome in those)
        lines.append(f"| {kind} | {len(those)} | {survived} | {same} |")
    return "\n".join(lines)


def main() -> int:
    """Inject the faults, print the table, and return 1 unless all survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="under a minute, for every day")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="jobs at a time")
    parser.add_argument("--out", type=Path, default=os.devnull, help="a .csv, one row a fault")
    given = parser.parse_args()
    without_jax()
    # A shell has what it starts in the background ignore Ctrl-C, and children would do as it does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("error")  # a checkpoint that is passed over says so by a warning
    outcomes = []
    with open(given.out, "w", newline="", buffering=1) as file:
        rows = csv.writer(file)
        rows.writerow(Outcome._fields)
        for outcome in inject(KINDS, given.seed, small=given.small, workers=given.workers):
            outcomes.append(outcome)
            rows.writerow(outcome)
            if not outcome.survived:
                print(outcome, file=sys.stderr, flush=True)
    print(table(outcomes))
    if not any("disk" in outcome.kind for outcome in outcomes):
        print("\nFull and read-only disks are left out: this process may not mount one.")
    survived = sum(outcome.survived for outcome in outcomes)
    print(f"\nfaults {len(outcomes)} survived {survived}")
    return int(survived < len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
