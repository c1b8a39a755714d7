"""Workers that a face keeps for itself, and the calls that wait for them: `WorkerGroup`.

A worker is an actor, so that its process, with what an initializer has set up, belongs to the group.
Its calls run in their order. While calls are short, several are sent ahead to each worker, in batches
where that can be, and of others only some are watched: when one has ended, those before it have. What
waits behind a call that turned out to be long is taken back.
"""

from __future__ import annotations

import threading
from time import monotonic

from haz._core.api import wait
from haz._core.runtime import runtime
from haz._faces.batch import Sent
from haz._faces.call import Call, Worker
from haz._faces.receiving import Receiver
from haz._faces.sending import LONG_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from haz._faces.processes import WorkerProcess

__all__ = ["WorkerGroup"]

#: How many calls gather before a busy worker is given some.
_GATHERED = 128
#: Time for the processes of a group to be there, for a program that looks at them.
_START_S = 10.0
#: Time for them to end by themselves.
_END_S = 5.0


class WorkerGroup(Receiver):
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
    on_broken
        Called with the error when an initializer has failed, instead of failing only the calls of
        that worker: the group has no calls then, and takes no more.
    """

    # ---- calls in ------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Let a worker run `call`.

        Raises
        ------
        RuntimeError
            If the group was closed, or haz was shut down.
        """
        if not self._is_running or runtime.engine is not self._engine or runtime.forked:
            with self._lock:
                self._check_open()
                self._start_thread()
        coming = self._coming
        is_first = not coming and not self._waiting and (self._load == 0 or self._depth() == 1)
        if is_first and self._send_at_once(call):
            return
        coming.append(call)
        if not self._is_running:
            self._take_late(call)
        elif len(coming) % _GATHERED == 0:
            with self._lock:
                self._feed()
        elif self._sleeping and (self._idle or len(self._workers) < self.size):
            # More may come before the group's thread gets to run, and go in one message.
            self._ring()

    def _send_at_once(self, call: Call) -> bool:
        """Send a call to a worker that is free; False: there is none, or others wait."""
        with self._lock:
            self._check_open()
            self._take_coming()
            worker = None if self._waiting else self._free_worker()
            if worker is None:
                return False
            self._outstanding += 1
            self._send_singly(worker, (call,), 1)
            return True

    def _take_late(self, call: Call) -> None:
        """The group was closed while `call` came: it is taken with the others, or not at all."""
        with self._lock:
            try:
                self._coming.remove(call)
            except ValueError:
                return
            self._check_open()
            self._start_thread()
            self._coming.append(call)
        self._ring()

    def submit_all(self, calls: Iterable[Call]) -> None:
        """Let workers run `calls`, which may wait together."""
        with self._lock:
            self._check_open()
            self._start_thread()
            self._take_coming()
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
            self._wants_all = True
            self._grow()
            if self._wants_all:
                self._start_thread()

    def processes(self) -> list[WorkerProcess]:
        """Return the processes of the workers that were started, once they are there."""
        from haz._faces.processes import processes_of

        with self._lock:
            self._alone_until = 0.0
            self._grow()
            workers = list(self._workers)
        return processes_of(workers, self.name, _START_S)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"the {self.name} takes no more calls: it was shut down")
        if runtime.engine is not self._engine or runtime.forked:
            runtime.check_not_forked()
            raise RuntimeError(f"haz was shut down, and this {self.name} with it: make another")

    def cancel_waiting(self) -> None:
        """Let the calls that no worker has begun fail with CancelledError, and those that come back."""
        with self._lock:
            self._take_coming()
            self._drops = True
            for worker in self._workers:
                if worker.in_flight:
                    self._take_back(worker)
                    self._recall(worker, len(worker.in_flight) - 1)
            self._drop(self._waiting)
            self._waiting.clear()
        self._deliver_failed()

    # ---- the thread ----------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        self._is_running = True
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name=f"haz-{self.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        next_tick = 0.0
        while True:
            while self._news or self._failed or self._started:
                self._deliver(self._take_ended())
                self._deliver_failed()
            with self._lock:
                looked = monotonic()
                self._take_coming()
                if self._closed and self._outstanding == 0:
                    break
                if self._waiting:
                    self._feed()
                try:
                    self._grow()
                except Exception:  # as in `_feed`, where calls are told of it
                    self._wants_all = False
                ticks = self._wants_tick()
                alone_s = self._alone_until - looked  # before it was looked at who may begin
                self._sleeping = True
            now = monotonic()
            if ticks and now >= next_tick:
                self._tick()
                next_tick = now + LONG_S
            if not self._has_news():
                self._bell.acquire(timeout=alone_s if alone_s > 0 else LONG_S if ticks else -1)
            self._sleeping = False
        self._end_workers()

    def _has_news(self) -> bool:
        if self._news or self._failed or self._started:
            return True
        # What has come since, and did not ring, as this thread was seen awake.
        return bool(self._coming) and (bool(self._idle) or len(self._workers) < self.size)

    def _tick(self) -> None:
        """Look for calls that others should not wait behind, and for ends that nobody told of."""
        early: list[tuple[list[Call], list[Any]]] = []
        with self._lock:
            for worker in self._workers:
                in_flight = worker.in_flight
                head = (in_flight[0], in_flight[0].begun()) if in_flight else None
                worker.is_stuck = head is not None and head == worker.head
                worker.head = head
                if not worker.is_stuck or worker.load < 2:
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
                self._mean_s = max(self._mean_s or 0.0, LONG_S)
                self._take_back(worker)
                early.append(in_flight[0].take_recorded())
                self._unload(worker, len(early[-1][0]))
                self._recall(worker, len(in_flight) - 1)
            self._feed()
        self._deliver_early(early)

    def _wants_tick(self) -> bool:
        return any(worker.load > 1 for worker in self._workers)

    # ---- the end -------------------------------------------------------------------------------------

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

    def _end_workers(self) -> None:
        with self._lock:
            workers, self._workers, self._idle = self._workers, [], []
            self._note_ending(workers)
            ending, self._ending = self._ending, []
        try:
            ends = [worker.actor.__ray_terminate__.remote() for worker in workers]
            if ends:
                wait(ends, num_returns=len(ends), timeout=_END_S)
        except Exception:
            pass  # haz was shut down, and the workers with it
        if ending:
            from haz._faces.processes import join_all

            join_all(ending, _END_S)
