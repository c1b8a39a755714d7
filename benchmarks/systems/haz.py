"""haz, the runtime under test."""

from __future__ import annotations

from typing import Any

from benchmarks import cpp_program
from benchmarks.systems import cpp_functions, drop_in
from benchmarks.systems.engines import Engines
from benchmarks.systems.ray_like import RayLike
from benchmarks.timing import Stopwatch, check, median_call_s


class Haz(RayLike, Engines):
    """haz with its native engine."""

    def __init__(self) -> None:
        RayLike.__init__(self, "haz")
        Engines.__init__(self, "haz.ipyparallel")
        self._workers = 1
        self._pool: Any = None
        self._executor: Any = None
        self._cpp: Any = None
        self._scratch = ""

    def start(self, workers: int, scratch: str) -> None:
        """Initialise and start every worker."""
        self._scratch = scratch
        self._engines = self._workers = workers
        self._api.init(num_cpus=workers)
        self.start_workers(workers)

    def stop(self) -> None:
        """End what there is of engines, a pool and an executor, then haz."""
        self._disconnect()
        if self._pool is not None:
            self._pool.close()
            self._pool.join()
        if self._executor is not None:
            self._executor.shutdown()
        super().stop()

    # ---- a program of C++, with a node of its own ------------------------------------------------

    def cpp_sync_call(self, n: int, budget_s: float) -> float:
        """Median seconds of a call of a C++ task."""
        return cpp_program.run("sync", n, budget_s, self._workers)

    def cpp_async_calls(self, n: int) -> float:
        """No-ops of one C++ driver."""
        return cpp_program.run("async", n, self._workers)

    def cpp_map(self, n: int) -> float:
        """No-op items of one C++ driver."""
        return cpp_program.run("map", n, self._workers)

    # ---- functions of C++ ------------------------------------------------------------------------

    def _cpp_noop(self) -> Any:
        if self._cpp is None:
            self._cpp = cpp_functions.noop(self._scratch)
        return self._cpp

    def async_cpp_noop(self, n: int) -> float:
        """No-ops of C++, submitted from Python."""
        noop = self._cpp_noop()
        with Stopwatch() as watch:
            refs = [noop.remote() for _ in range(n)]
            results = self._api.get(refs)
            del refs
        check(results == [None] * n, "async no-ops of C++")
        return watch.seconds

    def sync_cpp_call(self, n: int, budget_s: float) -> float:
        """Median of a call of C++ and the wait for its result."""
        get, noop = self._api.get, self._cpp_noop()
        return median_call_s(lambda: get(noop.remote()), n, 0.0, budget_s)

    # ---- programs of the standard library, joblib and dask ---------------------------------------

    def _running_pool(self) -> Any:
        if self._pool is None:
            import haz.multiprocessing

            self._pool = haz.multiprocessing.Pool(self._workers)
        return self._pool

    def pool_apply_async(self, n: int) -> float:
        """No-ops through ``haz.multiprocessing.Pool``."""
        return drop_in.pool_apply_async(self._running_pool(), n)

    def pool_map(self, n: int) -> float:
        """Small items through its ``map``."""
        return drop_in.pool_map(self._running_pool(), n)

    def pool_argument(self, size: int, n: int) -> float:
        """A large argument of n calls."""
        return drop_in.pool_argument(self._running_pool(), size, n)

    def pool_start(self) -> float:
        """A new pool."""
        import haz.multiprocessing

        return drop_in.pool_start(haz.multiprocessing, self._workers)

    def queue_items(self, n: int) -> float:
        """Small items through a queue."""
        import haz.multiprocessing

        return drop_in.queue_items(haz.multiprocessing, n)

    def queue_round_trip(self, n: int, budget_s: float) -> float:
        """An item to another process, and its answer."""
        import haz.multiprocessing

        return drop_in.queue_round_trip(haz.multiprocessing, n, budget_s)

    def process_life(self, n: int) -> float:
        """Processes of a no-op."""
        import haz.multiprocessing

        return drop_in.process_life(haz.multiprocessing, n)

    def executor_submit(self, n: int) -> float:
        """No-ops through ``haz.Executor``."""
        if self._executor is None:
            import haz

            self._executor = haz.Executor(self._workers)
        return drop_in.executor_submit(self._executor, n)

    def joblib_calls(self, n: int) -> float:
        """Small calls on haz's backend."""
        import haz.joblib

        haz.joblib.register()
        return drop_in.joblib_calls("haz", self._workers, n)

    def joblib_cold(self, n: int) -> float:
        """The same in a fresh program."""
        return drop_in.joblib_cold("haz", self._workers, n)

    def nested_blas(self, n: int) -> float:
        """Matrix products; haz sets the threads."""
        import haz.multiprocessing

        return drop_in.nested_blas(haz.multiprocessing, self._workers, n)

    def dask_graph(self, n: int) -> float:
        """A graph on ``haz.dask.get``."""
        import haz.dask

        return drop_in.dask_graph(haz.dask.get, n)
