"""The two checks under one name, and as assertions for tests.

An `Objective` is a sum of hinges, and is checked exactly: `jaxsvm.gradients.check`. Of any other
function the kinks are read off its jaxpr: `jaxsvm.gradients.piecewise`.
"""

from collections.abc import Callable, Sequence
from typing import Any, overload

from jax import Array

from jaxsvm.core.arguments import check_count
from jaxsvm.core.objective import Objective
from jaxsvm.core.types import Data, Weights
from jaxsvm.gradients.check import GradientCheck, check_objective
from jaxsvm.gradients.function_check import FunctionCheck
from jaxsvm.gradients.piecewise import check_function, is_function

NO_DATA: Any = object()


@overload
def check_gradient(
    loss_fn: Objective,
    params: Weights,
    data: Data,
    *,
    gradient: Any = ...,
    h: float | None = ...,
    ties: str | None = ...,
) -> GradientCheck: ...


@overload
def check_gradient(
    loss_fn: Callable[..., Any],
    params: Any,
    data: Any = ...,
    *,
    gradient: Any = ...,
    h: float | None = ...,
    mode: str | None = ...,
    order: int | None = ...,
    num_coordinates: int | None = ...,
    key: Array | None = ...,
) -> FunctionCheck: ...


def check_gradient(
    loss_fn: Any,
    params: Any,
    data: Any = NO_DATA,
    *,
    gradient: Any = None,
    h: float | None = None,
    ties: str | None = None,
    mode: str | None = None,
    order: int | None = None,
    num_coordinates: int | None = None,
    key: Array | None = None,
) -> Any:
    """Say of every coordinate of a gradient whether it is right, and what explains it where not.

        right where  min(left, right) − tolerance ≤ gradient ≤ max(left, right) + tolerance

    An `Objective` is checked exactly, by its hinges: `check_objective`. Any other function is
    checked by the branches in its jaxpr, see `jaxsvm.gradients.piecewise`: a difference judges the
    gradient only where both of its ends lie on the point's own smooth piece, and at a kink the
    slopes of the pieces that meet there do.

    For the host (it returns NumPy arrays): not to be called inside `jax.jit`.

    Args:
        loss_fn: an `Objective` with `l2_penalty` or `l1_penalty`; or ``loss_fn(params, data)``; or,
            without data, ``loss_fn(params)``. It returns a scalar, or any pytree of real floats,
            of which a random combination is checked.
        params: W (C, D) for an objective; else any pytree of finite floating arrays.
        data: N examples; for a function, whatever it takes.
        gradient: like params, or a function of what ``loss_fn`` takes, such as
            ``jax.grad(loss_fn)``; by default `analytic_gradient` of an objective, autodiff's of
            another function.
        h: the step, > 0. Of an objective it decides between smooth and kink, never what is wrong;
            `suggest_h` by default. Of a function it is the largest that is tried; by default an
            eighth of the size of each parameter.
        ties: for an objective. "zero" asks for the library's subgradient, in which a tied hinge
            contributes 0; "any" accepts all of them.
        mode: for a function, like the following: which derivative of autodiff's is checked,
            "reverse", "forward" or "both".
        order: 1, or 2 for the derivative of the gradient along a random vector.
        num_coordinates: how many to check at most, 1,024 by default; where there are more, a random
            choice of them, and 16 random directions.
        key: of what is random; always the same by default.

    Returns:
        The verdicts, their evidence and a report: a `GradientCheck` (C, D) of an objective, a
        `FunctionCheck` (n,) of a function, both with ``num_smooth``, ``num_kink``, ``num_wrong``.
        Cost of the latter: 20 evaluations a coordinate in float32, 36 in float64, and 13 gradients;
        960 and 1,728 more for a coordinate in doubt at a kink.

    Raises:
        ValueError: an argument is none of what is said here: the gradient has other shapes than
            params or is not of floats, h is not positive, a word is unknown, numbers of params (or
            of an objective's data) are not finite; loss_fn returns something else; an objective's
            loss has no hinges, or its penalty is a function of your own.

    Source: CS231n notes, "Learning", gradient checks, and their kinks in the objective.

    >>> import jax.numpy as jnp
    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> check_gradient(Objective(), jnp.zeros((3, 2)), data).num_wrong
    0
    >>> check_gradient(Objective(), jnp.zeros((3, 2)), data, gradient=jnp.zeros((3, 2))).num_wrong
    5
    >>> check = check_gradient(lambda p: jnp.sum(jnp.abs(p)), jnp.array([-2.0, 0.0, 1.0]))
    >>> check.num_smooth, check.num_kink, check.num_wrong
    (2, 1, 0)
    """
    shared = {"gradient": gradient, "h": h}
    for_functions = _given(mode=mode, order=order, num_coordinates=num_coordinates, key=key)
    if isinstance(loss_fn, Objective):
        _refuse(loss_fn, for_functions)
        if data is NO_DATA:
            raise ValueError("data is missing: expected check_gradient(objective, W, data)")
        return check_objective(loss_fn, params, data, **shared, **_given(ties=ties))
    _refuse(loss_fn, _given(ties=ties))
    f = loss_fn
    if data is not NO_DATA:
        f = _with_data(loss_fn, data)
        if is_function(gradient, params):
            shared["gradient"] = _with_data(gradient, data)
    return check_function(f, params, **shared, **for_functions)


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _refuse(loss_fn: Any, settings: dict[str, Any]) -> None:
    others = "a function" if isinstance(loss_fn, Objective) else "an Objective"
    for name, value in settings.items():
        raise ValueError(
            f"{name} = {value} is given, and loss_fn is a {type(loss_fn).__name__}: expected none, "
            f"or {others}"
        )


def _with_data(f: Any, data: Any) -> Any:
    """Return a function of two arguments as one of the first; what is no function as it is."""
    return (lambda params: f(params, data)) if callable(f) else f


def assert_gradient(loss_fn: Any, params: Any, data: Any = NO_DATA, **settings: Any) -> None:
    """Raise AssertionError, with the report of `check_gradient`, if a coordinate is wrong.

    Also where nothing could be judged, because the value is not finite or no smooth piece is wide
    enough. Args, settings by name, and raises as `check_gradient`.

    >>> import jax, jax.numpy as jnp
    >>> data = Data(jnp.array([[1.0, 1.0], [2.0, 1.0]]), jnp.array([0, 1]))
    >>> assert_gradient(Objective(), jnp.zeros((3, 2)), data, gradient=jax.grad(Objective()))
    >>> assert_gradient(lambda p: jnp.sum(jax.nn.relu(p)), jnp.array([-1.0, 0.0, 2.0]))
    """
    check: Any = check_gradient(loss_fn, params, data, **settings)
    if not check.is_right:
        raise AssertionError(str(check))


def assert_numerical_grads(
    f: Callable[..., Any],
    f_args: Sequence[Any],
    order: int,
    atol: float = 0.0,
    modes: Sequence[str] = ("fwd", "rev"),
) -> None:
    """Raise AssertionError unless autodiff's derivatives agree with differences.

    Takes what `chex.assert_numerical_grads` takes. Tolerances are measured, and a kink raises no
    alarm.

    Args:
        f: ``f(*f_args)`` returns real floats.
        f_args: pytrees of floating arrays.
        order: 1, or 2 for second derivatives as well.
        atol: an error that is accepted beside what rounding explains.
        modes: "fwd", "rev" or both.

    Raises:
        ValueError: as `check_gradient`; a mode is unknown.

    >>> import jax, jax.numpy as jnp
    >>> assert_numerical_grads(lambda x, y: jax.nn.relu(x) * y, (jnp.zeros(2), jnp.ones(2)), 1)
    """
    if not callable(f):
        raise ValueError(f"f is a {type(f).__name__}: expected a function of f_args to real floats")
    order = check_count("order", order)
    names = {("fwd",): "forward", ("rev",): "reverse", ("fwd", "rev"): "both"}
    mode = names.get(tuple(sorted(modes)))
    if mode is None:
        raise ValueError(f"modes = {modes!r}: expected 'fwd', 'rev' or both, in a tuple")
    for each in range(1, order + 1):
        try:
            check = check_function(
                lambda args: f(*args), tuple(f_args), mode=mode, order=each, atol=atol
            )
        except ValueError as error:
            raise ValueError(str(error).replace("loss_fn", "f")) from error
        if not check.is_right:
            raise AssertionError(f"derivatives of order {each}: {check}")
