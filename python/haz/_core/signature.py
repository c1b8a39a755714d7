"""Does a call fit a function's signature? Answered at the call, without importing ``inspect``."""

from __future__ import annotations

from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["FunctionDescriptor", "is_async", "is_generator", "name_of"]

_VARARGS = 0x04
_VARKEYWORDS = 0x08
_GENERATOR = 0x20
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200

#: More arguments than any call has: a required keyword-only parameter makes plain calls wrong.
_NEVER = 1 << 30
#: A function with ``**keywords`` can be called in shapes without end.
_SHAPES_KEPT = 256


def _flags(function: Callable[..., Any]) -> int:
    code = getattr(function, "__code__", None)
    return getattr(code, "co_flags", 0)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether `function` is an ``async def``."""
    return bool(_flags(function) & (_COROUTINE | _ASYNC_GENERATOR))


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether calling `function` makes a generator."""
    return bool(_flags(function) & _GENERATOR)


def name_of(function: Callable[..., Any]) -> str:
    """The qualified name that errors and logs show for `function`."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if name is None:
        wrapped = getattr(function, "func", None)  # functools.partial
        name = type(function).__qualname__ if wrapped is None else name_of(wrapped)
    return str(name)


class FunctionDescriptor:
    """Identity and signature of a remote function: see :class:`haz.engines.base.Descriptor`."""

    __slots__ = (
        "__weakref__",
        "_fitting",
        "_function",
        "_names",
        "max_args",
        "min_args",
        "name",
        "uid",
    )

    def __init__(self, function: Callable[..., Any], uid: bytes) -> None:
        self.uid = uid
        self.name = name_of(function)
        self.min_args = 0
        self.max_args = -1
        self._function = function
        #: Shapes of calls with keywords that were found to fit: (number of arguments, keywords).
        self._fitting: set[tuple[int, tuple[str, ...]]] = set()
        self._names: frozenset[str] | None = None
        if type(function) is FunctionType:
            self._read_code(function)

    def _read_code(self, function: FunctionType) -> None:
        code = function.__code__
        positional = code.co_argcount
        keyword_only = code.co_varnames[positional : positional + code.co_kwonlyargcount]
        defaults = function.__kwdefaults__ or {}
        if all(name in defaults for name in keyword_only):
            self.min_args = positional - len(function.__defaults__ or ())
        else:
            self.min_args = _NEVER
        if not code.co_flags & _VARARGS:
            self.max_args = positional
        if not code.co_flags & _VARKEYWORDS:
            first_keyword = code.co_posonlyargcount
            self._names = frozenset(code.co_varnames[first_keyword:positional] + keyword_only)

    def check_call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if the function can't be called with `args` and `kwargs`."""
        shape = (len(args), tuple(kwargs))
        if shape in self._fitting:
            return
        if kwargs:
            fits = self._fits_quickly(args, kwargs)
        else:
            fits = len(args) >= self.min_args and (
                len(args) <= self.max_args or self.max_args == -1
            )
        if not fits:
            self._ask_inspect(args, kwargs)
        if len(self._fitting) < _SHAPES_KEPT:
            self._fitting.add(shape)

    def _ask_inspect(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        import inspect

        try:
            signature = inspect.signature(self._function)
        except (TypeError, ValueError):
            return  # a builtin without a signature: it says so itself when it is called
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None

    def _fits_quickly(self, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Whether a call with keywords surely fits; False where only inspect can tell."""
        names = self._names
        if names is None or self.max_args == -1 or not names.issuperset(kwargs):
            return False
        code = self._function.__code__
        given = code.co_varnames[: len(args)]
        if len(args) > self.max_args or not kwargs.keys().isdisjoint(given):
            return False
        required = self.max_args - len(self._function.__defaults__ or ())
        for name in code.co_varnames[len(args) : required]:
            if name not in kwargs:
                return False
        keyword_only = code.co_varnames[self.max_args : self.max_args + code.co_kwonlyargcount]
        defaults = self._function.__kwdefaults__ or {}
        return all(name in kwargs or name in defaults for name in keyword_only)
