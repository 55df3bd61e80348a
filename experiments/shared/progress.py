"""One run of an optimizer, watched: a progress bar, the path, the seconds, and where it diverged.

The run is cut into chunks that are compiled once. Its bits are those of one `jaxsvm.run`, also
where it goes on from what an earlier process kept of it (`kept_runs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from experiments.shared.kept_runs import KeptRun
from experiments.shared.timing import agreed, timed
from jaxsvm import Data, Optimizer
from jaxsvm.core.trees import digests, restored, stored
from jaxsvm.optimizers.contract import advance
from jaxsvm.optimizers.divergence import Divergence, find_divergence
from jaxsvm.processes import Packed

# A run has about this many chunks; a chunk that lasts longer than this is cut further.
NUM_CHUNKS, LONGEST_CHUNK_SECONDS = 20, 5.0
WORTH_KEEPING_SECONDS = 1.0  # of a run that has ended, in a section that has not


class Progress(NamedTuple):
    """What `progress_run` returns.

    Attributes:
        state: after the last step or, of a run that diverged, after the last step that is known
            to have led to a good loss.
        info: the steps' info as NumPy arrays, cut before the first bad step.
        seconds: (steps,) running time after each step, without compilation; measured at the ends
            of the chunks and linear between them.
        path_steps: (k,) after how many steps `path` was taken: 0, and the ends of about
            ``num_chunks`` equal parts.
        path: (k, ...) where the run stood then.
        divergence: None, or where the loss stopped making sense.
    """

    state: Any
    info: Any
    seconds: np.ndarray
    path_steps: np.ndarray
    path: Any
    divergence: Divergence | None

    @property
    def path_seconds(self) -> np.ndarray:
        """(k,) running time at each point of the path."""
        return np.append(0.0, self.seconds)[self.path_steps]


_advance = jax.jit(advance, static_argnames=("optimizer", "num_steps"))


def _chunk(optimizer: Optimizer, num_steps: int, num_chunks: int) -> int:
    """Return how many steps are run at once: about one of so many parts, in whole blocks."""
    block = optimizer.block_size
    return max(1, -(-num_steps // (num_chunks * block))) * block


def _started(optimizer: Optimizer, params: Any, data: Data) -> Any:
    """Return the state at the start, of the very types that the states after it have."""
    state = jax.jit(optimizer.init)(params, data)
    # A Python number in an `init` is a weakly typed array, for which another program is compiled.
    return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype) if leaf.weak_type else leaf, state)


def _compiled(
    optimizer: Optimizer, key: Array, state: Any, data: Data, start: int, size: int
) -> Any:
    """Return the program that takes ``size`` steps; kept by JAX, so that it is made once."""
    return _advance.lower(optimizer, key, state, data, start, num_steps=size).compile()


def prepare_run(
    optimizer: Optimizer, params: Any, data: Data, num_steps: int, *, num_chunks: int = NUM_CHUNKS
) -> None:
    """Compile what `progress_run` with the same arguments will run."""
    state = _started(optimizer, params, data)
    size = min(_chunk(optimizer, num_steps, num_chunks), num_steps)
    for one in {size, num_steps % size or size}:  # the last chunk may be shorter
        _compiled(optimizer, jax.random.key(0), state, data, 0, one)


def progress_run(
    optimizer: Optimizer,
    key: Array,
    params: Any,
    data: Data,
    num_steps: int,
    *,
    description: str = "",
    num_chunks: int = NUM_CHUNKS,
) -> Progress:
    """Run an optimizer with a progress bar; stop where it diverges.

    Args:
        optimizer: whose info has a field ``loss`` or ``best_loss``.
        key: of the run.
        params: the start.
        data: the examples.
        num_steps: how many steps, ≥ 1.
        description: what the bar says.
        num_chunks: into about how many parts the run is cut; a part that takes long is run in
            pieces, for the bar.

    Returns:
        The state, the info of every step, the seconds, the path, and where the run diverged.
    """
    block = optimizer.block_size
    chunk = stage = _chunk(optimizer, num_steps, num_chunks)
    state = _started(optimizer, params, data)
    kept = KeptRun(
        {
            "what": description, "num_steps": num_steps, "num_chunks": num_chunks,
            "key": jax.random.key_data(key).tolist(), "start": digests(params),
        }
    )  # fmt: skip
    course = kept.newest(partial(_unpacked, optimizer, key, state, data)) or _Course(
        state, state, 0, [], [0], [0.0], [0], [_host(state.params)]
    )
    divergence, programs = None, {}
    with tqdm(total=num_steps, desc=description, disable=None, leave=False, delay=1) as bar:
        bar.update(course.num_steps)
        while (start := course.num_steps) < num_steps:
            # Where the path is taken must not depend on the machine's speed: runs are compared.
            size = min(chunk, num_steps - start, stage - start % stage)
            now = key, course.state, data, start
            if size not in programs:  # to look for a program takes as long as many a chunk
                programs[size] = _compiled(optimizer, *now, size)
            try:
                (state, info), took = timed(programs[size], *now)
                took = agreed(took)  # all processes cut a run alike
            except KeyboardInterrupt:
                kept.save(start, course.packed)
                raise
            info = _host(info)
            if divergence := find_divergence(info, start, course.infos):
                bad = divergence.step - start
                state = _last_good(course, divergence, optimizer, key, data)
                info = jax.tree.map(lambda leaf, n=bad: leaf[:n], info)
                course.add(state, info, bad, took * bad / size)
                break
            course.add(state, info, size, took)
            if course.num_steps % stage == 0 or course.num_steps == num_steps:
                course.mark()
            bar.update(size)
            if took > LONGEST_CHUNK_SECONDS:
                chunk = max(1, int(chunk / took) // block) * block
            kept.save_if_due(course.num_steps, course.packed)
    if divergence is None and course.seconds[-1] > WORTH_KEEPING_SECONDS:
        kept.save_if_due(course.num_steps, course.packed, is_worth_it=True)
    return course.progress(divergence)


@dataclass
class _Course:
    """A run until now.

    Attributes:
        state: after the last chunk.
        before: after the chunk before.
        since: how many steps ``before`` has taken.
        infos: of each chunk.
        ends: after how many steps each chunk ended, 0 first.
        seconds: at each of these ends.
        path_steps: as in `Progress`.
        path: params at each of these.
    """

    state: Any
    before: Any
    since: int
    infos: list[Any]
    ends: list[int]
    seconds: list[float]
    path_steps: list[int]
    path: list[Any]

    @property
    def num_steps(self) -> int:
        """How many steps there have been."""
        return self.ends[-1]

    @property
    def info(self) -> Any:
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *self.infos)

    def add(self, state: Any, info: Any, size: int, took: float) -> None:
        """Add a chunk: the state after it, its info, its number of steps and its seconds."""
        self.before, self.since, self.state = self.state, self.num_steps, state
        self.infos.append(info)
        self.ends.append(self.num_steps + size)
        self.seconds.append(self.seconds[-1] + took)

    def mark(self) -> None:
        """Add where the run stands to its path."""
        self.path_steps.append(self.num_steps)
        self.path.append(_host(self.state.params))

    def progress(self, divergence: Divergence | None) -> Progress:
        """Return what there is to say of it."""
        return Progress(
            state=self.state,
            info=self.info,
            seconds=np.interp(np.arange(1, self.num_steps + 1), self.ends, self.seconds),
            path_steps=np.asarray(self.path_steps),
            path=_stack(self.path),
            divergence=divergence,
        )

    def packed(self) -> Packed:
        """Return what JSON can say of it, and its arrays."""
        counts = {name: getattr(self, name) for name in ("since", "ends", "seconds", "path_steps")}
        trees = {"state": self.state, "before": self.before, "path": _stack(self.path)}
        return counts, stored({**trees, "info": self.info})


def _last_good(
    course: _Course, divergence: Divergence, optimizer: Optimizer, key: Array, data: Data
) -> Any:
    """Return the state after the last step that is known to have led to a good loss.

    A step reports the loss that it started from, so it is the one before the bad one.
    """
    start = course.num_steps
    at_once = divergence.step == start
    since, state = (course.since, course.before) if at_once else (start, course.state)
    if (extra := divergence.step - 1 - since) > 0:
        state, _ = _advance(optimizer, key, state, data, since, num_steps=extra)
    return state


def _unpacked(optimizer: Optimizer, key: Array, state: Any, data: Data, packed: Packed) -> _Course:
    """Return the course that was packed, of the run that starts from ``state``.

    Raises:
        ValueError: the arrays are not of this run.
    """
    counts, arrays = packed

    def many(form: Any, count: int) -> Any:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), form
        )

    def first_info(state: Any) -> Any:
        _, info = advance(optimizer, key, state, data, 0, num_steps=1)
        return jax.tree.map(lambda leaf: leaf[0], info)

    info = jax.eval_shape(first_info, state)
    num_steps, num_points = counts["ends"][-1], len(counts["path_steps"])
    found = restored(
        {
            "state": state,
            "before": state,
            "path": many(state.params, num_points),
            "info": many(info, num_steps),
        },
        arrays,
    )
    path = [
        jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), found["path"])
        for i in range(num_points)
    ]
    infos = [_host(found["info"])]
    return _Course(found["state"], found["before"], infos=infos, path=path, **counts)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def stacked(rows: Sequence[Any]) -> np.ndarray:
    """Return rows as one array; those of runs that diverged are filled up with NaN.

    >>> stacked([np.array([1, 2]), np.array([3])])
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    longest = max(map(len, rows))
    if all(len(row) == longest for row in rows):
        return np.stack(rows)
    return np.stack([np.append(row, np.full(longest - len(row), np.nan)) for row in rows])


def divergences(diverged: Sequence[bool] | np.ndarray) -> str:
    """Return what a table says about the seeds that diverged; nothing where none did."""
    count, seeds = int(np.sum(diverged)), len(diverged)
    return f"diverged in {count} of {seeds} seeds" if count else ""


def run_seeds(
    optimizer: Optimizer, W: Array, data: Data, num_steps: int, seeds: int, description: str
) -> list[Progress]:
    """Run an optimizer from W once a seed."""
    return [
        progress_run(
            optimizer, jax.random.key(seed), W, data, num_steps,
            description=f"{description}, seed {seed}",
        )
        for seed in range(seeds)
    ]  # fmt: skip
