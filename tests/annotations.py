"""Beartype for the suite: an inner function's annotations are compiled once, not at each call.

Every function of jaxsvm is checked against its annotations, also those that another function makes
anew whenever it is called; most of the time that checks took went to compiling these again.
"""

from collections.abc import Callable
from typing import Any

import beartype

_checks: dict[object, Callable[..., Any]] = {}


def checked(function: Any) -> Callable[..., Any]:
    """Return `function`, which has jaxtyping's empty body, checked by beartype."""
    code = function.__code__
    try:
        key = (
            *(function.__module__, function.__qualname__, tuple(function.__annotations__.items())),
            *(code.co_varnames, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            *(code.co_flags, len(function.__defaults__ or ())),
            *(function.__kwdefaults__ or {}),
        )
        if key not in _checks:
            _checks[key] = beartype.beartype(function)
    except TypeError:  # an annotation that has no hash
        return beartype.beartype(function)
    return _checks[key]
