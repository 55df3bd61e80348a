"""Checkpoints under faults of every kind, and runs that go on from them to the bit."""

import builtins
import errno
import itertools
import os
import pickle
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark.registry import OPTIMIZERS as ENTRIES
from jaxsvm import Data, Objective, Optimizer, gradient_descent, run, run_resumable
from jaxsvm.checkpoint import Checkpoint, UnusableError, newest, owned, save
from jaxsvm.core.trees import described, digests, restored, stored
from jaxsvm.files import atomic_file, read_sealed, write_sealed
from jaxsvm.optimizers import DivergedError, identity, resumable, run_folder
from jaxsvm.optimizers.divergence import Divergence
from tests.problems import problem

pytestmark = pytest.mark.any_precision

ARRAYS = {
    "W": np.arange(12.0).reshape(3, 4),
    "count": np.array(7, np.int32),
    "empty": np.zeros((0, 2)),
}


def step_of(checkpoint):
    """What the tests read: the step, proved by the arrays."""
    assert checkpoint.arrays["W"].tolist() == (ARRAYS["W"] + checkpoint.step).tolist()
    return checkpoint.step


def write(folder, step, previous=None):
    """Save the arrays of a step; return the file."""
    arrays = {**ARRAYS, "W": ARRAYS["W"] + step}
    save(folder, Checkpoint(step, {"seed": 3}, arrays), previous=previous)
    return folder / f"step-{step:012d}.npz"


@pytest.fixture
def two(tmp_path):
    """A folder with the checkpoints of steps 10 and 20, and their files."""
    return tmp_path, write(tmp_path, 10), write(tmp_path, 20, previous=10)


def test_a_checkpoint_comes_back_as_it_was(two):
    folder, *_ = two
    found = newest(folder, lambda checkpoint: checkpoint)
    assert found is not None
    assert (found.step, found.header) == (20, {"seed": 3})
    for name, array in {**ARRAYS, "W": ARRAYS["W"] + 20}.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found.arrays[name], array)


def test_the_newest_two_known_to_be_good_are_kept(two):
    folder, first, second = two
    write(folder, 40, previous=20)
    assert sorted(os.listdir(folder)) == [second.name, "step-000000000040.npz"]
    # 40 was found damaged: the next one, at 30, is written by a process that went on from 20.
    write(folder, 30, previous=20)
    assert sorted(os.listdir(folder)) == [second.name, "step-000000000030.npz"]
    assert not first.exists()


def test_the_newest_is_that_of_the_highest_step_whatever_the_clock_says(two):
    folder, first, second = two
    os.utime(second, (0, 0))
    os.utime(first, (2e9, 2e9))
    assert newest(folder, step_of) == 20


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    (tmp_path / "step-1.txt").write_text("not one")
    assert newest(tmp_path, step_of) is None


def test_any_changed_or_missing_byte_is_found_and_the_one_before_is_used(two):
    folder, _, second = two
    whole = second.read_bytes()
    rng = np.random.default_rng(0)
    cuts = [whole[:n] for n in (0, 1, 70, len(whole) // 2, len(whole) - 1)]
    longer = [whole + b"\0", whole + whole]
    flips = []
    for bit in rng.integers(0, 8 * len(whole), 60):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        flips.append(bytes(flipped))
    for damaged in [*cuts, *longer, *flips]:
        second.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"{second.name}.*Going on from step-0*10.npz"):
            assert newest(folder, step_of) == 10


def sealed(path, header, arrays):
    """A file with a right digest, and ``run`` and the arrays of step 20."""
    write_sealed(path, {"run": {}, **header}, arrays)


GOOD = {"kind": "jaxsvm checkpoint", "format": 1, "step": 20}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (GOOD | {"kind": "jaxsvm model"}, "'jaxsvm model' of format 1: expected"),
        (GOOD | {"format": 2}, "of format 2: expected"),
        (GOOD | {"step": 10}, "holds step 10: expected the step that its name says"),
        (GOOD | {"step": "20"}, "holds step '20'"),
        (GOOD | {"step": True}, "holds step True"),
        (GOOD | {"run": [1]}, "expected"),
        ({}, "is a None of format None"),
    ],
)
def test_a_file_of_another_kind_version_or_step_is_named_and_passed_over(two, header, reason):
    folder, _, second = two
    sealed(second, header, ARRAYS)
    with pytest.warns(UserWarning, match=reason):
        assert newest(folder, step_of) == 10


def test_the_bytes_of_one_checkpoint_under_the_name_of_another(two):
    folder, first, second = two
    second.write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match="holds step 10"):
        assert newest(folder, step_of) == 10


def test_a_folder_in_the_place_of_a_checkpoint_is_passed_over(two):
    folder, _, second = two
    second.unlink()
    second.mkdir()
    with pytest.warns(UserWarning, match="Is a directory"):
        assert newest(folder, step_of) == 10


def test_no_good_checkpoint_is_an_error_that_names_all_of_them(two):
    folder, first, second = two
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"(?s){second.name}.*{first.name}.*delete the folder"):
        newest(folder, step_of)


def test_what_use_finds_wrong_is_passed_over_and_what_it_refuses_is_raised(two):
    folder, *_ = two

    def use(checkpoint):
        if checkpoint.step == 20:
            raise UnusableError("its shape is another")
        return checkpoint.step

    with pytest.warns(UserWarning, match="its shape is another"):
        assert newest(folder, use) == 10

    def refuse(checkpoint):
        raise ValueError(f"another run at {checkpoint.step}")

    with pytest.raises(ValueError, match="another run at 20"):
        newest(folder, refuse)


class Faults:
    """Let the n-th call of the functions that touch the disk fail, or all from the n-th on."""

    def __init__(self, number, error, *, lasting):
        self.number, self.error, self.lasting, self.calls = number, error, lasting, 0

    def hit(self):
        self.calls += 1
        if self.calls >= self.number if self.lasting else self.calls == self.number:
            raise OSError(self.error, os.strerror(self.error))

    def install(self, patch):
        for name in ("open", "fsync", "chmod", "replace", "unlink"):
            if name == "unlink" and self.lasting:  # what nobody can delete is left
                continue
            patch.setattr(os, name, self.failing(getattr(os, name)))
        patch.setattr(builtins, "open", self.failing(open))
        patch.setattr(os, "fdopen", self.torn(os.fdopen))

    def failing(self, real):
        def call(*args, **kwargs):
            self.hit()
            return real(*args, **kwargs)

        return call

    def torn(self, fdopen):
        """Return an ``fdopen`` whose files let half of the bytes through before they fail."""

        def call(*args, **kwargs):
            file = fdopen(*args, **kwargs)
            whole = file.write

            def write(data):
                try:
                    self.hit()
                except OSError:
                    whole(data[: len(data) // 2])
                    file.flush()
                    raise
                return whole(data)

            return Torn(file, write)

        return call


class Torn:
    """A file with another ``write``."""

    def __init__(self, file, write):
        self.file, self.write = file, write
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_an_error_at_any_operation_leaves_the_old_or_the_new(tmp_path, error, lasting):
    """SQLite's loop: operation 1, 2, 3 ... fails, until a save meets no failure."""
    outcomes: list[int | None] = []
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, 10)
        faults, caught = Faults(number, error, lasting=lasting), None
        with pytest.MonkeyPatch.context() as patch:
            faults.install(patch)
            try:
                write(folder, 20, previous=10)
            except OSError as raised:
                caught = raised
        hit = faults.calls >= number
        assert hit == (caught is not None)
        # What is there is whole, as no warning says otherwise, and there is nothing else.
        outcomes.append(newest(folder, step_of))
        assert set(os.listdir(folder)) <= {f"step-{step:012d}.npz" for step in (10, 20)}
        write(folder, 30, previous=outcomes[-1])
        assert newest(folder, step_of) == 30
        if not hit:
            break
        assert caught is not None
        assert caught.errno == error
    assert outcomes[0] == 10
    assert outcomes[-1] == 20
    assert outcomes == [10] * outcomes.count(10) + [20] * outcomes.count(20)
    assert len(outcomes) > 8


def test_an_error_names_the_file_that_could_not_be_written(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        Faults(2, errno.ENOSPC, lasting=False).install(patch)
        with pytest.raises(OSError, match=r"No space left on device: .*step-0*10.npz"):
            write(tmp_path, 10)
    with pytest.raises(FileNotFoundError, match="no-folder"):
        write(tmp_path / "no-folder", 10)


def test_a_file_is_flushed_before_it_has_its_name_and_the_folder_after(tmp_path, monkeypatch):
    calls: list[str] = []

    def told(name, real):
        def call(*args):
            calls.append(name)
            return real(*args)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, told(name, getattr(os, name)))
    with atomic_file(tmp_path / "a") as file:
        file.write(b"whole")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_file_system_that_flushes_no_folders_is_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert newest(write(tmp_path, 10).parent, step_of) == 10


def test_a_disk_that_keeps_other_bytes_is_noticed_before_anything_is_deleted(two, monkeypatch):
    folder, first, second = two
    real = os.replace

    def replace(source, target):
        with open(source, "r+b") as file:
            file.seek(os.path.getsize(source) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(OSError, match=r"read back is not what was written.*step-0*30.npz"):
            write(folder, 30, previous=20)
    assert sorted(os.listdir(folder)) == [first.name, second.name]


def test_a_folder_has_one_owner_and_its_leftovers_are_deleted(tmp_path):
    folder = tmp_path / "a [run]*"
    with owned(folder):
        said = rf"process {os.getpid()} is running there.*run"
        with pytest.raises(BlockingIOError, match=said), owned(folder):
            pytest.fail("two owners")
        write(folder, 10)
        (folder / ".step-000000000020.npz.k1ll3d").write_bytes(b"half")
    with owned(folder):
        assert not list(folder.glob(".step*"))
        assert newest(folder, step_of) == 10


def test_a_folder_that_cannot_be_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", tmp_path / "file", type(tmp_path)("/proc/self/run")):
        with pytest.raises(OSError, match=str(place)), owned(place):
            pytest.fail("owned")
    said = "no file can be made in: '/proc/self'"
    with pytest.raises(PermissionError, match=said), owned("/proc/self"):
        pytest.fail("owned")


TREE = {
    "bf16": jnp.array([1.5, -2.0, jnp.nan], jnp.bfloat16),
    "f8": jnp.ones((2, 2), jnp.float8_e4m3fn),
    "int4": jnp.array([-3, 7], jnp.int4),
    "half": jnp.float16(0.1),
    "nan": jnp.array([jnp.nan, -0.0, jnp.inf]),
    "bool": (jnp.array([True, False]), [jnp.zeros((0, 3))], None),
    "key": jax.random.key(1),
    "keys": jax.random.split(jax.random.key(2, impl="rbg"), 3),
}


def test_a_pytree_comes_back_from_a_file_to_the_bit(tmp_path):
    write_sealed(tmp_path / "a.npz", {}, stored(TREE))
    forms = jax.eval_shape(lambda: TREE)
    found = restored(forms, read_sealed(tmp_path / "a.npz")[1])
    assert str(jax.tree.structure(found)) == str(jax.tree.structure(TREE))
    assert described(found) == described(TREE) == described(forms)
    assert digests(found) == digests(TREE)
    assert jax.random.key_impl(found["keys"]) == "rbg"


def test_digests_tell_one_bit_one_dtype_and_one_shape_from_another():
    one = jnp.array([0.0, 1.0], jnp.float32)
    others = [one.at[0].set(-0.0), one.view(jnp.int32), one[None], np.arange(2.0), {"W": one}]
    assert len({str(digests(tree)) for tree in [one, *others]}) == 6
    assert digests(one) == digests(np.asarray(one)[::-1][::-1])


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"0": np.zeros((2, 3), np.float32)}, r"'0' is float32\[2, 3\]: expected float32\[3, 2\]"),
        ({"0": np.zeros((3, 2), np.float64)}, r"'0' is float64\[3, 2\]: expected float32"),
        ({}, "'0' is not there: expected float32"),
        ({"0": np.zeros((3, 2), np.float32), "1": np.zeros(3)}, "'1' .* expected not there"),
    ],
)
def test_arrays_that_are_not_the_tree_are_refused(arrays, reason):
    with pytest.raises(ValueError, match=reason):
        restored(jnp.zeros((3, 2), jnp.float32), arrays)


LOSS = Objective(reg=0.1)
# Momentum, blocks of proposals, batches in an order of their own, optax's state.
NAMES = ["nesterov", "local_search", "epochs", "adam"]
OPTIMIZERS = {name: ENTRIES[name].make(LOSS, 0.05, 4) for name in NAMES}
compiled_run = jax.jit(run, static_argnames=("optimizer", "num_steps"))


class Killed(BaseException):
    pass


def kill_at(patch, function, number):
    """Let the number-th call of a function of the resumable run be its last."""
    module = run_folder if function == "save" else resumable
    real, calls = getattr(module, function), itertools.count(1)

    def call(*args, **kwargs):
        if next(calls) == number:
            raise Killed
        return real(*args, **kwargs)

    patch.setattr(module, function, call)


@pytest.mark.compiled
@pytest.mark.parametrize("name", NAMES)
def test_a_run_killed_again_and_again_has_the_bits_of_an_unbroken_one(name, tmp_path, monkeypatch):
    W, data = problem(0, (40, 9, 10))
    arguments = OPTIMIZERS[name], jax.random.key(2), W, data

    every = max(4, arguments[0].block_size)

    def resume(chunks):
        return run_resumable(*arguments, num_steps=chunks * every, folder=tmp_path, every=every)

    # Before the first checkpoint, after it, and between a chunk's info and its checkpoint.
    for function, number in [("save", 1), ("_chunk", 2), ("save", 1)]:
        with monkeypatch.context() as patch:
            kill_at(patch, function, number)
            with pytest.raises(Killed):
                resume(3)
    resume(2)
    state, info = resume(3)
    whole = compiled_run(*arguments, num_steps=3 * every)
    chex.assert_trees_all_equal((state, info), whole)
    assert str(jax.tree.structure((state, info))) == str(jax.tree.structure(whole))
    # What is finished is found, not computed.
    monkeypatch.setattr(resumable, "_chunk", lambda *args, **kwargs: pytest.fail("computed"))
    chex.assert_trees_all_equal(resume(3), whole)


class OddState(NamedTuple):
    params: jax.Array
    half: jax.Array
    key: jax.Array
    weak: jax.Array


def odd_optimizer():
    """A state of bfloat16, a key, and a weak type that decides the dtype of a sum."""

    def init(params, data):
        return OddState(params, jnp.bfloat16(0.1), jax.random.key(5), jnp.asarray(1.0) * 2)

    def step(key, state, data):
        noise = jax.random.normal(jax.random.fold_in(key, 1), state.params.shape)
        half = state.half * jnp.bfloat16(1.1)
        new = OddState(
            state.params + noise, half, jax.random.clone(state.key), state.weak + jnp.mean(noise)
        )
        return new, {"loss": new.weak, "key": key}

    return Optimizer(init, step)


def test_a_state_of_any_dtype_and_of_keys(tmp_path, monkeypatch):
    W, data = problem(0)
    arguments = odd_optimizer(), jax.random.key(0), W, data
    for num_steps, every in [(2, 2), (3, 9)]:
        run_resumable(*arguments, num_steps=num_steps, folder=tmp_path, every=every)
    with monkeypatch.context() as patch:
        kill_at(patch, "save", 1)
        with pytest.raises(Killed):
            run_resumable(*arguments, num_steps=6, folder=tmp_path, every=3)
    found = run_resumable(*arguments, num_steps=6, folder=tmp_path, every=2)
    assert digests(found) == digests(compiled_run(*arguments, num_steps=6))
    assert newest(tmp_path, lambda checkpoint: checkpoint.header["ends"]) == [2, 3, 4, 6]
    # The info of steps 3 to 6, of which there never was a checkpoint, is gone.
    ends = [path.stem[-1] for path in sorted(tmp_path.glob("info-*"))]
    assert ends == ["2", "3", "4", "6"]


def test_a_type_that_no_file_keeps_is_refused_before_the_first_step_not_after_a_kill(tmp_path):
    W, data = problem(0)
    half = jnp.bfloat16(0.5)
    weak = Optimizer(  # a weak float32 times a bfloat16 is one; of a float32 it is none
        init=lambda params, data: OddState(params, half, jax.random.key(5), jnp.asarray(1.0)),
        step=lambda key, state, data: (state, {"loss": state.weak * state.half}),
    )
    with pytest.raises(ValueError, match="bfloat16"):
        run_resumable(weak, jax.random.key(0), W, data, num_steps=2, folder=tmp_path, every=1)
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("every", [1, 4, 50])
def test_a_divergent_run_stops_within_a_chunk_and_keeps_a_good_checkpoint(tmp_path, every):
    """From W on, the penalty multiplies W by −9 at each step."""
    W, data = problem(0)
    arguments = gradient_descent(Objective(reg=1.0), step_size=5.0), jax.random.key(0), W, data
    _, info = compiled_run(*arguments, num_steps=30)
    high = 1e4 * max(float(info.loss[0]), 1.0)
    (bad, *_) = np.flatnonzero(~(np.asarray(info.loss) <= high))
    assert 2 < bad < 29
    # The checkpoints before the first bad loss, of steps that led to a good one.
    good = int(bad - 1) // every * every
    for _ in range(2):  # the same command does the same
        with pytest.raises(
            DivergedError, match=f"diverged at step {bad} with step size 5 "
        ) as said:
            run_resumable(*arguments, num_steps=60, folder=tmp_path, every=every)
        assert said.value.divergence.loss == info.loss[bad]
        steps = newest(tmp_path, lambda checkpoint: checkpoint.step)
        assert steps == (good or None)
        assert ("no checkpoint" in str(said.value)) == (good == 0)
    # What is kept is a run of fewer steps.
    state, _ = run_resumable(*arguments, num_steps=good, folder=tmp_path, every=every)
    expected, _ = compiled_run(*arguments, num_steps=good)
    np.testing.assert_array_equal(state.params, expected.params)


def test_steps_that_say_nothing_are_kept_too(tmp_path):
    W, data = problem(0)
    silent = Optimizer(
        init=lambda params, data: OddState(params, jnp.zeros(()), jax.random.key(5), jnp.zeros(())),
        step=lambda key, state, data: (state._replace(half=state.half + 1), ()),
    )
    arguments = silent, jax.random.key(0), W, data
    state, info = run_resumable(*arguments, num_steps=3, folder=tmp_path, every=1)
    assert (float(state.half), info) == (3.0, ())


def test_a_divergence_may_come_from_another_process():
    where = Divergence(3, np.inf, 0.5)
    again = pickle.loads(pickle.dumps(DivergedError("it diverged", where)))
    assert (str(again), again.divergence) == ("it diverged", where)


def test_chunks_are_whole_blocks(tmp_path):
    W, data = problem(0, (40, 9, 10))
    arguments = OPTIMIZERS["local_search"], jax.random.key(2), W, data
    run_resumable(*arguments, num_steps=8, folder=tmp_path, every=1)
    assert newest(tmp_path, lambda checkpoint: checkpoint.header["ends"]) == [4, 8]


def test_no_steps_is_the_start(tmp_path):
    W, data = problem(0)
    state, info = run_resumable(
        OPTIMIZERS["nesterov"], jax.random.key(0), W, data, num_steps=0, folder=tmp_path
    )
    np.testing.assert_array_equal(state.params, W)
    assert info.loss.shape == (0,)


@pytest.fixture
def begun(tmp_path):
    """A run of 6 steps in a folder, in chunks of 2; and a function that goes on with it."""
    W, data = problem(0, (40, 9, 10))
    given: dict[str, Any] = {
        "optimizer": OPTIMIZERS["nesterov"],
        "key": jax.random.key(2),
        "params": W,
    }
    given |= {"data": data, "num_steps": 6, "folder": tmp_path / "run", "every": 2}
    given["config"] = {"step_size": 0.05, "names": ("a", "b")}
    run_resumable(**given)
    return given["folder"], lambda **changed: run_resumable(**(given | changed))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"key": jax.random.key(3)}, r"key words was \[0, 2\] of key<fry>, is \[0, 3\] of key"),
        ({"params": problem(1, (40, 9, 10))[0]}, r"params 0 was \w+\[10, 9\] \w+, is \w+\[10, 9\]"),
        ({"params": problem(0, (40, 9, 11))[0]}, r"params 0 was \w+\[10, 9\] \w+, is \w+\[11, 9\]"),
        ({"data": problem(1, (40, 9, 10))[1]}, r"data 0.X was .*; data 1.y was"),
        ({"config": {"step_size": 0.06}}, "config step_size was 0.05, is 0.06; config names was"),
        ({"config": None}, "config step_size was 0.05, is not there"),
        ({"num_steps": 5}, "num_steps = 5, and the run in .*run has taken 6 steps"),
        ({"optimizer": ENTRIES["nesterov"].make(LOSS, 0.06, 4)}, r"another optimizer.*\(step size"),
        ({"optimizer": ENTRIES["nesterov"].make(Objective(), 0.05, 4)}, "another optimizer"),
        ({"optimizer": OPTIMIZERS["adam"]}, r"state .* was .*, is not there"),
        ({"optimizer": OPTIMIZERS["nesterov"]._replace(block_size=2)}, "block_size was 1, is 2"),
        ({"config": {"step_size": float("nan")}}, "config is .*nan.*expected a mapping"),
        ({"every": 0}, "every = 0"),
        ({"num_steps": -1}, "num_steps = -1"),
        ({"key": jnp.zeros(2)}, "expected a typed key"),
        ({"data": Data(problem(0)[1].X, jnp.full(12, -1))}, r"y\[0\] = -1"),
        ({"data": Data(problem(0)[1].X * jnp.nan, problem(0)[1].y)}, r"X\[0, 0\] = nan"),
    ],
)
def test_another_run_is_refused_and_the_difference_shown(begun, changed, reason):
    folder, resume = begun
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=reason):
        resume(**changed)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_another_environment_is_said_as_long_as_the_run_goes_on(begun, monkeypatch):
    _, resume = begun
    real = identity.environment

    def elsewhere(computation):
        return real("other words") | {"cores": 3, "jax": "9.9"}

    with monkeypatch.context() as patch:
        patch.setattr(resumable, "environment", elsewhere)
        resume()  # it is finished: what was found is what it is
        with pytest.warns(
            UserWarning, match=r"last bits: .*jax was \S+, is 9.9; .*cores was \d+, is 3"
        ):
            resume(num_steps=8)
        resume(num_steps=10)  # once is enough
    resume(num_steps=12)
    with pytest.raises(ValueError, match="another optimizer"):
        resume(num_steps=12, optimizer=ENTRIES["nesterov"].make(LOSS, 0.06, 4))


def test_the_one_before_is_used_where_the_newest_or_its_info_is_damaged(begun):
    folder, resume = begun
    whole = resume()
    for name in ("step-000000000006.npz", "info-000000000004-000000000006.npz"):
        data = (folder / name).read_bytes()
        for damaged in (data[:-5], data[:200] + bytes([data[200] ^ 4]) + data[201:], None):
            if damaged is None and name.startswith("info"):
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(
                    damaged or (folder / "step-000000000004.npz").read_bytes()
                )
            with pytest.warns(UserWarning, match=f"{name}.*Going on from step-000000000004.npz"):
                chex.assert_trees_all_equal(resume(), whole)
            chex.assert_trees_all_equal(resume(), whole)


def test_info_of_other_steps_or_another_run_is_not_taken(begun):
    folder, resume = begun
    whole, last = resume(), folder / "info-000000000004-000000000006.npz"
    header, arrays = read_sealed(last)
    shorter = {name: array[1:] for name, array in arrays.items()}
    others = [
        (header | {"start": 2}, arrays),
        (header | {"run": "0" * 64}, arrays),
        (header, shorter),
    ]
    for other in others:
        write_sealed(last, *other)
        with pytest.warns(UserWarning, match=r"info-0*4-0*6.npz cannot be used"):
            chex.assert_trees_all_equal(resume(), whole)


def test_a_state_of_another_shape_or_dtype_is_passed_over(begun):
    folder, resume = begun
    whole, last = resume(), folder / "step-000000000006.npz"
    header, arrays = read_sealed(last)
    first = next(iter(arrays))
    for bad in (arrays[first][1:], arrays[first].astype(np.float16)):
        write_sealed(last, header, arrays | {first: bad})
        with pytest.warns(UserWarning, match="step 6 .* does not fit the run"):
            chex.assert_trees_all_equal(resume(), whole)
    write_sealed(last, header | {"run": {"ends": []}}, arrays)
    with pytest.warns(UserWarning, match=r"step 6 .* says \['ends'\]"):
        chex.assert_trees_all_equal(resume(), whole)


def test_a_run_never_begins_again_in_silence(begun):
    folder, resume = begun
    (folder / "info-000000000000-000000000002.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint that can be used"):
        resume()
    for path in folder.glob("step-*"):
        path.unlink()
    with pytest.raises(ValueError, match="has lost its checkpoints"):
        resume()


def test_one_process_runs_in_a_folder(begun):
    folder, resume = begun
    with owned(folder), pytest.raises(BlockingIOError, match=r"is running there.*run"):
        resume(num_steps=8)


def test_labels_beyond_the_classes_are_seen_before_the_first_step(tmp_path):
    W, data = problem(0, (40, 9, 10))
    bad = Data(data.X, data.y.at[3].set(10))
    with pytest.raises(ValueError, match=r"y\[3\] = 10"):
        run_resumable(
            OPTIMIZERS["nesterov"], jax.random.key(0), W, bad, num_steps=3, folder=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
