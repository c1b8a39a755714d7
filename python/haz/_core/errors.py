"""Failures as data: an exception in a task becomes a dictionary, and an exception again in `get`.

Engines import this module when there is a failure, and not before: it costs some milliseconds.

The dictionaries hold scalars, strings, bytes and ObjectRefs only. `pack_exception` makes those of kind
``"task_error"``; engines make the others themselves, see `unpack_error`.
"""

from __future__ import annotations

import os
import sys
from types import GetSetDescriptorType, MemberDescriptorType

from haz import exceptions as errors_of_haz
from haz._core import serialize
from haz._core.refs import ObjectRef
from haz.exceptions import HazError, TaskCancelledError, TaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import traceback
    import weakref
    from collections.abc import Callable
    from typing import Any, TypeVar

    Info = dict[str, Any]
    Error = TypeVar("Error", bound=HazError)

__all__ = [
    "derive_class",
    "describe_actor_death",
    "describe_task_error",
    "dump_exception",
    "load_exception",
    "new_like",
    "pack_exception",
    "rebuild_exception",
    "shorten",
    "through_task",
    "unpack_error",
    "without_stop_iteration",
]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
#: Frames of these are haz's own and left out of remote tracebacks; public helpers are not.
_OWN_FOLDERS = tuple(_PACKAGE + name + os.sep for name in ("_core", "_faces", "engines"))

#: A longer remote traceback loses its middle.
_MOST_TRACEBACK_CHARS = 64 * 1024
#: Most characters that `shorten` leaves of a text.
_MOST_SHORT_CHARS = 8 * 1024
#: How many of an exception's causes are listed.
_MOST_CAUSES = 16


# ---- packing, in the worker ------------------------------------------------------------------


def pack_exception(
    exc: BaseException, *, task_name: str, pid: int, function: str
) -> dict[str, Any]:
    """Make the data of a task's exception. Never raises.

    Parameters
    ----------
    exc
        What the function raised.
    task_name
        Name of the task.
    pid
        Process that ran it.
    function
        Qualified name of the function.

    Returns
    -------
    dict
        ``kind`` ("task_error"), ``task_name``, ``pid``, ``function``, ``type_name``, ``message``,
        ``traceback`` (without haz's own frames), ``pickled`` (bytes, or None where even a reduced
        form can't be pickled), ``refs`` (the ObjectRefs that ``pickled`` leaves out, so that they
        count as long as the error exists), ``causes`` ("Type: message" of the chain of causes) and
        ``through`` (names of tasks that this error went through).
    """
    pickled: bytes | None = None
    refs: list[ObjectRef[Any]] = []
    of_cpp = {}
    if isinstance(exc, TaskError) and exc._info is not None:
        # A get() in the task failed and the task let the error pass: the user's own exception is
        # still what matters, the text shows both tracebacks.
        pickled = exc._info["pickled"]
        refs = exc._info.get("refs") or []
        type_name = exc._info["type_name"]
        message = exc._info["message"]
        if "language" in exc._info:
            of_cpp = {"language": exc._info["language"]}
    else:
        try:
            pickled, refs = dump_exception(exc)
        except (Exception, SystemExit, GeneratorExit):
            pass  # of the user's own __reduce__ or attributes
        type_name = _type_name(type(exc))
        message = _safe_str(exc)
    return {
        "kind": "task_error",
        "task_name": task_name,
        "pid": pid,
        "function": function,
        "type_name": type_name,
        "message": message,
        "traceback": _format_traceback(exc),
        "pickled": pickled,
        "refs": refs,
        "causes": _causes(exc),
        "through": [],
        **of_cpp,
    }


def through_task(info: Info, task_name: str) -> Info:
    """The error of a task that can't run since an argument of it is the error `info`.

    For engines. Kinds other than "task_error" stay what they are. The first that the native
    scheduler names of an actor's death is the call that has no result of it.
    """
    if info.get("kind") == "actor_died" and "actor" in info and not info.get("task_name"):
        return {**info, "task_name": task_name}
    return {**info, "through": [*info.get("through", ()), task_name]}


def shorten(info: Info) -> Info:
    """What is left of a task's error for which there is no room: what it says, in short."""
    short: Info = {}
    for name, value in info.items():
        short[name] = _without_middle(value, _MOST_SHORT_CHARS) if isinstance(value, str) else value
    return {
        **short,
        "pickled": None,
        "refs": [],
        "causes": [_without_middle(cause, 1024) for cause in info.get("causes") or ()],
        "note": "there was no room for the exception itself in the object store",
    }


def _without_middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n  ... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _type_name(kind: type) -> str:
    module = kind.__module__
    if module in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{module}.{kind.__qualname__}"


def _safe_str(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<its str() raised {type(error).__name__}>"


def _causes(exc: BaseException) -> list[str]:
    found: list[str] = []
    seen = {id(exc)}
    cause = _cause_of(exc)
    while cause is not None and id(cause) not in seen and len(found) < _MOST_CAUSES:
        seen.add(id(cause))
        found.append(f"{_type_name(type(cause))}: {_safe_str(cause)}")
        cause = _cause_of(cause)
    return found


def _cause_of(exc: BaseException) -> BaseException | None:
    if exc.__cause__ is not None:
        return exc.__cause__
    return None if exc.__suppress_context__ else exc.__context__


def _format_traceback(exc: BaseException) -> str:
    import traceback

    try:
        report = traceback.TracebackException.from_exception(exc)
        _strip(report, exc, set())
        text = "".join(report.format())
    except Exception as error:
        text = f"{_type_name(type(exc))}: {_safe_str(exc)}\n(no traceback: {error!r})\n"
    return _without_middle(text, _MOST_TRACEBACK_CHARS).rstrip("\n")


def _strip(report: traceback.TracebackException, exc: BaseException | None, seen: set[int]) -> None:
    """Take haz's own frames out of a report, and of those that belong to it."""
    if id(report) in seen:
        return
    seen.add(id(report))
    report.stack[:] = [f for f in report.stack if not f.filename.startswith(_OWN_FOLDERS)]
    if isinstance(exc, TaskError) and exc._info is not None:
        # Its str() shows the cause with its remote traceback.
        report.__cause__ = report.__context__ = None
    for part, part_exc in (
        (report.__cause__, getattr(exc, "__cause__", None)),
        (report.__context__, getattr(exc, "__context__", None)),
    ):
        if part is not None:
            _strip(part, part_exc, seen)
    members = getattr(exc, "exceptions", None) or ()
    for part, part_exc in zip(getattr(report, "exceptions", None) or (), members, strict=False):
        _strip(part, part_exc, seen)


#: Python's own, whatever the user's type calls so.
_args: Any = BaseException.args

# An exception is pickled by what it is made of, not by calling its class again as pickle does by
# default: that fails for every class whose __init__ takes other arguments than it passes on.


def dump_exception(exc: BaseException) -> tuple[bytes | None, list[ObjectRef[Any]]]:
    """Pickle an exception, with its causes, or what can be pickled of it; None: nothing.

    The ObjectRefs in it are left out, and returned beside it.
    """
    for state in (_state_of(exc, links=True), _state_of(exc, links=False)):
        dumped = _dumps(state)
        if dumped is not None:
            return dumped
    kind, args, attributes, members, _links = _state_of(exc, links=False)
    kept = {name: value for name, value in attributes.items() if _dumps(value) is not None}
    plain_args = tuple(arg if _dumps(arg) is not None else _safe_str(arg) for arg in args)
    if _is_group(kind) and (len(args) != 2 or plain_args[1:] != args[1:]):
        return None, []
    kept_members = {n: value for n, value in members.items() if _dumps(value) is not None}
    return _dumps((kind, plain_args, kept, kept_members, {})) or (None, [])


def _dumps(value: object) -> tuple[bytes, list[ObjectRef[Any]]] | None:
    """Pickle as haz pickles everything, but exceptions by what they are made of; None: can't be."""
    try:
        return serialize.dumps_in_band(value, _reduce_exception, ObjectRef)
    except Exception:
        return None


def _reduce_exception(obj: object) -> Any:
    """How the picklers above take exceptions inside of exceptions apart."""
    if isinstance(obj, BaseException) and _has_default_reduce(type(obj)):
        return rebuild_exception, _state_of(obj, links=True)
    return NotImplemented


def _has_default_reduce(kind: type[BaseException]) -> bool:
    """Whether nobody but Python's own exceptions says how to pickle this type."""
    for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__"):
        for base in kind.__mro__:
            if name in base.__dict__:
                if base.__module__ != "builtins":
                    return False
                break
    return True


def _state_of(exc: BaseException, *, links: bool) -> Any:
    """Take an exception apart: type, args, attributes, C-level members and slots, links."""
    kind = type(exc)
    if not _has_default_reduce(kind):
        # The class has its own way. `rebuild_exception` takes the instance as it is.
        return exc, (), {}, {}, _links(exc) if links else {}
    return (
        kind,
        _args.__get__(exc),
        dict(exc.__dict__),
        _members(exc),
        _links(exc) if links else {},
    )


def _links(exc: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if exc.__cause__ is not None:
        found["__cause__"] = exc.__cause__
    elif exc.__context__ is not None and not exc.__suppress_context__:
        found["__context__"] = exc.__context__
    if exc.__suppress_context__:
        found["__suppress_context__"] = True
    return found


_MEMBER_TYPES = (MemberDescriptorType, GetSetDescriptorType)
_NO_MEMBERS = {
    *dir(BaseException),
    *("exceptions", "message"),  # a group's: its arguments
    "obj",  # an AttributeError's: may be of any size, and pickle leaves it out too
    *("__dict__", "__weakref__"),
}


def _member_names(kind: type[BaseException]) -> list[str]:
    """Attributes of a type that its instances keep outside of their dictionary."""
    names = []
    for base in kind.__mro__:
        if base is BaseException or base is object:
            break
        for name, member in base.__dict__.items():
            if isinstance(member, _MEMBER_TYPES) and name not in _NO_MEMBERS:
                names.append(name)
    return names


def _members(exc: BaseException) -> dict[str, Any]:
    found = {}
    for name in _member_names(type(exc)):
        try:
            value = getattr(exc, name)
        except Exception:
            continue
        if value is not None:
            found[name] = value
    return found


# ---- unpacking, where get() is called --------------------------------------------------------


def _builtin_base(kind: type[BaseException]) -> type[BaseException]:
    """The type of C code that gives an exception type its memory: the one whose __new__ is safe."""
    base: Any = kind
    while base.__flags__ & (1 << 9):  # a heap type
        base = base.__base__
    return base  # type: ignore[no-any-return]


def _is_group(kind: object) -> bool:
    group = getattr(__import__("builtins"), "BaseExceptionGroup", None)
    return group is not None and isinstance(kind, type) and issubclass(kind, group)


#: Sets an attribute though the user's type forbids it, as a frozen dataclass does.
_set = object.__setattr__


def _new(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an instance without the user's __init__ and __new__."""
    base = _builtin_base(kind)
    new: Callable[..., BaseException] = base.__new__
    made = new(kind, *args) if _is_group(kind) else new(kind)
    _args.__set__(made, args)
    return made


def rebuild_exception(
    kind: Any,
    args: tuple[Any, ...],
    attributes: dict[str, Any],
    members: dict[str, Any],
    links: dict[str, Any],
) -> BaseException:
    """Put an exception together again: the reverse of pickling one here."""
    made: BaseException = kind if isinstance(kind, BaseException) else _new(kind, args)
    _restore(made, attributes, members)
    for name, value in links.items():
        _set(made, name, value)
    if "__suppress_context__" not in links and "__cause__" in links:
        _set(made, "__suppress_context__", False)
    return made


def load_exception(pickled: bytes, refs: list[ObjectRef[Any]]) -> BaseException:
    """Rebuild what `dump_exception` has pickled. Raises what the exception's own code raises."""
    return rebuild_exception(*serialize.loads_in_band(pickled, refs))


def new_like(kind: type[BaseException], cause: BaseException, args: tuple[Any, ...]) -> Any:
    """Make an instance of `kind`, with what C code keeps in `cause`, without any user's __init__."""
    made = _new(kind, args)
    _restore(made, {}, _members(cause))
    return made


def _restore(made: BaseException, attributes: dict[str, Any], members: dict[str, Any]) -> None:
    for name, value in members.items():
        try:
            _set(made, name, value)
        except Exception:
            pass  # read-only: a part of what __new__ was given
    made.__dict__.update(attributes)


def unpack_error(info: dict[str, Any]) -> BaseException:
    """Make the exception that ``get`` raises. Never raises itself.

    Parameters
    ----------
    info
        ``kind`` and, by kind:

        ``task_error``
            what `pack_exception` returns
        ``worker_crashed``
            ``task_name``, ``pid``, ``signal``, ``exit_code``, ``stderr``, ``attempts``,
            ``why_killed``
        ``cancelled``
            ``task_name``, ``task_id``
        ``timeout``
            ``task_name``, ``timeout_s``
        ``group_removed``
            ``task_name``; or ``message``, for the group itself
        ``object_store_full``, ``out_of_memory``, ``out_of_disk``, ``object_lost``, ``freed``, \
        ``node_died``, ``serialization``, ``infeasible``, ``runtime_env``, ``get_timeout``, \
        ``pending_calls``
            ``message``
        ``actor_died``
            ``actor_id`` (in hexadecimal), ``class_name``, ``actor_name``, ``task_name`` (the
            call's), ``reason`` (see :class:`haz.exceptions.ActorDiedError`), ``pid``, ``signal``,
            ``exit_code``, ``stderr``, ``why_killed``, ``restarts``, and ``cause``: for the reason "constructor" the error of the
            constructor's call, such a dictionary itself, or ``haz._native.encode`` of it. Or
            ``message`` instead of all but ``actor_id``
        ``actor_unavailable``
            ``actor_id``, ``class_name``, ``actor_name``, ``task_name``; ``message``, or where a
            process died of it ``pid``, ``signal``, ``exit_code``, ``stderr``, ``why_killed``

        Each may have ``through``, see `through_task`.
    """
    kind = info.get("kind")
    if kind == "task_error":
        return _unpack_task_error(info)
    make = _MAKERS.get(str(kind))
    if make is None:
        return errors_of_haz.InternalError(f"an error of unknown kind {kind!r}: {info!r}")
    error = make(info)
    through = info.get("through")
    if through:
        _add_through(error, through)
    return error


def _add_through(error: HazError, through: list[str]) -> None:
    text = str(error.args[0]) if error.args else ""
    error.args = (f"{text}\n{_through_line(through)}", *error.args[1:])


def _through_line(through: list[str]) -> str:
    if len(through) == 1:
        return f"So task {through[0]}, which has it as an argument, did not run."
    return f"So the tasks that depend on it did not run: {', '.join(through)}."


def _pick(kind: Callable[..., HazError], *names: str) -> Callable[[Info], HazError]:
    """A maker that passes these items, where they are present, as keywords."""

    def make(info: Info) -> HazError:
        given = {name: info[name] for name in names if info.get(name) is not None}
        return kind(str(info.get("message") or ""), **given)

    return make


def _owner_died(info: Info) -> HazError:
    name = info.get("task_name") or "task"
    return errors_of_haz.OwnerDiedError(
        f"'{name}' was not run to its end: the program that had submitted it has ended"
    )


def _said(kind: type[HazError], otherwise: str) -> Callable[[Info], HazError]:
    return lambda info: kind(str(info.get("message") or otherwise))


_actor_fields = ("actor_id", "class_name", "actor_name", "task_name")
_death_fields = ("reason", "pid", "signal", "exit_code", "stderr", "restarts", "why_killed")
_actor_death = _pick(errors_of_haz.ActorDiedError, *_actor_fields, *_death_fields)
_actor_setup = _pick(errors_of_haz.ActorSetupError, *_actor_fields, *_death_fields)


def _with_actor_id(info: Info) -> Info:
    """Give what the native scheduler says of an actor the id that users see."""
    if "actor" not in info:
        return info
    from haz._native import identity

    try:
        epoch = identity()[0]
    except RuntimeError:  # haz has ended meanwhile
        return info
    return {**info, "actor_id": f"{epoch:016x}{info['actor'] & 0xFFFFFFFFFFFFFFFF:016x}"}


def _actor_died(info: Info) -> HazError:
    info = _with_actor_id(info)
    packed = info.get("cause")
    if isinstance(packed, bytes):
        from haz._native import decode_error

        packed = decode_error(packed)
    cause = None if packed is None else unpack_error(packed)
    make = _actor_death
    if cause is not None and not info.get("message"):
        told = str(cause)
        if isinstance(cause, errors_of_haz.RuntimeEnvSetupError):
            make = _actor_setup  # the output of the tool is what tells
        else:
            told = f"its constructor failed: {told.partition(chr(10))[0]}"
        info = {**info, "message": describe_actor_death(info, told)}
    error = make(info)
    error.__cause__ = cause
    return error


def _actor_unavailable(info: Info) -> HazError:
    info = _with_actor_id(info)
    if not info.get("message") and not info.get("pid"):
        info = {
            **info,
            "message": f"{_shown_actor(info)} is being started again; a later call may succeed",
        }
    death = ("pid", "signal", "exit_code", "stderr", "why_killed")
    return _pick(errors_of_haz.ActorUnavailableError, *_actor_fields, *death)(info)


_REASONS = {
    "constructor": "its constructor failed",
    "exited": "it ended itself, by exit_actor() or __ray_terminate__",
    "killed": "haz.kill() ended it",
    "out_of_scope": "its last handle went away, so that it was ended",
    "never_placed": "no process could be started for it",
    "group_removed": "its placement group was removed",
    "node": "its node ended",
    "driver": "the program ended that had made it, and it was not detached",
}


def _shown_actor(info: Info) -> str:
    text = f"actor {info.get('class_name') or '?'}"
    name = info.get("actor_name")
    return f"{text} {name!r}" if name else text


def describe_actor_death(info: Info, otherwise: str) -> str:
    """The text of an ActorDiedError; `otherwise` is how it died, where the reason doesn't tell."""
    text = _shown_actor(info)
    if info.get("actor_id"):
        text += f" ({info['actor_id']})"
    reason = info.get("reason") or ""
    told = otherwise if info.get("cause") else _REASONS.get(reason, otherwise)
    text += f" died: {told}"
    restarts = info.get("restarts") or 0
    if restarts:
        text += f"; it had been started again {restarts} time{'s' if restarts > 1 else ''}"
    task_name = info.get("task_name")
    return f"the call {task_name} has no result: {text}" if task_name else text


_MAKERS: dict[str, Callable[[Info], HazError]] = {
    "worker_crashed": _pick(
        errors_of_haz.WorkerCrashedError,
        *("task_name", "pid", "signal", "exit_code", "stderr", "attempts", "why_killed"),
    ),
    "cancelled": _pick(TaskCancelledError, "task_name", "task_id"),
    "timeout": _pick(errors_of_haz.TaskTimeoutError, "task_name", "timeout_s"),
    "object_store_full": _said(errors_of_haz.ObjectStoreFullError, "the object store is full"),
    "out_of_memory": _said(errors_of_haz.OutOfMemoryError, "memory ran out"),
    "out_of_disk": _said(errors_of_haz.OutOfDiskError, "the disk is full"),
    "object_lost": _said(errors_of_haz.ObjectLostError, "the object is gone"),
    "owner_died": _owner_died,
    "freed": _said(errors_of_haz.ObjectFreedError, "the object was dropped by haz.free"),
    "node_died": _said(errors_of_haz.NodeDiedError, "the node ended"),
    "serialization": _said(errors_of_haz.SerializationError, "a value can't be pickled"),
    "group_removed": _pick(errors_of_haz.PlacementGroupRemovedError, "task_name"),
    "infeasible": _said(errors_of_haz.InfeasibleResourcesError, "resources that are not there"),
    "runtime_env": _said(errors_of_haz.RuntimeEnvSetupError, "no runtime environment"),
    "get_timeout": _said(errors_of_haz.GetTimeoutError, "the values did not come in time"),
    "pending_calls": _said(
        errors_of_haz.PendingCallsLimitExceededError, "the actor takes no more calls now"
    ),
    "actor_died": _actor_died,
    "actor_unavailable": _actor_unavailable,
}


def _unpack_task_error(info: Info) -> TaskError:
    cause, note = _load_cause(info)
    if note:
        info = {**info, "note": note}
    fields = {
        "_info": info,
        "cause": cause,
        "task_name": info.get("task_name") or "",
        "function_name": info.get("function") or "",
        "type_name": info.get("type_name") or "",
        "pid": info.get("pid") or 0,
        "traceback_str": info.get("traceback") or "",
        "through": tuple(info.get("through") or ()),
    }
    error = TaskError() if cause is None else _instance(cause)
    error.__dict__.update(fields)
    _set(error, "__cause__", cause)
    return error


def _load_cause(info: Info) -> tuple[BaseException | None, str]:
    """The user's exception and, where it can't be had, why."""
    pickled = info.get("pickled")
    if pickled is None and info.get("language") == "C++":
        return _nearest_of_cpp(info.get("type_name") or "")(info.get("message") or ""), ""
    if pickled is None:
        return None, info.get("note") or "the exception itself can't be pickled"
    try:
        return load_exception(pickled, info.get("refs") or []), ""
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not error.args:
            raise  # most likely Ctrl-C, at this very moment
        return None, f"the exception itself can't be unpickled here: {error!r}"


#: Python's exceptions that come nearest to those of C++; the others are RuntimeErrors.
_OF_CPP = {
    "std::invalid_argument": ValueError,
    "std::domain_error": ValueError,
    "haz::value_error": ValueError,
    "std::out_of_range": IndexError,
    "std::length_error": IndexError,
    "haz::index_error": IndexError,
    "std::overflow_error": OverflowError,
    "std::range_error": OverflowError,
    "std::bad_alloc": MemoryError,
    "haz::type_error": TypeError,
    "std::bad_cast": TypeError,
    "std::filesystem::filesystem_error": OSError,
    "std::system_error": OSError,
}


def _nearest_of_cpp(type_name: str) -> type[Exception]:
    return _OF_CPP.get(type_name, RuntimeError)


def _instance(cause: BaseException) -> TaskError:
    """An instance of the class for `cause`, or of TaskError if there is none."""
    try:
        made = new_like(_class_for(type(cause)), cause, _args.__get__(cause))
        assert isinstance(made, TaskError)
        return made
    except Exception:
        return TaskError(*_args.__get__(cause))


#: Types that would end the program, the thread or the event loop of whoever calls get().
_NEVER_DERIVED = (SystemExit, GeneratorExit, StopAsyncIteration)

#: The user's type -> the class derived from it and TaskError. A cache only: entries go when the
#: last error of the class does.
_classes: weakref.WeakValueDictionary[type, type[TaskError]] | None = None


def _class_for(kind: type[BaseException]) -> type[TaskError]:
    global _classes
    if _classes is None:
        import weakref

        _classes = weakref.WeakValueDictionary()
    found = _classes.get(kind)
    if found is None:
        found = _classes[kind] = _derive(kind)
    return found


def _derive(kind: type[BaseException]) -> type[TaskError]:
    """Make the class; plain TaskError where the user's type doesn't permit or deserve one."""
    if issubclass(kind, KeyboardInterrupt):
        kind = TaskCancelledError  # as Ray does
    if issubclass(TaskError, kind) or issubclass(kind, TaskError):
        return TaskError
    if issubclass(kind, _NEVER_DERIVED) or _is_asyncio_cancelled(kind):
        return TaskError
    if _is_group(kind) and not issubclass(kind, Exception):
        return TaskError  # holds exceptions that a subclass of Exception must not
    return _derive_class(kind)


def _is_asyncio_cancelled(kind: type[BaseException]) -> bool:
    futures = sys.modules.get("asyncio.exceptions")
    return futures is not None and issubclass(kind, futures.CancelledError)


def _derive_class(kind: type[BaseException]) -> type[TaskError]:
    def getattr_of_cause(self: Any, name: str) -> Any:
        # For what the user's class keeps in instances; methods and properties are inherited.
        cause = self.__dict__.get("cause")
        if cause is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(cause, name)

    members: dict[str, Any] = {"__getattr__": getattr_of_cause}
    if _is_group(kind):
        members["derive"] = lambda self, members: type(self.cause).derive(self.cause, members)
    return derive_class(TaskError, kind, members)


def derive_class(
    base: type[Error], kind: type[BaseException], members: dict[str, Any] | None = None
) -> type[Error]:
    """Make a class that is both, and behaves as `base`, but for its `members`."""
    import types

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(
            __module__=base.__module__,
            __doc__=base.__doc__,
            __init__=lambda self, *args: None,
            __str__=base.__str__,
            __repr__=base.__repr__,
            __reduce__=base.__reduce__,
            __reduce_ex__=lambda self, _protocol: base.__reduce__(self),
            **(members or {}),
        )

    derived: type[Error] = types.new_class(
        f"{base.__name__}({kind.__name__})", (base, kind), exec_body=fill
    )
    return derived


def describe_task_error(info: Info) -> str:
    """The text of a TaskError: what failed where, what did not run, the remote traceback."""
    where = f"task {info.get('task_name') or '?'}"
    function = info.get("function")
    if function and function != info.get("task_name"):
        where += f" of {function}"
    first_line, _, _ = str(info.get("message") or "").partition("\n")
    text = f"{where} (pid {info.get('pid')}) raised {info.get('type_name')}"
    text += f": {_without_middle(first_line, _MOST_SHORT_CHARS)}" if first_line else ""
    through = info.get("through")
    if through:
        text += "\n" + _through_line(list(through))
    if info.get("note"):
        text += f"\n({info['note']})"
    lines = str(info.get("traceback") or "").split("\n")
    return text + "\nIn the task:\n" + "\n".join(f"  {line}" for line in lines)


def without_stop_iteration(error: BaseException) -> BaseException:
    """A plain TaskError instead of one that is a StopIteration too, for generators.

    Python turns a StopIteration that leaves a generator or coroutine into a RuntimeError.
    """
    if isinstance(error, TaskError) and isinstance(error, StopIteration):
        plain = TaskError(*error.args)
        plain.__dict__.update(error.__dict__)
        plain.__cause__ = error.__cause__
        return plain
    return error
