"""A run that goes on where it was cut: `run`, with its state in a folder.

The run is cut into chunks of one compiled scan, which changes no bit (`contract`). After each the
folder has all that the next one needs (`run_folder`), and what the run is (`identity`): a folder
continues no other.

Of the optimizers this file and `run_folder` alone work on the host and touch the disk.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsvm.checkpoint import delete, newest, owned
from jaxsvm.core.arguments import check_count, check_params, check_path, check_values, validate
from jaxsvm.core.compilation import compiled
from jaxsvm.core.trees import restored, stored
from jaxsvm.core.types import Data
from jaxsvm.optimizers.contract import Optimizer, advance, run
from jaxsvm.optimizers.divergence import DivergedError, find_divergence
from jaxsvm.optimizers.identity import computation, environment, identity
from jaxsvm.optimizers.run_folder import Past, join, of_steps, part_of, use, write
from jaxsvm.processes import Packed, of_first, said_by_first

NUM_CHUNKS = 20  # of a run whose caller does not say


def run_resumable(
    optimizer: Optimizer,
    key: Array,
    params: Any,
    data: Data,
    *,
    num_steps: int,
    folder: Path | str,
    every: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:
    """Take the steps of `run`, save them on the way, and go on from what a folder holds.

    Killed at any moment and called again with the same arguments, it goes on from the last
    checkpoint and ends with the bits of a run that was never interrupted, which are those of
    ``jax.jit(run, static_argnames=("optimizer", "num_steps"))``. Called again when it has finished,
    it returns what it finds. A larger ``num_steps`` continues a finished run.

    A folder belongs to one run: the same key, start and data to the bit, the same optimizer. Of an
    optimizer the computation is compared, as JAX traces it, with every constant in it: another
    step size, schedule or loss is refused. Between two environments (versions, device, cores,
    flags) one computation may be written in two ways, so there only the shapes, ``block_size`` and
    ``config`` are compared, and a warning says that the last bits may differ. Not noticed: another
    model of processor, and other code behind a callback.

    A run that diverges stops at the end of a chunk, and the newest checkpoint is then one whose
    params have a good loss. `run` goes on whatever the loss is.

    Of several processes (`jax.distributed`) all call this with the same arguments; the first alone
    looks into the folder and writes there.

    For the host: not to be jitted.

    Args:
        optimizer: the strategy; its state may hold arrays of any dtype and typed keys.
        key: a typed key.
        params: the start.
        data: the examples.
        num_steps: how many steps in all, ≥ 0, those of earlier calls included.
        folder: of this run's own; made if need be. The newest two checkpoints are kept.
        every: steps from checkpoint to checkpoint, ≥ 1, rounded up to whole blocks; by default a
            twentieth of ``num_steps``. It changes no bit, and may differ from call to call.
        config: settings that JSON can say. What differs from the folder's is shown by its name,
            where of the optimizer itself it can only be said that it differs.

    Returns:
        The last state and the info of all steps, as `run` returns them.

    Raises:
        ValueError: the folder's run is another one (what was and what is are shown), has gone
            further than ``num_steps``, or has no checkpoint that can be used; data is not fit to be
            trained on; whatever `run` refuses.
        DivergedError: the loss of a step, where its info has one, is not finite or more than 10,000
            times the first (or than 10,000, where that is more). It says which step.
        BlockingIOError: another process runs in the folder.
        OSError: the folder cannot be written. The last checkpoint is as good as before.

    Warns:
        UserWarning: a damaged checkpoint was passed over, or the last bits may differ.

    >>> import tempfile
    >>> from jax import numpy as jnp
    >>> from jaxsvm import Objective, gradient_descent
    >>> data, W, folder = Data(jnp.eye(3), jnp.arange(3)), jnp.zeros((3, 3)), tempfile.mkdtemp()
    >>> arguments = gradient_descent(Objective(), step_size=0.1), jax.random.key(0), W, data
    >>> state, _ = run_resumable(*arguments, num_steps=5, folder=folder)
    >>> state, info = run_resumable(*arguments, num_steps=20, folder=folder)
    >>> info.loss.shape, float(info.loss[-1])
    ((20,), 0.0)
    """
    check_path("folder", folder)
    check_values("run_resumable", key, params, data)
    check_params(params)
    num_steps = check_count("num_steps", num_steps, least=0)
    if isinstance(data, Data):
        validate(data)
    # The data are closed over, not traced, so that labels are seen where they have values.
    forms = jax.eval_shape(
        lambda params: run(optimizer, key, params, data, num_steps=num_steps), params
    )
    every = check_count("every", max(1, num_steps // NUM_CHUNKS) if every is None else every)
    every = -(-every // optimizer.block_size) * optimizer.block_size
    one_block = partial(run, optimizer, num_steps=optimizer.block_size)
    return resumed(
        identity(key, params, data, forms[0], optimizer.block_size, config or {}),
        environment(computation(one_block, key, params, data)),
        forms,
        begin=lambda: begin(optimizer, params, data),
        chunk=lambda state, start, size: _chunk(optimizer, key, state, data, start, num_steps=size),
        num_steps=num_steps,
        folder=folder,
        every=every,
    )


def resumed(
    run: dict[str, dict[str, Any]],
    environment: dict[str, Any],
    forms: tuple[Any, Any],
    *,
    begin: Callable[[], Any],
    chunk: Callable[[Any, int, int], tuple[Any, Any]],
    num_steps: int,
    folder: Path | str,
    every: int,
) -> tuple[Any, Any]:
    """Take the steps of a run that a folder does not have yet, whatever takes them.

    Args:
        run: what must not change: `identity`.
        environment: this process's.
        forms: shapes and dtypes of what is returned.
        begin: returns the state at the start.
        chunk: ``(state, start, size) -> (state, info)``, the steps from ``start`` on.
        num_steps: how many steps in all.
        folder: as in `run_resumable`.
        every: a checkpoint is written after each step whose number is a multiple of it.

    Returns:
        The last state, and the info of all steps.

    Raises:
        ValueError: as `run_resumable`; DivergedError and OSError too.
    """
    here = Past(run=run, environments=[environment], ends=[])
    folder = Path(folder)
    with contextlib.ExitStack() as until_end:

        def look() -> Packed:
            until_end.enter_context(owned(folder))
            past, arrays = newest(folder, partial(use, folder, here, forms)) or (here, {})
            return join(folder, past, here, num_steps)._asdict(), arrays

        said, arrays = of_first(look)
        past = Past(**said)
        infos, seen = [], []  # seen: the info of the first steps, and of those just before
        if arrays:
            state, infos = restored(forms[0], part_of("state", arrays)), [part_of("info", arrays)]
            seen = [restored(of_steps(forms[1], past.step), infos[0])]
        else:
            state = begin()
        while past.step < num_steps:
            size = min(num_steps, (past.step // every + 1) * every) - past.step
            state, info = chunk(state, past.step, size)
            _stop_if_diverged(folder, past, info, seen)
            seen = [*seen[:1], info]
            infos.append(stored(info))
            longer = past._replace(ends=[*past.ends, past.step + size])
            said_by_first(partial(write, folder, past, longer, infos[-1], stored(state)))
            past = longer
    if not infos:
        return chunk(state, 0, 0)
    whole = {name: np.concatenate([info[name] for info in infos]) for name in infos[0]}
    return state, restored(forms[1], whole)


def _stop_if_diverged(folder: Path, past: Past, info: Any, seen: list[Any]) -> None:
    """Raise DivergedError if the steps after the past diverged.

    A step reports the loss that it started from. So where the first of them is the bad one, the
    newest checkpoint has led there, and is deleted; the one before has not.
    """
    if (found := find_divergence(info, past.step, seen)) is None:
        return
    ends = [0, *past.ends]
    if found.step == past.step and past.ends:
        said_by_first(partial(delete, folder, ends.pop()))
    kept = f"the newest checkpoint in {folder} is of step {ends[-1]}, before that"
    raise DivergedError(
        f"the run {found.describe()}: {kept if ends[-1] else 'it has no checkpoint before that'}; "
        "take smaller steps, from another folder",
        found,
    )


def _strong(tree: Any) -> Any:
    """Return a pytree without weak types, which a file does not keep."""
    return jax.tree.map(lambda leaf: lax.convert_element_type(leaf, leaf.dtype), tree)


@partial(compiled, static_argnames=("optimizer",))
def begin(optimizer: Optimizer, params: Any, data: Data) -> Any:
    """Return the state at a run's start, compiled, in the dtypes that a file keeps."""
    # Copied, because the first chunk takes the state's memory, and the caller's params are in it.
    return jax.tree.map(jnp.copy, _strong(optimizer.init(params, data)))


# A chunk's state takes the place of the one before.
@partial(compiled, static_argnames=("optimizer", "num_steps"), donate_argnames=("state",))
def _chunk(
    optimizer: Optimizer, key: Array, state: Any, data: Data, start: int | Array, *, num_steps: int
) -> tuple[Any, Any]:
    return _strong(advance(optimizer, key, state, data, start, num_steps=num_steps))
