"""How a `WorkerGroup` gives calls to its workers, and takes back what others could begin sooner."""

from __future__ import annotations

import os
import threading
from _thread import allocate_lock
from collections import deque
from concurrent.futures import CancelledError
from functools import partial
from time import monotonic

from haz._core.api import cancel
from haz._core.futures import when_ready
from haz._core.lifecycle import init, is_initialized
from haz._core.remote import remote
from haz._core.runtime import runtime
from haz._faces.batch import Pages, Sent, parts_of
from haz._faces.call import Call, Worker
from haz._faces.functions import code_of
from haz._faces.worker import GroupWorker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz._faces.processes import WorkerProcess

__all__ = ["LONG_S", "SHORTEST_S", "Sender"]

#: Measured work that a worker has ahead of it, and how much of it is worth being taken back.
_AHEAD_S = 0.005
_WORTH_S = 0.002
_MOST_AHEAD = 2048
#: Calls of a batch, at most; and those of one that are worth it.
_MOST_IN_BATCH = 512
_LEAST_IN_BATCH = 4
#: What is worth a message, as a part of the work that a worker has ahead, though others have none.
_SHARES = 8
#: Results are told of at least so often.
_TOLD_EVERY_S = 0.0002
#: No call is counted as shorter.
SHORTEST_S = 1e-6
#: A call that runs for longer is one that others should not wait behind.
LONG_S = 0.02
#: How long the first worker starts without others beside it, where they would take its CPU away:
#: small calls have ended by then.
_HEAD_START_S = 0.003
#: How often a worker's process is started again that dies while it runs no call, where it may be the
#: initializer that ends it.
_RESTARTS = 8

#: Of groups without options, by their restarts: what an engine has once seen of a class it keeps.
_plain_classes: dict[int, Any] = {}


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _actor_class(restarts: int, options: dict[str, Any]) -> Any:
    return remote(**{"num_cpus": 0, "max_restarts": restarts, **options})(GroupWorker)


class Sender:
    """The workers of a group and the calls that wait for them; for the parameters see `WorkerGroup`."""

    def __init__(
        self,
        size: int,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_calls: int | None = None,
        options: dict[str, Any] | None = None,
        name: str = "pool",
        on_broken: Callable[[BaseException], None] | None = None,
    ) -> None:
        if not is_initialized():
            init()
        restarts = -1 if initializer is None else _RESTARTS
        if options:
            self._class = _actor_class(restarts, options)
        else:
            self._class = _plain_classes.get(restarts) or _actor_class(restarts, {})
            _plain_classes[restarts] = self._class
        self._init = (None if initializer is None else (code_of(initializer),), initargs)
        self._made = 0
        #: The end of the first one's head start; 0: it is over.
        self._alone_until = 0.0
        #: Whether all workers are wanted, though there may be no calls for them.
        self._wants_all = False
        self._engine = runtime.engine
        self._on_broken = on_broken
        self.size = size
        self.name = name
        self._max_calls = float("inf") if max_calls is None else max_calls
        #: Guards all that follows, and sending, so that the order of sends is that of `in_flight`.
        #: Reentrant, since pickling an argument may run anything.
        self._lock = threading.RLock()
        self._waiting: deque[Call] = deque()
        #: What was submitted since `_take_coming`, without the lock.
        self._coming: deque[Call] = deque()
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._recalled: set[Sent] = set()
        self._failed: list[tuple[Call, BaseException]] = []
        #: Whether calls are cancelled instead of waiting again.
        self._drops = False
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
        #: What its `join` waits for, as the standard library's does.
        self._ending: list[WorkerProcess] = []
        #: Of the engine's threads: what has ended, by the ref that it had.
        self._news: deque[tuple[Sent, ObjectRef[Any]]] = deque()
        self._started: deque[Worker] = deque()
        self._bell = allocate_lock()
        self._bell.acquire()
        self._sleeping = False

    # ---- workers -------------------------------------------------------------------------------------

    def _make_worker(self) -> Worker:
        self._made += 1
        # Initializers are slow, and may wait for each other.
        if self._made == 1 and self._init[0] is None and 1 < self.size >= _usable_cpus():
            self._alone_until = monotonic() + _HEAD_START_S
        worker = Worker(self._class.remote(self._made, *self._init), self._max_calls)
        self._workers.append(worker)
        when_ready(worker.actor._haz_ref, partial(self._note_started, worker))
        return worker

    def _free_worker(self) -> Worker | None:
        if self._idle:
            return self._idle.pop()
        return self._make_worker() if self._may_grow() else None

    def _may_grow(self) -> bool:
        """Whether there may be another worker now."""
        if self._alone_until and monotonic() >= self._alone_until:
            self._alone_until = 0.0
        return len(self._workers) < self.size and not self._alone_until

    def _grow(self) -> None:
        """Make the workers that are wanted though there may be no calls for them."""
        while self._wants_all and self._may_grow():
            # The first is there first, and so gets the first call.
            self._idle.insert(0, self._make_worker())
        self._wants_all = self._wants_all and len(self._workers) < self.size

    def _depth(self) -> int:
        mean = self._mean_s
        if mean is None or mean >= LONG_S:
            return 1
        return min(1 + int(_AHEAD_S / mean), _MOST_AHEAD)

    # ---- calls to workers ----------------------------------------------------------------------------

    def _take_coming(self) -> None:
        """Let what was submitted wait for workers, behind what waits already."""
        if not self._coming:
            return
        take, put, count = self._coming.popleft, self._waiting.append, 0
        try:
            while True:  # one by one: a finalizer may end the group in the middle
                put(take())
                count += 1
        except IndexError:
            pass  # all are taken
        finally:
            self._outstanding += count

    def _feed(self) -> None:
        """Send what workers have room for."""
        self._take_coming()
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
                    if 0 < worker.load <= depth // 2 and worker.left > 0 and not worker.is_stuck:
                        pages = worker.pages
                        if not pages or pages.are_free():  # type: ignore[union-attr]
                            self._feed_worker(worker)
                return
            has_room = self._idle or self._may_grow()
            if waiting or not has_room or not self._level():
                break
        if self._idle and not waiting and self._max_calls == float("inf"):
            self._recall_from_starting()

    def _feed_worker(self, worker: Worker) -> None:
        waiting, depth = self._waiting, self._depth()
        sharing = 1 if self._alone_until else self.size
        share = max(-(-len(waiting) // sharing), min(depth // _SHARES, len(waiting)))
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
        codes = parts_of(calls)[0]
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

    def _ring(self) -> None:
        self._sleeping = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # rung already

    # ---- calls back from workers ---------------------------------------------------------------------

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
        self._put_back(taken)
        return bool(taken)

    def _put_back(self, calls: list[Call]) -> None:
        """Let calls wait again, before all others, that a worker had and has not begun."""
        for call in calls:
            if call.rest is not None:
                call.rest()
        if self._drops:
            self._drop(calls)
        else:
            self._waiting.extendleft(reversed(calls))

    def _drop(self, calls: Iterable[Call]) -> None:
        self._failed += [(call, CancelledError()) for call in calls]
        self._ring()

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
