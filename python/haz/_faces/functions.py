"""How faces send functions to workers: as code that a worker keeps, or as an object of the store."""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from haz._core import serialize
from haz._core.api import put
from haz._core.plain_functions import is_importable, names_of
from haz._core.refs import ObjectRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["code_of", "function_of"]

#: A function with more around it lies in the store once, instead of in each call.
_MOST_CODE_BYTES = 16 * 1024
#: How many functions a worker keeps.
_MOST_KEPT = 256

_NAMED = (FunctionType, BuiltinFunctionType, type)
#: Functions that are pickled by name, which says the same at any time.
_known: dict[Any, bytes] = {}
#: Functions that are copied, and what is around them; as long as that is the same, so is the copy.
_copied: dict[FunctionType, tuple[bytes, _Around]] = {}
_CONSTANTS = frozenset((type(None), bool, int, float, complex, str, bytes))
#: In a worker: what was made of code.
_made: dict[bytes, Any] = {}


def code_of(function: Callable[..., Any]) -> bytes | ObjectRef[Any]:
    """Return what stands for `function` as an argument of a call; see `function_of`.

    What is around a closure, or a function of the main program, is copied as it is now.

    Raises
    ------
    SerializationError
        Names the part that can't be pickled.
    """
    try:
        known = _known.get(function)
        if known is not None:
            return known
        copied = _copied.get(function)  # type: ignore[call-overload]
    except TypeError:  # it can't be hashed
        return _code_of_data(function)
    if copied is not None and copied[1].is_same():
        return copied[0]  # type: ignore[no-any-return]
    if isinstance(function, _NAMED) and is_importable(
        function, function.__module__, function.__qualname__
    ):  # by its name, whatever becomes of what it refers to
        if len(_known) >= _MOST_KEPT:
            _known.clear()
        code = _known[function] = serialize.dump_function(function)
        return code
    copy = _code_of_data(function)
    if type(copy) is bytes and type(function) is FunctionType:
        if len(_copied) >= _MOST_KEPT:
            _copied.clear()
        try:
            _copied[function] = copy, _Around(function)
        except _ChangeableError:
            _copied.pop(function, None)
    return copy


class _ChangeableError(Exception):
    """Something around a function can change, and this would not be seen."""


class _Around:
    """All that a copy of a function is made of, where a change of it can be seen."""

    __slots__ = ("_cells", "_functions", "_globals", "_parts")

    def __init__(self, function: FunctionType) -> None:
        self._functions: dict[FunctionType, tuple[Any, ...]] = {}
        self._parts: tuple[tuple[FunctionType, Any, Any, Any, str], ...] = ()
        self._globals: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[Any, Any]] = []
        self._add_function(function)
        self._parts = tuple((one, *parts) for one, parts in self._functions.items())

    def is_same(self) -> bool:
        for names, name, value in self._globals:
            if names.get(name, self) is not value:
                return False
        for function, code, defaults, kwdefaults, called in self._parts:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
            if function.__kwdefaults__ is not kwdefaults or function.__name__ is not called:
                return False
            if function.__dict__:
                return False
        try:
            for cell, value in self._cells:
                if cell.cell_contents is not value:
                    return False
        except ValueError:  # one is empty now
            return False
        return True

    def _add_function(self, function: FunctionType) -> None:
        if function in self._functions:
            return
        parts = self._functions[function] = _parts_of(function)
        names = function.__globals__
        if function.__dict__ or type(names) is not dict:
            raise _ChangeableError
        if any(type(value) not in _CONSTANTS for value in parts[1] or ()):
            raise _ChangeableError
        if parts[2]:  # a dictionary
            raise _ChangeableError
        for name in names_of(function.__code__):
            value = names.get(name, self)
            self._globals.append((names, name, value))
            self._add(value)
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # empty as yet
                raise _ChangeableError from None
            self._cells.append((cell, value))
            self._add(value)

    def _add(self, value: Any) -> None:
        if value is self or type(value) in _CONSTANTS or isinstance(value, ModuleType):
            return
        if isinstance(value, _NAMED) and is_importable(value, value.__module__, value.__qualname__):
            return
        if type(value) is not FunctionType:
            raise _ChangeableError
        self._add_function(value)


def _parts_of(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__, function.__name__


def _code_of_data(function: Callable[..., Any]) -> bytes | ObjectRef[Any]:
    if _holds_arrays(function):
        return put(function)
    try:
        code, refs = serialize.dumps_in_band(function, lambda _: NotImplemented, ObjectRef)
    except MemoryError:
        raise
    except Exception:
        return put(function)  # which says what can't be pickled
    return put(function) if refs or len(code) > _MOST_CODE_BYTES else code


def _holds_arrays(function: Any) -> bool:
    """Whether a partial, a method or a closure has a large buffer at hand; it is then not copied."""
    parts: list[Any] = []
    if isinstance(function, partial):
        parts = [*function.args, *function.keywords.values()]
    elif isinstance(function, MethodType):
        parts = [function.__self__]
    elif isinstance(function, FunctionType):
        for cell in function.__closure__ or ():
            try:
                parts.append(cell.cell_contents)
            except ValueError:  # empty
                pass
    sizes = (getattr(part, "nbytes", 0) for part in parts)
    return any(type(size) is int and size > _MOST_CODE_BYTES for size in sizes)


def function_of(code: Any) -> Any:
    """In a worker: return the function that `code_of` has packed."""
    if type(code) is not bytes:
        return code  # came as an object
    try:
        return _made[code]
    except KeyError:
        pass
    function = serialize.load_function(code)
    if len(_made) >= _MOST_KEPT:
        _made.clear()
    _made[code] = function
    return function
