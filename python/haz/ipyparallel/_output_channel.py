"""The way of output from an engine to a client while a call runs: a Unix socket of the client.

Its name is abstract, and is the first part of the ids of the client's calls: engines need not be told.
Each end makes sure that the other one is of the same user. What does not get through is not lost, since
the reply of a call has all its output.
"""

from __future__ import annotations

import os
import pickle
import selectors
import socket
import struct
import threading

from haz._core.node_address import peer_of
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.ipyparallel._records import HeldMessages

__all__ = ["OutputListener", "OutputSender", "dumps", "listen"]

_LENGTH = struct.Struct("<Q")
_MOST_BYTES = 1 << 30


def _address(token: str) -> str:
    return f"\0haz-output-{token}"


def _is_of_this_user(connection: socket.socket) -> bool:
    return peer_of(connection)[1] == os.geteuid()


def dumps(thing: Any) -> bytes | None:
    """`thing` as bytes; None where that can't be."""
    try:
        return pickle.dumps(thing, protocol=5)
    except Exception:
        pass
    try:
        import cloudpickle

        return bytes(cloudpickle.dumps(thing))
    except Exception:
        return None


class OutputSender:
    """An engine's end. For one thread.

    Attributes
    ----------
    is_open : bool
        Whether there is somebody to send to.
    """

    def __init__(self, token: str) -> None:
        self._left = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.is_open = True
        try:
            self._socket.settimeout(1)
            self._socket.connect(_address(token))
            self._socket.setblocking(False)
            if not _is_of_this_user(self._socket):
                self._close()
        except OSError:
            self._close()

    def try_send(self, frame: bytes) -> bool:
        """Send a frame, or part of it and the rest before the next one; False: there is no room."""
        try:
            if self._left:
                self._left = self._left[self._socket.send(self._left) :]
                if self._left:
                    return False
            data = _LENGTH.pack(len(frame)) + frame
            self._left = data[self._socket.send(data) :]
        except BlockingIOError:
            return False
        except OSError:
            self._close()
        return True

    def is_wanted(self) -> bool:
        """Whether the client is still there; closes the connection where it is not."""
        try:
            if self.is_open and self._socket.recv(1, socket.MSG_PEEK) == b"":
                self._close()
        except BlockingIOError:
            pass
        except OSError:
            self._close()
        return self.is_open

    def _close(self) -> None:
        self.is_open = False
        self._left = b""
        self._socket.close()


class _Incoming:
    """What has come from one engine."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray()

    def read(self) -> list[bytes] | None:
        """The frames that are whole; None at the end of the connection."""
        try:
            data = self.connection.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._buffer += data
        frames = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > _MOST_BYTES:
                return None
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[_LENGTH.size : end]))
            del self._buffer[:end]
        return frames


class OutputListener:
    """A process' end, for all its clients, for one run of haz.

    Attributes
    ----------
    token : str
        How engines find it: what ids of calls begin with, before a "-".

    Raises
    ------
    OSError
        Where there are no such sockets.
    """

    def __init__(self) -> None:
        self.token = os.urandom(8).hex()
        self._held: dict[str, HeldMessages] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(_address(self.token))
            self._socket.listen(128)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise
        self._end, self._told = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="haz-output", daemon=True)
        self._thread.start()

    def watch(self, held: HeldMessages) -> str:
        """Give output to these calls; returns what their ids must begin with, before a "_"."""
        prefix = f"{self.token}-{len(self._held)}"
        self._held[prefix] = held
        return prefix

    def end(self) -> None:
        """Listen no more."""
        self._end.close()
        self._thread.join()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._told, selectors.EVENT_READ)
            is_ended = False
            while not is_ended:
                for key, _ in selector.select():
                    if key.fileobj is self._told:
                        is_ended = True
                    elif key.fileobj is self._socket:
                        self._accept(selector)
                    else:
                        self._read(selector, key.data)
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        if not _is_of_this_user(connection):
            connection.close()
            return
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, _Incoming(connection))

    def _read(self, selector: selectors.BaseSelector, incoming: _Incoming) -> None:
        frames = incoming.read()
        if frames is None:
            selector.unregister(incoming.connection)
            incoming.connection.close()
            return
        for frame in frames:
            try:
                call_id, uuid, part = pickle.loads(frame)
                held = self._held.get(call_id.rpartition("_")[0])
                message = None if held is None else held.get(call_id)
                if message is not None:
                    message.hear(uuid, part)
            except Exception:
                continue  # it can't be read here, and comes with the reply


_current: OutputListener | None = None
_run: Any = None
_lock = threading.Lock()


def listen(held: HeldMessages) -> str:
    """Let output come to these calls while they run; returns what their ids must begin with."""
    global _current, _run
    with _lock:
        if _run is not runtime.engine or _run is None:
            _run = runtime.engine
            try:
                _current = OutputListener()
            except OSError:
                _current = None
            else:
                runtime.at_stop(_current.end)
        listener = _current
        return f"{os.urandom(8).hex()}-0" if listener is None else listener.watch(held)
