"""What belongs to a worker process and not to a task: put back after each task that changed it.

The native loop notices that something was changed (bindings/process_watch.h) and calls this. Here
everything is compared, since a task that changes one thing is slow anyway.

Modules keep their state between tasks, and some set up the process when they are imported: they
extend ``sys.path``, filter warnings, raise the recursion limit. So such changes stay after a task
that imported modules. Output streams, the working directory, the environment, signals and tracing
are put back always.
"""

from __future__ import annotations

import gc
import io
import os
import sys

from haz import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _locale
    import signal as _signal
    from collections.abc import Callable
    from typing import Any

    #: Reads a part, and sets it.
    Part = tuple[Callable[[], Any], Callable[[Any], object]]
else:
    import _locale
    import _signal  # `signal` costs milliseconds, and wraps these

__all__ = [
    "ProcessState",
    "Streams",
    "name_output",
    "plain_output",
    "show_plain_output",
    "write_to_driver",
]

_set_handler = _signal.signal
_set_mask = _signal.pthread_sigmask


# ---- output ----------------------------------------------------------------------------------


class _Output(io.BufferedWriter):
    """Can't be closed: a wrapper that a task has made around it would do so when it goes."""

    def close(self) -> None:
        self.flush()


#: In the place of a task's name: `kPlainOutput` of log_lines.h.
_PLAIN_OUTPUT = "\x1f"


def _on_one_line(name: str) -> str:
    """A name before a line of output: without line ends and what else would be no text there."""
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else " " for character in name)


class _TaskStream(io.TextIOWrapper):
    """A worker's standard output or error: tells the driver which task the text is of."""

    #: Of both streams: whether lines are shown without that.
    is_plain = False
    #: What an actor whose class has a `__repr__` is called instead of its calls; for all streams.
    actor_name: str | None = None
    _task_name: str | None = None
    _has_text = False
    _is_line_open = False

    def write(self, text: str, /) -> int:
        name = self.actor_name or _native.running_name()
        if _TaskStream.is_plain:
            name = _PLAIN_OUTPUT
        if name is not None and name != self._task_name:
            self._task_name = name
            super().write(f"\x1ehaz:task:{name if name == _PLAIN_OUTPUT else _on_one_line(name)}\n")
        written = super().write(text)
        self._has_text = True
        self._is_line_open = not text.endswith("\n")
        _native.note_output()
        return written

    def end_task(self) -> None:
        """What was written since the last call is of a task that has ended."""
        if self._has_text:
            self._has_text = self._is_line_open = False
            super().write("\x1ehaz:task:\x1e\n")

    def end_line(self) -> None:
        """Have the driver show what stands in a line that has no end yet."""
        if self._is_line_open:
            self.end_task()

    def write_line(self, line: str) -> None:
        """Write a line that is no text of a task's."""
        super().write(line)
        self.flush()

    def detach(self) -> Any:
        self.flush()
        return self.buffer


def show_plain_output() -> None:
    """In a worker: from now on, have lines shown without the task's name, and never counted as one."""
    _TaskStream.is_plain = True
    for fd in (1, 2):  # for what C code writes, too
        try:
            os.write(fd, f"\x1ehaz:task:{_PLAIN_OUTPUT}\n".encode())
        except OSError:
            pass  # a task has closed it


class plain_output:  # noqa: N801 - a context manager
    """In a worker: as `show_plain_output`, for what Python code prints inside of the block."""

    def __enter__(self) -> None:
        self._before = _TaskStream.is_plain
        _TaskStream.is_plain = True

    def __exit__(self, *_: object) -> None:
        _TaskStream.is_plain = self._before


def _open_stream(fd: int) -> _TaskStream:
    return _TaskStream(
        _Output(io.FileIO(fd, "wb", closefd=False), 8192),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


class Streams:
    """Standard output and error of a worker, which lead to the driver.

    They can be made before this process has those descriptors, which are pipes, whatever they are
    now.
    """

    def __init__(self) -> None:
        source, sink = os.pipe()
        try:
            self.output, self.errors = _opened_as(1, sink), _opened_as(2, sink)
        finally:
            os.close(source)
            os.close(sink)

    def show(self) -> None:
        """Make them those of this process."""
        global _to_driver
        sys.stdout = _to_driver = self.output
        sys.stderr = self.errors


def _opened_as(fd: int, pipe: int) -> _TaskStream:
    """Return the stream of a descriptor, made while it is a copy of `pipe`."""
    own = os.dup(fd)
    try:
        os.dup2(pipe, fd)
        try:
            return _open_stream(fd)
        finally:
            os.dup2(own, fd)
    finally:
        os.close(own)


_to_driver: _TaskStream | None = None


def write_to_driver(line: str) -> None:
    """Send the driver a line that is not shown as output, whatever ``sys.stdout`` is."""
    if _to_driver is not None:
        _to_driver.write_line(line)


def name_output(instance: object) -> None:
    """Let the lines of this process, an actor's, begin with what its class' `__repr__` returns."""
    if type(instance).__repr__ is object.__repr__:
        return
    try:
        name = " ".join(repr(instance).split())
    except Exception:
        return
    _TaskStream.actor_name = name.replace("\x1e", "") or None


# ---- parts of the state ----------------------------------------------------------------------
# Each is read as a value that compares equal while nothing has changed, and set from such a value.

_ABSENT = object()


def _read_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        try:
            os.chdir(folder)
        except OSError:
            pass  # gone since


def _read_environ() -> dict[str, str]:
    return dict(os.environ)


def _set_environ(wanted: dict[str, str]) -> None:
    now = dict(os.environ)
    for name in now.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if now.get(name) != value:
            os.environ[name] = value


class _Same:
    """An object that is equal only to itself, whatever its type says."""

    __slots__ = ("what",)

    def __init__(self, what: Any) -> None:
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.what is self.what


_STREAMS = ("stdin", "stdout", "stderr")


def _read_streams() -> list[_Same]:
    return [_Same(sys.__dict__.get(name, _ABSENT)) for name in _STREAMS]


def _set_streams(streams: list[_Same]) -> None:
    for name, stream in zip(_STREAMS, streams, strict=True):
        if stream.what is not _ABSENT:
            setattr(sys, name, stream.what)


def _read_tracing() -> list[_Same]:
    return [_Same(sys.gettrace()), _Same(sys.getprofile())]


def _set_tracing(functions: list[_Same]) -> None:
    sys.settrace(functions[0].what)
    sys.setprofile(functions[1].what)


def _read_list(name: str) -> tuple[_Same, list[Any]]:
    now = sys.__dict__.get(name)
    return _Same(now), list(now) if isinstance(now, list) else []


def _set_list(name: str, value: tuple[_Same, list[Any]]) -> None:
    same, items = value
    if isinstance(same.what, list):
        same.what[:] = items
    setattr(sys, name, same.what)


def _read_filters() -> tuple[_Same, list[Any]] | None:
    warnings = sys.modules.get("warnings")
    if warnings is None:
        return None
    filters = warnings.filters
    return _Same(filters), list(filters)


def _set_filters(value: tuple[_Same, list[Any]] | None) -> None:
    warnings = sys.modules.get("warnings")
    if value is None or warnings is None:
        return
    value[0].what[:] = value[1]
    warnings.filters = value[0].what  # type: ignore[attr-defined]
    for name in ("_filters_mutated", "_filters_mutated_lock_held"):  # until 3.13, and since
        forget = getattr(warnings, name, None)
        if forget is not None:
            forget()


def _set_gc(collects: bool) -> None:
    if collects:
        gc.enable()
    else:
        gc.disable()


_OF_THE_PROCESS: dict[str, Part] = {
    "streams": (_read_streams, _set_streams),
    "folder": (_read_folder, _set_folder),
    "environ": (_read_environ, _set_environ),
    "tracing": (_read_tracing, _set_tracing),
}

_OF_MODULES_TOO: dict[str, Part] = {
    "path": (lambda: _read_list("path"), lambda value: _set_list("path", value)),
    "argv": (lambda: _read_list("argv"), lambda value: _set_list("argv", value)),
    "recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
    "gc": (gc.isenabled, _set_gc),
    "warnings": (_read_filters, _set_filters),
    "locale": (
        lambda: _locale.setlocale(_locale.LC_ALL, None),
        lambda name: _locale.setlocale(_locale.LC_ALL, name),
    ),
}


_PARTS: dict[str, Part] = _OF_THE_PROCESS | _OF_MODULES_TOO


class _Signals:
    """Handlers and the mask; looked at only after they were changed by Python's own functions."""

    def __init__(self) -> None:
        self.changed = False
        self._own = self._read()

    @staticmethod
    def _read() -> tuple[dict[int, Any], Any]:
        handlers: dict[int, Any] = {n: _signal.getsignal(n) for n in _signal.valid_signals()}
        return handlers, _set_mask(_signal.SIG_BLOCK, ())

    def begin(self) -> None:
        """In the worker, whose own handler is that of an interrupt."""
        if self.changed:
            self._own = self._read()
            self.changed = False
            return
        handlers = self._own[0]
        handlers[_signal.SIGINT] = _signal.getsignal(_signal.SIGINT)
        self._own = handlers, _set_mask(_signal.SIG_BLOCK, ())

    def put_back(self) -> None:
        if not self.changed:
            return
        self.changed = False
        for timer in (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF):
            _signal.setitimer(timer, 0)
        for number in _signal.sigpending() - {_signal.SIGINT}:
            _set_handler(number, _signal.SIG_IGN)  # was meant for the task
        self._set(self._own)

    @staticmethod
    def _set(wanted: tuple[dict[int, Any], Any]) -> None:
        for number, handler in wanted[0].items():
            if handler is not None and _signal.getsignal(number) is not handler:
                _set_handler(number, handler)
        _set_mask(_signal.SIG_SETMASK, wanted[1])

    def set_aside(self) -> Any:
        if not self.changed:
            return None
        aside = self._read()
        self.changed = False
        self._set(self._own)
        return aside

    def bring_back(self, aside: Any) -> None:
        if aside is not None:
            self._set(aside)
            self.changed = True


#: Functions of `os` that change settings of the kernel, which native code puts back, or where that
#: is not allowed any more ends the process.
_SETTERS = (
    *("umask", "sched_setaffinity"),
    *("setuid", "seteuid", "setreuid", "setresuid", "setgid", "setegid", "setregid", "setresgid"),
    *("setgroups", "initgroups"),
)
#: What they do can't be undone: the process ends with the task. Descriptors that `closerange` closes
#: are most likely haz's own, too.
_FOR_GOOD = ("chroot", "unshare", "setns", "closerange")
#: What they have changed can't be undone either, but by root.
_PRIORITY = ("nice", "setpriority")
#: Greatest descriptor of a standard stream.
_LAST_STREAM = 2


def _pass_for(function: Callable[..., Any], original: Callable[..., Any]) -> None:
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(function, name, getattr(original, name, None))


def _files_of_streams() -> list[tuple[int, int] | None]:
    """What lies under the descriptors of the standard streams; None: nothing."""
    found: list[tuple[int, int] | None] = []
    for fd in range(_LAST_STREAM + 1):
        try:
            status = os.fstat(fd)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


class ProcessState:
    """The state of this worker process before its first task, and what becomes of it.

    A zygote makes it for the workers that it will fork; see `begin`.
    """

    def __init__(self, errors: _TaskStream) -> None:
        self._errors = errors
        #: Before a task has touched them; None: none has.
        self._own_files: list[tuple[int, int] | None] | None = None
        self.keep()
        self._signals = _Signals()
        _signal.signal = self._noting(_signal.signal)
        _signal.pthread_sigmask = self._noting(_signal.pthread_sigmask)
        for name in (*_SETTERS, *_PRIORITY, *_FOR_GOOD):
            function = getattr(os, name, None)
            if function is not None:
                noting = self._noting(function)
                setattr(os, name, noting)
                setattr(sys.modules["posix"], name, noting)
        self._ends = False
        self._own_priority = os.getpriority(os.PRIO_PROCESS, 0)
        self._watch_streams()

    def _watch_streams(self) -> None:
        """Note where a task closes or replaces what lies under its standard streams."""
        own_close, own_dup2 = os.close, os.dup2

        def note() -> None:
            if self._own_files is None:
                self._own_files = _files_of_streams()
            _native.note_change()

        def close(fd: int) -> None:
            if fd.__class__ is int and fd <= _LAST_STREAM:
                note()
            own_close(fd)

        def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
            if fd2.__class__ is int and fd2 <= _LAST_STREAM:
                note()
            return own_dup2(fd, fd2, inheritable)

        for name, noting in (("close", close), ("dup2", dup2)):
            _pass_for(noting, getattr(os, name))
            setattr(os, name, noting)
            setattr(sys.modules["posix"], name, noting)

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        signals = self._signals if function.__module__ == "_signal" else None
        is_for_good = function.__name__ in _FOR_GOOD

        def noting(*args: Any, **kwargs: Any) -> Any:
            if signals is not None:
                signals.changed = True
            _native.note_change()
            done = function(*args, **kwargs)
            if is_for_good:
                self._ends = True
            return done

        _pass_for(noting, function)
        return noting

    def keep(self) -> None:
        """Take the present state as that of the process, to which tasks' changes are put back."""
        self._own = {name: part[0]() for name, part in _PARTS.items()}

    def begin(self) -> None:
        """In the worker: its streams and the collector are not those of its zygote."""
        for name in ("streams", "gc"):
            self._own[name] = _PARTS[name][0]()
        self._signals.begin()

    def flush(self, ended: bool) -> None:
        """Write out what the streams hold; `ended`: that was all of the task."""
        if ended:
            try:
                self._errors.end_task()
                if _to_driver is not None:
                    _to_driver.end_line()
            except Exception:
                pass  # its descriptor was closed
        for name in ("stdout", "stderr"):
            stream = sys.__dict__.get(name)
            try:
                if stream is not None:
                    stream.flush()
            except Exception:
                pass  # the task's own stream, in whatever state

    def put_back(self, imported: bool) -> None:
        """Put back what a task has changed; see the module for what stays if it `imported`."""
        self.flush(False)
        for name, (read, change) in _OF_THE_PROCESS.items():
            if read() != self._own[name]:
                change(self._own[name])
        for name, (read, change) in _OF_MODULES_TOO.items():
            now = read()
            if now == self._own[name]:
                continue
            if imported:
                self._own[name] = now
            else:
                change(self._own[name])
        self._signals.put_back()
        is_changed = (
            self._own_files not in (None, _files_of_streams())
            or os.getpriority(os.PRIO_PROCESS, 0) != self._own_priority
        )
        if self._ends or is_changed:
            _native.stop_after_task()

    def set_aside(self) -> Any:
        """Put all back for a task that runs in the middle of another; what that one had."""
        aside = {}
        for name, (read, change) in _PARTS.items():
            now = read()
            if now != self._own[name]:
                aside[name] = now
                change(self._own[name])
        return aside, self._signals.set_aside()

    def bring_back(self, aside: Any) -> None:
        """The outer task goes on, with what `set_aside` returned."""
        changes, signals = aside
        for name, (_, change) in _PARTS.items():
            if name in changes:
                change(changes[name])
        self._signals.bring_back(signals)
