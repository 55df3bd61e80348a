"""Mutants of the package: which small mistakes do its tests notice?

A mutant is the package with one mistake in one place: ``<=`` for ``<``, ``-`` for ``+``, another
constant, a sign, an index or a slice moved by one, a term or a factor left out, a condition turned
round, a minimum for a maximum. It is killed if a test fails, and survives if none does; a survivor
either changes nothing that anybody was promised, or names a test that is missing.

    python -m tests.mutants mutants.csv --count 300 --workers 2

The choice is fixed by ``--seed``: equal numbers from every room, within it from every file, and
within that of every kind; of a smaller ``--count`` come the first of a larger. Mutants that the
output already holds are skipped, so a run that was cut goes on where it ended. They are made in
temporary copies of the tree, never in the checkout. Each is judged by the test files of `JUDGES`
and the doctests of its own file, up to the first failure. First every set of tests runs on the
package as it is, which must pass. That run sets the time limit (twice its seconds and a minute),
and fills a cache of compiled programs, so that a mutant compiles only what it changes.
"""

import argparse
import ast
import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "lines", "gradients", "optimizers", "certificate")
NEEDED = ("jaxsvm", "tests", "experiments", "pyproject.toml", "README.md", "constraints.txt")
# The tests, the cheapest first, that judge these files of the package.
JUDGES = {
    "data loss gradient edges": "core/arguments",
    "features loss gradient_check": "core/features",
    "line gradient_termwise family": "core/hinges",
    "loss family": "core/losses",
    "loss own_loss": "core/objective",
    "loss gradient line gradient_termwise dual": "core/penalties",
    "landscape": "lines/accuracy lines/directions lines/plane",
    "landscape own_loss": "lines/landscape",
    "line landscape": "lines/floats lines/grid",
    "line line_search": "lines/line",
    "gradient": "gradients/analytic gradients/numerical",
    "gradient_check": "gradients/budget gradients/check",
    "gradient_branches": "gradients/assertions gradients/beside gradients/branches "
    "gradients/claims gradients/function_check gradients/judgement gradients/measure "
    "gradients/piecewise gradients/primitives gradients/question gradients/slopes "
    "gradients/verdict",
    "gradient_check family": "gradients/evidence",
    "gradient_termwise family": "gradients/termwise",
    "optimizer": "optimizers/contract",
    "checkpoint": "core/trees optimizers/identity optimizers/resumable optimizers/run_folder",
    "descent optimizer": "optimizers/descent optimizers/optax optimizers/wrappers",
    "descent": "optimizers/minibatch",
    "line_search": "optimizers/exact_line",
    "search searches pruning optimizer": "optimizers/local_search optimizers/random_search "
    "optimizers/pruned_local_search",
    "digits": "core/digits",
    "digits products": "core/contraction core/products",
    "dual family": "certificate/bound",
    "dual family_optima": "certificate/row_step certificate/ascent certificate/primal_dual "
    "certificate/solve certificate/path",
}
TESTS = {f"jaxsvm/{name}.py": tests for tests, names in JUDGES.items() for name in names.split()}
# What computes nothing: names, types, and sizes that change no result.
NOT_MUTATED = ("__init__.py", "types.py", "blocks.py")
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
PAIRS = "maximum minimum max min argmax argmin cummax cummin any all isfinite isnan left right"
NAMES = dict(zip(PAIRS.split()[::2], PAIRS.split()[1::2], strict=True))
NAMES |= {other: name for name, other in NAMES.items()}
KEY = ("file", "line", "column", "original", "mutated")
Result = tuple[str, str, float]
HERE = threading.local()  # .tree: the copy that a worker may change
UNSEEN = ("annotation", "returns", "decorator_list")


class Mutant(NamedTuple):
    """One mistake: bytes [start, stop) of a file replaced."""

    file: str
    line: int
    column: int
    original: str
    mutated: str
    kind: str
    start: int
    stop: int


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that is computed with: no types, messages or assertions."""
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
        return
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            said = name in UNSEEN or isinstance(child, ast.Raise | ast.Assert | ast.JoinedStr)
            if isinstance(child, ast.AST) and not said:
                yield from walk(child)


def mistakes(node: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Yield (kind, what is replaced, by what) of one node."""
    match node:
        case ast.Compare(left, ops, right):
            for i, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    changed = [*ops[:i], other(), *ops[i + 1 :]]
                    yield "comparison", node, ast.Compare(left, changed, right)
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            yield "arithmetic", node, ast.BinOp(left, ARITHMETIC[type(op)](), right)
            if isinstance(op, ast.Sub):
                yield "sign", node, ast.BinOp(right, op, left)
            if not isinstance(op, ast.Pow | ast.FloorDiv | ast.Mod):
                yield "dropped", node, left
            if isinstance(op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr):
                yield "dropped", node, right
        case ast.AugAssign(target, op, value) if type(op) in ARITHMETIC:
            yield "assignment", node, ast.AugAssign(target, ARITHMETIC[type(op)](), value)
        case ast.UnaryOp(op, operand):
            yield "sign" if isinstance(op, ast.USub) else "condition", node, operand
        case ast.BoolOp(op, values):
            opposite = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "condition", node, ast.BoolOp(opposite, values)
            for i in range(len(values)):
                yield "dropped", node, ast.BoolOp(op, [*values[:i], *values[i + 1 :]])
        case ast.IfExp(test, _, _) | ast.If(test, _, _) | ast.While(test, _, _):
            yield "condition", test, ast.UnaryOp(ast.Not(), test)
        case ast.Call(ast.Attribute(_, "where") as where, [test, yes, no], []):
            yield "condition", node, ast.Call(where, [test, no, yes], [])
        case ast.Slice(lower, upper, _):
            for end in (lower, upper):
                if end is not None and not isinstance(end, ast.Constant):
                    yield "index", end, ast.BinOp(end, ast.Add(), ast.Constant(1))
        case ast.Constant(bool(value)):
            yield "constant", node, ast.Constant(not value)
        case ast.Constant(int(value)):
            yield "constant", node, ast.Constant(value + 1)
            yield "constant", node, ast.Constant(value - 1)
        case ast.Constant(float(value)):
            yield "constant", node, ast.Constant(2 * value if value else 1.0)
            yield "constant", node, ast.Constant(value / 2 if value else -1.0)
        case ast.Attribute(ast.Name("jnp" | "np" | "lax") as value, name) if name in NAMES:
            yield "extremum", node, ast.Attribute(value, NAMES[name])
        case ast.Attribute(value, "left" | "right" as name):
            yield "extremum", node, ast.Attribute(value, NAMES[name])
        case ast.Name(name) if name in ("max", "min", "any", "all"):
            yield "extremum", node, ast.Name(NAMES[name])


def mutants_of(file: str, rng: random.Random) -> list[Mutant]:
    """Return all mutants of a file, the kinds in turn and each of them in random order."""
    source = (ROOT / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    kinds: dict[str, dict[tuple[int, str], Mutant]] = {}
    for node in walk(ast.parse(source)):
        for kind, old, new in mistakes(node):
            assert isinstance(old, ast.expr | ast.stmt)
            assert old.end_lineno is not None
            assert old.end_col_offset is not None
            start = starts[old.lineno - 1] + old.col_offset
            stop = starts[old.end_lineno - 1] + old.end_col_offset
            text = ast.unparse(new)
            found = Mutant(
                file, old.lineno, old.col_offset, ast.unparse(old), text, kind, start, stop
            )
            kinds.setdefault(kind, {})[start, text] = found
    lists = [list(found.values()) for found in kinds.values()]
    for mutants in lists:
        rng.shuffle(mutants)
    rng.shuffle(lists)
    return in_turn(lists)


def in_turn(lists: list[list[Mutant]]) -> list[Mutant]:
    """Return the first of every list, then the second of every list, and so on."""
    return [mutant for row in zip_longest(*lists) for mutant in row if mutant is not None]


def chosen(count: int, seed: int, only: str) -> list[Mutant]:
    """Return the mutants of a run, evenly from every room and file that begins with ``only``."""
    rooms: dict[str, list[list[Mutant]]] = {room: [] for room in ROOMS}
    for room, files in rooms.items():
        for path in sorted((ROOT / "jaxsvm" / room).glob("*.py")):
            file = path.relative_to(ROOT).as_posix()
            if path.name not in NOT_MUTATED and file.startswith(f"jaxsvm/{only}"):
                assert file in TESTS, f"{file} has no entry in JUDGES"
                files.append(mutants_of(file, random.Random(f"{seed} {file}")))
    return in_turn([in_turn(files) for files in rooms.values()])[:count]


def settle(folder: str) -> None:
    """Give this thread a copy of the tree."""
    HERE.tree = Path(tempfile.mkdtemp(dir=folder))
    for name in NEEDED:
        if (ROOT / name).is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, HERE.tree / name, ignore=skipped)
        else:
            shutil.copy(ROOT / name, HERE.tree / name)


def judge(file: str, limit: float | None, cache: str) -> Result:
    """Run the tests of a file: (survived, killed or timeout; by which test; seconds).

    What is compiled without a limit goes into the cache, with one it is only taken from there.
    """
    tests = [f"tests/test_{test}.py" for test in TESTS[file].split()]
    options = "-x -q -n 0 --tb=no -rfE -p no:cacheprovider --hypothesis-profile=mutants"
    settings = {
        "PYTHONPATH": str(HERE.tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if limit is None else "1e9",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options.split(), "-m", "not cifar10", *tests, file],
        cwd=HERE.tree, env=os.environ | settings, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timeout", "", time.monotonic() - begin
    seconds = time.monotonic() - begin
    if process.returncode == 0:
        return "survived", "", seconds
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
    return "killed", failed[1] if failed else output[-300:], seconds


def judge_mutant(mutant: Mutant, limit: float, cache: str) -> Result:
    """Put the mistake into this thread's copy, judge it, and take it out again."""
    path = HERE.tree / mutant.file
    source = path.read_bytes()
    text = mutant.mutated if mutant.kind == "assignment" else f"({mutant.mutated})"
    path.write_bytes(source[: mutant.start] + text.encode() + source[mutant.stop :])
    try:
        return judge(mutant.file, limit, cache)
    finally:
        path.write_bytes(source)


def judge_all(waiting: list[Mutant], workers: int) -> Iterator[tuple[Mutant, Result]]:
    """Yield every mutant with its result, as they are done."""
    one_of = {TESTS[mutant.file]: mutant.file for mutant in waiting}
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as cache,
        ThreadPoolExecutor(workers, initializer=settle, initargs=(folder,)) as pool,
    ):
        clean = {tests: pool.submit(judge, file, None, cache) for tests, file in one_of.items()}
        for tests, future in clean.items():
            outcome, by, seconds = future.result()
            print(f"{outcome:8} {seconds:4.0f} s  no mistake, {tests}", flush=True)
            if outcome != "survived":
                pool.shutdown(cancel_futures=True)
                raise SystemExit(f"the package as it is fails {by}")
        jobs = {}
        for mutant in waiting:
            limit = 60 + 2 * clean[TESTS[mutant.file]].result()[2]
            jobs[pool.submit(judge_mutant, mutant, limit, cache)] = mutant
        for future in as_completed(jobs):
            yield jobs[future], future.result()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="a CSV file, made or continued")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="files that begin so: core, or lines/grid")
    options = parser.parse_args()

    mutants = chosen(options.count, options.seed, options.only)
    with options.output.open("a+", newline="") as file:
        file.seek(0)
        rows = list(csv.DictReader(file))
        table = csv.DictWriter(file, [*KEY, "kind", "outcome", "test", "seconds"])
        if not rows:
            table.writeheader()
        known = {tuple(row[name] for name in KEY) for row in rows}
        waiting = [mutant for mutant in mutants if tuple(map(str, mutant[: len(KEY)])) not in known]
        for mutant, (outcome, by, seconds) in judge_all(waiting, options.workers):
            row = dict(zip([*KEY, "kind"], map(str, mutant), strict=False))
            row |= {"outcome": outcome, "test": by, "seconds": f"{seconds:.0f}"}
            table.writerow(row)
            file.flush()
            rows.append(row)
            change = f"{mutant.original}  ->  {mutant.mutated}"
            print(
                f"{outcome:8} {seconds:4.0f} s  {mutant.file}:{mutant.line}  {change}  {by}",
                flush=True,
            )

    counts = Counter((row["file"].split("/")[1], row["outcome"]) for row in rows)
    for room in dict.fromkeys(room for room, _ in counts):
        print(room, *(f"{counts[room, o]} {o}" for o in ("killed", "survived", "timeout")))


if __name__ == "__main__":
    main()
