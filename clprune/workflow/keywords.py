"""Functions whose parameters are the fields of a dataclass: written once, and checked as if they were listed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

Parameters = ParamSpec("Parameters")
Settings = TypeVar("Settings")
Result = TypeVar("Result")


def taking(
    make: Callable[Parameters, Settings],
) -> Callable[[Callable[[Settings], Result]], Callable[Parameters, Result]]:
    """Let a function of a settings dataclass be called with what `make`, the dataclass, takes.

    It has that signature for type checkers, help and documentation. Raises TypeError for other arguments.
    """
    parameters = inspect.signature(make)

    def decorate(function: Callable[[Settings], Result]) -> Callable[Parameters, Result]:
        @functools.wraps(function)
        def call(*args: Parameters.args, **named: Parameters.kwargs) -> Result:
            try:
                parameters.bind(*args, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}(): {error}") from None
            return function(make(*args, **named))

        returned = function.__annotations__["return"]
        cast(Any, call).__signature__ = parameters.replace(return_annotation=returned)
        call.__annotations__ = {
            **{name: one.annotation for name, one in parameters.parameters.items()},
            "return": returned,
        }
        return call

    return decorate
