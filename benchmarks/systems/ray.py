"""Ray, on one machine."""

from __future__ import annotations

from benchmarks.systems.ray_like import RayLike


class Ray(RayLike):
    """A fresh local Ray cluster; ``address="local"`` never joins one that is running already."""

    def __init__(self) -> None:
        super().__init__("ray")

    def start(self, workers: int, scratch: str) -> None:
        """Initialise and start every worker."""
        self._api.init(
            address="local",
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=scratch,
        )
        self.start_workers(workers)
