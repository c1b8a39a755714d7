"""A zygote that is a copy of a young driver instead of an interpreter of its own.

A new interpreter takes ten milliseconds until it can fork the first worker, a copy of this process
one. Workers must not be able to tell: they find what a new interpreter would have, and nothing of
the program. :func:`is_young` says whether a copy can be made to look like that, which holds for
plain programs that have just begun; all others get an interpreter (:mod:`haz._core.zygote`).

What the program has made so far stays in the copy's memory, out of reach: nothing of it may be
finalized there, since its files, locks and peers are the driver's.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import ModuleType
    from typing import Any, NoReturn
else:
    import _signal  # `signal` costs milliseconds, and wraps these

__all__ = ["become", "is_young"]

#: A copy of more costs as much time as a new interpreter, and its memory is not shared for long.
_MOST_RESIDENT_BYTES = 40 << 20

#: The mark of the node must fit into the environment that the program was started with.
_LEAST_ENVIRONMENT_BYTES = 64

#: Frames of the driver lie below the worker's own for ever.
_MOST_FRAMES = 50

#: Extension modules of the standard library that keep nothing of the process outside Python's sight.
_HARMLESS_EXTENSIONS = frozenset(
    (
        "_bisect", "_blake2", "_bz2", "_csv", "_datetime", "_hashlib", "_heapq", "_json", "_lzma",
        "_md5", "_opcode", "_pickle", "_posixsubprocess", "_random", "_sha1", "_sha2", "_sha256",
        "_sha3", "_sha512", "_statistics", "_struct", "_typing", "_uuid", "_zoneinfo", "array",
        "binascii", "cmath", "fcntl", "grp", "haz._native", "math", "select", "unicodedata", "zlib",
    )
)  # fmt: skip

#: Modules with a state of the process that a copy can't leave behind.
_TELLING = (
    "_contextvars",
    "_decimal",
    "asyncio",
    "faulthandler",
    "logging",
    "multiprocessing",
    "tracemalloc",
)

#: Those of haz and of nanobind.
_OWN_EXIT_CALLBACKS = 2

#: What a new interpreter has imported when it is a zygote, and what of haz has no state but the
#: runtime. All else is forgotten: tasks import it anew, as they would there.
_KEPT = frozenset(
    (
        "__future__", "_collections_abc", "_distutils_hack", "_frozen_importlib",
        "_frozen_importlib_external", "_sitebuiltins", "abc", "codecs", "encodings",
        "encodings.aliases", "encodings.utf_8", "genericpath", "haz", "haz._core",
        "haz._core.api", "haz._core.checks", "haz._core.context", "haz._core.gpus",
        "haz._core.lifecycle", "haz._core.options", "haz._core.plain_functions", "haz._core.refs",
        "haz._core.remote", "haz._core.runtime", "haz._core.signature", "haz._core.zygote",
        "haz._core.zygote_copy", "haz._native", "haz.engines", "haz.engines.base",
        "haz.engines.native", "io", "os", "os.path", "posixpath", "site", "sitecustomize", "stat",
        "usercustomize", "zipimport",
    )
)  # fmt: skip

#: What must not be finalized in the copy.
_pinned: "list[object]" = []

_has_started = False


# ---- in the driver ---------------------------------------------------------------------------
def is_young() -> bool:
    """Whether a copy of this process can be made to look like a new interpreter.

    True once at most, for the first node of a process.
    """
    global _has_started
    if _has_started:
        return False
    _has_started = True
    return (
        _is_small()
        and not sys._xoptions
        and not sys.warnoptions
        and not any(name in sys.modules for name in _TELLING)
        and _is_undisturbed()
        and _has_plain_imports()
        and _has_plain_builtins()
        and _has_plain_signals()
        and _has_plain_warnings()
        and _has_plain_locale()
    )


def _is_small() -> bool:
    from haz._native import own_process

    threads, resident_bytes, environment_bytes = own_process()
    return (
        threads == 1
        and resident_bytes <= _MOST_RESIDENT_BYTES
        and environment_bytes >= _LEAST_ENVIRONMENT_BYTES
    )


def _is_undisturbed() -> bool:
    """Whether no debugger, handler, callback or context of the program is at work."""
    import atexit
    import gc
    import os

    try:
        sys._getframe(_MOST_FRAMES)
        return False
    except ValueError:
        pass
    monitoring = getattr(sys, "monitoring", None)
    return (
        sys.gettrace() is None
        and sys.getprofile() is None
        and sys.exc_info()[0] is None
        and (monitoring is None or not any(map(monitoring.get_tool, range(6))))
        and atexit._ncallbacks() == _OWN_EXIT_CALLBACKS
        and not gc.callbacks
        and not gc.get_debug()
        and os.path.basename(os.readlink("/proc/self/exe")).startswith("python")
    )


def _has_plain_imports() -> bool:
    from haz._core.zygote import import_hook_owners

    if len(sys.path_hooks) != 2 or not import_hook_owners() <= {"_distutils_hack"}:
        return False
    return all(_is_plain_module(name, module) for name, module in sys.modules.items())


def _is_plain_module(name: str, module: "ModuleType") -> bool:
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return name in ("__main__", "typing.io", "typing.re")
    if getattr(spec, "_initializing", False) and name != "__main__":
        return False  # its import calls this
    if type(spec.loader).__name__ != "ExtensionFileLoader":
        return True
    return name in _HARMLESS_EXTENSIONS


def _has_plain_builtins() -> bool:
    """Whether none was replaced."""
    import builtins

    own = (type, type(len), type(NotImplemented), type(...), bool, str, type(None))
    return all(
        isinstance(value, own)
        or name == "_"  # the interactive prompt's
        or name in ("__spec__", "__loader__")
        or type(value).__module__ == "_sitebuiltins"
        for name, value in vars(builtins).items()
    )


def _has_plain_signals() -> bool:
    plain = (None, _signal.SIG_DFL, _signal.SIG_IGN, _signal.default_int_handler)
    for number in range(1, _signal.NSIG):
        try:
            if _signal.getsignal(number) not in plain:
                return False
        except ValueError:
            continue  # one of the C library's own
    return True


def _has_plain_warnings() -> bool:
    """Whether the filters are those that an interpreter starts with."""
    import _warnings

    default = ("default", None, DeprecationWarning, "__main__", 0)
    ignored = (
        DeprecationWarning,
        PendingDeprecationWarning,
        ImportWarning,
        ResourceWarning,
    )
    return _warnings.filters == [default, *(("ignore", None, kind, None, 0) for kind in ignored)]


def _has_plain_locale() -> bool:
    if "_locale" not in sys.modules:
        return True
    import _locale

    numbers = (_locale.LC_COLLATE, _locale.LC_MONETARY, _locale.LC_NUMERIC, _locale.LC_TIME)
    return all(_locale.setlocale(number) == "C" for number in numbers)


# ---- in the copy -----------------------------------------------------------------------------
def become(socket_fd: int, mark: str) -> "NoReturn":
    """Be a zygote in a copy of the driver, as ``_native.start_node`` takes it."""
    import os

    try:
        _renew(mark)
        from haz._core import zygote

        zygote.main(socket_fd)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _renew(mark: str) -> None:
    import gc
    import os

    gc.freeze()  # cycles that nobody holds any more are not finalized either
    _forget_modules()
    _renew_sys()
    _renew_signals()
    name, _, value = mark.partition("=")
    os.environ[name] = value
    import time

    time.tzset()
    from haz._core.runtime import runtime

    _pinned.append([getattr(runtime, slot, None) for slot in runtime.__slots__])
    runtime.__init__()  # type: ignore[misc]


def _forget_modules() -> None:
    import builtins

    modules = sys.modules
    _pinned.append(dict(modules))
    builtin = sys.builtin_module_names
    for name in list(modules):
        if name not in _KEPT and name not in builtin:
            del modules[name]
    for name in ("haz", "haz._core", "haz.engines"):
        for attribute, value in list(vars(modules[name]).items()):
            home = value.__name__ if isinstance(value, type(sys)) else _home_of(value)
            if home.startswith("haz.") and home not in modules:
                delattr(modules[name], attribute)
    main = type(sys)("__main__")
    loader = getattr(builtins.__spec__, "loader", None)
    vars(main).update(__builtins__=builtins, __loader__=loader, __annotations__={})
    modules["__main__"] = main


def _home_of(value: object) -> str:
    home = getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""


def _renew_sys() -> None:
    from haz._core.zygote import fill_standard_descriptors

    hooks = ("excepthook", "displayhook", "breakpointhook", "unraisablehook")
    for name in hooks:
        _pinned.append(getattr(sys, name, None))
        setattr(sys, name, getattr(sys, f"__{name}__"))
    _pinned.append(sys.get_asyncgen_hooks())
    sys.set_asyncgen_hooks(None, None)
    fill_standard_descriptors()
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        _pinned.extend((getattr(sys, name), getattr(sys, f"__{name}__")))
        stream: Any = open(fd, mode, closefd=False)  # noqa: SIM115
        stream.buffer.raw.name = f"<{name}>"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _renew_signals() -> None:
    """Handle all as a new interpreter does, whatever the program ignores."""
    _signal.set_wakeup_fd(-1)
    for number in range(1, _signal.NSIG):
        if number in (_signal.SIGPIPE, _signal.SIGXFSZ):
            continue
        try:
            if _signal.getsignal(number) == _signal.SIG_IGN:
                _signal.signal(number, _signal.SIG_DFL)
        except (ValueError, OSError):
            continue
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
