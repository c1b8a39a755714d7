"""Arguments of calls: which are large, and how others stay what they are until they are sent."""

from __future__ import annotations

from types import FunctionType

from haz._core.serialize import dumps
from haz._core.unpicklable import in_part
from haz.ipyparallel._canning import Canned, frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["freeze", "is_large"]

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


def freeze(arguments: Any) -> Any:
    """A tuple or dict of arguments as they are now; large ones are not copied.

    Raises
    ------
    SerializationError
        If they can't be pickled.
    """
    items = arguments.values() if type(arguments) is dict else arguments
    if all(map(_never_changes, items)) or is_large(arguments):
        return arguments
    try:
        return frozen(arguments)
    except Exception as error:
        try:
            dumps(arguments)  # which finds out what it is that can't be pickled
        except TypeError as explained:
            raise in_part(explained, "the arguments of the call") from error
        raise
