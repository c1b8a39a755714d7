"""Writable arrays of what haz hands out read-only: `writable`.

A large array is mapped once more, privately: the kernel copies a page when it is written to, and
nothing before. The view of the store that it came from is kept for as long as the mapping is, since
pages that were not written to still show the store's. A small array is copied.
"""

from __future__ import annotations

import sys

from haz import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PLAIN", "writable"]

#: A smaller array is copied: that costs less than a mapping, and there may be many.
_LEAST_MAPPED_BYTES = 256 * 1024
#: Types of values that hold no arrays.
PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))
#: Of their objects, those with arrays inside are made again around other memory.
_ARRAY_LIBRARIES = frozenset(("numpy", "pandas", "polars", "scipy", "xarray"))


def writable(value: Any, below_bytes: float = float("inf")) -> Any:
    """Return `value`, whose read-only arrays are replaced by writable ones that nobody else sees.

    Those of `below_bytes` and more stay as they are.

    Looked at are arrays, data frames and the like, also inside of lists, tuples and dictionaries, and
    arrays that are attributes of objects. Lists, dictionaries and objects are changed in place: for
    values that the caller owns.
    """
    if type(value) in PLAIN:
        return value
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return value  # so there are no arrays
    return _writable(value, numpy.ndarray, {}, below_bytes)


def _writable(value: Any, array_type: Any, seen: dict[int, Any], below: float) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    if id(value) in seen:
        return seen[id(value)]
    if kind is array_type:
        made = value if _is_own(value, below) else _copy_of(value)
    elif kind is list:
        if PLAIN.issuperset(map(type, value)):
            return value
        seen[id(value)] = value
        for index, item in enumerate(value):
            if type(item) not in PLAIN:
                value[index] = _writable(item, array_type, seen, below)
        return value
    elif kind is dict:
        seen[id(value)] = value
        for key, item in value.items():
            if type(item) not in PLAIN:
                value[key] = _writable(item, array_type, seen, below)
        return value
    elif kind is tuple:
        if PLAIN.issuperset(map(type, value)):
            return value
        items = [_writable(item, array_type, seen, below) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        made = value if same else tuple(items)
    else:
        made = _with_writable_parts(value, array_type, below)
    seen[id(value)] = made
    return made


def _is_own(array: Any, below: float) -> bool:
    """Whether an array is writable, or stays what it is."""
    return bool(array.flags.writeable or array.dtype.hasobject or array.nbytes >= below)


def _copy_of(array: Any) -> Any:
    if array.nbytes < _LEAST_MAPPED_BYTES or not array.flags.c_contiguous:
        return array.copy(order="K")
    mapped = _native.map_privately(array.__array_interface__["data"][0], array.nbytes, array)
    if mapped is None:
        return array.copy(order="K")
    import numpy

    flat = numpy.frombuffer(mapped, dtype=numpy.uint8)
    return flat.view(array.dtype).reshape(array.shape)


def _with_writable_parts(value: Any, array_type: Any, below: float) -> Any:
    if type(value).__module__.partition(".")[0] in _ARRAY_LIBRARIES:
        return _rebuilt(value, below)
    attributes = getattr(value, "__dict__", None)
    if type(attributes) is dict:
        for name, part in attributes.items():
            if type(part) is array_type and not _is_own(part, below):
                attributes[name] = _copy_of(part)
    return value


def _rebuilt(value: Any, below: float) -> Any:
    """Make an object anew around writable copies of the buffers that it pickles out of band."""
    import pickle

    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps(value, 5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        if not any(view.readonly and 0 < view.nbytes < below for view in views):
            return value
        return pickle.loads(
            data, buffers=[_memory_like(view) if view.nbytes < below else view for view in views]
        )
    except Exception:
        return value  # it came by other means than plain pickle, and stays as it is


def _memory_like(view: memoryview) -> Any:
    if view.nbytes >= _LEAST_MAPPED_BYTES:
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            address = numpy.frombuffer(view, numpy.uint8).__array_interface__["data"][0]
            mapped = _native.map_privately(address, view.nbytes, view)
            if mapped is not None:
                return mapped
    return bytearray(view)
