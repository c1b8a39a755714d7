"""Workers that a face keeps for itself, and the calls that wait for them: `WorkerGroup`.

A worker is an actor, so that its process, with what an initializer has set up, belongs to the group.
Its calls run in their order. While calls are short, several are sent ahead to each worker, and only
some of them are watched: when one has ended, those before it have. What waits behind a call that
turned out to be long is taken back as soon as another worker is free.
"""

from __future__ import annotations

import sys
import threading
from _thread import allocate_lock
from collections import deque
from functools import partial
from time import monotonic

from haz._core.actor_api import kill
from haz._core.api import cancel, get, wait
from haz._core.futures import when_ready
from haz._core.lifecycle import init, is_initialized
from haz._core.remote import remote
from haz._core.runtime import runtime
from haz._faces.worker import GroupWorker
from haz.exceptions import (
    ActorDiedError,
    ActorError,
    ActorUnavailableError,
    TaskCancelledError,
    TaskError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz._core.refs import ObjectRef

__all__ = ["Call", "WorkerGroup"]

#: Measured work that a worker has ahead of it, and what is worth being taken back from it.
_AHEAD_S = 0.002
_MOST_AHEAD = 256
#: Results are told of at least so often.
_TOLD_EVERY_S = 0.0002
_SHORTEST_S = 1e-6
#: A call that runs for longer is one that others should not wait behind.
_TICK_S = 0.02
#: How many calls gather before a busy worker is given some.
_GATHERED = 32
#: Time for the processes of a group to end by themselves.
_END_S = 5.0

#: How often a worker's process is started again that dies while it runs no call, where it may be the
#: initializer that ends it.
_RESTARTS = 8


_MANAGERS = "multiprocessing.managers"


class Call:
    """One call of a function by a worker. Subclasses say what becomes of its outcome.

    Attributes
    ----------
    code
        Of the function, as `haz._faces.functions.code_of` returns it.
    args, kwargs
        Arguments; `kwargs` is None where there are none.
    """

    code: Any
    args: Any
    kwargs: dict[str, Any] | None

    #: While a worker has it: its result to be, and the worker, unless it was recalled.
    ref: ObjectRef[Any] | None = None
    worker: _Worker | None = None
    recalled: bool = False

    #: Says whether it should run; called before it is sent, with the group's lock. None: it should.
    begin: Callable[[], bool] | None = None

    def deliver(self, value: Any, error: BaseException | None) -> None:
        """Take the outcome; called once, in the group's thread or that of `terminate`."""
        raise NotImplementedError


class _Worker:
    __slots__ = ("actor", "head", "in_flight", "left", "method", "since")

    def __init__(self, actor: Any, left: float) -> None:
        self.actor = actor
        #: Its method `remote` is replaced when it is first used.
        self.method = actor.call
        #: Calls that it has, in their order.
        self.in_flight: deque[Call] = deque()
        #: How many more it may get.
        self.left = left
        #: When it began with what it has.
        self.since = 0.0
        #: The first call at the last tick.
        self.head: Call | None = None


class WorkerGroup:
    """Up to `size` workers, started when there are calls for them. Thread-safe.

    Parameters
    ----------
    size
        The most workers at a time.
    initializer, initargs
        Called in each worker at its start.
    max_calls
        Number of calls after which a worker is replaced; None: never.
    options
        Options of the actors; by default they hold no CPUs.
    name
        Of the group, in errors and output.
    numbered
        Whether ``multiprocessing.current_process()`` in a worker tells the worker's number.
    on_broken
        Called with the error when an initializer has failed, instead of failing only the calls of
        that worker: the group has no calls then, and takes no more.
    """

    def __init__(
        self,
        size: int,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_calls: int | None = None,
        options: dict[str, Any] | None = None,
        name: str = "pool",
        numbered: bool = False,
        on_broken: Callable[[BaseException], None] | None = None,
    ) -> None:
        if not is_initialized():
            init()
        given = {
            "num_cpus": 0,
            "max_restarts": -1 if initializer is None else _RESTARTS,
            **(options or {}),
        }
        self._class = remote(**given)(GroupWorker)
        self._init = (initializer, initargs)
        #: That of the managers of multiprocessing; None as long as the program has none.
        self._key: bytes | None = None
        self._made = 0
        self._numbered = numbered
        self._engine = runtime.engine
        self._on_broken = on_broken
        self.size = size
        self.name = name
        self._max_calls = float("inf") if max_calls is None else max_calls
        #: Guards all that follows, and sending, so that the order of sends is that of `in_flight`.
        #: Reentrant, since pickling an argument may run anything.
        self._lock = threading.RLock()
        self._waiting: deque[Call] = deque()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._recalled: set[Call] = set()
        self._failed: list[tuple[Call, BaseException]] = []
        self._mean_s: float | None = None
        #: Calls that were taken and whose outcome was not delivered.
        self._outstanding = 0
        self._closed = False
        self._terminated = False
        self._thread: threading.Thread | None = None
        #: Of the engine's threads: calls that have ended, by the ref that they had.
        self._news: deque[tuple[Call, ObjectRef[Any]]] = deque()
        self._bell = allocate_lock()
        self._bell.acquire()
        self._sleeping = False

    # ---- calls in ------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Let a worker run `call`.

        Raises
        ------
        RuntimeError
            If the group was closed, or haz was shut down.
        """
        with self._lock:
            self._check_open()
            if self._key is None and _MANAGERS in sys.modules:
                self._give_key()
            worker = None if self._waiting else self._free_worker()
            if self._thread is None:
                self._start_thread()
            self._outstanding += 1
            if worker is not None:
                self._send(worker, (call,), 1)
                return
            self._waiting.append(call)
            if len(self._waiting) % _GATHERED == 0:
                self._feed()

    def submit_all(self, calls: Iterable[Call]) -> None:
        """Let workers run `calls`, which may wait together."""
        with self._lock:
            self._check_open()
            if self._key is None and _MANAGERS in sys.modules:
                self._give_key()
            if self._thread is None:
                self._start_thread()
            before = len(self._waiting)
            self._waiting.extend(calls)
            self._outstanding += len(self._waiting) - before
            self._feed()

    def fail(self, call: Call, error: BaseException) -> None:
        """Take a call that has failed before it could be sent."""
        with self._lock:
            self._check_open()
            self._outstanding += 1
            if self._thread is None:
                self._start_thread()
            self._failed.append((call, error))
        self._ring()

    def start_all(self) -> None:
        """Start all workers, though there may be no calls for them."""
        with self._lock:
            while len(self._workers) < self.size:
                self._idle.append(self._make_worker())

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"the {self.name} takes no more calls: it was shut down")
        if runtime.engine is not self._engine or runtime.forked:
            runtime.check_not_forked()
            raise RuntimeError(f"haz was shut down, and this {self.name} with it: make another")

    def take_waiting(self) -> list[Call]:
        """Take back the calls that no worker has; they are not delivered."""
        with self._lock:
            calls = list(self._waiting)
            self._waiting.clear()
            self._outstanding -= len(calls)
        self._ring()
        return calls

    # ---- calls to workers ----------------------------------------------------------------------

    def _make_worker(self) -> _Worker:
        self._made += 1
        number = self._made if self._numbered else 0
        worker = _Worker(self._class.remote(number, self._key, *self._init), self._max_calls)
        self._workers.append(worker)
        return worker

    def _give_key(self) -> None:
        """Let workers reach the managers of ``multiprocessing`` that this program has."""
        from multiprocessing.process import current_process

        self._key = bytes(current_process().authkey)
        for worker in self._workers:
            if worker.left > 0:
                worker.actor.set_key.remote(self._key)

    def _free_worker(self) -> _Worker | None:
        if self._idle:
            return self._idle.pop()
        return self._make_worker() if len(self._workers) < self.size else None

    def _depth(self) -> int:
        mean = self._mean_s
        if mean is None or mean >= _TICK_S:
            return 1
        return min(1 + int(_AHEAD_S / mean), _MOST_AHEAD)

    def _feed(self) -> None:
        """Send what workers have room for."""
        waiting = self._waiting
        while waiting:
            try:
                worker = self._free_worker()
            except Exception as error:  # haz was shut down, or can't give what workers ask for
                self._failed += [(call, error) for call in waiting]
                waiting.clear()
                self._ring()
                return
            if worker is None:
                break
            self._feed_worker(worker)
        depth = self._depth()
        if waiting and depth > 1:
            for worker in self._workers:
                if 0 < len(worker.in_flight) <= depth // 2 and worker.left > 0:
                    self._feed_worker(worker)
        elif not waiting and (self._idle or len(self._workers) < self.size):
            self._level()

    def _feed_worker(self, worker: _Worker) -> None:
        room = min(self._depth() - len(worker.in_flight), worker.left)
        share = -(-len(self._waiting) // self.size)
        calls = [self._waiting.popleft() for _ in range(int(min(room, share)))]
        stride = 1 if self._mean_s is None else max(1, int(_TOLD_EVERY_S / self._mean_s))
        self._send(worker, calls, stride)

    def _send(self, worker: _Worker, calls: Iterable[Call], stride: int) -> None:
        """Send calls to a worker, and watch each `stride`-th of them, and the last."""
        in_flight, method = worker.in_flight, worker.method
        if not in_flight:
            worker.since = monotonic()
        unwatched = 0
        before = len(in_flight)
        for call in calls:
            begin = call.begin
            if begin is not None and not begin():
                self._outstanding -= 1
                continue
            try:
                call.ref = method.remote(call.code, call.args, call.kwargs)
            except BaseException as error:
                self._failed.append((call, error))
                self._ring()
                if not isinstance(error, Exception):
                    raise
                continue
            call.worker = worker
            in_flight.append(call)
            unwatched += 1
            if unwatched == stride:
                unwatched = 0
                self._watch(call)
        if unwatched:
            self._watch(in_flight[-1])
        worker.left -= len(in_flight) - before
        if not in_flight:
            self._idle.append(worker)

    def _watch(self, call: Call) -> None:
        ref = call.ref
        assert ref is not None
        try:
            when_ready(ref, partial(self._told, call, ref))
        except Exception:  # haz was shut down: get() will say so
            self._told(call, ref)

    def _told(self, call: Call, ref: ObjectRef[Any]) -> None:
        self._news.append((call, ref))
        if self._sleeping:
            self._ring()

    # ---- calls back from workers ---------------------------------------------------------------

    def _recall(self, worker: _Worker, count: int) -> None:
        """Take the last `count` calls back from a worker, as far as it has not begun them."""
        for _ in range(count):
            call = worker.in_flight.pop()
            call.worker, call.recalled = None, True
            self._recalled.add(call)
            assert call.ref is not None
            try:
                cancel(call.ref, recursive=False)
            except Exception:
                pass  # haz was shut down
            self._watch(call)
        if worker.in_flight:
            self._watch(worker.in_flight[-1])

    def _level(self) -> None:
        """Take work for the workers that have none from the one that has most."""
        if not self._workers:
            return
        worker = max(self._workers, key=lambda one: len(one.in_flight))
        count = len(worker.in_flight)
        mean = 1.0 if self._mean_s is None else self._mean_s
        if count > 1 and (count - 1) * mean > _AHEAD_S:
            self._recall(worker, count // 2)

    def _tick(self) -> None:
        """Look for calls that others should not wait behind, and for ends that nobody told of."""
        with self._lock:
            for worker in self._workers:
                in_flight = worker.in_flight
                head = in_flight[0] if in_flight else None
                is_stuck = head is not None and head is worker.head
                worker.head = head
                if not is_stuck or len(in_flight) < 2:
                    continue
                refs: list[Any] = [call.ref for call in in_flight]
                try:
                    ready, _ = wait(refs, num_returns=len(refs), timeout=0)
                except Exception:
                    continue  # haz was shut down: all were told
                if ready:
                    last = in_flight[len(ready) - 1]
                    assert last.ref is not None
                    self._told(last, last.ref)
                    continue
                self._mean_s = max(self._mean_s or 0.0, _TICK_S)
                if self._idle or len(self._workers) < self.size:
                    self._recall(worker, len(in_flight) - 1)
            self._feed()

    def _wants_tick(self) -> bool:
        return any(len(worker.in_flight) > 1 for worker in self._workers)

    def _take_ended(self) -> list[Call]:
        """Take the calls that have ended out of their workers, and give those others."""
        ended: list[Call] = []
        news = self._news
        with self._lock:
            now = monotonic()
            while news:
                call, ref = news.popleft()
                if call.ref is not ref:
                    continue
                if call.worker is None:
                    if call in self._recalled:
                        self._recalled.discard(call)
                        ended.append(call)
                    continue
                self._take_through(call, ended, now)
            self._feed()
        return ended

    def _take_through(self, call: Call, ended: list[Call], now: float) -> None:
        worker = call.worker
        assert worker is not None
        count = 0
        worker.head = None  # of a call that has ended nothing is kept
        take = worker.in_flight.popleft
        while True:
            one = take()
            one.worker = None
            ended.append(one)
            count += 1
            if one is call:
                break
        sample = max((now - worker.since) / count, _SHORTEST_S)
        worker.since = now
        if self._mean_s is None or count > 3:
            self._mean_s = sample
        else:
            self._mean_s += 0.5 * (sample - self._mean_s)
        if worker.in_flight or worker not in self._workers:
            return
        if worker.left <= 0:
            self._workers.remove(worker)
        else:
            self._idle.append(worker)

    def _deliver(self, calls: list[Call]) -> None:
        try:
            values = get([call.ref for call in calls])  # type: ignore[misc]
        except BaseException:  # of one of them
            self._deliver_one_by_one(calls)
            return
        for call, value in zip(calls, values, strict=True):
            call.ref = None
            try:
                call.deliver(value, None)
            except BaseException:
                sys.excepthook(*sys.exc_info())  # of a callback; the others wait for theirs
        with self._lock:
            self._outstanding -= len(calls)

    def _deliver_one_by_one(self, calls: list[Call]) -> None:
        for call in calls:
            assert call.ref is not None
            try:
                value, error = get(call.ref), None
            except BaseException as raised:
                value, error = None, raised
                if self._is_retaken(call, error):
                    continue
                if isinstance(error, ActorUnavailableError):
                    self._retire(error)
                elif isinstance(error, ActorDiedError) and not isinstance(error, TaskError):
                    self._lose_worker(error)
            self._hand_over(call, value, error)
        with self._lock:
            self._feed()  # with what was taken back

    def _hand_over(self, call: Call, value: Any, error: BaseException | None) -> None:
        call.ref = None
        try:
            call.deliver(value, error)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        with self._lock:
            self._outstanding -= 1

    def _is_retaken(self, call: Call, error: BaseException) -> bool:
        """Whether the call was recalled in time, and waits again."""
        if not call.recalled or isinstance(error, TaskError):
            return False
        if not isinstance(error, (TaskCancelledError, ActorDiedError)):
            return False
        with self._lock:
            if self._terminated:
                return False
            call.ref, call.recalled = None, False
            self._waiting.appendleft(call)
        return True

    # ---- workers that die ----------------------------------------------------------------------

    def _worker_of(self, error: ActorError) -> _Worker | None:
        found = (one for one in self._workers if one.actor._actor_id == error.actor_id)
        return next(found, None)

    def _retire(self, error: ActorUnavailableError) -> None:
        """Have another worker instead of one whose process died of a call.

        It is started again for the calls that it has, and they are its last.
        """
        with self._lock:
            worker = self._worker_of(error)
            if worker is None:
                return
            worker.left = 0
            if not worker.in_flight:
                self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        if worker in self._idle:
            self._idle.remove(worker)

    def _lose_worker(self, error: ActorDiedError) -> None:
        """Forget a worker that has ended for good. Calls that it had not begun wait again."""
        with self._lock:
            worker = self._worker_of(error)
            if worker is not None:
                self._forget(worker)
                if error.reason in ("exited", "killed"):
                    self._recall(worker, len(worker.in_flight))
        if self._on_broken is not None and error.reason not in ("exited", "killed"):
            self._on_broken(error)
            self._end_all(error)

    # ---- the thread ----------------------------------------------------------------------------

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f"haz-{self.name}", daemon=True)
        self._thread.start()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # rung already

    def _run(self) -> None:
        next_tick = 0.0
        while True:
            while self._news or self._failed:
                self._deliver(self._take_ended())
                self._deliver_failed()
            with self._lock:
                if self._closed and self._outstanding == 0:
                    break
                ticks = self._wants_tick()
            now = monotonic()
            if ticks and now >= next_tick:
                self._tick()
                next_tick = now + _TICK_S
            self._sleeping = True
            if not self._news and not self._failed:
                self._bell.acquire(timeout=_TICK_S if ticks else -1)
            self._sleeping = False
        self._end_workers()

    def _deliver_failed(self) -> None:
        with self._lock:
            failed, self._failed = self._failed, []
        for call, error in failed:
            self._hand_over(call, None, error)

    # ---- the end -------------------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """Return the calls that have not ended, as far as this can be seen."""
        with self._lock:
            found = [call for call, _ in self._failed]
            found += [call for worker in self._workers for call in worker.in_flight]
            return [*found, *self._recalled, *self._waiting]

    def close(self) -> None:
        """Take no more calls; workers end when those that were made have."""
        with self._lock:
            self._closed = True
            thread = self._thread
            if thread is None:
                self._end_workers()
        self._ring()

    def join(self) -> None:
        """Wait for the end that `close` or `terminate` has asked for."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def terminate(self, error: BaseException) -> None:
        """End the workers now; calls that have not ended get `error`."""
        self._end_all(error)
        self.close()

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            self._closed = self._terminated = True
            calls = self.calls()
            self._failed = []
            self._recalled.clear()
            self._waiting.clear()
            for call in calls:
                call.ref = call.worker = None
            workers, self._workers, self._idle = self._workers, [], []
        for worker in workers:
            _kill(worker)
        for call in calls:
            self._hand_over(call, None, error)

    def _end_workers(self) -> None:
        workers, self._workers, self._idle = self._workers, [], []
        try:
            ends = [worker.actor.__ray_terminate__.remote() for worker in workers]
            if ends:
                wait(ends, num_returns=len(ends), timeout=_END_S)
        except Exception:
            pass  # haz was shut down, and the workers with it


def _kill(worker: _Worker) -> None:
    try:
        kill(worker.actor)
    except Exception:
        pass  # haz was shut down
