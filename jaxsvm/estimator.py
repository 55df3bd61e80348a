"""scikit-learn's conventions over `solve`: an estimator whose fit is proved to be near its optimum.

`LinearSVC` is for pipelines, grid searches and calibration. It adds the bias column, numbers the
classes and returns NumPy arrays; `jaxsvm.certificate.solve` does the work. Importing jaxsvm does
not import this module; it needs scikit-learn. For the host, as `solve` is.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxsvm.certificate import solve
from jaxsvm.core.arguments import check_positive
from jaxsvm.core.losses import (
    FAMILY,
    Hinge,
    crammer_singer_loss,
    hinge_loss,
    one_vs_rest_loss,
    squared_hinge_loss,
)
from jaxsvm.core.objective import Objective
from jaxsvm.datasets import data_from_arrays
from jaxsvm.model import Certificate

LOSSES: dict[str, Hinge] = {
    "hinge": hinge_loss,
    "squared_hinge": squared_hinge_loss,
    "crammer_singer": crammer_singer_loss,
    "one_vs_rest": one_vs_rest_loss,
    "squared_one_vs_rest": FAMILY["squared one-vs-rest"],
}


class LinearSVC(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fit a multiclass linear SVM until it is proved to be within a tolerance of the optimum.

        (1/N) Σ_i loss(scores, y)_i  +  reg · ΣΣ W²,     reg = 1/(2·N·C)

    The bias is a column of ones, so ``reg`` shrinks it too, as liblinear does with
    ``intercept_scaling=1``. N·C times this is liblinear's objective, so scikit-learn's
    ``LinearSVC`` with the same C has the same optimum where it has the loss:

    ===========================  ==================================================
    ``loss`` here                scikit-learn's ``LinearSVC``
    ===========================  ==================================================
    ``"hinge"`` (the default)    none: the notes' sum over the wrong classes
    ``"squared_hinge"``          none: the same, each term squared
    ``"crammer_singer"``         ``multi_class="crammer_singer"``
    ``"one_vs_rest"``            ``loss="hinge"``
    ``"squared_one_vs_rest"``    ``loss="squared_hinge"``, its default
    ===========================  ==================================================

    With two classes ``"hinge"`` and ``"crammer_singer"`` are the same loss, and equal
    ``"one_vs_rest"`` with twice the C: their margin is the difference of two rows of weights, which
    share its penalty.

    Args:
        loss: one of these names, or a `Hinge`.
        reg: the penalty's weight, > 0; the same objective whatever N is.
        C: the weight of an example's loss against the penalty, > 0, instead of ``reg``. 1 where
            neither is given.
        gap_tolerance: relative, > 0; as in `solve`.
        max_passes: as in `solve`.

    Parameters are checked by `fit`. There are no sample weights, no class weights and no sparse X.
    The first fit of a shape (N, F, C) compiles for some seconds; folds of one size share that.

    Attributes:
        classes_: (C,) the different labels, sorted.
        coef_: (C, F) weights, a class a row; (1, F) of two classes.
        intercept_: (C,) biases; (1,) of two classes.
        n_features_in_: F.
        n_iter_: passes over the data.
        gap_: (primal − dual)/primal, at most ``gap_tolerance`` unless `fit` warned.
        certificate_: the `jaxsvm.model.Certificate` of all C rows of weights, of two classes both,
            on X in the precision of the fit: primal, dual, gap, passes.

    Precision: float32 stays float32. Other numbers become float64 where JAX has it enabled
    (``jax.config.update("jax_enable_x64", True)``), else float32 too; ``coef_`` and ``intercept_``
    have the same precision. The certificate is computed in float64 in any case, but W rounded to
    float32 seldom allows a ``gap_tolerance`` far below 1e-6.

    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0], [4.0, 1.0], [8.0, 0.0], [8.0, 1.0]])
    >>> model = LinearSVC("one_vs_rest", C=0.1).fit(X, ["a", "a", "b", "b", "c", "c"])
    >>> model.gap_ <= 1e-3
    True
    >>> model.predict([[9.0, 0.5]])
    array(['c'], dtype='<U1')
    """

    # Any: by scikit-learn's rule an estimator may be made with whatever; `fit` looks at it.
    def __init__(
        self,
        loss: Any = "hinge",
        *,
        reg: Any = None,
        C: Any = None,
        gap_tolerance: Any = 1e-3,
        max_passes: Any = None,
    ) -> None:
        self.loss = loss
        self.reg = reg
        self.C = C
        self.gap_tolerance = gap_tolerance
        self.max_passes = max_passes

    def fit(self, X: Any, y: Any) -> "LinearSVC":
        """Minimize the objective on examples X (N, F) with labels y (N,), and return self.

        A warning of `solve` says so where the tolerance was not reached.

        Raises:
            ValueError: a parameter is not as described; X is not finite or not two-dimensional; y
                has fewer than two classes or is no classes.
            TypeError: X is sparse.
        """
        _check_has_numbers_only(X=X, y=y)
        widest = jax.dtypes.canonicalize_dtype(np.float64)
        X, y = validate_data(self, X, y, dtype=[widest, np.float32])
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has 1 class, {self.classes_[0]!r}: expected at least 2 different labels"
            )
        loss = _loss(self.loss)
        solution = solve(
            Objective(loss=loss, reg=_reg(self.reg, self.C, N=len(y))),
            data_from_arrays(X, labels),
            gap_tolerance=_positive("gap_tolerance", self.gap_tolerance),
            max_passes=self.max_passes,
        )
        W = np.array(solution.W)
        if len(self.classes_) == 2:
            W = _margin_of_one(loss) * (W[1:] - W[:1])
        self.coef_, self.intercept_ = W[:, :-1], W[:, -1]
        self.n_iter_ = solution.passes
        self.gap_ = solution.gap / solution.primal
        self.certificate_ = Certificate(
            solution.primal, solution.dual, solution.gap, solution.passes
        )
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores of examples X (N, F), (N, C), in X's precision.

        Of two classes (N,), positive for the second one: where an example is on the right side by
        as much as the loss asks for, it is 1 or more, or −1 or less.

        Raises:
            NotFittedError: before `fit`.
            ValueError: X is not finite, or not of F columns.
            TypeError: X is sparse.
        """
        check_is_fitted(self)
        _check_has_numbers_only(X=X)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the highest score of each example, (N,); the first of equals.

        Raises:
            NotFittedError, ValueError, TypeError: as `decision_function`.
        """
        scores = self.decision_function(X)
        best = np.argmax(scores, axis=1) if scores.ndim == 2 else (scores > 0).astype(int)
        return self.classes_[best]


def _check_has_numbers_only(**arrays: Any) -> None:
    """Raise ValueError for what scikit-learn would take: it drops masks, and makes dates floats."""
    for name, array in arrays.items():
        kind = getattr(getattr(array, "dtype", None), "kind", "")
        if isinstance(array, np.ma.MaskedArray):
            raise ValueError(f"{name} is a masked array: expected a plain one")
        if name == "X" and kind in ("m", "M"):
            raise ValueError(f"X has dtype {array.dtype}: expected a plain array of numbers")


def _loss(loss: Any) -> Hinge:
    """Return a loss by its name, or itself."""
    found = loss if isinstance(loss, Hinge) else LOSSES.get(str(loss))
    if found is None:
        raise ValueError(f"loss = {loss!r}: expected a jaxsvm.Hinge or one of {[*LOSSES]}")
    return found


def _reg(reg: Any, C: Any, *, N: int) -> float:
    """Return the penalty's weight over N examples."""
    if reg is None:
        return 1 / (2 * N * _positive("C", 1.0 if C is None else C))
    if C is not None:
        raise ValueError(f"reg = {reg!r} and C = {C!r}: expected one of them, reg = 1/(2·N·C)")
    return _positive("reg", reg)


def _positive(name: str, value: Any) -> float:
    """Return a finite number > 0, or raise ValueError."""
    check_positive(name, value)
    return float(value)


def _margin_of_one(loss: Hinge) -> float:
    """Return how much of a margin it is when one of two scores is higher by 1.

    Relative margins are the difference. Absolute ones take each score by itself, and the two rows
    are each other's opposites: half the difference. So do centred ones.
    """
    scores = jnp.array([[-0.5, 0.5]])
    return float(jnp.max(loss.linear(scores, jnp.array([0]))))
