"""joblib with its loky backend, which batches short tasks by itself."""

from __future__ import annotations

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from benchmarks import tasks
from benchmarks.systems import drop_in
from benchmarks.timing import Stopwatch, check


class Joblib:
    """One ``Parallel`` call runs all tasks: joblib has no refs and no single calls."""

    def __init__(self) -> None:
        self._workers = 1

    def start(self, workers: int, scratch: str) -> None:
        """Start loky's reusable workers."""
        self._workers = workers
        self._parallel()(delayed(tasks.worker_pid)(0.05) for _ in range(workers))

    def stop(self) -> None:
        """Shut the reusable workers down and wait."""
        get_reusable_executor().shutdown(wait=True)

    def async_noop(self, n: int) -> float:
        """No-ops in one ``Parallel`` call."""
        with Stopwatch() as watch:
            results = self._parallel()(delayed(tasks.noop)() for _ in range(n))
        check(results == [None] * n, "async no-ops")
        return watch.seconds

    def async_identity(self, n: int) -> float:
        """The same with an argument that comes back."""
        with Stopwatch() as watch:
            results = self._parallel()(delayed(tasks.identity)(i) for i in range(n))
        check(results == list(range(n)), "async identities")
        return watch.seconds

    def joblib_calls(self, n: int) -> float:
        """Small calls on loky."""
        return drop_in.joblib_calls("loky", self._workers, n)

    def joblib_cold(self, n: int) -> float:
        """The same in a fresh program."""
        return drop_in.joblib_cold("loky", self._workers, n)

    def sleep_flat(self, n: int, seconds: float) -> float:
        """Short sleeps."""
        with Stopwatch() as watch:
            results = self._parallel()(delayed(tasks.nap)(seconds) for _ in range(n))
        check(sum(results) == n, "flat sleeps")
        return watch.seconds

    def _parallel(self) -> Parallel:
        return Parallel(n_jobs=self._workers, backend="loky")
