"""Operations of a system whose client is ``submit`` and futures: shared by two systems."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import tasks
from benchmarks.timing import Stopwatch, check, median_call_s


class FuturesSystem:
    """Operations over ``submit(function, *arguments) -> future``.

    Parameters
    ----------
    submit
        Submits one call.
    gather
        Waits for a list of futures and returns their results in order.
    as_completed
        Yields futures as they finish.
    """

    def __init__(
        self,
        submit: Callable[..., Any],
        gather: Callable[[list[Any]], Any],
        as_completed: Callable[[list[Any]], Iterable[Any]],
    ) -> None:
        self._submit = submit
        self._gather = gather
        self._as_completed = as_completed
        self._queued: list[Any] = []

    def async_noop(self, n: int) -> float:
        """No-ops, one ``submit`` each."""
        with Stopwatch() as watch:
            futures = [self._submit(tasks.noop) for _ in range(n)]
            results = self._gather(futures)
            del futures
        check(results == [None] * n, "async no-ops")
        return watch.seconds

    def async_identity(self, n: int) -> float:
        """The same with an argument that comes back."""
        with Stopwatch() as watch:
            futures = [self._submit(tasks.identity, i) for i in range(n)]
            results = self._gather(futures)
            del futures
        check(results == list(range(n)), "async identities")
        return watch.seconds

    def sleep_flat(self, n: int, seconds: float) -> float:
        """Short sleeps."""
        with Stopwatch() as watch:
            futures = [self._submit(tasks.nap, seconds) for _ in range(n)]
            results = self._gather(futures)
            del futures
        check(sum(results) == n, "flat sleeps")
        return watch.seconds

    def sync_call(self, n: int, pause_s: float, budget_s: float) -> float:
        """Median of ``submit(...).result()``."""
        return median_call_s(lambda: self._submit(tasks.noop).result(), n, pause_s, budget_s)

    def wait_one_by_one(self, n: int) -> float:
        """Results one at a time, in the order in which they come."""
        with Stopwatch() as watch:
            futures = [self._submit(tasks.noop) for _ in range(n)]
            taken = sum(1 for _ in self._as_completed(futures))
            del futures
        check(taken == n, "wait one by one")
        return watch.seconds

    def queue_submit(self, n: int, workers: int, gate: str) -> float:
        """Occupy every worker and queue no-ops behind."""
        holders = [self._submit(tasks.hold_until, gate) for _ in range(workers)]
        time.sleep(0.3)
        with Stopwatch() as watch:
            futures = [self._submit(tasks.noop) for _ in range(n)]
        self._queued = [holders, futures]
        return watch.seconds

    def queue_drain(self, n: int, gate: str) -> float:
        """Open the gate and get all that was queued."""
        holders, futures = self._queued
        open(gate, "w").close()
        with Stopwatch() as watch:
            results = self._gather(futures)
        check(results == [None] * n, "queued no-ops")
        check(sum(self._gather(holders)) == len(holders), "holders of the queue")
        os.unlink(gate)
        return watch.seconds

    def queue_release(self) -> float:
        """Drop what was queued."""
        with Stopwatch() as watch:
            self._queued = []
        return watch.seconds
