"""The multiclass hinge losses: one record of four choices, and the equations that follow from it.

    loss_i = join_{j in terms} max(0, margins[i, j])**power

    margins   relative   s_j − s_y + delta           how far class j is from being beaten
              absolute   delta − s_y at j = y,  delta + s_j elsewhere
              centred    absolute, of s − mean(s)    the sum-to-zero machines
    terms     the wrong classes | all | the own class
    join      sum | max
    power     1 | 2

Every multiclass SVM in the literature is one of these (`FAMILY`). Nothing outside this file asks
which one it has: value, slopes, pull-back, lines and the dual's constraints are methods here.

At a kink, a margin of exactly 0, the derivative is 0 (the notes' strict ``1(margin > 0)``). It
comes from a mask: differentiating ``jnp.maximum`` would give ½ there.

Source: Doğan, Glasmachers & Igel, "A Unified View on Multi-class Support Vector Classification",
JMLR 17(45), 2016.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import logsumexp
from jaxtyping import Bool, Float

from jaxsvm.core.arguments import check_number, check_scores
from jaxsvm.core.hinges import (
    NO_HINGE,
    Height,
    Hinges,
    Kink,
    ScoreHinges,
    envelope_kinks,
    positive_part,
    upper_envelope,
)
from jaxsvm.core.rows import layout
from jaxsvm.core.types import Labels, PerExample, ScalarLike, Scores

# Any ``loss(scores, y, *, delta) -> (N,)``; a `Hinge` is one.
Loss: TypeAlias = Callable[..., PerExample]


class AllowedSlopes(NamedTuple):
    """What slopes a loss allows, and the conjugate that its lower bounds subtract.

        0 ≤ a_j ≤ upper_j,   Σ_j a_j ≤ 1 if capped
        conjugate(a) = ½ Σ_j bend_j a_j² + ½ total_bend (Σ_j a_j)²
        ‖pull_back(d)‖² = Σ_j d_j² + coupling · (Σ_j signs_j d_j)²

    Attributes:
        upper: infinite, a number, or (N, C).
        capped: whether the slopes of an example add up to 1 at most.
        bend: a number or (N, C); 0 for a hinge, ½ for a squared one.
        total_bend: ½ for the square of a maximum, else 0.
        coupling: 1 for relative margins, 0 for absolute ones, −1/C for centred ones.
        signs: (N, C) of ±1, or None where all are 1.
    """

    upper: float | Float[Array, "N C"]
    capped: bool
    bend: float | Float[Array, "N C"]
    total_bend: float
    coupling: float
    signs: Float[Array, "N C"] | None

    @property
    def is_cone(self) -> bool:
        """Whether every multiple of allowed slopes is allowed."""
        return not self.capped and isinstance(self.upper, float) and self.upper == float("inf")


@dataclass(frozen=True)
class Hinge:
    """A multiclass hinge loss: call it as ``loss(scores, y, *, delta=1.0) -> (N,)``.

        loss_i = join_{j in terms} max(0, margins[i, j])^power

    A record of the four choices above: hashable, so it may be a static argument of `jax.jit`, and
    equal to any record of the same choices. For a loss of your own, subclass it (a frozen
    dataclass) and override `targets`: a delta for each pair of classes, say.

    Attributes:
        margins: "relative", "absolute" or "centred".
        terms: "wrong", "all" or "own"; relative margins have only "wrong" ones.
        join: "sum" or "max".
        power: 1 or 2.
        own_weight: γ in (0, 1) weights the own class's term, whose delta is then C − 1 times the
            others', by γ and the others by 1 − γ (Liu & Yuan's reinforced machine); None for no
            weights.

    Raises:
        ValueError: a choice that is not one of these, or that has no meaning with the others.

    >>> Hinge() == hinge_loss, Hinge(join="max") == crammer_singer_loss
    (True, True)
    >>> Hinge("centred", "all")(jnp.array([[3.0, 1.0, -1.0]]), jnp.array([1]))
    Array([4.], dtype=float32)
    """

    margins: Literal["relative", "absolute", "centred"] = "relative"
    terms: Literal["wrong", "all", "own"] = "wrong"
    join: Literal["sum", "max"] = "sum"
    power: Literal[1, 2] = 1
    own_weight: float | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("margins", ("relative", "absolute", "centred")),
            ("terms", ("wrong", "all", "own")),
            ("join", ("sum", "max")),
            ("power", (1, 2)),
        ):
            choice = getattr(self, name)
            if not isinstance(choice, str | int) or choice not in known:
                raise ValueError(f"{name} = {choice!r}: expected one of {known}")
        if self.margins == "relative" and self.terms != "wrong":
            raise ValueError(
                f"terms = {self.terms!r} with relative margins: the own class's margin over itself "
                "is delta whatever W is; expected 'wrong', or absolute or centred margins"
            )
        if self.own_weight is not None:
            if self.terms != "all" or self.join != "sum":
                raise ValueError(
                    f"own_weight = {self.own_weight} with terms = {self.terms!r} and join = "
                    f"{self.join!r}: expected a sum over all terms"
                )
            check_number("own_weight", self.own_weight, "a number in (0, 1)", lambda x: 0 < x < 1)

    # --- the notes' equations ---

    def __call__(self, scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:
        """Return the loss of each example, (N,) numbers ≥ 0, for scores (N, C) and labels (N,)."""
        margins = self.all_margins(scores, y, delta=delta)
        if self._takes_max:
            # argmax, not max: the derivative of max would split a tie evenly.
            hardest = jnp.argmax(margins, axis=1)
            worst = jnp.take_along_axis(margins, hardest[:, None], axis=1)[:, 0]
            return positive_part(worst) ** self.power
        heights = positive_part(margins) ** self.power
        if self.own_weight is not None:
            heights = heights * self._weights(scores, y)
        return jnp.sum(heights, axis=1)

    def targets(self, y: Labels, num_classes: int, delta: ScalarLike) -> ScalarLike | Array:
        """Return what is added to the linear part of each margin, () or (N, C).

        The one method to override: a delta for each pair of classes is ``delta · costs[y]``.
        """
        if self.own_weight is None:
            return delta
        own = jnp.arange(num_classes, dtype=y.dtype)[None, :] == y[:, None]
        return delta * jnp.where(own, num_classes - 1.0, 1.0)

    def linear(self, scores: Scores, y: Labels) -> Scores:
        """Return the linear part of the margins, (N, C); 0 where there is no term."""
        return self.mask(self._unmasked(scores, y), y)

    def all_margins(self, scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> Scores:
        """Return the margins, (N, C): a positive one is a violation; 0 where there is no term."""
        check_scores(scores, y)
        check_number("delta", delta)
        target = jnp.asarray(self.targets(y, scores.shape[1], delta), scores.dtype)
        return self.mask(self._unmasked(scores, y) + target, y)

    def pull_back(self, slopes: Scores, y: Labels) -> Scores:
        """Return slopes on the margins as a gradient on the scores: the transpose of `linear`."""
        label = is_label(slopes, y)
        slopes = jnp.where(self._is_term(label), slopes, 0)
        if self.margins == "relative":
            return jnp.where(label, -jnp.sum(slopes, axis=1, keepdims=True), slopes)
        signed = jnp.where(label, -slopes, slopes)
        if self.margins == "centred":
            return signed - jnp.mean(signed, axis=1, keepdims=True)
        return signed

    def pull_back_size(self, slopes: Scores, y: Labels) -> Scores:
        """Return the sums of the magnitudes that `pull_back` adds up, for bounds on rounding."""
        size = jnp.abs(self.pull_back(slopes, y))
        if self.margins == "centred":
            # A mean is subtracted, and may cancel.
            slopes = jnp.abs(self.mask(slopes, y))
            size = slopes + jnp.mean(slopes, axis=1, keepdims=True)
        return size

    def slopes(self, scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> Scores:
        """Return the derivative of each example's loss by its margins, (N, C); 0 at a kink.

        sum   1(margin > 0), or 2·max(0, margin)
        max   the same at the first of the largest margins, 0 elsewhere
        """
        margins = self.all_margins(scores, y, delta=delta)
        on = margins > 0
        if self._takes_max:
            classes = jnp.arange(margins.shape[1])[None, :]
            on = on & (jnp.argmax(margins, axis=1)[:, None] == classes)
        steep = jnp.ones_like(margins) if self.power == 1 else 2 * margins
        if self.own_weight is not None:
            steep = steep * self._weights(scores, y)
        return jnp.where(on, steep, 0)

    # --- what the library reads off ---

    @property
    def is_shift_invariant(self) -> bool:
        """Whether adding a number to all scores of an example changes nothing."""
        return self.margins != "absolute"

    def has_exact_margins(self, num_classes: int) -> bool:
        """Whether margins are exact where scores are: a mean over classes may round."""
        return self.margins != "centred" or num_classes & (num_classes - 1) == 0

    def along(self, offsets: Float[Array, "C N"], slopes: Float[Array, "C N"], y: Labels) -> Hinges:
        """Return the mean loss where the margins, classes first, are ``offsets + t·slopes``."""
        if not self._takes_max:
            height = self._height(offsets.T, y).map(classes_first)
            return Hinges(offsets, slopes, 1.0 / len(y), height)
        pieces = upper_envelope(offsets, slopes, power=self.power)
        lowest = jnp.mean(jnp.asarray(pieces.constant))
        return Hinges(pieces.offsets, pieces.slopes, 1.0 / len(y), pieces.height, lowest)

    def along_scores(
        self, scores: Scores, y: Labels, *, delta: ScalarLike = 1.0
    ) -> tuple[ScoreHinges, ...]:
        """Return the hinges that each example's loss is along each of its scores."""
        C = scores.shape[1]
        label = is_label(scores, y)
        margins = self.all_margins(scores, y, delta=delta)
        margins = jnp.where(self._is_term(label), margins, -jnp.inf)
        if self._takes_max:
            return self._max_along_scores(margins, label)
        height = self._height(scores, y)
        if self.margins == "relative":
            return (ScoreHinges(margins, height, (1.0, 0.0), (-1.0, 0.0), only_label=True),)
        if self.margins == "absolute":
            return (ScoreHinges(margins, height, (1.0, -1.0)),)
        own, rest = 1 - 1 / C, 1 / C
        return (ScoreHinges(margins, height, (own, -own), (-rest, rest)),)

    def allowed_slopes(self, y: Labels, num_classes: int, dtype: Any) -> AllowedSlopes:
        """Return the constraints on the slopes and their conjugate."""
        is_line = self.power == 1
        upper: Any = 1.0 if is_line and not self._takes_max else float("inf")
        bend: Any = 0.0 if is_line or self._takes_max else 0.5
        if self.own_weight is not None:
            weights = self._weights(jnp.zeros((len(y), num_classes), dtype), y)
            upper, bend = (weights, 0.0) if is_line else (upper, 0.5 / weights)
        mixed = self.margins == "centred" and self.terms != "wrong"
        label = jnp.arange(num_classes, dtype=y.dtype)[None, :] == y[:, None]
        return AllowedSlopes(
            upper=upper,
            capped=is_line and self._takes_max,
            bend=bend,
            total_bend=0.5 if self._takes_max and not is_line else 0.0,
            coupling={"relative": 1.0, "absolute": 0.0, "centred": -1 / num_classes}[self.margins],
            signs=jnp.where(label, -1.0, 1.0).astype(dtype) if mixed else None,
        )

    def mask(self, terms: Scores, y: Labels) -> Scores:
        """Return margins or slopes (N, C) with 0 where there is no term."""
        if self.terms == "all":
            return terms
        return jnp.where(self._is_term(is_label(terms, y)), terms, 0)

    # --- how ---

    @property
    def _takes_max(self) -> bool:
        """Whether a maximum is taken of more than one term."""
        return self.join == "max" and self.terms != "own"

    def _unmasked(self, scores: Scores, y: Labels) -> Scores:
        """Return the linear part of the margins, and anything where there is no term."""
        if self.margins == "relative":
            return scores - jnp.take_along_axis(scores, y[:, None], axis=1)
        if self.margins == "centred":
            scores = scores - jnp.mean(scores, axis=1, keepdims=True)
        return jnp.where(is_label(scores, y), -scores, scores)

    def _is_term(self, label: Bool[Array, "N C"]) -> Bool[Array, "N C"]:
        every = {"wrong": ~label, "own": label}
        return every.get(self.terms, jnp.ones_like(label))

    def _weights(self, scores: Scores, y: Labels) -> Scores:
        weight = jnp.asarray(self.own_weight, scores.dtype)
        return jnp.where(is_label(scores, y), weight, 1 - weight)

    def _height(self, scores: Scores, y: Labels) -> Height:
        if self.own_weight is None:
            return Height(self.power)
        weights = self._weights(scores, y)
        return Height(1, linear=weights) if self.power == 1 else Height(2, square=weights)

    def _max_along_scores(self, margins: Scores, label: Array) -> tuple[ScoreHinges, ...]:
        """Return the envelope of at most three lines and 0 along each score.

        Along s_k the terms j ≠ k, y move alike, and so only the largest of them matters; the term k
        and the own class's term move in ways of their own.
        """
        C = margins.shape[1]
        wrong = jnp.where(label, -jnp.inf, margins)
        first = jnp.argmax(wrong, axis=1)[:, None] == jnp.arange(C)[None, :]
        largest = jnp.max(wrong, axis=1, keepdims=True)
        second = jnp.max(jnp.where(first, -jnp.inf, wrong), axis=1, keepdims=True)
        rest = jnp.where(first, second, largest)  # the largest of the wrong ones but k
        own = jnp.max(jnp.where(label, margins, -jnp.inf), axis=1, keepdims=True)
        # Their rates along the score of a wrong class, and along the label's.
        turn, shift = (1 - 1 / C, 1 / C) if self.margins == "centred" else (1.0, 0.0)
        has_own = self.terms == "all"
        wrong_lines = [(margins, turn)] + ([(rest, -shift)] if C > 2 else [])
        label_lines = [(rest, -1.0 if self.margins == "relative" else -shift)] if C > 1 else []
        if has_own:
            wrong_lines.append((own, shift))
            label_lines.append((margins, -turn))
        kinks = [envelope_kinks(lines) for lines in (wrong_lines, label_lines)]

        def layer(wrong: Kink | None, right: Kink | None) -> ScoreHinges:
            """Return one kink along each score: of a wrong class, and of the label."""
            gap = min(kink.jump for kink in (wrong, right) if kink)
            parts = [kink.as_hinge(self.power) if kink else NO_HINGE for kink in (wrong, right)]
            rates = (parts[0][3], parts[1][3])

            def pick(n: int) -> Array:
                wrong, right = (jnp.asarray(part[n], margins.dtype) for part in parts)
                return jnp.where(label, right, wrong)

            if self.power == 1:
                # The jump times a quotient of a difference of two margins and at least the jump.
                return ScoreHinges(pick(0), Height(1), rates, roundings=2.0)
            return ScoreHinges(pick(0), Height(2, pick(1), pick(2)), rates, roundings=2 / gap)

        return tuple(layer(*pair) for pair in itertools.zip_longest(*kinks))


def classes_first(scores: Scores) -> Float[Array, "C N"]:
    """Return scores or margins with one row for each class.

    More than a block of them block by block: a plain transpose is one to the compiler as long as it
    likes, and on several devices it then sums what is computed from it in another order.
    """
    N, C = scores.shape
    size = layout(N).size
    if size == N:
        return scores.T

    def turn(turned: Array, start: Array) -> tuple[Array, tuple[()]]:
        block = lax.dynamic_slice_in_dim(scores, start, size).T
        return lax.dynamic_update_slice_in_dim(turned, block, start, axis=1), ()

    # The last block begins where it ends with the scores.
    starts = jnp.minimum(jnp.arange(0, N, size, dtype=jnp.int32), N - size)
    return lax.scan(turn, jnp.zeros((C, N), scores.dtype), starts)[0]


def is_label(scores: Scores, y: Labels) -> Bool[Array, "N C"]:
    """Return the mask that is True at ``[i, y_i]``.

    Raises:
        ValueError: not one label an example (one label would broadcast over all of them).
    """
    if y.shape != scores.shape[:1]:
        check_scores(scores, y)
    return jnp.arange(scores.shape[1], dtype=y.dtype)[None, :] == y[:, None]


def margins(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> Scores:
    """Return how far each wrong class is from being beaten by ``delta``: the notes' margins.

        margins[i, j] = scores[i, j] − scores[i, y_i] + delta,   and 0 at j = y_i

    Args:
        scores: (N, C).
        y: (N,) labels in [0, C), checked outside `jax.jit`. Inside it a label ≥ C gives a row of
            NaN, and a negative one counts from the end as in NumPy.
        delta: the margin asked for, in units of the scores.

    Returns:
        (N, C); a positive number is a violation.

    Raises:
        ValueError: y is not (N,), a label is out of range, or delta is no finite number.

    Source: CS231n notes, "Optimization", L_i, before the max.

    >>> margins(jnp.array([[13.0, -7.0, 11.0]]), jnp.array([0]), delta=10.0)
    Array([[  0., -10.,   8.]], dtype=float32)
    """
    return hinge_loss.all_margins(scores, y, delta=delta)


def _documented(loss: Hinge) -> Callable[[Callable[..., PerExample]], Hinge]:
    """Give a record the name and the docstring of a function, for `help` and for messages."""

    def adopt(function: Callable[..., PerExample]) -> Hinge:
        loss.__dict__.update(__name__=function.__name__, __doc__=function.__doc__)
        return loss

    return adopt


@_documented(Hinge())
def hinge_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:  # type: ignore[empty-body]
    """Return the Weston-Watkins hinge loss, the notes' SVM loss.

        loss_i = Σ_{j≠y_i} max(0, scores[i, j] − scores[i, y_i] + delta)

    Its value at W = 0 is ``(C − 1)·delta``. torch's ``multi_margin_loss`` is this divided by C;
    optax's ``multiclass_hinge_loss`` is `crammer_singer_loss`.

    Args:
        scores: (N, C).
        y: (N,) labels in [0, C), checked outside `jax.jit`.
        delta: the margin, in units of the scores.

    Returns:
        (N,) losses ≥ 0. The subgradient at a margin of exactly 0 is 0.

    Source: CS231n notes, "Optimization"; Weston & Watkins (1999).

    >>> hinge_loss(jnp.array([[13.0, -7.0, 11.0]]), jnp.array([0]), delta=10.0)
    Array([8.], dtype=float32)
    """


@_documented(Hinge(power=2))
def squared_hinge_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:  # type: ignore[empty-body]
    """Return the Weston-Watkins hinge with each term squared.

        loss_i = Σ_{j≠y_i} max(0, scores[i, j] − scores[i, y_i] + delta)²

    Arguments and result as `hinge_loss`. Differentiable everywhere.

    Source: CS231n notes, "Linear classification", L2-SVM.

    >>> squared_hinge_loss(jnp.array([[13.0, -7.0, 11.0]]), jnp.array([0]), delta=10.0)
    Array([64.], dtype=float32)
    """


@_documented(Hinge(join="max"))
def crammer_singer_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:  # type: ignore[empty-body]
    """Return the structured hinge: the largest margin violation of each example.

        loss_i = max(0, max_{j≠y_i} scores[i, j] − scores[i, y_i] + delta)

    Arguments and result as `hinge_loss`. Where several wrong classes share the maximum the
    subgradient is that of the first of them; where the maximum is exactly 0 it is 0.

    Source: CS231n notes, "Linear classification", structured SVM; Crammer & Singer (2001).

    >>> crammer_singer_loss(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([0]))
    Array([3.], dtype=float32)
    """


@_documented(Hinge("absolute", "all"))
def one_vs_rest_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:  # type: ignore[empty-body]
    """Return the sum of the C binary hinge losses "class j or not".

        loss_i = max(0, delta − scores[i, y_i]) + Σ_{j≠y_i} max(0, delta + scores[i, j])

    Arguments and result as `hinge_loss`. Its value at W = 0 is C·delta.

    Source: CS231n notes, "Linear classification", One-Vs-All SVM.

    >>> one_vs_rest_loss(jnp.array([[2.0, -3.0, 0.5]]), jnp.array([0]))
    Array([1.5], dtype=float32)
    """


def softmax_loss(scores: Scores, y: Labels, *, delta: ScalarLike = 1.0) -> PerExample:
    """Return the cross-entropy of the softmax, a loss of the scores that has no hinges.

        loss_i = log Σ_j exp(scores[i, j]) − scores[i, y_i]

    Searches, descent and slices take it; what needs hinges refuses it.

    Args:
        scores: (N, C).
        y: (N,) labels in [0, C), checked outside `jax.jit`.
        delta: without meaning here; it is what every loss is handed.

    Returns:
        (N,) losses ≥ 0; log C at W = 0.

    Source: CS231n notes, "Linear classification", softmax classifier.

    >>> print(f"{softmax_loss(jnp.array([[0.0, 0.0]]), jnp.array([0]))[0]:.4f}")
    0.6931
    """
    del delta
    check_scores(scores, y)
    own = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    return logsumexp(scores, axis=1) - own


_MEMBERS = {
    "Weston-Watkins": hinge_loss,
    "Crammer-Singer": crammer_singer_loss,
    "one-vs-rest": one_vs_rest_loss,
    "Lee-Lin-Wahba": Hinge("centred", "wrong"),
    "ADM": Hinge("centred", "wrong", "max"),
    "ATM": Hinge("centred", "all", "max"),
    "ATS": Hinge("centred", "all"),
    "MMR": Hinge("centred", "own"),
    "reinforced": Hinge("centred", "all", own_weight=0.5),
}
# The machines by their names in the literature, each with hinges and with squared hinges.
FAMILY: dict[str, Hinge] = _MEMBERS | {
    f"squared {name}": replace(loss, power=2) for name, loss in _MEMBERS.items()
}

# doctest looks into functions and classes; these are instances.
__test__ = {
    loss.__dict__["__name__"]: loss.__doc__
    for loss in (hinge_loss, squared_hinge_loss, crammer_singer_loss, one_vs_rest_loss)
}
