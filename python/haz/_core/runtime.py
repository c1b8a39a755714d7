"""The default runtime: the one object of the package that is global.

It holds the engine that ``haz.get`` and the like work on, starts it at the first use, ends it, and
knows what has to be undone then. In a worker process the worker's main calls
:func:`attach_worker_engine` before it runs any user code. After ``os.fork`` the child's runtime is
inert: every call raises.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock, get_ident
from _weakref import ref as weak_ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from haz._core.actor import ActorMethod
    from haz._core.remote import RemoteFunction
    from haz.engines.base import Engine, InitOptions

    #: What has an attribute ``remote`` that an engine gives.
    Bound: TypeAlias = RemoteFunction[..., Any] | ActorMethod[..., Any]

__all__ = ["ENGINES", "Runtime", "attach_worker_engine", "runtime"]

#: Names that ``haz.init(engine=...)`` takes.
ENGINES = ("native", "inline")

_FORKED = (
    "this process was forked (os.fork, multiprocessing) from one that uses haz, and haz doesn't "
    "work in the child: its threads and shared memory belong to the parent. Use haz before the "
    "fork, start the child with the 'spawn' method or subprocess, or let haz run the work itself"
)

_ENDED = (
    "haz has ended, since the interpreter is ending: handlers of atexit run in reverse order of their "
    "registration, and one that uses haz must be registered after `import haz`"
)


class _ForkedEngine:
    """Stands for the engine in a forked child: every use of it raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(_FORKED)


class Runtime:
    """Owner of the default engine. Thread-safe.

    Attributes
    ----------
    engine
        The engine, or None while there is none. Read without the lock on every call.
    is_worker
        True in a worker process of an engine.
    forked
        True in a child of a process that used haz.
    cell
        In a notebook: the number of the running cell since haz was first used, from 1. Else 0.
    address_info
        What ``haz.init`` returned for this engine, for a second call of it.
    """

    __slots__ = (
        "_at_end",
        "_at_stop",
        "_bound",
        "_engine_before_fork",
        "_exiting",
        "_hooked",
        "_lock",
        "_never_start",
        "_warned",
        "address_info",
        "cell",
        "engine",
        "forked",
        "is_worker",
        "loop_bridges",
    )

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.is_worker = False
        self.forked = False
        self.cell = 0
        self.address_info: dict[str, Any] | None = None
        #: asyncio's event loop -> its bridge; kept by haz._core.futures.
        self.loop_bridges: Any = None
        self._lock = RLock()
        self._at_end: list[Callable[[], object]] = []
        self._at_stop: list[Callable[[], object]] = []
        self._bound: dict[int, weak_ref[Bound]] = {}
        self._warned: set[str] = set()
        self._hooked = False
        self._exiting = False
        self._engine_before_fork: Engine | None = None
        self._never_start: set[int] = set()  #: Numbers of threads.

    def ensure(self) -> Engine:
        """Return the engine; start one, as ``haz.init()`` does, if there is none."""
        engine = self.engine
        if engine is not None:
            return engine
        with self._lock:
            self._check_not_exiting()  # where imports fail too
            if self.engine is None:
                if get_ident() in self._never_start:
                    raise RuntimeError("haz was shut down")
                from haz._core.lifecycle import init

                init()
            engine = self.engine
        if engine is None:
            raise RuntimeError("haz was shut down by another thread at the same time")
        return engine

    def call_without_start(self, function: Callable[[], object]) -> None:
        """Call `function`, whose calls in this thread start no engine: RuntimeError instead.

        For threads of haz's own that may outlive the run that they work for.
        """
        thread = get_ident()
        self._never_start.add(thread)
        try:
            function()
        finally:
            self._never_start.discard(thread)

    def start(self, engine_name: str, options: InitOptions) -> Engine:
        """Start an engine; raise RuntimeError if there is one."""
        with self._lock:
            self.check_not_forked()
            self._check_not_exiting()
            if self.engine is not None:
                raise RuntimeError("haz is initialized already")
            engine = _create_engine(engine_name, options)
            self._hook()
            self.engine = engine
            return engine

    def stop(self) -> None:
        """End the engine, if this process owns one. Idempotent."""
        with self._lock:
            if self.is_worker or self.forked or self.engine is None:
                return
            engine, self.engine = self.engine, None
            self.address_info = None
            self._unbind()
            at_stop, self._at_stop = self._at_stop, []
        # Without the lock: an engine's thread may be inside a callback that wants it.
        try:
            engine.shutdown()
        finally:
            for function in at_stop:
                function()

    def attach_worker_engine(self, engine: Engine) -> None:
        """Make `engine` the one of this worker process; see the function of this name."""
        with self._lock:
            self.engine = engine
            self.is_worker = True
            self.forked = False
            self._unbind()
            self._hook()

    def bind(self, function: Bound, engine: Engine, submit: Callable[..., Any]) -> None:
        """Let ``function.remote`` be `submit` for as long as `engine` is the default one."""
        with self._lock:
            if self.engine is engine:
                key = id(function)
                bound = self._bound
                bound[key] = weak_ref(function, lambda _: bound.pop(key, None))
                function.__dict__["remote"] = submit

    def check_not_forked(self) -> None:
        """Raise RuntimeError in a forked child."""
        if self.forked:
            raise RuntimeError(_FORKED)

    def _check_not_exiting(self) -> None:
        if self._exiting:
            raise RuntimeError(_ENDED)

    def why_ended(self) -> str:
        """Why there is no engine any more, for errors about what was of one."""
        return _ENDED if self._exiting else "haz was shut down"

    def warn_once(self, key: str, message: str) -> None:
        """Warn the user, the first time in this process that `key` comes up."""
        if key not in self._warned:
            self._warned.add(key)
            import warnings

            warnings.warn(message, RuntimeWarning, stacklevel=_user_stacklevel())

    def _unbind(self) -> None:
        """Let everything that is bound look for the engine again at its next call."""
        for weak in list(self._bound.values()):
            function = weak()
            if function is not None:
                function.__dict__.pop("remote", None)
        self._bound.clear()

    def _hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            if "IPython" in sys.modules:
                from haz._core.notebook import watch_cells

                self.cell = int(watch_cells(self._begin_cell))
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _begin_cell(self, *_info: object) -> None:
        with self._lock:
            self.cell += 1
            if not self.forked:
                self._unbind()

    def at_end(self, function: Callable[[], object]) -> None:
        """Call `function` when the interpreter ends, after the engine was shut down."""
        self._at_end.append(function)

    def at_stop(self, function: Callable[[], object]) -> None:
        """Call `function` when the engine that there is now was shut down. It must not raise."""
        with self._lock:
            self._at_stop.append(function)

    def end(self) -> None:
        """End the engine for good. For the handler of atexit that ``import haz`` registers."""
        # A daemon thread that still runs must not start another node now.
        self._exiting = True
        _silence_threads()
        try:
            self.stop()
        finally:
            while self._at_end:
                self._at_end.pop()()

    def _after_fork_in_child(self) -> None:
        self._lock = RLock()
        self._at_stop = []
        if self.engine is None or self.forked:
            return
        # Kept, so that its destructor doesn't run here: what it owns is the parent's.
        self._engine_before_fork = self.engine
        forked: Any = _ForkedEngine()
        self.engine = forked
        self.forked = True
        self.is_worker = False
        self.loop_bridges = None
        self._unbind()


def _silence_threads() -> None:
    """Let threads end without a word that use haz while it ends with the program.

    Only daemon threads are left at this point, and nothing went wrong in them.
    """
    modules = sys.modules

    def is_about_the_end(error: object) -> bool:
        exceptions = modules.get("haz.exceptions")
        if exceptions is not None and isinstance(error, exceptions.HazError):
            return True
        return isinstance(error, RuntimeError) and "haz" in str(error)

    threading: Any = modules.get("threading")
    if threading is not None:
        report = threading.excepthook

        def report_of_thread(args: Any) -> None:
            if not is_about_the_end(args.exc_value):
                report(args)

        threading.excepthook = report_of_thread
    report_ignored = sys.unraisablehook

    def report_of_bare_thread(args: Any) -> None:
        in_thread = "in thread" in (args.err_msg or "")
        if not (in_thread and is_about_the_end(args.exc_value)):
            report_ignored(args)

    sys.unraisablehook = report_of_bare_thread


def _user_stacklevel() -> int:
    """The `stacklevel` of warnings.warn, called by our caller, that names the user's line."""
    package = __file__.rpartition("_core")[0]
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
        level += 1
    return level


def _create_engine(name: str, options: InitOptions) -> Engine:
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; there are {', '.join(ENGINES)}")
    try:
        module = __import__(f"haz.engines.{name}", fromlist=["create_engine"])
    except ImportError as error:
        if name == "inline":
            raise
        raise ImportError(
            f"haz's {name} engine can't be loaded ({error}). It exists for Linux; elsewhere, and "
            f"to debug in one process, use haz.init(engine='inline') or HAZ_ENGINE=inline"
        ) from error
    engine: Engine = module.create_engine(options)
    return engine


#: The default runtime of this process.
runtime = Runtime()


def attach_worker_engine(engine: Engine) -> None:
    """Make `engine` the default one of this process, a worker.

    Called once by the worker's main, before it unpickles or runs anything of the user's.
    ``haz.init()`` in a task then joins the node, ``haz.shutdown()`` there does nothing, and remote
    functions bind to `engine`.
    """
    runtime.attach_worker_engine(engine)
