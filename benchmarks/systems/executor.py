"""concurrent.futures.ProcessPoolExecutor of the standard library."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from benchmarks import tasks
from benchmarks.systems import drop_in
from benchmarks.systems.futures import FuturesSystem


class Executor(FuturesSystem):
    """One ``submit`` a task, with the platform's default start method."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor
        super().__init__(
            lambda function, *arguments: self._executor.submit(function, *arguments),
            self._results,
            as_completed,
        )

    def start(self, workers: int, scratch: str) -> None:
        """Start the executor and touch every worker."""
        self._executor = ProcessPoolExecutor(max_workers=workers)
        list(self._executor.map(tasks.worker_pid, [0.05] * workers))

    def stop(self) -> None:
        """Shut down and wait."""
        self._executor.shutdown(wait=True)

    def executor_submit(self, n: int) -> float:
        """No-ops through ``submit``."""
        return drop_in.executor_submit(self._executor, n)

    @staticmethod
    def _results(futures: list[Any]) -> list[Any]:
        return [future.result() for future in futures]
