"""What a call prints, displays and publishes: kept for its reply, and sent on while it runs."""

from __future__ import annotations

import itertools
import operator
import sys
import threading
import time

from haz.ipyparallel._output_channel import OutputSender, dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Output"]

#: Seconds for which output is gathered before it is sent: a short call ends before.
_GATHER_S = 0.01
#: Seconds after which the thread that sends output ends, where there is none.
_IDLE_S = 1.0
#: Text is sent in pieces of at most so many characters.
_MOST_CHARACTERS = 1 << 20
_TEXTS = ("stdout", "stderr")
_kind_of = operator.itemgetter(0)
_what = operator.itemgetter(1)


class _Stream:
    """Stands for `sys.stdout` or `sys.stderr`."""

    encoding = "utf-8"
    errors = "strict"
    closed = False
    newlines: str | None = None
    line_buffering = False

    def __init__(self, name: str, number: int, output: Output) -> None:
        self.name = f"<{name}>"
        self._kind = name
        self._number = number
        self._output = output

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._output.add(self._kind, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._number


class Output:
    """What the running call prints, displays and publishes. Thread-safe.

    A thread sends it to the client as it comes; it is there as long as there is something to send.

    Parameters
    ----------
    uuid
        Who this engine is.
    """

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self._lock = threading.Lock()
        self._parts: list[tuple[str, Any]] = []
        self._data: dict[str, Any] = {}
        self._call_id: str | None = None
        self._sent = 0
        self._senders: dict[str, OutputSender] = {}
        self._thread: threading.Thread | None = None
        self._is_awake = False
        self._wake = threading.Event()
        self.stdout = _Stream("stdout", 1, self)
        self.stderr = _Stream("stderr", 2, self)

    def install(self) -> None:
        """Let what is printed come here."""
        sys.stdout = self.stdout
        sys.stderr = self.stderr

    def begin(self, call_id: str) -> None:
        """What comes now is of this call."""
        self._call_id = call_id

    def add(self, kind: str, what: Any) -> None:
        """Add a part: "stdout" and "stderr" text, "display" a dict of formats."""
        self._parts.append((kind, what))
        if not self._is_awake and self._call_id is not None:
            self._awake()

    def publish(self, data: dict[str, Any]) -> None:
        """Add to the data of the call."""
        self._data.update(data)
        self.add("data", dict(data))

    def clear_displays(self) -> None:
        """Forget what was displayed."""
        with self._lock:
            sent, unsent = self._parts[: self._sent], self._parts[self._sent :]
            sent = [part for part in sent if part[0] != "display"]
            self._sent = len(sent)
            self._parts = sent + [part for part in unsent if part[0] != "display"]
        self.add("clear", None)

    def take(self) -> dict[str, Any] | None:
        """End the call. What came since it began: {stdout, stderr, outputs, data}; None for nothing."""
        self._call_id = None
        if not self._parts:
            return None
        with self._lock:
            parts, self._parts = self._parts, []
            data, self._data = self._data, {}
            self._sent = 0
        return {
            "stdout": "".join(text for kind, text in parts if kind == "stdout"),
            "stderr": "".join(text for kind, text in parts if kind == "stderr"),
            "outputs": [what for kind, what in parts if kind == "display"],
            "data": data,
        }

    # ---- sending ----------------------------------------------------------------------------

    def _awake(self) -> None:
        with self._lock:
            if self._is_awake:
                return
            self._is_awake = True
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._send_all, name="haz-output", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def _send_all(self) -> None:
        while True:
            if not self._wake.wait(_IDLE_S):
                with self._lock:
                    if not self._is_awake:
                        self._thread = None
                        return
                continue
            time.sleep(_GATHER_S)
            call_id, parts = self._unsent()
            if call_id is not None:
                self._send(call_id, parts)

    def _unsent(self) -> tuple[str | None, list[tuple[str, Any]]]:
        """The running call and what of its output was not sent; None: there is nothing."""
        with self._lock:
            call_id, parts = self._call_id, self._parts[self._sent :]
            if call_id is None or not parts:
                self._wake.clear()
                self._is_awake = False
                return None, []
            self._sent += len(parts)
            return call_id, parts

    def _send(self, call_id: str, parts: list[tuple[str, Any]]) -> None:
        sender = self._sender_to(call_id)
        for frame in _frames(call_id, self._uuid, parts) if sender.is_open else ():
            while self._call_id == call_id and sender.is_open:
                if sender.try_send(frame):
                    break
                time.sleep(_GATHER_S)  # the client is slow: the reply will have all

    def _sender_to(self, call_id: str) -> OutputSender:
        token = call_id.partition("-")[0]
        sender = self._senders.get(token)
        if sender is None:
            for old, each in list(self._senders.items()):
                if not each.is_wanted():
                    del self._senders[old]
            sender = self._senders[token] = OutputSender(token)
        return sender


def _frames(call_id: str, uuid: str, parts: list[tuple[str, Any]]) -> list[bytes]:
    """Parts as bytes: those that can't be pickled are left out, and long text is cut."""
    frames = []
    for kind, run in itertools.groupby(parts, key=_kind_of):
        for what in (
            _pieces("".join(text for _, text in run)) if kind in _TEXTS else map(_what, run)
        ):
            frame = dumps((call_id, uuid, (kind, what)))
            if frame is not None:
                frames.append(frame)
    return frames


def _pieces(text: str) -> list[str]:
    return [text[i : i + _MOST_CHARACTERS] for i in range(0, len(text), _MOST_CHARACTERS)]
