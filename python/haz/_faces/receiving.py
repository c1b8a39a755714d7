"""What a `WorkerGroup` does with what its workers have ended, and with workers that die."""

from __future__ import annotations

import sys
from time import monotonic

from haz._core.actor_api import kill
from haz._core.api import get
from haz._core.unpickling import deserialization_error
from haz._faces.batch import Sent
from haz._faces.call import Call, Worker
from haz._faces.sending import SHORTEST_S, Sender
from haz.exceptions import (
    ActorDiedError,
    ActorError,
    ActorUnavailableError,
    TaskCancelledError,
    TaskError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["Receiver"]

#: A function whose result or exception ends a batch before so many calls is sent singly.
_SOON = 16


class Receiver(Sender):
    """Delivers the outcomes of calls, each once; workers that have room are given others."""

    def _deliver_early(self, early: list[tuple[list[Call], list[Any]]]) -> None:
        """Deliver what the first calls of batches have returned that are under way."""
        for calls, values in early:
            if calls:
                calls[0].deliver_each(calls, values)
                with self._lock:
                    self._outstanding -= len(calls)

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
        worker.is_stuck = False
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
        sample = max(seconds / count, SHORTEST_S)
        if self._mean_s is None or count > 3:
            self._mean_s = sample
        else:
            self._mean_s += 0.5 * (sample - self._mean_s)

    def _deliver(self, ended: list[Sent]) -> None:
        values = None
        try:
            values = get([sent.ref for sent in ended])  # type: ignore[misc]
        except BaseException:  # of one of them
            pass
        if values is None:  # outside of the handler: no error is the context of another
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
            self._mean_s = max(seconds / len(values), SHORTEST_S)
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
                self._put_back(rest)
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
                # Its frames would keep the group, with what its initializer got, as long as the error.
                value, error = None, raised.with_traceback(None)
                if not isinstance(error, Exception):  # of loading it: ends nobody's program
                    error = deserialization_error(error, sent.ref, None, "")
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

    def _deliver_failed(self) -> None:
        with self._lock:
            failed, self._failed = self._failed, []
        for call, error in failed:
            self._hand_over(call, None, error)

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
            self._put_back(sent.calls)
        return True

    # ---- workers that die ----------------------------------------------------------------------------

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

    def _note_ending(self, workers: list[Worker]) -> None:
        from haz._faces.processes import processes_of

        try:
            self._ending += processes_of(workers, self.name, 0.0)
        except Exception:
            pass  # haz was shut down, and its processes with it, or there are no descriptors left

    # ---- all calls -----------------------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """Return the calls that have not ended, as far as this can be seen."""
        with self._lock:
            self._take_coming()
            found = [call for call, _ in self._failed]
            for sent in self._messages():
                found += sent.calls
            return [*found, *self._waiting]

    def _messages(self) -> list[Sent]:
        found = [sent for worker in self._workers for sent in worker.in_flight]
        return [*found, *self._recalled]

    def _end_all(self, error: BaseException) -> None:
        with self._lock:
            self._closed, self._is_running, self._end_error = True, False, error
            self._wants_all = False
            calls = self.calls()
            for sent in self._messages():
                sent.ref = sent.worker = None
            self._failed = []
            self._recalled.clear()
            self._waiting.clear()
            self._load = 0
            workers, self._workers, self._idle = self._workers, [], []
            self._note_ending(workers)
        for worker in workers:
            _kill(worker)
        for call in calls:
            self._hand_over(call, None, error)


def _kill(worker: Worker) -> None:
    try:
        kill(worker.actor)
    except Exception:
        pass  # haz was shut down
