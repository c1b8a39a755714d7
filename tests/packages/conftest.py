"""Packages from PyPI that are written for Ray, and dask, on haz; and those with loops of their own.

They need an environment of their own, which `make test-packages` makes; elsewhere there is nothing
to collect here.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

LOOPS = Path(__file__).parent / "test_prange.py"
collect_ignore: list[str] = []

if find_spec("numba") is None or find_spec("Cython") is None:
    collect_ignore.append(str(LOOPS))
if find_spec("modin") is None:
    collect_ignore += [str(path) for path in LOOPS.parent.glob("test_*.py") if path != LOOPS]
else:
    import haz.as_ray

    haz.as_ray.install()
