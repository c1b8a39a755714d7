"""``Pool`` with the interface of ``multiprocessing.Pool``, its processes being actors.

What it adds to the standard one: lambdas, closures and notebook functions work; big arrays are
shared and not copied; a call whose process dies raises, and the pool goes on; so does a result
that is waited for when the pool is terminated. As in the standard one an ``imap`` goes on after
``close()``, but its iterable is read as results are taken, so that it may be endless.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from multiprocessing import TimeoutError
from weakref import WeakSet

from haz._core.actor_api import kill
from haz._core.api import cluster_resources, put
from haz._core.lifecycle import init, is_initialized
from haz._core.options import check_int
from haz._core.remote import remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Any

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]

#: Chunks of an ``imap`` that are submitted for each process before their results are taken.
_AHEAD = 2


class _PoolActor:
    """One process of a pool."""

    def __init__(self, initializer: Callable[..., object] | None, args: tuple[Any, ...]) -> None:
        if initializer is not None:
            initializer(*args)

    def apply(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)

    def map(self, function: Any, chunk: list[tuple[Any, ...]]) -> list[Any]:
        return [function(*args) for args in chunk]

    def map_until_error(
        self, function: Any, chunk: list[tuple[Any, ...]]
    ) -> tuple[list[Any], BaseException | None]:
        results = []
        for args in chunk:
            try:
                results.append(function(*args))
            except Exception as error:
                if not results:
                    raise
                return results, error
        return results, None


class _Call:
    """One call of an actor of the pool, and who is told of its end."""

    __slots__ = ("args", "done", "method")

    def __init__(
        self,
        method: str,
        args: tuple[Any, ...],
        done: Callable[[Any, BaseException | None], None],
    ) -> None:
        self.method = method
        self.args = args
        self.done = done


class _Slot:
    """One process of the pool: an actor, replaced after its number of calls or its death."""

    def __init__(self, make: Callable[[], Any], max_calls: int | None) -> None:
        self._make = make
        self._max_calls = max_calls
        self.actor: Any = make()
        self._calls = 0

    def start(self, call: _Call) -> Future[Any]:
        if self._max_calls is not None and self._calls >= self._max_calls:
            self.replace()
        self._calls += 1
        ref = getattr(self.actor, call.method).remote(*call.args)
        future: Future[Any] = ref.future()
        return future

    def replace(self) -> None:
        self.actor = self._make()  # the old one ends with its handle
        self._calls = 0


class _Dispatcher:
    """Gives each process its next call when it has ended one. Thread-safe."""

    def __init__(self, make: Callable[[], Any], processes: int, max_calls: int | None) -> None:
        self._lock = threading.Condition(threading.RLock())
        self._slots = [_Slot(make, max_calls) for _ in range(processes)]
        self._idle = list(self._slots)
        self._waiting: deque[_Call] = deque()
        self._running: dict[_Slot, _Call] = {}
        self._dispatching = False
        self.terminated = False

    def submit(self, call: _Call) -> None:
        with self._lock:
            if self.terminated:
                raise ValueError("Pool not running: it was terminated")
            self._waiting.append(call)
        self._dispatch()

    def _dispatch(self) -> None:
        """Start what can be; in one thread at a time, and not deeper with each call that ends."""
        while True:
            with self._lock:
                if self._dispatching or not self._waiting or not self._idle:
                    return
                self._dispatching = True
                slot, call = self._idle.pop(), self._waiting.popleft()
                self._running[slot] = call
            try:
                self._start(slot, call)
            finally:
                with self._lock:
                    self._dispatching = False

    def _start(self, slot: _Slot, call: _Call) -> None:
        def on_done(future: Future[Any]) -> None:
            error = future.exception()
            self._ended(slot, call, None if error is not None else future.result(), error)

        try:
            future = slot.start(call)
        except Exception as error:
            self._ended(slot, call, None, error)
        else:
            future.add_done_callback(on_done)

    def _ended(self, slot: _Slot, call: _Call, value: Any, error: BaseException | None) -> None:
        with self._lock:
            if self._running.pop(slot, None) is None:
                return  # terminated meanwhile, and told so
            if _is_death(error):
                try:
                    slot.replace()
                except RuntimeError:
                    pass  # haz was shut down
            self._idle.append(slot)
        try:
            call.done(value, error)
        finally:
            with self._lock:
                self._lock.notify_all()
            self._dispatch()

    def wait_until_idle(self) -> None:
        with self._lock:
            self._lock.wait_for(lambda: not self._waiting and not self._running)

    def terminate(self) -> None:
        with self._lock:
            if self.terminated:
                return
            self.terminated = True
            calls = [*self._running.values(), *self._waiting]
            self._running.clear()
            self._waiting.clear()
            slots, self._slots, self._idle = self._slots, [], []
            self._lock.notify_all()
        if is_initialized():
            for slot in slots:
                kill(slot.actor)
        error = ValueError("the pool was terminated before this result was there")
        for call in calls:
            call.done(None, error)

    def release(self) -> None:
        """Let the processes end, which have nothing to do any more."""
        with self._lock:
            self.terminated = True
            self._slots, self._idle = [], []


def _is_death(error: BaseException | None) -> bool:
    from haz.exceptions import ActorDiedError, TaskError

    return isinstance(error, ActorDiedError) and not isinstance(error, TaskError)


class AsyncResult:
    """The result of an ``*_async`` call. Thread-safe."""

    def __init__(
        self,
        num_chunks: int,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        *,
        is_map: bool,
    ) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._chunks: list[Any] = [None] * num_chunks
        self._left = num_chunks
        self._error: BaseException | None = None
        self._callback = callback
        self._error_callback = error_callback
        self._is_map = is_map
        if num_chunks == 0:
            self._finish()

    def _done(self, place: int) -> Callable[[Any, BaseException | None], None]:
        def done(value: Any, error: BaseException | None) -> None:
            with self._lock:
                self._chunks[place] = value
                self._left -= 1
                if self._error is None:
                    self._error = error
                if self._left != 0:
                    return
            self._finish()

        return done

    def _finish(self) -> None:
        error = self._error
        try:
            if error is None and self._callback is not None:
                self._callback(self._value())
            elif error is not None and self._error_callback is not None:
                self._error_callback(error)
        finally:
            self._event.set()

    def _value(self) -> Any:
        if not self._is_map:
            return self._chunks[0]
        return list(itertools.chain.from_iterable(self._chunks))

    def get(self, timeout: float | None = None) -> Any:
        """Return the result, or raise the call's error.

        Raises `multiprocessing.TimeoutError` after `timeout` seconds, and ValueError when the pool
        was terminated first.
        """
        if not self._event.wait(timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, `timeout` seconds at most."""
        self._event.wait(timeout)

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Whether it ended without an error; ValueError where it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None


class IMapIterator:
    """What ``imap`` and ``imap_unordered`` return: results, one by one. Thread-safe."""

    def __init__(
        self,
        dispatcher: _Dispatcher,
        function: Any,
        chunks: Iterator[list[tuple[Any, ...]]],
        ahead: int,
        *,
        ordered: bool,
    ) -> None:
        self._dispatcher = dispatcher
        self._function = function
        self._chunks = chunks
        self._ahead = ahead
        self._ordered = ordered
        self._lock = threading.Condition()
        self._next_submitted = 0
        self._next_taken = 0
        self._all_submitted = False
        self._arrived: dict[int, tuple[Any, BaseException | None]] = {}
        self._items: deque[tuple[bool, Any]] = deque()
        self._feed()

    def _feed(self, everything: bool = False) -> None:
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
            self._submit(place, chunk)

    def _submit(self, place: int, chunk: list[tuple[Any, ...]]) -> None:
        def done(value: Any, error: BaseException | None) -> None:
            with self._lock:
                self._arrived[place] = (value, error)
                self._lock.notify_all()

        try:
            self._dispatcher.submit(_Call("map_until_error", (self._function, chunk), done))
        except ValueError as error:
            done(None, error)

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
        if not self._items:
            self._feed()
        with self._lock:
            while not self._items:
                if self._all_submitted and self._next_taken == self._next_submitted:
                    raise StopIteration
                if not self._lock.wait_for(lambda: self._arrived_place() is not None, timeout):
                    raise TimeoutError
                self._take()
            is_value, item = self._items.popleft()
        if not self._items:
            self._feed()
        if is_value:
            return item
        raise item

    def _take(self) -> None:
        place = self._arrived_place()
        assert place is not None
        value, error = self._arrived.pop(place)
        self._next_taken += 1
        if value is not None:
            results, error = value
            self._items.extend((True, result) for result in results)
        if error is not None:
            self._items.append((False, error))


class Pool:
    """A pool of processes, which are actors. Thread-safe.

    Parameters
    ----------
    processes
        How many. Default: the CPUs of the node; haz is initialized if it is not.
    initializer, initargs
        Called in each process at its start.
    maxtasksperchild
        Calls after which a process is replaced; None: never. A chunk of a ``map`` is one call.
    context, ray_address
        Without a meaning; accepted.
    ray_remote_args
        Options of the actors: ``{"num_cpus": 1}``. By default they hold no CPUs.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if processes is not None and check_int("processes", processes, -(2**31)) < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None:
            check_int("maxtasksperchild", maxtasksperchild, 1)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not is_initialized():
            init()
        if processes is None:
            processes = max(int(cluster_resources().get("CPU", 1)), 1)
        cls = remote(**{"num_cpus": 0, **(ray_remote_args or {})})(_PoolActor)
        args = tuple(initargs)
        self._processes = processes
        self._closed = False
        self._iterators: WeakSet[IMapIterator] = WeakSet()
        self._dispatcher = _Dispatcher(
            lambda: cls.remote(initializer, args), processes, maxtasksperchild
        )

    # ---- calls ---------------------------------------------------------------------------------

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func(*args, **kwds)`` in a process of the pool; return its result."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start ``func(*args, **kwds)``. Callbacks run in a thread of haz, and should be short."""
        self._check_running()
        result = AsyncResult(1, callback, error_callback, is_map=False)
        call = _Call("apply", (func, tuple(args), dict(kwds or {})), result._done(0))
        self._dispatcher.submit(call)
        return result

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Return ``[func(item) for item in iterable]``, computed in chunks by all processes."""
        result: list[Any] = self.map_async(func, iterable, chunksize).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start a `map`."""
        calls = [(item,) for item in iterable]
        return self._map(func, calls, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Return ``[func(*args) for args in iterable]``, computed as by `map`."""
        result: list[Any] = self.starmap_async(func, iterable, chunksize).get()
        return result

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start a `starmap`."""
        calls = [tuple(args) for args in iterable]
        return self._map(func, calls, chunksize, callback, error_callback)

    def _map(
        self,
        function: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        chunksize: int | None,
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult:
        self._check_running()
        size = _chunk_size(chunksize) or -(-len(calls) // (self._processes * 4)) or 1
        chunks = [list(calls[at : at + size]) for at in range(0, len(calls), size)]
        result = AsyncResult(len(chunks), callback, error_callback, is_map=True)
        shared = put(function) if len(chunks) > 1 else function
        for place, chunk in enumerate(chunks):
            self._dispatcher.submit(_Call("map", (shared, chunk), result._done(place)))
        return result

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """Return an iterator over ``func(item)``, in order; it reads `iterable` as it is read."""
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator:
        """As `imap`, in the order in which results come."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def _imap(
        self, function: Any, iterable: Iterable[Any], chunksize: int, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        size = _chunk_size(chunksize) or 1
        items = ((item,) for item in iterable)
        chunks = iter(lambda: list(itertools.islice(items, size)), [])
        iterator = IMapIterator(
            self._dispatcher, put(function), chunks, self._processes * _AHEAD, ordered=ordered
        )
        self._iterators.add(iterator)
        return iterator

    # ---- the end -------------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def close(self) -> None:
        """Take no more calls; those that were made go on."""
        self._closed = True

    def terminate(self) -> None:
        """End all processes now. Results that are not there yet raise ValueError."""
        self._closed = True
        self._dispatcher.terminate()

    def join(self) -> None:
        """Wait until all calls have ended, and let the processes end. After `close` only."""
        if not self._closed:
            raise ValueError("Pool is still running")
        if self._dispatcher.terminated:
            return
        for iterator in list(self._iterators):
            iterator._feed(everything=True)
        self._dispatcher.wait_until_idle()
        self._dispatcher.release()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.terminate()


def _chunk_size(value: int | None) -> int | None:
    if value is None:
        return None
    if check_int("chunksize", value, -(2**31)) < 1:
        raise ValueError(f"Chunksize must be 1+, not {value}")
    return value
