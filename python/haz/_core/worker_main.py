"""What a worker process does: joins the node, then runs tasks until the node ends.

The loop itself is native. Here is what it calls for a function's first use, for a failure, and to
put back what a task has changed in the process.
"""

from __future__ import annotations

import io
import os
import sys

from haz import _native
from haz._core import serialize
from haz._core.returns import split_returns
from haz._core.runtime import attach_worker_engine
from haz.engines.native import NativeEngine, UnpackedFunction

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal  # `signal` costs milliseconds, and wraps these

__all__ = ["run"]


class _TaskStream(io.TextIOWrapper):
    """A worker's standard output or error: tells the driver which task the text is of."""

    _task_name: str | None = None

    def write(self, text: str, /) -> int:
        name = _native.running_name()
        if name is not None and name != self._task_name:
            self._task_name = name
            super().write(f"\x1ehaz:task:{name}\n")
        _native.mark_dirty()
        return super().write(text)


def _open_stream(fd: int) -> _TaskStream:
    return _TaskStream(
        open(fd, "wb", buffering=8192, closefd=False),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


class _ProcessState:
    """What belongs to the process and not to a task: put back after each task that changed it."""

    def __init__(self) -> None:
        self._cwd = self._current_folder()
        self._environ = dict(os.environ)
        self._handlers = {n: _signal.getsignal(n) for n in _signal.valid_signals()}
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        #: Whether a task has changed handlers or the mask.
        self.signals_changed = False

    @staticmethod
    def _current_folder() -> str | None:
        try:
            return os.getcwd()
        except OSError:
            return None

    def restore(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        if self._cwd is not None and self._current_folder() != self._cwd:
            try:
                os.chdir(self._cwd)
            except OSError:
                pass
        self._restore_environ()
        if self.signals_changed:
            self.signals_changed = False
            self._restore_signals()

    def _restore_signals(self) -> None:
        for timer in (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF):
            _signal.setitimer(timer, 0)
        for number in _signal.sigpending() - {_signal.SIGINT}:
            _set_handler(number, _signal.SIG_IGN)  # was meant for the task
        for number, handler in self._handlers.items():
            if handler is not None and _signal.getsignal(number) is not handler:
                _set_handler(number, handler)
        _set_mask(_signal.SIG_SETMASK, self._mask)

    def _restore_environ(self) -> None:
        now = dict(os.environ)
        if now == self._environ:
            return
        for name in now.keys() - self._environ.keys():
            del os.environ[name]
        for name, value in self._environ.items():
            if now.get(name) != value:
                os.environ[name] = value


_set_handler = _signal.signal
_set_mask = _signal.pthread_sigmask


def _noting_changes(function: Callable[..., Any], state: _ProcessState) -> Callable[..., Any]:
    def noting(*args: Any) -> Any:
        state.signals_changed = True
        _native.mark_dirty()
        return function(*args)

    noting.__name__ = function.__name__
    noting.__doc__ = function.__doc__
    return noting


def _interrupt(_number: int, _frame: Any) -> None:
    if _native.interrupt_pending():
        raise KeyboardInterrupt


class _Worker:
    """The native loop's hooks; see WorkerHooks in bindings/bind_worker.cpp."""

    def __init__(self, engine: NativeEngine) -> None:
        self._engine = engine
        self._retried: dict[int, Callable[[BaseException], bool]] = {}
        self.state = _ProcessState()

    def load(self, code: bytes, number: int) -> Callable[..., Any]:
        unpacked = UnpackedFunction(code)
        self._engine.resources_of[number] = unpacked.resources
        is_retried = self._retried[number] = _retry_test(unpacked.retried)
        function = unpacked.function
        if unpacked.is_dynamic:
            function = _collecting(function, is_retried)
        if unpacked.env_vars or unpacked.max_calls:
            return _wrapped(function, unpacked.env_vars, unpacked.max_calls)
        return function

    def fail(
        self, error: BaseException | None, name: str | None, number: int
    ) -> tuple[dict[str, Any], bool]:
        from haz._core.errors import pack_exception

        if error is None:
            error = RuntimeError("the task ended without a result")
        shown = name or "task"
        info = pack_exception(error, task_name=shown, pid=os.getpid(), function=shown)
        test = self._retried.get(number)
        return info, test is not None and test(error)

    def clean_up(self) -> None:
        self.state.restore()


def _retry_test(
    retried: bool | tuple[type[BaseException], ...],
) -> Callable[[BaseException], bool]:
    if retried is True:
        return lambda error: isinstance(error, Exception)
    if not retried:
        return lambda _error: False
    kinds = retried

    def matches(error: BaseException) -> bool:
        # An error that came with an argument carries the user's own exception as its cause.
        return isinstance(error, kinds) or isinstance(getattr(error, "cause", None), kinds)

    return matches


def _collecting(
    function: Callable[..., Any], is_retried: Callable[[BaseException], bool]
) -> Callable[..., Any]:
    from haz._core.generator import collecting

    def pack(error: BaseException) -> dict[str, Any] | None:
        if is_retried(error):
            return None
        from haz._core.errors import pack_exception

        name = _native.running_name() or "task"
        return pack_exception(error, task_name=name, pid=os.getpid(), function=name)

    return collecting(function, pack)


def _wrapped(
    function: Callable[..., Any], env_vars: dict[str, str], max_calls: int
) -> Callable[..., Any]:
    calls = 0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if max_calls and calls >= max_calls:
            _native.stop_after_task()
        os.environ.update(env_vars)
        return function(*args, **kwargs)

    return wrapper


def run(slot: int, process_id: int, arena_fd: int) -> int:
    """Be a worker; returns the exit code when the node ends."""
    _native.init_types(_ref_base())
    _native.worker_join(slot, process_id, arena_fd)
    engine = NativeEngine.join()
    attach_worker_engine(engine)
    sys.stdout = _open_stream(1)
    sys.stderr = _open_stream(2)
    _set_handler(_signal.SIGINT, _interrupt)
    worker = _Worker(engine)
    _signal.signal = _noting_changes(_signal.signal, worker.state)
    _signal.pthread_sigmask = _noting_changes(_signal.pthread_sigmask, worker.state)
    _native.worker_run(worker.load, worker.fail, split_returns, worker.clean_up)
    sys.stdout.flush()
    sys.stderr.flush()
    return 0


def _ref_base() -> type:
    from haz._core.refs import ObjectRef

    return ObjectRef


_ = serialize  # imported before the fork: every task needs it
