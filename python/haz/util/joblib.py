"""`haz.joblib` by the names of Ray's ``util.joblib``: ``register_haz()``."""

from __future__ import annotations

from haz.joblib import HazBackend, register

__all__ = ["HazBackend", "register_haz", "register_ray"]


def register_haz() -> None:
    """Make ``"haz"`` and ``"ray"`` names of joblib backends that run on haz."""
    for name in ("haz", "ray"):
        register(name)


#: The same, by Ray's name.
register_ray = register_haz
