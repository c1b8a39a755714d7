"""Does a call fit a function's signature? Answered at the call, without importing ``inspect``."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FunctionType
    from typing import Any
else:
    FunctionType = type(lambda: None)  # `types` costs a third of a millisecond

__all__ = [
    "ANY_PARAMETERS",
    "CallDescriptor",
    "FunctionDescriptor",
    "Identified",
    "Parameters",
    "is_any_generator",
    "is_async",
    "is_generator",
    "name_of",
    "parameters_of",
]

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


def is_any_generator(function: Callable[..., Any]) -> bool:
    """Whether calling `function` makes a generator, or an asynchronous one."""
    return bool(_flags(function) & (_GENERATOR | _ASYNC_GENERATOR))


def name_of(function: Callable[..., Any]) -> str:
    """The qualified name that errors and logs show for `function`."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if name is None:
        wrapped = getattr(function, "func", None)  # functools.partial
        name = type(function).__qualname__ if wrapped is None else name_of(wrapped)
    return str(name)


#: Parameters of a function as plain data: how many are positional only, names of the positional
#: ones, how many of those have defaults, names of keyword-only ones, which of those have defaults,
#: whether there is ``*args``, whether there is ``**keywords``.
Parameters = tuple[int, tuple[str, ...], int, tuple[str, ...], tuple[str, ...], bool, bool]

#: Those of a callable that can't be looked into.
ANY_PARAMETERS: Parameters = (0, (), 0, (), (), True, True)


def parameters_of(function: FunctionType, *, bound: bool = False) -> Parameters:
    """Return the parameters of a Python function; with `bound` without the first one."""
    code = function.__code__
    names = code.co_varnames
    positional = names[: code.co_argcount]
    keyword_only = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    positional_only = code.co_posonlyargcount
    if bound:
        positional, positional_only = positional[1:], max(positional_only - 1, 0)
    defaults = function.__kwdefaults__ or {}
    return (
        positional_only,
        positional,
        min(len(function.__defaults__ or ()), len(positional)),
        keyword_only,
        tuple(name for name in keyword_only if name in defaults),
        bool(code.co_flags & _VARARGS),
        bool(code.co_flags & _VARKEYWORDS),
    )


class Identified:
    """What workers know by its uid. In a notebook it may become another one."""

    __slots__ = ("_cell", "_digest", "uid")

    def __init__(self, uid: bytes) -> None:
        self.uid = uid
        self._cell = 0  # the last one in which it was looked at
        self._digest: bytes | None = None

    def renew(self, cell: int) -> None:
        """Once in a cell: get a new uid if what it uses was redefined."""
        if cell == self._cell:
            return
        self._cell = cell  # first: it may refer to itself
        from haz._core.notebook import digest_of

        digest = digest_of(self._identified())
        if self._digest is not None and digest != self._digest:
            self.uid = os.urandom(16)
            self._forget()
        self._digest = digest

    def _identified(self) -> Any:
        """Return the function or class."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Forget what was made with the old uid."""


class CallDescriptor(Identified):
    """Identity and signature of a callable, from plain data: see `haz.engines.base.Descriptor`."""

    __slots__ = ("__weakref__", "_fitting", "_parameters", "max_args", "min_args", "name")

    def __init__(self, name: str, uid: bytes, parameters: Parameters) -> None:
        super().__init__(uid)
        self.name = name
        self._parameters = parameters
        _, positional, num_defaults, keyword_only, with_default, var_args, _ = parameters
        required = len(keyword_only) > len(with_default)
        self.min_args = _NEVER if required else len(positional) - num_defaults
        self.max_args = -1 if var_args else len(positional)
        #: Shapes of calls with keywords that were found to fit: (number of arguments, keywords).
        self._fitting: set[tuple[int, tuple[str, ...]]] = set()

    def check_call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if it can't be called with `args` and `kwargs`."""
        shape = (len(args), tuple(kwargs))
        if shape in self._fitting:
            return
        if not self._fits(len(args), kwargs):
            self._ask_inspect(args, kwargs)
        if len(self._fitting) < _SHAPES_KEPT:
            self._fitting.add(shape)

    def error_in_argument(self, error: Exception, index: int, keyword: str | None) -> Exception:
        """Return `error` with the name of the argument that can't be pickled: its number or keyword.

        `index` counts from 0.
        """
        from haz._core.unpicklable import in_part

        argument = str(index + 1) if keyword is None else repr(keyword)
        return in_part(error, f"argument {argument} of {self.name}")

    def _fits(self, given: int, kwargs: dict[str, Any]) -> bool:
        positional_only, positional, num_defaults, keyword_only, with_default, _, var_keywords = (
            self._parameters
        )
        if given > self.max_args != -1:
            return False
        by_position = positional[:given]
        by_name = positional[positional_only:]
        for name in kwargs:
            if name in by_name or name in keyword_only:
                if name in by_position[positional_only:]:
                    return False
            elif not var_keywords:
                return False
        required = positional[: len(positional) - num_defaults]
        return all(name in kwargs and name in by_name for name in required[given:]) and all(
            name in kwargs or name in with_default for name in keyword_only
        )

    def _ask_inspect(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Raise the TypeError that ``inspect`` words."""
        import inspect

        try:
            inspect.Signature(_shown(self._parameters)).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None


def _shown(parameters: Parameters) -> list[Any]:
    """The parameters as ``inspect`` has them; defaults are None."""
    from inspect import Parameter

    (
        positional_only,
        positional,
        num_defaults,
        keyword_only,
        with_default,
        var_args,
        var_keywords,
    ) = parameters
    optional = {*positional[len(positional) - num_defaults :], *with_default}
    others = "_".join((*positional, *keyword_only))  # a name that none of them has

    def shown(name: str, kind: Any) -> Parameter:
        return Parameter(name, kind, default=None if name in optional else Parameter.empty)

    found = [shown(name, Parameter.POSITIONAL_ONLY) for name in positional[:positional_only]]
    found += [shown(name, Parameter.POSITIONAL_OR_KEYWORD) for name in positional[positional_only:]]
    if var_args:
        found.append(Parameter(f"args_{others}", Parameter.VAR_POSITIONAL))
    found += [shown(name, Parameter.KEYWORD_ONLY) for name in keyword_only]
    if var_keywords:
        found.append(Parameter(f"keywords_{others}", Parameter.VAR_KEYWORD))
    return found


class FunctionDescriptor(CallDescriptor):
    """Identity and signature of a remote function."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any], uid: bytes) -> None:
        if type(function) is FunctionType:
            parameters = parameters_of(function)
        elif hasattr(type(function), "_haz_parameters"):  # of haz.cpp
            parameters = function._haz_parameters  # type: ignore[attr-defined]
        else:
            parameters = ANY_PARAMETERS
        super().__init__(name_of(function), uid, parameters)
        self._function = function

    def _identified(self) -> Any:
        return self._function

    def check_call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        check = getattr(type(self._function), "_check", None)
        if check is not None:  # of C++: types count, too
            check(self._function, *args, **kwargs)
        else:
            super().check_call(args, kwargs)

    def _fits(self, given: int, kwargs: dict[str, Any]) -> bool:
        if kwargs and (self.max_args == -1 or self._parameters[-1]):
            return False  # maybe a wrapper: inspect knows the parameters of what it wraps
        return super()._fits(given, kwargs)

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
