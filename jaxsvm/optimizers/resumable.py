"""A run that goes on where it was cut: `run`, with its state in a folder.

The run is cut into chunks of one compiled scan, which changes no bit (`contract`). At the end of
each, first the chunk's info is written to a file of its own, then a checkpoint of the state
(`jaxsvm.checkpoint`). So a checkpoint has all the info before it, and no info is written twice.
The checkpoint also says what the run is (`identity`): a folder continues no other.

This is the one file of the optimizers that works on the host and touches the disk.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxsvm.checkpoint import Checkpoint, UnusableError, delete, newest, owned, save
from jaxsvm.core.arguments import check_count, check_params, check_path, check_values, validate
from jaxsvm.core.compilation import compiled
from jaxsvm.core.trees import check_stored, restored, stored
from jaxsvm.core.types import Data
from jaxsvm.files import read_sealed, write_sealed
from jaxsvm.optimizers.contract import Optimizer, advance, run
from jaxsvm.optimizers.divergence import DivergedError, find_divergence, watched_loss
from jaxsvm.optimizers.identity import (
    check_computation,
    computation,
    differences,
    environment,
    identity,
    warn_elsewhere,
)
from jaxsvm.processes import Packed, is_first, of_first

KIND, FORMAT = "jaxsvm info", 1
NUM_CHUNKS = 20  # of a run whose caller does not say
INFO = re.compile(r"info-(\d+)-(\d+)\.npz")


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
    here = _Past(run=run, environments=[environment], ends=[])
    folder = Path(folder)
    with contextlib.ExitStack() as until_end:

        def look() -> Packed:
            until_end.enter_context(owned(folder))
            past, arrays = newest(folder, partial(_use, folder, here, forms)) or (here, {})
            return _join(folder, past, here, num_steps)._asdict(), arrays

        said, arrays = of_first(look)
        past = _Past(**said)
        if arrays:
            state, infos = restored(forms[0], _part("state", arrays)), [_part("info", arrays)]
        else:
            state, infos = begin(), []
        while past.step < num_steps:
            size = min(num_steps, (past.step // every + 1) * every) - past.step
            state, info = chunk(state, past.step, size)
            _stop_if_diverged(folder, past, infos, info, forms[1])
            infos.append(stored(info))
            longer = past._replace(ends=[*past.ends, past.step + size])
            of_first(partial(_write, folder, past, longer, infos[-1], stored(state)))
            past = longer
    if not infos:
        return chunk(state, 0, 0)
    whole = {name: np.concatenate([info[name] for info in infos]) for name in infos[0]}
    return state, restored(forms[1], whole)


class _Past(NamedTuple):
    """What a checkpoint says of its run; written as JSON.

    Attributes:
        run: what must not change: `identity`.
        environments: each that took part, in the order in which they came.
        ends: after how many steps each chunk ended.
    """

    run: dict[str, dict[str, Any]]
    environments: list[dict[str, Any]]
    ends: list[int]

    @property
    def step(self) -> int:
        return self.ends[-1] if self.ends else 0


# The past, and arrays by name: "state ..." those of the state, "info ..." those of all steps' info.
_Found: TypeAlias = tuple[_Past, dict[str, np.ndarray]]


def _part(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of one kind by the names that `stored` gave them."""
    of_kind = {name: array for name, array in arrays.items() if name.startswith(f"{kind} ")}
    return {name.removeprefix(f"{kind} "): array for name, array in of_kind.items()}


def _use(folder: Path, here: _Past, forms: tuple[Any, Any], checkpoint: Checkpoint) -> _Found:
    """Return the past, the state and the info, or raise: it cannot be gone on from.

    Raises:
        ValueError: the run is another.
        UnusableError: the arrays are not what the run has, or some info is missing or damaged.
    """
    name = f"the checkpoint of step {checkpoint.step} in {folder}"
    if checkpoint.header.keys() != set(_Past._fields):
        raise UnusableError(f"{name} says {list(checkpoint.header)}: expected {_Past._fields}")
    past = _Past(**checkpoint.header)
    if changed := differences(past.run, here.run):
        raise ValueError(
            f"{folder} holds another run: {'; '.join(changed)}. Call again with what the "
            "folder's run has, or choose another folder"
        )
    try:
        check_stored(forms[0], checkpoint.arrays)
    except ValueError as error:
        raise UnusableError(f"{name} does not fit the run: {error}") from error
    starts = [0, *past.ends[:-1]]
    infos = [
        _read_info(folder, past, start, stop, forms[1])
        for start, stop in zip(starts, past.ends, strict=True)
    ]
    whole = {f"info {name}": np.concatenate([i[name] for i in infos]) for name in infos[0]}
    return past, {f"state {name}": array for name, array in checkpoint.arrays.items()} | whole


def _join(folder: Path, past: _Past, here: _Past, num_steps: int) -> _Past:
    """Return the folder's past with this process's environment, and delete info of no use.

    Raises:
        ValueError: there is no going on from there.
    """
    of_past = {_info_name(a, b) for a, b in pairwise([0, *past.ends])}
    others = [path for path in folder.iterdir() if INFO.fullmatch(path.name)]
    others = [path for path in others if path.name not in of_past]
    if not past.ends and (late := [path for path in others if path.name >= _info_name(1, 0)]):
        # The info of a second chunk is written after the first one's checkpoint.
        raise ValueError(
            f"{folder} has lost its checkpoints: it holds {late[0].name} and no checkpoint; put a "
            "copy there, or delete the folder to begin again"
        )
    if num_steps < past.step:
        raise ValueError(
            f"num_steps = {num_steps}, and the run in {folder} has taken {past.step} steps: "
            f"expected num_steps >= {past.step}, or another folder"
        )
    (now,) = here.environments
    check_computation(folder, past.environments, now, "optimizer")
    for path in others:
        path.unlink()
    if now in past.environments:
        return past
    if past.step < num_steps:
        warn_elsewhere(folder, past.environments[0], now)
    return past._replace(environments=[*past.environments, now])


def _write(
    folder: Path,
    past: _Past,
    longer: _Past,
    info: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
) -> Packed:
    """Write a chunk's info and then the checkpoint at its end, which holds the longer past."""
    start, stop = past.step, longer.step
    write_sealed(folder / _info_name(start, stop), _info_header(past, start, stop), info)
    save(folder, Checkpoint(stop, longer._asdict(), state), previous=start if past.ends else None)
    return None, {}


def _read_info(
    folder: Path, past: _Past, start: int, stop: int, form: Any
) -> dict[str, np.ndarray]:
    """Return a chunk's info.

    Raises:
        UnusableError: it is damaged, another chunk's or another run's.
        OSError: it is not there.
    """
    path = folder / _info_name(start, stop)
    try:
        header, arrays = read_sealed(path)
        if header != _info_header(past, start, stop):
            raise ValueError(f"{path} is not of these steps of this run")
        check_stored(_of_steps(form, stop - start), arrays)
    except ValueError as error:
        raise UnusableError(f"{path} cannot be used: {error}") from error
    return arrays


def _of_steps(form: Any, count: int) -> Any:
    """Return the form of the info of so many steps."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype), form
    )


def _stop_if_diverged(
    folder: Path, past: _Past, infos: list[dict[str, np.ndarray]], info: Any, form: Any
) -> None:
    """Raise DivergedError if the steps after the past diverged.

    A step reports the loss that it started from. So where the first of them is the bad one, the
    newest checkpoint has led there, and is deleted; the one before has not.
    """
    if (loss := watched_loss(info)) is None:
        return
    first, before = loss[0], None
    if infos:
        earlier, last = (
            restored(_of_steps(form, len(next(iter(some.values())))), some)
            for some in (infos[0], infos[-1])
        )
        begin = watched_loss(earlier)
        assert begin is not None
        first, before = begin[0], last
    if (found := find_divergence(info, past.step, first, before)) is None:
        return
    ends = [0, *past.ends]
    if found.step == past.step and past.ends:
        led_there = ends.pop()
        if is_first():
            delete(folder, led_there)
    kept = f"the newest checkpoint in {folder} is of step {ends[-1]}, before that"
    raise DivergedError(
        f"the run {found.describe()}: {kept if ends[-1] else 'it has no checkpoint before that'}; "
        "take smaller steps, from another folder",
        found,
    )


def _info_name(start: int, stop: int) -> str:
    return f"info-{start:012d}-{stop:012d}.npz"


def _info_header(past: _Past, start: int, stop: int) -> dict[str, Any]:
    run = hashlib.sha256(json.dumps(past.run, sort_keys=True).encode()).hexdigest()
    return {"kind": KIND, "format": FORMAT, "run": run, "start": start, "stop": stop}


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
