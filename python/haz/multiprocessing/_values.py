"""``Value`` and ``Array`` of ``multiprocessing`` that travel in pickles: ctypes' objects in a `Block`."""

from __future__ import annotations

import copyreg
import ctypes
from multiprocessing import sharedctypes as standard

from haz.multiprocessing._blocks import Block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Array", "RawArray", "RawValue", "Value"]


def _type_of(code: Any) -> Any:
    return standard.typecode_to_type.get(code, code)  # type: ignore[attr-defined]


def _at(kind: Any, block: Block) -> Any:
    copyreg.pickle(kind, _reduce)
    value = kind.from_buffer(block.create_memoryview())
    value._wrapper = block
    return value


def _reduce(value: Any) -> Any:
    block = getattr(value, "_wrapper", None)
    if type(block) is not Block:
        return value.__reduce__()
    if isinstance(value, ctypes.Array):
        return _open_array, (value._type_, value._length_, block)
    return _at, (type(value), block)


def _open_array(kind: Any, length: int, block: Block) -> Any:
    return _at(kind * length, block)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802 - the standard library's name
    """Return an object of ctypes in shared memory, without a lock."""
    kind = _type_of(typecode_or_type)
    value = _at(kind, Block(ctypes.sizeof(kind)))
    value.__init__(*args)
    return value


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:  # noqa: N802
    """Return an array of ctypes in shared memory, without a lock."""
    kind = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        kind *= size_or_initializer
        return _at(kind, Block(ctypes.sizeof(kind)))
    kind *= len(size_or_initializer)
    array = _at(kind, Block(ctypes.sizeof(kind)))
    array.__init__(*size_or_initializer)
    return array


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any) -> Any:  # noqa: N802
    """Return an object of ctypes in shared memory, with its lock."""
    return _with_lock(RawValue(typecode_or_type, *args), lock, ctx)


def Array(  # noqa: N802
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any
) -> Any:
    """Return an array of ctypes in shared memory, with its lock."""
    return _with_lock(RawArray(typecode_or_type, size_or_initializer), lock, ctx)


def _with_lock(value: Any, lock: Any, ctx: Any) -> Any:
    if lock is False:
        return value
    if lock in (True, None):
        lock = ctx.RLock()
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return _synchronized(value, lock)


def _synchronized(value: Any, lock: Any) -> Any:
    made = standard.synchronized(value, lock)
    copyreg.pickle(type(made), _reduce_synchronized)
    return made


def _reduce_synchronized(made: Any) -> Any:
    if type(getattr(made._obj, "_wrapper", None)) is not Block:
        return made.__reduce__()
    return _synchronized, (made._obj, made._lock)
