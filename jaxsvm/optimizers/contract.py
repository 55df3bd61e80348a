"""The contract of every optimizer, and the one loop that runs them.

An optimizer is a pair of pure functions, as in optax and BlackJAX:

    init(params, data)     -> state            state.params is the current answer
    step(key, state, data) -> (state, info)

`run` scans ``step`` and hands ``fold_in(key, i)`` to step i. Where several steps share work (the
scores of a block of random proposals are one product), an optimizer has a third function,
``block_step``, and `run` scans blocks: block b is the steps b·block_size to (b + 1)·block_size − 1,
counted from the start of the run.

Equal to the bit, on one backend and one version of JAX:

- two runs of one optimizer with the same key, start, data and ``block_size``;
- a run and the same run cut into chunks by `advance`, wherever the cuts are. A block that is cut is
  computed whole on both sides of the cut, from the state that the run had at the block's start;
- the proposals of a search, whatever ``block_size`` is.

Equal to rounding only:

- ``block_step`` and as many calls of ``step``, and so two values of ``block_size``. The losses of a
  search may differ in their last bits, and a decision where two losses tie to that rounding;
- a function compiled and the same function run op by op: chunks start from ``jax.jit(init)``;
- a run alone and the same run under `jax.vmap`;
- an array X and the same numbers as `StandardizedFeatures`;
- two backends, or two versions of JAX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Float, Int, PyTree

from jaxsvm.core.arguments import as_arrays, check_count, check_key
from jaxsvm.core.compilation import compiled, is_read_here
from jaxsvm.core.types import Data

Params: TypeAlias = PyTree[Float[Array, "..."]]


class State(Protocol):
    """What an optimizer needs for its next step, and no more.

    A pytree whose structure, shapes and dtypes no step changes.

    Attributes:
        params: the current answer, in the form of the start.
    """

    @property
    def params(self) -> Any:
        """The current answer."""
        ...


class Info(Protocol):
    """What a person wants to see of one step; the next step does not need it.

    A pytree. An optimizer may have more fields than these, which are required. Methods are
    compared by the two counts, by seconds and by bytes, never by steps.

    Attributes:
        loss: the loss that the step evaluated: of a descent at the point where the step started,
            of a search at its trial.
        loss_evaluations: int32, how many losses the step evaluated (a product X Wᵀ each).
        gradient_evaluations: int32, how many gradients (a product Gᵀ X each).
    """

    @property
    def loss(self) -> Array:
        """The loss that the step evaluated."""
        ...

    @property
    def loss_evaluations(self) -> Array:
        """How many losses the step evaluated."""
        ...

    @property
    def gradient_evaluations(self) -> Array:
        """How many gradients the step evaluated."""
        ...


class InitFn(Protocol):
    """The ``init`` of an `Optimizer`."""

    def __call__(self, params: Any, data: Data, /) -> Any:
        """Return the state at the start of a run. Pure and un-jitted.

        Args:
            params: the start, a pytree of floats, usually W (C, D).
            data: all the examples.

        Returns:
            A `State` whose ``params`` are the start's values.
        """
        ...


class StepFn(Protocol):
    """The ``step`` of an `Optimizer`."""

    def __call__(self, key: Array, state: Any, data: Data, /) -> tuple[Any, Any]:
        """Take one step. Pure and un-jitted: equal arguments give equal results.

        Args:
            key: the only source of randomness; a step that needs none ignores it.
            state: of ``init`` or of the step before.
            data: the examples; an argument, because a jitted function that closes over them copies
                them into the compiled program.

        Returns:
            The `State` after the step, and the step's `Info`.
        """
        ...


class BlockStepFn(Protocol):
    """The ``block_step`` of an `Optimizer`: several steps of one block, taken together."""

    def __call__(
        self, keys: Array, state: Any, data: Data, first: int | Array, stop: int | Array, /
    ) -> tuple[Any, Any]:
        """Take the steps ``first`` to ``stop − 1`` of a block, as so many calls of ``step`` would.

        The results are those of ``step`` to rounding. They are the same bits however the block is
        cut, so whatever depends on a block's length is computed for the whole block.

        Args:
            keys: (block_size,) the keys of all the block's steps.
            state: after the block's step first − 1.
            data: the examples.
            first: 0 ≤ first < block_size, counted from the block's start. With ``stop`` either two
                Python integers, 0 and block_size, or two traced ones.
            stop: first < stop ≤ block_size.

        Returns:
            The `State` after step stop − 1, and the steps' `Info` with a leading axis of
            block_size, whose entries outside [first, stop) may be anything.
        """
        ...


class Optimizer(NamedTuple):
    """A strategy as a value: pure functions, with its settings closed over.

    Attributes:
        init: an `InitFn`, ``(params, data) -> state``.
        step: a `StepFn`, ``(key, state, data) -> (state, info)``.
        block_step: a `BlockStepFn`; None where steps share no work.
        block_size: how many steps are a block. It changes a run by rounding at most.
        batchable: whether `minibatch` may hand ``step`` some of the rows at a time. False where the
            state holds something of all the rows, such as a search's best loss or carried scores,
            with which a batch's cannot be compared.
        by_products: whether ``step`` looks at X by the products of an `Objective` alone, once. Then
            `minibatch` leaves it to them to copy a batch's rows.
    """

    init: InitFn
    step: StepFn
    block_step: BlockStepFn | None = None
    block_size: int = 1
    batchable: bool = False
    by_products: bool = False


def run(
    optimizer: Optimizer, key: Array, params: Any, data: Data, *, num_steps: int
) -> tuple[Any, Any]:
    """Start from ``params`` and take ``num_steps`` steps.

        state, info_i ← step(fold_in(key, i), state, data),   i = 0, 1, ..., num_steps − 1

    Pure and un-jitted: jit it once at the edge,
    ``jax.jit(run, static_argnames=("optimizer", "num_steps"))``, or vmap it over keys. Another
    optimizer is then another compilation. To vary a setting without recompiling, pass it as an
    argument of a jitted function that makes the optimizer inside:
    ``jax.jit(lambda size, key, W, data: run(make(step_size=size), key, W, data, num_steps=100))``.

    Args:
        optimizer: the strategy.
        key: a typed key (`jax.random.key`); step i is handed ``fold_in(key, i)``.
        params: the start, usually W (C, D).
        data: the examples; always an argument, never closed over. Of `jaxsvm.StreamedRows` the
            steps are taken from the host, compiled but for their passes: not inside `jax.jit`.
        num_steps: how many steps, ≥ 0; static. Blocks are computed whole: a multiple of the
            optimizer's ``block_size`` computes nothing in vain.

    Returns:
        The last state, and the steps' info with a leading axis of ``num_steps``.

    Raises:
        ValueError: ``num_steps`` is no integer ≥ 0, ``optimizer`` is not one, or ``key`` is not a
            typed key; and whatever the optimizer's ``init`` refuses.

    >>> data = Data(jnp.ones((4, 1)), jnp.zeros(4, jnp.int32))
    >>> counter = Optimizer(
    ...     init=lambda params, data: params,
    ...     step=lambda key, state, data: (state + jnp.mean(data.X), state),
    ... )
    >>> run(counter, jax.random.key(0), jnp.zeros(()), data, num_steps=3)
    (Array(3., dtype=float32), Array([0., 1., 2.], dtype=float32))
    """
    _check_run(optimizer, key)
    num_steps = check_count("num_steps", num_steps, least=0)
    if is_read_here(key, params, data):
        return _run(optimizer, key, params, data, num_steps=num_steps)
    return advance(optimizer, key, optimizer.init(params, data), data, 0, num_steps=num_steps)


def advance(
    optimizer: Optimizer, key: Array, state: Any, data: Data, start: int | Array, *, num_steps: int
) -> tuple[Any, Any]:
    """Continue a run: take steps ``start`` to ``start + num_steps − 1`` of the run under ``key``.

        state, info_i ← step(fold_in(key, i), state, data),   i = start, start + 1, ...

    `run` is ``init`` and one `advance`. To show progress or to save a long run, cut it into many:
    the bits are the same for any cut. A cut at a multiple of ``block_size`` costs nothing; at any
    other, both parts compute the block that is cut.

    Args:
        optimizer: the run's.
        key: the run's.
        state: after ``start`` steps of the run.
        data: the run's.
        start: how many steps have been taken, ≥ 0 (a traced one is not checked); may be traced,
            so that one compilation serves every chunk of a length.
        num_steps: how many to take, ≥ 0; static.

    Returns:
        The state after, and the steps' info with a leading axis of ``num_steps``.

    Raises:
        ValueError: ``num_steps`` or ``start`` is no integer ≥ 0.

    >>> from jaxsvm import Objective, local_search
    >>> data, W = Data(jnp.eye(3), jnp.arange(3)), jnp.zeros((3, 3))
    >>> search, key = local_search(Objective(), step_size=0.1, block_size=8), jax.random.key(0)
    >>> whole, _ = run(search, key, W, data, num_steps=20)
    >>> state, _ = run(search, key, W, data, num_steps=13)
    >>> state, _ = advance(search, key, state, data, 13, num_steps=7)
    >>> bool((state.params == whole.params).all()), bool(state.best_loss == whole.best_loss)
    (True, True)
    """
    _check_run(optimizer, key)
    num_steps = check_count("num_steps", num_steps, least=0)
    if not isinstance(start, Tracer):
        start = check_count("start", start, least=0)
    if is_read_here(key, state, data):
        return _advance(optimizer, key, state, data, start, num_steps=num_steps)
    data = as_arrays(data)
    block_step, size = optimizer.block_step, optimizer.block_size
    if block_step is None or num_steps == 0:

        def one(state: Any, i: Array) -> tuple[Any, Any]:
            return optimizer.step(jax.random.fold_in(key, i), state, data)

        return lax.scan(one, state, _from(start, num_steps))

    begin = start % size  # in the first block
    num_blocks = -(-(begin + num_steps) // size)
    # Where start is traced, begin may be anything, and the number of blocks one more or less.
    most_blocks = -(-((start % size if isinstance(start, int) else size - 1) + num_steps) // size)
    whole = isinstance(start, int) and begin == 0 and num_steps % size == 0

    def block(state: Any, number: Array) -> tuple[Any, Any]:
        before = number * size
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, _from(before, size))
        if whole:
            return block_step(keys, state, data, 0, size)
        first = jnp.clip(start - before, 0, size)
        stop = jnp.clip(start + num_steps - before, 0, size)
        return block_step(keys, state, data, first, stop)

    numbers = _from(start // size, most_blocks)
    state, info = scan_between(block, state, numbers, 0, num_blocks)
    info = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), info)
    if not whole:
        info = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, begin, num_steps), info)
    return state, info


def scan_between(
    f: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    first: int | Array,
    stop: int | Array,
) -> tuple[Any, Any]:
    """Scan ``carry, out = f(carry, x)`` over ``xs[first:stop]``; the bounds may be traced.

    Where they are Python integers, they must be all of xs, and this is `jax.lax.scan`.

    Returns:
        The last carry, and ``out`` with a leading axis as long as that of xs; entries outside
        [first, stop) are 0.
    """
    length = jax.tree.leaves(xs)[0].shape[0]
    if isinstance(first, int) and isinstance(stop, int):
        return lax.scan(f, carry, xs)

    def at(t: Array) -> Any:
        return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, t, keepdims=False), xs)

    # Traced once, for its shapes and for the loop: of a loop within a loop there would be four.
    program, shapes = jax.make_jaxpr(f, return_shape=True)(carry, at(jnp.int32(0)))
    call, tree = jaxpr_as_fun(program), jax.tree.structure(shapes)

    def body(t: Array, loop: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, outs = loop
        carry, out = jax.tree.unflatten(tree, call(*jax.tree.leaves((carry, at(t)))))
        return carry, jax.tree.map(
            lambda all_, one: lax.dynamic_update_index_in_dim(all_, one, t, 0), outs, out
        )

    outs = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), shapes[1])
    low, high = jnp.asarray(first, jnp.int32), jnp.asarray(stop, jnp.int32)
    return lax.fori_loop(low, high, body, (carry, outs))


def check_optimizer(optimizer: Any) -> None:
    """Raise ValueError unless ``optimizer`` has an ``init`` and a ``step``."""
    if not (callable(getattr(optimizer, "init", None)) and hasattr(optimizer, "step")):
        raise ValueError(
            f"optimizer is a {type(optimizer).__name__}: expected an Optimizer, such as "
            "random_search(objective); the order is run(optimizer, key, params, data)"
        )


def _check_run(optimizer: Any, key: Any) -> None:
    check_optimizer(optimizer)
    check_key(key)


# Of a stream: in memory whoever calls them compiles them.
_run = compiled(run, static_argnames=("optimizer", "num_steps"))
_advance = compiled(advance, static_argnames=("optimizer", "num_steps"))


def _from(start: int | Array, length: int) -> Int[Array, " length"]:
    return start + jnp.arange(length, dtype=jnp.asarray(start).dtype)
