"""Packages from PyPI that are written for Ray, and dask, on haz.

They need an environment of their own, which `make test-packages` makes; elsewhere there is nothing
to collect here.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("modin") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import haz.as_ray

    haz.as_ray.install()
