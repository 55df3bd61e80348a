"""One run of an optimizer, watched: a progress bar, the path, the seconds, and where it diverged.

The run is cut into chunks that are compiled once. Its bits are those of one `jaxsvm.run`.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from experiments.shared.timing import timed
from jaxsvm import Data, Optimizer
from jaxsvm.optimizers.contract import advance

# A run has about this many chunks; a chunk that lasts longer than this is cut further.
NUM_CHUNKS, LONGEST_CHUNK_SECONDS = 20, 5.0


class Divergence(NamedTuple):
    """Where a run stopped making sense.

    Attributes:
        step: the first whose loss was not finite.
        loss: there; NaN or infinite.
        step_size: that led there; NaN where the optimizer tells none.
    """

    step: int
    loss: float
    step_size: float

    def describe(self) -> str:
        """Return what a report says about it."""
        return f"diverged at step {self.step} with step size {self.step_size:g} (loss {self.loss})"


class Progress(NamedTuple):
    """What `progress_run` returns.

    Attributes:
        state: after the last step or, of a run that diverged, after the last step whose params
            have a finite loss.
        info: the steps' info as NumPy arrays, cut before the first bad step.
        seconds: (steps,) running time after each step, without compilation; measured at the ends
            of the chunks and linear between them.
        path_steps: (k,) after how many steps `path` was taken: 0, and the ends of about
            ``num_chunks`` equal parts.
        path: (k, ...) where the run stood then.
        divergence: None, or where the loss stopped being finite.
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
    """Run an optimizer with a progress bar; stop where the loss is NaN or infinite.

    Args:
        optimizer: whose info has a field ``loss`` (or ``best_loss``, which is looked at instead:
            a search may well try a bad point).
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
    chunk = stage = max(1, -(-num_steps // (num_chunks * block))) * block
    state = jax.jit(optimizer.init)(params, data)
    path_steps, path, ends, seconds, infos = [0], [state.params], [0], [0.0], []
    before, divergence = (0, state), None
    with tqdm(total=num_steps, desc=description, disable=None, leave=False, delay=1) as bar:
        while ends[-1] < num_steps and divergence is None:
            start = ends[-1]
            # Where the path is taken must not depend on the machine's speed: runs are compared.
            size = min(chunk, num_steps - start, stage - start % stage)
            call = _advance.lower(optimizer, key, state, data, start, num_steps=size).compile()
            (after, info), took = timed(call, key, state, data, start)
            info = jax.tree.map(np.asarray, info)
            if divergence := _divergence(info, start):
                bad = divergence.step - start
                # A step reports the loss that it started from: one step less is still finite.
                since, state = before if bad == 0 else (start, state)
                if (extra := divergence.step - 1 - since) > 0:
                    state, _ = _advance(optimizer, key, state, data, since, num_steps=extra)
                info = jax.tree.map(lambda leaf, n=bad: leaf[:n], info)
                size, took = bad, took * bad / size
            else:
                before, state = (start, state), after
                if (start + size) % stage == 0 or start + size == num_steps:
                    path_steps.append(start + size)
                    path.append(state.params)
            infos.append(info)
            ends.append(start + size)
            seconds.append(seconds[-1] + took)
            bar.update(size)
            if took > LONGEST_CHUNK_SECONDS:
                chunk = max(1, int(chunk / took) // block) * block
    return Progress(
        state=state,
        info=jax.tree.map(lambda *leaves: np.concatenate(leaves), *infos),
        seconds=np.interp(np.arange(1, ends[-1] + 1), ends, seconds),
        path_steps=np.asarray(path_steps),
        path=jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *path),
        divergence=divergence,
    )


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


def _divergence(info: Any, start: int) -> Divergence | None:
    """Return where the steps from ``start`` on first report a loss that is not finite."""
    loss = getattr(info, "best_loss", info.loss)
    finite = np.isfinite(loss)
    if finite.all():
        return None
    bad = int(np.argmin(finite))
    sizes = getattr(info, "step_size", np.full(len(finite), np.nan))
    return Divergence(start + bad, float(loss[bad]), float(sizes[max(bad - 1, 0)]))
