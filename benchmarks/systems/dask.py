"""Dask distributed: a LocalCluster with one thread in each worker process."""

from __future__ import annotations

import statistics
from typing import Any

import dask
import distributed

from benchmarks import tasks
from benchmarks.systems import drop_in
from benchmarks.systems.futures import FuturesSystem
from benchmarks.timing import Stopwatch, check


class Dask(FuturesSystem):
    """Client and cluster in the same process."""

    def __init__(self) -> None:
        self._cluster: Any
        self._client: Any
        super().__init__(
            lambda function, *arguments: self._client.submit(function, *arguments, pure=False),
            lambda futures: self._client.gather(futures),
            distributed.as_completed,
        )

    def start(self, workers: int, scratch: str) -> None:
        """Start the cluster and touch every worker."""
        self._workers = workers
        dask.config.set({"temporary-directory": scratch})
        api: Any = distributed  # it is not typed
        self._cluster = api.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self._client = api.Client(self._cluster)
        pending = [self._client.submit(tasks.worker_pid, 0.05, pure=False) for _ in range(workers)]
        self._client.gather(pending)

    def stop(self) -> None:
        """Close the client, then the cluster."""
        self._client.close()
        self._cluster.close()

    def dask_graph(self, n: int) -> float:
        """A graph on dask's own scheduler of processes, not on the cluster."""
        return drop_in.dask_graph("processes", n, num_workers=self._workers)

    def put_large(self, size: int) -> float:
        """``scatter`` of an array, and dropping it."""
        array = self._source(size)
        with Stopwatch() as watch:
            future = self._client.scatter(array, hash=False)
        check(future.result().nbytes == size, "scatter of a large array")
        with watch:
            del future
        return watch.seconds

    def get_large(self, size: int, n: int) -> float:
        """Median of ``n`` fetches of a scattered array."""
        array = self._source(size)
        future = self._client.scatter(array, hash=False)
        samples = []
        for _ in range(n):
            with Stopwatch() as watch:
                value = future.result()
            check(value.nbytes == size and value[-1] == array[-1], "fetch of a large array")
            with watch:
                del value
            samples.append(watch.seconds)
        return statistics.median(samples)

    @staticmethod
    def _source(size: int) -> Any:
        import numpy as np

        return np.ones(size, dtype=np.uint8)
