"""`jaxsvm.solve` beside other packages, each on an objective that both minimize.

A comparison is an objective on a dataset, and a tolerance. `solve` ends where it has proved it. A
peer proves nothing, so it is told: it is fitted from the start with more and more effort until its
objective, taken by jaxsvm in float64, is that close to a bound, or until a fit takes too long or
the next one would. Its row has the seconds of the last fit alone. The bound is proved by a longer
solve, so that the bound's own gap uses up a quarter of the tolerance at most.

Compilation is left out, and so are imports; what a package makes of X belongs to its fit. Where
more than a point of test accuracy lies between two W within the tolerance, a note says so.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsvm
from experiments.benchmark import svm_peers
from experiments.benchmark.harness import Config, Row, compare, row_of
from experiments.benchmark.svm_peers import CS, OVR, SQUARED, WW, Apart, Peer
from experiments.shared.recipes import loss
from experiments.shared.timing import timed
from jaxsvm import Data, Dataset, Objective
from jaxsvm.core import FAMILY
from jaxsvm.core.features import astype

FIRST_EFFORT, MOST_EFFORT = 2, 2**20
FAR = 10  # times the tolerance, beyond which effort grows fourfold instead of twofold
SHARPER = 4  # times smaller than the tolerance is the bound's own gap
MOST_BYTES = 8e9  # that a peer may make of X
POINTS = 1.0  # of test accuracy that may lie between two good W


class Table(NamedTuple):
    """The comparisons on one dataset.

    Attributes:
        dataset: its name.
        losses: names of `FAMILY`.
        tolerances: a relative gap for each reg; None is 1/(2·N), scikit-learn's C = 1.
        limit: seconds that one fit of a peer may take, if the config allows as many.
        small: whether fits are short: those that reach the tolerance are timed again, in turns,
            and none has to be ended from outside.
    """

    dataset: str
    losses: tuple[str, ...]
    tolerances: dict[float | None, float]
    limit: float
    small: bool


ALL = (WW, CS, OVR, SQUARED)
FULL = (
    Table("digits", ALL, {1e-2: 1e-3, 1e-4: 1e-3, None: 1e-3}, limit=10.0, small=True),
    Table("cifar10", ALL, {1e-2: 1e-3, 1e-4: 1e-2, None: 1e-2}, limit=60.0, small=False),
)
TINY = (Table("digits", (WW, OVR), {1e-2: 0.5}, limit=0.1, small=True),)


class Task(NamedTuple):
    """One comparison: an objective on data, which the peers get from X and y or hold ``apart``."""

    table: Table
    loss: str
    reg: float
    tolerance: float
    data: Dataset
    X: np.ndarray
    y: np.ndarray
    apart: Apart | None

    @property
    def objective(self) -> Objective:
        return Objective(loss=FAMILY[self.loss], reg=self.reg)


class Fit(NamedTuple):
    """What came out of one fit: the gap above the bound is relative to the objective at W."""

    effort: int
    seconds: float
    gap: float
    accuracy: float


class Entrant(NamedTuple):
    """A row to be: who, in what dtype, the call, its fits, and whether the last one will do."""

    name: str
    dtype: str
    call: Callable[[], Any]
    fits: list[Fit]
    reached: bool


@lru_cache
def load(name: str) -> Dataset:
    return jaxsvm.load_dataset(name, scale=1 / 128, validation=0)


def accurate(share: float) -> str:
    return f"test accuracy {100 * share:.2f} %"


def solver(objective: Objective, data: Dataset, tolerance: float) -> Callable[..., jaxsvm.Solution]:
    """Return the call of `solve`, compiled."""
    C = len(data.class_names)
    call = partial(jaxsvm.solve, data=data.train, gap_tolerance=tolerance, num_classes=C)
    # The short run is to end early.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        call(replace(objective, reg=0.9 * float(objective.reg)), max_passes=10)
    return partial(call, objective)


def run(part: str, config: Config) -> list[Row]:
    """Return the rows of every comparison."""
    peers = svm_peers.installed()
    return [row for task in tasks(config) for row in compared(part, task, peers, config)]


def tasks(config: Config) -> Iterator[Task]:
    for table in FULL if config.full else TINY:
        table = table._replace(limit=min(table.limit, config.fit_seconds))
        data = load(table.dataset)
        X, y = np.asarray(data.train.X, np.float32), np.asarray(data.train.y)
        with nullcontext() if table.small else closing(Apart(X, y)) as apart:
            for loss in table.losses:
                for reg, tolerance in table.tolerances.items():
                    yield Task(table, loss, reg or 1 / (2 * len(y)), tolerance, data, X, y, apart)


def compared(part: str, task: Task, peers: list[Peer], config: Config) -> list[Row]:
    """Return the rows of one comparison, that of `solve` first; it has the notes."""
    work = f"{task.table.dataset}, {task.loss}, reg {task.reg:.2g}, to a gap of {task.tolerance:g}"
    print(f"comparing: {work}", flush=True)
    ours, judge = solved(task)
    able = [peer for peer in peers if task.loss in peer.options]
    large = {peer.name: size for peer in able if (size := peer.bytes(*shape(task))) > MOST_BYTES}
    entrants = [ours, *(climbed(task, peer, judge) for peer in able if peer.name not in large)]
    notes = [
        f"{name}: left out, its rows would take {size / 1e9:.0f} GB" for name, size in large.items()
    ]
    notes += says_nothing(task, entrants)

    again = {e.name: e.call for e in entrants if e.reached and task.table.small}
    rows = compare(part, work, again, config) if again else []
    rows += [
        row_of(part, work, e.name, [e.fits[-1].seconds]) for e in entrants if e.name not in again
    ]
    dtypes = {e.name: e.dtype for e in entrants}
    rows = [row._replace(dtype=dtypes[row.peer]) for row in rows]
    return [rows[0]._replace(note="; ".join(notes)), *rows[1:]]


def shape(task: Task) -> tuple[int, int, int]:
    """Return (N, D, C)."""
    N, D = task.data.train.X.shape
    return N, D, len(task.data.class_names)


def solved(task: Task) -> tuple[Entrant, Callable[[Any], tuple[float, float]]]:
    """Run `solve`; return it, and what takes any W to its gap and its test accuracy."""
    objective, data = task.objective, task.data
    call = solver(objective, data, task.tolerance)
    solution, seconds = timed(call)
    bound = call(gap_tolerance=task.tolerance / SHARPER, start=solution).dual

    def judge(W: Any) -> tuple[float, float]:
        right = float(jaxsvm.accuracy(jnp.asarray(W, jnp.float32), data.test))
        with jax.enable_x64(True):
            wide = Data(astype(data.train.X, jnp.float64), data.train.y)
            value = loss(objective, np.asarray(W, np.float64), wide)
        return (value - bound) / value, right

    fit = Fit(solution.passes, seconds, *judge(solution.W))
    proved = f"proved {solution.gap / solution.primal:.1e}"
    name = f"jaxsvm.solve: {proved}, gap {fit.gap:.1e}, {accurate(fit.accuracy)}"
    return Entrant(name, "float32", call, [fit], True), judge


def fitter(task: Task, peer: Peer) -> Callable[[int], tuple[Any, float] | None]:
    """Return what takes an effort to W and seconds, or to None where that takes too long."""
    if task.apart:
        return partial(task.apart, task.table.limit, peer.name, task.loss, task.reg)
    X = task.X.astype(peer.dtype)
    return partial(timed, partial(peer.call, task.loss, X, task.y, task.reg))


def climbed(task: Task, peer: Peer, judge: Callable[[Any], tuple[float, float]]) -> Entrant:
    """Fit a peer with more and more effort, until it is near enough or takes too long."""
    fit, limit, effort = fitter(task, peer), task.table.limit, FIRST_EFFORT
    fits: list[Fit] = []
    while effort <= MOST_EFFORT and (fitted := fit(effort)):
        W, seconds = fitted
        fits.append(Fit(effort, seconds, *judge(W)))
        gap = fits[-1].gap
        factor = 4 if gap > FAR * task.tolerance and 4 * seconds < limit else 2
        if gap <= task.tolerance or factor * seconds > limit:
            break
        effort *= factor
    if not fits:
        unfinished = Fit(effort, limit, np.nan, np.nan)
        name = f"{peer.name}: NOT reached, no fit ended within {limit:g} s"
        return Entrant(name, peer.dtype, partial(fit, effort), [unfinished], False)
    last = fits[-1]
    reached = last.gap <= task.tolerance
    how = f"{'' if reached else 'NOT reached, '}gap {last.gap:.1e} with effort {last.effort}"
    name = f"{peer.name}: {how}, {accurate(last.accuracy)}"
    return Entrant(name, peer.dtype, partial(fit, last.effort), fits, reached)


def says_nothing(task: Task, entrants: list[Entrant]) -> list[str]:
    """Return the range of test accuracy within the tolerance, if it is wide."""
    near = [100 * fit.accuracy for e in entrants for fit in e.fits if fit.gap <= task.tolerance]
    if not near or max(near) - min(near) <= POINTS:
        return []
    return [
        f"test accuracy means nothing here: {min(near):.1f} to {max(near):.1f} % among W within "
        f"{task.tolerance:g} of the bound"
    ]
