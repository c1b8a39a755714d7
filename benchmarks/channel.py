"""JSON lines over a pair of pipes between the harness and the child that runs a system.

The pipes are not stdin and stdout, so that whatever a system prints cannot disturb them.
A request is ``{"call": name, "arguments": {...}}``; a reply is ``{"value": ...}`` or
``{"error": text}``.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any


class ChildError(Exception):
    """The child answered with an error: the operation failed, the child lives on."""


class ChildLostError(Exception):
    """The child ended, or did not answer in time."""


class Channel:
    """One end of the pipes.

    Parameters
    ----------
    read_fd, write_fd
        Descriptors that this object owns from now on; children of this process don't get them.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = b""
        self._closed = False
        for fd in (read_fd, write_fd):
            os.set_inheritable(fd, False)

    def close(self) -> None:
        """Close both descriptors; again is harmless."""
        if not self._closed:
            self._closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)

    def call(self, name: str, timeout_s: float, **arguments: Any) -> Any:
        """Send a request and wait for the value of its reply.

        Raises
        ------
        ChildError
            The operation raised.
        ChildLostError
            No reply within ``timeout_s``, or the other end is closed.
        """
        try:
            self.send({"call": name, "arguments": arguments})
            reply = self.receive(timeout_s)
        except TimeoutError:
            raise ChildLostError(f"no answer within {timeout_s:.0f} s") from None
        except (EOFError, OSError):
            raise ChildLostError("the process ended") from None
        if "error" in reply:
            raise ChildError(reply["error"])
        return reply["value"]

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self._write_fd, data) :]

    def receive(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Read one message; EOFError at the end, TimeoutError after ``timeout_s``."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._read_fd], [], [], left)[0]:
                raise TimeoutError
            data = os.read(self._read_fd, 1 << 16)
            if not data:
                raise EOFError
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message
