"""Queues between processes that lie in shared memory, and travel in pickles.

What is put is there at once: no thread sends it, so it neither changes any more nor is lost with its
process, and an error of pickling is one of `put`. A process that is killed, also in the middle of a
call, keeps nobody from the queue.
"""

from __future__ import annotations

import operator
import os
import threading
from multiprocessing import queues as standard

from haz import _native
from haz._core.descriptors import open_descriptor, send_descriptor
from haz.multiprocessing._blocks import keep_sent
from haz.multiprocessing._items import Pickled, dumps
from haz.multiprocessing._readers import QueueReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

#: Of more it is all the same.
_MOST_ITEMS = 2**32

_making = threading.Lock()


class _SharedQueue:
    """What all queues have."""

    _shared: Any
    _made_reader: QueueReader | None = None
    _closed = False

    def __init__(self, maxsize: int = 0, *, ctx: object = None) -> None:
        self._shared = _native.SharedQueue(min(max(operator.index(maxsize), 0), _MOST_ITEMS))

    def __reduce__(self) -> tuple[Any, ...]:
        keep_sent(self)
        return _open_queue, (type(self), send_descriptor(self._shared.fileno()))

    def _put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        if not self._shared.put(obj, dumps, block, timeout):
            self._shared.put(Pickled(obj), dumps, block, timeout)

    def _get(self, block: bool = True, timeout: float | None = None) -> Any:
        reader = self._made_reader
        if reader is None or reader.pid != os.getpid():
            return self._shared.get(block, timeout)
        return reader.get(block, timeout)

    @property
    def _reader(self) -> QueueReader:
        """For programs that wait for several queues: what they look for in the standard library's."""
        with _making:
            reader = self._made_reader
            if reader is None or reader.pid != os.getpid():
                reader = self._made_reader = QueueReader(self._shared)
            return reader

    def close(self) -> None:
        """Use it no more in this process. What was put stays for others."""
        self._closed = True
        reader = self._made_reader
        if reader is not None and reader.pid == os.getpid():
            reader.close()

    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._shared.qsize()


def _open_queue(cls: type[Any], sent: tuple[int, int, int, int]) -> Any:
    queue: Any = object.__new__(cls)
    queue._shared = _native.SharedQueue.attach(open_descriptor(sent, os.O_RDWR))
    return queue


class Queue(_SharedQueue, standard.Queue):  # type: ignore[type-arg]
    """A queue between processes, threads, tasks and actors of one machine.

    Parameters
    ----------
    maxsize
        Most items at a time; `put` waits while they are there. 0, or less: any number, as far as there
        is memory.

    Thread-safe. Arrays are copied into shared memory, and out of it into memory of the one who gets
    them.
    """

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; wait for room, at most `timeout` seconds.

        Raises
        ------
        queue.Full
            There was no room, or with ``block=False`` is none.
        ValueError
            This process has closed the queue.
        haz.exceptions.SerializationError
            Names the part that can't be pickled.
        MemoryError
            There is no memory for it.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if not self._shared.put(obj, dumps, block, timeout):
            self._put(obj, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item; wait for one, at most `timeout` seconds.

        Raises
        ------
        queue.Empty
            There was none.
        ValueError
            This process has closed the queue.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if self._made_reader is None:
            return self._shared.get(block, timeout)
        return self._get(block, timeout)

    def put_nowait(self, obj: Any) -> None:
        """Put an item, or raise `queue.Full` at once."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """Take the oldest item, or raise `queue.Empty` at once."""
        return self.get(False)

    def qsize(self) -> int:
        """How many items are there now."""
        size: int = self._shared.qsize()
        return size

    def full(self) -> bool:
        """Whether there are `maxsize` items."""
        full: bool = self._shared.full()
        return full

    def join_thread(self) -> None:
        """Return: what was put is there already. The queue has to be closed."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Do nothing: no thread sends what was put."""


class JoinableQueue(Queue, standard.JoinableQueue):  # type: ignore[type-arg]
    """A queue that counts what was put and not marked as done."""

    put = Queue.put

    def task_done(self) -> None:
        """Say that one item is done; ValueError if all that were put are."""
        if not self._shared.mark_done():
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until all items that were put are done."""
        self._shared.wait_until_done()


class SimpleQueue(_SharedQueue, standard.SimpleQueue):  # type: ignore[type-arg]
    """A queue that only puts and gets."""

    def put(self, obj: Any) -> None:
        """Put an item, as `Queue.put` does; OSError if this process has closed the queue."""
        self._check()
        self._put(obj)

    def get(self) -> Any:
        """Take the oldest item; wait for one."""
        self._check()
        return self._get()

    def empty(self) -> bool:
        """Whether nothing is in it."""
        self._check()
        return super().empty()

    def _check(self) -> None:
        if self._closed:
            raise OSError("handle is closed")
