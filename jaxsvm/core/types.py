"""The words of the signatures: what the arrays of this library are called, and their shapes.

Shapes are jaxtyping annotations. The tests check them at run time; in use they cost nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxsvm.core.features import Features

Scores: TypeAlias = Float[Array, "N C"]
Labels: TypeAlias = Int[Array, " _N"]  # its length is checked by a ValueError that says more
PerExample: TypeAlias = Float[Array, " N"]
Weights: TypeAlias = Float[Array, "C D"]
# A direction has W's shape; a ValueError says so better than the annotation would.
Direction: TypeAlias = Float[Array, "_C _D"]
Scalar: TypeAlias = Float[Array, ""]
# A Python number or a traced scalar.
ScalarLike: TypeAlias = int | float | np.number | Float[Array, ""]
# A loss of any parameters, ``loss_fn(params, data) -> scalar``; an `Objective` is one.
LossFn: TypeAlias = Callable[[Any, Any], Array]


class Data(NamedTuple):
    """Examples and their labels: a pytree, always passed as an argument.

    Attributes:
        X: (N, D) features, one example a row, the bias column of ones last; an array,
            `StandardizedFeatures` or, where they are too large for memory, `StreamedRows`.
        y: (N,) int32 labels in [0, C). Functions check the range outside `jax.jit`; inside it they
            cannot.
    """

    X: Features
    y: Labels

    def __repr__(self) -> str:
        """Shapes and dtypes: the numbers would fill the screen."""
        parts = (f"{name}={_brief(part)}" for name, part in zip("Xy", self, strict=True))
        return f"Data({', '.join(parts)})"


def _brief(array: Any) -> str:
    """Return a dtype and a shape, such as ``float32[1348, 65]``."""
    if not hasattr(array, "shape"):
        return repr(array)
    kind = "" if isinstance(array, Array) else f"{type(array).__name__} "
    return f"{kind}{array.dtype}{list(array.shape)}"
