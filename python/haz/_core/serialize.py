"""Pickling: what the native codec leaves over, and functions.

`dumps` pickles with C speed as long as plain pickle means exactly what cloudpickle would mean: no
function and no class inside is one that another process can't import. Functions that it can't
import (of ``__main__``, lambdas, closures) are pickled by value here, with the meaning that they
have in cloudpickle, and so are ordinary classes (`haz._core.serialize_classes`); for whatever else
plain pickle refuses, cloudpickle does the work. It is imported only then, since that takes longer
than starting a worker.

By value means: code, defaults, closure and attributes are copied, and of the module's globals those
that the code names. Functions pickled together from one module share one copy of its globals.
"""

from __future__ import annotations

import _pickle
import marshal
import sys
import types
from io import BytesIO

from haz._core.plain_functions import (
    FUNCTION_SLOTS,
    MAIN_MODULES,
    MODULE_GLOBALS,
    is_by_value,
    is_importable,
    names_of,
    submodules_of,
)
from haz._core.serialize_classes import MEMBER_REDUCERS, is_ordinary, reduce_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer
    from typing import Any, TypeAlias

    from haz._core.main_globals import MainGlobals

    Reducer: TypeAlias = Callable[[Any, Any], Any]

__all__ = [
    "deregister_serializer",
    "dump_function",
    "dumps",
    "dumps_with",
    "explain_unpicklable",
    "has_serializers",
    "load_function",
    "loads",
    "note_unpickling",
    "register_serializer",
    "share_main_globals",
]

PROTOCOL = 5


class _NeedsCloudpickleError(Exception):
    """Plain pickle would fail, or would bind to what another process lacks."""


# ---- by-value reducers -------------------------------------------------------------------------

#: In the workers of pools: globals that all functions of the main program have.
_main_globals: MainGlobals | None = None


def share_main_globals() -> None:
    """From now on, let functions of the main program that come to this process share their globals."""
    global _main_globals
    if _main_globals is None:
        from haz._core.main_globals import MainGlobals

        _main_globals = MainGlobals()


def _make_cell() -> Any:
    return types.CellType()


def _make_function(
    code: bytes, module_globals: dict[str, Any], name: str, closure: tuple[Any, ...] | None
) -> types.FunctionType:
    import builtins

    if _main_globals is not None and module_globals.get("__name__") in MAIN_MODULES:
        module_globals = _main_globals.begin(module_globals)
    module_globals.setdefault("__builtins__", builtins)
    return types.FunctionType(marshal.loads(code), module_globals, name, None, closure)


def _set_function_state(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    slots, attributes, module_globals, cells, _submodules = state
    for name, value in slots.items():
        setattr(function, name, value)
    function.__dict__.update(attributes)
    if _main_globals is not None and _main_globals.own(function.__globals__):
        _main_globals.update(module_globals)
    else:
        function.__globals__.update(module_globals)
    for cell, contents in zip(function.__closure__ or (), cells, strict=True):
        if contents:
            cell.cell_contents = contents[0]


def _cell_contents(cell: Any) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # empty
        return ()


def _reduce_function(pickler: _Pickler, function: types.FunctionType) -> Any:
    if is_importable(function, function.__module__, function.__qualname__):
        return NotImplemented
    if (
        type(function.__globals__) is not dict
        or getattr(function, "__type_params__", None)
        or getattr(function, "__annotate__", None) is not None  # Python 3.14
    ):
        raise _NeedsCloudpickleError
    try:
        code = marshal.dumps(function.__code__)
    except ValueError:
        raise _NeedsCloudpickleError from None
    names = names_of(function.__code__)
    module_globals = {
        name: function.__globals__[name] for name in names if name in function.__globals__
    }
    closure = function.__closure__ or ()
    pickler.own_cells.update((id(cell), cell) for cell in closure)
    contents = [_cell_contents(cell) for cell in closure]
    candidates = [*module_globals.values(), *(item for cell in contents for item in cell)]
    modules = [value for value in candidates if type(value) is types.ModuleType]
    state = (
        {name: getattr(function, name) for name in FUNCTION_SLOTS},
        function.__dict__,
        module_globals,
        contents,
        submodules_of(modules, names),
    )
    base = pickler.base_globals_of(function.__globals__)
    arguments = (code, base, function.__name__, function.__closure__)
    # The state follows the function, which may refer to itself.
    return _make_function, arguments, state, None, None, _set_function_state


def _reduce_cell(pickler: _Pickler, cell: Any) -> Any:
    if id(cell) not in pickler.own_cells:
        raise _NeedsCloudpickleError
    return _make_cell, ()  # its function's state brings the contents


def _import_module(name: str) -> types.ModuleType:
    __import__(name)
    return sys.modules[name]


def _reduce_module(pickler: _Pickler, module: types.ModuleType) -> Any:
    name = module.__name__
    if name in MAIN_MODULES or sys.modules.get(name) is not module or is_by_value(name):
        raise _NeedsCloudpickleError
    return _import_module, (name,)


def _reduce_class(pickler: _Pickler, cls: type) -> Any:
    reduced = cls.__dict__.get("__haz_reduce__")  # of a C++ class
    if reduced is not None:
        return reduced
    if cls.__module__ == "builtins" or is_importable(cls, cls.__module__, cls.__qualname__):
        return NotImplemented
    if not is_ordinary(cls):
        raise _NeedsCloudpickleError
    return reduce_class(cls)


def _reduce_type_parameter(pickler: _Pickler, parameter: Any) -> Any:
    if is_importable(parameter, parameter.__module__, parameter.__name__):
        return NotImplemented
    raise _NeedsCloudpickleError


def _make_method(function: Callable[..., Any], owner: Any) -> Any:
    return types.MethodType(function, owner)


def _reduce_method(pickler: _Pickler, method: types.MethodType) -> Any:
    """Pickle a function bound by hand; pickle asks `__self__` for what has the function's name."""
    if getattr(method.__self__, method.__name__, None) == method:
        return NotImplemented
    return _make_method, (method.__func__, method.__self__)


def _make_lru_cache(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    import functools

    return functools.lru_cache(**parameters)(function)


def _reduce_lru_cache(pickler: _Pickler, cached: Any) -> Any:
    """Pickle ``@lru_cache`` functions by value with an empty cache; pickle knows their name only."""
    if is_importable(cached, cached.__module__, cached.__qualname__):
        return NotImplemented
    return _make_lru_cache, (cached.__wrapped__, cached.cache_parameters())


# ---- reducers of data --------------------------------------------------------------------------


def _make_memoryview(data: Any, layout: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(data).toreadonly().cast("B")
    if layout == "B" and len(shape) == 1:
        return view
    if 0 in shape:
        return view.cast(layout)  # type: ignore[call-overload,no-any-return]
    return view.cast(layout, shape)  # type: ignore[call-overload,no-any-return]


def _reduce_memoryview(pickler: _Pickler, view: memoryview) -> Any:
    """Pickle a view as a read-only one; as flat bytes where Python can't make one of its format."""
    layout, shape = view.format, view.shape
    try:
        memoryview(b"").cast(layout)  # type: ignore[call-overload]
    except ValueError:
        layout, shape = "B", (view.nbytes,)
    data = view if view.c_contiguous else view.tobytes()
    return _make_memoryview, (_pickle.PickleBuffer(data), layout, shape)


def _view_as(array: Any, dtype: Any) -> Any:
    return array.view(dtype)


def _reduce_array(pickler: _Pickler, array: Any) -> Any:
    """Hand out the memory of arrays that numpy itself would copy into the pickle."""
    dtype = array.dtype
    flags = array.flags
    is_contiguous = flags.c_contiguous or flags.f_contiguous
    is_time = dtype.kind in "mM"  # has no buffer interface
    if dtype.hasobject or (is_contiguous and not is_time):
        return NotImplemented
    if not is_contiguous:
        array = array.copy(order="C")
    return (_view_as, (array.view("i8"), dtype)) if is_time else array.__reduce_ex__(PROTOCOL)


# ---- picklers ----------------------------------------------------------------------------------

_serializers: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}

#: Reducers of data, which cloudpickle lacks too. Types that need an import are named.
_DATA_REDUCERS: dict[tuple[str, str], Reducer] = {
    ("builtins", "memoryview"): _reduce_memoryview,
    ("functools", "_lru_cache_wrapper"): _reduce_lru_cache,
    ("numpy", "ndarray"): _reduce_array,
    **MEMBER_REDUCERS,
}
_REDUCERS: dict[tuple[str, str], Reducer] = {
    **_DATA_REDUCERS,
    ("builtins", "function"): _reduce_function,
    ("builtins", "cell"): _reduce_cell,
    ("builtins", "module"): _reduce_module,
    ("builtins", "method"): _reduce_method,
    ("typing", "TypeVar"): _reduce_type_parameter,
    ("typing", "ParamSpec"): _reduce_type_parameter,
    ("typing", "TypeVarTuple"): _reduce_type_parameter,
}
#: What was decided for types that live as long as their modules.
_decided: dict[type, Reducer | None] = {}
_MAX_DECIDED = 4096


def _reduce_registered(pickler: Any, value: Any) -> Any:
    serializer, deserializer = _serializers[type(value)]
    return deserializer, (serializer(value),)


def _reducer_for(cls: type, reducers: dict[tuple[str, str], Reducer]) -> Reducer | None:
    if cls in _serializers:
        return _reduce_registered
    if "multiprocessing.managers" in sys.modules:
        from haz._core.manager_values import is_manager_value, reduce_manager_value

        if is_manager_value(cls):
            return reduce_manager_value
    return reducers.get((cls.__module__, cls.__name__))


def _decide(cls: type) -> Reducer | None:
    """Return the reducer for objects of `cls`, or None where pickle does well."""
    reducer = _reduce_class if issubclass(cls, type) else _reducer_for(cls, _REDUCERS)
    if cls.__module__ == "builtins" or is_importable(cls, cls.__module__, cls.__qualname__):
        if len(_decided) >= _MAX_DECIDED:
            _decided.clear()
        _decided[cls] = reducer
    return reducer


class _Pickler(_pickle.Pickler):
    """Pickles what plain pickle and functions by value can, and raises for the rest."""

    def __init__(self, file: BytesIO, buffer_callback: Callable[[Any], Any] | None) -> None:
        super().__init__(file, PROTOCOL, buffer_callback=buffer_callback)
        self.own_cells: dict[int, Any] = {}
        self.base_globals: dict[int, dict[str, Any]] = {}

    def base_globals_of(self, module_globals: dict[str, Any]) -> dict[str, Any]:
        """Return what the globals of functions of that module begin with: one object for all."""
        base = self.base_globals.get(id(module_globals))
        if base is None:
            base = {name: module_globals[name] for name in MODULE_GLOBALS if name in module_globals}
            self.base_globals[id(module_globals)] = base
        return base

    def reducer_override(self, value: Any) -> Any:
        cls = type(value)
        try:
            reducer = _decided[cls]
        except KeyError:
            reducer = _decide(cls)
        return NotImplemented if reducer is None else reducer(self, value)


class _Workshop:
    """A pickler with what it writes into; making one costs more than a small pickle."""

    __slots__ = ("buffers", "file", "pickler")

    def __init__(self) -> None:
        self.file = BytesIO()
        self.buffers: list[PickleBuffer] = []
        self.pickler = _Pickler(self.file, self.buffers.append)


#: Workshops that nobody uses: a stack, since pickling may begin again inside of itself.
_free_workshops: list[_Workshop] = []
#: After a large pickle the pickler would keep, and clear each time, a large memo.
_MAX_KEPT_BYTES = 16 * 1024


def _plain_dumps(value: Any) -> tuple[bytes, list[PickleBuffer]]:
    try:
        workshop = _free_workshops.pop()
    except IndexError:
        workshop = _Workshop()
    pickler, file, buffers = workshop.pickler, workshop.file, workshop.buffers
    pickler.dump(value)  # on an error the workshop is lost, with what it holds
    data = file.getvalue()
    if len(data) > _MAX_KEPT_BYTES:
        return data, buffers
    taken = buffers[:]
    buffers.clear()
    pickler.clear_memo()
    if pickler.base_globals:
        pickler.own_cells.clear()
        pickler.base_globals.clear()
    file.seek(0)
    file.truncate()
    _free_workshops.append(workshop)
    return data, taken


_CloudPickler: Any = None


def _is_reduced_here(cls: type) -> bool:
    return "__haz_reduce__" in cls.__dict__ or is_ordinary(cls)


def _cloud_pickler_class() -> Any:
    global _CloudPickler
    if _CloudPickler is None:
        import cloudpickle
        from cloudpickle.cloudpickle import _make_skeleton_class

        class CloudPickler(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, value: Any) -> Any:
                reducer = _reducer_for(type(value), _DATA_REDUCERS)
                if reducer is None and type(value) is type and _is_reduced_here(value):
                    # In both picklers the same way, or there would be two copies of the class.
                    reducer = _reduce_class
                reduced = NotImplemented if reducer is None else reducer(self, value)
                if reduced is not NotImplemented:
                    return reduced
                reduced = super().reducer_override(value)
                if isinstance(value, type) and reduced is not NotImplemented:
                    make, arguments = reduced[:2]
                    slots = value.__dict__.get("__slots__")
                    if make is _make_skeleton_class and slots:
                        # cloudpickle sets it on the finished class, which then has no slots.
                        arguments[3]["__slots__"] = slots  # a NamedTuple has (), and refuses it
                return reduced

        _CloudPickler = CloudPickler
    return _CloudPickler


def _cloud_dumps(value: Any, buffer_callback: Callable[[Any], Any] | None) -> bytes:
    file = BytesIO()
    _cloud_pickler_class()(file, PROTOCOL, buffer_callback=buffer_callback).dump(value)
    return file.getvalue()


def try_dumps(value: Any) -> tuple[bytes, list[PickleBuffer]]:
    """Pickle as `dumps` does, but raise what pickling raises. Notes refs twice on a restart."""
    try:
        return _plain_dumps(value)
    except MemoryError:
        raise
    except Exception:
        buffers: list[PickleBuffer] = []
        return _cloud_dumps(value, buffers.append), buffers


def serialization_error(explanation: str, error: Exception) -> Exception:
    """Return the error of pickling what `explanation` names."""
    from haz._core.derived_errors import make_error
    from haz.exceptions import SerializationError

    return make_error(SerializationError, f"can't pickle {explanation} ({error})", error)


# ---- the module's face -------------------------------------------------------------------------


def dumps(
    value: Any, on_restart: Callable[[], object] | None = None
) -> tuple[bytes, list[PickleBuffer]]:
    """Pickle a value, with its large buffers out of band.

    Parameters
    ----------
    value
        Anything. Arrays and memoryviews come back read-only.
    on_restart
        Called when what was pickled so far is thrown away and pickling starts again.

    Returns
    -------
    tuple
        The pickle, and its buffers in order, for `loads`. The buffers are the value's own memory.

    Raises
    ------
    SerializationError
        Names the part of the value that can't be pickled.
    """
    try:
        return _plain_dumps(value)
    except MemoryError:
        raise
    except Exception:
        if on_restart is not None:
            on_restart()
    buffers: list[PickleBuffer] = []
    try:
        return _cloud_dumps(value, buffers.append), buffers
    except MemoryError:
        raise
    except Exception as error:
        raise serialization_error(explain_unpicklable(value), error) from error


def loads(data: Any, buffers: Any = ()) -> Any:
    """Rebuild a value from what `dumps` returned; buffers may be any bytes-like objects.

    Raises what the value's own code raises, with a note that says when (from Python 3.11 on).
    """
    try:
        return _pickle.loads(data, buffers=buffers)
    except Exception as error:
        note_unpickling(error)
        raise


def note_unpickling(error: Exception) -> None:
    """Say in an exception when it was raised, where exceptions can have notes."""
    if hasattr(error, "add_note"):
        error.add_note(
            "It was raised while haz unpickled an object that another process had pickled: its class "
            "has to be importable here, and what its __reduce__ returns callable"
        )


def dumps_in_band(
    value: Any, reducer: Callable[[Any], Any], left_out: type
) -> tuple[bytes, list[Any]]:
    """Pickle into one piece, and return beside it the objects of type `left_out`, which it lacks.

    `reducer` is asked first, and may answer NotImplemented. Raises what pickling raises.
    """
    file = BytesIO()
    pickler = _extended(_Pickler, reducer, left_out)(file, None)
    try:
        pickler.dump(value)
    except Exception:
        file = BytesIO()
        pickler = _extended(_cloud_pickler_class(), reducer, left_out)(file, PROTOCOL)
        pickler.dump(value)
    return file.getvalue(), pickler.objects_left_out


def dumps_with(reducer: Callable[[Any], Any], value: Any) -> tuple[bytes, list[PickleBuffer]]:
    """Pickle as `dumps` does, and ask `reducer` first, which may answer NotImplemented.

    Raises what pickling raises. Notes refs twice where it starts again.
    """
    file = BytesIO()
    buffers: list[PickleBuffer] = []
    try:
        _extended(_Pickler, reducer, None)(file, buffers.append).dump(value)
    except MemoryError:
        raise
    except Exception:
        file, buffers = BytesIO(), []
        cloud = _extended(_cloud_pickler_class(), reducer, None)
        cloud(file, PROTOCOL, buffer_callback=buffers.append).dump(value)
    return file.getvalue(), buffers


def loads_in_band(data: bytes, left_out: list[Any]) -> Any:
    """Rebuild a value from what `dumps_in_band` returned."""
    unpickler = _InBandUnpickler(BytesIO(data))
    unpickler.objects_left_out = left_out
    return unpickler.load()


class _InBandUnpickler(_pickle.Unpickler):
    objects_left_out: list[Any]

    def persistent_load(self, index: Any) -> Any:
        return self.objects_left_out[index]


_extended_picklers: dict[tuple[Any, ...], Any] = {}


def _extended(base: Any, reducer: Callable[[Any], Any], left_out: type | None) -> Any:
    """A subclass of the pickler `base` that asks `reducer` first."""
    made = _extended_picklers.get((base, reducer, left_out))
    if made is None:

        class Extended(base):  # type: ignore[misc]
            def reducer_override(self, value: Any) -> Any:
                reduced = reducer(value)
                return super().reducer_override(value) if reduced is NotImplemented else reduced

        made = Extended if left_out is None else _leaving_out(Extended, left_out)
        _extended_picklers[base, reducer, left_out] = made
    return made


def _leaving_out(base: Any, left_out: type) -> Any:
    class LeavingOut(base):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.objects_left_out: list[Any] = []

        def persistent_id(self, value: Any) -> int | None:
            if not isinstance(value, left_out):
                return None
            self.objects_left_out.append(value)
            return len(self.objects_left_out) - 1

    return LeavingOut


def dump_function(function: Any) -> bytes:
    """Pickle a function or class on its own: by reference where others can import it, else by value.

    Raises
    ------
    SerializationError
        Names the default, closure variable or global that can't be pickled.
    """
    file = BytesIO()
    try:
        _Pickler(file, None).dump(function)
        return file.getvalue()
    except MemoryError:
        raise
    except Exception:
        pass
    try:
        return _cloud_dumps(function, None)
    except MemoryError:
        raise
    except Exception as error:
        from haz._core.unpicklable import explain_decorated

        raise serialization_error(explain_decorated(function), error) from error


def load_function(data: Any) -> Any:
    """Rebuild what `dump_function` returned."""
    if _main_globals is not None:
        return _SharingUnpickler(BytesIO(data)).load()
    return _pickle.loads(data)


class _SharingUnpickler(_pickle.Unpickler):
    """Lets functions that cloudpickle has pickled share the globals of the main program, too."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "cloudpickle.cloudpickle":
            if name == "_make_function":
                return _make_cloudpickled
            if name == "_function_setstate":
                return _set_cloudpickled_state
        return super().find_class(module, name)


def _make_cloudpickled(code: Any, base: dict[str, Any], *arguments: Any) -> types.FunctionType:
    from cloudpickle import cloudpickle

    if _main_globals is not None and base.get("__name__") in MAIN_MODULES:
        base = _main_globals.begin(base)
    function: types.FunctionType = cloudpickle._make_function(code, base, *arguments)
    return function


def _set_cloudpickled_state(function: types.FunctionType, state: tuple[Any, Any]) -> None:
    from cloudpickle import cloudpickle

    attributes, slots = state
    if _main_globals is not None and _main_globals.own(function.__globals__):
        _main_globals.update(slots["__globals__"])
        slots = {**slots, "__globals__": {}}
    cloudpickle._function_setstate(function, (attributes, slots))


def explain_unpicklable(value: Any) -> str:
    """Say which part of `value` can't be pickled.

    Returns
    -------
    str
        The way to the part and its type, as in ``closure variable 'lock' of function 'f':
        _thread.lock``; just the type where it is the value itself.
    """
    from haz._core.unpicklable import explain

    return explain(value)


def register_serializer(
    cls: type, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Pickle objects of exactly `cls` in a way of your own, from now on, in this process.

    Parameters
    ----------
    cls
        The class. Built-in types that pickle handles itself have no effect.
    serializer
        Called with the object; returns something that can be pickled.
    deserializer
        Called with that in the receiving process; returns the object. It travels along.

    Examples
    --------
    >>> class Gate:
    ...     def __init__(self, name):
    ...         self.name, self.lock = name, threading.Lock()
    >>> register_serializer(Gate, serializer=lambda gate: gate.name, deserializer=Gate)
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer takes a class, not {cls!r}")
    if not callable(serializer) or not callable(deserializer):
        raise TypeError("register_serializer: serializer and deserializer are functions")
    _serializers[cls] = (serializer, deserializer)
    _decided.clear()


def has_serializers() -> bool:
    """Whether `register_serializer` is in effect for any class."""
    return bool(_serializers)


def deregister_serializer(cls: type) -> None:
    """Undo `register_serializer`; nothing happens when `cls` is not registered."""
    _serializers.pop(cls, None)
    _decided.clear()
