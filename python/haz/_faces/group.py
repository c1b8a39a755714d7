"""Workers that a face keeps for itself, and the calls that wait for them: `WorkerGroup`.

A worker is an actor, so that its process, with what an initializer has set up, belongs to the group.
Its calls run in their order. While calls are short, several are sent ahead to each worker, in batches
where that can be, and of others only some are watched: when one has ended, those before it have. What
waits behind a call that turned out to be long is taken back.
"""

from __future__ import annotations

import sys
import threading
from _thread import allocate_lock
from collections import deque
from functools import partial
from sys import modules
from time import monotonic

from haz._core.actor_api import kill
from haz._core.api import cancel, get, wait
from haz._core.futures import when_ready
from haz._core.lifecycle import init, is_initialized
from haz._core.remote import remote
from haz._core.runtime import runtime
from haz._faces.batch import Pages, Sent
from haz._faces.call import Call, Worker
from haz._faces.functions import code_of
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
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from haz._core.refs import ObjectRef

__all__ = ["WorkerGroup"]

#: Measured work that a worker has ahead of it, and how much of it is worth being taken back.
_AHEAD_S = 0.005
_WORTH_S = 0.002
_MOST_AHEAD = 2048
#: Calls of a batch, at most; and those of one that are worth it.
_MOST_IN_BATCH = 512
_LEAST_IN_BATCH = 4
#: What is worth a message, as a part of the work that a worker has ahead, though others have none.
_SHARES = 8
#: A function whose result or exception ends a batch before so many calls is sent singly.
_SOON = 16
#: Results are told of at least so often.
_TOLD_EVERY_S = 0.0002
_SHORTEST_S = 1e-6
#: A call that runs for longer is one that others should not wait behind.
_TICK_S = 0.02
#: How many calls gather before a busy worker is given some.
_GATHERED = 128
#: Time for the processes of a group to end by themselves.
_END_S = 5.0

#: How often a worker's process is started again that dies while it runs no call, where it may be the
#: initializer that ends it.
_RESTARTS = 8


_MANAGERS = "multiprocessing.managers"


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
        self._init = (None if initializer is None else (code_of(initializer),), initargs)
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
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._recalled: set[Sent] = set()
        self._failed: list[tuple[Call, BaseException]] = []
        self._mean_s: float | None = None
        #: Calls that workers have, and the code of those that go singly: they end batches early.
        self._load = 0
        self._singly: set[bytes] = set()
        self._some_alone = False
        #: Calls that were taken and whose outcome was not delivered.
        self._outstanding = 0
        self._closed = False
        #: Whether it takes calls, and its thread was started.
        self._is_running = False
        #: What calls get that have not ended, once the group was terminated.
        self._end_error: BaseException | None = None
        self._thread: threading.Thread | None = None
        #: Of the engine's threads: what has ended, by the ref that it had.
        self._news: deque[tuple[Sent, ObjectRef[Any]]] = deque()
        self._started: deque[Worker] = deque()
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
            if not self._is_running or runtime.engine is not self._engine or runtime.forked:
                self._check_open()
                self._start_thread()
            self._outstanding += 1
            waiting = self._waiting
            if not waiting and (self._load == 0 or self._depth() == 1):
                worker = self._free_worker()
                if worker is not None:
                    self._send_singly(worker, (call,), 1)
                    return
            waiting.append(call)
            if len(waiting) % _GATHERED == 0:
                self._feed()
            elif self._sleeping and (self._idle or len(self._workers) < self.size):
                # More may come before the group's thread gets to run, and go in one message.
                self._ring()

    def submit_all(self, calls: Iterable[Call]) -> None:
        """Let workers run `calls`, which may wait together."""
        with self._lock:
            self._check_open()
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
            self._start_thread()
            self._failed.append((call, error))
        self._ring()

    def start_all(self) -> None:
        """Start all workers, though there may be no calls for them."""
        with self._lock:
            while len(self._workers) < self.size:
                # The first is there first, and so gets the first call.
                self._idle.insert(0, self._make_worker())

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

    def _make_worker(self) -> Worker:
        self._made += 1
        number = self._made if self._numbered else 0
        worker = Worker(self._class.remote(number, self._key, *self._init), self._max_calls)
        self._workers.append(worker)
        when_ready(worker.actor._haz_ref, partial(self._note_started, worker))
        return worker

    def _give_key(self) -> None:
        """Let workers reach the managers of ``multiprocessing`` that this program has."""
        from multiprocessing.process import current_process

        self._key = bytes(current_process().authkey)
        for worker in self._workers:
            if worker.left > 0:
                worker.actor.set_key.remote(self._key)

    def _free_worker(self) -> Worker | None:
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
        while True:
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
                    if 0 < worker.load <= depth // 2 and worker.left > 0:
                        pages = worker.pages
                        if not pages or pages.are_free():  # type: ignore[union-attr]
                            self._feed_worker(worker)
                return
            has_room = self._idle or len(self._workers) < self.size
            if waiting or not has_room or not self._level():
                break
        if self._idle and not waiting and self._max_calls == float("inf"):
            self._recall_from_starting()

    def _feed_worker(self, worker: Worker) -> None:
        waiting, depth = self._waiting, self._depth()
        if self._key is None and _MANAGERS in modules:
            self._give_key()
        share = max(-(-len(waiting) // self.size), min(depth // _SHARES, len(waiting)))
        room = int(min(depth - worker.load, worker.left, share))
        if room >= len(waiting):
            calls = list(waiting)
            waiting.clear()
        else:
            take = waiting.popleft
            calls = [take() for _ in range(room)]
        if room >= _LEAST_IN_BATCH and self._shares_pages(worker):
            calls = self._send_batches(worker, calls)
        stride = 1 if self._mean_s is None else max(1, int(_TOLD_EVERY_S / self._mean_s))
        self._send_singly(worker, calls, stride)

    def _shares_pages(self, worker: Worker) -> bool:
        if worker.pages is None:
            try:
                pages = Pages()
                pages.share_with(worker.actor)
                worker.pages = pages
            except (OSError, RuntimeError, MemoryError):  # or haz was shut down
                worker.pages = False
        return bool(worker.pages)

    def _send_batches(self, worker: Worker, calls: list[Call]) -> list[Call]:
        """Send what can be sent in batches; return what should go singly."""
        codes = [call.code for call in calls]
        is_one = codes.count(codes[0]) == len(codes)
        if self._some_alone or any(
            type(code) is not bytes or code in self._singly
            for code in (codes[:1] if is_one else set(codes))
        ):
            fit = [call for call in calls if self._fits(call)]
        else:
            fit = calls
        if len(fit) < _LEAST_IN_BATCH:
            return calls
        rest = [] if len(fit) == len(calls) else [call for call in calls if call not in fit]
        pages: Any = worker.pages
        for first in range(0, len(fit), _MOST_IN_BATCH):
            number = pages.take_number()
            if not number:
                if not worker.in_flight:
                    rest.append(fit[first])
                    first += 1
                self._waiting.extendleft(reversed(fit[first:]))
                break
            self._send_batch(worker, fit[first : first + _MOST_IN_BATCH], number)
        return rest

    def _fits(self, call: Call) -> bool:
        return not call.alone and type(call.code) is bytes and call.code not in self._singly

    def _send_batch(self, worker: Worker, calls: list[Call], number: int) -> None:
        begin_each = calls[0].begin_each
        if begin_each is not None:
            count = len(calls)
            calls = begin_each(calls)
            self._outstanding -= count - len(calls)
        sent = Sent(calls, worker, number)
        try:
            if calls:
                sent.send_batch()
        except Exception:
            sent.give_back()
            self._send_singly(worker, calls, 1)  # of which one will fail alone
            return
        except BaseException as error:
            sent.give_back()
            self._failed += [(call, error) for call in calls]
            self._ring()
            raise
        if calls:
            self._note_sent(worker, sent)
            self._watch(sent)
        else:
            sent.give_back()

    def _send_singly(self, worker: Worker, calls: Iterable[Call], stride: int) -> None:
        """Send calls to a worker, and watch each `stride`-th of them, and the last."""
        if self._key is None and _MANAGERS in modules:
            self._give_key()
        method = worker.method
        unwatched = 0
        for call in calls:
            begin = call.begin
            if begin is not None and not begin():
                self._outstanding -= 1
                continue
            sent = Sent([call], worker)
            try:
                sent.ref = method.remote(call.code, call.args, call.kwargs)
            except BaseException as error:
                self._failed.append((call, error))
                self._ring()
                if not isinstance(error, Exception):
                    raise
                continue
            self._note_sent(worker, sent)
            unwatched += 1
            if unwatched == stride:
                unwatched = 0
                self._watch(sent)
        if unwatched:
            self._watch(worker.in_flight[-1])
        if not worker.in_flight:
            self._idle.append(worker)

    def _note_sent(self, worker: Worker, sent: Sent) -> None:
        if not worker.in_flight:
            worker.since = monotonic()
        worker.in_flight.append(sent)
        count = len(sent.calls)
        worker.load += count
        worker.left -= count
        self._load += count

    def _watch(self, sent: Sent) -> None:
        ref = sent.ref
        assert ref is not None
        try:
            when_ready(ref, partial(self._told, sent, ref))
        except Exception:  # haz was shut down: get() will say so
            self._told(sent, ref)

    def _told(self, sent: Sent, ref: ObjectRef[Any]) -> None:
        self._news.append((sent, ref))
        if self._sleeping:
            self._ring()

    # ---- calls back from workers ---------------------------------------------------------------

    def _recall(self, worker: Worker, count: int) -> None:
        """Take the last `count` messages back from a worker, as far as it has not begun them."""
        for _ in range(count):
            sent = worker.in_flight.pop()
            self._unload(worker, len(sent.calls))
            sent.worker, sent.recalled = None, True
            self._recalled.add(sent)
            assert sent.ref is not None
            try:
                cancel(sent.ref, recursive=False)
            except Exception:
                pass  # haz was shut down
            self._watch(sent)
        if worker.in_flight:
            self._watch(worker.in_flight[-1])

    def _recall_from_starting(self) -> None:
        """Take what idle workers could run from those whose processes are not there yet."""
        for worker in self._workers:
            if not worker.in_flight:
                continue
            worker.is_apart = True
            if worker.is_started:
                worker.is_apart = False
            else:
                self._recall(worker, len(worker.in_flight))

    def _note_started(self, worker: Worker) -> None:
        """Called in a thread of the engine when the process of a worker is there."""
        worker.is_started = True
        if worker.is_apart:
            self._started.append(worker)
            self._ring()

    def _use_started(self) -> None:
        while self._started:
            worker = self._started.popleft()
            if worker.is_apart and worker in self._workers:
                worker.is_apart = False
                self._idle.append(worker)

    def _take_back(self, worker: Worker) -> bool:
        """Take back what the worker has not begun of its batch; return whether there was some."""
        taken = worker.in_flight[0].take_back()
        self._unload(worker, len(taken))
        worker.left += len(taken)
        self._waiting.extendleft(reversed(taken))
        return bool(taken)

    def _unload(self, worker: Worker, count: int) -> None:
        worker.load -= count
        self._load -= count

    def _level(self) -> bool:
        """Take work for the workers that have none from the one that has most.

        Returns whether some waits now; more may come back later.
        """
        if not self._workers:
            return False
        worker = max(self._workers, key=lambda one: one.load)
        mean = 1.0 if self._mean_s is None else self._mean_s
        if worker.load <= 1 or (worker.load - 1) * mean <= _WORTH_S:
            return False
        if len(worker.in_flight) == 1:
            return self._take_back(worker)
        self._recall(worker, len(worker.in_flight) // 2)
        return False

    def _tick(self) -> None:
        """Look for calls that others should not wait behind, and for ends that nobody told of."""
        early: list[tuple[list[Call], list[Any]]] = []
        with self._lock:
            for worker in self._workers:
                in_flight = worker.in_flight
                head = (in_flight[0], in_flight[0].begun()) if in_flight else None
                is_stuck = head is not None and head == worker.head
                worker.head = head
                if not is_stuck or worker.load < 2:
                    continue
                refs: list[Any] = [sent.ref for sent in in_flight]
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
                self._take_back(worker)
                early.append(in_flight[0].take_recorded())
                self._unload(worker, len(early[-1][0]))
                if self._idle or len(self._workers) < self.size:
                    self._recall(worker, len(in_flight) - 1)
            self._feed()
        self._deliver_early(early)

    def _deliver_early(self, early: list[tuple[list[Call], list[Any]]]) -> None:
        """Deliver what the first calls of batches have returned that are under way."""
        for calls, values in early:
            if calls:
                calls[0].deliver_each(calls, values)
                with self._lock:
                    self._outstanding -= len(calls)

    def _wants_tick(self) -> bool:
        return any(worker.load > 1 for worker in self._workers)

    def _take_ended(self) -> list[Sent]:
        """Take what has ended out of its workers, and give those others."""
        ended: list[Sent] = []
        news = self._news
        with self._lock:
            now = monotonic()
            while news:
                sent, ref = news.popleft()
                if sent.ref is not ref:
                    continue
                if sent.worker is None:
                    if sent in self._recalled:
                        self._recalled.discard(sent)
                        ended.append(sent)
                    continue
                self._take_through(sent, ended, now)
            self._use_started()
            self._feed()
        return ended

    def _take_through(self, sent: Sent, ended: list[Sent], now: float) -> None:
        worker = sent.worker
        assert worker is not None
        count = 0
        worker.head = None  # of what has ended nothing is kept
        take = worker.in_flight.popleft
        while True:
            one = take()
            one.worker = None
            ended.append(one)
            count += len(one.calls)
            if one is sent:
                break
        self._unload(worker, count)
        if sent.number == 0:  # a batch is measured by the worker
            self._note_sample(now - worker.since, count)
        worker.since = now
        if worker.in_flight or worker not in self._workers:
            return
        if worker.left <= 0:
            self._workers.remove(worker)
        else:
            self._idle.append(worker)

    def _note_sample(self, seconds: float, count: int) -> None:
        sample = max(seconds / count, _SHORTEST_S)
        if self._mean_s is None or count > 3:
            self._mean_s = sample
        else:
            self._mean_s += 0.5 * (sample - self._mean_s)

    def _deliver(self, ended: list[Sent]) -> None:
        try:
            values = get([sent.ref for sent in ended])  # type: ignore[misc]
        except BaseException:  # of one of them
            self._deliver_one_by_one(ended)
            return
        for sent, value in zip(ended, values, strict=True):
            self._deliver_value(sent, value)

    def _deliver_value(self, sent: Sent, value: Any) -> None:
        if sent.number == 0:
            self._deliver_values(sent, (value,))
            return
        values, seconds = value
        if values:
            self._mean_s = max(seconds / len(values), _SHORTEST_S)
        if values or not sent.calls:
            self._deliver_values(sent, sent.rest_of(values))
        else:
            self._note_end(sent, 0, began=False)  # a process that was started again has no pages

    def _deliver_values(self, sent: Sent, values: Sequence[Any]) -> None:
        sent.ref = None
        if values:
            sent.calls[0].deliver_each(sent.calls, values)
        self._note_end(sent, len(values))

    def _note_end(self, sent: Sent, count: int, *, began: bool = True) -> None:
        """The first `count` calls have ended; the others wait again."""
        calls = sent.calls
        with self._lock:
            sent.give_back()
            self._outstanding -= count
            if count == len(calls):
                return
            if not began:
                self._some_alone = True
                for call in calls:
                    call.alone = True
            elif 0 < count < _SOON:
                self._singly.add(calls[count - 1].code)
            rest = calls[count:]
            if self._end_error is None:
                self._waiting.extendleft(reversed(rest))
                self._feed()
                return
        for call in rest:
            self._hand_over(call, None, self._end_error)

    def _deliver_one_by_one(self, ended: list[Sent]) -> None:
        for sent in ended:
            assert sent.ref is not None
            try:
                value, error = get(sent.ref), None
            except BaseException as raised:
                value, error = None, raised
                if self._is_retaken(sent, error):
                    continue
                if isinstance(error, ActorUnavailableError):
                    self._retire(error)
                elif isinstance(error, ActorDiedError) and not isinstance(error, TaskError):
                    self._lose_worker(error)
            if error is None:
                self._deliver_value(sent, value)
            else:
                self._deliver_error(sent, error)
        with self._lock:
            self._feed()  # with what was taken back

    def _deliver_error(self, sent: Sent, error: BaseException) -> None:
        sent.ref = None
        progress = sent.progress() if sent.number else None
        if progress is not None:
            begun, values = progress
            failed = sent.calls[len(values) : begun]  # the one that ran, if any did
            for call in failed:
                if len(values) < _SOON:
                    self._singly.add(call.code)
                self._hand_over(call, None, error)
            del sent.calls[len(values) : begun]
            self._deliver_values(sent, values)
        elif sent.number and isinstance(error, (TaskError, ActorUnavailableError)):
            # The arguments of one can't be unpickled, or the process died before it began.
            self._note_end(sent, 0, began=False)
        else:
            for call in sent.calls:
                self._hand_over(call, None, error)
            sent.calls = []
            self._note_end(sent, 0)

    def _hand_over(self, call: Call, value: Any, error: BaseException | None) -> None:
        try:
            call.deliver(value, error)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        with self._lock:
            self._outstanding -= 1

    def _is_retaken(self, sent: Sent, error: BaseException) -> bool:
        """Whether it was recalled in time, and its calls wait again."""
        if not sent.recalled or isinstance(error, TaskError):
            return False
        if not isinstance(error, (TaskCancelledError, ActorDiedError)):
            return False
        with self._lock:
            if self._end_error is not None:
                return False
            sent.ref = None
            sent.give_back()
            self._waiting.extendleft(reversed(sent.calls))
        return True

    # ---- workers that die ----------------------------------------------------------------------

    def _worker_of(self, error: ActorError) -> Worker | None:
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

    def _forget(self, worker: Worker) -> None:
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
        self._is_running = True
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name=f"haz-{self.name}", daemon=True)
        self._thread.start()

    def _ring(self) -> None:
        self._sleeping = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # rung already

    def _run(self) -> None:
        next_tick = 0.0
        while True:
            while self._news or self._failed or self._started:
                self._deliver(self._take_ended())
                self._deliver_failed()
            with self._lock:
                if self._closed and self._outstanding == 0:
                    break
                if self._waiting:
                    self._feed()
                ticks = self._wants_tick()
                self._sleeping = True
            now = monotonic()
            if ticks and now >= next_tick:
                self._tick()
                next_tick = now + _TICK_S
            if not self._news and not self._failed and not self._started:
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
            for sent in self._messages():
                found += sent.calls
            return [*found, *self._waiting]

    def _messages(self) -> list[Sent]:
        found = [sent for worker in self._workers for sent in worker.in_flight]
        return [*found, *self._recalled]

    def close(self) -> None:
        """Take no more calls; workers end when those that were made have."""
        with self._lock:
            self._closed, self._is_running = True, False
            thread = self._thread
            if thread is None:
                self._end_workers()
        self._ring()

    def join(self) -> None:
        """Wait for the end that `close` or `terminate` has asked for."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def deliver_ended(self) -> None:
        """Deliver what has ended by now, where the group's thread has not got to it."""
        ended: list[Sent] = []
        early: list[tuple[list[Call], list[Any]]] = []
        with self._lock:
            for worker in self._workers:
                self._take_ready(worker, ended)
                if worker.in_flight:
                    early.append(worker.in_flight[0].take_recorded())
                    self._unload(worker, len(early[-1][0]))
        self._deliver(ended)
        self._deliver_early(early)

    def _take_ready(self, worker: Worker, ended: list[Sent]) -> None:
        refs: list[Any] = [sent.ref for sent in worker.in_flight]
        if not refs:
            return
        try:
            ready, _ = wait(refs, num_returns=len(refs), timeout=0)
        except Exception:
            return  # haz was shut down: all were told
        if ready:
            self._take_through(worker.in_flight[len(ready) - 1], ended, monotonic())

    def terminate(self, error: BaseException) -> None:
        """End the workers now; calls that have not ended get `error`."""
        self.deliver_ended()
        self._end_all(error)
        self.close()

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            self._closed, self._is_running, self._end_error = True, False, error
            calls = self.calls()
            for sent in self._messages():
                sent.ref = sent.worker = None
            self._failed = []
            self._recalled.clear()
            self._waiting.clear()
            self._load = 0
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


def _kill(worker: Worker) -> None:
    try:
        kill(worker.actor)
    except Exception:
        pass  # haz was shut down
