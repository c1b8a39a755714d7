"""Functions and classes of C++ libraries: ``haz.cpp_function`` and ``haz.cpp_class``.

A library registers them with ``HAZ_REMOTE`` and ``HAZ_ACTOR``. Whoever uses one loads the library: the
program, to know what the functions take, and the workers, to run them.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

from haz import _native
from haz._core.cpp_code import (
    CONSTRUCTOR,
    FUNCTION,
    METHOD,
    PYTHON_MARK,
    plain_name,
    unpack_parts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inspect import Signature
    from typing import Any

    from haz._core.actor import ActorClass
    from haz._core.remote import RemoteFunction
    from haz.engines.native import NativeEngine

__all__ = [
    "cpp_class",
    "cpp_function",
    "load_class",
    "load_code",
    "load_function",
    "signature_of",
]

_CppFunction, _CppObject, _ = _native.cpp_types()

_lock = RLock()
_libraries: dict[str, list[Any]] = {}
_classes: dict[tuple[str, str], type] = {}


def cpp_function(library: str | os.PathLike[str], name: str) -> RemoteFunction[..., Any]:
    """Return a function of a C++ library as a remote function.

    Its tasks run in the workers of this program. NumPy arrays arrive as ``haz::view`` or
    ``haz::array`` without a copy, numbers and strings as themselves, lists, tuples, dictionaries and None
    as containers, tuples, maps and optionals of C++; results likewise.

    Parameters
    ----------
    library
        Path of the shared library; a bare name that is no file here is searched as the dynamic linker
        does. It is loaded into this process, and into the workers that run its functions.
    name
        What stands in its ``HAZ_REMOTE(...)``.

    Returns
    -------
    RemoteFunction
        With ``.remote`` and ``.options`` as of ``haz.remote``. Arguments are given by position, and
        by name where the library has named its parameters: ``HAZ_REMOTE(simulate, x, dt)``. One of
        another type than the parameter raises TypeError, one that does not fit OverflowError, at the
        call; what only the task can see, such as the value of a ref, is the task's error. An
        exception of C++ is a TaskError, with `type_name`, and the Python exception that comes
        nearest, which is also what `retry_exceptions` looks at.

    Raises
    ------
    OSError
        If the library can't be loaded.
    AttributeError
        If it has registered no function of that name.

    Examples
    --------
    >>> simulate = haz.cpp_function("libwork.so", "simulate")
    >>> haz.get(simulate.remote(numpy.zeros(1000), 0.1))
    """
    from haz._core.remote import remote

    function: RemoteFunction[..., Any] = remote(load_function(_found(library), _checked(name)))
    return function


def cpp_class(library: str | os.PathLike[str], name: str) -> ActorClass[..., Any]:
    """Return a class of a C++ library as an actor class.

    Parameters
    ----------
    library
        As in `cpp_function`.
    name
        The class in its ``HAZ_ACTOR(Name(...), &Name::method, ...)``.

    Returns
    -------
    ActorClass
        With the methods that the library has registered. Their arguments are checked at the call, as
        those of `cpp_function`. With ``max_concurrency`` above 1 they are called from several threads
        at a time.

    Raises
    ------
    OSError
        If the library can't be loaded.
    AttributeError
        If it has registered no class of that name.

    Examples
    --------
    >>> Counter = haz.cpp_class("libwork.so", "Counter")
    >>> counter = Counter.remote(10)
    >>> haz.get(counter.add.remote(5))
    15
    """
    from haz._core.remote import remote

    actor_class: ActorClass[..., Any] = remote(load_class(_found(library), _checked(name)))
    return actor_class


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name is a str, not {type(name).__name__}")
    return name


def _found(library: str | os.PathLike[str]) -> str:
    """Return the absolute path, or a bare name for the dynamic linker."""
    path = os.fsdecode(library)
    if not path or "\0" in path:
        raise ValueError(f"{path!r} is no path of a library")
    if os.path.dirname(path) or os.path.exists(path):
        return os.path.realpath(path)
    return path


# ---- in any process ----------------------------------------------------------------------------


def _load(library: str) -> list[Any]:
    """Return what the library has registered; it stays loaded."""
    with _lock:
        found = _libraries.get(library)
        if found is None:
            _load_libhaz()
            try:
                found = _libraries[library] = _native.load_cpp_library(library)
            except ImportError as error:
                raise OSError(_explained(library, str(error))) from None
    return found


def _libhaz_path() -> str:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = os.path.join(package, "lib")
    if not os.path.isdir(folder):  # in a checkout
        checkout = os.path.dirname(os.path.dirname(package))
        version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
        folder = os.path.join(checkout, "build", version)
    from haz import __version__

    return os.path.join(folder, "libhaz.so." + ".".join(__version__.split(".")[:2]))


def _load_libhaz() -> None:
    """Load haz's own library first, so that others find it wherever they lie."""
    path = _libhaz_path()
    if os.path.exists(path):
        import ctypes

        ctypes.CDLL(path, mode=os.RTLD_GLOBAL | os.RTLD_NOW)


def _explained(library: str, problem: str) -> str:
    if "haz_library_host" in problem:
        return (
            f"{library} is no library of haz's functions: it does not use libhaz. Register them with "
            f"HAZ_REMOTE of <haz/haz.h>, and link it with haz::haz"
        )
    return f"haz can't load the library {library!r}: {problem}"


def load_function(library: str, name: str) -> Any:
    """Return the function as a callable that runs it in this process."""
    entries = _load(library)
    for entry in entries:
        if entry.__name__ == name and entry._kind == FUNCTION:
            return entry
    # Calls of methods and constructors may come by their names.
    for entry in entries:
        if entry.__name__ == name:
            return entry
    raise AttributeError(_unknown(library, "function", "HAZ_REMOTE", name, FUNCTION))


def _unknown(library: str, what: str, macro: str, name: str, kind: int) -> str:
    names = [entry.__name__ for entry in _load(library) if entry._kind == kind]
    has = "it has " + ", ".join(names) if names else "it has none at all"
    return f"{library} has registered no {what} {name!r} with {macro}: {has}"


def load_class(library: str, name: str) -> type:
    """Return the class, of which objects can be made in this process."""
    with _lock:
        found = _classes.get((library, name))
        if found is None:
            found = _classes[library, name] = _make_class(library, name)
        return found


def _make_class(library: str, name: str) -> type:
    entries = _load(library)
    rest = iter(entries)
    found = (entry for entry in rest if entry._kind == CONSTRUCTOR and entry.__name__ == name)
    entry = next(found, None)
    if entry is None:
        raise AttributeError(_unknown(library, "class", "HAZ_ACTOR", name, CONSTRUCTOR))
    members: dict[str, Any] = {"__init__": _method("__init__", entry)}
    methods = []
    for method in rest:  # they follow their constructor
        if method._kind != METHOD:
            break
        methods.append(method)
        plain = plain_name(method.__name__)
        members[plain] = _method(plain, method)
    members["__doc__"] = f"The class {name}{entry._signature} of {library}."
    members["__module__"] = __name__
    members["__haz_reduce__"] = (load_class, (library, name))
    members["__haz_cpp_class__"] = (name, library, entry, methods)
    return type(plain_name(name), (_CppObject,), members)


def _method(name: str, function: Any) -> Any:
    """Make the Python method that calls `function` with the object."""
    if not name.isidentifier():
        raise AttributeError(f"{function.__name__} has no name that Python can call")
    positional_only, names, *_ = function._haz_parameters
    given = ["self", *("self_" if one == "self" else one for one in names)]
    taken = [*given, "/"] if positional_only else [*given[:1], "/", *given[1:]]
    scope: dict[str, Any] = {"_haz_call": function}
    exec(f"def {name}({', '.join(taken)}): return _haz_call({', '.join(given)})", scope)
    made = scope[name]
    made.__doc__ = f"{function.__name__}{function._signature}, of C++."
    made.__haz_cpp__ = function
    return made


def signature_of(function: Any) -> Signature:
    """Return what ``inspect.signature`` shows of a function of C++."""
    from inspect import Parameter, Signature

    positional_only, names, *_ = function._haz_parameters
    kind = Parameter.POSITIONAL_ONLY if positional_only else Parameter.POSITIONAL_OR_KEYWORD
    return Signature([Parameter(name, kind) for name in names])


def own_namespace() -> str:
    """Return the namespace in which this process finds actors."""
    from haz._core.runtime import runtime

    engine: Any = runtime.engine
    return str(engine.context()["namespace"]) if engine is not None else ""


# ---- in workers --------------------------------------------------------------------------------


def load_code(
    engine: NativeEngine, code: bytes
) -> tuple[Any, str, bool | tuple[type[BaseException], ...]]:
    """Return what a task calls whose function is registered as C++ does it.

    Returns
    -------
    function
        Or the name of a method of this worker's actor.
    name
        What it is called, whatever its tasks are.
    retried
        As in ``TaskOptions``.
    """
    threads, (name, library, concurrency, is_retried, *more) = unpack_parts(code)
    retried: bool | tuple[type[BaseException], ...] = bool(is_retried)
    if code.startswith(PYTHON_MARK):
        if not name:  # a method
            return library, library, retried
        return _with_threads(_import_function(name, library), threads), f"{name}.{library}", retried
    function = _load_named(engine, name, library)
    if function._kind == METHOD and more:
        from haz._core import plain_functions

        retried = plain_functions.load(bytes.fromhex(more[0]))()
    return _with_code(engine, function, threads, int(concurrency), code), name, retried


def _load_named(engine: NativeEngine, name: str, library: str) -> Any:
    if not library and engine.actor is not None:
        # A program that has the class itself calls an actor that has it from a library.
        known = getattr(type(engine.actor.instance), "__haz_cpp_class__", None)
        if known is not None and known[0] == name.rpartition("::")[0]:
            library = known[1]
    if not library:
        raise RuntimeError(
            f"{name} is a function of the C++ program that has submitted it, which a worker of "
            f"Python can't load: put it into a shared library"
        )
    return load_function(library, name)


def _with_code(
    engine: NativeEngine, function: Any, threads: int, concurrency: int, code: bytes
) -> Any:
    if function._kind == CONSTRUCTOR:
        from haz._core.actor_worker import constructor_of
        from haz._core.threads import set_threads

        if threads > 1:
            set_threads(threads)
        cls = load_class(function._library, function.__name__)
        return constructor_of(engine, cls, concurrency, False, {}, code)
    return _with_threads(function, threads)


def _with_threads(function: Any, threads: int) -> Any:
    if threads <= 1:
        return function
    from haz._core.threads import with_threads

    wrapped = with_threads(function, threads)
    if type(function) is _CppFunction:
        wrapped.__haz_cpp__ = function  # type: ignore[attr-defined]
    return wrapped


def _import_function(module: str, name: str) -> Any:
    found = __import__(module, fromlist=["__name__"])
    for part in name.split("."):
        found = getattr(found, part)
    function = getattr(found, "__wrapped__", found) if hasattr(found, "remote") else found
    if not callable(function):
        raise TypeError(f"{module}.{name} is no function, but {type(function).__name__}")
    return function
