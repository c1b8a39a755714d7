"""How functions travel to engines: as code, whose global names are looked up where it runs.

A function of a module that engines can import goes by its name. Any other one, typed in a notebook,
of ``__main__``, nested or a lambda, goes as its code, defaults and closure; its globals are then the
engine's namespace (for one of ``__main__``) or its module's. So it sees what was pushed there.
Canned functions are found in arguments themselves and in lists, tuples and dicts of them.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import weakref
from types import CellType, FunctionType

import cloudpickle

from haz._core.plain_functions import is_by_value, unpack
from haz._native import all_scalars

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

__all__ = [
    "Canned",
    "Reference",
    "can",
    "can_callable",
    "frozen",
    "kept_apart",
    "set_user_namespace",
    "uncan",
    "uncan_callable",
    "user_namespace",
]

_MAIN = ("__main__", "__mp_main__")
#: Types that never hold a function; most arguments and results are of these.
_PLAIN = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None), range, slice))
_EMPTY = "haz: an empty cell"

_user_namespace: dict[str, Any] | None = None


def user_namespace() -> dict[str, Any]:
    """The globals of functions of ``__main__``: the engine's namespace; in a client, its own."""
    if _user_namespace is None:
        import __main__

        return vars(__main__)
    return _user_namespace


def set_user_namespace(namespace: dict[str, Any]) -> None:
    """Make this process an engine, whose functions live in `namespace`."""
    global _user_namespace
    _user_namespace = namespace


class Reference:
    """A name on the engine, as an argument: the function gets what it means there.

    >>> view.apply_sync(lambda x: x, Reference("a"))  # doctest: +SKIP

    Parameters
    ----------
    name : str
        An expression, evaluated in the engine's namespace: ``"a"``, ``"a.b"``, ``"a[0]"``.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"a Reference takes an expression as a str, and not {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"<Reference: {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


class Canned:
    """Pickled by the rules of this module."""

    __slots__ = ("__weakref__", "data", "keeps")

    def __init__(self, data: bytes, keeps: bool) -> None:
        self.data = data
        self.keeps = keeps  # whether what is loaded has no state, and may be used again

    def __reduce__(self) -> tuple[Any, ...]:
        return Canned, (self.data, self.keeps)


class _CannedPartial:
    __slots__ = ("args", "function", "keywords")

    def __init__(self, function: Any, args: Any, keywords: Any) -> None:
        self.function = function
        self.args = args
        self.keywords = keywords

    def __reduce__(self) -> tuple[Any, ...]:
        return _CannedPartial, (self.function, self.args, self.keywords)


class Frozen:
    """Canned things, pickled, and their large buffers if those are kept apart."""

    __slots__ = ("buffers", "data")

    def __init__(self, data: bytes, buffers: tuple[Any, ...] = ()) -> None:
        self.data = data
        self.buffers = buffers

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self.data, self.buffers)

    def _haz_uncan(self) -> Any:
        return uncan(pickle.loads(self.data, buffers=self.buffers))


def frozen(thing: Any) -> Frozen:
    """What is canned as it is now, whatever becomes of it; see `Frozen`."""
    return Frozen(_dumps(thing))


def kept_apart(thing: Any) -> Any:
    """What is canned, so that neither pickling nor loading it can fail with what it is sent with.

    Large buffers are not copied. The thing itself where no code of anybody makes it.
    """
    kind = type(thing)
    if kind in _PLAIN or ((kind is list or kind is tuple) and all_scalars(thing)):
        return thing
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(thing)
    return Frozen(file.getvalue(), tuple(buffers))


def _is_importable(thing: Any) -> bool:
    """Whether another process finds a function or class by its module and name."""
    module = getattr(thing, "__module__", None)
    if module is None or module in _MAIN:
        return False
    found: Any = sys.modules.get(module)
    if getattr(found, thing.__qualname__, None) is thing:
        return True  # no class is around it: one look is enough
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _make_function(code: CodeType, module: str | None, name: str, cells: int) -> Callable[..., Any]:
    if module is None or module in _MAIN:
        globals_ = user_namespace()
    else:
        __import__(module)
        globals_ = vars(sys.modules[module])
    closure = tuple(CellType() for _ in range(cells))
    return FunctionType(code, globals_, name, None, closure or None)


def _fill_function(function: FunctionType, state: tuple[Any, ...]) -> None:
    attributes, contents, dictionary = state
    for name, value in attributes.items():
        setattr(function, name, value)
    for cell, content in zip(function.__closure__ or (), contents, strict=True):
        if not (isinstance(content, str) and content == _EMPTY):
            cell.cell_contents = content
    function.__dict__.update(dictionary)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """cloudpickle, but for the globals of functions."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not FunctionType or _is_importable(obj):
            return super().reducer_override(obj)
        closure = obj.__closure__ or ()
        attributes = {
            "__defaults__": obj.__defaults__,
            "__kwdefaults__": obj.__kwdefaults__,
            "__qualname__": obj.__qualname__,
            "__module__": obj.__module__,
            "__doc__": obj.__doc__,
            "__annotations__": obj.__annotations__,
        }
        return (
            _make_function,
            (obj.__code__, obj.__module__, obj.__name__, len(closure)),
            (attributes, [_content(cell) for cell in closure], obj.__dict__),
            None,
            None,
            _fill_function,
        )


def _dumps(thing: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(thing)
    return buffer.getvalue()


#: What was made of functions without state, by the identity of their code: a lambda in a loop is a
#: new function each time, of the same code.
_dumped: dict[int, tuple[weakref.ref[CodeType], tuple[Any, ...], Canned]] = {}


def _can_function(function: FunctionType) -> Any:
    if _is_importable(function):
        return function
    # What a closure, a default or an attribute holds may change from call to call.
    keeps = not (
        function.__closure__
        or function.__defaults__
        or function.__kwdefaults__
        or function.__annotations__
        or function.__dict__
    )
    if not keeps:
        return Canned(_dumps(function), False)
    code = function.__code__
    key = id(code)
    named = (function.__module__, function.__qualname__, function.__name__, function.__doc__)
    known = _dumped.get(key)
    if known is not None and known[0]() is code and known[1] == named:
        return known[2]
    canned = Canned(_dumps(function), True)
    _dumped[key] = (weakref.ref(code, lambda _: _dumped.pop(key, None)), named, canned)
    return canned


def can_callable(thing: Any) -> Any:
    """What is sent for a function that is to be called: a name or bytes, for most, which are cheap."""
    if type(thing) is FunctionType and _is_importable(thing):
        module = thing.__module__
        return thing if is_by_value(module) else (module, thing.__qualname__)
    canned = can(thing)
    return canned.data if type(canned) is Canned and canned.keeps else canned


def uncan_callable(thing: Any) -> Any:
    """The function that `can_callable` was given.

    Raises
    ------
    ImportError, AttributeError
        If it goes by a name that means nothing here.
    """
    if type(thing) is tuple:
        # At the module's top, for most: no import has to be looked for.
        found = getattr(sys.modules.get(thing[0]), thing[1], None) if len(thing) == 2 else None
        return unpack(thing) if found is None else found
    return _load_kept(thing) if type(thing) is bytes else uncan(thing)


def can(thing: Any) -> Any:
    """What is sent for `thing`: itself where it holds no function to be canned."""
    kind = type(thing)
    if kind in _PLAIN:
        return thing
    if kind is FunctionType:
        return _can_function(thing)
    if kind is functools.partial:
        return _CannedPartial(can(thing.func), can(thing.args), can(thing.keywords))
    if kind is list or kind is tuple:
        if all_scalars(thing):
            return thing
        canned = [can(item) for item in thing]
        if all(a is b for a, b in zip(canned, thing, strict=True)):
            return thing
        return canned if kind is list else tuple(canned)
    if kind is dict:
        if _PLAIN.issuperset(map(type, thing.values())):
            return thing
        canned_dict = {key: can(value) for key, value in thing.items()}
        if all(canned_dict[key] is value for key, value in thing.items()):
            return thing
        return canned_dict
    if isinstance(thing, type):
        return thing if _is_importable(thing) else Canned(_dumps(thing), False)
    own_can = getattr(kind, "_haz_can", None)
    return thing if own_can is None else own_can(thing)


_loaded: dict[bytes, Any] = {}


def _load_kept(data: bytes) -> Any:
    found = _loaded.get(data)
    if found is None:
        if len(_loaded) > 500:
            _loaded.clear()
        found = _loaded[data] = pickle.loads(data)
    return found


def _load(canned: Canned) -> Any:
    return _load_kept(canned.data) if canned.keeps else pickle.loads(canned.data)


def uncan(thing: Any) -> Any:
    """The thing that `can` was given, as this process sees it; a Reference becomes its value.

    Raises
    ------
    NameError
        Where a Reference means nothing here.
    """
    kind = type(thing)
    if kind in _PLAIN:
        return thing
    if kind is Canned:
        return _load(thing)
    if kind is Reference:
        return eval(thing.name, user_namespace())
    if kind is _CannedPartial:
        return functools.partial(uncan(thing.function), *uncan(thing.args), **uncan(thing.keywords))
    if kind is list or kind is tuple:
        if all_scalars(thing):
            return thing
        found = [uncan(item) for item in thing]
        return found if kind is list else tuple(found)
    if kind is dict:
        if _PLAIN.issuperset(map(type, thing.values())):
            return thing
        return {key: uncan(value) for key, value in thing.items()}
    own_uncan = getattr(kind, "_haz_uncan", None)
    return thing if own_uncan is None else own_uncan(thing)
