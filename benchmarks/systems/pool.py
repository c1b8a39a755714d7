"""multiprocessing.Pool of the standard library, with the platform's default start method."""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import os
import time
from typing import Any

from benchmarks import tasks
from benchmarks.systems import drop_in
from benchmarks.timing import Stopwatch, check, median_call_s


class Pool:
    """``apply_async`` one task at a time, as haz and Ray submit; ``map`` is not compared."""

    def __init__(self) -> None:
        self._pool: multiprocessing.pool.Pool
        self._queued: list[Any] = []

    def start(self, workers: int, scratch: str) -> None:
        """Start the pool and touch every worker."""
        self._workers = workers
        self._pool = multiprocessing.Pool(workers)
        self._pool.map(tasks.worker_pid, [0.02] * workers, chunksize=1)

    def stop(self) -> None:
        """Close and join."""
        self._pool.close()
        self._pool.join()

    def pool_apply_async(self, n: int) -> float:
        """No-ops through ``apply_async``."""
        return drop_in.pool_apply_async(self._pool, n)

    def pool_map(self, n: int) -> float:
        """Small items through ``map``."""
        return drop_in.pool_map(self._pool, n)

    def pool_argument(self, size: int, n: int) -> float:
        """A large argument of n calls."""
        return drop_in.pool_argument(self._pool, size, n)

    def pool_start(self) -> float:
        """A new pool."""
        return drop_in.pool_start(multiprocessing, self._workers)

    def queue_items(self, n: int) -> float:
        """Small items through a queue."""
        return drop_in.queue_items(multiprocessing, n)

    def queue_round_trip(self, n: int, budget_s: float) -> float:
        """An item to another process, and its answer."""
        return drop_in.queue_round_trip(multiprocessing, n, budget_s)

    def process_life(self, n: int) -> float:
        """Processes of a no-op."""
        return drop_in.process_life(multiprocessing, n)

    def nested_blas(self, n: int) -> float:
        """Matrix products with the best number of threads, set by hand."""
        return min(
            drop_in.nested_blas(multiprocessing, self._workers, n, threads) for threads in (1, 2)
        )

    def async_noop(self, n: int) -> float:
        """No-ops through ``apply_async``."""
        with Stopwatch() as watch:
            pending = [self._pool.apply_async(tasks.noop) for _ in range(n)]
            results = [one.get() for one in pending]
            del pending
        check(results == [None] * n, "async no-ops")
        return watch.seconds

    def async_identity(self, n: int) -> float:
        """The same with an argument that comes back."""
        with Stopwatch() as watch:
            pending = [self._pool.apply_async(tasks.identity, (i,)) for i in range(n)]
            results = [one.get() for one in pending]
            del pending
        check(results == list(range(n)), "async identities")
        return watch.seconds

    def sleep_flat(self, n: int, seconds: float) -> float:
        """Short sleeps."""
        with Stopwatch() as watch:
            pending = [self._pool.apply_async(tasks.nap, (seconds,)) for _ in range(n)]
            results = [one.get() for one in pending]
            del pending
        check(sum(results) == n, "flat sleeps")
        return watch.seconds

    def sync_call(self, n: int, pause_s: float, budget_s: float) -> float:
        """Median of ``apply``."""
        return median_call_s(lambda: self._pool.apply(tasks.noop), n, pause_s, budget_s)

    def wait_one_by_one(self, n: int) -> float:
        """Results one at a time, in the order in which they come."""
        with Stopwatch() as watch:
            taken = sum(1 for _ in self._pool.imap_unordered(tasks.identity, range(n)))
        check(taken == n, "wait one by one")
        return watch.seconds

    def queue_submit(self, n: int, workers: int, gate: str) -> float:
        """Occupy every worker and queue no-ops behind."""
        holders = [self._pool.apply_async(tasks.hold_until, (gate,)) for _ in range(workers)]
        time.sleep(0.3)
        with Stopwatch() as watch:
            pending = [self._pool.apply_async(tasks.noop) for _ in range(n)]
        self._queued = [holders, pending]
        return watch.seconds

    def queue_drain(self, n: int, gate: str) -> float:
        """Open the gate and get all that was queued."""
        holders, pending = self._queued
        open(gate, "w").close()
        with Stopwatch() as watch:
            results = [one.get() for one in pending]
        check(results == [None] * n, "queued no-ops")
        check(sum(one.get() for one in holders) == len(holders), "holders of the queue")
        os.unlink(gate)
        return watch.seconds

    def queue_release(self) -> float:
        """Drop what was queued."""
        with Stopwatch() as watch:
            self._queued = []
        return watch.seconds
