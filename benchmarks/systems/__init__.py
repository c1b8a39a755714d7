"""The systems under comparison, one module each.

A system is a class with ``start``, ``stop`` and those operations of the rows (`Row.method`) that it
supports; an operation that it lacks is a row that it does not enter. An operation does its work
once, verifies the result, and returns seconds. The timed part includes dropping the refs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol


class System(Protocol):
    """What every system can do."""

    def start(self, workers: int, scratch: str) -> None:
        """Start the system and bring every worker to life. ``scratch``: folder for its files."""

    def stop(self) -> None:
        """Shut down as a careful user would, and wait until that is done."""


@dataclass(frozen=True)
class SystemInfo:
    """Where a system is found, without importing it."""

    title: str
    package: str  #: what must be importable for the system to be there
    module: str
    class_name: str
    is_brief: bool = False  #: measured in the first round only: slow, or no floor needs it
    has_life: bool = True  #: has a program of its own, for the rows of a program's life

    def create(self) -> System:
        """Import the system's module and build it."""
        module = importlib.import_module(f"benchmarks.systems.{self.module}")
        system: System = getattr(module, self.class_name)()
        return system


#: In the order of the table's columns.
SYSTEMS: dict[str, SystemInfo] = {
    "haz": SystemInfo("haz", "haz", "haz", "Haz"),
    "joined": SystemInfo("haz, joined", "haz", "joined", "Joined", is_brief=True, has_life=False),
    "ray": SystemInfo("Ray", "ray", "ray", "Ray"),
    "pool": SystemInfo("mp.Pool", "multiprocessing", "pool", "Pool"),
    "executor": SystemInfo("ProcessPoolExecutor", "concurrent.futures", "executor", "Executor"),
    "joblib": SystemInfo("joblib", "joblib", "joblib", "Joblib"),
    "dask": SystemInfo("Dask", "distributed", "dask", "Dask", is_brief=True),
    "ipyparallel": SystemInfo(
        "ipyparallel", "ipyparallel", "engines", "Ipyparallel", is_brief=True, has_life=False
    ),
}
