"""What programs of the standard library look for in a queue: ``queue._reader``, for ``connection.wait``."""

from __future__ import annotations

import os
import threading
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["QueueReader"]

#: How often it looks whether another process has taken what was told of.
_LOOK_S = 0.1


class QueueReader:
    """A queue's end in this process as a connection: ready while there are items. Thread-safe.

    A queue in shared memory has no descriptor that tells of items: a thread watches it instead.
    """

    readable = True
    writable = False

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self.pid = os.getpid()
        self._watch = _Watch(shared)  # all that its thread keeps
        thread = threading.Thread(target=self._watch.run, name="haz-queue-reader", daemon=True)
        thread.start()
        weakref.finalize(self, _end, self._watch, thread, self.pid)

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are items; OSError once it is closed."""
        return self._watch.fileno()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item, as `Queue.get` does."""
        try:
            return self._shared.get(block, timeout)
        finally:
            self._watch.look_again()

    def recv(self) -> Any:
        """Take the oldest item; wait for one."""
        return self.get()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is an item; wait for one, at most `timeout` seconds, None: for ever."""
        from multiprocessing.connection import wait

        self._watch.look_again()
        return bool(self._shared.qsize() or wait([self.fileno()], timeout))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._watch.is_over

    def close(self) -> None:
        """Tell no more of items."""
        self._watch.end()


def _end(watch: _Watch, thread: threading.Thread, pid: int) -> None:
    if pid != os.getpid():
        return  # of the process that this one is a fork of
    watch.end()
    if thread is not threading.current_thread():
        thread.join()


class _Watch:
    """Of a queue, by a thread."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        #: Reentrant, since any of what is done with it may run finalizers.
        self._lock = threading.RLock()
        self._taken = threading.Event()
        self._is_told = False
        self.is_over = False

    def fileno(self) -> int:
        if self.is_over:
            raise OSError("handle is closed")
        return self._descriptor

    def run(self) -> None:
        while not self.is_over:
            if self._shared.watch_for_item():
                self._tell()
                while not self._taken.wait(_LOOK_S):
                    self.look_again()
        os.close(self._descriptor)

    def _tell(self) -> None:
        with self._lock:
            self._taken.clear()
            if self._shared.qsize() and not self.is_over:
                os.eventfd_write(self._descriptor, 1)
                self._is_told = True
            else:
                self._taken.set()

    def look_again(self) -> None:
        """Tell no more of items, if there are none any more."""
        with self._lock:
            if self._is_told and not self._shared.qsize():
                os.eventfd_read(self._descriptor)
                self._is_told = False
                self._taken.set()

    def end(self) -> None:
        with self._lock:
            self.is_over = True
            self._taken.set()
        self._shared.wake_watchers()
