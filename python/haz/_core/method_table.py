"""The methods of an actor class as plain data: what a handle needs, in any process.

`pack_table` looks at the class, where it is; `MethodTable.of` makes the table that handles use of
the packed bytes, also where the class is not known and can't be imported.
"""

from __future__ import annotations

import marshal
import types

from haz._core.actor_options import make_method_options
from haz._core.cpp_code import MARK as CPP_MARK
from haz._core.signature import (
    ANY_PARAMETERS,
    CallDescriptor,
    Parameters,
    is_any_generator,
    is_async,
    parameters_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, TypeAlias

    from haz.engines.base import ActorOptions, MethodOptions

    #: Parameters without the first; whether it is a generator; options of ``@haz.method``, with
    #: the exception types in `retry_exceptions` pickled.
    Packed: TypeAlias = tuple[Parameters, bool, dict[str, Any]]

__all__ = ["MethodTable", "constructor_parameters", "has_async_methods", "is_static", "pack_table"]

#: Where ``@haz.method`` leaves the options.
OPTIONS_ATTRIBUTE = "__haz_method_options__"

#: Methods that every actor has, under haz's names and Ray's; engines know Ray's.
_SPECIAL: dict[str, Parameters] = {
    "__ray_call__": (1, ("fn",), 0, (), (), True, True),
    "__ray_ready__": (0, (), 0, (), (), False, False),
    "__ray_terminate__": (0, (), 0, (), (), False, False),
}
_HAZ_NAMES = {name.replace("ray", "haz"): name for name in _SPECIAL}

_FUNCTIONS = (types.FunctionType, staticmethod, classmethod)


# ---- looking at a class ------------------------------------------------------------------------


def _members(cls: type) -> Iterator[tuple[str, Any, Any]]:
    """The names that instances have from their class: (name, what is in the class, the function)."""
    seen = set(object.__dict__)
    for base in cls.__mro__[:-1]:
        # What typing, abc and C types bring in double underscores is no business of callers.
        is_users = bool(base.__flags__ & (1 << 9)) and base.__module__ not in ("typing", "abc")
        for name, member in base.__dict__.items():
            if name in seen:
                continue
            if is_users or not name.startswith("__") or name in _OF_CONTAINERS:
                seen.add(name)
                yield name, member, getattr(member, "__func__", member)


_OF_CONTAINERS = ("__contains__", "__delitem__", "__getitem__", "__len__", "__setitem__")


def has_async_methods(cls: type) -> bool:
    """Whether a method of `cls` is an ``async def``."""
    return any(is_async(function) for _, _, function in _members(cls))


def is_static(cls: type, name: str) -> bool:
    """Whether `name` is a static method of `cls`."""
    owners = (base for base in cls.__mro__ if name in base.__dict__)
    owner = next(owners, None)
    return owner is not None and isinstance(owner.__dict__[name], staticmethod)


def _is_method(member: Any) -> bool:
    """Whether what a class has under a name is called with the instance, or as a function."""
    if isinstance(member, _FUNCTIONS):
        return True
    if isinstance(member, (type, property)):
        return False
    # functools.partialmethod, lru_cache, singledispatchmethod, methods of C types, Cython's ...
    kind = type(member)
    return hasattr(kind, "__get__") and (callable(member) or kind.__module__ == "functools")


def _parameters_of_method(member: Any) -> Parameters:
    function = getattr(member, "__func__", member)
    if type(function) is not types.FunctionType:
        return ANY_PARAMETERS
    return parameters_of(function, bound=not isinstance(member, staticmethod))


def constructor_parameters(cls: type) -> Parameters:
    """What ``cls(...)`` takes, as far as it can be known."""
    if type(cls).__call__ is not type.__call__:
        return ANY_PARAMETERS  # the metaclass may do anything
    own: Any = cls
    if own.__init__ is not object.__init__:
        maker = own.__init__
    elif own.__new__ is not object.__new__:
        maker = own.__new__
    else:
        return (0, (), 0, (), (), False, False)
    if type(maker) is not types.FunctionType:
        return ANY_PARAMETERS
    return parameters_of(maker, bound=True)


def _options_of(member: Any, function: Any) -> dict[str, Any]:
    options = getattr(member, OPTIONS_ATTRIBUTE, None) or getattr(function, OPTIONS_ATTRIBUTE, None)
    packed = dict(options or {})
    if isinstance(packed.get("retry_exceptions"), tuple):
        from haz._core.serialize import dump_function

        packed["retry_exceptions"] = dump_function(packed["retry_exceptions"])
    return packed


def pack_table(cls: type, uid: bytes, options: ActorOptions) -> bytes:
    """Return what `MethodTable.of` takes.

    Raises ValueError where a method is in a concurrency group that the actor doesn't have.
    """
    cpp_class = cls.__dict__.get("__haz_cpp_class__")
    if cpp_class is not None:
        from haz._core.cpp_code import pack_class

        full_name, library, _, functions = cpp_class
        return pack_class(full_name, library, functions, options)
    methods: dict[str, Packed] = {}
    others = []
    for name, member, function in _members(cls):
        if _is_method(member):
            method_options = _options_of(member, function)
            where = f"@haz.method of {cls.__name__}.{name}"
            make_method_options(method_options, groups=options.concurrency_groups, where=where)
            methods[name] = (
                _parameters_of_method(member),
                is_any_generator(function),
                method_options,
            )
        elif not name.startswith("__"):
            others.append(name)
    packed = (
        *(cls.__name__, str(cls.__module__), uid, methods, tuple(others)),
        *(options.max_task_retries, tuple(options.concurrency_groups)),
        options.max_pending_calls > 0,
    )
    return marshal.dumps(packed)


# ---- for handles -------------------------------------------------------------------------------

#: Packed bytes -> table, for as long as this process lives: there is one for each class.
_tables: dict[bytes, MethodTable] = {}
_TABLES_KEPT = 1024


class MethodTable:
    """What handles of the actors of one class share.

    Attributes
    ----------
    packed
        What it was made of.
    class_name, module
        Name of the class, and of the module that defines it.
    names
        Names of the methods.
    is_limited
        Whether the actor has `max_pending_calls`.
    """

    __slots__ = (
        "_descriptors",
        "_groups",
        "_max_task_retries",
        "_methods",
        "_others",
        "_uid",
        "class_name",
        "is_limited",
        "module",
        "packed",
    )

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        #: Those of C++ check what they are called with.
        self._descriptors: dict[str, CallDescriptor] = {}
        if packed.startswith(CPP_MARK):
            from haz._core.cpp_code import unpack_class

            unpacked, cpp = unpack_class(packed)
            self._descriptors.update(cpp)
        else:
            unpacked = marshal.loads(packed)
        self.class_name: str = unpacked[0]
        self.module: str = unpacked[1]
        self._uid: bytes = unpacked[2]
        self._methods: dict[str, Packed] = unpacked[3]
        self._others: tuple[str, ...] = unpacked[4]
        self._max_task_retries: int = unpacked[5]
        self._groups: tuple[str, ...] = unpacked[6]
        self.is_limited: bool = unpacked[7]

    @classmethod
    def of(cls, packed: bytes) -> MethodTable:
        """Return the table that was packed so."""
        table = _tables.get(packed)
        if table is None:
            if len(_tables) >= _TABLES_KEPT:
                _tables.clear()
            table = _tables[packed] = cls(packed)
        return table

    @property
    def names(self) -> list[str]:
        return list(self._methods)

    def has(self, name: str) -> bool:
        """Whether there is a method of that name."""
        return name in self._methods or name in _SPECIAL or name in _HAZ_NAMES

    def shown(self, name: str) -> str:
        """The name of a method in messages."""
        return f"{self.class_name}.{name}"

    def engine_name(self, name: str) -> str:
        """The name by which engines know a method."""
        return _HAZ_NAMES.get(name, name)

    def descriptor(self, name: str) -> CallDescriptor:
        """The descriptor of a method, without its first parameter."""
        found = self._descriptors.get(name)
        if found is None:
            known = self._methods.get(name)
            parameters = known[0] if known else _SPECIAL[self.engine_name(name)]
            found = CallDescriptor(self.shown(name), self._uid, parameters)
            self._descriptors[name] = found
        return found

    def options(self, name: str, given: Mapping[str, Any]) -> MethodOptions:
        """The options of a method with `given` ones: from the class, the method, the call."""
        merged: dict[str, Any] = {"max_task_retries": self._max_task_retries}
        _, makes_generator, own = self._methods.get(name, (None, False, {}))
        merged.update(own)
        merged.update(given)
        if makes_generator:
            merged.setdefault("num_returns", "streaming")
        if isinstance(merged.get("retry_exceptions"), bytes):
            from haz._core.serialize import load_function

            merged["retry_exceptions"] = load_function(merged["retry_exceptions"])
        where = f"{self.shown(name)}.options"
        return make_method_options(merged, groups=self._groups, where=where)

    def unknown(self, name: str) -> AttributeError:
        """The error for a name that is not that of a method."""
        if name in self._others:
            return AttributeError(
                f"{self.shown(name)} is not a method, and only methods of an actor can be called "
                f"from elsewhere: add one that returns it, or use "
                f"handle.__ray_call__.remote(lambda self: self.{name})"
            )
        near = ""
        if not name.startswith("__"):
            from haz._core.options import near_matches

            near = near_matches(name, self._methods)
        return AttributeError(f"actor class {self.class_name} has no method {name!r}{near}")
