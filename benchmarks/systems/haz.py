"""haz, the runtime under test."""

from __future__ import annotations

from benchmarks.systems.ray_like import RayLike


class Haz(RayLike):
    """haz with its native engine."""

    def __init__(self) -> None:
        super().__init__("haz")

    def start(self, workers: int, scratch: str) -> None:
        """Initialise and start every worker."""
        self._api.init(num_cpus=workers)
        self.start_workers(workers)
