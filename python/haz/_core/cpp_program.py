"""A worker of a long-lived node becomes one of a C++ program that has joined the node.

For functions of C++ it becomes the program itself; for those of Python, which the program calls by
name, it stays what it is, in the program's folder, environment and namespace.
"""

from __future__ import annotations

import os

from haz._core.cpp_code import PYTHON_MARK
from haz._core.zygote import NODE_MARK, THREAD_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from haz.engines.native import NativeEngine

__all__ = ["MARK", "enter"]

#: What a function's code begins with that needs such a worker; with_program() of src/api/program.h
#: writes it.
MARK = b"haz-exec"

_WORKER_ARGUMENT = b"--haz-worker"


def enter(code: bytes, engine: NativeEngine, slot: int, process: int, arena_fd: int) -> bytes:
    """Become what the function needs: `code` names the program, and then the function.

    Returns the code of a function of Python. For one of C++ it does not return: the program runs in
    place of this process, which has begun nothing yet. Raises RuntimeError where that is impossible:
    the file is gone, or was replaced.
    """
    size = int.from_bytes(code[len(MARK) : len(MARK) + 4], "little")
    described = code[len(MARK) + 4 : len(MARK) + 4 + size]
    function = code[len(MARK) + 4 + size :]
    name_space, path, identity, folder, count, *rest = described.split(b"\0")[:-1]
    arguments, variables = rest[: int(count)], rest[int(count) :]
    environ = dict(variable.split(b"=", 1) for variable in variables if b"=" in variable)
    environ.pop(NODE_MARK, None)
    if not function.startswith(PYTHON_MARK):
        _check_file(path, os.fsdecode(path), identity)
        _enter_folder(folder)
        _run(path, arguments, environ, f"{slot}:{process}:{arena_fd}".encode(), arena_fd)
    namespace = os.fsdecode(name_space)
    if engine.context()["namespace"] != namespace:  # its first function
        _resemble(folder, environ)
        engine.enter_program({"namespace": namespace})
    return function


def _enter_folder(folder: bytes) -> None:
    try:
        os.chdir(folder)
    except OSError:
        pass  # gone since


def _resemble(folder: bytes, environ: dict[bytes, bytes]) -> None:
    """Be an interpreter that was started in the program's folder, with its environment."""
    import sys

    kept = {NODE_MARK, *(name for name in THREAD_LIMITS if name not in environ)}
    for name in os.environb.keys() - environ.keys() - kept:
        del os.environb[name]
    os.environb.update(environ)
    _enter_folder(folder)
    folders = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*folders, *(path for path in sys.path if path not in folders)]


def _run(
    path: bytes, arguments: list[bytes], environ: dict[bytes, bytes], place: bytes, arena_fd: int
) -> NoReturn:
    import signal

    os.set_inheritable(arena_fd, True)
    # Signals wait until the program says what they do.
    signal.pthread_sigmask(signal.SIG_SETMASK, set(signal.Signals) - {signal.SIGKILL})
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if NODE_MARK in os.environb:  # by which the node finds what is left of it
        environ[NODE_MARK] = os.environb[NODE_MARK]
    try:
        os.execve(path, [path, _WORKER_ARGUMENT, place, *arguments], environ)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.set_inheritable(arena_fd, False)
        raise RuntimeError(
            f"a worker can't become the program {os.fsdecode(path)}: {error.strerror}"
        ) from None


def _check_file(path: bytes, shown: str, identity: bytes) -> None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise RuntimeError(
            f"workers can't run the program {shown}: {error.strerror}. Start it again"
        ) from None
    now = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
    if now.encode() != identity:
        raise RuntimeError(
            f"the program {shown} was replaced since it has joined the node: start it again"
        )
