"""Ends of pipes that travel in pickles, and ``Pipe``."""

from __future__ import annotations

import copyreg
import errno
import fcntl
import os
import stat
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd

from haz._core.descriptors import open_descriptor, send_descriptor
from haz.multiprocessing._blocks import keep_sent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Pipe"]


class _DuplexConnection(Connection):
    """One end of two pipes. A socket pair, as the standard library has it, can't be opened again."""

    def __init__(self, reader: int, writer: int) -> None:
        self._writer: int | None = writer
        super().__init__(reader)

    # Kept as defaults, since it may run at the interpreter's end.
    def _close(self, close: Any = os.close) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            close(writer)
        close(self._handle)  # type: ignore[attr-defined]

    def _send(self, buf: Any, *args: Any) -> None:
        assert self._writer is not None
        remaining = memoryview(buf)
        while remaining:
            remaining = remaining[os.write(self._writer, remaining) :]


def Pipe(duplex: bool = True) -> tuple[Any, Any]:  # noqa: N802 - the standard library's name
    """Return two connections. What is sent to one is received from the other.

    With ``duplex=False`` the first one only receives, and the second one only sends.
    """
    if not duplex:
        return connection.Pipe(duplex=False)
    reader, other_writer = os.pipe()
    try:
        other_reader, writer = os.pipe()
    except BaseException:
        os.close(reader)
        os.close(other_writer)
        raise
    return _DuplexConnection(reader, writer), _DuplexConnection(other_reader, other_writer)


def _reduce(end: Any) -> tuple[Any, ...]:
    if type(end) is _DuplexConnection and get_spawning_popen() is not None:
        # A process that is being started gets copies, and the program may close its own at once.
        assert end._writer is not None
        return _take_duplex, (DupFd(end.fileno()), DupFd(end._writer))
    keep_sent(end)
    handle = end.fileno()
    if not stat.S_ISFIFO(os.fstat(handle).st_mode):
        raise TypeError(
            f"{end!r} is one end of a socket, and can't be sent: use haz.multiprocessing.Pipe()"
        )
    if type(end) is _DuplexConnection:
        return _open_duplex, (send_descriptor(handle), send_descriptor(end._writer))  # type: ignore[arg-type]
    return _open, (send_descriptor(handle), end.readable, end.writable)


def _take_duplex(reader: Any, writer: Any) -> Any:
    return _DuplexConnection(reader.detach(), writer.detach())


def _open(sent: tuple[int, int, int, int], readable: bool, writable: bool) -> Any:
    handle = _open_reader(sent) if readable else _open_writer(sent)
    return Connection(handle, readable, writable)


def _open_duplex(reader: tuple[int, int, int, int], writer: tuple[int, int, int, int]) -> Any:
    handle = _open_reader(reader)
    try:
        return _DuplexConnection(handle, _open_writer(writer))
    except BaseException:
        os.close(handle)
        raise


def _blocking(descriptor: int) -> int:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    return descriptor


def _open_reader(sent: tuple[int, int, int, int]) -> int:
    # Without O_NONBLOCK it would wait for somebody who writes.
    return _blocking(open_descriptor(sent, os.O_RDONLY | os.O_NONBLOCK))


def _open_writer(sent: tuple[int, int, int, int]) -> int:
    try:
        return _blocking(open_descriptor(sent, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    reader, writer = os.pipe()  # nobody reads: what is written breaks the pipe
    os.close(reader)
    return writer


copyreg.pickle(Connection, _reduce)
copyreg.pickle(_DuplexConnection, _reduce)
