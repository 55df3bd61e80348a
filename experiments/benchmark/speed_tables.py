"""What README.md shows of the benchmark: a few rows of each part, beside their peers.

A `Line` says which rows of a part's record make one row of a table. Nothing is measured here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.benchmark import harness, svm_table
from experiments.benchmark.harness import Limits, Row
from experiments.shared.text import table

_SOLVED = re.compile(r"proved (\S+), gap \S+, test accuracy (.+)$")
_TRIED = re.compile(r"^(.+): (?:NOT reached, )?gap (\S+) with effort")


class Line(NamedTuple):
    """A row of a table.

    Attributes:
        words: what is done.
        work: how the work's name begins in the record.
        ours: how the name of our row begins there.
        peers: how theirs begin, by the words for them.
        limit: what our row is compared with, where its work is counted.
    """

    words: str
    work: str
    ours: str
    peers: Mapping[str, str] = {}
    limit: str = ""


_LISTINGS = {"NumPy's listing": "numpy, the notes' listing",
             "PyTorch's": "torch, the notes' listing"}  # fmt: skip
_LOOPS = {"optax's loop": "optax's loop", "NumPy": "numpy", "PyTorch": "torch"}
LINES = {
    "landscape": (
        Line("loss and accuracy over a plane of 1024 × 1024 points, all examples",
             "plane 1024 x 1024", "jaxsvm, slice_2d",
             {"a jitted, vmapped loss": "direct",
              "`loss-landscapes` on PyTorch": "loss-landscapes"}),
        Line("its memory beyond X", "peak memory of a plane 1024 x 1024", "jaxsvm"),
        Line("the exact best step along the gradient", "best step along the gradient",
             "jaxsvm, two products",
             {"optax's backtracking": "optax backtracking, defaults",
              "up to 100 evaluations of it": "optax backtracking, from 1000 × best, factor"}),
    ),
    "gradient": (
        Line("central difference of the objective, all 30,730 coordinates, all examples",
             "central difference", "jaxsvm, termwise, bytes",
             {"the notes' NumPy loop": "NumPy loop",
              "black-box `numerical_gradient`": "numerical_gradient, bytes"}),
        Line("a verdict on every coordinate, `check_gradient`", "closed form, and the check",
             "check_gradient"),
    ),
    "descent": (
        Line("the loss, from bytes", "loss, all data", "jaxsvm, bytes",
             {"NumPy's best layout": "numpy, X by columns", "PyTorch": "torch"}, "the roofline"),
        Line("loss and gradient, from bytes", "loss and gradient, all data", "jaxsvm, bytes",
             {"NumPy": "numpy", "PyTorch": "torch"}, "the roofline"),
        *(Line(f"a step on {num} random row{'s' * (num > 1)}, from bytes",
               f"mini-batch step, {num} random rows", "jaxsvm, bytes", _LOOPS)
          for num in (1, 32, 256, 1024)),
        Line("loss and gradient, from floats", "loss and gradient, all data", "jaxsvm, float32",
             {"NumPy": "numpy", "PyTorch": "torch"}, "the roofline"),
        *(Line(f"a step on {num} random rows, from floats", f"mini-batch step, {num} random rows",
               "jaxsvm, float32", _LOOPS) for num in (256, 1024)),
        *(Line(f"peak memory of training from {form}, X included",
               f"peak memory of training from {form}", "jaxsvm") for form in ("bytes", "floats")),
    ),
    "search": (
        Line("a candidate of `random_search`", "random_search, one candidate", "jaxsvm, bytes",
             _LISTINGS | {"a vmapped loss": "jax, plain vmap"},
             "the float32 product's peak"),
        Line("a draw of `pruned_random_search`, of 1000", "random search, a draw of 1000",
             "jaxsvm, pruned_random_search", {"`random_search`": "jaxsvm, random_search"}),
        Line("a trial of `local_search`, from bytes", "local_search, one candidate",
             "jaxsvm, bytes", _LISTINGS),
        Line("a trial of `local_search`, from floats", "local_search, one candidate",
             "jaxsvm, float32", _LISTINGS),
        Line("a trial of `pruned_local_search`, of 1000 on CIFAR-10",
             "local search of images, a trial of 1000", "jaxsvm, pruned_local_search",
             {"`local_search`": "jaxsvm, local_search"}),
        Line("a trial of each of 8 `local_searches`", "local searches, a trial of each",
             "8, local_searches",
             {"8 keys by `jax.vmap`": "8, vmap over keys", "one search's": "one"}),
        Line("a trial of each of 32 `local_searches`", "local searches, a trial of each",
             "32, local_searches", {"one search's": "one"}),
    ),
}  # fmt: skip
STARTS = {
    "solve": "`solve`",
    "fit": "`python -m experiments.fit`",
    "the notes, whole": "`python -m experiments`, whole",
}


def tables(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables of a record of the benchmark, by name, each below its command.

    Raises:
        LookupError, TypeError: it is no such record.
    """
    rows, limits = [Row(**row) for row in record["rows"]], Limits(**record["limits"])
    machine = record["machine"]
    # Where it wrote to is no matter, nor where another Python is.
    command = re.sub(r" --out[ =]\S+", "", " ".join(record["command"]))
    command = re.sub(r"( --landscapes-python)[ =]\S+", r"\1 PYTHON", command)
    platform, _, kind = machine["device"].partition(": ")
    on_cpu = platform == "cpu"
    where = f"{machine['cores']} cores of {machine['processor']}"
    if not on_cpu:
        where = f"{kind}; NumPy on {where}"
    made = f"`{command}` ({where}, JAX {machine['versions']['jax']}):\n\n"
    found = {}
    for part, lines in LINES.items():
        cells = [shown(line, [row for row in rows if row.part == part], limits) for line in lines]
        found[part] = _table("work | ours | peers, times ours", cells)
    found["start"] = _starts([row for row in rows if row.part == "start"])
    for dataset in ("cifar10", "digits"):
        found[f"dual, {dataset}"] = _solved(dataset, [row for row in rows if row.part == "dual"])
    suffix = "" if on_cpu else f", {platform}"
    return {f"{name}{suffix}": f"{made}{text}\n" for name, text in found.items() if text}


def shown(line: Line, rows: Sequence[Row], limits: Limits) -> tuple[str, ...]:
    """Return a row's cells; none where the record has not measured it."""
    rows = [row for row in rows if row.work.startswith(line.work)]
    ours = next((row for row in rows if row.peer.startswith(line.ours)), None)
    if ours is None:
        return ()
    cell = harness.show(ours, ours.median)
    if line.limit:
        cell += f", {harness.share_of_limit(ours, limits)} of {line.limit}"
    peers = []
    for words, name in line.peers.items():
        for peer in [row for row in rows if row.peer.startswith(name)][:1]:
            peers.append(f"{words} {_times(peer.median / ours.median)}{_reached(peer)}")
    return line.words, cell + _reached(ours), "; ".join(peers) or "-"


def _reached(row: Row) -> str:
    return "" if row.reached is None else f", reaches {row.reached:.6g}"


def _times(ratio: float) -> str:
    """Return a ratio with two digits, three where it is large."""
    return f"{float(f'{ratio:.3g}'):,g}" if ratio >= 100 else f"{ratio:.2g}"


def _table(header: str, cells: Sequence[tuple[str, ...]]) -> str:
    measured = [row for row in cells if row]
    return table(header, measured) if measured else ""


def _starts(rows: Sequence[Row]) -> str:
    seconds = {(row.work, row.peer.removeprefix("jaxsvm, ")): row.median for row in rows}
    kinds = "nothing kept", "first run", "second run"
    cells = [
        (words, *(f"{seconds[work, kind]:.2g} s" for kind in kinds))
        for work, words in STARTS.items()
        if (work, kinds[0]) in seconds
    ]
    return _table(" | ".join(["what", *kinds]), cells)


def _solved(dataset: str, rows: Sequence[Row]) -> str:
    """The certified solver beside its peers: how near each came, or how much longer it took."""
    (known,) = (found for found in svm_table.FULL if found.dataset == dataset)
    cells: list[tuple[str, ...]] = []
    for loss in known.losses:
        begin = f"{dataset}, {loss}, reg "
        works = dict.fromkeys(row.work for row in rows if row.work.startswith(begin))
        for reg, work in zip(known.tolerances, works, strict=False):
            ours, *peers = [row for row in rows if row.work == work]
            what = loss, "1/(2·N)" if reg is None else f"{reg:g}"
            time = harness.show(ours, ours.median)
            if known.small:
                cells.append((*what, time, _beside(ours, peers)))
            else:
                cells.append((*what, *_SOLVED.findall(ours.peer)[0], time, _nearest(peers)))
    header = "loss | reg | `solve` | peers, times ours"
    if not known.small:
        header = (
            "loss | reg | `solve`: proved relative gap | test accuracy | time | "
            "nearest peer: its distance from the bound"
        )
    return _table(header, cells)


def _beside(ours: Row, peers: Sequence[Row]) -> str:
    """Those that came as near as they were asked to, and how much longer it took them."""
    near = [row for row in peers if "NOT reached" not in row.peer]
    texts = (f"{row.peer.split(':')[0]} {_times(row.median / ours.median)}" for row in near)
    return "; ".join(texts) or "-"


def _nearest(peers: Sequence[Row]) -> str:
    """The one that came nearest before its fits took too long."""
    tried = [(found, row) for row in peers if (found := _TRIED.match(row.peer))]
    if not tried:
        return "-"
    found, row = min(tried, key=lambda pair: float(pair[0][2]))
    return f"{found[1]} {100 * float(found[2]):.2g} % after {harness.show(row, row.median)}"
