"""Classes by value, for `haz._core.serialize`: ordinary ones, without cloudpickle.

They are copied with what is in them, as cloudpickle does it. A class is copied once into a process:
later copies of the same class are that one, and in the process that it comes from it is itself. So
``isinstance`` holds for objects that come one by one, or back again.

Classes whose making may do more than ``type(name, bases, namespace)`` are left to cloudpickle:
those with a metaclass, slots, type parameters, a base that hears of its subclasses, dataclasses.
"""

from __future__ import annotations

import os
from _weakref import ref as weak_ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["MEMBER_REDUCERS", "is_ordinary", "reduce_class"]

#: Attributes that every class gets by itself.
_MADE_BY_TYPE = ("__dict__", "__weakref__", "__module__", "__qualname__")

#: Signs of a class that is more than its attributes.
_SPECIAL = (
    "__annotate_func__",  # Python 3.14
    "__dataclass_fields__",
    "__orig_bases__",
    "__slots__",
    "__type_params__",
)

#: id(class) -> the class and its identity, for all processes.
_identities: dict[int, tuple[weak_ref[type], bytes]] = {}
#: Identity -> the class here, and whether it has its attributes.
_classes: dict[bytes, tuple[weak_ref[type], list[bool]]] = {}


def is_ordinary(cls: type) -> bool:
    """Whether `reduce_class` copies `cls` as cloudpickle would."""
    if type(cls) is not type or any(name in cls.__dict__ for name in _SPECIAL):
        return False
    return all(
        base is object or "__init_subclass__" not in base.__dict__ for base in cls.__mro__[1:]
    )


def _remember(cls: type, identity: bytes, is_whole: bool) -> None:
    key = id(cls)

    def forget(_: weak_ref[type]) -> None:
        _identities.pop(key, None)
        _classes.pop(identity, None)

    weak = weak_ref(cls, forget)
    _identities[key] = weak, identity
    _classes[identity] = weak, [is_whole]


def _identity_of(cls: type) -> bytes:
    known = _identities.get(id(cls))
    if known is None:
        _remember(cls, os.urandom(16), True)
        known = _identities[id(cls)]
    return known[1]


def reduce_class(cls: type) -> tuple[Any, ...]:
    """The reduction of a class that `is_ordinary`, for a pickler."""
    basics = {name: cls.__dict__[name] for name in ("__module__",) if name in cls.__dict__}
    basics["__qualname__"] = cls.__qualname__
    attributes = {n: value for n, value in cls.__dict__.items() if n not in _MADE_BY_TYPE}
    arguments = (_identity_of(cls), cls.__name__, cls.__bases__, basics)
    # The attributes follow the class, which methods may refer to.
    return _make_class, arguments, attributes, None, None, _set_attributes


def _make_class(identity: bytes, name: str, bases: tuple[type, ...], basics: Any) -> type:
    known = _classes.get(identity)
    cls = None if known is None else known[0]()
    if cls is None:
        cls = type(name, bases, basics)
        _remember(cls, identity, False)
    return cls


def _set_attributes(cls: type, attributes: dict[str, Any]) -> None:
    _, is_whole = _classes[_identity_of(cls)]
    if is_whole[0]:
        return
    is_whole[0] = True
    for name, value in attributes.items():
        setattr(cls, name, value)


# ---- what is in classes ------------------------------------------------------------------------


def _reduce_staticmethod(_pickler: Any, member: Any) -> tuple[Any, ...]:
    # Its dictionary has copies of the function's attributes, and maybe some of its own.
    function = member.__func__
    own = {
        name: value
        for name, value in getattr(member, "__dict__", {}).items()
        if name != "__wrapped__" and getattr(function, name, None) is not value
    }
    return type(member), (function,), own or None


def _reduce_property(_pickler: Any, member: property) -> tuple[Any, ...]:
    return property, (member.fget, member.fset, member.fdel, member.__doc__)


def _make_cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    import functools

    made = functools.cached_property(function)
    made.attrname = name
    return made


def _reduce_cached_property(_pickler: Any, member: Any) -> tuple[Any, ...]:
    return _make_cached_property, (member.func, member.attrname)


#: Reducers of what classes hold and plain pickle refuses.
MEMBER_REDUCERS: dict[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("builtins", "classmethod"): _reduce_staticmethod,
    ("builtins", "staticmethod"): _reduce_staticmethod,
    ("builtins", "property"): _reduce_property,
    ("functools", "cached_property"): _reduce_cached_property,
}
