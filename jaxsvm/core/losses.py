"""The notes' equations, in their order: scores, margins, losses, penalties, the objective.

    f(W) = (1/N) Σ_i Σ_{j≠y_i} max(0, w_j·x_i − w_{y_i}·x_i + Δ)  +  reg · R(W),    R(W) = ΣΣ W²

There is no ½ in R, so ∇R = 2W. The bias is a column of ones at the end of X, so ``reg`` shrinks the
bias as well. A loss maps scores (N, C) and labels (N,) to one number an example, (N,).

At a kink, a margin of exactly 0, the derivative is 0 (the notes' strict ``1(margin > 0)``). It
comes from a mask: differentiating ``jnp.maximum`` would give ½ there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Bool, Float, Int

from jaxsvm.core.blocks import block_sizes
from jaxsvm.core.features import Features, dot, dot_and_transpose
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
    return dot(X, W)


def predict(W: Weights, X: Features) -> Int[Array, " N"]:
    """Return the class of the highest score of each example; the first of equals.

    Returns:
        (N,) int32 classes.

    Raises:
        ValueError: W and X differ in D.

    >>> predict(jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[3.0, 4.0]]))
    Array([1], dtype=int32)
    """
    return jnp.argmax(score(W, X), axis=1).astype(jnp.int32)


def accuracy(W: Weights, data: Data) -> Scalar:
    """Return the fraction of examples that `predict` gets right, in [0, 1].

    Raises:
        ValueError: W and X differ in D.

    >>> accuracy(jnp.eye(2), Data(jnp.eye(2), jnp.array([0, 0])))
    Array(0.5, dtype=float32)
    """
    return jnp.mean(predict(W, data.X) == data.y, dtype=W.dtype)


def is_label(scores: Scores, y: Labels) -> Bool[Array, "N C"]:
    """Return the mask that is True at ``[i, y_i]``.

    Raises:
        ValueError: not one label an example (one label would broadcast over all of them).
    """
    if y.shape != scores.shape[:1]:
        raise ValueError(
            f"y has shape {y.shape} and scores have shape {scores.shape}: expected y (N,), one "
            "label for each row of scores (N, C)"
        )
    return jnp.arange(scores.shape[1], dtype=y.dtype)[None, :] == y[:, None]


def margins(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> Scores:
    """Return how far each wrong class is from being beaten by ``delta``.

        margins[i, j] = scores[i, j] − scores[i, y_i] + delta,   and 0 at j = y_i

    Args:
        scores: (N, C).
        y: (N,) labels. A label ≥ C gives a row of NaN, a negative one counts from the end as in
            NumPy; neither is checked.
        delta: the margin asked for, in units of the scores.

    Returns:
        (N, C); a positive number is a violation.

    Raises:
        ValueError: y is not (N,).

    Source: CS231n notes, "Optimization", L_i, before the max.

    >>> margins(jnp.array([[13.0, -7.0, 11.0]]), jnp.array([0]), delta=10.0)
    Array([[  0., -10.,   8.]], dtype=float32)
    """
    label = is_label(scores, y)
    correct = jnp.take_along_axis(scores, y[:, None], axis=1)
    return jnp.where(label, 0, scores - correct + delta)


def one_vs_rest_margins(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> Scores:
    """Return delta minus the signed score of each binary problem "class j or not".

        margins[i, j] = delta − scores[i, j]  at j = y_i,   delta + scores[i, j]  elsewhere

    Returns:
        (N, C); a positive number is a violation.

    >>> one_vs_rest_margins(jnp.array([[2.0, -3.0]]), jnp.array([0]))
    Array([[-1., -2.]], dtype=float32)
    """
    return delta + jnp.where(is_label(scores, y), -scores, scores)


def positive_part(margin: Array) -> Array:
    """Return max(0, margin), with derivative 1(margin > 0) and NaN kept."""
    return jnp.where(margin <= 0, jnp.zeros_like(margin), margin)


def hinge_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:
    """Return the Weston-Watkins hinge loss, the notes' SVM loss.

        loss_i = Σ_{j≠y_i} max(0, scores[i, j] − scores[i, y_i] + delta)

    Its value at W = 0 is ``(C − 1)·delta``. torch's ``multi_margin_loss`` is this divided by C;
    optax's ``multiclass_hinge_loss`` is `crammer_singer_loss`.

    Args:
        scores: (N, C).
        y: (N,) labels in [0, C); not checked.
        delta: the margin, in units of the scores.

    Returns:
        (N,) losses ≥ 0. The subgradient at a margin of exactly 0 is 0.

    Source: CS231n notes, "Optimization"; Weston & Watkins (1999).

    >>> hinge_loss(jnp.array([[13.0, -7.0, 11.0]]), jnp.array([0]), delta=10.0)
    Array([8.], dtype=float32)
    """
    return jnp.sum(positive_part(margins(scores, y, delta=delta)), axis=1)


def squared_hinge_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:
    """Return the Weston-Watkins hinge with each term squared.

        loss_i = Σ_{j≠y_i} max(0, scores[i, j] − scores[i, y_i] + delta)²

    Args and returns as `hinge_loss`. Differentiable everywhere.

    Source: CS231n notes, "Linear classification", L2-SVM.

    >>> squared_hinge_loss(jnp.array([[13.0, -7.0, 11.0]]), jnp.array([0]), delta=10.0)
    Array([64.], dtype=float32)
    """
    return jnp.sum(positive_part(margins(scores, y, delta=delta)) ** 2, axis=1)


def crammer_singer_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:
    """Return the structured hinge: the largest margin violation of each example.

        loss_i = max(0, max_{j≠y_i} scores[i, j] − scores[i, y_i] + delta)

    Args and returns as `hinge_loss`. Where several wrong classes share the maximum the subgradient
    is that of the first of them; where the maximum is exactly 0 it is 0.

    Source: CS231n notes, "Linear classification", structured SVM; Crammer & Singer (2001).

    >>> crammer_singer_loss(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([0]))
    Array([3.], dtype=float32)
    """
    all_margins = margins(scores, y, delta=delta)
    # argmax, not max: the derivative of max would split a tie evenly.
    hardest = jnp.argmax(all_margins, axis=1)
    return positive_part(jnp.take_along_axis(all_margins, hardest[:, None], axis=1)[:, 0])


def one_vs_rest_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:
    """Return the sum of the C binary hinge losses "class j or not".

        loss_i = max(0, delta − scores[i, y_i]) + Σ_{j≠y_i} max(0, delta + scores[i, j])

    Args and returns as `hinge_loss`. Its value at W = 0 is C·delta.

    Source: CS231n notes, "Linear classification", One-Vs-All SVM.

    >>> one_vs_rest_loss(jnp.array([[2.0, -3.0, 0.5]]), jnp.array([0]))
    Array([1.5], dtype=float32)
    """
    return jnp.sum(positive_part(one_vs_rest_margins(scores, y, delta=delta)), axis=1)


def l2_penalty(W: Weights) -> Scalar:
    """Return ΣΣ W², with no ½: its gradient is 2W.

    Source: CS231n notes, "Linear classification", R(W).

    >>> l2_penalty(jnp.array([[1.0, 2.0]]))
    Array(5., dtype=float32)
    """
    return jnp.sum(W * W)


def l1_penalty(W: Weights) -> Scalar:
    """Return ΣΣ |W|; its subgradient at 0 is 0.

    >>> l1_penalty(jnp.array([[1.0, -2.0]]))
    Array(3., dtype=float32)
    """
    # jax.grad of jnp.abs is 1 at 0; the sign is 0 there, and its own derivative is 0.
    return jnp.sum(W * jnp.sign(W))


Loss: TypeAlias = Callable[..., PerExample]
Penalty: TypeAlias = Callable[[Weights], Scalar]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    """The objective in its parts; ``objective(W, data)`` is its value.

        objective(W, data) = (1/N) Σ_i loss(scores, y)_i + reg · penalty(W)

    What exploits the structure takes an `Objective`; what does not takes any
    ``loss_fn(params, data) -> scalar``, and an objective is one. It is hashable, so it may be a
    static argument of `jax.jit`; it is a pytree too (``reg`` and ``delta`` its leaves), so that
    it may be traced and a sweep over ``reg`` compiles once.

    Over more than a hundred or so examples, losses of margins take the scores relative
    to the last class: fewer products, and every margin rounds like the last class's score.

    Attributes:
        loss: one of the losses of this module, or any ``loss(scores, y, *, delta) -> (N,)``.
        penalty: `l2_penalty`, `l1_penalty`, or any function of W.
        reg: the penalty's weight, ≥ 0 (not checked). The notes' λ (or α).
        delta: the margin handed to the loss.

    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> float(Objective(reg=0.5)(jnp.ones((3, 2)), data))
    5.0
    """

    # Static, so that `reg` and `delta` may be traced while the functions stay Python.
    loss: Loss = field(default=hinge_loss, metadata={"static": True})
    penalty: Penalty = field(default=l2_penalty, metadata={"static": True})
    reg: ScalarLike = 0.0
    delta: ScalarLike = 1.0

    def __call__(self, W: Weights, data: Data) -> Scalar:
        """Return the objective at W, a scalar in W's dtype.

        Raises:
            ValueError: the data is empty, X and y differ in length, or W and X differ in D.
        """
        check_shapes(data)
        return _mean_loss(self.loss, W, data, self.delta) + self.reg * self.penalty(W)

    def data_loss(self, scores: Scores, y: Labels) -> Scalar:
        """Return the mean loss of scores at hand: the objective without its penalty."""
        return jnp.mean(self.loss(scores, y, delta=self.delta))


# Losses of margins alone: adding a number to all scores of an example changes nothing.
MARGIN_LOSSES = (hinge_loss, squared_hinge_loss, crammer_singer_loss)


def _relative(loss: Loss, W: Weights, X: Features) -> bool:
    """Whether the last class may be the zero that the other classes' scores are counted from.

    Then C − 1 products are enough, and of ten classes a CPU, which takes products eight columns at
    a time, has the tenth for nothing. Over a few rows it costs more than it saves. A margin's
    rounding is bounded by γ·Σ_d |x_d| (|w_jd − w_Cd| + |w_yd − w_Cd|) where the plain formula has
    γ·Σ_d |x_d| (|w_jd| + |w_yd|): less where the classes share something, about twice as much where
    they are of one size, and more where the last class alone has large weights.
    """
    return loss in MARGIN_LOSSES and W.shape[0] > 1 and X.shape[0] > block_sizes().few


def _append_zero(scores: Float[Array, "N _K"]) -> Scores:
    return jnp.pad(scores, ((0, 0), (0, 1)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mean_loss(loss: Loss, W: Weights, data: Data, delta: ScalarLike) -> Scalar:
    """Return the mean loss; its derivative in W takes both products in one pass over X."""
    if _relative(loss, W, data.X):
        scores = _append_zero(score(W[:-1] - W[-1:], data.X))
    else:
        scores = score(W, data.X)
    return jnp.mean(loss(scores, data.y, delta=delta))


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
    if _relative(loss, W, data.X):
        losses, gradient = dot_and_transpose(
            lambda scores, y: value_and_gradient(_append_zero(scores), y),
            data.X,
            W[:-1] - W[-1:],
            data.y,
        )
    else:
        losses, gradient = dot_and_transpose(value_and_gradient, data.X, W, data.y)
    slope = jnp.vdot(gradient, tangents[0], precision="highest") / data.y.shape[0]
    return jnp.mean(losses), slope


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiate(tangent: Any) -> Any:
    if not _is_zero(tangent):
        return tangent
    zeros = np.zeros if tangent.dtype == jax.dtypes.float0 else jnp.zeros
    return zeros(tangent.shape, tangent.dtype)


class HingeTerms(NamedTuple):
    """A loss as a sum of hinges: ``loss_i = Σ_j max(0, margins[i, j])**power``.

    Attributes:
        margins: ``(scores, y, *, delta) -> (N, C)``, affine in the scores; a term that is not there
            (j = y_i of Weston-Watkins) has margin 0 for any scores.
        power: 1, or 2 for the squared hinge.
    """

    margins: Callable[..., Scores]
    power: int


def hinge_terms(objective: Objective) -> HingeTerms:
    """Return the objective's loss as a sum of hinges, which lines and termwise differences need.

    Raises:
        ValueError: the loss is no sum of hinges (`crammer_singer_loss` takes a maximum over
            classes), or is not one of this module's.
    """
    if objective.loss is hinge_loss:
        return HingeTerms(margins, 1)
    if objective.loss is squared_hinge_loss:
        return HingeTerms(margins, 2)
    if objective.loss is one_vs_rest_loss:
        return HingeTerms(one_vs_rest_margins, 1)
    name = getattr(objective.loss, "__name__", objective.loss)
    raise ValueError(
        f"objective.loss is {name}: expected a sum of hinges (hinge_loss, squared_hinge_loss or "
        "one_vs_rest_loss); pass the objective as a black-box loss_fn where one is accepted"
    )


def check_shapes(data: Data) -> None:
    """Raise ValueError for empty data or for X and y of different length; free after tracing.

    Raises:
        ValueError: N = 0, X not (N, D), or y not (N,).
    """
    N = data.X.shape[0]
    if data.X.ndim != 2 or data.y.shape != (N,):
        raise ValueError(
            f"data.X has shape {data.X.shape} and data.y has shape {data.y.shape}: expected "
            "X (N, D) and y (N,), one label for each row of X"
        )
    if N == 0:
        raise ValueError("data has no examples: expected N >= 1; a mean over none is not defined")
