"""A worker of a long-lived node becomes a worker of a C++ program that has joined the node."""

from __future__ import annotations

import os

from haz._core.zygote import NODE_MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["MARK", "enter"]

#: What a function's code begins with that needs such a worker; with_program() of src/api/program.h
#: writes it.
MARK = b"haz-exec"

_WORKER_ARGUMENT = b"--haz-worker"


def enter(code: bytes, slot: int, process: int, arena_fd: int) -> NoReturn:
    """Run the program that `code` names in place of this process, which has begun nothing yet.

    Raises RuntimeError where that is impossible: the file is gone, or was replaced.
    """
    import signal

    size = int.from_bytes(code[len(MARK) : len(MARK) + 4], "little")
    described = code[len(MARK) + 4 : len(MARK) + 4 + size]
    _, path, identity, folder, count, *rest = described.split(b"\0")[:-1]
    arguments, variables = rest[: int(count)], rest[int(count) :]
    shown = os.fsdecode(path)
    _check_file(path, shown, identity)
    try:
        os.chdir(folder)
    except OSError:
        pass  # gone since
    os.set_inheritable(arena_fd, True)
    # Signals wait until the program says what they do.
    signal.pthread_sigmask(signal.SIG_SETMASK, set(signal.Signals) - {signal.SIGKILL})
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    place = f"{slot}:{process}:{arena_fd}".encode()
    environ = dict(variable.split(b"=", 1) for variable in variables if b"=" in variable)
    environ.pop(NODE_MARK, None)
    if NODE_MARK in os.environb:  # by which the node finds what is left of it
        environ[NODE_MARK] = os.environb[NODE_MARK]
    try:
        os.execve(path, [path, _WORKER_ARGUMENT, place, *arguments], environ)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.set_inheritable(arena_fd, False)
        raise RuntimeError(f"a worker can't become the program {shown}: {error.strerror}") from None


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
