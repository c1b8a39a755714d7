"""Functions that cross processes without pickle: their code, and a few simple things around it.

`pack` takes a function or class that pickle would name (others can import it), and a function that
:mod:`haz._core.serialize` would pickle by value as long as everything around its code is simple:
constants, modules, builtin types. What `unpack` makes of that is the same function that pickling
would have made. It matters for the first task of a program: importing pickle takes longer than
forking a worker.
"""

from __future__ import annotations

import builtins
import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, FunctionType, ModuleType
    from typing import Any
else:
    FunctionType = type(lambda: None)  # without importing `types`
    ModuleType = type(sys)

__all__ = ["dump", "load", "pack", "unpack"]

MAIN_MODULES = frozenset({"__main__", "__mp_main__"})
#: Globals that say which module a function is of; cloudpickle keeps the same ones.
MODULE_GLOBALS = ("__package__", "__name__", "__path__", "__file__")
#: What belongs to a function beside its code, globals, closure and attributes.
FUNCTION_SLOTS = (
    "__qualname__",
    "__module__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
)

_CONSTANT_TYPES = frozenset((type(None), bool, int, float, complex, str, bytes, type(...)))


def is_by_value(module_name: str) -> bool:
    """Whether the user told cloudpickle to take that module, or a parent of it, by value."""
    # Another thread may be in the middle of importing it; then nobody has told it anything.
    listed = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    if listed is None:
        return False
    registered = listed()
    while registered and module_name:
        if module_name in registered:
            return True
        module_name = module_name.rpartition(".")[0]
    return False


def is_importable(obj: Any, module_name: str | None, qualname: str) -> bool:
    """Whether that name of that module is `obj`, here and so in every other process."""
    if module_name is None or module_name in MAIN_MODULES or module_name.startswith("<"):
        return False  # "<run_path>" and the like: what runs, under a name that can't be imported
    found: Any = sys.modules.get(module_name)
    if found is None:
        return False
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is obj and not is_by_value(module_name)


def names_of(code: CodeType) -> dict[str, None]:
    """Return the names that `code` and the code inside of it use: globals and attributes."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names.update(names_of(constant))
    return names


def submodules_of(modules: Iterable[ModuleType], names: dict[str, None]) -> list[ModuleType]:
    """Return loaded submodules that code with these names may reach as attributes of `modules`.

    ``import a.b`` binds ``a`` only, so that loading ``a`` elsewhere would leave ``a.b`` unloaded.
    """
    found = []
    for module in modules:
        if not hasattr(module, "__path__"):
            continue
        prefix = module.__name__ + "."
        for name, submodule in list(sys.modules.items()):
            if name.startswith(prefix) and names.keys() >= {*name[len(prefix) :].split(".")}:
                found.append(submodule)
    return found


class _NotPlainError(Exception):
    """The function needs pickle."""


def pack(function: Any) -> Any:
    """Return `function` as something that ``marshal`` can write and `unpack` takes, or None.

    None: pickle it. What is returned is a copy of the function as it is now.
    """
    if type(function) not in (FunctionType, type):
        return None
    if is_importable(function, function.__module__, function.__qualname__):
        return function.__module__, function.__qualname__
    if type(function) is type:
        return None
    try:
        return _pack_by_value(function)
    except _NotPlainError:
        return None


def _pack_by_value(function: FunctionType) -> tuple[Any, ...]:
    own_globals = function.__globals__
    if (
        type(own_globals) is not dict
        or function.__closure__
        or function.__dict__
        or getattr(function, "__type_params__", None)
        or getattr(function, "__annotate__", None) is not None  # Python 3.14
    ):
        raise _NotPlainError
    try:
        code = marshal.dumps(function.__code__)
    except ValueError:
        raise _NotPlainError from None
    base = {name: _constant(own_globals[name]) for name in MODULE_GLOBALS if name in own_globals}
    names = names_of(function.__code__)
    used = {name: _simple(own_globals[name]) for name in names if name in own_globals}
    modules = [own_globals[name] for name in used if type(own_globals[name]) is ModuleType]
    if submodules_of(modules, names):
        raise _NotPlainError
    slots = [_slot(getattr(function, name)) for name in FUNCTION_SLOTS]
    return code, function.__name__, base, used, slots


def _constant(value: Any) -> Any:
    if type(value) in _CONSTANT_TYPES:
        return value
    if type(value) is tuple:
        for item in value:
            _constant(item)
        return value
    raise _NotPlainError


def _simple(value: Any) -> tuple[str, Any]:
    """A constant, a module or a builtin, in a form that says which."""
    if type(value) is ModuleType:
        name = value.__name__
        if name in MAIN_MODULES or sys.modules.get(name) is not value or is_by_value(name):
            raise _NotPlainError
        return "module", name
    if isinstance(value, type) and getattr(builtins, value.__qualname__, None) is value:
        return "builtin", value.__qualname__
    return "constant", _constant(value)


def _slot(value: Any) -> Any:
    if type(value) is dict:
        return {_constant(name): _simple(item) for name, item in value.items()}
    return _constant(value)


def unpack(packed: Any) -> Any:
    """Rebuild what `pack` returned."""
    if len(packed) == 2:
        module_name, qualname = packed
        found: Any = _import(module_name)
        for name in qualname.split("."):
            found = getattr(found, name)
        return found
    code, name, own_globals, used, slots = packed
    own_globals["__builtins__"] = builtins
    function = FunctionType(marshal.loads(code), own_globals, name)
    for slot, value in zip(FUNCTION_SLOTS, slots, strict=True):
        if type(value) is dict:
            value = {key: _rebuilt(item) for key, item in value.items()}
        setattr(function, slot, value)
    for global_name, item in used.items():
        own_globals[global_name] = _rebuilt(item)
    return function


def dump(function: Any) -> Any:
    """Pack a function or class so that ``marshal`` can write it: with pickle where that is needed."""
    # None also while another thread is in the middle of importing it.
    has_serializers = getattr(sys.modules.get("haz._core.serialize"), "has_serializers", None)
    if has_serializers is None or not has_serializers():
        packed = pack(function)
        if packed is not None:
            return packed
    from haz._core.serialize import dump_function

    return dump_function(function)


def load(code: Any) -> Any:
    """Rebuild what `dump` returned."""
    if not isinstance(code, bytes):
        return unpack(code)
    from haz._core.serialize import load_function

    return load_function(code)


def _import(name: str) -> Any:
    __import__(name)
    return sys.modules[name]


def _rebuilt(item: tuple[str, Any]) -> Any:
    kind, value = item
    if kind == "module":
        return _import(value)
    return getattr(builtins, value) if kind == "builtin" else value
