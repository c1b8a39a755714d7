"""How faces send functions to workers: as code that a worker keeps, or as an object of the store."""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

from haz._core import serialize
from haz._core.api import put
from haz._core.plain_functions import is_importable
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
        return _known[function]
    except KeyError:
        pass
    except TypeError:  # it can't be hashed
        return _code_of_data(function)
    if isinstance(function, _NAMED) and is_importable(
        function, function.__module__, function.__qualname__
    ):  # by its name, whatever becomes of what it refers to
        if len(_known) >= _MOST_KEPT:
            _known.clear()
        code = _known[function] = serialize.dump_function(function)
        return code
    return _code_of_data(function)


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
