"""What a worker process does: joins the node, then runs tasks until the node ends.

The loop itself is native. Here is what it calls for a function's first use, for a failure, and to
put back what a task has changed in the process.
"""

from __future__ import annotations

import marshal
import os
import sys

from haz import _native
from haz._core import zygote
from haz._core.gpus import VISIBLE
from haz._core.numba_threads import numba_finder
from haz._core.process_state import ProcessState, Streams
from haz._core.runtime import attach_worker_engine, runtime
from haz.engines.native import NativeEngine, UnpackedFunction

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn
else:
    import _signal  # `signal` costs milliseconds, and wraps these

_set_handler = _signal.signal

__all__ = ["collecting_items", "end", "note_import", "prepare", "retry_test", "run"]


def _interrupt(_number: int, _frame: Any) -> None:
    _native.interrupt_calls()
    if _native.interrupt_pending():
        raise KeyboardInterrupt


class _Worker:
    """The native loop's hooks; see WorkerHooks in bindings/bind_worker.cpp."""

    def __init__(
        self, engine: NativeEngine, state: ProcessState, place: tuple[int, int, int]
    ) -> None:
        self._place = place
        self._engine = engine
        self._state = state
        self._environment: bytes = b""
        self._failed: Exception | None = None
        self._is_of_program = False
        self._retried: dict[int, Callable[[BaseException], bool]] = {}

    def load(self, code: bytes, number: int) -> Callable[..., Any] | str:
        if code.startswith(b"haz-exec"):
            from haz._core import cpp_program

            code = cpp_program.enter(code, self._engine, *self._place)
            self._state.keep()
        if code.startswith(b"haz-"):
            from haz._core import cpp_library

            found: Callable[..., Any] | str
            found, name, retried = cpp_library.load_code(self._engine, code)
            self._retried[number] = retry_test(retried)
            self._engine.loaded[number] = name
            return found
        parts = marshal.loads(code)
        if parts[-1] and parts[0] != "method":
            self._set_up(parts[-1])
        try:
            if type(parts[0]) is str:  # that of a class or a method
                from haz._core import actor_worker

                loaded, retried = actor_worker.load(self._engine, parts)
                self._retried[number] = retry_test(retried)
                self._engine.loaded[number] = parts
                return loaded
            unpacked = UnpackedFunction(code)
        except Exception as error:
            from haz._core.unpickling import function_error

            raise function_error(error, _native.running_name() or "task") from error
        self._engine.resources_of[number] = unpacked.resources
        self._engine.loaded[number] = unpacked.function
        is_retried = self._retried[number] = retry_test(unpacked.retried)
        function = unpacked.function
        if unpacked.is_dynamic:
            function = collecting_items(function, is_retried)
        if "GPU" in unpacked.resources:
            function = _with_gpus(function, self._engine)
        env_vars = self._engine.environment.get("env_vars", {})
        if unpacked.resources.get("CPU", 1) >= 2 or env_vars:
            from haz._core.threads import threads_for, with_threads

            threads = threads_for(unpacked.resources, env_vars)
            if threads > 1:
                function = with_threads(function, threads)
        if unpacked.max_calls:
            function = _counted(function, unpacked.max_calls)
        if type(unpacked.function) is _native.cpp_types()[0] and function is not unpacked.function:
            function.__haz_cpp__ = unpacked.function  # type: ignore[attr-defined]
        return function

    def _set_up(self, environment: bytes) -> None:
        """Become a worker of the environment; the scheduler gives it no tasks of others."""
        if environment == self._environment:
            return
        from haz._core.environment import unpack
        from haz._core.environment_setup import Environment, SetupFailed

        if self._failed is not None:
            raise self._failed
        program = unpack(environment).get("program")
        if program is not None and not self._is_of_program:
            self._is_of_program = True
            zygote.become_program(program)
            self._engine.enter_program(zygote.job)
        try:
            entered = Environment(environment)
            entered.enter([])
        except SetupFailed as error:
            self._failed = error.with_traceback(None)
            raise
        self._environment = environment
        self._engine.environment = entered.parts
        self._state.keep()

    def fail(
        self, error: BaseException | dict[str, Any] | None, name: str | None, number: int
    ) -> tuple[dict[str, Any], bool]:
        test = self._retried.get(number)
        if isinstance(error, dict):  # of C++: it is tested as what get() would raise
            from haz._core.errors import unpack_error

            return error, test is not None and test(unpack_error(error))
        from haz._core.errors import pack_exception
        from haz._core.torn_imports import forget_torn

        if error is None:
            error = RuntimeError("the task ended without a result")
        if forget_torn(error) and self._engine.actor is None:
            _native.stop_after_task()
        shown = name or "task"
        if error is self._failed:
            return {"kind": "runtime_env", "message": str(error), "task_name": shown}, False
        function = self._engine.function_name(number) or shown
        info = pack_exception(error, task_name=shown, pid=os.getpid(), function=function)
        return info, test is not None and test(error)

    def split(self, value: Any, num_returns: int) -> Sequence[Any]:
        from haz._core.returns import split_returns

        return split_returns(value, num_returns)


def retry_test(
    retried: bool | tuple[type[BaseException], ...],
) -> Callable[[BaseException], bool]:
    """Return whether an exception is one that `retried`, as in TaskOptions, means."""
    if retried is True:
        return lambda error: isinstance(error, Exception)
    if not retried:
        return lambda _error: False
    kinds = retried

    def matches(error: BaseException) -> bool:
        # An error that came with an argument carries the user's own exception as its cause.
        return isinstance(error, kinds) or isinstance(getattr(error, "cause", None), kinds)

    return matches


def collecting_items(
    function: Callable[..., Any], is_retried: Callable[[BaseException], bool]
) -> Callable[..., Any]:
    """Wrap a generator function whose items become one result, as of num_returns="dynamic"."""
    from haz._core.generator import collecting

    def pack(error: BaseException) -> dict[str, Any] | None:
        if is_retried(error):
            return None
        from haz._core.errors import pack_exception

        name = _native.running_name() or "task"
        return pack_exception(error, task_name=name, pid=os.getpid(), function=name)

    return collecting(function, pack)


def _with_gpus(function: Callable[..., Any], engine: NativeEngine) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        os.environ[VISIBLE] = ",".join(engine.granted_gpus())
        return function(*args, **kwargs)

    return wrapper


def _counted(function: Callable[..., Any], max_calls: int) -> Callable[..., Any]:
    calls = 0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= max_calls:
            _native.stop_after_task()
        return function(*args, **kwargs)

    return wrapper


class _Prepared:
    """What is the same in all workers of a zygote, and so made once, before they are forked."""

    def __init__(self) -> None:
        self.engine = NativeEngine(None)
        self.streams = Streams()
        self.state = ProcessState(self.streams.errors)
        #: Whether a module was imported since, which may have changed anything.
        self.is_old = False


_prepared: _Prepared | None = None


def prepare() -> None:
    """In a zygote: prepare what each of its workers will need."""
    global _prepared
    _prepared = _Prepared()


def note_import(is_last: bool) -> None:
    """In a zygote that has imported a module: `is_last`, and will import no other for now."""
    if _prepared is not None:
        _prepared.is_old = not is_last
        if is_last:
            _prepared.state.keep()


def run(slot: int, process_id: int, arena_fd: int, rejoins: bool = False) -> int:
    """Be a worker; returns the exit code when the node ends."""
    prepared = _prepared if _prepared is not None else _Prepared()
    _native.worker_join(slot, process_id, arena_fd, rejoins)
    engine, state = prepared.engine, prepared.state
    engine.join()
    attach_worker_engine(engine)
    prepared.streams.show()
    if "openmp" not in zygote.job:
        sys.meta_path.insert(0, numba_finder())
    _set_handler(_signal.SIGINT, _interrupt)
    if prepared.is_old:
        state.keep()
    state.begin()
    worker = _Worker(engine, state, (slot, process_id, _native.arena_fd()))
    code = _native.worker_run(
        worker.load,
        worker.fail,
        worker.split,
        state.flush,
        state.put_back,
        state.set_aside,
        state.bring_back,
    )
    state.flush(False)
    return code


def end(code: int) -> NoReturn:
    """End this worker as an interpreter ends, but at a third of the cost.

    Threads are waited for, ``atexit`` functions run, an actor that nobody else refers to goes, files
    get what was written to them. What is left out is to take every module apart.
    """
    import atexit
    import sys

    try:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
        engine = runtime.engine
        if engine is not None:
            engine.actor = None  # type: ignore[attr-defined]
        _close_files()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed, or not there
    _native.end_process(code)


def _close_files() -> None:
    """Close the files that the worker's tasks have left open."""
    import _io
    import gc
    import sys

    # The kinds that write into others come first: compressed files and the like, text, buffers.
    kinds: tuple[type, ...] = (_io._TextIOBase, _io._BufferedIOBase, _io._IOBase)
    own = {id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)}

    def rank(file: object) -> int:
        kind = type(file)
        return kind.__module__ == "_io" and 1 + [issubclass(kind, one) for one in kinds].index(True)

    def all_files(do: str) -> None:
        files = [found for found in gc.get_objects() if issubclass(type(found), kinds[-1])]
        for file in sorted(files, key=rank):
            if id(file) not in own:
                try:
                    getattr(file, do)()
                except Exception:
                    pass  # as where the interpreter does it

    # The collector takes apart a text and its buffer in any order.
    all_files("flush")
    gc.collect()
    all_files("close")
