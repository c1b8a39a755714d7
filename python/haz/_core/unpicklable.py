"""Finds the part of a value that can't be pickled. Imported only when pickling has failed."""

from __future__ import annotations

import types

from haz._core import serialize
from haz._core.plain_functions import names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    #: A part of a value with its name; the name is empty for a part that needs none.
    Parts = Iterator[tuple[str, Any]]

_MAX_DEPTH = 30
_CANT = "can't pickle"
_OF_HAZ = ("RemoteFunction", "ActorClass")
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def explain(value: Any) -> str:
    """See `haz._core.serialize.explain_unpicklable`."""
    return _explain(value, [])


def explain_decorated(function: Any) -> str:
    """The same of a function or class that is sent to workers: it is the user's decorated one."""
    if type(function) is not types.FunctionType:
        return explain(function)
    seen = {id(function)}
    for name, part in _defaults_of(function):
        if type(part) not in _ATOMS and id(part) not in seen and not _can_pickle(part):
            owner = f"the decorated function {function.__qualname__!r}"
            return _explain(part, [_default(name, owner)])
    return explain(function)


def in_part(error: Exception, part: str) -> Exception:
    """Return `error` with the name of the `part` in front that can't be pickled.

    Errors of other kinds than SerializationError are returned as they are.
    """
    from haz._core.derived_errors import make_error
    from haz.exceptions import SerializationError

    if not isinstance(error, SerializationError):
        return error
    text = f"{_CANT} {part}: {str(error).removeprefix(_CANT).lstrip()}"
    return make_error(SerializationError, text, error.__cause__)


def _explain(value: Any, steps: list[str]) -> str:
    seen: set[int] = set()
    while len(steps) < _MAX_DEPTH:
        seen.add(id(value))
        found = _first_bad_part(value, seen)
        if found is None:
            break
        name, value = found
        if name:
            steps.append(name)
    culprit = _type_name(type(value))
    if isinstance(value, (type, types.FunctionType)):
        culprit = f"{culprit} {value.__qualname__!r}"
    return f"{', '.join(steps)}: {culprit}" if steps else culprit


def _first_bad_part(value: Any, seen: set[int]) -> tuple[str, Any] | None:
    return next(bad_parts(value, seen), None)


def bad_parts(value: Any, seen: set[int]) -> Parts:
    """Yield the parts of a value that can't be pickled, with names; none whose id is in `seen`."""
    try:
        for name, part in _parts_of(value):
            if type(part) not in _ATOMS and id(part) not in seen and not _can_pickle(part):
                yield name, part
    except Exception:  # user code may raise anything while it is looked at
        return


def _can_pickle(value: Any) -> bool:
    try:
        serialize.try_dumps(value)
    except Exception:
        return False
    return True


def _type_name(cls: type) -> str:
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _parts_of(value: Any) -> Parts:
    cls = type(value)
    parts_of = _PARTS.get(cls)
    if parts_of is None and isinstance(value, type):
        parts_of = _parts_of_class
    if parts_of is None and cls.__name__ in _OF_HAZ and hasattr(value, "__wrapped__"):
        return iter((("", value.__wrapped__),))
    return (parts_of or _parts_of_object)(value)


def _parts_of_dict(value: dict[Any, Any]) -> Parts:
    for key, item in value.items():
        yield f"a key of a {_type_name(type(value))}", key
        yield f"item {_short(key)} of a {_type_name(type(value))}", item


def _parts_of_sequence(value: Any) -> Parts:
    for i, item in enumerate(value):
        yield f"item {i} of a {_type_name(type(value))}", item


def _parts_of_set(value: Any) -> Parts:
    for item in value:
        yield f"an element of a {_type_name(type(value))}", item


def _parts_of_function(value: types.FunctionType) -> Parts:
    owner = f"function {value.__qualname__!r}"
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
        try:
            yield f"closure variable {name!r} of {owner}", cell.cell_contents
        except ValueError:  # empty
            pass
    for name, default in _defaults_of(value):
        yield _default(name, owner), default
    for name in names_of(value.__code__):
        if name in value.__globals__:
            yield f"global variable {name!r} of {owner}", value.__globals__[name]
    for name, annotation in value.__annotations__.items():
        yield f"annotation of {name!r} of {owner}", annotation
    for name, attribute in value.__dict__.items():
        yield f"attribute {name!r} of {owner}", attribute


def _defaults_of(value: types.FunctionType) -> Parts:
    defaults = value.__defaults__ or ()
    code = value.__code__
    names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    yield from zip(names, defaults, strict=False)
    yield from (value.__kwdefaults__ or {}).items()


def _default(name: str, owner: str) -> str:
    return f"a default of {owner} ({name}=)"


def _parts_of_method(value: types.MethodType) -> Parts:
    yield f"object of the method {value.__name__!r}", value.__self__
    yield "", value.__func__


def _parts_of_class(value: type) -> Parts:
    for base in value.__bases__:
        yield f"base of class {value.__qualname__!r}", base
    for name, attribute in value.__dict__.items():
        if name not in ("__dict__", "__weakref__"):
            plain = getattr(attribute, "__func__", attribute)  # of a static or class method
            yield f"attribute {name!r} of class {value.__qualname__!r}", plain


def _parts_of_property(value: property) -> Parts:
    for name in ("fget", "fset", "fdel"):
        yield "", getattr(value, name)


def _parts_of_object(value: Any) -> Parts:
    """What the object's own reduction is made of: its class, its state, its items."""
    reduced = value.__reduce_ex__(serialize.PROTOCOL)
    if isinstance(reduced, str):
        return
    cls = type(value)
    owner = _type_name(cls)
    fields: list[Any] = [*reduced, None, None, None]
    arguments, state, items, pairs = fields[1:5]
    yield from _parts_of_state(state, owner)
    for argument in arguments:
        name = f"class of the {owner}" if argument is cls else f"constructor argument of {owner}"
        yield name, argument
    for item in items or ():
        yield f"an item of {owner}", item
    for key, item in pairs or ():
        yield f"item {_short(key)} of {owner}", item
    yield f"class of the {owner}", cls


def _parts_of_state(state: Any, owner: str) -> Parts:
    states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in states:
        if isinstance(part, dict):
            for name, attribute in part.items():
                yield f"attribute {name!r} of {owner}", attribute
        else:
            yield f"state of {owner}", part


_PARTS: dict[type, Callable[[Any], Parts]] = {
    dict: _parts_of_dict,
    list: _parts_of_sequence,
    tuple: _parts_of_sequence,
    set: _parts_of_set,
    frozenset: _parts_of_set,
    types.FunctionType: _parts_of_function,
    types.MethodType: _parts_of_method,
    property: _parts_of_property,
}
