"""What queues carry, as bytes: `dumps`.

Who gets an item may be a process that the program has forked, and has its ``__main__``, or a worker of
haz, which has not. So classes and functions of the main program travel by name and by value: where the
name means one, it is that one, as with the standard library.
"""

from __future__ import annotations

import sys
import types
from multiprocessing.reduction import ForkingPickler
from pickle import loads as _loads
from weakref import WeakKeyDictionary

from haz._core import serialize
from haz._core.plain_functions import MAIN_MODULES
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer
    from typing import Any

__all__ = ["Pickled", "dumps"]

#: Classes of the main program by value: a process takes only the first copy of a class anyway.
_classes: WeakKeyDictionary[type, bytes] = WeakKeyDictionary()


def _of_main(name: str) -> Any:
    """What has that qualified name in the main program of this process; None: nothing."""
    found: Any = sys.modules.get("__main__")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _load_of_main(name: str, data: bytes) -> Any:
    if not runtime.is_worker:
        found = _of_main(name)
        if isinstance(found, (type, types.FunctionType)) and found.__qualname__ == name:
            return found
    return serialize.load_function(data)


def _reduce_of_main(value: Any) -> Any:
    cls = type(value)
    if cls is not types.FunctionType and not issubclass(cls, type):
        return NotImplemented
    if getattr(value, "__module__", None) not in MAIN_MODULES:
        return NotImplemented
    name = value.__qualname__
    if _of_main(name) is not value:
        return NotImplemented
    if cls is types.FunctionType:
        return _load_of_main, (name, serialize.dump_function(value))
    data = _classes.get(value)
    if data is None:
        data = _classes[value] = serialize.dump_function(value)
    return _load_of_main, (name, data)


def dumps(
    value: Any, on_restart: Callable[[], object] | None = None
) -> tuple[bytes, list[PickleBuffer]]:
    """Pickle an item as `haz._core.serialize.dumps` does, its parts of the main program by name, too.

    Raises
    ------
    SerializationError
        Names the part that can't be pickled.
    """
    try:
        return serialize.dumps_with(_reduce_of_main, value)
    except MemoryError:
        raise
    except Exception as error:
        if on_restart is not None:
            on_restart()
        try:  # sockets, and what else the standard library's queues take
            data = bytes(ForkingPickler.dumps(value))
        except Exception:
            raise serialize.serialization_error(
                serialize.explain_unpicklable(value), error
            ) from error
        return data, []


class Pickled:
    """An item that was pickled outside of haz's own format."""

    def __init__(self, value: object) -> None:
        self._data = bytes(ForkingPickler.dumps(value))

    def __reduce__(self) -> tuple[Any, ...]:
        return _loads, (self._data,)
