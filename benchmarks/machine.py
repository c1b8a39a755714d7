"""Facts about the machine and the versions, for the record of a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

PACKAGES = ("haz", "ray", "joblib", "distributed", "numpy", "cloudpickle")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def is_importable(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return False
    # A folder that merely has the name (a namespace package) is not the package.
    return spec is not None and spec.origin is not None


def facts() -> dict[str, object]:
    """Machine, versions and date."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cores": cores(),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.split(":", 1)[1].strip()
    return "unknown"
