"""Arguments of calls: which are large, and how others stay what they are until they are sent."""

from __future__ import annotations

from types import FunctionType

from haz._core.serialize import dumps
from haz._core.unpicklable import in_part
from haz.ipyparallel._canning import Canned, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["explained", "freeze", "is_large", "unsendable", "unsent"]

#: Arguments of this many bytes and more lie once in the store for all engines of a view.
_LARGE_BYTES = 16 << 10
_UNCHANGING = frozenset(
    (int, float, complex, bool, str, bytes, type(None), range, FunctionType, Canned)
)


def is_large(thing: Any, depth: int = 3) -> bool:
    """Whether a value is worth a place in the store for several engines to read."""
    size = getattr(thing, "nbytes", None)
    if type(size) is int:
        return size >= _LARGE_BYTES
    if isinstance(thing, (bytes, bytearray, str)):
        return len(thing) >= _LARGE_BYTES
    if depth and isinstance(thing, (list, tuple)):
        return len(thing) > 1000 or any(is_large(item, depth - 1) for item in thing)
    if depth and isinstance(thing, dict):
        return len(thing) > 1000 or any(is_large(item, depth - 1) for item in thing.values())
    return False


def _never_changes(thing: Any) -> bool:
    kind = type(thing)
    return kind in _UNCHANGING or (kind is tuple and all(map(_never_changes, thing)))


def freeze(arguments: Any) -> tuple[Any, bool]:
    """A tuple or dict of arguments as they are now, and whether they are large.

    Large ones are not copied, and pickled when they are sent: that should be without other calls,
    which would fail with them.

    Raises
    ------
    SerializationError
        If they can't be pickled.
    """
    items = arguments.values() if type(arguments) is dict else arguments
    if all(map(_never_changes, items)):
        return arguments, False
    if is_large(arguments):
        return arguments, True
    try:
        return frozen(arguments), False
    except Exception as error:
        raise explained(error, arguments, "the arguments of the call") from error


def explained(error: Exception, thing: Any, part: str) -> Exception:
    """The error of pickling `thing`, which says what in it can't be pickled."""
    try:
        dumps(thing)
    except TypeError as explained:
        return in_part(explained, part)
    return error


def unsendable(error: Exception, value: Any) -> Exception:
    """The error of pickling what a call has returned."""
    return explained(error, value, "the result")


#: What the arguments of an engine's methods are, after the id of a call.
_PARTS = {
    "apply": ("the function", "the arguments", "the keyword arguments"),
    "map": ("the function", "the sequences"),
    "push": ("the values",),
}


def unsent(error: Exception, method: str, arguments: tuple[Any, ...], engine_id: int) -> Exception:
    """The error of a call that can't be pickled, told of it instead of haz's own method."""
    for part, argument in zip(_PARTS.get(method, ()), arguments, strict=False):
        told = explained(error, argument, f"{part} of {method} for engine {engine_id}")
        if told is not error:
            return told
    return error
