"""What the ``*_async`` calls of a pool return, and ``imap``."""

from __future__ import annotations

import itertools
import sys
import threading
from _thread import allocate_lock
from collections import deque
from multiprocessing import TimeoutError

from haz import _native
from haz._faces.call import Call, PoolCall
from haz._faces.outcomes import pool_error
from haz._faces.private import PLAIN, writable
from haz._faces.worker import RaisedInCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from haz._faces.progress import Shown

__all__ = ["ApplyResult", "AsyncResult", "IMapIterator", "MapResult"]

#: Guards making what is waited for, and parts of results. Nothing else is locked inside.
_lock = allocate_lock()


class AsyncResult(PoolCall, Call):
    """The result of an ``*_async`` call. Thread-safe."""

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise the call's error.

        Raises
        ------
        multiprocessing.TimeoutError
            After `timeout` seconds.
        ValueError
            When the pool was terminated first.
        ActorDiedError
            When the process that ran it died.
        """
        if not self._is_done:
            self.wait(timeout)
            if not self._is_done:
                raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, `timeout` seconds at most."""
        with _lock:
            event = self._event
            if event is None:
                event = self._event = threading.Event()
        if not self._is_done:
            event.wait(timeout)

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._is_done

    def successful(self) -> bool:
        """Whether it ended without an error; ValueError where it has not ended."""
        if not self._is_done:
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def deliver(self, value: Any, error: BaseException | None) -> None:
        self.code = self.args = self.kwargs = None
        if error is None and type(value) in PLAIN and self._callback is None:
            self._end(value, None)
        else:
            self._finish(*_plain(value, error))

    @staticmethod
    def deliver_each(calls: list[Call], values: Sequence[Any]) -> None:
        """Deliver what the first of these calls returned."""
        place = 0
        while True:
            place = _native.deliver_plain(calls, values, place, AsyncResult, PLAIN)  # type: ignore[arg-type]
            if place >= len(values) or place >= len(calls):
                return
            try:
                calls[place].deliver(values[place], None)
            except BaseException:
                sys.excepthook(*sys.exc_info())  # of a callback; the others wait for theirs
            place += 1

    def _end(self, value: Any, error: BaseException | None) -> None:
        # In this order: whoever waits makes the event first, and looks at the mark then.
        self._value, self._error = value, error
        self._is_done = True
        if self._event is not None:
            self._event.set()

    def _finish(self, value: Any, error: BaseException | None) -> None:
        try:
            if error is None:
                if self._callback is not None:
                    self._callback(value)
            elif self._error_callback is not None:
                self._error_callback(error)
        finally:
            self._callback = self._error_callback = None
            self._end(value, error)


#: The standard library's name of it.
ApplyResult = AsyncResult


class MapResult(AsyncResult):
    """The result of a ``map_async`` or ``starmap_async``."""

    def begin_chunks(
        self, chunks: list[ChunkCall], sizes: list[int], shown: Shown | None = None
    ) -> None:
        """Be the result of these calls, each of which returns a list for so many items.

        `shown` is told of their progress.
        """
        self._sizes = sizes
        self._shown = shown
        self._ended = self._failed = 0
        self._chunks: list[Any] = [None] * len(chunks)
        self._left = len(chunks)
        self._first_error: BaseException | None = None
        self._error_place = len(chunks)
        if not chunks:
            self._finish([], None)

    def take_chunk(self, place: int, value: Any, error: BaseException | None) -> None:
        """Take the outcome of one of them."""
        with _lock:
            self._chunks[place] = value
            self._left -= 1
            if error is not None and place < self._error_place:  # whichever comes first
                self._first_error, self._error_place = error, place
            is_last = self._left == 0
            self._ended += self._sizes[place]
            self._failed += error is not None
        try:
            if self._shown is not None:
                self._shown.update(self._ended, self._failed)
        finally:
            if is_last:
                self._finish_all()

    def _finish_all(self) -> None:
        shown, self._shown = self._shown, None
        chunks, self._chunks = self._chunks, []
        if self._first_error is None:
            self._finish(list(itertools.chain.from_iterable(chunks)), None)
        else:
            self._finish(None, self._first_error)
        if shown is not None:
            shown.close()


class ChunkCall(Call):
    """A call for several items of a ``map`` or ``imap``; `take` gets its place and its outcome."""

    def __init__(
        self, code: Any, args: Any, place: int, take: Callable[[int, Any, Any], object]
    ) -> None:
        self.code = code
        self.args = args
        self.kwargs = None
        self._place = place
        self._take = take
        #: The result that it is a part of, if it is of a ``map``.
        self.result: MapResult | None = None

    def deliver(self, value: Any, error: BaseException | None) -> None:
        take, self._take = self._take, _taken
        if self.result is not None and error is None and type(value) is tuple:
            value, may_hold_arrays = value
            take(self._place, *(_plain(value, None) if may_hold_arrays else (value, None)))
        else:
            take(self._place, *_plain(value, error, is_chunk=True))
        self.code = self.args = self.result = None


def _taken(place: int, value: Any, error: BaseException | None) -> None:
    raise AssertionError("an outcome came twice")


def _plain(
    value: Any, error: BaseException | None, is_chunk: bool = False
) -> tuple[Any, BaseException | None]:
    try:
        if error is not None:
            return None, pool_error(error, is_chunk)
        if type(value) in PLAIN:
            return value, None
        if type(value) is RaisedInCall:
            return None, pool_error(value)
        return writable(value), None
    except Exception as raised:  # as where there is no memory: nobody may wait for ever
        return None, raised


class IMapIterator:
    """What ``imap`` and ``imap_unordered`` return: results, one by one. Thread-safe.

    It reads its iterable as it is read itself, a few chunks ahead.
    """

    def __init__(
        self,
        submit: Callable[[Any, int, Callable[[int, Any, Any], object]], object],
        chunks: Iterator[Any],
        ahead: int,
        *,
        ordered: bool,
        shown: Shown | None = None,
    ) -> None:
        self._shown = shown
        self._done = self._failed = 0
        self._submit = submit
        self._chunks = chunks
        self._ahead = ahead
        self._ordered = ordered
        self._lock = threading.Condition()
        self._next_submitted = 0
        self._next_taken = 0
        self._all_submitted = False
        self._arrived: dict[int, tuple[Any, BaseException | None]] = {}
        self._items: deque[tuple[bool, Any]] = deque()
        self.feed()

    def feed(self, everything: bool = False) -> None:
        """Submit more chunks: as many as may be ahead, or all."""
        while True:
            with self._lock:
                under_way = self._next_submitted - self._next_taken
                if self._all_submitted or (under_way >= self._ahead and not everything):
                    return
                try:
                    chunk = next(self._chunks, None)
                except Exception as error:  # of the iterable: the last result
                    self._arrived[self._next_submitted] = (None, error)
                    self._next_submitted += 1
                    chunk = None
                if chunk is None:
                    self._all_submitted = True
                    self._lock.notify_all()
                    return
                place = self._next_submitted
                self._next_submitted += 1
            try:
                self._submit(chunk, place, self._take)
            except Exception as error:
                self._take(place, None, error)

    def _take(self, place: int, value: Any, error: BaseException | None) -> None:
        with self._lock:
            self._arrived[place] = (value, error)
            self._lock.notify_all()

    def _arrived_place(self) -> int | None:
        if self._ordered:
            return self._next_taken if self._next_taken in self._arrived else None
        return next(iter(self._arrived), None)

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result; `multiprocessing.TimeoutError` if it takes longer."""
        try:
            is_value, item = self._next(timeout)
        except StopIteration:
            self._end_shown()
            raise
        if self._shown is not None:
            self._done += 1
            self._failed += not is_value
            self._shown.update(self._done, self._failed)
        if is_value:
            return item
        raise item

    def _end_shown(self) -> None:
        shown, self._shown = self._shown, None
        if shown is not None:
            shown.close()

    def __del__(self) -> None:
        self._end_shown()

    def _next(self, timeout: float | None) -> tuple[bool, Any]:
        if not self._items:
            self.feed()
        with self._lock:
            while not self._items:
                if self._all_submitted and self._next_taken == self._next_submitted:
                    raise StopIteration
                if not self._lock.wait_for(self._may_go_on, timeout):
                    raise TimeoutError
                self._unpack_next()
            outcome = self._items.popleft()
        if not self._items:
            self.feed()
        return outcome

    def _may_go_on(self) -> bool:
        is_over = self._all_submitted and self._next_taken == self._next_submitted
        return is_over or self._arrived_place() is not None

    def _unpack_next(self) -> None:
        place = self._arrived_place()
        if place is None:
            return  # another thread took the last one
        value, error = self._arrived.pop(place)
        self._next_taken += 1
        if value is not None:
            results, error = value
            self._items.extend((True, result) for result in results)
            if error is not None:
                error = pool_error(error)
        if error is not None:
            self._items.append((False, error))
