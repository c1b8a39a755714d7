"""haz, the runtime under test."""

from __future__ import annotations

from benchmarks.systems.engines import Engines
from benchmarks.systems.ray_like import RayLike


class Haz(RayLike, Engines):
    """haz with its native engine."""

    def __init__(self) -> None:
        RayLike.__init__(self, "haz")
        Engines.__init__(self, "haz.ipyparallel")

    def start(self, workers: int, scratch: str) -> None:
        """Initialise and start every worker."""
        self._engines = workers
        self._api.init(num_cpus=workers)
        self.start_workers(workers)

    def stop(self) -> None:
        """Stop the engines, if there are any, and shut haz down."""
        self._disconnect()
        super().stop()
