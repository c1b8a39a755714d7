"""Small helpers of the face."""

from __future__ import annotations

from datetime import timezone
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["interactive", "utc"]

#: The time zone of all times in metadata.
utc = timezone.utc


def interactive(function: F) -> F:
    """Make a function look up its global names on the engine, as one typed in a notebook does.

    Functions of modules use their module's names; this one is treated as if `__main__` had
    defined it. Other callables are returned as they are.
    """
    if not isinstance(function, FunctionType):
        return function
    import __main__

    copy = FunctionType(
        function.__code__,
        vars(__main__),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    copy.__doc__ = function.__doc__
    copy.__annotations__ = function.__annotations__
    copy.__qualname__ = function.__qualname__
    copy.__module__ = "__main__"
    return copy  # type: ignore[return-value]
