"""The objective: scores, a loss, a penalty; its value and its gradient in one pass over X.

    f(W) = (1/N) Σ_i loss(X Wᵀ, y)_i  +  reg · R(W)

The bias is a column of ones at the end of X, so ``reg`` shrinks the bias as well.
"""

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float, Int

from jaxsvm.core.arguments import check_finite, check_number, check_problem, check_weights
from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import Features, check_width, dot, dot_and_transpose, scores_by_row
from jaxsvm.core.losses import Hinge, Loss, hinge_loss
from jaxsvm.core.penalties import Penalty, l2_penalty
from jaxsvm.core.rows import mean_rows
from jaxsvm.core.types import Data, Labels, PerExample, Scalar, ScalarLike, Scores, Weights


def score(W: Weights, X: Features) -> Scores:
    """Return the class scores of every example.

        scores[i, j] = w_j · x_i

    Args:
        W: (C, D) weights, one class a row.
        X: (N, D) features, the bias column last.

    Returns:
        (N, C) scores.

    Raises:
        ValueError: W and X differ in D.

    Source: CS231n notes, "Optimization", the score function f(x; W) = W x.

    >>> score(jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[3.0, 4.0]]))
    Array([[3., 8.]], dtype=float32)
    """
    check_weights(W, X)
    return dot(X, W)


def scores_of(X: Features, *weights: Weights) -> tuple[Scores, ...]:
    """Return the scores of several weights of one shape, by one product.

    Raises:
        ValueError: they and X differ in D.
    """
    check_width(X, weights[0])
    C = weights[0].shape[0]
    scores = dot(X, jnp.concatenate(weights))
    return tuple(scores[:, k * C : (k + 1) * C] for k in range(len(weights)))


def predict(W: Weights, X: Features) -> Int[Array, " N"]:
    """Return the class of the highest score of each example; the first of equals.

        class_i = argmax_j scores[i, j]

    Returns:
        (N,) int32 classes.

    Raises:
        ValueError: W and X differ in D; outside `jax.jit`, a score is NaN or infinite, of which
            there is no largest.

    >>> predict(jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[3.0, 4.0]]))
    Array([1], dtype=int32)
    """
    scores = score(W, X)
    check_finite("scores of W and X", scores)
    return jnp.argmax(scores, axis=1).astype(jnp.int32)


def accuracy(W: Weights, data: Data) -> Scalar:
    """Return the fraction of examples that `predict` gets right, in [0, 1].

        accuracy = (1/N) Σ_i [argmax_j scores[i, j] = y_i]

    Raises:
        ValueError: W and X differ in D, or what `predict` refuses.

    >>> accuracy(jnp.eye(2), Data(jnp.eye(2), jnp.array([0, 0])))
    Array(0.5, dtype=float32)
    """
    check_problem(W, data)
    return jnp.mean(predict(W, data.X) == data.y, dtype=W.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    """The objective in its parts; ``objective(W, data)`` is its value.

        objective(W, data) = (1/N) Σ_i loss(scores, y)_i + reg · penalty(W)

    What exploits the structure takes an `Objective`; what does not takes any
    ``loss_fn(params, data) -> scalar``, and an objective is one. It is hashable, so it may be a
    static argument of `jax.jit`; it is a pytree too (``reg`` and ``delta`` its leaves), so that
    it may be traced and a sweep over ``reg`` compiles once.

    Over more than a hundred or so examples, losses that a shift of all scores does not change take
    the scores relative to the last class: fewer products, and every margin rounds like the last
    class's score. On a processor with a unit for int8 a value and a gradient take bytes as
    `jaxsvm.core.digits` has them: as good, with other last digits.

    Attributes:
        loss: a `Hinge`, or any ``loss(scores, y, *, delta) -> (N,)``.
        penalty: `l2_penalty`, `l1_penalty`, or any function of W.
        reg: the penalty's weight, ≥ 0 (not checked). The notes' λ (or α).
        delta: the margin handed to the loss.

    Raises:
        ValueError: loss or penalty is not callable, or the loss takes no ``delta``.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> W = jnp.ones((3, 2))
    >>> float(Objective(reg=0.5)(W, data))
    5.0

    Several regs at once: make the objective inside `jax.vmap`.

    >>> jax.vmap(lambda reg: Objective(reg=reg)(W, data))(jnp.array([0.0, 0.5]))
    Array([2., 5.], dtype=float32)
    """

    # Static, so that `reg` and `delta` may be traced while the functions stay Python.
    loss: Hinge | Loss = field(default=hinge_loss, metadata={"static": True})
    penalty: Penalty | Callable[[Weights], Scalar] = field(
        default=l2_penalty, metadata={"static": True}
    )
    reg: ScalarLike = 0.0
    delta: ScalarLike = 1.0

    def __post_init__(self) -> None:
        for name, example in (("loss", "hinge_loss"), ("penalty", "l2_penalty")):
            if not callable(getattr(self, name)):
                kind = type(getattr(self, name)).__name__
                raise ValueError(f"{name} is a {kind}: expected a function, such as {example}")
        if not isinstance(self.loss, Hinge) and not _takes_delta(self.loss):
            raise ValueError(
                f"loss is {_name(self.loss)}, which takes no delta: expected "
                "loss(scores, y, *, delta) -> (N,); wrap it in a function that ignores delta"
            )
        # An int, a NumPy number and a float are then one type, and a jitted function of the
        # objective is compiled once for all of them.
        for name in ("reg", "delta"):
            number = getattr(self, name)
            is_real = isinstance(number, int | np.integer | np.floating)
            if is_real and not isinstance(number, bool):
                with contextlib.suppress(OverflowError):  # `check_objective` says it better
                    object.__setattr__(self, name, float(number))

    def __call__(self, W: Weights, data: Data) -> Scalar:
        """Return the objective at W, a scalar in W's dtype.

        Raises:
            ValueError: the data is empty, X and y differ in length, W and X differ in D, or reg or
                delta is no finite number.
        """
        check_problem(W, data)
        check_objective(self, "its value")
        return _mean_loss(self.loss, W, data, self.delta) + self.reg * self.penalty(W)

    def data_loss(self, scores: Scores, y: Labels) -> Scalar:
        """Return the mean loss of scores at hand: the objective without its penalty."""
        return jnp.mean(self.loss(scores, y, delta=self.delta))


def check_objective(objective: Any, caller: str) -> None:
    """Raise ValueError unless it is an `Objective` whose reg and delta are finite numbers.

    Not when one is made, because `jax.vmap` over many regs is handed an array of them. Of traced
    numbers only the shape is checked.
    """
    if not isinstance(objective, Objective):
        kind = type(objective).__name__
        raise ValueError(
            f"objective is a {kind}: {caller} expected an Objective(loss, penalty, reg)"
        )
    check_number("objective.reg", objective.reg)
    check_number("objective.delta", objective.delta)


def require(
    objective: Objective, caller: str, *, penalty: bool = True, bound: bool = False
) -> tuple[Hinge, Any]:
    """Return the objective's loss and penalty as records, or say what cannot do without them.

    Args:
        objective: anything that was passed for one.
        caller: the function's name, for the message.
        penalty: whether the penalty has to be a record as well.
        bound: whether the penalty has to have a conjugate.

    Raises:
        ValueError: not an `Objective`, reg or delta is no number, the loss has no hinges, or the
            penalty is a plain function or has no conjugate where one is needed.
    """
    check_objective(objective, caller)
    others = (
        "jax.grad, searches, descents and slices take any, and numerical_gradient takes any "
        "function"
    )
    if not isinstance(objective.loss, Hinge):
        raise ValueError(
            f"objective.loss is {_name(objective.loss)}, which has no hinges: {caller} expected a "
            f"Hinge, convex in the scores, such as hinge_loss or crammer_singer_loss; {others}"
        )
    found: Any = objective.penalty
    known = isinstance(found, Penalty)
    if penalty and not (known and (found.conjugate is not None or not bound)):
        wanted = "l2_penalty" if bound else "l2_penalty or l1_penalty"
        raise ValueError(
            f"objective.penalty is {_name(found)}: {caller} expected {wanted}; {others}"
        )
    return objective.loss, found


def _takes_delta(loss: Any) -> bool:
    """Whether a function may be called with ``delta=``; True where its signature is not known."""
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):
        return True
    named = any(p.name == "delta" and p.kind is not p.POSITIONAL_ONLY for p in parameters)
    return named or any(p.kind is p.VAR_KEYWORD for p in parameters)


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or repr(function)


def is_relative(loss: Loss, W: Weights, X: Features) -> bool:
    """Whether the last class may be the zero that the other classes' scores are counted from.

    Then C − 1 products are enough, and of ten classes a CPU, which takes products eight columns at
    a time, has the tenth for nothing. Over a few rows it costs more than it saves. A margin's
    rounding is bounded by γ·Σ_d |x_d| (|w_jd − w_Cd| + |w_yd − w_Cd|) where the plain formula has
    γ·Σ_d |x_d| (|w_jd| + |w_yd|): less where the classes share something, about twice as much where
    they are of one size, and more where the last class alone has large weights.
    """
    return (
        getattr(loss, "is_shift_invariant", False)
        and W.shape[0] > 1
        and X.shape[0] > block_sizes().few
    )


def less_last(W: Float[Array, "*B C D"]) -> Float[Array, "*B _K D"]:
    """Return the weights of all classes but the last, less the last one's."""
    return W[..., :-1, :] - W[..., -1:, :]


def up_to(C: int, scores: Float[Array, "..."], *, axis: int) -> Float[Array, "..."]:
    """Return scores of C classes along an axis, of which the last is zero where they are relative.

    >>> up_to(3, jnp.ones((2, 1)), axis=0)
    Array([[1.],
           [1.],
           [0.]], dtype=float32)
    """
    pads = [(0, 0)] * scores.ndim
    pads[axis] = (0, C - scores.shape[axis])
    return jnp.pad(scores, pads)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mean_loss(loss: Loss, W: Weights, data: Data, delta: ScalarLike) -> Scalar:
    """Return the mean loss; its derivative in W takes both products in one pass over X."""
    if is_relative(loss, W, data.X):
        scores = up_to(len(W), scores_by_row(data.X, less_last(W)), axis=0)
    else:
        scores = scores_by_row(data.X, W)
    return jnp.mean(loss(scores.T, data.y, delta=delta))


@partial(_mean_loss.defjvp, symbolic_zeros=True)
def _mean_loss_jvp(loss: Loss, primals: Any, tangents: Any) -> tuple[Scalar, Scalar]:
    W, data, delta = primals
    others = jax.tree.leaves(tangents[1:], is_leaf=_is_zero)
    if not all(_is_zero(t) for t in others):
        # Something but W moves, X or delta say: autodiff of the plain formula.
        def plain(W: Weights, data: Data, delta: ScalarLike) -> Scalar:
            return jnp.mean(loss(score(W, data.X), data.y, delta=delta))

        return jax.jvp(plain, primals, jax.tree.map(_instantiate, tangents, is_leaf=_is_zero))

    def value_and_gradient(scores: Scores, y: Labels) -> tuple[PerExample, Scores]:
        losses, pull_back = jax.vjp(lambda scores: loss(scores, y, delta=delta), scores)
        return losses, pull_back(jnp.ones_like(losses))[0]

    # Of the gradient all rows are pulled back: the last one as minus the sum of the others would
    # have their rounding and not its own.
    if is_relative(loss, W, data.X):
        losses, gradient = dot_and_transpose(
            lambda scores, y: value_and_gradient(up_to(len(W), scores, axis=1), y),
            data.X,
            less_last(W),
            data.y,
        )
    else:
        losses, gradient = dot_and_transpose(value_and_gradient, data.X, W, data.y)
    slope = jnp.vdot(gradient, tangents[0], precision="highest") / data.y.shape[0]
    return mean_rows(losses), slope


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiate(tangent: Any) -> Any:
    if not _is_zero(tangent):
        return tangent
    zeros = np.zeros if tangent.dtype == jax.dtypes.float0 else jnp.zeros
    return zeros(tangent.shape, tangent.dtype)
