"""Clusters of engines: ipyparallel, and haz with its face for it."""

from __future__ import annotations

import contextlib
import importlib
import time
from typing import Any

from benchmarks import tasks
from benchmarks.timing import Stopwatch, check, median_call_s


def _memory_of_descendants() -> int:
    import psutil

    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


class Engines:
    """The operations, by a module with ipyparallel's names."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._engines = 1
        self._cluster: Any = None
        self._client: Any = None

    def start_engines(self, workers: int) -> float:
        """A cluster started, connected to, and used once; it is stopped without being timed."""
        with Stopwatch() as watch:
            cluster, client = self._start(workers)
            results = client[:].apply_sync(tasks.identity, 1)
        check(results == [1] * workers, "a new cluster's first call")
        client.close()
        cluster.stop_cluster_sync()
        return watch.seconds

    def engines_memory(self, workers: int) -> float:
        """Bytes (PSS) that a cluster's processes take when they have been used once and are idle."""
        before = _memory_of_descendants()
        cluster, client = self._start(workers)
        client[:].apply_sync(tasks.noop)
        time.sleep(1)
        taken = _memory_of_descendants() - before
        client.close()
        cluster.stop_cluster_sync()
        return float(taken)

    def sync_engine_call(self, n: int, budget_s: float) -> float:
        """Median call of one engine."""
        view = self._connected()[0]
        return median_call_s(lambda: view.apply_sync(tasks.noop), n, 0.0, budget_s)

    def balanced_calls(self, n: int) -> float:
        """No-ops of a load-balanced view."""
        view = self._connected().load_balanced_view()
        with Stopwatch() as watch:
            results = [view.apply_async(tasks.noop) for _ in range(n)]
            values = [result.get() for result in results]
        check(values == [None] * n, "balanced calls")
        return watch.seconds

    def map_on_engines(self, n: int) -> float:
        """One map of small items over all engines."""
        view = self._connected()[:]
        with Stopwatch() as watch:
            values = view.map_sync(tasks.identity, range(n))
        check(values == list(range(n)), "a map on engines")
        return watch.seconds

    def push_to_engines(self, size: int) -> float:
        """An array that all engines get."""
        import numpy as np

        view = self._connected()[:]
        array = np.ones(size // 8)
        with Stopwatch() as watch:
            view.push({"array": array}, block=True)
        check(view.pull("array.nbytes", block=True) == [size] * self._engines, "a push")
        return watch.seconds

    def _start(self, n: int) -> tuple[Any, Any]:
        api = importlib.import_module(self._module)
        cluster = api.Cluster(n=n, log_level=40)
        client = cluster.start_and_connect_sync()
        client.wait_for_engines(n)
        return cluster, client

    def _connected(self) -> Any:
        if self._client is None:
            self._cluster, self._client = self._start(self._engines)
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._cluster.stop_cluster_sync()
            self._client = self._cluster = None


class Ipyparallel(Engines):
    """ipyparallel with engines on this machine."""

    def __init__(self) -> None:
        super().__init__("ipyparallel")

    def start(self, workers: int, scratch: str) -> None:
        """Start a cluster, and wait for its engines."""
        import os

        os.environ["IPYTHONDIR"] = scratch
        self._engines = workers
        self._connected()

    def stop(self) -> None:
        """Stop the cluster."""
        self._disconnect()
        time.sleep(0.1)
